//! What nobody counts as it happens, and is looked at from time to time or when somebody asks.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use tallystick_agency::{clock, process};

use crate::health::Reason;

/// What was seen last of things outside this process's memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Why the node is not ready; empty if it is.
    pub(crate) reasons: Vec<Reason>,
    /// Sessions that are granted and not ended, in the store; unknown while the store fails.
    pub(crate) open_sessions: Option<u64>,
    /// Names of collections, and when their epoch began.
    pub(crate) epochs: Vec<(String, i64)>,
    /// When the certificate ends that this node shows.
    pub(crate) certificate_ends_ms: Option<i64>,
    /// When the first manifest of a peer ends.
    pub(crate) peer_ends_ms: Option<i64>,
    /// Free bytes where the home is.
    pub(crate) free_bytes: Option<u64>,
    /// Jobs that wait for a processor, and jobs that have one.
    pub(crate) jobs: (usize, usize),
}

/// The last [`Seen`], and what the system says of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed(Arc<Mutex<Seen>>);

impl Observed {
    pub(super) fn replace(&self, seen: Seen) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

/// Writes single numbers.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn metric(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        kind: MetricType,
        write: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(self.0.encode_descriptor(name, help, unit.as_ref(), kind)?)
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: f64) -> fmt::Result {
        self.metric(name, help, unit, MetricType::Gauge, |encoder| {
            ConstGauge::new(value).encode(encoder)
        })
    }
}

impl Collector for Observed {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let seen = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut writer = Writer(encoder);
        node(&mut writer, &seen)?;
        system(&mut writer)
    }
}

fn node(writer: &mut Writer<'_>, seen: &Seen) -> fmt::Result {
    let help = "Whether the node can serve, 1 or 0";
    let ready = f64::from(u8::from(seen.reasons.is_empty()));
    writer.gauge("tallyd_ready", help, None, ready)?;
    let help = "Reasons why the node is not ready, 1 or 0";
    writer.metric(
        "tallyd_not_ready_reason",
        help,
        None,
        MetricType::Gauge,
        |mut encoder| {
            for reason in Reason::ALL {
                let value = u64::from(seen.reasons.contains(&reason));
                let label = [("reason", reason.code())];
                ConstGauge::new(value).encode(encoder.encode_family(&label)?)?;
            }
            Ok(())
        },
    )?;
    if let Some(open) = seen.open_sessions {
        let help = "Sessions that are granted and not ended, those that wait to be resumed too";
        writer.gauge("tallyd_sessions_open", help, None, open as f64)?;
    }
    let (waiting, running) = seen.jobs;
    let help = "Chunks that wait for a processor";
    writer.gauge("tallyd_worker_jobs_waiting", help, None, waiting as f64)?;
    let help = "Chunks that have a place in the processor pool";
    writer.gauge("tallyd_worker_jobs_running", help, None, running as f64)?;
    if let Some(free) = seen.free_bytes {
        let help = "Free disk where the home is";
        let unit = Some(Unit::Bytes);
        writer.gauge("tallyd_home_free", help, unit, free as f64)?;
    }
    let now = clock::now_ms();
    let seconds = |ms: i64| ms as f64 / 1000.0;
    writer.metric(
        "tallyd_epoch_age",
        "Time since the epoch of a collection began",
        Some(Unit::Seconds),
        MetricType::Gauge,
        |mut encoder| {
            for (name, began) in &seen.epochs {
                let label = [("collection", name.as_str())];
                let age = seconds(now - began).max(0.0);
                ConstGauge::new(age).encode(encoder.encode_family(&label)?)?;
            }
            Ok(())
        },
    )?;
    let ends = [
        ("own", seen.certificate_ends_ms),
        ("peer-soonest", seen.peer_ends_ms),
    ];
    writer.metric(
        "tallyd_certificate_expiry_timestamp",
        "When the own certificate ends, and the first manifest of a peer, since the Unix epoch",
        Some(Unit::Seconds),
        MetricType::Gauge,
        |mut encoder| {
            for (whose, end) in ends {
                if let Some(end) = end {
                    let label = [("certificate", whose)];
                    ConstGauge::new(seconds(end)).encode(encoder.encode_family(&label)?)?;
                }
            }
            Ok(())
        },
    )
}

/// The usual names, as other programs have them. What the system does not tell is left out.
fn system(writer: &mut Writer<'_>) -> fmt::Result {
    if let Ok(usage) = process::usage() {
        let help = "User and system time of this process";
        let unit = Some(Unit::Seconds);
        writer.metric("process_cpu", help, unit, MetricType::Counter, |encoder| {
            ConstCounter::new(usage.cpu_seconds).encode(encoder)
        })?;
    }
    if let Some(resident) = process::resident_bytes() {
        let help = "Memory of this process that is resident";
        let unit = Some(Unit::Bytes);
        writer.gauge("process_resident_memory", help, unit, resident as f64)?;
    }
    if let Some((open, most)) = process::file_handles() {
        writer.gauge("process_open_fds", "Open file handles", None, open as f64)?;
        let help = "Most file handles that may be open";
        writer.gauge("process_max_fds", help, None, most as f64)?;
    }
    Ok(())
}
