//! Every property over every kernel of this machine, with the reference as the oracle.
//!
//! ```text
//! encodings  a table of good and bad encodings, each in every lane
//! products   multiplication, fixed bases, encoding: scalars, lanes, lengths
//! sums       sums of products
//! many       many random elements
//! pair       a kernel's batch beside the reference's
//! ```

mod encodings;
mod many;
mod pair;
mod products;
mod sums;

use std::{fs, sync::LazyLock};

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

const DST: &[u8] = b"tallystick test";

/// Generator of RFC 9496, appendix A.1, and its double.
const B: &str = "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76";
const B2: &str = "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919";

/// The group order l, little-endian.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

fn bytes(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn small(value: u64) -> Scalar {
    let mut bytes = [0u8; 32];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    Scalar::from_canonical(&bytes).unwrap()
}

/// l - 1.
fn minus_one() -> Scalar {
    small(0).sub(&small(1))
}

/// Every kernel that this machine can run. Says which it cannot: what a CPU lacks is no fault.
///
/// One that is here and fails its self-test is one.
fn kernels() -> &'static [&'static dyn Kernel] {
    static KERNELS: LazyLock<Vec<&dyn Kernel>> = LazyLock::new(|| {
        let found = ["ifma", "dalek"]
            .iter()
            .filter_map(|name| match by_name(name) {
                Ok(kernel) => Some(kernel),
                Err(error @ (KernelError::NotHere { .. } | KernelError::Unknown { .. })) => {
                    // Past the capture of the test harness, so that it is seen.
                    let _ = fs::write("/dev/stderr", format!("SKIPPED: {error}\n"));
                    None
                }
                Err(error) => panic!("{error}"),
            });
        found.collect()
    });
    &KERNELS
}

fn hashed(kernel: &dyn Kernel, seed: u64, count: usize) -> Points {
    let inputs: Vec<[u8; 16]> = (0..count as u64)
        .map(|i| (u128::from(seed) << 64 | u128::from(i)).to_be_bytes())
        .collect();
    let inputs: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
    kernel.hash_to_group(DST, &inputs)
}

fn scalars(seed: u64, count: usize) -> Vec<Scalar> {
    (0..count as u64)
        .map(|i| Scalar::hash(DST, &[&seed.to_be_bytes(), &i.to_be_bytes()]))
        .collect()
}

fn generator_times(kernel: &dyn Kernel, scalar: &Scalar) -> Encoding {
    let point = kernel.base_point(kernel.generator());
    kernel.encode(&kernel.mul(&point, scalar))[0]
}

#[test]
fn generator_is_the_standard_one() {
    for &kernel in kernels() {
        let point = kernel.base_point(kernel.generator());
        assert_eq!(kernel.encode(&point), [bytes(B)]);
        assert_eq!(generator_times(kernel, &small(1)), bytes(B));
        assert_eq!(generator_times(kernel, &small(2)), bytes(B2));
        assert_eq!(generator_times(kernel, &small(0)), [0u8; 32]);
    }
}

#[test]
fn every_length_agrees_with_single_elements() {
    for &kernel in kernels() {
        let k = Scalar::hash(DST, &[b"k"]);
        for count in (0..=33).chain(511..=513) {
            let all = hashed(kernel, 7, count);
            assert_eq!(all.len(), count);
            assert_eq!(all.is_empty(), count == 0);
            let encoded = kernel.encode(&all);
            let products = kernel.encode(&kernel.mul(&all, &k));
            assert_eq!(products.len(), count);
            for (i, encoding) in encoded.iter().enumerate() {
                let mut valid = [false];
                let one = kernel.decode(&[*encoding], &mut valid);
                assert!(valid[0]);
                assert_eq!(kernel.encode(&kernel.mul(&one, &k)), [products[i]]);
            }
        }
    }
}

#[test]
fn special_scalars() {
    for &kernel in kernels() {
        let points = hashed(kernel, 1, 5);
        let encoded = kernel.encode(&points);
        assert_eq!(
            kernel.encode(&kernel.mul(&points, &small(0))),
            [[0u8; 32]; 5]
        );
        assert_eq!(kernel.encode(&kernel.mul(&points, &small(1))), encoded);
        let negated = kernel.mul(&points, &minus_one());
        assert_eq!(kernel.encode(&kernel.mul(&negated, &minus_one())), encoded);
        // P - P = 0, through the sum of both batches.
        for pair in encoded.iter().zip(kernel.encode(&negated)) {
            let mut valid = [false; 2];
            let pair = [*pair.0, pair.1];
            let pair = kernel.decode(&pair, &mut valid);
            assert_eq!(valid, [true; 2]);
            let sum = kernel.msm_vartime(&[small(1), small(1)], &[&pair]);
            assert_eq!(kernel.encode(&sum), [[0u8; 32]]);
        }
        for shift in 0..=251 {
            let mut power = [0u8; 32];
            power[shift / 8] = 1 << (shift % 8);
            let power = Scalar::from_canonical(&power).unwrap();
            let there = kernel.mul(&points, &power);
            assert_eq!(kernel.encode(&kernel.mul(&there, &power.invert())), encoded);
        }
    }
}

#[test]
fn canonical_scalars_end_below_the_order() {
    let order = bytes(ORDER);
    assert!(Scalar::from_canonical(&order).is_none());
    assert!(Scalar::from_canonical(&[0xff; 32]).is_none());
    let mut below = order;
    below[0] -= 1;
    assert_eq!(*Scalar::from_canonical(&below).unwrap().to_bytes(), below);
    assert_eq!(*minus_one().to_bytes(), below);
    let mut wide = [0u8; 64];
    wide[..32].copy_from_slice(&order);
    assert!(bool::from(Scalar::from_wide(&wide).is_zero()));
}

#[test]
fn an_oversize_tag_is_hashed_first() {
    use sha2::{Digest, Sha512};
    let long = [7u8; 256];
    let short = Sha512::new()
        .chain_update(b"H2C-OVERSIZE-DST-")
        .chain_update(long)
        .finalize();
    assert_eq!(
        *hash::expand_message_xmd(&long, &[b"x"]),
        *hash::expand_message_xmd(&short, &[b"x"])
    );
    assert_ne!(
        *hash::expand_message_xmd(&long[..255], &[b"x"]),
        *hash::expand_message_xmd(&long, &[b"x"])
    );
}

#[test]
fn debug_shows_no_value() {
    assert_snapshot!(format!("{:?}", small(5)), @"Scalar(..)");
    assert_snapshot!(format!("{:#?}", small(5)), @"Scalar(..)");
    assert_snapshot!(format!("{:?}", hashed(reference(), 1, 3)), @"Points(3 elements)");
    assert_snapshot!(format!("{:?}", reference()), @"Kernel(dalek)");
    assert_snapshot!(format!("{:?}", reference().generator()), @"Base(..)");
}

#[test]
#[should_panic(expected = "one scalar for each point")]
fn unequal_lengths_are_a_bug_of_the_caller() {
    let kernel = reference();
    kernel.mul_each(&hashed(kernel, 1, 2), &scalars(1, 3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Batches of halves must behave as the whole ones: (k·P + s·Q) - s·Q = k·P,
    /// before and after a round through the encoding, and in sums.
    #[test]
    fn halves_and_wholes_agree(seed: u64, count in 0usize..20) {
        for &kernel in kernels() {
            let k = Scalar::hash(DST, &[&seed.to_be_bytes()]);
            let base_encoding = kernel.encode(&hashed(kernel, seed ^ 1, 1))[0];
            let base = kernel.base(&base_encoding).unwrap();
            let s = scalars(seed, count);

            let mut halves = kernel.mul(&hashed(kernel, seed, count), &k);
            let products = kernel.encode(&halves);
            let mut valid = vec![false; count];
            let mut wholes = kernel.decode(&products, &mut valid);
            prop_assert!(valid.iter().all(|valid| *valid));

            prop_assert_eq!(
                kernel.encode(&kernel.msm_vartime(&s, &[&halves])),
                kernel.encode(&kernel.msm_vartime(&s, &[&wholes]))
            );
            prop_assert_eq!(
                kernel.encode(&kernel.mul(&halves, &k)),
                kernel.encode(&kernel.mul(&wholes, &k))
            );
            prop_assert_eq!(
                kernel.encode(&kernel.mul_each(&halves, &s)),
                kernel.encode(&kernel.mul_each(&wholes, &s))
            );
            prop_assert_eq!(
                kernel.encode(&kernel.concat(&[&halves, &wholes])),
                [products.clone(), products.clone()].concat()
            );
            kernel.add_base(&mut halves, &base, &s);
            kernel.add_base(&mut wholes, &base, &s);
            prop_assert_eq!(kernel.encode(&halves), kernel.encode(&wholes));
            prop_assert_eq!(count == 0 || kernel.encode(&halves) != products, true);
            kernel.sub_base(&mut halves, &base, &s);
            kernel.sub_base(&mut wholes, &base, &s);
            prop_assert_eq!(kernel.encode(&halves), products.clone());
            prop_assert_eq!(kernel.encode(&wholes), products);
        }
    }

    /// The sum of many products is the sum of the products one by one.
    #[test]
    fn msm_is_the_plain_sum(seed: u64, count in 0usize..40) {
        for &kernel in kernels() {
            let points = hashed(kernel, seed, count);
            let s = scalars(seed, count);
            let products = kernel.mul_each(&points, &s);
            let ones: Vec<Scalar> = (0..count).map(|_| small(1)).collect();
            prop_assert_eq!(
                kernel.encode(&kernel.msm_vartime(&s, &[&points])),
                kernel.encode(&kernel.msm_vartime(&ones, &[&products]))
            );
            // Through exponents: Σ s_i·(t_i·B) = (Σ s_i·t_i)·B.
            let t = scalars(!seed, count);
            let generators: Vec<Points> =
                (0..count).map(|_| kernel.base_point(kernel.generator())).collect();
            let generators: Vec<&Points> = generators.iter().collect();
            let multiples = kernel.mul_each(&kernel.concat(&generators), &t);
            let dot = s.iter().zip(&t).fold(small(0), |sum, (s, t)| sum.add(&s.mul(t)));
            prop_assert_eq!(
                kernel.encode(&kernel.msm_vartime(&s, &[&multiples])),
                [generator_times(kernel, &dot)]
            );
        }
    }

    #[test]
    fn fused_calls_are_their_parts(seed: u64, count in 0usize..20) {
        for &kernel in kernels() {
            let k = Scalar::hash(DST, &[&seed.to_be_bytes()]);
            let inputs: Vec<[u8; 8]> = (0..count as u64).map(|i| (seed ^ i).to_be_bytes()).collect();
            let inputs: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
            let points = kernel.hash_to_group(DST, &inputs);
            let expected = kernel.encode(&kernel.mul(&points, &k));
            prop_assert_eq!(&kernel.hash_mul_encode(DST, &inputs, &k), &expected);
            let encoded = kernel.encode(&points);
            let mut valid = vec![false; count];
            let (decoded, products) = kernel.decode_mul_encode(&encoded, &k, &mut valid).unwrap();
            prop_assert_eq!(valid, vec![true; count]);
            prop_assert_eq!(products, expected);
            prop_assert_eq!(kernel.encode(&decoded), encoded);
        }
    }

    #[test]
    fn inverting_together_is_inverting_alone(seed: u64, count in 0usize..20) {
        let s = scalars(seed, count);
        let inverses = Scalar::invert_all(&s);
        prop_assert_eq!(inverses.len(), count);
        for (s, inverse) in s.iter().zip(&inverses) {
            prop_assert_eq!(&*s.invert().to_bytes(), &*inverse.to_bytes());
            prop_assert_eq!(&*s.mul(inverse).to_bytes(), &*small(1).to_bytes());
        }
    }
}

/// What a caller gets wrong must not pass in silence, whatever the kernel.
#[test]
fn every_kernel_refuses_unequal_lengths() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    type Call = fn(&dyn Kernel);
    let calls: [Call; 6] = [
        |kernel| drop(kernel.mul_each(&hashed(kernel, 1, 2), &scalars(1, 3))),
        |kernel| {
            kernel.add_base(
                &mut hashed(kernel, 1, 9),
                kernel.generator(),
                &scalars(1, 8),
            )
        },
        |kernel| {
            kernel.sub_base(
                &mut hashed(kernel, 1, 0),
                kernel.generator(),
                &scalars(1, 1),
            )
        },
        |kernel| {
            let lists = [hashed(kernel, 1, 3), hashed(kernel, 1, 2)];
            drop(kernel.msm_vartime(&scalars(1, 3), &[&lists[0], &lists[1]]));
        },
        |kernel| drop(kernel.decode(&[[0; 32]; 2], &mut [false])),
        |kernel| drop(kernel.decode_mul_encode(&[[0; 32]; 2], &small(1), &mut [false; 3])),
    ];
    for &kernel in kernels() {
        for (n, call) in calls.iter().enumerate() {
            let ended = catch_unwind(AssertUnwindSafe(|| call(kernel)));
            assert!(ended.is_err(), "{} {n}", kernel.name());
        }
    }
}
