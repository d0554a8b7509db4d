//! The compression function in the eight 64-bit lanes of AVX-512 registers.
//!
//! A register holds the same word of eight messages. The sixteen words of the schedule and the
//! eight of the state stay in registers through the 80 rounds; the state between two blocks
//! stands in memory of the caller, who wipes it. There is no branch and no address that
//! depends on a message: lanes that have ended are masked, by their lengths.

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512i, __mmask8, _mm_set_epi64x, _mm512_add_epi64, _mm512_broadcast_i32x4,
    _mm512_loadu_si512, _mm512_mask_add_epi64, _mm512_ror_epi64, _mm512_set1_epi64,
    _mm512_shuffle_epi8, _mm512_shuffle_i64x2, _mm512_srli_epi64, _mm512_storeu_si512,
    _mm512_ternarylogic_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};
use std::hint::black_box;

use super::{BLOCK_LEN, DIGEST_LEN, LANES, State};

/// The constants of the rounds (FIPS 180-4, section 4.2.3).
const K: [[u64; 16]; 5] = [
    [
        0x428a_2f98_d728_ae22,
        0x7137_4491_23ef_65cd,
        0xb5c0_fbcf_ec4d_3b2f,
        0xe9b5_dba5_8189_dbbc,
        0x3956_c25b_f348_b538,
        0x59f1_11f1_b605_d019,
        0x923f_82a4_af19_4f9b,
        0xab1c_5ed5_da6d_8118,
        0xd807_aa98_a303_0242,
        0x1283_5b01_4570_6fbe,
        0x2431_85be_4ee4_b28c,
        0x550c_7dc3_d5ff_b4e2,
        0x72be_5d74_f27b_896f,
        0x80de_b1fe_3b16_96b1,
        0x9bdc_06a7_25c7_1235,
        0xc19b_f174_cf69_2694,
    ],
    [
        0xe49b_69c1_9ef1_4ad2,
        0xefbe_4786_384f_25e3,
        0x0fc1_9dc6_8b8c_d5b5,
        0x240c_a1cc_77ac_9c65,
        0x2de9_2c6f_592b_0275,
        0x4a74_84aa_6ea6_e483,
        0x5cb0_a9dc_bd41_fbd4,
        0x76f9_88da_8311_53b5,
        0x983e_5152_ee66_dfab,
        0xa831_c66d_2db4_3210,
        0xb003_27c8_98fb_213f,
        0xbf59_7fc7_beef_0ee4,
        0xc6e0_0bf3_3da8_8fc2,
        0xd5a7_9147_930a_a725,
        0x06ca_6351_e003_826f,
        0x1429_2967_0a0e_6e70,
    ],
    [
        0x27b7_0a85_46d2_2ffc,
        0x2e1b_2138_5c26_c926,
        0x4d2c_6dfc_5ac4_2aed,
        0x5338_0d13_9d95_b3df,
        0x650a_7354_8baf_63de,
        0x766a_0abb_3c77_b2a8,
        0x81c2_c92e_47ed_aee6,
        0x9272_2c85_1482_353b,
        0xa2bf_e8a1_4cf1_0364,
        0xa81a_664b_bc42_3001,
        0xc24b_8b70_d0f8_9791,
        0xc76c_51a3_0654_be30,
        0xd192_e819_d6ef_5218,
        0xd699_0624_5565_a910,
        0xf40e_3585_5771_202a,
        0x106a_a070_32bb_d1b8,
    ],
    [
        0x19a4_c116_b8d2_d0c8,
        0x1e37_6c08_5141_ab53,
        0x2748_774c_df8e_eb99,
        0x34b0_bcb5_e19b_48a8,
        0x391c_0cb3_c5c9_5a63,
        0x4ed8_aa4a_e341_8acb,
        0x5b9c_ca4f_7763_e373,
        0x682e_6ff3_d6b2_b8a3,
        0x748f_82ee_5def_b2fc,
        0x78a5_636f_4317_2f60,
        0x84c8_7814_a1f0_ab72,
        0x8cc7_0208_1a64_39ec,
        0x90be_fffa_2363_1e28,
        0xa450_6ceb_de82_bde9,
        0xbef9_a3f7_b2c6_7915,
        0xc671_78f2_e372_532b,
    ],
    [
        0xca27_3ece_ea26_619c,
        0xd186_b8c7_21c0_c207,
        0xeada_7dd6_cde0_eb1e,
        0xf57d_4f7f_ee6e_d178,
        0x06f0_67aa_7217_6fba,
        0x0a63_7dc5_a2c8_98a6,
        0x113f_9804_bef9_0dae,
        0x1b71_0b35_131c_471b,
        0x28db_77f5_2304_7d84,
        0x32ca_ab7b_40c7_2493,
        0x3c9e_be0a_15c9_bebc,
        0x431d_67c4_9c10_0d4c,
        0x4cc5_d4be_cb3e_42b6,
        0x597f_299c_fc65_7e2a,
        0x5fcb_6fab_3ad6_faec,
        0x6c44_198c_4a47_5817,
    ],
];

/// The block of a lane that has ended. What it gives is thrown away.
const NOTHING: [u8; BLOCK_LEN] = [0; BLOCK_LEN];

/// Only made where the CPU has AVX-512 F and BW.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    /// Asks the CPU; the standard library remembers the answer.
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        has.then_some(Self(()))
    }

    /// Digests of the padded messages, from `start` on. A lane without a block gives `start`.
    pub(super) fn hash(
        self,
        start: &[u64; 8],
        messages: &[&[[u8; BLOCK_LEN]]; LANES],
        state: &mut State,
        digests: &mut [[u8; DIGEST_LEN]; LANES],
    ) {
        // SAFETY: this value exists, so `detect` found the features that `hash` needs.
        unsafe {
            hash(start, messages, state, digests);
            forget_registers();
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn hash(
    start: &[u64; 8],
    messages: &[&[[u8; BLOCK_LEN]]; LANES],
    state: &mut State,
    digests: &mut [[u8; DIGEST_LEN]; LANES],
) {
    for (row, word) in state.0.iter_mut().zip(start) {
        *row = [*word; LANES];
    }
    let longest = messages.iter().map(|blocks| blocks.len()).max();
    for at in 0..longest.unwrap_or_default() {
        let mut blocks = [&NOTHING; LANES];
        let mut active = 0;
        for (lane, message) in messages.iter().enumerate() {
            if let Some(block) = message.get(at) {
                blocks[lane] = block;
                active |= 1 << lane;
            }
        }
        compress(state, &blocks, active);
    }
    let words = transpose(state.0.each_ref().map(|row| load_words(row)));
    for (digest, words) in digests.iter_mut().zip(words) {
        store_bytes(digest, swap_bytes(words));
    }
}

/// Takes a block of each message into the state; lanes that are not `active` stay.
#[target_feature(enable = "avx512f,avx512bw")]
fn compress(state: &mut State, blocks: &[&[u8; BLOCK_LEN]; LANES], active: __mmask8) {
    let half = |half: usize| {
        transpose(blocks.map(|block| swap_bytes(load_bytes(&block.as_chunks().0[half]))))
    };
    let [w0, w1, w2, w3, w4, w5, w6, w7] = half(0);
    let [w8, w9, w10, w11, w12, w13, w14, w15] = half(1);
    let mut w = [
        w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15,
    ];
    let mut v = state.0.each_ref().map(|row| load_words(row));
    let (last, others) = (&K[4], &K[..4]);
    for k in others {
        sixteen::<true>(&mut v, &mut w, k);
    }
    sixteen::<false>(&mut v, &mut w, last);
    // The state is read again from the caller's memory. Kept in registers through the rounds
    // it would be spilled to the stack, where nobody wipes it.
    let state = black_box(state);
    for (row, v) in state.0.iter_mut().zip(v) {
        let before = load_words(row);
        store_words(row, _mm512_mask_add_epi64(before, active, before, v));
    }
}

/// Sixteen rounds (FIPS 180-4, section 6.4.2), and the words of the next sixteen if any come.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn sixteen<const MORE: bool>(v: &mut [__m512i; 8], w: &mut [__m512i; 16], k: &[u64; 16]) {
    round::<0, MORE>(v, w, k);
    round::<1, MORE>(v, w, k);
    round::<2, MORE>(v, w, k);
    round::<3, MORE>(v, w, k);
    round::<4, MORE>(v, w, k);
    round::<5, MORE>(v, w, k);
    round::<6, MORE>(v, w, k);
    round::<7, MORE>(v, w, k);
    round::<8, MORE>(v, w, k);
    round::<9, MORE>(v, w, k);
    round::<10, MORE>(v, w, k);
    round::<11, MORE>(v, w, k);
    round::<12, MORE>(v, w, k);
    round::<13, MORE>(v, w, k);
    round::<14, MORE>(v, w, k);
    round::<15, MORE>(v, w, k);
}

/// Round `I` of sixteen. Instead of moving the eight variables on, their names move: `a` is
/// `v[0]` in round 0, `v[7]` in round 1.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn round<const I: usize, const MORE: bool>(
    v: &mut [__m512i; 8],
    w: &mut [__m512i; 16],
    k: &[u64; 16],
) {
    let at = |name: usize| (name + 16 - I) % 8;
    let [a, b, c] = [v[at(0)], v[at(1)], v[at(2)]];
    let [e, f, g, h] = [v[at(4)], v[at(5)], v[at(6)], v[at(7)]];
    // T1 = h + Σ1(e) + Ch(e, f, g) + K + W; T2 = Σ0(a) + Maj(a, b, c)
    let sum1 = xor3(ror::<14>(e), ror::<18>(e), ror::<41>(e));
    let choice = _mm512_ternarylogic_epi64::<0xca>(e, f, g);
    let constant = _mm512_set1_epi64(k[I].cast_signed());
    let t1 = add(add(add(h, add(w[I], constant)), choice), sum1);
    let sum0 = xor3(ror::<28>(a), ror::<34>(a), ror::<39>(a));
    let majority = _mm512_ternarylogic_epi64::<0xe8>(a, b, c);
    v[at(3)] = add(v[at(3)], t1);
    v[at(7)] = add(t1, add(sum0, majority));
    if MORE {
        // W[t] = σ1(W[t-2]) + W[t-7] + σ0(W[t-15]) + W[t-16]
        let (x, y) = (w[(I + 1) % 16], w[(I + 14) % 16]);
        let sigma0 = xor3(ror::<1>(x), ror::<8>(x), _mm512_srli_epi64::<7>(x));
        let sigma1 = xor3(ror::<19>(y), ror::<61>(y), _mm512_srli_epi64::<6>(y));
        w[I] = add(add(w[I], w[(I + 9) % 16]), add(sigma0, sigma1));
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn add(x: __m512i, y: __m512i) -> __m512i {
    _mm512_add_epi64(x, y)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn ror<const BITS: i32>(x: __m512i) -> __m512i {
    _mm512_ror_epi64::<BITS>(x)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn xor3(x: __m512i, y: __m512i, z: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x96>(x, y, z)
}

/// Turns each 64-bit word from big-endian to the CPU's order, or back.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn swap_bytes(x: __m512i) -> __m512i {
    let order = _mm_set_epi64x(0x0809_0a0b_0c0d_0e0f, 0x0001_0203_0405_0607);
    _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(order))
}

/// Rows to columns: eight words of each message to one word of eight messages, and back.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn transpose(r: [__m512i; 8]) -> [__m512i; 8] {
    // Pairs of rows, by words; then four pairs, by 128-bit units.
    let even = quarters([
        _mm512_unpacklo_epi64(r[0], r[1]),
        _mm512_unpacklo_epi64(r[2], r[3]),
        _mm512_unpacklo_epi64(r[4], r[5]),
        _mm512_unpacklo_epi64(r[6], r[7]),
    ]);
    let odd = quarters([
        _mm512_unpackhi_epi64(r[0], r[1]),
        _mm512_unpackhi_epi64(r[2], r[3]),
        _mm512_unpackhi_epi64(r[4], r[5]),
        _mm512_unpackhi_epi64(r[6], r[7]),
    ]);
    [
        even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3],
    ]
}

/// Rows to columns in 128-bit units.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn quarters(r: [__m512i; 4]) -> [__m512i; 4] {
    let low = [
        _mm512_shuffle_i64x2::<0x44>(r[0], r[1]),
        _mm512_shuffle_i64x2::<0x44>(r[2], r[3]),
    ];
    let high = [
        _mm512_shuffle_i64x2::<0xee>(r[0], r[1]),
        _mm512_shuffle_i64x2::<0xee>(r[2], r[3]),
    ];
    [
        _mm512_shuffle_i64x2::<0x88>(low[0], low[1]),
        _mm512_shuffle_i64x2::<0xdd>(low[0], low[1]),
        _mm512_shuffle_i64x2::<0x88>(high[0], high[1]),
        _mm512_shuffle_i64x2::<0xdd>(high[0], high[1]),
    ]
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load_bytes(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 bytes that may be read; no alignment is asked for.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load_words(words: &[u64; 8]) -> __m512i {
    // SAFETY: the reference is to 64 bytes that may be read; no alignment is asked for.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store_bytes(bytes: &mut [u8; 64], x: __m512i) {
    // SAFETY: the reference is to 64 bytes that are ours to write; no alignment is asked for.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), x) }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store_words(words: &mut [u64; 8], x: __m512i) {
    // SAFETY: the reference is to 64 bytes that are ours to write; no alignment is asked for.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), x) }
}

/// Clears the vector and mask registers. Hardly any other code touches the upper vectors and the masks:
/// they would stay in the saved state of a thread that waits. What stands in general registers and on
/// the stack is soon overwritten, or wiped by whoever ends a piece of work.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn forget_registers() {
    // SAFETY: no memory is touched, and every register that changes is named.
    unsafe {
        core::arch::asm!(
            "vzeroall",
            "vpxord zmm16, zmm16, zmm16",
            "vpxord zmm17, zmm17, zmm17",
            "vpxord zmm18, zmm18, zmm18",
            "vpxord zmm19, zmm19, zmm19",
            "vpxord zmm20, zmm20, zmm20",
            "vpxord zmm21, zmm21, zmm21",
            "vpxord zmm22, zmm22, zmm22",
            "vpxord zmm23, zmm23, zmm23",
            "vpxord zmm24, zmm24, zmm24",
            "vpxord zmm25, zmm25, zmm25",
            "vpxord zmm26, zmm26, zmm26",
            "vpxord zmm27, zmm27, zmm27",
            "vpxord zmm28, zmm28, zmm28",
            "vpxord zmm29, zmm29, zmm29",
            "vpxord zmm30, zmm30, zmm30",
            "vpxord zmm31, zmm31, zmm31",
            "kxorw k1, k1, k1",
            "kxorw k2, k2, k2",
            "kxorw k3, k3, k3",
            "kxorw k4, k4, k4",
            "kxorw k5, k5, k5",
            "kxorw k6, k6, k6",
            "kxorw k7, k7, k7",
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _,
            out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
            out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
            out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
            out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
            out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
            out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
            out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
            out("k1") _, out("k2") _, out("k3") _, out("k4") _, out("k5") _, out("k6") _, out("k7") _,
            options(nomem, nostack, preserves_flags),
        );
    }
}
