//! The five formats: which field stands where.

use std::{fmt, ops::Range};

/// The most cells a zone has: those of TD1.
pub(super) const MAX_CELLS: usize = 90;

/// The format of a machine-readable zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Cards: 3 lines of 30 (Doc 9303-5).
    Td1,
    /// Larger cards and sheets: 2 lines of 36 (Doc 9303-6).
    Td2,
    /// Passports: 2 lines of 44 (Doc 9303-4).
    Td3,
    /// Visas of passport size: 2 lines of 44 (Doc 9303-7).
    MrvA,
    /// Smaller visas: 2 lines of 36 (Doc 9303-7).
    MrvB,
}

impl Kind {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Td1, Self::Td2, Self::Td3, Self::MrvA, Self::MrvB];

    /// The name in flags and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Td1 => "TD1",
            Self::Td2 => "TD2",
            Self::Td3 => "TD3",
            Self::MrvA => "MRV-A",
            Self::MrvB => "MRV-B",
        }
    }

    /// Cells of one line.
    #[must_use]
    pub const fn width(self) -> usize {
        match self {
            Self::Td1 => 30,
            Self::Td2 | Self::MrvB => 36,
            Self::Td3 | Self::MrvA => 44,
        }
    }

    /// Number of lines.
    #[must_use]
    pub const fn lines(self) -> usize {
        match self {
            Self::Td1 => 3,
            _ => 2,
        }
    }

    /// Number of cells.
    pub(super) const fn cells(self) -> usize {
        self.width() * self.lines()
    }

    /// The format of that many cells, told apart by the first letter: visas begin with `V`, and
    /// nothing else of their size does (Doc 9303-6 and 9303-7, 4.2.2).
    pub(super) const fn of(cells: usize, first: u8) -> Option<Self> {
        match (cells, first) {
            (90, _) => Some(Self::Td1),
            (72, b'V') => Some(Self::MrvB),
            (72, _) => Some(Self::Td2),
            (88, b'V') => Some(Self::MrvA),
            (88, _) => Some(Self::Td3),
            _ => None,
        }
    }

    /// Whether a number of more than 9 characters goes on in the optional data.
    pub(super) const fn has_long_numbers(self) -> bool {
        matches!(self, Self::Td1 | Self::Td2)
    }

    /// The cells of a field, counted from 0 through all lines; empty if the format has none.
    pub(super) const fn span(self, field: Field) -> Range<usize> {
        // Line 2 of the formats of two lines is the same up to the optional data.
        let second = match self {
            Self::Td1 => return Self::span_td1(field),
            _ => self.width(),
        };
        match field {
            Field::Type => 0..2,
            Field::Issuer => 2..5,
            Field::Name => 5..second,
            Field::Number => second..second + 9,
            Field::NumberCheck => second + 9..second + 10,
            Field::Nationality => second + 10..second + 13,
            Field::Birth => second + 13..second + 19,
            Field::BirthCheck => second + 19..second + 20,
            Field::Sex => second + 20..second + 21,
            Field::Expiry => second + 21..second + 27,
            Field::ExpiryCheck => second + 27..second + 28,
            Field::Optional => match self {
                Self::Td2 => second + 28..second + 35,
                Self::Td3 => second + 28..second + 42,
                _ => second + 28..second * 2,
            },
            Field::OptionalCheck => match self {
                Self::Td3 => second + 42..second + 43,
                _ => 0..0,
            },
            Field::Composite => match self {
                Self::Td2 | Self::Td3 => second * 2 - 1..second * 2,
                _ => 0..0,
            },
            Field::SecondOptional => 0..0,
        }
    }

    const fn span_td1(field: Field) -> Range<usize> {
        match field {
            Field::Type => 0..2,
            Field::Issuer => 2..5,
            Field::Number => 5..14,
            Field::NumberCheck => 14..15,
            Field::Optional => 15..30,
            Field::Birth => 30..36,
            Field::BirthCheck => 36..37,
            Field::Sex => 37..38,
            Field::Expiry => 38..44,
            Field::ExpiryCheck => 44..45,
            Field::Nationality => 45..48,
            Field::SecondOptional => 48..59,
            Field::Composite => 59..60,
            Field::Name => 60..90,
            Field::OptionalCheck => 0..0,
        }
    }

    /// What the composite check digit covers, in order; nothing for visas, which have none.
    pub(super) const fn composite(self) -> &'static [Range<usize>] {
        match self {
            // Line 1, 6-30; line 2, 1-7, 9-15, 19-29 (Doc 9303-5, 4.2.4).
            Self::Td1 => &[5..30, 30..37, 38..45, 48..59],
            // Line 2, 1-10, 14-20, 22-35 (Doc 9303-6, 4.2.4).
            Self::Td2 => &[36..46, 49..56, 57..71],
            // Line 2, 1-10, 14-20, 22-43 (Doc 9303-4, 4.2.4).
            Self::Td3 => &[44..54, 57..64, 65..87],
            Self::MrvA | Self::MrvB => &[],
        }
    }

    /// The field of a cell.
    pub(super) fn field(self, cell: usize) -> Field {
        // Every cell belongs to a field: a test holds it.
        Field::ALL
            .into_iter()
            .find(|field| self.span(*field).contains(&cell))
            .unwrap_or(Field::Type)
    }

    /// Where cells stand for people.
    pub(super) const fn place(self, cells: &Range<usize>) -> Place {
        Place {
            line: cells.start / self.width() + 1,
            column: cells.start % self.width() + 1,
            len: cells.end.saturating_sub(cells.start),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where something stands: line and column count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The first column.
    pub column: usize,
    /// Number of cells, all in this line.
    pub len: usize,
}

/// A field of the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The document code: two letters.
    Type,
    /// The issuing state or organisation.
    Issuer,
    /// Both parts of the name.
    Name,
    /// The first nine characters of the document number.
    Number,
    /// The check digit of the number.
    NumberCheck,
    /// The holder's nationality.
    Nationality,
    /// The date of birth.
    Birth,
    /// The check digit of the date of birth.
    BirthCheck,
    /// The sex.
    Sex,
    /// The last day of validity.
    Expiry,
    /// The check digit of the expiry.
    ExpiryCheck,
    /// Optional data; in TD3 often a personal number.
    Optional,
    /// The check digit of the optional data of TD3.
    OptionalCheck,
    /// Optional data of line 2 of TD1.
    SecondOptional,
    /// The check digit over the other fields.
    Composite,
}

impl Field {
    /// Every field.
    pub const ALL: [Self; 15] = [
        Self::Type,
        Self::Issuer,
        Self::Name,
        Self::Number,
        Self::NumberCheck,
        Self::Nationality,
        Self::Birth,
        Self::BirthCheck,
        Self::Sex,
        Self::Expiry,
        Self::ExpiryCheck,
        Self::Optional,
        Self::OptionalCheck,
        Self::SecondOptional,
        Self::Composite,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Issuer => "issuer",
            Self::Name => "name",
            Self::Number => "number",
            Self::NumberCheck => "number-check",
            Self::Nationality => "nationality",
            Self::Birth => "birth-date",
            Self::BirthCheck => "birth-date-check",
            Self::Sex => "sex",
            Self::Expiry => "expiry",
            Self::ExpiryCheck => "expiry-check",
            Self::Optional => "optional",
            Self::OptionalCheck => "optional-check",
            Self::SecondOptional => "second-optional",
            Self::Composite => "composite",
        }
    }

    /// Whether it holds a check digit.
    pub(super) const fn is_check(self) -> bool {
        matches!(
            self,
            Self::NumberCheck
                | Self::BirthCheck
                | Self::ExpiryCheck
                | Self::OptionalCheck
                | Self::Composite
        )
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cover_every_cell_once() {
        for kind in Kind::ALL {
            let mut seen = vec![0; kind.cells()];
            for field in Field::ALL {
                let span = kind.span(field);
                if !span.is_empty() {
                    let place = kind.place(&span);
                    assert!(
                        place.column + place.len <= kind.width() + 1,
                        "{kind} {field}"
                    );
                }
                for cell in span {
                    seen[cell] += 1;
                    assert_eq!(kind.field(cell), field, "{kind}");
                }
            }
            assert!(seen.iter().all(|n| *n == 1), "{kind} {seen:?}");
        }
    }

    /// The columns as Doc 9303 counts them.
    #[test]
    fn columns_are_those_of_the_standard() {
        let table = [
            (Kind::Td1, Field::Number, (1, 6, 9)),
            (Kind::Td1, Field::Optional, (1, 16, 15)),
            (Kind::Td1, Field::Expiry, (2, 9, 6)),
            (Kind::Td1, Field::SecondOptional, (2, 19, 11)),
            (Kind::Td1, Field::Composite, (2, 30, 1)),
            (Kind::Td1, Field::Name, (3, 1, 30)),
            (Kind::Td2, Field::Nationality, (2, 11, 3)),
            (Kind::Td2, Field::Optional, (2, 29, 7)),
            (Kind::Td2, Field::Composite, (2, 36, 1)),
            (Kind::Td3, Field::Name, (1, 6, 39)),
            (Kind::Td3, Field::Sex, (2, 21, 1)),
            (Kind::Td3, Field::Optional, (2, 29, 14)),
            (Kind::Td3, Field::OptionalCheck, (2, 43, 1)),
            (Kind::MrvA, Field::Optional, (2, 29, 16)),
            (Kind::MrvB, Field::Optional, (2, 29, 8)),
        ];
        for (kind, field, (line, column, len)) in table {
            let place = kind.place(&kind.span(field));
            assert_eq!(place, Place { line, column, len }, "{kind} {field}");
        }
    }
}
