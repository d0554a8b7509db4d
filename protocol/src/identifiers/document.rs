//! Travel and identity documents: number and issuing state.
//!
//! The number as people type it and as a machine-readable zone (ICAO Doc 9303-3) prints it must
//! meet: spaces, hyphens and the filler `<` carry no meaning. No check digit is read here: a
//! number that comes with one is another number.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::short::{Refused, Short};
use super::{Element, IdentifierType, Normalised, Reject, key_text};

/// The longest number. A TD1 document carries at most 9 + 15 characters; 30 leaves room.
pub(super) const MAX_NUMBER: usize = 30;

/// Letters of a state's code in ICAO Doc 9303-3.
const STATE_LETTERS: usize = 3;

/// What fills a number in a machine-readable zone.
const FILLERS: [char; 1] = ['<'];

/// What passes for a hyphen after NFKC. U+2011 and U+FF0D are gone by then: NFKC turns them into
/// U+2010 and U+002D.
pub(super) const HYPHENS: [char; 7] = [
    '-', '\u{ad}', '\u{2010}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2212}',
];

/// Canonical form of a document. A key without a number is empty, whatever its state: lists of
/// people hold many without a document.
pub(super) fn normalise(number: &str, state: &str) -> Result<Option<Normalised>, Reject> {
    let Some(number) = self::number(number)? else {
        return Ok(None);
    };
    let state = canonical_state(state)?;
    // ASCII by construction; the fallback is never taken.
    let number = number.as_str();
    let state = std::str::from_utf8(&state[..]).map_err(|_| Reject::StateForm)?;
    let ty = IdentifierType::Document;
    Ok(Some(Normalised {
        element: Element::encode(ty.name(), state, number.as_bytes()),
        key_text: key_text(ty, Some(state), number),
    }))
}

/// The number alone; `None` if there is none.
pub(super) fn number(raw: &str) -> Result<Option<Short<MAX_NUMBER>>, Reject> {
    let number = canonical_number(raw)?;
    Ok((!number.is_empty()).then_some(number))
}

fn canonical_number(raw: &str) -> Result<Short<MAX_NUMBER>, Reject> {
    Short::alphanumeric(raw, &FILLERS).map_err(|refused| match refused {
        Refused::Character => Reject::NumberCharacter,
        Refused::Length => Reject::NumberLength,
    })
}

pub(super) fn canonical_state(raw: &str) -> Result<Zeroizing<[u8; STATE_LETTERS]>, Reject> {
    if raw.is_ascii() {
        state_from(raw.trim().bytes().map(char::from))
    } else {
        // Trimmed first: NFKC turns other kinds of space into U+0020, which is refused inside.
        state_from(raw.trim().nfkc())
    }
}

/// Three letters, with the fillers `<` that stand behind shorter codes in a machine-readable zone.
fn state_from(chars: impl Iterator<Item = char>) -> Result<Zeroizing<[u8; STATE_LETTERS]>, Reject> {
    let mut letters = Short::<STATE_LETTERS>::new();
    let mut filler = false;
    for c in chars {
        match c {
            '<' => filler = true,
            'A'..='Z' | 'a'..='z' if !filler => {
                if !letters.push(c.to_ascii_uppercase() as u8) {
                    return Err(Reject::StateForm);
                }
            }
            _ => return Err(Reject::StateForm),
        }
    }
    match letters.as_slice() {
        [] => Err(Reject::StateMissing),
        // Doc 9303-3: Germany alone has a code of one letter.
        b"D" => Ok(Zeroizing::new(*b"DEU")),
        [_, _] => Err(Reject::StateTwoLetters),
        &[a, b, c] => Ok(Zeroizing::new([a, b, c])),
        _ => Err(Reject::StateForm),
    }
}

/// The state of a nationality: the same three letters.
pub(super) fn state(raw: &str) -> Result<Zeroizing<String>, Reject> {
    let state = canonical_state(raw)?;
    let text = std::str::from_utf8(&state[..]).map_err(|_| Reject::StateForm)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// What the profile's hash says of these rules.
pub(super) fn rules_text() -> String {
    let hyphens: Vec<String> = HYPHENS
        .iter()
        .map(|c| format!("U+{:04X}", *c as u32))
        .collect();
    format!(
        "document: number, state\n\
         document.number: NFKC; a-z to A-Z; remove White_Space, '<', {}; [A-Z0-9]{{1,30}}\n\
         document.state: trim White_Space; NFKC; a-z to A-Z; strip trailing '<'; D is DEU; [A-Z]{{3}}\n",
        hyphens.join(" ")
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(number: &str, state: &str) -> Result<Option<String>, Reject> {
        Ok(normalise(number, state)?.map(|n| n.key_text.to_string()))
    }

    #[test]
    fn one_number_however_it_is_written() {
        let want = Ok(Some("document:UTO:L898902C3".to_owned()));
        let written = [
            "L898902C3",
            "l898902c3",
            "  L898902C3\t",
            "L898902C3<<<<<",
            "L 898-902 C3",
            "L\u{2011}898\u{2013}902\u{ad}C3",
            "L\u{a0}898\u{3000}902\u{2009}C3",
            "Ｌ８９８９０２Ｃ３",
            "ｌ８９８９０２ｃ３",
            "𝐋898902C³",
            "Ⅼ898902C③",
        ];
        for number in written {
            assert_eq!(text(number, "UTO"), want, "{number}");
        }
        for state in ["UTO", "uto", " Uto ", "ＵＴＯ", "UTO<", "\u{a0}UTO"] {
            assert_eq!(text("L898902C3", state), want, "{state}");
        }
    }

    #[test]
    fn states_of_other_lengths() {
        for state in ["D<<", "D", "d", "DEU", "deu", "Ｄ＜＜"] {
            assert_eq!(
                text("C01X00T47", state),
                Ok(Some("document:DEU:C01X00T47".into()))
            );
        }
        for state in ["GBD", "XXA", "UNO", "RKS"] {
            assert_eq!(text("1", state), Ok(Some(format!("document:{state}:1"))));
        }
        for state in ["FR", "fr", "DE<", "ＦＲ"] {
            assert_eq!(text("1", state), Err(Reject::StateTwoLetters), "{state}");
        }
        assert!(
            Reject::StateTwoLetters
                .to_string()
                .contains("three letters")
        );
        for state in ["", " ", "<<<", "\u{a0}"] {
            assert_eq!(text("1", state), Err(Reject::StateMissing), "{state}");
        }
        let bad = ["F", "UTOP", "U1O", "U O", "<UT", "U<O", "ÜTO", "276", "D<D"];
        for state in bad {
            assert_eq!(text("1", state), Err(Reject::StateForm), "{state}");
        }
    }

    #[test]
    fn numbers_that_are_refused() {
        let bad = [
            "N/A",
            "12.34",
            "12½",
            "AÉ1",
            "Аbc1",
            "١٢٣",
            "A\u{200b}1",
            "A\u{0}1",
            "AB_1",
            "STRAßE",
            "ı1",
            "A\u{301}1",
        ];
        for number in bad {
            assert_eq!(
                text(number, "UTO"),
                Err(Reject::NumberCharacter),
                "{number}"
            );
        }
        assert!(text(&"9".repeat(30), "UTO").is_ok());
        assert_eq!(text(&"9".repeat(31), "UTO"), Err(Reject::NumberLength));
        assert!(text(&"9 <-".repeat(30), "UTO").is_ok());
        // One ligature, many letters: the bound holds after NFKC.
        assert_eq!(text(&"㎯".repeat(31), "UTO"), Err(Reject::NumberCharacter));
        assert_eq!(text(&"ﬃ".repeat(11), "UTO"), Err(Reject::NumberLength));
    }

    #[test]
    fn without_a_number_the_key_is_empty() {
        for number in ["", " ", "<<<<<<<<<", "-", "\u{3000}", "－"] {
            for state in ["UTO", "", "nonsense"] {
                assert_eq!(text(number, state), Ok(None), "{number}");
            }
        }
    }

    proptest! {
        /// The fast path is no other rule.
        #[test]
        fn ascii_path_equals_unicode_path(raw in "[ -~\t\n\x0b\x0c\r]{0,40}") {
            let fast = canonical_number(&raw).map(|n| n.as_slice().to_vec());
            let slow = Short::<MAX_NUMBER>::alphanumeric_from(raw.nfkc(), &FILLERS);
            prop_assert_eq!(fast.ok(), slow.map(|n| n.as_slice().to_vec()).ok());
            let fast = canonical_state(&raw).map(|s| *s);
            let slow = state_from(raw.trim().nfkc()).map(|s| *s);
            prop_assert_eq!(fast, slow);
        }

        #[test]
        fn canonical_stays(number in "[ a-zA-Z0-9<-]{1,34}", state in "[a-zA-Z]{3}<?") {
            if let Ok(Some(once)) = normalise(&number, &state) {
                let mut fields = once.key_text.split(':').skip(1);
                let (state, number) = (fields.next().unwrap(), fields.next().unwrap());
                let twice = normalise(number, state).unwrap().unwrap();
                prop_assert_eq!(&once.element, &twice.element);
                prop_assert_eq!(&*once.key_text, &*twice.key_text);
            }
        }

        #[test]
        fn never_panics(number in any::<String>(), state in any::<String>()) {
            if let Ok(Some(n)) = normalise(&number, &state) {
                prop_assert!(n.element.as_bytes().len() <= 16 + MAX_NUMBER);
            }
        }

        /// Different documents stay different.
        #[test]
        fn distinct_documents_do_not_meet(
            a in ("[AB01]{1,3}", "[AB]{3}"), b in ("[AB01]{1,3}", "[AB]{3}"),
        ) {
            let x = normalise(&a.0, &a.1).unwrap().unwrap();
            let y = normalise(&b.0, &b.1).unwrap().unwrap();
            prop_assert_eq!(x.element == y.element, a == b);
        }
    }
}
