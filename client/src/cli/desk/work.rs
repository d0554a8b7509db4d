//! One document, a stream, a manifest, the endpoint: each over an open desk.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use tallystick_agency::{
    AgencyError,
    command::Signals,
    exit::{Exit, Failure, Outcome},
    fs,
    report::{self, Report},
};
use tokio::{net::TcpListener, sync::Notify};
use zeroize::Zeroizing;

use super::{
    super::{Context, PROGRAM, facts, list},
    input, interrupted, say,
    settings::Settings,
    text,
};
use crate::{
    desk::{
        Answering, Conclusion, Desk, Presented, ShiftReport, Verdict,
        http::{self, HttpOptions, Token},
        manifest,
        stream::{self, StreamEnd},
    },
    progress::Progress,
    truth::Score,
};

/// How long lists may take to be fetched before the first question of a command that has no second one.
const OPENING: Duration = Duration::from_secs(120);

/// What was done, to be shown when the shift is closed.
pub(super) enum Done {
    One(Box<Verdict>),
    Stream(stream::StreamReport),
    Manifest(Written),
    Served,
}

/// One document.
#[derive(Serialize)]
struct One<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    shift: &'a ShiftReport,
}

/// A manifest.
#[derive(Serialize)]
pub(super) struct Written {
    #[serde(flatten)]
    manifest: manifest::ManifestReport,
    out: Option<PathBuf>,
    /// The verdicts against what the documents are, where the manifest says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    truth: Option<Score>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shift: Option<ShiftReport>,
}

impl Report for Written {
    const COMMAND: &'static str = "desk-manifest";

    fn text(&self) -> String {
        let out = self.out.as_ref().map(|path| path.display().to_string());
        let told = facts([
            ("rows", self.manifest.rows.to_string()),
            ("verdicts", counts(&self.manifest.verdicts)),
            (
                "answers missing",
                format!("in {} rows", self.manifest.with_missing),
            ),
            ("table", out.unwrap_or_else(|| "standard output".to_owned())),
        ]);
        match &self.truth {
            None => told,
            Some(score) => {
                let (header, rows) = score.rows();
                format!("{told}\n\n{}", list(&header, rows))
            }
        }
    }
}

fn counts(verdicts: &BTreeMap<&'static str, u64>) -> String {
    // The gravest first.
    let known = Conclusion::ALL.iter().map(|one| one.name());
    let counted = known.filter_map(|name| Some(format!("{} {name}", verdicts.get(name)?)));
    let all: Vec<String> = counted.collect();
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join(", ")
    }
}

impl Done {
    /// Shows it, with what the shift did, and says how the program ends.
    pub(super) fn end(self, context: &Context, shift: ShiftReport) -> Outcome<Exit> {
        match self {
            Self::One(verdict) => {
                let mut text = if context.json {
                    let one = One {
                        verdict: &verdict,
                        shift: &shift,
                    };
                    Zeroizing::new(serde_json::to_string(&one).map_err(unprintable)?)
                } else {
                    verdict.text()
                };
                text.push('\n');
                report::write_stdout(text.as_bytes())?;
                if !context.json {
                    say(context, &shift);
                }
                Ok(match verdict.lacks_answers() {
                    false => Exit::Done,
                    true => Exit::Network,
                })
            }
            Self::Stream(done) => {
                say(context, &shift);
                context.hint(&format!(
                    "verdicts: {}; with answers missing: {}",
                    counts(&done.verdicts),
                    done.with_missing
                ));
                match done.ended {
                    StreamEnd::Input if done.with_missing > 0 => Ok(Exit::Network),
                    StreamEnd::Input => Ok(Exit::Done),
                    StreamEnd::Stopped => Err(interrupted()),
                    StreamEnd::Output => Err(Failure::usage(
                        "stdout",
                        format!(
                            "standard output takes nothing any more; {} verdicts were not written, and \
                             what was asked is charged",
                            done.unwritten
                        ),
                        "check what reads the verdicts; the shift is closed",
                    )),
                }
            }
            Self::Manifest(mut written) => {
                let missing = written.manifest.with_missing;
                match (&written.out, context.json) {
                    // The table is the result; what else there is to say goes beside.
                    (None, _) => {
                        say(context, &shift);
                        context.hint(&written.text());
                    }
                    (Some(_), true) => {
                        written.shift = Some(shift);
                        context.print(PROGRAM, &written)?;
                    }
                    (Some(_), false) => {
                        context.print(PROGRAM, &written)?;
                        say(context, &shift);
                    }
                }
                Ok(if missing == 0 {
                    Exit::Done
                } else {
                    Exit::Network
                })
            }
            Self::Served => {
                if context.json {
                    let line = serde_json::to_string(&shift).map_err(unprintable)?;
                    report::write_stdout(format!("{line}\n").as_bytes())?;
                } else {
                    report::write_stdout(format!("{}\n", text::shift(&shift)).as_bytes())?;
                }
                Ok(Exit::Done)
            }
        }
    }
}

fn unprintable(error: serde_json::Error) -> Failure {
    crate::error::bug(format!("a report without a form: {error}"))
}

/// The verdict on one document.
pub(super) async fn one(
    context: &Context,
    desk: &Desk,
    presented: &Presented,
    signals: &mut Signals,
) -> Outcome<Done> {
    let asking = async {
        settled(context, desk).await;
        desk.ask(presented).await
    };
    tokio::select! {
        verdict = asking => Ok(Done::One(Box::new(verdict))),
        () = signals.next() => Err(interrupted()),
    }
}

/// Waits until every list answers, or cannot: one that is fetched for the first time takes longer than
/// an answer may.
async fn settled(context: &Context, desk: &Desk) {
    let bar = Progress::new("opening lists", 0, "s", context.quiet);
    let began = std::time::Instant::now();
    while desk.is_opening() && began.elapsed() < OPENING {
        tokio::time::sleep(Duration::from_millis(10)).await;
        bar.set(began.elapsed().as_secs());
    }
    bar.finish();
}

/// Verdicts on what comes on standard input.
pub(super) async fn stream(context: &Context, desk: &Desk, signals: &mut Signals) -> Outcome<Done> {
    tokio::select! {
        () = settled(context, desk) => {}
        () = signals.next() => return Err(interrupted()),
    }
    let form = if context.json {
        text::json
    } else {
        text::short
    };
    let answering: Arc<dyn Answering> = Arc::new(desk.clone());
    let stop = Notify::new();
    let running = stream::run(
        std::io::stdin(),
        std::io::stdout(),
        answering,
        form,
        stop.notified(),
    );
    let mut running = std::pin::pin!(running);
    // The first signal ends the input, the second what is under way.
    for _ in 0..2 {
        tokio::select! {
            done = &mut running => return done.map(Done::Stream),
            () = signals.next() => stop.notify_one(),
        }
    }
    Err(interrupted())
}

/// Verdicts on the rows of a table.
pub(super) async fn manifest(
    context: &Context,
    desk: &Desk,
    manifest: input::Manifest,
    signals: &mut Signals,
) -> Outcome<Done> {
    let asking = async {
        settled(context, desk).await;
        let bar = Progress::new("asking", 0, "rows", context.quiet);
        let done = manifest::run(desk, &manifest.source, &manifest.mapping, |rows| {
            bar.set(rows)
        })
        .await;
        bar.finish();
        done
    };
    let (table, done) = tokio::select! {
        done = asking => done?,
        () = signals.next() => return Err(interrupted()),
    };
    manifest.check()?;
    match &manifest.out {
        Some(out) => fs::atomic_write(out, &table, fs::OWNER_FILE)?,
        None => {
            let mut stdout = std::io::stdout().lock();
            let written = stdout.write_all(&table).and_then(|()| stdout.flush());
            written.map_err(|e| {
                let next = "what was asked is charged; the next time name a file with --out";
                Failure::usage("stdout", format!("cannot write the table: {e}"), next)
            })?;
        }
    }
    let truth = manifest.truth.as_deref();
    let truth = truth.map(|column| Score::of_table(&table, column));
    Ok(Done::Manifest(Written {
        manifest: done,
        out: manifest.out,
        truth: truth.transpose()?,
        shift: None,
    }))
}

/// The endpoint, before it answers.
pub(super) struct Endpoint {
    listener: TcpListener,
    options: HttpOptions,
    /// Removed when it is dropped.
    token_file: Option<TokenFile>,
}

/// A token on the disk. It opens nothing when the endpoint has ended.
struct TokenFile(PathBuf);

impl Drop for TokenFile {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Endpoint {
    /// Listens, and tells where, and by which token.
    pub(super) async fn open(context: &Context, settings: &Settings) -> Outcome<Self> {
        let listener = http::listen(settings.address).await?;
        // The token is in the address that is printed: whoever reads a log must not get it.
        if settings.token_file.is_none() && !std::io::stderr().is_terminal() {
            return Err(Failure::usage(
                "token-file",
                "standard error is no terminal, and the token would stand in it",
                "name a file for the token with --token-file",
            ));
        }
        let address = listener.local_addr();
        let address = address.map_err(|e| AgencyError::Bug(format!("a listener: {e}")))?;
        let token = Token::fresh();
        eprintln!("desk listening address={address}");
        let token_file = settings.token_file.clone().map(TokenFile);
        match &token_file {
            Some(TokenFile(path)) => {
                let text = Zeroizing::new(format!("{}\n", token.reveal()));
                fs::atomic_write(path, text.as_bytes(), fs::OWNER_FILE)?;
                context.hint(&format!(
                    "open http://{address}/  token in {}",
                    path.display()
                ));
            }
            // Without a file there is no other way to learn it.
            None => eprintln!("open http://{address}/#token={}", token.reveal()),
        }
        Ok(Self {
            listener,
            options: HttpOptions {
                token,
                clear_after: settings.clear_after,
            },
            token_file,
        })
    }
}

/// Answers until it is told to stop: that is how a shift at a desk ends.
pub(super) async fn serve(
    desk: &Desk,
    endpoint: Option<Endpoint>,
    signals: &mut Signals,
) -> Outcome<Done> {
    let Some(endpoint) = endpoint else {
        return Err(crate::error::bug("no endpoint to serve"));
    };
    let answering: Arc<dyn Answering> = Arc::new(desk.clone());
    let Endpoint {
        listener,
        options,
        token_file,
    } = endpoint;
    http::serve(listener, answering, options, signals.next()).await?;
    drop(token_file);
    Ok(Done::Served)
}
