//! Machine-readable zones, beside the check digits in plain lines.

use tallystick_protocol::identifiers::{
    IdentifierType, Key, Profile, Reject,
    mrz::{
        ALPHABET, Date, Field, Kind, Mrz, Printed, Zone, blind_cells, check, check_printed, compare,
    },
};

use super::input::Input;

const SPECIMENS: [&str; 4] = [
    "I<UTOD23145890<7349<<<<<<<<<<<\n3407127M9507122UTO<<<<<<<<<<<2\nSTEVENSON<<PETER<JOHN<<<<<<<<<",
    "I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<\nD231458907UTO7408122F1204159<<<<<<<6",
    "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10",
    "V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<\nL898902C<3UTO6908061F9406236ZE184226",
];

/// The digit of Doc 9303-3, 4.9.
fn digit(text: &str) -> char {
    let value = |c: char| if c == '<' { 0 } else { c.to_digit(36).unwrap() };
    let sum: u32 = text
        .chars()
        .zip([7, 3, 1].into_iter().cycle())
        .map(|(c, w)| value(c) * w)
        .sum();
    char::from_digit(sum % 10, 10).unwrap()
}

/// Whether every check digit holds, by the columns of the standard.
fn holds(zone: &Zone) -> bool {
    let field = |f| zone.field(f);
    let (number, own) = (field(Field::Number), field(Field::NumberCheck));
    let optional = field(Field::Optional);
    let long = optional.split('<').next().unwrap();
    let has_long = matches!(zone.kind(), Kind::Td1 | Kind::Td2) && own == "<" && long.len() > 1;
    let good = |text: &str, check: &str| check == digit(text).to_string();
    let number = if has_long {
        let (rest, check) = long.split_at(long.len() - 1);
        good(&format!("{number}{rest}"), check)
    } else {
        good(number, own)
    };
    let lines: Vec<&str> = zone.lines().collect();
    let composite = match zone.kind() {
        Kind::Td1 => {
            let all = [
                &lines[0][5..30],
                &lines[1][..7],
                &lines[1][8..15],
                &lines[1][18..29],
            ];
            good(&all.concat(), &lines[1][29..])
        }
        Kind::Td2 | Kind::Td3 => {
            let (line, end) = (lines[1], lines[1].len() - 1);
            good(
                &[&line[..10], &line[13..20], &line[21..end]].concat(),
                &line[end..],
            )
        }
        _ => true,
    };
    let personal = zone.kind() != Kind::Td3
        || good(optional, field(Field::OptionalCheck))
        || field(Field::OptionalCheck) == "<" && optional.bytes().all(|b| b == b'<');
    number
        && composite
        && personal
        && good(field(Field::Birth), field(Field::BirthCheck))
        && good(field(Field::Expiry), field(Field::ExpiryCheck))
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.below(SPECIMENS.len() + 1);
    let changes = input.below(6);
    let mut text = SPECIMENS
        .get(which)
        .map(|text| text.as_bytes().to_vec())
        .unwrap_or_default();
    for _ in 0..changes {
        let (at, byte) = (
            input.below(text.len().max(1)),
            ALPHABET[input.below(ALPHABET.len())],
        );
        if let Some(cell) = text.get_mut(at).filter(|cell| **cell != b'\n') {
            *cell = byte;
        }
    }
    let rest = String::from_utf8_lossy(input.rest()).into_owned();
    if text.is_empty() {
        text = rest.clone().into_bytes();
    }
    let text = String::from_utf8(text).unwrap();
    let today = Date::from_iso("2026-05-01").unwrap();
    let said = Some(rest.as_str());
    let printed = Printed {
        kind: None,
        number: said,
        state: said,
        nationality: said,
        surname: said,
        given_names: said,
        birth_date: said,
        expiry: said,
        sex: said,
    };
    let _ = check_printed(&printed, today);
    let Ok(zone) = Zone::read(&text) else {
        assert!(Mrz::parse(&text).is_err());
        return;
    };
    let lines: Vec<&str> = zone.lines().collect();
    assert_eq!(Zone::read(&lines.join("\n")).as_ref(), Ok(&zone));
    assert_eq!(
        Zone::read(&lines.concat().to_lowercase()).as_ref(),
        Ok(&zone)
    );
    let true_digits = holds(&zone);
    assert_eq!(Mrz::parse(&text).is_ok(), true_digits);
    keys(&text, &zone, true_digits);
    let found = check(&zone, today);
    let codes: Vec<_> = found.iter().map(|f| f.code).collect();
    let digits = codes.iter().any(|code| code.ends_with("-check-digit"));
    assert!(
        digits != true_digits || codes == ["old-french-card"],
        "{codes:?}"
    );
    let _ = compare(&zone, &printed);
    // What passes unseen keeps every digit true.
    for blind in blind_cells(&zone).iter().filter(|_| true_digits).take(60) {
        let place = blind.place(zone.kind());
        let mut lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        let other = blind.others().next().unwrap().to_string();
        lines[place.line - 1].replace_range(place.column - 1..place.column, &other);
        assert!(holds(&Zone::read(&lines.join("\n")).unwrap()));
    }
}

/// A zone is a key on a list only if its digits hold; whoever asks as it was read asks the same keys.
fn keys(text: &str, zone: &Zone, true_digits: bool) {
    let profile = Profile::exact();
    for ty in [
        IdentifierType::Document,
        IdentifierType::Holder,
        IdentifierType::Person,
    ] {
        let (mut listed, mut asked) = (Vec::new(), Vec::new());
        let listing = profile.keys(ty, 1, &[text], &mut listed);
        let asking = profile.keys_as_read(ty, zone, &mut asked);
        if true_digits {
            assert_eq!(listing, asking);
            let elements = |keys: &[Key]| -> Vec<Vec<u8>> {
                let bytes = keys.iter().map(|key| key.normalised.element.as_bytes());
                bytes.map(<[u8]>::to_vec).collect()
            };
            assert_eq!(elements(&listed), elements(&asked));
        } else {
            assert_eq!(listing, Err(Reject::MrzCheckDigit));
        }
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let specimen = |which: u8, rest: &str| [&[which, 0][..], rest.as_bytes()].concat();
    vec![
        specimen(0, "Stevenson"),
        specimen(1, "1974-08-12"),
        specimen(2, "D23145890"),
        specimen(3, "UTO"),
        specimen(4, SPECIMENS[2]),
        specimen(4, "p<utoeriksson«anna maria"),
    ]
}
