//! What scanners make of a zone that is printed in OCR-B.
//!
//! The confusions are those that engines and eyes make in the type itself (ISO 1073-2): shapes that
//! differ by a stroke. A good reader knows which fields hold digits and which letters, and still errs
//! within a class; a poor one errs across. Which of these a check digit sees is arithmetic, and not a
//! matter of the reader (Doc 9303-3, 4.9): see `docs/documents.md`.

use tallystick_protocol::identifiers::mrz::{Field, look_the_same};

use super::{super::prng::SplitMix, sheet::Sheet};

/// A letter for a letter, each way.
const LETTERS: [[u8; 2]; 8] = [
    *b"OQ", *b"OD", *b"IL", *b"UV", *b"CG", *b"CO", *b"MN", *b"VY",
];

/// A letter for a digit, each way.
const ACROSS: [[u8; 2]; 9] = [
    *b"0O", *b"0D", *b"0Q", *b"1I", *b"1L", *b"2Z", *b"5S", *b"6G", *b"8B",
];

/// A digit for a digit, each way.
const DIGITS: [[u8; 2]; 4] = [*b"38", *b"17", *b"08", *b"56"];

/// The letters that a filler is taken for.
const FILLERS: &[u8; 3] = b"KCL";

/// What may be read for a character by these pairs.
fn mistaken(pairs: &'static [[u8; 2]], byte: u8) -> impl Iterator<Item = u8> {
    pairs.iter().filter_map(move |[a, b]| match byte {
        x if x == *a => Some(*b),
        x if x == *b => Some(*a),
        _ => None,
    })
}

/// One change of the sheet: which cell, and what is read there.
type Slip = (usize, u8);

fn slips(sheet: &Sheet, field: Field, pairs: &'static [[u8; 2]]) -> Vec<Slip> {
    let cells = sheet.at(field);
    cells
        .flat_map(|cell| mistaken(pairs, sheet.get(cell)).map(move |byte| (cell, byte)))
        .collect()
}

fn slip(sheet: &Sheet, all: &[Slip], draws: &mut SplitMix) -> Option<Sheet> {
    if all.is_empty() {
        return None;
    }
    let (cell, byte) = *draws.pick(all);
    let mut read = sheet.clone();
    read.set(cell, byte);
    Some(read)
}

/// Letters of the name read as others, one to three of them. `None` if the name has none of these.
pub(super) fn name(sheet: &Sheet, draws: &mut SplitMix) -> Option<Sheet> {
    let times = 1 + draws.below(3);
    let mut read = None::<Sheet>;
    let mut touched = Vec::new();
    for _ in 0..times {
        let from = read.as_ref().unwrap_or(sheet);
        let mut all = slips(from, Field::Name, &LETTERS);
        // A cell is read once.
        all.retain(|(cell, _)| !touched.contains(cell));
        if all.is_empty() {
            break;
        }
        let (cell, byte) = *draws.pick(&all);
        let mut next = from.clone();
        next.set(cell, byte);
        touched.push(cell);
        read = Some(next);
    }
    read
}

/// A filler that parts names, or ends them, read as a letter.
pub(super) fn parting(sheet: &Sheet, draws: &mut SplitMix) -> Option<Sheet> {
    let name = sheet.field(Field::Name);
    let surname = name.windows(2).position(|pair| pair == b"<<")?;
    let start = sheet.at(Field::Name).start;
    // Of the two between surname and given names: then there is one name, and no given name.
    let cell = start + surname + draws.below(2) as usize;
    let mut read = sheet.clone();
    read.set(cell, *draws.pick(FILLERS));
    Some(read)
}

/// A digit for a letter of the name, or a letter among the fillers behind it.
pub(super) fn form(sheet: &Sheet, draws: &mut SplitMix) -> Option<Sheet> {
    let name = sheet.field(Field::Name);
    let used = name.len() - name.iter().rev().take_while(|c| **c == b'<').count();
    let start = sheet.at(Field::Name).start;
    let digits = slips(sheet, Field::Name, &ACROSS);
    // Two fillers at least stay between name and letter.
    let behind: Vec<Slip> = (start + used + 2..sheet.at(Field::Name).end)
        .flat_map(|cell| FILLERS.map(|letter| (cell, letter)))
        .collect();
    let all = match draws.below(2) {
        0 if !digits.is_empty() => digits,
        _ => behind,
    };
    slip(sheet, &all, draws)
}

/// A character of the number misread; a check digit sees it.
pub(super) fn number(sheet: &Sheet, draws: &mut SplitMix) -> Option<Sheet> {
    let mut all = slips(sheet, Field::Number, &ACROSS);
    all.extend(slips(sheet, Field::Number, &DIGITS));
    all.extend(slips(sheet, Field::Number, &LETTERS));
    all.retain(|(cell, byte)| !look_the_same(sheet.get(*cell), *byte));
    slip(sheet, &all, draws)
}

/// A character of the number misread as one of the same value modulo 10.
pub(super) fn unseen(sheet: &Sheet, draws: &mut SplitMix) -> Option<Sheet> {
    let mut all = slips(sheet, Field::Number, &ACROSS);
    all.retain(|(cell, byte)| look_the_same(sheet.get(*cell), *byte));
    slip(sheet, &all, draws)
}

/// A digit of the birth or of the expiry misread; a check digit sees it.
pub(super) fn date(sheet: &Sheet, draws: &mut SplitMix) -> Option<Sheet> {
    let field = match draws.below(2) {
        0 => Field::Birth,
        _ => Field::Expiry,
    };
    let mut all = slips(sheet, field, &DIGITS);
    all.extend(slips(sheet, field, &ACROSS));
    all.retain(|(cell, byte)| !look_the_same(sheet.get(*cell), *byte));
    slip(sheet, &all, draws)
}

/// Lines of which one lost characters at its end.
pub(super) fn cut(sheet: &Sheet, draws: &mut SplitMix) -> Vec<String> {
    let mut lines = sheet.lines();
    let which = draws.below(lines.len() as u64) as usize;
    // A card that lost two characters has as many as a passport.
    let lost = [1, 3, 4, 5, 7, 12];
    let lost = *draws.pick(&lost);
    if let Some(line) = lines.get_mut(which) {
        line.truncate(line.len().saturating_sub(lost));
    }
    lines
}
