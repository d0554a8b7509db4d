//! Logs: to stderr, for people or for machines, with UTC times. stdout belongs to results.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::UtcTime;

use crate::error::{AgencyError, Result};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line per event, with colour on a terminal.
    #[default]
    Pretty,
    /// One JSON object per line.
    Json,
}

/// Checks a filter such as `info,tallystick_server=debug`.
pub fn check_filter(filter: &str) -> std::result::Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|e| {
        format!("{e}; allowed: off, error, warn, info, debug, trace, or a list like info,sqlx=warn")
    })
}

/// Sends the events of this process to stderr. Works once per process.
pub fn init_tracing(format: LogFormat, filter: &str) -> Result<()> {
    let filter =
        EnvFilter::try_new(filter).map_err(|e| AgencyError::Usage(format!("log filter: {e}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_timer(UtcTime::rfc_3339());
    let done = match format {
        LogFormat::Pretty => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    done.map_err(|e| AgencyError::Bug(format!("logging is set up twice: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        assert!(check_filter("info,sqlx=warn").is_ok());
        let error = check_filter("info,sqlx=loud").unwrap_err();
        assert!(error.contains("allowed: off, error"), "{error}");
    }

    #[test]
    fn second_setup_is_an_error() {
        init_tracing(LogFormat::Json, "warn").unwrap();
        assert_eq!(
            init_tracing(LogFormat::Pretty, "warn").unwrap_err().code(),
            "bug"
        );
    }
}
