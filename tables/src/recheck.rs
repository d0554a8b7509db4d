//! The re-check of a hit: what the own row says of a person beside what the opened label says.

use tallystick_protocol::identifiers::{Alike, IdentifierType, Said, similarity};

use crate::error::TableError;
use crate::mapping::{Mapping, Part};
use crate::reader::Row;
use crate::source::Header;

/// What label columns are called that hold a part of a person, besides the name of the own column:
/// letters and digits alone, lower case.
const CALLED: [(&str, &[&str]); 3] = [
    (
        "given_name",
        &[
            "givenname",
            "givennames",
            "firstname",
            "firstnames",
            "forename",
            "forenames",
        ],
    ),
    ("surname", &["surname", "familyname", "lastname"]),
    (
        "birth_date",
        &["birthdate", "dateofbirth", "dob", "birthday"],
    ),
];

/// Which columns of the own table, and which of the labels, say the same of a person.
#[derive(Debug, Default)]
pub struct Recheck {
    /// By key of the mapping; `None` where the labels say nothing of it.
    keys: Vec<Option<Columns>>,
}

#[derive(Debug)]
struct Columns {
    /// Given names, surname, birth date, order of dates.
    own: [Own; 4],
    /// Given names, surname, birth date.
    label: [Option<usize>; 3],
}

#[derive(Debug)]
enum Own {
    Column(usize),
    Constant(String),
    Absent,
}

impl Recheck {
    /// Finds the columns of `label_columns`, which are those of the other side, that hold what a key of
    /// the mapping holds: by the name of the part (`surname`, also `family_name` and the like) or by
    /// that of the own column.
    ///
    /// # Errors
    /// `MissingColumn`.
    pub fn new(
        header: &Header,
        mapping: &Mapping,
        label_columns: &[String],
    ) -> Result<Self, TableError> {
        let plain = |name: &str| -> String {
            let letters = name.chars().filter(|c| c.is_alphanumeric());
            letters.flat_map(char::to_lowercase).collect()
        };
        let labels: Vec<String> = label_columns.iter().map(|name| plain(name)).collect();
        let known = header.has_any(mapping.columns());
        let mut keys = Vec::with_capacity(mapping.keys().len());
        for key in mapping.keys() {
            let names = matches!(key.ty(), IdentifierType::Person | IdentifierType::Name);
            if !names || key.form() != 0 {
                keys.push(None);
                continue;
            }
            let form = key.ty().forms().first().copied().unwrap_or_default();
            let part = |name: &str| {
                let at = form.iter().position(|part| part.name == name)?;
                key.parts().get(at)?.as_ref()
            };
            let own = |name: &str| match part(name) {
                Some(Part::Column(column)) => header.find(column, known).map(Own::Column),
                Some(Part::Constant(text)) => Ok(Own::Constant(text.clone())),
                None => Ok(Own::Absent),
            };
            let label = CALLED.map(|(name, called)| {
                let own = match part(name) {
                    Some(Part::Column(column)) => plain(column),
                    _ => return None,
                };
                let is = |label: &String| *label == own || called.contains(&label.as_str());
                labels.iter().position(is)
            });
            let [given, surname, birth] = CALLED.map(|(name, _)| own(name));
            let own = [given?, surname?, birth?, own("date_order")?];
            let any = label.iter().any(Option::is_some);
            keys.push(any.then_some(Columns { own, label }));
        }
        Ok(Self { keys })
    }

    /// How alike the row and a label's record are by a key of the mapping; `None` where the record says
    /// nothing to compare.
    #[must_use]
    pub fn score(&self, row: &Row<'_>, key_index: usize, record: &[String]) -> Option<Alike> {
        let columns = self.keys.get(key_index)?.as_ref()?;
        let [given_name, surname, birth_date, date_order] =
            columns.own.each_ref().map(|own| match own {
                Own::Column(at) => row.get(*at).unwrap_or_default(),
                Own::Constant(text) => text.as_str(),
                Own::Absent => "",
            });
        let theirs = columns.label.map(|at| {
            let said = at.and_then(|at| record.get(at));
            said.map_or("", String::as_str)
        });
        let ours = Said {
            given_name,
            surname,
            birth_date,
            date_order,
        };
        let said = |date_order| Said {
            given_name: theirs[0],
            surname: theirs[1],
            birth_date: theirs[2],
            date_order,
        };
        // The other side's order of dates is not known: its own words first, then ours.
        let scores = [
            similarity(ours, said("")),
            similarity(ours, said(date_order)),
        ];
        scores.into_iter().flatten().max()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "recheck_tests.rs"]
mod tests;
