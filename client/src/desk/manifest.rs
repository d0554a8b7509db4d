//! A manifest: a table of travellers in, the same table with their verdicts out.

use std::collections::BTreeMap;

use serde::Serialize;
use tallystick_agency::{
    AgencyError,
    exit::{Failure, Outcome},
};
use tallystick_tables::{Header, KeySpec, Mapping, Part, Row, Source};
use zeroize::Zeroizing;

use super::{Answering, Fields, Presented, Unreadable, Verdict};
use crate::error::bug;

/// The columns that stand behind the own ones.
pub const VERDICT_COLUMNS: [&str; 3] = ["tally_conclusion", "tally_reasons", "tally_missing"];
/// Rows that are asked about together: what a large flight holds.
const TOGETHER: usize = 512;
/// Joins several reasons, and several missing answers.
const JOINT: &str = "; ";

/// What became of a manifest.
#[derive(Debug, Default, Clone, Serialize)]
pub struct ManifestReport {
    /// Rows of the table, each with a verdict.
    pub rows: u64,
    /// How many, by conclusion.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Rows with an answer missing.
    pub with_missing: u64,
}

/// The members of [`Fields`] that a table can fill, and `mrz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Mrz,
    Number,
    State,
    Nationality,
    Surname,
    GivenNames,
    BirthDate,
}

impl Slot {
    /// By the name that a part of a key has.
    fn named(part: &str) -> Option<Self> {
        match part {
            "mrz" => Some(Self::Mrz),
            "number" => Some(Self::Number),
            "state" => Some(Self::State),
            "nationality" => Some(Self::Nationality),
            "surname" => Some(Self::Surname),
            "given_name" => Some(Self::GivenNames),
            "birth_date" => Some(Self::BirthDate),
            _ => None,
        }
    }
}

/// Where a value comes from.
enum From {
    Column(usize),
    Constant(String),
}

/// What each row presents.
struct Reading(Vec<(Slot, From)>);

impl Reading {
    /// From the keys of a mapping: together they say which column holds what.
    fn new(header: &Header, keys: &[KeySpec]) -> Outcome<Self> {
        let mut slots: Vec<(Slot, From)> = Vec::new();
        for key in keys {
            let form = key
                .ty()
                .forms()
                .get(key.form())
                .copied()
                .unwrap_or_default();
            for (name, part) in form.iter().zip(key.parts()) {
                let Some(part) = part else { continue };
                let slot = Slot::named(name.name).ok_or_else(|| {
                    Failure::usage(
                        "manifest-key",
                        format!("a traveller presents no {} of a {}", name.name, key.ty()),
                        "map documents, holders and persons, such as --key document:mrz=COLUMN",
                    )
                })?;
                if slots.iter().any(|(known, _)| *known == slot) {
                    continue;
                }
                let from = match part {
                    Part::Column(column) => {
                        From::Column(header.index(column).map_err(AgencyError::from)?)
                    }
                    Part::Constant(text) => From::Constant(text.clone()),
                };
                slots.push((slot, from));
            }
        }
        Ok(Self(slots))
    }

    fn present(&self, row: &Row<'_>) -> Result<Presented, Unreadable> {
        let (mut fields, mut zone) = (Fields::default(), None);
        for (slot, from) in &self.0 {
            let text = match from {
                From::Column(index) => row.get(*index).unwrap_or_default(),
                From::Constant(text) => text,
            };
            if text.is_empty() {
                continue;
            }
            let text = Some(Zeroizing::new(text.to_owned()));
            match slot {
                Slot::Mrz => zone = text,
                Slot::Number => fields.number = text,
                Slot::State => fields.state = text,
                Slot::Nationality => fields.nationality = text,
                Slot::Surname => fields.surname = text,
                Slot::GivenNames => fields.given_names = text,
                Slot::BirthDate => fields.birth_date = text,
            }
        }
        match zone {
            Some(zone) => Presented::from_both(&zone, fields),
            None => Presented::from_fields(fields),
        }
    }
}

/// Asks about every row, and gives the table with the verdicts: CSV, own columns unchanged, in the
/// order of the rows. It is held in memory; `each` is told how many rows are done.
///
/// # Errors
/// A failure to read the table, or columns that it may not have.
pub async fn run(
    desk: &dyn Answering,
    source: &Source,
    mapping: &Mapping,
    mut each: impl FnMut(u64),
) -> Outcome<(Zeroizing<Vec<u8>>, ManifestReport)> {
    let header = source.header();
    if let Some(taken) = header
        .names()
        .iter()
        .find(|name| VERDICT_COLUMNS.contains(&name.as_str()))
    {
        let what = format!("the table has a column {taken} already");
        return Err(Failure::usage("output-column", what, "rename it"));
    }
    let reading = Reading::new(header, mapping.keys())?;
    let mut rows = source.rows().map_err(AgencyError::from)?;
    let mut table = csv::Writer::from_writer(Vec::new());
    let names = header.names().iter().map(String::as_str);
    table
        .write_record(names.chain(VERDICT_COLUMNS))
        .map_err(unwritable)?;
    let mut report = ManifestReport::default();
    loop {
        let mut batch = Batch::default();
        while batch.rows.len() < TOGETHER {
            let Some(row) = rows.next_row().map_err(AgencyError::from)? else {
                break;
            };
            batch.add(&row, reading.present(&row));
        }
        if batch.rows.is_empty() {
            break;
        }
        let verdicts = desk.ask_all(&batch.presented).await;
        if verdicts.len() != batch.presented.len() {
            return Err(bug("a desk that gave fewer verdicts than it was asked for"));
        }
        let mut verdicts = verdicts.into_iter();
        for (own, fault) in batch.rows {
            let verdict = match fault {
                Some(fault) => Some(Verdict::unreadable(None, fault)),
                None => verdicts.next(),
            };
            let Some(verdict) = verdict else {
                return Err(bug("a row without a verdict"));
            };
            let said = columns(&verdict);
            let all = own.iter().chain(said.iter()).map(String::as_str);
            table.write_record(all).map_err(unwritable)?;
            report.rows += 1;
            *report
                .verdicts
                .entry(verdict.conclusion.name())
                .or_default() += 1;
            report.with_missing += u64::from(verdict.lacks_answers());
        }
        each(report.rows);
    }
    let bytes = table
        .into_inner()
        .map_err(|e| bug(format!("a table in memory: {e}")))?;
    Ok((Zeroizing::new(bytes), report))
}

/// Rows that are asked about together, with what they present; a row that presents nothing has its fault.
#[derive(Default)]
struct Batch {
    rows: Vec<(Zeroizing<Vec<String>>, Option<Unreadable>)>,
    presented: Vec<Presented>,
}

impl Batch {
    fn add(&mut self, row: &Row<'_>, presented: Result<Presented, Unreadable>) {
        let own = Zeroizing::new(row.fields().map(str::to_owned).collect::<Vec<_>>());
        match presented {
            Ok(presented) => {
                self.presented.push(presented);
                self.rows.push((own, None));
            }
            Err(fault) => self.rows.push((own, Some(fault))),
        }
    }
}

/// The values of [`VERDICT_COLUMNS`].
fn columns(verdict: &Verdict) -> Zeroizing<Vec<String>> {
    let reasons: Vec<&str> = verdict
        .reasons
        .iter()
        .map(|one| one.text.as_str())
        .collect();
    let missing: Vec<&str> = verdict.missing.iter().map(|one| one.why.as_str()).collect();
    Zeroizing::new(vec![
        verdict.conclusion.name().to_owned(),
        reasons.join(JOINT),
        missing.join(JOINT),
    ])
}

fn unwritable(error: csv::Error) -> Failure {
    bug(format!("a table in memory: {error}"))
}
