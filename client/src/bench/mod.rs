//! `tally bench`: what this machine does, stage by stage, with the kernel that is used and with the
//! reference kernel in the same run.
//!
//! ```text
//! stages    one chunk through every stage of the arithmetic, timed on one thread
//! reading   rows of a generated table to elements
//! session   a whole session of two processes, as `try` runs it
//! desk      travellers at a desk, one by one and many at once
//! estimate  what a pair of sizes costs, from the figures of the stages
//! ```
//!
//! Times are processor time of the thread that works, where the system counts it: other programs then
//! disturb little. Kernels take turns, so that a slow moment of the machine meets both.

pub mod desk;
pub mod estimate;
mod reading;
mod session;
mod stages;

use std::time::Instant;

use tallystick_agency::process::thread_cpu_seconds;

pub use reading::{Rows, rows};
pub use session::{Session, session};
pub use stages::{Bench, Options, STAGES, Stage, passes, stages};

/// Times of one piece of work, in nanoseconds for each element.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Figure {
    /// Of all repeats.
    pub median: f64,
    /// The fastest repeat.
    pub min: f64,
    /// The slowest repeat.
    pub max: f64,
}

impl Figure {
    /// Of the times of all repeats, nanoseconds for each element; `None` of none.
    fn of(mut times: Vec<f64>) -> Option<Self> {
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        let upper = *times.get(middle)?;
        let median = match times.len() % 2 {
            0 => (times.get(middle - 1)? + upper) / 2.0,
            _ => upper,
        };
        Some(Self {
            median,
            min: *times.first()?,
            max: *times.last()?,
        })
    }

    /// Slowest less fastest, as a share of the median.
    #[must_use]
    pub fn spread(&self) -> f64 {
        (self.max - self.min) / self.median
    }
}

/// Time that passes for a thread: its processor time, else the clock's.
struct Lap {
    cpu: Option<f64>,
    wall: Instant,
}

impl Lap {
    fn start() -> Self {
        Self {
            cpu: thread_cpu_seconds(),
            wall: Instant::now(),
        }
    }

    /// Nanoseconds since the start, for each of `elements`.
    fn each(&self, elements: usize) -> f64 {
        let cpu = self.cpu.zip(thread_cpu_seconds());
        let seconds = cpu.map_or_else(
            || self.wall.elapsed().as_secs_f64(),
            |(start, end)| end - start,
        );
        seconds * 1e9 / elements.max(1) as f64
    }
}

/// Whether times are processor time; else they are the clock's, and other programs count.
#[must_use]
pub fn counts_cpu() -> bool {
    thread_cpu_seconds().is_some()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_middle_of_its_times() {
        let odd = Figure::of(vec![5.0, 1.0, 3.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 5.0));
        assert!((odd.spread() - 4.0 / 3.0).abs() < 1e-9);
        let even = Figure::of(vec![4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!((even.median, even.min, even.max), (2.5, 1.0, 4.0));
        assert_eq!(Figure::of(Vec::new()), None);
    }

    #[test]
    fn sleeping_costs_no_processor_time() {
        let lap = Lap::start();
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!counts_cpu() || lap.each(1) < 0.05e9);
        assert!(lap.wall.elapsed().as_secs_f64() >= 0.1);
    }
}
