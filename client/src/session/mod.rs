//! What every session of the receiver has in common, whoever holds it: a run over a table, or a desk.
//!
//! ```text
//! grounds    why it is asked: signed claims, and what they commit to, sealed at home
//! request    the signed request
//! stored     a session that outlives its process: begun, held, taken up
//! flights    the frames of a session: live, or from the own closed record
//! labels     labels opened where they lie
//! snapshot   the snapshot that a grant names
//! abandoned  sessions that nobody can go on with, closed as aborted
//! ```

mod abandoned;
mod flights;
mod grounds;
mod labels;
mod request;
mod snapshot;
mod stored;

use std::path::PathBuf;

use tallystick_agency::{
    AgencyError, clock,
    exit::{Exit, Failure, Outcome},
    home::Home,
    records::{self, RecordFile},
    store::{RecordEntry, Role, Store},
};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, Kind as FrameKind},
    session::{Answer, Answered, Asking, Matching},
    statements::{Hex, Name, RefusalCode, digest_of},
};

pub use self::grounds::Grounds;
pub(crate) use self::{
    flights::Flights,
    labels::{LabelOpener, label_columns},
    request::Intent,
    snapshot::granted,
    stored::{ClosingTimes, Held, Stage, Taken, journal_path, remove_journal},
};
use crate::connect::Connected;

/// The sender has refused, signed, to go on with a session.
pub(crate) const SESSION_OVER: &str = "session-over";

/// What a sender says when it ends a session for good: another must be begun.
const ENDED: [&str; 7] = [
    SESSION_OVER,
    "epoch-over",
    "expired",
    "not-open",
    "over-grant",
    "quota-exceeded",
    "revoked",
];

/// Whether a failure is the peer's word that a session is over for good.
pub(crate) fn is_ended(failure: &Failure) -> bool {
    failure.exit == Exit::Refused && ENDED.contains(&failure.code.as_str())
}

/// Takes the next answer of a session: its order and signature, not yet its proof.
///
/// # Errors
/// Any fault of the peer.
pub(crate) fn receive(matching: Matching, frame: &Frame) -> Outcome<(Matching, Answered)> {
    if frame.kind() != FrameKind::EvaluatedChunk {
        let error = Error::Order {
            got: frame.kind().name(),
            expected: "an evaluated chunk",
        };
        return Err(AgencyError::from(error).into());
    }
    Ok(matching.receive(frame).map_err(AgencyError::from)?)
}

/// Who asks, and whom: what the steps of a session need of their surroundings.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) home: &'a Home,
    pub(crate) store: &'a dyn Store,
    /// The peer asked.
    pub(crate) peer: &'a str,
    /// Its collection.
    pub(crate) collection: &'a Name,
    /// No progress is shown.
    pub(crate) quiet: bool,
}

/// A request that was granted, on a stream that stands.
pub(crate) struct Granted {
    pub(crate) flights: Flights,
    pub(crate) matching: Matching,
    /// The grant as received.
    pub(crate) frame: Frame,
}

impl Asker<'_> {
    /// Sends a request and takes its answer. `known` is the digest of the grant that was taken for it
    /// before: no other is taken then. Without one the grant is new: clock and disclosure are
    /// checked, and that it was taken is noted.
    ///
    /// # Errors
    /// A refusal, which is recorded if it is for good; a fault of the peer or of the network.
    pub(crate) async fn ask(
        &self,
        connected: &mut Connected,
        asking: Asking,
        known: Option<Hex<32>>,
        resumed: bool,
    ) -> Outcome<Granted> {
        let charged = match resumed {
            true => "what was sent is charged",
            false => "nothing was charged",
        };
        let (session, request) = (asking.request().session, asking.frame().clone());
        let mut flights = Flights::open(connected, request.clone(), charged).await?;
        let frame = flights.next(charged).await?;
        let granted_at = clock::now_ms();
        if known.is_some_and(|known| known != digest_of(&frame)) && frame.kind() == FrameKind::Grant
        {
            let error = Error::Mismatch {
                what: "grant",
                field: "it is another than before",
            };
            return Err(AgencyError::from(error).into());
        }
        let matching = self
            .granted(asking, &request, frame.clone(), resumed)
            .await?;
        if !resumed {
            self.check_clock(&matching, granted_at)?;
            self.check_disclosure(&matching)?;
            self.note(&session, Stage::Granted(digest_of(&frame)))
                .await?;
        }
        Ok(Granted {
            flights,
            matching,
            frame,
        })
    }

    /// Takes the answer to a request. A refusal is recorded and ends the session.
    async fn granted(
        &self,
        asking: Asking,
        request: &Frame,
        answer: Frame,
        resumed: bool,
    ) -> Outcome<Matching> {
        let session = asking.request().session;
        match asking.answer(answer).map_err(AgencyError::from)? {
            Answer::Granted(matching) => Ok(*matching),
            Answer::Refused { refusal, frame, .. } => {
                let code = refusal.code;
                let detail = refusal.detail.map_or(String::new(), |d| format!(": {d}"));
                let what = format!("{} refused ({}){detail}", self.peer, code.name());
                // For the moment only: the same request may be granted later.
                if matches!(code, RefusalCode::Busy | RefusalCode::Draining) {
                    let next = match resumed {
                        true => "what was sent is charged; run the same command again later",
                        false => "nothing was charged; run the same command again later",
                    };
                    return Err(Failure::new(Exit::Refused, code.name(), what, next));
                }
                if resumed {
                    return Err(Failure::new(
                        Exit::Refused,
                        SESSION_OVER,
                        format!("{} has ended this session meanwhile", self.peer),
                        "what it was charged stays charged; the same command starts a new session",
                    ));
                }
                let mut record = RecordFile::create(&self.home.records_dir(), session)?;
                record.append(request)?;
                record.append(&frame)?;
                self.keep(record, &session).await?;
                self.store.finish_run(&session.0, clock::now_ms()).await?;
                let next = format!("the refusal is in {}", records::relative_path(&session));
                Err(Failure::new(Exit::Refused, code.name(), what, next))
            }
        }
    }

    /// Ends a session whose peer broke the protocol, and keeps what it had signed until then: the
    /// next session must not write over the evidence.
    pub(crate) async fn set_aside(&self, session: &Hex<16>, failure: Failure) -> Outcome<Failure> {
        self.store.finish_run(&session.0, clock::now_ms()).await?;
        remove_journal(&self.home.records_dir(), session)?;
        let Some(kept) = records::set_aside(&self.home.records_dir(), session)? else {
            return Ok(failure);
        };
        let next = format!(
            "what came is kept in {}; speak to the peer; the same command starts a new session, \
             which is charged",
            kept.display()
        );
        Ok(Failure { next, ..failure })
    }

    /// The match count is the receiver's to tell: a sender that grants only for it is not asked.
    fn check_disclosure(&self, matching: &Matching) -> Outcome<()> {
        let asked = matching.agreement().grant().discloses_count;
        match asked && !self.home.config().policy.sender_learns_count {
            false => Ok(()),
            true => Err(Failure::new(
                Exit::Refused,
                "count-disclosure",
                format!("{} wants to learn how many match", self.peer),
                "nothing was charged; allow it with sender_learns_count in node.toml, if you may",
            )),
        }
    }

    /// The clock rule of the wire (PROTOCOL 3.2).
    fn check_clock(&self, matching: &Matching, now: i64) -> Outcome<()> {
        let policy = &self.home.config().policy;
        let granted = i64::try_from(matching.agreement().grant().granted_ms.get());
        let skew = (now - granted.unwrap_or(i64::MAX)).saturating_abs();
        if skew > i64::from(policy.clock_skew_refuse_seconds) * 1000 {
            return Err(Failure::new(
                Exit::Refused,
                "clock-skew",
                format!("the peer's clock differs from ours by {} s", skew / 1000),
                "set the clocks (NTP) on both sides; nothing was charged",
            ));
        }
        if skew > i64::from(policy.clock_skew_warn_seconds) * 1000 {
            tracing::warn!(milliseconds = skew, "the peer's clock differs from ours");
        }
        Ok(())
    }

    /// Closes a record and notes it.
    pub(crate) async fn keep(&self, record: RecordFile, session: &Hex<16>) -> Outcome<PathBuf> {
        let closed = record.close()?;
        self.note_record(closed.digest, session).await?;
        Ok(closed.path)
    }

    /// Notes a closed record.
    pub(crate) async fn note_record(&self, digest: [u8; 32], session: &Hex<16>) -> Outcome<()> {
        let entry = RecordEntry {
            session: session.0,
            role: Role::Receiver,
            peer: self.peer.to_owned(),
            path: records::relative_path(session),
            digest,
            closed_ms: clock::now_ms(),
        };
        Ok(self.store.add_record(&entry).await?)
    }
}
