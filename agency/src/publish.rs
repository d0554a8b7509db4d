//! Publishing a collection: table → records → elements → tags with sealed labels → snapshot.
//!
//! The table streams by once. What comes of a row is spooled, sealed, into partitions by tag prefix;
//! each partition is then sorted alone, in memory that has a limit, into one sorted run; that and the
//! padding, sorted likewise, become the snapshot. So memory does not grow with the table, and rows with
//! the same element meet and share one label. A publication that was killed goes on where it stopped
//! (`unfinished`).

mod blocks;
mod delta;
mod flow;
mod kind;
mod labels;
mod reading;
mod record;
mod removal;
mod sort;
mod spool;
#[cfg(test)]
mod tests;
mod unfinished;
mod work;
mod writing;

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tallystick_protocol::{
    group::Kernel,
    statements::{Hex, Line, Mode, Name},
};
use tallystick_tables::{Rejects, RejectsWriter, TableInput, Tally};

pub use self::{
    delta::damaged_deltas,
    kind::ListTerms,
    removal::{finish_broken_off, never_in_force, remove},
    unfinished::is_unfinished,
};
use self::{
    record::Layout,
    removal::{forget, remove_snapshots, withdraw},
    unfinished::{Binding, Found},
    work::Work,
};
use crate::{
    collections::{
        EpochKeys, EpochSeed, Meta, TableSource, epoch_keys, profile_reference, public_keys,
        rule_names,
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
    /// The same for single types; for those not named here, as before.
    pub type_budgets: BTreeMap<Name, u64>,
    /// What the list says of itself.
    pub list: ListTerms,
    /// Whether to start a new epoch with new keys, and to destroy the old ones.
    pub rotate: bool,
    /// Whether to publish a whole snapshot also where a delta from the one in force would do.
    pub full: bool,
}

/// Where a publication stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Copying standard input; measured in bytes, of which nobody knows how many come.
    Copying,
    /// Reading again what a publication that was killed had spooled; measured in bytes of the table.
    Resuming,
    /// Reading and evaluating; measured in bytes of the table.
    Evaluating {
        /// Elements that this run has evaluated: with the clock, its rate.
        elements: u64,
    },
    /// Sorting; measured in partitions.
    Sorting,
    /// Comparing with the snapshot in force; measured in buckets.
    Comparing,
    /// Evaluating padding; measured in elements.
    Padding,
    /// Sealing labels and writing; measured in elements, of a delta in buckets.
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
    /// The delta from the snapshot that was in force, if one was published.
    pub delta: Option<PublishedDelta>,
    /// Why there is none, where a snapshot of the same epoch was in force and nobody asked for a whole one.
    pub no_delta: Option<NoDelta>,
    /// Elements that a publication which was killed had evaluated, and this one did not evaluate again.
    pub resumed: u64,
    /// Whether there was such a publication, but of another table, mapping or list in force: it was
    /// thrown away.
    pub restarted: bool,
    /// Label columns of the list that was in force, if this one has no labels any more.
    pub labels_dropped: Vec<Line>,
}

/// Why a whole snapshot was published beside one of the same epoch. Its padding is other padding, so
/// whoever holds both sees which tags of both are elements (spec section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoDelta {
    /// The snapshot in force, or what is kept of its padding, is not there, or not whole.
    NoBase,
    /// As many deltas lead from the last whole snapshot as may be.
    Chain,
    /// Size of tags, length of labels, columns, keys, profile or the publisher's identity changed, or
    /// the clock went back.
    Form,
    /// More changed than the padding or a quarter of the tags allows.
    Changes,
}

impl NoDelta {
    /// Stable, for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoBase => "no-base",
            Self::Chain => "chain",
            Self::Form => "form",
            Self::Changes => "changes",
        }
    }

    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoBase => "what a delta would lead from is not there or not whole",
            Self::Chain => "as many deltas as may be lead from the last whole snapshot",
            Self::Form => "tags, labels, columns, keys or profile have another form than before",
            Self::Changes => "more changed than a delta holds",
        }
    }
}

/// A delta that was published: all of it is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedDelta {
    /// Its bytes.
    pub bytes: u64,
    /// Tags that came, and as many that went, padding among them.
    pub exchanged: u64,
    /// Labels that changed, others among them that were sealed anew.
    pub relabelled: u64,
}

/// Publishes a collection. Nothing of it is visible until the store says so in the end: a crash
/// leaves the old snapshot in force. After a crash the same call with the same table goes on where the
/// last checkpoint was; an error throws away what was begun.
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
    // What is not said is as before: a list is published again each night, and its limits are not to
    // widen the night that a flag is forgotten.
    let before = match &known {
        Some(known) if !known.removed => Some(Meta::of(known)?),
        _ => None,
    };
    let max_session_elements = options
        .max_session_elements
        .or(before.as_ref().map(|before| before.max_session_elements))
        .unwrap_or(policy.max_elements_per_session);
    let peer_budget = options
        .peer_budget
        .or(before.as_ref().map(|before| before.peer_budget))
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
    let type_budgets = type_budgets(&types, before.as_ref(), &options.type_budgets)?;
    let input = &options.source.input;
    let list = options.list.resolve(before.as_ref(), &types, input, now_ms);
    let (kind, covers) = list?;
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
    let profile = profile_reference(mapping.profile())?;
    let layout = Layout::new(max_session_elements, !label_columns.is_empty());
    let derive = || epoch_keys(home, kernel, &options.name, epoch, Mode::Elements, &types);
    let binding = |keys: &EpochKeys| {
        let keys = public_keys(keys);
        let binding = Binding {
            name: &options.name,
            epoch,
            in_force: known.as_ref().and_then(|known| known.snapshot_digest),
            keys: &keys,
            profile: &profile,
            mapping: &mapping,
            label_columns: &label_columns,
            layout,
        };
        binding.digest()
    };
    let left = unfinished::has_checkpoint(home, &options.name);
    // The keys of a new epoch that was begun are kept with what was evaluated under them: nothing of
    // either has left this home.
    let found = match Found::read(home, &options.name)? {
        None => None,
        Some(found) => match derive() {
            Ok(keys) => found.is_of(binding(&keys)).then_some((found, keys)),
            // A disk that fails for a moment throws away no hours of work.
            Err(error) if is_passing(&error) => return Err(error),
            Err(_) => None,
        },
    };
    let (found, keys) = match found {
        Some((found, keys)) => (Some(found), keys),
        None => {
            // Before the key: whatever a killed publication leaves is found by its folder.
            if !folder.is_dir() {
                create_owner_dir(&folder)?;
            }
            if new_epoch {
                EpochSeed::create(home, &options.name, epoch)?;
            }
            (None, derive()?)
        }
    };
    let thrown_away = left && found.is_none();
    let work = Work {
        home,
        kernel,
        name: options.name.clone(),
        epoch,
        binding: binding(&keys),
        keys,
        folder: &folder,
        max_session_elements,
        label_columns: label_columns.clone(),
        profile: profile.clone(),
        kind,
        covers: covers.clone(),
        layout,
        base: match &known {
            Some(known) if !new_epoch && !options.full => known.snapshot_digest,
            _ => None,
        },
        now_ms,
    };
    let done = work.run(&table, &mapping, &options.rejects, found, progress);
    let done = done.and_then(|(mut sealed, rejects)| {
        sealed.restarted |= thrown_away;
        if let Some(before) = before.as_ref().filter(|_| label_columns.is_empty()) {
            sealed.labels_dropped.clone_from(&before.label_columns);
        }
        let kept = rejects.map(RejectsWriter::finish).transpose();
        kept.inspect_err(|_| withdraw(home, &options.name, &sealed.digest))?;
        Ok(sealed)
    });
    let sealed = match done {
        Ok(sealed) => sealed,
        Err(error) => {
            // A publication that failed leaves no spool, no key and no empty folder. What cannot be
            // removed now is replaced by the next publication.
            let _ = unfinished::discard(home, &options.name);
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
        profile,
        label_columns,
        elements: sealed.elements,
        tag_bytes: sealed.tag_bytes,
        rows: sealed.tally.rows,
        max_session_elements,
        peer_budget,
        type_budgets,
        kind,
        covers,
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
            withdraw(home, &options.name, &sealed.digest);
            let _ = unfinished::discard(home, &options.name);
            if new_epoch {
                let _ = EpochSeed::destroy(home, &options.name, epoch);
                let _ = std::fs::remove_dir(&folder);
            }
        }
        return Err(error);
    }
    unfinished::discard(home, &options.name)?;
    match &known {
        Some(known) => forget(home, &options.name, known, epoch, &sealed.digest)?,
        // One that was killed before it was in force may have left its snapshot.
        None => {
            remove_snapshots(home, &options.name, &[sealed.digest.0])?;
        }
    }
    Ok(sealed)
}

/// The budgets of single types: what is said, else as before, of types that are still offered.
fn type_budgets(
    types: &[Name],
    before: Option<&Meta>,
    said: &BTreeMap<Name, u64>,
) -> Result<BTreeMap<Name, u64>> {
    if let Some(name) = said.keys().find(|name| !types.contains(name)) {
        let offered = types.iter().map(Name::as_str).collect::<Vec<_>>();
        return Err(AgencyError::Usage(format!(
            "a budget for {name}, which is no type of this collection: it has {}",
            offered.join(", ")
        )));
    }
    let mut budgets = before.map_or_else(BTreeMap::new, |before| before.type_budgets.clone());
    budgets.retain(|name, _| types.contains(name));
    budgets.extend(said.clone());
    Ok(budgets)
}

/// How long a publication waits for another that ends, or for one who only looks ([`is_unfinished`]).
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Holds a collection for one publication or removal, until the file is dropped. The files are empty
/// and stay.
pub(crate) fn lock(home: &Home, name: &Name) -> Result<File> {
    let path = lock_path(home, name);
    let open = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_FILE)
        .open(&path);
    let file = open.map_err(AgencyError::io("open", &path))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => {
                return Err(AgencyError::io("lock", &path)(source));
            }
        }
    }
    Err(AgencyError::Usage(format!(
        "{name} is being published or removed by another process; wait until it has ended"
    )))
}

/// Whether an error says nothing about what lies on the disk: it may be read another time.
fn is_passing(error: &AgencyError) -> bool {
    matches!(error, AgencyError::Io { source, .. } if source.kind() != ErrorKind::NotFound)
}

fn lock_path(home: &Home, name: &Name) -> PathBuf {
    home.collections_dir().join(format!(".{name}.lock"))
}

/// Whether nobody holds a collection. Looks for a moment, creates nothing, and keeps no publication from
/// its lock for longer than that.
fn is_free(home: &Home, name: &Name) -> bool {
    let held = File::open(lock_path(home, name)).map(|file| file.try_lock_shared().is_err());
    match held {
        Ok(held) => !held,
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
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
