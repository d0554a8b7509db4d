//! Whether a node can serve: looked at again and again, told over gRPC to peers and over the metrics
//! address to the operator.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tallystick_agency::{
    Result, clock,
    collections::Meta,
    fs::free_bytes,
    store::{Collection, Peer},
    tls,
};
use tallystick_wire::exchange_server::SERVICE_NAME;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health as Protocol,
};

use crate::{connections::PeerIdentity, metrics::Seen, node::Node, service::Places};

/// How often a node is looked at.
const PROBE: Duration = Duration::from_secs(2);
/// A store that takes longer to give its write lock is failing. Other programs may hold it for 15 s.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// With less free disk no session is promised.
pub(crate) const DISK_FAIL_BYTES: u64 = 64 << 20;
/// How often it is looked whether a peer that watches may.
const TICK: Duration = Duration::from_secs(1);

/// Why a node cannot serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It was told to stop, and lets sessions end.
    Draining,
    /// The store cannot be read or written.
    Store,
    /// The disk is almost full.
    Disk,
    /// Its certificate has ended: no peer will talk to it.
    Certificate,
}

impl Reason {
    pub(crate) const ALL: [Self; 4] = [Self::Draining, Self::Store, Self::Disk, Self::Certificate];

    /// The stable code.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Store => "store",
            Self::Disk => "disk",
            Self::Certificate => "certificate",
        }
    }
}

/// What `/readyz` says, and `tallyd health` reads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) ready: bool,
    pub(crate) reasons: Vec<String>,
}

impl Answer {
    pub(crate) fn new(reasons: &[Reason]) -> Self {
        let codes = reasons.iter().map(|reason| reason.code().to_owned());
        Self {
            ready: reasons.is_empty(),
            reasons: codes.collect(),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        // Words and a truth value always have a JSON form.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// What is known now. Ready from the start: the home, its keys and its store were just opened.
#[derive(Debug)]
pub(crate) struct Health {
    state: watch::Sender<Vec<Reason>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            state: watch::Sender::new(Vec::new()),
        }
    }
}

impl Health {
    /// Why not, now; empty if ready.
    pub(crate) fn reasons(&self) -> Vec<Reason> {
        self.state.borrow().clone()
    }

    /// The node was told to stop. That is not taken back.
    pub(crate) fn drain(&self) {
        self.state.send_if_modified(|reasons| {
            let new = !reasons.contains(&Reason::Draining);
            if new {
                reasons.push(Reason::Draining);
            }
            new
        });
    }

    /// What a look has found; draining stays. Says so in the log when it is something else.
    fn found(&self, found: &[Reason]) {
        self.state.send_if_modified(|reasons| {
            let draining = reasons.contains(&Reason::Draining);
            let mut now: Vec<Reason> = draining.then_some(Reason::Draining).into_iter().collect();
            now.extend(found);
            if now == *reasons {
                return false;
            }
            let codes: Vec<&str> = now.iter().map(|reason| reason.code()).collect();
            match found.is_empty() {
                true => tracing::info!("ready again"),
                false => tracing::error!(reasons = codes.join(","), "not ready"),
            }
            *reasons = now;
            true
        });
    }
}

/// Looks at the node until it has ended: also while it drains, so that metrics stay true.
pub(crate) async fn watch(node: Arc<Node>, ended: CancellationToken) {
    let certificate = node
        .home
        .tls_identity()
        .and_then(|identity| tls::certificate_expires_ms(identity.leaf()))
        .ok();
    let mut probe = tokio::time::interval(PROBE);
    probe.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            _ = probe.tick() => {}
        }
        let look = look(&node, certificate);
        let (found, mut seen) = tokio::select! {
            () = ended.cancelled() => return,
            found = look => found,
        };
        node.health.found(&found);
        seen.reasons = node.health.reasons();
        node.metrics.saw(seen);
    }
}

async fn look(node: &Node, certificate_ends_ms: Option<i64>) -> (Vec<Reason>, Seen) {
    let mut reasons = Vec::new();
    let mut seen = Seen {
        certificate_ends_ms,
        free_bytes: free_bytes(node.home.dir()),
        jobs: node.pool.jobs(),
        ..Seen::default()
    };
    match tokio::time::timeout(STORE_TIMEOUT, store(node)).await {
        Ok(Ok((open, peers, collections))) => {
            seen.open_sessions = Some(open);
            let live = peers.iter().filter(|peer| peer.revoked_ms.is_none());
            seen.peer_ends_ms = live.map(|peer| peer.expires_ms).min();
            seen.epochs = collections.iter().filter_map(epoch).collect();
        }
        Ok(Err(error)) => {
            node.metrics.fault(&error);
            tracing::error!(code = error.code(), "the store fails: {error}");
            reasons.push(Reason::Store);
        }
        Err(_) => {
            let seconds = STORE_TIMEOUT.as_secs();
            node.metrics.faulty("store");
            tracing::error!(code = "store", seconds, "the store does not answer");
            reasons.push(Reason::Store);
        }
    }
    if seen.free_bytes.is_some_and(|free| free < DISK_FAIL_BYTES) {
        reasons.push(Reason::Disk);
    }
    if certificate_ends_ms.is_some_and(|end| end <= clock::now_ms()) {
        reasons.push(Reason::Certificate);
    }
    (reasons, seen)
}

async fn store(node: &Node) -> Result<(u64, Vec<Peer>, Vec<Collection>)> {
    // A file that was removed goes on working for whoever holds it open, and is gone at the end.
    node.home.require_state()?;
    let open = node.store.probe().await?;
    let peers = node.store.list_peers().await?;
    Ok((open, peers, node.store.list_collections().await?))
}

/// When the epoch of a collection that is offered began.
fn epoch(known: &Collection) -> Option<(String, i64)> {
    known.snapshot_digest?;
    let began = Meta::of(known).ok()?.epoch_started_ms;
    Some((known.name.clone(), began.or(known.published_ms)?))
}

/// `grpc.health.v1` on the peers' port: for pinned peers, as everything there.
#[derive(Debug)]
pub(crate) struct Service {
    node: Arc<Node>,
    draining: CancellationToken,
}

impl Service {
    pub(crate) fn new(node: Arc<Node>, draining: CancellationToken) -> Self {
        Self { node, draining }
    }

    /// Refuses a peer that may not connect any more or calls too often, and services that are not
    /// served here. Gives the key of the connection and the places of the call.
    fn permit(&self, request: &Request<HealthCheckRequest>) -> Result<([u8; 32], Places), Status> {
        let identity = request.extensions().get::<PeerIdentity>();
        let identity =
            identity.ok_or_else(|| Status::internal("bug: a connection without a peer"))?;
        if !self.node.pins.is_live(&identity.spki, clock::now_ms()) {
            return Err(Status::permission_denied(
                "not-on-list: revoked, expired or replaced",
            ));
        }
        if !matches!(request.get_ref().service.as_str(), "" | SERVICE_NAME) {
            return Err(Status::not_found("not-available: no such service"));
        }
        let slot = match identity.state.is_admitted() {
            true => self.node.calls.enter(&identity.agency),
            false => None,
        };
        let Some(slot) = slot else {
            let code = "too-many-calls";
            self.node.metrics.call_refused(code);
            tracing::warn!(peer = identity.agency, code, "call refused");
            return Err(Status::resource_exhausted(
                "too-many-calls: as many calls at once as one agency may make; try later",
            ));
        };
        Ok((identity.spki, (slot, identity.state.call())))
    }
}

fn response(reasons: &[Reason]) -> HealthCheckResponse {
    let status = match reasons.is_empty() {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    };
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Protocol for Service {
    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let _places = self.permit(&request)?;
        Ok(Response::new(response(&self.node.health.reasons())))
    }

    /// Each change, until the node drains: a stream that stayed would hold it up.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (spki, places) = self.permit(&request)?;
        let (out, stream) = mpsc::channel(2);
        let (node, draining) = (Arc::clone(&self.node), self.draining.clone());
        let mut state = node.health.state.subscribe();
        tokio::spawn(async move {
            let mut told = None;
            let mut tick = tokio::time::interval(TICK);
            while node.pins.is_live(&spki, clock::now_ms()) {
                let now = response(&state.borrow_and_update());
                if told != Some(now.status) {
                    told = Some(now.status);
                    // One that takes nothing is left.
                    let send = tokio::time::timeout(STORE_TIMEOUT, out.send(Ok(now)));
                    if !matches!(send.await, Ok(Ok(()))) {
                        break;
                    }
                }
                if draining.is_cancelled() {
                    break;
                }
                tokio::select! {
                    changed = state.changed() => if changed.is_err() { break },
                    () = out.closed() => break,
                    _ = tick.tick() => {}
                }
            }
            drop(places);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draining_is_not_taken_back_by_a_good_look() {
        let health = Health::default();
        assert!(health.reasons().is_empty());
        health.found(&[Reason::Store]);
        assert_eq!(health.reasons(), [Reason::Store]);
        health.found(&[]);
        assert!(health.reasons().is_empty());
        health.drain();
        health.found(&[Reason::Disk]);
        assert_eq!(health.reasons(), [Reason::Draining, Reason::Disk]);
        health.found(&[]);
        assert_eq!(health.reasons(), [Reason::Draining]);
        let said = Answer::new(&health.reasons()).to_json();
        assert_eq!(said, "{\"ready\":false,\"reasons\":[\"draining\"]}\n");
    }
}
