//! What a running node counts and measures, in the names and units of Prometheus.
//!
//! Labels are words of this program: states, stages, stable codes, identifier types. They are
//! `&'static str`, so nothing that came from a peer, a table or a request can become one. The one
//! exception are names of collections, which the operator chose; they stand at the age of their
//! epochs and nowhere else. Peers are not named at all.
//!
//! ```text
//! observed  what is looked at from time to time: store, certificates, process
//! counted   bytes and life of one connection
//! http      the address where all this is asked for
//! ```

mod counted;
mod http;
mod observed;

pub(crate) use counted::Counted;
pub use http::serve;
pub(crate) use observed::{Observed, Seen};

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
        info::Info,
    },
    registry::{Registry, Unit},
};
use tallystick_agency::{AgencyError, Kind, Result, build};
use tallystick_protocol::{
    group::Kernel,
    statements::{RefusalCode, Status},
};

/// One label: its name, and one of the words of this program.
type Label = [(&'static str, &'static str); 1];
type Counters = Family<Label, Counter>;

/// Upper bounds of durations, in seconds: from a write on a fast disk to a chunk of 65,535 elements
/// on a slow processor.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Upper bounds of the chunks of one transaction.
const GROUPS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Identifier types of built-in profiles. Another one, of a later version, is counted as `other`.
const TYPES: [&str; 5] = ["bytes", "document", "holder", "other", "text"];

/// All codes of refusals in answer to a request.
const REFUSALS: [RefusalCode; 11] = [
    RefusalCode::NotAvailable,
    RefusalCode::TypeNotOffered,
    RefusalCode::ModeNotOffered,
    RefusalCode::ProfileMismatch,
    RefusalCode::TooManyElements,
    RefusalCode::QuotaExceeded,
    RefusalCode::ClockSkew,
    RefusalCode::Expired,
    RefusalCode::Replayed,
    RefusalCode::Busy,
    RefusalCode::Draining,
];

/// The codes that are to be expected of sessions that stop, and of connections that are not let in.
/// Others appear when they happen.
const FAILURES: [&str; 5] = ["epoch-over", "expired", "mismatch", "network", "revoked"];
const CALLS: [&str; 4] = [
    "too-many-calls",
    "too-many-connections",
    "too-many-requests",
    "too-many-snapshots",
];
const CONNECTIONS: [&str; 9] = [
    "expired-certificate",
    "expired-pin",
    "handshake-timeout",
    "network",
    "not-on-list",
    "revoked",
    "too-many-connections",
    "too-many-handshakes",
    "unknown-certificate",
];

/// What becomes of sessions. Each one that is granted is `closed` or `aborted` in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A new session.
    Granted,
    /// A session that was open, taken up again on another connection.
    Resumed,
    /// A session that was closed; its answers were sent once more.
    Replayed,
    /// Ended with both closings.
    Closed,
    /// Ended without, or by the receiver's wish.
    Aborted,
    /// Never granted.
    Refused,
    /// Its connection went away; it may be resumed.
    Left,
}

impl Event {
    const ALL: [Self; 7] = [
        Self::Granted,
        Self::Resumed,
        Self::Replayed,
        Self::Closed,
        Self::Aborted,
        Self::Refused,
        Self::Left,
    ];

    /// How a session ended, as its closing says.
    pub(crate) fn of(status: Status) -> Self {
        match status {
            Status::Complete => Self::Closed,
            Status::Aborted => Self::Aborted,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Resumed => "resumed",
            Self::Replayed => "replayed",
            Self::Closed => "closed",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
            Self::Left => "left",
        }
    }
}

/// What takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From an accepted connection to a peer that may speak.
    Handshake,
    /// Binding and charging a chunk, with the wait for others of the same transaction.
    Charge,
    /// One transaction that binds and charges, whatever it holds.
    Commit,
    /// Waiting for a processor.
    Queue,
    /// Evaluating a chunk and proving it.
    Evaluate,
    /// Signing an answer and writing it down.
    Record,
    /// Bringing answers that were written down to the disk, and noting where they lie.
    Settle,
    /// Until the connection has taken an answer.
    Send,
}

impl Stage {
    const ALL: [Self; 8] = [
        Self::Handshake,
        Self::Charge,
        Self::Commit,
        Self::Queue,
        Self::Evaluate,
        Self::Record,
        Self::Settle,
        Self::Send,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Charge => "charge",
            Self::Commit => "commit",
            Self::Queue => "queue",
            Self::Evaluate => "evaluate",
            Self::Record => "record",
            Self::Settle => "settle",
            Self::Send => "send",
        }
    }
}

/// Makes histograms of durations.
#[derive(Debug, Clone)]
struct Durations;

impl MetricConstructor<Histogram> for Durations {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

/// One more of something, as long as this lives.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Everything that a node counts. Cheap to touch: atomic numbers, a short lock for durations.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    observed: Observed,
    sessions: Counters,
    refusals: Counters,
    failures: Counters,
    faults: Counters,
    elements: Counters,
    bytes: Counters,
    calls: Counters,
    calls_refused: Counters,
    connections: Counter,
    connections_refused: Counters,
    stages: Family<Label, Histogram, Durations>,
    groups: Histogram,
    connections_open: Gauge,
    sessions_served: Gauge,
    shifts_served: Gauge,
    flights: Counter,
    chunks: Gauge,
    snapshots: Gauge,
    /// Rendering takes one thread, however many ask.
    rendering: Mutex<()>,
}

impl Metrics {
    /// All at zero. Series whose label is known stand there from the start, so that a rate can be
    /// taken from the first event on.
    pub(crate) fn new(kernel: &dyn Kernel) -> Self {
        let mut registry = Registry::default();
        let observed = Observed::default();
        registry.register_collector(Box::new(observed.clone()));
        let own = registry.sub_registry_with_prefix("tallyd");
        let facts: Vec<(&'static str, String)> = vec![
            ("version", build::VERSION.to_owned()),
            ("build", build::HASH.to_owned()),
            ("kernel", kernel.name().to_owned()),
        ];
        own.register("build", "Which build runs", Info::new(facts));
        let metrics = Self {
            sessions: counters(own, "sessions", "What became of sessions, by state"),
            refusals: counters(own, "refusals", "Refusals in answer to a request, by code"),
            failures: counters(
                own,
                "session_failures",
                "Sessions that stopped over an error",
            ),
            faults: counters(own, "faults", "Errors that are this node's own, by code"),
            elements: counters(
                own,
                "elements_charged",
                "Elements charged to peers, padding included, by identifier type",
            ),
            bytes: Counters::default(),
            calls: counters(own, "calls", "Calls of peers that may connect, by call"),
            calls_refused: counters(
                own,
                "calls_refused",
                "Calls that were one too many, by code",
            ),
            connections: Counter::default(),
            connections_refused: counters(
                own,
                "connections_refused",
                "Connections that were not let in, by code",
            ),
            stages: Family::new_with_constructor(Durations),
            groups: Histogram::new(GROUPS),
            connections_open: Gauge::default(),
            sessions_served: Gauge::default(),
            shifts_served: Gauge::default(),
            flights: Counter::default(),
            chunks: Gauge::default(),
            snapshots: Gauge::default(),
            rendering: Mutex::default(),
            observed,
            registry: Registry::default(),
        };
        own.register_with_unit(
            "network",
            "Bytes inside TLS connections with peers, by direction",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        own.register_with_unit(
            "stage_duration",
            "Time that parts of the work took, by stage",
            Unit::Seconds,
            metrics.stages.clone(),
        );
        own.register(
            "flights",
            "Flights of shifts that were answered",
            metrics.flights.clone(),
        );
        own.register(
            "commit_group_chunks",
            "Chunks that were bound and charged in one transaction",
            metrics.groups.clone(),
        );
        own.register(
            "connections",
            "Connections that were let in",
            metrics.connections.clone(),
        );
        for (name, help, gauge) in [
            (
                "connections_open",
                "Connections that are open now",
                &metrics.connections_open,
            ),
            (
                "sessions_served",
                "Session calls under way now",
                &metrics.sessions_served,
            ),
            (
                "shifts_served",
                "Shifts that a connection serves now",
                &metrics.shifts_served,
            ),
            (
                "chunks_in_flight",
                "Chunks that are charged and not answered yet",
                &metrics.chunks,
            ),
            (
                "snapshots_sending",
                "Snapshots that are being sent now",
                &metrics.snapshots,
            ),
        ] {
            own.register(name, help, gauge.clone());
        }
        let start = |family: &Counters, name, words: &[&'static str]| {
            for word in words {
                drop(family.get_or_create(&[(name, *word)]));
            }
        };
        start(&metrics.sessions, "state", &Event::ALL.map(Event::name));
        start(&metrics.refusals, "code", &REFUSALS.map(RefusalCode::name));
        start(
            &metrics.faults,
            "code",
            &["bug", "io", "seal-broken", "store"],
        );
        start(&metrics.elements, "type", &TYPES);
        start(&metrics.failures, "code", &FAILURES);
        start(&metrics.connections_refused, "code", &CONNECTIONS);
        start(&metrics.calls_refused, "code", &CALLS);
        start(&metrics.bytes, "direction", &["in", "out"]);
        start(
            &metrics.calls,
            "call",
            &["catalogue", "session", "snapshot"],
        );
        for stage in Stage::ALL {
            drop(metrics.stages.get_or_create(&[("stage", stage.name())]));
        }
        Self {
            registry,
            ..metrics
        }
    }

    /// Something became of a session.
    pub(crate) fn session(&self, event: Event) {
        self.sessions
            .get_or_create(&[("state", event.name())])
            .inc();
    }

    /// A request was refused.
    pub(crate) fn refused(&self, code: RefusalCode) {
        self.session(Event::Refused);
        self.refusals.get_or_create(&[("code", code.name())]).inc();
    }

    /// A session stopped over an error.
    pub(crate) fn failed(&self, error: &AgencyError) {
        self.failures.get_or_create(&[("code", error.code())]).inc();
        self.fault(error);
    }

    /// An error, wherever it showed; those of peers and the network are not counted here.
    pub(crate) fn fault(&self, error: &AgencyError) {
        if matches!(
            error.kind(),
            Kind::PeerFault | Kind::Refused | Kind::Network
        ) {
            return;
        }
        self.faulty(error.code());
    }

    /// An error of our own, by its stable code.
    pub(crate) fn faulty(&self, code: &'static str) {
        self.faults.get_or_create(&[("code", code)]).inc();
    }

    /// Elements were charged. Not for a chunk that was charged before.
    pub(crate) fn charged(&self, type_name: &str, elements: u32) {
        let known = TYPES.iter().find(|known| **known == type_name);
        let label = [("type", *known.unwrap_or(&"other"))];
        self.elements.get_or_create(&label).inc_by(elements.into());
    }

    /// So many chunks go into one transaction.
    pub(crate) fn group(&self, chunks: usize) {
        self.groups.observe(chunks as f64);
    }

    /// A peer that may connect called.
    pub(crate) fn call(&self, call: &'static str) {
        self.calls.get_or_create(&[("call", call)]).inc();
    }

    /// A call was one too many.
    pub(crate) fn call_refused(&self, code: &'static str) {
        self.calls_refused.get_or_create(&[("code", code)]).inc();
    }

    /// A connection was not let in.
    pub(crate) fn connection_refused(&self, code: &'static str) {
        self.connections_refused
            .get_or_create(&[("code", code)])
            .inc();
    }

    /// A part of the work took the time since `started`.
    pub(crate) fn stage(&self, stage: Stage, started: Instant) {
        self.took(stage, started.elapsed());
    }

    /// A part of the work took this long.
    pub(crate) fn took(&self, stage: Stage, time: Duration) {
        self.stages
            .get_or_create(&[("stage", stage.name())])
            .observe(time.as_secs_f64());
    }

    /// A session call, as long as it lives.
    pub(crate) fn serving(&self) -> Held {
        Held::new(&self.sessions_served)
    }

    /// A shift, as long as a connection serves it.
    pub(crate) fn shift(&self) -> Held {
        Held::new(&self.shifts_served)
    }

    /// The last chunk of a flight was answered.
    pub(crate) fn flight(&self) {
        self.flights.inc();
    }

    /// A chunk that is charged, until it is answered or given up.
    pub(crate) fn chunk(&self) -> Held {
        Held::new(&self.chunks)
    }

    /// A snapshot that is being sent.
    pub(crate) fn snapshot(&self) -> Held {
        Held::new(&self.snapshots)
    }

    /// Counts the bytes of a connection that was let in, and the connection while it lives.
    pub(crate) fn counted<S>(&self, stream: S) -> Counted<S> {
        self.connections.inc();
        let of = |direction| self.bytes.get_or_create_owned(&[("direction", direction)]);
        Counted::new(
            stream,
            of("in"),
            of("out"),
            Held::new(&self.connections_open),
        )
    }

    /// Tells what was seen of store, certificates and collections.
    pub(crate) fn saw(&self, seen: Seen) {
        self.observed.replace(seen);
    }

    /// All of it, in the text format of OpenMetrics 1.0, which Prometheus reads.
    ///
    /// # Errors
    /// `Bug` only.
    pub(crate) fn render(&self) -> Result<String> {
        let _one_at_a_time = self
            .rendering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut text = String::with_capacity(16 * 1024);
        encode(&mut text, &self.registry)
            .map_err(|_| AgencyError::Bug("metrics cannot be written".to_owned()))?;
        Ok(text)
    }
}

fn counters(registry: &mut Registry, name: &str, help: &str) -> Counters {
    let family = Counters::default();
    registry.register(name, help, family.clone());
    family
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tallystick_protocol::group;

    use super::*;

    fn value(text: &str, series: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("{series}\n{text}"))
            .trim()
            .parse()
            .unwrap()
    }

    #[test]
    fn what_happens_is_counted_under_words_of_this_program() {
        let metrics = Metrics::new(group::best());
        let before = metrics.render().unwrap();
        assert_eq!(
            value(&before, "tallyd_sessions_total{state=\"granted\"}"),
            0.0
        );
        metrics.session(Event::Granted);
        metrics.refused(RefusalCode::ClockSkew);
        metrics.charged("document", 16);
        // What no version of this program knows is no label.
        metrics.charged("l898902c3", 8);
        metrics.took(Stage::Evaluate, Duration::from_millis(3));
        let held = metrics.chunk();
        let text = metrics.render().unwrap();
        for (series, want) in [
            ("tallyd_sessions_total{state=\"granted\"}", 1.0),
            ("tallyd_sessions_total{state=\"refused\"}", 1.0),
            ("tallyd_refusals_total{code=\"clock-skew\"}", 1.0),
            ("tallyd_refusals_total{code=\"busy\"}", 0.0),
            ("tallyd_elements_charged_total{type=\"document\"}", 16.0),
            ("tallyd_elements_charged_total{type=\"other\"}", 8.0),
            (
                "tallyd_stage_duration_seconds_count{stage=\"evaluate\"}",
                1.0,
            ),
            ("tallyd_chunks_in_flight", 1.0),
        ] {
            assert_eq!(value(&text, series), want, "{series}");
        }
        assert!(!text.contains("l898902c3"), "{text}");
        drop(held);
        let text = metrics.render().unwrap();
        assert_eq!(value(&text, "tallyd_chunks_in_flight"), 0.0);
    }
}
