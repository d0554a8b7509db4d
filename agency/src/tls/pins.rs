//! Who may connect: the pinned TLS keys and authorities of the peers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::CertificateDer;

use crate::error::Result;
use crate::store::{Peer, Store};

/// One pinned TLS key of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPin {
    /// The peer's agency name.
    pub agency: String,
    /// Its CA certificates, DER; all pins of an agency share them.
    pub authorities: Arc<Vec<CertificateDer<'static>>>,
    /// When the pin ends, milliseconds since the Unix epoch.
    pub expires_ms: i64,
    /// Whether the peer is revoked.
    pub revoked: bool,
}

/// The allow-list, looked up live at each handshake.
pub trait PeerPins: fmt::Debug + Send + Sync {
    /// The pin for the SHA-256 of a SubjectPublicKeyInfo.
    fn lookup(&self, spki: &[u8; 32]) -> Option<Arc<PeerPin>>;

    /// CA certificates of one agency that is not revoked, or of all of them. Used only to say why a
    /// certificate that is not on the list was refused.
    fn authorities(&self, agency: Option<&str>) -> Vec<CertificateDer<'static>>;
}

/// The allow-list in memory, refreshed from the store. Share it by `Arc`.
#[derive(Debug, Default)]
pub struct PinSet {
    pins: RwLock<Arc<HashMap<[u8; 32], Arc<PeerPin>>>>,
}

impl PinSet {
    /// An empty list: nobody may connect.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the list by what the store says now. On an error the list stays as it was.
    pub async fn refresh(&self, store: &dyn Store) -> Result<()> {
        let peers = store.list_peers().await?;
        self.replace(&peers);
        Ok(())
    }

    /// Replaces the list.
    pub fn replace(&self, peers: &[Peer]) {
        let mut pins = HashMap::new();
        for peer in peers {
            let authorities: Vec<_> = peer
                .authorities
                .iter()
                .map(|der| CertificateDer::from(der.clone()))
                .collect();
            let pin = Arc::new(PeerPin {
                agency: peer.name.clone(),
                authorities: Arc::new(authorities),
                expires_ms: peer.expires_ms,
                revoked: peer.revoked_ms.is_some(),
            });
            for spki in &peer.tls_pins {
                pins.insert(*spki, Arc::clone(&pin));
            }
        }
        // A panic while the lock is held cannot leave a half-made list: only a pointer is swapped.
        *self.pins.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pins);
    }

    /// Whether a peer with this key may go on: on the list, not revoked, not expired at `now_ms`.
    /// A server asks this for running connections, so that a revoked peer is cut.
    pub fn is_live(&self, spki: &[u8; 32], now_ms: i64) -> bool {
        self.lookup(spki)
            .is_some_and(|pin| !pin.revoked && now_ms < pin.expires_ms)
    }

    fn current(&self) -> Arc<HashMap<[u8; 32], Arc<PeerPin>>> {
        Arc::clone(&self.pins.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PeerPins for PinSet {
    fn lookup(&self, spki: &[u8; 32]) -> Option<Arc<PeerPin>> {
        self.current().get(spki).cloned()
    }

    fn authorities(&self, agency: Option<&str>) -> Vec<CertificateDer<'static>> {
        let pins = self.current();
        let mut all: Vec<CertificateDer<'static>> = pins
            .values()
            .filter(|pin| !pin.revoked && agency.is_none_or(|name| name == pin.agency))
            .flat_map(|pin| pin.authorities.iter().cloned())
            .collect();
        all.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
        all.dedup();
        all
    }
}
