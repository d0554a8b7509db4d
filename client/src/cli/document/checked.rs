//! What `tally document check` says.

use serde::Serialize;
use tallystick_agency::{exit::Exit, report::Report};
use tallystick_protocol::identifiers::mrz::{
    self, Date, Field, Finding, Kind, Misshapen, Printed, Severity, Zone,
};

use super::super::list;

/// Characters that no check digit tells apart: their values are equal modulo 10.
const LOOK_THE_SAME: &str = "0AKU< 1BLV 2CMW 3DNX 4EOY 5FPZ 6GQ 7HR 8IS 9JT";
/// Documents of many that are shown with all their findings.
const DETAILED: usize = 20;

/// All documents. The first four add up: the documents are those clean, those with findings and
/// those that are not readable.
#[derive(Default, Serialize)]
pub(super) struct Checked {
    pub(super) documents: usize,
    pub(super) clean: usize,
    pub(super) with_findings: usize,
    pub(super) unreadable: usize,
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
    /// Of a zone; of fields alone no check digit says anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    unseeable: Option<Unseeable>,
}

/// A finding, for output.
#[derive(Serialize)]
pub(super) struct Found {
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
    pub(super) fn add(
        &mut self,
        line: usize,
        kind: Option<Kind>,
        findings: Vec<Found>,
        readable: bool,
    ) {
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

    /// Fields that are given without a zone.
    pub(super) fn add_fields(&mut self, kind: Option<Kind>, printed: &Printed<'_>, today: Date) {
        let found = mrz::check_printed(printed, today);
        let found = found.into_iter().map(Found::from).collect();
        self.add(1, kind, found, true);
    }

    pub(super) fn add_zone(&mut self, line: usize, text: &str, printed: &Printed<'_>, today: Date) {
        let own = |zone: &Zone| {
            let found = mrz::check(zone, today).into_iter();
            let printed_alone = mrz::check_printed(printed, today);
            let beside = mrz::compare(zone, printed);
            let all = found.chain(printed_alone).chain(beside);
            all.map(Found::from).collect()
        };
        match Zone::read(text) {
            Ok(zone) => {
                self.add(line, Some(zone.kind()), own(&zone), true);
                if let Some(last) = self.results.last_mut() {
                    last.unseeable = Some(unseeable(&zone));
                }
            }
            Err(fault @ (Misshapen::Empty | Misshapen::Shape)) => {
                self.add(line, None, vec![misshapen(fault)], false);
            }
            Err(fault) => self.add(line, None, vec![misshapen(fault)], true),
        }
    }

    pub(super) fn exit(&self) -> Exit {
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
        let mut text = String::new();
        if let [one] = &self.results[..] {
            text += &one.text();
            text += &one.blindness();
        } else {
            let rows = self.results.iter().map(Document::row);
            text += &list(&["line", "format", "result", "findings"], rows);
            text.push('\n');
            let wrong = |one: &&Document| one.verdict != "clean";
            for one in self.results.iter().filter(wrong).take(DETAILED) {
                text += &format!("\nline {}\n{}", one.line, one.text());
            }
            let left = self.results.iter().filter(wrong).count();
            if left > DETAILED {
                text += &format!("\n{} more: see --json\n", left - DETAILED);
            }
            text += "\nno check digit tells apart: ";
            text += LOOK_THE_SAME;
            text.push('\n');
        }
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
        text
    }

    /// What nobody can see in it.
    fn blindness(&self) -> String {
        let mut text = String::new();
        let Some(unseeable) = &self.unseeable else {
            return "only the fields were looked at: without the zone there is no check digit to hold them \
                    to\n"
                .to_owned();
        };
        if !unseeable.uncovered.is_empty() {
            text += "no check digit covers: ";
            text += &unseeable.uncovered.join(", ");
            text.push('\n');
        }
        text += "elsewhere no check digit tells apart: ";
        text += LOOK_THE_SAME;
        text.push('\n');
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
        let change = |c: &&Change| {
            format!(
                "line {}, {}: reads {}, may be {}",
                c.line, c.column, c.from, c.to
            )
        };
        // Whoever looks at the document first asks for what is often confused.
        let confused: Vec<&Change> = self.likely.iter().filter(|c| c.confusable).collect();
        let shown = match confused.is_empty() {
            true => self.likely.iter().take(3).collect(),
            false => confused,
        };
        let mut likely: Vec<String> = shown.iter().map(change).collect();
        let more = self.likely.len() + self.likely_left_out - shown.len();
        if more > 0 {
            likely.push(format!("or one of {more} other changes"));
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
