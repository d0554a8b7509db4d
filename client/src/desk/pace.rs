//! Times of a link: ticks, the closing of the desk, and a machine that slept.

use std::time::{Duration, Instant};

use tallystick_agency::clock;
use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior},
};

/// A wall clock that has gone on by so much more than the time that ran: the machine slept.
const SLEPT: Duration = Duration::from_secs(10);

pub(super) fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Waits until the desk is closed.
pub(super) async fn told(closing: &mut watch::Receiver<bool>) {
    // An error says that the desk is gone.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// The next tick; never without an interval.
pub(super) async fn ticked(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Time by the wall and time that ran.
pub(super) struct Clocks {
    wall_ms: i64,
    ran: Instant,
}

impl Clocks {
    pub(super) fn now() -> Self {
        Self {
            wall_ms: clock::now_ms(),
            ran: Instant::now(),
        }
    }

    /// Whether the machine slept since the last time this was asked.
    pub(super) fn slept(&mut self) -> bool {
        let before = std::mem::replace(self, Self::now());
        slept_between(
            self.wall_ms - before.wall_ms,
            self.ran.duration_since(before.ran),
        )
    }
}

fn slept_between(wall_ms: i64, ran: Duration) -> bool {
    let wall = Duration::from_millis(u64::try_from(wall_ms).unwrap_or(0));
    wall > ran + SLEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_ran_ahead_is_sleep_and_a_slow_loop_is_not() {
        let seconds = Duration::from_secs;
        assert!(slept_between(3_600_000, seconds(1)));
        assert!(!slept_between(3_600_000, seconds(3_600)));
        assert!(!slept_between(11_000, seconds(1)));
        assert!(!slept_between(-3_600_000, seconds(1)), "set back");
    }
}
