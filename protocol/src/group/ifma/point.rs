//! Eight points of edwards25519 side by side: extended coordinates (X : Y : Z : T) with
//! x = X/Z, y = Y/Z, xy = T/Z on -x² + y² = 1 + d·x²·y² (Hisil, Wong, Carter, Dawson,
//! ASIACRYPT 2008). The formulas are complete: they hold for every pair of points, the identity
//! included.
//!
//! A ristretto255 element is one of eight such points; sums and multiples of representatives
//! represent the sums and multiples of elements.

use core::arch::x86_64::*;

use zeroize::Zeroize;

use super::field::{Folded, Limbs, Mask, Minuend, Raw, Stored};
use super::words::limbs;

/// d = -121665/121666 (RFC 9496, section 4.1).
pub(super) const D: Limbs = limbs([
    0xa3, 0x78, 0x59, 0x13, 0xca, 0x4d, 0xeb, 0x75, 0xab, 0xd8, 0x41, 0x41, 0x4d, 0x0a, 0x70, 0x00,
    0x98, 0xe8, 0x79, 0x77, 0x79, 0x40, 0xc7, 0x8c, 0x73, 0xfe, 0x6f, 0x2b, 0xee, 0x6c, 0x03, 0x52,
]);

/// 2·d.
const D2: Limbs = [
    0x69b9426b2f159,
    0x9a8283b156ebd,
    0xef3d13000e014,
    0xfce7198e80f2e,
    0x2406d9dc56df,
];

/// Eight points in registers.
#[derive(Clone, Copy)]
pub(super) struct Points8 {
    pub(super) x: Raw,
    pub(super) y: Raw,
    pub(super) z: Raw,
    pub(super) t: Raw,
}

/// Eight points in memory.
#[derive(Clone, Copy, Zeroize)]
pub(super) struct Group {
    pub(super) x: Stored,
    pub(super) y: Stored,
    pub(super) z: Stored,
    pub(super) t: Stored,
}

/// Eight points as an addition takes them: Y - X, Y + X, 2Z, 2dT.
#[derive(Clone, Copy, Zeroize)]
pub(super) struct Cached {
    pub(super) minus: Stored,
    pub(super) plus: Stored,
    pub(super) z2: Stored,
    pub(super) t2d: Stored,
}

impl Group {
    /// The identity in all lanes.
    pub(super) const IDENTITY: Self = Self {
        x: Stored::ZERO,
        y: Stored::splat([1, 0, 0, 0, 0]),
        z: Stored::splat([1, 0, 0, 0, 0]),
        t: Stored::ZERO,
    };

    /// Puts lane `from` of another group into lane `to` of this one.
    pub(super) fn set_lane(&mut self, to: usize, other: &Self, from: usize) {
        for (mine, theirs) in [
            (&mut self.x, &other.x),
            (&mut self.y, &other.y),
            (&mut self.z, &other.z),
            (&mut self.t, &other.t),
        ] {
            for (mine, theirs) in mine.0.iter_mut().zip(&theirs.0) {
                mine[to] = theirs[from];
            }
        }
    }
}

impl Cached {
    /// The identity in all lanes.
    pub(super) const IDENTITY: Self = Self {
        minus: Stored::splat([1, 0, 0, 0, 0]),
        plus: Stored::splat([1, 0, 0, 0, 0]),
        z2: Stored::splat([2, 0, 0, 0, 0]),
        t2d: Stored::ZERO,
    };
}

/// What an addition takes, in registers.
#[derive(Clone, Copy)]
pub(super) struct Addend {
    pub(super) minus: Folded,
    pub(super) plus: Folded,
    pub(super) z2: Folded,
    pub(super) t2d: Folded,
}

/// The same with Z = 1: one multiplication less.
#[derive(Clone, Copy)]
pub(super) struct AffineAddend {
    pub(super) minus: Folded,
    pub(super) plus: Folded,
    pub(super) t2d: Folded,
}

impl Addend {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn load(from: &Cached) -> Self {
        Self {
            minus: Folded::load(&from.minus),
            plus: Folded::load(&from.plus),
            z2: Folded::load(&from.z2),
            t2d: Folded::load(&from.t2d),
        }
    }

    /// Takes the lanes of `mask` from memory.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn take(&mut self, mask: Mask, from: &Cached) {
        self.minus.take(mask, &from.minus);
        self.plus.take(mask, &from.plus);
        self.z2.take(mask, &from.z2);
        self.t2d.take(mask, &from.t2d);
    }
}

/// An unfinished sum: the point is (e·f : g·h : f·g : e·h).
#[derive(Clone, Copy)]
struct Completed {
    e: Folded,
    f: Folded,
    g: Folded,
    h: Folded,
}

impl Completed {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn point(&self) -> Points8 {
        Points8 {
            t: self.e.mul(&self.h),
            ..self.without_t()
        }
    }

    /// Leaves T open, for where only doublings follow: they do not read it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn without_t(&self) -> Points8 {
        Points8 {
            x: self.e.mul(&self.f),
            y: self.g.mul(&self.h),
            z: self.f.mul(&self.g),
            t: Raw::zero(),
        }
    }
}

/// The products of an addition: `a = (Y1-X1)·minus`, `b = (Y1+X1)·plus`, `c = T1·2dT2`,
/// `d = Z1·2Z2`. The lanes of `negative` subtract: minus and plus change places before, f and g
/// after.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn completed(a: &Raw, b: &Minuend, c: &Raw, d: &Minuend, negative: Mask) -> Completed {
    let (f, g) = (d.sub(c).fold(), d.raw().add(c).fold());
    Completed {
        e: b.sub(a).fold(),
        f: f.select(negative, &g),
        g: g.select(negative, &f),
        h: b.raw().add(a).fold(),
    }
}

impl Points8 {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn identity() -> Self {
        Self {
            x: Raw::zero(),
            y: Raw::one(),
            z: Raw::one(),
            t: Raw::zero(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn load(from: &Group) -> Self {
        Self {
            x: Raw::load(&from.x),
            y: Raw::load(&from.y),
            z: Raw::load(&from.z),
            t: Raw::load(&from.t),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn store(&self, to: &mut Group) {
        self.x.store(&mut to.x);
        self.y.store(&mut to.y);
        self.z.store(&mut to.z);
        self.t.store(&mut to.t);
    }

    /// What [`add`](Self::add) takes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn cached(&self) -> Addend {
        Addend {
            minus: self.y.sub(&self.x).fold(),
            plus: self.y.add(&self.x).fold(),
            z2: self.z.add(&self.z).fold(),
            t2d: self.t.fold().mul(&Folded::constant(&D2)).fold(),
        }
    }

    /// As [`cached`](Self::cached), into memory.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn cache(&self, to: &mut Cached) {
        let addend = self.cached();
        addend.minus.store(&mut to.minus);
        addend.plus.store(&mut to.plus);
        addend.z2.store(&mut to.z2);
        addend.t2d.store(&mut to.t2d);
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn double_completed(&self) -> Completed {
        let (x, y, z) = (self.x.fold(), self.y.fold(), self.z.fold());
        let (xx, xy) = (x.square(), x.mul(&y));
        let (yy, zz) = (y.square_minuend(), z.square_minuend());
        // All four with the other sign than in the paper, which is the same point.
        Completed {
            e: xy.add(&xy).fold(),
            f: zz.twice_add_sub(&xx, &yy).fold(),
            g: yy.sub(&xx).fold(),
            h: yy.raw().add(&xx).fold(),
        }
    }

    /// 2·P. Does not read T.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn double(&self) -> Self {
        self.double_completed().point()
    }

    /// 2·P without T, for where another doubling follows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn double_without_t(&self) -> Self {
        self.double_completed().without_t()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add_completed(&self, other: &Addend, negative: Mask) -> Completed {
        let minus = other.minus.select(negative, &other.plus);
        let plus = other.plus.select(negative, &other.minus);
        let a = self.y.sub(&self.x).fold().mul(&minus);
        let b = self.y.add(&self.x).fold().mul_minuend(&plus);
        let c = self.t.fold().mul(&other.t2d);
        let d = self.z.fold().mul_minuend(&other.z2);
        completed(&a, &b, &c, &d, negative)
    }

    /// P + Q; P - Q in the lanes of `negative`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn add(&self, other: &Addend, negative: Mask) -> Self {
        self.add_completed(other, negative).point()
    }

    /// As [`add`](Self::add) without T.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn add_without_t(&self, other: &Addend, negative: Mask) -> Self {
        self.add_completed(other, negative).without_t()
    }

    /// As [`add`](Self::add) where Z of the other is 1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn add_affine(&self, other: &AffineAddend, negative: Mask) -> Self {
        let minus = other.minus.select(negative, &other.plus);
        let plus = other.plus.select(negative, &other.minus);
        let a = self.y.sub(&self.x).fold().mul(&minus);
        let b = self.y.add(&self.x).fold().mul_minuend(&plus);
        let c = self.t.fold().mul(&other.t2d);
        let d = self.z.add(&self.z).minuend();
        completed(&a, &b, &c, &d, negative).point()
    }

    /// `self` in the lanes outside `mask`, `other` in those of it.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn select(&self, mask: Mask, other: &Self) -> Self {
        Self {
            x: self.x.select(mask, &other.x),
            y: self.y.select(mask, &other.y),
            z: self.z.select(mask, &other.z),
            t: self.t.select(mask, &other.t),
        }
    }
}

/// The mask of all lanes whose number is below `len`.
pub(super) fn first_lanes(len: usize) -> __mmask8 {
    match len {
        0..8 => (1 << len) - 1,
        _ => 0xff,
    }
}
