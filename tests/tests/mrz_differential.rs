//! Machine-readable zones against the `mrz` crate, an independent implementation of ICAO Doc 9303:
//! check digits of altered specimens, fields, transliterations, codes of states, blind spots.

#![allow(clippy::unwrap_used)]

use mrz::{
    Blindspot, MrzData, blindspot, parse_mrv_a, parse_mrv_b, parse_td1, parse_td2, parse_td3,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tallystick_protocol::identifiers::{
    mrz::{self as ours, ALPHABET, Date, Kind, Mrz, Zone, check, is_known_state},
    transliteration::{CYRILLIC, LATIN, variants},
};

const SPECIMENS: [(Kind, &str); 6] = [
    (
        Kind::Td1,
        "I<UTOD231458907<<<<<<<<<<<<<<<7408122F1204159UTO<<<<<<<<<<<6ERIKSSON<<ANNA<MARIA<<<<<<<<<<",
    ),
    (
        Kind::Td1,
        "I<UTOD23145890<7349<<<<<<<<<<<3407127M9507122UTO<<<<<<<<<<<2STEVENSON<<PETER<JOHN<<<<<<<<<",
    ),
    (
        Kind::Td2,
        "I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<D231458907UTO7408122F1204159<<<<<<<6",
    ),
    (
        Kind::Td3,
        "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<L898902C36UTO7408122F1204159ZE184226B<<<<<10",
    ),
    (
        Kind::MrvA,
        "V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<L898902C<3UTO6908061F9406236ZE184226B<<<<<<<",
    ),
    (
        Kind::MrvB,
        "V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<L898902C<3UTO6908061F9406236ZE184226",
    ),
];

/// The other implementation's reading; `None` where it refuses.
fn theirs(kind: Kind, text: &str) -> Option<MrzData> {
    let line = |n: usize| &text[n * kind.width()..(n + 1) * kind.width()];
    let read = match kind {
        Kind::Td1 => parse_td1(line(0), line(1), line(2)),
        Kind::Td2 => parse_td2(line(0), line(1)),
        Kind::Td3 => parse_td3(line(0), line(1)),
        Kind::MrvA => parse_mrv_a(line(0), line(1)),
        Kind::MrvB => parse_mrv_b(line(0), line(1)),
    };
    read.ok()
}

/// Our check digits that fail, by the names of theirs.
fn failing(text: &str) -> [bool; 5] {
    let today = Date::from_iso("2026-05-01").unwrap();
    let found = check(&Zone::read(text).unwrap(), today);
    let has = |code: &str| found.iter().any(|f| f.code == code);
    [
        has("number-check-digit"),
        has("birth-date-check-digit"),
        has("expiry-check-digit"),
        has("optional-check-digit"),
        has("composite-check-digit"),
    ]
}

#[test]
fn check_digits_of_altered_zones_agree() {
    let mut rng = StdRng::seed_from_u64(9303);
    let (mut compared, mut failed) = (0, 0);
    for round in 0..6000 {
        let (kind, text) = SPECIMENS[round % SPECIMENS.len()];
        let mut cells = text.as_bytes().to_vec();
        for _ in 0..rng.random_range(0..4) {
            // From the third cell on: the first two decide about the format.
            let at = rng.random_range(2..cells.len());
            cells[at] = ALPHABET[rng.random_range(0..ALPHABET.len())];
        }
        let text = String::from_utf8(cells).unwrap();
        let Some(data) = theirs(kind, &text) else {
            continue;
        };
        // It also reads long numbers where the standard has none, and in older forms.
        let number_cell = match kind {
            Kind::Td1 => 14,
            _ => kind.width() + 9,
        };
        if text.as_bytes()[number_cell] == b'<' && text != SPECIMENS[1].1 {
            continue;
        }
        let checks = data.checks;
        let want = [
            checks.document_number,
            checks.date_of_birth,
            checks.date_of_expiry,
            checks.personal_number,
            checks.composite,
        ]
        .map(|check| check == Some(false));
        assert_eq!(failing(&text), want, "{kind} {text}");
        compared += 1;
        failed += usize::from(want != [false; 5]);
    }
    assert!(compared > 2500 && failed > 1000, "{compared} {failed}");
}

#[test]
fn fields_of_the_specimens_agree() {
    for (kind, text) in SPECIMENS {
        let (mine, other) = (Mrz::parse(text).unwrap(), theirs(kind, text).unwrap());
        assert_eq!(mine.document_number(), other.full_document_number());
        assert_eq!(mine.issuer(), other.issuing_country);
        assert_eq!(mine.nationality(), other.nationality);
        assert_eq!(mine.surname(), other.surname);
        assert_eq!(mine.given_names(), other.given_names);
    }
}

#[test]
fn transliterations_agree() {
    // Rows of our own: U+00DF, U+0218, U+021A.
    let ours_alone = ['ß', 'Ș', 'Ț'];
    for (c, forms) in LATIN.iter().filter(|row| !ours_alone.contains(&row.0)) {
        assert_eq!(mrz::transliterations(*c), *forms, "{c}");
    }
    use mrz::CyrillicLanguage::{Belarusian, Bulgarian, Macedonian, Russian, Serbian, Ukrainian};
    let languages = [
        Russian, Belarusian, Bulgarian, Macedonian, Serbian, Ukrainian,
    ];
    let mut rows = 0;
    for (c, forms) in CYRILLIC {
        let Some(base) = mrz::transliterate_cyrillic_char(*c, Russian, false) else {
            continue;
        };
        rows += 1;
        assert_eq!(variants(*c)[0], base, "{c}");
        let mut theirs: Vec<&str> = languages
            .into_iter()
            .flat_map(|l| [true, false].map(|first| mrz::transliterate_cyrillic_char(*c, l, first)))
            .flatten()
            .collect();
        let mut mine = forms.to_vec();
        theirs.sort_unstable();
        theirs.dedup();
        mine.sort_unstable();
        assert_eq!(mine, theirs, "{c}");
    }
    assert_eq!(rows, 48);
}

#[test]
fn blind_spots_and_codes_of_states_agree() {
    for a in ALPHABET {
        for b in ALPHABET.iter().filter(|b| *b != a) {
            let blind = matches!(blindspot((*a).into(), (*b).into()), Blindspot::Blind { .. });
            assert_eq!(ours::look_the_same(*a, *b), blind);
        }
    }
    // It also knows a code for Kosovo that neither ISO nor ICAO has given.
    let theirs = mrz::codes().iter().map(|(code, _)| *code);
    let mut count = 0;
    for code in theirs.filter(|code| *code != "XKX") {
        assert!(is_known_state(code), "{code}");
        count += 1;
    }
    assert_eq!(count, 249 + 30);
}
