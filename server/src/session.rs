//! One session, from the sender's side: admit, grant, charge, evaluate, answer, close.
//!
//! What must survive a crash is written before anything leaves: the session before its grant, the
//! charge and the binding of a chunk before its evaluation, both frames of a chunk before its
//! answer, both closings before ours is sent. A receiver that lost its connection sends the same
//! bytes again and gets the same answers; nothing is charged twice.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tallystick_agency::{
    AgencyError, Result, clock,
    collections::EpochKeys,
    peers::int,
    records::{self, Place, RecordFile},
    store::{
        Admitted, Answer, Bound, ChunkBinding, Grant as StoredGrant, NewSession, RecordEntry, Role,
        SessionLimits, SessionStatus,
    },
    worker::WorkerPanic,
};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, FrameReader, Kind},
    session::{Accepted, Asked, ChargeReceipt, Closed, Evaluation, Serving},
    statements::{Charge, Hex, Int, RefusalCode, SenderReference, Status},
};
use tallystick_wire::Envelope;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::{listen::PeerIdentity, node::Node, policy, service::status};

/// How often a running session looks whether it may go on.
const TICK: Duration = Duration::from_secs(1);

type Out = mpsc::Sender<Result<Envelope, tonic::Status>>;

/// Runs a session to its end. Errors go to the peer as a status and to the log.
pub(crate) async fn run(
    node: Arc<Node>,
    identity: PeerIdentity,
    peer: SenderReference,
    inbound: Streaming<Envelope>,
    out: Out,
    draining: CancellationToken,
) {
    let mut link = Link {
        inbound,
        out,
        idle: idle(&node),
    };
    let peer_name = identity.agency.clone();
    match drive(&node, identity, peer, &mut link, &draining).await {
        Ok(()) => {}
        Err(End::Gone) => tracing::info!(peer = peer_name, "the peer went away; it may resume"),
        Err(End::Failed(error)) => {
            tracing::warn!(
                peer = peer_name,
                code = error.code(),
                "session ended: {error}"
            );
            // Fails only when the peer is gone as well.
            let _ = link.out.send(Err(status(&error))).await;
        }
    }
}

fn idle(node: &Node) -> Duration {
    Duration::from_secs(node.home.config().limits.idle_timeout_seconds.into())
}

/// Why a session stops before its closing.
enum End {
    /// The connection is gone. The session stays open.
    Gone,
    /// Something is wrong.
    Failed(AgencyError),
}

impl<E: Into<AgencyError>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

struct Link {
    inbound: Streaming<Envelope>,
    out: Out,
    idle: Duration,
}

impl Link {
    async fn send(&self, frame: Frame) -> Result<(), End> {
        self.out.send(Ok(frame.into())).await.map_err(|_| End::Gone)
    }

    /// The next frame. Cancel-safe: waiting on the stream takes nothing from it.
    async fn next(&mut self) -> Result<Frame, End> {
        match tokio::time::timeout(self.idle, self.inbound.next()).await {
            Ok(Some(Ok(envelope))) => Ok(Frame::try_from(envelope)?),
            Ok(Some(Err(_)) | None) => Err(End::Gone),
            Err(_) => {
                let text = format!("nothing came for {} s", self.idle.as_secs());
                Err(AgencyError::Network(text).into())
            }
        }
    }
}

async fn drive(
    node: &Arc<Node>,
    identity: PeerIdentity,
    peer: SenderReference,
    link: &mut Link,
    draining: &CancellationToken,
) -> Result<(), End> {
    let asked = Asked::open(link.next().await?, &peer, node.me.clone())?;
    let request = asked.request();
    let now = clock::now_ms();
    if request.receiver.tls_spki.0 != identity.spki {
        return Err(Error::Mismatch {
            what: "request",
            field: "tls_spki",
        }
        .into());
    }
    let session = request.session;
    let digest = asked.frame().digest();
    if let Some(known) = node.store.session(&session.0).await? {
        // The very same request again is somebody who lost the answer, not a second session.
        if known.peer != identity.agency || known.request_digest != digest {
            return refuse(node, asked, RefusalCode::Replayed, link, now).await;
        }
        return match known.status {
            SessionStatus::Open => {
                let (run, grant) = Run::resume(node, identity, asked).await?;
                link.send(grant).await?;
                run.chunks(link).await
            }
            SessionStatus::Closed => replay(node, &session, link).await,
            _ => refuse(node, asked, RefusalCode::Replayed, link, now).await,
        };
    }
    if draining.is_cancelled() {
        return refuse(node, asked, RefusalCode::Draining, link, now).await;
    }
    let terms = match policy::decide(node, &identity, request, now).await? {
        Ok(terms) => terms,
        Err(code) => return refuse(node, asked, code, link, now).await,
    };

    let grants = request.queries.iter().map(|query| StoredGrant {
        element_type: query.type_name.to_string(),
        granted: query.elements.get(),
        used: 0,
    });
    let record_path = format!("records/{session}.tally");
    let new = NewSession {
        session: session.0,
        peer: identity.agency.clone(),
        collection: request.collection.to_string(),
        epoch: terms.terms.epoch.get(),
        request_digest: digest,
        expires_ms: i64::try_from(request.expires_ms.get()).unwrap_or(i64::MAX),
        grants: grants.collect(),
        record_path,
    };
    let config = &node.home.config().limits;
    let limits = SessionLimits {
        max_total: config.max_sessions_total,
        max_per_peer: config.max_sessions_per_peer,
        active_since_ms: now - i64::from(config.idle_timeout_seconds) * 1000,
    };
    // The grant is on disk before the session is known: a crash between leaves a file that the next
    // attempt overwrites, never a session without its grant.
    let nonce = node.nonce(&session);
    let asked_frame = asked.frame().clone();
    let now_ms = int(now)?.get();
    let (serving, grant) = asked.grant(
        node.kernel,
        terms.terms,
        nonce,
        now_ms,
        Arc::clone(&node.key),
    )?;
    let record = blocking(|| {
        let mut record = RecordFile::create(&node.home.records_dir(), session)?;
        record.append(&asked_frame)?;
        record.append(&grant)?;
        record.sync()?;
        Ok(record)
    })?;
    match node.store.admit_session(&new, &limits, now).await? {
        Admitted::New => {}
        // Another connection with the same request came first, or there are too many.
        _ => {
            drop(record);
            let again = Asked::open(asked_frame, &peer, node.me.clone())?;
            return refuse(node, again, RefusalCode::Busy, link, now).await;
        }
    }
    tracing::info!(
        peer = identity.agency, session = %session, collection = new.collection,
        elements = serving.agreement().request().elements(), "granted"
    );
    let run = Run {
        node: Arc::clone(node),
        identity,
        serving,
        record,
        keys: terms.keys,
        answered: Vec::new(),
    };
    link.send(grant).await?;
    run.chunks(link).await
}

/// Refuses, keeps the record of it, tells the peer.
async fn refuse(
    node: &Node,
    asked: Asked,
    code: RefusalCode,
    link: &Link,
    now: i64,
) -> Result<(), End> {
    let session = asked.request().session;
    let peer = asked.request().receiver.agency.to_string();
    tracing::info!(peer, session = %session, code = code.name(), "refused");
    let detail = policy::detail(code).parse().ok();
    let (request, refusal) = asked.refuse(code, detail, int(now)?.get(), &node.key)?;
    // A replay must not overwrite the record of the session whose id it borrows, and neither may a
    // refusal for load: the same request may come again and be granted.
    let keeps = !matches!(
        code,
        RefusalCode::Replayed | RefusalCode::Busy | RefusalCode::Draining
    );
    if keeps {
        let closed = blocking(|| {
            let mut record = RecordFile::create(&node.home.records_dir(), session)?;
            record.append(&request)?;
            record.append(&refusal)?;
            record.close()
        })?;
        node.store
            .refuse_session(
                &NewSession {
                    session: session.0,
                    peer: peer.clone(),
                    collection: String::new(),
                    epoch: 0,
                    request_digest: request.digest(),
                    expires_ms: now,
                    grants: Vec::new(),
                    record_path: format!("records/{session}.tally"),
                },
                now,
            )
            .await?;
        add_record(node, &session, &peer, closed.digest, now).await?;
    }
    link.send(refusal).await
}

async fn add_record(
    node: &Node,
    session: &Hex<16>,
    peer: &str,
    digest: [u8; 32],
    now: i64,
) -> Result<()> {
    let entry = RecordEntry {
        session: session.0,
        role: Role::Sender,
        peer: peer.to_owned(),
        path: format!("records/{session}.tally"),
        digest,
        closed_ms: now,
    };
    node.store.add_record(&entry).await
}

/// Disk work of a moment, off the async threads' schedule.
fn blocking<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    tokio::task::block_in_place(work)
}

/// A chunk under evaluation.
struct InFlight {
    blinded: Frame,
    index: u32,
    type_name: String,
    work: JoinHandle<Result<Result<Evaluation, Error>, WorkerPanic>>,
}

/// A granted session.
struct Run {
    node: Arc<Node>,
    identity: PeerIdentity,
    serving: Serving,
    record: RecordFile,
    keys: Arc<EpochKeys>,
    /// For each answered chunk: digest of the question, place of the answer.
    answered: Vec<([u8; 32], Place)>,
}

impl Run {
    /// Takes a session up again from its record.
    async fn resume(
        node: &Arc<Node>,
        identity: PeerIdentity,
        asked: Asked,
    ) -> Result<(Self, Frame), End> {
        let session = asked.request().session;
        let collection = asked.request().collection.clone();
        let Rebuilt {
            record,
            grant,
            serving,
            answered,
        } = rebuild(node, asked, Trailing::CutOff)?;
        let offered = node.offered(&identity.agency, collection.as_str()).await?;
        let offered = offered
            .filter(|offered| offered.epoch == serving.agreement().grant().epoch.get())
            .ok_or_else(epoch_over)?;
        let keys = node.keys(&offered)?;
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

    /// Takes chunks and gives answers until the receiver closes.
    async fn chunks(mut self, link: &mut Link) -> Result<(), End> {
        let window = self.serving.agreement().grant().limits.window_chunks.get() as usize;
        let mut in_flight: VecDeque<InFlight> = VecDeque::new();
        let mut closing: Option<Frame> = None;
        let mut tick = tokio::time::interval(TICK);
        let started = Instant::now();
        loop {
            if let Some(closing) = closing.take_if(|_| in_flight.is_empty()) {
                return self.close(closing, link, started).await;
            }
            let wants = closing.is_none() && in_flight.len() < window;
            tokio::select! {
                biased;
                _ = tick.tick() => {
                    if let Err(why) = self.may_go_on().await {
                        return self.fail(in_flight, why).await;
                    }
                }
                evaluation = first(&mut in_flight) => {
                    match evaluation {
                        Ok(evaluation) => {
                            let Some(done) = in_flight.pop_front() else { continue };
                            let (run, frame) = self.answer(done, evaluation).await?;
                            self = run;
                            link.send(frame).await?;
                        }
                        Err(error) => return self.fail(in_flight, error).await,
                    }
                }
                frame = link.next(), if wants => {
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
                            let error = Error::Order { got: other.name(), expected };
                            return self.fail(in_flight, error.into()).await;
                        }
                    }
                }
            }
        }
    }

    /// Whether the peer is still on the list, the epoch still in force, the grant still alive.
    async fn may_go_on(&self) -> Result<()> {
        let now = clock::now_ms();
        if !self.node.pins.is_live(&self.identity.spki, now) {
            let message = "this agency is no longer on the allow-list".to_owned();
            return Err(AgencyError::Refused {
                code: "revoked",
                message,
            });
        }
        let grant = self.serving.agreement().grant();
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

    /// The stored answer, if this chunk was answered before. The same index with other bytes is
    /// refused: an index is bound to its bytes.
    fn known(&mut self, frame: &Frame) -> Result<Option<Frame>, End> {
        let digest = frame.digest();
        match self.answered.iter().find(|(known, _)| *known == digest) {
            Some((_, place)) => Ok(Some(blocking(|| self.record.frame_at(*place))?)),
            None => Ok(None),
        }
    }

    /// Checks a chunk, binds and charges it, starts its evaluation.
    async fn take(mut self, frame: Frame) -> Result<(Self, InFlight), End> {
        let session = self.serving.agreement().request().session;
        let accepted: Accepted;
        (self.serving, accepted) = match self.serving.receive(&frame) {
            Ok(pair) => pair,
            // The type-state is gone with the error; the record is closed from what is on disk.
            Err(error) => {
                abort(&self.node, &session).await?;
                return Err(error.into());
            }
        };
        let budget = {
            let collection = &self.serving.agreement().request().collection;
            let offered = self
                .node
                .offered(&self.identity.agency, collection.as_str())
                .await?;
            offered.ok_or_else(epoch_over)?.meta.peer_budget
        };
        let elements = u32::try_from(accepted.elements())
            .map_err(|_| AgencyError::Bug("elements of a chunk".to_owned()))?;
        let binding = ChunkBinding {
            session: &session.0,
            index: accepted.index(),
            element_type: accepted.type_name().as_str(),
            elements,
            digest: &accepted.digest().0,
        };
        let refused = |code, message: &str| {
            let message = message.to_owned();
            Err(AgencyError::Refused { code, message })
        };
        let outcome = match self
            .node
            .store
            .bind_chunk(&binding, budget, clock::now_ms())
            .await?
        {
            Bound::New { .. } | Bound::SameAgain { .. } => Ok(()),
            Bound::Conflict => Err(Error::Mismatch {
                what: "blinded chunk",
                field: "its index is bound to other bytes",
            }
            .into()),
            Bound::OverSessionGrant { .. } => refused("over-grant", "more than was granted"),
            Bound::OverBudget { .. } => refused(
                "quota-exceeded",
                "the budget of this collection and epoch is spent",
            ),
            Bound::NotOpen => refused("not-open", "the session is over"),
        };
        if let Err(error) = outcome {
            abort(&self.node, &session).await?;
            return Err(error.into());
        }
        let receipt = ChargeReceipt::committed(session, accepted.index(), accepted.digest());
        let key = self
            .keys
            .get(accepted.type_name())
            .cloned()
            .ok_or_else(|| AgencyError::Bug("a granted type without a key".to_owned()))?;
        let (index, type_name) = (accepted.index(), accepted.type_name().to_string());
        let pool = self.node.pool.clone();
        let work = tokio::spawn(async move {
            let fresh: [u8; 32] = rand::random();
            pool.run(move || accepted.evaluate(&receipt, &key, &fresh))
                .await
        });
        Ok((
            self,
            InFlight {
                blinded: frame,
                index,
                type_name,
                work,
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
        self.answered.push((done.blinded.digest(), place));
        tracing::debug!(session = %session, chunk = done.index, kind = done.type_name, "answered");
        Ok((self, frame))
    }

    /// Checks the receiver's closing, signs ours, closes the record, tells the peer.
    async fn close(mut self, closing: Frame, link: &Link, started: Instant) -> Result<(), End> {
        let session = self.serving.agreement().request().session;
        let elements = self.serving.agreement().request().elements();
        let charged = charges(&self.node, &self.serving, &self.identity.agency).await?;
        let now = clock::now_ms();
        let Closed {
            receiver,
            sender,
            ended,
            ..
        } = match self.serving.close(closing, charged, int(now)?.get()) {
            Ok(closed) => closed,
            Err(error) => {
                abort(&self.node, &session).await?;
                return Err(error.into());
            }
        };
        let status = match ended {
            Status::Complete => SessionStatus::Closed,
            Status::Aborted => SessionStatus::Aborted,
        };
        let record = blocking(|| {
            self.record.append(&receiver)?;
            self.record.append(&sender)?;
            self.record.close()
        })?;
        self.node
            .store
            .close_session(&session.0, status, now)
            .await?;
        add_record(
            &self.node,
            &session,
            &self.identity.agency,
            record.digest,
            now,
        )
        .await?;
        tracing::info!(
            peer = self.identity.agency, session = %session, elements,
            milliseconds = started.elapsed().as_millis(), status = status.as_str(), "closed"
        );
        link.send(sender).await
    }

    /// Ends a session that may not go on: closes its record, with the questions that were charged
    /// and not answered, and gives the reason back.
    async fn fail(mut self, in_flight: VecDeque<InFlight>, error: AgencyError) -> Result<(), End> {
        let session = self.serving.agreement().request().session;
        blocking(|| {
            in_flight
                .iter()
                .try_for_each(|c| self.record.append(&c.blinded).map(drop))
        })?;
        drop(self.record);
        abort(&self.node, &session).await?;
        Err(error.into())
    }
}

fn epoch_over() -> AgencyError {
    AgencyError::Refused {
        code: "epoch-over",
        message: "the collection has a new epoch or is gone; start a new session".to_owned(),
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

/// What the session cost, as its closing states it.
async fn charges(node: &Node, serving: &Serving, peer: &str) -> Result<Vec<Charge>> {
    let grant = serving.agreement().grant();
    let known = node.store.collection(grant.collection.as_str()).await?;
    let budget = match known {
        Some(known) => tallystick_agency::collections::Meta::of(&known)?.peer_budget,
        None => 0,
    };
    let mut charges = Vec::new();
    for (type_name, spent) in serving.progress().spent() {
        let (name, epoch) = (grant.collection.as_str(), grant.epoch.get());
        let charged = node
            .store
            .charged(peer, name, epoch, type_name.as_str())
            .await?;
        let after = budget.saturating_sub(charged);
        charges.push(Charge {
            type_name: type_name.clone(),
            elements: Int::new(spent)?,
            quota_before: Int::new(after + spent)?,
            quota_after: Int::new(after)?,
        });
    }
    Ok(charges)
}

/// Closes a session from what is on disk, with the sender's closing alone.
async fn abort(node: &Node, session: &Hex<16>) -> Result<()> {
    let Some(known) = node.store.session(&session.0).await? else {
        return Ok(());
    };
    if known.status != SessionStatus::Open {
        return Ok(());
    }
    let now = clock::now_ms();
    let dir = node.home.records_dir();
    if records::is_open(&dir, session) {
        let peer = node
            .store
            .peer(&known.peer)
            .await?
            .ok_or_else(|| broken(session))?;
        let peer = tallystick_agency::peers::reference(&peer)?;
        let request = blocking(|| {
            let (mut record, frames) = RecordFile::reopen(&dir, *session)?;
            let (_, place) = frames.first().ok_or_else(|| broken(session))?;
            record.frame_at(*place)
        })?;
        let asked = Asked::open(request, &peer, node.me.clone())?;
        let Rebuilt {
            mut record,
            serving,
            ..
        } = rebuild(node, asked, Trailing::Kept)?;
        let charged = charges(node, &serving, &known.peer).await?;
        let closing = serving.abort(charged, int(now)?.get())?;
        let closed = blocking(|| {
            record.append(&closing)?;
            record.close()
        })?;
        add_record(node, session, &known.peer, closed.digest, now).await?;
    }
    node.store
        .close_session(&session.0, SessionStatus::Aborted, now)
        .await?;
    tracing::info!(peer = known.peer, session = %session, "aborted");
    Ok(())
}

fn broken(session: &Hex<16>) -> AgencyError {
    AgencyError::SealBroken {
        what: format!("records/{session}.part"),
    }
}

/// What becomes of questions at the end of a record that have no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trailing {
    /// The receiver will send them again.
    CutOff,
    /// They were charged, and the session ends here.
    Kept,
}

/// A session as its record has it.
struct Rebuilt {
    record: RecordFile,
    grant: Frame,
    serving: Serving,
    answered: Vec<([u8; 32], Place)>,
}

/// Reads a record that was left open and brings the session to where it stood.
fn rebuild(node: &Node, asked: Asked, trailing: Trailing) -> Result<Rebuilt> {
    let session = asked.request().session;
    blocking(|| {
        let (mut record, frames) = RecordFile::reopen(&node.home.records_dir(), session)?;
        let [(_, request), (_, grant), chunks @ ..] = &frames[..] else {
            return Err(broken(&session));
        };
        if record.frame_at(*request)? != *asked.frame() {
            return Err(broken(&session));
        }
        let grant = record.frame_at(*grant)?;
        let nonce = node.nonce(&session);
        let mut serving = asked.resume(node.kernel, &grant, nonce, Arc::clone(&node.key))?;
        let mut answered = Vec::new();
        let mut chunks = chunks.iter().peekable();
        while let Some((kind, place)) = chunks.next() {
            let answer = chunks.next_if(|(kind, _)| *kind == Kind::EvaluatedChunk);
            let whole =
                *kind == Kind::BlindedChunk && (answer.is_some() || trailing == Trailing::Kept);
            if !whole {
                record.cut(place.offset)?;
                break;
            }
            let question = record.frame_at(*place)?;
            serving = serving.receive(&question)?.0;
            if let Some((_, place)) = answer {
                serving = serving.replay(&record.frame_at(*place)?)?;
                answered.push((question.digest(), *place));
            }
        }
        Ok(Rebuilt {
            record,
            grant,
            serving,
            answered,
        })
    })
}

/// Gives a receiver that lost the end of a closed session the same answers again: for each frame
/// that it sends as before, what followed it.
async fn replay(node: &Node, session: &Hex<16>, link: &mut Link) -> Result<(), End> {
    let path = records::closed_path(&node.home.records_dir(), session);
    let mut reader = blocking(|| {
        let file = std::fs::File::open(&path).map_err(|_| broken(session))?;
        Ok(FrameReader::new(std::io::BufReader::new(file)))
    })?;
    let mut next = || {
        blocking(|| match reader.next_frame() {
            Ok(Some(frame)) => Ok(frame),
            _ => Err(broken(session)),
        })
    };
    let (_header, _request) = (next()?, next()?);
    link.send(next()?).await?;
    loop {
        let asked = link.next().await?;
        if asked != next()? {
            let field = "a frame differs from the closed session";
            return Err(Error::Mismatch {
                what: "session",
                field,
            }
            .into());
        }
        let answer = next()?;
        let last = answer.kind() == Kind::SenderClosing;
        link.send(answer).await?;
        if last {
            return Ok(());
        }
    }
}

/// Closes sessions that nobody can resume any more: their grant has expired.
pub(crate) async fn sweep(node: &Node, now: i64) -> Result<()> {
    let quiet = now - i64::from(node.home.config().limits.idle_timeout_seconds) * 1000;
    for known in node.store.open_sessions().await? {
        // A session that is still being served ends itself at its next tick.
        if known.expires_ms < now && known.active_ms < quiet {
            abort(node, &Hex(known.session)).await?;
        }
    }
    Ok(())
}
