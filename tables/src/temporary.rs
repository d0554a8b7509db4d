//! Files that are written beside their place and get their name when they are whole.
//!
//! A process that is killed leaves such a file behind, and what it holds may be matches in clear. So
//! whoever makes the next one in that folder removes those that nobody writes any more. One that is
//! being written is locked; the lock ends with the process, however that ends.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use tempfile::NamedTempFile;

/// Random letters in a name.
const RANDOM: usize = 6;
/// Another process may take a new file for an old one before it is locked; then there is a next.
const TRIES: usize = 16;

/// Makes a file in `folder`, mode 0600, whose name is `prefix`, some random letters, `suffix`; and
/// removes those of the same name and owner that were left behind.
///
/// # Errors
/// Of making the file. What cannot be removed stays.
pub fn beside(folder: &Path, prefix: &str, suffix: &str) -> io::Result<NamedTempFile> {
    let mut last = io::Error::other("new files are taken away as they are made");
    for _ in 0..TRIES {
        let file = tempfile::Builder::new()
            .prefix(prefix)
            .suffix(suffix)
            .rand_bytes(RANDOM)
            .tempfile_in(folder)
            .map_err(system)?;
        match file.as_file().try_lock() {
            Err(TryLockError::WouldBlock) => continue,
            // A file system without locks: then nothing is removed there either.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        match fs::symlink_metadata(file.path()) {
            Ok(meta) => {
                remove_left_behind(folder, prefix, suffix, meta.uid());
                return Ok(file);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// What the system says, without the temporary name, which nobody knows.
fn system(error: io::Error) -> io::Error {
    match error.get_ref() {
        // The kind is all that can be had of an error that names a path.
        Some(_) => error.kind().into(),
        None => error,
    }
}

fn remove_left_behind(folder: &Path, prefix: &str, suffix: &str, owner: u32) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name
            .to_str()
            .and_then(|name| name.strip_prefix(prefix)?.strip_suffix(suffix));
        let is_ours = random.is_some_and(|random| random.len() == RANDOM)
            && entry
                .metadata()
                .is_ok_and(|meta| meta.is_file() && meta.uid() == owner);
        if !is_ours {
            continue;
        }
        // Removed under the lock, so that its maker sees that it is gone.
        if let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_behind_goes_and_what_is_being_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(".out-abcdef.partial");
        let others = [
            "kept.partial",
            ".out-abcdef",
            ".out-abcdefg.partial",
            ".out-abc.partial",
        ];
        fs::write(&left, "matches").unwrap();
        for name in others {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join(".out-folder.partial")).unwrap();
        let first = beside(dir.path(), ".out-", ".partial").unwrap();
        assert!(!left.exists());
        let second = beside(dir.path(), ".out-", ".partial").unwrap();
        assert!(first.path().exists() && second.path().exists());
        for name in others {
            assert!(dir.path().join(name).exists(), "{name}");
        }
        drop((first, second));
        let names = fs::read_dir(dir.path()).unwrap();
        assert_eq!(names.count(), others.len() + 1);
    }

    /// Many at once take nothing away from each other.
    #[test]
    fn many_at_once_keep_what_they_make() {
        let dir = tempfile::tempdir().unwrap();
        let work = |n: usize| {
            for i in 0..50 {
                let file = beside(dir.path(), ".w-", "").unwrap();
                file.persist(dir.path().join(format!("{n}-{i}"))).unwrap();
            }
        };
        std::thread::scope(|scope| {
            for n in 0..4 {
                scope.spawn(move || work(n));
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 200);
    }
}
