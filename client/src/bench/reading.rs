//! Rows of a generated table to elements: parsing and normalising, on one thread.

use std::{hint::black_box, path::Path};

use tallystick_agency::{
    AgencyError,
    collections::TableSource,
    exit::{Failure, Outcome},
};
use tallystick_tables::{Extractor, TableFormat, TableInput, Tally};

use super::{Figure, Lap};
use crate::{datagen, error::bug, try_out::SAMPLE_KEY};

/// What reading costs.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Rows {
    /// Rows of the table.
    pub rows: u64,
    /// Bytes of the table.
    pub bytes: u64,
    /// Nanoseconds for each row.
    pub ns: Figure,
}

/// Reads a table of `rows` rows, made in `dir`, so many times.
///
/// # Errors
/// If the table cannot be written or read.
pub fn rows(dir: &Path, rows: u64, repeats: usize) -> Outcome<Rows> {
    let data = dir.join("rows");
    datagen::generate(&data, rows, 1, 1, 1, false)
        .map_err(|e| Failure::usage(e.code(), e.to_string(), ""))?;
    let table = TableSource {
        profile: None,
        input: data.join(datagen::OURS),
        keys: vec![SAMPLE_KEY.to_owned()],
        mapping: None,
        label: Vec::new(),
        format: TableFormat::default(),
    };
    let mapping = table.mapping()?;
    let input = TableInput::file(&table.input, table.format(&mapping));
    let mut times = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        let lap = Lap::start();
        let read = read(&input, &mapping).map_err(AgencyError::from)?;
        if read.rows != rows || read.elements != rows {
            return Err(bug("the generated table is not read whole"));
        }
        times.push(lap.each(usize::try_from(rows).unwrap_or(usize::MAX)));
    }
    Ok(Rows {
        rows,
        bytes: input.size().unwrap_or(0),
        ns: Figure::of(times).ok_or_else(|| bug("nothing was measured"))?,
    })
}

fn read(
    input: &TableInput,
    mapping: &tallystick_tables::Mapping,
) -> Result<Tally, tallystick_tables::TableError> {
    let source = input.open()?;
    let extractor = Extractor::new(source.header(), mapping)?;
    let mut tally = Tally::default();
    let mut rows = source.rows()?;
    while let Some(row) = rows.next_row()? {
        black_box(extractor.keys(&row, &mut tally));
    }
    rows.finish()?;
    Ok(tally)
}
