//! One session, from the sender's side: admit, grant, charge, evaluate, answer, close.
//!
//! What must survive a crash is written before anything leaves: the session before its grant, the
//! charge and the binding of a chunk before its evaluation, both frames of a chunk before its
//! answer, both closings before ours is sent. A receiver that lost its connection sends the same
//! bytes again and gets the same answers; nothing is charged twice.
//!
//! ```text
//! chunks   a granted session: charge, evaluate, answer, close
//! stored   a session from its record: resumed, replayed, aborted
//! claims   one connection a session
//! ```

mod chunks;
mod claims;
mod stored;

pub(crate) use claims::Claims;
pub(crate) use stored::sweep;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tallystick_agency::{
    AgencyError, Result, clock,
    peers::int,
    records::RecordFile,
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

use self::chunks::Run;
use crate::{listen::PeerIdentity, node::Node, policy, service::status};

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
            // Fails only when the peer is gone as well, or takes nothing any more.
            let last = link.out.send(Err(status(&error)));
            let _ = tokio::time::timeout(link.idle, last).await;
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
    let session = request.session;
    let digest = asked.frame().digest();
    // One connection a session: a receiver that comes back may be faster than the news that its
    // last connection is dead.
    let claim = match node.claims.claim(&session, &identity.agency).await {
        Some(claim) => claim,
        None => return refuse(node, asked, RefusalCode::Busy, link, now).await,
    };
    // An id that this node asked under itself names a record of its own, which must stay.
    if node.store.is_own_run(&session.0).await? {
        return refuse(node, asked, RefusalCode::Replayed, link, now).await;
    }
    if let Some(known) = node.store.session(&session.0).await? {
        // The very same request again is somebody who lost the answer, not a second session.
        if known.peer != identity.agency || known.request_digest != digest {
            return refuse(node, asked, RefusalCode::Replayed, link, now).await;
        }
        return match known.status {
            SessionStatus::Open => {
                stored::take_back(node, &session)?;
                let (run, grant) = Run::resume(node, identity, asked).await?;
                link.send(grant).await?;
                run.chunks(link, &claim).await
            }
            SessionStatus::Closed => stored::replay(node, &session, link).await,
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
        // The grant's, which is capped; the request's may be far.
        expires_ms: i64::try_from(terms.terms.expires_ms.get()).unwrap_or(i64::MAX),
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
        answered: std::collections::HashMap::new(),
    };
    link.send(grant).await?;
    run.chunks(link, &claim).await
}

/// Refuses, keeps the record of it, tells the peer.
async fn refuse(
    node: &Node,
    asked: Asked,
    code: RefusalCode,
    link: &mut Link,
    now: i64,
) -> Result<(), End> {
    let session = asked.request().session;
    let peer = asked.request().receiver.agency.to_string();
    let expires_ms = i64::try_from(asked.request().expires_ms.get()).unwrap_or(i64::MAX);
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
        let known = NewSession {
            session: session.0,
            peer: peer.clone(),
            collection: String::new(),
            epoch: 0,
            request_digest: request.digest(),
            expires_ms,
            grants: Vec::new(),
            record_path: format!("records/{session}.tally"),
        };
        // One that has expired is refused by that again and again, and recorded never: else whoever
        // keeps old requests could fill the disk with them.
        if node.store.refuse_session(&known, now).await? == Admitted::New {
            let closed = blocking(|| {
                let mut record = RecordFile::create(&node.home.records_dir(), session)?;
                record.append(&request)?;
                record.append(&refusal)?;
                record.close()
            })?;
            add_record(node, &session, &peer, closed.digest, now).await?;
        }
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

fn epoch_over() -> AgencyError {
    AgencyError::Refused {
        code: "epoch-over",
        message: "the collection has a new epoch or is gone; start a new session".to_owned(),
    }
}
