//! One session of a shift: flights out, answers in, looked up, closed.
//!
//! ```text
//! jobs → pack, note → blind → sign, send ┄ peer ┄ receive, record → verify, look up → count, answer
//!                     pool                                          pool              pool
//! ```
//!
//! The steps that have an order are taken by whoever owns the [`Shift`]: [`Shift::event`] waits for
//! the next one and may be dropped while it waits, [`Shift::handle`] takes it. Labels are opened at
//! once, after the matches were counted and apart from the session: nothing that the peer sees waits
//! for a label.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Instant,
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
    frame::Frame,
    group,
    oprf::SessionSeed,
    session::{Answered, Asking, Blinded, Closed, Finish, Matching, Sent},
    statements::{Charge, Hex, Name},
};
use tallystick_wire::Envelope;
use tokio::task::{JoinHandle, JoinSet};

use super::{
    CollectionFacts,
    find::{Landed, LandedChunk, NotFound},
    flight::{Flight, Job, Known, Owner, Sizes, choose},
    journal::Journal,
};
use crate::{
    connect::Connected,
    error::bug,
    session::{Asker, ClosingTimes, Flights, Held, LabelOpener, Stage, receive, remove_journal},
    snapshots::CachedSnapshot,
};

/// What was charged should nothing come back.
const CHARGED: &str = "what was sent is charged";
/// A session is renewed so long before its grant ends, or a quarter of its life.
const RENEWED_BEFORE_MS: u64 = 30_000;
/// Flights under way, at most, whatever the grant allows.
const MOST_FLIGHTS: usize = 8;

/// Why a session does not go on.
#[derive(Debug)]
pub(super) enum Fault {
    /// The peer, or the network, has said so.
    Word(Failure),
    /// The peer broke the protocol.
    Broke(Failure),
    /// Something at home failed.
    Own(Failure),
}

impl Fault {
    /// A failure of a check of what came, or of something at home.
    pub(super) fn of(failure: Failure) -> Self {
        match failure.exit {
            Exit::PeerFault => Self::Broke(failure),
            _ => Self::Own(failure),
        }
    }
}

/// A chunk that has left, or is about to.
pub(super) struct Airborne {
    pub(super) question: Frame,
    pub(super) sent: Sent,
    pub(super) type_name: Name,
    pub(super) owners: Vec<Option<Owner>>,
    pub(super) answered: Option<Answered>,
}

/// A flight that waits for answers.
pub(super) struct InAir {
    pub(super) number: u64,
    pub(super) chunks: Vec<Airborne>,
    pub(super) jobs: Vec<Job>,
    pub(super) since: Instant,
}

/// A flight that is being blinded.
struct Blinding {
    number: u64,
    types: Vec<(Name, Vec<Option<Owner>>)>,
    jobs: Vec<Job>,
    work: JoinHandle<Outcome<Vec<Blinded>>>,
}

/// What happened.
pub(super) enum Event {
    Blinded(Outcome<Vec<Blinded>>),
    Heard(Outcome<Envelope>),
    Found(Result<(u64, u64), NotFound>),
}

/// What a shift is made of, new or taken up.
pub(super) struct Parts {
    pub(super) home: Arc<Home>,
    pub(super) pool: WorkerPool,
    pub(super) matching: Matching,
    pub(super) request: Frame,
    pub(super) seed: Arc<SessionSeed>,
    pub(super) held: Held,
    pub(super) snapshot: Arc<CachedSnapshot>,
    pub(super) known: Arc<Known>,
    pub(super) facts: CollectionFacts,
    pub(super) record: RecordFile,
    pub(super) journal: Journal,
}

/// A session of a shift.
pub(super) struct Shift {
    pub(super) session: Hex<16>,
    pub(super) facts: Arc<CollectionFacts>,
    pub(super) known: Arc<Known>,
    pub(super) sizes: Sizes,
    pub(super) snapshot: Arc<CachedSnapshot>,
    /// From then on another session is begun, before the grant of this one ends, in milliseconds since
    /// 1970.
    pub(super) renew_ms: u64,
    home: Arc<Home>,
    pool: WorkerPool,
    request: Frame,
    grant: Hex<32>,
    seed: Arc<SessionSeed>,
    /// `None` while there is no connection.
    flights: Option<Flights>,
    /// `None` after a fault.
    matching: Option<Matching>,
    /// Flights that may be under way.
    window: usize,
    record: RecordFile,
    journal: Journal,
    labels: LabelOpener,
    next_flight: u64,
    /// Elements of each type in flights so far.
    packed: BTreeMap<Name, u64>,
    blinding: VecDeque<Blinding>,
    air: VecDeque<InAir>,
    finding: JoinSet<Result<(u64, u64), NotFound>>,
    /// Jobs of a flight that failed.
    failed: Vec<Job>,
    times: Option<(u64, u64)>,
    closing: Option<ClosingTimes>,
    _held: Held,
}

/// A session that both sides have closed.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) record: PathBuf,
    pub(super) charged: Vec<Charge>,
}

impl Shift {
    /// A session without a connection, as its record has it.
    pub(super) fn new(parts: Parts) -> Outcome<Self> {
        let agreement = parts.matching.agreement();
        let (request, grant) = (agreement.request(), agreement.grant());
        let most = grant.limits.chunk_elements.get();
        let sizes = Sizes::of(request).up_to(|_| most);
        let types = sizes.types().len();
        let window = usize::try_from(grant.limits.window_chunks.get()).unwrap_or(1);
        if sizes.levels() == 0 || window < types {
            return Err(Failure::new(
                Exit::Refused,
                "chunks-too-small",
                "the peer takes no chunks as large as a flight of this desk",
                "ask the peer for larger chunk_elements and window_chunks in its node.toml",
            ));
        }
        let ends = grant.expires_ms.get();
        let lives = ends.saturating_sub(grant.granted_ms.get());
        let renew_ms = ends.saturating_sub(RENEWED_BEFORE_MS.min(lives / 4));
        let spent = parts.matching.progress().spent();
        let packed: BTreeMap<Name, u64> = spent.map(|(name, n)| (name.clone(), n)).collect();
        Ok(Self {
            session: request.session,
            facts: Arc::new(parts.facts),
            known: parts.known,
            renew_ms,
            home: parts.home,
            pool: parts.pool,
            request: parts.request,
            grant: agreement.grant_digest(),
            seed: parts.seed,
            flights: None,
            window: (window / types).clamp(1, MOST_FLIGHTS),
            record: parts.record,
            journal: parts.journal,
            labels: LabelOpener::new(Arc::clone(&parts.snapshot)),
            snapshot: parts.snapshot,
            next_flight: 0,
            packed,
            blinding: VecDeque::new(),
            air: VecDeque::new(),
            finding: JoinSet::new(),
            failed: Vec::new(),
            times: None,
            closing: None,
            _held: parts.held,
            sizes,
            matching: Some(parts.matching),
        })
    }

    /// Sets what a session that is taken up had come to.
    pub(super) fn go_on(&mut self, air: Vec<InAir>, next: u64, closing: Option<ClosingTimes>) {
        self.next_flight = next;
        self.closing = closing;
        for flight in air {
            match flight.chunks.iter().all(|chunk| chunk.answered.is_some()) {
                true => self.find(flight),
                false => self.air.push_back(flight),
            }
        }
    }

    /// The session speaks over this stream from now on, which has just been granted.
    pub(super) fn attach(&mut self, flights: Flights) {
        self.flights = Some(flights);
    }

    /// Opens the session again over a new connection, and sends what was not answered.
    pub(super) async fn reattach(
        &mut self,
        asker: Asker<'_>,
        connected: &mut Connected,
    ) -> Outcome<()> {
        let key = Arc::new(self.home.signing_key()?.into());
        let seed = SessionSeed::new(*self.seed.as_bytes());
        let asking = Asking::resume(group::best(), self.request.clone(), key, seed);
        let asking = asking.map_err(AgencyError::from)?;
        let granted = asker.ask(connected, asking, Some(self.grant), true).await?;
        let mut flights = granted.flights;
        let chunks = self.air.iter().flat_map(|flight| &flight.chunks);
        for chunk in chunks.filter(|chunk| chunk.answered.is_none()) {
            flights.send(chunk.question.clone()).await;
        }
        self.flights = Some(flights);
        Ok(())
    }

    /// Whether another flight may begin.
    pub(super) fn has_room(&self) -> bool {
        self.closing.is_none() && self.blinding.len() + self.air.len() < self.window
    }

    /// Whether nothing is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.blinding.is_empty() && self.air.is_empty() && self.finding.is_empty()
    }

    /// Whether its closing was signed: then nothing can be asked any more.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// When the oldest flight under way left.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.air.front().map(|flight| flight.since)
    }

    /// Elements of a type that may still be asked.
    pub(super) fn left(&self, name: &Name) -> u64 {
        let matching = self.matching.as_ref();
        let queries = matching.map(|matching| &matching.agreement().request().queries);
        let query = queries.and_then(|queries| queries.iter().find(|q| q.type_name == *name));
        let packed = self.packed.get(name).copied().unwrap_or(0);
        query.map_or(0, |query| query.elements.get().saturating_sub(packed))
    }

    /// The same for all types.
    pub(super) fn elements_left(&self) -> BTreeMap<String, u64> {
        let types = self.sizes.types().iter();
        types
            .map(|ty| (ty.name.to_string(), self.left(&ty.name)))
            .collect()
    }

    /// Sends a flight of the next jobs off; without any only if `empty`. Gives how many small flights it
    /// counts as, 0 if none left; `None` if the session has nothing left to ask.
    pub(super) fn fly(&mut self, waiting: &mut VecDeque<Job>, empty: bool) -> Outcome<Option<u64>> {
        let chosen = choose(waiting, &self.sizes, |name| self.left(name));
        let Some((level, jobs)) = chosen else {
            return Ok(None);
        };
        if jobs.is_empty() && !empty {
            return Ok(Some(0));
        }
        let matching = self.matching.as_ref().ok_or_else(|| bug("no session"))?;
        let (session, seed) = (&self.session, self.seed.as_ref());
        let sent = |name: &Name| self.packed.get(name).copied().unwrap_or(0);
        let flight = Flight::pack(&self.sizes, level, jobs, (session, seed), sent)?;
        self.journal.asked(self.next_flight, &flight.chunks)?;
        let (mut types, mut work) = (Vec::new(), Vec::new());
        let mut small = 1;
        for (chunk, ty) in flight.chunks.into_iter().zip(self.sizes.types()) {
            let blinder = matching.blinder(&chunk.type_name);
            let blinder = blinder.map_err(AgencyError::from)?;
            let size = chunk.owners.len() as u64;
            small = size / ty.sizes.first().copied().unwrap_or(1).max(1);
            *self.packed.entry(chunk.type_name.clone()).or_default() += size;
            work.push((blinder, chunk.first_index, chunk.elements));
            types.push((chunk.type_name, chunk.owners));
        }
        let pool = self.pool.clone();
        let work = tokio::spawn(async move {
            let blind = move || -> Result<Vec<Blinded>, AgencyError> {
                let each = work.into_iter();
                let each = each.map(|(blinder, first, elements)| blinder.blind(first, elements));
                Ok(each.collect::<Result<_, _>>()?)
            };
            Ok(pool.run(blind).await.map_err(AgencyError::from)??)
        });
        self.blinding.push_back(Blinding {
            number: self.next_flight,
            types,
            jobs: flight.jobs,
            work,
        });
        self.next_flight += 1;
        Ok(Some(small))
    }

    /// Waits for the next thing that happens. Nothing is lost if it is dropped before.
    pub(super) async fn event(&mut self) -> Event {
        tokio::select! {
            biased;
            Some(found) = self.finding.join_next(), if !self.finding.is_empty() => {
                Event::Found(found.unwrap_or_else(|e| Err(NotFound::of(bug(e.to_string())))))
            }
            frame = async {
                match &mut self.flights {
                    Some(flights) => flights.heard(CHARGED).await,
                    None => std::future::pending().await,
                }
            } => Event::Heard(frame),
            blinded = async {
                match self.blinding.front_mut() {
                    Some(flight) => (&mut flight.work).await,
                    None => std::future::pending().await,
                }
            } => Event::Blinded(blinded.unwrap_or_else(|e| Err(bug(e.to_string())))),
        }
    }

    /// Takes what happened.
    pub(super) async fn handle(&mut self, event: Event) -> Result<(), Fault> {
        match event {
            Event::Blinded(blinded) => self.depart(blinded).await.map_err(Fault::Own),
            Event::Heard(Ok(envelope)) => {
                let frame = Frame::try_from(envelope).map_err(AgencyError::from);
                let heard = frame.map_err(Failure::from).and_then(|f| self.hear(&f));
                heard.map_err(Fault::of)
            }
            Event::Heard(Err(failure)) => {
                self.flights = None;
                Err(Fault::Word(failure))
            }
            Event::Found(Ok((flight, matches))) => {
                self.journal.found(flight, matches).map_err(Fault::Own)
            }
            Event::Found(Err(not)) => {
                self.failed.extend(not.jobs);
                Err(Fault::of(not.failure))
            }
        }
    }

    async fn depart(&mut self, blinded: Outcome<Vec<Blinded>>) -> Outcome<()> {
        let Some(flight) = self.blinding.pop_front() else {
            return Err(bug("a flight that nobody blinded"));
        };
        let blinded = match blinded {
            Ok(blinded) => blinded,
            Err(failure) => {
                self.failed.extend(flight.jobs);
                return Err(failure);
            }
        };
        let mut chunks = Vec::with_capacity(blinded.len());
        for (blinded, (type_name, owners)) in blinded.into_iter().zip(flight.types) {
            let matching = self.matching.take().ok_or_else(|| bug("no session"))?;
            let (matching, question, sent) = matching.send(blinded).map_err(AgencyError::from)?;
            self.matching = Some(matching);
            chunks.push(Airborne {
                question,
                sent,
                type_name,
                owners,
                answered: None,
            });
        }
        let now = int(clock::now_ms())?.get();
        self.times = Some((self.times.map_or(now, |(first, _)| first), now));
        if let Some(flights) = &mut self.flights {
            for chunk in &chunks {
                flights.send(chunk.question.clone()).await;
            }
        }
        self.air.push_back(InAir {
            number: flight.number,
            chunks,
            jobs: flight.jobs,
            since: Instant::now(),
        });
        Ok(())
    }

    /// Takes an answer: into the record, and if it is the last of its flight, to be looked up.
    fn hear(&mut self, frame: &Frame) -> Outcome<()> {
        let matching = self.matching.take().ok_or_else(|| bug("no session"))?;
        let (matching, answered) = receive(matching, frame)?;
        self.matching = Some(matching);
        let now = int(clock::now_ms())?.get();
        self.times = Some((self.times.map_or(now, |(first, _)| first), now));
        let flight = self.air.front_mut();
        let flight = flight.ok_or_else(|| bug("an answer without its question"))?;
        let mut open = flight.chunks.iter_mut();
        let chunk = open.find(|chunk| chunk.answered.is_none());
        let chunk = chunk.ok_or_else(|| bug("an answer without its question"))?;
        self.record.append(&chunk.question)?;
        self.record.append(frame)?;
        chunk.answered = Some(answered);
        let last = open.next().is_none();
        if last && let Some(flight) = self.air.pop_front() {
            self.find(flight);
        }
        Ok(())
    }

    fn find(&mut self, flight: InAir) {
        let chunks = flight.chunks.into_iter().filter_map(|chunk| {
            Some(LandedChunk {
                sent: chunk.sent,
                answered: chunk.answered?,
                type_name: chunk.type_name,
                owners: chunk.owners,
            })
        });
        let landed = Landed {
            number: flight.number,
            chunks: chunks.collect(),
            jobs: flight.jobs,
            snapshot: Arc::clone(&self.snapshot),
            labels: self.labels.clone(),
            facts: Arc::clone(&self.facts),
        };
        self.finding.spawn(landed.find(self.pool.clone()));
    }

    /// Once a second: forgets elements that are looked up.
    pub(super) fn tidy(&mut self) -> Outcome<()> {
        match self.journal.has_grown() {
            true => self.journal.compact(),
            false => Ok(()),
        }
    }

    /// Takes back the jobs that wait for answers, to ask them elsewhere. What is being looked up is
    /// waited for.
    pub(super) async fn take_jobs(&mut self) -> Vec<Job> {
        while let Some(found) = self.finding.join_next().await {
            if let Ok(Err(not)) = found {
                self.failed.extend(not.jobs);
            }
        }
        let mut jobs = std::mem::take(&mut self.failed);
        jobs.extend(self.air.drain(..).flat_map(|flight| flight.jobs));
        jobs.extend(self.blinding.drain(..).flat_map(|flight| flight.jobs));
        jobs
    }

    /// Waits until nothing is under way.
    pub(super) async fn drain(&mut self) -> Result<(), Fault> {
        while !self.is_quiet() {
            let event = self.event().await;
            self.handle(event).await?;
        }
        Ok(())
    }

    /// Closes a session that is quiet, on both sides.
    ///
    /// # Errors
    /// Whatever fails. If it is not the peer that broke the protocol, the session can be taken up again
    /// from what is stored, and be closed with the very same bytes.
    pub(super) async fn close(mut self, asker: Asker<'_>) -> Result<Settled, Fault> {
        let own = |failure: Failure| Fault::Own(failure);
        let times = match self.closing {
            Some(times) => times,
            None => {
                let now = int(clock::now_ms()).map_err(|e| own(e.into()))?;
                let times = ClosingTimes {
                    chunks: self.times,
                    closed: now.get(),
                };
                let grant = self.grant;
                let stage = Stage::Closing { grant, times };
                asker.note(&self.session, stage).await.map_err(own)?;
                times
            }
        };
        let matching = self.matching.take().ok_or_else(|| own(bug("no session")))?;
        let matches = self.journal.matches();
        let finish = Finish::Complete { matches };
        let closing = matching.close(finish, times.chunks, times.closed);
        let closing = closing.map_err(|e| own(AgencyError::from(e).into()))?;
        let flights = self.flights.as_mut();
        let flights = flights.ok_or_else(|| own(bug("a closing without a connection")))?;
        flights.send(closing.frame().clone()).await;
        let frame = flights.next("the shift was charged").await;
        let frame = frame.map_err(Fault::Word)?;
        let Closed {
            receiver,
            sender,
            charged,
            ..
        } = closing
            .settle(frame)
            .map_err(|e| Fault::of(AgencyError::from(e).into()))?;
        let record = self.keep(asker, &receiver, &sender).await.map_err(own)?;
        Ok(Settled { record, charged })
    }

    async fn keep(
        mut self,
        asker: Asker<'_>,
        receiver: &Frame,
        sender: &Frame,
    ) -> Outcome<PathBuf> {
        self.record.append(receiver)?;
        self.record.append(sender)?;
        let path = asker.keep(self.record, &self.session).await?;
        remove_journal(&self.home.records_dir(), &self.session)?;
        let now = clock::now_ms();
        asker.store.finish_run(&self.session.0, now).await?;
        Ok(path)
    }
}
