//! A granted session: chunks are charged, evaluated, answered, until the receiver closes.

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
    store::{Answer, Bound, ChunkBinding, SessionStatus},
    worker::WorkerPanic,
};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, Kind},
    session::{Accepted, Asked, ChargeReceipt, Closed, Evaluation, Serving},
    statements::{Grant, Status},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    End, Link, blocking, entry, epoch_over,
    stored::{Rebuilt, charges, rebuild},
};
use crate::{
    connections::PeerIdentity,
    metrics::{Event, Held, Stage},
    node::Node,
};

/// How often a running session looks whether it may go on.
const TICK: Duration = Duration::from_secs(1);

/// A chunk under evaluation.
struct InFlight {
    blinded: Frame,
    index: u32,
    type_name: String,
    /// Ends with the connection, so that nothing is evaluated for nobody.
    work: AbortOnDropHandle<Result<Result<Evaluation, Error>, WorkerPanic>>,
    _counted: Held,
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
}

impl Run {
    /// Takes a session up again from its record.
    pub(super) async fn resume(
        node: &Arc<Node>,
        identity: PeerIdentity,
        asked: Asked,
    ) -> Result<(Self, Frame), End> {
        let session = asked.request().session;
        let collection = asked.request().collection.clone();
        let bound = node.store.chunks(&session.0).await?;
        let Rebuilt {
            record,
            grant,
            serving,
            answered,
        } = rebuild(node, asked, &bound)?;
        let offered = node.offered(&identity.agency, collection.as_str()).await?;
        let epoch = serving.agreement().grant().epoch.get();
        let Some(offered) = offered.filter(|offered| offered.epoch == epoch) else {
            return Err(epoch_over().into());
        };
        let keys = node.keys(&offered)?;
        node.metrics.session(Event::Resumed);
        tracing::info!(peer = identity.agency, session = %session, chunks = answered.len(), "resumed");
        let node = Arc::clone(node);
        Ok((
            Self {
                node,
                identity,
                serving,
                record,
                keys,
                answered,
            },
            grant,
        ))
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
            let in_flight_none = in_flight.is_empty();
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
                }
                frame = async {
                    match in_flight_none {
                        true => link.next().await,
                        false => link.next_meanwhile().await,
                    }
                }, if wants => {
                    let frame = frame?;
                    match frame.kind() {
                        Kind::BlindedChunk => {
                            if let Some(answer) = self.known(&frame)? {
                                link.send(answer).await?;
                            } else {
                                let (run, chunk) = self.take(frame).await?;
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

    /// Checks a chunk, binds and charges it, starts its evaluation.
    async fn take(mut self, frame: Frame) -> Result<(Self, InFlight), End> {
        let session = self.serving.agreement().request().session;
        let accepted: Accepted;
        (self.serving, accepted) = self.serving.receive(&frame)?;
        let collection = &self.serving.agreement().request().collection;
        let offered = self
            .node
            .offered(&self.identity.agency, collection.as_str())
            .await?;
        let epoch = self.serving.agreement().grant().epoch.get();
        let offered = offered.filter(|offered| offered.epoch == epoch);
        let budget = offered.ok_or_else(epoch_over)?.meta.peer_budget;
        let elements = u32::try_from(accepted.elements())
            .map_err(|_| AgencyError::Bug("elements of a chunk".to_owned()))?;
        let binding = ChunkBinding {
            session: &session.0,
            index: accepted.index(),
            element_type: accepted.type_name().as_str(),
            elements,
            digest: &accepted.digest().0,
            question: frame.bytes(),
        };
        let refused = |code, message: &str| {
            let message = message.to_owned();
            Err(AgencyError::Refused { code, message })
        };
        let charging = Instant::now();
        match self
            .node
            .store
            .bind_chunk(&binding, budget, clock::now_ms())
            .await?
        {
            Bound::New { .. } => {
                let metrics = &self.node.metrics;
                metrics.stage(Stage::Charge, charging);
                metrics.charged(accepted.type_name().as_str(), elements);
            }
            Bound::SameAgain { .. } => {}
            Bound::Conflict => {
                return Err(Error::Mismatch {
                    what: "blinded chunk",
                    field: "its index is bound to other bytes",
                }
                .into());
            }
            Bound::OverSessionGrant { .. } => refused("over-grant", "more than was granted")?,
            Bound::OverBudget { .. } => refused(
                "quota-exceeded",
                "the budget of this collection and epoch is spent",
            )?,
            Bound::NotOpen => refused("not-open", "the session is over")?,
        }
        let receipt = ChargeReceipt::committed(session, accepted.index(), accepted.digest());
        let key = self
            .keys
            .get(accepted.type_name())
            .cloned()
            .ok_or_else(|| AgencyError::Bug("a granted type without a key".to_owned()))?;
        let (index, type_name) = (accepted.index(), accepted.type_name().to_string());
        let node = Arc::clone(&self.node);
        let counted = node.metrics.chunk();
        let work = AbortOnDropHandle::new(tokio::spawn(async move {
            let fresh: [u8; 32] = rand::random();
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
            evaluated.await
        }));
        Ok((
            self,
            InFlight {
                blinded: frame,
                index,
                type_name,
                work,
                _counted: counted,
            },
        ))
    }

    /// Signs an evaluation and writes question and answer down before it leaves.
    async fn answer(
        mut self,
        done: InFlight,
        evaluation: Evaluation,
    ) -> Result<(Self, Frame), End> {
        let session = self.serving.agreement().request().session;
        let recording = Instant::now();
        let frame;
        (self.serving, frame) = self.serving.answer(evaluation)?;
        let record = &mut self.record;
        let place = blocking(|| {
            record.append(&done.blinded)?;
            let place = record.append(&frame)?;
            record.sync()?;
            Ok(place)
        })?;
        let answer = Answer {
            offset: place.offset,
            len: place.length,
        };
        self.node
            .store
            .chunk_answered(&session.0, done.index, answer)
            .await?;
        self.node.metrics.stage(Stage::Record, recording);
        self.answered.insert(done.blinded.digest(), place);
        tracing::debug!(session = %session, chunk = done.index, kind = done.type_name, "answered");
        Ok((self, frame))
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
            Ok(Ok(evaluation)) => Ok(evaluation?),
            Ok(Err(panic)) => Err(panic.into()),
            Err(join) => Err(AgencyError::Bug(join.to_string())),
        },
    }
}
