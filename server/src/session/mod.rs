//! One session, from the sender's side: admit, grant, charge, evaluate, answer, close.
//!
//! What must survive a crash is on the disk before anything leaves: the session before its grant, the
//! charge and the binding of a chunk, with all that its answer is computed from, before its evaluation,
//! both closings before ours is sent. A receiver that lost its connection sends the same
//! bytes again and gets the same answers; nothing is charged twice.
//!
//! ```text
//! chunks   a granted session: charge, evaluate, answer, close
//! stored   a session from its record: resumed, replayed, aborted
//! sweep    sessions that nobody can resume, records that nobody was granted
//! claims   one connection a session
//! ```

mod chunks;
mod claims;
mod stored;
mod sweep;

pub(crate) use claims::Claims;
pub(crate) use sweep::{sweep, tidy};

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tallystick_agency::{
    AgencyError, Kind, Result, clock,
    peers::int,
    records::{self, RecordFile},
    store::{
        Admitted, Grant as StoredGrant, NewSession, RecordEntry, Role, SessionLimits, SessionStatus,
    },
};
use tallystick_protocol::{
    error::Error,
    frame::Frame,
    session::Asked,
    statements::{Hex, RefusalCode, SenderReference},
};
use tallystick_wire::Envelope;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use self::{chunks::Run, claims::Claim};
use crate::{connections::PeerIdentity, metrics::Event, node::Node, policy, service::status};

/// How long a peer may take to take the reason why its session ended.
const LAST_WORD: Duration = Duration::from_secs(2);

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
        quiet_since: Instant::now(),
        session: None,
    };
    let peer_name = identity.agency.clone();
    let _counted = node.metrics.serving();
    // A session that is dropped at any point is a session that crashed there: it can be resumed.
    let end = tokio::select! {
        end = drive(&node, identity, peer, &mut link, &draining) => end,
        () = node.stop.cancelled() => {
            let stopping = "the node is shutting down; the session can be resumed".to_owned();
            Err(AgencyError::Network(stopping).into())
        }
    };
    let session = link.session.map(tracing::field::display);
    match end {
        Ok(()) => {}
        Err(End::Gone) => {
            node.metrics.session(Event::Left);
            tracing::info!(
                peer = peer_name,
                session,
                "the peer went away; it may resume"
            );
        }
        Err(End::Failed(error)) => {
            let code = error.code();
            node.metrics.failed(&error);
            tracing::warn!(peer = peer_name, session, code, "session ended: {error}");
            // Fails only when the peer is gone as well, or takes nothing any more.
            let last = link.out.send(Err(status(&error)));
            let _ = tokio::time::timeout(LAST_WORD, last).await;
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
    /// When the last frame came or went.
    quiet_since: Instant,
    /// Whose frames these are, once the request has said so.
    session: Option<Hex<16>>,
}

impl Link {
    async fn send(&mut self, frame: Frame) -> Result<(), End> {
        match tokio::time::timeout(self.idle, self.out.send(Ok(frame.into()))).await {
            Ok(Ok(())) => {
                self.quiet_since = Instant::now();
                Ok(())
            }
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => {
                let text = format!("nothing was taken for {} s", self.idle.as_secs());
                Err(AgencyError::Network(text).into())
            }
        }
    }

    /// The next frame. Cancel-safe: waiting on the stream takes nothing from it, and waiting again
    /// does not start the time of silence anew.
    async fn next(&mut self) -> Result<Frame, End> {
        let until = self.quiet_since + self.idle;
        let next = tokio::time::timeout_at(until.into(), self.inbound.next()).await;
        self.took(next)
    }

    /// The same, while silence of the peer's is no fault.
    async fn next_meanwhile(&mut self) -> Result<Frame, End> {
        let next = self.inbound.next().await;
        self.took(Ok(next))
    }

    fn took(
        &mut self,
        next: Result<Option<Result<Envelope, tonic::Status>>, tokio::time::error::Elapsed>,
    ) -> Result<Frame, End> {
        match next {
            Ok(Some(Ok(envelope))) => {
                self.quiet_since = Instant::now();
                Ok(Frame::try_from(envelope)?)
            }
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
    let (session, shift) = (request.session, request.is_shift());
    link.session = Some(session);
    let digest = asked.frame().digest();
    // One connection a session: a receiver that comes back may be faster than the news that its
    // last connection is dead.
    let Some(claim) = node.claims.claim(&session, &identity.agency).await else {
        return turn_away(node, asked, RefusalCode::Busy, link, now).await;
    };
    // An id that this node asked under itself names a record of its own, which must stay.
    if node.store.is_own_run(&session.0).await? {
        return turn_away(node, asked, RefusalCode::Replayed, link, now).await;
    }
    match node.store.session(&session.0).await? {
        Some(_) => stored::settle(node, &session).await?,
        // A refusal whose request was forgotten, or a session from before a restored backup: its
        // record stays what it is.
        None if was_recorded(node, &session).await? => {
            return turn_away(node, asked, RefusalCode::Replayed, link, now).await;
        }
        None => {}
    }
    if let Some(known) = node.store.session(&session.0).await? {
        // The very same request again is somebody who lost the answer, not a second session.
        if known.peer != identity.agency || known.request_digest != digest {
            return turn_away(node, asked, RefusalCode::Replayed, link, now).await;
        }
        return match known.status {
            SessionStatus::Open => {
                let Some(_place) = node.place(&identity.agency, shift) else {
                    return turn_away(node, asked, RefusalCode::Busy, link, now).await;
                };
                let resumed = async {
                    let (run, grant) = Run::resume(node, identity, asked, draining.clone()).await?;
                    link.send(grant).await?;
                    run.serve(link).await
                };
                hold(node, &session, &claim, resumed).await
            }
            SessionStatus::Closed => {
                node.metrics.session(Event::Replayed);
                stored::replay(node, &session, link).await
            }
            _ => turn_away(node, asked, RefusalCode::Replayed, link, now).await,
        };
    }
    if draining.is_cancelled() {
        return turn_away(node, asked, RefusalCode::Draining, link, now).await;
    }
    // Counted here before anything is signed or written for it, and in the store once more, which
    // also knows the sessions whose connection is gone.
    let Some(_place) = node.place(&identity.agency, shift) else {
        return turn_away(node, asked, RefusalCode::Busy, link, now).await;
    };
    let terms = match policy::decide(node, &identity, request, now).await? {
        Ok(terms) => terms,
        Err(code) => return refuse(node, asked, code, link, now).await,
    };

    let grants = request.queries.iter().map(|query| StoredGrant {
        element_type: query.type_name.to_string(),
        granted: query.elements.get(),
        used: 0,
    });
    let new = NewSession {
        session: session.0,
        peer: identity.agency.clone(),
        collection: request.collection.to_string(),
        epoch: terms.terms.epoch.get(),
        request_digest: digest,
        // The grant's, which is capped; the request's may be far.
        expires_ms: i64::try_from(terms.terms.expires_ms.get()).unwrap_or(i64::MAX),
        grants: grants.collect(),
        record_path: records::relative_path(&session),
        shift,
    };
    let config = &node.home.config().limits;
    let (max_total, max_per_peer) = match shift {
        true => (config.max_shifts_total, config.max_shifts_per_peer),
        false => (config.max_sessions_total, config.max_sessions_per_peer),
    };
    let limits = SessionLimits {
        max_total,
        max_per_peer,
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
    let turned_away = match node.store.admit_session(&new, &limits, now).await? {
        Admitted::New => None,
        Admitted::Expired => Some(RefusalCode::Expired),
        Admitted::TooManyOfPeer | Admitted::TooManyTotal => Some(RefusalCode::Busy),
        Admitted::SameAgain { .. } | Admitted::Replayed => {
            let raced = "a session was admitted behind the back of its claim";
            return Err(AgencyError::Bug(raced.to_owned()).into());
        }
    };
    if let Some(code) = turned_away {
        blocking(|| record.discard())?;
        let again = Asked::open(asked_frame, &peer, node.me.clone())?;
        return turn_away(node, again, code, link, now).await;
    }
    node.metrics.session(Event::Granted);
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
        answered: std::collections::HashMap::new(),
        unsettled: chunks::Unsettled::default(),
        draining: draining.clone(),
    };
    let granted = async {
        link.send(grant).await?;
        run.serve(link).await
    };
    hold(node, &session, &claim, granted).await
}

/// Runs a session until it ends or another connection takes it over. What ends it for good, the
/// peer's fault or a rule of ours, closes its record from what is on disk.
async fn hold(
    node: &Node,
    session: &Hex<16>,
    claim: &Claim<'_>,
    work: impl Future<Output = Result<(), End>>,
) -> Result<(), End> {
    let end = tokio::select! {
        biased;
        () = claim.revoked() => Err(End::Gone),
        end = work => end,
    };
    if let Err(End::Failed(error)) = &end
        && matches!(error.kind(), Kind::PeerFault | Kind::Refused)
    {
        // The reason is the peer's to know, whatever becomes of the record; the sweep tries again.
        if let Err(fault) = stored::abort(node, session).await {
            let code = fault.code();
            tracing::error!(session = %session, code, "cannot close it: {fault}");
        }
        // It had ended well in this very moment: the peer may fetch the closing.
        let known = node.store.session(&session.0).await?;
        if known.is_some_and(|known| known.status == SessionStatus::Closed) {
            return Err(End::Gone);
        }
    }
    end
}

/// Whether a record of this session was ever closed here, or set aside.
async fn was_recorded(node: &Node, session: &Hex<16>) -> Result<bool> {
    let noted = node.store.record(&session.0, Role::Sender).await?;
    Ok(noted.is_some() || records::is_kept(&node.home.records_dir(), session))
}

/// Refuses without a record: a replay must not overwrite the record of the session whose id it
/// borrows, and a request that is turned away for the moment may come again and be granted.
async fn turn_away(
    node: &Node,
    asked: Asked,
    code: RefusalCode,
    link: &mut Link,
    now: i64,
) -> Result<(), End> {
    let (_, refusal) = signed_refusal(node, asked, code, now).await?;
    link.send(refusal).await
}

/// Refuses for good, keeps the record of it, tells the peer. Called by who holds the claim, for an
/// id that is new.
async fn refuse(
    node: &Node,
    asked: Asked,
    code: RefusalCode,
    link: &mut Link,
    now: i64,
) -> Result<(), End> {
    let session = asked.request().session;
    let peer = asked.request().receiver.agency.to_string();
    let collection = asked.request().collection.to_string();
    let expires_ms = i64::try_from(asked.request().expires_ms.get()).unwrap_or(i64::MAX);
    let (request, refusal) = signed_refusal(node, asked, code, now).await?;
    // One that has expired is refused by that again and again, and recorded never: else whoever
    // keeps old requests could fill the disk with them.
    if expires_ms > now {
        let closed = blocking(|| {
            let mut record = RecordFile::create(&node.home.records_dir(), session)?;
            record.append(&request)?;
            record.append(&refusal)?;
            record.close()
        })?;
        let known = NewSession {
            session: session.0,
            peer: peer.clone(),
            collection,
            epoch: 0,
            request_digest: request.digest(),
            expires_ms,
            grants: Vec::new(),
            record_path: records::relative_path(&session),
            shift: false,
        };
        let entry = entry(&session, &peer, closed.digest, now);
        node.store.refuse_session(&known, &entry, now).await?;
    }
    link.send(refusal).await
}

async fn signed_refusal(
    node: &Node,
    asked: Asked,
    code: RefusalCode,
    now: i64,
) -> Result<(Frame, Frame)> {
    let request = asked.request();
    node.metrics.refused(code);
    tracing::info!(
        peer = %request.receiver.agency, session = %request.session,
        collection = %request.collection, code = code.name(), "refused"
    );
    let detail = match code {
        RefusalCode::ProfileMismatch => policy::profile_difference(node, request).await,
        _ => None,
    };
    let detail = detail.as_deref().unwrap_or_else(|| policy::detail(code));
    let detail = detail.parse().ok();
    Ok(asked.refuse(code, detail, int(now)?.get(), &node.key)?)
}

/// What the index of records says of one.
fn entry(session: &Hex<16>, peer: &str, digest: [u8; 32], now: i64) -> RecordEntry {
    RecordEntry {
        session: session.0,
        role: Role::Sender,
        peer: peer.to_owned(),
        path: records::relative_path(session),
        digest,
        closed_ms: now,
    }
}

/// Disk work of a moment, off the async threads' schedule.
fn blocking<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    tokio::task::block_in_place(work)
}

pub(crate) fn epoch_over() -> AgencyError {
    AgencyError::Refused {
        code: "epoch-over",
        message: "the collection has a new epoch or is gone; start a new session".to_owned(),
    }
}
