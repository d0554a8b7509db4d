//! Numbers that are asked one after another, seen before they leave.

use serde::{Deserialize, Serialize};

/// What a desk does with a question that raises an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnAlarm {
    /// It is not asked: its answers are missing, with the code of the alarm.
    Hold,
    /// It is asked, and the alarm stands beside the verdict.
    Warn,
}
