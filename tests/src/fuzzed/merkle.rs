//! Merkle trees and audit paths, against the definition in RFC 6962, section 2.1.

use sha2::{Digest, Sha256};
use tallystick_protocol::log::{TreeHasher, inclusion_proof, leaf_hash, verify_inclusion};

use super::input::Input;

/// The recursive definition.
fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            let parts = [&[1][..], &root(left), &root(right)].concat();
            Sha256::digest(parts).into()
        }
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let size = input.below(70);
    let index = input.below(80);
    let stated = (input.u16(), input.u8());
    let (changes, extra) = (input.u8(), input.below(4));
    let leaves: Vec<[u8; 32]> = (0..size).map(|_| leaf_hash(input.take(2))).collect();

    let mut tree = TreeHasher::new();
    leaves.iter().for_each(|leaf| tree.push_hash(*leaf));
    let root = root(&leaves);
    assert_eq!(tree.root(), root);

    // A path under a stated index and size, perhaps huge ones.
    let proof = inclusion_proof(&leaves, index);
    assert_eq!(proof.is_some(), index < size);
    let mut path = proof.clone().unwrap_or_default();
    let at = |path: &[[u8; 32]]| usize::from(stated.1) % path.len().max(1);
    if changes & 1 == 1 && !path.is_empty() {
        let at = at(&path);
        path[at] = input.array();
    }
    if changes & 2 == 2 {
        path.truncate(at(&path));
    }
    path.extend((0..extra).map(|_| input.array()));
    let (mut said_index, mut said_size) = (index as u64, size as u64);
    if changes & 4 == 4 {
        said_index = said_index.wrapping_sub(stated.0.into());
    }
    if changes & 8 == 8 {
        said_size = u64::from(stated.0).wrapping_sub(u64::from(stated.1));
    }
    let mut leaf = leaves.get(index).copied().unwrap_or([0; 32]);
    if changes & 16 == 16 {
        leaf = input.array();
    }
    let held = verify_inclusion(&leaf, said_index, said_size, &path, &root);
    let true_leaf = usize::try_from(said_index).ok().and_then(|i| leaves.get(i));
    let honest = said_size == size as u64
        && true_leaf == Some(&leaf)
        && inclusion_proof(&leaves, said_index as usize).as_ref() == Some(&path);
    if honest {
        assert!(held, "a true path is refused");
    }
    if held && said_size == size as u64 {
        assert!(honest, "a path to no such leaf holds");
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let leaves: Vec<u8> = (0..140).collect();
    let head = |size: u8, index: u8, changes: u8, extra: u8| {
        [&[size, index, 0, 1, 0, changes, extra], &leaves[..]].concat()
    };
    vec![
        head(0, 0, 0, 0),
        head(1, 0, 0, 0),
        head(1, 0, 4, 0),
        head(7, 6, 0, 0),
        head(64, 63, 0, 0),
        head(69, 68, 1, 0),
        head(33, 32, 4, 1),
        head(16, 3, 10, 2),
    ]
}
