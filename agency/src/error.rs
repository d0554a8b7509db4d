//! The one error type of this crate, ordered by whose fault it is.
//!
//! Messages carry no identifier and no secret. They may carry paths, names of agencies and
//! collections, and configuration keys, because those are what the reader needs to act.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tallystick_protocol::error::Fault;
use tallystick_tables::TableError;

use crate::tls::TlsRefusal;

/// A result whose error is an [`AgencyError`].
pub type Result<T, E = AgencyError> = std::result::Result<T, E>;

/// Whose fault an error is. The programs map it to their exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bad usage, input, configuration or surroundings of this node (a full disk, a wrong mode).
    Usage,
    /// A policy or quota of one of the two agencies says no.
    Refused,
    /// The peer broke the protocol.
    PeerFault,
    /// The network failed or a time limit passed.
    Network,
    /// Something stored or signed does not verify.
    Verification,
    /// A fault in this program.
    Bug,
}

/// Everything that can go wrong on an agency's own side.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgencyError {
    /// A file or folder could not be read, written or moved.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `write`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A configuration file holds something that is not allowed.
    #[error("{}: {problem}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// The key, what is wrong with it and which values are allowed.
        problem: String,
    },
    /// An argument or a name is not allowed. The message says which are.
    #[error("{0}")]
    Usage(String),
    /// No profile has this name. The message says which there are.
    #[error("{0}")]
    UnknownProfile(String),
    /// A file that is no profile.
    #[error("{}: {problem}", .file.display())]
    Profile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// `init` was asked to write into a folder that already holds something.
    #[error("{} is not empty; choose another folder, or empty this one first", .0.display())]
    HomeNotEmpty(PathBuf),
    /// `init` was asked to make a home where one is.
    #[error("{} is a home already; use it with --home, or choose another folder", .0.display())]
    HomeExists(PathBuf),
    /// The folder is not a home.
    #[error("{} is not a home (it has no readable VERSION); create one with `tallyd init`", .0.display())]
    NotAHome(PathBuf),
    /// The home or its state was written by a newer program.
    #[error(
        "{what} has format {found}, this program knows formats up to {known}; use a newer program"
    )]
    NewerFormat {
        /// What was found to be newer.
        what: String,
        /// Its number.
        found: u64,
        /// The highest number this program reads.
        known: u64,
    },
    /// A secret file or folder can be reached by others.
    #[error("{} has mode {mode:03o}, others can reach it; fix it with: chmod {want:03o} '{}'", path.display(), path.display())]
    Permissions {
        /// The file or folder.
        path: PathBuf,
        /// Its mode bits now.
        mode: u32,
        /// The mode it should have.
        want: u32,
    },
    /// No passphrase could be had.
    #[error(
        "no passphrase; give --passphrase-file FILE, set TALLY_PASSPHRASE_FILE or TALLY_PASSPHRASE, \
         set passphrase_file in node.toml, or start from a terminal"
    )]
    NoPassphrase,
    /// The master key does not open under this passphrase.
    #[error("wrong passphrase for this home (or its keys/master.json was changed)")]
    WrongPassphrase,
    /// A sealed secret or blob does not open under the master key.
    #[error("{what} does not open: it was changed, cut short, or belongs to another home")]
    SealBroken {
        /// Which one, without its content.
        what: String,
    },
    /// The secret under which snapshots are marked does not open. Nothing is lost with it.
    #[error("{} does not open: it was changed, cut short, or belongs to another home; remove it: the next run makes another and verifies snapshots again", .0.display())]
    MarksBroken(PathBuf),
    /// A sealed secret does not exist.
    #[error("there is no secret named {0} in this home")]
    NoSecret(String),
    /// A certificate or key cannot be used.
    #[error("{what}: {problem}")]
    Certificate {
        /// Which file or object.
        what: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// We refused the peer's certificate.
    #[error(transparent)]
    Tls(#[from] TlsRefusal),
    /// The peer refused our certificate.
    #[error(
        "the peer refused our certificate ({0}); see `tallyd check`; the peer may lack our current \
         manifest, or have revoked us"
    )]
    RefusedByPeer(String),
    /// The protocol's own rules say no.
    #[error(transparent)]
    Protocol(#[from] tallystick_protocol::error::Error),
    /// A table cannot be read, written or mapped.
    #[error(transparent)]
    Table(#[from] tallystick_tables::TableError),
    /// The connection failed below the protocol.
    #[error("network: {0}")]
    Network(String),
    /// The store says no for a reason of policy.
    #[error("{message}")]
    Refused {
        /// Stable code.
        code: &'static str,
        /// What was refused, and what to do.
        message: String,
    },
    /// The state store is gone.
    #[error(
        "{} is gone or empty; restore it from a backup: it holds peers, and what they were charged",
        .0.display()
    )]
    StateGone(PathBuf),
    /// There is no space left for the state store.
    #[error(
        "cannot write state.db: no space left on the disk; make room and run the command again"
    )]
    StoreFull,
    /// The state store failed underneath (disk, lock, damage).
    #[error("state store: {source}; check free space and permissions of state.db")]
    Store {
        /// What the database said. Statements are bound, so no value stands in it.
        #[source]
        source: Box<sqlx::Error>,
    },
    /// What failed for several at once: each has it.
    #[error(transparent)]
    Shared(Arc<AgencyError>),
    /// A fault in this program, or a state that should not be.
    #[error("internal: {0}")]
    Bug(String),
}

impl AgencyError {
    /// The stable code of this error: lower case, hyphens.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::Config { .. } => "config",
            Self::Usage(_) => "usage",
            Self::UnknownProfile(_) => "unknown-profile",
            Self::Profile { .. } => "profile-file",
            Self::HomeNotEmpty(_) | Self::HomeExists(_) => "home-not-empty",
            Self::NotAHome(_) => "not-a-home",
            Self::NewerFormat { .. } => "newer-format",
            Self::Permissions { .. } => "permissions",
            Self::NoPassphrase => "no-passphrase",
            Self::WrongPassphrase => "wrong-passphrase",
            Self::SealBroken { .. } => "seal-broken",
            Self::MarksBroken(_) => "marks-broken",
            Self::NoSecret(_) => "no-secret",
            Self::Certificate { .. } => "certificate",
            Self::Tls(refusal) => refusal.code(),
            Self::RefusedByPeer(_) => "refused-by-peer",
            Self::Protocol(error) => error.code(),
            Self::Table(error) => error.code(),
            Self::Network(_) => "network",
            Self::Refused { code, .. } => code,
            Self::StateGone(_) => "state-gone",
            Self::StoreFull | Self::Store { .. } => "store",
            Self::Shared(error) => error.code(),
            Self::Bug(_) => "bug",
        }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io { .. }
            | Self::Config { .. }
            | Self::Usage(_)
            | Self::UnknownProfile(_)
            | Self::Profile { .. }
            | Self::HomeNotEmpty(_)
            | Self::HomeExists(_)
            | Self::NotAHome(_)
            | Self::NewerFormat { .. }
            | Self::Permissions { .. }
            | Self::NoPassphrase
            | Self::WrongPassphrase
            | Self::NoSecret(_)
            | Self::Certificate { .. }
            | Self::StateGone(_)
            | Self::StoreFull
            | Self::Store { .. } => Kind::Usage,
            Self::SealBroken { .. } | Self::MarksBroken(_) => Kind::Verification,
            Self::Tls(_) | Self::RefusedByPeer(_) | Self::Refused { .. } => Kind::Refused,
            Self::Protocol(error) => match error.fault() {
                Fault::Peer => Kind::PeerFault,
                Fault::Caller => Kind::Usage,
                Fault::Bug => Kind::Bug,
            },
            Self::Table(error) => match error {
                // A label is what a peer sealed.
                TableError::LabelMalformed { .. } => Kind::PeerFault,
                _ => Kind::Usage,
            },
            Self::Network(_) => Kind::Network,
            Self::Shared(error) => error.kind(),
            Self::Bug(_) => Kind::Bug,
        }
    }

    /// Wraps an operating system error with what was tried on which path.
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

impl From<sqlx::Error> for AgencyError {
    fn from(source: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match source {
            E::ColumnNotFound(_) | E::ColumnDecode { .. } | E::Decode(_) | E::Encode(_) => {
                Self::Bug(format!("state.db: {source}"))
            }
            // SQLITE_FULL.
            E::Database(e) if e.code().as_deref() == Some("13") => Self::StoreFull,
            source => Self::Store {
                source: Box::new(source),
            },
        }
    }
}
