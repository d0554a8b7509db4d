//! DSSE over JSON with one accepted byte form (spec section 3.1).
//!
//! The form is checked by writing the parsed value again and comparing bytes: that refuses other
//! member orders, spaces, duplicate and unknown members, `null`s, other escapes and other base64
//! in one rule, and a stranger's verifier can do the same.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::fields::Hex;
use crate::{
    error::Error,
    frame::{Frame, Kind},
    signing::{SigningKey, VerifyKey},
};

/// A signed JSON statement: its payload type, its frame kind and the checks that its members'
/// types do not express.
pub trait Statement: Serialize + DeserializeOwned {
    /// The DSSE payload type; versioned.
    const PAYLOAD_TYPE: &'static str;
    /// The frame that carries it.
    const KIND: Kind;

    /// The key that the statement itself names as its author's.
    fn author(&self) -> VerifyKey;

    /// Rules between members. Text says which is broken.
    ///
    /// # Errors
    /// The rule that is broken.
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: [EnvelopeSignature; 1],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

/// `DSSEv1 SP len(type) SP type SP len(payload) SP payload`: what is signed.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "DSSEv1 {} {} {} ",
        payload_type.len(),
        payload_type,
        payload.len()
    )
    .into_bytes();
    out.extend_from_slice(payload);
    out
}

/// Signs a statement into its frame.
///
/// # Errors
/// [`Error::Usage`] if the statement breaks its own rules or names another author than `key`.
pub fn sign<S: Statement>(statement: &S, key: &SigningKey) -> Result<Frame, Error> {
    statement.check().map_err(Error::Usage)?;
    if statement.author() != key.verify_key() {
        return Err(Error::Usage(
            "a statement is signed by the key that it names",
        ));
    }
    let payload =
        serde_json::to_vec(statement).map_err(|_| Error::Bug("a statement does not serialise"))?;
    let signature = key.sign(&pre_authentication_encoding(S::PAYLOAD_TYPE, &payload));
    let envelope = Envelope {
        payload: BASE64.encode(&payload),
        payload_type: S::PAYLOAD_TYPE.to_owned(),
        signatures: [EnvelopeSignature {
            keyid: key.verify_key().key_id(),
            sig: BASE64.encode(signature),
        }],
    };
    let body =
        serde_json::to_vec(&envelope).map_err(|_| Error::Bug("an envelope does not serialise"))?;
    Frame::new(S::KIND, &body)
}

/// Opens a statement that must be signed by `key`.
///
/// # Errors
/// [`Error::Order`] for another kind of frame, [`Error::Malformed`] for any byte form but the one,
/// [`Error::Signature`] for another key or a bad signature.
pub fn open<S: Statement>(frame: &Frame, key: &VerifyKey) -> Result<S, Error> {
    let opened = open_as_named::<S>(frame)?;
    if opened.author() == *key {
        Ok(opened)
    } else {
        Err(Error::Signature {
            what: S::KIND.name(),
        })
    }
}

/// Opens a statement under the key that it names itself: proves integrity, vouches for nobody.
///
/// # Errors
/// As [`open`].
pub fn open_as_named<S: Statement>(frame: &Frame) -> Result<S, Error> {
    let what = S::KIND.name();
    let malformed = |why| Error::Malformed { what, why };
    let body = frame.expect(S::KIND)?;
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|_| malformed("not a DSSE envelope"))?;
    if serde_json::to_vec(&envelope).ok().as_deref() != Some(body) {
        return Err(malformed("not the one accepted form of an envelope"));
    }
    if envelope.payload_type != S::PAYLOAD_TYPE {
        return Err(malformed("another payload type, or another version of it"));
    }
    let payload = decode_base64(&envelope.payload).ok_or(malformed("payload is not base64"))?;
    let statement: S = serde_json::from_slice(&payload)
        .map_err(|_| malformed("a member is missing, unknown, doubled or of the wrong type"))?;
    if serde_json::to_vec(&statement).ok().as_deref() != Some(payload.as_slice()) {
        return Err(malformed("not the one accepted form of its payload"));
    }
    let [signature] = &envelope.signatures;
    let author = statement.author();
    if signature.keyid != author.key_id() {
        return Err(Error::Signature { what });
    }
    let bytes = decode_base64(&signature.sig)
        .and_then(|b| <[u8; 64]>::try_from(b).ok())
        .ok_or(malformed("signature is not 64 bytes of base64"))?;
    author.verify(
        what,
        &pre_authentication_encoding(S::PAYLOAD_TYPE, &payload),
        &bytes,
    )?;
    statement.check().map_err(malformed)?;
    Ok(statement)
}

/// Standard base64 with padding and canonical trailing bits; `None` for any other form.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// SHA-256 of a frame in the form that statements carry.
#[must_use]
pub fn digest_of(frame: &Frame) -> Hex<32> {
    Hex(frame.digest())
}
