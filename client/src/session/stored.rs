//! A session that outlives the process that began it: what is kept of it, who holds it, how it is taken up.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tallystick_agency::{
    AgencyError, clock,
    exit::{Failure, Outcome},
    fs::{OWNER_FILE, atomic_write},
    peers::{int, reference},
    records::{self, closed_path},
    store::{NewRun, Peer, Run},
};
use tallystick_protocol::{
    frame::Frame, group, oprf::SessionSeed, session::Asking, signing::SigningKey, statements::Hex,
};
use zeroize::Zeroizing;

use super::{Asker, Intent};
use crate::{error::bug, snapshots::blocking};

/// What a run's seed is sealed as: each row its own, so that rows cannot be swapped.
fn sealed_as(session: &Hex<16>) -> String {
    format!("run-seed/{session}")
}

/// A session that may be asked or gone on with.
pub(crate) struct Taken {
    pub(crate) asking: Asking,
    pub(crate) seed: Arc<SessionSeed>,
    /// The own record, if the session was closed and only its output is missing.
    pub(crate) closed_record: Option<PathBuf>,
    /// Digest of the grant that was taken, if one was: no other is taken for this session.
    pub(crate) grant: Option<Hex<32>>,
    /// The times of the own closing, if it was signed.
    pub(crate) closing: Option<ClosingTimes>,
    /// Held while this process goes on with the session.
    pub(crate) held: Option<Held>,
}

/// A stored run, opened.
pub(super) struct Unsealed {
    pub(super) asking: Asking,
    seed: SessionSeed,
    pub(super) stage: Stage,
}

/// How far a run has come: what the store keeps of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// The request was signed. Nothing was charged: no chunk leaves before the grant is here.
    Asked,
    /// This grant was taken, and its clock was right. A sender that could answer the same request
    /// with another grant could name another snapshot in it, and compare the two outcomes.
    Granted(Hex<32>),
    /// The own closing was signed.
    Closing {
        /// Digest of the grant.
        grant: Hex<32>,
        /// What the closing says.
        times: ClosingTimes,
    },
}

/// What a closing says that does not follow from the session. It is kept before the closing
/// leaves, so that the same bytes can be signed again: a sender that has closed takes no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClosingTimes {
    /// When the first chunk left and the last answer came.
    pub(crate) chunks: Option<(u64, u64)>,
    /// When it was signed.
    pub(crate) closed: u64,
}

/// A session that no other process goes on with meanwhile: two would cut each other off. The lock
/// ends with the process, however that ends.
pub(crate) struct Held {
    /// The open record, locked.
    _file: File,
}

fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Failure {
    AgencyError::Io {
        action,
        path: path.to_owned(),
        source,
    }
    .into()
}

/// Where the sealed claims of a session lie.
pub(super) fn claims_path(dir: &Path, session: &Hex<16>) -> PathBuf {
    dir.join(format!("{session}.claims"))
}

/// Where the journal of a shift lies: see the module `desk`.
pub(crate) fn journal_path(dir: &Path, session: &Hex<16>) -> PathBuf {
    dir.join(format!("{session}.shift"))
}

/// Removes the journal of a shift that is over, if there is one: it holds sealed elements.
pub(crate) fn remove_journal(dir: &Path, session: &Hex<16>) -> Result<(), AgencyError> {
    let path = journal_path(dir, session);
    // One that was being begun again when the process ended.
    remove(&path.with_extension("shift-next"))?;
    remove(&path)
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), AgencyError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(AgencyError::Io {
            action: "remove",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

impl Unsealed {
    /// A session to go on with.
    fn held(self, held: Option<Held>, closed_record: Option<PathBuf>) -> Taken {
        let (grant, closing) = match self.stage {
            Stage::Asked => (None, None),
            Stage::Granted(grant) => (Some(grant), None),
            Stage::Closing { grant, times } => (Some(grant), Some(times)),
        };
        Taken {
            asking: self.asking,
            seed: Arc::new(self.seed),
            closed_record,
            grant,
            closing,
            held,
        }
    }
}

impl Taken {
    /// The seed once more, for a state that owns it.
    pub(crate) fn seed(&self) -> SessionSeed {
        SessionSeed::new(*self.seed.as_bytes())
    }
}

impl Asker<'_> {
    /// Waits for the turn to begin a run or to take one up: between looking and holding no other
    /// process may do either. Ends when the file is dropped.
    async fn turn(&self) -> Outcome<File> {
        let dir = self.home.records_dir();
        blocking(move || {
            let turn = File::open(&dir).map_err(|source| io("open", &dir, source))?;
            turn.lock().map_err(|source| io("lock", &dir, source))?;
            Ok(turn)
        })
        .await
    }

    /// Holds a session for this process.
    fn hold(&self, session: &Hex<16>) -> Outcome<Held> {
        self.try_hold(session)?.ok_or_else(|| {
            Failure::usage(
                "run-under-way",
                "the same command is under way in another process",
                "wait until it has ended",
            )
        })
    }

    /// The same; `None` if another process holds it.
    pub(super) fn try_hold(&self, session: &Hex<16>) -> Outcome<Option<Held>> {
        let path = records::open_path(&self.home.records_dir(), session);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(OWNER_FILE)
            .open(&path)
            .map_err(|source| io("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Held { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(io("lock", &path, source)),
        }
    }

    /// Notes how far a run has come.
    pub(crate) async fn note(&self, session: &Hex<16>, stage: Stage) -> Outcome<()> {
        let state = serde_json::to_string(&stage).map_err(|e| bug(e.to_string()))?;
        Ok(self.store.update_run(&session.0, &state).await?)
    }

    /// What the store keeps sealed of a run.
    pub(super) fn unseal(&self, run: &Run) -> Outcome<Unsealed> {
        let place = sealed_as(&Hex(run.session));
        let secret = self.home.keys().open_blob(&place, &run.sealed_seed)?;
        let (seed, frame) = secret
            .split_first_chunk::<32>()
            .ok_or_else(|| bug("a stored run is too short"))?;
        let frame = Frame::from_bytes(frame.to_vec()).map_err(AgencyError::from)?;
        let key = Arc::new(SigningKey::from(self.home.signing_key()?));
        let asking = Asking::resume(group::best(), frame, key, SessionSeed::new(*seed))
            .map_err(AgencyError::from)?;
        let stage = serde_json::from_str(&run.state).map_err(|e| bug(e.to_string()))?;
        Ok(Unsealed {
            asking,
            seed: SessionSeed::new(*seed),
            stage,
        })
    }

    /// The unfinished session of the same digest, if it can still be gone on with.
    ///
    /// # Errors
    /// `run-under-way` if another process holds it.
    pub(crate) async fn taken(&self, digest: &[u8; 32], peer: &Peer) -> Outcome<Option<Taken>> {
        let collection = self.collection.as_str();
        let _turn = self.turn().await?;
        let Some(known) = self
            .store
            .find_open_run(&peer.name, collection, digest)
            .await?
        else {
            return Ok(None);
        };
        let unsealed = self.unseal(&known)?;
        let session = unsealed.asking.request().session;
        let path = closed_path(&self.home.records_dir(), &session);
        let mut held = match path.exists() {
            true => None,
            false => Some(self.hold(&session)?),
        };
        // Another process may have closed it in this very moment.
        if path.exists() && held.take().is_some() {
            records::remove_open(&self.home.records_dir(), &session)?;
        }
        let request = unsealed.asking.request();
        // A peer that was pinned anew since then is another peer: its old key is not trusted.
        let over =
            request.expires_ms <= int(clock::now_ms())? || request.sender != reference(peer)?;
        // A request without a grant may be too old for the sender's clock rule by now. One with a
        // closed record was refused.
        let asked = unsealed.stage == Stage::Asked;
        if asked || held.take_if(|_| over).is_some() {
            // What it was charged stays charged, and its record stays; a new session starts.
            drop(held);
            self.abandon(&known, unsealed).await?;
            return Ok(None);
        }
        let closed_record = held.is_none().then_some(path);
        Ok(Some(unsealed.held(held, closed_record)))
    }

    /// Sessions of shifts with this peer and collection whose own closing was signed, which the peer may
    /// not have, and that no process holds. They are held then.
    pub(crate) async fn unclosed_shifts(&self, peer: &Peer) -> Outcome<Vec<Taken>> {
        let (_turn, now) = (self.turn().await?, int(clock::now_ms())?);
        let dir = self.home.records_dir();
        let mut left = Vec::new();
        for run in self.store.open_runs().await? {
            // What cannot be opened is told of when abandoned sessions are closed.
            let Ok(unsealed) = self.unseal(&run) else {
                continue;
            };
            let request = unsealed.asking.request();
            let ours = run.peer == peer.name
                && request.is_shift()
                && request.collection == *self.collection
                && request.sender == reference(peer)?
                && request.expires_ms > now;
            let closing = matches!(unsealed.stage, Stage::Closing { .. });
            if !(ours && closing) || closed_path(&dir, &request.session).exists() {
                continue;
            }
            if let Some(held) = self.try_hold(&request.session)? {
                left.push(unsealed.held(Some(held), None));
            }
        }
        Ok(left)
    }

    /// Signs a new request, and writes down what is needed to go on with it.
    pub(crate) async fn begin(&self, ask: &Intent<'_>, peer: &Peer) -> Outcome<Taken> {
        let key = Arc::new(SigningKey::from(self.home.signing_key()?));
        let session = Hex(rand::random::<[u8; 16]>());
        let seed = Zeroizing::new(rand::random::<[u8; 32]>());
        let (request, claims) = self.request(ask, peer, session).await?;
        let asking = Asking::new(group::best(), request, key, SessionSeed::new(*seed))
            .map_err(AgencyError::from)?;
        let secret = Zeroizing::new([&seed[..], asking.frame().bytes()].concat());
        let run = NewRun {
            session: session.0,
            peer: peer.name.clone(),
            collection: self.collection.to_string(),
            input_digest: ask.digest,
            sealed_seed: self.home.keys().seal_blob(&sealed_as(&session), &secret)?,
            state: serde_json::to_string(&Stage::Asked).map_err(|e| bug(e.to_string()))?,
            created_ms: clock::now_ms(),
        };
        // Known to the store before its files are there: so whoever takes the run up removes them.
        let held = {
            let _turn = self.turn().await?;
            self.store.save_run(&run).await?;
            self.hold(&session)?
        };
        if let Some(claims) = claims {
            let path = claims_path(&self.home.records_dir(), &session);
            atomic_write(&path, &claims, OWNER_FILE)?;
        }
        let seed = Arc::new(SessionSeed::new(*seed));
        Ok(Taken {
            asking,
            seed,
            closed_record: None,
            grant: None,
            closing: None,
            held: Some(held),
        })
    }
}
