//! What is asked, on which grounds; and the run that was interrupted.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tallystick_agency::{
    AgencyError, build, clock,
    collections::{profile_reference, rule_names},
    exit::{Failure, Outcome},
    fs::{OWNER_FILE, atomic_write},
    peers::{int, own_reference, reference},
    records::{self, closed_path},
    store::{NewRun, Peer, Run},
};
use tallystick_protocol::{
    frame::Frame,
    group,
    identifiers::padded_size,
    oprf::SessionSeed,
    session::{Asking, claim_commitment},
    signing::SigningKey,
    statements::{
        Hex, Int, Legal, Line, Mode, PROTOCOL, Persons, Query, Receiver, Request, SUITE,
        SessionClass,
    },
};
use tallystick_tables::KeySpec;
use zeroize::Zeroizing;

use super::Runner;
use crate::{error::bug, input::Plan, snapshots::blocking};

/// Name of the secret that inputs are digested under: a digest without it would let whoever copies
/// the database try identifiers against it.
const INPUT_SECRET: &str = "run-input";

/// A key as a run is known by it: no two keys have one text. What `--key` shows will not do, since a
/// mapping file may name columns with commas in them.
fn as_read(key: &KeySpec) -> String {
    format!("{key:?}")
}

/// What a run's seed is sealed as: each row its own, so that rows cannot be swapped.
fn sealed_as(session: &Hex<16>) -> String {
    format!("run-seed/{session}")
}

/// A session that may be asked or gone on with.
pub(super) struct Taken {
    pub(super) asking: Asking,
    pub(super) seed: Arc<SessionSeed>,
    /// The own record, if the session was closed and only its output is missing.
    pub(super) closed_record: Option<PathBuf>,
    /// Digest of the grant that was taken, if one was: no other is taken for this session.
    pub(super) grant: Option<Hex<32>>,
    /// The times of the own closing, if it was signed.
    pub(super) closing: Option<ClosingTimes>,
    /// Held while this process goes on with the session.
    pub(super) held: Option<Held>,
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
pub(super) enum Stage {
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
pub(super) struct ClosingTimes {
    /// When the first chunk left and the last answer came.
    pub(super) chunks: Option<(u64, u64)>,
    /// When it was signed.
    pub(super) closed: u64,
}

/// A session that no other process goes on with meanwhile: two would cut each other off. The lock
/// ends with the process, however that ends.
pub(super) struct Held {
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

impl Taken {
    /// The seed once more, for a state that owns it.
    pub(super) fn seed(&self) -> SessionSeed {
        SessionSeed::new(*self.seed.as_bytes())
    }
}

impl Runner<'_> {
    /// What makes a run the same run when it is started again: the table, how it is read, and the
    /// grounds, which stand in the signed request.
    fn input_digest(&self, plan: &Plan) -> Outcome<[u8; 32]> {
        let mut input = Zeroizing::new(plan.digest.sha256.to_vec());
        input.extend_from_slice(plan.source.read_as().as_bytes());
        input.push(0);
        input.extend_from_slice(&self.options.mapping.profile().tables_hash());
        for key in self.options.mapping.keys() {
            input.extend_from_slice(as_read(key).as_bytes());
            input.push(0);
        }
        let grounds = &self.options.grounds;
        let grounds = (
            (grounds.class, &grounds.purpose, &grounds.legal_basis),
            (&grounds.offence_category, &grounds.subject_category),
            (&grounds.dpia, &grounds.handling_code, &grounds.source_code),
            (&grounds.case, &grounds.runner),
            (&grounds.orderer, &grounds.approver),
        );
        let text = Zeroizing::new(serde_json::to_vec(&grounds).map_err(|e| bug(e.to_string()))?);
        input.extend_from_slice(&text);
        Ok(self.home.keys().keyed_digest(INPUT_SECRET, &input)?)
    }

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
    pub(super) async fn note(&self, session: &Hex<16>, stage: Stage) -> Outcome<()> {
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

    /// The unfinished run of the same input, if it can still be gone on with.
    pub(super) async fn taken(&self, plan: &Plan, peer: &Peer) -> Outcome<Option<Taken>> {
        let digest = self.input_digest(plan)?;
        let collection = self.options.collection.as_str();
        let _turn = self.turn().await?;
        let Some(known) = self
            .store
            .find_open_run(&peer.name, collection, &digest)
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
        let Unsealed {
            asking,
            seed,
            stage,
        } = unsealed;
        let (grant, closing) = match stage {
            Stage::Asked => (None, None),
            Stage::Granted(grant) => (Some(grant), None),
            Stage::Closing { grant, times } => (Some(grant), Some(times)),
        };
        Ok(Some(Taken {
            asking,
            seed: Arc::new(seed),
            closed_record: held.is_none().then_some(path),
            grant,
            closing,
            held,
        }))
    }

    /// Signs a new request, and writes down what is needed to go on with it.
    pub(super) async fn begin(&self, plan: &Plan, peer: &Peer) -> Outcome<Taken> {
        let key = Arc::new(SigningKey::from(self.home.signing_key()?));
        let session = Hex(rand::random::<[u8; 16]>());
        let seed = Zeroizing::new(rand::random::<[u8; 32]>());
        let (request, claims) = self.request(plan, peer, session).await?;
        let asking = Asking::new(group::best(), request, key, SessionSeed::new(*seed))
            .map_err(AgencyError::from)?;
        let secret = Zeroizing::new([&seed[..], asking.frame().bytes()].concat());
        let run = NewRun {
            session: session.0,
            peer: peer.name.clone(),
            collection: self.options.collection.to_string(),
            input_digest: self.input_digest(plan)?,
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

    /// The request, before it is signed, and the sealed claims behind its commitments.
    async fn request(
        &self,
        plan: &Plan,
        peer: &Peer,
        session: Hex<16>,
    ) -> Outcome<(Request, Option<Vec<u8>>)> {
        let me = own_reference(self.home)?;
        let config = self.home.config();
        let now = clock::now_ms();
        let lifetime = i64::from(config.policy.request_lifetime_seconds) * 1000;
        let profile = self.options.mapping.profile();
        let padded = plan.padded();
        let mut queries = Vec::with_capacity(padded.len());
        for (type_name, elements) in &padded {
            queries.push(Query {
                type_name: type_name.clone(),
                rules: rule_names(profile, type_name)?,
                // Padded as well: the true number of records is not the peer's business.
                records: Int::new(padded_size(plan.tally.rows)).map_err(AgencyError::from)?,
                elements: Int::new(*elements).map_err(AgencyError::from)?,
                flights: None,
            });
        }
        let state = config.state.as_deref().map(str::parse::<Line>).transpose();
        let (legal, persons, claims) = self.grounds(&session)?;
        let previous = self.store.last_record(&peer.name).await?;
        let request = Request {
            protocol: PROTOCOL.to_owned(),
            suite: SUITE.to_owned(),
            session,
            build: build::line()?,
            receiver: Receiver {
                agency: me.agency,
                state: state.map_err(|why| Failure::usage("config", why, "see node.toml"))?,
                signing_key: me.signing_key,
                tls_spki: Hex(self.home.tls_identity()?.spki_sha256()?),
            },
            sender: reference(peer)?,
            collection: self.options.collection.clone(),
            mode: Mode::Elements,
            profile: profile_reference(self.options.mapping.profile())?,
            legal,
            persons,
            queries,
            set_commitment: None,
            authorisation: None,
            // Filled in where the request is signed.
            nonce_commitment: Hex([0; 32]),
            previous: previous.map(|record| Hex(record.digest)),
            issued_ms: int(now)?,
            expires_ms: int(now + lifetime)?,
        };
        Ok((request, claims))
    }

    /// The grounds for the record; and sealed, what it commits to with the salts, to be kept beside it
    /// for the own supervisor.
    fn grounds(&self, session: &Hex<16>) -> Outcome<(Legal, Option<Persons>, Option<Vec<u8>>)> {
        let grounds = &self.options.grounds;
        if grounds.approver.is_some() && grounds.approver == grounds.runner {
            return Err(Failure::usage(
                "usage",
                "--approver and --runner are the same person",
                "who approves must be somebody else (four eyes)",
            ));
        }
        let mut kept = serde_json::Map::new();
        let mut commit = |kind: &str, text: &Option<String>| {
            text.as_ref().map(|text| {
                let salt: [u8; 32] = rand::random();
                let entry = serde_json::json!({"text": text, "salt": Hex(salt).to_string()});
                kept.insert(kind.to_owned(), entry);
                claim_commitment(kind, &salt, text)
            })
        };
        let unstated = || "not stated".parse::<Line>().map_err(|_| bug("a line"));
        let legal = Legal {
            class: grounds.class.unwrap_or(SessionClass::NotStated),
            purpose: grounds.purpose.clone().map_or_else(unstated, Ok)?,
            legal_basis: grounds.legal_basis.clone(),
            offence_category: grounds.offence_category.clone(),
            subject_category: grounds.subject_category.clone(),
            case: commit("case", &grounds.case),
            dpia: grounds.dpia.clone(),
            handling_code: grounds.handling_code.clone(),
            source_code: grounds.source_code.clone(),
        };
        let (orderer, approver) = (
            commit("orderer", &grounds.orderer),
            commit("approver", &grounds.approver),
        );
        let runner = commit("runner", &grounds.runner);
        let persons = match (runner, &orderer, &approver) {
            (Some(runner), ..) => Some(Persons {
                runner,
                orderer,
                approver,
            }),
            (None, None, None) => None,
            _ => {
                return Err(Failure::usage(
                    "usage",
                    "--orderer and --approver need --runner",
                    "state who runs it with --runner ID",
                ));
            }
        };
        let sealed = match kept.is_empty() {
            true => None,
            false => {
                let text = Zeroizing::new(serde_json::Value::Object(kept).to_string());
                let place = format!("claims/{session}");
                Some(self.home.keys().seal_blob(&place, text.as_bytes())?)
            }
        };
        Ok((legal, persons, sealed))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tallystick_tables::Mapping;

    use super::*;

    #[test]
    fn keys_that_are_shown_alike_make_two_runs() {
        let [one, other] = [("a,b", "c"), ("a", "b,c")].map(|(number, state)| {
            let text = format!(
                "[[key]]\ntype = \"document\"\nnumber = \"{number}\"\nstate = \"{state}\"\n"
            );
            let mapping = Mapping::from_toml(&text, Path::new("a.mapping.toml"));
            mapping.map(|mapping| mapping.keys()[0].clone()).ok()
        });
        let texts = |key: &Option<KeySpec>| key.as_ref().map(|key| (key.to_string(), as_read(key)));
        let (one, other) = (texts(&one), texts(&other));
        assert!(one.is_some());
        assert_eq!(
            one.as_ref().map(|(shown, _)| shown),
            other.as_ref().map(|(shown, _)| shown)
        );
        assert_ne!(one, other);
    }
}
