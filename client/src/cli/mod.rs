//! The command line of `tally`.
//!
//! stdout holds the result alone: a table, or with `--json` one object whose first member is
//! `"schema":"tally.COMMAND/1"`. Logs, progress, hints and errors go to stderr. Exit codes are
//! those of [`tallystick_agency::exit`].

mod audit;
mod benching;
mod desk;
mod document;
mod estimating;
mod generating;
mod grounds;
mod matching;
mod normalising;
mod offers;
mod tables;
mod trial;

use std::{future::Future, process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};
use tallystick_agency::{
    command::{self, Context, Signals, VERSION, runtime},
    exit::{Exit, Failure, Outcome},
    report,
};

use crate::run::Finishing;

/// Name of the program, and first part of its schemas.
pub(crate) const PROGRAM: &str = "tally";

/// How long the end of a program waits for its threads.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Find which of your identifiers another agency also holds, and nothing about the rest.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version = VERSION.as_str(), max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    context: Context,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See the whole thing work: two throw-away agencies match on this machine
    Try(Box<trial::TryArgs>),
    /// Ask a peer which of a table's identifiers its collection also holds
    Match(Box<matching::MatchArgs>),
    /// Ask several peers about whoever comes: one document, a stream, a manifest, a page for a guard
    Desk(Box<desk::DeskArgs>),
    /// Show what a peer offers this agency
    Collections(offers::CollectionsArgs),
    /// Check session records, offline
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Check documents for what cannot be true; write series of stolen blanks
    #[command(subcommand)]
    Document(document::DocumentCommand),
    /// Show the canonical forms and the keys that a table emits
    Normalise(Box<normalising::NormaliseArgs>),
    /// Say what asking a table costs, and how many false hits it brings, before anybody is asked
    Estimate(Box<estimating::EstimateArgs>),
    /// Measure what this machine does, stage by stage, and estimate what sizes cost
    Bench(benching::BenchArgs),
    /// Make synthetic tables: with a known overlap, or for the desk
    Datagen(generating::DatagenArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The peer's side of `try`, as a process of its own
    #[command(hide = true)]
    TrySender(Box<trial::SenderArgs>),
    /// A side of `bench --desk`, as a process of its own
    #[command(hide = true)]
    BenchPart(benching::desk::PartArgs),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    command::main(PROGRAM, |cli: &Cli| &cli.context, dispatch)
}

fn dispatch(cli: &Cli) -> Outcome<Exit> {
    let context = &cli.context;
    context.start_logs()?;
    match &cli.command {
        Command::Try(args) => trial::run(context, args),
        Command::Match(args) => matching::run(context, args),
        Command::Desk(args) => desk::run(context, args),
        Command::Collections(args) => offers::run(context, args),
        Command::Audit(command) => audit::run(context, command),
        Command::Document(command) => document::run(context, command),
        Command::Normalise(args) => normalising::run(context, args),
        Command::Estimate(args) => estimating::run(context, args),
        Command::Bench(args) => benching::run(context, args),
        Command::Datagen(args) => generating::run(context, args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut shown(&Cli::command()), PROGRAM, &mut script);
            report::write_stdout(&script)?;
            Ok(Exit::Done)
        }
        Command::TrySender(args) => trial::send(context, args),
        Command::BenchPart(args) => benching::desk::part(context, args),
    }
}

/// A command without its hidden parts: the generator of completions shows them all.
fn shown(command: &clap::Command) -> clap::Command {
    let parts = command.get_subcommands().filter(|part| !part.is_hide_set());
    clap::Command::new(PROGRAM)
        .version(VERSION.as_str())
        .args(command.get_arguments().cloned())
        .subcommands(parts.cloned())
}

/// A table of names and values, as text.
fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    report::facts(rows).trim_fmt()
}

/// A table with a header, as text.
fn list(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = report::list(header);
    table.add_rows(rows);
    table.trim_fmt()
}

/// Runs async work to its end, or to the first SIGINT, SIGTERM or SIGHUP: then what it holds is
/// dropped, so that no temporary file is left.
pub(crate) fn block_on<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    block_on_unless(&Finishing::default(), work)
}

/// The same; work that is finishing is not interrupted any more, since what it was to do is done.
pub(crate) fn block_on_unless<T>(
    finishing: &Finishing,
    work: impl Future<Output = Outcome<T>>,
) -> Outcome<T> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return result,
                () = signals.next() => if !finishing.has_begun() {
                    return Err(interrupted());
                }
            }
        }
    });
    // Threads wipe what they hold as they end. One that still reads a table ends with the process.
    runtime.shutdown_timeout(SHUTDOWN);
    result
}

fn interrupted() -> Failure {
    Failure::new(
        Exit::Interrupted,
        "interrupted",
        "interrupted; no output was written, and what was sent so far is charged",
        "run the same command again to go on: what was charged is not charged twice",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }
}
