//! Short strings of a fixed room, wiped on drop: an identifier while it takes shape.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::document::HYPHENS;

/// At most `N` bytes of ASCII, wiped on drop. It never moves its bytes to a larger place, so no
/// copy stays behind.
pub(super) struct Short<const N: usize> {
    bytes: Zeroizing<[u8; N]>,
    len: usize,
}

/// Why [`Short::alphanumeric`] took no string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A character is neither letter, digit nor one of those that are dropped.
    Character,
    /// There are more than `N`.
    Length,
}

impl<const N: usize> Short<N> {
    pub(super) fn new() -> Self {
        Self {
            bytes: Zeroizing::new([0; N]),
            len: 0,
        }
    }

    /// Only ASCII may be pushed. False when it is full.
    pub(super) fn push(&mut self, byte: u8) -> bool {
        debug_assert!(byte.is_ascii());
        match self.bytes.get_mut(self.len) {
            Some(slot) => {
                *slot = byte;
                self.len += 1;
                true
            }
            None => false,
        }
    }

    /// False when they do not all fit.
    pub(super) fn push_all(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|b| self.push(*b))
    }

    /// Keeps the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Only ASCII is ever pushed, so the fallback is never taken.
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_slice()).unwrap_or_default()
    }

    /// NFKC; white space, hyphens and the characters in `dropped` removed; ASCII letters in upper
    /// case; what is left must be `[A-Z0-9]`, at most `N` of them.
    ///
    /// Upper case is ASCII's alone. The full mapping would turn `ß` into `SS` and the dotless `ı`
    /// into `I`, two readings of one identifier that are better rejected than matched; and so the
    /// types that use this do not depend on a table of cases.
    pub(super) fn alphanumeric(raw: &str, dropped: &[char]) -> Result<Self, Refused> {
        if raw.is_ascii() {
            // NFKC leaves ASCII as it is.
            Self::alphanumeric_from(raw.bytes().map(char::from), dropped)
        } else {
            Self::alphanumeric_from(raw.nfkc(), dropped)
        }
    }

    pub(super) fn alphanumeric_from(
        chars: impl Iterator<Item = char>,
        dropped: &[char],
    ) -> Result<Self, Refused> {
        let mut out = Self::new();
        for c in chars {
            match c {
                'A'..='Z' | 'a'..='z' | '0'..='9' => {
                    if !out.push(c.to_ascii_uppercase() as u8) {
                        return Err(Refused::Length);
                    }
                }
                c if separates(c) || dropped.contains(&c) => {}
                _ => return Err(Refused::Character),
            }
        }
        Ok(out)
    }
}

/// White space and hyphens: what people put between groups of an identifier.
pub(super) fn separates(c: char) -> bool {
    c.is_whitespace() || HYPHENS.contains(&c)
}

/// The value of a decimal digit: ASCII, Arabic-Indic (U+0660) or extended Arabic-Indic (U+06F0).
/// Other scripts' digits are compatibility forms that NFKC has turned into ASCII, or are refused.
pub(super) fn digit(c: char) -> Option<u8> {
    let value = match c {
        '0'..='9' => c as u32 - '0' as u32,
        '\u{660}'..='\u{669}' => c as u32 - 0x660,
        '\u{6f0}'..='\u{6f9}' => c as u32 - 0x6f0,
        _ => return None,
    };
    u8::try_from(value).ok()
}

/// What stands behind `prefix`, ASCII case aside.
pub(super) fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}
