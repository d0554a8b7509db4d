//! What a verifier reports: each check with its verdict, and the claims of the statements.

use super::{Failure, Step};
use crate::statements::{Grant, Hex, ReceiverClosing, Refusal, Request, SenderClosing, Status};

/// The outcome of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It was not made: an earlier one failed, or the record alone cannot show it.
    NotChecked,
}

impl Verdict {
    /// The word in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotChecked => "not-checked",
        }
    }
}

/// Whether somebody vouches for the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signers {
    /// Both keys are in the trust file.
    Trusted,
    /// Signatures were checked with the keys in the record.
    NotChecked,
}

impl Signers {
    /// The word in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::NotChecked => "not-checked",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name; stable.
    pub name: &'static str,
    /// Its outcome.
    pub verdict: Verdict,
    /// Frame number, counted from zero, where it failed.
    pub at: Option<u64>,
    /// What holds, what is wrong, or why it was not made.
    pub detail: String,
}

/// What the statements of a record say.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// Session id.
    pub session: Option<Hex<16>>,
    /// Request and its digest.
    pub request: Option<(Hex<32>, Request)>,
    /// Grant and its digest.
    pub grant: Option<(Hex<32>, Grant)>,
    /// Refusal.
    pub refusal: Option<Refusal>,
    /// Receiver's closing and its digest.
    pub receiver_closing: Option<(Hex<32>, ReceiverClosing)>,
    /// Sender's closing and its digest.
    pub sender_closing: Option<(Hex<32>, SenderClosing)>,
    /// Root over the blinded chunks, computed.
    pub set_commitment: Option<Hex<32>>,
    /// Root over the evaluated chunks, computed.
    pub evaluations: Option<Hex<32>>,
    /// Evaluated elements, counted.
    pub elements: u64,
    /// Evaluated chunks, counted.
    pub chunks: u64,
    /// Bytes of the frames, counted.
    pub bytes: u64,
}

/// How a session ended, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summary {
    /// Refused by the sender.
    Refused,
    /// Complete.
    Complete,
    /// Aborted.
    Aborted,
    /// Not closed.
    Open,
}

impl Claims {
    /// How the session ended.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let statuses = [
            self.receiver_closing.as_ref().map(|(_, c)| c.status),
            self.sender_closing.as_ref().map(|(_, c)| c.status),
        ];
        match statuses {
            _ if self.refusal.is_some() => Summary::Refused,
            [Some(Status::Complete), Some(Status::Complete)] => Summary::Complete,
            [None, None] => Summary::Open,
            [Some(Status::Complete), None] => Summary::Open,
            _ => Summary::Aborted,
        }
    }
}

impl Summary {
    /// The word in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Complete => "complete",
            Self::Aborted => "aborted",
            Self::Open => "open",
        }
    }
}

/// The result for one record.
#[derive(Debug, Clone)]
pub struct Report {
    /// Whether every check that was made passed.
    pub verified: bool,
    /// Whether somebody vouches for the keys.
    pub signers: Signers,
    /// The checks, in order.
    pub checks: Vec<Check>,
    /// What the statements say.
    pub claims: Claims,
}

/// What a record cannot show to anybody, said in every report so that nobody takes it for shown.
const BEYOND: [(&str, &str); 3] = [
    (
        "match-count",
        "a signed claim of the receiver; checked from annex, record and snapshot, not from a record",
    ),
    (
        "identifiers",
        "which identifiers stand behind the blinded elements is shown by openings to the own \
         supervisor only",
    ),
    (
        "snapshot",
        "that the snapshot holds what the sender holds is committed to, not proven",
    ),
];

impl Report {
    pub(super) fn passed(claims: Claims, trusted: bool, proofs: u64) -> Self {
        let refused = claims.refusal.is_some();
        let detail = |step| match step {
            Step::Framing => format!("{} bytes, every one accounted for", claims.bytes),
            Step::Request => "signed by the receiver, in the one accepted form".to_owned(),
            Step::Answer if refused => {
                "a refusal, signed by the sender, of this request".to_owned()
            }
            Step::Answer => "a grant, signed by the sender, of this request".to_owned(),
            Step::Signers if trusted => "both keys are in the trust file".to_owned(),
            Step::Signers => {
                "no trust file was given: nobody vouched for the keys in the record".to_owned()
            }
            _ if refused => "the session was refused: there are none".to_owned(),
            Step::Chunks => format!(
                "{} chunks of {} elements, signed, in order, as granted",
                claims.chunks, claims.elements
            ),
            Step::Proofs => format!("{proofs} proofs hold under the keys in the grant"),
            Step::Closings => match claims.summary() {
                Summary::Complete => {
                    "both sides closed and agree; every element evaluated is charged".to_owned()
                }
                _ => {
                    "aborted; what was charged is in the sender's closing, if it closed".to_owned()
                }
            },
        };
        let verdict = |step| match step {
            Step::Signers if !trusted => Verdict::NotChecked,
            Step::Chunks | Step::Proofs | Step::Closings if refused => Verdict::NotChecked,
            _ => Verdict::Pass,
        };
        let checks = Step::ALL.map(|step| Check {
            name: step.name(),
            verdict: verdict(step),
            at: None,
            detail: detail(step),
        });
        let mut checks = Vec::from(checks);
        checks.extend(beyond());
        let signers = if trusted {
            Signers::Trusted
        } else {
            Signers::NotChecked
        };
        Self {
            verified: true,
            signers,
            checks,
            claims,
        }
    }

    pub(super) fn failed(claims: Claims, trusted: bool, failure: &Failure) -> Self {
        let checks = Step::ALL.map(|step| {
            let (verdict, at, detail) = match step.cmp(&failure.step) {
                // Framing is whole only at the end of the file; proofs run beside the chunks.
                std::cmp::Ordering::Less
                    if matches!(step, Step::Framing | Step::Chunks | Step::Proofs)
                        || (step == Step::Signers && !trusted) =>
                {
                    (
                        Verdict::NotChecked,
                        None,
                        "not to the end: a check failed".to_owned(),
                    )
                }
                std::cmp::Ordering::Less => (Verdict::Pass, None, String::new()),
                std::cmp::Ordering::Equal => {
                    (Verdict::Fail, failure.frame, failure.error.to_string())
                }
                std::cmp::Ordering::Greater => (
                    Verdict::NotChecked,
                    None,
                    "an earlier check failed".to_owned(),
                ),
            };
            Check {
                name: step.name(),
                verdict,
                at,
                detail,
            }
        });
        let mut checks = Vec::from(checks);
        checks.extend(beyond());
        // Whom the signers are was settled before chunks and closings were looked at.
        let settled = trusted && failure.step > Step::Signers;
        let signers = if settled {
            Signers::Trusted
        } else {
            Signers::NotChecked
        };
        Self {
            verified: false,
            signers,
            checks,
            claims,
        }
    }
}

fn beyond() -> impl Iterator<Item = Check> {
    BEYOND.into_iter().map(|(name, detail)| Check {
        name,
        verdict: Verdict::NotChecked,
        at: None,
        detail: detail.to_owned(),
    })
}
