//! The collections' part of `tallyd check`.

use std::{fs::File, io::BufReader, path::Path};

use tallystick_agency::{
    AgencyError,
    collections::{Meta, epoch_keys, snapshot_path},
    exit::{Exit, Failure, Outcome},
    home::Home,
    peers::own_reference,
    store::{Collection, Peer},
};
use tallystick_protocol::{
    frame::{FrameReader, ReadError},
    group,
    signing::VerifyKey,
    snapshot::{SnapshotVerifier, VerifiedSnapshot},
    statements::{Hex, Mode, Name},
};

/// Refuses a collection that cannot be served; names what else is odd, and how to mend it.
pub(super) fn collection(
    home: &Home,
    known: &Collection,
    peers: &[Peer],
) -> Outcome<Option<(String, String)>> {
    let meta = Meta::of(known)?;
    let name: Name = known
        .name
        .parse()
        .map_err(|_| AgencyError::Bug("a stored collection has an invalid name".to_owned()))?;
    epoch_keys(
        home,
        group::reference(),
        &name,
        known.epoch,
        Mode::Elements,
        &meta.types,
    )?;
    let digest = known
        .snapshot_digest
        .ok_or_else(|| AgencyError::Bug("a collection without a snapshot".to_owned()))?;
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
    let left = leftovers(&path);
    if left > 0 {
        let folder = path.parent().unwrap_or(&path).display().to_string();
        return Ok(Some((
            format!("{left} files of publications that were interrupted"),
            format!("while nothing is published: rm {folder}/.snapshot-*"),
        )));
    }
    let live = |name: &&Name| {
        peers
            .iter()
            .any(|peer| peer.name == name.as_str() && peer.revoked_ms.is_none())
    };
    let allow = meta.allow.unwrap_or_default();
    if !allow.is_empty() && !allow.iter().any(|name| live(&name)) {
        return Ok(Some((
            "no peer that may ask is there".to_owned(),
            "add the peer, or publish with another --allow".to_owned(),
        )));
    }
    if !meta.source.input.is_file() {
        return Ok(Some((
            format!("its table is gone: {}", meta.source.input.display()),
            "give --input to the next `tallyd epoch rotate`".to_owned(),
        )));
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
