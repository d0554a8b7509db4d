//! `node.toml`: what an operator decides about a node.
//!
//! The file is rendered from one template, `node.template.toml`. A test holds that what the
//! template says equals the defaults here.

mod explain;

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{AgencyError, Result};
use crate::fs::read_text;
use crate::logging::{LogFormat, check_filter};
use crate::memory::LockMemory;

/// The name of the configuration file inside a home.
pub const FILE_NAME: &str = "node.toml";
/// The port that nodes listen on by default.
pub const DEFAULT_PORT: u16 = 7443;

const TEMPLATE: &str = include_str!("node.template.toml");

/// Everything in `node.toml`. The template documents each key, its unit and its default.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The agency's name.
    pub name: String,
    /// Its state, three capital letters.
    pub state: Option<String>,
    /// Where the server listens.
    #[serde(default = "default_listen_address")]
    pub listen_address: SocketAddr,
    /// `host:port` under which peers reach the server.
    pub advertise_address: Option<String>,
    /// A file with the passphrase; relative paths start at the home.
    pub passphrase_file: Option<PathBuf>,
    /// Whether memory is kept out of swap.
    #[serde(default)]
    pub lock_memory: LockMemory,
    /// Logs.
    #[serde(default)]
    pub log: LogConfig,
    /// Where the operator's own machines ask how the node does.
    #[serde(default)]
    pub metrics: MetricsConfig,
    /// Limits that guard this node's own resources.
    #[serde(default)]
    pub limits: Limits,
    /// What this node allows and asks.
    #[serde(default)]
    pub policy: Policy,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// For people or for machines.
    pub format: LogFormat,
    /// Which events are logged.
    pub filter: String,
}

/// `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Where metrics and health are told; nowhere when absent.
    pub listen_address: Option<SocketAddr>,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest message taken from a peer, bytes.
    pub max_message_bytes: u32,
    /// Elements in one chunk taken from a peer; stands in this node's grants.
    pub chunk_elements: u32,
    /// Chunks a peer may send ahead of their answers; stands in this node's grants.
    pub window_chunks: u32,
    /// Sessions at the same time.
    pub max_sessions_total: u32,
    /// Sessions at the same time with one peer.
    pub max_sessions_per_peer: u32,
    /// Shifts at the same time.
    pub max_shifts_total: u32,
    /// Shifts at the same time with one peer.
    pub max_shifts_per_peer: u32,
    /// New and resumed sessions in a minute with one peer.
    pub session_requests_per_minute_per_peer: u32,
    /// Memory for the chunks of all sessions, MiB.
    pub session_memory_mib: u32,
    /// Connections at the same time.
    pub max_connections_total: u32,
    /// Connections at the same time with one peer.
    pub max_connections_per_peer: u32,
    /// Calls of any kind under way at the same time for one peer.
    pub max_calls_per_peer: u32,
    /// Snapshots sent at the same time.
    pub max_snapshots_total: u32,
    /// Snapshots sent at the same time to one peer.
    pub max_snapshots_per_peer: u32,
    /// TLS handshakes under way at the same time.
    pub max_handshakes_total: u32,
    /// TLS handshakes under way at the same time from one network address.
    pub max_handshakes_per_address: u32,
    /// Time for a TLS handshake, seconds.
    pub handshake_timeout_seconds: u32,
    /// Threads for cryptography; 0: one for each processor.
    pub worker_threads: u32,
    /// Silence after which a connection is closed, seconds.
    pub idle_timeout_seconds: u32,
    /// Time for running sessions at shutdown, seconds.
    pub drain_timeout_seconds: u32,
}

/// `[policy]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Most elements in one session, padding included.
    pub max_elements_per_session: u64,
    /// Most elements for one peer under one key.
    pub elements_per_peer_per_epoch: u64,
    /// Validity of own requests, seconds.
    pub request_lifetime_seconds: u32,
    /// Age of an epoch that `check` warns about, days; 0: never.
    pub epoch_warn_days: u32,
    /// Clock difference that is warned about, seconds.
    pub clock_skew_warn_seconds: u32,
    /// Clock difference that is refused, seconds.
    pub clock_skew_refuse_seconds: u32,
    /// Whether own closings show the match count to a sender that demands it.
    pub sender_learns_count: bool,
    /// Whether this node, when it is asked, demands the match count.
    pub demands_count: bool,
}

fn default_listen_address() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into()
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Pretty,
            filter: "info".to_owned(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 1 << 20,
            chunk_elements: 16_384,
            window_chunks: 4,
            max_sessions_total: 64,
            max_sessions_per_peer: 8,
            max_shifts_total: 128,
            max_shifts_per_peer: 16,
            session_requests_per_minute_per_peer: 600,
            session_memory_mib: 64,
            max_connections_total: 256,
            max_connections_per_peer: 32,
            max_calls_per_peer: 32,
            max_snapshots_total: 16,
            max_snapshots_per_peer: 4,
            max_handshakes_total: 256,
            max_handshakes_per_address: 64,
            handshake_timeout_seconds: 10,
            worker_threads: 0,
            idle_timeout_seconds: 60,
            drain_timeout_seconds: 30,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_elements_per_session: 1 << 20,
            elements_per_peer_per_epoch: 1 << 24,
            request_lifetime_seconds: 3600,
            epoch_warn_days: 90,
            clock_skew_warn_seconds: 2,
            clock_skew_refuse_seconds: 30,
            sender_learns_count: false,
            demands_count: false,
        }
    }
}

impl NodeConfig {
    /// The defaults for an agency of this name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: None,
            listen_address: default_listen_address(),
            advertise_address: None,
            passphrase_file: None,
            lock_memory: LockMemory::default(),
            log: LogConfig::default(),
            metrics: MetricsConfig::default(),
            limits: Limits::default(),
            policy: Policy::default(),
        }
    }

    /// Reads and checks a file.
    pub fn load(file: &Path) -> Result<Self> {
        Self::parse(&read_text(file)?, file)
    }

    /// Parses and checks the text of `file`; the path is for messages only.
    pub fn parse(text: &str, file: &Path) -> Result<Self> {
        let fail = |problem: String| AgencyError::Config {
            file: file.to_path_buf(),
            problem,
        };
        let config: Self = toml::from_str(text).map_err(|e| fail(explain::complaint(text, &e)))?;
        config
            .check()
            .map_err(|problem| fail(explain::placed(text, problem)))?;
        Ok(config)
    }

    /// The host of `advertise_address`, without brackets.
    pub fn advertise_host(&self) -> Option<&str> {
        let (host, _) = self.advertise_address.as_deref()?.rsplit_once(':')?;
        Some(host.trim_start_matches('[').trim_end_matches(']'))
    }

    /// The commented file for this configuration. Only the five keys at the top may differ from
    /// the defaults; lock_memory and the sections below are always the template's.
    pub fn render(&self) -> String {
        let quoted = |value: &str| toml::Value::from(value).to_string();
        let line = |key: &str, value: Option<String>, example: &str| match value {
            Some(value) => format!("{key} = {}", quoted(&value)),
            None => format!("#{key} = {}", quoted(example)),
        };
        let passphrase_file = self
            .passphrase_file
            .as_ref()
            .map(|p| p.to_string_lossy().into_owned());
        TEMPLATE
            .replace("{name}", &quoted(&self.name))
            .replace("{state}", &line("state", self.state.clone(), "DEU"))
            .replace(
                "{listen_address}",
                &quoted(&self.listen_address.to_string()),
            )
            .replace(
                "{advertise_address}",
                &line(
                    "advertise_address",
                    self.advertise_address.clone(),
                    "tally.example.org:7443",
                ),
            )
            .replace(
                "{passphrase_file}",
                &line("passphrase_file", passphrase_file, "passphrase"),
            )
    }

    /// Checks every value; the error names key and allowed values.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        check_name(&self.name).map_err(|e| format!("name: {e}"))?;
        if let Some(state) = &self.state {
            check_state(state).map_err(|e| format!("state: {e}"))?;
        }
        if let Some(address) = &self.advertise_address {
            check_address(address).map_err(|e| format!("advertise_address: {e}"))?;
        }
        if self
            .passphrase_file
            .as_ref()
            .is_some_and(|p| p.as_os_str().is_empty())
        {
            return Err("passphrase_file: is empty; name a file or remove the key".to_owned());
        }
        check_filter(&self.log.filter).map_err(|e| format!("log.filter: {e}"))?;

        // Port 0 is another one each time.
        let port = self.listen_address.port();
        if port != 0
            && self
                .metrics
                .listen_address
                .is_some_and(|metrics| metrics.port() == port)
        {
            return Err(format!(
                "metrics.listen_address: port {port} is the peers' own; choose another port"
            ));
        }

        let l = &self.limits;
        within("limits.chunk_elements", l.chunk_elements, 1..=65_535)?;
        let one_chunk = 65_536 + 32 * l.chunk_elements;
        within(
            "limits.max_message_bytes",
            l.max_message_bytes,
            one_chunk..=64 << 20,
        )?;
        within("limits.window_chunks", l.window_chunks, 1..=64)?;
        within(
            "limits.max_sessions_total",
            l.max_sessions_total,
            1..=100_000,
        )?;
        within(
            "limits.max_sessions_per_peer",
            l.max_sessions_per_peer,
            1..=l.max_sessions_total,
        )?;
        within(
            "limits.session_requests_per_minute_per_peer",
            l.session_requests_per_minute_per_peer,
            1..=1_000_000,
        )?;
        within(
            "limits.session_memory_mib",
            l.session_memory_mib,
            8..=65_536,
        )?;
        for (key, value, most) in [
            ("shifts_total", l.max_shifts_total, 100_000),
            ("shifts_per_peer", l.max_shifts_per_peer, l.max_shifts_total),
            ("connections_total", l.max_connections_total, 100_000),
            (
                "connections_per_peer",
                l.max_connections_per_peer,
                l.max_connections_total,
            ),
            ("calls_per_peer", l.max_calls_per_peer, 100_000),
            ("snapshots_total", l.max_snapshots_total, 400),
            (
                "snapshots_per_peer",
                l.max_snapshots_per_peer,
                l.max_snapshots_total,
            ),
            ("handshakes_total", l.max_handshakes_total, 100_000),
            (
                "handshakes_per_address",
                l.max_handshakes_per_address,
                l.max_handshakes_total,
            ),
        ] {
            within(&format!("limits.max_{key}"), value, 1..=most)?;
        }
        within(
            "limits.handshake_timeout_seconds",
            l.handshake_timeout_seconds,
            1..=300,
        )?;
        within("limits.worker_threads", l.worker_threads, 0..=1024)?;
        within(
            "limits.idle_timeout_seconds",
            l.idle_timeout_seconds,
            1..=86_400,
        )?;
        within(
            "limits.drain_timeout_seconds",
            l.drain_timeout_seconds,
            0..=3600,
        )?;

        let p = &self.policy;
        within(
            "policy.max_elements_per_session",
            p.max_elements_per_session,
            16..=1 << 32,
        )?;
        within(
            "policy.elements_per_peer_per_epoch",
            p.elements_per_peer_per_epoch,
            1..=1 << 32,
        )?;
        within(
            "policy.request_lifetime_seconds",
            p.request_lifetime_seconds,
            60..=604_800,
        )?;
        within("policy.epoch_warn_days", p.epoch_warn_days, 0..=36_500)?;
        within(
            "policy.clock_skew_refuse_seconds",
            p.clock_skew_refuse_seconds,
            // The format's own rule (spec 4.3): what is granted beyond it is no session.
            1..=30,
        )?;
        within(
            "policy.clock_skew_warn_seconds",
            p.clock_skew_warn_seconds,
            1..=p.clock_skew_refuse_seconds,
        )
    }
}

fn within<T: PartialOrd + Display>(
    key: &str,
    value: T,
    allowed: RangeInclusive<T>,
) -> std::result::Result<(), String> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(format!(
        "{key}: {value} is not allowed; allowed: {} to {}",
        allowed.start(),
        allowed.end()
    ))
}

/// Checks the name of an agency or collection: `[a-z0-9][a-z0-9-]{0,62}`.
pub fn check_name(name: &str) -> std::result::Result<(), String> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    if (1..=63).contains(&bytes.len())
        && good(bytes[0])
        && bytes.iter().all(|&b| good(b) || b == b'-')
    {
        return Ok(());
    }
    Err("allowed: 1 to 63 of a-z, 0-9 and hyphen, not starting with a hyphen".to_owned())
}

fn check_state(state: &str) -> std::result::Result<(), String> {
    if state.len() == 3 && state.bytes().all(|b| b.is_ascii_uppercase()) {
        return Ok(());
    }
    Err("allowed: three capital letters as in travel documents, for example DEU".to_owned())
}

/// Checks `host:port`, where host is a name, an IPv4 address or `[IPv6]`.
fn check_address(address: &str) -> std::result::Result<(), String> {
    let parts = address
        .rsplit_once(':')
        .filter(|(host, _)| address_host_is_plain(host))
        .and_then(|(_, port)| port.parse::<u16>().ok());
    match parts {
        Some(port) if port != 0 => Ok(()),
        _ => Err(
            "allowed: HOST:PORT, for example tally.example.org:7443 or [2001:db8::1]:7443"
                .to_owned(),
        ),
    }
}

fn address_host_is_plain(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NodeConfig> {
        NodeConfig::parse(text, Path::new("node.toml"))
    }

    fn refusal(text: &str) -> String {
        let error = parse(text).unwrap_err();
        assert_eq!(error.code(), "config");
        let text = error.to_string();
        assert!(text.starts_with("node.toml: "), "{text}");
        text
    }

    #[test]
    fn template_equals_the_defaults() {
        let plain = NodeConfig::new("agency-one");
        assert_eq!(parse(&plain.render()).unwrap(), plain);
        // Leaving everything out gives the same.
        assert_eq!(parse("name = \"agency-one\"").unwrap(), plain);

        let full = NodeConfig {
            state: Some("UTO".to_owned()),
            listen_address: "[::1]:9".parse().unwrap(),
            advertise_address: Some("host.example:7443".to_owned()),
            passphrase_file: Some(PathBuf::from("/with \"quotes\"/p")),
            ..plain
        };
        assert_eq!(parse(&full.render()).unwrap(), full);
    }

    #[test]
    fn every_key_is_in_the_template_with_a_comment_and_its_default() {
        let text = NodeConfig::new("a").render();
        let mut comment = String::new();
        let mut keys = 0;
        for line in text.lines() {
            let key = line
                .trim_start_matches('#')
                .split_once(" = ")
                .map(|(k, _)| k);
            if let Some(key) =
                key.filter(|k| k.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
            {
                keys += 1;
                assert!(!comment.is_empty(), "{key} has no comment");
                assert!(
                    key == "name" || comment.contains("Default:"),
                    "{key} states no default"
                );
                // A number in a line of its own stands in the comment as the default.
                if let Some((_, value)) = line.split_once(" = ")
                    && value.bytes().all(|b| b.is_ascii_digit())
                {
                    assert!(comment.contains(&format!("Default: {value}")), "{key}");
                }
                comment.clear();
            } else if let Some(words) = line.strip_prefix("# ") {
                comment.push_str(words);
                comment.push(' ');
            }
        }
        assert_eq!(keys, 6 + 2 + 1 + 20 + 8);
        assert!(!text.contains('{') && !text.contains('}'));
    }

    #[test]
    fn refusals_name_key_and_allowed_values() {
        let e = refusal("name = \"a\"\nlissen_address = \"x\"");
        assert!(
            e.contains("line 2: there is no key lissen_address; did you mean listen_address?"),
            "{e}"
        );
        // A key that is like none, and a value that may be a secret.
        let e = refusal("name = \"a\"\npassword = \"hunter2\"");
        assert!(
            e.contains("line 2: there is no key password; known here: name, state,"),
            "{e}"
        );
        assert!(!e.contains("hunter2"), "{e}");
        let e = refusal("name = \"a\"\n[log]\n\n[limitz]\nwindow_chunks = 1");
        assert!(
            e.contains("line 4: there is no key limitz; did you mean limits?"),
            "{e}"
        );
        let e = refusal("name = \"a\"\n[limits]\nchunk_elements = 70000");
        assert!(
            e.contains("limits.chunk_elements") && e.contains("1 to 65535"),
            "{e}"
        );
        let e = refusal("name = \"a\"\n[limits]\nmax_message_bytes = 65536");
        assert!(
            e.contains("limits.max_message_bytes") && e.contains("589824"),
            "{e}"
        );
        let e = refusal("name = \"a\"\n[log]\nformat = \"xml\"");
        assert!(
            e.contains("format") && e.contains("pretty") && e.contains("json"),
            "{e}"
        );
        let e = refusal("name = \"a\"\n[policy]\nclock_skew_warn_seconds = 31");
        assert!(
            e.contains("policy.clock_skew_warn_seconds") && e.contains("1 to 30"),
            "{e}"
        );
        let e = refusal("name = \"A\"");
        assert!(e.contains("name: allowed"), "{e}");
        let e = refusal("name = \"a\"\nstate = \"de\"");
        assert!(e.contains("three capital letters"), "{e}");
        let e = refusal("name = \"a\"\nadvertise_address = \"host\"");
        assert!(e.contains("HOST:PORT"), "{e}");
        let e = refusal("name = \"a\"\n[metrics]\nlisten_address = \"127.0.0.1:7443\"");
        assert!(e.contains("metrics.listen_address: port 7443"), "{e}");
        let e = refusal("name = \"a\"\nlisten_address = \"localhost:7443\"");
        assert!(e.contains("listen_address"), "{e}");
    }

    #[test]
    fn names_and_addresses() {
        for good in ["a", "0-", "foreign-fighters", &"x".repeat(63)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a/b", "..", "ä", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        for good in ["h:1", "10.0.0.1:7443", "[::1]:7443"] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in [
            "h", "h:", "h:0", ":1", "h:70000", "::1:7443", "[x]:1", "a b:1",
        ] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }
}
