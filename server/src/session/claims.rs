//! One connection a session: who comes later takes over from who is still there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tallystick_protocol::statements::Hex;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

/// How long to wait for the connection that held the session.
const HANDOVER: Duration = Duration::from_secs(10);

/// The sessions that connections hold.
#[derive(Debug)]
pub(crate) struct Claims {
    held: Mutex<HashMap<Hex<16>, Held>>,
    handover: Duration,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            handover: HANDOVER,
        }
    }
}

#[derive(Debug)]
struct Held {
    peer: String,
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Cancelled when somebody takes over.
    revoke: CancellationToken,
    /// How many hold it or wait for it.
    users: usize,
}

/// A session held by one connection.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    claims: &'a Claims,
    session: Hex<16>,
    revoke: CancellationToken,
    /// Given back before the entry is.
    guard: Option<OwnedMutexGuard<()>>,
}

impl Claims {
    /// Takes a session, from the same peer's other connection if it holds it. `None` if another
    /// peer holds it, or if it is not given back in time.
    pub(crate) async fn claim(&self, session: &Hex<16>, peer: &str) -> Option<Claim<'_>> {
        let revoke = CancellationToken::new();
        let lock = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = held.entry(*session).or_insert_with(|| Held {
                peer: peer.to_owned(),
                lock: Arc::default(),
                revoke: revoke.clone(),
                users: 0,
            });
            if entry.peer != peer {
                return None;
            }
            if entry.users > 0 {
                entry.revoke.cancel();
            }
            entry.revoke = revoke.clone();
            entry.users += 1;
            Arc::clone(&entry.lock)
        };
        // From here on dropping the claim gives the entry back.
        let mut claim = Claim {
            claims: self,
            session: *session,
            revoke,
            guard: None,
        };
        claim.guard = Some(
            tokio::time::timeout(self.handover, lock.lock_owned())
                .await
                .ok()?,
        );
        Some(claim)
    }
}

impl Claim<'_> {
    /// Ready when another connection takes over.
    pub(crate) async fn revoked(&self) {
        self.revoke.cancelled().await;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut held = self
            .claims
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = held.get_mut(&self.session) {
            entry.users -= 1;
            if entry.users == 0 {
                held.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_later_connection_takes_over_and_nothing_is_left_behind() {
        let claims = Claims::default();
        let (one, other) = (Hex([1; 16]), Hex([2; 16]));
        let first = claims.claim(&one, "a").await.unwrap();
        let _apart = claims.claim(&other, "b").await.unwrap();
        assert!(
            claims.claim(&one, "b").await.is_none(),
            "another peer's session"
        );
        let second = async {
            let second = claims.claim(&one, "a").await.unwrap();
            tokio::time::timeout(Duration::from_millis(20), second.revoked())
                .await
                .unwrap_err();
            drop(second);
        };
        let gives_way = async {
            first.revoked().await;
            drop(first);
        };
        tokio::join!(second, gives_way);
        assert_eq!(claims.held.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn who_is_not_let_in_waits_no_longer_than_the_handover() {
        let claims = Claims {
            handover: Duration::from_millis(20),
            ..Claims::default()
        };
        let session = Hex([1; 16]);
        let first = claims.claim(&session, "a").await.unwrap();
        assert!(claims.claim(&session, "a").await.is_none());
        drop(first);
        assert!(claims.held.lock().unwrap().is_empty());
    }
}
