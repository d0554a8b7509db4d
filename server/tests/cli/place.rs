//! A folder with homes in it, and running `tallyd` there.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;
use tallystick_agency::{home::Home, keys::Passphrase};

pub(crate) const WORDS: &str = "some words";

/// A folder with homes and files in it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(cargo_bin!("tallyd"));
        command
            .args(line.split_whitespace())
            .current_dir(self.dir.path())
            .env_remove("TALLY_HOME")
            .env_remove("TALLY_PASSPHRASE_FILE")
            .env("TALLY_PASSPHRASE", WORDS)
            .stdin(Stdio::null());
        command
    }

    /// Runs a line and demands its exit code.
    pub(crate) fn run(&self, line: &str, code: i32) -> Output {
        let output = self.command(line).output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}\n{out}\n{err}");
        output
    }

    /// Runs a line with `--json` that succeeds, and gives the object.
    pub(crate) fn json(&self, line: &str, schema: &str) -> Value {
        parse(&self.run(&format!("{line} --json"), 0), schema)
    }

    /// Runs a line that must fail; gives the code of the error.
    pub(crate) fn fails(&self, line: &str, code: i32) -> String {
        let output = self.run(&format!("{line} --json"), code);
        assert!(output.stdout.is_empty(), "{line}");
        error_code(&output)
    }

    pub(crate) fn init(&self, name: &str) {
        let line = format!("init {name} --name {name} --dev-ca --listen 127.0.0.1:0 -q");
        self.run(&line, 0);
    }

    /// Two homes that know each other's files.
    pub(crate) fn two(&self) {
        for name in ["alpha", "beta"] {
            self.init(name);
            self.run(&format!("peer export {name}.peer --home {name} -q"), 0);
        }
    }

    /// What a home's people tell others about its key.
    pub(crate) fn fingerprint(&self, home: &str) -> String {
        let exported = self.json(
            &format!("peer export {home}.peer --home {home}"),
            "peer-export",
        );
        exported["fingerprint"].as_str().unwrap().to_owned()
    }

    /// Changes the text of a home's configuration.
    pub(crate) fn configure(&self, home: &str, from: &str, to: &str) {
        let file = self.path(home).join("node.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&file, text.replace(from, to)).unwrap();
    }

    /// Codes that `check` gives, with their verdicts, but for those that are well; and its exit code.
    pub(crate) fn findings(&self, home: &str) -> (Vec<(String, String)>, i32) {
        let output = self
            .command(&format!("check --json --home {home}"))
            .output()
            .unwrap();
        let checks = parse(&output, "check");
        let all = checks["checks"].as_array().unwrap().iter();
        let word = |c: &Value, name: &str| c[name].as_str().unwrap().to_owned();
        let found: Vec<_> = all
            .filter(|c| c["verdict"] != "ok")
            .map(|c| {
                assert!(
                    word(c, "fix").len() > 5 && word(c, "detail").len() > 5,
                    "{c}"
                );
                (word(c, "code"), word(c, "verdict"))
            })
            // Of the machine that runs the tests, and of every home here.
            .filter(|(code, _)| {
                !["clock-not-synchronised", "disk-low", "development-ca"].contains(&code.as_str())
            })
            .collect();
        (found, output.status.code().unwrap())
    }

    /// Demands that `check` finds just this one thing.
    pub(crate) fn finds(&self, home: &str, code: &str, verdict: &str) {
        let (found, exit) = self.findings(home);
        assert_eq!(found, [(code.to_owned(), verdict.to_owned())]);
        // Warnings alone are no failure.
        assert_eq!(exit, if verdict == "fail" { 2 } else { 0 }, "{code}");
    }

    /// Demands that `check` finds nothing.
    pub(crate) fn is_well(&self, home: &str) {
        assert_eq!(self.findings(home), (Vec::new(), 0));
    }

    /// `alpha`, which knows `beta` and offers a list of two.
    pub(crate) fn offering() -> Self {
        let place = Self::new();
        place.two();
        let fingerprint = place.fingerprint("beta");
        place.run(
            &format!("peer add beta.peer --home alpha -q --fingerprint {fingerprint}"),
            0,
        );
        place.write("list.csv", "a\nx\ny\n");
        place.run(
            "collection publish c --home alpha --input list.csv --key text=a -q",
            0,
        );
        place
    }

    pub(crate) fn open(&self, name: &str) -> Home {
        Home::open_with(&self.path(name), &Passphrase::new(WORDS).unwrap()).unwrap()
    }

    pub(crate) fn key_files(&self, home: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(home).join("keys")).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("oprf")).collect();
        names.sort();
        names
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The one object on stdout, its schema first.
pub(crate) fn parse(output: &Output, schema: &str) -> Value {
    let line = text(&output.stdout);
    let start = format!("{{\"schema\":\"tallyd.{schema}/1\",");
    assert!(line.starts_with(&start), "{line}");
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    serde_json::from_str(&line).unwrap()
}

/// The code in the object on the last line of stderr.
pub(crate) fn error_code(output: &Output) -> String {
    let err = text(&output.stderr);
    let line = err.lines().last().unwrap();
    assert!(
        line.starts_with(r#"{"schema":"tallyd.error/1","code":""#),
        "{err}"
    );
    let object: Value = serde_json::from_str(line).unwrap();
    assert!(!object["message"].as_str().unwrap().is_empty());
    // Two lines for people stand before it.
    assert!(
        err.contains("error: ") && err.contains("\n  next: "),
        "{err}"
    );
    object["code"].as_str().unwrap().to_owned()
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Every file below a folder with its bytes.
pub(crate) fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

pub(crate) fn verdicts(checks: &Value) -> Vec<(&str, &str)> {
    let all = checks["checks"].as_array().unwrap().iter();
    all.map(|c| (c["name"].as_str().unwrap(), c["verdict"].as_str().unwrap()))
        .collect()
}

/// Waits until `ready`, at most half a minute.
pub(crate) fn wait(mut ready: impl FnMut() -> bool) {
    let started = Instant::now();
    while !ready() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "waited too long"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
