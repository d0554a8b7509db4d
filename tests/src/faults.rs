//! A program that dies, or finds its disk full, at a step of its own: `tests/preload/faults.c`.
//!
//! A whole run is recorded first. Each step that it took (a write, a sync, a rename, a flight) is an
//! event, named by the call and the kind of file. Then the same run is done again and something
//! happens at one of them. The program itself knows nothing of this.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::outside;

/// When set, every event is tried, not a choice of them.
const EVERY: &str = "TALLY_KILL_EVERY";

/// A step of a program: the n-th of its label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// The call and the kind of file, such as `write records/*.part`.
    pub label: String,
    /// Which of that label, from 1.
    pub number: u32,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} @{}", self.label, self.number)
    }
}

impl Event {
    /// Whether it takes room on a disk.
    #[must_use]
    pub fn grows(&self) -> bool {
        ["write ", "create ", "spool ", "folder "]
            .iter()
            .any(|call| self.label.starts_with(call))
    }
}

/// What happens at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed before the call.
    Kill,
    /// It is killed after the call.
    KillAfter,
    /// It is killed before the call, and the machine with it: of records that are open only what was
    /// synced is left.
    Lose,
    /// It is killed when half of the bytes are written: a torn write, a torn flight.
    Tear,
    /// From here on there is no space left.
    Full,
    /// It gets this signal.
    Signal(i32),
}

impl Fault {
    fn name(self) -> String {
        match self {
            Self::Kill => "kill".to_owned(),
            Self::KillAfter => "after".to_owned(),
            Self::Lose => "lose".to_owned(),
            Self::Tear => "half".to_owned(),
            Self::Full => "full".to_owned(),
            Self::Signal(number) => format!("signal-{number}"),
        }
    }
}

/// The library, and where it writes down what it sees.
#[derive(Debug)]
pub struct Faults {
    library: PathBuf,
    log: PathBuf,
}

impl Faults {
    /// Builds the library; `None` where it cannot be built.
    #[must_use]
    pub fn new(log: PathBuf) -> Option<Self> {
        let library = outside::preload("faults")?;
        Some(Self { library, log })
    }

    /// Has a command write down its events.
    pub fn record(&self, command: &mut Command) {
        let _ = fs::remove_file(&self.log);
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAULTS_LOG", &self.log);
    }

    /// Has something happen to a command at an event. A full disk is full as long as the file of
    /// [`Self::full`] exists.
    pub fn arm(&self, command: &mut Command, event: &Event, fault: Fault) {
        self.record(command);
        fs::write(self.full(), "").unwrap();
        command
            .env("FAULTS_AT", format!("{}@{}", event.label, event.number))
            .env("FAULTS_DO", fault.name())
            .env("FAULTS_WHILE", self.full());
    }

    /// Exists while the disk may be full. Remove it, and there is space again.
    #[must_use]
    pub fn full(&self) -> PathBuf {
        self.log.with_extension("full")
    }

    /// Whether the event came.
    #[must_use]
    pub fn fired(&self) -> bool {
        self.counts().contains_key("FIRED")
    }

    /// How often a label came.
    #[must_use]
    pub fn count(&self, label: &str) -> u32 {
        self.counts().get(label).copied().unwrap_or_default()
    }

    /// How often each label came.
    fn counts(&self) -> BTreeMap<String, u32> {
        counts(&self.log)
    }

    /// The events at which a fault is to be tried.
    #[must_use]
    pub fn chosen(&self) -> Vec<Event> {
        let counts = self.counts();
        assert!(counts.len() > 5, "the library saw nothing: {counts:?}");
        choose(&counts, std::env::var_os(EVERY).is_some())
    }
}

fn counts(log: &Path) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(log).unwrap_or_default().lines() {
        // A process that is killed may leave half a line.
        if let Some((label, _)) = line.split_once('\t') {
            *counts.entry(label.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// All events; or one for each label: the first, one in the middle, the last, in turn.
fn choose(counts: &BTreeMap<String, u32>, every: bool) -> Vec<Event> {
    let of_label = |(turn, (label, count)): (usize, (&String, &u32))| -> Vec<Event> {
        let numbers = match (every, turn % 3) {
            (true, _) => (1..=*count).collect(),
            (false, 0) => vec![1],
            (false, 1) => vec![count.div_ceil(2)],
            (false, _) => vec![*count],
        };
        let event = |number| Event {
            label: label.clone(),
            number,
        };
        numbers.into_iter().map(event).collect()
    };
    counts.iter().enumerate().flat_map(of_label).collect()
}

/// What a kill at an event is: in turn before, after and in the middle of it; where everything is
/// tried, before it (which is after the one before), and in the middle of each write.
#[must_use]
pub fn kills(events: Vec<Event>) -> Vec<(Event, Fault)> {
    let torn =
        |event: &Event| event.label.starts_with("write ") || event.label.starts_with("send ");
    if std::env::var_os(EVERY).is_some() {
        let both = |event: Event| {
            let torn = torn(&event).then(|| (event.clone(), Fault::Tear));
            torn.into_iter().chain([(event, Fault::Kill)])
        };
        return events.into_iter().flat_map(both).collect();
    }
    let in_turn = |(turn, event): (usize, Event)| match turn % 3 {
        1 if torn(&event) => (event, Fault::Tear),
        2 => (event, Fault::KillAfter),
        _ => (event, Fault::Kill),
    };
    events.into_iter().enumerate().map(in_turn).collect()
}

/// One in `of` of some cases, from that on, unless everything is tried: for what is much like something
/// else that is tried as well.
#[must_use]
pub fn one_in(of: usize, from: usize, cases: Vec<(Event, Fault)>) -> Vec<(Event, Fault)> {
    match std::env::var_os(EVERY) {
        Some(_) => cases,
        None => cases.into_iter().skip(from).step_by(of).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_is_tried_and_every_event_when_asked() {
        let counts = BTreeMap::from([("a", 3), ("b", 3), ("c", 3)]);
        let counts = counts.into_iter().map(|(l, n)| (l.to_owned(), n)).collect();
        let numbers = |every| -> Vec<u32> {
            let chosen = choose(&counts, every);
            chosen.iter().map(|event| event.number).collect()
        };
        assert_eq!(numbers(false), [1, 2, 3]);
        assert_eq!(numbers(true), [1, 2, 3, 1, 2, 3, 1, 2, 3]);
    }
}
