//! Keys that were rejected, as a file: line, key, reason. Never a value.

use std::{
    fmt,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::{
    error::TableError,
    extract::{RowReject, Tally},
    mapping::{Mapping, Part},
    new_file::NewFile,
    source::{Header, io_error},
};

/// What is to become of keys that are rejected. They are counted in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejects {
    /// Where they are listed; nowhere if `None`.
    pub file: Option<PathBuf>,
    /// Whether that file may be replaced.
    pub force: bool,
    /// Whether one ends the run, once the table was read.
    pub stop: bool,
}

impl Rejects {
    /// Begins a pass over a table.
    ///
    /// # Errors
    /// Those of [`RejectsWriter::to_file`].
    pub fn begin(&self, own: &Header, mapping: &Mapping) -> Result<RejectsPass, TableError> {
        let writer = self.file.as_ref();
        let writer = writer.map(|path| RejectsWriter::to_file(path, self.force, own, mapping));
        Ok(RejectsPass {
            writer: writer.transpose()?,
            stop: self.stop,
        })
    }
}

/// One pass over a table, as far as its rejects go.
#[derive(Debug)]
pub struct RejectsPass {
    writer: Option<RejectsWriter>,
    stop: bool,
}

impl RejectsPass {
    /// Lists one.
    ///
    /// # Errors
    /// `Io`.
    pub fn note(&mut self, reject: &RowReject) -> Result<(), TableError> {
        match &mut self.writer {
            Some(writer) => writer.write(reject),
            None => Ok(()),
        }
    }

    /// Whether the run will end because of what was rejected so far.
    pub fn stops(&self, tally: &Tally) -> bool {
        self.stop && tally.rejected_total() > 0
    }

    /// Ends the pass. The list, if there is one, is still to be finished: when the run has done what
    /// it was to do. If what was rejected ends the run, it is finished here.
    ///
    /// # Errors
    /// `RowsRejected`, and those of [`RejectsWriter::finish`].
    pub fn end(self, table: &Path, tally: &Tally) -> Result<Option<RejectsWriter>, TableError> {
        if !self.stops(tally) {
            return Ok(self.writer);
        }
        self.writer.map(RejectsWriter::finish).transpose()?;
        let Some((line, reason)) = tally.first_rejected() else {
            return Ok(None);
        };
        Err(TableError::RowsRejected {
            file: table.to_owned(),
            line,
            reason,
            total: tally.rejected_total(),
        })
    }
}

/// The columns.
const COLUMNS: [&str; 4] = ["line", "key", "reason_code", "reason"];

/// Writes the keys that were rejected as CSV with the columns `line` (on which the row begins, from
/// 1), `key` (its type and columns, as the mapping has them), `reason_code` (stable), `reason` (in
/// words).
///
/// The file has mode 0600 and is there whole or not at all: it is written beside its place, and gets
/// its name by [`RejectsWriter::finish`]. Constants of a key are left out: they are no columns.
pub struct RejectsWriter {
    csv: csv::Writer<BufWriter<NewFile>>,
    path: PathBuf,
    keys: Vec<String>,
    written: u64,
}

impl RejectsWriter {
    /// Writes to `path`. Without `force` an existing path is refused, now and again at the end.
    ///
    /// # Errors
    /// `OutputIsInput`, `Exists`, `Io`.
    pub fn to_file(
        path: impl AsRef<Path>,
        force: bool,
        own: &Header,
        mapping: &Mapping,
    ) -> Result<Self, TableError> {
        let path = path.as_ref();
        let file = NewFile::create(path, force, own)?;
        let mut writer = Self {
            csv: csv::Writer::from_writer(BufWriter::new(file)),
            path: path.to_owned(),
            keys: names_of(mapping),
            written: 0,
        };
        writer.line(COLUMNS)?;
        Ok(writer)
    }

    /// Writes one.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&mut self, reject: &RowReject) -> Result<(), TableError> {
        let key = self.keys.get(reject.key_index).cloned().unwrap_or_default();
        let line = reject.line.to_string();
        let reason = reject.reason.to_string();
        self.line([&line, &key, reject.reason.code(), &reason])?;
        self.written += 1;
        Ok(())
    }

    fn line(&mut self, fields: [&str; 4]) -> Result<(), TableError> {
        let result = self.csv.write_record(fields);
        result.map_err(|e| io_error(&self.path, "write the output", e.into()))
    }

    /// Gives the file its name, also if nothing was rejected; gives how many there are.
    ///
    /// # Errors
    /// `Exists` when someone else made the path meanwhile, `Io`.
    pub fn finish(self) -> Result<u64, TableError> {
        let path = self.path;
        let error = |e| io_error(&path, "write the output", e);
        let buffered = self.csv.into_inner().map_err(|e| error(e.into_error()))?;
        let mut file = buffered.into_inner().map_err(|e| error(e.into_error()))?;
        file.flush().map_err(error)?;
        file.finish()?;
        Ok(self.written)
    }
}

impl fmt::Debug for RejectsWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RejectsWriter({}, {})",
            self.path.display(),
            self.written
        )
    }
}

/// `document=passport,state`: the type of each key and its columns.
fn names_of(mapping: &Mapping) -> Vec<String> {
    let name = |key: &crate::mapping::KeySpec| {
        let columns = key.parts().iter().flatten().filter_map(|part| match part {
            Part::Column(column) => Some(column.as_str()),
            Part::Constant(_) => None,
        });
        let columns: Vec<&str> = columns.collect();
        format!("{}={}", key.ty(), columns.join(","))
    };
    mapping.keys().iter().map(name).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::{Extractor, KeySpec, Source};

    fn mapping() -> Mapping {
        let keys = ["document=n,=UTO", "document=n,s", "bytes=b"];
        let keys = keys.map(|key| KeySpec::parse(key).unwrap()).to_vec();
        Mapping::from_flags(keys, vec![]).unwrap()
    }

    /// Reads a table and writes its rejects; gives those and what was counted.
    fn run(text: &str) -> (TempDir, String, Tally) {
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("t.csv");
        fs::write(&table, text).unwrap();
        let out = dir.path().join("rejects.csv");
        let source = Source::open(&table).unwrap();
        let extractor = Extractor::new(source.header(), &mapping()).unwrap();
        let mut writer = RejectsWriter::to_file(&out, false, source.header(), &mapping()).unwrap();
        let mut tally = Tally::default();
        let mut rows = source.rows().unwrap();
        while let Some(row) = rows.next_row().unwrap() {
            extractor
                .keys_and_rejects(&row, &mut tally, |reject| writer.write(&reject))
                .unwrap();
        }
        assert!(!out.exists());
        assert_eq!(writer.finish().unwrap(), tally.rejected_total());
        assert!(tally.adds_up(extractor.keys_per_row()));
        let mode = fs::metadata(&out).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(&out).unwrap();
        (dir, text, tally)
    }

    #[test]
    fn each_rejected_key_has_a_line_and_no_value() {
        let (_dir, text, _) = run("n,s,b\nL898902C3,UTO,00\n?7QQ,XQ7,zz\n\n,,\nL1,4,0\n");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "line,key,reason_code,reason");
        let starts = |n: usize, want: &str| assert!(lines[n].starts_with(want), "{}", lines[n]);
        starts(1, "3,document=n,");
        starts(2, "3,\"document=n,s\",");
        starts(3, "6,\"document=n,s\",");
        for value in ["7QQ", "XQ7", "zz", "L898902C3", "L1"] {
            assert!(!text.contains(value), "{value}");
        }
    }

    #[test]
    fn an_output_that_exists_is_kept() {
        let (dir, ..) = run("n,s,b\n");
        let source = Source::open(dir.path().join("t.csv")).unwrap();
        let to = |name: &str, force| {
            let path = dir.path().join(name);
            RejectsWriter::to_file(path, force, source.header(), &mapping())
        };
        assert_eq!(
            to("rejects.csv", false).unwrap_err().code(),
            "output-exists"
        );
        assert_eq!(to("t.csv", true).unwrap_err().code(), "output-is-input");
        assert_eq!(to("rejects.csv", true).unwrap().finish().unwrap(), 0);
        let names = fs::read_dir(dir.path()).unwrap();
        assert_eq!(names.count(), 2);
    }

    #[test]
    fn rejects_end_a_run_only_if_asked_and_the_first_line_is_named() {
        let (dir, _, tally) = run("n,s,b\nL1,UTO,0\n?,UTO,0\n-,4,0\n");
        let source = Source::open(dir.path().join("t.csv")).unwrap();
        let end = |name: Option<&str>, stop| {
            let rejects = Rejects {
                file: name.map(|name| dir.path().join(name)),
                force: false,
                stop,
            };
            let pass = rejects.begin(source.header(), &mapping()).unwrap();
            assert_eq!(pass.stops(&tally), stop);
            assert!(!pass.stops(&Tally::default()));
            pass.end(source.path(), &tally)
        };
        assert!(end(None, false).unwrap().is_none());
        assert!(end(Some("a.csv"), false).unwrap().is_some());
        assert!(!dir.path().join("a.csv").exists(), "not finished");
        let shown = end(Some("b.csv"), true).unwrap_err().to_string();
        assert!(dir.path().join("b.csv").exists());
        assert!(shown.contains("t.csv, line 3: "), "{shown}");
        let total = format!("{} keys", tally.rejected_total());
        assert!(shown.contains(&total), "{shown}");
        assert_eq!(end(None, true).unwrap_err().code(), "rows-rejected");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Each rejected key is counted once and has one line, whatever the rows hold.
        #[test]
        fn lines_and_totals_add_up(
            rows in prop::collection::vec(("[A-B0-1?<-]{0,4}", "[A-C?]{0,4}", "[0-9a-g]{0,4}"), 0..20),
        ) {
            let rows: String = rows.iter().map(|(n, s, b)| format!("{n},{s},{b}\n")).collect();
            let (_dir, text, tally) = run(&format!("n,s,b\n{rows}"));
            prop_assert_eq!(text.lines().count() as u64, 1 + tally.rejected_total());
            for (reason, rejected) in &tally.rejected {
                let code = format!(",{},", reason.code());
                let lines = text.lines().skip(1).filter(|line| line.contains(&code)).count();
                prop_assert_eq!(lines as u64, rejected.count);
            }
        }
    }
}
