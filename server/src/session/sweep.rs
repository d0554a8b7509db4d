//! What a crash, or a peer that never came back, left behind.

use tallystick_agency::{
    Result,
    records::{self, RecordFile},
};
use tallystick_protocol::statements::Hex;

use super::stored::abort;
use crate::node::Node;

/// A session that is served hears of its end, at one of its ticks, before it is swept away.
const NOTICE_MS: i64 = 3_000;

/// Closes sessions that nobody can resume any more: their grant has expired. Forgets refused
/// requests that their expiry alone refuses from now on.
pub(crate) async fn sweep(node: &Node, now: i64) -> Result<()> {
    node.store.purge_refused(now).await?;
    let quiet = now - i64::from(node.home.config().limits.idle_timeout_seconds) * 1000;
    for known in node.store.open_sessions().await? {
        if node.stop.is_cancelled() {
            return Ok(());
        }
        // A session that is still being served ends itself at its next tick.
        if known.expires_ms < now - NOTICE_MS && known.active_ms < quiet {
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
/// called before the node listens. One that a run of this home holds is locked, and stays. One with
/// chunks is of a session that an older copy of the store does not know: it is evidence, and kept.
pub(crate) async fn tidy(node: &Node) -> Result<()> {
    let dir = node.home.records_dir();
    for session in records::open_ones(&dir)? {
        let known = node.store.session(&session.0).await?.is_some()
            || node.store.is_own_run(&session.0).await?;
        if known {
            continue;
        }
        let chunks = RecordFile::reopen(&dir, session).is_ok_and(|(_, frames)| frames.len() > 2);
        if chunks {
            records::set_aside(&dir, &session)?;
            tracing::error!(session = %session, code = "record-unknown", "kept as .broken");
        } else if records::discard_unlocked(&dir, &session)? {
            tracing::info!(session = %session, "removed a record that was never granted");
        }
    }
    Ok(())
}
