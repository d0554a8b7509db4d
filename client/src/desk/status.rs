//! How a desk and its links stand, and what a shift did: for people and programs.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use tallystick_agency::{
    clock,
    exit::{Exit, Failure},
};
use tallystick_protocol::statements::{Charge, Coverage, ListKind, Name};

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// It was not ready yet.
    Opening,
    /// It answers.
    Ready,
    /// It was lost, or could not be opened, for a reason that may pass: it is tried again.
    Waiting,
    /// The peer broke the protocol, or the shift has nothing left to ask: it is not asked again.
    Over,
    /// The desk is closed.
    Closed,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The stable code.
    pub code: String,
    /// In plain words.
    pub why: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}

impl Trouble {
    pub(super) fn now(code: &str, why: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            why: why.into(),
            since_ms: now_ms(),
        }
    }
}

/// As the end of a sentence that begins with `because`.
impl From<&Failure> for Trouble {
    fn from(failure: &Failure) -> Self {
        let what = &failure.what;
        let why = match failure.exit {
            Exit::PeerFault => format!("it broke the protocol: {what}"),
            _ if what.starts_with("cannot ") => format!("this desk {what}"),
            _ => what.clone(),
        };
        Self::now(&failure.code, why)
    }
}

/// Whether trying again in this shift is of no use.
pub(super) fn is_for_good(failure: &Failure) -> bool {
    failure.exit == Exit::PeerFault
        || matches!(failure.code.as_str(), "shift-over" | "flights-spent")
}

pub(super) fn flights_spent() -> Failure {
    Failure::new(
        Exit::Refused,
        "flights-spent",
        "the shift has asked as much as it may",
        "begin another, or allow more flights",
    )
}

pub(super) fn shift_over() -> Failure {
    Failure::new(
        Exit::Refused,
        "shift-over",
        "the hours of this shift are over",
        "begin another",
    )
}

pub(super) fn closed_without() -> Failure {
    Failure::new(
        Exit::Network,
        "network",
        "it could not be reached to close the session",
        "the next desk that asks it closes the session",
    )
}

pub(super) fn slept() -> Failure {
    Failure::new(
        Exit::Network,
        "slept",
        "this machine was asleep, and connects again",
        "",
    )
}

pub(super) fn now_ms() -> u64 {
    u64::try_from(clock::now_ms()).unwrap_or(0)
}

/// How one collection stands.
#[derive(Clone, Debug, Serialize)]
pub struct CollectionStatus {
    /// The peer.
    pub peer: String,
    /// Its collection.
    pub collection: Name,
    /// Where the link stands.
    pub state: LinkState,
    /// What it is a list of; absent while it was never reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ListKind>,
    /// What a register covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covers: Option<Coverage>,
    /// The epoch of its keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// When the snapshot that is asked was published, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_ms: Option<u64>,
    /// Digest of that snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The session under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Elements that this session may still ask, by type.
    pub elements_left: BTreeMap<String, u64>,
    /// Small flights that the shift may still ask; a large one counts as many.
    pub flights_left: u64,
    /// Travellers asked, answered, and without an answer.
    pub asked: u64,
    /// Of these, those that were answered.
    pub answered: u64,
    /// Of these, those whose answer is missing.
    pub missing: u64,
    /// What is wrong now, and since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// The last change that came by itself: a newer list, an epoch that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How a desk stands.
#[derive(Clone, Debug, Serialize)]
pub struct DeskStatus {
    /// `tally.desk-status/1`.
    pub schema: &'static str,
    /// When the shift began, in milliseconds since 1970.
    pub began_ms: u64,
    /// When it ends.
    pub ends_ms: u64,
    /// Whether every collection answers.
    pub ready: bool,
    /// Questions that raised an alarm.
    pub alarms: u64,
    /// Each collection, in the order in which they were named.
    pub collections: Vec<CollectionStatus>,
}

/// How a session of a shift ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Both sides closed it.
    Complete,
    /// The peer or a rule ended it: the record has the own closing alone.
    Aborted,
    /// The peer could not be reached: the next start closes it.
    Open,
    /// The peer broke the protocol: what came is kept.
    Broken,
}

/// A session of a shift.
#[derive(Clone, Debug, Serialize)]
pub struct SessionReport {
    /// Its id.
    pub session: String,
    /// How it ended.
    pub ended: Ended,
    /// Its closed record, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<PathBuf>,
    /// Digest of the snapshot it asked.
    pub snapshot: String,
    /// What the peer's closing charges.
    pub charged: Vec<Charge>,
    /// Why it did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// What was asked of a collection in a shift.
#[derive(Clone, Debug, Serialize)]
pub struct LinkReport {
    /// The peer.
    pub peer: String,
    /// Its collection.
    pub collection: Name,
    /// Travellers asked.
    pub asked: u64,
    /// Of these, those that were answered.
    pub answered: u64,
    /// Of these, those whose answer is missing.
    pub missing: u64,
    /// The sessions, in the order in which they ended.
    pub sessions: Vec<SessionReport>,
    /// What was wrong at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// What a shift did.
#[derive(Clone, Debug, Serialize)]
pub struct ShiftReport {
    /// `tally.desk-shift/1`.
    pub schema: &'static str,
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// When it was closed.
    pub closed_ms: u64,
    /// Questions that raised an alarm.
    pub alarms: u64,
    /// Each collection, in the order in which they were named.
    pub collections: Vec<LinkReport>,
}

/// What a link shows of itself while it works.
pub(super) struct Shown {
    status: Mutex<(CollectionStatus, Option<Instant>)>,
    asked: AtomicU64,
    answered: AtomicU64,
}

impl Shown {
    pub(super) fn new(peer: &str, collection: &Name, flights: u64) -> Self {
        let status = CollectionStatus {
            peer: peer.to_owned(),
            collection: collection.clone(),
            state: LinkState::Opening,
            kind: None,
            covers: None,
            epoch: None,
            published_ms: None,
            snapshot: None,
            session: None,
            elements_left: BTreeMap::new(),
            flights_left: flights,
            asked: 0,
            answered: 0,
            missing: 0,
            trouble: None,
            note: None,
        };
        Self {
            status: Mutex::new((status, None)),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        }
    }

    /// Changes what is shown.
    pub(super) fn set(&self, change: impl FnOnce(&mut CollectionStatus)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut status.0);
    }

    /// It answers.
    pub(super) fn ready(&self) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.0.state = LinkState::Ready;
        status.0.trouble = None;
        status.1 = None;
    }

    /// Something is wrong. The time of the first trouble stays until it is ready again.
    pub(super) fn trouble(&self, state: LinkState, trouble: Trouble) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let since_ms = match &status.0.trouble {
            Some(first) if status.0.state == state => first.since_ms,
            _ => trouble.since_ms,
        };
        status.0.state = state;
        status.0.trouble = Some(Trouble {
            since_ms,
            ..trouble
        });
        status.1.get_or_insert_with(Instant::now);
    }

    /// It has a session, and does not answer. Who asks after a while does not wait any more, until it
    /// answers.
    pub(super) fn slow(&self, trouble: Trouble) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.0.trouble.get_or_insert(trouble);
        status.1.get_or_insert_with(Instant::now);
    }

    /// The reason why nobody need wait for an answer: it is over, or it has not answered for longer
    /// than `patience` by now.
    pub(super) fn hopeless(&self, patience: Duration) -> Option<Trouble> {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let long = status.1.is_some_and(|since| since.elapsed() >= patience);
        let over = matches!(status.0.state, LinkState::Over | LinkState::Closed);
        status.0.trouble.clone().filter(|_| over || long)
    }

    /// Why an answer did not come in time.
    pub(super) fn late(&self, patience: Duration) -> Trouble {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, _) = &*status;
        status.trouble.clone().unwrap_or_else(|| {
            let (peer, waited) = (&status.peer, patience.as_secs_f64());
            let (code, why) = match status.state {
                LinkState::Opening => (
                    "opening",
                    format!("the list of {peer} was not ready within {waited} s"),
                ),
                _ => ("slow", format!("{peer} did not answer within {waited} s")),
            };
            let waited = u64::try_from(patience.as_millis()).unwrap_or(0);
            Trouble {
                since_ms: now_ms().saturating_sub(waited),
                ..Trouble::now(code, why)
            }
        })
    }

    /// Counts a traveller who was asked about.
    pub(super) fn count(&self, answered: bool) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if answered {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn status(&self) -> CollectionStatus {
        let mut shown = {
            let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
            status.0.clone()
        };
        shown.answered = self.answered.load(Ordering::Relaxed);
        shown.asked = self.asked.load(Ordering::Relaxed).max(shown.answered);
        shown.missing = shown.asked - shown.answered;
        shown
    }
}
