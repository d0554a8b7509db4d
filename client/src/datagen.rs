//! Synthetic tables to try things on: two lists with a known overlap; for the desk, see [`desk`].
//!
//! Nothing in them is real. The same sizes and seed give the same bytes on every platform and in
//! every version: the generator is SplitMix64 (Steele, Lea, Flood 2014), written out below, because
//! generators of libraries do not promise their values. It is no source of secrets.
//!
//! Everything is computed from a row's number, so that rows stream and memory stays the same for
//! any size. A keyed permutation turns the number of a person into a document number, which is
//! unique by construction, and another one shuffles each table.

pub mod desk;
mod people;
mod prng;

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use people::{MAX_PEOPLE, People};
use prng::{Permutation, mix};

/// The border list, one line for each crossing. Document numbers are written as people type them.
pub const OURS: &str = "ours.csv";
/// The watchlist.
pub const THEIRS: &str = "theirs.csv";
/// The documents that stand in both, in canonical form.
pub const TRUTH: &str = "truth.csv";

const OURS_HEADER: &str = "document,state,surname,given_names,birth_date,crossed_at,lane";
const THEIRS_HEADER: &str = "document,state,name,birth_date,case_ref,handling";
const TRUTH_HEADER: &str = "document,state";

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Path of the border list.
    pub ours: PathBuf,
    /// Path of the watchlist.
    pub theirs: PathBuf,
    /// Path of the documents in both.
    pub truth: PathBuf,
    /// Rows of the border list.
    pub ours_rows: u64,
    /// Rows of the watchlist.
    pub theirs_rows: u64,
    /// Rows of the truth.
    pub overlap: u64,
}

/// Why no data was made. Whose fault: the command line's, except `Io`.
#[derive(Debug, thiserror::Error)]
pub enum DatagenError {
    /// More documents in both lists than one of them has rows.
    #[error(
        "an overlap of {overlap} does not fit into lists of {ours} and {theirs} rows; ask for at \
         most {}", .ours.min(.theirs)
    )]
    Overlap {
        /// Rows of the border list.
        ours: u64,
        /// Rows of the watchlist.
        theirs: u64,
        /// What was asked for.
        overlap: u64,
    },
    /// More rows than there are document numbers.
    #[error("there are document numbers for at most {limit} rows in all; ask for fewer")]
    TooMany {
        /// The most rows.
        limit: u64,
    },
    /// A register that is too small for what is to be presented.
    #[error(
        "the register has too few documents to present {each} of each class; make at least {}, or \
         present fewer", .each.saturating_mul(25).max(25)
    )]
    TooFew {
        /// Presented documents of each class.
        each: u64,
    },
    /// One of the files exists.
    #[error(
        "{}: exists already and was left as it is; choose another folder, or use --force to \
         replace it", .file.display()
    )]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: cannot write: {source}", .file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
}

impl DatagenError {
    /// The stable code, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Overlap { .. } => "datagen-overlap",
            Self::TooMany { .. } => "datagen-too-many",
            Self::TooFew { .. } => "datagen-too-few",
            Self::Exists { .. } => "datagen-exists",
            Self::Io { .. } => "datagen-io",
        }
    }
}

/// Writes [`OURS`], [`THEIRS`] and [`TRUTH`] into `dir`, which is made if need be.
///
/// `ours` and `theirs` are rows; exactly `overlap` documents stand in both, and no document twice
/// in one list. The key of both is `document=document,state`. Each file is whole or absent, and
/// existing ones are replaced only with `force`.
///
/// # Errors
/// [`DatagenError`]; nothing is written for a wrong size.
pub fn generate(
    dir: impl AsRef<Path>,
    ours: u64,
    theirs: u64,
    overlap: u64,
    seed: u64,
    force: bool,
) -> Result<Summary, DatagenError> {
    let dir = dir.as_ref();
    if overlap > ours.min(theirs) {
        return Err(DatagenError::Overlap {
            ours,
            theirs,
            overlap,
        });
    }
    // The overlap is at most `ours`, so it is taken off before the sum can overflow.
    let people = (ours - overlap).checked_add(theirs);
    if people.is_none_or(|n| n > MAX_PEOPLE) {
        return Err(DatagenError::TooMany { limit: MAX_PEOPLE });
    }
    let people = People::new(seed);
    let paths = [OURS, THEIRS, TRUTH].map(|name| dir.join(name));
    let [ours_path, theirs_path, truth_path] = &paths;
    if !force && let Some(file) = paths.iter().find(|p| p.symlink_metadata().is_ok()) {
        return Err(DatagenError::Exists { file: file.clone() });
    }
    fs::create_dir_all(dir).map_err(io_error(dir))?;

    // People 0..overlap stand in both, then come those of ours alone, then those of theirs alone.
    let order = Permutation::new(ours, mix(seed, 1));
    let ours_file = write_table(ours_path, OURS_HEADER, |out| {
        (0..ours).try_for_each(|line| people.write_ours(out, order.get(line), line, ours))
    })?;
    let order = Permutation::new(theirs, mix(seed, 2));
    let theirs_file = write_table(theirs_path, THEIRS_HEADER, |out| {
        (0..theirs).try_for_each(|line| {
            let i = order.get(line);
            let person = if i < overlap { i } else { ours - overlap + i };
            people.write_theirs(out, person, line)
        })
    })?;
    let order = Permutation::new(overlap, mix(seed, 3));
    let truth_file = write_table(truth_path, TRUTH_HEADER, |out| {
        (0..overlap).try_for_each(|line| {
            let (number, state) = people.document(order.get(line));
            writeln!(out, "{number},{state}")
        })
    })?;
    for (file, path) in [ours_file, theirs_file, truth_file].into_iter().zip(&paths) {
        persist(file, path, force)?;
    }
    let [ours_path, theirs_path, truth_path] = paths;
    Ok(Summary {
        ours: ours_path,
        theirs: theirs_path,
        truth: truth_path,
        ours_rows: ours,
        theirs_rows: theirs,
        overlap,
    })
}

fn io_error(file: &Path) -> impl Fn(io::Error) -> DatagenError {
    let file = file.to_owned();
    move |source| DatagenError::Io {
        file: file.clone(),
        source,
    }
}

/// Writes a whole table under a temporary name beside `path`. No value needs quotes: the built-in
/// lists hold no comma, quote or line end.
fn write_table(
    path: &Path,
    header: &str,
    rows: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<NamedTempFile, DatagenError> {
    write_file(path, |out| {
        writeln!(out, "{header}")?;
        rows(out)
    })
}

/// Writes a file under a temporary name beside `path`.
fn write_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<NamedTempFile, DatagenError> {
    let write = || {
        let temporary = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
        let mut out = BufWriter::with_capacity(1 << 16, temporary);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    };
    write().map_err(io_error(path))
}

fn persist(file: NamedTempFile, path: &Path, force: bool) -> Result<(), DatagenError> {
    let result = if force {
        file.persist(path)
    } else {
        file.persist_noclobber(path)
    };
    match result {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Err(DatagenError::Exists {
            file: path.to_owned(),
        }),
        Err(e) => Err(io_error(path)(e.error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
