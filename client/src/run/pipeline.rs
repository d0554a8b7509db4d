//! Chunks on their way out and back.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tallystick_agency::{
    AgencyError, clock,
    exit::{Exit, Failure, Outcome},
    home::Home,
    peers::int,
    records::RecordFile,
    worker::WorkerPool,
};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, Kind},
    oprf::{Output, SessionSeed},
    session::{Answered, Blinded, Matching, Sent},
    snapshot::{LabelContext, LabelKey},
    statements::Hex,
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::flights::Flights;
use crate::{
    error::bug,
    input::{Chunk, ElementId, Plan},
    progress::Progress,
    snapshots::{CachedSnapshot, TagPlace},
};

/// A hit, as small as can be: where its label lies and what opens it.
pub(super) struct Hit {
    pub(super) place: TagPlace,
    pub(super) key: Option<LabelKey>,
}

/// The hits of a session, by element.
pub(super) type Hits = HashMap<ElementId, Hit>;

/// Blinds, sends, verifies, looks up.
pub(super) struct Pipeline {
    pool: WorkerPool,
    snapshot: Arc<CachedSnapshot>,
    context: Arc<LabelContext>,
    /// `None` when the flights come from a record.
    record: Option<RecordFile>,
    hits: Hits,
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
    pub(super) fn new(
        home: &Home,
        snapshot: &Arc<CachedSnapshot>,
        record: Option<RecordFile>,
        bar: &Progress,
        epoch: u64,
    ) -> Outcome<Self> {
        let collection = &snapshot.verified().preamble().collection;
        Ok(Self {
            pool: WorkerPool::new(home.config().limits.worker_threads as usize)?,
            snapshot: Arc::clone(snapshot),
            context: Arc::new(LabelContext::new(collection, epoch)),
            record,
            hits: Hits::new(),
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
            if produced_all && blinding.is_empty() && waiting.is_empty() && finding.is_empty() {
                let Self {
                    hits,
                    record,
                    times,
                    ..
                } = self;
                return Ok(Done {
                    matching,
                    hits,
                    record,
                    times,
                });
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

    /// Verifies the proof, finalizes, looks the tags up.
    fn find(&self, sent: Sent, answered: Answered, ids: Ids) -> Finding {
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

fn receive(matching: Matching, frame: &Frame) -> Outcome<(Matching, Answered)> {
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
