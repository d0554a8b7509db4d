//! The gRPC handlers: decode, call, encode.

use std::{
    fs::File,
    io::BufReader,
    sync::Arc,
    time::{Duration, Instant},
};

use tallystick_agency::{
    AgencyError, Kind, clock,
    collections::{public_keys, snapshot_path},
    peers::int,
};
use tallystick_protocol::{
    frame::{Frame, FrameReader, Kind as FrameKind},
    statements::{Catalogue, CatalogueEntry, Hex, Int, Mode, SenderReference, sign},
};
use tallystick_wire::{CatalogueRequest, Envelope, SnapshotRequest, exchange_server::Exchange};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    connections::{CallGuard, PeerIdentity},
    deltas,
    gates::Slot,
    node::Node,
    session,
};

/// Frames that wait for the network in one direction of one call.
const QUEUE: usize = 4;
/// How long a reader of a snapshot may take nothing.
const STALLED: Duration = Duration::from_secs(30);

pub(crate) struct Service {
    node: Arc<Node>,
    draining: CancellationToken,
}

/// A call that was let in: who calls, and its places until it ends.
struct Call {
    identity: PeerIdentity,
    peer: SenderReference,
    places: Places,
}

/// What a call holds: a place among its peer's calls, and its connection.
pub(crate) type Places = (Slot<String>, CallGuard);

/// What a reader of a snapshot is sent, open: what is published meanwhile takes nothing from it.
enum Reading {
    Whole(File),
    Deltas(Vec<File>),
}

type Frames = ReceiverStream<Result<Envelope, Status>>;

impl Service {
    pub(crate) fn new(node: Arc<Node>, draining: CancellationToken) -> Self {
        Self { node, draining }
    }

    fn status(&self, error: &AgencyError) -> Status {
        self.node.metrics.fault(error);
        status(error)
    }

    /// Lets a call in: the peer as the store knows it now, within its limits.
    async fn enter<T>(&self, request: &Request<T>) -> Result<Call, Status> {
        let identity = request
            .extensions()
            .get::<PeerIdentity>()
            .cloned()
            .ok_or_else(|| Status::internal("bug: a connection without a peer"))?;
        // The key of this connection, too: it may have been dropped from a newer manifest.
        if !self.node.pins.is_live(&identity.spki, clock::now_ms()) {
            return Err(Status::permission_denied(
                "not-on-list: revoked, expired or replaced",
            ));
        }
        let busy = |code: &'static str, what| {
            self.node.metrics.call_refused(code);
            tracing::warn!(peer = identity.agency, code, "call refused");
            Status::resource_exhausted(format!("{code}: {what}"))
        };
        if !identity.state.is_admitted() {
            let what = "as many connections as one agency may have; close some, or try later";
            return Err(busy("too-many-connections", what));
        }
        let Some(slot) = self.node.calls.enter(&identity.agency) else {
            let what = "as many calls at once as one agency may make; try later";
            return Err(busy("too-many-calls", what));
        };
        let places = (slot, identity.state.call());
        match self
            .node
            .peer(&identity.agency)
            .await
            .map_err(|e| self.status(&e))?
        {
            Some((_, peer)) => Ok(Call {
                identity,
                peer,
                places,
            }),
            None => Err(Status::permission_denied(
                "not-on-list: revoked, expired or removed",
            )),
        }
    }
}

/// One map from our errors to the transport. The message starts with the stable code.
pub(crate) fn status(error: &AgencyError) -> Status {
    let text = format!("{}: {error}", error.code());
    match error.kind() {
        Kind::PeerFault => Status::invalid_argument(text),
        Kind::Refused => Status::permission_denied(text),
        Kind::Network => Status::unavailable(text),
        // What is wrong at home is not the peer's business, and may pass: it can come again.
        Kind::Usage | Kind::Verification | Kind::Bug => {
            tracing::error!(code = error.code(), "{error}");
            Status::unavailable(format!("{}: the peer's node has a fault", error.code()))
        }
    }
}

#[tonic::async_trait]
impl Exchange for Service {
    type SessionStream = Frames;
    type SnapshotStream = Frames;

    async fn session(
        &self,
        request: Request<Streaming<Envelope>>,
    ) -> Result<Response<Frames>, Status> {
        let Call {
            identity,
            peer,
            places,
        } = self.enter(&request).await?;
        if !self.node.requests.allows(&identity.agency, Instant::now()) {
            let code = "too-many-requests";
            self.node.metrics.call_refused(code);
            tracing::warn!(peer = identity.agency, code, "call refused");
            return Err(Status::resource_exhausted(format!(
                "{code}: as many sessions in a minute as one agency may begin; try later"
            )));
        }
        self.node.metrics.call("session");
        let (out, frames) = mpsc::channel(QUEUE);
        let inbound = request.into_inner();
        let (node, draining) = (Arc::clone(&self.node), self.draining.clone());
        let session = session::run(node, identity, peer, inbound, out, draining);
        self.node.sessions.spawn(async move {
            session.await;
            drop(places);
        });
        Ok(Response::new(ReceiverStream::new(frames)))
    }

    async fn snapshot(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<Frames>, Status> {
        let Call {
            identity, places, ..
        } = self.enter(&request).await?;
        self.node.metrics.call("snapshot");
        let SnapshotRequest {
            digest,
            from_bucket,
            have,
        } = request.into_inner();
        let digest: [u8; 32] = digest
            .try_into()
            .map_err(|_| Status::invalid_argument("malformed: a digest has 32 bytes"))?;
        deltas::check(&have)?;
        let offered = self
            .node
            .all_offered(&identity.agency)
            .await
            .map_err(|e| self.status(&e))?;
        // Each holds a thread, so there are few: looking for the files is part of it.
        let Some(slot) = self.node.snapshots.enter(&identity.agency) else {
            let code = "too-many-snapshots";
            self.node.metrics.call_refused(code);
            tracing::warn!(peer = identity.agency, code, "call refused");
            return Err(Status::resource_exhausted(format!(
                "{code}: as many snapshots are read at once as may be; try later"
            )));
        };
        let node = Arc::clone(&self.node);
        let opening = tokio::task::spawn_blocking(move || {
            let (name, file) = offered.iter().find_map(|offered| {
                let name = offered.name.as_str();
                let file = File::open(snapshot_path(&node.home, name, &digest)).ok()?;
                Some((name, file))
            })?;
            Some(match have.is_empty() {
                true => Reading::Whole(file),
                false => Reading::Deltas(deltas::leading(&node.home, name, digest, &have)),
            })
        });
        let opened = opening.await;
        let opened = opened.map_err(|_| Status::internal("bug: a snapshot was not opened"))?;
        let reading = opened.ok_or_else(|| {
            let (peer, digest) = (&identity.agency, Hex(digest));
            tracing::warn!(peer, %digest, "no such snapshot for this peer");
            Status::not_found("not-available: no such snapshot for this peer")
        })?;
        tracing::info!(peer = identity.agency, digest = %Hex(digest), from_bucket, "snapshot read");
        let (out, frames) = mpsc::channel(QUEUE * 4);
        let sending = self.node.metrics.snapshot();
        tokio::task::spawn_blocking(move || {
            match reading {
                Reading::Whole(file) => send_snapshot(file, from_bucket, &out),
                Reading::Deltas(deltas) => deltas::send(deltas, from_bucket, &out),
            }
            drop((slot, places, sending));
        });
        Ok(Response::new(ReceiverStream::new(frames)))
    }

    async fn catalogue(
        &self,
        request: Request<CatalogueRequest>,
    ) -> Result<Response<Envelope>, Status> {
        let Call {
            identity,
            peer,
            places: _places,
        } = self.enter(&request).await?;
        self.node.metrics.call("catalogue");
        let frame = catalogue(&self.node, &identity, peer)
            .await
            .map_err(|e| self.status(&e))?;
        tracing::info!(peer = identity.agency, "catalogue read");
        Ok(Response::new(frame.into()))
    }
}

/// Sends the header, then the buckets from the one that is wanted.
fn send_snapshot(file: File, from_bucket: u64, out: &mpsc::Sender<Result<Envelope, Status>>) {
    let mut reader = FrameReader::new(BufReader::with_capacity(1 << 20, file));
    let mut bucket = 0u64;
    loop {
        let frame: Frame = match reader.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "a published snapshot cannot be read");
                let _ = out.blocking_send(Err(Status::internal("io: the snapshot is damaged")));
                return;
            }
        };
        if frame.kind() == FrameKind::SnapshotBucket {
            bucket += 1;
            if bucket <= from_bucket {
                continue;
            }
        }
        if !send_frame(frame, out) {
            return;
        }
    }
}

/// Sends a frame from a thread that may wait. A reader that takes nothing loses its turn; what it has is
/// not sent again.
pub(crate) fn send_frame(frame: Frame, out: &mpsc::Sender<Result<Envelope, Status>>) -> bool {
    let send = tokio::time::timeout(STALLED, out.send(Ok(frame.into())));
    matches!(tokio::runtime::Handle::current().block_on(send), Ok(Ok(())))
}

/// The signed list of what this peer may ask.
async fn catalogue(
    node: &Node,
    identity: &PeerIdentity,
    receiver: SenderReference,
) -> Result<Frame, AgencyError> {
    let mut collections = Vec::new();
    for offered in node.all_offered(&identity.agency).await? {
        // One collection that is broken at home takes no other with it.
        let keys = match node.keys(&offered) {
            Ok(keys) => public_keys(&keys),
            Err(error) => {
                let (code, collection) = (error.code(), offered.name.as_str());
                tracing::error!(code, collection, "left out of the catalogue: {error}");
                continue;
            }
        };
        let mut quota_left = Vec::with_capacity(keys.len());
        for key in &keys {
            let (name, epoch) = (offered.name.as_str(), offered.epoch);
            let type_name = key.type_name.as_str();
            let charged = node
                .store
                .charged(&identity.agency, name, epoch, type_name)
                .await?;
            quota_left.push(Int::new(
                offered.meta.budget(&key.type_name).saturating_sub(charged),
            )?);
        }
        collections.push(CatalogueEntry {
            collection: offered.name.clone(),
            modes: vec![Mode::Elements],
            epoch: Int::new(offered.epoch)?,
            profile: offered.meta.profile.clone(),
            keys,
            snapshot: Hex(offered.digest),
            elements: Int::new(offered.meta.elements)?,
            label_columns: offered.meta.label_columns.clone(),
            max_session_elements: Int::new(offered.meta.max_session_elements)?,
            quota_left,
            published_ms: int(offered.published_ms)?,
            kind: offered.meta.kind,
            covers: offered.meta.covers.clone(),
        });
    }
    let catalogue = Catalogue {
        sender: node.me.clone(),
        receiver,
        collections,
        issued_ms: int(clock::now_ms())?,
    };
    Ok(sign(&catalogue, &node.key)?)
}
