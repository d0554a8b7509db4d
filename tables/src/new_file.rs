//! Outputs: written beside their place, there whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{
    error::TableError,
    source::{Header, io_error},
    temporary,
};

/// A file (mode 0600) that gets its name when it is whole. Dropping it removes it; what a killed
/// process left goes with the next output in that folder.
pub(crate) struct NewFile {
    temporary: NamedTempFile,
    path: PathBuf,
    force: bool,
}

impl NewFile {
    /// Without `force` an existing path is refused, now and again at the end; with it a regular file
    /// is replaced, never a directory, device or link. The table that is read is never replaced.
    pub(crate) fn create(path: &Path, force: bool, own: &Header) -> Result<Self, TableError> {
        // Replacing the table by its own result would lose it.
        if let (Ok(out), Ok(table)) = (fs::metadata(path), fs::metadata(own.file()))
            && (out.dev(), out.ino()) == (table.dev(), table.ino())
        {
            return Err(TableError::OutputIsInput {
                file: path.to_owned(),
            });
        }
        if let Ok(meta) = fs::symlink_metadata(path)
            && !(force && meta.is_file())
        {
            return Err(exists(path));
        }
        // Such a name could not be given to a file at the end.
        if path.as_os_str().as_bytes().ends_with(b"/") {
            let source = io::Error::from(io::ErrorKind::IsADirectory);
            return Err(io_error(path, "create the output", source));
        }
        let temporary = temporary::beside(directory(path), ".tally-", ".partial")
            .map_err(|e| io_error(path, "create the output", e))?;
        Ok(Self {
            temporary,
            path: path.to_owned(),
            force,
        })
    }

    /// Syncs it and gives it its name.
    pub(crate) fn finish(self) -> Result<(), TableError> {
        let Self {
            temporary,
            path,
            force,
        } = self;
        let error = |e| io_error(&path, "write the output", e);
        temporary.as_file().sync_all().map_err(error)?;
        let persisted = if force {
            temporary.persist(&path)
        } else {
            temporary.persist_noclobber(&path)
        };
        persisted.map_err(|e| match e.error.kind() {
            io::ErrorKind::AlreadyExists => exists(&path),
            _ => error(e.error),
        })?;
        // The name is safe only once the directory is.
        let synced = File::open(directory(&path)).and_then(|d| d.sync_all());
        synced.map_err(error)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.flush()
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn exists(path: &Path) -> TableError {
    TableError::Exists {
        file: path.to_owned(),
    }
}
