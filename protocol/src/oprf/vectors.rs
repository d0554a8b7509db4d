//! The vectors of RFC 9497, Appendix A.1.2 (mode VOPRF), as the tests read them.

use serde_json::Value;

/// Keys of the mode and its vectors.
pub(crate) struct Suite {
    pub(crate) seed: [u8; 32],
    pub(crate) info: Vec<u8>,
    pub(crate) secret: [u8; 32],
    pub(crate) public: [u8; 32],
    pub(crate) group_dst: Vec<u8>,
    pub(crate) vectors: Vec<Vector>,
}

/// One vector; every list has one entry for each element of the batch.
pub(crate) struct Vector {
    pub(crate) inputs: Vec<Vec<u8>>,
    pub(crate) blinds: Vec<[u8; 32]>,
    pub(crate) blinded: Vec<[u8; 32]>,
    pub(crate) evaluated: Vec<[u8; 32]>,
    pub(crate) outputs: Vec<[u8; 64]>,
    pub(crate) proof: [u8; 64],
    pub(crate) nonce: [u8; 32],
}

impl Vector {
    pub(crate) fn inputs(&self) -> Vec<&[u8]> {
        self.inputs.iter().map(Vec::as_slice).collect()
    }
}

pub(crate) fn voprf() -> Suite {
    let text = include_str!("../../testdata/rfc9497-ristretto255-sha512.json");
    let all: Value = serde_json::from_str(text).unwrap();
    let modes = all.as_array().unwrap();
    let suite = modes.iter().find(|suite| suite["mode"] == 1).unwrap();
    let vectors: Vec<Vector> = suite["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(vector)
        .collect();
    let sizes: Vec<usize> = vectors.iter().map(|vector| vector.inputs.len()).collect();
    assert_eq!(
        sizes,
        [1, 1, 2],
        "the RFC has two single vectors and a batch"
    );
    Suite {
        seed: array(&suite["seed"]),
        info: list(&suite["keyInfo"]).remove(0),
        secret: array(&suite["skSm"]),
        public: array(&suite["pkSm"]),
        group_dst: list(&suite["groupDST"]).remove(0),
        vectors,
    }
}

fn vector(value: &Value) -> Vector {
    let vector = Vector {
        inputs: list(&value["Input"]),
        blinds: arrays(&value["Blind"]),
        blinded: arrays(&value["BlindedElement"]),
        evaluated: arrays(&value["EvaluationElement"]),
        outputs: arrays(&value["Output"]),
        proof: array(&value["Proof"]["proof"]),
        nonce: array(&value["Proof"]["r"]),
    };
    assert_eq!(value["Batch"], vector.inputs.len());
    vector
}

fn list(value: &Value) -> Vec<Vec<u8>> {
    let text = value.as_str().unwrap();
    text.split(',')
        .map(|part| hex::decode(part).unwrap())
        .collect()
}

fn arrays<const N: usize>(value: &Value) -> Vec<[u8; N]> {
    list(value)
        .into_iter()
        .map(|bytes| bytes.try_into().unwrap())
        .collect()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    arrays(value).remove(0)
}
