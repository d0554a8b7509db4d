//! The two sides of `try`, and those of measurements, as processes of their own.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tallystick_agency::{
    collections::TableSource,
    exit::{Exit, Failure, Outcome},
    process,
    table_flags::format_flags,
};

use super::{COLLECTION, Side, THEIRS, TryOptions};
use tallystick_protocol::group;

use crate::error::bug;

/// What the peer's process says once it serves.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    pub(super) address: SocketAddr,
    pub(super) rows: u64,
    pub(super) elements: u64,
    pub(super) keys_rejected: u64,
    pub(super) tags: u64,
    pub(super) publish_seconds: f64,
}

/// What it says at its end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Spent {
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss_bytes: u64,
    /// What was seen from outside.
    #[serde(skip)]
    pub(crate) peak_anonymous_bytes: Option<u64>,
}

/// A process of this executable. It ends when its standard input does, and so never outlives this one.
pub(crate) struct Part {
    child: Child,
    side: &'static str,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    watch: Watch,
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.stdin.take().is_some() {
            // Not stopped in order: this process is failing.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// This executable, with the same kernel.
pub(crate) fn executable() -> Outcome<Command> {
    let path = std::env::current_exe()
        .map_err(|e| Failure::usage("executable", format!("cannot find myself: {e}"), ""))?;
    let mut command = Command::new(path);
    // What was set for the person's own home must not reach the throw-away ones.
    for name in ["TALLY_HOME", "TALLY_PASSPHRASE", "TALLY_PASSPHRASE_FILE"] {
        command.env_remove(name);
    }
    command.args(["--kernel", group::best().name()]);
    Ok(command)
}

fn table_flags(command: &mut Command, source: &TableSource) {
    command.arg("--input").arg(&source.input);
    for key in &source.keys {
        command.arg("--key").arg(key);
    }
    if let Some(mapping) = &source.mapping {
        command.arg("--mapping").arg(mapping);
    }
    if let Some(profile) = &source.profile {
        command.arg("--profile").arg(profile);
    }
    command.args(format_flags(&source.format));
}

fn spawn(mut command: Command) -> Outcome<Child> {
    command.stdout(Stdio::piped());
    command
        .spawn()
        .map_err(|e| Failure::usage("spawn", format!("cannot start a process: {e}"), ""))
}

/// The peer's process, of which `asked` elements will be asked at once.
pub(super) fn sender(
    home: &Path,
    table: &TableSource,
    asked: u64,
    options: &TryOptions,
) -> Outcome<Part> {
    let mut command = executable()?;
    command
        .arg("try-sender")
        .arg("--home")
        .arg(home)
        .args(["--collection", COLLECTION])
        .args(["--asked", &asked.to_string()]);
    table_flags(&mut command, table);
    if !table.label.is_empty() {
        command.arg("--label").arg(table.label.join(","));
    }
    if options.rejects.stop {
        command.arg("--stop-on-rejects");
    }
    if options.quiet {
        command.arg("--quiet");
    }
    Part::start(command, "the peer's side")
}

impl Part {
    /// Starts it; `side` names it in failures.
    pub(crate) fn start(mut command: Command, side: &'static str) -> Outcome<Self> {
        command.stdin(Stdio::piped());
        let mut child = spawn(command)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = BufReader::new(stdout.ok_or_else(|| bug("no pipe from a child"))?);
        Ok(Self {
            watch: Watch::begin(&child)?,
            child,
            side,
            stdin,
            stdout,
        })
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says.
    pub(crate) fn line<T: for<'de> Deserialize<'de>>(&mut self) -> Outcome<T> {
        let mut line = String::new();
        // A read that fails leaves no line, as an end does.
        let _ = self.stdout.read_line(&mut line);
        match serde_json::from_str(&line) {
            Ok(said) => Ok(said),
            Err(_) => Err(self.ended()),
        }
    }

    /// Lets it drain, and takes what it spent.
    pub(crate) fn stop(mut self) -> Outcome<Spent> {
        drop(self.stdin.take());
        let spent: Spent = self.line()?;
        let peak_anonymous_bytes = self.watch.end();
        let status = self.child.wait();
        match status.map(|status| status.success()) {
            Ok(true) => Ok(Spent {
                peak_anonymous_bytes,
                ..spent
            }),
            _ => Err(self.ended()),
        }
    }

    fn ended(&mut self) -> Failure {
        drop(self.stdin.take());
        failed(&mut self.child, self.side)
    }
}

/// The failure of a child that has said on stderr what went wrong.
fn failed(child: &mut Child, side: &str) -> Failure {
    let code = child.wait().ok().and_then(|status| status.code());
    let exit = [
        Exit::Usage,
        Exit::Refused,
        Exit::PeerFault,
        Exit::Network,
        Exit::Verification,
        Exit::Interrupted,
    ];
    let exit = exit
        .into_iter()
        .find(|exit| Some(i32::from(exit.code())) == code);
    Failure::new(
        exit.unwrap_or(Exit::Bug),
        "child",
        format!("{side} failed; what it said stands above"),
        "",
    )
}

/// The members of `tally match --json` that matter here.
#[derive(Debug, Deserialize)]
pub(super) struct Matched {
    pub(super) session: String,
    pub(super) hits: u64,
    pub(super) elements_matched: u64,
    pub(super) ours: MatchedOurs,
    pub(super) seconds: MatchedSeconds,
    pub(super) bytes: MatchedBytes,
    pub(super) kernel: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct MatchedOurs {
    #[serde(flatten)]
    pub(super) side: Side,
    pub(super) elements_padded: u64,
    /// By reason.
    rejected: BTreeMap<String, u64>,
}

/// How often the anonymous memory of a child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The most anonymous memory of a child, seen from outside: it costs the child nothing.
struct Watch {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Option<u64>>>,
}

impl Watch {
    fn begin(child: &Child) -> Outcome<Self> {
        let (id, ended) = (child.id(), Arc::<AtomicBool>::default());
        let over = Arc::clone(&ended);
        let watch = move || {
            let mut most = None;
            while !over.load(Ordering::SeqCst) {
                most = most.max(process::anonymous_bytes_of(id));
                thread::sleep(LOOK_EVERY);
            }
            most
        };
        let spawned = thread::Builder::new().name("watch".to_owned()).spawn(watch);
        let thread = spawned.map_err(|e| bug(format!("cannot start a thread: {e}")))?;
        Ok(Self {
            ended,
            thread: Some(thread),
        })
    }

    /// The most that was seen.
    fn end(&mut self) -> Option<u64> {
        self.ended.store(true, Ordering::SeqCst);
        self.thread.take()?.join().ok().flatten()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

impl MatchedOurs {
    pub(super) fn side(&self) -> Side {
        Side {
            keys_rejected: self.rejected.values().sum(),
            ..self.side.clone()
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct MatchedSeconds {
    pub(super) session: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct MatchedBytes {
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// Runs the own side: `tally match`, as anybody would type it.
pub(super) fn receive(
    home: &Path,
    table: &TableSource,
    out: &Path,
    address: SocketAddr,
    options: &TryOptions,
) -> Outcome<Matched> {
    let mut command = executable()?;
    command.arg("match").arg("--home").arg(home);
    command.args(["--peer", THEIRS, "--collection", COLLECTION, "--json"]);
    command.arg("--address").arg(address.to_string());
    command.args(["--purpose", "trial on this machine"]);
    table_flags(&mut command, table);
    command.arg("--out").arg(out);
    if let Some(rejects) = &options.rejects.file {
        command.arg("--rejects").arg(rejects);
    }
    if options.rejects.stop {
        command.arg("--stop-on-rejects");
    }
    if options.force {
        command.arg("--force");
    }
    if options.quiet {
        command.arg("--quiet");
    }
    command.stdin(Stdio::null());
    let mut child = spawn(command)?;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| bug("no pipe from a child"))?;
    let mut watch = Watch::begin(&child)?;
    let said = std::io::read_to_string(stdout).unwrap_or_default();
    match serde_json::from_str::<Matched>(&said) {
        Ok(mut matched) if child.wait().is_ok_and(|status| status.success()) => {
            matched.ours.side.peak_anonymous_bytes = watch.end();
            Ok(matched)
        }
        _ => Err(failed(&mut child, "the asking side")),
    }
}
