//! The receiver's session seed and blinds, and the OPRF output.

use std::fmt;

use hmac::{Hmac, KeyInit};
use sha2::Sha512;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::OprfError;
use crate::group::{Kernel, Scalar};
use crate::sha512::Construction;

/// Length in bytes of an OPRF output: one SHA-512 digest.
pub const OUTPUT_LEN: usize = 64;

/// Length in bytes of the longest tag; the rest of the output is label key material.
const TAG_MAX: usize = 32;

/// The secret 32 bytes all blinds of one session come from.
///
/// Whoever holds them can test guesses against the blinded elements, so they are kept
/// as a key is and never shown; an opening shows single blinds. Wiped on drop, redacted
/// in `Debug`, not `Clone`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SessionSeed([u8; 32]);

impl SessionSeed {
    /// Takes 32 fresh random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, for sealing.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The blinds of elements that follow each other in a session, one for each, in order:
    /// HMAC-SHA512 under the seed, over
    /// `session (16) ‖ I2OSP(len(type), 1) ‖ type ‖ I2OSP(index, 8) ‖ element`, reduced
    /// modulo the group order.
    ///
    /// `index` is the element's position in the session, padding included; it is
    /// `first_index` for the first one here. The element is hashed in, so that a session
    /// resumed over a changed table never reuses a blind on another element. Time depends on
    /// lengths only.
    ///
    /// # Errors
    ///
    /// [`OprfError::TypeNameTooLong`] above 255 bytes.
    pub fn blinds(
        &self,
        kernel: &dyn Kernel,
        session: &[u8; 16],
        type_name: &str,
        first_index: u64,
        elements: &[&[u8]],
    ) -> Result<Vec<Scalar>, OprfError> {
        let type_len = u8::try_from(type_name.len()).map_err(|_| OprfError::TypeNameTooLong)?;
        let common = [&session[..], &[type_len], type_name.as_bytes()].concat();
        let mut blinds = Vec::with_capacity(elements.len());
        kernel.sha512().each(
            &Construction::hmac(&self.0),
            elements.iter().zip(first_index..),
            |(element, index), message| {
                message.push(&common);
                message.push(&index.to_be_bytes());
                message.push(element);
            },
            |wide| blinds.push(Scalar::from_wide(wide)),
        );
        Ok(blinds)
    }
}

impl fmt::Debug for SessionSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSeed(..)")
    }
}

/// HMAC-SHA512 under a 32-byte key.
pub(crate) fn hmac_sha512(key: &[u8; 32]) -> Hmac<Sha512> {
    // RFC 2104 pads a short key with zeros to the block. Padding it here gives a key
    // type whose length cannot be wrong.
    let mut block = Zeroizing::new([0u8; 128]);
    block[..32].copy_from_slice(key);
    Hmac::<Sha512>::new((&*block).into())
}

/// The blinds of a chunk for `H(x) + r·B`, one for each element, in order.
///
/// Each must be uniform and used once. Wiped on drop, redacted in `Debug`.
pub struct AdditiveBlinds(pub(super) Vec<Scalar>);

impl AdditiveBlinds {
    /// Takes one blind for each element of the chunk.
    pub fn new(blinds: Vec<Scalar>) -> Self {
        Self(blinds)
    }
}

impl fmt::Debug for AdditiveBlinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdditiveBlinds(..)")
    }
}

/// The blinds of a chunk for the RFC's `r·H(x)`, one for each element, in order, none
/// zero.
///
/// Each must be uniform and used once. Wiped on drop, redacted in `Debug`.
pub struct ScalarBlinds(pub(super) Vec<Scalar>);

impl ScalarBlinds {
    /// Takes one blind for each element of the chunk.
    ///
    /// # Errors
    ///
    /// [`OprfError::ZeroBlind`]: zero would send the identity and cannot be undone.
    pub fn new(blinds: Vec<Scalar>) -> Result<Self, OprfError> {
        match blinds.iter().position(|blind| blind.is_zero().into()) {
            Some(index) => Err(OprfError::ZeroBlind { index }),
            None => Ok(Self(blinds)),
        }
    }
}

impl fmt::Debug for ScalarBlinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScalarBlinds(..)")
    }
}

/// The OPRF output of one element: 64 secret bytes.
///
/// Bytes 0 to 31 give the tag, bytes 32 to 63 the label key. Wiped on drop, redacted in
/// `Debug`, not `Clone`, compared in constant time.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Output([u8; OUTPUT_LEN]);

impl Output {
    pub(super) fn new(bytes: [u8; OUTPUT_LEN]) -> Self {
        Self(bytes)
    }

    /// The tag: the first `len` bytes, at most 32. A longer `len` gives 32.
    pub fn tag(&self, len: usize) -> &[u8] {
        &self.0[..len.min(TAG_MAX)]
    }

    /// Bytes 32 to 63, from which the label key is derived.
    pub fn label_key_material(&self) -> &[u8] {
        &self.0[TAG_MAX..]
    }
}

impl ConstantTimeEq for Output {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Output(..)")
    }
}
