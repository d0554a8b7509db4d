//! The verifiable oblivious pseudorandom function: RFC 9497, mode VOPRF (0x01),
//! suite ristretto255-SHA512.
//!
//! The receiver blinds its elements, the sender evaluates them under its key and proves
//! it ([`dleq`]), the receiver checks the proof and finalizes. The sender's
//! own set goes through [`evaluate`]. On both sides an element `x` ends as the same
//! 64-byte [`Output`].
//!
//! There are two ways to blind. [`ScalarBlinds`] are the RFC's, `r·H(x)`.
//! [`AdditiveBlinds`] are `H(x) + r·B`: cheaper, and perfectly hiding for uniform `r`.
//! The sender cannot tell them apart and the outputs are equal. Additive blinding is
//! safe only over proven evaluations under an authenticated key, so finalizing takes a
//! [`Verified`], which carries that key.
//!
//! All functions work on one chunk in the calling thread. To use more cores, run more
//! chunks.

mod keys;
mod secrets;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod vectors;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

pub use keys::{PublicKey, SecretKey};
pub(crate) use secrets::hmac_sha512;
pub use secrets::{AdditiveBlinds, OUTPUT_LEN, Output, ScalarBlinds, SessionSeed};

use crate::dleq::{self, Proof, Verified, Weights};
use crate::group::{Encoding, Kernel, Points, Scalar};
use crate::sha512::Construction;

/// Most elements in one chunk: the RFC's proof counts them in 16 bits.
pub const MAX_CHUNK: usize = 65_535;

/// Most bytes in one input (RFC 9497, section 1.2: the length is hashed as 16 bits).
pub const MAX_INPUT: usize = 65_535;

// contextString = "OPRFV1-" || I2OSP(0x01, 1) || "-" || "ristretto255-SHA512"
// (RFC 9497, section 3.1), behind the prefix of each use.
const HASH_TO_GROUP_DST: &[u8] = b"HashToGroup-OPRFV1-\x01-ristretto255-SHA512";
const DERIVE_KEY_PAIR_DST: &[u8] = b"DeriveKeyPairOPRFV1-\x01-ristretto255-SHA512";
pub(crate) const HASH_TO_SCALAR_DST: &[u8] = b"HashToScalar-OPRFV1-\x01-ristretto255-SHA512";
pub(crate) const SEED_DST: &[u8] = b"Seed-OPRFV1-\x01-ristretto255-SHA512";

/// Why an OPRF step was refused. Indices count from 0 within the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OprfError {
    /// The stored secret key is not a canonical scalar, or is zero.
    #[error("the OPRF secret key is damaged; restore it from a backup or start a new epoch")]
    SecretKey,
    /// A public key is not a canonical encoding, or is the identity.
    #[error("the OPRF public key is not a valid group element; ask its owner for a new grant")]
    PublicKey,
    /// The key derivation info is longer than 65,535 bytes.
    #[error("the key derivation info is longer than 65,535 bytes; shorten it")]
    InfoTooLong,
    /// A type name is longer than 255 bytes.
    #[error("the type name is longer than 255 bytes; use a type of the profile")]
    TypeNameTooLong,
    /// An input is longer than [`MAX_INPUT`].
    #[error("element {index} is longer than 65,535 bytes; leave it out")]
    InputTooLong {
        /// Position of the element in the chunk.
        index: usize,
    },
    /// An RFC blind is zero. A seed gives one with probability 2^-252.
    #[error("blind {index} is zero; start again with a fresh seed")]
    ZeroBlind {
        /// Position of the blind in the chunk.
        index: usize,
    },
    /// Lists that belong together differ in length.
    #[error("{given} entries were given for {expected} elements; pass one for each")]
    LengthMismatch {
        /// Number of elements.
        expected: usize,
        /// Number of entries that came with them.
        given: usize,
    },
    /// A chunk is empty or holds more than [`MAX_CHUNK`] elements.
    #[error("a chunk holds 1 to 65,535 elements, not {len}; split it")]
    ChunkSize {
        /// Number of elements.
        len: usize,
    },
    /// A blinded element of the peer is not canonical, or is the identity.
    #[error("blinded element {index} is not a valid group element; the peer must send it anew")]
    InvalidElement {
        /// Position of the first such element in the chunk.
        index: usize,
    },
    /// A result is the identity, which the RFC refuses. Honest inputs give it with
    /// probability 2^-252.
    #[error("a result is the identity element; start again with a fresh seed")]
    Identity,
}

/// Blinded elements `C_i` of the own side, encoded and as points: what was just computed need not
/// be decoded again when its evaluation comes back ([`dleq::verify_own`]). Public once it is sent.
///
/// Reads as the list of the encodings.
pub struct BlindedElements {
    encodings: Vec<Encoding>,
    points: Points,
}

impl BlindedElements {
    fn new(points: Points, encodings: Vec<Encoding>) -> Result<Self, OprfError> {
        refuse_identity(&encodings)?;
        Ok(Self { encodings, points })
    }

    pub(crate) fn points(&self) -> &Points {
        &self.points
    }
}

impl std::ops::Deref for BlindedElements {
    type Target = [Encoding];

    fn deref(&self) -> &[Encoding] {
        &self.encodings
    }
}

impl std::fmt::Debug for BlindedElements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlindedElements({} elements)", self.len())
    }
}

/// Blinds a chunk additively: `C_i = H(x_i) + r_i·B`, encoded.
///
/// Order is kept. An empty chunk gives an empty answer. Time depends on the lengths of
/// the inputs only.
///
/// # Errors
///
/// [`OprfError::LengthMismatch`], [`OprfError::ChunkSize`] (too long),
/// [`OprfError::InputTooLong`], [`OprfError::Identity`].
pub fn blind_additive(
    kernel: &dyn Kernel,
    inputs: &[&[u8]],
    blinds: &AdditiveBlinds,
) -> Result<BlindedElements, OprfError> {
    check_inputs(inputs)?;
    check_lengths(inputs.len(), blinds.0.len())?;
    let mut points = kernel.hash_to_group(HASH_TO_GROUP_DST, inputs);
    let encodings = kernel.add_base_encode(&mut points, kernel.generator(), &blinds.0);
    BlindedElements::new(points, encodings)
}

/// Blinds a chunk as RFC 9497, section 3.3.2, does: `C_i = r_i·H(x_i)`, encoded.
///
/// Order, timing and errors as for [`blind_additive`].
///
/// # Errors
///
/// As for [`blind_additive`].
pub fn blind_scalar(
    kernel: &dyn Kernel,
    inputs: &[&[u8]],
    blinds: &ScalarBlinds,
) -> Result<BlindedElements, OprfError> {
    check_inputs(inputs)?;
    check_lengths(inputs.len(), blinds.0.len())?;
    let points = kernel.hash_to_group(HASH_TO_GROUP_DST, inputs);
    let points = kernel.mul_each(&points, &blinds.0);
    let encodings = kernel.encode(&points);
    BlindedElements::new(points, encodings)
}

/// Finalizes a chunk that was blinded additively: `N_i = D_i - r_i·K`, hashed with `x_i`.
///
/// `D` and `K` come out of `verified`. The inputs and blinds must be those of the
/// blinded elements that were verified, in the same order. The blinds are consumed and
/// wiped. Time depends on the lengths of the inputs only.
///
/// # Errors
///
/// [`OprfError::LengthMismatch`], [`OprfError::InputTooLong`], [`OprfError::Identity`].
pub fn finalize_additive(
    kernel: &dyn Kernel,
    inputs: &[&[u8]],
    blinds: AdditiveBlinds,
    verified: Verified,
) -> Result<Vec<Output>, OprfError> {
    check_inputs(inputs)?;
    check_lengths(inputs.len(), blinds.0.len())?;
    check_lengths(inputs.len(), verified.len())?;
    let (mut points, key) = verified.into_parts();
    let elements = Zeroizing::new(kernel.sub_base_encode(&mut points, key.base(), &blinds.0));
    hash_outputs(kernel, inputs, &elements)
}

/// Finalizes a chunk that was blinded as in the RFC: `N_i = r_i^-1·D_i`, hashed with
/// `x_i` (RFC 9497, section 3.3.1).
///
/// Arguments, order and errors as for [`finalize_additive`].
///
/// # Errors
///
/// As for [`finalize_additive`].
pub fn finalize_scalar(
    kernel: &dyn Kernel,
    inputs: &[&[u8]],
    blinds: ScalarBlinds,
    verified: Verified,
) -> Result<Vec<Output>, OprfError> {
    check_inputs(inputs)?;
    check_lengths(inputs.len(), blinds.0.len())?;
    check_lengths(inputs.len(), verified.len())?;
    let (points, _) = verified.into_parts();
    // Blinds are non-zero by construction, as `invert_all` demands.
    let unblinded = kernel.mul_each(&points, &Scalar::invert_all(&blinds.0));
    hash_outputs(kernel, inputs, &Zeroizing::new(kernel.encode(&unblinded)))
}

/// The sender's own outputs: `Evaluate` of RFC 9497, section 3.3.1, in the order of the
/// inputs. Time depends on the lengths of the inputs only.
///
/// # Errors
///
/// [`OprfError::ChunkSize`] (too long), [`OprfError::InputTooLong`],
/// [`OprfError::Identity`].
pub fn evaluate(
    kernel: &dyn Kernel,
    inputs: &[&[u8]],
    key: &SecretKey,
) -> Result<Vec<Output>, OprfError> {
    check_inputs(inputs)?;
    let elements = Zeroizing::new(kernel.hash_mul_encode(HASH_TO_GROUP_DST, inputs, key.scalar()));
    hash_outputs(kernel, inputs, &elements)
}

/// Evaluates a peer's blinded chunk: `D_i = k·C_i`. Nothing is multiplied unless every
/// element of the chunk is valid.
///
/// Variable time in the blinded elements, which are public, and not in the key.
///
/// # Errors
///
/// [`OprfError::ChunkSize`] (empty or too long), [`OprfError::InvalidElement`].
pub fn blind_evaluate<'a>(
    kernel: &'a dyn Kernel,
    key: &'a SecretKey,
    blinded: &'a [Encoding],
) -> Result<Evaluated<'a>, OprfError> {
    if blinded.is_empty() || blinded.len() > MAX_CHUNK {
        return Err(OprfError::ChunkSize { len: blinded.len() });
    }
    let mut valid = vec![false; blinded.len()];
    match kernel.decode_mul_encode(blinded, key.scalar(), &mut valid) {
        Some((points, elements)) => Ok(Evaluated {
            kernel,
            key,
            blinded,
            points,
            elements,
        }),
        None => Err(OprfError::InvalidElement {
            index: valid.iter().position(|valid| !valid).unwrap_or_default(),
        }),
    }
}

/// An evaluated chunk, ready to be proven.
///
/// It borrows the key and the blinded elements it was made from, so that a proof cannot
/// be made over others. Everything but the key is public once it is sent.
pub struct Evaluated<'a> {
    kernel: &'a dyn Kernel,
    key: &'a SecretKey,
    blinded: &'a [Encoding],
    points: Points,
    elements: Vec<Encoding>,
}

impl Evaluated<'_> {
    /// The evaluated elements `D_i`, encoded, in the order of the blinded ones.
    pub fn elements(&self) -> &[Encoding] {
        &self.elements
    }

    /// Proves the whole chunk with one proof. See [`dleq`] for `weights`.
    ///
    /// `fresh` is 32 new random bytes. The nonce depends on them, on the key and on the
    /// whole chunk, so a repeated `fresh` does not give the key away.
    pub fn prove(&self, weights: Weights, fresh: &[u8; 32]) -> Proof {
        dleq::prove(
            &dleq::Statement {
                kernel: self.kernel,
                key: self.key.public_bytes(),
                blinded: self.blinded,
                evaluated: &self.elements,
                weights,
            },
            self.key,
            &self.points,
            fresh,
        )
    }

    /// Gives up the chunk for its evaluated elements.
    pub fn into_elements(self) -> Vec<Encoding> {
        self.elements
    }
}

impl std::fmt::Debug for Evaluated<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Evaluated({} elements)", self.elements.len())
    }
}

fn check_inputs(inputs: &[&[u8]]) -> Result<(), OprfError> {
    if inputs.len() > MAX_CHUNK {
        return Err(OprfError::ChunkSize { len: inputs.len() });
    }
    match inputs.iter().position(|input| input.len() > MAX_INPUT) {
        Some(index) => Err(OprfError::InputTooLong { index }),
        None => Ok(()),
    }
}

fn check_lengths(expected: usize, given: usize) -> Result<(), OprfError> {
    if expected == given {
        Ok(())
    } else {
        Err(OprfError::LengthMismatch { expected, given })
    }
}

/// Refuses lists that hold the identity. Says neither where nor how often, and takes the same time
/// for all: the elements may be secret.
fn refuse_identity(elements: &[Encoding]) -> Result<(), OprfError> {
    match bool::from(any_identity(elements)) {
        true => Err(OprfError::Identity),
        false => Ok(()),
    }
}

fn any_identity(elements: &[Encoding]) -> Choice {
    elements.iter().fold(Choice::from(0), |any, element| {
        // All bits in one word: compared byte by byte it would take half as long as the hash.
        let words = element.as_chunks().0.iter();
        let bits = words.fold(0, |bits, word| bits | u64::from_ne_bytes(*word));
        any | bits.ct_eq(&0)
    })
}

/// `Hash(I2OSP(len(x), 2) || x || I2OSP(len(N), 2) || N || "Finalize")` for each element
/// (RFC 9497, section 3.3.1).
fn hash_outputs(
    kernel: &dyn Kernel,
    inputs: &[&[u8]],
    elements: &[Encoding],
) -> Result<Vec<Output>, OprfError> {
    refuse_identity(elements)?;
    let mut outputs = Vec::with_capacity(inputs.len());
    kernel.sha512().each(
        &Construction::plain(),
        inputs.iter().zip(elements),
        |(input, element), message| {
            // `check_inputs` has bounded the length.
            message.push(&(input.len() as u16).to_be_bytes());
            message.push(input);
            message.push(&32u16.to_be_bytes());
            message.push(element);
            message.push(b"Finalize");
        },
        |digest| outputs.push(Output::new(*digest)),
    );
    Ok(outputs)
}
