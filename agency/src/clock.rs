//! Wall-clock time. Protocol code takes time as an argument; this is where it comes from.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, now. A clock before 1970 reads as 0.
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_millis()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_in_milliseconds() {
        // 2020-01-01 and 2200-01-01.
        assert!((1_577_836_800_000..7_258_118_400_000).contains(&super::now_ms()));
    }
}
