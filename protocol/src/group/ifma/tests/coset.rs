//! An element has many representatives: nothing that a kernel answers may show which it held.

use num_bigint::BigUint;

use super::curve::{Affine, P, mul};
use super::here;
use super::point::{affine, group};
use crate::group::ifma::{Batch, Ifma};
use crate::group::{Kernel, Points, Repr, Scalar};

const DST: &[u8] = b"tallystick test";

fn scalars(count: usize) -> Vec<Scalar> {
    (0..count as u64)
        .map(|i| Scalar::hash(DST, &[&i.to_be_bytes()]))
        .collect()
}

/// The same batch with other representatives: torsion of the given multiples added, and all
/// coordinates multiplied by some factor.
fn changed(batch: &Points, torsion: &[Affine]) -> Points {
    let Repr::Ifma(batch) = &batch.0 else {
        unreachable!()
    };
    let mut to = Batch::new(batch.len, batch.halved);
    let mut factor = BigUint::from(3u8);
    for (number, (from, to)) in batch.groups.iter().zip(&mut to.groups).enumerate() {
        let points: Vec<(Affine, BigUint)> = (0..8)
            .map(|n| {
                factor = (mul(&factor, &factor) + 2u8) % &*P;
                let point = affine(from, n, true);
                let shift = &torsion[(n + number) % torsion.len()];
                (point.add(shift), factor.clone())
            })
            .collect();
        *to = group(&points);
    }
    to.points()
}

/// Compares all operations on two batches of the same elements.
fn same(kernel: &Ifma, a: &Points, b: &Points) {
    let count = a.len();
    let (s, key) = (scalars(count), Scalar::hash(DST, &[b"key"]));
    assert_eq!(kernel.encode(a), kernel.encode(b), "encode");
    let [product_a, product_b] = [a, b].map(|points| kernel.mul(points, &key));
    assert_eq!(kernel.encode(&product_a), kernel.encode(&product_b), "mul");
    let [each_a, each_b] = [a, b].map(|points| kernel.encode(&kernel.mul_each(points, &s)));
    assert_eq!(each_a, each_b, "mul_each");
    let sums = kernel.encode(&kernel.msm_vartime(&s, &[a, b]));
    assert_eq!(sums[0], sums[1], "sums");
    let [joined_a, joined_b] = [a, b].map(|points| kernel.concat(&[points, points]));
    assert_eq!(kernel.encode(&joined_a), kernel.encode(&joined_b), "concat");
    let [moved_a, moved_b] = [joined_a, joined_b].map(|mut points| {
        let s = scalars(2 * count);
        kernel.add_base(&mut points, kernel.generator(), &s);
        kernel.encode(&points)
    });
    assert_eq!(moved_a, moved_b, "add_base");
}

#[test]
fn torsion_and_factors_change_nothing() {
    if !here() {
        return;
    }
    let kernel = Ifma::detect().unwrap();
    let torsion = Affine::torsion();
    let four: Vec<Affine> = torsion.iter().step_by(2).cloned().collect();
    for count in [1, 8, 13, 17, 60] {
        let inputs: Vec<[u8; 8]> = (0..count as u64).map(u64::to_be_bytes).collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
        let fresh = kernel.hash_to_group(DST, &inputs);
        let encodings = kernel.encode(&fresh);
        let decoded = kernel.decode(&encodings, &mut vec![false; count]);
        // The elements are the points up to what has an order of four.
        for points in [&fresh, &decoded] {
            same(kernel, points, &changed(points, &four));
            same(kernel, points, &changed(points, &torsion[..1]));
        }
        // The halves of an element up to what has an order of eight.
        let halves = kernel.mul(&fresh, &Scalar::hash(DST, &[b"half"]));
        same(kernel, &halves, &changed(&halves, &torsion));
        // Identities of every kind.
        let zero = Scalar::hash(DST, &[b"x"]);
        let nothing = kernel.mul(&fresh, &zero.sub(&zero));
        same(kernel, &nothing, &changed(&nothing, &torsion));
        let wholes = kernel.concat(&[&nothing]);
        let others = changed(&wholes, &four);
        same(kernel, &wholes, &others);
        assert_eq!(kernel.encode(&others), vec![[0; 32]; count]);
    }
}
