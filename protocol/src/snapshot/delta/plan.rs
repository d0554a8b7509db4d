//! How much of a delta is fake.

use crate::{identifiers::padded_size, statements::is_small};

/// The fewest fakes among the tags that come, among those that go, and among the labels that change.
///
/// Numbers that are a step already would leave no room for any: then all that comes, goes or is
/// relabelled would be real. Verifiers cannot see how many there are, and
/// check none of it.
pub const MIN_FAKES: u64 = 8;

/// The most deltas that a publisher lets lead from one whole snapshot.
///
/// Whoever follows a chain sees the ages of the tags that go, and which labels change again: with each
/// delta it tells fakes better from what is real (spec section 6.7.4). The number is a choice: with it
/// eight of nine publications are small, and more would save little.
pub const MAX_DELTAS: u64 = 8;

/// What truly changed in a collection since its last snapshot, in elements. Secret: only the numbers
/// of a [`DeltaPlan`] may leave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Changes {
    /// Elements that were not in it.
    pub added: u64,
    /// Elements that are no longer in it.
    pub removed: u64,
    /// Elements that stay with another label; 0 without labels.
    pub relabelled: u64,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changes(..)")
    }
}

/// The numbers of a delta: what it shows, and how many fakes fill it up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DeltaPlan {
    /// Tags that come, and as many that go: public.
    pub exchanged: u64,
    /// Labels that change on tags that stay: public.
    pub relabelled: u64,
    /// Fresh padding elements among those that come.
    pub padding_added: u64,
    /// Padding elements of the earlier snapshot among those that go: drawn uniformly from all of
    /// them.
    pub padding_removed: u64,
    /// Labels, otherwise unchanged, that are sealed anew: drawn uniformly from all tags that stay and
    /// are not relabelled, padding or not.
    pub resealed: u64,
}

impl std::fmt::Debug for DeltaPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeltaPlan")
            .field("exchanged", &self.exchanged)
            .field("relabelled", &self.relabelled)
            .finish_non_exhaustive()
    }
}

impl DeltaPlan {
    /// Fills up what changed to public steps. `padding` of the `elements` tags of the earlier snapshot
    /// are padding; `labelled` says whether its elements have labels.
    ///
    /// `exchanged` is the padded size of [`MIN_FAKES`] more than the larger of what came and what went,
    /// so it tells neither which of the two it was, nor the other one, and fakes are among both.
    /// `None` if a whole snapshot is due: the padding does
    /// not suffice, or the delta would change more than a quarter of the tags.
    #[must_use]
    pub fn new(changes: &Changes, padding: u64, elements: u64, labelled: bool) -> Option<Self> {
        let exchanged = padded(changes.added.max(changes.removed));
        let relabelled = match (labelled, changes.relabelled) {
            (true, n) => padded(n),
            (false, 0) => 0,
            (false, _) => return None,
        };
        let padding_removed = exchanged - changes.removed;
        let fits = padding <= elements
            && changes.removed + changes.relabelled <= elements - padding
            && padding_removed <= padding
            && is_small(exchanged, relabelled, elements);
        fits.then_some(Self {
            exchanged,
            relabelled,
            padding_added: exchanged - changes.added,
            padding_removed,
            resealed: relabelled - changes.relabelled,
        })
    }
}

/// The step for `n` changes and their fewest fakes.
fn padded(n: u64) -> u64 {
    padded_size(n.saturating_add(MIN_FAKES))
}
