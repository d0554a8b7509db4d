//! Uniform bytes to points, beside the reference's library.

use curve25519_dalek::RistrettoPoint;
use num_bigint::BigUint;
use proptest::prelude::*;

use super::curve::{I, P, inverse, mul, negative};
use super::here;
use crate::group::ifma::point::Group;
use crate::group::ifma::{Batch, Ifma, ristretto};
use crate::group::{Encoding, Kernel};

/// The points of eight strings, encoded.
fn encoded(uniform: &[[u8; 64]; 8]) -> Vec<Encoding> {
    let kernel = Ifma::detect().unwrap();
    let halves = [ristretto::words(uniform, 0), ristretto::words(uniform, 32)];
    let mut group = Group::IDENTITY;
    // SAFETY: the CPU has the instructions.
    unsafe { ristretto::from_uniform(&halves, &mut group) };
    let batch = Batch {
        groups: vec![group],
        len: 8,
        halved: false,
    };
    kernel.encode(&batch.points())
}

fn expected(uniform: &[[u8; 64]; 8]) -> Vec<Encoding> {
    let encode = |bytes| {
        RistrettoPoint::from_uniform_bytes(bytes)
            .compress()
            .to_bytes()
    };
    uniform.iter().map(encode).collect()
}

fn bytes(number: &BigUint) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, byte) in bytes.iter_mut().zip(number.to_bytes_le()) {
        *to = byte;
    }
    bytes
}

fn joined(halves: &[[u8; 32]; 2]) -> [u8; 64] {
    halves.as_flattened().try_into().unwrap()
}

/// Where a map of this kind has its exceptions: 0, ±1, ±i, numbers that are not below p, bit 255
/// set; each with each, so that both halves are also equal, and map to P and -P.
#[test]
fn edges_of_the_map() {
    if !here() {
        return;
    }
    let two = BigUint::from(2u8);
    let mut numbers: Vec<BigUint> = (0..3u8).map(BigUint::from).collect();
    numbers.extend([
        negative(&BigUint::from(1u8)),
        negative(&two),
        I.clone(),
        negative(&I),
        P.clone(),
        &*P + 1u8,
        &*P + 2u8,
        (BigUint::from(1u8) << 255u8) - 1u8,
        BigUint::from(1u8) << 255u8,
        (BigUint::from(1u8) << 255u8) + 1u8,
        (BigUint::from(1u8) << 256u16) - 1u8,
        // r = i·t² and 1/r map to a point and its negative.
        mul(&I, &inverse(&two)),
        mul(&I, &inverse(&BigUint::from(11u8))),
        BigUint::from(11u8),
    ]);
    let pairs: Vec<[u8; 64]> = numbers
        .iter()
        .flat_map(|a| numbers.iter().map(move |b| joined(&[bytes(a), bytes(b)])))
        .collect();
    let mut identities = 0;
    for chunk in pairs.chunks(8) {
        let uniform = std::array::from_fn(|n| chunk[n % chunk.len()]);
        let found = encoded(&uniform);
        assert_eq!(found, expected(&uniform));
        identities += found
            .iter()
            .filter(|encoding| **encoding == [0; 32])
            .count();
    }
    // The sum of P and -P is among them.
    let opposite = [
        bytes(&BigUint::from(11u8)),
        bytes(&mul(&I, &inverse(&BigUint::from(11u8)))),
    ];
    assert_eq!(encoded(&[joined(&opposite); 8]), vec![[0; 32]; 8]);
    assert!(identities > 0);
}

/// RFC 9496, appendix A.3: two of the strings, and their points.
#[test]
fn vectors_of_the_rfc() {
    if !here() {
        return;
    }
    let vectors = [
        (
            "5d1be09e3d0c82fc538112490e35701979d99e06ca3e2b5b54bffe8b4dc772c1\
             4d98b696a1bbfb5ca32c436cc61c16563790306c79eaca7705668b47dffe5bb6",
            "3066f82a1a747d45120d1740f14358531a8f04bbffe6a819f86dfe50f44a0a46",
        ),
        (
            "f116b34b8f17ceb56e8732a60d913dd10cce47a6d53bee9204be8b44f6678b27\
             0102a56902e2488c46120e9276cfe54638286b9e4b3cdb470b542d46c2068d38",
            "f26e5b6f7d362d2d2a94c5d0e7602cb4773c95a2e5c31a64f133189fa76ed61b",
        ),
        (
            "8422e1bbdaab52938b81fd602effb6f89110e1e57208ad12d9ad767e2e25510c\
             27140775f9337088b982d83d7fcf0b2fa1edffe51952cbe7365e95c86eaf325c",
            "006ccd2a9e6867e6a2c5cea83d3302cc9de128dd2a9a57dd8ee7b9d7ffe02826",
        ),
    ];
    let uniform =
        std::array::from_fn(|n| hex::decode(vectors[n % 3].0).unwrap().try_into().unwrap());
    for (n, found) in encoded(&uniform).iter().enumerate() {
        assert_eq!(hex::encode(found), vectors[n % 3].1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_strings(halves in prop::array::uniform16(any::<[u8; 32]>())) {
        if here() {
            let uniform = std::array::from_fn(|n| joined(&[halves[n], halves[15 - n]]));
            prop_assert_eq!(encoded(&uniform), expected(&uniform));
        }
    }
}
