//! A command under way.

use std::{
    fs::File,
    io::{Read, Seek},
    process::Child,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde_json::Value;
use tallystick_tests::place::{Ended, Place, object};

/// A command that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(60);

/// Killed when dropped.
pub struct Running {
    line: String,
    child: Child,
    out: File,
    err: File,
}

impl Running {
    pub fn start(place: &Place, line: &str) -> Self {
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let child = place
            .command(line)
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

    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().try_into().unwrap());
        signal::kill(id, signal).unwrap();
    }

    /// Waits for its end. The code of one that a signal killed is -1.
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
    pub fn report(self) -> Value {
        let ended = self.end();
        assert_eq!(ended.code, 0, "{}\n{}", ended.out, ended.err);
        object(&ended.out)
    }

    /// Waits for an end with this exit code and nothing on stdout; gives code and message.
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
