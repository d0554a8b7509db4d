//! `tallyd epoch`: new keys for a collection.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use tallystick_agency::report::Report;
use tallystick_agency::{
    collections::TableSource, exit::Outcome, publish::PublishOptions, store::Store,
};
use tallystick_protocol::statements::Name;

use super::{
    block_on,
    collection::{Done, current, perform, unknown},
    collection_args::TableArgs,
    print,
};
use tallystick_agency::command::Context;

#[derive(Debug, Subcommand)]
pub(super) enum EpochCommand {
    /// Start a new epoch: publish under new keys and destroy the old ones
    Rotate(RotateArgs),
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// Name of the collection
    name: Name,
    /// The table, as `collection publish` takes it [default: the last one]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    table: TableArgs,
}

/// A new epoch.
#[derive(Debug, Serialize)]
struct Rotated {
    previous_epoch: u64,
    #[serde(flatten)]
    done: Done,
}

impl Report for Rotated {
    const COMMAND: &'static str = "epoch-rotate";

    fn text(&self) -> String {
        let mut table = self.done.table();
        let keys = format!("of epoch {} destroyed", self.previous_epoch);
        table.add_row(["old keys", &keys]);
        table.trim_fmt()
    }
}

pub(super) fn run(context: &Context, command: &EpochCommand) -> Outcome<()> {
    let EpochCommand::Rotate(args) = command;
    let home = context.open_home()?;
    let rotated = block_on(context, async {
        let store = home.store().await?;
        let Some((known, meta)) = current(&store, &args.name).await? else {
            return Err(unknown(&args.name));
        };
        let options = PublishOptions {
            name: args.name.clone(),
            source: source(&meta.source, args),
            rejects: args.table.rejects(),
            allow: args.table.allowed(Some(&meta)),
            max_session_elements: args
                .table
                .max_session_elements
                .or(Some(meta.max_session_elements)),
            peer_budget: args.table.peer_budget.or(Some(meta.peer_budget)),
            type_budgets: args.table.type_budgets()?,
            list: args.table.list(),
            rotate: true,
            full: false,
        };
        let done = perform(context, &home, &store, options).await?;
        store.close().await;
        Ok(Rotated {
            previous_epoch: known.epoch,
            done,
        })
    })?;
    print(context, &rotated)
}

/// The last table and how it was read, but for what the flags say. New keys or a new mapping stand
/// for themselves: old label columns may not exist in what they are for, and its format may be
/// another.
fn source(last: &TableSource, args: &RotateArgs) -> TableSource {
    let table = &args.table;
    let input = args.input.as_ref().unwrap_or(&last.input).clone();
    if table.key.is_empty() && table.mapping.is_none() {
        let label = match table.label.is_empty() {
            true => &last.label,
            false => &table.label,
        };
        return TableSource {
            input,
            label: label.clone(),
            profile: table.profile.clone().or_else(|| last.profile.clone()),
            format: table.format.stated().or(last.format),
            ..last.clone()
        };
    }
    TableSource {
        input,
        keys: table.key.clone(),
        mapping: table.mapping.clone(),
        label: table.label.clone(),
        profile: table.profile.clone().or_else(|| last.profile.clone()),
        format: table.format.stated(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: RotateArgs,
    }

    fn with(flags: &[&str]) -> TableSource {
        let last = TableSource {
            input: "old.csv".into(),
            keys: vec!["text=a".to_owned()],
            mapping: None,
            label: vec!["b".to_owned()],
            profile: Some("eu-wide".to_owned()),
            format: serde_json::from_str("{\"delimiter\":\";\"}").unwrap(),
        };
        let line = [&["x", "c"], flags].concat();
        source(&last, &Line::try_parse_from(line).unwrap().args)
    }

    #[test]
    fn flags_stand_before_the_last_publication() {
        let of = |input: &str, keys: &[&str], label: &[&str]| TableSource {
            input: input.into(),
            keys: keys.iter().map(ToString::to_string).collect(),
            mapping: None,
            label: label.iter().map(ToString::to_string).collect(),
            profile: Some("eu-wide".to_owned()),
            format: match keys {
                ["text=a"] => serde_json::from_str("{\"delimiter\":\";\"}").unwrap(),
                _ => tallystick_tables::TableFormat::default(),
            },
        };
        let tabs = with(&["--delimiter", "tab"]);
        assert_eq!(tabs.format.delimiter, "tab".parse().ok());
        let exact = with(&["--profile", "exact"]);
        assert_eq!(exact.profile.as_deref(), Some("exact"));
        assert_eq!(with(&[]), of("old.csv", &["text=a"], &["b"]));
        assert_eq!(
            with(&["--input", "new.csv"]),
            of("new.csv", &["text=a"], &["b"])
        );
        assert_eq!(
            with(&["--label", "c,d"]),
            of("old.csv", &["text=a"], &["c", "d"])
        );
        assert_eq!(
            with(&["--key", "bytes=x"]),
            of("old.csv", &["bytes=x"], &[])
        );
    }
}
