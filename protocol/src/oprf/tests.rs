use std::sync::Arc;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::test_support::kernel as tested;

const SESSION: [u8; 16] = [9; 16];

fn scalar(bytes: &[u8; 32]) -> Scalar {
    Scalar::from_canonical(bytes).unwrap()
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(tested(), &[seed; 32], b"test key").unwrap()
}

fn public(key: &SecretKey) -> Arc<PublicKey> {
    Arc::new(PublicKey::decode(tested(), key.public_bytes()).unwrap())
}

fn bytes(output: &Output) -> [u8; 64] {
    [output.tag(32), output.label_key_material()]
        .concat()
        .try_into()
        .unwrap()
}

fn all_bytes(outputs: &[Output]) -> Vec<[u8; 64]> {
    outputs.iter().map(bytes).collect()
}

fn blinds(seed: &SessionSeed, inputs: &[&[u8]]) -> Vec<Scalar> {
    seed.blinds(tested(), &SESSION, "document", 0, inputs)
        .unwrap()
}

/// The whole run of a chunk with additive blinds.
fn run_additive(key: &SecretKey, inputs: &[&[u8]], weights: Weights) -> Vec<Output> {
    let kernel = tested();
    let seed = SessionSeed::new([4; 32]);
    let ours = AdditiveBlinds::new(blinds(&seed, inputs));
    let blinded = blind_additive(kernel, inputs, &ours).unwrap();
    let evaluated = blind_evaluate(kernel, key, &blinded).unwrap();
    let proof = evaluated.prove(weights, &[1; 32]);
    let elements = evaluated.into_elements();
    let verified =
        dleq::verify(kernel, &public(key), weights, &blinded, &elements, &proof).unwrap();
    finalize_additive(kernel, inputs, ours, verified).unwrap()
}

/// The whole run of a chunk with the RFC's blinds.
fn run_scalar(key: &SecretKey, inputs: &[&[u8]], weights: Weights) -> Vec<Output> {
    let kernel = tested();
    let seed = SessionSeed::new([5; 32]);
    let ours = ScalarBlinds::new(blinds(&seed, inputs)).unwrap();
    let blinded = blind_scalar(kernel, inputs, &ours).unwrap();
    let evaluated = blind_evaluate(kernel, key, &blinded).unwrap();
    let proof = evaluated.prove(weights, &[2; 32]);
    let elements = evaluated.into_elements();
    let verified =
        dleq::verify(kernel, &public(key), weights, &blinded, &elements, &proof).unwrap();
    finalize_scalar(kernel, inputs, ours, verified).unwrap()
}

#[test]
fn rfc_key_derivation() {
    let suite = vectors::voprf();
    let kernel = tested();
    assert_eq!(suite.group_dst, HASH_TO_GROUP_DST);
    let key = SecretKey::from_seed(kernel, &suite.seed, &suite.info).unwrap();
    assert_eq!(*key.to_bytes(), suite.secret);
    assert_eq!(*key.public_bytes(), suite.public);
    let again = SecretKey::from_bytes(kernel, &suite.secret).unwrap();
    assert_eq!(*again.public_bytes(), suite.public);
    assert_eq!(*public(&key).as_bytes(), suite.public);

    // Every bit of seed and info counts.
    for bit in 0..256 {
        let mut seed = suite.seed;
        seed[bit / 8] ^= 1 << (bit % 8);
        let other = SecretKey::from_seed(kernel, &seed, &suite.info).unwrap();
        assert_ne!(*other.to_bytes(), suite.secret);
    }
    for bit in 0..suite.info.len() * 8 {
        let mut info = suite.info.clone();
        info[bit / 8] ^= 1 << (bit % 8);
        let other = SecretKey::from_seed(kernel, &suite.seed, &info).unwrap();
        assert_ne!(*other.to_bytes(), suite.secret);
    }
    let long = vec![0u8; 65_536];
    assert_eq!(
        SecretKey::from_seed(kernel, &suite.seed, &long).unwrap_err(),
        OprfError::InfoTooLong
    );
    assert!(SecretKey::from_seed(kernel, &suite.seed, &long[1..]).is_ok());
}

#[test]
fn rfc_vectors() {
    let suite = vectors::voprf();
    let kernel = tested();
    let key = SecretKey::from_bytes(kernel, &suite.secret).unwrap();
    for vector in &suite.vectors {
        let inputs = vector.inputs();
        let blinds = ScalarBlinds::new(vector.blinds.iter().map(scalar).collect()).unwrap();
        let blinded = blind_scalar(kernel, &inputs, &blinds).unwrap();
        assert_eq!(*blinded, vector.blinded);
        let evaluated = blind_evaluate(kernel, &key, &blinded).unwrap();
        assert_eq!(evaluated.elements(), vector.evaluated);
        let verified = dleq::verify(
            kernel,
            &public(&key),
            Weights::Rfc9497,
            &vector.blinded,
            &vector.evaluated,
            &Proof::decode(&vector.proof).unwrap(),
        )
        .unwrap();
        assert_eq!(*verified.key().as_bytes(), suite.public);
        let outputs = finalize_scalar(kernel, &inputs, blinds, verified).unwrap();
        assert_eq!(all_bytes(&outputs), vector.outputs);
        assert_eq!(
            all_bytes(&evaluate(kernel, &inputs, &key).unwrap()),
            vector.outputs
        );
        // The same blinds, used additively, end in the same outputs.
        for weights in [Weights::Rfc9497, Weights::WholeChunk] {
            assert_eq!(
                all_bytes(&run_additive(&key, &inputs, weights)),
                vector.outputs
            );
            assert_eq!(
                all_bytes(&run_scalar(&key, &inputs, weights)),
                vector.outputs
            );
        }
    }
}

#[test]
fn rfc_vectors_with_a_bit_flipped() {
    let suite = vectors::voprf();
    let kernel = tested();
    let key = SecretKey::from_bytes(kernel, &suite.secret).unwrap();
    for vector in &suite.vectors {
        for i in 0..vector.inputs.len() {
            // Another input: another blinded element and another output.
            let mut changed = vector.inputs.clone();
            changed[i][0] ^= 0x10;
            let changed: Vec<&[u8]> = changed.iter().map(Vec::as_slice).collect();
            let blinds = ScalarBlinds::new(vector.blinds.iter().map(scalar).collect()).unwrap();
            let blinded = blind_scalar(kernel, &changed, &blinds).unwrap();
            let outputs = evaluate(kernel, &changed, &key).unwrap();
            for j in 0..changed.len() {
                assert_eq!(blinded[j] == vector.blinded[j], i != j);
                assert_eq!(bytes(&outputs[j]) == vector.outputs[j], i != j);
            }
            // Another blind: another blinded element.
            let mut other = vector.blinds.clone();
            other[i][0] ^= 1;
            let blinds = ScalarBlinds::new(other.iter().map(scalar).collect()).unwrap();
            let blinded = blind_scalar(kernel, &vector.inputs(), &blinds).unwrap();
            assert_ne!(blinded[i], vector.blinded[i]);
            // Another blinded element: refused, or another evaluation.
            for bit in 0..256 {
                let mut blinded = vector.blinded.clone();
                blinded[i][bit / 8] ^= 1 << (bit % 8);
                match blind_evaluate(kernel, &key, &blinded) {
                    Ok(evaluated) => assert_ne!(evaluated.elements()[i], vector.evaluated[i]),
                    Err(error) => assert_eq!(error, OprfError::InvalidElement { index: i }),
                }
            }
        }
        // Another key: everything differs.
        let mut secret = suite.secret;
        secret[0] ^= 1;
        let wrong = SecretKey::from_bytes(kernel, &secret).unwrap();
        let evaluated = blind_evaluate(kernel, &wrong, &vector.blinded).unwrap();
        let outputs = evaluate(kernel, &vector.inputs(), &wrong).unwrap();
        for (i, output) in outputs.iter().enumerate() {
            assert_ne!(evaluated.elements()[i], vector.evaluated[i]);
            assert_ne!(bytes(output), vector.outputs[i]);
        }
    }
}

#[test]
fn outputs_depend_on_the_order() {
    let suite = vectors::voprf();
    let kernel = tested();
    let key = SecretKey::from_bytes(kernel, &suite.secret).unwrap();
    let vector = &suite.vectors[2];
    let verified = dleq::verify(
        kernel,
        &public(&key),
        Weights::Rfc9497,
        &vector.blinded,
        &vector.evaluated,
        &Proof::decode(&vector.proof).unwrap(),
    )
    .unwrap();
    let blinds = ScalarBlinds::new(vector.blinds.iter().map(scalar).collect()).unwrap();
    let mut swapped = vector.inputs();
    swapped.reverse();
    let outputs = finalize_scalar(kernel, &swapped, blinds, verified).unwrap();
    assert_ne!(bytes(&outputs[0]), vector.outputs[1]);
    assert_ne!(bytes(&outputs[1]), vector.outputs[0]);
}

#[test]
fn keys_refuse_damaged_bytes() {
    let kernel = tested();
    let order =
        hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    for bad in [[0u8; 32], order.try_into().unwrap(), [0xff; 32]] {
        assert_eq!(
            SecretKey::from_bytes(kernel, &bad).unwrap_err(),
            OprfError::SecretKey
        );
    }
    // The identity, a negative encoding, one that is not below p, one off the curve.
    let mut negative = [0u8; 32];
    negative[0] = 1;
    let mut large = [0xff; 32];
    large[0] = 0xed;
    large[31] = 0x7f;
    for bad in [[0u8; 32], negative, large, [0xff; 32]] {
        assert_eq!(
            PublicKey::decode(kernel, &bad).unwrap_err(),
            OprfError::PublicKey
        );
    }
}

#[test]
fn an_evaluated_chunk_is_whole_or_refused() {
    let kernel = tested();
    let key = key(1);
    let inputs: Vec<[u8; 4]> = (0..5u32).map(u32::to_be_bytes).collect();
    let inputs: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
    let seed = SessionSeed::new([1; 32]);
    let ours = AdditiveBlinds::new(blinds(&seed, &inputs));
    let good = blind_additive(kernel, &inputs, &ours).unwrap();
    for index in 0..5 {
        for bad in [[0u8; 32], [0xff; 32]] {
            let mut chunk = good.to_vec();
            chunk[index] = bad;
            assert_eq!(
                blind_evaluate(kernel, &key, &chunk).unwrap_err(),
                OprfError::InvalidElement { index }
            );
        }
    }
    let mut two = good.to_vec();
    two[1] = [0; 32];
    two[3] = [0; 32];
    assert_eq!(
        blind_evaluate(kernel, &key, &two).unwrap_err(),
        OprfError::InvalidElement { index: 1 }
    );
}

#[test]
fn short_chunks_and_the_chunk_edge() {
    let kernel = tested();
    let key = key(2);
    let none = AdditiveBlinds::new(Vec::new());
    assert!(blind_additive(kernel, &[], &none).unwrap().is_empty());
    assert!(evaluate(kernel, &[], &key).unwrap().is_empty());
    assert_eq!(
        blind_evaluate(kernel, &key, &[]).unwrap_err(),
        OprfError::ChunkSize { len: 0 }
    );
    for count in 1..4usize {
        let inputs: Vec<Vec<u8>> = (0..count).map(|i| vec![i as u8; i]).collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let expected = all_bytes(&evaluate(kernel, &inputs, &key).unwrap());
        assert_eq!(expected.len(), count);
        assert_eq!(
            all_bytes(&run_additive(&key, &inputs, Weights::WholeChunk)),
            expected
        );
    }
    let over = vec![*key.public_bytes(); MAX_CHUNK + 1];
    assert_eq!(
        blind_evaluate(kernel, &key, &over).unwrap_err(),
        OprfError::ChunkSize { len: MAX_CHUNK + 1 }
    );
    let inputs = vec![&b"x"[..]; MAX_CHUNK + 1];
    assert_eq!(
        evaluate(kernel, &inputs, &key).unwrap_err(),
        OprfError::ChunkSize { len: MAX_CHUNK + 1 }
    );
}

#[test]
fn lengths_must_agree() {
    let kernel = tested();
    let seed = SessionSeed::new([1; 32]);
    let inputs: [&[u8]; 2] = [b"a", b"b"];
    let short = AdditiveBlinds::new(blinds(&seed, &inputs[..1]));
    let refused = OprfError::LengthMismatch {
        expected: 2,
        given: 1,
    };
    assert_eq!(
        blind_additive(kernel, &inputs, &short).unwrap_err(),
        refused
    );
    let short = ScalarBlinds::new(blinds(&seed, &inputs[..1])).unwrap();
    assert_eq!(blind_scalar(kernel, &inputs, &short).unwrap_err(), refused);

    // One verified element for two inputs.
    let key = key(3);
    let verified = || {
        let ours = AdditiveBlinds::new(blinds(&seed, &inputs[..1]));
        let blinded = blind_additive(kernel, &inputs[..1], &ours).unwrap();
        let evaluated = blind_evaluate(kernel, &key, &blinded).unwrap();
        let proof = evaluated.prove(Weights::WholeChunk, &[0; 32]);
        let elements = evaluated.into_elements();
        let weights = Weights::WholeChunk;
        dleq::verify(kernel, &public(&key), weights, &blinded, &elements, &proof).unwrap()
    };
    let ours = AdditiveBlinds::new(blinds(&seed, &inputs));
    assert_eq!(
        finalize_additive(kernel, &inputs, ours, verified()).unwrap_err(),
        refused
    );
    let ours = ScalarBlinds::new(blinds(&seed, &inputs)).unwrap();
    assert_eq!(
        finalize_scalar(kernel, &inputs, ours, verified()).unwrap_err(),
        refused
    );

    let long = vec![0u8; MAX_INPUT + 1];
    let inputs: [&[u8]; 2] = [b"a", &long];
    assert_eq!(
        evaluate(kernel, &inputs, &key).unwrap_err(),
        OprfError::InputTooLong { index: 1 }
    );
    assert!(evaluate(kernel, &[&long[1..]], &key).is_ok());
}

#[test]
fn identity_results_are_refused() {
    let zero = [0u8; 32];
    let kernel = tested();
    let one = *kernel
        .encode(&kernel.base_point(kernel.generator()))
        .first()
        .unwrap();
    for elements in [vec![zero], vec![one, zero], vec![zero, one, one]] {
        assert_eq!(refuse_identity(&elements).unwrap_err(), OprfError::Identity);
        let inputs = vec![&b"x"[..]; elements.len()];
        assert_eq!(
            hash_outputs(tested(), &inputs, &elements).unwrap_err(),
            OprfError::Identity
        );
    }
    assert!(refuse_identity(&[one]).is_ok());
    // Every bit counts.
    for bit in 0..256 {
        let mut other = zero;
        other[bit / 8] = 1 << (bit % 8);
        assert!(refuse_identity(&[one, other]).is_ok());
    }
    let zero = Scalar::from_canonical(&zero).unwrap();
    let one = Scalar::from_wide(&[1; 64]);
    assert_eq!(
        ScalarBlinds::new(vec![one, zero]).unwrap_err(),
        OprfError::ZeroBlind { index: 1 }
    );
}

#[test]
fn a_blind_is_bound_to_everything() {
    let seed = SessionSeed::new([1; 32]);
    let blind = |seed: &SessionSeed, session, name, index, element: &[u8]| {
        *seed
            .blinds(tested(), session, name, index, &[element])
            .unwrap()[0]
            .to_bytes()
    };
    let base = blind(&seed, &SESSION, "document", 7, b"element");
    assert_eq!(base, blind(&seed, &SESSION, "document", 7, b"element"));
    let others = [
        blind(
            &SessionSeed::new([2; 32]),
            &SESSION,
            "document",
            7,
            b"element",
        ),
        blind(&seed, &[8; 16], "document", 7, b"element"),
        blind(&seed, &SESSION, "text", 7, b"element"),
        blind(&seed, &SESSION, "document", 8, b"element"),
        blind(&seed, &SESSION, "document", 7, b"elemenu"),
        blind(&seed, &SESSION, "document", 7, b""),
    ];
    for other in others {
        assert_ne!(base, other);
    }
    let named = |len| seed.blinds(tested(), &SESSION, &"t".repeat(len), 0, &[b""]);
    assert_eq!(named(256).unwrap_err(), OprfError::TypeNameTooLong);
    assert!(named(255).is_ok());
}

/// A chunk may be cut anywhere without a change of its blinds.
#[test]
fn blinds_count_on_from_the_first_index() {
    let seed = SessionSeed::new([1; 32]);
    let elements: Vec<Vec<u8>> = (0..20).map(|i| vec![i; 30 * usize::from(i)]).collect();
    let elements: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
    let blinds = |first, elements: &[&[u8]]| {
        seed.blinds(tested(), &SESSION, "document", first, elements)
            .unwrap()
            .iter()
            .map(|blind| *blind.to_bytes())
            .collect::<Vec<_>>()
    };
    let all = blinds(5, &elements);
    assert_eq!(all.len(), elements.len());
    for cut in 0..=elements.len() {
        let (before, after) = elements.split_at(cut);
        let parts = [blinds(5, before), blinds(5 + cut as u64, after)];
        assert_eq!(parts.concat(), all);
    }
}

/// The value of one blind, computed apart from this code (Python's hmac and integers).
#[test]
fn a_blind_has_its_fixed_value() {
    let seed = SessionSeed::new(std::array::from_fn(|i| i as u8));
    let session = std::array::from_fn(|i| 0xf0 + i as u8);
    let blinds = seed
        .blinds(tested(), &session, "document", 258, &[b"\x01element"])
        .unwrap();
    assert_snapshot!(hex::encode(*blinds[0].to_bytes()), @"08e3aab3e250fbbf1a5b9c98694ebd275822c19a0f972d8e8eefa503bdc35a05");
}

#[test]
fn an_output_gives_tag_and_label_key_apart() {
    let output = Output::new(std::array::from_fn(|i| i as u8));
    assert!(output.tag(0).is_empty());
    assert_eq!(output.tag(5), [0, 1, 2, 3, 4]);
    assert_eq!(output.tag(32).len(), 32);
    assert_eq!(output.tag(64), output.tag(32));
    assert_eq!(output.label_key_material()[0], 32);
    assert_eq!(output.label_key_material().len(), 32);
}

#[test]
fn debug_shows_no_secret() {
    let kernel = tested();
    let key = key(1);
    let seed = SessionSeed::new([7; 32]);
    let inputs: [&[u8]; 1] = [b"x"];
    let additive = AdditiveBlinds::new(blinds(&seed, &inputs));
    let scalar = ScalarBlinds::new(blinds(&seed, &inputs)).unwrap();
    let blinded = blind_additive(kernel, &inputs, &additive).unwrap();
    let evaluated = blind_evaluate(kernel, &key, &blinded).unwrap();
    assert_snapshot!(format!("{key:?}"), @"SecretKey(..)");
    assert_snapshot!(format!("{key:#?}"), @"SecretKey(..)");
    assert_snapshot!(format!("{seed:?}"), @"SessionSeed(..)");
    assert_snapshot!(format!("{additive:?}"), @"AdditiveBlinds(..)");
    assert_snapshot!(format!("{scalar:?}"), @"ScalarBlinds(..)");
    assert_snapshot!(format!("{:?}", Output::new([7; 64])), @"Output(..)");
    assert_snapshot!(format!("{evaluated:?}"), @"Evaluated(1 elements)");
    // A public key is public.
    let shown = format!("{:?}", public(&key));
    assert_eq!(
        shown,
        format!("PublicKey({})", hex::encode(key.public_bytes()))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_blindings_and_the_sender_agree(
        inputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..12),
        seed: u8,
    ) {
        let key = key(seed);
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let expected = all_bytes(&evaluate(tested(), &inputs, &key).unwrap());
        for weights in [Weights::Rfc9497, Weights::WholeChunk] {
            prop_assert_eq!(&all_bytes(&run_additive(&key, &inputs, weights)), &expected);
            prop_assert_eq!(&all_bytes(&run_scalar(&key, &inputs, weights)), &expected);
        }
    }
}
