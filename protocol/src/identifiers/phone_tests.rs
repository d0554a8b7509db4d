use proptest::prelude::*;
use rlibphonenumber::PhoneNumberFormat;

use super::*;

fn text(number: &str, region: &str) -> Result<Option<String>, Reject> {
    Ok(normalise(number, region)?.map(|n| n.key_text["phone:".len()..].to_owned()))
}

#[test]
fn one_phone_however_it_is_written() {
    for raw in [
        "+44 20 7946 0958",
        "0044 20 7946 0958",
        "020 7946 0958",
        "tel:+44-20-7946-0958",
        "(020) 7946 0958",
        "+44 (0)20 7946 0958",
        "+44(0)2079460958",
        "44 20 7946 0958",
        "+44.20.7946.0958",
        "+44/20/7946/0958",
        "TEL:+442079460958;ext=12",
        "tel:+442079460958;isub=7;ext=12",
        "+44 20 7946 0958 ext. 12",
        "+44 20 7946 0958x12",
        "020 7946 0958 Extension: 12",
        "\u{202a}+44\u{a0}20\u{a0}7946\u{a0}0958\u{202c}",
        "＋４４　２０　７９４６　０９５８",
        "+٤٤ ٢٠ ٧٩٤٦ ٠٩٥٨",
        "+44 20\u{2011}7946\u{2013}0958",
    ] {
        assert_eq!(
            text(raw, "GB"),
            Ok(Some("+442079460958".to_owned())),
            "{raw}"
        );
        if raw.contains(['+', '＋']) {
            for region in ["", "US", "nonsense", "GB"] {
                assert_eq!(
                    text(raw, region),
                    Ok(Some("+442079460958".to_owned())),
                    "{raw}"
                );
            }
        }
    }
    for region in ["GB", "gb", " GB "] {
        assert!(text("020 7946 0958", region).unwrap().is_some());
    }
}

#[test]
fn plans_of_other_countries() {
    for (raw, region, want) in [
        // Trunk prefix, and none.
        ("030 12345678", "DE", "+493012345678"),
        ("+49 (0)30 12345678", "", "+493012345678"),
        ("01 42 68 53 00", "FR", "+33142685300"),
        ("22 123 45 67", "PL", "+48221234567"),
        ("06 1 234 5678", "HU", "+3612345678"),
        ("8 (495) 123-45-67", "RU", "+74951234567"),
        ("+7 495 123-45-67", "", "+74951234567"),
        ("8~10 44 20 7946 0958", "RU", ""),
        ("810 44 20 7946 0958", "RU", "+442079460958"),
        ("011 44 20 7946 0958", "US", "+442079460958"),
        ("1 (201) 555-0123", "US", "+12015550123"),
        ("(201) 555-0123", "CA", "+12015550123"),
        // The zeros of Italy stay, its mobile numbers have none.
        ("06 6982", "IT", "+39066982"),
        ("+39 06 6982", "", "+39066982"),
        ("347 123 4567", "IT", "+393471234567"),
        // Mexico, before and after 2019.
        ("55 1234 5678", "MX", "+525512345678"),
        ("+52 1 55 1234 5678", "", "+525512345678"),
        ("+52 55 1234 5678", "", "+525512345678"),
        ("044 55 1234 5678", "MX", "+525512345678"),
        ("045 55 1234 5678", "MX", "+525512345678"),
        ("01 55 1234 5678", "MX", "+525512345678"),
        // Argentina, mobile and not.
        ("011 15 2345-6789", "AR", "+5491123456789"),
        ("+54 9 11 2345 6789", "", "+5491123456789"),
        ("+54 11 15 2345 6789", "", "+5491123456789"),
        ("+54 11 2345 6789", "", "+541123456789"),
        // Brazil: a carrier's code is taken off.
        ("0 15 11 91234-5678", "BR", "+5511912345678"),
        // Possible, and in no range that is handed out.
        ("+44 20 0000 0000", "", "+442000000000"),
        ("+1 201 055 0123", "", "+12010550123"),
        // No country: satellite phones, freephone.
        ("+870 773 111 632", "", "+870773111632"),
        ("+800 1234 5678", "", "+80012345678"),
    ] {
        if want.is_empty() {
            assert_eq!(text(raw, region), Err(Reject::PhoneCharacter), "{raw}");
        } else {
            assert_eq!(text(raw, region), Ok(Some(want.to_owned())), "{raw}");
        }
    }
}

#[test]
fn what_is_no_phone_is_refused() {
    for raw in ["", " ", "-", "()", "tel:", "\u{202a}\u{202c}"] {
        assert_eq!(text(raw, ""), Ok(None), "{raw}");
    }
    for raw in ["020 7946 0958", "0044 20 7946 0958"] {
        assert_eq!(text(raw, ""), Err(Reject::PhoneRegionMissing), "{raw}");
        for region in ["GBR", "UK", "ZZ", "44", "001", "Ü", "G"] {
            assert_eq!(text(raw, region), Err(Reject::PhoneRegion), "{region}");
        }
    }
    for raw in [
        "0800 FLOWERS",
        "n/a",
        "020 7946 0958 or 59",
        "ext. 12x",
        "020*7946#",
        "020 7946 0958 ext.",
        "+44 20 +7946 0958",
        "020 7946, 0958",
        "tel:7946-0958;phone-context=+44-20",
        "½",
    ] {
        assert_eq!(text(raw, "GB"), Err(Reject::PhoneCharacter), "{raw}");
    }
    // No such country code; nothing behind it.
    for raw in ["+", "+0", "+999 1234 5678", "+210 123 4567", "1"] {
        assert_eq!(text(raw, "GB"), Err(Reject::PhoneNumber), "{raw}");
    }
    for raw in [
        "+33 1 42 68",
        "+44 20 7946 0958 0958",
        "+1 201 555 01234",
        "020 7946 0958 / 020 7946 0959",
    ] {
        assert_eq!(text(raw, "GB"), Err(Reject::PhoneLength), "{raw}");
    }
    // Without the town's code.
    for (raw, region) in [("7946 0958", "GB"), ("555-0123", "US")] {
        assert_eq!(text(raw, region), Err(Reject::PhoneLocal), "{raw}");
    }
}

/// The example of each region and of each kind stays what it is, and the forms that the library
/// prints lead back to it.
#[test]
fn examples_of_every_region_stay() {
    let mut seen = 0;
    for region in PHONE_NUMBER_UTIL.get_supported_regions() {
        let Ok(number) = PHONE_NUMBER_UTIL.get_example_number(region) else {
            continue;
        };
        seen += 1;
        let form = |form| PHONE_NUMBER_UTIL.format(&number, form).to_string();
        let e164 = form(PhoneNumberFormat::E164);
        let want = Ok(Some(e164.clone()));
        assert_eq!(text(&e164, ""), want);
        assert_eq!(text(&form(PhoneNumberFormat::International), ""), want);
        assert_eq!(text(&form(PhoneNumberFormat::RFC3966), ""), want);
        let region = region.as_region_str();
        assert_eq!(
            text(&form(PhoneNumberFormat::National), &region),
            want,
            "{e164}"
        );
    }
    assert!(seen > 240, "{seen}");
}

/// The tables named in the profile are those in the build.
#[test]
fn version_of_the_tables_is_the_one_named() {
    super::super::assert_locked("rlibphonenumber 2.2.15");
    assert!(TABLES.ends_with("rlibphonenumber 2.2.15"));
}

fn any_region() -> impl Strategy<Value = String> {
    let all: Vec<String> = PHONE_NUMBER_UTIL
        .get_supported_regions()
        .map(|region| region.as_region_str().to_string())
        .collect();
    prop::sample::select(all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn canonical_stays(raw in "(\\+|00|011|0|)[0-9 ()-]{3,18}", region in any_region()) {
        if let Ok(Some(once)) = text(&raw, &region) {
            prop_assert!(once.len() <= 16);
            prop_assert_eq!(text(&once, ""), Ok(Some(once)));
        }
    }

    #[test]
    fn a_region_does_not_change_an_international_number(
        digits in "[1-9][0-9]{6,14}", region in any_region(),
    ) {
        let raw = format!("+{digits}");
        prop_assert_eq!(text(&raw, &region), text(&raw, ""));
    }

    #[test]
    fn never_panics(raw in any::<String>(), digits in "[+0-9]{0,30}", region in any_region()) {
        let _ = text(&raw, &region);
        let _ = text(&digits, &region);
        let _ = text(&digits, &raw);
    }

    #[test]
    fn decimals_are_written(value in any::<u64>()) {
        let mut out = Short::<20>::new();
        prop_assert!(push_decimal(&mut out, value));
        prop_assert_eq!(out.as_str(), value.to_string());
    }
}
