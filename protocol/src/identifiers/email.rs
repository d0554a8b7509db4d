//! Email addresses.
//!
//! RFC 5321 and, for letters beyond ASCII, RFC 6531. A `mailto:` in front (RFC 6068, with what
//! stands behind `?`) and a name before `<…>` (RFC 5322) are taken off.
//!
//! - Domain: UTS 46, non-transitional, with STD3 rules, to its ASCII form; lower case; a dot at the
//!   end is removed. At least two labels, of which the last is no number. Address literals (`[…]`)
//!   are refused: they name a machine, not a domain.
//! - Local part: NFC, lower case, NFC. RFC 5321, section 2.4, lets a host tell letters by case. No
//!   provider of any size does, and people type as they like, so this folds on purpose. NFC and not
//!   NFKC is what RFC 6532, section 3.1, asks for.
//! - Dots and signs such as `+` in the local part stay: what they mean is the provider's affair.
//!   `a.b@` and `ab@` may be two people.
//! - A quoted local part is unquoted where it then means the same (`"a.b"@` is `a.b@`), and refused
//!   otherwise.
//!
//! Lengths are those of RFC 5321, section 4.5.3.1, as corrected: 64 bytes before the sign, 254
//! altogether, counted in the canonical form.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, Zeroizing};

use super::short::strip_prefix_ignore_case;
use super::{Element, IdentifierType, Normalised, Reject, key_text};

/// Bytes of a local part.
const MAX_LOCAL: usize = 64;

/// Bytes of an address.
const MAX_ADDRESS: usize = 254;

/// What a profile says of this type.
pub(super) const RULES: &str = "email.address: trim White_Space; strip mailto: and '?…', name and \
     '<>'; local part: unquote where equal, NFC, lower case, NFC, dot-atom, at most 64 bytes; \
     domain: strip one dot, UTS 46 non-transitional, STD3, no hyphen at ends, two labels or more, \
     last not numeric; at most 254 bytes\n";

/// Tables that the domain depends on. The test of the versions fails when they move.
pub(super) const TABLES: &str = "idna 1.1.0, icu_normalizer_data 2.4.0, icu_properties_data 2.4.0";

/// Canonical form: local part and ASCII domain, in lower case.
pub(super) fn normalise(raw: &str) -> Result<Option<Normalised>, Reject> {
    let address = bare(raw.trim())?;
    if address.is_empty() {
        return Ok(None);
    }
    let (local, domain) = address.rsplit_once('@').ok_or(Reject::EmailForm)?;
    let local = canonical_local(local)?;
    let domain = canonical_domain(domain)?;
    if local.len() + 1 + domain.len() > MAX_ADDRESS {
        return Err(Reject::EmailLength);
    }
    let mut value = Zeroizing::new(String::with_capacity(MAX_ADDRESS));
    value.push_str(&local);
    value.push('@');
    value.push_str(&domain);
    let ty = IdentifierType::Email;
    Ok(Some(Normalised {
        element: Element::encode(ty.name(), "", value.as_bytes()),
        key_text: key_text(ty, None, &value),
    }))
}

/// The address without scheme, name and angle brackets.
fn bare(raw: &str) -> Result<&str, Reject> {
    if let Some(rest) = strip_prefix_ignore_case(raw, "mailto:") {
        let address = rest.split('?').next().unwrap_or(rest);
        // RFC 6068 writes other characters as %XX, and `%` itself so, too.
        return if address.contains('%') {
            Err(Reject::EmailForm)
        } else {
            Ok(address.trim())
        };
    }
    match raw.strip_suffix('>') {
        Some(rest) => {
            let (_, address) = rest.rsplit_once('<').ok_or(Reject::EmailForm)?;
            let address = address.trim();
            Ok(strip_prefix_ignore_case(address, "mailto:").unwrap_or(address))
        }
        None => Ok(raw),
    }
}

fn canonical_local(raw: &str) -> Result<Zeroizing<String>, Reject> {
    let quoted = raw
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let refused = match quoted {
        Some(_) => Reject::EmailQuoted,
        None if raw.contains('"') => return Err(Reject::EmailQuoted),
        None => Reject::EmailLocal,
    };
    let mut local = Zeroizing::new(String::with_capacity(MAX_LOCAL));
    for c in quoted
        .unwrap_or(raw)
        .nfc()
        .flat_map(char::to_lowercase)
        .nfc()
    {
        if !of_local_part(c) {
            return Err(refused);
        }
        if local.len() + c.len_utf8() > MAX_LOCAL {
            return Err(Reject::EmailLength);
        }
        local.push(c);
    }
    // RFC 5321: a dot-string is atoms with single dots between them.
    if local.is_empty() || local.split('.').any(str::is_empty) {
        return Err(refused);
    }
    Ok(local)
}

/// `atext` of RFC 5322, the dot between atoms, and RFC 6531's letters beyond ASCII, without spaces,
/// controls and marks of direction that nobody sees.
fn of_local_part(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        _ if c.is_ascii() => "!#$%&'*+-/=?^_`{|}~.".contains(c),
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' => false,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{ffff}' => false,
        _ => !c.is_whitespace() && !c.is_control(),
    }
}

fn canonical_domain(raw: &str) -> Result<Zeroizing<String>, Reject> {
    let domain = raw
        .strip_suffix(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}'])
        .unwrap_or(raw);
    let ascii = Uts46::new()
        .to_ascii(
            domain.as_bytes(),
            AsciiDenyList::STD3,
            // No hyphen at the ends of a label; real domains have two in positions 3 and 4.
            Hyphens::CheckFirstLast,
            DnsLength::Verify,
        )
        .map_err(|_| Reject::EmailDomain)?;
    let mut labels = ascii.rsplit('.');
    let numeric = labels
        .next()
        .is_none_or(|last| last.bytes().all(|b| b.is_ascii_digit()));
    let single = labels.next().is_none();
    let mut ascii = ascii;
    let kept = Zeroizing::new(String::from(&*ascii));
    if let std::borrow::Cow::Owned(owned) = &mut ascii {
        owned.zeroize();
    }
    if numeric || single {
        return Err(Reject::EmailDomain);
    }
    Ok(kept)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &str) -> Result<Option<String>, Reject> {
        Ok(normalise(raw)?.map(|n| n.key_text["email:".len()..].to_owned()))
    }

    #[test]
    fn one_mailbox_however_it_is_written() {
        for (raw, want) in [
            ("anna.maria@example.org", "anna.maria@example.org"),
            ("Anna.Maria@Example.ORG", "anna.maria@example.org"),
            (" anna.maria@example.org.\t", "anna.maria@example.org"),
            (
                "mailto:anna.maria@example.org?subject=x",
                "anna.maria@example.org",
            ),
            ("MAILTO:Anna.Maria@example.org", "anna.maria@example.org"),
            ("<anna.maria@example.org>", "anna.maria@example.org"),
            (
                "ERIKSSON, Anna Maria <anna.maria@example.org>",
                "anna.maria@example.org",
            ),
            (
                "\"Anna Maria\" <mailto:anna.maria@example.org>",
                "anna.maria@example.org",
            ),
            ("\"anna.maria\"@example.org", "anna.maria@example.org"),
            ("a@bücher.example", "a@xn--bcher-kva.example"),
            ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
            ("a@bu\u{308}cher.example", "a@xn--bcher-kva.example"),
            ("a@XN--BCHER-KVA.example", "a@xn--bcher-kva.example"),
            ("a@bücher。example", "a@xn--bcher-kva.example"),
            ("a@ｅｘａｍｐｌｅ.org", "a@example.org"),
            ("a@straße.example", "a@xn--strae-oqa.example"),
            ("a@strasse.example", "a@strasse.example"),
            ("Ü@example.org", "ü@example.org"),
            ("u\u{308}@example.org", "ü@example.org"),
            ("a@r3---sn.example.org", "a@r3---sn.example.org"),
            (
                "!#$%&'*+-/=?^_`{|}~@example.org",
                "!#$%&'*+-/=?^_`{|}~@example.org",
            ),
        ] {
            assert_eq!(text(raw), Ok(Some(want.to_owned())), "{raw}");
        }
    }

    #[test]
    fn dots_and_signs_of_the_local_part_count() {
        let mut seen = std::collections::BTreeSet::new();
        for raw in [
            "ab@example.org",
            "a.b@example.org",
            "ab+x@example.org",
            "a-b@example.org",
        ] {
            assert!(seen.insert(text(raw).unwrap().unwrap()));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for raw in ["", " ", "<>", "mailto:", "\u{3000}"] {
            assert_eq!(text(raw), Ok(None), "{raw}");
        }
        for raw in ["anna", "a b>", "a＠example.org", "mailto:a%40b@example.org"] {
            assert_eq!(text(raw), Err(Reject::EmailForm), "{raw}");
        }
        for raw in [
            "@example.org",
            "a..b@example.org",
            ".a@example.org",
            "a.@example.org",
            "a b@example.org",
            "a@b@example.org",
            "a(x)@example.org",
            "a,b@example.org",
            "a\u{200b}b@example.org",
            "a\u{0}b@example.org",
        ] {
            assert_eq!(text(raw), Err(Reject::EmailLocal), "{raw}");
        }
        for raw in [
            "\"a b\"@example.org",
            "\"\"@example.org",
            "a\"b@example.org",
            "\"a\\b\"@x.org",
        ] {
            assert_eq!(text(raw), Err(Reject::EmailQuoted), "{raw}");
        }
        for raw in [
            "a@",
            "a@localhost",
            "a@.org",
            "a@example..org",
            "a@example.org..",
            "a@-example.org",
            "a@example-.org",
            "a@exa_mple.org",
            "a@exa mple.org",
            "a@[192.0.2.1]",
            "a@192.0.2.1",
            "a@xn--a.example",
            "a@example.org, b@example.org",
        ] {
            assert!(
                matches!(text(raw), Err(Reject::EmailDomain | Reject::EmailLocal)),
                "{raw}"
            );
        }
    }

    #[test]
    fn lengths_are_those_of_the_rfc() {
        let local = |n| format!("{}@example.org", "a".repeat(n));
        assert!(text(&local(64)).is_ok());
        assert_eq!(text(&local(65)), Err(Reject::EmailLength));
        assert!(text(&format!("a@{}.org", "b".repeat(63))).is_ok());
        assert_eq!(
            text(&format!("a@{}.org", "b".repeat(64))),
            Err(Reject::EmailDomain)
        );
        let domain = vec!["b".repeat(61); 3].join(".");
        let address = |n| format!("{}@{domain}.org", "a".repeat(n));
        assert_eq!(address(64).len(), 254);
        assert!(text(&address(64)).is_ok());
        let address = format!("{}@b{domain}.org", "a".repeat(64));
        assert_eq!(text(&address), Err(Reject::EmailLength));
    }

    /// Every character of Unicode, in both parts.
    #[test]
    fn idempotent_for_every_character() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            for raw in [
                format!("a{c}\u{301}@example.org"),
                format!("a@b{c}.example"),
            ] {
                if let Ok(Some(once)) = text(&raw) {
                    assert_eq!(text(&once), Ok(Some(once)), "U+{:04X}", c as u32);
                }
            }
        }
    }

    /// The tables named in the profile are those in the build.
    #[test]
    fn versions_of_the_tables_are_those_named() {
        super::super::assert_locked(TABLES);
    }

    proptest! {
        #[test]
        fn canonical_stays(raw in "[a-zA-ZÀ-ž.+]{1,20}@[a-zA-ZÀ-ž0-9-]{1,20}(\\.[a-zß-ž]{2,9}){1,3}") {
            if let Ok(Some(once)) = text(&raw) {
                prop_assert_eq!(text(&once), Ok(Some(once)));
            }
        }

        #[test]
        fn never_panics(raw in any::<String>(), domain in any::<String>()) {
            let _ = text(&raw);
            let _ = text(&format!("{raw}@{domain}"));
            let _ = text(&format!("a@{domain}.org"));
        }
    }
}
