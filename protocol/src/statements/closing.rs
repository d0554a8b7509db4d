//! Both closings: what each side says happened (spec sections 3.7 and 3.8).

use serde::{Deserialize, Serialize};

use super::{Hex, Int, Name, Statement};
use crate::{frame::Kind, signing::VerifyKey};

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// All elements of the request were evaluated and proven.
    Complete,
    /// It ended before that. What was charged stays charged.
    Aborted,
}

/// The result, as a commitment; the number itself only where the grant says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// SHA-256("tallystick/outcome/v1" ‖ salt of 32 bytes ‖ count u64).
    pub commitment: Hex<32>,
    /// Elements that matched: the receiver's claim.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub matches: Option<Int>,
}

/// The receiver's closing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverClosing {
    /// Session id.
    pub session: Hex<16>,
    /// SHA-256 of the request frame.
    pub request: Hex<32>,
    /// SHA-256 of the grant frame.
    pub grant: Hex<32>,
    /// Key that signs.
    pub signing_key: Hex<32>,
    /// How it ended.
    pub status: Status,
    /// Chunks that were sent and answered.
    pub chunks: Int,
    /// Elements in them, padding included.
    pub elements: Int,
    /// RFC 6962 root over the blinded chunks in order.
    pub set_commitment: Hex<32>,
    /// RFC 6962 root over the evaluated chunks in order.
    pub evaluations: Hex<32>,
    /// Running hash after the last evaluated chunk.
    pub running: Hex<32>,
    /// The result; absent when aborted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<Outcome>,
    /// The nonce that the request committed to.
    pub nonce: Hex<32>,
    /// When the first chunk left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_chunk_ms: Option<Int>,
    /// When the last evaluation was verified.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_chunk_ms: Option<Int>,
    /// Time of the closing.
    pub closed_ms: Int,
}

impl Statement for ReceiverClosing {
    const PAYLOAD_TYPE: &'static str = "application/vnd.tallystick.receiver-closing.v1+json";
    const KIND: Kind = Kind::ReceiverClosing;

    fn author(&self) -> VerifyKey {
        self.signing_key.into()
    }

    fn check(&self) -> Result<(), &'static str> {
        if (self.status == Status::Complete) != self.outcome.is_some() {
            return Err("an outcome stands in a complete closing and in no other");
        }
        Ok(())
    }
}

/// What one type cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// Identifier type.
    #[serde(rename = "type")]
    pub type_name: Name,
    /// Elements charged in this session, padding included.
    pub elements: Int,
    /// What was left of the peer's budget without this session's elements.
    pub quota_before: Int,
    /// What is left now: exactly `elements` less.
    pub quota_after: Int,
}

/// The sender's closing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderClosing {
    /// Session id.
    pub session: Hex<16>,
    /// SHA-256 of the request frame.
    pub request: Hex<32>,
    /// SHA-256 of the grant frame.
    pub grant: Hex<32>,
    /// Key that signs.
    pub signing_key: Hex<32>,
    /// How it ended.
    pub status: Status,
    /// SHA-256 of the receiver's closing frame; absent when the receiver never closed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receiver_closing: Option<Hex<32>>,
    /// Chunks evaluated.
    pub chunks: Int,
    /// What was charged, types ascending.
    pub charged: Vec<Charge>,
    /// RFC 6962 root over the blinded chunks in order.
    pub set_commitment: Hex<32>,
    /// RFC 6962 root over the evaluated chunks in order.
    pub evaluations: Hex<32>,
    /// Running hash after the last evaluated chunk.
    pub running: Hex<32>,
    /// The nonce that the grant committed to.
    pub nonce: Hex<32>,
    /// Time of the closing.
    pub closed_ms: Int,
}

impl Statement for SenderClosing {
    const PAYLOAD_TYPE: &'static str = "application/vnd.tallystick.sender-closing.v1+json";
    const KIND: Kind = Kind::SenderClosing;

    fn author(&self) -> VerifyKey {
        self.signing_key.into()
    }

    fn check(&self) -> Result<(), &'static str> {
        if !self.charged.is_sorted_by(|a, b| a.type_name < b.type_name) {
            return Err("types of charges must ascend without repetition");
        }
        if self.status == Status::Complete && self.receiver_closing.is_none() {
            return Err("a complete session has a receiver's closing");
        }
        Ok(())
    }
}
