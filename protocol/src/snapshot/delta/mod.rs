//! Deltas: from one snapshot of an epoch to the next by the buckets that change (spec section 6.7).
//!
//! A delta is two signed headers, its own and that of the snapshot it leads to, and then what changes
//! in each touched bucket. The size of a snapshot stays: for each tag that comes one goes, and padding
//! makes up the difference. Which of the tags that come and go are padding their bytes do not tell, and
//! their number is a public step; what a chain of deltas shows all the same stands in section 6.7.4. Between two snapshots there is exactly one delta.

mod apply;
mod bucket;
mod build;
mod plan;

pub use apply::DeltaApplier;
pub use bucket::{BucketChanges, DeltaBucket, Entry};
pub use build::{BuiltDelta, DeltaBuilder, DeltaTerms};
pub use plan::{Changes, DeltaPlan, MAX_DELTAS, MIN_FAKES};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
