//! Vectors of strictness: signatures that a loose verifier takes and this one must not.

use ed25519_dalek::Verifier;
use sha2::Sha512;

use super::*;
use crate::group::Scalar;

const MESSAGE: &[u8] = b"a statement";

/// The group order l, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The eight points of small order, and other encodings of some of them.
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    // Not canonical: sign bit on x = 0, and y = p and y = p + 1.
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

fn point(hex: &str) -> [u8; 32] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

/// A secret scalar and its public point, as RFC 8032 derives them.
fn pair(seed: u8) -> (Scalar, [u8; 32]) {
    let hash: [u8; 64] = Sha512::digest([seed; 32]).into();
    let mut wide = [0; 64];
    wide[..32].copy_from_slice(&hash[..32]);
    wide[0] &= 248;
    wide[31] = (wide[31] & 127) | 64;
    let public = SigningKey::from_seed(&[seed; 32]).verify_key().0;
    (Scalar::from_wide(&wide), public)
}

fn challenge(r: &[u8; 32], a: &[u8; 32], message: &[u8]) -> Scalar {
    let hash = Sha512::new()
        .chain_update(r)
        .chain_update(a)
        .chain_update(message)
        .finalize();
    Scalar::from_wide(&hash.into())
}

fn join(r: &[u8; 32], s: &[u8; 32]) -> [u8; 64] {
    let mut out = [0; 64];
    out[..32].copy_from_slice(r);
    out[32..].copy_from_slice(s);
    out
}

fn strict(key: [u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), Error> {
    VerifyKey(key).verify("statement", message, signature)
}

/// RFC 8032's verification without the strict rules, to show that a vector bites.
fn loose(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    ed25519_dalek::VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify(message, &signature).is_ok())
}

const REFUSED: Result<(), Error> = Err(Error::Signature { what: "statement" });

#[test]
fn the_first_vector_of_rfc_8032_holds() {
    let seed = point("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let key = SigningKey::from_seed(&seed);
    let public = point("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    assert_eq!(key.verify_key().0, public);
    let signature = key.sign(b"");
    assert_eq!(
        hex::encode(signature),
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555\
         fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    );
    assert_eq!(strict(public, b"", &signature), Ok(()));
    assert_eq!(strict(public, b"x", &signature), REFUSED);
}

#[test]
fn a_signature_made_by_hand_holds_so_that_the_forgeries_below_differ_in_one_thing() {
    let ((a, public), (r, big_r)) = (pair(1), pair(2));
    let s = r.add(&challenge(&big_r, &public, MESSAGE).mul(&a));
    assert_eq!(
        strict(public, MESSAGE, &join(&big_r, &s.to_bytes())),
        Ok(())
    );
}

#[test]
fn s_above_the_order_is_refused() {
    let ((a, public), (r, big_r)) = (pair(1), pair(2));
    let s = r
        .add(&challenge(&big_r, &public, MESSAGE).mul(&a))
        .to_bytes();
    let mut above = [0u8; 32];
    let mut carry = 0u16;
    for (i, byte) in above.iter_mut().enumerate() {
        carry += u16::from(s[i]) + u16::from(ORDER[i]);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(Scalar::from_canonical(&above).map(|_| ()), None);
    assert_eq!(strict(public, MESSAGE, &join(&big_r, &above)), REFUSED);
    // With its high bits set S stays the same number for verifiers that mask them.
    let mut high = *s;
    high[31] |= 0xe0;
    assert_eq!(strict(public, MESSAGE, &join(&big_r, &high)), REFUSED);
}

#[test]
fn a_key_of_small_order_signs_nothing() {
    let (s, big_r) = pair(3);
    let mut loosely = 0;
    for encoding in SMALL_ORDER.map(point) {
        // R = s·B. Where the order divides the challenge, s·B = R + c·A holds without any secret.
        for n in 0..64u8 {
            let signature = join(&big_r, &s.to_bytes());
            loosely += u32::from(loose(&encoding, &[n], &signature));
            assert_eq!(strict(encoding, &[n], &signature), REFUSED);
        }
    }
    // The vectors bite: under the identity every message, under the others some.
    assert!(loosely > 64, "{loosely}");
}

#[test]
fn a_commitment_of_small_order_is_refused() {
    let (a, public) = pair(1);
    let mut loosely = 0;
    for encoding in SMALL_ORDER.map(point) {
        // With R = 0 the signer's own s = c·a holds, and commits to nothing.
        let s = challenge(&encoding, &public, MESSAGE).mul(&a);
        let signature = join(&encoding, &s.to_bytes());
        loosely += u32::from(loose(&public, MESSAGE, &signature));
        assert_eq!(strict(public, MESSAGE, &signature), REFUSED);
    }
    assert_eq!(loosely, 1, "only the canonical identity is what R must be");
}

#[test]
fn encodings_that_are_no_point_are_refused() {
    let (_, public) = pair(1);
    let signature = SigningKey::from_seed(&[1; 32]).sign(MESSAGE);
    assert_eq!(strict(public, MESSAGE, &signature), Ok(()));
    // y = 2 is not on the curve.
    let mut no_point = [0; 32];
    no_point[0] = 2;
    assert_eq!(strict(no_point, MESSAGE, &signature), REFUSED);
    assert_eq!(strict([0xff; 32], MESSAGE, &signature), REFUSED);
    let s: [u8; 32] = signature[32..].try_into().unwrap();
    assert_eq!(strict(public, MESSAGE, &join(&no_point, &s)), REFUSED);
    for bit in 0..512 {
        let mut flipped = signature;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(strict(public, MESSAGE, &flipped), REFUSED, "bit {bit}");
    }
}

#[test]
fn key_ids_and_debug_are_as_specified() {
    let key = SigningKey::from_seed(&[0x5c; 32]);
    assert_eq!(
        key.verify_key().key_id(),
        hex::encode(Sha256::digest(key.verify_key().0))
    );
    insta::assert_snapshot!(format!("{key:?} {key:#?}"), @"SigningKey(..) SigningKey(..)");
    let public = format!("{:?}", key.verify_key());
    assert_eq!(
        public,
        format!("VerifyKey({})", hex::encode(key.verify_key().0))
    );
}
