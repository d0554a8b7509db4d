//! The machine's part of `tallyd check`: who else can reach the home, disk, clock, port.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tallystick_agency::{
    config::{Limits, NodeConfig},
    exit::Failure,
    fs::{OWNER_DIR, OWNER_FILE, free_bytes, require_owner_only},
    home::Home,
    process,
};

use super::{check::Checks, check_certificate::is_own_node, serve::unavailable};
use crate::health::DISK_FAIL_BYTES;
use tallystick_agency::report::moment;

/// Less free disk than this is warned about.
const DISK_WARN_BYTES: u64 = 1 << 30;
/// 2025-01-01, before this program was written.
const EARLIEST_MS: i64 = 1_735_689_600_000;
/// What was written may lie this much in the future before the clock is doubted.
const CLOCK_TOLERANCE_MS: i64 = 60_000;
/// Whoever knows whether the clock is synchronised may take this long to say so.
const CLOCK_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEDATECTL: &str = "/usr/bin/timedatectl";
/// Handles that a node needs beside its peers: store, threads, metrics.
const HANDLES_BESIDE: u64 = 128;

/// Who else can reach what hurts. The opened parts refuse themselves; all are named at once here.
pub(super) fn permissions(checks: &mut Checks, dir: &Path) {
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
    let me = nix::unistd::geteuid().as_raw();
    if let Some(owner) = std::fs::metadata(dir)
        .ok()
        .map(|meta| meta.uid())
        .filter(|owner| *owner != me)
    {
        let detail = format!("the home belongs to user {owner}, this is user {me}");
        let fix = "run every command as the user of the home; what others write, it cannot read";
        checks.warn("owner", "other-owner", detail, fix);
    }
}

/// Room for what is written: snapshots and records in the home, spools in the temporary folder. A
/// publication needs both: the new snapshot lies beside the old one, its spool about as large.
pub(super) fn disk(checks: &mut Checks, dir: &Path) {
    let need = DISK_WARN_BYTES.max(2 * largest_snapshot(&dir.join("collections")));
    let temporary = std::env::temp_dir();
    for (name, path, fix) in [
        (
            "disk",
            dir,
            "make room; snapshots of peers in cache/ may be deleted",
        ),
        (
            "temporary disk",
            temporary.as_path(),
            "make room there, or let TMPDIR name a folder on another disk",
        ),
    ] {
        let Some(free) = free_bytes(path) else {
            let detail = format!("{} cannot be asked", path.display());
            checks.warn(name, "disk-unknown", detail, "look with df");
            continue;
        };
        let detail = format!("{} MiB free in {}", free >> 20, path.display());
        if free < DISK_FAIL_BYTES {
            checks.fail(name, "disk-full", detail, fix);
        } else if free < need {
            let detail = format!("{detail}; {} MiB are advised", need >> 20);
            checks.warn(name, "disk-low", detail, fix);
        } else {
            checks.ok(name, detail);
        }
    }
}

fn largest_snapshot(collections: &Path) -> u64 {
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries(collections)
        .flat_map(|folder| entries(&folder.path()).collect::<Vec<_>>())
        .filter(|file| file.path().extension().is_some_and(|e| e == "snapshot"))
        .filter_map(|file| file.metadata().ok().map(|meta| meta.len()));
    sizes.max().unwrap_or(0)
}

/// A connection holds a handle, so does a handshake, and a session's record.
pub(super) fn file_handles(checks: &mut Checks, limits: &Limits) {
    let held = [
        limits.max_connections_total,
        limits.max_handshakes_total,
        limits.max_sessions_total,
        limits.max_shifts_total,
        limits.max_snapshots_total,
    ];
    let need = held.iter().copied().map(u64::from).sum::<u64>() + HANDLES_BESIDE;
    if let Some(most) = process::most_file_handles() {
        let detail = format!("{most} may be open, {need} are advised for these limits");
        if most < need {
            let fix = "raise it (LimitNOFILE= of the unit, ulimit -n), or lower max_sessions_total";
            checks.warn("file handles", "file-handles-few", detail, fix);
        } else {
            checks.ok("file handles", detail);
        }
    }
}

pub(super) fn clock_sanity(checks: &mut Checks, home: &Home, now: i64, newest: i64) {
    let behind = match newest > now + CLOCK_TOLERANCE_MS {
        true => Some(format!(
            "this home has written at {} already",
            moment(newest)
        )),
        false if now < EARLIEST_MS => Some("that is in the past".to_owned()),
        false => None,
    };
    let fix = "set the clock of this machine, by NTP for example";
    let limit = home.config().policy.clock_skew_refuse_seconds;
    let detail = format!("{}; differences above {limit} s are refused", moment(now));
    if let Some(why) = behind {
        let detail = format!("it says {}; {why}", moment(now));
        checks.fail("clock", "clock-behind", detail, fix);
    } else if synchronised() == Some(false) {
        let detail = format!("{detail}; the system says that nothing keeps it right");
        checks.warn("clock", "clock-not-synchronised", detail, fix);
    } else {
        checks.ok("clock", detail);
    }
}

/// What systemd says of the clock; `None` where nobody knows.
fn synchronised() -> Option<bool> {
    let mut child = Command::new(TIMEDATECTL)
        .args(["show", "--property=NTPSynchronized", "--value"])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let started = Instant::now();
    while child.try_wait().ok()?.is_none() {
        if started.elapsed() > CLOCK_TIMEOUT {
            // It is of no more use; what it leaves is a line.
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let said = child.wait_with_output().ok()?;
    match said.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

/// The peers' port and that of metrics: free, held by this node, or by something else.
pub(super) async fn port(checks: &mut Checks, config: &NodeConfig, home: Option<&Home>) {
    let address = config.listen_address;
    match TcpListener::bind(address) {
        Ok(_) => checks.ok("port", format!("{address} is free")),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => match home {
            Some(home) if is_own_node(home, address).await => {
                checks.ok(
                    "port",
                    format!("{address} is held by this node, which runs"),
                );
            }
            Some(_) => checks.failed("port", unavailable(address, &e)),
            None => {
                let detail = format!("{address} is held; by whom is not known");
                let fix = "mend what fails, then check again";
                checks.warn("port", "port-held", detail, fix);
            }
        },
        Err(e) => checks.failed("port", unavailable(address, &e)),
    }
    if let Some(address) = config.metrics.listen_address {
        metrics(checks, address);
    }
}

fn metrics(checks: &mut Checks, address: SocketAddr) {
    if !address.ip().is_loopback() {
        let detail = format!("{address} is not loopback, and asks nobody who he is");
        let fix = "use loopback, or let a firewall keep it to the operator's own machines";
        checks.warn("metrics", "metrics-public", detail, fix);
    }
    match TcpListener::bind(address) {
        Err(e) if e.kind() != std::io::ErrorKind::AddrInUse => {
            checks.failed("metrics", unavailable(address, &e));
        }
        // Held: `tallyd health` says whether by a node.
        _ => checks.ok("metrics", address.to_string()),
    }
}
