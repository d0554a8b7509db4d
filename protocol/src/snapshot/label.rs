//! Labels: sealed under a key that only the evaluation of their own element gives.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{error::Error, oprf::Output, statements::Name};

/// Nonce and authenticator of a sealed label.
pub const SEAL_OVERHEAD: usize = 24 + 16;
/// The most bytes a label's padded plaintext may have.
pub const MAX_LABEL_BYTES: usize = 4096;

/// The padded plaintext size for a longest payload of `longest` bytes: a power of two from 32 up,
/// so that the header says little about label contents.
///
/// # Errors
/// [`Error::Usage`] above [`MAX_LABEL_BYTES`].
pub fn label_bytes(longest: usize) -> Result<usize, Error> {
    let size = (longest + 2).next_power_of_two().max(32);
    if size > MAX_LABEL_BYTES {
        return Err(Error::Usage(
            "a label is longer than 4,094 bytes: choose fewer or shorter label columns",
        ));
    }
    Ok(size)
}

/// What a sealed label is bound to.
#[derive(Debug, Clone)]
pub struct LabelContext {
    bytes: Vec<u8>,
}

impl LabelContext {
    /// Collection and epoch.
    #[must_use]
    pub fn new(collection: &Name, epoch: u64) -> Self {
        let name = collection.as_str().as_bytes();
        // A name is at most 63 bytes: its length fits one byte.
        let mut bytes = vec![name.len() as u8];
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&epoch.to_be_bytes());
        Self { bytes }
    }

    fn with(&self, tail: &[u8]) -> Vec<u8> {
        [&self.bytes, tail].concat()
    }
}

/// The key of one element's label: HKDF-SHA256 of OPRF output bytes 32-63. The tag, which is
/// public, comes from bytes 0-31, so it says nothing about this key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct LabelKey([u8; 32]);

impl std::fmt::Debug for LabelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LabelKey(..)")
    }
}

impl LabelKey {
    /// Derives the key.
    ///
    /// # Errors
    /// [`Error::Bug`] only.
    pub fn derive(output: &Output, context: &LabelContext) -> Result<Self, Error> {
        Self::from_material(output.label_key_material(), context)
    }

    /// Derives the key from OPRF output bytes 32-63.
    ///
    /// # Errors
    /// [`Error::Bug`] only.
    pub fn from_material(material: &[u8], context: &LabelContext) -> Result<Self, Error> {
        let mut key = [0u8; 32];
        Hkdf::<Sha256>::new(Some(b"tallystick/label-key/v1"), material)
            .expand(&context.bytes, &mut key)
            .map_err(|_| Error::Bug("HKDF length"))?;
        Ok(Self(key))
    }

    /// Seals `payload`, padded to `label_bytes`, for `tag`: nonce 24 ‖ ciphertext ‖ authenticator.
    /// `nonce` must be fresh random bytes.
    ///
    /// # Errors
    /// [`Error::Usage`] if the payload does not fit.
    pub fn seal(
        &self,
        payload: &[u8],
        label_bytes: usize,
        context: &LabelContext,
        tag: &[u8],
        nonce: [u8; 24],
    ) -> Result<Vec<u8>, Error> {
        let length = u16::try_from(payload.len())
            .ok()
            .filter(|_| payload.len() + 2 <= label_bytes)
            .ok_or(Error::Usage(
                "a label is longer than the collection's label size",
            ))?;
        let mut plaintext = Zeroizing::new(vec![0u8; label_bytes]);
        plaintext[..2].copy_from_slice(&length.to_be_bytes());
        plaintext[2..2 + payload.len()].copy_from_slice(payload);
        let sealed = self
            .cipher()
            .encrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: &plaintext,
                    aad: &context.with(tag),
                },
            )
            .map_err(|_| Error::Bug("sealing a label"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens a sealed label of `tag`.
    ///
    /// # Errors
    /// [`Error::Label`] if it does not open or is not padded as it must be.
    pub fn open(
        &self,
        sealed: &[u8],
        context: &LabelContext,
        tag: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<24>().ok_or(Error::Label)?;
        let plaintext = Zeroizing::new(
            self.cipher()
                .decrypt(
                    &XNonce::from(*nonce),
                    Payload {
                        msg: ciphertext,
                        aad: &context.with(tag),
                    },
                )
                .map_err(|_| Error::Label)?,
        );
        let (length, rest) = plaintext.split_first_chunk::<2>().ok_or(Error::Label)?;
        let (payload, padding) = rest
            .split_at_checked(u16::from_be_bytes(*length).into())
            .ok_or(Error::Label)?;
        if padding.iter().any(|b| *b != 0) {
            return Err(Error::Label);
        }
        Ok(Zeroizing::new(payload.to_vec()))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }
}
