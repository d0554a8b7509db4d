//! What of the flags names documents.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use tallystick_agency::{
    AgencyError,
    exit::{Failure, Outcome},
};
use tallystick_protocol::identifiers::mrz::Kind;
use tallystick_tables::{Mapping, Source};
use zeroize::Zeroizing;

use super::super::{
    document::{Hidden, kind},
    tables::KeyArgs,
};
use crate::desk::{Fields, Presented, Unreadable};

/// One document, many, or whoever comes.
#[derive(Debug, Args)]
pub(super) struct InputArgs {
    /// Machine-readable zone of one document: its lines, each in quotes, or all of it in one run
    #[arg(long, value_name = "LINE", num_args = 1..=3)]
    mrz: Vec<Hidden>,
    /// Format of a document that is given by fields: TD1, TD2, TD3, MRV-A, MRV-B
    #[arg(long, value_name = "FORMAT", value_parser = kind, conflicts_with = "mrz")]
    kind: Option<Kind>,
    /// Printed document number
    #[arg(long, value_name = "NUMBER")]
    number: Option<Hidden>,
    /// Printed issuing state, three letters, or D
    #[arg(long, value_name = "STATE")]
    state: Option<Hidden>,
    /// Printed nationality, three letters, or D
    #[arg(long, value_name = "STATE")]
    nationality: Option<Hidden>,
    /// Printed surname, in its own script
    #[arg(long, value_name = "NAME")]
    surname: Option<Hidden>,
    /// Printed given names
    #[arg(long, value_name = "NAMES")]
    given_names: Option<Hidden>,
    /// Printed date of birth
    #[arg(long, value_name = "YYYY-MM-DD")]
    birth_date: Option<Hidden>,
    /// Printed last day of validity
    #[arg(long, value_name = "YYYY-MM-DD")]
    expiry: Option<Hidden>,
    /// Printed sex: M, F or X
    #[arg(long, value_name = "SEX")]
    sex: Option<Hidden>,
    /// Read documents from standard input, one a line: zones or JSON objects; write one verdict a line
    #[arg(long, conflicts_with_all = ["manifest", "serve", "mrz"])]
    stream: bool,
    /// Ask about every row of a table, read by --key or --mapping; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["serve", "mrz"])]
    manifest: Option<PathBuf>,
    /// Answer other programs of this machine, and show the page for a guard [default: 127.0.0.1:7480]
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, conflicts_with = "mrz")]
    serve: Option<Option<SocketAddr>>,
    /// Where the table with the verdicts goes; without it, to stdout
    #[arg(long, value_name = "FILE", requires = "manifest", conflicts_with_all = ["stream", "serve", "mrz"])]
    out: Option<PathBuf>,
    /// Replace the output if it exists
    #[arg(long, requires = "out")]
    force: bool,
    /// Column of the manifest that says what each document is, in the classes of `datagen --desk`: the
    /// verdicts are counted against it
    #[arg(long, value_name = "COLUMN", requires = "manifest", conflicts_with_all = ["stream", "serve", "mrz"])]
    truth: Option<String>,
    #[command(flatten)]
    keys: KeyArgs,
}

/// The same, read as far as it can be before anybody is asked.
pub(super) enum Input {
    One(Box<Presented>),
    Stream,
    Manifest(Box<Manifest>),
    Serve,
}

/// A table and where its verdicts go.
pub(super) struct Manifest {
    pub(super) source: Source,
    pub(super) mapping: Mapping,
    pub(super) out: Option<PathBuf>,
    pub(super) force: bool,
    pub(super) truth: Option<String>,
}

impl InputArgs {
    pub(super) fn profile(&self) -> Option<&str> {
        self.keys.profile.as_deref()
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.serve.flatten()
    }

    fn fields(&self) -> Fields {
        let text = |field: &Option<Hidden>| {
            let text = field.as_ref().map(Hidden::as_str);
            text.map(|text| Zeroizing::new(text.to_owned()))
        };
        Fields {
            kind: self.kind,
            number: text(&self.number),
            state: text(&self.state),
            nationality: text(&self.nationality),
            surname: text(&self.surname),
            given_names: text(&self.given_names),
            birth_date: text(&self.birth_date),
            expiry: text(&self.expiry),
            sex: text(&self.sex),
        }
    }

    fn has_fields(&self) -> bool {
        let fields = [
            &self.number,
            &self.state,
            &self.nationality,
            &self.surname,
            &self.given_names,
            &self.birth_date,
            &self.expiry,
            &self.sex,
        ];
        fields.into_iter().any(Option::is_some)
    }
}

impl Input {
    pub(super) fn new(args: &InputArgs, quiet: bool) -> Outcome<Self> {
        let many = args.stream || args.manifest.is_some() || args.serve.is_some();
        if many && args.has_fields() {
            return Err(Failure::usage(
                "usage",
                "one document is named, and many",
                "leave out its fields, or --stream, --manifest and --serve",
            ));
        }
        if let Some(path) = &args.manifest {
            let (table, mapping) = args.keys.input(path.clone(), quiet)?;
            let manifest = Manifest {
                source: table.open().map_err(AgencyError::from)?,
                mapping,
                out: args.out.clone(),
                force: args.force,
                truth: args.truth.clone(),
            };
            manifest.check()?;
            if let Some(column) = &manifest.truth {
                let header = manifest.source.header();
                header.index(column).map_err(AgencyError::from)?;
            }
            return Ok(Self::Manifest(Box::new(manifest)));
        }
        if args.stream {
            return Ok(Self::Stream);
        }
        if args.serve.is_some() {
            return Ok(Self::Serve);
        }
        let presented = if args.mrz.is_empty() {
            if !args.has_fields() {
                return Err(Failure::usage(
                    "nothing-to-ask",
                    "no document is named",
                    "give --mrz LINE…, fields such as --number, or one of --stream, --manifest, --serve",
                ));
            }
            Presented::from_fields(args.fields())
        } else {
            let lines: Vec<&str> = args.mrz.iter().map(Hidden::as_str).collect();
            let zone = Zeroizing::new(lines.join("\n"));
            Presented::from_both(&zone, args.fields())
        };
        presented
            .map(|one| Self::One(Box::new(one)))
            .map_err(unreadable)
    }
}

impl Manifest {
    /// Refuses an output that could not be written at the end.
    pub(super) fn check(&self) -> Outcome<()> {
        let Some(out) = &self.out else {
            return Ok(());
        };
        let there = out.symlink_metadata();
        if there.is_ok_and(|meta| !self.force || !meta.is_file()) {
            return Err(Failure::usage(
                "output-exists",
                format!("{} exists and was left as it is", out.display()),
                "choose another name, or use --force to replace a file",
            ));
        }
        let same = |path: &std::path::Path| path.canonicalize().ok();
        if same(out).is_some() && same(out) == same(self.source.path()) {
            return Err(Failure::usage(
                "output-is-input",
                format!("{} is the manifest itself", out.display()),
                "choose another name",
            ));
        }
        Ok(())
    }
}

fn unreadable(fault: Unreadable) -> Failure {
    let text = fault.to_string();
    let (what, next) = text.split_once("; ").unwrap_or((&text, "scan it again"));
    Failure::usage(fault.code(), what, next)
}
