//! Publishing a collection: table → records → elements → tags with sealed labels → snapshot.
//!
//! The table streams by once. What comes of a row is spilled, sealed, into partitions by tag prefix
//! ([`crate::spool`]); each partition is then sorted alone. So memory does not grow with the table,
//! and rows with the same element meet and share one label.

mod work;

use std::{
    fs::{File, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use tallystick_protocol::{
    group::Kernel,
    statements::{Hex, Line, Mode, Name},
};
use tallystick_tables::{Rejects, RejectsWriter, TableInput, Tally};

use self::work::Work;
use crate::{
    collections::{
        EpochSeed, Meta, TableSource, epoch_keys, profile_reference, rule_names, snapshot_path,
    },
    error::{AgencyError, Result},
    fs::{OWNER_FILE, create_owner_dir},
    home::Home,
    profiles,
    store::{Collection, Store},
};

/// What to publish.
#[derive(Debug)]
pub struct PublishOptions {
    /// Name of the collection.
    pub name: Name,
    /// The table.
    pub source: TableSource,
    /// What becomes of rejected keys.
    pub rejects: Rejects,
    /// Peers that may ask; all peers when `None`.
    pub allow: Option<Vec<Name>>,
    /// Elements one session may carry; the configuration's when `None`.
    pub max_session_elements: Option<u64>,
    /// Elements one peer may have evaluated under one key; the configuration's when `None`.
    pub peer_budget: Option<u64>,
    /// Whether to start a new epoch with new keys, and to destroy the old ones.
    pub rotate: bool,
}

/// Where a publication stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Copying standard input; measured in bytes, of which nobody knows how many come.
    Copying,
    /// Reading and evaluating; measured in bytes of the table.
    Evaluating,
    /// Sorting and sealing; measured in partitions.
    Sealing,
}

/// Told where a publication stands: stage, done, total.
pub type OnProgress<'a> = &'a (dyn Fn(Stage, u64, u64) + Sync);

/// What was published.
#[derive(Debug, Clone)]
pub struct Published {
    /// Epoch.
    pub epoch: u64,
    /// Digest of the snapshot.
    pub digest: Hex<32>,
    /// What became of the rows.
    pub tally: Tally,
    /// Distinct elements.
    pub distinct: u64,
    /// Tags in the snapshot, padding included.
    pub elements: u64,
    /// Bytes of a tag.
    pub tag_bytes: u32,
    /// Padded bytes of a label; 0 without labels.
    pub label_bytes: usize,
    /// Labels that name only the first of their records, because all would not fit.
    pub cut_labels: u64,
    /// Bytes of the snapshot.
    pub bytes: u64,
}

/// Publishes a collection. Nothing of it is visible until the store says so in the end: a crash
/// leaves the old snapshot in force.
///
/// # Errors
/// Those of the table, the disk, the configuration.
pub async fn publish(
    home: &Home,
    store: &dyn Store,
    kernel: &'static dyn Kernel,
    options: PublishOptions,
    now_ms: i64,
    progress: OnProgress<'_>,
) -> Result<Published> {
    // One publication of a collection at a time: two would make and destroy each other's keys.
    let _lock = lock(home, &options.name)?;
    let known = store.collection(options.name.as_str()).await?;
    let epoch = match &known {
        None => 1,
        // A removed collection's keys are gone: it comes back in a new epoch.
        // So are those of one that was withdrawn when a backup was restored.
        Some(known) if known.removed || options.rotate || known.snapshot_digest.is_none() => {
            known.epoch + 1
        }
        Some(known) => known.epoch,
    };
    let policy = &home.config().policy;
    let max_session_elements = options
        .max_session_elements
        .unwrap_or(policy.max_elements_per_session);
    let peer_budget = options
        .peer_budget
        .unwrap_or(policy.elements_per_peer_per_epoch);
    let mapping = options.source.mapping()?;
    let mut types: Vec<Name> = mapping
        .types()
        .iter()
        .map(|ty| {
            ty.name()
                .parse()
                .map_err(|_| AgencyError::Bug("a type's name".to_owned()))
        })
        .collect::<Result<_>>()?;
    types.sort();
    let label_columns = mapping.label().iter().map(|c| c.parse::<Line>());
    let label_columns: Vec<Line> = label_columns
        .collect::<Result<_, _>>()
        .map_err(|why| AgencyError::Usage(format!("a label column's name: {why}")))?;
    let format = options.source.format(&mapping);
    let scratch = home.collections_dir();
    let table = TableInput::named(&options.source.input, format, &scratch, |bytes| {
        progress(Stage::Copying, bytes, 0);
    })?
    .open()?;
    if let Some(allow) = &options.allow {
        for name in allow {
            if store.peer(name.as_str()).await?.is_none() {
                return Err(AgencyError::Usage(format!(
                    "--allow {name}: there is no such peer; see `tallyd peer list`"
                )));
            }
        }
    }

    let folder = home.collections_dir().join(options.name.as_str());
    let new_epoch = known.as_ref().is_none_or(|known| known.epoch != epoch);
    if new_epoch {
        EpochSeed::create(home, &options.name, epoch)?;
    }
    if !folder.is_dir() {
        create_owner_dir(&folder)?;
    }
    let work = Work {
        home,
        kernel,
        name: options.name.clone(),
        epoch,
        keys: epoch_keys(home, kernel, &options.name, epoch, Mode::Elements, &types)?,
        folder: &folder,
        max_session_elements,
        label_columns: label_columns.clone(),
        profile: profile_reference(mapping.profile())?,
        now_ms,
    };
    let done = work.run(&table, &mapping, &options.rejects, progress);
    let done = done.and_then(|(sealed, rejects)| {
        rejects.map(RejectsWriter::finish).transpose()?;
        Ok(sealed)
    });
    let sealed = match done {
        Ok(sealed) => sealed,
        Err(error) => {
            // A publication that failed leaves no key and no empty folder. What cannot be removed
            // now is replaced by the next publication.
            if new_epoch {
                let _ = EpochSeed::destroy(home, &options.name, epoch);
                let _ = std::fs::remove_dir(&folder);
            }
            return Err(error);
        }
    };
    let rules = types.iter().map(|ty| {
        let names = rule_names(mapping.profile(), ty)?;
        Ok((ty.clone(), names))
    });
    let meta = Meta {
        rules: rules.collect::<Result<_>>()?,
        types,
        profile: profile_reference(mapping.profile())?,
        label_columns,
        elements: sealed.elements,
        tag_bytes: sealed.tag_bytes,
        rows: sealed.tally.rows,
        max_session_elements,
        peer_budget,
        epoch_started_ms: match &known {
            Some(known) if !new_epoch => Meta::of(known)?.epoch_started_ms.or(known.published_ms),
            _ => Some(now_ms),
        },
        allow: options.allow,
        source: absolute(options.source)?,
    };
    let now_in_force = Collection {
        name: options.name.to_string(),
        epoch,
        meta: meta.to_text()?,
        snapshot_digest: Some(sealed.digest.0),
        published_ms: Some(now_ms),
        removed: false,
    };
    if let Err(error) = store.upsert_collection(&now_in_force).await {
        // A full disk, say: what takes room is given back, once it is sure that it is not in force.
        if let Ok(other) = store.collection(options.name.as_str()).await
            && other.is_none_or(|other| other.snapshot_digest != Some(sealed.digest.0))
        {
            let path = snapshot_path(home, options.name.as_str(), &sealed.digest.0);
            let _ = std::fs::remove_file(path);
            if new_epoch {
                let _ = EpochSeed::destroy(home, &options.name, epoch);
                let _ = std::fs::remove_dir(&folder);
            }
        }
        return Err(error);
    }
    if let Some(known) = known {
        forget(home, &options.name, &known, epoch, &sealed.digest)?;
    }
    Ok(sealed)
}

/// Holds a collection for one publication or removal, until the file is dropped. The files are empty
/// and stay.
pub(crate) fn lock(home: &Home, name: &Name) -> Result<File> {
    let path = home.collections_dir().join(format!(".{name}.lock"));
    let open = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_FILE)
        .open(&path);
    let file = open.map_err(AgencyError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AgencyError::Usage(format!(
            "{name} is being published or removed by another process; wait until it has ended"
        ))),
        Err(TryLockError::Error(source)) => Err(AgencyError::io("lock", &path)(source)),
    }
}

/// After a new snapshot is in force: drops what the old one leaves behind. The last snapshot of the
/// same epoch stays for sessions that were granted with it.
fn forget(
    home: &Home,
    name: &Name,
    known: &Collection,
    epoch: u64,
    digest: &Hex<32>,
) -> Result<()> {
    let mut keep = vec![snapshot_path(home, name.as_str(), &digest.0)];
    if known.epoch == epoch {
        keep.extend(
            known
                .snapshot_digest
                .map(|old| snapshot_path(home, name.as_str(), &old)),
        );
    }
    // Also within an epoch: a rotation that died here left the old keys.
    EpochSeed::destroy_before(home, name, epoch)?;
    remove_snapshots(home, name.as_str(), &keep)
}

/// Takes a collection off: its keys and snapshots go, what was charged stays known.
///
/// # Errors
/// `Usage` if there is no such collection.
pub async fn remove(home: &Home, store: &dyn Store, name: &Name) -> Result<()> {
    let _lock = lock(home, name)?;
    let known = store
        .collection(name.as_str())
        .await?
        .filter(|known| !known.removed);
    let known = known.ok_or_else(|| {
        AgencyError::Usage(format!(
            "there is no collection {name}; see `tallyd collection list`"
        ))
    })?;
    store.remove_collection(name.as_str()).await?;
    EpochSeed::destroy_before(home, name, known.epoch + 1)?;
    remove_snapshots(home, name.as_str(), &[])
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
                EpochSeed::destroy_before(home, &name, known.epoch + 1)?;
                remove_snapshots(home, name.as_str(), &[])?;
            }
            Some(known) => EpochSeed::destroy_before(home, &name, known.epoch)?,
            None => {}
        }
    }
    Ok(())
}

fn remove_snapshots(home: &Home, name: &str, keep: &[std::path::PathBuf]) -> Result<()> {
    let folder = home.collections_dir().join(name);
    let entries = std::fs::read_dir(&folder).map_err(AgencyError::io("read", &folder))?;
    for entry in entries {
        let path = entry.map_err(AgencyError::io("read", &folder))?.path();
        if path.extension().is_some_and(|e| e == "snapshot") && !keep.contains(&path) {
            std::fs::remove_file(&path).map_err(AgencyError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Paths as they will be found from another working directory.
fn absolute(mut source: TableSource) -> Result<TableSource> {
    let whole = |path: &Path| std::path::absolute(path).map_err(AgencyError::io("find", path));
    if !TableInput::is_standard(&source.input) {
        source.input = whole(&source.input)?;
    }
    source.mapping = source.mapping.as_deref().map(whole).transpose()?;
    // What it says, and not where it is: the next epoch may find another file there, or none.
    if let Some(name) = source.profile.as_mut() {
        *name = profiles::text(name)?;
    }
    Ok(source)
}
