//! Padding: elements that stand for nothing, and the public sizes they fill up to.

use super::element::Element;

/// The reserved type of padding elements. No table can make one: it is not an
/// [`IdentifierType`](super::IdentifierType).
pub const PADDING_TYPE: &str = "padding";

/// The smallest padded size.
pub const MIN_PADDED_SIZE: u64 = 16;

/// A padding element over 32 fresh random bytes.
///
/// It is hashed, blinded, charged and openable like any other, so nobody can tell it apart on the
/// wire, and an auditor who opens it sees by its type that no guess was hidden in it.
pub fn padding_element(random: &[u8; 32]) -> Element {
    Element::encode(PADDING_TYPE, "", random)
}

/// The public size that `n` elements are padded to: the smallest of 2^k, 1.25, 1.5 and
/// 1.75 times 2^k that is at least `n`, and at least [`MIN_PADDED_SIZE`].
///
/// A peer so learns the size to within a quarter. The overhead is below 25 % from 16 elements on.
/// Beyond the largest such step in 64 bits the answer is `u64::MAX`.
pub const fn padded_size(n: u64) -> u64 {
    if n <= MIN_PADDED_SIZE {
        return MIN_PADDED_SIZE;
    }
    // n > 16, so the power of two below it is at least 16 and has whole quarters.
    let base = 1u64 << n.ilog2();
    let quarter = base / 4;
    base.saturating_add((n - base).div_ceil(quarter).saturating_mul(quarter))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_at_the_edges() {
        let table = [
            (0, 16),
            (1, 16),
            (16, 16),
            (17, 20),
            (20, 20),
            (21, 24),
            (25, 28),
            (29, 32),
            (32, 32),
            (33, 40),
            (1000, 1024),
            (1025, 1280),
            (10_000, 10_240),
            (1_000_000, 1_048_576),
            (7 << 61, 7 << 61),
            ((7 << 61) + 1, u64::MAX),
            (u64::MAX, u64::MAX),
        ];
        for (n, want) in table {
            assert_eq!(padded_size(n), want, "{n}");
        }
    }

    proptest! {
        #[test]
        fn sizes_are_steps_and_fixed_points(n in 17u64..(1 << 62)) {
            let size = padded_size(n);
            prop_assert!(size >= n && size - n < n.div_ceil(4));
            prop_assert_eq!(padded_size(size), size);
            // A step is a number of three significant bits, the top one set.
            prop_assert!(size >> (size.ilog2() - 2) << (size.ilog2() - 2) == size);
        }
    }

    #[test]
    fn a_padding_element_has_its_own_type() {
        let element = padding_element(&[7; 32]);
        let mut want = b"\x01\x07padding\x00\x00\x20".to_vec();
        want.extend([7; 32]);
        assert_eq!(element.as_bytes(), want);
    }
}
