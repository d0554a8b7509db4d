//! Scalars modulo the group order, as a secret type.

use std::fmt;

use curve25519_dalek::scalar::Scalar as Inner;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::hash;
use crate::sha512::{Message, Sha512Many};

/// An integer modulo the group order l = 2^252 + 27742317777372353535851937790883648493.
///
/// Treated as secret: wiped on drop, redacted in `Debug`, not `Clone`, compared in
/// constant time. All arithmetic is constant-time. The inner type prints its value in
/// `Debug`, so it stays private to `group`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Scalar(pub(super) Inner);

impl Scalar {
    /// Reduces 64 little-endian bytes modulo l. Uniform bytes give a scalar whose
    /// distance from uniform is below 2^-250.
    pub fn from_wide(bytes: &[u8; 64]) -> Self {
        Self(Inner::from_bytes_mod_order_wide(bytes))
    }

    /// Reads 32 little-endian bytes. `None` unless the value is below l.
    pub fn from_canonical(bytes: &[u8; 32]) -> Option<Self> {
        Option::from(Inner::from_canonical_bytes(*bytes)).map(Self)
    }

    /// `HashToScalar` of RFC 9497, section 4.1: the concatenation of `parts` expanded
    /// to 64 bytes under `dst`, then reduced as little-endian.
    pub fn hash(dst: &[u8], parts: &[&[u8]]) -> Self {
        Self::from_wide(&hash::expand_message_xmd(dst, parts))
    }

    /// [`hash`](Self::hash) for each item, in order. `write` puts the message of an item
    /// together. Time depends on the lengths of the messages only.
    ///
    /// The items must say how many they are ([`Iterator::size_hint`]), as lists do: a vector
    /// that had to grow would leave scalars behind.
    pub(crate) fn hash_each<T>(
        sha512: Sha512Many,
        dst: &[u8],
        items: impl IntoIterator<Item = T>,
        write: impl FnMut(T, &mut Message),
    ) -> Vec<Self> {
        let items = items.into_iter();
        let mut scalars = Vec::with_capacity(items.size_hint().0);
        hash::expand_each(sha512, dst, items, write, |wide| {
            scalars.push(Self::from_wide(wide));
        });
        scalars
    }

    /// The canonical 32 little-endian bytes.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// `self + other`.
    pub fn add(&self, other: &Self) -> Self {
        Self(self.0 + other.0)
    }

    /// `self - other`.
    pub fn sub(&self, other: &Self) -> Self {
        Self(self.0 - other.0)
    }

    /// `self · other`.
    pub fn mul(&self, other: &Self) -> Self {
        Self(self.0 * other.0)
    }

    /// `1 / self`; zero stays zero.
    pub fn invert(&self) -> Self {
        Self(self.0.invert())
    }

    /// `self / 2`. Not put into its caller, which is scanned for jumps on secrets (`ct/`).
    #[inline(never)]
    pub(super) fn half(&self) -> Self {
        Self(self.0.div_by_2())
    }

    /// The inverse of each scalar, in order, at the price of one inversion and three
    /// products for each. **Every scalar must be non-zero**: with a zero among them
    /// the results mean nothing.
    pub fn invert_all(scalars: &[Self]) -> Vec<Self> {
        let mut inner = Zeroizing::new(scalars.iter().map(|s| s.0).collect::<Vec<Inner>>());
        let mut product = Inner::invert_batch_alloc(&mut inner);
        product.zeroize();
        inner.iter().map(|s| Self(*s)).collect()
    }

    /// Whether the scalar is zero, in constant time.
    pub fn is_zero(&self) -> Choice {
        self.0.ct_eq(&Inner::ZERO)
    }
}

impl ConstantTimeEq for Scalar {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scalar(..)")
    }
}
