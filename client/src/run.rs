//! A receiver's run: count, fetch the snapshot, ask, blind and send, verify and look up, write,
//! close.
//!
//! Chunks go out while answers come in. What is kept of a chunk until its answer is bounded by the
//! window of the grant; what is kept after is a few bytes a hit. The output is complete on disk,
//! under a temporary name, before the session is closed, and gets its name after.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use sha2::{Digest, Sha256};
use tallystick_agency::{
    AgencyError, build, clock,
    collections::profile_reference,
    exit::{Exit, Failure, Outcome},
    home::Home,
    peers::{int, own_reference, reference},
    records::RecordFile,
    store::{NewRun, RecordEntry, Role, Store},
    worker::WorkerPool,
};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, Kind},
    group,
    identifiers::{Profile, padded_size},
    oprf::{Output, SessionSeed},
    session::{Answer, Asking, Blinded, Closed, Finish, Matching, Sent, claim_commitment},
    signing::SigningKey,
    snapshot::{LabelContext, LabelKey},
    statements::{
        Charge, Hex, Int, Legal, Line, Mode, Name, Persons, Query, Receiver, Request, SessionClass,
    },
};
use tallystick_tables::{LabelRecords, Mapping, MatchWriter, RowHit, Tally};
use tallystick_wire::Envelope;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use zeroize::Zeroizing;

use crate::{
    collections::catalogue,
    connect::{Connected, connect},
    error::{bug, from_status},
    input::{Chunk, ElementId, Plan, id_of},
    progress::Progress,
    snapshots::{self, CachedSnapshot, TagPlace, blocking},
};

/// What to ask, of whom, on which grounds.
#[derive(Debug)]
pub struct MatchOptions {
    /// The peer.
    pub peer: String,
    /// Overrides the address in its manifest.
    pub address: Option<String>,
    /// The collection.
    pub collection: Name,
    /// The own table.
    pub input: PathBuf,
    /// How it is read.
    pub mapping: Mapping,
    /// Where matches go; standard output when `None`.
    pub out: Option<PathBuf>,
    /// Whether an existing output may be replaced.
    pub force: bool,
    /// Whether rows go to standard output when there is no `out`.
    pub rows_to_stdout: bool,
    /// Grounds.
    pub grounds: Grounds,
    /// No progress.
    pub quiet: bool,
}

/// The grounds of a request, as a person states them. Case and persons enter the record as salted
/// commitments only.
#[derive(Debug, Default)]
pub struct Grounds {
    /// Class of the session.
    pub class: Option<SessionClass>,
    /// Purpose.
    pub purpose: Option<Line>,
    /// Legal basis.
    pub legal_basis: Option<Line>,
    /// Category of offence.
    pub offence_category: Option<Line>,
    /// Category of person.
    pub subject_category: Option<Line>,
    /// Reference of the impact assessment.
    pub dpia: Option<Line>,
    /// Handling code.
    pub handling_code: Option<Line>,
    /// Source code.
    pub source_code: Option<Line>,
    /// Case reference.
    pub case: Option<String>,
    /// Who runs it.
    pub runner: Option<String>,
    /// Who ordered it.
    pub orderer: Option<String>,
    /// Who approved it.
    pub approver: Option<String>,
}

/// What a run did.
#[derive(Debug)]
pub struct MatchReport {
    /// Session id.
    pub session: Hex<16>,
    /// The peer.
    pub peer: String,
    /// The collection.
    pub collection: Name,
    /// Its epoch.
    pub epoch: u64,
    /// Whether an interrupted session was taken up again.
    pub resumed: bool,
    /// What became of the own rows.
    pub tally: Tally,
    /// Distinct own elements.
    pub elements: u64,
    /// Elements sent, padding included.
    pub padded: u64,
    /// Tags of the peer's snapshot, padding included.
    pub their_elements: u64,
    /// Own elements that matched.
    pub matched: u64,
    /// Lines written.
    pub hits: u64,
    /// What the sender's closing charges.
    pub charged: Vec<Charge>,
    /// The closed record.
    pub record: PathBuf,
    /// Digest of the snapshot.
    pub snapshot: Hex<32>,
    /// Bytes sent on the TCP stream.
    pub sent: u64,
    /// Bytes received on the TCP stream.
    pub received: u64,
    /// Seconds of the session alone, from the request to the closing.
    pub session_seconds: f64,
    /// Seconds of all of it.
    pub total_seconds: f64,
    /// Name of the kernel.
    pub kernel: &'static str,
}

/// A hit, as small as can be: where its label lies and what opens it.
struct Hit {
    place: TagPlace,
    key: Option<LabelKey>,
}

/// Runs a match.
///
/// # Errors
/// A [`Failure`] with its exit code; nothing is written to the output then.
pub async fn run(home: &Home, options: MatchOptions) -> Outcome<MatchReport> {
    let started = Instant::now();
    let store = home.store().await?;
    let result = Runner {
        home,
        store: &store,
        options: &options,
        started,
    }
    .run()
    .await;
    store.close().await;
    result
}

struct Runner<'a> {
    home: &'a Home,
    store: &'a dyn Store,
    options: &'a MatchOptions,
    started: Instant,
}

impl Runner<'_> {
    async fn run(&self) -> Outcome<MatchReport> {
        let options = self.options;
        let plan = self.plan().await?;
        // Refuses an output that exists before anything is asked or charged.
        drop(self.writer(&plan, &[])?);
        let mut connected = connect(
            self.home,
            self.store,
            &options.peer,
            options.address.as_deref(),
        )
        .await?;
        let entry = catalogue(self.home, &mut connected)
            .await?
            .collections
            .into_iter();
        let entry = entry
            .into_iter()
            .find(|entry| entry.collection == options.collection);
        let entry = entry.ok_or_else(|| {
            Failure::new(
                Exit::Refused,
                "not-available",
                format!(
                    "{} offers no collection {}",
                    options.peer, options.collection
                ),
                "see `tally collections --peer` for what it offers this agency",
            )
        })?;
        for type_name in plan.distinct.keys() {
            if !entry.keys.iter().any(|key| key.type_name == *type_name) {
                return Err(Failure::new(
                    Exit::Refused,
                    "type-not-offered",
                    format!(
                        "{} has no identifiers of type {type_name}",
                        options.collection
                    ),
                    "drop that --key, or ask the peer to publish the type",
                ));
            }
        }
        let bar = Progress::new("snapshot", 0, "bytes", options.quiet);
        let cache = self.home.snapshot_cache_dir();
        let snapshot = snapshots::get(&cache, &mut connected, entry.snapshot, &bar).await?;
        bar.finish();
        self.session(plan, connected, snapshot).await
    }

    async fn plan(&self) -> Outcome<Arc<Plan>> {
        let size = std::fs::metadata(&self.options.input).map_or(0, |meta| meta.len());
        let bar = Progress::new("reading", size, "bytes", self.options.quiet);
        let (input, mapping) = (self.options.input.clone(), self.options.mapping.clone());
        let plan = blocking(move || Plan::make(&input, &mapping, &bar)).await?;
        if plan.tally.rejected_total() > 0 {
            tracing::warn!(
                rejected = plan.tally.rejected_total(),
                "some keys were rejected and are not asked; the report counts them by reason"
            );
        }
        Ok(Arc::new(plan))
    }

    fn writer(&self, plan: &Plan, their_columns: &[String]) -> Outcome<MatchWriter> {
        let header = plan.source.header();
        let writer = match &self.options.out {
            Some(path) => MatchWriter::to_file(path, self.options.force, header, their_columns),
            None => {
                let stream: Box<dyn std::io::Write + Send> = match self.options.rows_to_stdout {
                    true => Box::new(std::io::stdout()),
                    false => Box::new(std::io::sink()),
                };
                MatchWriter::to_stream(stream, "standard output", header, their_columns)
            }
        };
        Ok(writer.map_err(AgencyError::from)?)
    }

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

    /// Takes up the open run of the same input, or starts one.
    async fn asking(
        &self,
        plan: &Plan,
        peer: &tallystick_agency::store::Peer,
    ) -> Outcome<(Asking, Arc<SessionSeed>, bool)> {
        let key = Arc::new(SigningKey::from(self.home.signing_key()?));
        let digest = self.input_digest(plan);
        let collection = self.options.collection.as_str();
        if let Some(known) = self
            .store
            .find_open_run(&peer.name, collection, &digest)
            .await?
        {
            if let Some(pair) = self.take_up(&known.sealed_seed, Arc::clone(&key))? {
                return Ok((pair.0, pair.1, true));
            }
            // Expired or unreadable: what it was charged stays charged; a new session starts.
            self.store
                .finish_run(&known.session, clock::now_ms())
                .await?;
        }
        let session = Hex(rand::random::<[u8; 16]>());
        let seed = Zeroizing::new(rand::random::<[u8; 32]>());
        let request = self.request(plan, peer, session).await?;
        let asking = Asking::new(group::reference(), request, key, SessionSeed::new(*seed))
            .map_err(AgencyError::from)?;
        let secret = Zeroizing::new([&seed[..], asking.frame().bytes()].concat());
        let run = NewRun {
            session: session.0,
            peer: peer.name.clone(),
            collection: collection.to_owned(),
            input_digest: digest,
            sealed_seed: self.home.keys().seal_blob(RUN_SEED, &secret)?,
            state: "asked".to_owned(),
            created_ms: clock::now_ms(),
        };
        self.store.save_run(&run).await?;
        Ok((asking, Arc::new(SessionSeed::new(*seed)), false))
    }

    fn take_up(
        &self,
        sealed: &[u8],
        key: Arc<SigningKey>,
    ) -> Outcome<Option<(Asking, Arc<SessionSeed>)>> {
        let secret = self.home.keys().open_blob(RUN_SEED, sealed)?;
        let Some((seed, frame)) = secret.split_first_chunk::<32>() else {
            return Ok(None);
        };
        let frame = Frame::from_bytes(frame.to_vec()).map_err(AgencyError::from)?;
        let asking = Asking::resume(group::reference(), frame, key, SessionSeed::new(*seed))
            .map_err(AgencyError::from)?;
        let now = int(clock::now_ms())?;
        match asking.request().expires_ms > now {
            true => Ok(Some((asking, Arc::new(SessionSeed::new(*seed))))),
            false => Ok(None),
        }
    }

    async fn request(
        &self,
        plan: &Plan,
        peer: &tallystick_agency::store::Peer,
        session: Hex<16>,
    ) -> Outcome<Request> {
        let me = own_reference(self.home)?;
        let config = self.home.config();
        let now = clock::now_ms();
        let lifetime = i64::from(config.policy.request_lifetime_seconds) * 1000;
        let rule = "exact".parse::<Line>().map_err(|_| bug("a rule's name"))?;
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
            protocol: tallystick_protocol::statements::PROTOCOL.to_owned(),
            suite: tallystick_protocol::statements::SUITE.to_owned(),
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

    async fn session(
        &self,
        plan: Arc<Plan>,
        mut connected: Connected,
        snapshot: CachedSnapshot,
    ) -> Outcome<MatchReport> {
        let started = Instant::now();
        let (asking, seed, resumed) = self.asking(&plan, &connected.peer).await?;
        let session = asking.request().session;
        let request = asking.frame().clone();
        let (out, outbound) = mpsc::channel::<Envelope>(4);
        let send_first = out.send(request.clone().into()).await;
        send_first.map_err(|_| bug("the stream ended before it began"))?;
        let call = connected
            .client
            .session(ReceiverStream::new(outbound))
            .await;
        let mut inbound = call
            .map_err(|status| from_status(&status, ""))?
            .into_inner();
        let answer = next_frame(&mut inbound, "nothing was charged").await?;
        let granted_at = clock::now_ms();
        let records = self.home.records_dir();
        let matching = match asking.answer(answer.clone()).map_err(AgencyError::from)? {
            Answer::Granted(matching) => *matching,
            Answer::Refused { refusal, frame, .. } => {
                self.store.finish_run(&session.0, clock::now_ms()).await?;
                let mut record = RecordFile::create(&records, session)?;
                record.append(&request)?;
                record.append(&frame)?;
                self.keep(record, &session).await?;
                let detail = refusal.detail.map_or(String::new(), |d| format!(": {d}"));
                return Err(Failure::new(
                    Exit::Refused,
                    refusal.code.name(),
                    format!(
                        "{} refused ({}){detail}",
                        self.options.peer,
                        refusal.code.name()
                    ),
                    format!("nothing was charged; the refusal is in records/{session}.tally"),
                ));
            }
        };
        if !resumed {
            self.check_clock(&matching, granted_at)?;
        }
        let snapshot = self.agree(&matching, snapshot, &mut connected).await?;
        let their_columns = snapshot.verified().preamble().label_columns.clone();
        let their_columns: Vec<String> = their_columns.iter().map(ToString::to_string).collect();
        let writer = self.writer(&plan, &their_columns)?;
        let mut record = RecordFile::create(&records, session)?;
        record.append(&request)?;
        record.append(&answer)?;

        let epoch = matching.agreement().grant().epoch.get();
        let context = Arc::new(LabelContext::new(&self.options.collection, epoch));
        let snapshot = Arc::new(snapshot);
        let total = matching.agreement().request().elements();
        let bar = Progress::new("matching", total, "elements", self.options.quiet);
        let threads = self.home.config().limits.worker_threads as usize;
        let mut pipeline = Pipeline {
            pool: WorkerPool::new(threads)?,
            snapshot: Arc::clone(&snapshot),
            context: Arc::clone(&context),
            record,
            out,
            hits: HashMap::new(),
            done: 0,
            bar: bar.clone(),
            times: None,
        };
        let matching = pipeline
            .run(matching, &plan, seed, &session, &mut inbound)
            .await?;
        bar.finish();
        let Pipeline {
            record,
            out,
            hits,
            times,
            ..
        } = pipeline;
        let matched = hits.len() as u64;
        let written = {
            let (plan, snapshot) = (Arc::clone(&plan), Arc::clone(&snapshot));
            let labels = LabelOpener {
                snapshot,
                context,
                columns: their_columns.len(),
            };
            blocking(move || write_hits(&plan, &labels, &hits, writer)).await?
        };

        let closing = matching
            .close(
                Finish::Complete { matches: matched },
                times,
                int(clock::now_ms())?.get(),
            )
            .map_err(AgencyError::from)?;
        let sent = out.send(closing.frame().clone().into()).await;
        sent.map_err(|_| {
            Failure::new(
                Exit::Network,
                "network",
                "the peer went away before the session was closed",
                "run the same command again to close it; nothing is charged twice",
            )
        })?;
        let frame = next_frame(&mut inbound, "the session was charged").await?;
        let closed = closing.settle(frame).map_err(AgencyError::from)?;
        let session_seconds = started.elapsed().as_secs_f64();
        let Closed {
            receiver,
            sender,
            charged,
            ..
        } = closed;
        let mut record = record;
        record.append(&receiver)?;
        record.append(&sender)?;
        let record = self.keep(record, &session).await?;
        let written = written.finish().map_err(AgencyError::from)?;
        self.store.finish_run(&session.0, clock::now_ms()).await?;
        let preamble = snapshot.verified().preamble();
        Ok(MatchReport {
            session,
            peer: self.options.peer.clone(),
            collection: self.options.collection.clone(),
            epoch,
            resumed,
            tally: plan.tally.clone(),
            elements: plan.elements(),
            padded: total,
            their_elements: preamble.elements.get(),
            matched,
            hits: written.lines,
            charged,
            record,
            snapshot: snapshot.verified().digest(),
            sent: connected.traffic.sent(),
            received: connected.traffic.received(),
            session_seconds,
            total_seconds: self.started.elapsed().as_secs_f64(),
            kernel: group::reference().name(),
        })
    }

    /// The clock rule of the wire (PROTOCOL 3.2).
    fn check_clock(&self, matching: &Matching, now: i64) -> Outcome<()> {
        let policy = &self.home.config().policy;
        let granted = i64::try_from(matching.agreement().grant().granted_ms.get());
        let skew = (now - granted.unwrap_or(i64::MAX)).saturating_abs();
        if skew > i64::from(policy.clock_skew_refuse_seconds) * 1000 {
            return Err(Failure::new(
                Exit::Refused,
                "clock-skew",
                format!("the peer's clock differs by {} s", skew / 1000),
                "set the clocks (NTP) on both sides; nothing was charged",
            ));
        }
        if skew > i64::from(policy.clock_skew_warn_seconds) * 1000 {
            tracing::warn!(milliseconds = skew, "the peer's clock differs from ours");
        }
        Ok(())
    }

    /// The snapshot of the grant, which must agree with the grant in all that both state.
    async fn agree(
        &self,
        matching: &Matching,
        snapshot: CachedSnapshot,
        connected: &mut Connected,
    ) -> Outcome<CachedSnapshot> {
        let grant = matching.agreement().grant();
        let snapshot = match snapshot.verified().digest() == grant.snapshot.digest {
            true => snapshot,
            // Published anew between catalogue and grant.
            false => {
                let bar = Progress::new("snapshot", 0, "bytes", self.options.quiet);
                let cache = self.home.snapshot_cache_dir();
                snapshots::get(&cache, connected, grant.snapshot.digest, &bar).await?
            }
        };
        let preamble = snapshot.verified().preamble();
        let agree = |field, same: bool| match same {
            true => Ok(()),
            false => Err(AgencyError::from(Error::Mismatch {
                what: "snapshot",
                field,
            })),
        };
        agree("collection", preamble.collection == grant.collection)?;
        agree("epoch", preamble.epoch == grant.epoch)?;
        agree("mode", preamble.mode == grant.mode)?;
        agree("profile", preamble.profile == grant.profile)?;
        agree("tag_bytes", preamble.tag_bytes == grant.snapshot.tag_bytes)?;
        agree("elements", preamble.elements == grant.snapshot.elements)?;
        agree(
            "keys",
            grant.keys.iter().all(|key| preamble.keys.contains(key)),
        )?;
        Ok(snapshot)
    }

    /// Closes a record and notes it.
    async fn keep(&self, record: RecordFile, session: &Hex<16>) -> Outcome<PathBuf> {
        let closed = record.close()?;
        let entry = RecordEntry {
            session: session.0,
            role: Role::Receiver,
            peer: self.options.peer.clone(),
            path: format!("records/{session}.tally"),
            digest: closed.digest,
            closed_ms: clock::now_ms(),
        };
        self.store.add_record(&entry).await?;
        Ok(closed.path)
    }
}

/// Name under which a run's seed is sealed.
const RUN_SEED: &str = "run-seed";

async fn next_frame(inbound: &mut Streaming<Envelope>, charged: &str) -> Outcome<Frame> {
    match inbound
        .message()
        .await
        .map_err(|status| from_status(&status, charged))?
    {
        Some(envelope) => Ok(Frame::try_from(envelope).map_err(AgencyError::from)?),
        None => Err(Failure::new(
            Exit::Network,
            "network",
            format!("the peer ended the session early ({charged})"),
            "run the same command again to go on where it stopped",
        )),
    }
}

/// Chunks on their way out and back.
struct Pipeline {
    pool: WorkerPool,
    snapshot: Arc<CachedSnapshot>,
    context: Arc<LabelContext>,
    record: RecordFile,
    out: mpsc::Sender<Envelope>,
    hits: HashMap<ElementId, Hit>,
    done: u64,
    bar: Progress,
    times: Option<(u64, u64)>,
}

type Ids = Vec<Option<ElementId>>;
type Blinding = JoinHandle<Outcome<(Blinded, Ids)>>;
type Finding = JoinHandle<Outcome<(usize, Vec<(ElementId, Hit)>)>>;

/// Waits for the oldest of some tasks; for ever if there is none.
async fn first<T>(tasks: &mut VecDeque<JoinHandle<Outcome<T>>>) -> Outcome<T> {
    match tasks.front_mut() {
        None => std::future::pending().await,
        Some(task) => task.await.unwrap_or_else(|e| Err(bug(e.to_string()))),
    }
}

impl Pipeline {
    /// Runs all chunks; gives the state to be closed.
    async fn run(
        &mut self,
        mut matching: Matching,
        plan: &Arc<Plan>,
        seed: Arc<SessionSeed>,
        session: &Hex<16>,
        inbound: &mut Streaming<Envelope>,
    ) -> Outcome<Matching> {
        let limits = &matching.agreement().grant().limits;
        let window = usize::try_from(limits.window_chunks.get()).unwrap_or(1);
        let chunk_elements = usize::try_from(limits.chunk_elements.get()).unwrap_or(1);
        let mut chunks = produce(plan, seed, *session, chunk_elements);
        let ahead = self.pool.threads().max(1);
        let mut blinding: VecDeque<Blinding> = VecDeque::new();
        let mut waiting: VecDeque<(Sent, Ids, Frame)> = VecDeque::new();
        let mut finding: VecDeque<Finding> = VecDeque::new();
        let mut produced_all = false;
        loop {
            if produced_all && blinding.is_empty() && waiting.is_empty() && finding.is_empty() {
                return Ok(matching);
            }
            tokio::select! {
                biased;
                found = first(&mut finding) => {
                    finding.pop_front();
                    let (count, hits) = found?;
                    self.done += count as u64;
                    self.bar.set(self.done);
                    self.hits.extend(hits);
                }
                frame = next_frame(inbound, "what was sent is charged"),
                    if !waiting.is_empty() && finding.len() < ahead + 1 =>
                {
                    let frame = frame?;
                    let answered;
                    (matching, answered) = receive(matching, &frame)?;
                    let Some((sent, ids, question)) = waiting.pop_front() else {
                        return Err(bug("an answer without its question"));
                    };
                    self.record.append(&question)?;
                    self.record.append(&frame)?;
                    let now = int(clock::now_ms())?.get();
                    self.times = Some((self.times.map_or(now, |(start, _)| start), now));
                    finding.push_back(self.find(sent, answered, ids));
                }
                blinded = first(&mut blinding), if waiting.len() < window => {
                    blinding.pop_front();
                    let (blinded, ids) = blinded?;
                    if self.times.is_none() {
                        let now = int(clock::now_ms())?.get();
                        self.times = Some((now, now));
                    }
                    let (frame, sent);
                    (matching, frame, sent) = matching.send(blinded).map_err(AgencyError::from)?;
                    // A send that fails means that the peer has ended the call: its status, which
                    // comes next, says why.
                    let _ = self.out.send(frame.clone().into()).await;
                    waiting.push_back((sent, ids, frame));
                }
                chunk = chunks.recv(), if !produced_all && blinding.len() < ahead => {
                    match chunk {
                        Some(Ok(chunk)) => blinding.push_back(self.blind(&matching, chunk)?),
                        Some(Err(failure)) => return Err(failure),
                        None => produced_all = true,
                    }
                }
            }
        }
    }

    fn blind(&self, matching: &Matching, chunk: Chunk) -> Outcome<Blinding> {
        let blinder = matching
            .blinder(&chunk.type_name)
            .map_err(AgencyError::from)?;
        let pool = self.pool.clone();
        Ok(tokio::spawn(async move {
            let Chunk {
                first_index,
                elements,
                ids,
                ..
            } = chunk;
            let blinded = pool.run(move || blinder.blind(first_index, elements)).await;
            let blinded = blinded
                .map_err(AgencyError::from)?
                .map_err(AgencyError::from)?;
            Ok((blinded, ids))
        }))
    }

    /// Verifies the proof, finalizes, looks the tags up.
    fn find(
        &self,
        sent: Sent,
        answered: tallystick_protocol::session::Answered,
        ids: Ids,
    ) -> Finding {
        let (pool, snapshot) = (self.pool.clone(), Arc::clone(&self.snapshot));
        let context = Arc::clone(&self.context);
        tokio::spawn(async move {
            let work = move || -> Outcome<(usize, Vec<(ElementId, Hit)>)> {
                let outputs = sent.finalize(answered).map_err(AgencyError::from)?;
                let preamble = snapshot.verified().preamble();
                let tag_len = preamble.tag_len();
                let tags: Vec<&[u8]> = outputs.iter().map(|output| output.tag(tag_len)).collect();
                let places = snapshot.find_all(&tags)?;
                let with_labels = preamble.sealed_len() > 0;
                let key = |output: &Output| match with_labels {
                    true => LabelKey::derive(output, &context).map(Some),
                    false => Ok(None),
                };
                let mut hits = Vec::new();
                for ((output, place), id) in outputs.iter().zip(places).zip(&ids) {
                    // Padding cannot match but by a collision of tags; it is nobody's hit.
                    if let (Some(place), Some(id)) = (place, id) {
                        let key = key(output).map_err(AgencyError::from)?;
                        hits.push((*id, Hit { place, key }));
                    }
                }
                Ok((ids.len(), hits))
            };
            pool.run(work).await.map_err(AgencyError::from)?
        })
    }
}

fn receive(
    matching: Matching,
    frame: &Frame,
) -> Outcome<(Matching, tallystick_protocol::session::Answered)> {
    if frame.kind() != Kind::EvaluatedChunk {
        let error = Error::Order {
            got: frame.kind().name(),
            expected: "an evaluated chunk",
        };
        return Err(AgencyError::from(error).into());
    }
    Ok(matching.receive(frame).map_err(AgencyError::from)?)
}

/// Reads the table on a thread of its own, two chunks ahead at most.
fn produce(
    plan: &Arc<Plan>,
    seed: Arc<SessionSeed>,
    session: Hex<16>,
    chunk_elements: usize,
) -> mpsc::Receiver<Outcome<Chunk>> {
    let (give, take) = mpsc::channel(2);
    let plan = Arc::clone(plan);
    tokio::task::spawn_blocking(move || {
        let gone = || Failure::new(Exit::Interrupted, "stopped", "stopped", "");
        let sent = plan.send(&session, &seed, chunk_elements, |chunk| {
            give.blocking_send(Ok(chunk)).map_err(|_| gone())
        });
        if let Err(failure) = sent {
            // Fails only when the run is over for another reason.
            let _ = give.blocking_send(Err(failure));
        }
    });
    take
}

/// Opens labels where they lie.
struct LabelOpener {
    snapshot: Arc<CachedSnapshot>,
    context: Arc<LabelContext>,
    columns: usize,
}

impl LabelOpener {
    fn open(&self, hit: &Hit) -> Outcome<Option<LabelRecords>> {
        let Some(key) = &hit.key else { return Ok(None) };
        let (tag, sealed) = self.snapshot.entry(hit.place)?;
        let label = key
            .open(&sealed, &self.context, &tag)
            .map_err(AgencyError::from)?;
        let records = LabelRecords::decode(&label, self.columns).map_err(AgencyError::from)?;
        Ok(Some(records))
    }
}

/// The third pass: writes the rows whose elements matched, with the labels that opened.
fn write_hits(
    plan: &Plan,
    labels: &LabelOpener,
    hits: &HashMap<ElementId, Hit>,
    mut writer: MatchWriter,
) -> Outcome<MatchWriter> {
    let mut tally = Tally::default();
    let mut rows = plan.source.rows().map_err(AgencyError::from)?;
    while let Some(row) = rows.next_row().map_err(AgencyError::from)? {
        let keys = plan.extractor.keys(&row, &mut tally);
        let mut found = Vec::new();
        for key in &keys {
            if let Some(hit) = hits.get(&id_of(&key.normalised.element)) {
                found.push((key, labels.open(hit)?));
            }
        }
        if found.is_empty() {
            continue;
        }
        let row_hits: Vec<RowHit<'_>> = found
            .iter()
            .map(|(key, records)| RowHit {
                ty: key.ty,
                rule: key.rule,
                key_text: &key.normalised.key_text,
                records: records.as_ref().map_or(&[], LabelRecords::records),
            })
            .collect();
        writer
            .write_row(&row, &row_hits)
            .map_err(AgencyError::from)?;
    }
    let digest = rows.finish().map_err(AgencyError::from)?;
    plan.source
        .verify_same(&plan.digest, &digest)
        .map_err(AgencyError::from)?;
    Ok(writer)
}
