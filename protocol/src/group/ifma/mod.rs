//! The kernel on AVX-512 IFMA: eight points at a time, in the lanes of 512-bit registers.
//!
//! ```text
//! field      GF(2^255 - 19)
//! words      its elements as little-endian words
//! roots      inverses and square roots
//! point      edwards25519: addition, doubling
//! ristretto  encodings, hashing to points (RFC 9496)
//! digits     scalars as signed digits
//! multiply   multiplication by secret scalars
//! msm        sums of multiples, of public values only
//! ```
//!
//! # `unsafe`
//!
//! A function for a CPU with certain instructions is safe to call from functions for the same. It
//! stands in `unsafe` where the kernel's methods enter it: a value of [`Ifma`] exists only where
//! [`Ifma::detect`] has found them. Elsewhere it moves registers from and to memory (`field`, `msm`),
//! and brings memory near (`msm`).

#![expect(
    unsafe_code,
    reason = "vector instructions; see above and at each block"
)]

mod digits;
mod field;
mod msm;
mod multiply;
mod point;
mod ristretto;
mod roots;
mod words;

use std::sync::LazyLock;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use self::{
    digits::{Fives, Windows},
    multiply::Scratch,
    point::{Group, first_lanes},
};
use super::{
    Base, BaseRepr, Encoding, GENERATOR_ENCODING, Kernel, Points, Repr, Scalar, foreign, hash,
    sealed,
};
use crate::sha512::{Sha512Many, forget_registers};

pub(in crate::group) use self::multiply::Table;

/// The kernel. There is one only where the CPU has the instructions.
pub(super) struct Ifma {
    sha512: Sha512Many,
}

/// A batch in groups of eight; the lanes behind the last hold the identity. The elements are the
/// points, or their doubles when `halved`, as in the reference kernel.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Batch {
    groups: Vec<Group>,
    len: usize,
    halved: bool,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn new(len: usize, halved: bool) -> Self {
        Self {
            groups: vec![Group::IDENTITY; len.div_ceil(8)],
            len,
            halved,
        }
    }

    fn points(self) -> Points {
        Points(Repr::Ifma(self))
    }

    fn copied(&self) -> Self {
        Self {
            groups: self.groups.clone(),
            ..*self
        }
    }

    /// Multiplies every point, and leaves halves of the products.
    fn multiply(&mut self, digits: &Digits<'_>) {
        let mut scratch = Scratch::new();
        // What it comes to be has the digits in its Z.
        let mut none = Zeroizing::new(Group::IDENTITY);
        for (n, pair) in self.groups.chunks_mut(2).enumerate() {
            let pair = match pair {
                [a, b] => [a, b],
                [a, ..] => [a, &mut none],
                [] => continue,
            };
            digits.multiply(2 * n, pair, &mut scratch);
        }
        self.halved = true;
    }
}

/// Groups that go through several steps together, and share one inversion when they are encoded:
/// enough to make it cheap, few enough to stay in the second cache.
const BLOCK: usize = 64;

static GENERATOR: LazyLock<Option<Base>> = LazyLock::new(|| {
    let kernel = Ifma::detect()?;
    kernel.base(&GENERATOR_ENCODING)
});

impl Ifma {
    /// The kernel, if this CPU has AVX-512 F, BW and IFMA.
    pub(super) fn detect() -> Option<&'static Self> {
        static FOUND: LazyLock<Option<Ifma>> = LazyLock::new(|| {
            let here =
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma");
            let sha512 = Sha512Many::avx512()?;
            here.then_some(Ifma { sha512 })
        });
        FOUND.as_ref()
    }
}

impl sealed::Sealed for Ifma {}

/// Calls a vector function with variables, and leaves nothing of them in its registers.
///
/// For this module alone: all its functions are reached from a value of [`Ifma`], and there is one only
/// where the CPU has the instructions.
macro_rules! enter {
    ($function:path $(, $argument:ident)*) => {{
        // SAFETY: `Ifma::detect` has found avx512f and avx512ifma, which is all that the function
        // asks of its caller.
        let result = unsafe { $function($($argument),*) };
        // SAFETY: the same.
        unsafe { forget_registers() };
        result
    }};
}

impl Kernel for Ifma {
    fn name(&self) -> &'static str {
        "ifma"
    }

    fn sha512(&self) -> Sha512Many {
        self.sha512
    }

    fn generator(&self) -> &Base {
        #[allow(clippy::expect_used)]
        GENERATOR
            .as_ref()
            .expect("a kernel that runs has its generator")
    }

    fn base(&self, encoding: &Encoding) -> Option<Base> {
        let mut valid = [false];
        let points = self.decode(&[*encoding], &mut valid);
        let group = &batch(&points).groups[0];
        let table = enter!(Table::new, group);
        valid[0].then(|| Base(BaseRepr::Ifma(Box::new(table))))
    }

    fn base_point(&self, base: &Base) -> Points {
        let mut to = Batch::new(1, false);
        to.groups[0].set_lane(0, table(base).point(), 0);
        to.points()
    }

    fn concat(&self, parts: &[&Points]) -> Points {
        let mut to = Batch::new(parts.iter().map(|part| part.len()).sum(), false);
        let mut at = 0;
        for part in parts.iter().map(|part| batch(part)) {
            for n in 0..part.len.div_ceil(8) {
                let mut copied = Zeroizing::new(part.groups[n]);
                let group = &mut *copied;
                if part.halved {
                    // Halves are only worth keeping through one encoding, so a join drops them.
                    enter!(multiply::double, group);
                }
                for lane in 0..(part.len - 8 * n).min(8) {
                    to.groups[at / 8].set_lane(at % 8, &copied, lane);
                    at += 1;
                }
            }
        }
        to.points()
    }

    fn hash_to_group(&self, dst: &[u8], inputs: &[&[u8]]) -> Points {
        self.hashed(dst, inputs).points()
    }

    fn decode(&self, encodings: &[Encoding], valid: &mut [bool]) -> Points {
        assert_eq!(encodings.len(), valid.len(), "one flag for each encoding");
        let mut to = Batch::new(encodings.len(), false);
        let generator = ristretto::words(&[GENERATOR_ENCODING; 8], 0);
        let mut none = Group::IDENTITY;
        let chunks = encodings.chunks(16).zip(valid.chunks_mut(16));
        for (pair, (encodings, valid)) in to.groups.chunks_mut(2).zip(chunks) {
            let (a, b) = match pair {
                [a, b] => (a, b),
                [a, ..] => (a, &mut none),
                [] => continue,
            };
            let (low, high) = encodings.split_at(encodings.len().min(8));
            let words = [ristretto::words(low, 0), ristretto::words(high, 0)];
            let (from, points) = ([&words[0], &words[1]], [&mut *a, &mut *b]);
            let good = enter!(ristretto::decode, from, points);
            for (n, valid) in valid.iter_mut().enumerate() {
                *valid = good[n / 8] >> (n % 8) & 1 == 1;
            }
            let wanted = [first_lanes(low.len()), first_lanes(high.len())];
            for (group, (good, wanted)) in [a, b].into_iter().zip(good.into_iter().zip(wanted)) {
                if good != 0xff {
                    repair(group, good, wanted, &generator);
                }
            }
        }
        to.points()
    }

    fn mul(&self, points: &Points, scalar: &Scalar) -> Points {
        let mut products = batch(points).copied();
        products.multiply(&Digits::shared(scalar, products.halved));
        products.points()
    }

    fn mul_each(&self, points: &Points, scalars: &[Scalar]) -> Points {
        let mut products = batch(points).copied();
        assert_eq!(products.len, scalars.len(), "one scalar for each point");
        products.multiply(&Digits::Each(scalars, products.halved));
        products.points()
    }

    fn add_base(&self, points: &mut Points, base: &Base, scalars: &[Scalar]) {
        let batch = batch_mut(points);
        assert_eq!(batch.len, scalars.len(), "one scalar for each point");
        add_multiples(&mut batch.groups, batch.halved, base, scalars, false);
    }

    fn sub_base(&self, points: &mut Points, base: &Base, scalars: &[Scalar]) {
        let batch = batch_mut(points);
        assert_eq!(batch.len, scalars.len(), "one scalar for each point");
        add_multiples(&mut batch.groups, batch.halved, base, scalars, true);
    }

    fn add_base_encode(
        &self,
        points: &mut Points,
        base: &Base,
        scalars: &[Scalar],
    ) -> Vec<Encoding> {
        add_encode(batch_mut(points), base, scalars, false)
    }

    fn sub_base_encode(
        &self,
        points: &mut Points,
        base: &Base,
        scalars: &[Scalar],
    ) -> Vec<Encoding> {
        add_encode(batch_mut(points), base, scalars, true)
    }

    fn encode(&self, points: &Points) -> Vec<Encoding> {
        let batch = batch(points);
        let mut to = Vec::with_capacity(batch.len);
        for groups in batch.groups.chunks(BLOCK) {
            let left = batch.len - to.len();
            encode_block(groups, left, batch.halved, &mut to);
        }
        to
    }

    fn msm_vartime(&self, scalars: &[Scalar], lists: &[&Points]) -> Points {
        let lists: Vec<&Batch> = lists.iter().map(|list| batch(list)).collect();
        let groups: Vec<&[Group]> = lists.iter().map(|list| &list.groups[..]).collect();
        for list in &lists {
            assert_eq!(list.len, scalars.len(), "one scalar for each point");
        }
        let mut to = Batch::new(lists.len(), false);
        let groups = groups.as_slice();
        let mut sums = enter!(msm::sums, scalars, groups);
        for (n, (sum, list)) in sums.iter_mut().zip(&lists).enumerate() {
            if list.halved {
                enter!(multiply::double, sum);
            }
            to.groups[n / 8].set_lane(n % 8, sum, 0);
        }
        to.points()
    }

    fn hash_mul_encode(&self, dst: &[u8], inputs: &[&[u8]], scalar: &Scalar) -> Vec<Encoding> {
        let digits = Digits::shared(scalar, false);
        let mut to = Vec::with_capacity(inputs.len());
        for inputs in inputs.chunks(8 * BLOCK) {
            let mut block = self.hashed(dst, inputs);
            block.multiply(&digits);
            encode_block(&block.groups, block.len, true, &mut to);
        }
        to
    }

    fn decode_mul_encode(
        &self,
        encodings: &[Encoding],
        scalar: &Scalar,
        valid: &mut [bool],
    ) -> Option<(Points, Vec<Encoding>)> {
        let points = self.decode(encodings, valid);
        if valid.contains(&false) {
            return None;
        }
        let digits = Digits::shared(scalar, false);
        let mut to = Vec::with_capacity(encodings.len());
        for groups in batch(&points).groups.chunks(BLOCK) {
            let mut block = Batch {
                groups: groups.to_vec(),
                len: (encodings.len() - to.len()).min(8 * groups.len()),
                halved: false,
            };
            block.multiply(&digits);
            encode_block(&block.groups, block.len, true, &mut to);
        }
        Some((points, to))
    }
}

impl Ifma {
    fn hashed(&self, dst: &[u8], inputs: &[&[u8]]) -> Batch {
        let mut to = Batch::new(inputs.len(), false);
        let mut groups = to.groups.iter_mut();
        // The words of both halves of eight strings, lane by lane as they come.
        let mut halves = Zeroizing::new([[[0u64; 8]; 4]; 2]);
        let mut lane = 0;
        let mut left = inputs.len();
        hash::expand_each(
            self.sha512,
            dst,
            inputs,
            |input, message| message.push(input),
            |uniform| {
                let words = halves.as_flattened_mut().iter_mut();
                for (word, bytes) in words.zip(uniform.as_chunks().0) {
                    word[lane] = u64::from_le_bytes(*bytes);
                }
                lane += 1;
                left -= 1;
                if (lane == 8 || left == 0)
                    && let Some(group) = groups.next()
                {
                    let halves = &*halves;
                    enter!(ristretto::from_uniform, halves, group);
                    clear_lanes(group, lane);
                    lane = 0;
                }
            },
        );
        to
    }
}

/// Encodes the points of a block, the first `left` at most.
fn encode_block(groups: &[Group], left: usize, halved: bool, to: &mut Vec<Encoding>) {
    let len = left.min(8 * groups.len());
    match halved {
        true => enter!(ristretto::encode_doubles, groups, len, to),
        false => enter!(ristretto::encode, groups, len, to),
    }
}

/// Puts the identity into the lanes from `len` on.
fn clear_lanes(group: &mut Group, len: usize) {
    for lane in len..8 {
        group.set_lane(lane, &Group::IDENTITY, lane);
    }
}

/// Puts the generator into the wanted lanes that are not good, the identity into those that nobody
/// wants.
fn repair(group: &mut Group, good: u8, wanted: u8, generator: &[[u64; 8]; 4]) {
    let (mut filler, mut other) = (Group::IDENTITY, Group::IDENTITY);
    let (from, points) = ([generator, generator], [&mut filler, &mut other]);
    enter!(ristretto::decode, from, points);
    for lane in 0..8 {
        match (wanted >> lane & 1, good >> lane & 1) {
            (0, _) => group.set_lane(lane, &Group::IDENTITY, lane),
            (_, 0) => group.set_lane(lane, &filler, lane),
            _ => {}
        }
    }
}

/// The scalars of a multiplication, recoded when they are needed: the digits take more room than
/// the scalars.
enum Digits<'a> {
    /// One for all points.
    Shared(Box<Zeroizing<Windows>>),
    /// One for each point, of a batch that is halved or not.
    Each(&'a [Scalar], bool),
}

impl Digits<'_> {
    /// The halves of k·P are (k/2)·P; the halves of k·2Q are k·Q = (k/2)·2Q.
    fn shared(scalar: &Scalar, halved: bool) -> Self {
        let mut windows = Box::new(Zeroizing::new(Windows::ZERO));
        match halved {
            true => windows.fill_shared(scalar),
            false => windows.fill_shared(&scalar.half()),
        }
        Self::Shared(windows)
    }

    /// Multiplies a pair of groups, the first of them the `n`th of its batch.
    fn multiply(&self, n: usize, pair: [&mut Group; 2], scratch: &mut Scratch) {
        match self {
            Self::Shared(windows) => {
                let digits: [&Windows; 2] = [windows, windows];
                enter!(multiply::multiply, pair, digits, scratch);
            }
            Self::Each(scalars, halved) => {
                let mut windows = Zeroizing::new([Windows::ZERO; 2]);
                let scalars = scalars.chunks(8).skip(n);
                for (windows, scalars) in windows.iter_mut().zip(scalars) {
                    match halved {
                        true => windows.fill_each(scalars),
                        false => windows.fill_each(&halves(scalars)),
                    }
                }
                let digits = windows.each_ref();
                enter!(multiply::multiply, pair, digits, scratch);
            }
        }
    }
}

fn halves(scalars: &[Scalar]) -> Vec<Scalar> {
    scalars.iter().map(Scalar::half).collect()
}

/// Adds multiples of a base to the points of some groups, or subtracts them.
fn add_multiples(
    groups: &mut [Group],
    halved: bool,
    base: &Base,
    scalars: &[Scalar],
    subtract: bool,
) {
    // Few enough to stay in the first cache with one digit's entries.
    const GROUPS: usize = 8;
    for (groups, scalars) in groups.chunks_mut(GROUPS).zip(scalars.chunks(8 * GROUPS)) {
        let mut digits = Zeroizing::new(vec![Fives::ZERO; scalars.len().div_ceil(8)]);
        for (digits, scalars) in digits.iter_mut().zip(scalars.chunks(8)) {
            match halved {
                true => digits.fill_each(&halves(scalars)),
                false => digits.fill_each(scalars),
            }
        }
        let (table, digits) = (table(base), digits.as_slice());
        enter!(Table::add, table, groups, digits, subtract);
    }
}

/// [`add_multiples`], and encodes, block by block.
fn add_encode(batch: &mut Batch, base: &Base, scalars: &[Scalar], subtract: bool) -> Vec<Encoding> {
    assert_eq!(batch.len, scalars.len(), "one scalar for each point");
    let mut to = Vec::with_capacity(batch.len);
    let blocks = batch.groups.chunks_mut(BLOCK);
    for (groups, scalars) in blocks.zip(scalars.chunks(8 * BLOCK)) {
        add_multiples(groups, batch.halved, base, scalars, subtract);
        encode_block(groups, scalars.len(), batch.halved, &mut to);
    }
    to
}

fn batch(points: &Points) -> &Batch {
    match &points.0 {
        Repr::Ifma(batch) => batch,
        _ => foreign(),
    }
}

fn batch_mut(points: &mut Points) -> &mut Batch {
    match &mut points.0 {
        Repr::Ifma(batch) => batch,
        _ => foreign(),
    }
}

fn table(base: &Base) -> &Table {
    match &base.0 {
        BaseRepr::Ifma(table) => table,
        _ => foreign(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
