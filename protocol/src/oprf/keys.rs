//! The sender's secret key and the public key that stands in its grant.

use std::fmt;

use zeroize::Zeroizing;

use super::{DERIVE_KEY_PAIR_DST, OprfError};
use crate::group::{Base, Encoding, Kernel, Points, Scalar};

/// An OPRF secret key `k`, with the encoding of its public key `K = k·B`.
///
/// A key serves one collection, identifier type, output mode and epoch. Wiped on drop,
/// redacted in `Debug`, not `Clone`.
pub struct SecretKey {
    scalar: Scalar,
    public: Encoding,
}

impl SecretKey {
    /// `DeriveKeyPair` of RFC 9497, section 3.2.1.
    ///
    /// `seed` is 32 secret random bytes; `info` is public and names what the key is for.
    ///
    /// # Errors
    ///
    /// [`OprfError::InfoTooLong`]; [`OprfError::SecretKey`] when no counter gives a key
    /// (the RFC's `DeriveKeyPairError`, never seen).
    pub fn from_seed(kernel: &dyn Kernel, seed: &[u8; 32], info: &[u8]) -> Result<Self, OprfError> {
        // deriveInput = seed || I2OSP(len(info), 2) || info
        let info_len = u16::try_from(info.len()).map_err(|_| OprfError::InfoTooLong)?;
        for counter in 0..=u8::MAX {
            // skS = G.HashToScalar(deriveInput || I2OSP(counter, 1),
            //                      DST = "DeriveKeyPair" || contextString)
            let scalar = Scalar::hash(
                DERIVE_KEY_PAIR_DST,
                &[seed, &info_len.to_be_bytes(), info, &[counter]],
            );
            if let Some(key) = Self::from_scalar(kernel, scalar) {
                return Ok(key);
            }
        }
        Err(OprfError::SecretKey)
    }

    /// Reads the 32 canonical bytes of [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    ///
    /// [`OprfError::SecretKey`] when the value is zero or not below the group order.
    pub fn from_bytes(kernel: &dyn Kernel, bytes: &[u8; 32]) -> Result<Self, OprfError> {
        Scalar::from_canonical(bytes)
            .and_then(|scalar| Self::from_scalar(kernel, scalar))
            .ok_or(OprfError::SecretKey)
    }

    /// The 32 canonical little-endian bytes, for sealing.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.scalar.to_bytes()
    }

    /// The encoded public key.
    pub fn public_bytes(&self) -> &Encoding {
        &self.public
    }

    pub(crate) fn scalar(&self) -> &Scalar {
        &self.scalar
    }

    /// `None` when the scalar is zero.
    fn from_scalar(kernel: &dyn Kernel, scalar: Scalar) -> Option<Self> {
        if bool::from(scalar.is_zero()) {
            return None;
        }
        let point = kernel.mul(&kernel.base_point(kernel.generator()), &scalar);
        let public = *kernel.encode(&point).first()?;
        Some(Self { scalar, public })
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// A validated OPRF public key `K` with its precomputed table (up to 100 KiB): build it once
/// for each grant and share it. `Debug` prints it, it is public.
pub struct PublicKey {
    encoding: Encoding,
    base: Base,
    point: Points,
}

impl PublicKey {
    /// Decodes and checks a public key, and builds its table.
    ///
    /// # Errors
    ///
    /// [`OprfError::PublicKey`] when the encoding is not canonical or is the identity.
    pub fn decode(kernel: &dyn Kernel, encoding: &Encoding) -> Result<Self, OprfError> {
        let base = kernel.base(encoding).ok_or(OprfError::PublicKey)?;
        Ok(Self {
            encoding: *encoding,
            point: kernel.base_point(&base),
            base,
        })
    }

    /// The 32 bytes of the key.
    pub fn as_bytes(&self) -> &Encoding {
        &self.encoding
    }

    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    pub(crate) fn point(&self) -> &Points {
        &self.point
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.encoding))
    }
}
