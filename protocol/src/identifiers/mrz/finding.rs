//! What a check says.

use std::{fmt, ops::Range};

use super::layout::{Field, Kind, Place};

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; says nothing against the document.
    Note,
    /// Allowed or explicable, but rare in true documents.
    Warning,
    /// Against a rule: misread, altered or made up.
    Error,
}

impl Severity {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A change of one character that would heal what was found: a likely misread or alteration.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Likely {
    /// Where.
    pub place: Place,
    /// The field.
    pub field: Field,
    /// What stands there.
    pub from: char,
    /// What would stand there.
    pub to: char,
    /// Whether the two are often confused by eye or machine (O and 0, I and 1).
    pub confusable: bool,
}

/// Characters of an identifier.
impl fmt::Debug for Likely {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Likely({:?}, {})", self.place, self.field)
    }
}

/// One thing that was found. Its characters are part of an identifier: for whoever asked, never for
/// a log. Debug hides them.
pub struct Finding {
    /// The stable code.
    pub code: &'static str,
    /// How much it weighs.
    pub severity: Severity,
    /// The field.
    pub field: Field,
    /// Where it stands in the zone; `None` for what is printed.
    pub place: Option<Place>,
    /// The rule: part and section of ICAO Doc 9303, or another standard.
    pub reference: &'static str,
    /// What is wrong. Holds no character of the document.
    pub message: &'static str,
    /// What should stand there, where one character decides.
    pub expected: Option<char>,
    /// What stands there, where one character decides.
    pub found: Option<char>,
    /// Likely misreads or alterations, the most likely first; not all of them.
    pub likely: Vec<Likely>,
    /// How many more there are.
    pub likely_left_out: usize,
}

impl fmt::Debug for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Finding({}, {:?})", self.code, self.place)
    }
}

impl Finding {
    pub(super) fn new(
        code: &'static str,
        severity: Severity,
        field: Field,
        reference: &'static str,
        message: &'static str,
    ) -> Self {
        Self {
            code,
            severity,
            field,
            place: None,
            reference,
            message,
            expected: None,
            found: None,
            likely: Vec::new(),
            likely_left_out: 0,
        }
    }

    /// The same, at these cells.
    pub(super) fn at(mut self, kind: Kind, cells: &Range<usize>) -> Self {
        self.place = Some(kind.place(cells));
        self
    }

    /// The same, at its whole field.
    pub(super) fn at_field(self, kind: Kind) -> Self {
        let span = kind.span(self.field);
        self.at(kind, &span)
    }
}
