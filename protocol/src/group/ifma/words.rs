//! Between little-endian words and limbs, eight elements at a time.

use core::arch::x86_64::*;

use super::field::{Canonical, Limbs, MASK, Raw, TOP, load, store};

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
