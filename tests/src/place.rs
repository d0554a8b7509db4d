//! A folder with homes and tables in it, and running the programs there.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tallystick_agency::{home::Home, keys::Passphrase, peers};
use tempfile::TempDir;

use crate::programs::program;

/// The passphrase of every home, unless a place has its own.
const WORDS: &str = "words for tests";
/// A command that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(120);

/// A temporary folder in which commands run.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
    words: String,
    /// What every command finds in its environment.
    environment: Vec<(String, OsString)>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            words: WORDS.to_owned(),
            environment: vec![("TALLY_PASSPHRASE".to_owned(), WORDS.into())],
        }
    }

    /// An empty one whose homes have this passphrase, which commands read from the file `words`.
    #[must_use]
    pub fn with_words(words: &str) -> Self {
        let mut place = Self::new();
        place.words = words.to_owned();
        let file = place.write("words", &format!("{words}\n"));
        place.environment = vec![("TALLY_PASSPHRASE_FILE".to_owned(), file.into())];
        place
    }

    /// From now on every command finds this in its environment.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Reads a file.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A command line, not started: the program, then its arguments, by white space.
    #[must_use]
    pub fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = Command::new(program(words.next().unwrap()));
        command
            .args(words)
            .current_dir(self.dir.path())
            .env_remove("TALLY_PASSPHRASE")
            .env_remove("TALLY_PASSPHRASE_FILE")
            .env_remove("TALLY_HOME")
            .env_remove("TALLY_LOG")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line to its end; kills what hangs.
    #[must_use]
    pub fn run(&self, line: &str) -> Ended {
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let child = self
            .command(line)
            .stdout(out.try_clone().unwrap())
            .stderr(err.try_clone().unwrap())
            .spawn();
        let mut child = child.unwrap();
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > LONGEST {
                let threads = threads(child.id());
                child.kill().unwrap();
                panic!("hangs: {line}\n{}{}\n{threads}", text(out), text(err));
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        Ended {
            code: status.code().unwrap_or(-1),
            out: text(out),
            err: text(err),
        }
    }

    /// Runs a line with `--json` that must succeed; gives the one object on stdout.
    #[must_use]
    pub fn json(&self, line: &str) -> Value {
        let ended = self.run(&format!("{line} --json"));
        assert_eq!(ended.code, 0, "{line}\n{}\n{}", ended.out, ended.err);
        object(&ended.out)
    }

    /// Runs a line that must succeed; what it says does not matter.
    pub fn does(&self, line: &str) {
        let _ = self.json(line);
    }

    /// Runs a line that must fail with this exit code and leave stdout empty; gives the code of the
    /// error.
    #[must_use]
    pub fn fails(&self, line: &str, code: i32) -> String {
        let ended = self.run(&format!("{line} --json"));
        assert_eq!(ended.code, code, "{line}\n{}\n{}", ended.out, ended.err);
        assert_eq!(ended.out, "", "{line}");
        let last = ended.err.lines().last().unwrap_or_default();
        let error = object(&format!("{last}\n"));
        assert!(
            error["schema"].as_str().unwrap().ends_with(".error/1"),
            "{last}"
        );
        assert!(!error["message"].as_str().unwrap().is_empty(), "{last}");
        error["code"].as_str().unwrap().to_owned()
    }

    /// Makes a home of this name that listens on a free port of loopback and logs as JSON.
    pub fn init(&self, name: &str) {
        self.does(&format!(
            "tallyd init {name} --name {name} --dev-ca --listen 127.0.0.1:0"
        ));
        let config = self.path(name).join("node.toml");
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains("format = \"pretty\""));
        fs::write(
            &config,
            text.replace("format = \"pretty\"", "format = \"json\""),
        )
        .unwrap();
    }

    /// Puts `peer` on the list of `home`.
    pub fn introduce(&self, home: &str, peer: &str) {
        self.does(&format!("tallyd peer export {peer}.peer --home {peer}"));
        self.does(&format!("tallyd peer add {peer}.peer --home {home}"));
    }

    /// Two homes that know each other.
    #[must_use]
    pub fn pair(one: &str, other: &str) -> Self {
        let place = Self::new();
        place.init(one);
        place.init(other);
        place.introduce(one, other);
        place.introduce(other, one);
        place
    }

    /// Opens a home in this process.
    #[must_use]
    pub fn home(&self, name: &str) -> Home {
        Home::open_with(&self.path(name), &Passphrase::new(&self.words).unwrap()).unwrap()
    }

    /// Writes a trust file that vouches for these homes.
    pub fn trust(&self, file: &str, homes: &[&str]) {
        let agencies: Vec<Value> = homes
            .iter()
            .map(|name| {
                let me = peers::own_reference(&self.home(name)).unwrap();
                json!({"agency": name, "signing_key": me.signing_key.to_string()})
            })
            .collect();
        let text = json!({"schema": "tally.trust/1", "agencies": agencies});
        self.write(file, &text.to_string());
    }

    /// Starts `tallyd serve` and waits until it listens.
    #[must_use]
    pub fn serve(&self, home: &str) -> Serving {
        self.serve_by(self.command(&format!("tallyd serve --home {home}")), home)
    }

    /// Starts a command that serves, and waits until it listens.
    #[must_use]
    pub fn serve_by(&self, mut command: Command, home: &str) -> Serving {
        let log = self.path(&format!("{home}.log"));
        let child = command
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn();
        let mut serving = Serving {
            child: child.unwrap(),
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            log,
        };
        let started = Instant::now();
        loop {
            let listening = |line: &str| -> Option<SocketAddr> {
                let event: Value = serde_json::from_str(line).ok()?;
                (event["message"] == "listening")
                    .then(|| event["address"].as_str()?.parse().ok())?
            };
            if let Some(address) = serving.log().lines().find_map(listening) {
                serving.address = address;
                return serving;
            }
            let ended = serving.child.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < LONGEST,
                "does not serve: {}",
                serving.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A node that serves. Killed when dropped.
#[derive(Debug)]
pub struct Serving {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    log: PathBuf,
}

impl Serving {
    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// The most memory that it has had so far, KiB.
    #[must_use]
    pub fn peak_kib(&self) -> u64 {
        peak_kib(self.child.id()).unwrap()
    }

    /// Where it tells metrics, as it has logged.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        let log = self.log();
        let events = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut events = events.filter(|event: &Value| event["message"] == "metrics listening");
        let address = events.next().unwrap();
        address["address"].as_str().unwrap().parse().unwrap()
    }

    /// Tells it to stop, as an operator does; gives its exit code.
    pub fn stop(mut self) -> Option<i32> {
        kill(self.id(), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The most memory that a process has had so far, KiB; `None` when it is gone.
#[must_use]
pub fn peak_kib(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// What the threads of a process wait for: name, state and system call, where the system shows it.
fn threads(id: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{id}/task"))
        .into_iter()
        .flatten();
    let lines = tasks.flatten().map(|task| {
        let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        format!(
            "{} {} {}",
            read("comm").trim(),
            read("wchan").trim(),
            read("syscall")
        )
    });
    lines.collect()
}

fn text(mut file: fs::File) -> String {
    use std::io::{Read, Seek};
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// The one object of a line whose first member is its schema.
#[must_use]
pub fn object(line: &str) -> Value {
    assert!(line.starts_with("{\"schema\":\"tally"), "{line}");
    assert!(
        line.ends_with("}\n") && line.matches('\n').count() == 1,
        "{line}"
    );
    serde_json::from_str(line).unwrap()
}

/// The permission bits of a file.
#[must_use]
pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Copies a folder with everything in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
