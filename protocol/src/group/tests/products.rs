//! Multiplication, fixed bases and encoding: every kernel beside the reference.

use super::pair::{BasePair, Pair, specials};
use super::*;

/// Around every boundary: lanes, pairs of groups, blocks of a fixed base, chunks of an encoding.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=33).chain(511..=513).chain(1023..=1025)
}

#[test]
fn every_length_of_every_operation() {
    for &kernel in kernels() {
        let base = BasePair::new(kernel, &reference().encode(&hashed(reference(), 9, 1))[0]);
        for count in lengths() {
            let s = scalars(count as u64, count);
            let key = Scalar::hash(DST, &[&count.to_be_bytes()]);
            let fresh = Pair::hashed(kernel, 20, count);
            assert_eq!(fresh.check(|| "hash".to_owned()).len(), count);
            let mut wholes = fresh.decoded();
            wholes.check(|| "decode".to_owned());
            let mut halves = wholes.mul(&key);
            halves.check(|| "mul".to_owned());
            wholes.add_base(&base, &s);
            wholes.check(|| "add_base to wholes".to_owned());
            halves.sub_base(&base, &s);
            halves.check(|| "sub_base from halves".to_owned());
            let each = halves.mul_each(&s);
            each.check(|| "mul_each of halves".to_owned());
            wholes
                .mul_each(&s)
                .check(|| "mul_each of wholes".to_owned());
            halves.mul(&key).check(|| "mul of halves".to_owned());
            Pair::concat(&[&wholes, &each, &fresh]).check(|| "concat".to_owned());
        }
    }
}

#[test]
fn special_scalars_for_all_and_for_each() {
    let specials = specials();
    for &kernel in kernels() {
        let base = BasePair::new(kernel, &reference().encode(&hashed(reference(), 8, 1))[0]);
        let points = Pair::hashed(kernel, 30, specials.len());
        let doubled: Vec<Scalar> = specials.iter().map(|s| s.add(s)).collect();
        // Wholes take half of a scalar, halves all of it: each gets the special ones both ways.
        let halves = points.mul_each(&specials);
        halves.check(|| "mul_each".to_owned());
        points.mul_each(&doubled).check(|| "doubled".to_owned());
        halves.mul_each(&specials).check(|| "of halves".to_owned());
        halves
            .mul_each(&doubled)
            .check(|| "of halves, doubled".to_owned());
        for scalars in [&specials, &doubled] {
            let (mut whole, mut half) = (points.decoded(), points.mul(&small(3)));
            whole.add_base(&base, scalars);
            whole.check(|| "add_base".to_owned());
            whole.sub_base(&base, &specials);
            whole.check(|| "sub_base".to_owned());
            half.sub_base(&base, scalars);
            half.check(|| "sub_base from halves".to_owned());
            half.add_base(&base, &specials);
            half.check(|| "add_base to halves".to_owned());
        }
        let three = Pair::hashed(kernel, 31, 3);
        let nine = Pair::hashed(kernel, 32, 9).mul(&small(5));
        for (n, scalar) in specials.iter().enumerate() {
            three.mul(scalar).check(|| format!("special {n}"));
            if n % 4 == 0 {
                nine.mul(scalar).check(|| format!("special {n} of halves"));
            }
        }
    }
}

#[test]
fn identity_in_any_lane_and_in_all() {
    for &kernel in kernels() {
        let base = BasePair::new(kernel, &bytes(B));
        for len in (1..=17).chain([511, 512, 513]) {
            let points = Pair::hashed(kernel, 40, len);
            // One lane after the other, all, none, every other.
            let few = len <= 17;
            let sets = (0..len).filter(|_| few).map(|lane| vec![lane]);
            let all: Vec<usize> = (0..len).collect();
            let odd: Vec<usize> = (1..len).step_by(2).collect();
            for zeros in sets.chain([all, odd, vec![0], vec![len - 1]]) {
                let mut factors = scalars(len as u64, len);
                for lane in &zeros {
                    factors[*lane] = small(0);
                }
                let mut halves = points.mul_each(&factors);
                let encodings = halves.check(|| format!("zeros in {zeros:?}"));
                for (lane, encoding) in encodings.iter().enumerate() {
                    assert_eq!(*encoding == [0; 32], zeros.contains(&lane));
                }
                // The same as wholes, and worked on further.
                let mut wholes = Pair::concat(&[&halves]);
                assert_eq!(wholes.check(|| "wholes".to_owned()), encodings);
                wholes.mul(&factors[0]).check(|| "mul".to_owned());
                halves.mul_each(&factors).check(|| "mul_each".to_owned());
                if few {
                    wholes.add_base(&base, &factors);
                    wholes.check(|| "add_base".to_owned());
                    halves.sub_base(&base, &factors);
                    halves.check(|| "sub_base".to_owned());
                }
            }
        }
    }
}

/// Sums where both terms are the same point, or one the other's negative: the formulas have no
/// exception, and a look-up that takes an entry may meet the very point it adds to.
#[test]
fn a_point_meets_itself_and_its_negative() {
    for &kernel in kernels() {
        let base = BasePair::new(kernel, &bytes(B));
        let mut s = specials();
        s.extend(scalars(50, 19));
        let generators = Pair {
            kernel,
            mine: kernel.base_point(kernel.generator()),
            theirs: reference().base_point(reference().generator()),
        };
        let generators = Pair::concat(&vec![&generators; s.len()]);
        let halves = generators.mul_each(&s);
        let wholes = Pair::concat(&[&halves]);
        for (mut pair, what) in [(halves, "halves"), (wholes, "wholes")] {
            pair.sub_base(&base, &s);
            let zeros = pair.check(|| format!("{what}: P - P"));
            assert_eq!(zeros, vec![[0; 32]; s.len()]);
            // From the identity on.
            pair.add_base(&base, &s);
            pair.check(|| format!("{what}: 0 + P"));
            pair.add_base(&base, &s);
            pair.check(|| format!("{what}: P + P"));
            let negatives: Vec<Scalar> = s.iter().map(|s| small(0).sub(s)).collect();
            pair.sub_base(&base, &negatives);
            pair.check(|| format!("{what}: 2P - (-P)"));
        }
    }
}

/// Fused calls go block by block: around the ends of blocks they answer as their parts do.
#[test]
fn a_base_is_added_and_encoded_in_one_pass() {
    for &kernel in kernels() {
        let encoding = reference().encode(&hashed(reference(), 9, 1))[0];
        let (base, pair) = (
            kernel.base(&encoding).unwrap(),
            BasePair::new(kernel, &encoding),
        );
        for count in [0, 1, 8, 17, 511, 512, 513, 1025] {
            let s = scalars(count as u64, count);
            let fresh = Pair::hashed(kernel, 33, count);
            for mut points in [fresh.decoded(), fresh.mul(&small(7))] {
                let mut copy = kernel.concat(&[&points.mine]);
                points.add_base(&pair, &s);
                let expected = points.check(|| "add_base".to_owned());
                assert_eq!(kernel.add_base_encode(&mut copy, &base, &s), expected);
                // The points moved as well, and halves move as wholes do.
                assert_eq!(kernel.encode(&copy), expected);
                let mut halves = kernel.mul(&copy, &small(1));
                points.sub_base(&pair, &s);
                let expected = points.check(|| "sub_base".to_owned());
                assert_eq!(kernel.sub_base_encode(&mut halves, &base, &s), expected);
                assert_eq!(kernel.encode(&halves), expected);
            }
        }
    }
}

#[test]
fn nothing_is_a_batch_too() {
    for &kernel in kernels() {
        let mut none = kernel.hash_to_group(DST, &[]);
        kernel.add_base(&mut none, kernel.generator(), &[]);
        kernel.sub_base(&mut none, kernel.generator(), &[]);
        let none = kernel.mul_each(&kernel.mul(&none, &small(3)), &[]);
        assert!(kernel.concat(&[]).is_empty() && kernel.concat(&[&none, &none]).is_empty());
        assert!(kernel.encode(&none).is_empty());
        assert!(kernel.hash_mul_encode(DST, &[], &small(3)).is_empty());
        let (points, products) = kernel.decode_mul_encode(&[], &small(3), &mut []).unwrap();
        assert!(points.is_empty() && products.is_empty());
        assert!(kernel.msm_vartime(&[], &[]).is_empty());
        let sums = kernel.msm_vartime(&[], &[&none, &points]);
        assert_eq!(kernel.encode(&sums), [[0; 32]; 2]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any chain of operations on any mixture of batches.
    #[test]
    fn chains_of_operations(
        seed: u64,
        counts in prop::collection::vec(0usize..20, 1..4),
        steps in prop::collection::vec((0u8..6, any::<u64>()), 1..6),
    ) {
        for &kernel in kernels() {
            let base = BasePair::new(kernel, &reference().encode(&hashed(reference(), seed, 1))[0]);
            let parts: Vec<Pair> = counts
                .iter()
                .zip(seed..=u64::MAX)
                .map(|(count, seed)| match seed % 3 {
                    0 => Pair::hashed(kernel, seed, *count),
                    1 => Pair::hashed(kernel, seed, *count).decoded(),
                    _ => Pair::hashed(kernel, seed, *count).mul(&scalars(seed, 1)[0]),
                })
                .collect();
            let parts: Vec<&Pair> = parts.iter().collect();
            let mut pair = Pair::concat(&parts);
            for (step, seed) in &steps {
                let mut s = scalars(*seed, pair.theirs.len());
                for (n, s) in s.iter_mut().enumerate() {
                    if (seed >> (n % 64)) & 7 == 0 {
                        *s = small((n % 3) as u64);
                    }
                }
                match step {
                    0 => pair = pair.mul(&scalars(*seed, 1)[0]),
                    1 => pair = pair.mul_each(&s),
                    2 => pair.add_base(&base, &s),
                    3 => pair.sub_base(&base, &s),
                    4 => pair = Pair::concat(&[&pair, &Pair::hashed(kernel, *seed, 3)]),
                    _ => drop(Pair::sums(&s, &[&pair, &pair]).check(|| "sums".to_owned())),
                }
                pair.check(|| format!("{steps:?} from {counts:?}, {seed}"));
            }
        }
    }
}
