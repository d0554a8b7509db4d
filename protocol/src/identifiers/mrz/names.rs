//! The name field: its structure, and whether a printed name is the same.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::super::{document::HYPHENS, transliteration::variants};

/// Primary and secondary part, still with fillers.
pub(super) fn parts(field: &str) -> (&str, &str) {
    let field = field.trim_end_matches('<');
    field.split_once("<<").unwrap_or((field, ""))
}

/// Runs of fillers become one space.
pub(super) fn spaced(part: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(part.len()));
    for word in part.split('<').filter(|word| !word.is_empty()) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}

/// Whether no filler is left at the end: the name may have been cut (Doc 9303-3, 4.6).
pub(super) fn fills(field: &str) -> bool {
    !field.ends_with('<')
}

/// Whether fillers stand where a name has them: none at the start, two once between the parts, one
/// between words, nothing behind the end.
pub(super) fn is_well_formed(field: &str) -> bool {
    let (_, secondary) = parts(field);
    !field.starts_with('<') && !secondary.starts_with('<') && !secondary.contains("<<")
}

/// How a printed name stands to a zone's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// Some transliteration of it is the zone's.
    Same,
    /// None is.
    Different,
    /// It has characters that no table holds.
    NotReadable,
}

/// Compares what is printed with what the zone holds, by any transliteration of Doc 9303-3,
/// section 6. Spaces and hyphens are fillers; apostrophes, commas and full stops are left out
/// (4.6). With `cut`, the zone's may end early.
pub(super) fn compare(printed: &str, zone: &str, cut: bool) -> Comparison {
    let zone = zone.trim_end_matches('<').as_bytes();
    // Places in the zone's name that what was read so far can reach.
    let mut reached = Zeroizing::new(vec![false; zone.len() + 1]);
    let mut next = Zeroizing::new(vec![false; zone.len() + 1]);
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    let (mut between, mut begun) = (false, false);
    for c in printed.nfc() {
        if c.is_whitespace() || HYPHENS.contains(&c) {
            between = begun;
            continue;
        }
        if matches!(c, '\'' | '’' | '‘' | 'ʼ' | '`' | '´' | ',' | '.') {
            continue;
        }
        if cut && reached.last() == Some(&true) {
            return Comparison::Same;
        }
        let Some(forms) = forms(c) else {
            return Comparison::NotReadable;
        };
        if std::mem::take(&mut between) {
            step(zone, &reached, &mut next, &["<"]);
            std::mem::swap(&mut reached, &mut next);
            if cut && reached.last() == Some(&true) {
                return Comparison::Same;
            }
        }
        if cut && ends_inside(zone, &reached, forms) {
            return Comparison::Same;
        }
        step(zone, &reached, &mut next, forms);
        std::mem::swap(&mut reached, &mut next);
        begun = true;
    }
    if reached.last() == Some(&true) {
        Comparison::Same
    } else {
        Comparison::Different
    }
}

/// The forms of a character: those of the tables, or those of the letter without its marks, for
/// letters that the tables leave out (Vietnamese).
fn forms(c: char) -> Option<&'static [&'static str]> {
    let listed = variants(c);
    if !listed.is_empty() {
        return Some(listed);
    }
    let base = std::iter::once(c).nfd().next()?;
    let base = variants(base);
    (!base.is_empty()).then_some(base)
}

fn step(zone: &[u8], reached: &[bool], next: &mut [bool], forms: &[&str]) {
    next.fill(false);
    for (at, _) in reached.iter().enumerate().filter(|(_, reached)| **reached) {
        for form in forms {
            let rest = zone.get(at..).unwrap_or_default();
            if rest.starts_with(form.as_bytes())
                && let Some(slot) = next.get_mut(at + form.len())
            {
                *slot = true;
            }
        }
    }
}

/// Whether the zone ends within a form of more letters.
fn ends_inside(zone: &[u8], reached: &[bool], forms: &[&str]) -> bool {
    let rests = reached.iter().enumerate().filter(|(_, reached)| **reached);
    let mut rests = rests.filter_map(|(at, _)| zone.get(at..));
    rests.any(|rest| forms.iter().any(|form| form.as_bytes().starts_with(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transliteration_of_a_name_is_the_same_name() {
        let table = [
            ("Müller", "MUELLER"),
            ("Müller", "MULLER"),
            ("Müller", "MUXXLLER"),
            ("Mu\u{308}ller", "MUELLER"),
            ("Strauß", "STRAUSS"),
            ("Åse Bjørnsdóttir", "AASE<BJOERNSDOTTIR"),
            ("Peña", "PENXXA"),
            ("O'Connor", "OCONNOR"),
            ("Smith-Jones", "SMITH<JONES"),
            (" van  der Muellen ", "VAN<DER<MUELLEN"),
            ("Щукин", "SHCHUKIN"),
            ("محمد", "MXHMD"),
            ("Nguyễn", "NGUYEN"),
            ("ERIKSSON", "ERIKSSON<<<<"),
        ];
        for (printed, zone) in table {
            assert_eq!(compare(printed, zone, false), Comparison::Same, "{printed}");
        }
    }

    #[test]
    fn other_names_are_different() {
        let table = [
            ("Müller", "MILLER"),
            ("Müller", "MULLE"),
            ("Müller", "MULLERS"),
            ("Smith-Jones", "SMITHJONES"),
            ("Anna", "ANNA<MARIA"),
            ("", "ANNA"),
            ("Anna", ""),
        ];
        for (printed, zone) in table {
            assert_eq!(
                compare(printed, zone, false),
                Comparison::Different,
                "{printed}"
            );
        }
        assert_eq!(compare("漢字", "KANJI", false), Comparison::NotReadable);
    }

    #[test]
    fn a_cut_name_may_end_early() {
        for zone in ["CHARONGU", "CHARONG", "C"] {
            assert_eq!(
                compare("Charonguang Petch", zone, true),
                Comparison::Same,
                "{zone}"
            );
            assert_eq!(
                compare("Charonguang", zone, false),
                Comparison::Different,
                "{zone}"
            );
        }
        assert_eq!(compare("Jürgen", "JU", true), Comparison::Same);
        assert_eq!(compare("Bäcker", "BA", true), Comparison::Same);
        assert_eq!(compare("Müller", "MX", true), Comparison::Different);
    }

    #[test]
    fn structure_of_the_field() {
        let well = [
            "ERIKSSON<<ANNA<MARIA<<<<",
            "ARKFREITH<<<<",
            "A<B<<C<D",
            "A<B",
            "A<<B",
        ];
        for field in well {
            assert!(is_well_formed(field), "{field}");
        }
        let ill = [
            "<ERIKSSON<<ANNA<<",
            "ERIKSSON<<ANNA<<MARIA<<",
            "ERIKSSON<<<ANNA<<",
            "<<A<<",
        ];
        for field in ill {
            assert!(!is_well_formed(field), "{field}");
        }
    }
}
