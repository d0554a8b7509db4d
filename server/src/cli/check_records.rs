//! The records' part of `tallyd check`: what the index says, what lies on disk, what was left open.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use tallystick_agency::{
    AgencyError,
    exit::Outcome,
    fs::file_digest,
    home::Home,
    store::{SessionId, SqliteStore, Store},
};
use tallystick_protocol::statements::Hex;

use super::check::Checks;
use tallystick_agency::report::moment;

const NAME: &str = "records";
/// A node that runs closes a session this long after its end at the latest.
const OVERDUE_MS: i64 = 10 * 60_000;
/// Files named in one finding; the rest is counted.
const NAMED: usize = 3;

/// Files of one kind of finding.
#[derive(Default)]
struct Found(BTreeMap<&'static str, Vec<String>>);

impl Found {
    fn add(&mut self, code: &'static str, what: String) {
        self.0.entry(code).or_default().push(what);
    }

    /// The first few, and how many more.
    fn take(&mut self, code: &'static str) -> Option<String> {
        let all = self.0.remove(code)?;
        let named = all[..all.len().min(NAMED)].join(", ");
        Some(match all.len().saturating_sub(NAMED) {
            0 => named,
            more => format!("{named}, and {more} more"),
        })
    }
}

/// Compares the index with the files, byte for byte by their digests.
pub(super) async fn records(
    checks: &mut Checks,
    home: &Home,
    store: &SqliteStore,
    now: i64,
) -> Outcome<()> {
    let mut found = Found::default();
    let index = store.list_records(u32::MAX).await?;
    let mut listed: BTreeSet<SessionId> = BTreeSet::new();
    for entry in &index {
        listed.insert(entry.session);
        let path = home.dir().join(&entry.path);
        match file_digest(&path) {
            Ok(digest) if digest == entry.digest => {}
            Ok(_) => found.add("record-changed", entry.path.clone()),
            Err(AgencyError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                found.add("record-lost", entry.path.clone());
            }
            Err(why) => checks.failed(NAME, why),
        }
    }
    let sessions = store.open_sessions().await?;
    for session in &sessions {
        if session.expires_ms + OVERDUE_MS < now {
            let since = moment(session.expires_ms);
            let what = format!("{} (ended {since})", Hex(session.session));
            found.add("session-overdue", what);
        }
        let part = home
            .records_dir()
            .join(format!("{}.part", Hex(session.session)));
        let closed = part.with_extension("tally");
        if !part.exists() && !closed.exists() {
            found.add("record-lost", format!("{}.part", Hex(session.session)));
        }
    }
    for (session, ending, name) in files(&home.records_dir())? {
        let open = sessions.iter().any(|known| known.session == session);
        // A run that goes on, or went on, here; the same command finishes it.
        let own = store.is_own_run(&session).await?;
        match ending.as_str() {
            "tally" if !listed.contains(&session) => found.add("record-not-listed", name),
            "part" if !open && !own => found.add("record-left-open", name),
            _ => {}
        }
    }
    report(checks, &mut found, index.len());
    Ok(())
}

fn report(checks: &mut Checks, found: &mut Found, listed: usize) {
    let good = found.0.is_empty();
    for (code, what, fix) in [
        (
            "record-lost",
            "in the index, and not on the disk",
            "restore these files from a backup; the peer's copy shows what was asked",
        ),
        (
            "record-changed",
            "not as it was closed: cut short or changed",
            "restore these files from a backup; `tally audit verify FILE` says what is wrong",
        ),
    ] {
        if let Some(files) = found.take(code) {
            checks.fail(NAME, code, format!("{what}: {files}"), fix);
        }
    }
    for (code, what, fix) in [
        (
            "record-not-listed",
            "on the disk, and not in the index",
            "start `tallyd serve`, or run the match again: that ends what a crash left; keep files \
             that stay",
        ),
        (
            "record-left-open",
            "of no session that is known",
            "what a crash left before the session was granted: may be removed",
        ),
        (
            "session-overdue",
            "sessions that should be closed",
            "start `tallyd serve`: it closes them within a minute",
        ),
    ] {
        if let Some(files) = found.take(code) {
            checks.warn(NAME, code, format!("{what}: {files}"), fix);
        }
    }
    if good {
        checks.ok(
            NAME,
            format!("{listed} in the index, all as they were closed"),
        );
    }
}

/// Files named by a session: its id, their ending, their name.
fn files(dir: &Path) -> Outcome<Vec<(SessionId, String, String)>> {
    let fail = |source| AgencyError::Io {
        action: "read",
        path: dir.to_path_buf(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        if let Some((stem, ending)) = name.split_once('.')
            && let Ok(Hex(session)) = stem.parse::<Hex<16>>()
        {
            found.push((session, ending.to_owned(), name.to_owned()));
        }
    }
    found.sort();
    Ok(found)
}
