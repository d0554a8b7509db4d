//! One session between a receiver and a sender, without IO (spec section 4).
//!
//! Both roles are type-states that consume themselves: after an error there is no state left to go
//! on with, and no step can be skipped.
//!
//! ```text
//! receiver  Asking ─grant→ Matching ─chunks→ Matching ─close→ Closing ─sender's closing→ Closed
//! sender    Asked ─grant→ Serving ─chunks→ Serving ─receiver's closing→ Closed
//! ```
//!
//! The states hold only what must go in order: signatures, running hashes, counts. The heavy work
//! is in values they hand out ([`Blinder`], [`Sent`], [`Accepted`]), which can run on any core.

mod agreement;
mod chunk;
mod receiver;
mod sender;

pub use agreement::{Agreement, Progress, claim_commitment, commitment_to, outcome_commitment};
pub use chunk::{BlindedChunk, EvaluatedChunk, MAX_CHUNK_ELEMENTS, Transcript};
pub(crate) use receiver::check_refusal;
pub use receiver::{
    Answer, Answered, Asking, Blinded, Blinder, Closing, Finish, Matching, Sent, SessionSeed,
};
pub use sender::{Accepted, Asked, ChargeReceipt, Evaluation, Serving, Terms};

/// The frames that close a session, once both sides agree.
#[derive(Debug)]
pub struct Closed {
    /// The receiver's closing.
    pub receiver: crate::frame::Frame,
    /// The sender's closing.
    pub sender: crate::frame::Frame,
    /// How it ended.
    pub ended: crate::statements::Status,
    /// What the sender's closing says was charged.
    pub charged: Vec<crate::statements::Charge>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{evaluate_under, forged_answer};
