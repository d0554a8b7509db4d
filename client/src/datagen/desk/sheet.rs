//! The machine-readable zone of a document, printed, and changed cell by cell.

use std::ops::Range;

use tallystick_protocol::identifiers::mrz::{Field, Kind, check_digit};

use super::world::{Day, Document};

/// What the fields of a zone hold. All of it can be made to say what it should not.
#[derive(Clone)]
pub(super) struct Text {
    pub(super) kind: Kind,
    pub(super) number: String,
    pub(super) state: &'static str,
    pub(super) nationality: &'static str,
    pub(super) surname: String,
    pub(super) given: String,
    pub(super) birth: [u8; 6],
    pub(super) expiry: [u8; 6],
    pub(super) sex: u8,
    personal: Option<u64>,
}

impl Text {
    pub(super) fn of(document: &Document) -> Self {
        let holder = &document.holder;
        Self {
            kind: document.kind,
            number: document.number.clone(),
            state: document.state,
            nationality: document.nationality,
            surname: holder.surname.1.to_owned(),
            given: holder.given.1.to_owned(),
            birth: six(holder.birth),
            expiry: six(document.expiry),
            sex: holder.sex,
            personal: document.personal,
        }
    }

    /// The zone with its check digits.
    pub(super) fn print(&self) -> Sheet {
        let kind = self.kind;
        let mut sheet = Sheet {
            kind,
            cells: vec![b'<'; kind.width() * kind.lines()],
        };
        let code: &[u8] = match kind {
            Kind::Td3 => b"P",
            _ => b"I",
        };
        sheet.write(sheet.at(Field::Type), code);
        sheet.write(sheet.at(Field::Issuer), in_zone(self.state));
        sheet.write(sheet.at(Field::Nationality), in_zone(self.nationality));
        let name = format!("{}<<{}", self.surname, self.given);
        sheet.write(sheet.at(Field::Name), name.as_bytes());
        sheet.write(sheet.at(Field::Number), self.number.as_bytes());
        sheet.write(sheet.at(Field::Birth), &self.birth);
        sheet.write(sheet.at(Field::Sex), &[self.sex]);
        sheet.write(sheet.at(Field::Expiry), &self.expiry);
        if kind == Kind::Td3 {
            // Without a personal number its check digit is left out.
            if let Some(personal) = self.personal {
                sheet.write(sheet.at(Field::Optional), personal.to_string().as_bytes());
                sheet.seal(Field::Optional, Field::OptionalCheck);
            }
        }
        sheet.seal(Field::Number, Field::NumberCheck);
        sheet.seal(Field::Birth, Field::BirthCheck);
        sheet.seal(Field::Expiry, Field::ExpiryCheck);
        sheet.seal_all();
        sheet
    }
}

/// A printed zone.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sheet {
    kind: Kind,
    cells: Vec<u8>,
}

impl Sheet {
    /// The cells of a field, counted through all lines (Doc 9303-4 to -6, 4.2.2).
    pub(super) const fn at(&self, field: Field) -> Range<usize> {
        let second = match self.kind {
            Kind::Td1 => return td1(field),
            kind => kind.width(),
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
            Field::Optional => second + 28..second * 2 - 2,
            Field::OptionalCheck => second * 2 - 2..second * 2 - 1,
            Field::Composite => second * 2 - 1..second * 2,
            Field::SecondOptional => 0..0,
        }
    }

    pub(super) fn field(&self, field: Field) -> &[u8] {
        self.cells.get(self.at(field)).unwrap_or_default()
    }

    pub(super) fn get(&self, cell: usize) -> u8 {
        self.cells.get(cell).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, cell: usize, byte: u8) {
        if let Some(slot) = self.cells.get_mut(cell) {
            *slot = byte;
        }
    }

    /// Writes as much as has room.
    fn write(&mut self, at: Range<usize>, text: &[u8]) {
        for (cell, byte) in at.zip(text) {
            self.set(cell, *byte);
        }
    }

    /// Writes the check digit of a field.
    fn seal(&mut self, field: Field, check: Field) {
        let digit = check_digit(self.field(field));
        self.write(self.at(check), &[digit]);
    }

    /// Writes the composite check digit (Doc 9303-4 to -6, 4.2.4).
    pub(super) fn seal_all(&mut self) {
        let parts: &[Range<usize>] = match self.kind {
            Kind::Td1 => &[5..30, 30..37, 38..45, 48..59],
            Kind::Td2 => &[36..46, 49..56, 57..71],
            _ => &[44..54, 57..64, 65..87],
        };
        let parts = parts.iter().filter_map(|part| self.cells.get(part.clone()));
        let covered: Vec<u8> = parts.flatten().copied().collect();
        self.write(self.at(Field::Composite), &[check_digit(&covered)]);
    }

    /// The lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let lines = self.cells.chunks(self.kind.width());
        let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        lines.map(text).collect()
    }
}

const fn td1(field: Field) -> Range<usize> {
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

/// Germany alone has a code of one letter in a zone.
fn in_zone(state: &'static str) -> &'static [u8] {
    match state {
        "DEU" => b"D",
        state => state.as_bytes(),
    }
}

/// A day as a zone has it.
pub(super) fn six((year, month, day): Day) -> [u8; 6] {
    let digit = |n: u64| b'0' + (n % 10) as u8;
    [year / 10, year, month / 10, month, day / 10, day].map(digit)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::world::World;
    use super::*;
    use tallystick_protocol::identifiers::mrz::{Date, Mrz, Severity, Zone, check};

    #[test]
    fn what_is_printed_is_read_back_and_nothing_is_against_it() {
        let world = World::new(9);
        let today = Date::new(2026, 6, 1).unwrap();
        let mut kinds = std::collections::BTreeSet::new();
        for index in 0..400 {
            for document in [
                world.document(index),
                world.foreign(index),
                world.filled_blank(index % 20, index),
            ] {
                let text = Text::of(&document).print().lines().concat();
                kinds.insert(text.len());
                let zone = Zone::read(&text).unwrap();
                let found = check(&zone, today);
                let worst = found.iter().map(|f| f.severity).max();
                assert!(worst.is_none_or(|w| w == Severity::Note), "{found:?}");
                let read = Mrz::parse(&text).unwrap();
                assert_eq!(read.document_number(), document.number);
                assert_eq!(read.issuer(), document.state);
                assert_eq!(read.birth_date().as_bytes(), six(document.holder.birth));
                let surname = document.holder.surname.1.replace('<', " ");
                assert_eq!(read.surname(), surname);
            }
        }
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), [72, 88, 90]);
    }
}
