//! What is asked, on which grounds; and the run that was interrupted.

use std::{path::PathBuf, sync::Arc};

use sha2::{Digest, Sha256};
use tallystick_agency::{
    AgencyError, build, clock,
    collections::profile_reference,
    exit::{Failure, Outcome},
    peers::{int, own_reference, reference},
    records::closed_path,
    store::{NewRun, Peer},
};
use tallystick_protocol::{
    error::Error,
    frame::Frame,
    group,
    identifiers::{Profile, Rule, padded_size},
    oprf::SessionSeed,
    session::{Asking, claim_commitment},
    signing::SigningKey,
    statements::{
        Hex, Int, Legal, Line, Mode, PROTOCOL, Persons, Query, Receiver, Request, SUITE,
        SessionClass,
    },
};
use zeroize::Zeroizing;

use super::Runner;
use crate::{error::bug, input::Plan};

/// Name under which a run's seed is sealed.
const RUN_SEED: &str = "run-seed";

/// A session that may be asked or gone on with.
pub(super) struct Taken {
    pub(super) asking: Asking,
    pub(super) seed: Arc<SessionSeed>,
    /// The own record, if the session was closed and only its output is missing.
    pub(super) closed_record: Option<PathBuf>,
}

impl Taken {
    /// The seed once more, for a state that owns it.
    pub(super) fn seed(&self) -> SessionSeed {
        SessionSeed::new(*self.seed.as_bytes())
    }
}

impl Runner<'_> {
    /// What makes a run the same run when it is started again.
    fn input_digest(&self, plan: &Plan) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(plan.digest.sha256);
        for key in self.options.mapping.keys() {
            hash.update(key.to_string());
            hash.update([0]);
        }
        hash.finalize().into()
    }

    /// The unfinished run of the same input, if it can still be gone on with.
    pub(super) async fn taken(&self, plan: &Plan, peer: &Peer) -> Outcome<Option<Taken>> {
        let digest = self.input_digest(plan);
        let collection = self.options.collection.as_str();
        let Some(known) = self
            .store
            .find_open_run(&peer.name, collection, &digest)
            .await?
        else {
            return Ok(None);
        };
        let secret = self.home.keys().open_blob(RUN_SEED, &known.sealed_seed)?;
        let (seed, frame) = secret
            .split_first_chunk::<32>()
            .ok_or_else(|| bug("a stored run is too short"))?;
        let frame = Frame::from_bytes(frame.to_vec()).map_err(AgencyError::from)?;
        let key = Arc::new(SigningKey::from(self.home.signing_key()?));
        let asking = Asking::resume(group::reference(), frame, key, SessionSeed::new(*seed))
            .map_err(AgencyError::from)?;
        let path = closed_path(&self.home.records_dir(), &asking.request().session);
        let closed_record = path.exists().then_some(path);
        if closed_record.is_none() && asking.request().expires_ms <= int(clock::now_ms())? {
            // What it was charged stays charged; a new session starts.
            self.store
                .finish_run(&known.session, clock::now_ms())
                .await?;
            return Ok(None);
        }
        let seed = Arc::new(SessionSeed::new(*seed));
        Ok(Some(Taken {
            asking,
            seed,
            closed_record,
        }))
    }

    /// Signs a new request, and writes down what is needed to go on with it.
    pub(super) async fn begin(&self, plan: &Plan, peer: &Peer) -> Outcome<Taken> {
        let key = Arc::new(SigningKey::from(self.home.signing_key()?));
        let session = Hex(rand::random::<[u8; 16]>());
        let seed = Zeroizing::new(rand::random::<[u8; 32]>());
        let request = self.request(plan, peer, session).await?;
        let asking = Asking::new(group::reference(), request, key, SessionSeed::new(*seed))
            .map_err(AgencyError::from)?;
        let secret = Zeroizing::new([&seed[..], asking.frame().bytes()].concat());
        let run = NewRun {
            session: session.0,
            peer: peer.name.clone(),
            collection: self.options.collection.to_string(),
            input_digest: self.input_digest(plan),
            sealed_seed: self.home.keys().seal_blob(RUN_SEED, &secret)?,
            state: "asked".to_owned(),
            created_ms: clock::now_ms(),
        };
        self.store.save_run(&run).await?;
        let seed = Arc::new(SessionSeed::new(*seed));
        Ok(Taken {
            asking,
            seed,
            closed_record: None,
        })
    }

    /// The request, before it is signed.
    async fn request(&self, plan: &Plan, peer: &Peer, session: Hex<16>) -> Outcome<Request> {
        let me = own_reference(self.home)?;
        let config = self.home.config();
        let now = clock::now_ms();
        let lifetime = i64::from(config.policy.request_lifetime_seconds) * 1000;
        let rule = Rule::Exact
            .name()
            .parse::<Line>()
            .map_err(|_| bug("a rule's name"))?;
        let padded = plan.padded();
        let queries = padded.iter().map(|(type_name, elements)| {
            Ok(Query {
                type_name: type_name.clone(),
                rules: vec![rule.clone()],
                // Padded as well: the true number of records is not the peer's business.
                records: Int::new(padded_size(plan.tally.rows))?,
                elements: Int::new(*elements)?,
            })
        });
        let state = config.state.as_deref().map(str::parse::<Line>).transpose();
        let (legal, persons) = self.grounds(&session)?;
        let previous = self.store.last_record(&peer.name).await?;
        Ok(Request {
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
            profile: profile_reference(&Profile::exact())?,
            legal,
            persons,
            queries: queries
                .collect::<Result<_, Error>>()
                .map_err(AgencyError::from)?,
            set_commitment: None,
            authorisation: None,
            // Filled in where the request is signed.
            nonce_commitment: Hex([0; 32]),
            previous: previous.map(|record| Hex(record.digest)),
            issued_ms: int(now)?,
            expires_ms: int(now + lifetime)?,
        })
    }

    /// The grounds for the record. What it commits to, and the salts, are kept sealed beside it for
    /// the own supervisor.
    fn grounds(&self, session: &Hex<16>) -> Outcome<(Legal, Option<Persons>)> {
        let grounds = &self.options.grounds;
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
            class: grounds.class.unwrap_or(SessionClass::IndividualCase),
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
        if !kept.is_empty() {
            let text = Zeroizing::new(serde_json::Value::Object(kept).to_string());
            let sealed = self
                .home
                .keys()
                .seal_blob(&format!("claims/{session}"), text.as_bytes())?;
            let path = self.home.records_dir().join(format!("{session}.claims"));
            tallystick_agency::fs::atomic_write(&path, &sealed, tallystick_agency::fs::OWNER_FILE)?;
        }
        Ok((legal, persons))
    }
}
