//! What is read and what is refused; and which misreads of a scanner still find what they should.

use proptest::prelude::*;
use tallystick_protocol::identifiers::mrz::check_digit;

use super::*;

const FIRST: &str = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<";
const SECOND: &str = "L898902C36UTO7408122F1204159ZE184226B<<<<<10";

fn today() -> Date {
    Date::from_iso("2010-05-01").unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The one key of a type, as whoever holds the table sees it.
fn key(presented: &Presented, ty: &str) -> Option<String> {
    let mut keys = presented.keys(Profile::exact(), &name(ty));
    assert!(keys.len() <= 1);
    Some(keys.pop()?.normalised.key_text.to_string())
}

#[test]
fn lines_of_a_reader() {
    let run = format!("{FIRST}{SECOND}");
    let object = format!("{{\"id\":\"gate 4/17\",\"mrz\":[\"{FIRST}\",\"{SECOND}\"]}}");
    let in_one = format!("{{\"mrz\":\"{FIRST}\\n{SECOND}\",\"surname\":\"Eriksson\"}}");
    let fields = "{\"number\":\"l898902c3\",\"state\":\"uto\",\"surname\":\"Eriksson\",\
        \"given_names\":\"Anna\",\"birth_date\":\"1974-08-12\",\"kind\":\"td3\"}";
    for line in [
        &run,
        &format!("  {}\r\n", run.to_lowercase()),
        &object,
        &in_one,
        fields,
    ] {
        let presented = Presented::from_line(line).unwrap();
        assert_eq!(
            key(&presented, "document").unwrap(),
            "document:UTO:L898902C3",
            "{line}"
        );
        let holder = key(&presented, "holder").unwrap();
        assert_eq!(holder, "holder:UTO:L898902C3|740812|ERIKSSON|A", "{line}");
        assert_eq!(presented.state(), "UTO");
        assert_eq!(presented.id(), line.contains("gate").then_some("gate 4/17"));
        assert_eq!(presented.number_check(), (line != fields).then_some(true));
        let findings = presented.findings(today());
        assert!(
            findings.iter().all(|f| f.code == "specimen"),
            "{findings:?}"
        );
    }
}

#[test]
fn lines_that_are_refused_say_why_and_hold_nothing() {
    let of = |line: &str| Presented::from_line(line).unwrap_err();
    let table = [
        ("", "mrz-empty"),
        ("hello", "mrz-shape"),
        (FIRST, "mrz-shape"),
        (&SECOND[1..], "mrz-shape"),
        (&format!("{FIRST}{}", &SECOND[1..]), "mrz-line-length"),
        (
            &format!("{FIRST}{}", SECOND.replace('L', "!")),
            "mrz-character",
        ),
        ("{", "json"),
        ("{}", "nothing-presented"),
        ("{\"number\":17}", "json"),
        ("{\"number\":\"1\",\"colour\":\"red\"}", "json"),
        ("{\"number\":\"1\"} {\"number\":\"2\"}", "json"),
        ("{\"number\":\"  \",\"state\":\"UTO\"}", "nothing-presented"),
        ("{\"mrz\":[\"P<UTO\"]}", "mrz-shape"),
        ("{\"mrz\":[]}", "mrz-empty"),
        ("{\"number\":\"1\",\"id\":\"a\\u001b[0m\"}", "id"),
        ("{\"number\":\"1\",\"id\":\"\"}", "id"),
        ("{\"number\":\"1\",\"kind\":\"TD4\"}", "kind"),
    ];
    for (line, code) in table {
        let fault = of(line);
        assert_eq!(fault.code(), code, "{line}");
        assert!(!fault.to_string().contains("red") && fault.to_string().len() > 20);
    }
    assert_eq!(of(&"P".repeat(9000)), Unreadable::TooLong);
    assert_eq!(
        Presented::from_mrz(&" \n".repeat(9000)).unwrap_err(),
        Unreadable::TooLong
    );
    let verdict = crate::desk::Verdict::unreadable(Some("7".to_owned()), of("{"));
    assert_eq!(verdict.conclusion.name(), "unreadable");
    assert!(verdict.text().contains("Nothing was asked"));
}

#[test]
fn what_is_not_said_is_not_asked() {
    let line = |line: &str| Presented::from_line(line).unwrap();
    let table = [
        ("{\"number\":\"1\"}", ""),
        ("{\"number\":\"1\",\"state\":\"FR\"}", ""),
        ("{\"number\":\"1\",\"state\":\"FRA\"}", "document"),
        (
            "{\"number\":\"1\",\"state\":\"FRA\",\"surname\":\"A\"}",
            "document",
        ),
        (
            "{\"number\":\"1\",\"state\":\"FRA\",\"birth_date\":\"1974\"}",
            "document",
        ),
        ("{\"surname\":\"A\",\"given_names\":\"B\"}", "name"),
        (
            "{\"surname\":\"A\",\"given_names\":\"B\",\"birth_date\":\"1974\"}",
            "name person",
        ),
        (
            "{\"number\":\"1\",\"state\":\"D\",\"surname\":\"A\",\"birth_date\":\"1974\"}",
            "document holder",
        ),
    ];
    for (text, types) in table {
        let presented = line(text);
        let has = [
            "document", "holder", "name", "person", "iban", "face", "text",
        ];
        let has: Vec<&str> = has
            .into_iter()
            .filter(|ty| key(&presented, ty).is_some())
            .collect();
        assert_eq!(has.join(" "), types, "{text}");
    }
    assert_eq!(line("{\"number\":\"1\",\"state\":\"d\"}").state(), "DEU");
    assert_eq!(line("{\"number\":\"1\",\"state\":\"FR\"}").state(), "");
}

/// The print is compared with the zone, and the zone is what is asked about.
#[test]
fn print_beside_a_zone() {
    let printed = Fields {
        number: Some(Zeroizing::new("X1".to_owned())),
        surname: Some(Zeroizing::new("Svensson".to_owned())),
        ..Fields::default()
    };
    let both = Presented::from_both(&format!("{FIRST}\n{SECOND}"), printed).unwrap();
    assert_eq!(key(&both, "document").unwrap(), "document:UTO:L898902C3");
    let codes: Vec<&str> = both.findings(today()).iter().map(|f| f.code).collect();
    assert!(
        codes.contains(&"printed-number") && codes.contains(&"printed-surname"),
        "{codes:?}"
    );
}

/// The zone with other characters, and whether what it covers then has right check digits as well: as an
/// alteration has, and a misread has not.
fn zone(first: &str, number: &str, birth: &str) -> Presented {
    let check = SECOND.get(9..10).unwrap();
    let second = format!("{number}{check}UTO{birth}2F1204159ZE184226B<<<<<10");
    Presented::from_mrz(&format!("{first}\n{second}")).unwrap()
}

/// One character of a zone read for another: what is still found in a register that holds the document,
/// what is not, and what the document itself says of it. Nothing here is guessed at: a number is asked as
/// it was read.
#[test]
fn misreads_and_what_they_still_find() {
    let number = "document:UTO:L898902C3".to_owned();
    let holder = "holder:UTO:L898902C3|740812|ERIKSSON|A".to_owned();
    // Characters of name, number, date; number found, holder found, seen by a rule.
    let first = |name: &str| format!("P<UTO{name:<<39}");
    let (good, l8, b7) = ("ERIKSSON<<ANNA<MARIA", "L898902C3", "740812");
    let table = [
        ("nothing misread", good, l8, b7, true, true, false),
        // Names have no check digit; letters that look alike are one in the key of the holder.
        (
            "I for L in the name",
            "ERLKSSON<<ANNA<MARIA",
            l8,
            b7,
            true,
            true,
            false,
        ),
        (
            "D for O in the name",
            "ERIKSSDN<<ANNA<MARIA",
            l8,
            b7,
            true,
            true,
            false,
        ),
        (
            "M for N in the name",
            "ERIKSSOM<<ANNA<MARIA",
            l8,
            b7,
            true,
            true,
            false,
        ),
        (
            "1 for I in the name",
            "ER1KSSON<<ANNA<MARIA",
            l8,
            b7,
            true,
            true,
            true,
        ),
        (
            "0 for O in the name",
            "ERIKSS0N<<ANNA<MARIA",
            l8,
            b7,
            true,
            true,
            true,
        ),
        (
            "behind the first given letter",
            "ERIKSSON<<AXXA<MARIA",
            l8,
            b7,
            true,
            true,
            false,
        ),
        (
            "K for a filler at the end",
            "ERIKSSON<<ANNA<MARIAK",
            l8,
            b7,
            true,
            true,
            false,
        ),
        (
            "F for E: not alike enough",
            "FRIKSSON<<ANNA<MARIA",
            l8,
            b7,
            true,
            false,
            false,
        ),
        (
            "P for R: not alike enough",
            "EPIKSSON<<ANNA<MARIA",
            l8,
            b7,
            true,
            false,
            false,
        ),
        (
            "a letter lost",
            "ERKSSON<<ANNA<MARIA",
            l8,
            b7,
            true,
            false,
            false,
        ),
        (
            "K for the filler between the parts",
            "ERIKSSON<KANNA<MARIA",
            l8,
            b7,
            true,
            false,
            false,
        ),
        // The number is asked as it was read: its check digit says that it is misread.
        (
            "8 for B in the number",
            good,
            "LB98902C3",
            b7,
            false,
            false,
            true,
        ),
        (
            "O for 0 in the number",
            good,
            "L8989O2C3",
            b7,
            false,
            false,
            true,
        ),
        (
            "G for C in the number",
            good,
            "L898902G3",
            b7,
            false,
            false,
            true,
        ),
        // 8, I and S are equal to the check digit; then only the register sees it.
        (
            "S for 8 in the number",
            good,
            "LS98902C3",
            b7,
            false,
            false,
            false,
        ),
        // The date of birth has a check digit; a letter in it can only be a digit.
        ("O for 0 in the date", good, l8, "74O812", true, true, true),
        ("B for 8 in the date", good, l8, "740B12", true, true, true),
        ("3 for 8 in the date", good, l8, "740312", true, false, true),
        ("1 for 7 in the date", good, l8, "140812", true, false, true),
    ];
    for (case, name, number_read, birth, finds_number, finds_holder, seen) in table {
        let presented = zone(&first(name), number_read, birth);
        assert_eq!(
            key(&presented, "document").as_ref() == Some(&number),
            finds_number,
            "{case}"
        );
        assert_eq!(
            key(&presented, "holder").as_ref() == Some(&holder),
            finds_holder,
            "{case}"
        );
        let error =
            |f: &Finding| f.severity == tallystick_protocol::identifiers::mrz::Severity::Error;
        assert_eq!(
            presented.findings(today()).iter().any(error),
            seen,
            "{case}"
        );
    }
}

/// Every misread of one character of the number that looks like it: its check digit sees all but those of
/// equal value modulo 10, and none is taken for the number that was printed.
#[test]
fn misreads_of_the_number_are_seen_but_for_those_of_equal_value() {
    let alike = [
        "0O", "0D", "0Q", "1I", "1L", "2Z", "5S", "6G", "8B", "3B", "4A", "7T", "UV", "CG", "MN",
        "8S",
    ];
    let swapped = |c: char| {
        let pairs = alike.iter().filter(move |pair| pair.contains(c));
        pairs.map(move |pair| pair.chars().find(|other| *other != c).unwrap())
    };
    let mut unseen = Vec::new();
    for number in ["L898902C3", "1234567BO", "GAUVMNQ5S", "ZTDI06427"] {
        let check = char::from(check_digit(number.as_bytes()));
        for (at, c) in number.char_indices() {
            for other in swapped(c) {
                let mut read = number.to_owned();
                read.replace_range(at..=at, &other.to_string());
                let second = format!("{read}{check}UTO7408122F1204159ZE184226B<<<<<10");
                let presented = Presented::from_mrz(&format!("{FIRST}\n{second}")).unwrap();
                assert_ne!(
                    key(&presented, "document"),
                    Some(format!("document:UTO:{number}"))
                );
                if presented.number_check() == Some(true) {
                    unseen.push(if c < other { [c, other] } else { [other, c] });
                }
            }
        }
    }
    unseen.sort_unstable();
    unseen.dedup();
    assert_eq!(unseen, [['1', 'L'], ['6', 'G'], ['8', 'S']]);
}

proptest! {
    #[test]
    fn never_panics(text in any::<String>(), line in "\\{\"(mrz|number|id|kind)\":.{0,40}\\}") {
        let strict = Profile::built_in("eu-strict").unwrap();
        for read in [Presented::from_line(&text), Presented::from_mrz(&text), Presented::from_line(&line)] {
            let Ok(presented) = read else { continue };
            let _ = presented.findings(today());
            for ty in ["document", "holder", "person", "name", "iban"] {
                let _ = presented.keys(&strict, &name(ty));
            }
        }
    }

    /// A zone with any characters in it: it may find less, and it never finds another's.
    #[test]
    fn a_damaged_zone_keeps_its_shape(
        changes in prop::collection::vec((0usize..88, "[A-Z0-9<]"), 0..6),
    ) {
        let mut run = format!("{FIRST}{SECOND}");
        for (at, with) in &changes {
            run.replace_range(*at..at + 1, with);
        }
        let presented = Presented::from_line(&run).unwrap();
        let document = key(&presented, "document");
        let holder = key(&presented, "holder");
        if let (Some(document), Some(holder)) = (document, holder) {
            let of = document.strip_prefix("document:").unwrap();
            prop_assert!(holder.strip_prefix("holder:").unwrap().starts_with(of));
        }
    }
}
