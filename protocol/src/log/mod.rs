//! RFC 6962 Merkle trees over SHA-256 (spec section 5): set commitments, snapshot digests, logs.

mod merkle;

pub use merkle::{TreeHasher, inclusion_proof, leaf_hash, verify_inclusion};
