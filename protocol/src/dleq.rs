//! Batched proofs of discrete logarithm equality (RFC 9497, section 2.2).
//!
//! The sender proves that one key `k` with `K = k·B` gave every `D_i = k·C_i` of a
//! chunk. Both sides fold the chunk into `M = Σ d_i·C_i` and `Z = Σ d_i·D_i` with hashed
//! weights `d_i`, then prove and check the single pair.
//!
//! # The weights
//!
//! In the RFC the weight `d_i` depends on `K`, `i`, `C_i` and `D_i`, and on nothing else
//! of the chunk ([`Weights::Rfc9497`]). A prover may therefore choose each wrong
//! `D_i = k·C_i + e_i·P` from its own list of candidates and look for a choice with
//! `Σ d_i·e_i = 0`. That is the generalised birthday problem (Wagner, CRYPTO 2002): with
//! 2^13 elements it takes about 2^31 hashed candidates, within reach of one machine, and
//! the forged chunk verifies. [`Weights::WholeChunk`] hashes the whole chunk into
//! the seed of the weights, so that changing one `D_i` changes every weight, and each
//! attempt succeeds with probability 2^-252. It costs one more hash for each chunk; all
//! other steps are the RFC's.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::fmt;
use std::sync::Arc;

use hmac::Mac;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::group::{Encoding, Kernel, Points, Scalar};
use crate::oprf::{
    BlindedElements, HASH_TO_SCALAR_DST, MAX_CHUNK, PublicKey, SEED_DST, SecretKey, hmac_sha512,
};

/// Label of the hedged nonce.
const NONCE_LABEL: &[u8] = b"tallystick/dleq-nonce/v1";

/// Label of the chunk digest inside the seed of [`Weights::WholeChunk`].
const CHUNK_LABEL: &[u8] = b"tallystick/dleq-chunk/v1";

/// Length in bytes of an encoded proof: `c ‖ s`.
pub const PROOF_LEN: usize = 64;

/// How the weights of a chunk are derived. Both sides must use the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Exactly as RFC 9497, for its vectors and for other implementations. **Not sound
    /// for a chunk of more than a few elements against a prover who wants to cheat.**
    Rfc9497,
    /// The RFC's, with the whole chunk hashed into the seed. Sound for every chunk size.
    WholeChunk,
}

/// Why a proof was refused. Indices count from 0 within the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// A proof scalar is not below the group order.
    #[error("the proof is not canonical; the peer must send the chunk anew")]
    Encoding,
    /// The chunk is empty or holds more than [`MAX_CHUNK`] elements.
    #[error("a proven chunk holds 1 to 65,535 elements, not {len}; ask for smaller chunks")]
    ChunkSize {
        /// Number of blinded elements.
        len: usize,
    },
    /// The evaluated elements are not as many as the blinded ones.
    #[error("{evaluated} evaluated elements came for {blinded} blinded ones; abort the session")]
    LengthMismatch {
        /// Number of blinded elements.
        blinded: usize,
        /// Number of evaluated elements.
        evaluated: usize,
    },
    /// A blinded element is not canonical, or is the identity: the fault of its author.
    #[error("blinded element {index} is not a valid group element; blind the chunk anew")]
    InvalidBlinded {
        /// Position of the first such element.
        index: usize,
    },
    /// An evaluated element is not canonical, or is the identity: the fault of the
    /// evaluator.
    #[error("evaluated element {index} is not a valid group element; abort the session")]
    InvalidEvaluated {
        /// Position of the first such element.
        index: usize,
    },
    /// The proof does not hold for these elements under this key.
    #[error("the proof does not hold under the granted key; abort the session and keep the record")]
    Refused,
}

/// A proof over one chunk: the challenge `c` and the response `s`. It is public.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Proof([u8; PROOF_LEN]);

impl Proof {
    /// Reads `c ‖ s`, both little-endian (RFC 9497, section 4.1, `DeserializeScalar`).
    ///
    /// # Errors
    ///
    /// [`ProofError::Encoding`] unless both are below the group order.
    pub fn decode(bytes: &[u8; PROOF_LEN]) -> Result<Self, ProofError> {
        let proof = Self(*bytes);
        proof.scalars().map(|_| proof)
    }

    /// The 64 bytes `c ‖ s`.
    pub fn as_bytes(&self) -> &[u8; PROOF_LEN] {
        &self.0
    }

    fn new(c: &Scalar, s: &Scalar) -> Self {
        let mut bytes = [0u8; PROOF_LEN];
        bytes[..32].copy_from_slice(&*c.to_bytes());
        bytes[32..].copy_from_slice(&*s.to_bytes());
        Self(bytes)
    }

    fn scalars(&self) -> Result<(Scalar, Scalar), ProofError> {
        let half = |half: &[u8]| {
            let bytes: [u8; 32] = half.try_into().map_err(|_| ProofError::Encoding)?;
            Scalar::from_canonical(&bytes).ok_or(ProofError::Encoding)
        };
        Ok((half(&self.0[..32])?, half(&self.0[32..])?))
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({})", hex::encode(self.0))
    }
}

/// Evaluated elements whose proof has been checked, with the key it was checked under.
///
/// Only [`verify`] and [`verify_own`] make one, and finalizing demands one, so nothing unproven can be
/// unblinded, nor anything under another key.
pub struct Verified {
    evaluated: Points,
    key: Arc<PublicKey>,
}

impl Verified {
    /// Number of elements in the chunk; at least 1.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.evaluated.len()
    }

    /// The key that the proof was checked under.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    pub(crate) fn into_parts(self) -> (Points, Arc<PublicKey>) {
        (self.evaluated, self.key)
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({} elements)", self.len())
    }
}

/// Checks the proof of one chunk (`VerifyProof` of RFC 9497, section 2.2.2).
///
/// `key` must come from an authenticated grant. `blinded` must be the bytes that this
/// side sent, not an echo of the peer's. Variable time: all of it is public.
///
/// # Errors
///
/// Every [`ProofError`].
pub fn verify(
    kernel: &dyn Kernel,
    key: &Arc<PublicKey>,
    weights: Weights,
    blinded: &[Encoding],
    evaluated: &[Encoding],
    proof: &Proof,
) -> Result<Verified, ProofError> {
    let statement = Statement::received(kernel, key, weights, blinded, evaluated)?;
    let points = decode(kernel, blinded).map_err(|index| ProofError::InvalidBlinded { index })?;
    statement.verify(key, &points, proof)
}

/// [`verify`] for the receiver of the evaluation, who still has the points that it blinded.
///
/// # Errors
///
/// Every [`ProofError`] but those about the blinded elements.
pub fn verify_own(
    kernel: &dyn Kernel,
    key: &Arc<PublicKey>,
    weights: Weights,
    blinded: &BlindedElements,
    evaluated: &[Encoding],
    proof: &Proof,
) -> Result<Verified, ProofError> {
    let statement = Statement::received(kernel, key, weights, blinded, evaluated)?;
    statement.verify(key, blinded.points(), proof)
}

/// What is proven: `K`, every `C_i` and every `D_i` as they stand on the wire. The
/// caller has checked that there are 1 to [`MAX_CHUNK`] of each.
pub(crate) struct Statement<'a> {
    pub(crate) kernel: &'a dyn Kernel,
    pub(crate) key: &'a Encoding,
    pub(crate) blinded: &'a [Encoding],
    pub(crate) evaluated: &'a [Encoding],
    pub(crate) weights: Weights,
}

/// Proves a chunk (`GenerateProof` of RFC 9497, section 2.2.1). `points` are the decoded
/// `C_i` of the statement.
///
/// The nonce is HMAC-SHA512 under the key over `label ‖ fresh ‖ digest of the chunk ‖
/// seed of the weights`, reduced. Constant time in key and nonce; the composite over
/// public points is variable time.
pub(crate) fn prove(
    statement: &Statement<'_>,
    key: &SecretKey,
    points: &Points,
    fresh: &[u8; 32],
) -> Proof {
    // Hashed once: it is as long as the chunk.
    let digest = statement.digest();
    let seed = statement.seed(&digest);
    let wide: Zeroizing<[u8; 64]> = Zeroizing::new(
        hmac_sha512(&key.to_bytes())
            .chain_update(NONCE_LABEL)
            .chain_update(fresh)
            .chain_update(digest)
            .chain_update(seed)
            .finalize()
            .into_bytes()
            .into(),
    );
    prove_with_nonce(statement, key, points, &seed, &Scalar::from_wide(&wide))
}

/// [`prove`] under a given nonce. A nonce used for two statements gives the key away, so
/// only `prove` and the tests of the RFC's vectors come here.
fn prove_with_nonce(
    statement: &Statement<'_>,
    key: &SecretKey,
    points: &Points,
    seed: &[u8; 64],
    nonce: &Scalar,
) -> Proof {
    let kernel = statement.kernel;
    // ComputeCompositesFast: M = Σ d_i·C_i, Z = k·M
    let m = kernel.msm_vartime(&statement.weights(seed), &[points]);
    let z = kernel.mul(&m, key.scalar());
    // t2 = r·A, t3 = r·M
    let t2 = kernel.mul(&kernel.base_point(kernel.generator()), nonce);
    let t3 = kernel.mul(&m, nonce);
    // s = r - c·k
    let c = statement.challenge(&[&m, &z, &t2, &t3]);
    let s = nonce.sub(&c.mul(key.scalar()));
    Proof::new(&c, &s)
}

impl<'a> Statement<'a> {
    /// What a peer says to have proven: lists of one length, within the bounds of a chunk.
    fn received(
        kernel: &'a dyn Kernel,
        key: &'a PublicKey,
        weights: Weights,
        blinded: &'a [Encoding],
        evaluated: &'a [Encoding],
    ) -> Result<Self, ProofError> {
        if blinded.is_empty() || blinded.len() > MAX_CHUNK {
            return Err(ProofError::ChunkSize { len: blinded.len() });
        }
        if blinded.len() != evaluated.len() {
            return Err(ProofError::LengthMismatch {
                blinded: blinded.len(),
                evaluated: evaluated.len(),
            });
        }
        Ok(Self {
            kernel,
            key: key.as_bytes(),
            blinded,
            evaluated,
            weights,
        })
    }

    /// SHA-512 over `K ‖ C_1 ‖ D_1 ‖ C_2 ‖ D_2 ‖ …`. All parts have 32 bytes.
    fn digest(&self) -> [u8; 64] {
        let mut hash = Sha512::new().chain_update(self.key);
        for (c, d) in self.blinded.iter().zip(self.evaluated) {
            hash.update(c);
            hash.update(d);
        }
        hash.finalize().into()
    }

    /// The seed of the weights (RFC 9497, section 2.2.1):
    /// `Hash(I2OSP(len(Bm), 2) || Bm || I2OSP(len(seedDST), 2) || seedDST)`, and for
    /// [`Weights::WholeChunk`] the label and the [`digest`](Self::digest) of the chunk behind it.
    fn seed(&self, digest: &[u8; 64]) -> [u8; 64] {
        let mut hash = Sha512::new()
            .chain_update(32u16.to_be_bytes())
            .chain_update(self.key)
            .chain_update((SEED_DST.len() as u16).to_be_bytes())
            .chain_update(SEED_DST);
        if self.weights == Weights::WholeChunk {
            hash.update(CHUNK_LABEL);
            hash.update(digest);
        }
        hash.finalize().into()
    }

    /// Checks a proof over it; `points` are the blinded elements.
    fn verify(
        &self,
        key: &Arc<PublicKey>,
        points: &Points,
        proof: &Proof,
    ) -> Result<Verified, ProofError> {
        let kernel = self.kernel;
        let evaluated = decode(kernel, self.evaluated)
            .map_err(|index| ProofError::InvalidEvaluated { index })?;
        let (c, s) = proof.scalars()?;
        let d = self.weights(&self.seed(&self.digest()));
        // M = Σ d_i·C_i, Z = Σ d_i·D_i
        let composites = kernel.msm_vartime(&d, &[points, &evaluated]);
        // t2 = s·A + c·B, where A is the generator and B is the public key
        // t3 = s·M + c·Z
        let sc = [s, c];
        let generator = kernel.base_point(kernel.generator());
        let bases = kernel.concat(&[&generator, key.point()]);
        let sides = kernel.msm_vartime(&sc, &[&bases, &composites]);

        let expected = self.challenge(&[&composites, &sides]);
        if bool::from(expected.ct_eq(&sc[1])) {
            Ok(Verified {
                evaluated,
                key: Arc::clone(key),
            })
        } else {
            Err(ProofError::Refused)
        }
    }

    /// The weights `d_i`, in order.
    fn weights(&self, seed: &[u8; 64]) -> Vec<Scalar> {
        let element_len = 32u16.to_be_bytes();
        // The index can count `MAX_CHUNK` elements.
        let items = self.blinded.iter().zip(self.evaluated).zip(0..=u16::MAX);
        let sha512 = self.kernel.sha512();
        Scalar::hash_each(sha512, HASH_TO_SCALAR_DST, items, |((c, d), i), message| {
            // di = G.HashToScalar(I2OSP(len(seed), 2) || seed || I2OSP(i, 2) ||
            //                     I2OSP(len(Ci), 2) || Ci ||
            //                     I2OSP(len(Di), 2) || Di || "Composite")
            message.push(&64u16.to_be_bytes());
            message.push(seed);
            message.push(&i.to_be_bytes());
            message.push(&element_len);
            message.push(c);
            message.push(&element_len);
            message.push(d);
            message.push(b"Composite");
        })
    }

    /// The challenge over `M`, `Z`, `t2` and `t3`, in this order in some batches.
    fn challenge(&self, parts: &[&Points]) -> Scalar {
        // c = G.HashToScalar(I2OSP(len(Bm), 2) || Bm || I2OSP(len(a0), 2) || a0 || …
        //                    || I2OSP(len(a3), 2) || a3 || "Challenge")
        let encoded = self.kernel.encode(&self.kernel.concat(parts));
        let element_len = 32u16.to_be_bytes();
        let mut input: Vec<&[u8]> = vec![&element_len, self.key];
        for element in &encoded {
            input.push(&element_len);
            input.push(element);
        }
        input.push(b"Challenge");
        Scalar::hash(HASH_TO_SCALAR_DST, &input)
    }
}

/// Decodes a list. `Err` holds the index of the first refused element.
fn decode(kernel: &dyn Kernel, encodings: &[Encoding]) -> Result<Points, usize> {
    let mut valid = vec![false; encodings.len()];
    let points = kernel.decode(encodings, &mut valid);
    match valid.iter().position(|valid| !valid) {
        Some(index) => Err(index),
        None => Ok(points),
    }
}
