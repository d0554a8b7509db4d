//! Snapshots: all tags of a collection in an epoch with their sealed labels (spec section 6).
//!
//! A snapshot is a signed header and its buckets, in frames. Leaf 0 of its tree is the preamble,
//! leaf *i* + 1 is the body of bucket *i*; the root is the snapshot's digest. So one tag can be
//! opened with one bucket and its path, and a change touches its buckets only: a delta carries what
//! comes, goes and is labelled anew in those.

mod bucket;
mod build;
mod check;
mod delta;
mod label;
mod leaves;

pub use bucket::Bucket;
pub use build::SnapshotBuilder;
pub use check::{SnapshotVerifier, VerifiedSnapshot};
pub use delta::{
    BucketChanges, BuiltDelta, Changes, DeltaApplier, DeltaBucket, DeltaBuilder, DeltaPlan,
    DeltaTerms, Entry, MAX_DELTAS, MIN_FAKES,
};
pub use label::{LabelContext, LabelKey, MAX_LABEL_BYTES, SEAL_OVERHEAD, label_bytes};
pub use leaves::SnapshotLeaves;

/// Mean number of tags in a bucket: small enough to read for one look-up, large enough that paths
/// and frames cost little.
const TAGS_PER_BUCKET: u64 = 256;

/// Bytes of a tag: ceil((40 + log2(n·m)) / 8), at most 32, where `n` is the most elements one
/// session may carry and `m` the padded size of the snapshot. A session then sees a false match
/// with probability at most 2^-40.
#[must_use]
pub fn tag_bytes(n: u64, m: u64) -> u32 {
    let product = u128::from(n.max(1)).saturating_mul(u128::from(m.max(1)));
    let log2_ceil = product
        .checked_next_power_of_two()
        .map_or(128, u128::trailing_zeros);
    (40 + log2_ceil).div_ceil(8).min(32)
}

/// Bits of the bucket prefix for a snapshot of `m` tags.
#[must_use]
pub fn bucket_bits(m: u64) -> u32 {
    (m / TAGS_PER_BUCKET).max(1).ilog2()
}

/// The bucket of a tag.
#[must_use]
pub fn bucket_of(tag: &[u8], bits: u64) -> u64 {
    let mut prefix = [0u8; 8];
    for (to, from) in prefix.iter_mut().zip(tag) {
        *to = *from;
    }
    match bits {
        0 => 0,
        bits => u64::from_be_bytes(prefix) >> (64 - bits.min(64)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
