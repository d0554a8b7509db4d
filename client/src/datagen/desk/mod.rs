//! Lists and documents to try a desk on: a register of issued documents, reported documents with series
//! of stolen blanks, a watchlist, and documents that are presented, each with its true class.
//!
//! Nothing in it is real, and the same sizes and seed give the same bytes. Lists are shaped as
//! `tallyd collection publish --mapping` takes them; their mappings are written beside them.

mod presented;
mod scanner;
mod sheet;
mod world;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{DatagenError, io_error, persist, write_file, write_table};
use presented::{Of, Presented, SERIES, Watched, present, series_length};
use world::{Document, Draws, Holder, MAX_DOCUMENTS, STATE, World, iso};

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

const REGISTER_MAPPING: &str = r#"[[key]]
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
            write_table(register, REGISTER_HEADER, |out| lists.register(out))?,
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

/// What the tables hold, line by line.
struct Lists<'a> {
    world: &'a World,
    documents: u64,
    each: u64,
    /// Lines of the other lists that nobody presents, for each of two kinds.
    filling: u64,
    presented: &'a Presented,
}

impl Lists<'_> {
    fn register(&self, out: &mut dyn Write) -> io::Result<()> {
        let order = self.world.order(Draws::Register, self.documents);
        (0..self.documents).try_for_each(|line| {
            let Document {
                number,
                state,
                holder,
                ..
            } = self.world.document(order.get(line));
            let Holder {
                surname,
                given,
                birth,
                ..
            } = holder;
            writeln!(
                out,
                "{number},{state},{},{},{}",
                surname.0,
                given.0,
                iso(birth)
            )
        })
    }

    const fn blanks(&self) -> u64 {
        SERIES * series_length(self.each)
    }

    fn stolen_rows(&self) -> u64 {
        self.presented.stolen.len() as u64 + 2 * self.filling + self.blanks()
    }

    /// Presented ones, others of the register, others of other states, blanks: in mixed order.
    fn stolen(&self, out: &mut dyn Write) -> io::Result<()> {
        let order = self.world.order(Draws::Stolen, self.stolen_rows());
        (0..self.stolen_rows()).try_for_each(|line| {
            let index = order.get(line);
            let report = |index| {
                let mut draws = self.world.draws(Draws::Reports, index);
                *draws.pick(&["stolen", "stolen", "lost", "lost", "lost", "revoked"])
            };
            let (number, state, report, series) = match self.reported(index) {
                Ok(of) => {
                    let document = self.find(&of);
                    (
                        document.number,
                        document.state,
                        report(index),
                        String::new(),
                    )
                }
                Err(blank) => {
                    let (series, place) = (blank % SERIES, blank / SERIES);
                    let name = format!("S-{:02}", series + 1);
                    (self.world.blank(series, place), STATE, "blank-series", name)
                }
            };
            writeln!(out, "{number},{state},{report},{series}")
        })
    }

    /// The document of a line of the reported ones, or else which blank it is.
    fn reported(&self, index: u64) -> Result<Of, u64> {
        let presented = self.presented.stolen.len() as u64;
        if let Some(of) = self.presented.stolen.get(index as usize) {
            return Ok(of.clone());
        }
        let index = index - presented;
        match (
            index.checked_sub(self.filling),
            index.checked_sub(2 * self.filling),
        ) {
            (None, _) => Ok(Of::Register(self.documents - 1 - index)),
            (Some(other), None) => Ok(Of::Foreign(self.presented.used_foreign + other)),
            (_, Some(blank)) => Err(blank),
        }
    }

    fn watchlist_rows(&self) -> u64 {
        self.presented.watched.len() as u64 + self.filling
    }

    /// People of names as a zone has them: only profiles with transliteration find others.
    fn watchlist(&self, out: &mut dyn Write) -> io::Result<()> {
        let order = self.world.order(Draws::Watchlist, self.watchlist_rows());
        (0..self.watchlist_rows()).try_for_each(|line| {
            let index = order.get(line);
            let mut draws = self.world.draws(Draws::Listed, index);
            // Nobody who presents a document was born before 1940: only those who should are found.
            let mut nobody = self.world.holder(index, u64::MAX);
            nobody.birth.0 = 1930 + draws.below(10);
            let (document, holder) = match self.presented.watched.get(index as usize) {
                Some(Watched::Document(of)) => (Some(self.find(of)), nobody),
                Some(Watched::Person(holder)) => (None, *holder),
                None => {
                    let first = self.presented.used_foreign + self.filling;
                    (Some(self.world.foreign(first + index)), nobody)
                }
            };
            let (number, state) = document.map_or_else(Default::default, |d| (d.number, d.state));
            let spaced = |name: &str| name.replace('<', " ");
            let year = 2019 + draws.below(7);
            let handling = draws.below(4);
            writeln!(
                out,
                "{number},{state},{},{},{},C-{year}-{:07},H{handling}",
                spaced(holder.surname.1),
                spaced(holder.given.1),
                iso(holder.birth),
                line + 1
            )
        })
    }

    fn find(&self, of: &Of) -> Document {
        match of {
            Of::Register(index) => self.world.document(*index),
            Of::Foreign(index) => self.world.foreign(*index),
        }
    }

    /// Presented documents in mixed order, each with its number in it.
    fn each_shown(
        &self,
        mut write: impl FnMut(u64, &presented::Shown) -> io::Result<()>,
    ) -> io::Result<()> {
        let lines = self.presented.shown.len() as u64;
        let order = self.world.order(Draws::Presented, lines);
        (0..lines).try_for_each(|line| {
            let shown = self.presented.shown.get(order.get(line) as usize);
            shown.map_or(Ok(()), |shown| write(line + 1, shown))
        })
    }

    fn shown(&self, out: &mut dyn Write) -> io::Result<()> {
        self.each_shown(|id, shown| {
            writeln!(out, "P{id:06},{},{}", shown.lines.concat(), shown.class)
        })
    }

    fn lines(&self, out: &mut dyn Write) -> io::Result<()> {
        self.each_shown(|id, shown| {
            let line = json!({ "id": format!("P{id:06}"), "mrz": shown.lines });
            writeln!(out, "{line}")
        })
    }
}
