//! Which single character, read wrongly or altered, explains what does not hold.

use super::{
    dates::ShortDate,
    digits::{ALPHABET, failing},
    finding::Likely,
    layout::Field,
    states,
    zone::Zone,
};

/// The most that one finding lists.
const MOST: usize = 8;

/// Characters that eyes and machines confuse, in OCR-B and in other type, the worst first.
const CONFUSED: [[u8; 2]; 21] = [
    *b"0O", *b"0D", *b"0Q", *b"OD", *b"OQ", *b"1I", *b"1L", *b"IL", *b"2Z", *b"5S", *b"6G", *b"8B",
    *b"3B", *b"4A", *b"7T", *b"UV", *b"CG", *b"CO", *b"K<", *b"MN", *b"VY",
];

/// Whether two characters are often confused.
pub(super) fn confusable(a: u8, b: u8) -> bool {
    CONFUSED
        .iter()
        .any(|pair| *pair == [a, b] || *pair == [b, a])
}

/// The pairs of letters that are confused.
#[cfg(test)]
pub(in crate::identifiers) fn confused_letters() -> impl Iterator<Item = [u8; 2]> {
    let pairs = CONFUSED.into_iter();
    pairs.filter(|pair| pair.iter().all(u8::is_ascii_uppercase))
}

/// Changes of one character, the most likely first, and how many were left out.
pub(super) type Repairs = (Vec<Likely>, usize);

/// Single changes after which no check digit of `mask` fails, and none that held before; those of
/// `ignored` may do as they like. Check digits are bits, as in [`failing`].
pub(super) fn of_digits(zone: &Zone, mask: u32, ignored: u32) -> Repairs {
    let before = failing(zone);
    let heals = |changed: &Zone| {
        let now = failing(changed);
        now & mask == 0 && now & !before & !ignored == 0
    };
    let mut found = Vec::new();
    for cell in 0..zone.cells().len() {
        let field = zone.kind().field(cell);
        for byte in ALPHABET {
            if takes(field, *byte)
                && let Some(changed) = zone.with(cell, *byte)
                && heals(&changed)
                && is_plausible(&changed, field)
            {
                found.extend(likely(zone, cell, *byte));
            }
        }
    }
    shortened(found)
}

/// Changes of one confusable character that turn a field into the code of a state.
pub(super) fn of_code(zone: &Zone, field: Field) -> Repairs {
    let mut found = Vec::new();
    for cell in zone.kind().span(field) {
        for byte in ALPHABET {
            let known = zone.with(cell, *byte).is_some_and(|changed| {
                states::is_known(changed.field(field).trim_end_matches('<'))
            });
            if known && let Some(change) = likely(zone, cell, *byte).filter(|l| l.confusable) {
                found.push(change);
            }
        }
    }
    shortened(found)
}

/// Each character of a field that should hold letters, or digits, and is confused with one.
pub(super) fn of_class(zone: &Zone, field: Field, wanted: fn(&u8) -> bool) -> Repairs {
    let mut found = Vec::new();
    for cell in zone.kind().span(field) {
        let is_wrong = zone
            .cells()
            .get(cell)
            .is_some_and(|c| *c != b'<' && !wanted(c));
        let changes = ALPHABET.iter().filter(|b| is_wrong && wanted(b));
        let changes = changes.filter_map(|b| likely(zone, cell, *b));
        found.extend(changes.filter(|l| l.confusable));
    }
    shortened(found)
}

/// Fields that a check digit covers, and which characters they hold. The others heal nothing.
fn takes(field: Field, byte: u8) -> bool {
    match field {
        Field::Birth | Field::Expiry => byte.is_ascii_digit(),
        Field::Number | Field::Optional | Field::SecondOptional => true,
        _ => field.is_check() && byte.is_ascii_digit(),
    }
}

fn is_plausible(zone: &Zone, field: Field) -> bool {
    match field {
        Field::Birth | Field::Expiry => ShortDate::read(zone.field(field)).is_ok(),
        _ => true,
    }
}

fn likely(zone: &Zone, cell: usize, to: u8) -> Option<Likely> {
    let kind = zone.kind();
    let from = *zone.cells().get(cell)?;
    (from != to).then(|| Likely {
        place: kind.place(&(cell..cell + 1)),
        field: kind.field(cell),
        from: from.into(),
        to: to.into(),
        confusable: confusable(from, to),
    })
}

/// Confusable ones first, in the order of [`CONFUSED`]; among the others those that stay letter or
/// digit, then the order of the cells.
fn shortened(mut found: Vec<Likely>) -> Repairs {
    let class = |c: char| (c.is_ascii_digit(), c == '<');
    let rank = |l: &Likely| {
        let pair = [l.from as u32, l.to as u32];
        let is = |known: &[u8; 2]| {
            let known = known.map(u32::from);
            known == pair || known == [pair[1], pair[0]]
        };
        CONFUSED.iter().position(is).unwrap_or(CONFUSED.len())
    };
    found.sort_by_key(|l| (rank(l), class(l.from) != class(l.to), l.place));
    let more = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    (found, more)
}
