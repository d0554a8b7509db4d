//! The canonical element: the bytes that are hashed to the group.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// First byte of every element. A later encoding takes another, and so never collides.
pub const ENCODING_VERSION: u8 = 1;

/// The longest canonical value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024;

/// One canonical identifier, as bytes:
/// `version u8 ‖ len u8 ‖ type ‖ len u8 ‖ issuer ‖ len u16 ‖ value`, lengths big-endian.
///
/// Every field that varies has its length before it, so the bytes can be read back in one way
/// only: different (type, issuer, value) never give equal bytes.
///
/// Secret: wiped on drop, hidden in Debug, compared in constant time, not cloned.
pub struct Element(Zeroizing<Vec<u8>>);

impl Element {
    /// Encodes an element. The caller keeps the bounds: names are this crate's own or three
    /// letters long, and values were measured.
    pub(super) fn encode(ty: &str, issuer: &str, value: &[u8]) -> Self {
        debug_assert!(ty.len() <= 255 && issuer.len() <= 255 && value.len() <= MAX_VALUE_BYTES);
        let len = 1 + 1 + ty.len() + 1 + issuer.len() + 2 + value.len();
        // The full size at once: growing would leave unwiped copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(len));
        bytes.push(ENCODING_VERSION);
        bytes.push(ty.len() as u8);
        bytes.extend_from_slice(ty.as_bytes());
        bytes.push(issuer.len() as u8);
        bytes.extend_from_slice(issuer.as_bytes());
        bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
        bytes.extend_from_slice(value);
        Self(bytes)
    }

    /// The value alone, without version, type and issuer. Secret.
    pub fn value(&self) -> &[u8] {
        let bytes = self.0.as_slice();
        let field = |at: usize| {
            bytes
                .get(at)
                .map_or(at + 1, |len| at + 1 + usize::from(*len))
        };
        bytes.get(field(field(1)) + 2..).unwrap_or_default()
    }

    /// The canonical bytes: what the OPRF takes as its input. Secret.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// In constant time for elements of equal length; the length itself is not hidden.
impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Element {}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Element(..)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads the fields back. That a left inverse exists is what makes the encoding injective.
    fn decode(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
        let (&version, rest) = bytes.split_first()?;
        let (&n, rest) = rest.split_first()?;
        let (ty, rest) = rest.split_at_checked(n.into())?;
        let (&n, rest) = rest.split_first()?;
        let (issuer, rest) = rest.split_at_checked(n.into())?;
        let (n, value) = rest.split_first_chunk::<2>()?;
        let whole = usize::from(u16::from_be_bytes(*n)) == value.len();
        (version == ENCODING_VERSION && whole).then_some((ty, issuer, value))
    }

    #[test]
    fn bytes_are_as_specified() {
        let element = Element::encode("document", "UTO", b"L898902C3");
        assert_eq!(
            element.as_bytes(),
            b"\x01\x08document\x03UTO\x00\x09L898902C3"
        );
        assert_eq!(
            Element::encode("text", "", b"").as_bytes(),
            b"\x01\x04text\x00\x00\x00"
        );
    }

    proptest! {
        #[test]
        fn encoding_reads_back(
            ty in "[a-z]{0,12}", issuer in "[A-Z]{0,5}",
            value in prop::collection::vec(any::<u8>(), 0..=MAX_VALUE_BYTES),
        ) {
            let element = Element::encode(&ty, &issuer, &value);
            prop_assert_eq!(element.value(), value.as_slice());
            prop_assert_eq!(
                decode(element.as_bytes()),
                Some((ty.as_bytes(), issuer.as_bytes(), value.as_slice()))
            );
        }

        /// A tiny alphabet, so that near collisions do come up.
        #[test]
        fn encoding_is_injective(
            a in ("[ab]{0,3}", "[ab]{0,3}", prop::collection::vec(0u8..3, 0..4)),
            b in ("[ab]{0,3}", "[ab]{0,3}", prop::collection::vec(0u8..3, 0..4)),
        ) {
            let same = Element::encode(&a.0, &a.1, &a.2) == Element::encode(&b.0, &b.1, &b.2);
            prop_assert_eq!(same, a == b);
        }
    }
}
