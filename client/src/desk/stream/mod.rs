//! A stream of documents: lines in, one verdict a line out, in their order.
//!
//! ```text
//! lines    bytes of a reader in, documents out
//! ```
//! Every line that is not empty gets a verdict; a zone in two or three lines gets one. Nothing is
//! dropped: queues are short, and when they are full the reader is left waiting on its pipe.

mod lines;

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read, Write},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use tallystick_agency::exit::{Failure, Outcome};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle},
};
use zeroize::Zeroizing;

use self::lines::{Item, Line, Zones};
use super::{Answering, Verdict};
use crate::error::bug;

/// Lines that are read ahead.
const READ_AHEAD: usize = 256;
/// Documents that are asked about at once.
const UNDER_WAY: usize = 1024;
/// Verdicts that wait to be written.
const WRITE_BEHIND: usize = 256;
/// How long the next line of a zone may take. A reader sends them at once.
const NEXT_LINE: Duration = Duration::from_secs(1);

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamEnd {
    /// The input ended.
    Input,
    /// It was told to stop.
    Stopped,
    /// The output takes nothing any more.
    Output,
}

/// What a stream did.
#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    /// Why it ended.
    pub ended: StreamEnd,
    /// Verdicts that were written, by conclusion.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Of these, those with an answer missing.
    pub with_missing: u64,
    /// Documents that were asked about and whose verdict could not be written.
    pub unwritten: u64,
}

/// How a verdict is written.
pub type Form = fn(u64, &Verdict) -> Zeroizing<String>;

/// Asks about every document of `input` and writes each verdict to `output`, as `form` gives it for the
/// number of the document's first line, with a line end. Ends with the input; or when `stop` does, and
/// what is under way is answered; or when the output fails. Needs a runtime of several threads.
///
/// # Errors
/// A failure to read the input, once what came before is answered.
pub async fn run(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    desk: Arc<dyn Answering>,
    form: Form,
    stop: impl Future<Output = ()>,
) -> Outcome<StreamReport> {
    let (queue, lines) = mpsc::channel(READ_AHEAD);
    // A thread of its own, that nothing waits for: a read from a terminal cannot be interrupted.
    let reading = spawn("desk-input", move || lines::read(input, &queue))?;
    let (asked, answers) = mpsc::channel(UNDER_WAY);
    let writing = tokio::spawn(write(answers, output, form));
    let stopped = ask(lines, desk, asked, stop).await;
    let mut report = writing.await.map_err(lost)??;
    if stopped && report.ended == StreamEnd::Input {
        report.ended = StreamEnd::Stopped;
    }
    if report.ended == StreamEnd::Input {
        let read = tokio::task::spawn_blocking(move || reading.join());
        let read = read.await.map_err(lost)?;
        let read = read.map_err(|_| bug("the thread that reads lines"))?;
        read.map_err(|e| {
            let next = "what came before is answered; look at what writes to it";
            Failure::usage("input", format!("standard input: {e}"), next)
        })?;
    }
    Ok(report)
}

/// A document that is asked about: its line, and its verdict when it comes.
type Asked = (u64, JoinHandle<Verdict>);

/// Asks until the lines end; gives whether it was told to stop.
async fn ask(
    mut lines: mpsc::Receiver<Line>,
    desk: Arc<dyn Answering>,
    asked: mpsc::Sender<Asked>,
    stop: impl Future<Output = ()>,
) -> bool {
    let mut stop = std::pin::pin!(stop);
    let mut zones = Zones::default();
    loop {
        let next = async {
            match zones.begun() {
                true => tokio::time::timeout(NEXT_LINE, lines.recv()).await,
                false => Ok(lines.recv().await),
            }
        };
        let next = tokio::select! {
            next = next => next,
            () = &mut stop => return true,
            () = asked.closed() => return false,
        };
        let (items, over) = match next {
            Ok(Some(line)) => (zones.take(line), false),
            // Half a zone, and nothing more.
            Err(_) => (zones.end().into_iter().collect(), false),
            Ok(None) => (zones.end().into_iter().collect(), true),
        };
        for Item { line, presented } in items {
            let desk = Arc::clone(&desk);
            let verdict = tokio::spawn(async move {
                match presented {
                    Ok(presented) => desk.ask(&presented).await,
                    Err(unreadable) => Verdict::unreadable(None, unreadable),
                }
            });
            // Waits while as many are under way as may be; fails when the output has.
            if asked.send((line, verdict)).await.is_err() {
                return false;
            }
        }
        if over {
            return false;
        }
    }
}

/// Writes verdicts in the order in which they were asked for.
async fn write(
    mut answers: mpsc::Receiver<Asked>,
    mut output: impl Write + Send + 'static,
    form: Form,
) -> Outcome<StreamReport> {
    let (queue, mut texts) = mpsc::channel::<Zeroizing<String>>(WRITE_BEHIND);
    let (done, mut written) = mpsc::unbounded_channel::<()>();
    let writing = spawn("desk-output", move || -> io::Result<()> {
        while let Some(text) = texts.blocking_recv() {
            output.write_all(text.as_bytes())?;
            // At once when nobody waits behind it, so that a guard sees it.
            if texts.is_empty() {
                output.flush()?;
            }
            let _ = done.send(());
        }
        output.flush()
    })?;
    let mut tally = Tally::default();
    loop {
        // Nobody may come any more, and still the shift must end.
        let next = tokio::select! {
            next = answers.recv() => next,
            () = queue.closed() => None,
        };
        let Some((line, verdict)) = next else { break };
        let verdict = verdict.await.map_err(lost)?;
        let mut text = form(line, &verdict);
        text.push('\n');
        tally.sent(&verdict);
        let open = queue.send(text).await.is_ok();
        while written.try_recv().is_ok() {
            tally.written();
        }
        if !open {
            break;
        }
    }
    drop(queue);
    let over = tokio::task::spawn_blocking(move || writing.join());
    let over = over.await.map_err(lost)?;
    let over = over.map_err(|_| bug("the thread that writes verdicts"))?;
    while written.try_recv().is_ok() {
        tally.written();
    }
    let mut unwritten = tally.behind.len() as u64;
    let mut ended = StreamEnd::Input;
    if over.is_err() {
        ended = StreamEnd::Output;
        // What was asked meanwhile is charged all the same.
        answers.close();
        while answers.recv().await.is_some() {
            unwritten += 1;
        }
    }
    Ok(StreamReport {
        ended,
        verdicts: tally.verdicts,
        with_missing: tally.with_missing,
        unwritten,
    })
}

/// Counts verdicts when they are written, not before.
#[derive(Default)]
struct Tally {
    /// Conclusion, and whether an answer is missing, of those that are not written yet.
    behind: VecDeque<(&'static str, bool)>,
    verdicts: BTreeMap<&'static str, u64>,
    with_missing: u64,
}

impl Tally {
    fn sent(&mut self, verdict: &Verdict) {
        let (conclusion, missing) = (verdict.conclusion.name(), verdict.lacks_answers());
        self.behind.push_back((conclusion, missing));
    }

    fn written(&mut self) {
        if let Some((name, missing)) = self.behind.pop_front() {
            *self.verdicts.entry(name).or_default() += 1;
            self.with_missing += u64::from(missing);
        }
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Outcome<std::thread::JoinHandle<T>> {
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work);
    thread.map_err(|e| bug(format!("cannot start a thread: {e}")))
}

fn lost(error: JoinError) -> Failure {
    bug(format!("a question was lost: {error}"))
}
