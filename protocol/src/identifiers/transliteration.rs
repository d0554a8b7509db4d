//! Transliteration of national characters to the letters A to Z of a machine-readable zone.
//!
//! The tables are those of ICAO Doc 9303-3 (eighth edition, 2021), section 6: A for Latin
//! characters, B for Cyrillic, C for Arabic script. They differ from ISO 9 and ISO 233. Where the
//! standard lets the issuing state choose, or names a form for some languages only, every form is
//! listed: one person may hold documents in several of them.
//!
//! The rows do not depend on a library or on a version of Unicode. So the same name gives the same
//! letters for as long as the tables stand, and [`tables_text`] is what a profile hashes.

/// A row: one upper-case character, and its forms in the order of [`variants`].
pub type Row = (char, &'static [&'static str]);

/// Latin characters: section 6 A, ascending by code point.
///
/// Three rows are not in it. `ß` is the lower case of its `ẞ`. `Ș` and `Ț` with a comma below are
/// the letters of Romanian; the standard lists them with a cedilla, as older software writes them.
#[rustfmt::skip]
pub const LATIN: &[Row] = &[
    ('À', &["A"]),
    ('Á', &["A"]),
    ('Â', &["A"]),
    ('Ã', &["A"]),
    ('Ä', &["AE", "A"]),
    ('Å', &["AA", "A"]),
    ('Æ', &["AE"]),
    ('Ç', &["C"]),
    ('È', &["E"]),
    ('É', &["E"]),
    ('Ê', &["E"]),
    ('Ë', &["E"]),
    ('Ì', &["I"]),
    ('Í', &["I"]),
    ('Î', &["I"]),
    ('Ï', &["I"]),
    ('Ð', &["D"]),
    ('Ñ', &["N", "NXX"]),
    ('Ò', &["O"]),
    ('Ó', &["O"]),
    ('Ô', &["O"]),
    ('Õ', &["O"]),
    ('Ö', &["OE", "O"]),
    ('Ø', &["OE"]),
    ('Ù', &["U"]),
    ('Ú', &["U"]),
    ('Û', &["U"]),
    ('Ü', &["UE", "UXX", "U"]),
    ('Ý', &["Y"]),
    ('Þ', &["TH"]),
    ('ß', &["SS"]),
    ('Ā', &["A"]),
    ('Ă', &["A"]),
    ('Ą', &["A"]),
    ('Ć', &["C"]),
    ('Ĉ', &["C"]),
    ('Ċ', &["C"]),
    ('Č', &["C"]),
    ('Ď', &["D"]),
    ('Đ', &["D"]),
    ('Ē', &["E"]),
    ('Ĕ', &["E"]),
    ('Ė', &["E"]),
    ('Ę', &["E"]),
    ('Ě', &["E"]),
    ('Ĝ', &["G"]),
    ('Ğ', &["G"]),
    ('Ġ', &["G"]),
    ('Ģ', &["G"]),
    ('Ĥ', &["H"]),
    ('Ħ', &["H"]),
    ('Ĩ', &["I"]),
    ('Ī', &["I"]),
    ('Ĭ', &["I"]),
    ('Į', &["I"]),
    ('İ', &["I"]),
    ('ı', &["I"]),
    ('Ĳ', &["IJ"]),
    ('Ĵ', &["J"]),
    ('Ķ', &["K"]),
    ('Ĺ', &["L"]),
    ('Ļ', &["L"]),
    ('Ľ', &["L"]),
    ('Ŀ', &["L"]),
    ('Ł', &["L"]),
    ('Ń', &["N"]),
    ('Ņ', &["N"]),
    ('Ň', &["N"]),
    ('Ŋ', &["N"]),
    ('Ō', &["O"]),
    ('Ŏ', &["O"]),
    ('Ő', &["O"]),
    ('Œ', &["OE"]),
    ('Ŕ', &["R"]),
    ('Ŗ', &["R"]),
    ('Ř', &["R"]),
    ('Ś', &["S"]),
    ('Ŝ', &["S"]),
    ('Ş', &["S"]),
    ('Š', &["S"]),
    ('Ţ', &["T"]),
    ('Ť', &["T"]),
    ('Ŧ', &["T"]),
    ('Ũ', &["U"]),
    ('Ū', &["U"]),
    ('Ŭ', &["U"]),
    ('Ů', &["U"]),
    ('Ű', &["U"]),
    ('Ų', &["U"]),
    ('Ŵ', &["W"]),
    ('Ŷ', &["Y"]),
    ('Ÿ', &["Y"]),
    ('Ź', &["Z"]),
    ('Ż', &["Z"]),
    ('Ž', &["Z"]),
    ('Ș', &["S"]),
    ('Ț', &["T"]),
    ('\u{1e9e}', &["SS"]),
];

/// Cyrillic characters: section 6 B, ascending by code point. First the form for languages that the
/// row does not name, then those for Belarusian, Bulgarian, Macedonian, Serbian and Ukrainian.
///
/// Three rows are not in it. `Ѓ` and `Ћ` have the forms that the standard prints at the look-alikes
/// U+0492 and U+04BA, which stay, too. `Ь` has no row and is left out of names: its form is empty.
#[rustfmt::skip]
pub const CYRILLIC: &[Row] = &[
    ('Ё', &["E", "IO"]),
    ('Ђ', &["D"]),
    ('Ѓ', &["G", "GJ"]),
    ('Є', &["IE", "YE"]),
    ('Ѕ', &["DZ"]),
    ('І', &["I"]),
    ('Ї', &["I", "YI"]),
    ('Ј', &["J"]),
    ('Љ', &["LJ"]),
    ('Њ', &["NJ"]),
    ('Ћ', &["C"]),
    ('Ќ', &["K", "KJ"]),
    ('Ў', &["U"]),
    ('Џ', &["DZ", "DJ"]),
    ('А', &["A"]),
    ('Б', &["B"]),
    ('В', &["V"]),
    ('Г', &["G", "H"]),
    ('Д', &["D"]),
    ('Е', &["E"]),
    ('Ж', &["ZH", "Z"]),
    ('З', &["Z"]),
    ('И', &["I", "Y"]),
    ('Й', &["I", "Y"]),
    ('К', &["K"]),
    ('Л', &["L"]),
    ('М', &["M"]),
    ('Н', &["N"]),
    ('О', &["O"]),
    ('П', &["P"]),
    ('Р', &["R"]),
    ('С', &["S"]),
    ('Т', &["T"]),
    ('У', &["U"]),
    ('Ф', &["F"]),
    ('Х', &["KH", "H"]),
    ('Ц', &["TS", "C"]),
    ('Ч', &["CH", "C"]),
    ('Ш', &["SH", "S"]),
    ('Щ', &["SHCH", "SHT"]),
    ('Ъ', &["IE"]),
    ('Ы', &["Y"]),
    ('Ь', &[""]),
    ('Э', &["E"]),
    ('Ю', &["IU", "YU"]),
    ('Я', &["IA", "YA"]),
    ('Ѫ', &["U"]),
    ('Ѵ', &["Y"]),
    ('Ґ', &["G"]),
    ('Ғ', &["G", "GJ"]),
    ('Һ', &["C"]),
];

/// Arabic script: section 6 C, ascending by code point. What is not encoded (tatweel, vowel signs)
/// has an empty form. `ة` is `XAH` at the end of a part of a name and `XTA` elsewhere. Shadda
/// (U+0651) has no row: it doubles the form of the letter before it.
#[rustfmt::skip]
pub const ARABIC: &[Row] = &[
    ('\u{0621}', &["XE"]),
    ('\u{0622}', &["XAA"]),
    ('\u{0623}', &["XAE"]),
    ('\u{0624}', &["U"]),
    ('\u{0625}', &["I"]),
    ('\u{0626}', &["XI"]),
    ('\u{0627}', &["A"]),
    ('\u{0628}', &["B"]),
    ('\u{0629}', &["XTA", "XAH"]),
    ('\u{062a}', &["T"]),
    ('\u{062b}', &["XTH"]),
    ('\u{062c}', &["J"]),
    ('\u{062d}', &["XH"]),
    ('\u{062e}', &["XKH"]),
    ('\u{062f}', &["D"]),
    ('\u{0630}', &["XDH"]),
    ('\u{0631}', &["R"]),
    ('\u{0632}', &["Z"]),
    ('\u{0633}', &["S"]),
    ('\u{0634}', &["XSH"]),
    ('\u{0635}', &["XSS"]),
    ('\u{0636}', &["XDZ"]),
    ('\u{0637}', &["XTT"]),
    ('\u{0638}', &["XZZ"]),
    ('\u{0639}', &["E"]),
    ('\u{063a}', &["G"]),
    ('\u{0640}', &[""]),
    ('\u{0641}', &["F"]),
    ('\u{0642}', &["Q"]),
    ('\u{0643}', &["K"]),
    ('\u{0644}', &["L"]),
    ('\u{0645}', &["M"]),
    ('\u{0646}', &["N"]),
    ('\u{0647}', &["H"]),
    ('\u{0648}', &["W"]),
    ('\u{0649}', &["XAY"]),
    ('\u{064a}', &["Y"]),
    ('\u{064b}', &[""]),
    ('\u{064c}', &[""]),
    ('\u{064d}', &[""]),
    ('\u{064e}', &[""]),
    ('\u{064f}', &[""]),
    ('\u{0650}', &[""]),
    ('\u{0652}', &[""]),
    ('\u{0670}', &[""]),
    ('\u{0671}', &["XXA"]),
    ('\u{0679}', &["XXT"]),
    ('\u{067c}', &["XRT"]),
    ('\u{067e}', &["P"]),
    ('\u{0681}', &["XKE"]),
    ('\u{0685}', &["XXH"]),
    ('\u{0686}', &["XC"]),
    ('\u{0688}', &["XXD"]),
    ('\u{0689}', &["XDR"]),
    ('\u{0691}', &["XXR"]),
    ('\u{0693}', &["XRR"]),
    ('\u{0696}', &["XRX"]),
    ('\u{0698}', &["XJ"]),
    ('\u{069a}', &["XXS"]),
    ('\u{06a9}', &["XKK"]),
    ('\u{06ab}', &["XXK"]),
    ('\u{06ad}', &["XNG"]),
    ('\u{06af}', &["XGG"]),
    ('\u{06ba}', &["XNN"]),
    ('\u{06bc}', &["XXN"]),
    ('\u{06be}', &["XDO"]),
    ('\u{06c0}', &["XYH"]),
    ('\u{06c1}', &["XXG"]),
    ('\u{06c2}', &["XGE"]),
    ('\u{06c3}', &["XTG"]),
    ('\u{06cc}', &["XYA"]),
    ('\u{06cd}', &["XXY"]),
    ('\u{06d0}', &["Y"]),
    ('\u{06d2}', &["XYB"]),
    ('\u{06d3}', &["XBE"]),
];

/// The letters A to Z stand for themselves.
#[rustfmt::skip]
const BASIC: [&[&str]; 26] = [
    &["A"], &["B"], &["C"], &["D"], &["E"], &["F"], &["G"], &["H"], &["I"], &["J"], &["K"],
    &["L"], &["M"], &["N"], &["O"], &["P"], &["Q"], &["R"], &["S"], &["T"], &["U"], &["V"],
    &["W"], &["X"], &["Y"], &["Z"],
];

/// Every form of a character in a machine-readable zone, in letters A to Z; the first is the one
/// that the standard recommends first. Upper and lower case have the same forms.
///
/// A form may be empty: the character is left out. The list is empty if the character stands in
/// no table; digits, spaces, hyphens and apostrophes do not.
#[must_use]
pub fn variants(c: char) -> &'static [&'static str] {
    if c.is_ascii() {
        let letter = usize::from((c.to_ascii_uppercase() as u8).wrapping_sub(b'A'));
        return BASIC.get(letter).copied().unwrap_or_default();
    }
    if let Some(found) = row(c) {
        return found;
    }
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) if upper != c => row(upper).unwrap_or_default(),
        _ => &[],
    }
}

/// The form that the standard recommends first, or `None` if the character stands in no table.
#[must_use]
pub fn recommended(c: char) -> Option<&'static str> {
    variants(c).first().copied()
}

fn row(c: char) -> Option<&'static [&'static str]> {
    // The tables lie one behind the other in Unicode but for U+1E9E.
    let find = |table: &[Row]| {
        let at = table.binary_search_by_key(&c, |row| row.0).ok()?;
        table.get(at).map(|row| row.1)
    };
    [LATIN, CYRILLIC, ARABIC].into_iter().find_map(find)
}

/// All rows as text, for the hash of a profile: lines `00DC UE UXX U`, in the order of the tables;
/// an empty form is written `-`.
#[must_use]
pub fn tables_text() -> String {
    let mut text = String::from("transliteration ICAO 9303-3 8 section 6\n");
    for (c, forms) in [LATIN, CYRILLIC, ARABIC].into_iter().flatten() {
        text += &format!("{:04X}", u32::from(*c));
        for form in *forms {
            text.push(' ');
            text += if form.is_empty() { "-" } else { form };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_hold_letters_alone() {
        for table in [LATIN, CYRILLIC, ARABIC] {
            assert!(table.is_sorted_by(|a, b| a.0 < b.0));
            for (c, forms) in table {
                assert!(!forms.is_empty(), "{c}");
                for form in *forms {
                    assert!(form.bytes().all(|b| b.is_ascii_uppercase()), "{c}");
                    assert!(form.len() <= 4, "{c}");
                }
            }
        }
        // 95 rows of section 6 A and 48 of 6 B, each with three of our own.
        assert_eq!((LATIN.len(), CYRILLIC.len()), (95 + 3, 48 + 3));
    }

    #[test]
    fn vectors_of_the_standard() {
        let table: [(char, &[&str]); 24] = [
            ('Ü', &["UE", "UXX", "U"]),
            ('ü', &["UE", "UXX", "U"]),
            ('Ä', &["AE", "A"]),
            ('Ö', &["OE", "O"]),
            ('Å', &["AA", "A"]),
            ('Ñ', &["N", "NXX"]),
            ('ß', &["SS"]),
            ('ẞ', &["SS"]),
            ('Æ', &["AE"]),
            ('ø', &["OE"]),
            ('Þ', &["TH"]),
            ('ð', &["D"]),
            ('đ', &["D"]),
            ('ı', &["I"]),
            ('İ', &["I"]),
            ('ł', &["L"]),
            ('Щ', &["SHCH", "SHT"]),
            ('ё', &["E", "IO"]),
            ('ь', &[""]),
            ('ة', &["XTA", "XAH"]),
            ('خ', &["XKH"]),
            ('A', &["A"]),
            ('z', &["Z"]),
            ('ț', &["T"]),
        ];
        for (c, want) in table {
            assert_eq!(variants(c), want, "{c}");
        }
    }

    #[test]
    fn whole_names() {
        let first = |name: &str| -> String { name.chars().filter_map(recommended).collect() };
        assert_eq!(first("Térèsa"), "TERESA");
        assert_eq!(first("Иванов"), "IVANOV");
        assert_eq!(first("Щербаков"), "SHCHERBAKOV");
        assert_eq!(first("محمد"), "MXHMD");
        assert_eq!(first("Jürgen"), "JUERGEN");
    }

    #[test]
    fn what_stands_in_no_table_has_no_form() {
        for c in [
            '1', ' ', '-', '\'', '<', '@', '[', '`', '{', '漢', 'α', '\u{651}', '\u{301}',
        ] {
            assert_eq!(variants(c), &[] as &[&str], "{c}");
        }
    }

    #[test]
    fn case_makes_no_difference() {
        for (c, forms) in [LATIN, CYRILLIC, ARABIC].into_iter().flatten() {
            for lower in c.to_lowercase().filter(|l| *l != 'i' && !l.is_ascii()) {
                let combining = ('\u{300}'..='\u{36f}').contains(&lower);
                assert!(combining || variants(lower) == *forms, "{c}");
            }
        }
    }

    /// The text is hashed by profiles: it may not change unnoticed.
    #[test]
    fn the_text_of_the_tables_is_fixed() {
        let text = tables_text();
        assert_eq!(
            text.lines().count(),
            1 + LATIN.len() + CYRILLIC.len() + ARABIC.len()
        );
        assert!(text.contains("\n00DC UE UXX U\n") && text.contains("\n042C -\n"));
        let hash = <sha2::Sha256 as sha2::Digest>::digest(text.as_bytes());
        assert_eq!(
            hex::encode(hash),
            "db02a1e345484173abdf4df6a87d18925aa49a34b9598890ee533a2f190542d4"
        );
    }
}
