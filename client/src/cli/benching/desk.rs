//! `tally bench --desk`, and the processes that it starts.

use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};
use serde::Serialize;
use tallystick_agency::{
    exit::{Exit, Outcome},
    report::Report,
};

use super::super::{Context, PROGRAM, facts, list, matching::mebibytes};
use crate::{
    bench::desk::{self, Asking, Delta, DeskBench, DeskFigures, Memory, PublishPlan, Publishing},
    error::bug,
    try_out,
};

/// What a desk is measured on.
#[derive(Debug, Args)]
pub(crate) struct DeskArgs {
    /// Instead: measure a desk against a register of N elements, two for each document
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(256..=2_000_000_000))]
    desk: Option<u64>,
    /// Folder that keeps the register, published, for the next run with --desk
    #[arg(long, value_name = "DIR", requires = "desk")]
    dir: Option<PathBuf>,
    /// Seconds that each way of asking is measured
    #[arg(long, value_name = "S", requires = "desk", default_value_t = 10, value_parser = value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Also publish once more with a hundredth of the register changed, and follow it
    #[arg(long, requires = "desk")]
    delta: bool,
}

impl DeskArgs {
    /// What to measure; `None` without --desk.
    pub(super) fn bench(&self, quiet: bool) -> Option<DeskBench> {
        Some(DeskBench {
            elements: self.desk?,
            dir: self.dir.clone(),
            seconds: self.seconds,
            delta: self.delta,
            quiet,
        })
    }
}

/// A process of a measurement.
#[derive(Debug, Args)]
pub(crate) struct PartArgs {
    /// What it does
    role: Role,
    /// What it is told, as JSON
    #[arg(long)]
    plan: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    Publish,
    Serve,
    Ask,
}

pub(crate) fn part(context: &Context, args: &PartArgs) -> Outcome<Exit> {
    let home = context.open_home()?;
    match args.role {
        Role::Publish => {
            let plan: Result<PublishPlan, _> = serde_json::from_str(&args.plan);
            desk::publish(home, plan.map_err(|e| bug(e.to_string()))?)?;
        }
        Role::Serve => try_out::serve(home)?,
        Role::Ask => desk::ask(home, &args.plan)?,
    }
    Ok(Exit::Done)
}

/// Prints what was measured.
pub(super) fn print(context: &Context, figures: DeskFigures) -> Outcome<Exit> {
    context.print(PROGRAM, &Measured(figures))?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
#[serde(transparent)]
struct Measured(DeskFigures);

impl Report for Measured {
    const COMMAND: &'static str = "bench-desk";

    fn text(&self) -> String {
        let found = &self.0;
        let asked = &found.asked;
        let mut about = vec![
            (
                "register",
                format!("{} documents, {} elements", found.documents, found.elements),
            ),
            ("published", publishing(&found.publish)),
            (
                "first start",
                format!(
                    "{:.2} s: the snapshot fetched and verified, a session begun",
                    asked.first_seconds
                ),
            ),
            (
                "next start",
                format!(
                    "{:.3} s: the snapshot opened by its mark, a session begun",
                    asked.again_seconds
                ),
            ),
        ];
        if let Some(delta) = &found.delta {
            about.extend(changed(delta));
        }
        about.push(("memory, ours", memory(&found.ours)));
        about.push(("memory, theirs", memory(&found.theirs)));
        let header = [
            "asked",
            "travellers",
            "a second",
            "P50 ms",
            "P95 ms",
            "P99 ms",
            "CPU ours, us",
            "CPU theirs, us",
            "missing",
        ];
        let mut rows = vec![row("one by one".to_owned(), &asked.one)];
        rows.extend(
            asked
                .many
                .iter()
                .map(|a| row(format!("{} at once", a.at_once), a)),
        );
        rows.push(row("flights of 400".to_owned(), &asked.flight));
        let each = asked.record_each.iter();
        rows.extend(each.map(|a| row(format!("a record each, {} at once", a.at_once), a)));
        format!("{}\n\n{}", facts(about), list(&header, rows))
    }
}

fn publishing(publish: &Publishing) -> String {
    format!(
        "in {:.1} s, {:.1} s of processor, {} of memory; {} tags, {}",
        publish.seconds,
        publish.cpu_seconds,
        mebibytes(publish.peak_rss_bytes),
        publish.tags,
        mebibytes(publish.bytes)
    )
}

fn changed(delta: &Delta) -> [(&'static str, String); 3] {
    [
        ("1 % changed", publishing(&delta.publish)),
        (
            "followed",
            format!(
                "in {:.2} s, {:.2} % of a publication of everything; fetched whole in {:.2} s",
                delta.follow_seconds,
                100.0 * delta.over_rebuild,
                delta.whole_seconds
            ),
        ),
        (
            "delta",
            match delta.publish.delta_bytes {
                Some(bytes) => format!(
                    "{}, {:.2} % of the snapshot",
                    mebibytes(bytes),
                    100.0 * delta.bytes_share
                ),
                None => "none: it was published whole".to_owned(),
            },
        ),
    ]
}

fn memory(memory: &Memory) -> String {
    let peak = mebibytes(memory.peak_rss_bytes);
    match memory.peak_anonymous_bytes {
        Some(anonymous) => format!("{peak} at most, {} of it anonymous", mebibytes(anonymous)),
        None => format!("{peak} at most"),
    }
}

fn row(name: String, asked: &Asking) -> Vec<String> {
    let times = &asked.milliseconds;
    vec![
        name,
        asked.travellers.to_string(),
        format!("{:.0}", asked.per_second),
        format!("{:.1}", times.p50),
        format!("{:.1}", times.p95),
        format!("{:.1}", times.p99),
        format!("{:.0}", asked.ours_cpu_us),
        asked
            .theirs_cpu_us
            .map_or_else(String::new, |us| format!("{us:.0}")),
        asked.missing.to_string(),
    ]
}
