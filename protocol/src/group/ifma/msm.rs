//! Sums of multiples, Σ s_i·P_i, by buckets (Pippenger). **Variable time: for public scalars and
//! points only.**
//!
//! A scalar is cut into windows of c bits with digits from -2^(c-1) to 2^(c-1) - 1. For each window
//! the points are put in order of their digits' sizes, and those of one size summed: that is a
//! bucket. The eight lanes each take a part of this order, as long as the others' parts whatever the
//! digits are, and fetch their own points. A lane that comes to the end of a bucket
//! puts its sum down and goes on from the identity. Where a bucket is cut in two by the end of a
//! part, the later lane keeps its sum apart, and it is added afterwards.
//!
//! Buckets are then weighted by their size with running sums, eight ranges of sizes side by side,
//! and the windows are joined by doubling, the lanes still apart. Only the last step adds lanes up.
//! One order serves several lists of points under the same scalars.

use core::arch::x86_64::*;

use super::digits::Windows;
use super::field::{Folded, Lanes, load, splat};
use super::multiply::{Scratch, multiply};
use super::point::{AffineAddend, Cached, Group, Points8};
use super::roots::{invert, mul2};
use crate::group::Scalar;

/// Y - X, Y + X, 2dT of one point with Z = 1, in two cache lines.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
struct Row([u64; 16]);

/// The identity.
const NO_POINT: Row = Row([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/// Set in an entry of the order where the digit is negative.
const NEGATIVE: u32 = 1 << 31;

/// Bits of a window and number of windows for `n` points: the fewest additions, with a bucket
/// counted as two.
fn windows(n: usize) -> (usize, usize) {
    let cost = |bits: usize| SCALAR_BITS.div_ceil(bits) * (n + (2 << bits));
    let bits = (4..=13).min_by_key(|bits| cost(*bits)).unwrap_or(4);
    (bits, SCALAR_BITS.div_ceil(bits))
}

/// Bits that windows have to cover: a scalar is below 2^253, and the last digit must not carry.
const SCALAR_BITS: usize = 254;

/// Scalars whose digits can be read off without carries: each digit has half of its range added.
struct Digits {
    shifted: Vec<[u64; 5]>,
    bits: usize,
    windows: usize,
}

impl Digits {
    fn new(scalars: &[Scalar]) -> Self {
        let (bits, windows) = windows(scalars.len());
        let mut bias = [0u64; 5];
        for window in 0..windows {
            let at = window * bits + bits - 1;
            bias[at / 64] |= 1 << (at % 64);
        }
        let shifted = |scalar: &Scalar| {
            let mut sum = bias;
            let mut carry = false;
            let bytes = scalar.to_bytes();
            for (word, bytes) in sum.iter_mut().zip(bytes.chunks_exact(8)) {
                let add = bytes
                    .iter()
                    .rev()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte));
                (*word, carry) = word.carrying_add(add, carry);
            }
            sum[4] += u64::from(carry);
            sum
        };
        Self {
            shifted: scalars.iter().map(shifted).collect(),
            bits,
            windows,
        }
    }

    /// The digits of one window.
    fn window(&self, window: usize) -> impl Iterator<Item = i32> {
        let (word, shift) = (window * self.bits / 64, window * self.bits % 64);
        let half = 1i32 << (self.bits - 1);
        self.shifted.iter().map(move |words| {
            // A shift by 64 is one by 1 and one by 63.
            let high = words.get(word + 1).copied().unwrap_or(0) << 1 << (63 - shift);
            ((words[word] >> shift | high) as i32 & (2 * half - 1)) - half
        })
    }
}

/// The points of one window in the order of their digits' sizes.
struct Order {
    digits: Vec<i16>,
    /// Index of a point, and [`NEGATIVE`].
    entries: Vec<u32>,
    /// Where each size begins; sizes from 1 on, and the end.
    starts: Vec<u32>,
}

impl Order {
    fn new(digits: &Digits) -> Self {
        let sizes = 1 << (digits.bits - 1);
        Self {
            digits: vec![0; digits.shifted.len()],
            entries: vec![0; digits.shifted.len()],
            starts: vec![0; sizes + 2],
        }
    }

    /// A counting sort.
    fn sort(&mut self, digits: &Digits, window: usize) {
        self.starts.fill(0);
        for (to, digit) in self.digits.iter_mut().zip(digits.window(window)) {
            // At most 13 bits.
            *to = digit as i16;
            self.starts[digit.unsigned_abs() as usize] += 1;
        }
        // Size 0 is left out.
        self.starts[0] = 0;
        let mut sum = 0;
        for start in &mut self.starts {
            sum += std::mem::replace(start, sum);
        }
        let mut next = self.starts.clone();
        for (index, digit) in self
            .digits
            .iter()
            .enumerate()
            .filter(|(_, digit)| **digit != 0)
        {
            let at = &mut next[usize::from(digit.unsigned_abs())];
            self.entries[*at as usize] = index as u32 | (*digit as u32 & NEGATIVE);
            *at += 1;
        }
    }

    /// Entries of sizes above zero.
    fn len(&self) -> usize {
        self.starts.last().map_or(0, |end| *end as usize)
    }
}

/// The sums of one window's buckets. Bucket of size s: lane `(s - 1) / range`, group
/// `(s - 1) % range`.
struct Buckets {
    groups: Vec<Group>,
}

impl Buckets {
    fn put(&mut self, size: usize, sums: &Group, lane: usize) {
        let range = self.groups.len();
        self.groups[(size - 1) % range].set_lane((size - 1) / range, sums, lane);
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(&mut self, size: usize, sums: &Group, lane: usize) {
        let range = self.groups.len();
        let mut addend = Group::IDENTITY;
        addend.set_lane((size - 1) / range, sums, lane);
        let group = &mut self.groups[(size - 1) % range];
        let sum = Points8::load(group).add(&Points8::load(&addend).cached(), 0);
        sum.store(group);
    }
}

/// Up to here every point is multiplied by itself: buckets cost more.
const FEW: usize = 48;

/// Σ s_i·P_i for each list of as many points as there are scalars, in lane 0 of a group.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn sums(scalars: &[Scalar], lists: &[&[Group]]) -> Vec<Group> {
    match scalars.len() {
        0..=FEW => lists.iter().map(|list| few(scalars, list)).collect(),
        _ => by_buckets(scalars, lists),
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn few(scalars: &[Scalar], list: &[Group]) -> Group {
    let mut scratch = Scratch::new();
    let mut sum = Points8::identity();
    let mut none = Group::IDENTITY;
    for (groups, scalars) in list.chunks(2).zip(scalars.chunks(16)) {
        let mut products = [groups[0], *groups.last().unwrap_or(&none)];
        let (low, high) = scalars.split_at(scalars.len().min(8));
        let windows = [Windows::each(low), Windows::each(high)];
        let [a, b] = &mut products;
        multiply([a, b], [&windows[0], &windows[1]], &mut scratch);
        for product in &products {
            sum = sum.add(&Points8::load(product).cached(), 0);
        }
    }
    sum.store(&mut none);
    join(&none, &Group::IDENTITY, 1)
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn by_buckets(scalars: &[Scalar], lists: &[&[Group]]) -> Vec<Group> {
    let digits = Digits::new(scalars);
    let mut order = Order::new(&digits);
    let rows: Vec<Vec<Row>> = lists
        .iter()
        .map(|list| affine(list, scalars.len()))
        .collect();
    let range = 1 << (digits.bits - 1 - 3);
    let mut buckets = Buckets {
        groups: vec![Group::IDENTITY; range],
    };
    // For each list the sums by weight within a range of sizes, and the plain sums, which count
    // once more for each size below the range.
    let mut totals = vec![[Group::IDENTITY; 2]; lists.len()];
    for window in (0..digits.windows).rev() {
        order.sort(&digits, window);
        for (rows, total) in rows.iter().zip(&mut totals) {
            buckets.groups.fill(Group::IDENTITY);
            fill(&order, rows, &mut buckets);
            let [weighted, plain] = weigh(&buckets);
            let [mut a, mut b] = [Points8::load(&total[0]), Points8::load(&total[1])];
            for _ in 1..digits.bits {
                (a, b) = (a.double_without_t(), b.double_without_t());
            }
            a = a.double().add(&weighted.cached(), 0);
            b = b.double().add(&plain.cached(), 0);
            a.store(&mut total[0]);
            b.store(&mut total[1]);
        }
    }
    totals
        .iter()
        .map(|[weighted, plain]| join(weighted, plain, range))
        .collect()
}

/// Sums the points of each size.
#[target_feature(enable = "avx512f,avx512ifma")]
fn fill(order: &Order, rows: &[Row], buckets: &mut Buckets) {
    let total = order.len();
    let part = total.div_ceil(8);
    if total == 0 {
        return;
    }
    // For each lane: its size, the step after the last entry of that size, whether that is the
    // size that an earlier lane may have begun.
    let mut sizes = [0usize; 8];
    let mut ends = [0u64; 8];
    let mut first = [true; 8];
    let mut heads: Vec<(usize, Group, usize)> = Vec::new();
    for (lane, (size, end)) in sizes.iter_mut().zip(&mut ends).enumerate() {
        let at = (lane * part) as u32;
        // The last size that begins at `at` or before.
        *size = order.starts.partition_point(|start| *start <= at) - 1;
        *end = step_of(order, *size, lane, part);
    }
    let mut sum = Points8::identity();
    let mut next = fetch(order, rows, 0, part);
    let mut memory = Group::IDENTITY;
    for step in 0..part {
        let ended = _mm512_cmpeq_epi64_mask(load(&ends), splat(step as u64));
        if ended != 0 {
            sum.store(&mut memory);
            for lane in (0..8).filter(|lane| ended >> lane & 1 == 1) {
                if std::mem::replace(&mut first[lane], false) {
                    heads.push((sizes[lane], memory, lane));
                } else {
                    buckets.put(sizes[lane], &memory, lane);
                }
                // To the next size that has entries.
                let at = (lane * part + step) as u32;
                while order.starts[sizes[lane] + 1] <= at && sizes[lane] + 2 < order.starts.len() {
                    sizes[lane] += 1;
                }
                ends[lane] = step_of(order, sizes[lane], lane, part);
            }
            sum = sum.select(ended, &Points8::identity());
        }
        let (found, negative) = next;
        // Asked for one step ahead: rows lie anywhere in the second cache, and an addition is too
        // long for the processor to look beyond it.
        next = fetch(order, rows, step + 1, part);
        sum = sum.add_affine(&transposed(&found), negative);
    }
    sum.store(&mut memory);
    let busy = sizes.iter().enumerate().take(total.div_ceil(part));
    heads.extend(busy.map(|(lane, size)| (*size, memory, lane)));
    for (size, sums, lane) in heads {
        buckets.add(size, &sums, lane);
    }
}

/// The step of a lane at which a size has ended; beyond the last step if it does not.
fn step_of(order: &Order, size: usize, lane: usize, part: usize) -> u64 {
    match order.starts.get(size + 1) {
        Some(end) if (*end as usize) < order.len() => (*end as usize - lane * part) as u64,
        _ => u64::MAX,
    }
}

/// The rows of a step, and which are to be subtracted. The rows are brought near.
#[inline]
fn fetch<'a>(order: &Order, rows: &'a [Row], step: usize, part: usize) -> ([&'a Row; 8], u8) {
    let total = order.len();
    let nobody = rows.len() - 1;
    let (mut found, mut negative) = ([&rows[nobody]; 8], 0);
    for (lane, found) in found.iter_mut().enumerate() {
        let at = lane * part + step;
        if at < total {
            let entry = order.entries[at];
            *found = &rows[(entry & !NEGATIVE) as usize];
            negative |= ((entry >> 31) as u8) << lane;
        }
        // SAFETY: a prefetch reads nothing that the program would see, and the pointers are those
        // of references.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>((&raw const found.0[0]).cast());
            _mm_prefetch::<_MM_HINT_T0>((&raw const found.0[8]).cast());
        }
    }
    (found, negative)
}

/// Eight rows as lanes. A gather would take twice as long as this.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: &[&Row; 8]) -> AffineAddend {
    let [m0, m1, m2, m3] = transposed_quad(rows, 0);
    let [m4, p0, p1, p2] = transposed_quad(rows, 4);
    let [p3, p4, t0, t1] = transposed_quad(rows, 8);
    let [t2, t3, t4, _] = transposed_quad(rows, 12);
    AffineAddend {
        minus: Folded::of([m0, m1, m2, m3, m4]),
        plus: Folded::of([p0, p1, p2, p3, p4]),
        t2d: Folded::of([t0, t1, t2, t3, t4]),
    }
}

/// Four words of eight rows, beginning at word `at`, word by word.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed_quad(rows: &[&Row; 8], at: usize) -> [Lanes; 4] {
    // A row in the lower half, the row four further on in the upper.
    let pair = |n: usize| {
        let (low, high) = (&rows[n].0[at..at + 4], &rows[n + 4].0[at..at + 4]);
        // SAFETY: both pointers are those of slices of 32 bytes; the loads ask for no alignment.
        let (low, high) = unsafe {
            (
                _mm256_loadu_si256(low.as_ptr().cast()),
                _mm256_loadu_si256(high.as_ptr().cast()),
            )
        };
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    };
    let (a, b, c, d) = (pair(0), pair(1), pair(2), pair(3));
    // Words 0 and 2 of two rows, words 1 and 3 of them.
    let (ab02, ab13) = (_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    let (cd02, cd13) = (_mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d));
    let first = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    let second = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    [
        _mm512_permutex2var_epi64(ab02, first, cd02),
        _mm512_permutex2var_epi64(ab13, first, cd13),
        _mm512_permutex2var_epi64(ab02, second, cd02),
        _mm512_permutex2var_epi64(ab13, second, cd13),
    ]
}

/// For each lane's range of buckets: the sum weighted from 1 up, and the plain sum.
#[target_feature(enable = "avx512f,avx512ifma")]
fn weigh(buckets: &Buckets) -> [Points8; 2] {
    let (mut weighted, mut plain) = (Points8::identity(), Points8::identity());
    for group in buckets.groups.iter().rev() {
        plain = plain.add(&Points8::load(group).cached(), 0);
        weighted = weighted.add(&plain.cached(), 0);
    }
    [weighted, plain]
}

/// Adds lanes up: Σ weighted_l + range·Σ l·plain_l.
#[target_feature(enable = "avx512f,avx512ifma")]
fn join(weighted: &Group, plain: &Group, range: usize) -> Group {
    let lane = |group: &Group, lane: usize| {
        let mut alone = Group::IDENTITY;
        alone.set_lane(0, group, lane);
        alone
    };
    let (mut run, mut lanes, mut sum) = (
        Points8::identity(),
        Points8::identity(),
        Points8::identity(),
    );
    for n in (0..8).rev() {
        sum = sum.add(&Points8::load(&lane(weighted, n)).cached(), 0);
        if n > 0 {
            run = run.add(&Points8::load(&lane(plain, n)).cached(), 0);
            lanes = lanes.add(&run.cached(), 0);
        }
    }
    for _ in 0..range.trailing_zeros() {
        lanes = lanes.double();
    }
    let mut to = Group::IDENTITY;
    sum.add(&lanes.cached(), 0).store(&mut to);
    to
}

/// Divides by Z, with one inversion for all, and turns lanes into rows; the identity comes last.
#[target_feature(enable = "avx512f,avx512ifma")]
fn affine(groups: &[Group], len: usize) -> Vec<Row> {
    let one = Folded::constant(&[1, 0, 0, 0, 0]);
    let z = |pair: &[Group]| {
        let (first, last) = (&pair[0], pair.last().unwrap_or(&pair[0]));
        [Points8::load(first).z.fold(), Points8::load(last).z.fold()]
    };
    let mut run = [one, one];
    let mut before = Vec::with_capacity(groups.len().div_ceil(2));
    for pair in groups.chunks(2) {
        before.push(run);
        run = mul2(&run, &z(pair));
    }
    let mut inverse = invert(&run);
    let mut rows = vec![NO_POINT; len + 1];
    for (n, (pair, before)) in groups.chunks(2).zip(&before).enumerate().rev() {
        let own = mul2(&inverse, before);
        inverse = mul2(&inverse, &z(pair));
        for (half, group) in pair.iter().enumerate() {
            let p = Points8::load(group);
            let (x, y) = (p.x.fold().mul(&own[half]), p.y.fold().mul(&own[half]));
            let t = x.fold().mul(&y.fold());
            let mut memory = Cached::IDENTITY;
            Points8 { x, y, z: p.z, t }.cache(&mut memory);
            for lane in 0..8 {
                if let Some(row) = rows[..len].get_mut(16 * n + 8 * half + lane) {
                    let limbs = [&memory.minus, &memory.plus, &memory.t2d];
                    let limbs = limbs.iter().flat_map(|part| &part.0);
                    for (to, limb) in row.0.iter_mut().zip(limbs) {
                        *to = limb[lane];
                    }
                }
            }
        }
    }
    rows
}
