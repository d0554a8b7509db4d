//! `tallyd check`: what is wrong with a home, and how to mend it.
//!
//! Each line has a stable code, a verdict and, unless all is well, a fix. Warnings end with 0,
//! failures with 2.
//!
//! ```text
//! check_place        permissions, disk, clock, port: the machine
//! check_certificate  the own certificate
//! check_peers        peers, and what they were told of this node
//! check_collection   keys and snapshots
//! check_records      the index of records and the files
//! ```

use serde::Serialize;
use tallystick_agency::{
    AgencyError, clock,
    config::{FILE_NAME, NodeConfig},
    exit::{Exit, Failure, Outcome},
    home::Home,
    memory::{self, LockMemory, NotLocked},
    publish,
    store::{Collection, Peer, SqliteStore, Store},
};

use super::{
    block_on,
    check_certificate::certificate,
    check_collection::{Finding, collection},
    check_peers::{manifest, peers},
    check_place::{clock_sanity, disk, file_handles, permissions, port},
    check_records::records,
    print,
};
use tallystick_agency::command::Context;
use tallystick_agency::report::{Report, list, or_dash};
use tallystick_protocol::group;

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
    /// Stable: what was found. `ok` if all is well.
    code: String,
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
        let mut table = list(&["check", "verdict", "code", "detail", "fix"]);
        for check in &self.checks {
            let verdict = match check.verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            table.add_row([
                check.name.clone(),
                verdict.to_owned(),
                check.code.clone(),
                check.detail.clone(),
                or_dash(check.fix.as_deref()),
            ]);
        }
        table.trim_fmt()
    }
}

impl Checks {
    pub(super) fn ok(&mut self, name: &str, detail: impl Into<String>) {
        self.push(name, "ok", Verdict::Ok, detail.into(), None);
    }

    pub(super) fn warn(
        &mut self,
        name: &str,
        code: &str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.warned += 1;
        self.push(name, code, Verdict::Warn, detail.into(), Some(fix.into()));
    }

    pub(super) fn fail(
        &mut self,
        name: &str,
        code: &str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.failed += 1;
        self.push(name, code, Verdict::Fail, detail.into(), Some(fix.into()));
    }

    pub(super) fn failed(&mut self, name: &str, why: impl Into<Failure>) {
        let why = why.into();
        self.fail(name, &why.code, why.what, why.next);
    }

    /// The value, or `None` and a line.
    pub(super) fn take<T>(
        &mut self,
        name: &str,
        outcome: Result<T, impl Into<Failure>>,
    ) -> Option<T> {
        outcome.map_err(|why| self.failed(name, why)).ok()
    }

    fn push(
        &mut self,
        name: &str,
        code: &str,
        verdict: Verdict,
        detail: String,
        fix: Option<String>,
    ) {
        self.checks.push(Check {
            name: name.to_owned(),
            code: code.to_owned(),
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
    let home = match checks.failed {
        0 => checks.take("keys", context.open_home()),
        _ => {
            let rest = "keys, certificate, peers, collections, records";
            let fix = "mend what fails, then check again";
            checks.warn(rest, "not-checked", "not checked", fix);
            None
        }
    };
    if let Some(home) = &home {
        block_on(context, inside(&mut checks, home))?;
    }
    disk(&mut checks, dir);
    if let Some(config) = &config {
        file_handles(&mut checks, &config.limits);
        block_on(context, async {
            port(&mut checks, config, home.as_ref()).await;
            Ok(())
        })?;
        locked(&mut checks, config.lock_memory);
    }
    kernel(&mut checks);
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

/// What computes in the group, and whether a faster one failed.
fn kernel(checks: &mut Checks) {
    let chosen = group::chosen();
    match chosen.warning() {
        None => checks.ok("kernel", chosen.to_string()),
        Some(warning) => {
            let fix =
                "check the machine's memory and processor; report it as a fault if they are sound";
            checks.warn("kernel", "kernel-self-test", warning, fix);
        }
    }
}

/// Whether keys can reach swap. `off` was somebody's choice.
fn locked(checks: &mut Checks, wish: LockMemory) {
    match memory::state(wish) {
        Ok(()) => checks.ok("memory", "locked, kept out of swap"),
        Err(why @ NotLocked::Off) => checks.ok("memory", why.to_string()),
        Err(why) => {
            let why = why.to_string();
            let (what, fix) = why.split_once("; ").unwrap_or((&why, ""));
            checks.warn("memory", "memory-not-locked", what, fix);
        }
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
    // What is read of a damaged file is worth nothing.
    let damage = match store.damage().await {
        Ok(damage) => damage,
        Err(why) => Some(why.to_string()),
    };
    if let Some(what) = damage {
        let fix = "stop the node and restore the home from a backup";
        checks.fail("state", "state-damaged", format!("state.db: {what}"), fix);
        return Ok(());
    }
    let known_peers = store.list_peers().await?;
    peers(checks, &known_peers, &store.comparisons().await?, now);
    manifest(checks, home, now);
    let collections = store.list_collections().await?;
    for known in &collections {
        let name = format!("collection {}", known.name);
        match collection(home, known, &known_peers, now) {
            Ok(None) => checks.ok(&name, format!("epoch {}, digest verifies", known.epoch)),
            Ok(Some(Finding { code, detail, fix })) => checks.warn(&name, code, detail, fix),
            Err(why) => checks.failed(&name, why),
        }
    }
    if collections.is_empty() {
        checks.ok("collections", "none; nothing is offered");
    }
    for name in publish::never_in_force(home, &store).await? {
        checks.warn(
            &format!("collection {name}"),
            "unfinished",
            "its first publication was interrupted; what it evaluated is kept, sealed",
            format!(
                "give the same command again, which goes on; or `tallyd collection remove {name}`"
            ),
        );
    }
    records(checks, home, &store, now).await?;
    let newest = newest(&store, &known_peers, &collections).await?;
    clock_sanity(checks, home, now, newest);
    store.close().await;
    Ok(())
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
