//! The collections' part of `tallyd check`.

use std::{fs::File, io::BufReader, path::Path};

use super::DAY_MS;
use tallystick_agency::{
    AgencyError,
    collections::{Meta, epoch_keys, snapshot_path},
    exit::{Exit, Failure, Outcome},
    home::Home,
    peers::own_reference,
    publish::{damaged_deltas, is_unfinished},
    store::{Collection, Peer},
};
use tallystick_protocol::{
    frame::{FrameReader, ReadError},
    group,
    signing::VerifyKey,
    snapshot::{SnapshotVerifier, VerifiedSnapshot},
    statements::{Hex, Mode, Name},
};
use tallystick_tables::TableInput;

/// A register that is older says things of documents that it cannot know.
const REGISTER_OLD_DAYS: i64 = 7;

/// What is odd about a collection that can be served all the same.
pub(super) struct Finding {
    pub(super) code: &'static str,
    pub(super) detail: String,
    pub(super) fix: String,
}

fn finding(
    code: &'static str,
    detail: impl Into<String>,
    fix: impl Into<String>,
) -> Outcome<Option<Finding>> {
    Ok(Some(Finding {
        code,
        detail: detail.into(),
        fix: fix.into(),
    }))
}

/// Refuses a collection that cannot be served; names what else is odd, and how to mend it.
pub(super) fn collection(
    home: &Home,
    known: &Collection,
    peers: &[Peer],
    now: i64,
) -> Outcome<Option<Finding>> {
    let meta = Meta::of(known)?;
    let rotate = format!("tallyd epoch rotate {}", known.name);
    let Some(digest) = known.snapshot_digest else {
        let detail = "not offered: the home was restored, and what was charged is not known";
        return finding("withdrawn", detail, rotate);
    };
    let name: Name = known
        .name
        .parse()
        .map_err(|_| AgencyError::Bug("a stored collection has an invalid name".to_owned()))?;
    epoch_keys(
        home,
        group::best(),
        &name,
        known.epoch,
        Mode::Elements,
        &meta.types,
    )?;
    let path = snapshot_path(home, &known.name, &digest);
    let publisher = VerifyKey(own_reference(home)?.signing_key.0);
    let again = "publish the collection again";
    let verified = verify(&path, &publisher).map_err(|why| {
        let what = format!("{}: {why}", path.display());
        Failure::new(Exit::Verification, "snapshot", what, again)
    })?;
    let preamble = verified.preamble();
    if verified.digest() != Hex(digest)
        || preamble.collection != name
        || preamble.epoch.get() != known.epoch
    {
        let what = format!("{} is another snapshot", path.display());
        return Err(Failure::new(Exit::Verification, "snapshot", what, again));
    }
    if is_unfinished(home, &name) {
        return finding(
            "unfinished",
            "a publication was interrupted; what it evaluated is kept, sealed",
            "give the same command again, which goes on; another publication throws it away",
        );
    }
    let left = leftovers(&path);
    if left > 0 {
        let folder = path.parent().unwrap_or(&path).display().to_string();
        return finding(
            "leftovers",
            format!("{left} files of publications that were interrupted"),
            format!(
                "its next publication removes them; or while nothing is published: rm {folder}/.snapshot-*"
            ),
        );
    }
    let damaged = damaged_deltas(home, &name, &digest)?;
    if damaged > 0 {
        return finding(
            "delta-damaged",
            format!(
                "{damaged} deltas that lead to it are damaged or gone: readers fetch all of it"
            ),
            format!("{rotate}; until then it is served whole"),
        );
    }
    let live = |name: &&Name| {
        peers
            .iter()
            .any(|peer| peer.name == name.as_str() && peer.revoked_ms.is_none())
    };
    let allow = meta.allow.clone().unwrap_or_default();
    if !allow.is_empty() && !allow.iter().any(|name| live(&name)) {
        return finding(
            "nobody-may-ask",
            "no peer that may ask is there",
            "add the peer, or publish with another --allow",
        );
    }
    let input = &meta.source.input;
    if !TableInput::is_standard(input) && !input.is_file() {
        return finding(
            "table-gone",
            format!("its table is gone: {}", meta.source.input.display()),
            "give --input to the next `tallyd epoch rotate`",
        );
    }
    if let Some(covers) = &meta.covers {
        let days = (now - covers.complete_ms.get().cast_signed()) / DAY_MS;
        if days > REGISTER_OLD_DAYS {
            let detail = format!(
                "a register that is complete until {days} days ago: documents issued since look never issued"
            );
            return finding("register-old", detail, again);
        }
    }
    if let Some(budget) = meta.maps_birth_dates() {
        return finding(
            "register-budget",
            format!("one peer may have {budget} holders evaluated: every date of a century"),
            "publish with --budget holder=N and --budget document=N, as few as travellers need",
        );
    }
    let most = home.config().policy.epoch_warn_days;
    let began = meta.epoch_started_ms.or(known.published_ms).unwrap_or(now);
    let days = (now - began) / DAY_MS;
    if most > 0 && days > i64::from(most) {
        let detail = format!(
            "epoch {} began {days} days ago; {most} are allowed",
            known.epoch
        );
        return finding("epoch-old", detail, rotate);
    }
    Ok(None)
}

/// Streams a snapshot through its verifier.
fn verify(path: &Path, publisher: &VerifyKey) -> Result<VerifiedSnapshot, ReadError> {
    let mut frames = FrameReader::new(BufReader::new(File::open(path)?));
    let ended = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let header = frames.next_frame()?.ok_or_else(ended)?;
    let mut verifier = SnapshotVerifier::new(&header, publisher)?;
    while let Some(frame) = frames.next_frame()? {
        verifier.push(&frame)?;
    }
    Ok(verifier.finish()?)
}

fn leftovers(snapshot: &Path) -> usize {
    let entries = snapshot
        .parent()
        .and_then(|folder| std::fs::read_dir(folder).ok());
    let begun = |name: std::ffi::OsString| name.to_string_lossy().starts_with(".snapshot-");
    let entries = entries.into_iter().flatten().flatten();
    entries.filter(|entry| begun(entry.file_name())).count()
}
