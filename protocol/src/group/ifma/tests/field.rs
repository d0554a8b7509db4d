//! The field, with limbs as extreme as the bounds allow.

use num_bigint::BigUint;
use proptest::prelude::*;

use super::curve::{I, P, inverse, is_negative, is_square, mul, negative};
use super::{counted, here, lane, limbs_of, stored, value};
use crate::group::ifma::field::{Canonical, Folded, Limbs, Mask, Raw, Stored};
use crate::group::ifma::roots::{absolute, invert, mul2, sqrt_ratio, square2};
use crate::group::ifma::words::{from_words, to_words};

const ONE: u64 = 1;
/// What a fold may take.
const MOST_RAW: u64 = (ONE << 59) - 1;
/// What may be subtracted: least limb first, then the others.
const MOST_SUBTRAHEND: [u64; 2] = [(ONE << 57) - 19_456, (ONE << 57) - 32];
/// The top limb of what a product takes.
const MOST_TOP: u64 = (ONE << 47) + (ONE << 7);
/// What a product gives. Two of them may be subtracted together.
const MOST_PRODUCT: u64 = ONE << 56;

type Lanes = [Limbs; 8];

/// Two groups through a function of the vector code.
fn run<T>(input: &[Lanes], f: impl FnOnce(&[Stored]) -> T) -> T {
    let input: Vec<Stored> = input.iter().map(stored).collect();
    f(&input)
}

// SAFETY, for all of these: tests call them after `here()` alone.

fn fold(a: &Lanes) -> Stored {
    let mut to = Stored::ZERO;
    run(&[*a], |input| unsafe {
        Raw::load(&input[0]).fold().store(&mut to);
    });
    to
}

fn canonical(a: &Lanes) -> Stored {
    let mut to = Stored::ZERO;
    run(&[*a], |input| unsafe {
        Raw::load(&input[0]).canonical().raw().store(&mut to);
    });
    to
}

fn product(a: &Lanes, b: &Lanes) -> Stored {
    let mut to = Stored::ZERO;
    run(&[*a, *b], |input| unsafe {
        let (a, b) = (Folded::load(&input[0]), Folded::load(&input[1]));
        a.mul(&b).store(&mut to);
    });
    to
}

fn square(a: &Lanes) -> Stored {
    let mut to = Stored::ZERO;
    run(&[*a], |input| unsafe {
        Folded::load(&input[0]).square().store(&mut to);
    });
    to
}

fn below_p(limbs: &Limbs) -> BigUint {
    let number = value(limbs);
    assert!(number < *P, "{limbs:x?}");
    assert_eq!(limbs_of(&number), *limbs, "limbs are not clean");
    number
}

fn check_fold(a: &Lanes) {
    let folded = fold(a);
    for (n, a) in a.iter().enumerate() {
        let folded = lane(&folded, n);
        assert_eq!(counted(&folded) % &*P, value(a) % &*P, "{a:x?}");
        // The top limb is clean, and within what products allow.
        assert!(folded[4] <= MOST_TOP, "{a:x?} to {folded:x?}");
    }
    let canonical = canonical(a);
    for (n, a) in a.iter().enumerate() {
        assert_eq!(below_p(&lane(&canonical, n)), value(a) % &*P, "{a:x?}");
    }
}

fn check_product(a: &Lanes, b: &Lanes) {
    let (product, squared) = (product(a, b), square(a));
    for n in 0..8 {
        let expected = mul(&counted(&a[n]), &counted(&b[n]));
        let product = lane(&product, n);
        assert_eq!(value(&product) % &*P, expected, "{:x?} {:x?}", a[n], b[n]);
        assert!(
            product.iter().all(|limb| *limb < MOST_PRODUCT),
            "{product:x?}"
        );
        let squared = lane(&squared, n);
        assert_eq!(value(&squared) % &*P, mul(&counted(&a[n]), &counted(&a[n])));
        assert!(
            squared.iter().all(|limb| *limb < MOST_PRODUCT),
            "{squared:x?}"
        );
    }
}

/// Products on top of a bias, and differences that take the most they may.
fn check_minuends(a: &Lanes, b: &Lanes) {
    let [first, others] = MOST_SUBTRAHEND;
    let most: Limbs = [first, others, others, others, others];
    let mut found = [Stored::ZERO; 5];
    run(&[*a, *b, [most; 8]], |input| unsafe {
        let (a, b) = (Folded::load(&input[0]), Folded::load(&input[1]));
        let most = Raw::load(&input[2]);
        let (ab, aa, bb) = (a.mul_minuend(&b), a.square_minuend(), b.square_minuend());
        ab.raw().store(&mut found[0]);
        aa.raw().store(&mut found[1]);
        ab.sub(&most).store(&mut found[2]);
        aa.sub(&b.square()).store(&mut found[3]);
        bb.twice_add_sub(&a.mul(&b), &aa).store(&mut found[4]);
    });
    for n in 0..8 {
        let (a, b) = (counted(&a[n]), counted(&b[n]));
        let (ab, aa, bb) = (mul(&a, &b), mul(&a, &a), mul(&b, &b));
        let expected = [
            ab.clone(),
            aa.clone(),
            &ab + negative(&value(&most)),
            &aa + negative(&bb),
            &bb + &bb + &ab + negative(&aa),
        ];
        for (found, expected) in found.iter().zip(expected) {
            let found = lane(found, n);
            assert!(found.iter().all(|limb| *limb <= MOST_RAW), "{found:x?}");
            assert_eq!(value(&found) % &*P, expected % &*P, "{a:x} {b:x}");
        }
    }
}

/// Every limb one of these, in every combination, eight at a time.
fn combinations(choices: [&[u64]; 5]) -> Vec<Lanes> {
    let mut all: Vec<Limbs> = vec![[0; 5]];
    for (i, choices) in choices.iter().enumerate() {
        all = all
            .iter()
            .flat_map(|limbs| {
                choices.iter().map(move |choice| {
                    let mut limbs = *limbs;
                    limbs[i] = *choice;
                    limbs
                })
            })
            .collect();
    }
    let mut lanes: Vec<Lanes> = Vec::new();
    for chunk in all.chunks(8) {
        lanes.push(std::array::from_fn(|n| chunk[n % chunk.len()]));
    }
    lanes
}

#[test]
fn folding_every_combination_of_extreme_limbs() {
    if !here() {
        return;
    }
    let mask = (ONE << 52) - 1;
    let extremes: &[u64] = &[0, 1, mask - 18, mask, mask + 1, (ONE << 58) - 1, MOST_RAW];
    let top = (ONE << 47) - 1;
    let tops: &[u64] = &[0, 1, top, top + 1, 2 * top + 1, mask, MOST_RAW];
    for lanes in combinations([extremes, extremes, extremes, extremes, tops]) {
        check_fold(&lanes);
    }
}

#[test]
fn products_of_every_combination_of_extreme_limbs() {
    if !here() {
        return;
    }
    let mask = (ONE << 52) - 1;
    // Zero and the largest, both with and without junk that does not count.
    let extremes: &[u64] = &[0, mask, 0xfff << 52, u64::MAX];
    let tops: &[u64] = &[0, (ONE << 47) - 1, MOST_TOP];
    let all = combinations([extremes, extremes, extremes, extremes, tops]);
    for (n, lanes) in all.iter().enumerate() {
        check_product(lanes, lanes);
        check_product(lanes, &all[all.len() - 1 - n]);
        check_product(lanes, &all[(n * 37 + 11) % all.len()]);
        check_minuends(lanes, &all[all.len() - 1 - n]);
        check_minuends(lanes, &all[(n * 37 + 11) % all.len()]);
    }
}

#[test]
fn numbers_around_multiples_of_p_have_one_canonical_form() {
    if !here() {
        return;
    }
    let one = BigUint::from(1u8);
    let mut numbers = Vec::new();
    for around in [
        P.clone(),
        &*P * 2u8,
        &*P * 3u8,
        &*P * 32u8,
        &one << 255u8,
        (&one << 255u8) + (&one << 214u8),
        (&one << 255u8) + (&one << 215u8),
        &one << 256u16,
    ] {
        for delta in 0..40u8 {
            numbers.push(&around + 20u8 - delta);
        }
    }
    numbers.extend((0..40u8).map(BigUint::from));
    for chunk in numbers.chunks(8) {
        let lanes: Lanes = std::array::from_fn(|n| {
            let number = &chunk[n % chunk.len()];
            // The top limb takes what is above 2^260.
            let mut limbs = limbs_of(number);
            limbs[4] = u64::try_from(number >> 208u8).unwrap();
            limbs
        });
        check_fold(&lanes);
        let zeros = run(&[lanes], |input| unsafe { Raw::load(&input[0]).zeros() });
        for (n, limbs) in lanes.iter().enumerate() {
            let is_zero = value(limbs) % &*P == BigUint::ZERO;
            assert_eq!(zeros >> n & 1 == 1, is_zero, "{limbs:x?}");
        }
    }
}

#[test]
fn differences_never_go_below_zero() {
    if !here() {
        return;
    }
    let [first, others] = MOST_SUBTRAHEND;
    let firsts: &[u64] = &[0, 1, first];
    let rest: &[u64] = &[0, 1, others];
    let minuends: &[u64] = &[0, (ONE << 58) - 1];
    let subtrahends = combinations([firsts, rest, rest, rest, rest]);
    let minuends = combinations([minuends; 5]);
    for (n, b) in subtrahends.iter().enumerate() {
        for a in [&minuends[n % minuends.len()], &[[0; 5]; 8]] {
            let mut to = [Stored::ZERO; 3];
            run(&[*a, *b], |input| unsafe {
                let (a, b) = (Raw::load(&input[0]), Raw::load(&input[1]));
                a.sub(&b).store(&mut to[0]);
                a.add(&b).store(&mut to[1]);
                b.negate(0b0101_0101).store(&mut to[2]);
            });
            for n in 0..8 {
                let (a, b) = (value(&a[n]), value(&b[n]));
                let difference = lane(&to[0], n);
                assert!(difference.iter().all(|limb| *limb <= MOST_RAW));
                assert_eq!(value(&difference) % &*P, (&a + negative(&b)) % &*P);
                assert_eq!(value(&lane(&to[1], n)), &a + &b);
                let expected = if n % 2 == 0 { negative(&b) } else { &b % &*P };
                assert_eq!(value(&lane(&to[2], n)) % &*P, expected);
            }
        }
    }
}

/// Small numbers, numbers near p, roots of unity, and some with nothing special.
fn numbers() -> Vec<BigUint> {
    let mut numbers: Vec<BigUint> = (0..12u8).map(BigUint::from).collect();
    for n in numbers.clone() {
        numbers.push(negative(&n));
        numbers.push(inverse(&n));
        numbers.push(mul(&n, &I));
        numbers.push(mul(&n, &negative(&I)));
    }
    let mut any = BigUint::from(3u8);
    for _ in 0..20 {
        any = (mul(&any, &any) + 5u8) % &*P;
        numbers.push(any.clone());
    }
    numbers
}

#[test]
fn square_roots_of_ratios() {
    if !here() {
        return;
    }
    let numbers = numbers();
    let pairs: Vec<(&BigUint, &BigUint)> = numbers
        .iter()
        .flat_map(|u| numbers.iter().map(move |v| (u, v)))
        .collect();
    for chunk in pairs.chunks(16) {
        let pick = |n: usize| chunk[n % chunk.len()];
        let lanes = |at: usize, of: fn((&BigUint, &BigUint)) -> Limbs| -> Lanes {
            std::array::from_fn(|n| of(pick(at + n)))
        };
        let (u, v) = (
            |pair: (&BigUint, &BigUint)| limbs_of(pair.0),
            |pair: (&BigUint, &BigUint)| limbs_of(pair.1),
        );
        let mut roots = [Stored::ZERO; 2];
        let input = [lanes(0, u), lanes(8, u), lanes(0, v), lanes(8, v)];
        let squares: [Mask; 2] = run(&input, |input| unsafe {
            let [u0, u1, v0, v1] = [0, 1, 2, 3].map(|n| Raw::load(&input[n]));
            let (squares, found) = sqrt_ratio(&[u0, u1], &[v0, v1]);
            found[0].raw().store(&mut roots[0]);
            found[1].raw().store(&mut roots[1]);
            squares
        });
        for n in 0..16 {
            let (u, v) = pick(n);
            let root = below_p(&lane(&roots[n / 8], n % 8));
            let was_square = squares[n / 8] >> (n % 8) & 1 == 1;
            // RFC 9496, section 4.2: (true, 0) for u = 0; (false, 0) for v = 0 alone.
            let zero = BigUint::ZERO;
            let expected = *u == zero || *v != zero && is_square(&mul(u, &inverse(v)));
            assert_eq!(was_square, expected, "{u} {v}");
            assert!(!is_negative(&root), "{u} {v}");
            if *v == zero {
                assert_eq!(root, zero);
                continue;
            }
            let square = if was_square { u.clone() } else { mul(u, &I) };
            assert_eq!(mul(&mul(&root, &root), v), square, "{u} {v}");
        }
    }
}

#[test]
fn inverses_and_absolute_values() {
    if !here() {
        return;
    }
    let numbers = numbers();
    for chunk in numbers.chunks(16) {
        let pick = |n: usize| &chunk[n % chunk.len()];
        let lanes: [Lanes; 2] = [0, 8].map(|at| std::array::from_fn(|n| limbs_of(pick(at + n))));
        let mut found = [Stored::ZERO; 6];
        run(&lanes, |input| unsafe {
            let x = [Raw::load(&input[0]).fold(), Raw::load(&input[1]).fold()];
            let (inverses, squares) = (invert(&x), square2(&x));
            let cubes = mul2(&squares, &x);
            for n in 0..2 {
                inverses[n].clean().canonical().raw().store(&mut found[n]);
                cubes[n].clean().canonical().raw().store(&mut found[2 + n]);
                absolute(&Raw::load(&input[n]))
                    .raw()
                    .store(&mut found[4 + n]);
            }
        });
        for n in 0..16 {
            let (group, at, x) = (n / 8, n % 8, pick(n));
            assert_eq!(below_p(&lane(&found[group], at)), inverse(x), "{x}");
            let cube = mul(&mul(x, x), x);
            assert_eq!(below_p(&lane(&found[2 + group], at)), cube, "{x}");
            let absolute = if is_negative(x) {
                negative(x)
            } else {
                x.clone()
            };
            assert_eq!(below_p(&lane(&found[4 + group], at)), absolute, "{x}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_limbs(a: [[u64; 5]; 8], b: [[u64; 5]; 8]) {
        if here() {
            check_fold(&a.map(|limbs| limbs.map(|limb| limb & MOST_RAW)));
            let counts = |limbs: Limbs| [limbs[0], limbs[1], limbs[2], limbs[3], limbs[4] % MOST_TOP];
            check_product(&a.map(counts), &b.map(counts));
            check_minuends(&a.map(counts), &b.map(counts));
        }
    }

    /// Words to an element and back: bit 255 is ignored, the rest taken modulo p.
    #[test]
    fn words_and_elements(words: [[u64; 8]; 4], high: bool) {
        if here() {
            let mut words = words;
            if high {
                // p and above.
                words[1] = [u64::MAX; 8];
                words[2] = [u64::MAX; 8];
                words[3] = [u64::MAX; 8];
                words[0][..4].fill(u64::MAX - 18);
            }
            let mut number = Stored::ZERO;
            // SAFETY: the CPU has the instructions.
            let back = unsafe {
                let raw = from_words(&words);
                raw.store(&mut number);
                let canonical: Canonical = raw.canonical();
                to_words(&canonical)
            };
            for n in 0..8 {
                let join = |words: &[[u64; 8]; 4]| {
                    words.iter().rev().fold(BigUint::ZERO, |sum, word| (sum << 64) + word[n])
                };
                let expected = join(&words) % (BigUint::from(1u8) << 255u8);
                prop_assert_eq!(value(&lane(&number, n)), expected.clone());
                prop_assert_eq!(join(&back), expected % &*P);
            }
        }
    }
}
