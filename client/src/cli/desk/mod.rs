//! `tally desk`: documents in, verdicts out, over one shift.
//!
//! ```text
//! settings   flags and a .desk.toml file
//! input      what of the flags names documents
//! work       one document, a stream, a manifest, the endpoint
//! text       verdicts and shifts as they are printed
//! ```

mod input;
mod settings;
mod text;
mod work;

use std::sync::Arc;

use clap::Args;
use tallystick_agency::{
    command::{Signals, runtime},
    exit::{Exit, Failure, Outcome},
};

use self::{
    input::{Input, InputArgs},
    settings::{EndpointArgs, Settings, ShiftArgs},
};
use super::{Context, SHUTDOWN};
use crate::desk::{Desk, ShiftReport};

/// What to ask about, of whom.
#[derive(Debug, Args)]
pub(crate) struct DeskArgs {
    #[command(flatten)]
    shift: ShiftArgs,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    endpoint: EndpointArgs,
}

pub(crate) fn run(context: &Context, args: &DeskArgs) -> Outcome<Exit> {
    let input = Input::new(&args.input, context.quiet)?;
    let settings = Settings::new(
        &args.shift,
        &args.endpoint,
        args.input.profile(),
        args.input.address(),
        context.quiet,
    )?;
    let home = Arc::new(context.open_home()?);
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new()?;
        // Before the shift is opened: a port that is taken costs nothing.
        let endpoint = match &input {
            Input::Serve => Some(work::Endpoint::open(context, &settings).await?),
            _ => None,
        };
        let desk = tokio::select! {
            desk = Desk::open(home, settings.desk.clone()) => desk?,
            () = signals.next() => return Err(interrupted()),
        };
        let done = match input {
            Input::One(presented) => work::one(context, &desk, &presented, &mut signals).await,
            Input::Stream => work::stream(context, &desk, &mut signals).await,
            Input::Manifest(manifest) => {
                work::manifest(context, &desk, *manifest, &mut signals).await
            }
            Input::Serve => work::serve(&desk, endpoint, &mut signals).await,
        };
        // Also after a failure: what was asked is charged, and the record says so.
        let report = tokio::select! {
            report = desk.close() => report,
            () = signals.next() => Err(unclosed()),
        };
        match (done, report) {
            (Err(failure), Ok(report)) => {
                say(context, &report);
                Err(failure)
            }
            (Ok(done), Ok(report)) => done.end(context, report),
            (Err(failure), Err(_)) => Err(failure),
            (Ok(_), Err(failure)) => Err(failure),
        }
    });
    // Threads wipe what they hold as they end. One that still reads a terminal ends with the process.
    runtime.shutdown_timeout(SHUTDOWN);
    result
}

/// What a shift did, for whoever watches.
fn say(context: &Context, report: &ShiftReport) {
    context.hint(&text::shift(report));
}

fn interrupted() -> Failure {
    Failure::new(
        Exit::Interrupted,
        "interrupted",
        "interrupted; the shift was closed, and what was asked is charged",
        "",
    )
}

fn unclosed() -> Failure {
    Failure::new(
        Exit::Interrupted,
        "interrupted",
        "interrupted twice; the shift is not closed, and what was asked is charged",
        "the next desk with the same grounds takes the shift up and closes it",
    )
}
