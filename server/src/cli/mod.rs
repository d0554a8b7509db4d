//! The command line of `tallyd`.
//!
//! stdout holds the result alone: a table, or with `--json` one object whose first member is
//! `"schema":"tallyd.COMMAND/1"`. Logs, progress, hints and errors go to stderr. Exit codes are
//! those of [`tallystick_agency::exit`].

mod backup;
mod certificate;
mod check;
mod check_certificate;
mod check_collection;
mod check_peers;
mod check_place;
mod check_records;
mod collection;
mod collection_args;
mod epoch;
mod health;
mod init;
mod passphrase;
mod peer;
mod peer_add;
mod serve;

use std::{future::Future, process::ExitCode};

use clap::{Parser, Subcommand};
use tallystick_agency::{
    command::{self, Context, Signals, VERSION, runtime},
    exit::{Exit, Failure, Outcome},
    report::Report,
};

/// Name of the program, and first part of its schemas.
const PROGRAM: &str = "tallyd";

/// Days before an end at which it is warned about.
const WARN_DAYS: i64 = 30;
const DAY_MS: i64 = 86_400_000;

/// One agency's node: keeps its home, offers its collections, answers its peers.
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
    /// Make a home: configuration, keys, certificate or request for one
    Init(init::InitArgs),
    /// Answer peers until stopped
    Serve,
    /// Check the home and say how to mend what is wrong
    Check,
    /// Ask the node that runs whether it can serve
    Health(health::HealthArgs),
    /// Who may connect
    #[command(subcommand)]
    Peer(peer::PeerCommand),
    /// What peers may ask
    #[command(subcommand)]
    Collection(collection::CollectionCommand),
    /// The life of a collection's keys
    #[command(subcommand)]
    Epoch(epoch::EpochCommand),
    /// The own certificate
    #[command(subcommand)]
    Certificate(certificate::CertificateCommand),
    /// Change the passphrase of the home
    Passphrase(passphrase::PassphraseArgs),
    /// Copy the home, also while it is in use
    Backup(backup::BackupArgs),
    /// Make a home from a backup; its collections wait for new epochs
    Restore(backup::RestoreArgs),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    command::main(PROGRAM, |cli: &Cli| &cli.context, dispatch)
}

fn dispatch(cli: &Cli) -> Outcome<Exit> {
    let context = &cli.context;
    // A node's logs are as its configuration says.
    if !matches!(cli.command, Command::Serve) {
        context.start_logs()?;
    }
    match &cli.command {
        Command::Init(args) => init::run(context, args),
        Command::Serve => serve::run(context),
        Command::Check => check::run(context),
        Command::Health(args) => health::run(context, args),
        Command::Peer(command) => peer::run(context, command),
        Command::Collection(command) => collection::run(context, command),
        Command::Epoch(command) => epoch::run(context, command),
        Command::Certificate(command) => certificate::run(context, command),
        Command::Passphrase(args) => passphrase::run(context, args),
        Command::Backup(args) => backup::run(context, args),
        Command::Restore(args) => backup::restore(context, args),
    }?;
    Ok(Exit::Done)
}

/// Prints a result.
fn print<R: Report>(context: &Context, result: &R) -> Outcome<()> {
    context.print(PROGRAM, result)
}

/// Whether a time lies within the next [`WARN_DAYS`] days, or in the past.
fn ends_soon(end_ms: i64, now_ms: i64) -> bool {
    end_ms - now_ms < WARN_DAYS * DAY_MS
}

/// Runs async work on this thread, which the work may keep busy. A signal ends the program at once:
/// files are written beside their place and renamed, so nothing half-made is left in force.
fn block_on<T>(context: &Context, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = runtime()?;
    // Before any work, so that there is no moment in which a signal has another effect.
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let json = context.json;
    runtime.spawn(async move {
        signals.next().await;
        let failure = Failure::new(
            Exit::Interrupted,
            "interrupted",
            "interrupted before the end",
            "run the command again",
        );
        failure.report(PROGRAM, json);
        std::process::exit(failure.exit.code().into());
    });
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn ends_are_announced() {
        assert!(ends_soon(0, 1));
        assert!(ends_soon(29 * DAY_MS, 0));
        assert!(!ends_soon(31 * DAY_MS, 0));
    }

    #[test]
    fn the_parser_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn names_of_commands_are_fixed() {
        let words = |line: &str| Cli::try_parse_from(line.split(' '));
        for good in [
            "tallyd init /h --name a --dev-ca --state UTO --listen 127.0.0.1:0 --advertise a:1",
            "tallyd serve --home /h --passphrase-file /p -q",
            "tallyd check --json",
            "tallyd health --address 127.0.0.1:9464",
            "tallyd peer export",
            "tallyd peer export FILE",
            "tallyd peer add FILE --address a:1 --fingerprint 0000000000000000000000000000000000000000000000000000000000000000 --reinstate --replace",
            "tallyd peer list",
            "tallyd peer revoke a",
            "tallyd collection publish c --input i --key text=a --key document=a,=UTO --label a,b \
             --profile eu-wide --allow x --allow y --max-session-elements 16 --peer-budget 1",
            "tallyd collection publish c --input i --mapping m",
            "tallyd collection list",
            "tallyd collection remove c",
            "tallyd epoch rotate c",
            "tallyd certificate renew",
            "tallyd certificate request",
            "tallyd certificate install FILE --authority FILE",
            "tallyd passphrase --new-passphrase-file FILE",
            "tallyd backup DIR",
            "tallyd restore BACKUP DIR",
            "tallyd epoch rotate c --input i --mapping m",
        ] {
            let good = good.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words(&good).is_ok(), "{good}: {:?}", words(&good).err());
        }
        for bad in [
            "tallyd",
            "tallyd init /h",
            "tallyd init --name a",
            "tallyd serve --port 1",
            "tallyd peer add FILE --address a",
            "tallyd peer add FILE --address a:0",
            "tallyd collection publish c --input i",
            "tallyd collection publish c --key text=a",
            "tallyd collection publish c --input i --key text=a --mapping m",
            "tallyd collection publish c --input i --key text=a --max-session-elements 15",
            "tallyd collection publish ../c --input i --key text=a",
        ] {
            assert!(words(bad).is_err(), "{bad}");
        }
    }
}
