//! The flags that say how a table is read, who may ask it, and what it says of itself.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf};

use clap::{Args, value_parser};
use tallystick_agency::{
    collections::Meta,
    exit::{Failure, Outcome},
    publish::ListTerms,
    table_flags::{FormatFlags, RejectFlags},
};
use tallystick_protocol::statements::{Line, ListKind, Name};
use tallystick_tables::Rejects;
use time::{
    Date, OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description,
};

/// What a budget may be.
const BUDGETS: RangeInclusive<u64> = 1..=1 << 32;

/// How a table is read, and who may ask it.
#[derive(Debug, Args)]
pub(super) struct TableArgs {
    /// Columns that make a key, for example document=passport,=UTO; repeatable (types and parts: `tally match --help`)
    #[arg(long, value_name = "TYPE=COLUMN[,COLUMN]")]
    pub(super) key: Vec<String>,
    /// File that names keys and label columns
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub(super) mapping: Option<PathBuf>,
    /// Columns that a match hands over
    #[arg(long, value_name = "COLUMN[,COLUMN]", value_delimiter = ',')]
    pub(super) label: Vec<String>,
    /// Rules that turn values into elements: exact, eu-strict, eu-wide, or a .profile.toml [default: as before, else exact]
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// A peer that may ask; repeatable [default: as before, else all peers]
    #[arg(long, value_name = "PEER")]
    pub(super) allow: Vec<Name>,
    /// All peers may ask, also if fewer might before
    #[arg(long, conflicts_with = "allow")]
    pub(super) allow_all: bool,
    /// Most elements in one session, padding included [default: as before, else of node.toml]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(16..=1 << 32))]
    pub(super) max_session_elements: Option<u64>,
    /// Most elements of one peer under one key in an epoch [default: as before, else of
    /// node.toml]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(BUDGETS))]
    pub(super) peer_budget: Option<u64>,
    /// The same for one type, for example holder=20000; repeatable [default: as before, else
    /// --peer-budget, for holder twice that of document]
    #[arg(long, value_name = "TYPE=N")]
    budget: Vec<String>,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    rejects: RejectFlags,
    /// Replace the file of --rejects if it exists
    #[arg(long, requires = "rejects")]
    force: bool,
    #[command(flatten)]
    pub(super) format: FormatFlags,
}

impl TableArgs {
    /// What becomes of rejected keys.
    pub(super) fn rejects(&self) -> Rejects {
        self.rejects.rejects(self.force)
    }

    /// The budgets of single types that the flags state.
    pub(super) fn type_budgets(&self) -> Outcome<BTreeMap<Name, u64>> {
        let mut budgets = BTreeMap::new();
        for flag in &self.budget {
            let (name, number) = flag.split_once('=').unwrap_or((flag, ""));
            let name = name.trim().parse::<Name>().ok();
            let number = number.trim().parse::<u64>().ok();
            let number = number.filter(|number| BUDGETS.contains(number));
            let (Some(name), Some(number)) = (name, number) else {
                return Err(Failure::usage(
                    "usage",
                    format!("--budget {flag}: not a type and a number"),
                    "for example --budget holder=20000; 1 to 4294967296",
                ));
            };
            if budgets.insert(name, number).is_some() {
                return Err(Failure::usage(
                    "usage",
                    format!("--budget {flag}: the type has a budget already"),
                    "name each type once",
                ));
            }
        }
        Ok(budgets)
    }

    /// Who may ask: as the flags say, else as before. A list never widens by leaving the flag out.
    pub(super) fn allowed(&self, before: Option<&Meta>) -> Option<Vec<Name>> {
        if self.allow_all {
            return None;
        }
        if self.allow.is_empty() {
            return before.and_then(|meta| meta.allow.clone());
        }
        let mut names = self.allow.clone();
        names.sort();
        names.dedup();
        Some(names)
    }
}

/// What a list says of itself.
#[derive(Debug, Args)]
struct ListArgs {
    /// What stands on the list: watchlist, stolen-documents, or issued-documents (a register, with keys
    /// of the types document and holder) [default: as before, else not said]
    #[arg(long, value_name = "KIND")]
    kind: Option<ListKind>,
    /// States whose documents are all on a register, three letters each [default: as before]
    #[arg(long, value_name = "STATE[,STATE]", value_delimiter = ',', value_parser = state)]
    covers: Vec<Line>,
    /// Until when a register is complete: a day (its beginning, UTC), or 2026-03-01T06:00:00Z
    /// [default: when the table was last written]
    #[arg(long, value_name = "DATE", value_parser = moment)]
    complete_as_of: Option<i64>,
}

impl TableArgs {
    /// What the list says of itself, as far as the flags say.
    pub(super) fn list(&self) -> ListTerms {
        let covers = &self.list.covers;
        ListTerms {
            kind: self.list.kind,
            covers: (!covers.is_empty()).then(|| covers.clone()),
            complete_ms: self.list.complete_as_of,
        }
    }
}

/// An issuing state, as travel documents write it.
fn state(text: &str) -> Result<Line, String> {
    let text = text.trim();
    let good = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    match good {
        true => text.parse().map_err(|why: &str| why.to_owned()),
        false => Err("three capital letters, for example UTO; DEU for Germany".to_owned()),
    }
}

/// Milliseconds since the Unix epoch.
fn moment(text: &str) -> Result<i64, String> {
    let day = format_description!("[year]-[month]-[day]");
    let at = match Date::parse(text, day) {
        Ok(day) => day.midnight().assume_utc(),
        Err(_) => OffsetDateTime::parse(text, &Rfc3339)
            .map_err(|_| "a day such as 2026-03-01, or 2026-03-01T06:00:00Z".to_owned())?,
    };
    Ok(at.unix_timestamp() * 1000)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn days_and_moments() {
        assert_eq!(moment("1970-01-02").unwrap(), 86_400_000);
        assert_eq!(moment("1970-01-01T01:00:01+01:00").unwrap(), 1000);
        for bad in ["", "2026", "2026-13-01", "01.03.2026", "2026-02-30", "now"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn states_have_three_letters() {
        assert_eq!(state(" UTO").unwrap().as_str(), "UTO");
        for bad in ["", "D", "uto", "UT1", "UTOPIA", "D<<"] {
            assert!(state(bad).is_err(), "{bad}");
        }
    }
}
