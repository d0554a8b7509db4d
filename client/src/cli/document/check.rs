//! `tally document check`.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use tallystick_agency::{
    clock,
    exit::{Exit, Failure, Outcome},
    fs,
    report::Report,
};
use tallystick_protocol::identifiers::mrz::{
    self, Date, Field, Finding, Kind, Misshapen, Printed, Severity, Zone,
};
use time::OffsetDateTime;

use super::{super::list, Context, Hidden, PROGRAM};

/// Characters that no check digit tells apart: their values are equal modulo 10.
const LOOK_THE_SAME: &str = "0AKU< 1BLV 2CMW 3DNX 4EOY 5FPZ 6GQ 7HR 8IS 9JT";

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

fn kind(text: &str) -> Result<Kind, String> {
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

/// All documents. The first four add up: the documents are those clean, those with findings and
/// those that are not readable.
#[derive(Default, Serialize)]
struct Checked {
    documents: usize,
    clean: usize,
    with_findings: usize,
    unreadable: usize,
    errors: usize,
    warnings: usize,
    notes: usize,
    results: Vec<Document>,
}

/// One document.
#[derive(Serialize)]
struct Document {
    /// Line of the input where it begins, from 1.
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    verdict: &'static str,
    findings: Vec<Found>,
    /// Only where one document was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    unseeable: Option<Unseeable>,
}

/// A finding, for output.
#[derive(Serialize)]
struct Found {
    code: &'static str,
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<usize>,
    reference: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<char>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<char>,
    likely: Vec<Change>,
    likely_left_out: usize,
}

/// A likely misread or alteration.
#[derive(Serialize)]
struct Change {
    line: usize,
    column: usize,
    field: &'static str,
    from: char,
    to: char,
    confusable: bool,
}

/// What no check digit of this document can see.
#[derive(Serialize)]
struct Unseeable {
    /// Fields with cells where any character passes.
    uncovered: Vec<&'static str>,
    /// In all others: characters that pass for another.
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell {
    line: usize,
    column: usize,
    field: &'static str,
    others: String,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        let change = |l: &mrz::Likely| Change {
            line: l.place.line,
            column: l.place.column,
            field: l.field.name(),
            from: l.from,
            to: l.to,
            confusable: l.confusable,
        };
        Self {
            code: finding.code,
            severity: finding.severity.name(),
            field: Some(finding.field.name()),
            line: finding.place.map(|p| p.line),
            column: finding.place.map(|p| p.column),
            length: finding.place.map(|p| p.len),
            reference: finding.reference,
            message: finding.message.to_owned(),
            expected: finding.expected,
            found: finding.found,
            likely: finding.likely.iter().map(change).collect(),
            likely_left_out: finding.likely_left_out,
        }
    }
}

/// A line of wrong length, or a wrong character, in what is a zone otherwise.
fn misshapen(fault: Misshapen) -> Found {
    let (line, column) = match fault {
        Misshapen::LineLength { line, .. } => (Some(line), None),
        Misshapen::Character { line, column } => (Some(line), Some(column)),
        Misshapen::Empty | Misshapen::Shape => (None, None),
    };
    Found {
        code: fault.code(),
        severity: Severity::Error.name(),
        field: None,
        line,
        column,
        length: None,
        reference: "Doc 9303-3, 4",
        message: fault.to_string(),
        expected: None,
        found: None,
        likely: Vec::new(),
        likely_left_out: 0,
    }
}

fn unseeable(zone: &Zone) -> Unseeable {
    let kind = zone.kind();
    let (uncovered, covered): (Vec<_>, Vec<_>) = mrz::blind_cells(zone)
        .into_iter()
        .partition(mrz::BlindCell::is_uncovered);
    let is_uncovered = |field: &Field| uncovered.iter().any(|cell| cell.field() == *field);
    let cell = |cell: &mrz::BlindCell| {
        let place = cell.place(kind);
        Cell {
            line: place.line,
            column: place.column,
            field: cell.field().name(),
            others: cell.others().collect(),
        }
    };
    Unseeable {
        uncovered: Field::ALL
            .into_iter()
            .filter(is_uncovered)
            .map(Field::name)
            .collect(),
        cells: covered.iter().map(cell).collect(),
    }
}

impl Checked {
    fn add(&mut self, line: usize, kind: Option<Kind>, findings: Vec<Found>, readable: bool) {
        let of = |name| findings.iter().filter(|f| f.severity == name).count();
        let (errors, warnings) = (of("error"), of("warning"));
        self.documents += 1;
        self.errors += errors;
        self.warnings += warnings;
        self.notes += of("note");
        let verdict = if !readable {
            self.unreadable += 1;
            "unreadable"
        } else if errors + warnings > 0 {
            self.with_findings += 1;
            "findings"
        } else {
            self.clean += 1;
            "clean"
        };
        self.results.push(Document {
            line,
            kind: kind.map(Kind::name),
            verdict,
            findings,
            unseeable: None,
        });
    }

    fn add_zone(&mut self, line: usize, text: &str, printed: &Printed<'_>, today: Date) {
        let own = |zone: &Zone| {
            let found = mrz::check(zone, today).into_iter();
            let printed_alone = mrz::check_printed(printed, today);
            let beside = mrz::compare(zone, printed);
            let all = found.chain(printed_alone).chain(beside);
            all.map(Found::from).collect()
        };
        match Zone::read(text) {
            Ok(zone) => self.add(line, Some(zone.kind()), own(&zone), true),
            Err(fault @ (Misshapen::Empty | Misshapen::Shape)) => {
                self.add(line, None, vec![misshapen(fault)], false);
            }
            Err(fault) => self.add(line, None, vec![misshapen(fault)], true),
        }
    }

    fn exit(&self) -> Exit {
        if self.with_findings > 0 {
            Exit::Findings
        } else if self.unreadable > 0 {
            Exit::Usage
        } else {
            Exit::Done
        }
    }

    fn totals(&self) -> String {
        format!(
            "documents {}: {} clean, {} with findings, {} unreadable; {} errors, {} warnings, {} notes",
            self.documents,
            self.clean,
            self.with_findings,
            self.unreadable,
            self.errors,
            self.warnings,
            self.notes
        )
    }
}

impl Report for Checked {
    const COMMAND: &'static str = "document-check";

    fn text(&self) -> String {
        let mut text = match &self.results[..] {
            [one] => one.text(),
            many => {
                list(
                    &["line", "format", "result", "findings"],
                    many.iter().map(Document::row),
                ) + "\n"
            }
        };
        text += &self.totals();
        text
    }
}

impl Document {
    /// One line of many.
    fn row(&self) -> Vec<String> {
        let counted = self.findings.iter().filter(|f| f.severity != "note");
        let codes: Vec<&str> = counted.map(|f| f.code).collect();
        vec![
            self.line.to_string(),
            self.kind.unwrap_or("-").to_owned(),
            self.verdict.to_owned(),
            codes.join(", "),
        ]
    }

    /// All of one, for whoever asked about it alone.
    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(kind) = self.kind {
            text += &format!("format {kind}\n");
        }
        if !self.findings.is_empty() {
            text += &list(
                &[
                    "",
                    "where",
                    "what is wrong",
                    "rule",
                    "likely misread or change",
                ],
                self.findings.iter().map(Found::row),
            );
            text.push('\n');
        }
        if let Some(unseeable) = &self.unseeable {
            if !unseeable.uncovered.is_empty() {
                text += "no check digit covers: ";
                text += &unseeable.uncovered.join(", ");
                text.push('\n');
            }
            text += "elsewhere no check digit tells apart: ";
            text += LOOK_THE_SAME;
            text.push('\n');
        }
        text
    }
}

impl Found {
    fn row(&self) -> Vec<String> {
        let place = match (self.line, self.column) {
            (Some(line), Some(column)) => format!("line {line}, {column}"),
            (Some(line), None) => format!("line {line}"),
            _ => "print".to_owned(),
        };
        let place = match self.field {
            Some(field) => format!("{field}: {place}"),
            None => place,
        };
        let digit = match (self.found, self.expected) {
            (Some(found), Some(expected)) => format!(" ({found} stands there, not {expected})"),
            _ => String::new(),
        };
        let change = |c: &Change| format!("line {}, {}: {} is {}?", c.line, c.column, c.from, c.to);
        let mut likely: Vec<String> = self.likely.iter().map(change).collect();
        if self.likely_left_out > 0 {
            likely.push(format!("and {} more", self.likely_left_out));
        }
        vec![
            self.severity.to_owned(),
            place,
            format!("{}{digit} [{}]", self.message, self.code),
            self.reference.to_owned(),
            likely.join("\n"),
        ]
    }
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
        if let ([one], Some((_, zone))) = (&mut checked.results[..], zones(&text).next()) {
            one.unseeable = Zone::read(&zone).ok().as_ref().map(unseeable);
        }
    } else if !args.mrz.is_empty() {
        let lines: Vec<&str> = args.mrz.iter().map(Hidden::as_str).collect();
        let zone = zeroize::Zeroizing::new(lines.join("\n"));
        if let Err(fault @ (Misshapen::Empty | Misshapen::Shape)) = Zone::read(&zone) {
            return Err(unreadable(fault));
        }
        checked.add_zone(1, &zone, &printed, today);
        if let Some(one) = checked.results.first_mut() {
            one.unseeable = Zone::read(&zone).ok().as_ref().map(unseeable);
        }
    } else if args.has_fields() {
        let found = mrz::check_printed(&printed, today);
        let found = found.into_iter().map(Found::from).collect();
        checked.add(1, args.kind, found, true);
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
    let now = OffsetDateTime::from_unix_timestamp(clock::now_ms().div_euclid(1000));
    let day = now.ok().and_then(|now| {
        Date::new(
            u16::try_from(now.year()).ok()?,
            now.month().into(),
            now.day(),
        )
    });
    day.ok_or_else(|| Failure::usage("clock", "the clock names no day", "give --today YYYY-MM-DD"))
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
