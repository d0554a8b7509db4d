//! Our OPRF against the `voprf` crate, an independent implementation of RFC 9497: each
//! side blinds, evaluates, proves, verifies and finalizes for the other.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tallystick_protocol::dleq::{self, Proof, ProofError, Weights};
use tallystick_protocol::group::Kernel;
use tallystick_protocol::oprf::{
    self, AdditiveBlinds, Output, PublicKey, ScalarBlinds, SecretKey, SessionSeed,
};
use tallystick_tests::kernel as tested;
use voprf::{BlindedElement, EvaluationElement, Group, Ristretto255, VoprfClient, VoprfServer};

const RFC: Weights = Weights::Rfc9497;
const INFO: &[u8] = b"differential test";

/// A seeded generator behind the traits of the generation that `voprf` uses.
struct OldRng(StdRng);

impl rand_core_06::RngCore for OldRng {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill_bytes(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

impl rand_core_06::CryptoRng for OldRng {}

/// One key held by both implementations.
struct Pair {
    ours: SecretKey,
    public: Arc<PublicKey>,
    theirs: VoprfServer<Ristretto255>,
    rng: OldRng,
}

impl Pair {
    fn new(seed: [u8; 32]) -> Self {
        let kernel = tested();
        let ours = SecretKey::from_seed(kernel, &seed, INFO).unwrap();
        let theirs = VoprfServer::new_from_seed(&seed, INFO).unwrap();
        let point = Ristretto255::serialize_elem(theirs.get_public_key());
        assert_eq!(ours.public_bytes()[..], point[..]);
        Self {
            public: Arc::new(PublicKey::decode(kernel, ours.public_bytes()).unwrap()),
            ours,
            theirs,
            rng: OldRng(StdRng::from_seed(seed)),
        }
    }

    /// Their evaluation of our blinded elements, with their proof.
    fn their_evaluation(&mut self, blinded: &[[u8; 32]]) -> (Vec<[u8; 32]>, Proof) {
        let blinded: Vec<BlindedElement<Ristretto255>> = blinded
            .iter()
            .map(|bytes| BlindedElement::deserialize(bytes).unwrap())
            .collect();
        let prepared: Vec<_> = self
            .theirs
            .batch_blind_evaluate_prepare(blinded.iter())
            .collect();
        let result = self
            .theirs
            .batch_blind_evaluate_finish(&mut self.rng, blinded.iter(), &prepared)
            .unwrap();
        let proof: [u8; 64] = result.proof.serialize().into();
        let elements = result.messages.map(|m| m.serialize().into()).collect();
        (elements, Proof::decode(&proof).unwrap())
    }

    fn expected(&self, inputs: &[&[u8]]) -> Vec<[u8; 64]> {
        inputs
            .iter()
            .map(|input| self.theirs.evaluate(input).unwrap().into())
            .collect()
    }
}

fn bytes(outputs: &[Output]) -> Vec<[u8; 64]> {
    outputs
        .iter()
        .map(|output| {
            [output.tag(32), output.label_key_material()]
                .concat()
                .try_into()
                .unwrap()
        })
        .collect()
}

fn blinds(inputs: &[&[u8]]) -> Vec<tallystick_protocol::group::Scalar> {
    let seed = SessionSeed::new([3; 32]);
    seed.blinds(tested(), &[1; 16], "document", 0, inputs)
        .unwrap()
}

/// Our blinds, their evaluation and proof, our check and outputs; in both blindings.
fn our_receiver(pair: &mut Pair, inputs: &[&[u8]]) {
    let kernel = tested();
    let expected = pair.expected(inputs);

    let ours = AdditiveBlinds::new(blinds(inputs));
    let blinded = oprf::blind_additive(kernel, inputs, &ours).unwrap();
    let (elements, proof) = pair.their_evaluation(&blinded);
    let verified = dleq::verify(kernel, &pair.public, RFC, &blinded, &elements, &proof).unwrap();
    let outputs = oprf::finalize_additive(kernel, inputs, ours, verified).unwrap();
    assert_eq!(bytes(&outputs), expected);

    let ours = ScalarBlinds::new(blinds(inputs)).unwrap();
    let blinded = oprf::blind_scalar(kernel, inputs, &ours).unwrap();
    let (elements, proof) = pair.their_evaluation(&blinded);
    let verified = dleq::verify(kernel, &pair.public, RFC, &blinded, &elements, &proof).unwrap();
    let outputs = oprf::finalize_scalar(kernel, inputs, ours, verified).unwrap();
    assert_eq!(bytes(&outputs), expected);

    assert_eq!(
        bytes(&oprf::evaluate(kernel, inputs, &pair.ours).unwrap()),
        expected
    );
    refuses_what_is_wrong(pair, kernel, &blinded, &elements, &proof);
}

fn refuses_what_is_wrong(
    pair: &Pair,
    kernel: &dyn Kernel,
    blinded: &[[u8; 32]],
    elements: &[[u8; 32]],
    proof: &Proof,
) {
    let check = |key, weights, elements: &[[u8; 32]]| {
        dleq::verify(kernel, key, weights, blinded, elements, proof).map(|verified| verified.len())
    };
    let other = SecretKey::from_seed(kernel, &[0; 32], b"other").unwrap();
    let other = Arc::new(PublicKey::decode(kernel, other.public_bytes()).unwrap());
    let refused = Err(ProofError::Refused);
    assert_eq!(check(&other, RFC, elements), refused);
    assert_eq!(check(&pair.public, Weights::WholeChunk, elements), refused);
    let mut wrong = elements.to_vec();
    wrong[0] = blinded[0];
    assert_eq!(check(&pair.public, RFC, &wrong), refused);
}

/// Their blinds, our evaluation and proof, their check and outputs.
fn their_receiver(pair: &mut Pair, inputs: &[&[u8]]) {
    let kernel = tested();
    let (clients, blinded): (Vec<VoprfClient<Ristretto255>>, Vec<[u8; 32]>) = inputs
        .iter()
        .map(|input| {
            let result = VoprfClient::<Ristretto255>::blind(input, &mut pair.rng).unwrap();
            (result.state, <[u8; 32]>::from(result.message.serialize()))
        })
        .unzip();
    let evaluated = oprf::blind_evaluate(kernel, &pair.ours, &blinded).unwrap();
    let messages: Vec<EvaluationElement<Ristretto255>> = evaluated
        .elements()
        .iter()
        .map(|bytes| EvaluationElement::deserialize(bytes).unwrap())
        .collect();
    let finalize = |proof: &[u8; 64], inputs: &Vec<Vec<u8>>| {
        let proof = voprf::Proof::<Ristretto255>::deserialize(proof).unwrap();
        let key = pair.theirs.get_public_key();
        VoprfClient::batch_finalize(inputs, &clients, &messages, &proof, key).map(|outputs| {
            outputs
                .map(|output| output.unwrap().into())
                .collect::<Vec<[u8; 64]>>()
        })
    };
    let owned: Vec<Vec<u8>> = inputs.iter().map(|input| input.to_vec()).collect();
    let proof = evaluated.prove(RFC, &[9; 32]);
    assert_eq!(
        finalize(proof.as_bytes(), &owned).unwrap(),
        bytes(&oprf::evaluate(kernel, inputs, &pair.ours).unwrap())
    );
    // They refuse a proof over other weights and a damaged one.
    let whole = evaluated.prove(Weights::WholeChunk, &[9; 32]);
    assert!(finalize(whole.as_bytes(), &owned).is_err());
    let mut damaged = *proof.as_bytes();
    damaged[32] ^= 1;
    if voprf::Proof::<Ristretto255>::deserialize(&damaged).is_ok() {
        assert!(finalize(&damaged, &owned).is_err());
    }
}

#[test]
fn single_elements_and_batches() {
    let mut pair = Pair::new([7; 32]);
    for count in [1u32, 2, 3, 33, 257] {
        let inputs: Vec<[u8; 4]> = (0..count).map(u32::to_be_bytes).collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
        our_receiver(&mut pair, &inputs);
        their_receiver(&mut pair, &inputs);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn arbitrary_batches(
        seed: [u8; 32],
        inputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..10),
    ) {
        let mut pair = Pair::new(seed);
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        our_receiver(&mut pair, &inputs);
        their_receiver(&mut pair, &inputs);
    }
}
