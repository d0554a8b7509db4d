//! Ed25519 keys of statements, chunks and logs, and the strict verification they are used with.
//!
//! Verification is `verify_strict` (spec section 3.3): canonical S, canonical and not small-order
//! A and R, cofactorless equation. Two verifiers that follow it never disagree.

use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};

use crate::{error::Error, statements::Hex};

/// A signing key. Redacted in Debug, wiped on drop, not cloneable, not serialisable.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl SigningKey {
    /// A key from its 32 secret bytes (RFC 8032 seed).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public half.
    #[must_use]
    pub fn verify_key(&self) -> VerifyKey {
        VerifyKey(self.0.verifying_key().to_bytes())
    }

    /// Signs bytes that already carry their domain label.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl From<ed25519_dalek::SigningKey> for SigningKey {
    fn from(key: ed25519_dalek::SigningKey) -> Self {
        Self(key)
    }
}

/// Whether the y of an encoded point is below p = 2^255 - 19: the library decodes others as well.
fn is_canonical(encoding: &[u8; 32]) -> bool {
    let high = encoding[31] & 0x7f == 0x7f && encoding[1..31].iter().all(|byte| *byte == 0xff);
    !(high && encoding[0] >= 0xed)
}

/// A public key of an agency, as it stands in statements: 32 bytes in lowercase hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifyKey(pub [u8; 32]);

impl std::fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifyKey({})", hex::encode(self.0))
    }
}

impl From<[u8; 32]> for VerifyKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<Hex<32>> for VerifyKey {
    fn from(hex: Hex<32>) -> Self {
        Self(hex.0)
    }
}

impl From<VerifyKey> for Hex<32> {
    fn from(key: VerifyKey) -> Self {
        Self(key.0)
    }
}

impl VerifyKey {
    /// The `keyid` of this key in an envelope: lowercase hex of SHA-256 of its 32 bytes.
    #[must_use]
    pub fn key_id(&self) -> String {
        hex::encode(Sha256::digest(self.0))
    }

    /// Checks a signature strictly.
    pub(crate) fn verify(
        &self,
        what: &'static str,
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), Error> {
        let bad = Error::Signature { what };
        if !is_canonical(&self.0) {
            return Err(bad);
        }
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| bad.clone())?;
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        key.verify_strict(message, &signature).map_err(|_| bad)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
