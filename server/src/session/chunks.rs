//! A granted session: chunks are charged, evaluated, answered, until the receiver closes.
//!
//! Chunks are accepted and handed to the committer in order; while their binding waits for its
//! transaction the next are read. Each is evaluated once it is bound, and answered in order. Both frames
//! stand in the record before an answer leaves; that they are on the disk is seen to a little later, for
//! many at once: what a crash takes is computed again, and is the same to the byte (`stored`).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tallystick_agency::{
    AgencyError, Result, clock,
    collections::EpochKeys,
    peers::int,
    records::{Place, RecordFile},
    store::{Answer, Bound, SessionStatus},
};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, Kind},
    session::{Accepted, Asked, ChargeReceipt, Closed, Evaluation, Serving},
    statements::{Grant, Name, Status},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    End, Link, blocking, entry, epoch_over,
    stored::{Rebuilt, charges},
};
use crate::{
    committer::{self, Binding},
    connections::PeerIdentity,
    metrics::{Event, Held, Stage},
    node::Node,
};

/// How often a running session looks whether it may go on.
const TICK: Duration = Duration::from_secs(1);
/// Answers are brought to the disk when they have this many elements together, or when the first of
/// them is this old: so much is computed again after a crash of the machine.
const UNSETTLED_ELEMENTS: u64 = 8192;
const UNSETTLED: Duration = Duration::from_secs(1);

/// The largest chunk of a shift that is bound before those of other sessions.
const MOST_URGENT: u32 = 4096;

/// A chunk that is being bound, or under evaluation.
struct InFlight {
    blinded: Arc<Frame>,
    index: u32,
    elements: u32,
    type_name: Name,
    /// Ends with the connection, so that nothing is evaluated for nobody.
    work: AbortOnDropHandle<Result<Evaluation>>,
    _counted: Held,
}

/// Answers that stand in the record, and may have left, and of which the store does not know.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    pub(super) answers: Vec<(u32, Answer)>,
    elements: u64,
    since: Option<Instant>,
}

impl Unsettled {
    pub(super) fn push(&mut self, index: u32, place: Place, elements: u32) {
        let answer = Answer {
            offset: place.offset,
            len: place.length,
        };
        self.answers.push((index, answer));
        self.elements += u64::from(elements);
        self.since.get_or_insert_with(Instant::now);
    }

    /// When they are to be settled at the latest.
    fn due(&self) -> Option<Instant> {
        Some(self.since? + UNSETTLED)
    }

    fn is_due(&self) -> bool {
        self.elements >= UNSETTLED_ELEMENTS || self.due().is_some_and(|due| due <= Instant::now())
    }
}

/// A granted session.
pub(super) struct Run {
    pub(super) node: Arc<Node>,
    pub(super) identity: PeerIdentity,
    pub(super) serving: Serving,
    pub(super) record: RecordFile,
    pub(super) keys: Arc<EpochKeys>,
    /// For each answered chunk: digest of the question, place of the answer.
    pub(super) answered: HashMap<[u8; 32], Place>,
    pub(super) unsettled: Unsettled,
    /// Cancelled when the node is told to stop.
    pub(super) draining: CancellationToken,
}

impl Run {
    /// Takes a session up again from its record.
    pub(super) async fn resume(
        node: &Arc<Node>,
        identity: PeerIdentity,
        asked: Asked,
        draining: CancellationToken,
    ) -> Result<(Self, Frame), End> {
        let session = asked.request().session;
        let collection = asked.request().collection.clone();
        let rebuilt = Rebuilt::new(node, asked).await?;
        let offered = node.offered(&identity.agency, collection.as_str()).await?;
        let epoch = rebuilt.serving.agreement().grant().epoch.get();
        let Some(offered) = offered.filter(|offered| offered.epoch == epoch) else {
            return Err(epoch_over().into());
        };
        let keys = node.keys(&offered)?;
        // What the receiver has of it must be there before it goes on.
        let (rebuilt, unanswerable) = rebuilt.answer_lost(node, Some(&keys)).await?;
        if let Some(why) = unanswerable {
            return Err(why.into());
        }
        node.metrics.session(Event::Resumed);
        let chunks = rebuilt.answered.len();
        tracing::info!(peer = identity.agency, session = %session, chunks, "resumed");
        let mut run = Self {
            node: Arc::clone(node),
            identity,
            serving: rebuilt.serving,
            record: rebuilt.record,
            keys,
            answered: rebuilt.answered,
            unsettled: rebuilt.unsettled,
            draining,
        };
        run.settle().await?;
        Ok((run, rebuilt.grant))
    }

    /// Takes chunks and gives answers until the receiver closes or the session may not go on. It may
    /// be dropped at any point: what counts is on disk before it leaves.
    pub(super) async fn serve(self, link: &mut Link) -> Result<(), End> {
        let watch = Watch {
            node: Arc::clone(&self.node),
            spki: self.identity.spki,
            grant: self.serving.agreement().grant().clone(),
        };
        tokio::select! {
            biased;
            // Beside the work, so that a peer that takes nothing cannot put it off.
            why = watch.over() => Err(why.into()),
            end = self.chunks(link) => end,
        }
    }

    async fn chunks(mut self, link: &mut Link) -> Result<(), End> {
        let window = self.serving.agreement().grant().limits.window_chunks.get() as usize;
        let mut in_flight: VecDeque<InFlight> = VecDeque::new();
        let mut closing: Option<Frame> = None;
        let started = Instant::now();
        loop {
            if let Some(closing) = closing.take_if(|_| in_flight.is_empty()) {
                return self.close(closing, link, started).await;
            }
            let wants = closing.is_none() && in_flight.len() < window;
            let due = self.unsettled.due();
            // Whoever waits for an answer is silent without fault, and so is a desk to which nobody
            // comes: a peer that is dead shows by the pings of HTTP/2.
            let shift = self.serving.agreement().request().is_shift();
            let idle = in_flight.is_empty() && closing.is_none();
            let may_be_silent = shift || !in_flight.is_empty();
            tokio::select! {
                biased;
                evaluation = first(&mut in_flight) => {
                    let evaluation = evaluation?;
                    let Some(done) = in_flight.pop_front() else { continue };
                    let (run, frame) = self.answer(done, evaluation).await?;
                    self = run;
                    let sending = Instant::now();
                    link.send(frame).await?;
                    self.node.metrics.stage(Stage::Send, sending);
                    if self.unsettled.is_due() {
                        self.settle().await?;
                    }
                }
                () = until(due) => self.settle().await?,
                // Nobody waits here for hours until somebody comes.
                () = self.draining.cancelled(), if shift && idle => {
                    let stopping = "the node is shutting down; the shift can be resumed".to_owned();
                    return Err(AgencyError::Network(stopping).into());
                }
                frame = async {
                    match may_be_silent {
                        true => link.next_meanwhile().await,
                        false => link.next().await,
                    }
                }, if wants => {
                    let frame = frame?;
                    match frame.kind() {
                        Kind::BlindedChunk => {
                            if let Some(answer) = self.known(&frame)? {
                                link.send(answer).await?;
                            } else {
                                let (run, chunk) = self.take(frame)?;
                                self = run;
                                in_flight.push_back(chunk);
                            }
                        }
                        Kind::ReceiverClosing => closing = Some(frame),
                        other => {
                            let expected = "a blinded chunk or a closing";
                            return Err(Error::Order { got: other.name(), expected }.into());
                        }
                    }
                }
            }
        }
    }

    /// The stored answer, if this chunk was answered before. The same index with other bytes is
    /// refused: an index is bound to its bytes.
    fn known(&mut self, frame: &Frame) -> Result<Option<Frame>, End> {
        let digest = frame.digest();
        match self.answered.get(&digest) {
            Some(place) => Ok(Some(blocking(|| self.record.frame_at(*place))?)),
            None => Ok(None),
        }
    }

    /// Checks a chunk, hands it in to be bound and charged, and has it evaluated when it is.
    fn take(mut self, frame: Frame) -> Result<(Self, InFlight), End> {
        let accepted: Accepted;
        (self.serving, accepted) = self.serving.receive(&frame)?;
        let agreement = self.serving.agreement();
        let elements = u32::try_from(accepted.elements())
            .map_err(|_| AgencyError::Bug("elements of a chunk".to_owned()))?;
        let frame = Arc::new(frame);
        let fresh: [u8; 32] = rand::random();
        let asked = Instant::now();
        let outcome = self.node.committer.bind(Binding {
            session: agreement.request().session,
            peer: self.identity.agency.clone(),
            collection: agreement.request().collection.clone(),
            epoch: agreement.grant().epoch.get(),
            index: accepted.index(),
            type_name: accepted.type_name().clone(),
            elements,
            digest: accepted.digest().0,
            frame: Arc::clone(&frame),
            fresh,
            // What a traveller waits for; not a list that was declared as a shift.
            urgent: agreement.request().is_shift() && elements <= MOST_URGENT,
        });
        let (index, type_name) = (accepted.index(), accepted.type_name().clone());
        let (node, keys) = (Arc::clone(&self.node), Arc::clone(&self.keys));
        let counted = node.metrics.chunk();
        let work = AbortOnDropHandle::new(tokio::spawn(async move {
            let bound = outcome.await.map_err(|_| committer::gone())??;
            let fresh = match bound {
                Bound::New { .. } => {
                    node.metrics.stage(Stage::Charge, asked);
                    node.metrics
                        .charged(accepted.type_name().as_str(), elements);
                    fresh
                }
                other => again(other)?,
            };
            evaluate(&node, accepted, &keys, fresh).await
        }));
        Ok((
            self,
            InFlight {
                blinded: frame,
                index,
                elements,
                type_name,
                work,
                _counted: counted,
            },
        ))
    }

    /// Signs an evaluation and writes question and answer into the record before it leaves.
    async fn answer(
        mut self,
        done: InFlight,
        evaluation: Evaluation,
    ) -> Result<(Self, Frame), End> {
        let recording = Instant::now();
        let frame;
        (self.serving, frame) = self.serving.answer(evaluation)?;
        let record = &mut self.record;
        let place = blocking(|| {
            record.append(&done.blinded)?;
            record.append(&frame)
        })?;
        self.node.metrics.stage(Stage::Record, recording);
        self.unsettled.push(done.index, place, done.elements);
        self.answered.insert(done.blinded.digest(), place);
        let request = self.serving.agreement().request();
        let last = request.queries.last();
        if request.is_shift() && last.is_some_and(|last| last.type_name == done.type_name) {
            self.node.metrics.flight();
        }
        let session = request.session;
        tracing::debug!(session = %session, chunk = done.index, kind = %done.type_name, "answered");
        Ok((self, frame))
    }

    /// Brings what was answered to the disk, and then has the store forget its questions.
    async fn settle(&mut self) -> Result<()> {
        let unsettled = std::mem::take(&mut self.unsettled);
        if unsettled.answers.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        blocking(|| self.record.sync())?;
        let session = self.serving.agreement().request().session;
        let store = &self.node.store;
        store
            .chunks_answered(&session.0, &unsettled.answers)
            .await?;
        self.node.metrics.stage(Stage::Settle, started);
        Ok(())
    }

    /// Checks the receiver's closing, signs ours, closes the record, tells the peer.
    async fn close(mut self, closing: Frame, link: &mut Link, started: Instant) -> Result<(), End> {
        let session = self.serving.agreement().request().session;
        let elements = self.serving.agreement().request().elements();
        let charged = charges(&self.node, &self.serving, &self.identity.agency).await?;
        let now = clock::now_ms();
        let Closed {
            receiver,
            sender,
            ended,
            ..
        } = self.serving.close(closing, charged, int(now)?.get())?;
        let status = match ended {
            Status::Complete => SessionStatus::Closed,
            Status::Aborted => SessionStatus::Aborted,
        };
        let record = blocking(|| {
            self.record.append(&receiver)?;
            self.record.append(&sender)?;
            self.record.close()
        })?;
        let entry = entry(&session, &self.identity.agency, record.digest, now);
        self.node
            .store
            .close_session(&session.0, status, Some(&entry), now)
            .await?;
        self.node.metrics.session(Event::of(ended));
        tracing::info!(
            peer = self.identity.agency, session = %session, elements,
            milliseconds = started.elapsed().as_millis(), status = status.as_str(), "closed"
        );
        link.send(sender).await
    }
}

/// What a session is held to for as long as it runs.
struct Watch {
    node: Arc<Node>,
    spki: [u8; 32],
    grant: Grant,
}

impl Watch {
    /// Looks again and again; ready with the reason when the session may not go on. A fault of our
    /// own, perhaps of the moment, is a reason too: the session can be resumed.
    async fn over(&self) -> AgencyError {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            if let Err(why) = self.may_go_on().await {
                return why;
            }
        }
    }

    /// Whether the peer is still on the list, the epoch still in force, the grant still alive.
    async fn may_go_on(&self) -> Result<()> {
        let now = clock::now_ms();
        if !self.node.pins.is_live(&self.spki, now) {
            let message = "this agency is no longer on the allow-list".to_owned();
            return Err(AgencyError::Refused {
                code: "revoked",
                message,
            });
        }
        let grant = &self.grant;
        if int(now)? > grant.expires_ms {
            let message = "the grant has expired; start a new session".to_owned();
            return Err(AgencyError::Refused {
                code: "expired",
                message,
            });
        }
        let known = self
            .node
            .store
            .collection(grant.collection.as_str())
            .await?;
        match known {
            Some(known) if !known.removed && known.epoch == grant.epoch.get() => Ok(()),
            _ => Err(epoch_over()),
        }
    }
}

/// Waits for the oldest evaluation; for ever if there is none.
async fn first(in_flight: &mut VecDeque<InFlight>) -> Result<Evaluation> {
    match in_flight.front_mut() {
        None => std::future::pending().await,
        Some(chunk) => match (&mut chunk.work).await {
            Ok(evaluated) => evaluated,
            Err(join) => Err(AgencyError::Bug(join.to_string())),
        },
    }
}

/// Waits until then; for ever if there is no such time.
async fn until(then: Option<Instant>) {
    match then {
        None => std::future::pending().await,
        Some(then) => tokio::time::sleep_until(then.into()).await,
    }
}

/// With what a chunk that was bound before is evaluated; or why it is not.
fn again(bound: Bound) -> Result<[u8; 32]> {
    let refused = |code, message: &str| AgencyError::Refused {
        code,
        message: message.to_owned(),
    };
    Err(match bound {
        // An earlier version kept nothing: then no answer has left, either, of which we do not know.
        Bound::SameAgain { fresh, .. } => return Ok(fresh.unwrap_or_else(rand::random)),
        Bound::Conflict => Error::Mismatch {
            what: "blinded chunk",
            field: "its index is bound to other bytes",
        }
        .into(),
        Bound::OverSessionGrant { .. } => refused("over-grant", "more than was granted"),
        Bound::OverBudget { .. } => refused(
            "quota-exceeded",
            "the budget of this collection and epoch is spent",
        ),
        Bound::NotOpen => refused("not-open", "the session is over"),
        // Who hands in waits for the first that is refused, and reports that.
        Bound::OutOfOrder | Bound::New { .. } => {
            AgencyError::Bug("a chunk was bound out of order".to_owned())
        }
    })
}

/// Evaluates a chunk that is bound, off the async threads.
pub(super) async fn evaluate(
    node: &Node,
    accepted: Accepted,
    keys: &EpochKeys,
    fresh: [u8; 32],
) -> Result<Evaluation> {
    let session = accepted.session();
    let receipt = ChargeReceipt::committed(session, accepted.index(), accepted.digest());
    let key = keys
        .get(accepted.type_name())
        .cloned()
        .ok_or_else(|| AgencyError::Bug("a granted type without a key".to_owned()))?;
    let asked = Instant::now();
    // Not the node, which owns the pool.
    let metrics = Arc::clone(&node.metrics);
    let evaluated = node.pool.run(move || {
        metrics.stage(Stage::Queue, asked);
        let started = Instant::now();
        let evaluation = accepted.evaluate(&receipt, &key, &fresh);
        metrics.stage(Stage::Evaluate, started);
        evaluation
    });
    Ok(evaluated.await??)
}
