//! `tally document check`.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use tallystick_agency::{
    exit::{Exit, Failure, Outcome},
    fs,
};
use tallystick_protocol::identifiers::mrz::{Date, Kind, Misshapen, Printed, Zone};

use super::{Context, Hidden, PROGRAM, checked::Checked};
use crate::day;

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Machine-readable zone: its lines, each in quotes, or all of it in one run
    #[arg(long, value_name = "LINE", num_args = 1..=3, conflicts_with = "file")]
    mrz: Vec<Hidden>,
    /// File of machine-readable zones, one after the other; `-` is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Format of a document that is given by fields alone: TD1, TD2, TD3, MRV-A, MRV-B
    #[arg(long, value_name = "FORMAT", value_parser = kind, conflicts_with_all = ["mrz", "file"])]
    kind: Option<Kind>,
    /// Printed document number
    #[arg(long, value_name = "NUMBER", conflicts_with = "file")]
    number: Option<Hidden>,
    /// Printed issuing state, three letters, or D
    #[arg(long, value_name = "STATE", conflicts_with = "file")]
    state: Option<Hidden>,
    /// Printed nationality, three letters, or D
    #[arg(long, value_name = "STATE", conflicts_with = "file")]
    nationality: Option<Hidden>,
    /// Printed surname, in its own script
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    surname: Option<Hidden>,
    /// Printed given names
    #[arg(long, value_name = "NAMES", conflicts_with = "file")]
    given_names: Option<Hidden>,
    /// Printed date of birth
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "file")]
    birth_date: Option<Hidden>,
    /// Printed last day of validity
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "file")]
    expiry: Option<Hidden>,
    /// Printed sex: M, F or X
    #[arg(long, value_name = "SEX", conflicts_with = "file")]
    sex: Option<Hidden>,
    /// Day of checking; without it, today in UTC
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    today: Option<Date>,
}

pub(in crate::cli) fn kind(text: &str) -> Result<Kind, String> {
    let plain = |text: &str| text.replace('-', "").to_ascii_uppercase();
    let found = Kind::ALL
        .into_iter()
        .find(|k| plain(k.name()) == plain(text));
    found.ok_or_else(|| "use one of: TD1, TD2, TD3, MRV-A, MRV-B".to_owned())
}

fn day(text: &str) -> Result<Date, String> {
    Date::from_iso(text).ok_or_else(|| "no such day; write it as YYYY-MM-DD".to_owned())
}

impl CheckArgs {
    fn printed(&self) -> Printed<'_> {
        Printed {
            kind: self.kind,
            number: shown(&self.number),
            state: shown(&self.state),
            nationality: shown(&self.nationality),
            surname: shown(&self.surname),
            given_names: shown(&self.given_names),
            birth_date: shown(&self.birth_date),
            expiry: shown(&self.expiry),
            sex: shown(&self.sex),
        }
    }

    fn has_fields(&self) -> bool {
        [
            &self.number,
            &self.state,
            &self.nationality,
            &self.surname,
            &self.given_names,
            &self.birth_date,
            &self.expiry,
            &self.sex,
        ]
        .into_iter()
        .any(Option::is_some)
    }
}

fn shown(field: &Option<Hidden>) -> Option<&str> {
    field.as_ref().map(Hidden::as_str)
}

pub(super) fn run(context: &Context, args: &CheckArgs) -> Outcome<Exit> {
    let today = args.today.map_or_else(today, Ok)?;
    let printed = args.printed();
    let mut checked = Checked::default();
    if let Some(file) = &args.file {
        let text = read(file)?;
        for (line, zone) in zones(&text) {
            checked.add_zone(line, &zone, &Printed::default(), today);
        }
        if checked.documents == checked.unreadable {
            let fault = match checked.documents {
                0 => Misshapen::Empty,
                _ => Misshapen::Shape,
            };
            return Err(unreadable(fault));
        }
    } else if !args.mrz.is_empty() {
        let lines: Vec<&str> = args.mrz.iter().map(Hidden::as_str).collect();
        let zone = zeroize::Zeroizing::new(lines.join("\n"));
        if let Err(fault @ (Misshapen::Empty | Misshapen::Shape)) = Zone::read(&zone) {
            return Err(unreadable(fault));
        }
        checked.add_zone(1, &zone, &printed, today);
    } else if args.has_fields() {
        checked.add_fields(args.kind, &printed, today);
    } else {
        return Err(Failure::usage(
            "nothing-to-check",
            "no document is named",
            "give --mrz LINE…, --file FILE (- for standard input), or fields such as --number",
        ));
    }
    context.print(PROGRAM, &checked)?;
    Ok(checked.exit())
}

/// Today in UTC.
fn today() -> Outcome<Date> {
    day::today()
        .ok_or_else(|| Failure::usage("clock", "the clock names no day", "give --today YYYY-MM-DD"))
}

fn unreadable(fault: Misshapen) -> Failure {
    let text = fault.to_string();
    let (what, next) = text.split_once("; ").unwrap_or((&text, ""));
    Failure::usage(fault.code(), what, next)
}

fn read(file: &Path) -> Outcome<zeroize::Zeroizing<String>> {
    if file.as_os_str() != "-" {
        return Ok(zeroize::Zeroizing::new(fs::read_text(file)?));
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    let read = std::io::stdin().lock().read_to_string(&mut text);
    read.map_err(|error| {
        let what = format!("cannot read standard input: {error}");
        Failure::usage("io", what, "give UTF-8 text")
    })?;
    Ok(text)
}

/// The zones of a file: the number of the line where each begins, and its lines.
///
/// Empty lines part zones. Within a block the length of the first line says how many belong to it:
/// about 30 characters, three; about 36 or 44, two; more, one. What is much shorter stands alone.
fn zones(text: &str) -> impl Iterator<Item = (usize, zeroize::Zeroizing<String>)> + '_ {
    let mut lines = text.lines().enumerate().peekable();
    std::iter::from_fn(move || {
        while lines.next_if(|(_, line)| line.trim().is_empty()).is_some() {}
        let (at, first) = lines.next()?;
        let more = match length(first) {
            0..20 => 0,
            20..=32 => 2,
            33..=60 => 1,
            _ => 0,
        };
        let mut zone = zeroize::Zeroizing::new(String::with_capacity(512));
        zone.push_str(first);
        for _ in 0..more {
            if let Some((_, line)) = lines.next_if(|(_, line)| !line.trim().is_empty()) {
                zone.push('\n');
                zone.push_str(line);
            }
        }
        Some((at + 1, zone))
    })
}

/// Characters as [`Zone::read`] counts them.
fn length(line: &str) -> usize {
    let counted = line.chars().filter(|c| !c.is_whitespace());
    counted.map(|c| if c == '«' { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TD1: &str = "I<UTOD231458907<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\n\
        ERIKSSON<<ANNA<MARIA<<<<<<<<<<";
    const TD3: &str = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\n\
        L898902C36UTO7408122F1204159ZE184226B<<<<<10";

    #[test]
    fn a_file_falls_into_zones() {
        let run = TD3.replace('\n', "");
        let text = format!(
            "{TD1}\n{TD3}\n{run}\n\n\nx\n{TD3}\n\n{}\n\n{TD1}\n",
            &TD3[..44]
        );
        let found: Vec<_> = zones(&text)
            .map(|(at, zone)| (at, zone.to_string()))
            .collect();
        let want = [
            (1, TD1),
            (4, TD3),
            (6, &run),
            (9, "x"),
            (10, TD3),
            (13, &TD3[..44]),
            (15, TD1),
        ];
        assert_eq!(found, want.map(|(at, zone)| (at, zone.to_owned())));
    }

    #[test]
    fn totals_add_up() {
        let mut checked = Checked::default();
        let today = Date::new(2026, 5, 1).unwrap_or_else(|| unreachable!());
        for text in [TD1, TD3, &TD3.replace("L8", "L9"), "x", &TD1[1..], ""] {
            checked.add_zone(1, text, &Printed::default(), today);
        }
        let sums = [
            checked.documents,
            checked.clean,
            checked.with_findings,
            checked.unreadable,
        ];
        assert_eq!(sums, [6, 2, 2, 2]);
        assert_eq!(checked.exit(), Exit::Findings);
    }

    #[test]
    fn arguments_are_hidden_in_debug() {
        let hidden = Hidden::from("L898902C3".to_owned());
        assert_eq!(format!("{hidden:?}"), "(..)");
    }
}
