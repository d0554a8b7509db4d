//! How the programs end: one exit code for each kind of end, and one form for errors on stderr.

use std::{
    fmt,
    io::{ErrorKind, Write},
    process::ExitCode,
};

use serde::Serialize;
use tallystick_tables::TableError;

use crate::error::{AgencyError, Kind};

/// How a program ended. The codes are fixed: scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, also when nothing matched.
    Done = 0,
    /// Done, and there are findings that somebody should look at.
    Findings = 1,
    /// Bad usage, input or configuration.
    Usage = 2,
    /// Refused by a policy or quota, of this side or of the peer.
    Refused = 3,
    /// The peer broke the protocol.
    PeerFault = 4,
    /// The network failed or a time limit passed.
    Network = 5,
    /// Something signed or stored does not verify.
    Verification = 6,
    /// A fault in the program (`EX_SOFTWARE` of sysexits.h).
    Bug = 70,
    /// Interrupted by a signal (128 + SIGINT, as shells count).
    Interrupted = 130,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// The one map from whose fault an error is to the exit code.
impl From<Kind> for Exit {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Usage => Self::Usage,
            Kind::Refused => Self::Refused,
            Kind::PeerFault => Self::PeerFault,
            Kind::Network => Self::Network,
            Kind::Verification => Self::Verification,
            Kind::Bug => Self::Bug,
        }
    }
}

/// An error as a program shows it: what happened, what to do next, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// Stable code: lower case, hyphens.
    pub code: String,
    /// What happened. No identifier, no secret.
    pub what: String,
    /// What to do next.
    pub next: String,
}

/// A result whose error is a [`Failure`].
pub type Outcome<T> = std::result::Result<T, Failure>;

/// The line for programs.
#[derive(Serialize)]
struct Line<'a> {
    schema: String,
    code: &'a str,
    message: String,
}

impl Failure {
    /// An error of bad usage, input or configuration.
    pub fn usage(code: &str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Exit::Usage, code, what, next)
    }

    /// Any error.
    pub fn new(exit: Exit, code: &str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            what: what.into(),
            next: next.into(),
        }
    }

    /// Shows the error on stderr: a line with what happened and one with what to do; with `json`
    /// also one object of schema `PROGRAM.error/1`, on the last line.
    pub fn report(&self, program: &str, json: bool) {
        let mut text = format!("error: {}\n", self.what);
        if !self.next.is_empty() {
            text += &format!("  next: {}\n", self.next);
        }
        if json {
            text += &self.to_json(program);
            text.push('\n');
        }
        // If stderr is gone there is nowhere to say so.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    fn to_json(&self, program: &str) -> String {
        let line = Line {
            schema: format!("{program}.error/1"),
            code: &self.code,
            message: self.to_string(),
        };
        // Strings always have a JSON form.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// Both parts on one line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.next.is_empty() {
            write!(f, "; {}", self.next)?;
        }
        Ok(())
    }
}

/// Messages of this workspace say what happened and, behind a semicolon, what to do.
impl From<AgencyError> for Failure {
    fn from(error: AgencyError) -> Self {
        let text = error.to_string();
        let (what, next) = match text.split_once("; ") {
            // The parser of configuration shows an excerpt, which may hold anything.
            Some((what, next)) if !text.contains('\n') => (what, next),
            _ => (text.trim_end(), advice(&error)),
        };
        Self::new(error.kind().into(), error.code(), what, next)
    }
}

/// What to do about errors whose message does not say it.
fn advice(error: &AgencyError) -> &'static str {
    match error {
        AgencyError::Io { source, .. } => match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "make room on the disk and run the command again"
            }
            ErrorKind::NotFound => "check the path",
            ErrorKind::InvalidData => "save it as UTF-8 text",
            _ => "check that the path is right, and who may read and write it",
        },
        AgencyError::Table(TableError::Io { action, source, .. }) => {
            table_advice(action.ends_with("the output"), source.kind())
        }
        AgencyError::Table(_) => "check the file; nothing was written",
        AgencyError::NoSecret(_) => "restore keys/ from a backup, or start a new epoch",
        AgencyError::Config { .. } => "mend the file and try again",
        AgencyError::WrongPassphrase => "give the passphrase of this home",
        AgencyError::SealBroken { .. } => "restore the home from a backup",
        _ => match error.kind() {
            Kind::Usage => "see `--help`, and `tallyd check`",
            Kind::Refused => "ask the peer",
            Kind::PeerFault => "ask the peer which program it runs; keep its message",
            Kind::Network => "check address, port and connection, then try again",
            Kind::Verification => "do not use it; ask whoever gave it to you",
            Kind::Bug => "this is a fault of the program: please report it",
        },
    }
}

/// What to do about a table that cannot be read, or an output that cannot be written.
fn table_advice(output: bool, kind: ErrorKind) -> &'static str {
    match (output, kind) {
        (_, ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            "make room on the disk and run the command again"
        }
        (true, ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            "make the folder, or choose another name; no output was written"
        }
        (true, ErrorKind::IsADirectory) => "name a file; no output was written",
        (true, _) => "choose a folder that this user may write to; no output was written",
        (false, ErrorKind::NotFound) => "check the path; nothing was written",
        (false, ErrorKind::PermissionDenied) => {
            "let this user read the file, or choose another; nothing was written"
        }
        (false, ErrorKind::InvalidData) => "save it as UTF-8 text; nothing was written",
        (false, _) => "check the file; nothing was written",
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn codes_are_the_fixed_ones() {
        let kinds = [
            (Kind::Usage, 2),
            (Kind::Refused, 3),
            (Kind::PeerFault, 4),
            (Kind::Network, 5),
            (Kind::Verification, 6),
            (Kind::Bug, 70),
        ];
        for (kind, code) in kinds {
            assert_eq!(Exit::from(kind).code(), code, "{kind:?}");
        }
        let others = [Exit::Done, Exit::Findings, Exit::Interrupted];
        assert_eq!(others.map(Exit::code), [0, 1, 130]);
    }

    #[test]
    fn an_error_has_two_lines_and_an_object() {
        let failure = Failure::from(AgencyError::HomeNotEmpty(PathBuf::from("/x")));
        assert_eq!(failure.what, "/x is not empty");
        assert_eq!(
            failure.next,
            "choose another folder, or empty this one first"
        );
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(
            failure.to_json("tallyd"),
            "{\"schema\":\"tallyd.error/1\",\"code\":\"home-not-empty\",\"message\":\"/x is not \
             empty; choose another folder, or empty this one first\"}"
        );
    }

    #[test]
    fn every_error_says_what_to_do() {
        let io = std::io::Error::other("broken");
        for error in [
            AgencyError::io("read", "/x")(io),
            AgencyError::WrongPassphrase,
            AgencyError::Bug("odd".to_owned()),
            AgencyError::Network("closed".to_owned()),
        ] {
            assert!(!Failure::from(error).next.is_empty());
        }
        // An excerpt of a configuration is not taken apart.
        let failure = Failure::from(AgencyError::Config {
            file: PathBuf::from("node.toml"),
            problem: "line 1\n | x = \"a; b\"\n".to_owned(),
        });
        assert!(failure.what.contains("a; b"));
        assert_eq!(failure.next, "mend the file and try again");
    }
}
