//! Addition and doubling: the formulas are complete, so every pair of points is tried.

use num_bigint::BigUint;

use super::curve::{Affine, I, P, inverse, mul};
use super::{here, lane, limbs_of, stored, value};
use crate::group::ifma::point::{AffineAddend, Cached, Group, Points8};

/// Eight points as a group, each multiplied through by its factor.
pub(super) fn group(points: &[(Affine, BigUint)]) -> Group {
    let coordinate = |of: fn(&Affine) -> BigUint| {
        stored(&std::array::from_fn(|n| {
            let (point, factor) = &points[n % points.len()];
            limbs_of(&mul(&of(point), factor))
        }))
    };
    Group {
        x: coordinate(|p| p.x.clone()),
        y: coordinate(|p| p.y.clone()),
        z: coordinate(|_| BigUint::from(1u8)),
        t: coordinate(|p| mul(&p.x, &p.y)),
    }
}

/// The point of a lane. T must fit, unless it is left open.
pub(super) fn affine(group: &Group, n: usize, with_t: bool) -> Affine {
    let coordinate = |stored| value(&lane(stored, n)) % &*P;
    let z = coordinate(&group.z);
    assert_ne!(z, BigUint::ZERO);
    let scale = inverse(&z);
    let point = Affine {
        x: mul(&coordinate(&group.x), &scale),
        y: mul(&coordinate(&group.y), &scale),
    };
    if with_t {
        let t = mul(&coordinate(&group.t), &scale);
        assert_eq!(t, mul(&point.x, &point.y));
    }
    point
}

/// The identity, all torsion, multiples of the generator and their negatives, these with torsion.
fn points() -> Vec<Affine> {
    let torsion = Affine::torsion();
    let generator = Affine::generator();
    let mut points = torsion.clone();
    for n in [1u32, 2, 3, 1_000_003] {
        let multiple = generator.times(&BigUint::from(n));
        points.push(multiple.negated());
        points.push(multiple);
    }
    points.push(generator.add(&torsion[1]));
    points.push(generator.add(&torsion[2]));
    points.push(generator.negated().add(&torsion[4]));
    points
}

/// Factors for all coordinates: one, extremes, and one with nothing special.
fn factors() -> [BigUint; 4] {
    [
        BigUint::from(1u8),
        &*P - 1u8,
        I.clone(),
        mul(
            &BigUint::from(0x1234_5678_9abc_def1_u64),
            &inverse(&BigUint::from(7u8)),
        ),
    ]
}

#[test]
fn every_pair_of_points() {
    if !here() {
        return;
    }
    let (points, factors) = (points(), factors());
    let pairs: Vec<(usize, usize)> = (0..points.len())
        .flat_map(|a| (0..points.len()).map(move |b| (a, b)))
        .collect();
    for (turn, chunk) in pairs.chunks(8).enumerate() {
        let pick = |n: usize| chunk[n % chunk.len()];
        let scaled = |index: usize, n: usize| {
            (
                points[index].clone(),
                factors[(index + n + turn) % 4].clone(),
            )
        };
        let left: Vec<_> = (0..8).map(|n| scaled(pick(n).0, n)).collect();
        let right: Vec<_> = (0..8).map(|n| scaled(pick(n).1, 3 * n)).collect();
        let plain: Vec<_> = (0..8)
            .map(|n| (points[pick(n).1].clone(), BigUint::from(1u8)))
            .collect();
        let negative = [0, 0xff, 0b0101_0110][turn % 3];
        let (a, b, c) = (group(&left), group(&right), group(&plain));
        let mut found = [Group::IDENTITY; 6];
        // SAFETY: the CPU has the instructions.
        unsafe {
            let (a, b, c) = (Points8::load(&a), Points8::load(&b), Points8::load(&c));
            let mut memory = Cached::IDENTITY;
            b.cache(&mut memory);
            let addend = crate::group::ifma::point::Addend::load(&memory);
            a.add(&addend, negative).store(&mut found[0]);
            a.add_without_t(&b.cached(), negative).store(&mut found[1]);
            let cached = c.cached();
            let affine = AffineAddend {
                minus: cached.minus,
                plus: cached.plus,
                t2d: cached.t2d,
            };
            a.add_affine(&affine, negative).store(&mut found[2]);
            a.double().store(&mut found[3]);
            a.double_without_t().double_without_t().store(&mut found[4]);
            a.select(negative, &b).store(&mut found[5]);
        }
        for n in 0..8 {
            let (left, right) = (&points[pick(n).0], &points[pick(n).1]);
            let minus = negative >> n & 1 == 1;
            let sum = match minus {
                true => left.add(&right.negated()),
                false => left.add(right),
            };
            assert_eq!(affine(&found[0], n, true), sum);
            assert_eq!(affine(&found[1], n, false), sum);
            assert_eq!(affine(&found[2], n, true), sum);
            let double = left.add(left);
            assert_eq!(affine(&found[3], n, true), double);
            assert_eq!(affine(&found[4], n, false), double.add(&double));
            let selected = if minus { right } else { left };
            assert_eq!(affine(&found[5], n, true), *selected);
        }
    }
}

#[test]
fn constants_are_the_identity() {
    if !here() {
        return;
    }
    let mut sum = Group::IDENTITY;
    // SAFETY: the CPU has the instructions.
    unsafe {
        let addend = crate::group::ifma::point::Addend::load(&Cached::IDENTITY);
        Points8::load(&Group::IDENTITY)
            .add(&addend, 0x0f)
            .store(&mut sum);
    }
    for n in 0..8 {
        assert_eq!(affine(&sum, n, true), Affine::identity());
        assert_eq!(affine(&Group::IDENTITY, n, true), Affine::identity());
    }
}
