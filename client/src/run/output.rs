//! Labels opened, matches written: after the session is closed.

use tallystick_agency::{AgencyError, exit::Outcome};
use tallystick_tables::{MatchWriter, Recheck, RowHit, Tally};

use super::options::{MatchOptions, STDOUT, Sink};
use crate::{
    input::{Hits, Plan},
    session::LabelOpener,
};

/// Where matches go: a file that gets its name at the end, or a stream.
pub(super) fn writer(
    options: &MatchOptions,
    plan: &Plan,
    their_columns: &[String],
) -> Outcome<MatchWriter> {
    let header = plan.source.header();
    let writer = match &options.out {
        Some(path) => MatchWriter::to_file(path, options.force, header, their_columns),
        None => {
            let stream: Box<dyn std::io::Write + Send> = match &options.sink {
                Sink::Stdout => Box::new(std::io::stdout()),
                Sink::Memory(buffer) => Box::new(buffer.clone()),
            };
            MatchWriter::to_stream(stream, STDOUT, header, their_columns)
        }
    };
    let recheck = Recheck::new(header, &options.mapping, their_columns);
    let recheck = recheck.map_err(AgencyError::from)?;
    Ok(writer.map_err(AgencyError::from)?.rechecked(recheck))
}

/// The second pass over the table: writes the rows whose elements matched, with the labels that
/// opened. A hit whose label is spoiled is a hit all the same: it is written with empty label
/// columns, and counted. Rows without a hit are not normalised again.
pub(super) fn write_hits(
    plan: &Plan,
    labels: &LabelOpener,
    hits: Hits,
    mut writer: MatchWriter,
) -> Outcome<(MatchWriter, u64)> {
    let mut tally = Tally::default();
    let mut spoiled = 0;
    let mut hits = hits.in_order();
    let mut numbers = plan.numbers();
    let mut rows = plan.source.rows().map_err(AgencyError::from)?;
    while let Some(row) = rows.next_row().map_err(AgencyError::from)? {
        let numbers = numbers.next().ok_or_else(|| plan.changed())?;
        let mut found = Vec::new();
        hits.of_row(&numbers, |hit| {
            let records = labels.open(hit.place, hit.material)?.unwrap_or_else(|| {
                spoiled += 1;
                vec![vec![String::new(); labels.columns()]]
            });
            found.push((hit.id, records));
            Ok(())
        })?;
        if found.is_empty() {
            continue;
        }
        let keys = plan.extractor.keys(&row, &mut tally);
        let mut row_hits: Vec<RowHit<'_>> = Vec::with_capacity(found.len());
        for (id, records) in &found {
            let at = usize::try_from(id.number - numbers.start).ok();
            let key = at.and_then(|at| keys.get(at));
            // Another row than the one that was read first.
            let key = key
                .filter(|key| plan.check(key.normalised.element.as_bytes()) == id.check)
                .ok_or_else(|| plan.changed())?;
            row_hits.push(RowHit {
                key_index: key.key_index,
                ty: key.ty,
                rule: key.rule,
                key_text: &key.normalised.key_text,
                records,
            });
        }
        writer
            .write_row(&row, &row_hits)
            .map_err(AgencyError::from)?;
    }
    let digest = rows.finish().map_err(AgencyError::from)?;
    plan.source
        .verify_same(&plan.digest, &digest)
        .map_err(AgencyError::from)?;
    Ok((writer, spoiled))
}
