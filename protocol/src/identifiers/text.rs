//! Free text and plain bytes.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::{Element, IdentifierType, MAX_VALUE_BYTES, Normalised, Reject, key_text};

/// Text: NFKC, upper case, NFKC again, runs of white space folded to one space, trimmed.
///
/// NFKC comes twice because upper case can leave letters in a form that NFKC would still change.
/// Folding is by Unicode's `White_Space`.
pub(super) fn normalise(raw: &str) -> Result<Option<Normalised>, Reject> {
    let value = if raw.is_ascii() {
        // NFKC leaves ASCII as it is.
        let upper = raw.bytes().map(|b| char::from(b.to_ascii_uppercase()));
        fold(upper, raw.len().min(MAX_VALUE_BYTES))?
    } else {
        fold(unicode_upper(raw), MAX_VALUE_BYTES)?
    };
    Ok(finish(IdentifierType::Text, &value))
}

/// Bytes: the cell as it stands (the table reader has trimmed it).
pub(super) fn normalise_bytes(raw: &str) -> Result<Option<Normalised>, Reject> {
    if raw.len() > MAX_VALUE_BYTES {
        return Err(Reject::ValueLength);
    }
    Ok(finish(IdentifierType::Bytes, raw))
}

fn finish(ty: IdentifierType, value: &str) -> Option<Normalised> {
    (!value.is_empty()).then(|| Normalised {
        element: Element::encode(ty.name(), "", value.as_bytes()),
        key_text: key_text(ty, None, value),
    })
}

/// A chain of iterators: no intermediate copy to wipe.
fn unicode_upper(raw: &str) -> impl Iterator<Item = char> + '_ {
    raw.nfkc().flat_map(char::to_uppercase).nfkc()
}

/// `room` is the most bytes that can come out. They are taken at once, so that the string never
/// moves and leaves a copy.
fn fold(chars: impl Iterator<Item = char>, room: usize) -> Result<Zeroizing<String>, Reject> {
    let mut out = Zeroizing::new(String::with_capacity(room));
    let mut space = false;
    for c in chars {
        if c.is_whitespace() {
            space = !out.is_empty();
            continue;
        }
        if out.len() + usize::from(space) + c.len_utf8() > MAX_VALUE_BYTES {
            return Err(Reject::ValueLength);
        }
        if std::mem::take(&mut space) {
            out.push(' ');
        }
        out.push(c);
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &str) -> Result<Option<String>, Reject> {
        Ok(normalise(raw)?.map(|n| n.key_text["text:".len()..].to_owned()))
    }

    #[test]
    fn vectors() {
        let table = [
            ("abc", "ABC"),
            ("  a \t b\r\n c  ", "A B C"),
            ("a\u{a0}\u{3000}b", "A B"),
            ("ｆｕｌｌ　ｗｉｄｔｈ １２", "FULL WIDTH 12"),
            ("straße", "STRASSE"),
            ("STRAẞE", "STRAẞE"),
            ("ﬁn", "FIN"),
            ("e\u{301}", "É"),
            ("é", "É"),
            ("Å", "Å"),
            ("ĳ", "IJ"),
            ("ǆ", "DŽ"),
            ("ŉ", "ʼN"),
            ("ΐ", "Ϊ\u{301}"),
            ("ᾳ", "ΑΙ"),
            ("Ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ"),
            ("иван", "ИВАН"),
            ("ℌ²", "H2"),
            ("a;b", "A;B"),
        ];
        for (raw, want) in table {
            assert_eq!(text(raw), Ok(Some(want.to_owned())), "{raw}");
        }
    }

    /// What must stay apart: a rule that folds too much makes false hits.
    #[test]
    fn different_texts_stay_different() {
        let apart = [
            ("A", "А"), // Latin, Cyrillic
            ("ab", "a b"),
            ("a-b", "ab"),
            ("É", "E"),
            ("a\u{200b}b", "ab"),
            ("ẞ", "ß"),
        ];
        for (a, b) in apart {
            assert_ne!(text(a).unwrap(), text(b).unwrap(), "{a} {b}");
        }
    }

    #[test]
    fn empty_and_too_long() {
        for raw in ["", " ", "\t\u{3000}\u{2028}"] {
            assert_eq!(text(raw), Ok(None));
        }
        assert!(normalise_bytes("").unwrap().is_none());
        for f in [normalise, normalise_bytes] {
            assert!(f(&"x".repeat(1024)).unwrap().is_some());
            assert_eq!(f(&"x".repeat(1025)).unwrap_err(), Reject::ValueLength);
        }
        // 3 bytes that NFKC turns into 33.
        assert_eq!(
            normalise(&"\u{fdfa}".repeat(40)).unwrap_err(),
            Reject::ValueLength
        );
        // Spaces count once.
        let wide = format!("{}b", "a \u{3000} ".repeat(511));
        assert!(normalise(&wide).unwrap().is_some());
    }

    #[test]
    fn bytes_are_not_touched() {
        for raw in ["abc", "a  B", "ﬁ", "é", "e\u{301}", "-<"] {
            let n = normalise_bytes(raw).unwrap().unwrap();
            assert!(n.element.as_bytes().ends_with(raw.as_bytes()));
            assert_eq!(&n.key_text["bytes:".len()..], raw);
        }
    }

    /// Every character of Unicode alone, and after a base letter and before a mark.
    #[test]
    fn idempotent_for_every_character() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            for raw in [c.to_string(), format!("a{c}"), format!("{c}\u{301}")] {
                if let Some(once) = text(&raw).unwrap() {
                    assert_eq!(text(&once), Ok(Some(once)), "U+{:04X}", c as u32);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn ascii_path_equals_unicode_path(raw in "[\x00-\x7f]{0,60}") {
            let slow = fold(unicode_upper(&raw), MAX_VALUE_BYTES).unwrap();
            prop_assert_eq!(text(&raw).unwrap().unwrap_or_default(), slow.as_str());
        }

        #[test]
        fn idempotent(raw in any::<String>()) {
            if let Ok(Some(once)) = text(&raw) {
                prop_assert_eq!(text(&once), Ok(Some(once)));
            }
        }

        /// Canonically equal spellings meet.
        #[test]
        fn form_does_not_matter(raw in "\\PC{0,40}") {
            let nfd: String = raw.nfd().collect();
            let nfkc: String = raw.nfkc().collect();
            prop_assert_eq!(text(&raw), text(&nfd));
            prop_assert_eq!(text(&raw), text(&nfkc));
        }
    }
}
