//! The tree hash of RFC 6962 section 2.1, streaming, and its audit paths.

use sha2::{Digest, Sha256};

/// Hash of a leaf: SHA-256(0x00 ‖ data).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update([0])
        .chain_update(data)
        .finalize()
        .into()
}

fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// Computes a root leaf by leaf in memory logarithmic in the number of leaves.
#[derive(Debug, Clone, Default)]
pub struct TreeHasher {
    /// Roots of the perfect subtrees of the leaves so far, largest first; their sizes are the set
    /// bits of `size`.
    peaks: Vec<[u8; 32]>,
    size: u64,
}

impl TreeHasher {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf.
    pub fn push(&mut self, data: &[u8]) {
        self.push_hash(leaf_hash(data));
    }

    /// Adds a leaf by its [`leaf_hash`].
    pub fn push_hash(&mut self, leaf: [u8; 32]) {
        let mut node = leaf;
        // Each trailing one of the size is a perfect subtree that this leaf completes.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The root; for no leaves SHA-256 of nothing, as RFC 6962 has it.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => Sha256::digest([]).into(),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

fn root_of(leaves: &[[u8; 32]]) -> [u8; 32] {
    let mut tree = TreeHasher::new();
    for leaf in leaves {
        tree.push_hash(*leaf);
    }
    tree.root()
}

/// The audit path of leaf `index` among `leaves` (their hashes): RFC 6962 section 2.1.1. `None` if
/// there is no such leaf.
#[must_use]
pub fn inclusion_proof(leaves: &[[u8; 32]], index: usize) -> Option<Vec<[u8; 32]>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut rest, mut index, mut path) = (leaves, index, Vec::new());
    while rest.len() > 1 {
        let split = rest.len().next_power_of_two() / 2;
        let (left, right) = rest.split_at(split);
        if index < split {
            path.push(root_of(right));
            rest = left;
        } else {
            path.push(root_of(left));
            rest = right;
            index -= split;
        }
    }
    path.reverse();
    Some(path)
}

/// Checks an audit path (RFC 9162 section 2.1.3.2, which is the algorithm for RFC 6962's paths).
#[must_use]
pub fn verify_inclusion(
    leaf: &[u8; 32],
    index: u64,
    size: u64,
    path: &[[u8; 32]],
    root: &[u8; 32],
) -> bool {
    if index >= size {
        return false;
    }
    let (mut f, mut s, mut node) = (index, size - 1, *leaf);
    for sibling in path {
        if s == 0 {
            return false;
        }
        if f & 1 == 1 || f == s {
            node = node_hash(sibling, &node);
            while f & 1 == 0 && f != 0 {
                f >>= 1;
                s >>= 1;
            }
        } else {
            node = node_hash(&node, sibling);
        }
        f >>= 1;
        s >>= 1;
    }
    s == 0 && node == *root
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn leaves(n: usize) -> Vec<Vec<u8>> {
        (0..n).map(|i| vec![i as u8; i % 5 + 1]).collect()
    }

    #[test]
    fn roots_and_paths_agree_with_an_independent_tree() {
        for n in 0..70 {
            let leaves = leaves(n);
            let mut oracle =
                ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
            let mut tree = TreeHasher::new();
            for leaf in &leaves {
                oracle.push(leaf.clone());
                tree.push(leaf);
            }
            let root = tree.root();
            assert_eq!(&root[..], &oracle.root().as_bytes()[..], "{n} leaves");
            let hashes: Vec<_> = leaves.iter().map(|l| leaf_hash(l)).collect();
            for (i, hash) in hashes.iter().enumerate() {
                let path = inclusion_proof(&hashes, i).unwrap();
                assert_eq!(
                    path.concat(),
                    oracle.prove_inclusion(i).as_bytes(),
                    "{i} of {n}"
                );
                assert!(verify_inclusion(hash, i as u64, n as u64, &path, &root));
                assert!(!verify_inclusion(
                    hash,
                    i as u64 + 1,
                    n as u64,
                    &path,
                    &root
                ));
                let mut wrong = root;
                wrong[0] ^= 1;
                assert!(!verify_inclusion(hash, i as u64, n as u64, &path, &wrong));
                let mut longer = path.clone();
                longer.push([0; 32]);
                assert!(!verify_inclusion(hash, i as u64, n as u64, &longer, &root));
                if !path.is_empty() {
                    let shorter = &path[..path.len() - 1];
                    assert!(!verify_inclusion(hash, i as u64, n as u64, shorter, &root));
                }
            }
            assert!(inclusion_proof(&hashes, n).is_none());
        }
    }
}
