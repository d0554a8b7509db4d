//! The types of members: each has exactly one written form (spec section 3.2).

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// `N` bytes, written as `2·N` lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> std::fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<const N: usize> std::fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<const N: usize> From<[u8; N]> for Hex<N> {
    fn from(bytes: [u8; N]) -> Self {
        Self(bytes)
    }
}

impl<const N: usize> std::str::FromStr for Hex<N> {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0u8; N];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| "not hex digits of the right number")?;
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err("upper-case hex digits");
        }
        Ok(Self(bytes))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// An integer below 2^53, so that every JSON reader sees the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Default)]
#[serde(transparent)]
pub struct Int(u64);

impl Int {
    /// Checks the bound.
    ///
    /// # Errors
    /// [`crate::error::Error::Limit`] at 2^53 and above.
    pub fn new(value: u64) -> Result<Self, crate::error::Error> {
        if value < 1 << 53 {
            Ok(Self(value))
        } else {
            Err(crate::error::Error::Limit {
                what: "integer",
                limit: (1 << 53) - 1,
            })
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u32> for Int {
    fn from(value: u32) -> Self {
        Self(value.into())
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl std::fmt::Display for Int {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = &'static str;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err($rule) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(
    /// A name of an agency, a collection, a type or a code: `[a-z0-9][a-z0-9-]{0,62}`. It is safe
    /// as a file name.
    Name,
    "not a name: 1 to 63 of a-z, 0-9 and hyphen, not starting with a hyphen",
    |text| {
        let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        (1..=63).contains(&text.len())
            && text.bytes().all(|b| ok(b) || b == b'-')
            && text.bytes().next().is_some_and(ok)
    }
);

text_type!(
    /// Free text of 1 to 512 bytes without control characters, line or paragraph separators, or
    /// marks that change the direction of text: what an auditor's screen shows is what was signed.
    Line,
    "not a line of text: 1 to 512 bytes without control characters",
    |text| (1..=512).contains(&text.len()) && !text.chars().any(deceives)
);

/// Characters that make shown text differ from signed text: controls, separators, direction marks
/// (Unicode UAX 9), invisible joiners at the start of a file.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

text_type!(
    /// A block of text (a certificate) of 1 to 16,384 bytes of printable ASCII and line ends.
    Block,
    "not a block of text: 1 to 16,384 bytes of printable ASCII and line ends",
    |text| (1..=16_384).contains(&text.len())
        && text.bytes().all(|b| b == b'\n' || (0x20..0x7f).contains(&b))
);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_one_written_form() {
        assert!("00ff".parse::<Hex<2>>().is_ok());
        for bad in ["00FF", "00f", "00ff00", "00fg", ""] {
            assert!(bad.parse::<Hex<2>>().is_err(), "{bad}");
        }
        assert!("fiu-2".parse::<Name>().is_ok());
        let long = "a".repeat(64);
        for bad in ["", "-a", "A", "a_b", "a/b", "..", "é", long.as_str()] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert!("Case 7 — Łódź".parse::<Line>().is_ok());
        for bad in [
            "",
            "a\nb",
            "\u{7f}",
            "\u{85}",
            "a\u{202e}b",
            "a\u{2028}b",
            "\u{feff}a",
        ] {
            assert!(bad.parse::<Line>().is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<Int>("9007199254740991").is_ok());
        for bad in ["9007199254740992", "-1", "1.0", "1e3", "\"1\""] {
            assert!(serde_json::from_str::<Int>(bad).is_err(), "{bad}");
        }
    }
}
