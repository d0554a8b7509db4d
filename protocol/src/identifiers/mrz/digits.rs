//! Check digits, and what they cannot see.
//!
//! Doc 9303-3, 4.9: weights 7, 3, 1 in turn; digits are their value, `A` to `Z` are 10 to 35, the
//! filler is 0; the sum modulo 10.

use std::ops::Range;

use super::{
    layout::{Field, Kind},
    zone::Zone,
};

/// Every character of a zone.
pub const ALPHABET: &[u8; 37] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ<";

/// The value of a character under the check digit; 0 for what is no character of a zone.
pub(super) const fn value(byte: u8) -> u32 {
    match byte {
        b'0'..=b'9' => (byte - b'0') as u32,
        b'A'..=b'Z' => (byte - b'A') as u32 + 10,
        _ => 0,
    }
}

/// The check digit of these characters, as a character.
#[must_use]
pub fn check_digit(characters: &[u8]) -> u8 {
    digit_over(characters.iter().copied())
}

fn digit_over(characters: impl Iterator<Item = u8>) -> u8 {
    let weights = [7, 3, 1].into_iter().cycle();
    let sum: u32 = characters.zip(weights).map(|(c, w)| value(c) * w).sum();
    b'0' + (sum % 10) as u8
}

/// Whether no check digit tells two characters in the same cell apart: their values are equal
/// modulo 10. The weights 7, 3 and 1 have inverses modulo 10, so the place makes no difference.
#[must_use]
pub const fn look_the_same(a: u8, b: u8) -> bool {
    value(a) % 10 == value(b) % 10
}

/// Where the number goes on, and where its check digit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NumberForm {
    /// Cells of the rest of a long number, in the optional data; equal ends if it is not long.
    pub(super) rest: (usize, usize),
    /// Cell of the check digit.
    pub(super) check: usize,
}

impl NumberForm {
    pub(super) const fn is_long(&self) -> bool {
        self.rest.1 > self.rest.0
    }

    /// Doc 9303-5 and 9303-6, 4.2.2, note j: a number of more than nine characters has a filler
    /// where its check digit would be; the rest stands at the start of the optional data, then
    /// the check digit over all of it, then a filler.
    pub(super) fn of(kind: Kind, cells: &[u8]) -> Self {
        let check = kind.span(Field::NumberCheck).start;
        let optional = kind.span(Field::Optional);
        let short = Self {
            rest: (optional.start, optional.start),
            check,
        };
        if !kind.has_long_numbers() || cells.get(check) != Some(&b'<') {
            return short;
        }
        let run = cells.get(optional.clone()).unwrap_or_default();
        let run = run.iter().take_while(|c| **c != b'<').count();
        if run < 2 {
            return short;
        }
        let check = optional.start + run - 1;
        Self {
            rest: (optional.start, check),
            check,
        }
    }
}

/// What one check digit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The field it is named after.
    pub(super) field: Field,
    /// Its cell.
    pub(super) at: usize,
    /// What it should be.
    pub(super) expected: u8,
    /// What stands there.
    found: u8,
    /// Whether that is right.
    pub(super) holds: bool,
}

impl Verdict {
    /// What it tells an eye that cannot see the cells it covers.
    fn told(self) -> (Field, usize, u8, Option<u8>) {
        let wrong = (!self.holds).then_some(self.found);
        (self.field, self.at, self.expected, wrong)
    }
}

/// Every check digit of the zone, the composite last.
pub(super) fn verdicts(zone: &Zone) -> impl Iterator<Item = Verdict> + '_ {
    let (kind, cells) = (zone.kind(), zone.cells());
    let number = NumberForm::of(kind, cells);
    let own = [
        (Field::NumberCheck, Field::Number),
        (Field::BirthCheck, Field::Birth),
        (Field::ExpiryCheck, Field::Expiry),
        (Field::OptionalCheck, Field::Optional),
    ];
    let own = own.into_iter().filter_map(move |(check, field)| {
        let (at, rest) = match check {
            Field::NumberCheck => (number.check, number.rest.0..number.rest.1),
            _ => (kind.span(check).start, 0..0),
        };
        if kind.span(check).is_empty() {
            return None;
        }
        Some(verdict(zone, check, at, &[kind.span(field), rest]))
    });
    let composite = kind.span(Field::Composite);
    let composite = (!composite.is_empty())
        .then(|| verdict(zone, Field::Composite, composite.start, kind.composite()));
    own.chain(composite)
}

fn verdict(zone: &Zone, field: Field, at: usize, covered: &[Range<usize>]) -> Verdict {
    let part = |span: &Range<usize>| zone.cells().get(span.clone()).unwrap_or_default();
    let expected = digit_over(covered.iter().flat_map(part).copied());
    let found = zone.cells().get(at).copied().unwrap_or_default();
    // Doc 9303-4, 4.2.2: without a personal number its check digit may be `<`.
    let none = field == Field::OptionalCheck
        && found == b'<'
        && covered.iter().flat_map(part).all(|c| *c == b'<');
    Verdict {
        field,
        at,
        expected,
        found,
        holds: found == expected || none,
    }
}

/// Which check digits fail, one bit each.
pub(super) fn failing(zone: &Zone) -> u32 {
    let bit = |v: Verdict| u32::from(!v.holds) << (v.field as u32);
    verdicts(zone).map(bit).fold(0, |a, b| a | b)
}

/// A cell whose character could be another and every check digit would stay as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BlindCell {
    cell: usize,
    field: Field,
    others: u64,
}

impl BlindCell {
    /// The field the cell belongs to.
    #[must_use]
    pub const fn field(&self) -> Field {
        self.field
    }

    /// Whether no check digit covers the cell: any character passes.
    #[must_use]
    pub const fn is_uncovered(&self) -> bool {
        self.others.count_ones() as usize == ALPHABET.len() - 1
    }

    /// The characters that could stand there unseen, in the order of [`ALPHABET`].
    pub fn others(&self) -> impl Iterator<Item = char> + '_ {
        let taken = |i: &usize| self.others >> *i & 1 == 1;
        let indices = (0..ALPHABET.len()).filter(taken);
        indices.filter_map(|i| ALPHABET.get(i).map(|b| char::from(*b)))
    }

    /// Line and column, both from 1.
    #[must_use]
    pub fn place(&self, kind: Kind) -> super::Place {
        kind.place(&(self.cell..self.cell + 1))
    }
}

/// It would show what stands in the document.
impl std::fmt::Debug for BlindCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlindCell({}, {})", self.field, self.cell)
    }
}

/// What no check digit of this document can see: for each cell the characters that could stand
/// there instead of its own while every check digit is, and should be, what it is now. Cells where every
/// change is seen are left out. In the order of the cells.
///
/// It tries each change and computes all check digits again, so it holds for long numbers, for
/// the optional data and for the first letter, which decides about the format. In a cell that a
/// check digit covers, what is left are the characters of equal value modulo 10:
/// `0AKU<`, `1BLV`, `2CMW`, `3DNX`, `4EOY`, `5FPZ`, `6GQ`, `7HR`, `8IS`, `9JT`.
/// Other rules (dates, codes of states, digits in names) may still find the change.
///
/// It is about changes of one character. Two may cancel out: two neighbours whose values differ by
/// 5 may be swapped, and one digit changed together with its field's own check digit is missed by
/// the composite of a passport in places 2, 3, 5 and 6 of the date of birth, and 2 and 5 of the
/// expiry.
#[must_use]
pub fn blind_cells(zone: &Zone) -> Vec<BlindCell> {
    let before = failing(zone);
    let same = |other: &Zone| {
        if other.kind() != zone.kind() {
            // Other digits are looked at: the change is seen if one of them fails.
            return failing(other) & !before == 0;
        }
        let told = verdicts(zone).map(Verdict::told);
        told.eq(verdicts(other).map(Verdict::told))
    };
    let mut found = Vec::new();
    for (cell, was) in zone.cells().iter().enumerate() {
        let mut others = 0;
        for (i, byte) in ALPHABET.iter().enumerate().filter(|(_, b)| *b != was) {
            if zone.with(cell, *byte).as_ref().is_some_and(same) {
                others |= 1 << i;
            }
        }
        if others != 0 {
            let field = zone.kind().field(cell);
            found.push(BlindCell {
                cell,
                field,
                others,
            });
        }
    }
    found
}
