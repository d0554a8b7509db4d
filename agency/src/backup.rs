//! A copy of a home while it is in use, and a home from such a copy.
//!
//! The database is copied first, as it stands at one moment, and the files after it: they hold
//! everything that the copied database speaks of, and perhaps a little more. Publications wait
//! meanwhile. What was charged after the copy is not in it. So a home that is restored offers nothing
//! until each collection has a new epoch, under a number that the lost home cannot have used.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tallystick_protocol::statements::Name;
use tempfile::TempDir;

use crate::{
    clock::now_ms,
    collections::EPOCH_SECRET,
    config,
    error::{AgencyError, Result},
    fs::{OWNER_DIR, OWNER_FILE, atomic_write, create_owner_dir, parent_of, read_text, sync_dir},
    home::{self, Home},
    publish, records,
    store::{SessionStatus, SqliteStore, Store},
};

/// The file that makes a folder a backup. There is no `VERSION` in it, so that nobody serves it.
const BACKUP_FILE: &str = "BACKUP";
const VERSION_FILE: &str = "VERSION";
const DATABASE: &str = "state.db";
const SCHEMA: &str = "tallyd.backup/1";
/// Folders with everything in them; `cache` can be fetched again. But not the keys of epochs: what is
/// restored begins new ones, so that in a backup they would serve nobody but a thief.
const FOLDERS: [&str; 4] = ["keys", "tls", "collections", "records"];
/// Files that are copied if they are there. Not the passphrase: with it a backup is open to anybody.
const FILES: [&str; 2] = [config::FILE_NAME, "exported.peer"];
/// By how much an epoch's number is raised: more rotations than happen between two backups.
const EPOCHS_SKIPPED: u64 = 1000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    schema: String,
    /// Of the home's layout.
    format: u64,
    name: String,
    created_ms: i64,
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// Name of the agency.
    pub name: String,
    /// When the backup was made.
    pub created_ms: i64,
    /// What was copied.
    pub copied: Copied,
    /// Collections that wait for a new epoch.
    pub withdrawn: Vec<String>,
}

/// Copies a home into a folder that is not there yet, all or nothing.
///
/// # Errors
/// `Usage` if the folder is there, or a collection is being published; those of the disk.
pub async fn backup(
    home: &Home,
    store: &SqliteStore,
    target: &Path,
    now_ms: i64,
) -> Result<Copied> {
    let staging = staging(target)?;
    let mut locks = Vec::new();
    for known in store.list_collections().await? {
        let name: Name = known
            .name
            .parse()
            .map_err(|_| AgencyError::Bug("a stored collection has an invalid name".to_owned()))?;
        locks.push(publish::lock(home, &name)?);
    }
    let into = staging.path();
    store.copy_to(&into.join(DATABASE)).await?;
    let mut copied = Copied::default();
    count(&into.join(DATABASE), &mut copied)?;
    copy_parts(home.dir(), into, &mut copied)?;
    let label = Label {
        schema: SCHEMA.to_owned(),
        format: home::FORMAT,
        name: home.config().name.clone(),
        created_ms: now_ms,
    };
    let text = serde_json::to_string(&label).map_err(|e| AgencyError::Bug(e.to_string()))?;
    atomic_write(&into.join(BACKUP_FILE), text.as_bytes(), OWNER_FILE)?;
    drop(locks);
    publish_folder(staging, target)?;
    Ok(copied)
}

/// Makes a home of a backup, in a folder that is not there yet, all or nothing. Collections are
/// withdrawn: the first publication of each starts a new epoch.
///
/// # Errors
/// `Usage` if `source` is no backup or the folder is there; `NewerFormat`; those of the disk.
pub async fn restore(source: &Path, target: &Path) -> Result<Restored> {
    let file = source.join(BACKUP_FILE);
    let strange = || {
        AgencyError::Usage(format!(
            "{} is not a backup; name a folder that `tallyd backup` has made",
            source.display()
        ))
    };
    if !file.is_file() {
        return Err(strange());
    }
    let label: Label = serde_json::from_str(&read_text(&file)?).map_err(|_| strange())?;
    if label.schema != SCHEMA || label.format > home::FORMAT {
        return Err(AgencyError::NewerFormat {
            what: format!("the backup {}", source.display()),
            found: label.format,
            known: home::FORMAT,
        });
    }
    let staging = staging(target)?;
    let into = staging.path();
    let mut copied = Copied::default();
    copy_file(&source.join(DATABASE), &into.join(DATABASE), &mut copied)?;
    copy_parts(source, into, &mut copied)?;
    for folder in ["cache", "cache/snapshots"] {
        create_owner_dir(&into.join(folder))?;
    }
    let store = SqliteStore::open(&into.join(DATABASE)).await?;
    let withdrawn = withdraw(&store).await?;
    set_aside(&store, &into.join("records")).await?;
    store.close().await;
    let version = format!("{}\n", label.format);
    atomic_write(&into.join(VERSION_FILE), version.as_bytes(), OWNER_FILE)?;
    publish_folder(staging, target)?;
    Ok(Restored {
        name: label.name,
        created_ms: label.created_ms,
        copied,
        withdrawn,
    })
}

/// Takes the snapshot of each collection out of force, and its epoch's number to where the lost home
/// has not been.
async fn withdraw(store: &SqliteStore) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for mut known in store.list_collections().await? {
        known.epoch += EPOCHS_SKIPPED;
        known.snapshot_digest = None;
        known.published_ms = None;
        store.upsert_collection(&known).await?;
        names.push(known.name);
    }
    Ok(names)
}

/// Ends what was under way. The lost home may have closed these sessions since, so nothing more is
/// signed in them; what their records hold is kept.
async fn set_aside(store: &SqliteStore, dir: &Path) -> Result<()> {
    for session in records::open_ones(dir)? {
        records::set_aside(dir, &session)?;
    }
    for known in store.open_sessions().await? {
        store
            .close_session(&known.session, SessionStatus::Aborted, None, now_ms())
            .await?;
    }
    Ok(())
}

/// A folder beside the one that is wanted.
fn staging(target: &Path) -> Result<TempDir> {
    if target.exists() {
        return Err(AgencyError::Usage(format!(
            "{} is there already; name a new folder",
            target.display()
        )));
    }
    let place = parent_of(target)?;
    tempfile::Builder::new()
        .prefix(".tally-copy-")
        .permissions(fs::Permissions::from_mode(OWNER_DIR))
        .tempdir_in(place)
        .map_err(AgencyError::io("create a folder in", place))
}

fn publish_folder(staging: TempDir, target: &Path) -> Result<()> {
    sync_dir(staging.path())?;
    fs::rename(staging.path(), target).map_err(AgencyError::io("create", target))?;
    // Moved: there is nothing left to remove.
    let _ = staging.keep();
    sync_dir(parent_of(target)?)
}

fn copy_parts(from: &Path, into: &Path, copied: &mut Copied) -> Result<()> {
    for name in FILES {
        if from.join(name).exists() {
            copy_file(&from.join(name), &into.join(name), copied)?;
        }
    }
    for name in FOLDERS {
        copy_folder(&from.join(name), &into.join(name), copied)?;
    }
    Ok(())
}

/// Copies a folder; what begins with a dot is a lock or half made, and is left.
fn copy_folder(from: &Path, into: &Path, copied: &mut Copied) -> Result<()> {
    create_owner_dir(into)?;
    for entry in fs::read_dir(from).map_err(AgencyError::io("read", from))? {
        let path: PathBuf = entry.map_err(AgencyError::io("read", from))?.path();
        let Some(name) = path.file_name() else {
            continue;
        };
        let starts = |prefix: &str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
        // Nor what a shift is asking at this moment: it is of travellers, and of no use to a restored home.
        let journal = path.extension().is_some_and(|ending| {
            let ending = ending.as_encoded_bytes();
            ending == b"shift" || ending == b"shift-next"
        });
        if starts(".") || starts(EPOCH_SECRET) || journal {
            continue;
        }
        if path.is_symlink() {
            return Err(AgencyError::Usage(format!(
                "{} is a link; a home and a backup have none",
                path.display()
            )));
        }
        let target = into.join(name);
        match path.is_dir() {
            true => copy_folder(&path, &target, copied)?,
            false => match copy_file(&path, &target, copied) {
                // A record that was open is closed under another name meanwhile; that one is copied
                // below, or belongs to what came after the database's copy.
                Err(AgencyError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    renamed(&path, into, copied)?;
                }
                other => other?,
            },
        }
    }
    sync_dir(into)
}

/// The record that an open record became while the folder was read.
fn renamed(path: &Path, into: &Path, copied: &mut Copied) -> Result<()> {
    let closed = path.with_extension("tally");
    match (path.extension(), closed.file_name()) {
        (Some(part), Some(name)) if part == "part" && closed.exists() => {
            copy_file(&closed, &into.join(name), copied)
        }
        // Gone for good: a secret or a snapshot of something that was given up.
        _ => Ok(()),
    }
}

fn copy_file(from: &Path, into: &Path, copied: &mut Copied) -> Result<()> {
    fs::copy(from, into).map_err(AgencyError::io("copy", from))?;
    fs::set_permissions(into, fs::Permissions::from_mode(OWNER_FILE))
        .map_err(AgencyError::io("set the mode of", into))?;
    fs::File::open(into)
        .and_then(|file| file.sync_all())
        .map_err(AgencyError::io("sync", into))?;
    count(into, copied)
}

fn count(path: &Path, copied: &mut Copied) -> Result<()> {
    let meta = fs::metadata(path).map_err(AgencyError::io("read", path))?;
    copied.files += 1;
    copied.bytes += meta.len();
    Ok(())
}
