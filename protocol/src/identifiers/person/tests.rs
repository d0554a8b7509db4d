//! Similar identities, rule by rule: pairs that must meet and pairs that must not.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::identifiers::{IdentifierType, Key, Made, Profile, Reject, Rule, form_of};

/// Given names, surname, birth date, and perhaps place of birth, nationality, order of dates.
type Who<'a> = &'a [&'a str];

fn keys(profile: &str, who: Who<'_>) -> Vec<Key> {
    let profile = Profile::built_in(profile).unwrap();
    let mut keys = Vec::new();
    let made = profile.keys(IdentifierType::Person, 0, who, &mut keys);
    assert!(
        made.is_ok() || made == Err(Reject::TooFewElements),
        "{made:?}"
    );
    keys
}

/// The rules under which two records meet.
fn met(profile: &str, a: Who<'_>, b: Who<'_>) -> BTreeSet<&'static str> {
    let (a, b) = (keys(profile, a), keys(profile, b));
    let mut rules = BTreeSet::new();
    for x in &a {
        for y in b
            .iter()
            .filter(|y| y.normalised.element == x.normalised.element)
        {
            assert_eq!(x.rule, y.rule, "keys of two rules met");
            rules.insert(x.rule.name());
        }
    }
    rules
}

/// Each pair of the first list meets by the rule, none of the second does.
fn check(profile: &str, rule: Rule, similar: &[(Who<'_>, Who<'_>)], other: &[(Who<'_>, Who<'_>)]) {
    assert!(
        similar.len() >= 5 && other.len() >= 5,
        "{rule}: five of each"
    );
    for (a, b) in similar {
        let met = met(profile, a, b);
        assert!(met.contains(rule.name()), "{a:?} {b:?}: {met:?}");
    }
    for (a, b) in other {
        let met = met(profile, a, b);
        assert!(!met.contains(rule.name()), "{a:?} {b:?}: {met:?}");
    }
}

const STRICT: &str = "eu-strict";
const WIDE: &str = "eu-wide";

#[test]
fn same_but_for_case_width_hyphen_comma_and_apostrophe() {
    check(
        STRICT,
        Rule::Exact,
        &[
            (
                &["Anna Maria", "Eriksson", "19740812"],
                &["ANNA MARIA", "ERIKSSON", "1974-08-12"],
            ),
            (
                &["Anna-Maria", "Eriksson", "19740812"],
                &["Anna Maria", "Eriksson", "19740812"],
            ),
            (
                &["Sean", "O'Connor", "19740812"],
                &["Sean", "OConnor", "19740812"],
            ),
            (
                &["Sean", "O’Connor", "19740812"],
                &["Sean", "O'Connor", "19740812"],
            ),
            (
                &["Anna, Maria", "Eriksson", "19740812"],
                &["Anna Maria", "Eriksson", "12.08.1974"],
            ),
            (
                &["Anna", "Garcia-Lopez", "19740812"],
                &["Anna", "GARCIA<LOPEZ", "19740812"],
            ),
        ],
        &[
            (
                &["Anna Maria", "Eriksson", "19740812"],
                &["Anna", "Eriksson", "19740812"],
            ),
            (
                &["Anna", "Eriksson", "19740812"],
                &["Anna", "Eriksson", "19740813"],
            ),
            (
                &["Anna", "Eriksson", "19740812"],
                &["Anna", "Ericsson", "19740812"],
            ),
            (
                &["Eriksson", "Anna", "19740812"],
                &["Anna", "Eriksson", "19740812"],
            ),
            (
                &["Anna", "Müller", "19740812"],
                &["Anna", "Mueller", "19740812"],
            ),
        ],
    );
}

#[test]
fn known_transliterations() {
    check(
        STRICT,
        Rule::Transliteration,
        &[
            (
                &["Jürgen", "Müller", "19740812"],
                &["Juergen", "Mueller", "19740812"],
            ),
            (
                &["Jürgen", "Müller", "19740812"],
                &["Jurgen", "Muller", "19740812"],
            ),
            (
                &["Jürgen", "Müller", "19740812"],
                &["JUXXRGEN", "MUXXLLER", "19740812"],
            ),
            (
                &["Åsa", "Öberg", "19740812"],
                &["Aasa", "Oeberg", "19740812"],
            ),
            (&["Åsa", "Öberg", "19740812"], &["Asa", "Oberg", "19740812"]),
            (&["Nuño", "Peña", "19740812"], &["Nuno", "Pena", "19740812"]),
            (
                &["Nuño", "Peña", "19740812"],
                &["NUNXXO", "PENXXA", "19740812"],
            ),
            (
                &["José", "Garção", "19740812"],
                &["Jose", "Garcao", "19740812"],
            ),
            (
                &["Weiß", "Groß", "19740812"],
                &["Weiss", "Gross", "19740812"],
            ),
        ],
        &[
            (
                &["Jürgen", "Müller", "19740812"],
                &["Jirgen", "Miller", "19740812"],
            ),
            // One hand writes one letter in one way.
            (
                &["Jürgen", "Müller", "19740812"],
                &["Juergen", "Muller", "19740812"],
            ),
            (
                &["Jürgen", "Müller", "19740812"],
                &["Juergen", "Mueller", "19740821"],
            ),
            (&["Åsa", "Öberg", "19740812"], &["Esa", "Eberg", "19740812"]),
            (
                &["Nuño", "Peña", "19740812"],
                &["Nunyo", "Penya", "19740812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smyth", "19740812"],
            ),
        ],
    );
}

#[test]
fn fields_inverted_or_grouped_and_words_swapped() {
    check(
        STRICT,
        Rule::NameOrder,
        &[
            (
                &["Anna Maria", "Eriksson", "19740812"],
                &["Eriksson", "Anna Maria", "19740812"],
            ),
            (
                &["Anna Maria", "Eriksson", "19740812"],
                &["Maria Anna", "Eriksson", "19740812"],
            ),
            (
                &["Anna", "Maria Eriksson", "19740812"],
                &["Anna Maria", "Eriksson", "19740812"],
            ),
            (
                &["Juan", "Garcia Lopez", "19740812"],
                &["Juan", "Lopez Garcia", "19740812"],
            ),
            (
                &["Jürgen", "Müller", "19740812"],
                &["Mueller", "Juergen", "19740812"],
            ),
        ],
        &[
            (
                &["Anna Maria", "Eriksson", "19740812"],
                &["Anna", "Eriksson", "19740812"],
            ),
            (
                &["Anna", "Eriksson", "19740812"],
                &["Eriksson", "Anne", "19740812"],
            ),
            (
                &["Anna", "Eriksson", "19740812"],
                &["Eriksson", "Anna", "19741208"],
            ),
            (
                &["Anna", "Eriksson", "19740812"],
                &["Anna Anna", "Eriksson", "19740812"],
            ),
            (
                &["Anna", "Eriksson", "19740812"],
                &["Annaeriksson", "Eriksson", "19740812"],
            ),
        ],
    );
}

#[test]
fn letters_swapped_and_words_joined() {
    check(
        STRICT,
        Rule::SwappedLetters,
        &[
            (
                &["Anna", "Eriksson", "19740812"],
                &["Anna", "Eirksson", "19740812"],
            ),
            (
                &["Anna", "Eriksson", "19740812"],
                &["Naan", "Eriksson", "19740812"],
            ),
            (
                &["Anna Maria", "Eriksson", "19740812"],
                &["Annamaria", "Eriksson", "19740812"],
            ),
            (
                &["Maria", "Smith", "19740812"],
                &["Maira", "Simth", "19740812"],
            ),
            (
                &["Karl Heinz", "Maier", "19740812"],
                &["Karlheinz", "Miaer", "19740812"],
            ),
        ],
        &[
            (
                &["Anna", "Eriksson", "19740812"],
                &["Anna", "Erikson", "19740812"],
            ),
            (
                &["Anna", "Eriksson", "19740812"],
                &["Anna", "Ericsson", "19740812"],
            ),
            (
                &["Anna", "Eriksson", "19740812"],
                &["Anna", "Eirksson", "19740813"],
            ),
            (
                &["Maria", "Smith", "19740812"],
                &["Marie", "Smith", "19740812"],
            ),
            (
                &["Maria", "Smith", "19740812"],
                &["Maria", "Smithe", "19740812"],
            ),
        ],
    );
}

#[test]
fn one_letter_edited() {
    check(
        STRICT,
        Rule::OneEdit,
        &[
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smieth", "19740812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smyth", "19740812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smth", "19740812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Ana", "Smith", "19740812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Simth", "19740812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Smith", "Hanna", "19740812"],
            ),
            (
                &["Jürgen", "Müller", "19740812"],
                &["Jürgen", "Müler", "19740812"],
            ),
        ],
        &[
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Johnsson", "19740812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smiethe", "19740812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Ana", "Smyth", "19740812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smyth", "19740813"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Schmidt", "19740812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Berta", "Smith", "19740812"],
            ),
        ],
    );
}

#[test]
fn one_name_truncated() {
    check(
        STRICT,
        Rule::Truncated,
        &[
            (
                &["Alexander", "Smith", "19740812"],
                &["Alex", "Smith", "19740812"],
            ),
            (
                &["Alexander", "Smith", "19740812"],
                &["Ale", "Smith", "19740812"],
            ),
            (
                &["Anna", "Papandropoulous", "19740812"],
                &["Anna", "Papandrop", "19740812"],
            ),
            (
                &["Anna Maria Luisa", "Eriksson", "19740812"],
                &["Anna Mar", "Eriksson", "19740812"],
            ),
            (
                &["Smith", "Alexander", "19740812"],
                &["Alexa", "Smith", "19740812"],
            ),
        ],
        &[
            (
                &["Alexander", "Smith", "19740812"],
                &["Al", "Smith", "19740812"],
            ),
            (
                &["Alexander", "Smith", "19740812"],
                &["Xander", "Smith", "19740812"],
            ),
            (
                &["Alexander", "Smith", "19740812"],
                &["Alex", "Smithe", "19740812"],
            ),
            (
                &["Alexander", "Smith", "19740812"],
                &["Alex", "Smith", "19740813"],
            ),
            (
                &["Alexander", "Smithson", "19740812"],
                &["Alex", "Smith", "19740812"],
            ),
        ],
    );
}

#[test]
fn day_and_month_swapped() {
    check(
        STRICT,
        Rule::DateSwapped,
        &[
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19741208"],
            ),
            (
                &["Anna", "Smith", "1974-08-30"],
                &["Anna", "Smith", "1974-30-08"],
            ),
            (
                &["Anna", "Smith", "01.02.1974"],
                &["Smith", "Anna", "02.01.1974"],
            ),
            (
                &["Jürgen", "Müller", "19740109"],
                &["Juergen", "Mueller", "19740901"],
            ),
            (
                &["Anna", "Smith", "19740808"],
                &["Anna", "Smith", "19740808"],
            ),
        ],
        &[
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19751208"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19741207"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smyth", "19741208"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19740821"],
            ),
            (&["Anna", "Smith", "1974-08"], &["Anna", "Smith", "1974-08"]),
        ],
    );
}

#[test]
fn one_digit_of_the_date_edited() {
    check(
        STRICT,
        Rule::DateOneEdit,
        &[
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19740813"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19840812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Smith", "Anna", "19740912"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19741812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "18740812"],
            ),
        ],
        &[
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19740823"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19741208"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smyth", "19740813"],
            ),
            (&["Anna", "Smith", "19740812"], &["Anna", "Smith", "1974"]),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19750813"],
            ),
        ],
    );
}

#[test]
fn the_same_day_in_another_calendar() {
    check(
        STRICT,
        Rule::Calendar,
        &[
            // Persian: 21 Mordad 1353. Islamic: 24 Rajab 1394. Buddhist: 2517.
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "13530521"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "13940723"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "25170812"],
            ),
            (
                &["Anna", "Smith", "20240320"],
                &["Smith", "Anna", "1403-01-01"],
            ),
            (
                &["Anna", "Smith", "13530521"],
                &["Anna", "Smith", "25170812"],
            ),
        ],
        &[
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "13530525"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "13940712"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "25160812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smyth", "13530521"],
            ),
            (&["Anna", "Smith", "1974"], &["Anna", "Smith", "2517"]),
        ],
    );
}

#[test]
fn names_written_by_ear() {
    check(
        STRICT,
        Rule::Transcription,
        &[
            (
                &["Moshe", "Moskowitz", "19740812"],
                &["Moshe", "Moskovitz", "19740812"],
            ),
            (
                &["Katarina", "Lewinsky", "19740812"],
                &["Katharina", "Levinski", "19740812"],
            ),
            (
                &["Yusuf", "Ahmad", "19740812"],
                &["Youssef", "Ahmed", "19740812"],
            ),
            (
                &["Anna", "Szlamawicz", "19740812"],
                &["Ana", "Shlamovitz", "19740812"],
            ),
            (
                &["Sergej", "Lipshitz", "19740812"],
                &["Lippszyc", "Sergei", "19740812"],
            ),
        ],
        &[
            (
                &["Moshe", "Moskowitz", "19740812"],
                &["Moshe", "Berkowitz", "19740812"],
            ),
            (
                &["Moshe", "Moskowitz", "19740812"],
                &["Moshe", "Moskovitz", "19740813"],
            ),
            (
                &["Yusuf", "Ahmad", "19740812"],
                &["Yusuf", "Hamid", "19740812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Jones", "19740812"],
            ),
            (&["李", "王", "19740812"], &["李", "王", "19740812"]),
        ],
    );
}

#[test]
fn three_elements_with_a_place_or_a_nationality() {
    check(
        STRICT,
        Rule::ThreeElements,
        &[
            (
                &["Anna", "Smith", "19740812", "Lyon"],
                &["Berta", "Smith", "19740812", "LYON"],
            ),
            (
                &["", "Smith", "19740812", "Lyon"],
                &["Anna", "Smith", "19740812", "Lyon"],
            ),
            (
                &["Anna", "Smith", "19740812", "", "FRA"],
                &["Anna", "Jones", "19740812", "", "FRA"],
            ),
            (
                &["Anna", "Smith", "", "Lyon"],
                &["Smith", "Anna", "19740812", "Lyon"],
            ),
            (
                &["", "Smith", "", "Lyon", "FRA"],
                &["Anna", "Smith", "19740812", "Lyon", "fra"],
            ),
        ],
        &[
            (
                &["Anna", "Smith", "19740812", "Lyon"],
                &["Berta", "Smith", "19740812", "Paris"],
            ),
            (
                &["Anna", "Smith", "19740812", "Lyon"],
                &["Berta", "Jones", "19740812", "Lyon"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19740812"],
            ),
            (
                &["Anna", "Smith", "1974", "Lyon"],
                &["Berta", "Smith", "1974", "Lyon"],
            ),
            // A town that is called like a nationality.
            (
                &["Anna", "Smith", "19740812", "FRA"],
                &["Anna", "Jones", "19740812", "", "FRA"],
            ),
        ],
    );
}

#[test]
fn a_place_under_another_of_its_names() {
    check(
        STRICT,
        Rule::RenamedPlace,
        &[
            (
                &["Anna", "Smith", "19740812", "Leningrad"],
                &["Anna", "Smith", "19740813", "Saint Petersburg"],
            ),
            (
                &["Anna", "Smith", "19740812", "Leningrad"],
                &["Anne", "Smith", "19740812", "Petrograd"],
            ),
            (
                &["Anna", "Smith", "19740812", "Bombay"],
                &["Anna", "Jones", "19740812", "Mumbai"],
            ),
            (
                &["Anna", "Smith", "19740812", "Karl-Marx-Stadt"],
                &["Smith", "Anna", "", "Chemnitz"],
            ),
            (
                &["Anna", "Smith", "19740812", "Lyon"],
                &["Berta", "Smith", "19740812", "Lyon"],
            ),
        ],
        &[
            (
                &["Anna", "Smith", "19740812", "Leningrad"],
                &["Anna", "Smith", "19740812", "Moscow"],
            ),
            (
                &["Anna", "Smith", "19740812", "Bombay"],
                &["Berta", "Jones", "19740812", "Mumbai"],
            ),
            (
                &["Anna", "Smith", "19740812", "Danzig"],
                &["Anna", "Smith", "19740812", "Gdynia"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19740812", "Lyon"],
            ),
            (
                &["Anna", "Smith", "1974", "Bombay"],
                &["Anna", "Jones", "1974", "Mumbai"],
            ),
        ],
    );
}

#[test]
fn wide_two_of_three_initials_and_years() {
    check(
        WIDE,
        Rule::TwoOfThree,
        &[
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Jones", "19740812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Berta", "Smith", "19740812"],
            ),
            (&["", "Smith", "19740812"], &["Anna", "Smith", "19740812"]),
            (
                &["Smith", "Anna", "19740812"],
                &["Anna", "Jones", "19740812"],
            ),
            (
                &["Anna Maria Luisa", "Papandropoulous", ""],
                &["Anna Maria Luisa", "Papandropoulous", "1974"],
            ),
        ],
        &[
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19740813"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Berta", "Jones", "19740812"],
            ),
            (&["Anna", "Smith", "1974"], &["Anna", "Jones", "1974"]),
            (
                &["Anna", "Smith", "19740812"],
                &["Ana", "Smyth", "19740812"],
            ),
            (&["", "Smith", "19740812"], &["Anna", "", "19740812"]),
        ],
    );
    check(
        WIDE,
        Rule::Initial,
        &[
            (&["A.", "Smith", "19740812"], &["Anna", "Smith", "19740812"]),
            (&["Anna", "S", "19740812"], &["Anna", "Smith", "19740812"]),
            (&["A", "Smith", "19740812"], &["Smith", "Anna", "19740812"]),
            (
                &["A.M.", "Smith", "19740812"],
                &["Anna Maria", "Smith", "19740812"],
            ),
            (&["Å.", "Smith", "19740812"], &["Aasa", "Smith", "19740812"]),
        ],
        &[
            (&["B.", "Smith", "19740812"], &["Anna", "Smith", "19740812"]),
            (&["A.", "Smith", "19740812"], &["Anna", "Smyth", "19740812"]),
            (&["A.", "Smith", "19740812"], &["Anna", "Smith", "19740813"]),
            (&["A.", "S.", "19740812"], &["Anna", "Smith", "19740812"]),
            (
                &["Anna", "Smith", "19740812"],
                &["Berta", "Smith", "19740812"],
            ),
        ],
    );
    check(
        WIDE,
        Rule::YearOfBirth,
        &[
            (&["Anna", "Smith", "19740812"], &["Anna", "Smith", "1974"]),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19740101"],
            ),
            (&["Anna", "Smith", "1974-08"], &["Smith", "Anna", "1974"]),
            (
                &["Jürgen", "Müller", "1974"],
                &["Juergen", "Mueller", "19740812"],
            ),
            (
                &["Anna Maria", "Smith", "1974"],
                &["Maria", "Anna Smith", "19740812"],
            ),
        ],
        &[
            (&["Anna", "Smith", "19740812"], &["Anna", "Smith", "1975"]),
            (&["Anna", "Smith", "1974"], &["Anna", "Smyth", "1974"]),
            (&["Anna", "Smith", "1974"], &["Anne", "Smith", "1974"]),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Jones", "19740812"],
            ),
            (
                &["Anna", "Smith", "19740812"],
                &["Anna", "Smith", "19840812"],
            ),
        ],
    );
}

/// The legal profile rests on three elements: who agrees in two of them is not found by it.
#[test]
fn strict_keys_rest_on_three_elements() {
    let pairs: [(Who<'_>, Who<'_>); 4] = [
        (
            &["Anna", "Smith", "19740812"],
            &["Anna", "Jones", "19740812"],
        ),
        (
            &["Anna", "Smith", "19740812"],
            &["Berta", "Smith", "19740812"],
        ),
        (
            &["Anna Maria Luisa", "Papandropoulous", "19740812"],
            &["Anna Maria Luisa", "Papandropoulous", "19310203"],
        ),
        (&["A.", "Smith", "19740812"], &["Anna", "Smith", "19740812"]),
    ];
    for (a, b) in pairs {
        assert_eq!(met(STRICT, a, b), BTreeSet::new(), "{a:?} {b:?}");
        assert!(!met(WIDE, a, b).is_empty(), "{a:?} {b:?}");
    }
}

#[test]
fn rows_that_say_too_little_are_refused_and_empty_ones_are_not() {
    let made = |profile: &str, who: Who<'_>| {
        let profile = Profile::built_in(profile).unwrap();
        profile.keys(IdentifierType::Person, 0, who, &mut Vec::new())
    };
    assert_eq!(made(STRICT, &["", "", ""]), Ok(Made::Nothing));
    assert_eq!(
        made(STRICT, &["Anna", "Smith", ""]),
        Err(Reject::TooFewElements)
    );
    assert_eq!(
        made(STRICT, &["", "Smith", "19740812"]),
        Err(Reject::TooFewElements)
    );
    assert_eq!(
        made("exact", &["", "Smith", "19740812"]),
        Err(Reject::TooFewElements)
    );
    // A place that no rule of the profile reads rejects nothing.
    assert_eq!(
        made("exact", &["Anna", "Smith", "19740812", "7", "FR"]),
        Ok(Made::All)
    );
    assert_eq!(made("exact", &["Anna", "Smith", "1974"]), Ok(Made::All));
    assert_eq!(made(WIDE, &["", "Smith", "19740812"]), Ok(Made::All));
    assert_eq!(
        made(STRICT, &["Anna", "Smith", "12/08/1974"]),
        Err(Reject::DateOrder)
    );
    assert_eq!(
        made(STRICT, &["Anna", "Smith", "12/08/1974", "", "", "dmy"]),
        Ok(Made::All)
    );
    assert_eq!(
        made(STRICT, &["Anna", "Smith", "19740812", "", "FR"]),
        Err(Reject::StateTwoLetters)
    );
}

/// A budget cuts whole families from the end, the same on both sides, and says so.
#[test]
fn a_row_emits_no_more_keys_than_the_profile_allows() {
    let long = ["A".repeat(20).replace("AA", "ABCDE"), "FGHIJ".repeat(15)];
    let who = [long[0].as_str(), long[1].as_str(), "19740812"];
    let text = include_str!("../profiles/eu-wide.profile.toml")
        .replace("eu-wide/1", "ours/1")
        .replace("minimum_elements", "transcriptions = 255\nminimum_elements");
    let mut all = Vec::new();
    let profile = Profile::from_toml(&text.replace("id =", "keys_per_row = 1000\nid =")).unwrap();
    assert_eq!(
        profile.keys(IdentifierType::Person, 0, &who, &mut all),
        Ok(Made::All)
    );
    for budget in [1, 5, 12, 30, 100] {
        let text = text.replace("id =", &format!("keys_per_row = {budget}\nid ="));
        let profile = Profile::from_toml(&text).unwrap();
        let mut some = Vec::new();
        assert_eq!(
            profile.keys(IdentifierType::Person, 0, &who, &mut some),
            Ok(Made::Cut)
        );
        assert!(
            some.len() <= budget && some[0].rule == Rule::Exact,
            "{budget}"
        );
        let rules: BTreeSet<Rule> = some.iter().map(|key| key.rule).collect();
        let of = |keys: &[Key], rule| keys.iter().filter(|key| key.rule == rule).count();
        for rule in rules {
            assert_eq!(of(&some, rule), of(&all, rule), "{rule} is whole");
        }
    }
}

#[test]
fn names_alone_have_a_type_of_their_own() {
    let profile = Profile::built_in(WIDE).unwrap();
    let mut keys = Vec::new();
    let made = profile.keys(IdentifierType::Name, 0, &["Anna", "Smith"], &mut keys);
    assert_eq!(made, Ok(Made::All));
    let rules: BTreeSet<Rule> = keys.iter().map(|key| key.rule).collect();
    let named: BTreeSet<Rule> = profile.rules(IdentifierType::Name).into_iter().collect();
    assert_eq!(rules, named);
    let strict = Profile::built_in(STRICT).unwrap();
    let made = strict.keys(IdentifierType::Name, 0, &["Anna", "Smith"], &mut keys);
    assert_eq!(made, Err(Reject::TypeNotInProfile));
}

#[test]
fn a_key_shows_its_rule_and_the_row_and_never_which_form_met() {
    let keys = keys(STRICT, &["Ann", "Smith", "19740812"]);
    for key in &keys {
        let shown = format!("person:{}:ANN|SMITH|19740812", key.rule);
        assert_eq!(*key.normalised.key_text, shown);
    }
    let forms: Vec<_> = keys
        .iter()
        .map(|key| form_of(&key.normalised.element).unwrap().to_string())
        .collect();
    assert!(forms.contains(&"AN|SMITH|19740812".to_owned()), "{forms:?}");
    assert!(!format!("{keys:?}").contains("SMITH"));
}

fn edited(name: &str, at: usize, with: char, how: u8) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    let at = at % letters.len();
    match how % 3 {
        0 => letters[at] = with,
        1 => letters.insert(at, with),
        _ if letters.len() > 1 => drop(letters.remove(at)),
        _ => {}
    }
    letters.into_iter().collect()
}

proptest! {
    /// Against the definition: any one edit of one name is found, by both of them in any order. No
    /// word that stands for an unknown name is one edit from these letters.
    #[test]
    fn every_single_edit_is_found(
        given in "[A-L]{3,9}", surname in "[A-L]{3,9}", at in 0usize..9, with in proptest::char::range('A', 'Z'),
        how in 0u8..3, swap in any::<bool>(),
    ) {
        let other = edited(&surname, at, with, how);
        let mut b = [given.as_str(), other.as_str(), "19740812"];
        if swap {
            b.swap(0, 1);
        }
        let met = met(STRICT, &[&given, &surname, "19740812"], &b);
        prop_assert!(met.contains("one-edit"), "{:?}", met);
    }

    /// Two edits of one name, in letters that neither has, are none.
    #[test]
    fn two_edits_are_not_one(given in "[A-L]{3,8}", surname in "[A-L]{4,8}", at in 0usize..4) {
        let mut other: Vec<char> = surname.chars().collect();
        other[at % surname.len()] = 'Y';
        other[(at + 2) % surname.len()] = 'Z';
        let other: String = other.into_iter().collect();
        let met = met(STRICT, &[&given, &surname, "19740812"], &[&given, &other, "19740812"]);
        prop_assert!(!met.contains("one-edit"), "{:?}", met);
    }

    #[test]
    fn nothing_panics_and_canonical_names_stay(
        given in any::<String>(), surname in any::<String>(), date in any::<String>(), place in any::<String>(),
    ) {
        for profile in Profile::names() {
            let profile = Profile::built_in(profile).unwrap();
            let mut keys = Vec::new();
            let _ = profile.keys(IdentifierType::Person, 0, &[&given, &surname, &date, &place], &mut keys);
            prop_assert!(keys.len() <= 160);
        }
    }
}

/// The specimen of ICAO Doc 9303-4, as a zone and typed from the page.
#[test]
fn a_zone_and_a_typed_row_meet() {
    let zone = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10";
    let typed = ["Anna Maria", "Eriksson", "12.08.1974", "", "UTO"];
    for profile in Profile::names() {
        let profile = Profile::built_in(profile).unwrap();
        let of = |form, parts: &[&str], ty| {
            let mut keys = Vec::new();
            profile.keys(ty, form, parts, &mut keys).unwrap();
            keys.into_iter()
                .map(|key| key.normalised.element)
                .collect::<Vec<_>>()
        };
        let zoned = of(1, &[zone], IdentifierType::Person);
        assert!(
            zoned == of(0, &typed, IdentifierType::Person),
            "{profile:?}"
        );
        let zoned = of(1, &[zone], IdentifierType::Document);
        assert!(zoned == of(0, &["L898902C3", "UTO"], IdentifierType::Document));
    }
    let made =
        |zone: &str| Profile::exact().keys(IdentifierType::Person, 1, &[zone], &mut Vec::new());
    assert_eq!(made(" "), Ok(Made::Nothing));
    assert_eq!(made("L898902C3"), Err(Reject::MrzShape));
    assert_eq!(
        made(&zone.replace("L898902C36", "L898902C37")),
        Err(Reject::MrzCheckDigit)
    );
}

/// Parts of a data element are none, where the law asks for three: every rule, and every part.
#[test]
fn strict_keys_do_not_rest_on_parts_of_elements() {
    let profile = Profile::built_in(STRICT).unwrap();
    let parts: [Who<'_>; 8] = [
        &["Anna", "Smith", "1974"],
        &["Anna", "Smith", "1974-08"],
        &["A.", "Smith", "19740812"],
        &["Anna", "S", "19740812"],
        &["Anna", "ь", "19740812"],
        &["\u{301}", "Smith", "19740812"],
        &["Anna", "", "19740812", "", "XXX"],
        &["Anna", "Smith", "1974", "", "XXA"],
    ];
    for who in parts {
        let mut keys = Vec::new();
        let made = profile.keys(IdentifierType::Person, 0, who, &mut keys);
        assert_eq!(made, Err(Reject::TooFewElements), "{who:?}");
        assert!(keys.is_empty());
    }
    // A name of one character may be whole.
    assert!(!keys(STRICT, &["李", "王", "19740812"]).is_empty());
}

/// What two profiles have in common they make alike; what they have not never meets.
#[test]
fn rules_of_one_profile_never_meet_those_of_another() {
    let who: Who<'_> = &["Anna Maria", "Eriksson", "19740812", "Lyon", "FRA"];
    for (narrow, wide) in [("exact", STRICT), (STRICT, WIDE)] {
        let (narrow, wide) = (keys(narrow, who), keys(wide, who));
        for key in &narrow {
            let same = |other: &&Key| other.normalised.element == key.normalised.element;
            let other = wide.iter().find(same).unwrap();
            assert_eq!(other.rule, key.rule);
        }
        let rules: BTreeSet<Rule> = narrow.iter().map(|key| key.rule).collect();
        let shared = wide.iter().filter(|key| rules.contains(&key.rule)).count();
        assert_eq!(shared, narrow.len());
    }
}

/// The forms that people use most are there, however many a name has; and what is left out is said.
#[test]
fn of_many_transliterations_the_commonest_stay() {
    let many = ["Jörg Åke", "Müller Ångström Ñandú", "19740812"];
    let profile = Profile::built_in(STRICT).unwrap();
    let made = profile.keys(IdentifierType::Person, 0, &many, &mut Vec::new());
    assert_eq!(made, Ok(Made::Cut));
    for plain in [
        ["Jorg Ake", "Muller Angstrom Nxxandu", "19740812"],
        ["Joerg Aake", "Mueller Aangstroem Nandu", "19740812"],
    ] {
        let met = met(STRICT, &many, &plain);
        assert!(met.contains("transliteration"), "{plain:?} {met:?}");
    }
}

/// Whichever name was the given one, the same codes stay.
#[test]
fn of_many_codes_by_ear_both_ways_round_keep_the_same() {
    let (a, b) = ("Jackson Auerbach", "Jacjacjac Chichich");
    let met = met(STRICT, &[a, b, "19740812"], &[b, a, "19740812"]);
    assert!(met.contains("transcription"), "{met:?}");
}

#[test]
fn values_that_have_no_room_are_refused() {
    let long = "王".repeat(100);
    let profile = Profile::built_in(STRICT).unwrap();
    let who = [long.as_str(), &long, "19740812", &long, "FRA"];
    let made = profile.keys(IdentifierType::Person, 0, &who, &mut Vec::new());
    assert_eq!(made, Ok(Made::All));
    let longer = "王".repeat(101);
    let made = profile.keys(
        IdentifierType::Person,
        0,
        &[&longer, "A", "19740812"],
        &mut Vec::new(),
    );
    assert_eq!(made, Err(Reject::NameLength));
}

/// What the rule says, and what it therefore also meets: one letter left out of each.
#[test]
fn one_edit_also_meets_a_letter_that_moved() {
    let met = met(
        STRICT,
        &["Maria", "Smith", "19740812"],
        &["Arian", "Smith", "19740812"],
    );
    assert!(met.contains("one-edit"));
}

/// The rule cannot say which name was cut, or whether one was.
#[test]
fn truncated_also_meets_names_that_begin_alike() {
    let met = met(
        STRICT,
        &["Alexander", "Smith", "19740812"],
        &["Alexandra", "Smith", "19740812"],
    );
    assert!(met.contains("truncated"));
}

/// Whether a form of a key is one that an asker tries.
type Wanted = fn(&str) -> bool;

/// What a peer pays that knows both names and seeks the birth date: SECURITY.md shows the orders. Each
/// element is asked for once; the list answers whether it holds it.
#[test]
fn a_birth_date_costs_as_many_elements_as_security_says() {
    const BORN: &str = "19740812";
    let asked = |profile: &str, wanted: &[(Rule, Wanted)]| -> usize {
        let listed: BTreeSet<Vec<u8>> = keys(profile, &["Anna", "Smith", BORN])
            .iter()
            .map(|key| key.normalised.element.as_bytes().to_vec())
            .collect();
        let days = |year: u32| (1..=12).flat_map(move |m| (1..=31).map(move |d| (year, m, d)));
        let mut left: Vec<String> = (1925..2025)
            .flat_map(days)
            .map(|(y, m, d)| format!("{y:04}{m:02}{d:02}"))
            .collect();
        let mut asked = BTreeSet::new();
        for (rule, form) in wanted {
            // Each form once; a hit keeps the dates that give it.
            let mut hit: Option<Vec<u8>> = None;
            let emitted = |day: &str| -> Vec<Vec<u8>> {
                keys(profile, &["Anna", "Smith", day])
                    .iter()
                    .filter(|key| key.rule == *rule)
                    .filter(|key| form(&form_of(&key.normalised.element).unwrap()))
                    .map(|key| key.normalised.element.as_bytes().to_vec())
                    .collect()
            };
            for day in &left {
                if hit.is_some() {
                    break;
                }
                for element in emitted(day) {
                    if asked.insert(element.clone()) && listed.contains(&element) {
                        hit = Some(element);
                    }
                }
            }
            let hit = hit.unwrap();
            left.retain(|day| emitted(day).contains(&hit));
        }
        assert_eq!(left, [BORN]);
        asked.len()
    };
    let last_of_year: Wanted = |form| form.rfind('*') == form.len().checked_sub(5);
    let last_of_day: Wanted = |form| form.ends_with('*');
    let any: Wanted = |_| true;
    let wide = [
        (Rule::YearOfBirth, any),
        (Rule::DateOneEdit, last_of_day),
        (Rule::Exact, any),
    ];
    let strict = [(Rule::DateOneEdit, last_of_year), (Rule::Exact, any)];
    assert!(asked(WIDE, &wide) <= 160);
    // Up to the year sought: of a hundred years it is half.
    let strict = asked(STRICT, &strict);
    assert!((500..3_800).contains(&strict), "{strict}");
}
