//! What a publication leaves behind, and what goes: superseded snapshots and keys, collections that are taken
//! off, publications that died before they were in force.

use tallystick_protocol::statements::{Hex, Name};

use super::{
    delta, is_free, lock,
    unfinished::{self, is_begun},
};
use crate::{
    collections::{EpochSeed, delta_path, snapshot_path},
    error::{AgencyError, Result},
    home::Home,
    store::{Collection, Store},
};

/// Removes a snapshot that will not be in force, with its delta and its chain: what takes room is given
/// back. What cannot be removed now goes with the next publication.
pub(super) fn withdraw(home: &Home, name: &Name, digest: &Hex<32>) {
    let delta = delta_path(home, name.as_str(), &digest.0);
    let chain = delta.with_extension("chain");
    for path in [snapshot_path(home, name.as_str(), &digest.0), delta, chain] {
        let _ = std::fs::remove_file(path);
    }
}

/// After a new snapshot is in force: drops what the old one leaves behind. The last snapshot of the
/// same epoch stays for sessions that were granted with it.
pub(super) fn forget(
    home: &Home,
    name: &Name,
    known: &Collection,
    epoch: u64,
    digest: &Hex<32>,
) -> Result<()> {
    let mut keep = vec![digest.0];
    if known.epoch == epoch {
        keep.extend(known.snapshot_digest);
    }
    // Also within an epoch: a rotation that died here left the old keys.
    EpochSeed::destroy_before(home, name, epoch)?;
    remove_snapshots(home, name, &keep)
}

/// Takes a collection off: its keys and snapshots go, what was charged stays known.
///
/// A publication of it that was interrupted goes with it, also where it never came into force. Gives the
/// epoch that ended; `None` where none was in force.
///
/// # Errors
/// `Usage` if there is nothing of this name.
pub async fn remove(home: &Home, store: &dyn Store, name: &Name) -> Result<Option<u64>> {
    let nothing = || {
        AgencyError::Usage(format!(
            "there is no collection {name}; see `tallyd collection list`"
        ))
    };
    let folder = home.collections_dir().join(name.as_str());
    if !folder.is_dir() {
        return Err(nothing());
    }
    let _lock = lock(home, name)?;
    let known = store.collection(name.as_str()).await?;
    let last = known.as_ref().map_or(0, |known| known.epoch);
    let Some(known) = known.filter(|known| !known.removed) else {
        if last > 0 && !is_begun(home, name) {
            return Err(nothing());
        }
        unfinished::discard(home, name)?;
        EpochSeed::destroy_before(home, name, last + 2)?;
        // Nothing of it is in force: parts of snapshots that nobody knows go, too.
        std::fs::remove_dir_all(&folder).map_err(AgencyError::io("remove", &folder))?;
        return Ok(None);
    };
    store.remove_collection(name.as_str()).await?;
    unfinished::discard(home, name)?;
    // A rotation that was killed has made the keys of the next.
    EpochSeed::destroy_before(home, name, known.epoch + 2)?;
    remove_snapshots(home, name, &[])?;
    Ok(Some(known.epoch))
}

/// Collections that were never in force, or are no more, and of which a publication was begun and has
/// died: no list shows them, and what they left is in the way of nobody but takes room.
///
/// # Errors
/// Those of the store and of the disk.
pub async fn never_in_force(home: &Home, store: &dyn Store) -> Result<Vec<Name>> {
    let folder = home.collections_dir();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(AgencyError::io("read", &folder))? {
        let entry = entry.map_err(AgencyError::io("read", &folder))?;
        // Locks lie there, too.
        let name = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(name): Option<Name> = name else {
            continue;
        };
        if !entry.path().is_dir() || !is_free(home, &name) {
            continue;
        }
        // Of a collection that was removed the folder stays.
        let died = match store.collection(name.as_str()).await? {
            None => true,
            Some(known) => known.removed && is_begun(home, &name),
        };
        if died {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// Destroys the keys that a rotation or removal was to destroy when it died: it was in force already.
/// Collections that are being published are left to whoever does that.
///
/// # Errors
/// Those of the store and of the disk.
pub async fn finish_broken_off(home: &Home, store: &dyn Store) -> Result<()> {
    let folder = home.collections_dir();
    for entry in std::fs::read_dir(&folder).map_err(AgencyError::io("read", &folder))? {
        let entry = entry.map_err(AgencyError::io("read", &folder))?;
        // Locks lie there, too.
        let name = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(name): Option<Name> = name else {
            continue;
        };
        let Ok(_lock) = lock(home, &name) else {
            continue;
        };
        match store.collection(name.as_str()).await? {
            Some(known) if known.removed => {
                unfinished::discard(home, &name)?;
                EpochSeed::destroy_before(home, &name, known.epoch + 1)?;
                remove_snapshots(home, &name, &[])?;
            }
            Some(known) => EpochSeed::destroy_before(home, &name, known.epoch)?,
            None => {}
        }
    }
    Ok(())
}

/// Removes snapshots but those to keep, and deltas and chains but those of the first of them, which is
/// the one in force.
pub(super) fn remove_snapshots(home: &Home, name: &Name, keep: &[[u8; 32]]) -> Result<()> {
    let folder = home.collections_dir().join(name.as_str());
    delta::remove_others(home, name, &folder, keep.first().copied())?;
    let path = |digest| snapshot_path(home, name.as_str(), digest);
    let keep: Vec<std::path::PathBuf> = keep.iter().map(path).collect();
    let entries = std::fs::read_dir(&folder).map_err(AgencyError::io("read", &folder))?;
    for entry in entries {
        let path = entry.map_err(AgencyError::io("read", &folder))?.path();
        if path.extension().is_some_and(|e| e == "snapshot") && !keep.contains(&path) {
            std::fs::remove_file(&path).map_err(AgencyError::io("remove", &path))?;
        }
    }
    Ok(())
}
