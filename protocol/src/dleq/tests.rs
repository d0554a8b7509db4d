use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::group::ELEMENT_LEN;
use crate::oprf::{self, vectors};
use crate::test_support::kernel as tested;

const BOTH: [Weights; 2] = [Weights::Rfc9497, Weights::WholeChunk];

/// The group order l, little-endian.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

/// A proven chunk of `count` elements under the key of `seed`.
struct Chunk {
    secret: SecretKey,
    key: Arc<PublicKey>,
    weights: Weights,
    blinded: Vec<Encoding>,
    evaluated: Vec<Encoding>,
    proof: Proof,
}

impl Chunk {
    fn new(seed: u8, count: usize, weights: Weights) -> Self {
        let kernel = tested();
        let inputs: Vec<[u8; 8]> = (0..count as u64).map(u64::to_be_bytes).collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
        let blinded = kernel.encode(&kernel.hash_to_group(b"chunk", &inputs));
        let secret = SecretKey::from_seed(kernel, &[seed; 32], b"dleq tests").unwrap();
        let chunk = oprf::blind_evaluate(kernel, &secret, &blinded).unwrap();
        let proof = chunk.prove(weights, &[seed; 32]);
        let evaluated = chunk.into_elements();
        let key = Arc::new(PublicKey::decode(kernel, secret.public_bytes()).unwrap());
        Self {
            secret,
            key,
            weights,
            blinded,
            evaluated,
            proof,
        }
    }

    fn statement(&self) -> Statement<'_> {
        Statement {
            kernel: tested(),
            key: self.key.as_bytes(),
            blinded: &self.blinded,
            evaluated: &self.evaluated,
            weights: self.weights,
        }
    }

    fn verify(&self) -> Result<Verified, ProofError> {
        verify(
            tested(),
            &self.key,
            self.weights,
            &self.blinded,
            &self.evaluated,
            &self.proof,
        )
    }
}

#[test]
fn rfc_proofs_under_the_rfc_nonce() {
    let suite = vectors::voprf();
    let kernel = tested();
    let secret = SecretKey::from_bytes(kernel, &suite.secret).unwrap();
    let key = Arc::new(PublicKey::decode(kernel, &suite.public).unwrap());
    for vector in &suite.vectors {
        let statement = Statement {
            kernel,
            key: &suite.public,
            blinded: &vector.blinded,
            evaluated: &vector.evaluated,
            weights: Weights::Rfc9497,
        };
        let points = decode(kernel, &vector.blinded).unwrap();
        let nonce = Scalar::from_canonical(&vector.nonce).unwrap();
        let proof = prove_with_nonce(
            &statement,
            &secret,
            &points,
            &statement.seed(&statement.digest()),
            &nonce,
        );
        assert_eq!(*proof.as_bytes(), vector.proof);
        let proof = Proof::decode(&vector.proof).unwrap();
        let check = |weights, blinded: &[Encoding], evaluated: &[Encoding], proof: &Proof| {
            verify(kernel, &key, weights, blinded, evaluated, proof).map(|verified| verified.len())
        };
        let (c, d) = (&vector.blinded, &vector.evaluated);
        assert_eq!(check(Weights::Rfc9497, c, d, &proof), Ok(c.len()));
        assert_eq!(
            check(Weights::WholeChunk, c, d, &proof),
            Err(ProofError::Refused)
        );

        // Every bit of every field counts.
        for bit in 0..512 {
            let mut bytes = vector.proof;
            bytes[bit / 8] ^= 1 << (bit % 8);
            match Proof::decode(&bytes) {
                Ok(proof) => assert_eq!(
                    check(Weights::Rfc9497, c, d, &proof),
                    Err(ProofError::Refused)
                ),
                Err(error) => assert_eq!(error, ProofError::Encoding),
            }
        }
        for index in 0..c.len() {
            for bit in 0..256 {
                let flip = |list: &[Encoding]| {
                    let mut list = list.to_vec();
                    list[index][bit / 8] ^= 1 << (bit % 8);
                    list
                };
                let refused = check(Weights::Rfc9497, &flip(c), d, &proof).unwrap_err();
                assert!(matches!(
                    refused,
                    ProofError::Refused | ProofError::InvalidBlinded { .. }
                ));
                let refused = check(Weights::Rfc9497, c, &flip(d), &proof).unwrap_err();
                assert!(matches!(
                    refused,
                    ProofError::Refused | ProofError::InvalidEvaluated { .. }
                ));
            }
        }
    }
}

#[test]
fn both_weights_prove_and_are_not_each_other() {
    for weights in BOTH {
        for count in [1, 2, 3, 17] {
            let mut chunk = Chunk::new(1, count, weights);
            let verified = chunk.verify().unwrap();
            assert_eq!(verified.len(), count);
            assert_eq!(verified.key().as_bytes(), chunk.secret.public_bytes());
            let (points, _) = verified.into_parts();
            assert_eq!(tested().encode(&points), chunk.evaluated);
            chunk.weights = BOTH[usize::from(weights == BOTH[0])];
            assert_eq!(chunk.verify().unwrap_err(), ProofError::Refused);
        }
    }
}

/// What makes a chunk sound: no element can be changed under fixed weights. The RFC's
/// weights lack it, which is why sessions do not use them.
#[test]
fn one_changed_element_changes_every_weight() {
    for weights in BOTH {
        let mut chunk = Chunk::new(2, 4, weights);
        let bytes = |chunk: &Chunk| -> Vec<[u8; 32]> {
            let statement = chunk.statement();
            let all = statement.weights(&statement.seed(&statement.digest()));
            all.iter().map(|weight| *weight.to_bytes()).collect()
        };
        let before = bytes(&chunk);
        chunk.evaluated[2] = chunk.blinded[2];
        let after = bytes(&chunk);
        let changed: Vec<usize> = (0..4).filter(|i| before[*i] != after[*i]).collect();
        match weights {
            Weights::Rfc9497 => assert_eq!(changed, [2]),
            Weights::WholeChunk => assert_eq!(changed, [0, 1, 2, 3]),
        }
    }
}

/// Errors that cancel under the weights of the honest chunk would be believed if the
/// weights stood still. Here they are drawn anew, and the prover is refused even though
/// it follows the algorithm with its true key.
#[test]
fn errors_that_cancelled_under_the_old_weights_are_refused() {
    let kernel = tested();
    let chunk = Chunk::new(3, 2, Weights::WholeChunk);
    let statement = chunk.statement();
    let d = statement.weights(&statement.seed(&statement.digest()));
    // e_0 = d_1, e_1 = -d_0: Σ d_i·e_i = 0 under the weights of the honest chunk.
    let zero = d[0].sub(&d[0]);
    let errors = [zero.add(&d[1]), zero.sub(&d[0])];
    let mut wrong = decode(kernel, &chunk.evaluated).unwrap();
    kernel.add_base(&mut wrong, kernel.generator(), &errors);
    assert_eq!(
        kernel.encode(&kernel.msm_vartime(&d, &[&wrong])),
        kernel.encode(&kernel.msm_vartime(&d, &[&decode(kernel, &chunk.evaluated).unwrap()]))
    );
    let forged = Chunk {
        evaluated: kernel.encode(&wrong),
        ..chunk
    };
    let points = decode(kernel, &forged.blinded).unwrap();
    let proof = prove(&forged.statement(), &forged.secret, &points, &[0; 32]);
    let forged = Chunk { proof, ..forged };
    assert_eq!(forged.verify().unwrap_err(), ProofError::Refused);
}

#[test]
fn order_length_and_key_are_bound() {
    for weights in BOTH {
        let swap = |what: fn(&mut Chunk)| {
            let mut chunk = Chunk::new(4, 5, weights);
            what(&mut chunk);
            chunk.verify().unwrap_err()
        };
        assert_eq!(swap(|c| c.evaluated.swap(0, 4)), ProofError::Refused);
        assert_eq!(swap(|c| c.blinded.swap(0, 4)), ProofError::Refused);
        // Pairs moved together: the index is part of the statement.
        assert_eq!(
            swap(|c| {
                c.blinded.swap(1, 2);
                c.evaluated.swap(1, 2);
            }),
            ProofError::Refused
        );
        assert_eq!(
            swap(|c| std::mem::swap(&mut c.blinded, &mut c.evaluated)),
            ProofError::Refused
        );
        assert_eq!(
            swap(|c| {
                c.blinded.pop();
                c.evaluated.pop();
            }),
            ProofError::Refused
        );
        assert_eq!(
            swap(|c| {
                c.evaluated.pop();
            }),
            ProofError::LengthMismatch {
                blinded: 5,
                evaluated: 4
            }
        );
        assert_eq!(
            swap(|c| {
                c.blinded.clear();
                c.evaluated.clear();
            }),
            ProofError::ChunkSize { len: 0 }
        );
        assert_eq!(
            swap(|c| {
                c.blinded = vec![c.blinded[0]; MAX_CHUNK + 1];
                c.evaluated = vec![c.evaluated[0]; MAX_CHUNK + 1];
            }),
            ProofError::ChunkSize { len: MAX_CHUNK + 1 }
        );
        assert_eq!(
            swap(|c| c.key = Chunk::new(5, 1, c.weights).key),
            ProofError::Refused
        );
        assert_eq!(
            swap(|c| c.proof = Chunk::new(4, 4, c.weights).proof),
            ProofError::Refused
        );
    }
}

#[test]
fn evaluations_under_another_key_are_refused() {
    for weights in BOTH {
        let mut chunk = Chunk::new(6, 3, weights);
        let other = Chunk::new(7, 3, weights);
        // One element of another key among good ones, proven with the honest key.
        chunk.evaluated[1] = other.evaluated[1];
        let points = decode(tested(), &chunk.blinded).unwrap();
        chunk.proof = prove(&chunk.statement(), &chunk.secret, &points, &[0; 32]);
        assert_eq!(chunk.verify().unwrap_err(), ProofError::Refused);
    }
}

#[test]
fn invalid_elements_are_named() {
    let mut negative = [0u8; ELEMENT_LEN];
    negative[0] = 1;
    for bad in [[0u8; ELEMENT_LEN], negative, [0xff; ELEMENT_LEN]] {
        for index in 0..3 {
            let mut chunk = Chunk::new(8, 3, Weights::WholeChunk);
            chunk.evaluated[index] = bad;
            assert_eq!(
                chunk.verify().unwrap_err(),
                ProofError::InvalidEvaluated { index }
            );
            let mut chunk = Chunk::new(8, 3, Weights::WholeChunk);
            chunk.blinded[index] = bad;
            assert_eq!(
                chunk.verify().unwrap_err(),
                ProofError::InvalidBlinded { index }
            );
        }
    }
}

#[test]
fn proof_scalars_must_be_canonical() {
    let chunk = Chunk::new(9, 1, Weights::WholeChunk);
    let order: [u8; 32] = hex::decode(ORDER).unwrap().try_into().unwrap();
    let bytes = *chunk.proof.as_bytes();
    assert_eq!(Proof::decode(&bytes), Ok(chunk.proof));
    for half in [0, 32] {
        for bad in [order, [0xff; 32]] {
            let mut bytes = bytes;
            bytes[half..half + 32].copy_from_slice(&bad);
            assert_eq!(Proof::decode(&bytes), Err(ProofError::Encoding));
        }
        // s + l is the same scalar in another form.
        let mut carry = 0u16;
        let mut bytes = bytes;
        for i in 0..32 {
            carry += u16::from(bytes[half + i]) + u16::from(order[i]);
            bytes[half + i] = carry as u8;
            carry >>= 8;
        }
        assert_eq!(Proof::decode(&bytes), Err(ProofError::Encoding));
    }
    // Canonical and wrong.
    let zero = Proof::decode(&[0; PROOF_LEN]).unwrap();
    let chunk = Chunk {
        proof: zero,
        ..chunk
    };
    assert_eq!(chunk.verify().unwrap_err(), ProofError::Refused);
}

/// c and s give the nonce back as s + c·k. It must differ whenever anything differs,
/// and must not hang on `fresh` alone.
#[test]
fn nonces_are_bound_to_key_chunk_and_randomness() {
    let nonce = |seed: u8, count: usize, weights, fresh: u8| {
        let chunk = Chunk::new(seed, count, weights);
        let points = decode(tested(), &chunk.blinded).unwrap();
        let proof = prove(&chunk.statement(), &chunk.secret, &points, &[fresh; 32]);
        let (c, s) = proof.scalars().unwrap();
        *s.add(&c.mul(chunk.secret.scalar())).to_bytes()
    };
    let whole = Weights::WholeChunk;
    let all = [
        nonce(1, 2, whole, 1),
        nonce(1, 2, whole, 2),
        nonce(1, 3, whole, 1),
        nonce(2, 2, whole, 1),
        nonce(1, 2, Weights::Rfc9497, 1),
        nonce(1, 3, Weights::Rfc9497, 1),
    ];
    for (i, one) in all.iter().enumerate() {
        for other in &all[..i] {
            assert_ne!(one, other);
        }
    }
    assert_eq!(all[0], nonce(1, 2, whole, 1));
}

#[test]
fn debug_shows_public_values_only() {
    let chunk = Chunk::new(1, 2, Weights::WholeChunk);
    assert_snapshot!(format!("{:?}", chunk.verify().unwrap()), @"Verified(2 elements)");
    assert_snapshot!(
        format!("{:?}", Proof::decode(&[0; PROOF_LEN]).unwrap()),
        @"Proof(00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000)"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Any one error added to any element is found.
    #[test]
    fn any_wrong_element_is_refused(
        count in 1usize..9, index in 0usize..9, error in 1u64.., whole: bool,
    ) {
        let kernel = tested();
        let index = index % count;
        let mut chunk = Chunk::new(1, count, BOTH[usize::from(whole)]);
        let mut bytes = [0u8; 32];
        bytes[..8].copy_from_slice(&error.to_le_bytes());
        let error = Scalar::from_canonical(&bytes).unwrap();
        let mut wrong = decode(kernel, &[chunk.evaluated[index]]).unwrap();
        kernel.add_base(&mut wrong, kernel.generator(), &[error]);
        chunk.evaluated[index] = kernel.encode(&wrong)[0];
        prop_assert_eq!(chunk.verify().unwrap_err(), ProofError::Refused);
        // A prover that proves what it sent, with its true key, is not believed either.
        let points = decode(kernel, &chunk.blinded).unwrap();
        chunk.proof = prove(&chunk.statement(), &chunk.secret, &points, &[0; 32]);
        prop_assert_eq!(chunk.verify().unwrap_err(), ProofError::Refused);
    }

    #[test]
    fn arbitrary_proof_bytes_never_panic(low: [u8; 32], high: [u8; 32]) {
        let bytes: [u8; 64] = [low, high].concat().try_into().unwrap();
        if let Ok(proof) = Proof::decode(&bytes) {
            prop_assert_eq!(proof.as_bytes(), &bytes);
        }
    }
}
