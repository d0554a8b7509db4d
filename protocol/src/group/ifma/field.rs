//! Eight elements of GF(2^255 - 19) side by side.
//!
//! One register holds one limb of eight different elements; an element is five limbs in
//! radix 2^52. `vpmadd52` multiplies the low 52 bits of each lane and adds the low or
//! the high half of the product to an accumulator. In radix 2^52 both halves fall into
//! whole columns: limb `i` times limb `j` adds to the columns `i + j` and `i + j + 1`.
//!
//! # Bounds
//!
//! Two types keep them honest:
//!
//! * [`Raw`]: what products give, and sums and differences of those. All 64 bits count,
//!   limbs are never negative and stay below 2^59.
//! * [`Folded`]: what products take. Limbs count up to bit 51, and whatever stands above
//!   is junk that a product ignores: so a carry needs no mask. The value that counts is
//!   below 2^255 + 2^215, the top limb at most 2^47 + 2^7. Nothing is ever added to it.
//!
//! # Timing
//!
//! No branch and no address depends on a value.

use core::arch::x86_64::*;

use zeroize::Zeroize;

/// One limb of eight elements.
pub(super) type Lanes = __m512i;

/// A set of lanes: bit `i` stands for lane `i`.
pub(super) type Mask = __mmask8;

/// Limbs of one element, radix 2^52, least first.
pub(super) type Limbs = [u64; 5];

/// Eight elements in memory: limb by limb, lane by lane.
#[derive(Clone, Copy, Zeroize)]
#[repr(C, align(64))]
pub(super) struct Stored(pub(super) [[u64; 8]; 5]);

const MASK: i64 = (1 << 52) - 1;
/// The top limb has 47 bits of the 255.
const TOP: i64 = (1 << 47) - 1;

/// 1024·p with limbs of about 2^57 each: what is added before a subtraction, so that no
/// limb goes below zero. `1024·p = 2^265 - 19456`; each limb lends 32 units to the one
/// below it, which sees them as 2^57.
const BIAS: [i64; 5] = [
    (1 << 57) - 19_456,
    (1 << 57) - 32,
    (1 << 57) - 32,
    (1 << 57) - 32,
    (1 << 57) - 32,
];

/// Sums and differences of products; see the bounds above.
#[derive(Clone, Copy)]
pub(super) struct Raw(pub(super) [Lanes; 5]);

/// A product on top of [`BIAS`]: something can be taken from it as it stands.
#[derive(Clone, Copy)]
pub(super) struct Minuend([Lanes; 5]);

/// What products take; see the bounds above.
#[derive(Clone, Copy)]
pub(super) struct Folded([Lanes; 5]);

/// Fully reduced: the one representative below p, clean limbs.
#[derive(Clone, Copy)]
pub(super) struct Canonical(pub(super) [Lanes; 5]);

impl Stored {
    pub(super) const ZERO: Self = Self([[0; 8]; 5]);

    /// The same element in all lanes.
    pub(super) const fn splat(limbs: Limbs) -> Self {
        Self([
            [limbs[0]; 8],
            [limbs[1]; 8],
            [limbs[2]; 8],
            [limbs[3]; 8],
            [limbs[4]; 8],
        ])
    }
}

/// Eight numbers as a register.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(from: &[u64; 8]) -> Lanes {
    // SAFETY: the pointer is that of a reference to 64 bytes; the load asks for no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// A register as eight numbers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(to: &mut [u64; 8], lanes: Lanes) {
    // SAFETY: the pointer is that of a unique reference to 64 bytes; the store asks for no
    // alignment.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), lanes) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn splat(value: u64) -> Lanes {
    _mm512_set1_epi64(value as i64)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(a: Lanes, b: Lanes) -> Lanes {
    _mm512_add_epi64(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn low(sum: Lanes, a: Lanes, b: Lanes) -> Lanes {
    _mm512_madd52lo_epu64(sum, a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn high(sum: Lanes, a: Lanes, b: Lanes) -> Lanes {
    _mm512_madd52hi_epu64(sum, a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn carry(a: Lanes) -> Lanes {
    _mm512_srli_epi64::<52>(a)
}

impl Folded {
    /// A constant in all lanes: five clean limbs below p.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn constant(limbs: &Limbs) -> Self {
        Self([
            splat(limbs[0]),
            splat(limbs[1]),
            splat(limbs[2]),
            splat(limbs[3]),
            splat(limbs[4]),
        ])
    }

    /// Limbs that another [`Folded`] gave.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn of(limbs: [Lanes; 5]) -> Self {
        Self(limbs)
    }

    /// What [`store`](Self::store) wrote.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn load(from: &Stored) -> Self {
        let limbs = &from.0;
        Self([
            load(&limbs[0]),
            load(&limbs[1]),
            load(&limbs[2]),
            load(&limbs[3]),
            load(&limbs[4]),
        ])
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn store(&self, to: &mut Stored) {
        for (to, limb) in to.0.iter_mut().zip(self.0) {
            store(to, limb);
        }
    }

    /// Takes the lanes of `mask` from memory.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn take(&mut self, mask: Mask, from: &Stored) {
        for (limb, from) in self.0.iter_mut().zip(&from.0) {
            *limb = _mm512_mask_mov_epi64(*limb, mask, load(from));
        }
    }

    /// For each lane the entry of its index (0 to 15): `table` has the limbs of entries 0 to 7
    /// and of 8 to 15. Registers only, so an index leaves no trace in time.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn permuted(table: &[Stored; 2], index: Lanes) -> Self {
        let [low, high] = [&table[0].0, &table[1].0];
        Self([
            _mm512_permutex2var_epi64(load(&low[0]), index, load(&high[0])),
            _mm512_permutex2var_epi64(load(&low[1]), index, load(&high[1])),
            _mm512_permutex2var_epi64(load(&low[2]), index, load(&high[2])),
            _mm512_permutex2var_epi64(load(&low[3]), index, load(&high[3])),
            _mm512_permutex2var_epi64(load(&low[4]), index, load(&high[4])),
        ])
    }

    /// `self` in the lanes outside `mask`, `other` in those of it.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn select(&self, mask: Mask, other: &Self) -> Self {
        Self(select(&self.0, mask, &other.0))
    }

    /// `self · other`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul(&self, other: &Self) -> Raw {
        Raw(self.product(other, [_mm512_setzero_si512(); 5]))
    }

    /// As [`mul`](Self::mul), as a minuend: the bias costs nothing where the sums begin.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_minuend(&self, other: &Self) -> Minuend {
        Minuend(self.product(other, bias()))
    }

    /// `self · other + start`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn product(&self, other: &Self, start: [Lanes; 5]) -> [Lanes; 5] {
        let ([a0, a1, a2, a3, a4], [b0, b1, b2, b3, b4]) = (self.0, other.0);
        let zero = _mm512_setzero_si512();

        let c0 = low(start[0], a0, b0);
        let mut c1 = high(start[1], a0, b0);
        let mut c2 = high(start[2], a0, b1);
        let mut c3 = high(start[3], a0, b2);
        let mut c4 = high(start[4], a0, b3);
        let mut c5 = high(zero, a0, b4);
        let mut c6 = high(zero, a1, b4);
        let mut c7 = high(zero, a2, b4);
        let mut c8 = high(zero, a3, b4);
        let c9 = high(zero, a4, b4);

        c1 = low(c1, a0, b1);
        c2 = low(c2, a0, b2);
        c3 = low(c3, a0, b3);
        c4 = low(c4, a0, b4);
        c5 = low(c5, a1, b4);
        c6 = low(c6, a2, b4);
        c7 = low(c7, a3, b4);
        c8 = low(c8, a4, b4);

        c1 = low(c1, a1, b0);
        c2 = high(c2, a1, b0);
        c3 = high(c3, a1, b1);
        c4 = high(c4, a1, b2);
        c5 = high(c5, a1, b3);
        c6 = high(c6, a2, b3);
        c7 = high(c7, a3, b3);
        c8 = high(c8, a4, b3);

        c2 = low(c2, a1, b1);
        c3 = low(c3, a1, b2);
        c4 = low(c4, a1, b3);
        c5 = low(c5, a2, b3);
        c6 = low(c6, a3, b3);
        c7 = low(c7, a4, b3);

        c2 = low(c2, a2, b0);
        c3 = high(c3, a2, b0);
        c4 = high(c4, a2, b1);
        c5 = high(c5, a2, b2);
        c6 = high(c6, a3, b2);
        c7 = high(c7, a4, b2);

        c3 = low(c3, a2, b1);
        c4 = low(c4, a2, b2);
        c5 = low(c5, a3, b2);
        c6 = low(c6, a4, b2);

        c3 = low(c3, a3, b0);
        c4 = high(c4, a3, b0);
        c5 = high(c5, a3, b1);
        c6 = high(c6, a4, b1);

        c4 = low(c4, a3, b1);
        c5 = low(c5, a4, b1);
        c4 = low(c4, a4, b0);
        c5 = high(c5, a4, b0);

        reduce([c0, c1, c2, c3, c4], [c5, c6, c7, c8, c9])
    }

    /// `self²`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn square(&self) -> Raw {
        Raw(self.squared([_mm512_setzero_si512(); 5]))
    }

    /// As [`square`](Self::square), as a minuend.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn square_minuend(&self) -> Minuend {
        let [b0, b1, b2, b3, b4] = BIAS;
        let halves = [b0, b1 / 2, b2 / 2, b3 / 2, b4 / 2];
        Minuend(self.squared(halves.map(|limb| _mm512_set1_epi64(limb))))
    }

    /// `self² + start`, where all limbs of `start` but the first count twice.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn squared(&self, start: [Lanes; 5]) -> [Lanes; 5] {
        let [a0, a1, a2, a3, a4] = self.0;
        let zero = _mm512_setzero_si512();

        // Products of two different limbs, once each.
        let mut c1 = low(start[1], a0, a1);
        let mut c2 = high(start[2], a0, a1);
        let mut c3 = high(start[3], a0, a2);
        let mut c4 = high(start[4], a0, a3);
        let mut c5 = high(zero, a0, a4);
        let mut c6 = high(zero, a1, a4);
        let mut c7 = high(zero, a2, a4);
        let mut c8 = high(zero, a3, a4);

        c2 = low(c2, a0, a2);
        c3 = low(c3, a0, a3);
        c4 = low(c4, a0, a4);
        c5 = low(c5, a1, a4);
        c6 = low(c6, a2, a4);
        c7 = low(c7, a3, a4);

        c3 = low(c3, a1, a2);
        c4 = high(c4, a1, a2);
        c5 = high(c5, a1, a3);
        c6 = high(c6, a2, a3);

        c4 = low(c4, a1, a3);
        c5 = low(c5, a2, a3);

        // Twice these, and the squares.
        c1 = add(c1, c1);
        c2 = add(c2, c2);
        c3 = add(c3, c3);
        c4 = add(c4, c4);
        c5 = add(c5, c5);
        c6 = add(c6, c6);
        c7 = add(c7, c7);
        c8 = add(c8, c8);

        let c0 = low(start[0], a0, a0);
        let c9 = high(zero, a4, a4);
        c1 = high(c1, a0, a0);
        c2 = low(c2, a1, a1);
        c3 = high(c3, a1, a1);
        c4 = low(c4, a2, a2);
        c5 = high(c5, a2, a2);
        c6 = low(c6, a3, a3);
        c7 = high(c7, a3, a3);
        c8 = low(c8, a4, a4);

        reduce([c0, c1, c2, c3, c4], [c5, c6, c7, c8, c9])
    }

    /// All lanes as they count, without junk: for tests and for memory that is read again as
    /// [`Raw`].
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn clean(&self) -> Raw {
        let mask = _mm512_set1_epi64(MASK);
        let [a0, a1, a2, a3, a4] = self.0;
        Raw([
            _mm512_and_si512(a0, mask),
            _mm512_and_si512(a1, mask),
            _mm512_and_si512(a2, mask),
            _mm512_and_si512(a3, mask),
            a4,
        ])
    }
}

/// Folds the upper five columns of a product, which weigh 2^260 = 608 (mod p), into the lower.
///
/// Columns are below 10·2^52. The carries go up through the upper columns first, because a
/// product would ignore their bits from 52 up. The last column is below 2^42 and a little (the top
/// limbs of both factors have 47 bits and a little), so that 608 times it has no high half.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn reduce(lower: [Lanes; 5], upper: [Lanes; 5]) -> [Lanes; 5] {
    let ([c0, c1, c2, c3, c4], [c5, c6, c7, c8, c9]) = (lower, upper);
    let weight = _mm512_set1_epi64(608);
    let c6 = add(c6, carry(c5));
    let c7 = add(c7, carry(c6));
    let c8 = add(c8, carry(c7));
    let c9 = add(c9, carry(c8));
    [
        low(c0, c5, weight),
        high(low(c1, c6, weight), c5, weight),
        high(low(c2, c7, weight), c6, weight),
        high(low(c3, c8, weight), c7, weight),
        high(low(c4, c9, weight), c8, weight),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn bias() -> [Lanes; 5] {
    let [b0, b1, b2, b3, b4] = BIAS;
    [
        _mm512_set1_epi64(b0),
        _mm512_set1_epi64(b1),
        _mm512_set1_epi64(b2),
        _mm512_set1_epi64(b3),
        _mm512_set1_epi64(b4),
    ]
}

impl Minuend {
    /// `self - other`. The subtrahend is what [`Raw::sub`] takes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn sub(&self, other: &Raw) -> Raw {
        let (a, b) = (&self.0, &other.0);
        Raw([
            _mm512_sub_epi64(a[0], b[0]),
            _mm512_sub_epi64(a[1], b[1]),
            _mm512_sub_epi64(a[2], b[2]),
            _mm512_sub_epi64(a[3], b[3]),
            _mm512_sub_epi64(a[4], b[4]),
        ])
    }

    /// The same number, which may not be subtracted any more.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn raw(&self) -> Raw {
        Raw(self.0)
    }

    /// `2·self + other - minuend`: twice a bias is enough to take one away.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn twice_add_sub(&self, other: &Raw, minuend: &Self) -> Raw {
        let sum = self.raw().add(&self.raw()).add(other);
        Self(sum.0).sub(&minuend.raw())
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn select(a: &[Lanes; 5], mask: Mask, b: &[Lanes; 5]) -> [Lanes; 5] {
    [
        _mm512_mask_mov_epi64(a[0], mask, b[0]),
        _mm512_mask_mov_epi64(a[1], mask, b[1]),
        _mm512_mask_mov_epi64(a[2], mask, b[2]),
        _mm512_mask_mov_epi64(a[3], mask, b[3]),
        _mm512_mask_mov_epi64(a[4], mask, b[4]),
    ]
}

impl Raw {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn zero() -> Self {
        Self([_mm512_setzero_si512(); 5])
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn one() -> Self {
        let zero = _mm512_setzero_si512();
        Self([splat(1), zero, zero, zero, zero])
    }

    /// What [`store`](Self::store) wrote.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn load(from: &Stored) -> Self {
        Self(Folded::load(from).0)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn store(&self, to: &mut Stored) {
        Folded(self.0).store(to);
    }

    /// `self + other`. Of two products it stays below 2^57, and may be subtracted.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn add(&self, other: &Self) -> Self {
        let (a, b) = (&self.0, &other.0);
        Self([
            add(a[0], b[0]),
            add(a[1], b[1]),
            add(a[2], b[2]),
            add(a[3], b[3]),
            add(a[4], b[4]),
        ])
    }

    /// `self - other`. The subtrahend is a product or a sum of two, not a difference.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn sub(&self, other: &Self) -> Self {
        self.minuend().sub(other)
    }

    /// As something that can be taken from. Takes products, sums of two, and what was once subtracted
    /// from one.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn minuend(&self) -> Minuend {
        Minuend(self.add(&Self(bias())).0)
    }

    /// Carries once, without masks: what stands above bit 51 of a limb has been added to the
    /// next, and stays as junk.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn fold(&self) -> Folded {
        let [a0, a1, a2, a3, a4] = self.0;
        // Bits from 255 up weigh 19. They go first, so that the top limb has room for its carry.
        let over = _mm512_srli_epi64::<47>(a4);
        let a4 = _mm512_and_si512(a4, _mm512_set1_epi64(TOP));
        // Not a product: bits of a0 above 51 still count here, and `low` adds to all 64.
        let a0 = low(a0, over, _mm512_set1_epi64(19));
        let a1 = add(a1, carry(a0));
        let a2 = add(a2, carry(a1));
        let a3 = add(a3, carry(a2));
        let a4 = add(a4, carry(a3));
        Folded([a0, a1, a2, a3, a4])
    }

    /// The representative below p.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn canonical(&self) -> Canonical {
        // Below 2p, limbs clean but for the top one, which may hold bit 255.
        let [a0, a1, a2, a3, a4] = self.fold().clean().0;
        // At least p, exactly if adding 19 carries into bit 255; then that drops p.
        let q = carry(add(a0, splat(19)));
        let q = carry(add(a1, q));
        let q = carry(add(a2, q));
        let q = carry(add(a3, q));
        let q = _mm512_srli_epi64::<47>(add(a4, q));
        let a0 = low(a0, q, splat(19));
        let a1 = add(a1, carry(a0));
        let a2 = add(a2, carry(a1));
        let a3 = add(a3, carry(a2));
        let a4 = add(a4, carry(a3));
        let mask = _mm512_set1_epi64(MASK);
        Canonical([
            _mm512_and_si512(a0, mask),
            _mm512_and_si512(a1, mask),
            _mm512_and_si512(a2, mask),
            _mm512_and_si512(a3, mask),
            _mm512_and_si512(a4, _mm512_set1_epi64(TOP)),
        ])
    }

    /// The lanes that are zero modulo p.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn zeros(&self) -> Mask {
        let [a0, a1, a2, a3, a4] = self.canonical().0;
        let any = _mm512_or_si512(a0, a1);
        let any = _mm512_or_si512(any, a2);
        let any = _mm512_or_si512(any, a3);
        let any = _mm512_or_si512(any, a4);
        _mm512_testn_epi64_mask(any, any)
    }

    /// `self` in the lanes outside `mask`, `other` in those of it.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn select(&self, mask: Mask, other: &Self) -> Self {
        Self(select(&self.0, mask, &other.0))
    }

    /// `-self` in the lanes of `mask`. Takes what [`sub`](Self::sub) takes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn negate(&self, mask: Mask) -> Self {
        self.select(mask, &Self::zero().sub(self))
    }
}

impl Canonical {
    /// The lanes that are negative: odd (RFC 9496, section 3.1).
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn negatives(&self) -> Mask {
        _mm512_test_epi64_mask(self.0[0], splat(1))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn raw(&self) -> Raw {
        Raw(self.0)
    }
}

/// `|x|`: the one of x and -x that is not negative, in lowest terms.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn absolute(x: &Raw) -> Canonical {
    let canonical = x.canonical();
    let raw = canonical.raw();
    Canonical(raw.negate(canonical.negatives()).canonical().0)
}

/// `(x^(2^n))` of two groups, turn by turn: one alone would wait for its own results.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn square_times(x: &[Folded; 2], n: u32) -> [Folded; 2] {
    let [mut a, mut b] = *x;
    for _ in 0..n {
        a = a.square().fold();
        b = b.square().fold();
    }
    [a, b]
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn mul2(a: &[Folded; 2], b: &[Folded; 2]) -> [Folded; 2] {
    [a[0].mul(&b[0]).fold(), a[1].mul(&b[1]).fold()]
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn square2(a: &[Folded; 2]) -> [Folded; 2] {
    [a[0].square().fold(), a[1].square().fold()]
}

/// `x^(2^250 - 1)` and `x^11`, from which the exponents below are a few steps.
#[target_feature(enable = "avx512f,avx512ifma")]
fn power_2_250(x: &[Folded; 2]) -> ([Folded; 2], [Folded; 2]) {
    // x^(2^n - 1) is written e_n.
    let x2 = square2(x);
    let x9 = mul2(x, &square_times(&x2, 2));
    let x11 = mul2(&x9, &x2);
    let e5 = mul2(&square2(&x11), &x9);
    let e10 = mul2(&square_times(&e5, 5), &e5);
    let e20 = mul2(&square_times(&e10, 10), &e10);
    let e40 = mul2(&square_times(&e20, 20), &e20);
    let e50 = mul2(&square_times(&e40, 10), &e10);
    let e100 = mul2(&square_times(&e50, 50), &e50);
    let e200 = mul2(&square_times(&e100, 100), &e100);
    let e250 = mul2(&square_times(&e200, 50), &e50);
    (e250, x11)
}

/// `x^((p - 5)/8) = x^(2^252 - 3)`, two groups.
#[target_feature(enable = "avx512f,avx512ifma")]
fn power_p58(x: &[Folded; 2]) -> [Folded; 2] {
    mul2(&square_times(&power_2_250(x).0, 2), x)
}

/// `1/x = x^(p - 2) = x^(2^255 - 21)`, two groups. Zero stays zero.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn invert(x: &[Folded; 2]) -> [Folded; 2] {
    let (e250, x11) = power_2_250(x);
    mul2(&square_times(&e250, 5), &x11)
}

/// `SQRT_RATIO_M1(u, v)` of RFC 9496, section 4.2, two groups: where u/v is a square (or u is
/// zero), and the non-negative root of u/v or of i·u/v.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn sqrt_ratio(u: &[Raw; 2], v: &[Raw; 2]) -> ([Mask; 2], [Canonical; 2]) {
    let (uf, vf) = ([u[0].fold(), u[1].fold()], [v[0].fold(), v[1].fold()]);
    let v3 = mul2(&square2(&vf), &vf);
    let uv3 = mul2(&uf, &v3);
    let v7 = mul2(&square2(&v3), &vf);
    let r = mul2(&uv3, &power_p58(&mul2(&uf, &v7)));
    let check = mul2(&vf, &square2(&r));
    let (square0, root0) = settle(&uf[0], &r[0], &check[0]);
    let (square1, root1) = settle(&uf[1], &r[1], &check[1]);
    ([square0, square1], [root0, root1])
}

/// The end of [`sqrt_ratio`] for one group: `check = v·r²` is u, -u, u·i or -u·i.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn settle(u: &Folded, r: &Folded, check: &Folded) -> (Mask, Canonical) {
    let i = Folded::constant(&SQRT_M1);
    let (clean_u, clean_check) = (u.clean(), check.clean());
    let correct = clean_check.sub(&clean_u).zeros();
    let flipped = clean_check.add(&clean_u).zeros();
    let flipped_i = clean_check.add(&u.mul(&i)).zeros();
    let root = r.clean().select(flipped | flipped_i, &r.mul(&i));
    (correct | flipped, absolute(&root))
}

/// The square root of -1 that is not negative (RFC 9496, section 4.1).
pub(super) const SQRT_M1: Limbs = limbs([
    0xb0, 0xa0, 0x0e, 0x4a, 0x27, 0x1b, 0xee, 0xc4, 0x78, 0xe4, 0x2f, 0xad, 0x06, 0x18, 0x43, 0x2f,
    0xa7, 0xd7, 0xfb, 0x3d, 0x99, 0x00, 0x4d, 0x2b, 0x0b, 0xdf, 0xc1, 0x4f, 0x80, 0x24, 0x83, 0x2b,
]);

/// 32 little-endian bytes, bit 255 ignored, as limbs.
pub(super) const fn limbs(bytes: [u8; 32]) -> Limbs {
    let mut words = [0u64; 4];
    let mut i = 0;
    while i < 32 {
        words[i / 8] |= (bytes[i] as u64) << (8 * (i % 8));
        i += 1;
    }
    let mask = MASK as u64;
    [
        words[0] & mask,
        (words[0] >> 52 | words[1] << 12) & mask,
        (words[1] >> 40 | words[2] << 24) & mask,
        (words[2] >> 28 | words[3] << 36) & mask,
        (words[3] >> 16) & TOP as u64,
    ]
}

/// Little-endian words of eight numbers below 2^256, bit 255 ignored, as an element: any number
/// below 2^255 is taken modulo p.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn from_words(words: &[[u64; 8]; 4]) -> Raw {
    let mask = _mm512_set1_epi64(MASK);
    let [w0, w1, w2, w3] = [
        load(&words[0]),
        load(&words[1]),
        load(&words[2]),
        load(&words[3]),
    ];
    Raw([
        _mm512_and_si512(w0, mask),
        _mm512_and_si512(
            _mm512_or_si512(_mm512_srli_epi64::<52>(w0), _mm512_slli_epi64::<12>(w1)),
            mask,
        ),
        _mm512_and_si512(
            _mm512_or_si512(_mm512_srli_epi64::<40>(w1), _mm512_slli_epi64::<24>(w2)),
            mask,
        ),
        _mm512_and_si512(
            _mm512_or_si512(_mm512_srli_epi64::<28>(w2), _mm512_slli_epi64::<36>(w3)),
            mask,
        ),
        _mm512_and_si512(_mm512_srli_epi64::<16>(w3), _mm512_set1_epi64(TOP)),
    ])
}

/// The little-endian words of eight elements.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn to_words(x: &Canonical) -> [[u64; 8]; 4] {
    let [a0, a1, a2, a3, a4] = x.0;
    let mut words = [[0u64; 8]; 4];
    let w0 = _mm512_or_si512(a0, _mm512_slli_epi64::<52>(a1));
    let w1 = _mm512_or_si512(_mm512_srli_epi64::<12>(a1), _mm512_slli_epi64::<40>(a2));
    let w2 = _mm512_or_si512(_mm512_srli_epi64::<24>(a2), _mm512_slli_epi64::<28>(a3));
    let w3 = _mm512_or_si512(_mm512_srli_epi64::<36>(a3), _mm512_slli_epi64::<16>(a4));
    store(&mut words[0], w0);
    store(&mut words[1], w1);
    store(&mut words[2], w2);
    store(&mut words[3], w3);
    words
}
