//! Between points and their encodings, and from uniform bytes to points (RFC 9496, section 4.3),
//! eight at a time, mostly two times eight.

use core::arch::x86_64::*;

use zeroize::{Zeroize, Zeroizing};

use super::field::{Canonical, Folded, Limbs, Mask, Raw, Stored};
use super::point::{D, Group, Points8};
use super::roots::{SQRT_M1, absolute, invert, mul2, sqrt_ratio, square2};
use super::words::{from_words, to_words};
use crate::group::Encoding;

// RFC 9496, section 4.1.
const SQRT_AD_MINUS_ONE: Limbs = [
    0x7f6a0497b2e1b,
    0xc1b7854bd7e9,
    0x1f5d1fdaf9d8e,
    0x48ac0f3cfcc93,
    0x376931bf2b83,
];
const INVSQRT_A_MINUS_D: Limbs = [
    0x8fdaa805d40ea,
    0x175a4172be99c,
    0xe01d8409d2f16,
    0xfca216c27b91f,
    0x786c8905cfaf,
];
const ONE_MINUS_D_SQ: Limbs = [
    0xc09c1945fc176,
    0x38cd5e350fe27,
    0xe70dfe42c81a1,
    0xe0d79994abddb,
    0x29072a8b2b3,
];
const D_MINUS_ONE_SQ: Limbs = [
    0xd5aaa44ed4d20,
    0x2cb01e199931a,
    0x29b4eebd29e4a,
    0x22414cdcd32f5,
    0x5968b37af66c,
];

/// The numbers 1 and d, in all lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn one_and_d() -> (Raw, Raw) {
    (Raw::one(), Folded::constant(&D).clean())
}

/// Words of eight encodings: word by word, lane by lane. Missing lanes are zero.
pub(super) fn words<const N: usize>(encodings: &[[u8; N]], at: usize) -> [[u64; 8]; 4] {
    let mut words = [[0u64; 8]; 4];
    for (lane, encoding) in encodings.iter().enumerate().take(8) {
        for (word, bytes) in words.iter_mut().zip(encoding[at..].chunks_exact(8)) {
            word[lane] = bytes
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
    }
    words
}

/// Appends the encodings of the first `len` lanes.
fn push_words(words: &[[u64; 8]; 4], len: usize, to: &mut Vec<Encoding>) {
    for lane in 0..len.min(8) {
        let mut encoding = [0u8; 32];
        for (bytes, word) in encoding.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word[lane].to_le_bytes());
        }
        to.push(encoding);
    }
}

/// `MAP` (RFC 9496, section 4.3.4) of the two halves of eight uniform strings, and the sum: the
/// element derivation function.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn from_uniform(halves: &[[[u64; 8]; 4]; 2], to: &mut Group) {
    let t = [from_words(&halves[0]), from_words(&halves[1])];
    let tf = [t[0].fold(), t[1].fold()];
    let (one, d) = one_and_d();
    let (i, df) = (Folded::constant(&SQRT_M1), Folded::constant(&D));
    let squares = square2(&tf);
    let r = [squares[0].mul(&i), squares[1].mul(&i)];
    let rf = [r[0].fold(), r[1].fold()];
    let factor = Folded::constant(&ONE_MINUS_D_SQ);
    let u = [
        r[0].add(&one).fold().mul(&factor),
        r[1].add(&one).fold().mul(&factor),
    ];
    // v = (-1 - r·d)·(r + d); here with the other sign, so that it can be added below.
    let minus_v = [
        rf[0].mul(&df).add(&one).fold().mul(&r[0].add(&d).fold()),
        rf[1].mul(&df).add(&one).fold().mul(&r[1].add(&d).fold()),
    ];
    let v = [Raw::zero().sub(&minus_v[0]), Raw::zero().sub(&minus_v[1])];
    let (was_square, s) = sqrt_ratio(&u, &v);
    let first = map_end(&tf[0], &r[0], &minus_v[0], was_square[0], &s[0]);
    let second = map_end(&tf[1], &r[1], &minus_v[1], was_square[1], &s[1]);
    first.add(&second.cached(), 0).store(to);
}

/// `MAP` from the square root on.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn map_end(t: &Folded, r: &Raw, minus_v: &Raw, was_square: Mask, s: &Canonical) -> Points8 {
    let one = Raw::one();
    let sf = s.raw().fold();
    let minus_abs = Raw::zero().sub(&absolute(&sf.mul(t)).raw());
    let s = minus_abs.select(was_square, &s.raw()).fold();
    let c = r.select(was_square, &Raw::zero().sub(&one)).fold();
    let n = c
        .mul(&r.sub(&one).fold())
        .fold()
        .mul(&Folded::constant(&D_MINUS_ONE_SQ))
        .add(minus_v);
    let sv = s.mul(&Raw::zero().sub(minus_v).fold());
    let ss = s.square();
    let w0 = sv.add(&sv).fold();
    let w1 = n.fold().mul(&Folded::constant(&SQRT_AD_MINUS_ONE)).fold();
    let w2 = one.sub(&ss).fold();
    let w3 = one.add(&ss).fold();
    Points8 {
        x: w0.mul(&w3),
        y: w2.mul(&w1),
        z: w1.mul(&w3),
        t: w0.mul(&w2),
    }
}

/// Decodes two times eight encodings (RFC 9496, section 4.3.1); gives the lanes that hold a
/// canonical encoding of an element other than the identity. The points of other lanes mean
/// nothing. Z is 1.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn decode(words: [&[[u64; 8]; 4]; 2], to: [&mut Group; 2]) -> [Mask; 2] {
    let (one, d) = (Raw::one(), Folded::constant(&D));
    let s = [from_words(words[0]), from_words(words[1])];
    let sf = [s[0].fold(), s[1].fold()];
    let ss = [sf[0].square(), sf[1].square()];
    let u1 = [one.sub(&ss[0]).fold(), one.sub(&ss[1]).fold()];
    let u2 = [one.add(&ss[0]).fold(), one.add(&ss[1]).fold()];
    let u2_sqr = [u2[0].square(), u2[1].square()];
    let u2_sqr_f = [u2_sqr[0].fold(), u2_sqr[1].fold()];
    let u1_sqr = square2(&u1);
    // v = -(d·u1²) - u2²
    let v = [
        Raw::zero().sub(&u1_sqr[0].mul(&d).add(&u2_sqr[0])),
        Raw::zero().sub(&u1_sqr[1].mul(&d).add(&u2_sqr[1])),
    ];
    let vf = [v[0].fold(), v[1].fold()];
    let product = [vf[0].mul(&u2_sqr_f[0]), vf[1].mul(&u2_sqr_f[1])];
    let (was_square, invsqrt) = sqrt_ratio(&[one, one], &product);
    let mut good = [0; 2];
    for (n, to) in to.into_iter().enumerate() {
        let inverse = invsqrt[n].raw().fold();
        let den_x = inverse.mul(&u2[n]).fold();
        let den_y = inverse.mul(&den_x).fold().mul(&vf[n]).fold();
        let sx = sf[n].mul(&den_x);
        let x = absolute(&sx.add(&sx)).raw();
        let y = u1[n].mul(&den_y);
        let t = x.fold().mul(&y.fold());
        let canonical = s[n].canonical();
        let same = same_words(&to_words(&canonical), words[n]);
        good[n] = was_square[n]
            & same
            & !canonical.negatives()
            & !t.canonical().negatives()
            & !y.zeros()
            & !s[n].zeros();
        Points8 { x, y, z: one, t }.store(to);
    }
    good
}

/// The lanes whose words agree.
#[inline]
#[target_feature(enable = "avx512f")]
fn same_words(a: &[[u64; 8]; 4], b: &[[u64; 8]; 4]) -> Mask {
    let mut same = 0xff;
    for (a, b) in a.iter().zip(b) {
        same &= _mm512_cmpeq_epi64_mask(super::field::load(a), super::field::load(b));
    }
    same
}

/// Encodes two times eight points (RFC 9496, section 4.3.2). The identity becomes zero.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn encode2(groups: [&Group; 2]) -> [[[u64; 8]; 4]; 2] {
    let p = [Points8::load(groups[0]), Points8::load(groups[1])];
    let u1 = [encode_u1(&p[0]), encode_u1(&p[1])];
    let u2 = [
        p[0].x.fold().mul(&p[0].y.fold()).fold(),
        p[1].x.fold().mul(&p[1].y.fold()).fold(),
    ];
    let u2_sqr = square2(&u2);
    let product = [u1[0].mul(&u2_sqr[0]), u1[1].mul(&u2_sqr[1])];
    let (_, invsqrt) = sqrt_ratio(&[Raw::one(), Raw::one()], &product);
    [
        encode_end(&p[0], &u1[0], &u2[0], &invsqrt[0]),
        encode_end(&p[1], &u1[1], &u2[1], &invsqrt[1]),
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn encode_u1(p: &Points8) -> Folded {
    let (plus, minus) = (p.z.add(&p.y).fold(), p.z.sub(&p.y).fold());
    plus.mul(&minus).fold()
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn encode_end(p: &Points8, u1: &Folded, u2: &Folded, invsqrt: &Canonical) -> [[u64; 8]; 4] {
    let i = Folded::constant(&SQRT_M1);
    let inverse = invsqrt.raw().fold();
    let den1 = inverse.mul(u1).fold();
    let den2 = inverse.mul(u2);
    let t = p.t.fold();
    let z_inv = den1.mul(&den2.fold()).fold().mul(&t).fold();
    let rotate = t.mul(&z_inv).canonical().negatives();
    let x = p.x.select(rotate, &p.y.fold().mul(&i));
    let y = p.y.select(rotate, &p.x.fold().mul(&i));
    let enchanted = den1.mul(&Folded::constant(&INVSQRT_A_MINUS_D));
    let den_inv = den2.select(rotate, &enchanted).fold();
    let negative = x.fold().mul(&z_inv).canonical().negatives();
    // z - y, where y changes its sign in the negative lanes.
    let difference = p.z.sub(&y).select(negative, &p.z.add(&y));
    to_words(&absolute(&den_inv.mul(&difference.fold())))
}

/// Encodes the first `len` points of some groups, in order, each by an inverse square root of its
/// own.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn encode(groups: &[Group], len: usize, to: &mut Vec<Encoding>) {
    for (n, pair) in groups.chunks(2).enumerate() {
        // A group alone goes with itself.
        let (first, second) = (&pair[0], pair.last().unwrap_or(&pair[0]));
        let words = Zeroizing::new(encode2([first, second]));
        let left = len - 16 * n;
        push_words(&words[0], left, to);
        push_words(&words[1], left.saturating_sub(8), to);
    }
}

/// What the encoding of 2·P takes of P (see [`encode_doubles`]).
#[derive(Clone, Copy, Zeroize)]
struct Doubling {
    e: Stored,
    f: Stored,
    g: Stored,
    h: Stored,
    eg: Stored,
    fh: Stored,
    /// `eg·fh`, one where that is zero.
    product: Stored,
    /// Product of the products before.
    before: Stored,
}

impl Doubling {
    const ZERO: Self = Self {
        e: Stored::ZERO,
        f: Stored::ZERO,
        g: Stored::ZERO,
        h: Stored::ZERO,
        eg: Stored::ZERO,
        fh: Stored::ZERO,
        product: Stored::ZERO,
        before: Stored::ZERO,
    };
}

/// Encodes the doubles of the first `len` points of some groups.
///
/// The square root in an encoding is that of a quotient which, for a point that is a double, is a
/// square by construction: with e = 2XY, f = Z² + dT², g = Y² + X², h = Z² - dT² the double is
/// (ef : gh : fh : eg) up to the isogeny, and its encoding needs the inverse of efgh only. One
/// inversion serves all points of a lane (Montgomery's trick).
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn encode_doubles(groups: &[Group], len: usize, to: &mut Vec<Encoding>) {
    let mut states = Zeroizing::new(vec![[Doubling::ZERO; 2]; groups.len().div_ceil(2)]);
    let one = Raw::one().fold();
    let mut run = [one, one];
    for (pair, states) in groups.chunks(2).zip(states.iter_mut()) {
        let (first, second) = (&pair[0], pair.last().unwrap_or(&pair[0]));
        run[0].store(&mut states[0].before);
        run[1].store(&mut states[1].before);
        let products = [
            start_double(first, &mut states[0]),
            start_double(second, &mut states[1]),
        ];
        run = mul2(&run, &products);
    }
    let mut inverse = invert(&run);
    for states in states.iter_mut().rev() {
        let before = [
            Folded::load(&states[0].before),
            Folded::load(&states[1].before),
        ];
        let own = mul2(&inverse, &before);
        own[0].store(&mut states[0].before);
        own[1].store(&mut states[1].before);
        let products = [
            Folded::load(&states[0].product),
            Folded::load(&states[1].product),
        ];
        inverse = mul2(&inverse, &products);
    }
    let mut left = len;
    for state in states.as_flattened() {
        if left == 0 {
            break;
        }
        let words = Zeroizing::new(finish_double(state));
        push_words(&words, left, to);
        left = left.saturating_sub(8);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn start_double(group: &Group, to: &mut Doubling) -> Folded {
    let p = Points8::load(group);
    let (x, y) = (p.x.fold(), p.y.fold());
    let xy = x.mul(&y);
    let zz = p.z.fold().square();
    let dtt = p.t.fold().square().fold().mul(&Folded::constant(&D));
    let e = xy.add(&xy);
    let f = zz.add(&dtt);
    let g = x.square().add(&y.square());
    let h = zz.sub(&dtt);
    let eg = e.fold().mul(&g.fold()).fold();
    let fh = f.fold().mul(&h.fold()).fold();
    let product = eg.mul(&fh);
    let product = product.select(product.zeros(), &Raw::one()).fold();
    e.store(&mut to.e);
    f.store(&mut to.f);
    g.store(&mut to.g);
    h.store(&mut to.h);
    eg.store(&mut to.eg);
    fh.store(&mut to.fh);
    product.store(&mut to.product);
    product
}

/// `before` holds the inverse of the state's own product by now.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn finish_double(state: &Doubling) -> [[u64; 8]; 4] {
    let (e, f) = (Raw::load(&state.e), Raw::load(&state.f));
    let (g, h) = (Raw::load(&state.g), Raw::load(&state.h));
    let (eg, fh) = (Folded::load(&state.eg), Folded::load(&state.fh));
    let inverse = Folded::load(&state.before);
    let is_zero = eg.mul(&fh).zeros();
    let (z_inv, t_inv) = (eg.mul(&inverse).fold(), fh.mul(&inverse).fold());
    let i = Folded::constant(&SQRT_M1);
    // T·Z of the double: where it is negative, the encoding rotates by a point of order four.
    let rotate = eg.mul(&z_inv).canonical().negatives();
    let x = e.select(rotate, &g);
    let y = g.select(rotate, &e);
    let h = h.select(rotate, &f.fold().mul(&i));
    let magic = Folded::constant(&INVSQRT_A_MINUS_D).select(rotate, &i);
    let hf = h.fold();
    let negative = hf.mul(&x.fold()).fold().mul(&z_inv).canonical().negatives();
    // h - y, where y has changed its sign in the rotated lanes and changes it in the negative.
    let difference = h.sub(&y).select(rotate ^ negative, &h.add(&y)).fold();
    let factor = y.fold().mul(&t_inv).fold().mul(&magic).fold();
    let s = difference.mul(&factor);
    to_words(&absolute(&s.select(is_zero, &Raw::zero())))
}
