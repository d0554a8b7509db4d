//! `tallyd collection`: what peers may ask.

use std::{
    collections::BTreeMap,
    mem::discriminant,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use clap::{ArgGroup, Args, Subcommand};
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tallystick_agency::{
    AgencyError, clock,
    collections::{Meta, TableSource},
    exit::{Failure, Outcome},
    home::Home,
    publish::{self, NoDelta, PublishOptions, Published, Stage},
    store::{Collection, SqliteStore, Store},
};
use tallystick_protocol::{
    group,
    statements::{Coverage, Hex, Line, ListKind, Name},
};

use super::{block_on, collection_args::TableArgs, print};
use tallystick_agency::command::Context;
use tallystick_agency::report::{Report, facts, kind_of_list, list, moment, or_dash};

#[derive(Debug, Subcommand)]
pub(super) enum CollectionCommand {
    /// Publish a table as a collection, or publish it anew
    Publish(Box<PublishArgs>),
    /// Show all collections
    List,
    /// Offer a collection no more, and destroy its keys
    Remove {
        /// Name of the collection
        name: Name,
    },
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").args(["key", "mapping"]).required(true)))]
pub(super) struct PublishArgs {
    /// Name of the collection
    name: Name,
    /// The table: CSV, TSV or JSON lines, also packed (.gz, .zst); - is standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Publish a whole snapshot, also where a delta from the one in force would do
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    table: TableArgs,
}

pub(super) fn run(context: &Context, command: &CollectionCommand) -> Outcome<()> {
    match command {
        CollectionCommand::Publish(args) => publish(context, args),
        CollectionCommand::List => show(context),
        CollectionCommand::Remove { name } => remove(context, name),
    }
}

fn publish(context: &Context, args: &PublishArgs) -> Outcome<()> {
    let home = context.open_home()?;
    let done = block_on(context, async {
        let store = home.store().await?;
        let before = current(&store, &args.name).await?;
        let options = PublishOptions {
            name: args.name.clone(),
            source: TableSource {
                input: args.input.clone(),
                keys: args.table.key.clone(),
                mapping: args.table.mapping.clone(),
                label: args.table.label.clone(),
                profile: args.table.profile.clone().or_else(|| {
                    let before = before.as_ref();
                    before.and_then(|(_, meta)| meta.source.profile.clone())
                }),
                format: args.table.format.stated(),
            },
            rejects: args.table.rejects(),
            allow: args.table.allowed(before.as_ref().map(|(_, meta)| meta)),
            max_session_elements: args.table.max_session_elements,
            peer_budget: args.table.peer_budget,
            type_budgets: args.table.type_budgets()?,
            list: args.table.list(),
            rotate: false,
            full: args.full,
        };
        let done = perform(context, &home, &store, options).await?;
        store.close().await;
        Ok(done)
    })?;
    print(context, &done)?;
    context.hint(match done.allow {
        None => "all peers may ask; to narrow that, publish with --allow PEER",
        Some(_) => "only the peers named may ask; to widen that, publish with --allow-all",
    });
    Ok(())
}

/// The collection as it is offered now.
pub(super) async fn current(
    store: &SqliteStore,
    name: &Name,
) -> Outcome<Option<(Collection, Meta)>> {
    match store.collection(name.as_str()).await? {
        Some(known) if !known.removed => {
            let meta = Meta::of(&known)?;
            Ok(Some((known, meta)))
        }
        _ => Ok(None),
    }
}

/// What became of a table.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    collection: String,
    epoch: u64,
    profile: String,
    digest: String,
    rows: u64,
    keys: u64,
    empty: u64,
    rejected: Vec<Rejected>,
    distinct: u64,
    padded: u64,
    tag_bytes: u32,
    label_bytes: u64,
    cut_labels: u64,
    snapshot_bytes: u64,
    /// The delta from the snapshot that was in force; `null` if none was published.
    delta: Option<Delta>,
    /// Why none was published where a snapshot of this epoch was in force and `--full` was not given.
    delta_reason: Option<&'static str>,
    /// Elements that a publication which was killed had evaluated.
    resumed: u64,
    /// Whether such a one was thrown away: it was of something else.
    restarted: bool,
    /// Label columns that the list had before, if it has none now.
    labels_dropped: Vec<String>,
    max_session_elements: u64,
    peer_budget: u64,
    /// What counts for each type.
    budgets: BTreeMap<String, u64>,
    /// What it says of itself; `null` where it does not.
    kind: Option<ListKind>,
    covers: Option<Coverage>,
    /// Names of the peers that may ask; `null` means all.
    pub(super) allow: Option<Vec<String>>,
    seconds: f64,
}

/// What a delta shows.
#[derive(Debug, Serialize)]
struct Delta {
    bytes: u64,
    exchanged: u64,
    relabelled: u64,
}

impl Delta {
    fn text(&self) -> String {
        let Self {
            bytes,
            exchanged,
            relabelled,
        } = self;
        format!("{bytes} bytes: {exchanged} tags exchanged, {relabelled} relabelled, with fakes")
    }
}

#[derive(Debug, Serialize)]
struct Rejected {
    code: &'static str,
    count: u64,
    first_lines: Vec<u64>,
}

impl Done {
    /// The facts, to which a command may add.
    pub(super) fn table(&self) -> Table {
        facts([
            ("collection", self.collection.clone()),
            ("epoch", self.epoch.to_string()),
            ("profile", self.profile.clone()),
            ("digest", self.digest.clone()),
            ("rows", self.rows.to_string()),
            ("keys", self.keys.to_string()),
            ("  empty", self.empty.to_string()),
            ("  rejected", rejected(&self.rejected)),
            ("distinct elements", self.distinct.to_string()),
            ("padded to", self.padded.to_string()),
            ("bytes of a tag", self.tag_bytes.to_string()),
            ("bytes of a label", self.label_bytes.to_string()),
            ("labels cut", self.cut_labels.to_string()),
            ("snapshot bytes", self.snapshot_bytes.to_string()),
            (
                "delta",
                match (&self.delta, self.delta_reason) {
                    (Some(delta), _) => delta.text(),
                    (None, Some(reason)) => format!("none ({reason})"),
                    (None, None) => or_dash(None),
                },
            ),
            ("evaluated before", self.resumed.to_string()),
            ("elements a session", self.max_session_elements.to_string()),
            ("elements a peer", of_types(&self.budgets)),
            (
                "kind of list",
                kind_of_list(self.kind, self.covers.as_ref()),
            ),
            ("may ask", may_ask(self.allow.as_deref())),
            ("seconds", format!("{:.1}", self.seconds)),
        ])
    }
}

impl Report for Done {
    const COMMAND: &'static str = "collection-publish";

    fn text(&self) -> String {
        self.table().trim_fmt()
    }
}

fn rejected(all: &[Rejected]) -> String {
    let line = |one: &Rejected| {
        let lines: Vec<String> = one.first_lines.iter().map(u64::to_string).collect();
        format!(
            "{} {}, first in line {}",
            one.count,
            one.code,
            lines.join(", ")
        )
    };
    match all.is_empty() {
        true => "0".to_owned(),
        false => all.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}

/// The budgets of all types.
fn budgets(meta: &Meta) -> BTreeMap<String, u64> {
    let budgets = meta.budgets().into_iter();
    budgets
        .map(|(name, budget)| (name.to_string(), budget))
        .collect()
}

/// One number where all types have the same, else one for each.
fn of_types(budgets: &BTreeMap<String, u64>) -> String {
    let mut numbers = budgets.values();
    match numbers.next() {
        Some(first) if numbers.all(|other| other == first) => first.to_string(),
        _ => {
            let each = budgets
                .iter()
                .map(|(name, budget)| format!("{budget} {name}"));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

fn may_ask(allow: Option<&[String]>) -> String {
    allow.map_or_else(|| "all peers".to_owned(), |names| names.join(", "))
}

/// Publishes, with progress on a terminal.
pub(super) async fn perform(
    context: &Context,
    home: &Home,
    store: &SqliteStore,
    options: PublishOptions,
) -> Outcome<Done> {
    let started = Instant::now();
    let name = options.name.clone();
    let bar = progress_bar(context)?;
    let last = Mutex::new((Stage::Copying, Instant::now()));
    let progress = |stage: Stage, done: u64, total: u64| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if discriminant(&last.0) != discriminant(&stage) {
            // What was reckoned from the stage before says nothing of this one.
            *last = (stage, Instant::now());
            bar.reset();
        }
        bar.set_length(total);
        bar.set_position(done);
        let message = match stage {
            Stage::Copying => "copying standard input",
            Stage::Resuming => "reading again what was done before",
            Stage::Evaluating { .. } => "reading and evaluating",
            Stage::Sorting => "sorting",
            Stage::Comparing => "comparing with what is in force",
            Stage::Padding => "evaluating padding",
            Stage::Sealing => "sealing and writing",
        };
        let rate = match stage {
            // Before the first elements come back there is none.
            Stage::Evaluating { elements: 0 } => String::new(),
            Stage::Evaluating { elements } => {
                let seconds = last.1.elapsed().as_secs_f64().max(0.001);
                format!(", {:.0} elements/s", elements as f64 / seconds)
            }
            _ => String::new(),
        };
        bar.set_message(format!("{message}{rate}"));
    };
    let now = clock::now_ms();
    let published = publish::publish(home, store, group::best(), options, now, &progress).await;
    bar.finish_and_clear();
    let published = published?;
    if published.restarted {
        context.hint(
            "a publication that had been interrupted was of another table or mapping, or another list \
             was in force: it was thrown away",
        );
    }
    if !published.labels_dropped.is_empty() {
        context.hint(&format!(
            "it has no labels any more: before, matches were handed {}. If that is not meant, publish again \
             with --label {}",
            columns(&published.labels_dropped, ", "),
            columns(&published.labels_dropped, ",")
        ));
    }
    if let Some(why) = published.no_delta {
        context.hint(&format!(
            "a whole snapshot was published beside the last one of this epoch: {}. Whoever holds both \
             sees which tags of both are elements, and which came and went. `tallyd epoch rotate {name}` \
             publishes under new keys and avoids it",
            why.text()
        ));
    }
    let known = current(store, &name).await?;
    let (_, meta) =
        known.ok_or_else(|| AgencyError::Bug("what was published is not there".to_owned()))?;
    if let Some(budget) = meta.maps_birth_dates() {
        context.hint(&format!(
            "a register, of which each peer may have {budget} holders evaluated in this epoch: enough to \
             try every date of birth of a century. Give --budget holder=N and --budget document=N"
        ));
    }
    let left_out = published.tally.rejected_total() + published.tally.empty;
    if meta.kind == Some(ListKind::IssuedDocuments) && left_out > 0 {
        context.hint(&format!(
            "a register with {left_out} keys left out: to a desk those documents look never issued, or \
             issued to somebody else. Mend the rows (--rejects FILE names them) and publish again"
        ));
    }
    Ok(report(
        &name,
        published,
        meta,
        started.elapsed().as_secs_f64(),
    ))
}

fn report(name: &Name, published: Published, meta: Meta, seconds: f64) -> Done {
    let rejected: BTreeMap<_, _> = published.tally.rejected;
    Done {
        collection: name.to_string(),
        epoch: published.epoch,
        profile: meta.profile.id.to_string(),
        digest: published.digest.to_string(),
        rows: published.tally.rows,
        keys: published.tally.keys,
        empty: published.tally.empty,
        rejected: rejected
            .into_iter()
            .map(|(reason, rejected)| Rejected {
                code: reason.code(),
                count: rejected.count,
                first_lines: rejected.first_lines,
            })
            .collect(),
        distinct: published.distinct,
        padded: published.elements,
        tag_bytes: published.tag_bytes,
        label_bytes: published.label_bytes as u64,
        cut_labels: published.cut_labels,
        snapshot_bytes: published.bytes,
        delta: published.delta.map(|delta| Delta {
            bytes: delta.bytes,
            exchanged: delta.exchanged,
            relabelled: delta.relabelled,
        }),
        delta_reason: published.no_delta.map(NoDelta::code),
        resumed: published.resumed,
        restarted: published.restarted,
        labels_dropped: published
            .labels_dropped
            .iter()
            .map(ToString::to_string)
            .collect(),
        max_session_elements: meta.max_session_elements,
        peer_budget: meta.peer_budget,
        budgets: budgets(&meta),
        kind: meta.kind,
        covers: meta.covers.clone(),
        allow: meta
            .allow
            .map(|names| names.iter().map(Name::to_string).collect()),
        seconds: (seconds * 1000.0).round() / 1000.0,
    }
}

/// Names of columns, one after another.
fn columns(names: &[Line], between: &str) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(between)
}

/// Draws on stderr, if that is a terminal.
fn progress_bar(context: &Context) -> Outcome<ProgressBar> {
    if context.quiet {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {percent}%, {eta} left")
        .map_err(|e| AgencyError::Bug(format!("the progress bar: {e}")))?;
    Ok(ProgressBar::new(0).with_style(style))
}

#[derive(Debug, Serialize)]
struct Collections {
    collections: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    epoch: u64,
    digest: Option<String>,
    published_ms: Option<i64>,
    types: Vec<String>,
    profile: String,
    label_columns: Vec<String>,
    rows: u64,
    padded: u64,
    max_session_elements: u64,
    peer_budget: u64,
    budgets: BTreeMap<String, u64>,
    kind: Option<ListKind>,
    covers: Option<Coverage>,
    allow: Option<Vec<String>>,
}

impl Report for Collections {
    const COMMAND: &'static str = "collection-list";

    fn text(&self) -> String {
        let mut table = list(&[
            "collection",
            "kind",
            "epoch",
            "types",
            "profile",
            "labels",
            "rows",
            "padded to",
            "published",
            "may ask",
        ]);
        for one in &self.collections {
            let labels = one.label_columns.join(", ");
            table.add_row([
                one.name.clone(),
                kind_of_list(one.kind, one.covers.as_ref()),
                one.epoch.to_string(),
                one.types.join(", "),
                one.profile.clone(),
                or_dash(Some(labels.as_str()).filter(|text| !text.is_empty())),
                one.rows.to_string(),
                one.padded.to_string(),
                one.published_ms.map_or_else(|| or_dash(None), moment),
                may_ask(one.allow.as_deref()),
            ]);
        }
        table.trim_fmt()
    }
}

fn show(context: &Context) -> Outcome<()> {
    let home = context.open_home()?;
    let collections = block_on(context, async {
        let store = home.store().await?;
        let known = store.list_collections().await?;
        store.close().await;
        known.iter().map(entry).collect::<Outcome<Vec<_>>>()
    })?;
    if collections.is_empty() {
        context.hint("no collections yet: see `tallyd collection publish --help`");
    }
    print(context, &Collections { collections })
}

fn entry(known: &Collection) -> Outcome<Entry> {
    let meta = Meta::of(known)?;
    let texts = |names: &[Name]| names.iter().map(Name::to_string).collect::<Vec<_>>();
    Ok(Entry {
        name: known.name.clone(),
        epoch: known.epoch,
        digest: known.snapshot_digest.map(|digest| Hex(digest).to_string()),
        published_ms: known.published_ms,
        types: texts(&meta.types),
        profile: meta.profile.id.to_string(),
        label_columns: meta.label_columns.iter().map(ToString::to_string).collect(),
        rows: meta.rows,
        padded: meta.elements,
        max_session_elements: meta.max_session_elements,
        peer_budget: meta.peer_budget,
        budgets: budgets(&meta),
        kind: meta.kind,
        covers: meta.covers.clone(),
        allow: meta.allow.as_deref().map(texts),
    })
}

#[derive(Debug, Serialize)]
struct Removed {
    collection: String,
    /// `null` if it was never in force: a publication was interrupted.
    epoch: Option<u64>,
}

impl Report for Removed {
    const COMMAND: &'static str = "collection-remove";

    fn text(&self) -> String {
        facts([
            ("collection", self.collection.clone()),
            (
                "removed in epoch",
                self.epoch
                    .map_or_else(|| or_dash(None), |epoch| epoch.to_string()),
            ),
            ("keys", "destroyed".to_owned()),
        ])
        .trim_fmt()
    }
}

fn remove(context: &Context, name: &Name) -> Outcome<()> {
    let home = context.open_home()?;
    let epoch = block_on(context, async {
        let store = home.store().await?;
        let removed = publish::remove(&home, &store, name).await;
        store.close().await;
        removed.map_err(|error| match error {
            AgencyError::Usage(_) => unknown(name),
            other => other.into(),
        })
    })?;
    print(
        context,
        &Removed {
            collection: name.to_string(),
            epoch,
        },
    )
}

/// There is no collection of this name.
pub(super) fn unknown(name: &Name) -> Failure {
    Failure::usage(
        "no-such-collection",
        format!("there is no collection {name}"),
        "see `tallyd collection list`",
    )
}
