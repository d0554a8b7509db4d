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

pub(super) const MASK: i64 = (1 << 52) - 1;
/// The top limb has 47 bits of the 255.
pub(super) const TOP: i64 = (1 << 47) - 1;

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
