//! Known answers that a kernel must give before it is used.
//!
//! The first check is RFC 9497, appendix A.1.2. The others are answers of the reference for nineteen
//! elements: two groups of eight lanes and a rest of three, with the scalars 0, 1 and l - 1 and with
//! encodings that must be refused in between; and two sums over six times as many, so that they go
//! by buckets. A test compares them with the reference.

use sha2::{Digest, Sha256};

use super::{Encoding, GENERATOR_ENCODING, Kernel, Points, Scalar};
use crate::sha512::{Construction, Message};

/// Elements of a batch.
const COUNT: usize = 19;

/// Batches that are joined for sums by buckets, with windows wide enough for each lane to have more
/// than one.
const MANY: usize = 6;

/// Batches that are more than a kernel takes through several steps at once.
const BLOCKS: usize = 28;

const DST: &[u8] = b"tallystick kernel self-test";

/// Domain separation tag of `HashToGroup` in the mode VOPRF.
const RFC_DST: &[u8] = b"HashToGroup-OPRFV1-\x01-ristretto255-SHA512";

/// `skSm`, `pkSm`, and of the first vector `Blind`, `BlindedElement`, `EvaluationElement`.
const RFC_SECRET: &str = "e6f73f344b79b379f1a0dd37e07ff62e38d9f71345ce62ae3a9bc60b04ccd909";
const RFC_PUBLIC: &str = "c803e2cc6b05fc15064549b5920659ca4a77b2cca6f04f6b357009335476ad4e";
const RFC_INPUT: &[u8] = &[0];
const RFC_BLIND: &str = "64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706";
const RFC_BLINDED: &str = "863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945";
const RFC_EVALUATED: &str = "aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e";

/// What a check computes, as bytes; `None` when the kernel takes or refuses what it must not.
type Compute = fn(&dyn Kernel, &Fixed) -> Option<Vec<u8>>;

/// Each check: its name, the SHA-256 of the answer, and how it is computed.
const CHECKS: &[(&str, &str, Compute)] = &[
    (
        "hash to group",
        "10a14e517d752a0458843adb3404f04d972361109993a20defb9b7230b3dc3bc",
        |kernel, fixed| Some(kernel.encode(&fixed.points(kernel)).concat()),
    ),
    (
        "multiplication",
        "8cda39c8434b5be3fed0a1f91d9b869416aa5b0354f53f17c04a6274124c9074",
        |kernel, fixed| {
            let products = kernel.mul(&fixed.points(kernel), &fixed.key);
            Some(kernel.encode(&products).concat())
        },
    ),
    (
        "a scalar for each",
        "8d31c47be4eb80b4bca5c0ae43e16eab58ab428a836f4cb86553232085b3c24b",
        |kernel, fixed| {
            let products = kernel.mul_each(&fixed.points(kernel), &fixed.scalars);
            Some(kernel.encode(&products).concat())
        },
    ),
    (
        "decoding",
        "19fb8978d15f2c9ce3adab84fa4743db1c138fe1eac4a2153a549f3891bef654",
        |kernel, fixed| {
            let mut encodings = kernel.encode(&fixed.points(kernel));
            *encodings.get_mut(7)? = NOT_CANONICAL;
            *encodings.get_mut(11)? = [0; 32];
            let mut valid = [true; COUNT];
            let points = kernel.decode(&encodings, &mut valid);
            let mut answer = kernel.encode(&points).concat();
            answer.extend(valid.map(u8::from));
            Some(answer)
        },
    ),
    (
        "fixed bases",
        "e53176acb4f3bd6d565fa2b618c574b00de7a547583fc98b52e1626a67142b62",
        |kernel, fixed| {
            let other = kernel.base(kernel.encode(&fixed.points(kernel)).first()?)?;
            let mut points = kernel.mul(&fixed.points(kernel), &fixed.key);
            kernel.add_base(&mut points, kernel.generator(), &fixed.scalars);
            let mut answer = kernel.encode(&points).concat();
            kernel.sub_base(&mut points, &other, &fixed.scalars);
            let ends = kernel.concat(&[&points, &kernel.base_point(&other)]);
            answer.extend(kernel.encode(&ends).concat());
            Some(answer)
        },
    ),
    (
        "fixed bases, encoded in the same pass",
        "88777ac6df6ea1ee479111931e3462061d392032bf2410b5736587b442ad8d57",
        |kernel, fixed| {
            // More than a kernel takes in one block.
            let points = fixed.points(kernel);
            let (mut many, scalars) = (kernel.concat(&[&points; BLOCKS]), fixed.many(BLOCKS));
            let added = kernel.add_base_encode(&mut many, kernel.generator(), &scalars);
            let mut halves = kernel.mul(&points, &fixed.key);
            let other = kernel.base(kernel.encode(&points).first()?)?;
            let taken = kernel.sub_base_encode(&mut halves, &other, &fixed.scalars);
            Some([added, taken].concat().concat())
        },
    ),
    (
        "SHA-512",
        "10ffaba7f504af6542ca4ca2af5f1a0c369b7322305186a969498d85d1d591fe",
        |kernel, fixed| {
            let mut answer = Vec::new();
            for construction in [Construction::plain(), Construction::hmac(&[7; 32])] {
                let write = |input: &[u8], message: &mut Message| message.push(input);
                let keep = |digest: &[u8; 64]| answer.extend_from_slice(digest);
                kernel
                    .sha512()
                    .each(&construction, fixed.inputs(), write, keep);
            }
            Some(answer)
        },
    ),
    (
        "sum of products",
        "487e1b67a50919e2e5c4562e2cad384fb69c056992bfbf2a86589b7998f3e1ae",
        |kernel, fixed| {
            let points = kernel.mul(&fixed.points(kernel), &fixed.key);
            let sum = kernel.msm_vartime(&fixed.scalars, &[&points]);
            Some(kernel.encode(&sum).concat())
        },
    ),
    (
        "sums of many products",
        "22963891a0f49c3abff69ba68d8f876cc22273395345d50557d658e17015663c",
        |kernel, fixed| {
            let (points, scalars) = (fixed.points(kernel), fixed.many(MANY));
            let products = kernel.mul(&points, &fixed.key);
            let parts = [&points, &products, &products, &points, &points, &points];
            let mut first = kernel.concat(&parts);
            let second = kernel.concat(&[&products; MANY]);
            kernel.add_base(&mut first, kernel.generator(), &scalars);
            let sums = kernel.msm_vartime(&scalars, &[&first, &second]);
            Some(kernel.encode(&sums).concat())
        },
    ),
    (
        "hash, multiply, encode",
        "8cda39c8434b5be3fed0a1f91d9b869416aa5b0354f53f17c04a6274124c9074",
        |kernel, fixed| {
            Some(
                kernel
                    .hash_mul_encode(DST, &fixed.inputs(), &fixed.key)
                    .concat(),
            )
        },
    ),
    (
        "decode, multiply, encode",
        "c1a03cf942c6be4f186c8f2dd38ba43b15b0b3f14cb802849dfa974f561302cf",
        |kernel, fixed| {
            let mut encodings = kernel.encode(&fixed.points(kernel));
            let mut valid = [false; COUNT];
            let (points, products) =
                kernel.decode_mul_encode(&encodings, &fixed.key, &mut valid)?;
            let mut answer = [kernel.encode(&points), products].concat().concat();
            answer.extend(valid.map(u8::from));
            *encodings.get_mut(17)? = NOT_CANONICAL;
            let refused = kernel.decode_mul_encode(&encodings, &fixed.key, &mut valid);
            answer.extend(valid.map(u8::from));
            refused.is_none().then_some(answer)
        },
    ),
];

/// p + 2: a positive field element in another form than the canonical one.
const NOT_CANONICAL: Encoding = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xef;
    bytes[31] = 0x7f;
    bytes
};

/// What every check starts from.
struct Fixed {
    inputs: Vec<Vec<u8>>,
    key: Scalar,
    scalars: Vec<Scalar>,
}

impl Fixed {
    fn new() -> Self {
        let one = Scalar::from_wide(&{
            let mut bytes = [0; 64];
            bytes[0] = 1;
            bytes
        });
        let zero = Scalar::from_wide(&[0; 64]);
        let last = zero.sub(&one);
        let mut scalars: Vec<Scalar> = (0..COUNT as u8)
            .map(|i| Scalar::hash(DST, &[b"scalar", &[i]]))
            .collect();
        for (slot, special) in scalars.iter_mut().skip(3).zip([zero, one, last]) {
            *slot = special;
        }
        Self {
            // Nothing, less than a block, and more than one.
            inputs: (0..COUNT as u8)
                .map(|i| vec![i; usize::from(i) * 17])
                .collect(),
            key: Scalar::hash(DST, &[b"key"]),
            scalars,
        }
    }

    /// Scalars for as many elements as some batches have.
    fn many(&self, batches: usize) -> Vec<Scalar> {
        let factors = self.scalars.iter().rev().cycle().take(batches);
        factors
            .flat_map(|factor| self.scalars.iter().map(|scalar| scalar.mul(factor)))
            .collect()
    }

    fn inputs(&self) -> Vec<&[u8]> {
        self.inputs.iter().map(Vec::as_slice).collect()
    }

    fn points(&self, kernel: &dyn Kernel) -> Points {
        kernel.hash_to_group(DST, &self.inputs())
    }
}

/// Runs every check: some five milliseconds with the reference, less with a faster kernel.
///
/// # Errors
/// The name of the first check whose answer is wrong.
pub(super) fn self_test(kernel: &dyn Kernel) -> Result<(), &'static str> {
    if rfc(kernel).is_none() {
        return Err("RFC 9497");
    }
    let fixed = Fixed::new();
    for (name, expected, compute) in CHECKS {
        if digest(*compute, kernel, &fixed).as_deref() != Some(*expected) {
            return Err(name);
        }
    }
    Ok(())
}

fn digest(compute: Compute, kernel: &dyn Kernel, fixed: &Fixed) -> Option<String> {
    Some(hex::encode(Sha256::digest(compute(kernel, fixed)?)))
}

/// The first vector of RFC 9497, appendix A.1.2; `None` if an answer differs.
fn rfc(kernel: &dyn Kernel) -> Option<()> {
    let bytes = |text: &str| <[u8; 32]>::try_from(hex::decode(text).ok()?).ok();
    let scalar = |text: &str| Scalar::from_canonical(&bytes(text)?);
    let secret = scalar(RFC_SECRET)?;
    // First: a kernel that cannot decode it has no generator to compute with.
    kernel.base(&GENERATOR_ENCODING)?;
    let public = kernel.mul(&kernel.base_point(kernel.generator()), &secret);
    let blinded = kernel.hash_mul_encode(RFC_DST, &[RFC_INPUT], &scalar(RFC_BLIND)?);
    let (_, evaluated) = kernel.decode_mul_encode(&blinded, &secret, &mut [false])?;
    let same = kernel.encode(&public) == [bytes(RFC_PUBLIC)?]
        && blinded == [bytes(RFC_BLINDED)?]
        && evaluated == [bytes(RFC_EVALUATED)?];
    same.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::reference;

    /// The constants are what the reference computes; what it computes other tests compare with the
    /// RFC and with another implementation.
    #[test]
    fn answers_are_those_of_the_reference() {
        let fixed = Fixed::new();
        let answers: Vec<_> = CHECKS
            .iter()
            .map(|(name, _, compute)| (*name, digest(*compute, reference(), &fixed)))
            .collect();
        let expected: Vec<_> = CHECKS
            .iter()
            .map(|(name, expected, _)| (*name, Some((*expected).to_owned())))
            .collect();
        assert_eq!(answers, expected);
        assert_eq!(self_test(reference()), Ok(()));
    }
}
