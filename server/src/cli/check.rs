//! `tallyd check`: what is wrong with a home, and how to mend it.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
};

use serde::Serialize;
use tallystick_agency::{
    AgencyError, clock,
    config::{FILE_NAME, NodeConfig},
    exit::{Exit, Failure, Outcome},
    fs::{OWNER_DIR, OWNER_FILE, require_owner_only},
    home::Home,
    store::{Collection, Peer, SqliteStore, Store},
};

use super::{
    block_on,
    check_certificate::certificate,
    check_collection::collection,
    peer::{status, stored_manifest},
    print,
    serve::unavailable,
};
use tallystick_agency::command::Context;
use tallystick_agency::report::{Report, list, moment, or_dash};

/// Less free disk than this is too little to go on; less than the second is warned about.
const DISK_FAIL_BYTES: u64 = 64 << 20;
const DISK_WARN_BYTES: u64 = 1 << 30;
/// 2025-01-01, before this program was written.
const EARLIEST_MS: i64 = 1_735_689_600_000;
/// What was written may lie this much in the future before the clock is doubted.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    verdict: Verdict,
    detail: String,
    fix: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Checks {
    failed: usize,
    warned: usize,
    checks: Vec<Check>,
}

impl Report for Checks {
    const COMMAND: &'static str = "check";

    fn text(&self) -> String {
        let mut table = list(&["check", "verdict", "detail", "fix"]);
        for check in &self.checks {
            let verdict = match check.verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            table.add_row([
                check.name.clone(),
                verdict.to_owned(),
                check.detail.clone(),
                or_dash(check.fix.as_deref()),
            ]);
        }
        table.trim_fmt()
    }
}

impl Checks {
    pub(super) fn ok(&mut self, name: &str, detail: impl Into<String>) {
        self.push(name, Verdict::Ok, detail.into(), None);
    }

    pub(super) fn warn(&mut self, name: &str, detail: impl Into<String>, fix: impl Into<String>) {
        self.warned += 1;
        self.push(name, Verdict::Warn, detail.into(), Some(fix.into()));
    }

    pub(super) fn fail(&mut self, name: &str, detail: impl Into<String>, fix: impl Into<String>) {
        self.failed += 1;
        self.push(name, Verdict::Fail, detail.into(), Some(fix.into()));
    }

    pub(super) fn failed(&mut self, name: &str, why: impl Into<Failure>) {
        let why = why.into();
        self.fail(name, why.what, why.next);
    }

    /// The value, or `None` and a line.
    pub(super) fn take<T>(
        &mut self,
        name: &str,
        outcome: Result<T, impl Into<Failure>>,
    ) -> Option<T> {
        outcome.map_err(|why| self.failed(name, why)).ok()
    }

    fn push(&mut self, name: &str, verdict: Verdict, detail: String, fix: Option<String>) {
        self.checks.push(Check {
            name: name.to_owned(),
            verdict,
            detail,
            fix,
        });
    }
}

pub(super) fn run(context: &Context) -> Outcome<()> {
    let dir = context.home_dir()?;
    if !dir.join("VERSION").is_file() {
        return Err(AgencyError::NotAHome(dir.to_path_buf()).into());
    }
    let mut checks = Checks::default();
    let file = dir.join(FILE_NAME);
    let config = checks.take("configuration", NodeConfig::load(&file));
    if config.is_some() {
        checks.ok("configuration", file.display().to_string());
    }
    permissions(&mut checks, dir);
    // A home with either fault does not open, and would say the same again.
    if checks.failed == 0 {
        if let Some(home) = checks.take("keys", context.open_home()) {
            block_on(context, inside(&mut checks, &home))?;
        }
    } else {
        let rest = "keys, certificate, peers, collections";
        checks.warn(rest, "not checked", "mend what fails, then check again");
    }
    disk(&mut checks, dir);
    if let Some(config) = &config {
        port(&mut checks, config.listen_address);
    }
    print(context, &checks)?;
    match checks.failed {
        0 => Ok(()),
        failed => Err(Failure::new(
            Exit::Usage,
            "check-failed",
            format!("{failed} of {} checks failed", checks.checks.len()),
            "do what the last column says",
        )),
    }
}

/// What needs the opened home.
async fn inside(checks: &mut Checks, home: &Home) -> Outcome<()> {
    let now = clock::now_ms();
    let keys = home
        .signing_key()
        .and_then(|_| home.log_key())
        .and_then(|_| home.tls_key());
    if checks.take("keys", keys).is_some() {
        checks.ok("keys", "signing, log and TLS keys open");
    }
    certificate(checks, home, now).await;
    let Some(store) = checks.take("state", home.store().await) else {
        return Ok(());
    };
    let peers = store.list_peers().await?;
    self::peers(checks, &peers, now);
    let collections = store.list_collections().await?;
    for known in &collections {
        let name = format!("collection {}", known.name);
        match collection(home, known, &peers) {
            Ok(None) => checks.ok(&name, format!("epoch {}, digest verifies", known.epoch)),
            Ok(Some((detail, fix))) => checks.warn(&name, detail, fix),
            Err(why) => checks.failed(&name, why),
        }
    }
    if collections.is_empty() {
        checks.ok("collections", "none; nothing is offered");
    }
    let newest = newest(&store, &peers, &collections).await?;
    clock_sanity(checks, home, now, newest);
    store.close().await;
    Ok(())
}

/// Who else can reach what hurts. The opened parts refuse themselves; all are named at once here.
fn permissions(checks: &mut Checks, dir: &Path) {
    let mut good = true;
    let mut look = |path: &Path, want: u32| {
        if path.exists()
            && let Err(why) = require_owner_only(path, want)
        {
            good = false;
            let mut why = Failure::from(why);
            if let Some(command) = why.next.strip_prefix("fix it with: ") {
                why.next = command.to_owned();
            }
            checks.failed("permissions", why);
        }
    };
    look(dir, OWNER_DIR);
    for folder in ["keys", "collections", "records"] {
        look(&dir.join(folder), OWNER_DIR);
    }
    for file in ["state.db", "state.db-wal", "passphrase"] {
        look(&dir.join(file), OWNER_FILE);
    }
    for entry in std::fs::read_dir(dir.join("keys"))
        .into_iter()
        .flatten()
        .flatten()
    {
        look(&entry.path(), OWNER_FILE);
    }
    if good {
        checks.ok("permissions", "for the owner only");
    }
}

fn peers(checks: &mut Checks, peers: &[Peer], now: i64) {
    for peer in peers {
        let name = format!("peer {}", peer.name);
        if checks.take(&name, stored_manifest(peer)).is_none() {
            continue;
        }
        let until = format!("until {}", moment(peer.expires_ms));
        let fix = "ask the peer for a new file and add it";
        match status(peer, now) {
            "revoked" => checks.ok(&name, "revoked"),
            "expired" => checks.warn(&name, format!("manifest was valid {until}"), fix),
            "expiring" => checks.warn(&name, format!("manifest is valid {until}"), fix),
            _ => checks.ok(&name, format!("valid {until}")),
        }
    }
    if peers.is_empty() {
        let fix = "exchange files: `tallyd peer export FILE`, `tallyd peer add FILE`";
        checks.warn("peers", "none; nobody can connect", fix);
    }
}

/// The newest time that this home has recorded.
async fn newest(store: &SqliteStore, peers: &[Peer], collections: &[Collection]) -> Outcome<i64> {
    let records = store.list_records(1).await?;
    let times = records
        .iter()
        .map(|record| record.closed_ms)
        .chain(peers.iter().map(|peer| peer.added_ms))
        .chain(collections.iter().filter_map(|known| known.published_ms));
    Ok(times.max().unwrap_or(0))
}

fn clock_sanity(checks: &mut Checks, home: &Home, now: i64, newest: i64) {
    let behind = match newest > now + CLOCK_TOLERANCE_MS {
        true => Some(format!(
            "this home has written at {} already",
            moment(newest)
        )),
        false if now < EARLIEST_MS => Some("that is in the past".to_owned()),
        false => None,
    };
    match behind {
        Some(why) => checks.fail(
            "clock",
            format!("it says {}; {why}", moment(now)),
            "set the clock of this machine, by NTP for example",
        ),
        None => {
            let limit = home.config().policy.clock_skew_refuse_seconds;
            let detail = format!("{}; differences above {limit} s are refused", moment(now));
            checks.ok("clock", detail);
        }
    }
}

fn disk(checks: &mut Checks, dir: &Path) {
    let free = match nix::sys::statvfs::statvfs(dir) {
        Ok(found) => found
            .blocks_available()
            .saturating_mul(found.fragment_size()),
        Err(e) => {
            return checks.warn("disk", format!("cannot be asked: {e}"), "look with df");
        }
    };
    let detail = format!("{} MiB free", free >> 20);
    let fix = "make room; snapshots of peers in cache/ may be deleted";
    match free {
        0..DISK_FAIL_BYTES => checks.fail("disk", detail, fix),
        DISK_FAIL_BYTES..DISK_WARN_BYTES => checks.warn("disk", detail, fix),
        _ => checks.ok("disk", detail),
    }
}

fn port(checks: &mut Checks, address: SocketAddr) {
    match TcpListener::bind(address) {
        Ok(_) => checks.ok("port", format!("{address} is free")),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {
            checks.ok(
                "port",
                format!("{address} is held, by a tallyd that runs or another program"),
            );
        }
        Err(e) => checks.failed("port", unavailable(address, &e)),
    }
}
