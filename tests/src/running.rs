//! A command under way.

use std::{
    fs::File,
    io::{Read, Seek},
    os::fd::AsRawFd,
    process::{Child, Command},
    time::{Duration, Instant},
};

use crate::place::{Ended, Place, object};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde_json::Value;

/// A command that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(60);

/// Killed when dropped.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    out: File,
    err: File,
}

impl Running {
    /// Starts a command line.
    #[must_use]
    pub fn start(place: &Place, line: &str) -> Self {
        Self::of(place.command(line), line)
    }

    /// Starts a command; `line` is what messages call it.
    #[must_use]
    pub fn of(mut command: Command, line: &str) -> Self {
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let child = command
            .stdout(out.try_clone().unwrap())
            .stderr(err.try_clone().unwrap())
            .spawn();
        Self {
            line: line.to_owned(),
            child: child.unwrap(),
            out,
            err,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// What it has said on stderr so far.
    #[must_use]
    pub fn said(&self) -> String {
        // Not through the shared handle: its place in the file is the child's.
        std::fs::read_to_string(format!("/proc/self/fd/{}", self.err.as_raw_fd())).unwrap()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        signal::kill(self.id(), signal).unwrap();
    }

    /// Waits for its end. The code of one that a signal killed is -1.
    #[must_use]
    pub fn end(mut self) -> Ended {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let err = text(&mut self.err);
            assert!(started.elapsed() < LONGEST, "hangs: {}\n{err}", self.line);
            std::thread::sleep(Duration::from_millis(2));
        };
        Ended {
            code: status.code().unwrap_or(-1),
            out: text(&mut self.out),
            err: text(&mut self.err),
        }
    }

    /// Waits for a good end; gives the report.
    #[must_use]
    pub fn report(self) -> Value {
        let ended = self.end();
        assert_eq!(ended.code, 0, "{}\n{}", ended.out, ended.err);
        object(&ended.out)
    }

    /// Waits for an end with this exit code and nothing on stdout; gives code and message.
    #[must_use]
    pub fn failure(self, exit: i32) -> (String, String) {
        let ended = self.end();
        assert_eq!(ended.code, exit, "{}\n{}", ended.out, ended.err);
        assert_eq!(ended.out, "");
        failure(&ended)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Code and message of the error on the last line of stderr.
#[must_use]
pub fn failure(ended: &Ended) -> (String, String) {
    let last = ended.err.lines().last().unwrap_or_default();
    let error = object(&format!("{last}\n"));
    let word = |name: &str| error[name].as_str().unwrap().to_owned();
    (word("code"), word("message"))
}

fn text(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// Looks until it is there; a minute at most.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let waited = started.elapsed();
        assert!(waited < LONGEST, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
