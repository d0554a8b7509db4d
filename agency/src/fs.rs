//! Files that must survive a crash and that others must not read.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};
use tallystick_tables::temporary;
use zeroize::Zeroizing;

use crate::error::{AgencyError, Result};

/// The mode of files that only their owner may read.
pub const OWNER_FILE: u32 = 0o600;
/// The mode of folders that only their owner may enter.
pub const OWNER_DIR: u32 = 0o700;

/// How the names of temporary siblings begin.
const TEMPORARY: &str = ".tally-write-";

/// Replaces `path` with `bytes`, all or nothing.
///
/// The bytes go to a temporary sibling, which is synced, given `mode` and renamed over `path`;
/// then the folder is synced. After a crash the file holds the old bytes or the new ones, and the
/// next write in the folder removes a sibling that was left behind.
pub fn atomic_write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let parent = parent_of(path)?;
    let mut temporary = temporary::beside(parent, TEMPORARY, "")
        .map_err(AgencyError::io("create a file in", parent))?;
    temporary
        .write_all(bytes)
        .map_err(AgencyError::io("write", path))?;
    // The umask may have taken bits away, so the mode is set, not asked for at creation.
    temporary
        .as_file()
        .set_permissions(fs::Permissions::from_mode(mode))
        .map_err(AgencyError::io("set the mode of", path))?;
    temporary
        .as_file()
        .sync_all()
        .map_err(AgencyError::io("sync", path))?;
    temporary
        .persist(path)
        .map_err(|e| AgencyError::io("write", path)(e.error))?;
    sync_dir(parent)
}

/// Makes renames, creations and removals inside `dir` durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(AgencyError::io("sync", dir))
}

/// Creates one folder with mode 0700. An existing folder is an error.
pub fn create_owner_dir(dir: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .mode(OWNER_DIR)
        .create(dir)
        .map_err(AgencyError::io("create", dir))
}

/// Creates an empty file with mode 0600 unless it is there already.
pub fn touch_owner_file(path: &Path) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_FILE)
        .open(path)
        .map(drop)
        .map_err(AgencyError::io("create", path))
}

/// Refuses a file or folder that group or others can reach. `want` is the mode the message names.
pub fn require_owner_only(path: &Path, want: u32) -> Result<()> {
    let mode = fs::metadata(path)
        .map_err(AgencyError::io("read", path))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(AgencyError::Permissions {
            path: path.to_path_buf(),
            mode,
            want,
        });
    }
    Ok(())
}

/// Reads a file that only its owner may read, wiped from memory on drop. Others' access is refused.
pub fn read_owner_file(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    require_owner_only(path, OWNER_FILE)?;
    fs::read(path)
        .map(Zeroizing::new)
        .map_err(AgencyError::io("read", path))
}

/// SHA-256 of a file, read as a stream.
pub fn file_digest(path: &Path) -> Result<[u8; 32]> {
    let fail = |e| AgencyError::io("read", path)(e);
    let mut file = File::open(path).map_err(fail)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        match file.read(&mut buffer).map_err(fail)? {
            0 => return Ok(hash.finalize().into()),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Free bytes for this user where `path` lies. `None` if the system does not tell.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let found = nix::sys::statvfs::statvfs(path).ok()?;
    Some(
        found
            .blocks_available()
            .saturating_mul(found.fragment_size()),
    )
}

/// Reads a whole text file.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(AgencyError::io("read", path))
}

/// The folder that holds `path`.
pub(crate) fn parent_of(path: &Path) -> Result<&Path> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(parent) => Ok(parent),
        None => Err(AgencyError::Usage(format!(
            "{} has no parent folder",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_replaces_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        atomic_write(&path, b"one", 0o600).unwrap();
        atomic_write(&path, b"two", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn open_file_is_refused_with_the_command_that_fixes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        atomic_write(&path, b"secret", 0o640).unwrap();
        let error = read_owner_file(&path).unwrap_err();
        assert_eq!(error.code(), "permissions");
        assert!(
            error
                .to_string()
                .contains(&format!("chmod 600 '{}'", path.display()))
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(&read_owner_file(&path).unwrap()[..], b"secret");
    }
}
