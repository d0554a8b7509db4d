//! Powers of eight elements at a time, mostly two times eight: inverses and square roots.

use super::field::{Canonical, Folded, Limbs, Mask, Raw};
use super::words::limbs;

/// The square root of -1 that is not negative (RFC 9496, section 4.1).
pub(super) const SQRT_M1: Limbs = limbs([
    0xb0, 0xa0, 0x0e, 0x4a, 0x27, 0x1b, 0xee, 0xc4, 0x78, 0xe4, 0x2f, 0xad, 0x06, 0x18, 0x43, 0x2f,
    0xa7, 0xd7, 0xfb, 0x3d, 0x99, 0x00, 0x4d, 0x2b, 0x0b, 0xdf, 0xc1, 0x4f, 0x80, 0x24, 0x83, 0x2b,
]);

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
