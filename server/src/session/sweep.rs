//! What a crash, or a peer that never came back, left behind.

use tallystick_agency::{Result, records};
use tallystick_protocol::statements::Hex;

use super::stored::abort;
use crate::node::Node;

/// Closes sessions that nobody can resume any more: their grant has expired. Forgets refused
/// requests that their expiry alone refuses from now on.
pub(crate) async fn sweep(node: &Node, now: i64) -> Result<()> {
    node.store.purge_refused(now).await?;
    let quiet = now - i64::from(node.home.config().limits.idle_timeout_seconds) * 1000;
    for known in node.store.open_sessions().await? {
        // A session that is still being served ends itself at its next tick.
        if known.expires_ms < now && known.active_ms < quiet {
            let session = Hex(known.session);
            let Some(_claim) = node.claims.claim(&session, &known.peer).await else {
                continue;
            };
            // One record that is damaged keeps no other session open.
            if let Err(error) = abort(node, &session).await {
                let (peer, code) = (&known.peer, error.code());
                tracing::error!(peer, %session, code, "cannot close it: {error}");
            }
        }
    }
    Ok(())
}

/// Removes open records of which no grant ever left: the session is not known to the store. To be
/// called before the node listens. One that a run of this home holds is locked, and stays.
pub(crate) async fn tidy(node: &Node) -> Result<()> {
    for session in records::open_ones(&node.home.records_dir())? {
        let known = node.store.session(&session.0).await?.is_some()
            || node.store.is_own_run(&session.0).await?;
        if !known && records::discard_unlocked(&node.home.records_dir(), &session)? {
            tracing::info!(session = %session, "removed a record that was never granted");
        }
    }
    Ok(())
}
