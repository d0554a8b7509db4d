//! Flags of both programs that say how a table is read, and what becomes of rejected keys.

use std::path::PathBuf;

use clap::Args;
use tallystick_tables::{Delimiter, Encoding, Quote, Rejects, RowFormat, TableFormat};

/// How a table is read, as far as it is not detected. A mapping file may say the same; a flag stands
/// before it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "How a table is read, where that is not detected")]
pub struct FormatFlags {
    /// csv, tsv or jsonl (an object a line) [default: by the name, .gz and .zst unpacked; else csv]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<RowFormat>,
    /// What separates fields: comma, semicolon, tab, pipe or another mark [default: detected]
    #[arg(long, value_name = "MARK")]
    pub delimiter: Option<Delimiter>,
    /// Whether fields may stand in quotes: double or none [default: double]
    #[arg(long, value_name = "QUOTE")]
    pub quote: Option<Quote>,
    /// Encoding, such as windows-1252 or utf-16le [default: utf-8, or by its byte order mark]
    #[arg(long, value_name = "NAME")]
    pub encoding: Option<Encoding>,
    /// The first line is a row: columns are named 1, 2, ...
    #[arg(long)]
    pub no_header: bool,
}

impl FormatFlags {
    /// What they state.
    #[must_use]
    pub fn stated(&self) -> TableFormat {
        TableFormat {
            format: self.format,
            delimiter: self.delimiter,
            quote: self.quote,
            encoding: self.encoding,
            header: self.no_header.then_some(false),
        }
    }
}

/// The flags that state a format: what a process passes on.
#[must_use]
pub fn format_flags(format: &TableFormat) -> Vec<String> {
    let flags = [
        ("format", format.format.map(String::from)),
        ("delimiter", format.delimiter.map(String::from)),
        ("quote", format.quote.map(String::from)),
        ("encoding", format.encoding.map(String::from)),
    ];
    let flags = flags.into_iter();
    let flags = flags.filter_map(|(name, value)| Some(format!("--{name}={}", value?)));
    let no_header = (format.header == Some(false)).then(|| "--no-header".to_owned());
    flags.chain(no_header).collect()
}

/// What becomes of rejected keys.
#[derive(Debug, Clone, Default, Args)]
pub struct RejectFlags {
    /// List rejected keys in this file: line, key, reason
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Stop when a key is rejected, before anything is sent or published
    #[arg(long)]
    pub stop_on_rejects: bool,
}

impl RejectFlags {
    /// The same; `force` says whether the file may be replaced.
    #[must_use]
    pub fn rejects(&self, force: bool) -> Rejects {
        Rejects {
            file: self.rejects.clone(),
            force,
            stop: self.stop_on_rejects,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        format: FormatFlags,
    }

    #[test]
    fn what_flags_state_is_passed_on() {
        for flags in [
            &[][..],
            &["--delimiter", "tab", "--quote", "none"],
            &["--delimiter=-"],
            &["--format=jsonl", "--encoding", "latin1"],
            &["--no-header", "--delimiter", ";"],
        ] {
            let parse = |flags: &[String]| {
                let name = ["x".to_owned()];
                let line = Line::try_parse_from(name.iter().chain(flags)).unwrap();
                line.format.stated()
            };
            let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
            let stated = parse(&flags);
            assert_eq!(parse(&format_flags(&stated)), stated);
            assert_eq!(stated == TableFormat::default(), flags.is_empty());
        }
        for bad in [
            "--delimiter=ab",
            "--encoding=cp850",
            "--quote='",
            "--format=xls",
        ] {
            assert!(Line::try_parse_from(["x", bad]).is_err(), "{bad}");
        }
    }
}
