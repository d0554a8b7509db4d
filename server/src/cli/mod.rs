//! The command line of `tallyd`.
//!
//! stdout holds the result alone: a table, or with `--json` one object whose first member is
//! `"schema":"tallyd.COMMAND/1"`. Logs, progress, hints and errors go to stderr. Exit codes are
//! those of [`tallystick_agency::exit`].

mod check;
mod check_certificate;
mod check_collection;
mod collection;
mod epoch;
mod init;
mod output;
mod peer;
mod peer_add;
mod serve;

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::LazyLock,
};

use clap::{Args, Parser, Subcommand};
use tallystick_agency::{
    AgencyError, build,
    exit::{Exit, Failure, Outcome},
    home::Home,
    keys::PassphraseInputs,
    logging::{LogFormat, init_tracing},
    process,
};
use tallystick_protocol::group;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Name of the program, and first part of its schemas.
const PROGRAM: &str = "tallyd";

/// Version, build and kernel.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let kernel = group::reference().name();
    format!("{} ({}), kernel {kernel}", build::VERSION, build::HASH)
});

/// One agency's node: keeps its home, offers its collections, answers its peers.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version = VERSION.as_str(), max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    context: Context,
    #[command(subcommand)]
    command: Command,
}

/// What every command knows.
#[derive(Debug, Args)]
struct Context {
    /// Home folder of this agency
    #[arg(long, global = true, value_name = "DIR", env = "TALLY_HOME")]
    home: Option<PathBuf>,
    /// File whose first line is the passphrase of the home
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Print the result as one JSON object
    #[arg(long, global = true)]
    json: bool,
    /// No progress and no hints
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a home: configuration, keys, certificate or request for one
    Init(init::InitArgs),
    /// Answer peers until stopped
    Serve,
    /// Check the home and say how to mend what is wrong
    Check,
    /// Who may connect
    #[command(subcommand)]
    Peer(peer::PeerCommand),
    /// What peers may ask
    #[command(subcommand)]
    Collection(collection::CollectionCommand),
    /// The life of a collection's keys
    #[command(subcommand)]
    Epoch(epoch::EpochCommand),
}

/// Runs the program: arguments in, exit code out.
#[must_use]
pub fn main() -> ExitCode {
    let exit = catch_unwind(AssertUnwindSafe(run));
    // The panic itself was shown by the panic hook.
    exit.unwrap_or(Exit::Bug).into()
}

fn run() -> Exit {
    if let Err(error) = process::harden() {
        return ended(Err(error.into()), false);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    ended(dispatch(&cli), cli.context.json)
}

fn dispatch(cli: &Cli) -> Outcome<()> {
    let context = &cli.context;
    if !matches!(cli.command, Command::Serve) {
        context.start_logs()?;
    }
    match &cli.command {
        Command::Init(args) => init::run(context, args),
        Command::Serve => serve::run(context),
        Command::Check => check::run(context),
        Command::Peer(command) => peer::run(context, command),
        Command::Collection(command) => collection::run(context, command),
        Command::Epoch(command) => epoch::run(context, command),
    }
}

fn ended(outcome: Outcome<()>, json: bool) -> Exit {
    match outcome {
        Ok(()) => Exit::Done,
        Err(failure) => {
            failure.report(PROGRAM, json);
            failure.exit
        }
    }
}

/// Help and version are results; anything else that the parser says is bad usage.
fn misused(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // If stdout is gone there is nobody to help.
        let _ = error.print();
        return Exit::Done;
    }
    let text = error.to_string();
    let what = text.lines().next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let json = std::env::args_os().any(|argument| argument == "--json");
    match error.kind() {
        // The parser's answer is the help itself.
        clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            if json {
                Failure::usage("usage", "a command is missing", "see --help").report(PROGRAM, json);
            }
        }
        _ => {
            // Lists of missing arguments and the like follow the first line.
            let rest = text.lines().skip(1).map(str::trim);
            let rest: Vec<&str> = rest.filter(|line| !line.is_empty()).collect();
            let what = match rest.iter().position(|line| line.starts_with("Usage:")) {
                Some(0) | None => what.to_owned(),
                Some(n) => format!("{what} {}", rest[..n].join(" ")),
            };
            Failure::usage("usage", what, "see --help").report(PROGRAM, json);
        }
    }
    Exit::Usage
}

impl Context {
    fn start_logs(&self) -> Outcome<()> {
        let format = match self.json {
            true => LogFormat::Json,
            false => LogFormat::Pretty,
        };
        let filter = if self.quiet { "error" } else { "warn" };
        Ok(init_tracing(format, filter)?)
    }

    /// The folder of the home.
    fn home_dir(&self) -> Outcome<&Path> {
        self.home.as_deref().ok_or_else(|| {
            Failure::usage(
                "no-home",
                "no home is named",
                "give --home DIR or set TALLY_HOME",
            )
        })
    }

    fn passphrase(&self) -> PassphraseInputs {
        PassphraseInputs::from_environment(self.passphrase_file.clone())
    }

    /// Opens the home. May ask for the passphrase, so it comes before [`Self::block_on`].
    fn open(&self) -> Outcome<Home> {
        Ok(Home::open(self.home_dir()?, &self.passphrase())?)
    }

    /// Runs async work on this thread, which the work may keep busy. A signal ends the program at
    /// once: files are written beside their place and renamed, so nothing half-made is left in
    /// force.
    fn block_on<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let runtime = runtime()?;
        // Before any work, so that there is no moment in which a signal has another effect.
        let mut signals = {
            let _inside = runtime.enter();
            Signals::new()?
        };
        let json = self.json;
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

    /// A line on stderr for a person, unless `--quiet`.
    fn hint(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| AgencyError::Bug(format!("cannot start threads: {e}")).into())
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From here on neither signal ends the process by itself. Needs a running runtime.
    fn new() -> Outcome<Self> {
        let listen = |kind| {
            signal(kind).map_err(|e| AgencyError::Bug(format!("cannot listen for signals: {e}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of either.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

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
            "tallyd peer export",
            "tallyd peer export FILE",
            "tallyd peer add FILE --address a:1 --fingerprint 0000000000000000000000000000000000000000000000000000000000000000 --reinstate --replace",
            "tallyd peer list",
            "tallyd peer revoke a",
            "tallyd collection publish c --input i --key text=a --key document=a,=UTO --label a,b \
             --profile exact --allow x --allow y --max-session-elements 16 --peer-budget 1",
            "tallyd collection publish c --input i --mapping m",
            "tallyd collection list",
            "tallyd collection remove c",
            "tallyd epoch rotate c",
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
            "tallyd collection publish c --input i --key text=a --profile loose",
            "tallyd collection publish c --input i --key text=a --max-session-elements 15",
            "tallyd collection publish ../c --input i --key text=a",
        ] {
            assert!(words(bad).is_err(), "{bad}");
        }
    }
}
