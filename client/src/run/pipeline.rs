//! Chunks on their way out and back.
//!
//! ```text
//! read → blind → sign, send ┄ peer ┄ receive → verify, finalize → look up → keep
//!        pool                                  pool               pool
//! ```
//!
//! Each arrow is a bounded queue: chunks are jobs of their own on the pool, and only signing,
//! sending and receiving have an order. Tags are looked up many chunks at a time, since looking
//! up few of them in a large snapshot reads as much of it as looking up many.

use std::{collections::VecDeque, sync::Arc};

use tallystick_agency::{
    AgencyError, clock,
    exit::{Exit, Failure, Outcome},
    home::Home,
    peers::int,
    records::RecordFile,
    worker::WorkerPool,
};
use tallystick_protocol::{
    frame::Frame,
    oprf::{Output, SessionSeed},
    session::{Answered, Blinded, Matching, Sent},
    statements::Hex,
};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    error::bug,
    input::{Chunk, Hit, Hits, KeyId, Plan},
    progress::Progress,
    session::{Flights, receive},
    snapshots::CachedSnapshot,
};

/// Outputs that are looked up at a time: some megabytes.
const LOOK_UP: usize = 1 << 17;

/// Blinds, sends, verifies, looks up.
pub(super) struct Pipeline {
    pool: WorkerPool,
    snapshot: Arc<CachedSnapshot>,
    /// `None` when the flights come from a record.
    record: Option<RecordFile>,
    found: Found,
    done: u64,
    bar: Progress,
    times: Option<(u64, u64)>,
}

/// A session all of whose proofs were verified.
pub(super) struct Done {
    pub(super) matching: Matching,
    pub(super) hits: Hits,
    pub(super) record: Option<RecordFile>,
    /// When the first chunk left and the last answer came.
    pub(super) times: Option<(u64, u64)>,
}

type Ids = Vec<Option<KeyId>>;
/// Outputs of one chunk, and of whom they are.
type Finalized = (Vec<Output>, Ids);
type Blinding = JoinHandle<Outcome<(Blinded, Ids)>>;
type Finding = JoinHandle<Outcome<Finalized>>;

/// What comes after the proofs: outputs that wait to be looked up, or are looked up by one job at a
/// time, which holds the hits.
struct Found {
    waiting: Vec<Finalized>,
    /// Outputs in `waiting`.
    count: usize,
    /// `None` while a job has them.
    hits: Option<Hits>,
    job: VecDeque<JoinHandle<Outcome<Hits>>>,
}

impl Found {
    fn add(&mut self, finalized: Finalized) {
        self.count += finalized.0.len();
        self.waiting.push(finalized);
    }

    /// Whether more may come: as much waits at most as a job takes.
    fn has_room(&self) -> bool {
        self.count < LOOK_UP
    }

    /// Begins a job if there is enough for one, or nothing more will come.
    fn begin(&mut self, last: bool, pool: &WorkerPool, snapshot: &Arc<CachedSnapshot>) {
        if self.count == 0 || !(last || self.count >= LOOK_UP) {
            return;
        }
        let Some(mut hits) = self.hits.take() else {
            return;
        };
        let outputs = std::mem::take(&mut self.waiting);
        self.count = 0;
        let (pool, snapshot) = (pool.clone(), Arc::clone(snapshot));
        self.job.push_back(tokio::spawn(async move {
            let work = move || look_up(&snapshot, &outputs, &mut hits).map(|()| hits);
            pool.run(work).await.map_err(AgencyError::from)?
        }));
    }
}

/// Finds outputs among the tags of a snapshot, and keeps what is needed of the hits.
fn look_up(snapshot: &CachedSnapshot, outputs: &[Finalized], hits: &mut Hits) -> Outcome<()> {
    let preamble = snapshot.verified().preamble();
    let (tag_len, with_labels) = (preamble.tag_len(), preamble.sealed_len() > 0);
    let all = || {
        outputs
            .iter()
            .flat_map(|(outputs, ids)| outputs.iter().zip(ids))
    };
    let tags: Vec<&[u8]> = all().map(|(output, _)| output.tag(tag_len)).collect();
    let places = snapshot.find_all(&tags)?;
    for ((output, id), place) in all().zip(places) {
        // Padding cannot match but by a collision of tags; it is nobody's hit.
        if let (Some(place), Some(id)) = (place, id) {
            let material = match with_labels {
                true => output.label_key_material(),
                false => &[],
            };
            let id = *id;
            hits.add(Hit {
                id,
                place,
                material,
            })?;
        }
    }
    Ok(())
}

/// Waits for the oldest of some tasks; for ever if there is none.
async fn first<T>(tasks: &mut VecDeque<JoinHandle<Outcome<T>>>) -> Outcome<T> {
    match tasks.front_mut() {
        None => std::future::pending().await,
        Some(task) => task.await.unwrap_or_else(|e| Err(bug(e.to_string()))),
    }
}

impl Pipeline {
    pub(super) fn new(
        home: &Home,
        snapshot: &Arc<CachedSnapshot>,
        record: Option<RecordFile>,
        bar: &Progress,
        hits: Hits,
    ) -> Outcome<Self> {
        Ok(Self {
            pool: WorkerPool::new(home.config().limits.worker_threads as usize)?,
            snapshot: Arc::clone(snapshot),
            record,
            found: Found {
                waiting: Vec::new(),
                count: 0,
                hits: Some(hits),
                job: VecDeque::new(),
            },
            done: 0,
            bar: bar.clone(),
            times: None,
        })
    }

    /// Runs all chunks; gives the state to be closed.
    pub(super) async fn run(
        mut self,
        mut matching: Matching,
        plan: &Arc<Plan>,
        seed: Arc<SessionSeed>,
        flights: &mut Flights,
    ) -> Outcome<Done> {
        let session = matching.agreement().request().session;
        let limits = &matching.agreement().grant().limits;
        let window = usize::try_from(limits.window_chunks.get()).unwrap_or(1);
        let chunk_elements = usize::try_from(limits.chunk_elements.get()).unwrap_or(1);
        let mut chunks = produce(plan, seed, session, chunk_elements);
        let ahead = self.pool.threads().max(1);
        let mut blinding: VecDeque<Blinding> = VecDeque::new();
        let mut waiting: VecDeque<(Sent, Ids, Frame)> = VecDeque::new();
        let mut finding: VecDeque<Finding> = VecDeque::new();
        let mut produced_all = false;
        loop {
            let all =
                produced_all && blinding.is_empty() && waiting.is_empty() && finding.is_empty();
            self.found.begin(all, &self.pool, &self.snapshot);
            if all && let Some(hits) = self.found.hits.take() {
                let Self { record, times, .. } = self;
                return Ok(Done {
                    matching,
                    hits,
                    record,
                    times,
                });
            }
            tokio::select! {
                biased;
                hits = first(&mut self.found.job) => {
                    self.found.job.pop_front();
                    self.found.hits = Some(hits?);
                }
                found = first(&mut finding), if self.found.has_room() => {
                    finding.pop_front();
                    let found = found?;
                    self.done += found.0.len() as u64;
                    self.bar.set(self.done);
                    self.found.add(found);
                }
                frame = flights.next("what was sent is charged"),
                    if !waiting.is_empty() && finding.len() < ahead + 1 =>
                {
                    let frame = frame?;
                    let answered;
                    (matching, answered) = receive(matching, &frame)?;
                    let Some((sent, ids, question)) = waiting.pop_front() else {
                        return Err(bug("an answer without its question"));
                    };
                    if let Some(record) = &mut self.record {
                        record.append(&question)?;
                        record.append(&frame)?;
                    }
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
                    flights.send(frame.clone()).await;
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

    /// Verifies the proof, finalizes.
    fn find(&self, sent: Sent, answered: Answered, ids: Ids) -> Finding {
        let pool = self.pool.clone();
        tokio::spawn(async move {
            let outputs = pool.run(move || sent.finalize(answered)).await;
            let outputs = outputs
                .map_err(AgencyError::from)?
                .map_err(AgencyError::from)?;
            Ok((outputs, ids))
        })
    }
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
