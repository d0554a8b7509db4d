//! Names: folded, transliterated, taken apart.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{decompose_canonical, is_combining_mark};
use zeroize::Zeroizing;

use super::super::{Reject, transliteration};

/// The longest name, in letters and spaces. ICAO Doc 9303 leaves 39 for all names together.
pub(super) const MAX_LETTERS: usize = 120;

/// What forms say where nobody knows a name: whoever has no name would meet everybody who has none.
/// Words that are somebody's name as well (NULL, NONE) are not among them. FNU and LNU are the
/// abbreviations of American visas.
pub(super) const PLACEHOLDERS: [&str; 12] = [
    "DESCONHECIDO",
    "DESCONOCIDO",
    "FNU",
    "INCONNU",
    "INCONNUE",
    "LNU",
    "N A",
    "NO NAME",
    "NOT KNOWN",
    "SCONOSCIUTO",
    "UNBEKANNT",
    "UNKNOWN",
];

/// The most bytes of a name, in either form: three of them, a date and what stands between fit into an
/// element.
const MAX_BYTES: usize = 300;

/// One field of names, as it was written but for case, width, punctuation and spacing. Secret.
pub(in crate::identifiers) struct Name {
    /// NFKC, upper case, words parted by one space.
    folded: Zeroizing<String>,
    /// The same in the letters A to Z, by the recommended transliteration. Letters of scripts that
    /// ICAO Doc 9303-3 has no table for stay as they are.
    latin: Zeroizing<String>,
}

impl Name {
    /// Reads a cell; `None` if there is no letter in it.
    ///
    /// An apostrophe is dropped; hyphen, comma, point, slash, filler `<` and white space part words.
    /// Anything else that is no letter is refused: it is a sign that the column holds something else.
    pub(in crate::identifiers) fn read(raw: &str) -> Result<Option<Self>, Reject> {
        let folded = if raw.is_ascii() {
            fold(raw.bytes().map(|b| char::from(b.to_ascii_uppercase())))?
        } else {
            // NFKC takes U+00B4 apart into a space and a mark.
            let raw = raw.chars().filter(|c| *c != '\u{b4}');
            fold(raw.nfkc().flat_map(char::to_uppercase).nfkc())?
        };
        if folded.is_empty() || PLACEHOLDERS.contains(&folded.as_str()) {
            return Ok(None);
        }
        let latin = if folded.is_ascii() {
            folded.clone()
        } else {
            transliterate(&folded, |_| 0)
        };
        if folded.len().max(latin.len()) > MAX_BYTES {
            return Err(Reject::NameLength);
        }
        // Of marks alone, or of a letter that has no sound of its own.
        Ok((!latin.is_empty()).then_some(Self { folded, latin }))
    }

    /// Whether it is more than an initial. One character that is no ASCII letter may be a whole name.
    pub(super) fn is_whole(&self) -> bool {
        let letters = self.latin.len() - self.latin.matches(' ').count();
        letters > 1
    }

    pub(super) fn folded(&self) -> &str {
        &self.folded
    }

    pub(in crate::identifiers) fn latin(&self) -> &str {
        &self.latin
    }

    /// The letters of [`Self::latin`] without spaces.
    pub(super) fn joined(&self) -> Zeroizing<String> {
        without_spaces(&self.latin)
    }

    /// The characters that have more than one transliteration, each with the number of them.
    pub(super) fn choices(&self) -> impl Iterator<Item = (char, usize)> + '_ {
        let ascii = self.folded.is_ascii();
        let letters = self.folded.chars().filter(move |_| !ascii);
        letters.filter_map(|c| {
            let n = transliteration::variants(c).len();
            (n > 1).then_some((c, n))
        })
    }

    /// Transliterated with the form that `choose` names for each character.
    pub(super) fn transliterated(&self, choose: impl Fn(char) -> usize) -> Zeroizing<String> {
        transliterate(&self.folded, choose)
    }
}

/// Words of several names, ascending, parted by one space: the same whichever field they stood in.
pub(super) fn sorted_words(names: &[&str]) -> Zeroizing<String> {
    let mut words: Vec<&str> = names.iter().flat_map(|name| name.split(' ')).collect();
    words.sort_unstable();
    let mut out = Zeroizing::new(String::with_capacity(
        words.iter().map(|word| word.len() + 1).sum(),
    ));
    for word in words {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Letters of several names, ascending, without spaces: the same however they stood.
pub(super) fn sorted_letters(names: &[&str]) -> Zeroizing<String> {
    let letters = names.iter().flat_map(|name| name.chars());
    let mut letters: Zeroizing<Vec<char>> = Zeroizing::new(letters.filter(|c| *c != ' ').collect());
    letters.sort_unstable();
    let mut out = Zeroizing::new(String::with_capacity(4 * letters.len()));
    out.extend(letters.iter());
    out
}

/// The first `n` characters.
pub(super) fn prefix(name: &str, n: usize) -> &str {
    name.char_indices()
        .nth(n)
        .map_or(name, |(end, _)| name.get(..end).unwrap_or(name))
}

/// The name, and the name with each one of its letters left out, each form once: two names that
/// differ by one edit share a form (the single-deletion neighbourhood).
pub(super) fn deletions(name: &str) -> Vec<Zeroizing<String>> {
    let mut forms = vec![Zeroizing::new(name.to_owned())];
    // One letter of two is an initial.
    if name.chars().count() < 3 {
        return forms;
    }
    let mut before = None;
    for (at, c) in name.char_indices() {
        // Of a double letter either one leaves the same.
        if before == Some(c) {
            continue;
        }
        before = Some(c);
        let mut form = Zeroizing::new(String::with_capacity(name.len()));
        form.push_str(name.get(..at).unwrap_or_default());
        form.push_str(name.get(at + c.len_utf8()..).unwrap_or_default());
        forms.push(form);
    }
    forms
}

fn without_spaces(name: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(name.len()));
    out.extend(name.chars().filter(|c| *c != ' '));
    out
}

fn fold(chars: impl Iterator<Item = char>) -> Result<Zeroizing<String>, Reject> {
    // The most bytes that can come out, at once: a growing string would leave copies.
    let mut out = Zeroizing::new(String::with_capacity(4 * MAX_LETTERS));
    let (mut letters, mut space) = (0, false);
    for c in chars {
        // Before letters: some of them are letters to Unicode.
        if is_apostrophe(c) {
            continue;
        }
        if c.is_alphabetic() || is_combining_mark(c) {
            letters += 1 + usize::from(space);
            if letters > MAX_LETTERS {
                return Err(Reject::NameLength);
            }
            if std::mem::take(&mut space) {
                out.push(' ');
            }
            out.push(c);
        } else if c.is_whitespace() || parts_words(c) {
            space = !out.is_empty();
        } else {
            return Err(Reject::NameCharacter);
        }
    }
    Ok(out)
}

fn is_apostrophe(c: char) -> bool {
    // U+2019 and its kin after NFKC; letters that stand for a glottal stop are dropped as well, since
    // most registers write an apostrophe for them or nothing.
    matches!(
        c,
        '\'' | '`' | '\u{2bb}'..='\u{2bf}' | '\u{2018}'..='\u{201b}' | '\u{2032}'
    )
}

fn parts_words(c: char) -> bool {
    matches!(
        c,
        '-' | ',' | '.' | '/' | '<' | ';' | '\u{b7}' | '\u{ad}' | '\u{2010}'
            ..='\u{2015}' | '\u{2212}'
    )
}

/// To the letters A to Z where there is a rule: the tables of ICAO Doc 9303-3 first, then the letter
/// without its marks (a decomposition that Unicode has promised never to change).
fn transliterate(folded: &str, choose: impl Fn(char) -> usize) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(4 * folded.len()));
    for c in folded.chars() {
        if c.is_ascii() {
            out.push(c);
            continue;
        }
        let forms = transliteration::variants(c);
        if let Some(form) = forms.get(choose(c)).or(forms.first()) {
            out.push_str(form);
            continue;
        }
        if is_combining_mark(c) {
            continue;
        }
        let mut plain = None;
        decompose_canonical(c, |part| {
            plain = plain.or(part.is_ascii_alphabetic().then_some(part));
        });
        out.push(plain.unwrap_or(c));
    }
    // Words of which nothing is left.
    match out.split(' ').any(str::is_empty) {
        false => out,
        true => words(&out),
    }
}

/// Words parted by one space.
fn words(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folded(raw: &str) -> String {
        Name::read(raw).unwrap().unwrap().folded().to_owned()
    }

    fn latin(raw: &str) -> String {
        Name::read(raw).unwrap().unwrap().latin().to_owned()
    }

    #[test]
    fn punctuation_and_spacing_carry_nothing() {
        for c in [
            '\'', '`', '\u{b4}', '\u{2bb}', '\u{2bc}', '\u{2bd}', '\u{2be}', '\u{2bf}', '\u{2018}',
            '\u{2019}', '\u{201a}', '\u{201b}', '\u{2032}',
        ] {
            assert_eq!(folded(&format!("O{c}brien")), "OBRIEN", "{c:?}");
        }
        assert_eq!(folded(" o ' brien "), "O BRIEN");
        for raw in [
            "Anna-Maria",
            "anna maria",
            "ANNA<MARIA",
            "Anna, Maria",
            "ANNA\u{2011}MARIA",
        ] {
            assert_eq!(folded(raw), "ANNA MARIA", "{raw}");
        }
        assert_eq!(folded("Weiß"), "WEISS");
        assert_eq!(folded("ｅｒｉｃ"), "ERIC");
    }

    #[test]
    fn transliteration_is_that_of_the_zone() {
        assert_eq!(latin("Müller"), "MUELLER");
        assert_eq!(latin("Ångström"), "AANGSTROEM");
        assert_eq!(latin("Nguyễn"), "NGUYEN");
        assert_eq!(latin("Дмитрий"), latin("дмитрий"));
        assert!(latin("Дмитрий").is_ascii());
        // No table: as it stands.
        assert_eq!(latin("李"), "李");
        assert_eq!(latin("Анна ь"), "ANNA");
    }

    #[test]
    fn empty_and_refused_names() {
        // The soft sign has no letter in the zone, and a mark alone is none.
        for raw in [
            "", " ", "-", "<<<", "'", "Unknown", "n/a", "FNU", "ь", "\u{301}", "\u{2bc}",
        ] {
            assert!(Name::read(raw).unwrap().is_none(), "{raw}");
        }
        for raw in ["R2D2", "a@b", "A\u{0}", "(unknown)", "?", "A\u{200b}B", "1"] {
            assert_eq!(Name::read(raw).err(), Some(Reject::NameCharacter), "{raw}");
        }
        assert!(Name::read(&"A".repeat(MAX_LETTERS)).is_ok());
        let long = "A".repeat(MAX_LETTERS + 1);
        assert_eq!(Name::read(&long).err(), Some(Reject::NameLength));
    }

    #[test]
    fn deletions_of_one_edit_meet() {
        let forms = |name: &str| -> std::collections::BTreeSet<String> {
            deletions(name).iter().map(|f| f.to_string()).collect()
        };
        assert_eq!(forms("ANNA").len(), 4);
        let pairs = [
            ("SMITH", "SMYTH"),
            ("SMITH", "SMIT"),
            ("SMITH", "SMITTH"),
            ("SMITH", "SIMTH"),
        ];
        for (a, b) in pairs {
            assert!(!forms(a).is_disjoint(&forms(b)), "{a} {b}");
        }
        assert!(forms("SMITH").is_disjoint(&forms("SMYYH")));
        assert_eq!(forms("A").len(), 1);
        assert_eq!(forms("LI").len(), 1, "an initial is not one edit away");
    }

    proptest! {
        #[test]
        fn never_panics_and_canonical_stays(raw in any::<String>()) {
            if let Ok(Some(name)) = Name::read(&raw) {
                prop_assert_eq!(folded(name.folded()), name.folded());
                prop_assert!(!deletions(name.latin()).is_empty());
                prop_assert!(name.choices().all(|(_, n)| n > 1));
            }
        }

        #[test]
        fn deletion_forms_are_distinct(name in "[A-C]{1,8}") {
            let forms = deletions(&name);
            let mut plain: Vec<&str> = forms.iter().map(|f| f.as_str()).collect();
            plain.sort_unstable();
            plain.dedup();
            prop_assert_eq!(plain.len(), forms.len());
        }
    }
}
