//! What the command lines of both programs share: the flags that every command knows, how a program
//! starts and ends, signals.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::LazyLock,
};

use clap::{Args, Parser};
use tallystick_protocol::group::{self, Chosen, KernelError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    build,
    error::AgencyError,
    exit::{Exit, Failure, Outcome},
    home::Home,
    keys::PassphraseInputs,
    logging::{LogFormat, init_tracing},
    memory, process,
    report::{self, Report},
};

/// Version and build, for `--version`. The kernel stands on a line of its own, once it is chosen.
pub static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} ({})", build::VERSION, build::HASH));

/// Names the kernel where no flag does.
const KERNEL_VARIABLE: &str = "TALLY_KERNEL";

/// What every command knows.
#[derive(Debug, Args)]
pub struct Context {
    /// Home folder of this agency
    #[arg(long, global = true, value_name = "DIR", env = "TALLY_HOME")]
    pub home: Option<PathBuf>,
    /// File whose first line is the passphrase of the home
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Print the result as one JSON object
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress, no hints, no warnings
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// What computes in the group: auto is the fastest that this machine runs; --version names it
    #[arg(long, global = true, value_name = "NAME", env = KERNEL_VARIABLE, default_value = group::AUTO, hide_default_value = true, hide_env_values = true)]
    pub kernel: String,
}

impl Context {
    /// Logs of a command, on stderr: warnings and worse, or what `TALLY_LOG` asks for.
    ///
    /// # Errors
    /// `Usage` for a filter that does not parse.
    pub fn start_logs(&self) -> Outcome<()> {
        let format = match self.json {
            true => LogFormat::Json,
            false => LogFormat::Pretty,
        };
        let asked = std::env::var("TALLY_LOG").ok();
        let default = if self.quiet { "error" } else { "warn" };
        init_tracing(format, asked.as_deref().unwrap_or(default))?;
        warn_of_kernel();
        Ok(())
    }

    /// The folder of the home.
    ///
    /// # Errors
    /// `Usage` if none was named.
    pub fn home_dir(&self) -> Outcome<&Path> {
        self.home.as_deref().ok_or_else(|| {
            Failure::usage(
                "no-home",
                "no home is named",
                "give --home DIR or set TALLY_HOME; `tallyd init DIR --name NAME` makes one",
            )
        })
    }

    /// Where the passphrase may come from.
    #[must_use]
    pub fn passphrase(&self) -> PassphraseInputs {
        PassphraseInputs::from_environment(self.passphrase_file.clone())
    }

    /// Opens the home. May ask for the passphrase, so it comes before any runtime is started.
    ///
    /// # Errors
    /// Those of [`Home::open`].
    pub fn open_home(&self) -> Outcome<Home> {
        Ok(Home::open(self.home_dir()?, &self.passphrase())?)
    }

    /// Prints a result of `program`.
    ///
    /// # Errors
    /// A failure if stdout cannot be written.
    pub fn print<R: Report>(&self, program: &str, result: &R) -> Outcome<()> {
        report::print(program, self.json, result)
    }

    /// A line on stderr for a person, unless `--quiet`.
    pub fn hint(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }
}

/// Logs that a kernel failed its self-test and is not used, if that is so. Logs must be set up.
pub fn warn_of_kernel() {
    if let Some(warning) = group::chosen().warning() {
        tracing::warn!("{warning}");
    }
}

/// A program: arguments in, exit code out. A panic is an own bug; it was shown by the panic hook.
pub fn main<C: Parser>(
    program: &str,
    context: impl FnOnce(&C) -> &Context,
    run: impl FnOnce(&C) -> Outcome<Exit>,
) -> ExitCode {
    let exit = catch_unwind(AssertUnwindSafe(|| {
        if let Err(error) = process::harden() {
            let failure = Failure::from(error);
            failure.report(program, false);
            return failure.exit;
        }
        let cli = match C::try_parse() {
            Ok(cli) => cli,
            Err(error) => return misused(program, &error),
        };
        let Context { json, kernel, .. } = context(&cli);
        let chosen = choose_kernel(Some(kernel));
        chosen.and_then(|_| run(&cli)).unwrap_or_else(|failure| {
            failure.report(program, *json);
            failure.exit
        })
    }));
    memory::wipe_whole_stack();
    exit.unwrap_or(Exit::Bug).into()
}

/// Chooses what computes in the group, for all of this process.
fn choose_kernel(asked: Option<&str>) -> Outcome<&'static Chosen> {
    group::choose(asked).map_err(|error| {
        let text = error.to_string();
        let (what, next) = text.split_once("; ").unwrap_or((&text, ""));
        let (exit, code) = match error {
            KernelError::AllWrong { .. } => (Exit::Bug, "kernel-self-test"),
            KernelError::Wrong { .. } => (Exit::Usage, "kernel-self-test"),
            _ => (Exit::Usage, "kernel"),
        };
        Failure::new(exit, code, what, next)
    })
}

/// The kernel that a command line asks for whose parsing ended at `--version`.
fn asked_kernel() -> Option<String> {
    let mut arguments = std::env::args_os().filter_map(|argument| argument.into_string().ok());
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--kernel") {
            Some("") => return arguments.next(),
            Some(rest) if rest.starts_with('=') => return rest.get(1..).map(str::to_owned),
            _ => {}
        }
    }
    std::env::var(KERNEL_VARIABLE).ok()
}

/// Help and version are results; anything else that the parser says is bad usage.
fn misused(program: &str, error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        let kernel = match error.kind() {
            clap::error::ErrorKind::DisplayVersion => {
                match choose_kernel(asked_kernel().as_deref()) {
                    Ok(chosen) => format!("kernel: {chosen}\n"),
                    Err(failure) => {
                        failure.report(program, false);
                        return failure.exit;
                    }
                }
            }
            _ => String::new(),
        };
        // If stdout is gone there is nobody to help.
        let _ = error.print();
        let _ = report::write_stdout(kernel.as_bytes());
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
                Failure::usage("usage", "a command is missing", "see `--help`")
                    .report(program, json);
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
            Failure::usage("usage", what, "see `--help`").report(program, json);
        }
    }
    Exit::Usage
}

/// A runtime of as many threads as there are processors.
///
/// # Errors
/// `Bug` if threads cannot be started.
pub fn runtime() -> Outcome<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // What a task leaves on a thread's stack would stay there until the next is as deep.
        .on_thread_park(memory::wipe_stack)
        .on_thread_stop(memory::wipe_stack)
        .build()
        .map_err(|e| AgencyError::Bug(format!("cannot start threads: {e}")).into())
}

/// SIGINT, SIGTERM, and SIGHUP: a terminal that is closed ends a program as cleanly as its user would.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where it is ignored, and stays so (`nohup`).
    hangup: Option<Signal>,
}

impl Signals {
    /// From here on none of them ends the process by itself. Needs a running runtime.
    ///
    /// # Errors
    /// `Bug` if signals cannot be listened to.
    pub fn new() -> Outcome<Self> {
        let listen = |kind| {
            signal(kind).map_err(|e| AgencyError::Bug(format!("cannot listen for signals: {e}")))
        };
        let ignored = process::is_ignored(nix::sys::signal::Signal::SIGHUP);
        let hangup = (!ignored).then(|| listen(SignalKind::hangup()));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: hangup.transpose()?,
        })
    }

    /// Waits for the next of any.
    pub async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}
