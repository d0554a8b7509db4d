//! The snapshot of a session: got, checked against the grant, and what it supersedes removed.

use std::path::PathBuf;

use tallystick_agency::{
    AgencyError,
    exit::Outcome,
    marks::MarkKey,
    records::{closed_path, open_path},
};
use tallystick_protocol::{error::Error, session::Matching, signing::VerifyKey, statements::Hex};

use super::Asker;
use crate::{
    connect::Connected,
    progress::Progress,
    snapshots::{self, CachedSnapshot, Wanted, blocking, granted_in, remove_superseded},
};

/// The snapshot that a grant names.
pub(crate) fn granted(matching: &Matching) -> Wanted {
    let grant = matching.agreement().grant();
    Wanted {
        digest: grant.snapshot.digest,
        collection: grant.collection.clone(),
        epoch: grant.epoch,
    }
}

impl Asker<'_> {
    /// A snapshot from the cache, or from the peer. What it supersedes is removed.
    pub(crate) async fn snapshot(
        &self,
        connected: &mut Connected,
        wanted: Wanted,
    ) -> Outcome<CachedSnapshot> {
        let bar = Progress::new("snapshot", 0, "bytes", self.quiet);
        let cache = self.home.snapshot_cache_dir();
        let key = MarkKey::of(self.home.keys())?;
        let snapshot = snapshots::get(&cache, connected, &wanted, &key, &bar).await?;
        bar.finish();
        let publisher = connected.peer.signing_key.into();
        if let Err(failure) = self.tidy(cache, publisher, wanted).await {
            let code = failure.code.as_str();
            tracing::warn!(code, "old snapshots stay in the cache: {failure}");
        }
        Ok(snapshot)
    }

    /// Removes what a snapshot supersedes in the cache, but for what a run that is not over was granted.
    /// If that cannot be told of one of them, nothing is removed.
    async fn tidy(&self, cache: PathBuf, publisher: VerifyKey, wanted: Wanted) -> Outcome<()> {
        let (runs, dir) = (self.store.open_runs().await?, self.home.records_dir());
        blocking(move || {
            let mut needed = Vec::new();
            for run in &runs {
                let session = Hex(run.session);
                for path in [open_path(&dir, &session), closed_path(&dir, &session)] {
                    needed.extend(granted_in(&path)?);
                }
            }
            remove_superseded(&cache, &publisher, &wanted, &needed)
        })
        .await
    }

    /// The snapshot of the grant, which must agree with the grant in all that both state.
    pub(crate) async fn agree(
        &self,
        matching: &Matching,
        snapshot: CachedSnapshot,
        connected: &mut Connected,
    ) -> Outcome<CachedSnapshot> {
        let grant = matching.agreement().grant();
        let snapshot = match snapshot.verified().digest() == grant.snapshot.digest {
            true => snapshot,
            // Published anew between catalogue and grant.
            false => self.snapshot(connected, granted(matching)).await?,
        };
        let preamble = snapshot.verified().preamble();
        let agree = |field, same: bool| match same {
            true => Ok(()),
            false => Err(AgencyError::from(Error::Mismatch {
                what: "snapshot",
                field,
            })),
        };
        agree("collection", preamble.collection == grant.collection)?;
        agree("epoch", preamble.epoch == grant.epoch)?;
        agree("mode", preamble.mode == grant.mode)?;
        agree("profile", preamble.profile == grant.profile)?;
        agree("tag_bytes", preamble.tag_bytes == grant.snapshot.tag_bytes)?;
        agree("elements", preamble.elements == grant.snapshot.elements)?;
        agree(
            "keys",
            grant.keys.iter().all(|key| preamble.keys.contains(key)),
        )?;
        Ok(snapshot)
    }
}
