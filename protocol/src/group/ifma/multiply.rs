//! Multiplication by secret scalars: of many points, and of one fixed base.

use core::arch::x86_64::*;

use zeroize::Zeroizing;

use super::digits::{FIVES, Fives, WINDOWS, Window, Windows};
use super::field::{Folded, Stored};
use super::point::{Addend, AffineAddend, Cached, Group, Points8};
use super::roots::{invert, mul2};

/// The multiples 1·P to 8·P of eight points.
type Multiples = [Cached; 8];

/// Two tables, wiped when they go: multiples of a hashed identifier are as secret as it is.
pub(super) struct Scratch(Zeroizing<Vec<Multiples>>);

impl Scratch {
    pub(super) fn new() -> Self {
        Self(Zeroizing::new(vec![[Cached::IDENTITY; 8]; 2]))
    }

    fn tables(&mut self) -> (&mut Multiples, &mut Multiples) {
        let (first, second) = self.0.split_at_mut(1);
        (&mut first[0], &mut second[0])
    }
}

/// Multiplies two groups, each lane by its scalar.
///
/// Signed windows of four bits: 252 doublings and 64 additions. All eight entries of a table are
/// read for each digit, so a secret digit shows in no address. Two groups take turns, so that the
/// units have work while results of one are waited for.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn multiply(groups: [&mut Group; 2], digits: [&Windows; 2], scratch: &mut Scratch) {
    let [first, second] = groups;
    let (table_a, table_b) = scratch.tables();
    multiples(first, table_a);
    multiples(second, table_b);
    let (mut a, mut b) = (Points8::identity(), Points8::identity());
    for n in (0..WINDOWS).rev() {
        a = quadruple_twice(&a);
        b = quadruple_twice(&b);
        let (window_a, window_b) = (&digits[0].0[n], &digits[1].0[n]);
        a = add_window(&a, table_a, window_a, n == 0);
        b = add_window(&b, table_b, window_b, n == 0);
    }
    a.store(first);
    b.store(second);
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn quadruple_twice(p: &Points8) -> Points8 {
    p.double_without_t()
        .double_without_t()
        .double_without_t()
        .double()
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn add_window(p: &Points8, table: &Multiples, window: &Window, last: bool) -> Points8 {
    let mut addend = Addend::load(&Cached::IDENTITY);
    for (entry, take) in table.iter().zip(window.take) {
        addend.take(take, entry);
    }
    // Only the last sum is read for its T: before the others comes a doubling.
    match last {
        true => p.add(&addend, window.negative),
        false => p.add_without_t(&addend, window.negative),
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn multiples(group: &Group, to: &mut Multiples) {
    let one = Points8::load(group);
    let addend = one.cached();
    let two = one.double();
    let three = two.add(&addend, 0);
    let four = two.double();
    let six = three.double();
    one.cache(&mut to[0]);
    two.cache(&mut to[1]);
    three.cache(&mut to[2]);
    four.cache(&mut to[3]);
    four.add(&addend, 0).cache(&mut to[4]);
    six.cache(&mut to[5]);
    six.add(&addend, 0).cache(&mut to[6]);
    four.double().cache(&mut to[7]);
}

/// One digit's entries of a fixed base, Z = 1: of 1 to 8 and of 9 to 16 times its power of 32, one
/// entry in each lane.
#[derive(Clone, Copy)]
struct Entries {
    minus: [Stored; 2],
    plus: [Stored; 2],
    t2d: [Stored; 2],
}

/// Multiples of one public point: j·32^i·P for j from 1 to 16, for every digit i of a scalar. 98
/// KiB, built in about 0.2 ms. A look-up permutes registers, so it leaves no trace of the digit.
pub(in crate::group) struct Table {
    point: Group,
    digits: Vec<Entries>,
}

impl Table {
    /// The table of the point in lane 0 of `group`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn new(group: &Group) -> Self {
        let mut point = *group;
        for lane in 1..8 {
            point.set_lane(lane, group, 0);
        }
        // Multiples 1 to 8 in the lanes of one group, 9 to 16 in those of the other.
        let mut multiples_of_point = [Cached::IDENTITY; 8];
        multiples(&point, &mut multiples_of_point);
        let mut low = Points8::identity();
        for (lane, entry) in multiples_of_point.iter().enumerate() {
            let sum = Points8::identity().add(&Addend::load(entry), 0);
            low = low.select(1 << lane, &sum);
        }
        let high = low.add(&Addend::load(&multiples_of_point[7]), 0);
        let mut powers = vec![[Group::IDENTITY; 2]; FIVES];
        let (mut a, mut b) = (low, high);
        for pair in &mut powers {
            a.store(&mut pair[0]);
            b.store(&mut pair[1]);
            a = quadruple_twice(&a).double();
            b = quadruple_twice(&b).double();
        }
        Self {
            point,
            digits: affine(&powers),
        }
    }

    /// The point, in all lanes.
    pub(super) fn point(&self) -> &Group {
        &self.point
    }

    /// Adds `s·P` to each point, s the scalar of its lane; subtracts it if `subtract`. All groups
    /// take one digit after the other, so a few of them are best.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn add(&self, groups: &mut [Group], scalars: &[Fives], subtract: bool) {
        let flip = if subtract { 0xff } else { 0 };
        for (n, entries) in self.digits.iter().enumerate() {
            for (group, scalars) in groups.iter_mut().zip(scalars) {
                let negative = scalars.negative[n] ^ flip;
                add_entry(group, entries, &scalars.sizes[n], negative);
            }
        }
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn add_entry(group: &mut Group, entries: &Entries, sizes: &[u8; 8], negative: u8) {
    let sizes = _mm512_cvtepu8_epi64(_mm_set_epi64x(0, i64::from_le_bytes(*sizes)));
    let zero = _mm512_testn_epi64_mask(sizes, sizes);
    // Entry 0 belongs to digit 1.
    let index = _mm512_sub_epi64(sizes, _mm512_set1_epi64(1));
    let one = Folded::constant(&[1, 0, 0, 0, 0]);
    let none = Folded::constant(&[0; 5]);
    let addend = AffineAddend {
        minus: Folded::permuted(&entries.minus, index).select(zero, &one),
        plus: Folded::permuted(&entries.plus, index).select(zero, &one),
        t2d: Folded::permuted(&entries.t2d, index).select(zero, &none),
    };
    Points8::load(group)
        .add_affine(&addend, negative)
        .store(group);
}

/// Divides by Z, with one inversion for all.
#[target_feature(enable = "avx512f,avx512ifma")]
fn affine(powers: &[[Group; 2]]) -> Vec<Entries> {
    let one = Folded::constant(&[1, 0, 0, 0, 0]);
    let mut run = [one, one];
    let mut before = Vec::with_capacity(powers.len());
    for pair in powers {
        before.push(run);
        run = mul2(&run, &z_of(pair));
    }
    let mut inverse = invert(&run);
    let mut entries = Vec::with_capacity(powers.len());
    for (pair, before) in powers.iter().zip(&before).rev() {
        let own = mul2(&inverse, before);
        inverse = mul2(&inverse, &z_of(pair));
        let mut entry = Entries {
            minus: [Stored::ZERO; 2],
            plus: [Stored::ZERO; 2],
            t2d: [Stored::ZERO; 2],
        };
        for half in 0..2 {
            let p = Points8::load(&pair[half]);
            let (x, y) = (p.x.fold().mul(&own[half]), p.y.fold().mul(&own[half]));
            let affine = Points8 {
                x,
                y,
                z: p.z,
                t: x.fold().mul(&y.fold()),
            };
            let addend = affine.cached();
            addend.minus.store(&mut entry.minus[half]);
            addend.plus.store(&mut entry.plus[half]);
            addend.t2d.store(&mut entry.t2d[half]);
        }
        entries.push(entry);
    }
    entries.reverse();
    entries
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn z_of(pair: &[Group; 2]) -> [Folded; 2] {
    [
        Points8::load(&pair[0]).z.fold(),
        Points8::load(&pair[1]).z.fold(),
    ]
}

/// Doubles all lanes.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn double(group: &mut Group) {
    Points8::load(group).double().store(group);
}
