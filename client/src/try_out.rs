//! `tally try`: two throw-away agencies on this machine, each a process of its own with its own
//! home, keys, certificate and database, over mutual TLS on loopback; then an audit of both copies
//! of the record.
//!
//! This is the one module that imports the server: the peer's process is this executable with a
//! hidden subcommand, so that processor time and memory are each side's own.

pub(crate) mod children;

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use serde::{Deserialize, Serialize};
use tallystick_agency::{
    AgencyError, clock,
    collections::TableSource,
    command::runtime,
    exit::{Exit, Failure, Outcome},
    home::{Home, InitOptions},
    peers,
    process::{self, Usage},
    publish::{self, PublishOptions, Published},
    records::closed_path,
    store::Store,
};
use tallystick_protocol::{
    group,
    statements::{Hex, Name},
};
use tallystick_server::Node;
use tallystick_tables::{Rejects, TableFormat, TableInput};
use tokio::sync::oneshot;

use self::children::{Ready, Spent, receive, sender};
use crate::{
    audit::{self, Audited, TrustFile, TrustedAgency},
    datagen,
    error::bug,
    input::Plan,
    progress::Progress,
};

/// Key columns of the sample data.
pub const SAMPLE_KEY: &str = "document=document,state";
/// Label columns of the sample data.
const SAMPLE_LABEL: [&str; 3] = ["name", "case_ref", "handling"];
/// Rows of the sample border list, of the sample watchlist, and documents in both; and its seed.
const SAMPLE: (u64, u64, u64, u64) = (20_000, 4_000, 137, 1);
/// The collection's name.
const COLLECTION: &str = "watchlist";
/// The agencies' names, which are those of their folders.
const OURS: &str = "ours";
const THEIRS: &str = "theirs";

/// What to try.
#[derive(Debug)]
pub struct TryOptions {
    /// The own table, and how it is read; the sample when `None`.
    pub ours: Option<TableSource>,
    /// The peer's table, and how it is read; the sample when `None`.
    pub theirs: Option<TableSource>,
    /// Folder that keeps everything; a new one when `None`.
    pub dir: Option<PathBuf>,
    /// Where the matches go; `matches.csv` in the folder when `None`.
    pub out: Option<PathBuf>,
    /// Whether an existing output may be replaced.
    pub force: bool,
    /// `--profile`, for the sample data.
    pub profile: Option<String>,
    /// What becomes of rejected keys: the list is that of the own table.
    pub rejects: Rejects,
    /// No progress.
    pub quiet: bool,
}

/// What one side had and spent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Side {
    /// Rows of its table.
    pub rows: u64,
    /// Distinct elements.
    pub elements: u64,
    /// Keys that were rejected.
    #[serde(default)]
    pub keys_rejected: u64,
    /// Seconds of processor time, user and system.
    pub cpu_seconds: f64,
    /// Peak of its resident memory, bytes.
    pub peak_rss_bytes: u64,
    /// The most of it that was anonymous memory whenever it was looked at, some hundred times a second:
    /// neither programs nor pages of files, which the system can drop. `None` where it does not tell.
    #[serde(default)]
    pub peak_anonymous_bytes: Option<u64>,
}

/// What it was.
#[derive(Debug)]
pub struct Tried {
    /// Lines written.
    pub hits: u64,
    /// Own elements that matched.
    pub elements_matched: u64,
    /// The asking side.
    pub ours: Side,
    /// The side that was asked; its processor time includes publishing.
    pub theirs: Side,
    /// Elements sent, padding included: what was charged.
    pub charged: u64,
    /// Tags in the snapshot, padding included.
    pub tags: u64,
    /// Seconds of the stages.
    pub seconds: Vec<(&'static str, f64)>,
    /// Bytes sent on the TCP stream by the asking side.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Both records.
    pub records: [PathBuf; 2],
    /// The trust file.
    pub trust: PathBuf,
    /// The folder.
    pub dir: PathBuf,
    /// The matches.
    pub out: PathBuf,
    /// The audit of both records.
    pub audited: Vec<Audited>,
    /// Whether both verify and agree.
    pub verified: bool,
    /// Name of the kernel.
    pub kernel: String,
}

/// Tries it.
///
/// # Errors
/// A failure of whichever side failed.
pub fn run(options: TryOptions) -> Outcome<Tried> {
    let started = Instant::now();
    let mut seconds = Vec::new();
    let dir = folder(options.dir.clone())?;
    if options.dir.is_none() && !options.quiet {
        // Said before anything can fail or be interrupted.
        eprintln!("everything is kept in {}", dir.display());
    }
    let (ours, theirs) = tables(&options, &dir)?;
    let asked = padded_elements(&ours, &dir)?;
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| dir.join("matches.csv"));
    lap(&mut seconds, "prepare", started);

    let at = Instant::now();
    let homes = runtime()?.block_on(introduce(&dir))?;
    lap(&mut seconds, "init", at);

    let mut sender = sender(&homes.1, &theirs, asked, &options)?;
    let ready: Ready = sender.line()?;
    seconds.push(("publish", ready.publish_seconds));

    let at = Instant::now();
    let matched = receive(&homes.0, &ours, &out, ready.address, &options)?;
    lap(&mut seconds, "match", at);
    seconds.push(("session", matched.seconds.session));
    let usage = sender.stop()?;

    let at = Instant::now();
    let session: Hex<16> = matched
        .session
        .parse()
        .map_err(|_| bug("the session id of a child process"))?;
    let records = [&homes.0, &homes.1].map(|home| closed_path(&home.join("records"), &session));
    let trust = write_trust(&dir, homes.agencies())?;
    let audited = audit_both(&records, &trust, options.quiet)?;
    lap(&mut seconds, "audit", at);
    lap(&mut seconds, "total", started);

    let verified = audited.iter().all(|audited| audited.report.verified)
        && audit::agree(&audited) == Some(true);
    Ok(Tried {
        hits: matched.hits,
        elements_matched: matched.elements_matched,
        ours: matched.ours.side(),
        theirs: Side {
            rows: ready.rows,
            elements: ready.elements,
            keys_rejected: ready.keys_rejected,
            cpu_seconds: usage.cpu_seconds,
            peak_rss_bytes: usage.peak_rss_bytes,
            peak_anonymous_bytes: usage.peak_anonymous_bytes,
        },
        charged: matched.ours.elements_padded,
        tags: ready.tags,
        seconds,
        sent: matched.bytes.sent,
        received: matched.bytes.received,
        records,
        trust,
        dir,
        out,
        audited,
        verified,
        kernel: matched.kernel,
    })
}

fn lap(seconds: &mut Vec<(&'static str, f64)>, stage: &'static str, since: Instant) {
    seconds.push((stage, since.elapsed().as_secs_f64()));
}

/// The folder that keeps everything: new, or empty.
fn folder(dir: Option<PathBuf>) -> Outcome<PathBuf> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| {
            Failure::from(AgencyError::Io {
                action: "create",
                path,
                source,
            })
        }
    };
    let Some(dir) = dir else {
        let temporary = std::env::temp_dir();
        let made = tempfile::Builder::new()
            .prefix("tally-try-")
            .tempdir_in(&temporary);
        return Ok(made.map_err(io(&temporary))?.keep());
    };
    std::fs::create_dir_all(&dir).map_err(io(&dir))?;
    if std::fs::read_dir(&dir).map_err(io(&dir))?.next().is_some() {
        return Err(Failure::usage(
            "dir-not-empty",
            format!("{} is not empty", dir.display()),
            "choose another --dir, or empty this one",
        ));
    }
    Ok(dir)
}

/// Both tables: those that were given, or the sample.
fn tables(options: &TryOptions, dir: &Path) -> Outcome<(TableSource, TableSource)> {
    match (&options.ours, &options.theirs) {
        (Some(ours), Some(theirs)) => Ok((ours.clone(), theirs.clone())),
        (None, None) => {
            let data = dir.join("data");
            let (ours, theirs, overlap, seed) = SAMPLE;
            datagen::generate(&data, ours, theirs, overlap, seed, false)
                .map_err(|e| Failure::usage(e.code(), e.to_string(), ""))?;
            let source = |file: &str, label: &[&str]| TableSource {
                profile: options.profile.clone(),
                input: data.join(file),
                keys: vec![SAMPLE_KEY.to_owned()],
                mapping: None,
                label: label.iter().map(ToString::to_string).collect(),
                format: TableFormat::default(),
            };
            Ok((
                source(datagen::OURS, &[]),
                source(datagen::THEIRS, &SAMPLE_LABEL),
            ))
        }
        _ => Err(Failure::usage(
            "usage",
            "--ours and --theirs go together",
            "give both, or neither for the sample data",
        )),
    }
}

/// Elements that the own table will ask, padding included: a trial's peer grants as many, where the
/// default is less. The length of tags follows from it, so it is counted, not guessed.
fn padded_elements(ours: &TableSource, scratch: &Path) -> Outcome<u64> {
    let mapping = ours.mapping()?;
    let input = TableInput::file(&ours.input, ours.format(&mapping));
    let unseen = Progress::new("counting", 0, "bytes", true);
    let plan = Plan::make(&input, &mapping, &Rejects::default(), scratch, &unseen)?;
    Ok(plan.padded().values().sum())
}

/// Two homes that know each other.
struct Homes(PathBuf, PathBuf, [TrustedAgency; 2]);

impl Homes {
    fn agencies(&self) -> &[TrustedAgency; 2] {
        &self.2
    }
}

async fn introduce(dir: &Path) -> Outcome<Homes> {
    let ours = init(dir, OURS).await?;
    let theirs = init(dir, THEIRS).await?;
    add(&ours, &theirs).await?;
    add(&theirs, &ours).await?;
    let trusted = |home: &Home| -> Outcome<TrustedAgency> {
        let me = peers::own_reference(home)?;
        Ok(TrustedAgency {
            agency: me.agency,
            signing_key: me.signing_key,
        })
    };
    let agencies = [trusted(&ours)?, trusted(&theirs)?];
    Ok(Homes(dir.join(OURS), dir.join(THEIRS), agencies))
}

/// A home of an agency that listens on loopback.
pub(crate) async fn init(dir: &Path, name: &str) -> Outcome<Home> {
    let options = InitOptions {
        name: name.to_owned(),
        state: None,
        passphrase: None,
        dev_ca: true,
        listen_address: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        advertise_address: None,
    };
    Ok(Home::init(&dir.join(name), options).await?)
}

/// Adds `peer` to the allow-list of `home`, from its exported manifest.
pub(crate) async fn add(home: &Home, peer: &Home) -> Outcome<()> {
    let now = clock::now_ms();
    let manifest = peers::export(peer, now)?.into_bytes();
    let import = peers::import(home, manifest, now)?;
    let store = home.store().await?;
    store.upsert_peer(&import.peer, false).await?;
    store.close().await;
    Ok(())
}

fn write_trust(dir: &Path, agencies: &[TrustedAgency; 2]) -> Outcome<PathBuf> {
    let path = dir.join("trust.json");
    let text = TrustFile::of(agencies.to_vec()).to_text()?;
    tallystick_agency::fs::atomic_write(&path, text.as_bytes(), tallystick_agency::fs::OWNER_FILE)?;
    Ok(path)
}

/// Verifies both copies at once, each on its own bytes.
fn audit_both(records: &[PathBuf; 2], trust: &Path, quiet: bool) -> Outcome<Vec<Audited>> {
    let trust = TrustFile::read(trust)?;
    thread::scope(|scope| {
        let audits = records.each_ref().map(|record| {
            let trust = trust.clone();
            scope.spawn(move || audit::verify(record, Some(trust), quiet))
        });
        let join = |audit: thread::ScopedJoinHandle<'_, Outcome<Audited>>| {
            audit
                .join()
                .unwrap_or_else(|_| Err(bug("an audit panicked")))
        };
        audits.into_iter().map(join).collect()
    })
}

/// The peer's process: publishes a table, serves it on loopback until standard input ends. One session
/// of `asked` elements is granted, also where that is more than the defaults allow.
///
/// # Errors
/// A failure of the home, the table or the network.
pub fn send(
    home: Home,
    collection: Name,
    table: TableSource,
    rejects: Rejects,
    asked: u64,
) -> Outcome<()> {
    let at = Instant::now();
    let stdin = StdinEnd::watch()?;
    runtime()?.block_on(async {
        let store = home.store().await?;
        let policy = &home.config().policy;
        let options = PublishOptions {
            name: collection,
            source: table,
            rejects,
            allow: None,
            max_session_elements: Some(policy.max_elements_per_session.max(asked)),
            peer_budget: Some(policy.elements_per_peer_per_epoch.max(asked)),
            type_budgets: std::collections::BTreeMap::new(),
            list: publish::ListTerms::default(),
            rotate: false,
            full: false,
        };
        let kernel = group::best();
        let published = publish::publish(
            &home,
            &store,
            kernel,
            options,
            clock::now_ms(),
            &|_, _, _| {},
        )
        .await?;
        store.close().await;
        let publish_seconds = at.elapsed().as_secs_f64();
        let Published {
            tally,
            distinct,
            elements,
            ..
        } = published;
        answer(home, stdin, |address| Ready {
            address,
            rows: tally.rows,
            elements: distinct,
            keys_rejected: tally.rejected_total(),
            tags: elements,
            publish_seconds,
        })
        .await
    })
}

/// A node's process: serves on loopback what is published, until standard input ends. Its first line is
/// the address, its last what it spent.
///
/// # Errors
/// A failure of the home or the network.
pub fn serve(home: Home) -> Outcome<()> {
    let stdin = StdinEnd::watch()?;
    runtime()?.block_on(answer(home, stdin, |address| address))
}

/// Serves until standard input ends.
async fn answer<T: Serialize>(
    home: Home,
    stdin: StdinEnd,
    ready: impl FnOnce(SocketAddr) -> T,
) -> Outcome<()> {
    let node = Node::open(home).await?;
    let io = |e| AgencyError::Network(format!("cannot listen on loopback: {e}"));
    let listener = tokio::net::TcpListener::bind(node.listen_address());
    let listener = listener.await.map_err(io)?;
    say(&ready(listener.local_addr().map_err(io)?))?;
    tallystick_server::serve(listener, node, stdin.ended()).await?;
    say_spent()
}

/// The last line of a process: what it spent.
pub(crate) fn say_spent() -> Outcome<()> {
    let Usage {
        cpu_seconds,
        peak_rss_bytes,
    } = process::usage()?;
    say(&Spent {
        cpu_seconds,
        peak_rss_bytes,
        peak_anonymous_bytes: None,
    })
}

/// The end of standard input: the other process is done with this one, or is no more. Data end it as
/// well: nobody is there to say anything.
struct StdinEnd {
    ended: oneshot::Receiver<()>,
    /// Whether somebody waits for it; until then the process ends with it.
    awaited: Arc<AtomicBool>,
}

impl StdinEnd {
    fn watch() -> Outcome<Self> {
        let (end, ended) = oneshot::channel();
        let awaited = Arc::<AtomicBool>::default();
        let watched = Self {
            ended,
            awaited: Arc::clone(&awaited),
        };
        let watch = move || {
            let _ = std::io::stdin().read(&mut [0u8; 1]);
            if !awaited.load(Ordering::SeqCst) {
                std::process::exit(Exit::Interrupted.code().into());
            }
            let _ = end.send(());
        };
        let spawned = thread::Builder::new().name("stdin".to_owned()).spawn(watch);
        spawned.map_err(|e| bug(format!("cannot start a thread: {e}")))?;
        Ok(watched)
    }

    async fn ended(self) {
        self.awaited.store(true, Ordering::SeqCst);
        // Fails only where the thread is gone, and then so is what it read.
        let _ = self.ended.await;
    }
}

/// Says a line to the process that started this one.
pub(crate) fn say<T: Serialize>(line: &T) -> Outcome<()> {
    let mut text = serde_json::to_string(line).map_err(|e| bug(e.to_string()))?;
    text.push('\n');
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|e| Failure::usage("stdout", e.to_string(), ""))
}
