//! What the publisher keeps of a snapshot beside it, sealed: where its padding comes from.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tallystick_protocol::{
    snapshot::MAX_DELTAS,
    statements::{Hex, Name},
};

use super::super::{
    reading::{padding_key, padding_records},
    sort::{BUDGET, Sorter},
    spool::{Side, Sorted, Spool},
    work::Work,
};
use crate::{
    collections::{EpochSeed, delta_path},
    error::{AgencyError, Result},
    fs::{OWNER_FILE, atomic_write, read_owner_file},
    home::Home,
    memory::wipe_stack,
};

/// Padding elements evaluated at a time on one core.
const BATCH: u64 = 4096;
/// Bits of the partitions that padding is sorted in.
const BITS: u32 = 6;

/// One snapshot of a chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    digest: Hex<32>,
    /// Salt of its header: that of the padding which came with it.
    salt: Hex<32>,
    /// How many padding elements came with it.
    padding: u64,
    /// SHA-256 of the delta that leads to it; absent for a whole one, and in what was published before this
    /// was kept.
    #[serde(default)]
    delta: Option<Hex<32>>,
}

/// The snapshots from the last whole one on. The number of padding elements is nobody else's business,
/// so it lies there sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Chain {
    links: Vec<Link>,
}

fn path(home: &Home, name: &Name, digest: &[u8; 32]) -> PathBuf {
    delta_path(home, name.as_str(), digest).with_extension("chain")
}

fn purpose(name: &Name, digest: &[u8; 32]) -> String {
    format!("snapshot-chain/{name}/{}", Hex(*digest))
}

impl Chain {
    /// A chain that begins with a whole snapshot.
    pub(in super::super) fn begin(digest: Hex<32>, salt: [u8; 32], padding: u64) -> Self {
        Self { links: Vec::new() }.with(digest, salt, padding, None)
    }

    /// The chain with one more snapshot, and the SHA-256 of the delta that leads to it.
    pub(super) fn with(
        &self,
        digest: Hex<32>,
        salt: [u8; 32],
        padding: u64,
        delta: Option<Hex<32>>,
    ) -> Self {
        let mut links = self.links.clone();
        links.push(Link {
            digest,
            salt: Hex(salt),
            padding,
            delta,
        });
        Self { links }
    }

    /// The chain of a snapshot; `None` if there is none, or one that does not open.
    pub(super) fn read(home: &Home, name: &Name, digest: &[u8; 32]) -> Result<Option<Self>> {
        let path = path(home, name, digest);
        if !path.exists() {
            return Ok(None);
        }
        let sealed = read_owner_file(&path)?;
        let text = home.keys().open_blob(&purpose(name, digest), &sealed);
        Ok(text
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Writes it beside its last snapshot.
    pub(in super::super) fn write(&self, home: &Home, name: &Name) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| AgencyError::Bug(e.to_string()))?;
        let last = self.links.last();
        let last = last.ok_or_else(|| AgencyError::Bug("a chain without a link".to_owned()))?;
        let sealed = home
            .keys()
            .seal_blob(&purpose(name, &last.digest.0), &text)?;
        atomic_write(&path(home, name, &last.digest.0), &sealed, OWNER_FILE)
    }

    /// The sequence number of a delta from its last snapshot; `None` if it has as many as may be.
    pub(super) fn next_sequence(&self) -> Option<u64> {
        let next = self.links.len() as u64;
        (next <= MAX_DELTAS).then_some(next)
    }

    /// Salts with the number of padding elements under each: all that the last snapshot may hold.
    pub(super) fn padding(&self) -> Vec<([u8; 32], u64)> {
        let part = |link: &Link| (link.salt.0, link.padding);
        self.links.iter().map(part).collect()
    }
}

/// How many deltas of the chain that leads to the snapshot `digest` are gone, or are not what was
/// published. Nothing is said of a chain that is not there: readers fetch whole snapshots then.
///
/// # Errors
/// An IO error of a delta that is there.
pub fn damaged_deltas(home: &Home, name: &Name, digest: &[u8; 32]) -> Result<usize> {
    let Some(chain) = Chain::read(home, name, digest)? else {
        return Ok(0);
    };
    let mut damaged = 0;
    for link in &chain.links {
        let Some(expected) = &link.delta else {
            continue;
        };
        let path = delta_path(home, name.as_str(), &link.digest.0);
        let found = match File::open(&path) {
            Ok(mut file) => Some(sha256(&mut file).map_err(AgencyError::io("read", &path))?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(AgencyError::io("open", &path)(error)),
        };
        damaged += usize::from(found.as_ref() != Some(expected));
    }
    Ok(damaged)
}

/// SHA-256 of the rest of a file.
pub(super) fn sha256(file: &mut File) -> std::io::Result<Hex<32>> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; 256 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(Hex(hash.finalize().into()));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
}

/// Removes chains and deltas in a collection's folder, but for those that lead to the snapshot `keep`
/// and the chain of `keep` itself.
pub(in super::super) fn remove_others(
    home: &Home,
    name: &Name,
    folder: &Path,
    keep: Option<[u8; 32]>,
) -> Result<()> {
    let mut kept = Vec::new();
    if let Some(digest) = keep
        && let Some(chain) = Chain::read(home, name, &digest)?
    {
        kept.push(path(home, name, &digest));
        // The first was published whole.
        let deltas = chain.links.iter().skip(1);
        kept.extend(deltas.map(|link| delta_path(home, name.as_str(), &link.digest.0)));
    }
    let entries = std::fs::read_dir(folder).map_err(AgencyError::io("read", folder))?;
    for entry in entries {
        let path = entry.map_err(AgencyError::io("read", folder))?.path();
        let ours = path
            .extension()
            .is_some_and(|e| e == "delta" || e == "chain");
        if ours && !kept.contains(&path) {
            std::fs::remove_file(&path).map_err(AgencyError::io("remove", &path))?;
        }
    }
    Ok(())
}

impl Work<'_> {
    /// Evaluates padding elements under their salts, and sorts them.
    pub(super) fn evaluated_padding(
        &self,
        seed: &EpochSeed,
        parts: &[([u8; 32], u64)],
    ) -> Result<Sorted> {
        let mut spool = Spool::nameless(self.folder, self.layout, BITS)?;
        let no_type = || AgencyError::Bug("a collection without a type".to_owned());
        let key = self.keys.values().next().ok_or_else(no_type)?;
        let hmac = padding_key(seed);
        // A few batches for each core at a time, so that memory stays as it is.
        let at_once = 4 * rayon::current_num_threads().max(1);
        for (salt, count) in parts {
            let starts: Vec<u64> = (0..count.div_ceil(BATCH)).map(|n| n * BATCH).collect();
            for starts in starts.chunks(at_once) {
                let batch = |start: &u64| {
                    let range = *start..(*count).min(start + BATCH);
                    let records =
                        padding_records(self.kernel, key, self.layout, &hmac, salt, range);
                    // Workers are not this thread: nobody else wipes their stacks.
                    wipe_stack();
                    records
                };
                let batches: Vec<_> = starts.par_iter().map(batch).collect::<Result<_>>()?;
                for records in &batches {
                    let mut records = records.as_slice();
                    while let Some((record, rest)) = self.layout.next(records)? {
                        spool.push(Side::Real, &record)?;
                        records = rest;
                    }
                }
            }
        }
        spool.rest()?;
        let sorter = Sorter {
            columns: self.label_columns.len(),
            budget: BUDGET,
        };
        Ok(sorter.sort(&spool, Side::Real, |_| {})?.sorted)
    }
}
