//! What a list says of itself: what stands on it, and what a register is complete for.

use std::{path::Path, time::UNIX_EPOCH};

use tallystick_protocol::statements::{Coverage, Line, ListKind, Name};
use tallystick_tables::TableInput;

use crate::{
    collections::Meta,
    error::{AgencyError, Result},
    peers::int,
};

/// The types that a register has: the document, and the document with its holder.
const OF_A_REGISTER: [&str; 2] = ["document", "holder"];

/// What is said of a list; what is not said is as before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListTerms {
    /// What stands on it.
    pub kind: Option<ListKind>,
    /// Issuing states that a register covers.
    pub covers: Option<Vec<Line>>,
    /// Until when it is complete for them; when not said, until its table was last written.
    pub complete_ms: Option<i64>,
}

impl ListTerms {
    /// What the snapshot and the catalogue say.
    ///
    /// # Errors
    /// `Usage` for terms that do not go together.
    pub(super) fn resolve(
        &self,
        before: Option<&Meta>,
        types: &[Name],
        table: &Path,
        now_ms: i64,
    ) -> Result<(Option<ListKind>, Option<Coverage>)> {
        let refused = |why: String| Err(AgencyError::Usage(why));
        let kind = self.kind.or(before.and_then(|before| before.kind));
        if kind != Some(ListKind::IssuedDocuments) {
            if self.covers.is_some() || self.complete_ms.is_some() {
                return refused(
                    "only a register covers something: add --kind issued-documents".to_owned(),
                );
            }
            return Ok((kind, None));
        }
        let lacks = |name: &&&str| !types.iter().any(|ty| ty.as_str() == **name);
        if let Some(name) = OF_A_REGISTER.iter().find(lacks) {
            return refused(format!(
                "a register has keys of the types document and holder; there is none of {name}"
            ));
        }
        let before = before.and_then(|before| before.covers.as_ref());
        let Some(mut states) = self
            .covers
            .clone()
            .or_else(|| before.map(|before| before.states.clone()))
        else {
            return refused(
                "a register says which states it covers: add --covers STATE[,STATE]".to_owned(),
            );
        };
        states.sort();
        states.dedup();
        let complete_ms = match self.complete_ms {
            Some(at) if at > now_ms => {
                return refused("--complete-as-of is in the future".to_owned());
            }
            Some(at) => at,
            None => written_ms(table).map_or(now_ms, |at| at.min(now_ms)),
        };
        let complete_ms = int(complete_ms)?;
        Ok((
            kind,
            Some(Coverage {
                states,
                complete_ms,
            }),
        ))
    }
}

/// When a table was last written: a document that was issued later cannot be in it. `None` for standard
/// input, and where the system does not say.
fn written_ms(table: &Path) -> Option<i64> {
    if TableInput::is_standard(table) {
        return None;
    }
    let written = std::fs::metadata(table).ok()?.modified().ok()?;
    let since = written.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        text.parse().unwrap()
    }

    fn said(kind: Option<ListKind>, covers: &[&str], complete_ms: Option<i64>) -> ListTerms {
        let states: Vec<Line> = covers.iter().map(|state| line(state)).collect();
        ListTerms {
            kind,
            covers: (!states.is_empty()).then_some(states),
            complete_ms,
        }
    }

    #[test]
    fn a_register_says_what_it_covers_and_no_other_list_does() {
        let types: Vec<Name> = ["document", "holder"]
            .map(|name| name.parse().unwrap())
            .to_vec();
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("t.csv");
        std::fs::write(&table, "a").unwrap();
        let written = written_ms(&table).unwrap();
        let register = Some(ListKind::IssuedDocuments);
        let resolve =
            |terms: &ListTerms, types: &[Name], now| terms.resolve(None, types, &table, now);

        let (kind, covers) = resolve(
            &said(register, &["UTO", "DEU", "UTO"], None),
            &types,
            i64::MAX,
        )
        .unwrap();
        let covers = covers.unwrap();
        assert_eq!(kind, register);
        assert_eq!(covers.states, [line("DEU"), line("UTO")]);
        assert_eq!(
            covers.complete_ms.get(),
            written as u64,
            "when the table was written"
        );
        let earlier = resolve(&said(register, &["UTO"], Some(5)), &types, i64::MAX).unwrap();
        assert_eq!(earlier.1.unwrap().complete_ms.get(), 5);
        // A table of the future says nothing of it.
        let early = resolve(&said(register, &["UTO"], None), &types, 10).unwrap();
        assert_eq!(early.1.unwrap().complete_ms.get(), 10);

        for (terms, types) in [
            (said(register, &[], None), &types[..]),
            (said(register, &["UTO"], None), &types[..1]),
            (said(register, &["UTO"], None), &types[1..]),
            (said(register, &["UTO"], Some(11)), &types[..]),
            (said(Some(ListKind::Watchlist), &["UTO"], None), &types[..]),
            (said(None, &[], Some(5)), &types[..]),
        ] {
            assert_eq!(
                resolve(&terms, types, 10).unwrap_err().code(),
                "usage",
                "{terms:?}"
            );
        }
        let none = resolve(&said(None, &[], None), &types[..1], 10).unwrap();
        assert_eq!(none, (None, None), "an older list says nothing");
    }
}
