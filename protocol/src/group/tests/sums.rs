//! Sums of products: every kernel beside the reference.

use super::pair::{BasePair, Pair, repeated, specials};
use super::*;

/// Below and above where buckets begin, and around every size of a window that follows.
const LENGTHS: [usize; 19] = [
    0, 1, 2, 7, 8, 9, 16, 17, 47, 48, 49, 50, 63, 64, 65, 100, 257, 1000, 4096,
];

fn halves_and_wholes(kernel: &'static dyn Kernel, count: usize) -> [Pair; 3] {
    let fresh = Pair::hashed(kernel, 60, count);
    let wholes = fresh.decoded();
    let halves = wholes.mul(&small(77));
    [fresh, wholes, halves]
}

fn check(scalars: &[Scalar], lists: &[Pair], what: &str) {
    let lists: Vec<&Pair> = lists.iter().collect();
    Pair::sums(scalars, &lists).check(|| format!("{what}, {} terms", scalars.len()));
}

#[test]
fn random_terms_of_every_length() {
    for &kernel in kernels() {
        for count in LENGTHS {
            let lists = halves_and_wholes(kernel, count);
            check(&scalars(61, count), &lists, "random");
            let zeros: Vec<Scalar> = (0..count).map(|_| small(0)).collect();
            check(&zeros, &lists[..1], "zeros");
            let ones: Vec<Scalar> = (0..count).map(|_| small(1)).collect();
            check(&ones, &lists[1..2], "ones");
            // All points in one bucket of each window.
            let same: Vec<Scalar> = (0..count).map(|_| scalars(62, 1).remove(0)).collect();
            check(&same, &lists[1..2], "one scalar");
            let least: Vec<Scalar> = (0..count).map(|_| minus_one()).collect();
            check(&least, &lists[2..], "l - 1");
        }
    }
}

#[test]
fn special_scalars_in_sums() {
    let specials = specials();
    for &kernel in kernels() {
        let lists = halves_and_wholes(kernel, specials.len());
        check(&specials, &lists, "specials");
        // In short sums, where no bucket is made, and in ones just above.
        for len in [16, 49] {
            for (n, part) in specials.chunks_exact(len).enumerate() {
                let lists = [Pair::hashed(kernel, 63, len)];
                check(part, &lists, &format!("specials, part {n}"));
            }
        }
    }
}

/// Digits that are all in one bucket, whatever the size of a window: the lanes share it.
#[test]
fn all_digits_in_one_bucket() {
    for &kernel in kernels() {
        for count in [49, 57, 64, 100, 257, 1000] {
            let lists = [Pair::hashed(kernel, 64, count).decoded()];
            for bits in 4..=9u32 {
                let half = 1 << (bits - 1);
                for digit in [1, half - 1, half, 2 * half - 1] {
                    let same: Vec<Scalar> =
                        (0..count).map(|_| repeated(digit, bits as usize)).collect();
                    check(&same, &lists, &format!("digits {digit} of {bits} bits"));
                }
            }
        }
    }
}

/// Buckets of equal sizes: their ends fall on the ends of the lanes' parts, and beside them.
#[test]
fn buckets_end_where_lanes_end() {
    for &kernel in kernels() {
        for count in [49, 56, 63, 64, 65, 72, 80] {
            let lists = [Pair::hashed(kernel, 65, count)];
            for run in 1..=20 {
                // In the lowest window, both signs; the windows above are nearly empty.
                let low: Vec<Scalar> = (0..count)
                    .map(|n| match n % 2 {
                        0 => small((n / run % 9) as u64),
                        _ => small(0).sub(&small((n / run % 9) as u64)),
                    })
                    .collect();
                check(&low, &lists, &format!("runs of {run}"));
                // In one window of the middle.
                let shift = Scalar::from_canonical(&{
                    let mut bytes = [0; 32];
                    bytes[15] = 1;
                    bytes
                })
                .unwrap();
                let high: Vec<Scalar> = (0..count)
                    .map(|n| small((n / run % 8) as u64).mul(&shift))
                    .collect();
                check(&high, &lists, &format!("runs of {run}, further up"));
            }
        }
        // One scalar that is not zero, in each place.
        let lists = [Pair::hashed(kernel, 66, 52)];
        for lane in 0..52 {
            let mut s: Vec<Scalar> = (0..52).map(|_| small(0)).collect();
            s[lane] = minus_one();
            check(&s, &lists, &format!("only {lane}"));
        }
    }
}

#[test]
fn terms_that_cancel_and_terms_that_meet() {
    for &kernel in kernels() {
        for count in [1, 8, 24, 25, 32, 50, 500] {
            let points = Pair::hashed(kernel, 67, count);
            let twice = Pair::concat(&[&points, &points]);
            let s = scalars(68, count);
            let both = |second: &dyn Fn(&Scalar) -> Scalar| -> Vec<Scalar> {
                let copies = s.iter().map(|s| s.add(&small(0)));
                copies.chain(s.iter().map(second)).collect()
            };
            let cancelling = both(&|s| small(0).sub(s));
            let zero = Pair::sums(&cancelling, &[&twice]);
            assert_eq!(zero.check(|| "P - P".to_owned()), [[0; 32]]);
            check(&both(&|s| s.add(&small(0))), &[twice], "P + P");
            // Negative points under the same scalars.
            let negative = points.mul(&minus_one());
            let mirrored = Pair::concat(&[&points, &negative]);
            let zero = Pair::sums(&both(&|s| s.add(&small(0))), &[&mirrored]);
            assert_eq!(zero.check(|| "P and -P".to_owned()), [[0; 32]]);
            // One point everywhere, and the identity everywhere.
            let one = Pair::hashed(kernel, 69, 1);
            let everywhere = Pair::concat(&vec![&one; count]);
            let nothing = everywhere.mul(&small(0));
            let lists = [&everywhere, &nothing];
            Pair::sums(&s, &lists).check(|| "one point".to_owned());
            // The identity at some places, as halves and as wholes.
            let factors: Vec<Scalar> = (0..count).map(|n| small(n as u64 % 3)).collect();
            let some = points.mul_each(&factors);
            let lists = [&some, &Pair::concat(&[&some])];
            Pair::sums(&s, &lists).check(|| "some identities".to_owned());
        }
    }
}

#[test]
fn any_number_of_lists() {
    for &kernel in kernels() {
        for (count, most) in [(3, 18), (60, 18)] {
            let s = scalars(70, count);
            let lists: Vec<Pair> = (0..most)
                .map(|n| {
                    let points = Pair::hashed(kernel, 71 + n, count);
                    match n % 3 {
                        0 => points,
                        1 => points.decoded(),
                        _ => points.mul(&small(n)),
                    }
                })
                .collect();
            let lists: Vec<&Pair> = lists.iter().collect();
            for n in 1..=lists.len() {
                let sums = Pair::sums(&s, &lists[..n]);
                let encodings = sums.check(|| format!("{n} lists"));
                assert_eq!(encodings.len(), n);
                // A result is a batch like any other.
                sums.mul(&small(9)).check(|| format!("{n} lists, times 9"));
            }
            assert!(kernel.msm_vartime(&s, &[]).is_empty());
        }
    }
}

/// Through exponents: Σ s_i·(t_i·B) = (Σ s_i·t_i)·B. As many as there are in the largest chunk.
#[test]
fn a_large_sum() {
    let count = 65_535;
    let (s, t) = (scalars(80, count), scalars(81, count));
    let dot = s.iter().zip(&t);
    let dot = dot.fold(small(0), |sum, (s, t)| sum.add(&s.mul(t)));
    for &kernel in kernels() {
        let base = BasePair::new(kernel, &bytes(B));
        let none = Pair::hashed(kernel, 0, 1).mul(&small(0));
        let mut points = kernel.concat(&vec![&none.mine; count]);
        kernel.add_base(&mut points, base.mine(), &t);
        let sums = kernel.msm_vartime(&s, &[&points]);
        assert_eq!(kernel.encode(&sums), [generator_times(reference(), &dot)]);
    }
}
