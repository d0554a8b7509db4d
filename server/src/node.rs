//! One running node: its home, opened, and what all its sessions share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tallystick_agency::{
    AgencyError, Result, clock,
    collections::{EpochKeys, Meta, epoch_keys},
    home::Home,
    peers::{own_reference, reference},
    store::{Chunk, Collection, Peer, Store},
    tls::PinSet,
    worker::WorkerPool,
};
use tallystick_protocol::{
    group::{self, Kernel},
    oprf::SessionSeed,
    signing::SigningKey,
    statements::{Hex, Line, Mode, Name, SenderReference},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    committer::Committer,
    connections::Connections,
    gates::{Gate, Pace, Slot},
    health::Health,
    metrics::{Held, Metrics},
    session::Claims,
};

/// Name of the secret from which the sender's audit nonces are derived.
const NONCE_SECRET: &str = "audit-nonce";

/// A node.
#[derive(Debug)]
pub struct Node {
    pub(crate) home: Home,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) kernel: &'static dyn Kernel,
    pub(crate) pins: Arc<PinSet>,
    pub(crate) pool: WorkerPool,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) me: SenderReference,
    pub(crate) state: Option<Line>,
    pub(crate) tls_spki: Hex<32>,
    pub(crate) build: Line,
    pub(crate) claims: Claims,
    pub(crate) connections: Connections,
    pub(crate) calls: Arc<Gate<String>>,
    pub(crate) snapshots: Arc<Gate<String>>,
    /// Granted sessions that a connection serves now, but for shifts.
    pub(crate) serving: Arc<Gate<String>>,
    /// Shifts that a connection serves now. They last for hours and are mostly silent: so they have
    /// places of their own, and take none from sessions that are soon over.
    pub(crate) shifts: Arc<Gate<String>>,
    pub(crate) requests: Pace,
    /// Sessions under way, which end at `stop`.
    pub(crate) sessions: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) committer: Committer,
    pub(crate) health: Health,
    nonces: SessionSeed,
    /// Derived keys of epochs in use. Never more than one epoch a collection.
    epochs: Mutex<HashMap<Name, (u64, Arc<EpochKeys>)>>,
}

/// A collection that a peer may ask.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) name: Name,
    pub(crate) epoch: u64,
    pub(crate) digest: [u8; 32],
    pub(crate) published_ms: i64,
    pub(crate) meta: Meta,
}

impl Node {
    /// Opens what a home holds.
    ///
    /// # Errors
    /// Those of the home, its keys, its certificate and its store.
    pub async fn open(home: Home) -> Result<Arc<Self>> {
        let store: Arc<dyn Store> = Arc::new(home.store().await?);
        let pins = Arc::new(PinSet::new());
        pins.refresh(&*store).await?;
        let keys = home.keys();
        if !keys.is_present(NONCE_SECRET)? {
            let secret: [u8; 32] = rand::random();
            keys.seal_secret(NONCE_SECRET, &secret)?;
        }
        let secret = keys.open_secret(NONCE_SECRET)?;
        let secret = <[u8; 32]>::try_from(&secret[..])
            .map_err(|_| AgencyError::Bug("the nonce secret has another length".to_owned()))?;
        let state = home.config().state.as_deref().map(str::parse);
        let limits = &home.config().limits;
        let metrics = Arc::new(Metrics::new(group::best()));
        let committer = Committer::start(Arc::clone(&store), Arc::clone(&metrics));
        Ok(Arc::new(Self {
            store,
            kernel: group::best(),
            pins,
            pool: WorkerPool::new(home.config().limits.worker_threads as usize)?,
            key: Arc::new(home.signing_key()?.into()),
            me: own_reference(&home)?,
            state: state
                .transpose()
                .map_err(|why: &str| AgencyError::Usage(why.to_owned()))?,
            tls_spki: Hex(home.tls_identity()?.spki_sha256()?),
            build: tallystick_agency::build::line()?,
            claims: Claims::default(),
            connections: Connections::new(
                limits.max_connections_per_peer,
                limits.max_connections_total,
            ),
            calls: Gate::new(limits.max_calls_per_peer, u32::MAX),
            snapshots: Gate::new(limits.max_snapshots_per_peer, limits.max_snapshots_total),
            serving: Gate::new(limits.max_sessions_per_peer, limits.max_sessions_total),
            shifts: Gate::new(limits.max_shifts_per_peer, limits.max_shifts_total),
            requests: Pace::new(limits.session_requests_per_minute_per_peer),
            sessions: TaskTracker::new(),
            stop: CancellationToken::new(),
            metrics,
            committer,
            health: Health::default(),
            nonces: SessionSeed::new(secret),
            epochs: Mutex::new(HashMap::new()),
            home,
        }))
    }

    /// Where the node was configured to listen.
    #[must_use]
    pub fn listen_address(&self) -> std::net::SocketAddr {
        self.home.config().listen_address
    }

    /// Where the node was configured to tell metrics and health.
    #[must_use]
    pub fn metrics_address(&self) -> Option<std::net::SocketAddr> {
        self.home.config().metrics.listen_address
    }

    /// The audit nonce of a session: the same again when it is resumed.
    pub(crate) fn nonce(&self, session: &Hex<16>) -> Hex<32> {
        Hex(*self.nonces.derive(session, "sender-nonce"))
    }

    /// A place for a session of this peer, as long as a connection serves it.
    pub(crate) fn place(&self, peer: &String, shift: bool) -> Option<(Slot<String>, Option<Held>)> {
        match shift {
            true => Some((self.shifts.enter(peer)?, Some(self.metrics.shift()))),
            false => Some((self.serving.enter(peer)?, None)),
        }
    }

    /// The peer of this name, if it may still connect.
    pub(crate) async fn peer(&self, name: &str) -> Result<Option<(Peer, SenderReference)>> {
        let now = clock::now_ms();
        match self.store.peer(name).await? {
            Some(peer) if peer.revoked_ms.is_none() && now < peer.expires_ms => {
                let reference = reference(&peer)?;
                Ok(Some((peer, reference)))
            }
            _ => Ok(None),
        }
    }

    /// The collection of this name, if `peer` may ask it.
    pub(crate) async fn offered(&self, peer: &str, name: &str) -> Result<Option<Offered>> {
        Offered::find(&*self.store, peer, name).await
    }

    /// The chunks of a session that are bound. What its last connection handed in counts.
    pub(crate) async fn bound(&self, session: &Hex<16>) -> Result<Vec<Chunk>> {
        self.committer.settled().await?;
        self.store.chunks(&session.0).await
    }

    /// The secret keys of an epoch; `None` once it is over.
    pub(crate) async fn keys_in_force(
        &self,
        collection: &Name,
        epoch: u64,
    ) -> Result<Option<Arc<EpochKeys>>> {
        let known = self.store.collection(collection.as_str()).await?;
        let offered = known.map_or(Ok(None), Offered::of)?;
        let Some(offered) = offered.filter(|offered| offered.epoch == epoch) else {
            return Ok(None);
        };
        match self.keys(&offered) {
            Ok(keys) => Ok(Some(keys)),
            // It ended in this moment.
            Err(AgencyError::NoSecret(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All collections that `peer` may ask, by name.
    pub(crate) async fn all_offered(&self, peer: &str) -> Result<Vec<Offered>> {
        let known = self.store.list_collections().await?;
        known
            .into_iter()
            .filter_map(|known| Offered::to(peer, known).transpose())
            .collect()
    }

    /// Forgets the keys of epochs that are over.
    pub(crate) async fn forget_old_epochs(&self) -> Result<()> {
        let known = self.store.list_collections().await?;
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.retain(|name, (epoch, _)| {
            known
                .iter()
                .any(|known| known.name == name.as_str() && known.epoch == *epoch)
        });
        Ok(())
    }

    /// The secret keys of a collection's current epoch.
    pub(crate) fn keys(&self, offered: &Offered) -> Result<Arc<EpochKeys>> {
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((epoch, keys)) = epochs.get(&offered.name)
            && *epoch == offered.epoch
        {
            // Types may have been added within the epoch.
            if offered
                .meta
                .types
                .iter()
                .all(|name| keys.contains_key(name))
            {
                return Ok(Arc::clone(keys));
            }
        }
        let types = &offered.meta.types;
        let keys = epoch_keys(
            &self.home,
            self.kernel,
            &offered.name,
            offered.epoch,
            Mode::Elements,
            types,
        )?;
        let keys = Arc::new(keys);
        epochs.insert(offered.name.clone(), (offered.epoch, Arc::clone(&keys)));
        Ok(keys)
    }
}

impl Offered {
    /// The collection of this name, if `peer` may ask it.
    pub(crate) async fn find(store: &dyn Store, peer: &str, name: &str) -> Result<Option<Self>> {
        let known = store.collection(name).await?;
        known.map_or(Ok(None), |known| Self::to(peer, known))
    }

    fn to(peer: &str, known: Collection) -> Result<Option<Self>> {
        Ok(Self::of(known)?.filter(|offered| offered.meta.allows(peer)))
    }

    /// A collection that is offered to anybody.
    fn of(known: Collection) -> Result<Option<Self>> {
        let (Some(digest), false) = (known.snapshot_digest, known.removed) else {
            return Ok(None);
        };
        let meta = Meta::of(&known)?;
        let name = known
            .name
            .parse()
            .map_err(|_| AgencyError::Bug("a stored collection has an invalid name".to_owned()))?;
        Ok(Some(Self {
            name,
            epoch: known.epoch,
            digest,
            published_ms: known.published_ms.unwrap_or_default(),
            meta,
        }))
    }
}
