//! Names by ear: the Daitch-Mokotoff code.

use std::sync::LazyLock;

use rphonetic::{DaitchMokotoffSoundex, DaitchMokotoffSoundexBuilder};

/// Built once: parsing the rules costs more than thousands of names. `None` cannot be: the rules are
/// part of the library, and the test below uses them.
static CODER: LazyLock<Option<DaitchMokotoffSoundex>> =
    LazyLock::new(|| DaitchMokotoffSoundexBuilder::default().build().ok());

/// Letters that are coded: a code has six digits, and no more letters decide them.
pub(super) const MAX_LETTERS: usize = 30;

/// The codes of a name in the letters A to Z, six digits each: several where a spelling can be
/// pronounced in several ways, ascending and each once. None for a name that has no sound here.
pub(super) fn codes(name: &str) -> Vec<String> {
    let Some(coder) = &*CODER else {
        return Vec::new();
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Vec::new();
    }
    let name = name.get(..MAX_LETTERS).unwrap_or(name);
    let mut codes = coder.inner_soundex(name, true);
    codes.retain(|code| code.bytes().any(|b| b != b'0'));
    codes.sort_unstable();
    codes.dedup();
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules are those of one version of the library, which the profile names.
    #[test]
    fn the_libraries_are_those_of_the_profile() {
        crate::identifiers::assert_locked(super::super::TABLES);
    }

    /// Published examples of the code. Should the library ever code otherwise, both sides would
    /// silently miss each other: then the profile's text must name its new version.
    #[test]
    fn codes_are_those_published() {
        let table = [
            ("AUERBACH", vec!["097400", "097500"]),
            ("OHRBACH", vec!["097400", "097500"]),
            ("LIPSHITZ", vec!["874400"]),
            ("LIPPSZYC", vec!["874400", "874500"]),
            ("LEWINSKY", vec!["876450"]),
            ("LEVINSKI", vec!["876450"]),
            ("SZLAMAWICZ", vec!["486740"]),
            ("SHLAMOVITZ", vec!["486740"]),
            ("MOSKOWITZ", vec!["645740"]),
            ("MOSKOVITZ", vec!["645740"]),
            ("PETERS", vec!["734000", "739400"]),
            ("JACKSON", vec!["154600", "145460", "445460", "454600"]),
        ];
        for (name, mut want) in table {
            want.sort_unstable();
            assert_eq!(codes(name), want, "{name}");
        }
        for none in ["", "李", "A B"] {
            assert!(codes(none).is_empty(), "{none}");
        }
    }
}
