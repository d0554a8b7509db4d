//! The commands that a document shows, run as they stand, so that none can rot.
//!
//! A block of shell says behind `sh` where it runs: a letter is a machine, that is a folder of its
//! own; `serve` behind the letter starts it and leaves it running, `stop` ends what the machine
//! serves first. `fails` and a number behind it: the block must end with that exit code. A sentence
//! "Carry `FILE` from X to Y." copies a file. What is replaced: the address of B and the one it
//! listens on by a free port of loopback, those of metrics and of the desk by others, and the sizes of
//! figures by a small one. The passphrase, which a terminal would ask for, and the fingerprints, which people tell
//! each other, come from the environment.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tallystick_protocol::{
    frame::Frame,
    signing::VerifyKey,
    statements::{Manifest, open_as_named},
};

use crate::programs::{program, workspace};

/// A command that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(120);

/// A step of a document.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// A block of shell and the words behind `sh`.
    Block(Vec<String>, String),
    /// A file goes from one machine to another.
    Carry(String, String, String),
}

/// The text of a document, by its path from the top of the workspace.
#[must_use]
pub fn document(name: &str) -> String {
    fs::read_to_string(workspace().join(name)).unwrap()
}

/// The steps of a document, in order.
#[must_use]
pub fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let mut words = info.split_whitespace().map(str::to_owned);
            if matches!(
                words.next().as_deref(),
                Some("sh" | "bash" | "shell" | "console")
            ) {
                steps.push(Step::Block(words.collect(), body.join("\n")));
            }
        } else if let Some(rest) = line.strip_prefix("Carry `") {
            let (file, rest) = rest.split_once("` from ").unwrap();
            let (from, to) = rest.trim_end_matches('.').split_once(" to ").unwrap();
            steps.push(Step::Carry(file.to_owned(), from.to_owned(), to.to_owned()));
        }
    }
    steps
}

/// A child with all its own children; killed when dropped.
#[derive(Debug)]
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.0.id().try_into().unwrap());
        // Fails only when it has ended already.
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// The machines, and what their shells remember.
#[derive(Debug)]
pub struct Machines {
    dir: tempfile::TempDir,
    ports: [u16; 3],
    environment: BTreeMap<String, String>,
    /// `export` lines of each machine so far: a person's shell keeps them.
    exports: BTreeMap<String, String>,
    serving: BTreeMap<String, Group>,
}

impl Default for Machines {
    fn default() -> Self {
        Self::new()
    }
}

impl Machines {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        // Freed at once, for the node to take.
        let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = held.map(|socket| socket.local_addr().unwrap().port());
        let programs = program("tally").parent().unwrap().to_owned();
        assert_eq!(program("tallyd").parent(), Some(programs.as_path()));
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let dir = tempfile::tempdir().unwrap();
        let environment = [
            ("PATH", path),
            ("TALLY_PASSPHRASE", "words for tests".to_owned()),
            // What `try` makes goes with the rest.
            ("TMPDIR", dir.path().to_str().unwrap().to_owned()),
        ];
        Self {
            dir,
            ports,
            environment: environment
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            exports: BTreeMap::new(),
            serving: BTreeMap::new(),
        }
    }

    /// The folder of a machine.
    #[must_use]
    pub fn folder(&self, machine: &str) -> PathBuf {
        let folder = self.dir.path().join(machine);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn shell(&self, machine: &str, block: &str, log: &Path) -> Group {
        let [loopback, metrics, desk] = self.ports.map(|port| format!("127.0.0.1:{port}"));
        let block = block
            .replace("b.example.org:7443", &loopback)
            .replace("0.0.0.0:7443", &loopback)
            .replace("127.0.0.1:9464", &metrics)
            .replace("127.0.0.1:7480", &desk)
            .replace("N=65536", "N=3000");
        let before = self.exports.get(machine).map_or("", String::as_str);
        let child = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &format!("{before}\n{block}")])
            .current_dir(self.folder(machine))
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(fs::File::create(log).unwrap())
            .stderr(fs::File::options().append(true).open(log).unwrap())
            .process_group(0)
            .spawn();
        Group(child.unwrap())
    }

    /// Runs a block to its good end and gives what it printed.
    pub fn run(&mut self, machine: &str, block: &str) -> String {
        self.ends(machine, block, 0)
    }

    /// Runs a block that ends with this exit code, and gives what it printed.
    pub fn ends(&mut self, machine: &str, block: &str, code: i32) -> String {
        let log = self.dir.path().join(format!("{machine}.log"));
        let mut group = self.shell(machine, block, &log);
        let started = Instant::now();
        let status = loop {
            if let Some(status) = group.0.try_wait().unwrap() {
                break Some(status);
            }
            if started.elapsed() > LONGEST {
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let said = fs::read_to_string(&log).unwrap();
        let good = status.is_some_and(|status| status.code() == Some(code));
        assert!(good, "on {machine}: {status:?}\n{block}\n\n{said}");
        let exports = block.lines().filter(|line| line.starts_with("export "));
        let kept = self.exports.entry(machine.to_owned()).or_default();
        exports.for_each(|line| *kept += &format!("{line}\n"));
        said
    }

    /// Starts what serves, and waits until it listens.
    pub fn serve(&mut self, machine: &str, block: &str) {
        let log = self.dir.path().join(format!("{machine}-serve.log"));
        // A shell that is told to stop waits for what it runs, and ends as that does.
        let block = format!("trap : TERM\n{block}");
        let mut group = self.shell(machine, &block, &log);
        let started = Instant::now();
        while !fs::read_to_string(&log)
            .unwrap()
            .contains(" listening address=")
        {
            let ended = group.0.try_wait().unwrap();
            let waited = started.elapsed() > LONGEST;
            assert!(
                ended.is_none() && !waited,
                "{}",
                fs::read_to_string(&log).unwrap()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        self.serving.insert(machine.to_owned(), group);
    }

    /// Ends what a machine serves, as its operator does.
    pub fn stop(&mut self, machine: &str) {
        let mut group = self.serving.remove(machine).unwrap();
        let id = Pid::from_raw(group.0.id().try_into().unwrap());
        killpg(id, Signal::SIGTERM).unwrap();
        // It drains: sessions under way may end.
        assert!(group.0.wait().unwrap().success());
    }

    /// Does one step; gives what it printed.
    ///
    /// # Panics
    /// When it ends otherwise than the document says.
    pub fn step(&mut self, step: &Step) -> String {
        let (words, block) = match step {
            Step::Carry(file, from, to) => {
                self.carry(file, from, to);
                return String::new();
            }
            Step::Block(words, block) => (words, block),
        };
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [machine, "serve"] => self.serve(machine, block),
            [machine, "stop"] => {
                self.stop(machine);
                return self.run(machine, block);
            }
            [machine, "fails", code] => return self.ends(machine, block, code.parse().unwrap()),
            [machine] => return self.run(machine, block),
            _ => panic!("where does this run?\n{block}"),
        }
        String::new()
    }

    /// Copies a file from one machine to another.
    pub fn carry(&mut self, file: &str, from: &str, to: &str) {
        let source = self.folder(from).join(file);
        fs::copy(&source, self.folder(to).join(file)).unwrap();
        if file.ends_with(".peer") {
            // What the two people tell each other.
            let frame = Frame::from_bytes(fs::read(source).unwrap()).unwrap();
            let manifest: Manifest = open_as_named(&frame).unwrap();
            let fingerprint = VerifyKey::from(manifest.signing_key).key_id();
            self.environment
                .insert(format!("FINGERPRINT_OF_{from}"), fingerprint);
        }
    }
}
