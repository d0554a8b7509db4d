//! The commands that the documents show are run as they stand, so that none can rot.
//!
//! A block of shell says behind `sh` where it runs: a letter is a machine, that is a folder of its
//! own; `serve` behind the letter starts it and leaves it running. A sentence "Carry `FILE` from X
//! to Y." copies a file. What is replaced: the address of B and the one it listens on by a free port
//! of loopback, and the sizes of the figures by a small one. The passphrase, which a terminal would
//! ask for, and the two fingerprints, which people tell each other, come from the environment.

#![allow(clippy::unwrap_used)]

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
use tallystick_agency::exit::Exit;
use tallystick_protocol::{
    frame::Frame,
    signing::VerifyKey,
    statements::{Manifest, open_as_named},
};
use tallystick_tests::programs::{program, workspace};

/// A command that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(120);

/// A step of a document.
#[derive(Debug, PartialEq)]
enum Step {
    /// A block of shell and the words behind `sh`.
    Block(Vec<String>, String),
    /// A file goes from one machine to another.
    Carry(String, String, String),
}

fn document(name: &str) -> String {
    fs::read_to_string(workspace().join(name)).unwrap()
}

fn steps(text: &str) -> Vec<Step> {
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
struct Machines {
    dir: tempfile::TempDir,
    port: u16,
    environment: BTreeMap<String, String>,
    /// `export` lines of each machine so far: a person's shell keeps them.
    exports: BTreeMap<String, String>,
    serving: Vec<Group>,
}

impl Machines {
    fn new() -> Self {
        // Freed at once, for the node to take.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
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
            port: port.unwrap().port(),
            environment: environment
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            exports: BTreeMap::new(),
            serving: Vec::new(),
        }
    }

    fn folder(&self, machine: &str) -> PathBuf {
        let folder = self.dir.path().join(machine);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn shell(&self, machine: &str, block: &str, log: &Path) -> Group {
        let loopback = format!("127.0.0.1:{}", self.port);
        let block = block
            .replace("b.example.org:7443", &loopback)
            .replace("0.0.0.0:7443", &loopback)
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

    /// Runs a block to its end and gives what it printed.
    fn run(&mut self, machine: &str, block: &str) -> String {
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
        let good = status.is_some_and(|status| status.success());
        assert!(good, "on {machine}: {status:?}\n{block}\n\n{said}");
        let exports = block.lines().filter(|line| line.starts_with("export "));
        let kept = self.exports.entry(machine.to_owned()).or_default();
        exports.for_each(|line| *kept += &format!("{line}\n"));
        said
    }

    fn serve(&mut self, machine: &str, block: &str) {
        let log = self.dir.path().join(format!("{machine}-serve.log"));
        let mut group = self.shell(machine, block, &log);
        let started = Instant::now();
        while !fs::read_to_string(&log).unwrap().contains("listening") {
            let ended = group.0.try_wait().unwrap();
            let waited = started.elapsed() > LONGEST;
            assert!(
                ended.is_none() && !waited,
                "{}",
                fs::read_to_string(&log).unwrap()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        self.serving.push(group);
    }

    fn carry(&mut self, file: &str, from: &str, to: &str) {
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

#[test]
fn the_walk_through_works_as_it_is_written() {
    let mut machines = Machines::new();
    let (mut blocks, mut said) = (0, String::new());
    for step in steps(&document("README.md")) {
        match step {
            Step::Carry(file, from, to) => machines.carry(&file, &from, &to),
            Step::Block(words, block) => {
                match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    // Cargo is running this very test; what comes behind `--` is run below.
                    ["first"] => assert!(block.starts_with("cargo "), "{block}"),
                    [machine, "serve"] => machines.serve(machine, &block),
                    [machine] => {
                        said += &machines.run(machine, &block);
                        blocks += 1;
                    }
                    _ => panic!("where does this run?\n{block}"),
                }
            }
        }
    }
    assert!(blocks > 10, "{blocks}");
    for expected in ["the copies agree", "verified", "their_case_ref", "signers"] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    assert!(!said.contains("nobody vouched"), "{said}");
    let matches = fs::read_to_string(machines.folder("A").join("matches.csv")).unwrap();
    assert_eq!(matches.lines().count(), 25 + 1);
}

#[test]
fn the_first_commands_are_the_two_that_are_promised() {
    let text = document("README.md");
    let first: Vec<String> = steps(&text)
        .into_iter()
        .filter_map(|step| match step {
            Step::Block(words, block) if words == ["first"] => Some(block),
            _ => None,
        })
        .collect();
    let [run, test] = &first[..] else {
        panic!("{first:?}")
    };
    let arguments = run
        .strip_prefix("cargo run --release --locked --bin tally -- ")
        .unwrap();
    assert_eq!(test, "cargo test --release --workspace --locked");
    let mut machines = Machines::new();
    let said = machines.run("X", &format!("tally {arguments}"));
    // What the README shows of it, but for what is cut and what differs from run to run.
    let (_, shown) = text.split_once("```text\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let said: Vec<Vec<String>> = said.lines().map(words).collect();
    for line in shown.lines().filter(|line| !line.contains("network")) {
        let whole = line.split('…').next().unwrap().trim_end();
        let want = words(whole);
        let found = said.iter().any(|line| line.starts_with(&want));
        assert!(found, "`tally try` does not say: {whole}");
    }
}

/// Commands in other documents must be ones that a test knows how to run.
#[test]
fn no_document_shows_a_command_that_nobody_runs() {
    let ci = document(".ci/run");
    for name in ["SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        for step in steps(&document(name)) {
            let Step::Block(words, block) = step else {
                continue;
            };
            assert_eq!(words, ["ci"], "{name}: {block}");
            for line in block.lines() {
                assert!(ci.contains(line), "{name}: .ci/run does not run: {line}");
            }
        }
    }
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(steps(&text).is_empty(), "{} shows commands", path.display());
    }
}

/// All documents below `docs`.
fn documents() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![workspace().join("docs")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 20);
    found
}

#[test]
fn links_lead_somewhere() {
    let mut all = documents();
    all.extend(["README.md", "SECURITY.md", "CONTRIBUTING.md"].map(|name| workspace().join(name)));
    for path in all {
        let text = fs::read_to_string(&path).unwrap();
        for (at, _) in text.match_indices("](") {
            let (target, _) = text[at + 2..].split_once(')').unwrap();
            if !target.starts_with("https://") {
                let file = path.parent().unwrap().join(target);
                assert!(file.exists(), "{}: {target}", path.display());
            }
        }
    }
}

/// The tests that SECURITY.md points at are there.
#[test]
fn security_names_tests_that_exist() {
    let text = document("SECURITY.md");
    let named = text.split('`').skip(1).step_by(2).filter(|word| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        word.bytes().all(plain) && word.matches('_').count() > 2
    });
    let named: Vec<&str> = named.collect();
    assert!(named.len() > 30, "{}", named.len());
    let mut sources = String::new();
    let mut folders: Vec<PathBuf> = ["agency", "protocol", "server", "client", "tests"]
        .map(|name| workspace().join(name))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                sources += &fs::read_to_string(path).unwrap();
            }
        }
    }
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "{name}");
    }
}

#[test]
fn exit_codes_are_those_of_the_programs() {
    let all = [
        Exit::Done,
        Exit::Findings,
        Exit::Usage,
        Exit::Refused,
        Exit::PeerFault,
        Exit::Network,
        Exit::Verification,
        Exit::Bug,
        Exit::Interrupted,
    ];
    let text = document("README.md");
    let (_, section) = text.split_once("## Exit codes\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let shown: Vec<u8> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(shown, all.map(Exit::code));
}
