//! Canonical elements: two keys meet if and only if the documented folding makes them equal.

use tallystick_protocol::identifiers::{IdentifierType, Made, Normalised, Profile, normalise};
use unicode_normalization::UnicodeNormalization;

use super::input::Input;

/// What the profile's text says, in a few plain lines: issuer and value; `None` where there is no
/// key, an error where it is refused.
fn folded(ty: IdentifierType, parts: &[&str]) -> Result<Option<(String, String)>, ()> {
    let (issuer, value) = match ty {
        IdentifierType::Document => match document(parts[0], parts[1])? {
            Some(folded) => folded,
            None => return Ok(None),
        },
        IdentifierType::Text => {
            let upper: String = parts[0]
                .nfkc()
                .collect::<String>()
                .chars()
                .flat_map(char::to_uppercase)
                .collect();
            let upper: String = upper.nfkc().collect();
            (
                String::new(),
                upper.split_whitespace().collect::<Vec<_>>().join(" "),
            )
        }
        IdentifierType::Bytes => (String::new(), parts[0].to_owned()),
        other => panic!("{other} has no plain folding"),
    };
    match value.len() {
        0 => Ok(None),
        1..=1024 => Ok(Some((issuer, value))),
        _ => Err(()),
    }
}

/// The types of one canonical form, which a few lines can say again.
const PLAIN: [IdentifierType; 3] = [
    IdentifierType::Document,
    IdentifierType::Text,
    IdentifierType::Bytes,
];

const REMOVED: [char; 8] = [
    '<', '\u{2d}', '\u{ad}', '\u{2010}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2212}',
];

fn document(number: &str, state: &str) -> Result<Option<(String, String)>, ()> {
    let kept = |c: &char| !c.is_whitespace() && !REMOVED.contains(c);
    let number: String = number.nfkc().filter(kept).collect();
    if number.is_empty() {
        return Ok(None);
    }
    let number = number.to_ascii_uppercase();
    let state: String = state.trim().nfkc().collect::<String>().to_ascii_uppercase();
    let state = match state.trim_end_matches('<') {
        "D" => "DEU",
        other => other,
    };
    let good = number.len() <= 30
        && number
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
        && state.len() == 3
        && state.bytes().all(|b| b.is_ascii_uppercase());
    good.then(|| Some((state.to_owned(), number))).ok_or(())
}

fn encoded(ty: IdentifierType, issuer: &str, value: &str) -> Vec<u8> {
    let ty = ty.name();
    let mut bytes = vec![1, ty.len() as u8];
    bytes.extend_from_slice(ty.as_bytes());
    bytes.push(issuer.len() as u8);
    bytes.extend_from_slice(issuer.as_bytes());
    bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
    bytes.extend_from_slice(value.as_bytes());
    bytes
}

fn one(ty: IdentifierType, parts: &[&str]) -> Option<Normalised> {
    let (ours, plain) = (normalise(ty, parts), folded(ty, parts));
    match (ours, plain) {
        (Ok(Some(normalised)), Ok(Some((issuer, value)))) => {
            let bytes = encoded(ty, &issuer, &value);
            assert_eq!(
                normalised.element.as_bytes(),
                bytes,
                "folded otherwise than documented"
            );
            let again = match ty {
                IdentifierType::Document => normalise(ty, &[&value, &issuer]),
                _ => normalise(ty, &[&value]),
            };
            let again = again.unwrap().unwrap();
            assert!(
                again.element == normalised.element,
                "folded twice is another key"
            );
            Some(normalised)
        }
        (Ok(None), Ok(None)) | (Err(_), Err(())) => None,
        (ours, plain) => panic!(
            "{ours:?}, and the documented folding says {}",
            match plain {
                Ok(Some(_)) => "a key",
                Ok(None) => "no key",
                Err(()) => "refused",
            }
        ),
    }
}

/// The types whose rules take more than a few lines: what is canonical stays, and no type's element
/// is another's.
fn others(parts: &[&str]) {
    let mut seen = std::collections::BTreeSet::new();
    let people = [IdentifierType::Person, IdentifierType::Name];
    // A name that is folded is not that name again, so holders stand below.
    let own = |ty: &&IdentifierType| people.contains(ty) || **ty == IdentifierType::Holder;
    let plain = |ty: &&IdentifierType| !PLAIN.contains(ty) && !own(ty);
    for ty in IdentifierType::ALL.iter().filter(plain) {
        let Ok(Some(once)) = normalise(*ty, &parts[..ty.forms()[0].len()]) else {
            continue;
        };
        assert!(
            seen.insert(once.element.as_bytes().to_vec()),
            "two types meet"
        );
        let text = &once.key_text[ty.name().len() + 1..];
        let again = match ty {
            IdentifierType::Plate | IdentifierType::Wallet => {
                let (issuer, value) = text.split_once(':').unwrap();
                normalise(*ty, &[value, issuer])
            }
            IdentifierType::Phone => normalise(*ty, &[text, ""]),
            _ => normalise(*ty, &[text]),
        };
        let again = again.unwrap().unwrap();
        assert!(again.element == once.element, "folded twice is another key");
        assert!(again.key_text == once.key_text);
    }
}

/// A holder's key is its document's, and says of name and date no more than it should; who is written
/// in capitals is the same.
fn holder(parts: &[&str]) {
    let ty = IdentifierType::Holder;
    let Ok(made) = normalise(ty, &parts[..5]) else {
        return;
    };
    let document = normalise(IdentifierType::Document, &parts[..2]).unwrap();
    assert_eq!(made.is_some(), document.is_some());
    let (Some(key), Some(document)) = (made, document) else {
        return;
    };
    let value = std::str::from_utf8(key.element.value()).unwrap();
    let fields: Vec<&str> = value.split('\u{1f}').collect();
    let [number, birth, surname, given] = fields[..] else {
        panic!("{} fields", fields.len());
    };
    assert_eq!(number.as_bytes(), document.element.value());
    assert!(birth.len() == 6 && birth.bytes().all(|b| b.is_ascii_digit() || b == b'<'));
    let kept = |c: char| c.is_ascii_uppercase() && !"DQCGLMVY".contains(c);
    assert!((1..=10).contains(&surname.len()) && given.len() <= 1);
    assert!(surname.chars().chain(given.chars()).all(kept));
    assert!(
        !["AE", "OE", "UE", "AA", "XX"]
            .iter()
            .any(|out| surname.contains(out))
    );
    let upper = [parts[2].to_uppercase(), parts[3].to_uppercase()];
    let again = normalise(ty, &[parts[0], parts[1], &upper[0], &upper[1], parts[4]]);
    // Capitals may be longer than a name may be.
    if let Ok(Some(again)) = again {
        assert!(again.element == key.element, "capitals are another holder");
    }
}

/// Keys of people: within the budget, none twice, none of one rule the element of another.
fn people(parts: &[&str]) {
    for name in Profile::names() {
        let profile = Profile::built_in(name).unwrap();
        for (ty, form) in [
            (IdentifierType::Person, 0),
            (IdentifierType::Name, 0),
            (IdentifierType::Person, 1),
        ] {
            let mut keys = Vec::new();
            let given = if form == 0 { parts } else { &parts[..1] };
            let Ok(made) = profile.keys(ty, form, given, &mut keys) else {
                continue;
            };
            assert_eq!(made == Made::Nothing, keys.is_empty());
            assert!(keys.len() <= 160, "more than the budget of a row");
            let mut seen = std::collections::BTreeSet::new();
            for key in &keys {
                assert!(
                    profile.rules(ty).contains(&key.rule),
                    "a rule of another profile"
                );
                assert!(
                    seen.insert(key.normalised.element.as_bytes().to_vec()),
                    "a key twice"
                );
            }
        }
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let types = [input.below(3), input.below(3)].map(|i| PLAIN[i]);
    let text = String::from_utf8_lossy(input.rest());
    let parts: Vec<&str> = text.split('\u{1f}').chain([""; 6]).take(6).collect();
    others(&parts);
    people(&parts);
    holder(&parts);
    let keys = [(types[0], &parts[..2]), (types[1], &parts[2..4])]
        .map(|(ty, parts)| (ty, &parts[..ty.forms()[0].len()]));
    let [first, second] = keys.map(|(ty, parts)| one(ty, parts));
    if let (Some(first), Some(second)) = (first, second) {
        let [a, b] = keys.map(|(ty, parts)| (ty, folded(ty, parts)));
        assert_eq!(
            first.element == second.element,
            a == b,
            "two keys meet that are not one"
        );
        assert_eq!(first.key_text == second.key_text, a == b);
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    [
        "\0\0L898902C3\u{1f}UTO\u{1f}l 898-902\u{2011}c3<<\u{1f}uto",
        "\0\0C01X00T47\u{1f}D<<\u{1f}c01x00t47\u{1f}DEU",
        "\x01\x01stra\u{df}e \u{1f}\u{1f}STRASSE",
        "\x01\x02\u{fb01}n\u{3000}\u{1f}\u{1f}\u{fb01}n",
        "\x01\x01e\u{301} \u{fdfa}\u{1f}\u{1f}\u{c9}",
        "\0\0A_1\u{1f}UTO\u{1f}A1\u{1f}UTO",
        "\0\0+44 (0)20 7946 0958\u{1f}GB",
        "\0\x00044 55 1234 5678 x12\u{1f}MX",
        "\0\0GB82 WEST 1234 5698 7654 32\u{1f}",
        "\0\0Anna <mailto:A.B@b\u{fc}cher.example>\u{1f}",
        "\0\x001m8-gdm9axkp042788\u{1f}UTO",
        "\0\0m\u{fc} \u{410}\u{412}\u{b7}\u{661}2\u{1f}D<<",
        "\0\x00490154203237518\u{1f}DE",
        "\0\0BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4\u{1f}btc",
        "\0\x000x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\u{1f}",
        "\0\0M\u{fc}ller\u{1f}J\u{fc}rgen\u{1f}12.08.1974\u{1f}Bombay",
        "\0\0l898902c3\u{1f}uto\u{1f}M\u{fc}ller-L\u{fc}denscheidt\u{1f}\u{c5}sa\u{1f}12.08.1974",
        "\0\x01\u{2173}898\u{b2}\u{1f}\u{ff35}TO\u{1f}\u{149}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
