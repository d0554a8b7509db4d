//! Lists and documents to try a desk on: a register of issued documents, reported documents with series
//! of stolen blanks, a watchlist, and documents that are presented, each with its true class.
//!
//! Nothing in it is real, and the same sizes and seed give the same bytes. Lists are shaped as
//! `tallyd collection publish --mapping` takes them; their mappings are written beside them.

mod lists;
mod presented;
mod scanner;
mod sheet;
mod world;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{DatagenError, io_error, persist, write_file, write_table};
use lists::{Lists, write_register};
use presented::present;
use sheet::Text;
use world::{MAX_DOCUMENTS, STATE, World};

/// The register of issued documents: `number,state,surname,given_names,birth_date`.
pub const REGISTER: &str = "register.csv";
/// Reported documents, blanks of stolen series among them: `number,state,report,series`.
pub const STOLEN: &str = "stolen.csv";
/// Wanted people and documents: `number,state,surname,given_names,birth_date,case_ref,handling`.
pub const WATCHLIST: &str = "watchlist.csv";
/// Documents that are presented, as a table: `id,mrz,class`; the zone's lines are in one run.
pub const PRESENTED: &str = "presented.csv";
/// The same without the class, as a reader sends them: JSON lines of `id` and `mrz`.
pub const PRESENTED_LINES: &str = "presented.jsonl";

const REGISTER_HEADER: &str = "number,state,surname,given_names,birth_date";
const STOLEN_HEADER: &str = "number,state,report,series";
const WATCHLIST_HEADER: &str = "number,state,surname,given_names,birth_date,case_ref,handling";
const PRESENTED_HEADER: &str = "id,mrz,class";

/// How a register is published.
pub(crate) const REGISTER_MAPPING: &str = r#"[[key]]
type = "document"
number = "number"
state = "state"

[[key]]
type = "holder"
number = "number"
state = "state"
surname = "surname"
given_name = "given_names"
birth_date = "birth_date"
"#;

const STOLEN_MAPPING: &str = r#"[[key]]
type = "document"
number = "number"
state = "state"

[label]
columns = ["report", "series"]
"#;

const WATCHLIST_MAPPING: &str = r#"[[key]]
type = "document"
number = "number"
state = "state"

[[key]]
type = "person"
given_name = "given_names"
surname = "surname"
birth_date = "birth_date"

[label]
columns = ["case_ref", "handling"]
"#;

/// What there is to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeskSizes {
    /// Documents of the register.
    pub documents: u64,
    /// Presented documents of each class; `None` for a hundred, or fewer of a small register.
    pub each: Option<u64>,
    /// The same seed gives the same bytes.
    pub seed: u64,
}

/// A table that was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Table {
    /// Its path.
    pub file: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// How it is published.
    pub mapping: Option<PathBuf>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DeskSummary {
    /// The register of issued documents.
    pub register: Table,
    /// The state whose register it is.
    pub state: &'static str,
    /// The reported documents.
    pub stolen: Table,
    /// The watchlist.
    pub watchlist: Table,
    /// The presented documents with their classes.
    pub presented: Table,
    /// The same as JSON lines, without classes.
    pub lines: PathBuf,
}

/// Documents that are presented, of each class, by default: a twenty-fifth of the register at most, so
/// that there are enough of them.
const fn default_each(documents: u64) -> u64 {
    let each = documents / 25;
    if each < 100 { each } else { 100 }
}

/// Writes all tables and mappings into `dir`, which is made if need be.
///
/// Each file is whole or absent, and existing ones are replaced only with `force`.
///
/// # Errors
/// [`DatagenError`]; nothing is written for a wrong size.
pub fn generate(
    dir: impl AsRef<Path>,
    sizes: DeskSizes,
    force: bool,
) -> Result<DeskSummary, DatagenError> {
    let dir = dir.as_ref();
    let DeskSizes {
        documents, seed, ..
    } = sizes;
    let each = sizes.each.unwrap_or(default_each(documents));
    if documents > MAX_DOCUMENTS || each > documents {
        return Err(match documents > MAX_DOCUMENTS {
            true => DatagenError::TooMany {
                limit: MAX_DOCUMENTS,
            },
            false => DatagenError::TooFew { each },
        });
    }
    let world = World::new(seed);
    let presented = present(&world, documents, each);
    let filling = documents / 200;
    let presented = presented
        .filter(|made| each > 0 && made.used.saturating_add(filling) <= documents)
        .ok_or(DatagenError::TooFew { each })?;
    let lists = Lists {
        world: &world,
        documents,
        each,
        filling,
        presented: &presented,
    };

    let at = |name: &str| dir.join(name);
    let mappings = [
        (at("register.mapping.toml"), REGISTER_MAPPING),
        (at("stolen.mapping.toml"), STOLEN_MAPPING),
        (at("watchlist.mapping.toml"), WATCHLIST_MAPPING),
    ];
    let tables = [REGISTER, STOLEN, WATCHLIST, PRESENTED, PRESENTED_LINES].map(at);
    let mut paths = tables.iter().chain(mappings.iter().map(|(path, _)| path));
    if !force && let Some(file) = paths.find(|p| p.symlink_metadata().is_ok()) {
        return Err(DatagenError::Exists { file: file.clone() });
    }
    fs::create_dir_all(dir).map_err(io_error(dir))?;
    let [register, stolen, watchlist, shown, lines] = &tables;
    let mut files = vec![
        (
            register,
            write_table(register, REGISTER_HEADER, |out| {
                write_register(&world, 0..documents, out)
            })?,
        ),
        (
            stolen,
            write_table(stolen, STOLEN_HEADER, |out| lists.stolen(out))?,
        ),
        (
            watchlist,
            write_table(watchlist, WATCHLIST_HEADER, |out| lists.watchlist(out))?,
        ),
        (
            shown,
            write_table(shown, PRESENTED_HEADER, |out| lists.shown(out))?,
        ),
        (lines, write_file(lines, |out| lists.lines(out))?),
    ];
    for (path, text) in &mappings {
        files.push((
            path,
            write_file(path, |out| out.write_all(text.as_bytes()))?,
        ));
    }
    for (path, file) in files {
        persist(file, path, force)?;
    }
    let [register_mapping, stolen_mapping, watchlist_mapping] =
        mappings.map(|(path, _)| Some(path));
    let [register, stolen, watchlist, shown, lines] = tables;
    let table = |file, rows, mapping| Table {
        file,
        rows,
        mapping,
    };
    Ok(DeskSummary {
        register: table(register, documents, register_mapping),
        state: STATE,
        stolen: table(stolen, lists.stolen_rows(), stolen_mapping),
        watchlist: table(watchlist, lists.watchlist_rows(), watchlist_mapping),
        presented: table(shown, presented.shown.len() as u64, None),
        lines,
    })
}

/// Writes the rows of a register of the documents `of`, in mixed order: no other table is made.
///
/// # Errors
/// [`DatagenError`].
pub(crate) fn register(path: &Path, of: Range<u64>, seed: u64) -> Result<(), DatagenError> {
    if of.end > MAX_DOCUMENTS {
        let limit = MAX_DOCUMENTS;
        return Err(DatagenError::TooMany { limit });
    }
    let world = World::new(seed);
    let file = write_table(path, REGISTER_HEADER, |out| write_register(&world, of, out))?;
    persist(file, path, true)
}

/// Zones of documents of the register.
pub(crate) struct Zones(World);

impl Zones {
    pub(crate) fn new(seed: u64) -> Self {
        Self(World::new(seed))
    }

    /// The zone of a document, in one run.
    pub(crate) fn get(&self, index: u64) -> String {
        let document = self.0.document(index);
        Text::of(&document).print().lines().concat()
    }
}
