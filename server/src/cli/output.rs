//! Results of `tallyd`: those of [`tallystick_agency::report`], and when an end is announced.

pub(super) use tallystick_agency::report::{
    Report, facts, grouped, list, moment, or_dash, write_stdout,
};
use tallystick_agency::{exit::Outcome, report};

use super::{Context, PROGRAM};

/// Days before an end at which it is warned about.
pub(super) const WARN_DAYS: i64 = 30;
const DAY_MS: i64 = 86_400_000;

impl Context {
    /// Prints the result.
    pub(super) fn print<R: Report>(&self, result: &R) -> Outcome<()> {
        report::print(PROGRAM, self.json, result)
    }
}

/// Whether a time lies within the next [`WARN_DAYS`] days, or in the past.
pub(super) fn ends_soon(end_ms: i64, now_ms: i64) -> bool {
    end_ms - now_ms < WARN_DAYS * DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_announced() {
        assert!(ends_soon(0, 1));
        assert!(ends_soon(29 * DAY_MS, 0));
        assert!(!ends_soon(31 * DAY_MS, 0));
    }
}
