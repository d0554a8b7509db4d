//! What a desk asks, of whom, on which grounds.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tallystick_agency::exit::{Failure, Outcome};
use tallystick_protocol::statements::{Name, SessionClass};

use super::OnAlarm;
use crate::session::Grounds;

/// The most hours of a shift: a grant lives no longer than a day.
pub const MAX_HOURS: u32 = 24;

/// A collection that is asked about everybody who comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The peer, as this home knows it.
    pub peer: String,
    /// Its collection.
    pub collection: Name,
    /// `host:port`, instead of the address in the peer's manifest.
    #[serde(default)]
    pub address: Option<String>,
}

/// How a desk works.
#[derive(Clone, Debug)]
pub struct DeskOptions {
    /// What is asked, at least one, none twice.
    pub asks: Vec<Ask>,
    /// Grounds of the shift. Their class is `border-desk`, stated or not.
    pub grounds: Grounds,
    /// How long the shift lasts, 1 to [`MAX_HOURS`].
    pub hours: u32,
    /// The most that the shift asks of each collection, counted in small flights of 8 travellers; a
    /// large one counts as many. At least 1.
    pub flights: u64,
    /// How long an answer is waited for. What is not there by then is missing from the verdict.
    pub patience: Duration,
    /// How often a peer's catalogue is looked at for a newer snapshot.
    pub refresh: Duration,
    /// If set, flights leave at these intervals and at no other time, asked or not: then their times
    /// say nothing either. Each is charged.
    pub cover: Option<Duration>,
    /// A session, and so a record, for each traveller. Slower, and each is a request of its own.
    pub record_each: bool,
    /// The profile by which keys are made, by name or file; `None` for the collection's own, which must
    /// be built in.
    pub profile: Option<String>,
    /// What becomes of a question that raises an alarm.
    pub on_alarm: OnAlarm,
    /// No progress on standard error.
    pub quiet: bool,
}

impl Default for DeskOptions {
    /// A shift of eight hours, of nothing yet.
    fn default() -> Self {
        Self {
            asks: Vec::new(),
            grounds: Grounds::default(),
            hours: 8,
            flights: 4096,
            patience: Duration::from_secs(5),
            refresh: Duration::from_secs(60),
            cover: None,
            record_each: false,
            profile: None,
            on_alarm: OnAlarm::Hold,
            quiet: true,
        }
    }
}

impl DeskOptions {
    /// Refuses what no desk can do; gives the grounds their class.
    pub(super) fn checked(mut self) -> Outcome<Self> {
        let usage = |what: &str, next: &str| Err(Failure::usage("usage", what, next));
        if self.asks.is_empty() {
            return usage("nothing is asked", "name a collection: PEER/COLLECTION");
        }
        for (at, ask) in self.asks.iter().enumerate() {
            let before = self.asks.get(..at).unwrap_or_default();
            let same = |other: &Ask| other.peer == ask.peer && other.collection == ask.collection;
            if before.iter().any(same) {
                let what = format!("{}/{} is named twice", ask.peer, ask.collection);
                return usage(&what, "name it once");
            }
        }
        if !(1..=MAX_HOURS).contains(&self.hours) {
            return usage("a shift lasts 1 to 24 hours", "begin another when it ends");
        }
        if self.flights == 0 {
            return usage("a shift of no flights asks nothing", "allow at least 1");
        }
        let zero = Duration::ZERO;
        if self.patience == zero || self.refresh == zero || self.cover == Some(zero) {
            return usage("a time is zero", "give it in seconds, more than 0");
        }
        if self.record_each && self.cover.is_some() {
            return usage(
                "flights at fixed times cannot have a record each",
                "choose one of the two",
            );
        }
        match self.grounds.class {
            None | Some(SessionClass::BorderDesk) => {}
            Some(_) => return usage("a desk's class is border-desk", "leave the class out"),
        }
        self.grounds.class = Some(SessionClass::BorderDesk);
        self.grounds.check()?;
        Ok(self)
    }
}
