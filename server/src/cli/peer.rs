//! `tallyd peer`: the own manifest goes out, those of peers come in.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use serde::Serialize;
use tallystick_agency::{
    AgencyError, clock,
    exit::{Exit, Failure, Outcome},
    fs::{OWNER_FILE, atomic_write},
    home::Home,
    peers,
    store::{Peer, Store},
};
use tallystick_protocol::{
    frame::{Frame, Kind, MAX_STATEMENT_BYTES},
    signing::VerifyKey,
    statements::{Manifest, Name, open_as_named},
};

use super::{block_on, ends_soon, peer_add, print};
use tallystick_agency::command::Context;
use tallystick_agency::report::{Report, facts, grouped, list, moment, or_dash, write_stdout};

#[derive(Debug, Subcommand)]
pub(super) enum PeerCommand {
    /// Write the own signed manifest, to be given to peers
    Export {
        /// Where to write it [default: stdout]
        file: Option<PathBuf>,
    },
    /// Take in a peer's manifest, or a newer one
    Add(peer_add::AddArgs),
    /// Show all peers
    List,
    /// Let a peer in no more
    Revoke {
        /// Name of the peer
        name: Name,
    },
}

pub(super) fn run(context: &Context, command: &PeerCommand) -> Outcome<()> {
    match command {
        PeerCommand::Export { file } => export(context, file.as_deref()),
        PeerCommand::Add(args) => peer_add::add(context, args),
        PeerCommand::List => show(context),
        PeerCommand::Revoke { name } => revoke(context, name),
    }
}

#[derive(Debug, Serialize)]
struct Exported {
    file: String,
    name: String,
    fingerprint: String,
    expires_ms: i64,
}

impl Report for Exported {
    const COMMAND: &'static str = "peer-export";

    fn text(&self) -> String {
        facts([
            ("file", self.file.clone()),
            ("name", self.name.clone()),
            ("fingerprint", grouped(&self.fingerprint)),
            ("valid until", moment(self.expires_ms)),
        ])
        .trim_fmt()
    }
}

fn export(context: &Context, file: Option<&Path>) -> Outcome<()> {
    let redirect = |what| Failure::usage("usage", what, "name a FILE");
    match file {
        None if context.json => {
            return Err(redirect("without FILE the manifest itself goes to stdout"));
        }
        None if std::io::stdout().is_terminal() => {
            return Err(redirect("a manifest is not for a terminal"));
        }
        _ => {}
    }
    let home = context.open_home()?;
    let frame = peers::export(&home, clock::now_ms())?;
    let manifest: Manifest = open_as_named(&frame).map_err(AgencyError::from)?;
    // Only an older file of our own is replaced: never what a peer has given us.
    if let Some(file) = file.filter(|file| file.exists()) {
        let there = manifest_frame(file).and_then(|frame| {
            open_as_named::<Manifest>(&frame).map_err(|e| AgencyError::from(e).into())
        });
        if !there.is_ok_and(|there| there.signing_key == manifest.signing_key) {
            let what = format!("{} exists and is not our own peer file", file.display());
            return Err(Failure::usage("file-exists", what, "choose another name"));
        }
    }
    let fingerprint = VerifyKey::from(manifest.signing_key).key_id();
    // What peers were given, so that `check` can say when it is no longer true.
    atomic_write(&home.exported_file(), frame.bytes(), OWNER_FILE)?;
    match file {
        None => write_stdout(frame.bytes())?,
        Some(file) => {
            // A manifest is public.
            atomic_write(file, frame.bytes(), 0o644)?;
            print(
                context,
                &Exported {
                    file: file.display().to_string(),
                    name: manifest.agency.to_string(),
                    fingerprint: fingerprint.clone(),
                    expires_ms: ms(manifest.expires_ms.get()),
                },
            )?;
        }
    }
    context.hint("next: give the file to the peer, and over another channel this fingerprint:");
    context.hint(&grouped(&fingerprint));
    if manifest.address.is_none() {
        context.hint("warning: no advertise_address in node.toml: peers must be told the address");
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct Peers {
    peers: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    state: Option<String>,
    fingerprint: String,
    address: Option<String>,
    /// `ok`, `expiring`, `expired` or `revoked`.
    status: &'static str,
    added_ms: i64,
    expires_ms: i64,
    revoked_ms: Option<i64>,
}

impl Report for Peers {
    const COMMAND: &'static str = "peer-list";

    fn text(&self) -> String {
        let mut table = list(&[
            "peer",
            "state",
            "fingerprint",
            "address",
            "valid until",
            "status",
        ]);
        for peer in &self.peers {
            table.add_row([
                peer.name.clone(),
                or_dash(peer.state.as_deref()),
                grouped(&peer.fingerprint),
                or_dash(peer.address.as_deref()),
                moment(peer.expires_ms),
                peer.status.to_owned(),
            ]);
        }
        table.trim_fmt()
    }
}

fn show(context: &Context) -> Outcome<()> {
    let home = context.open_home()?;
    let now = clock::now_ms();
    let peers = block_on(context, all(&home))?;
    let entry = |peer: Peer| {
        Ok(Entry {
            state: stored_manifest(&peer)?.state.map(|state| state.to_string()),
            fingerprint: VerifyKey(peer.signing_key).key_id(),
            status: status(&peer, now),
            name: peer.name,
            address: peer.address,
            added_ms: peer.added_ms,
            expires_ms: peer.expires_ms,
            revoked_ms: peer.revoked_ms,
        })
    };
    let peers: Vec<Entry> = peers.into_iter().map(entry).collect::<Outcome<_>>()?;
    if peers.is_empty() {
        context.hint("no peers yet: take in a peer's file with `tallyd peer add FILE`");
    }
    print(context, &Peers { peers })
}

async fn all(home: &Home) -> Outcome<Vec<Peer>> {
    let store = home.store().await?;
    let peers = store.list_peers().await?;
    store.close().await;
    Ok(peers)
}

#[derive(Debug, Serialize)]
struct Revoked {
    name: String,
    revoked_ms: i64,
}

impl Report for Revoked {
    const COMMAND: &'static str = "peer-revoke";

    fn text(&self) -> String {
        facts([
            ("peer", self.name.clone()),
            ("revoked", moment(self.revoked_ms)),
        ])
        .trim_fmt()
    }
}

fn revoke(context: &Context, name: &Name) -> Outcome<()> {
    let home = context.open_home()?;
    let peer = block_on(context, async {
        let store = home.store().await?;
        store.revoke_peer(name.as_str(), clock::now_ms()).await?;
        let peer = store.peer(name.as_str()).await?;
        store.close().await;
        Ok(peer)
    })?;
    match peer.and_then(|peer| peer.revoked_ms) {
        Some(revoked_ms) => print(
            context,
            &Revoked {
                name: name.to_string(),
                revoked_ms,
            },
        ),
        None => Err(Failure::usage(
            "no-such-peer",
            format!("there is no peer {name}"),
            "see `tallyd peer list`",
        )),
    }
}

/// Where a peer stands.
pub(super) fn status(peer: &Peer, now_ms: i64) -> &'static str {
    if peer.revoked_ms.is_some() {
        "revoked"
    } else if peer.expires_ms <= now_ms {
        "expired"
    } else if ends_soon(peer.expires_ms, now_ms) {
        "expiring"
    } else {
        "ok"
    }
}

/// The manifest of a peer as it was stored; refused unless it is by the pinned key.
pub(super) fn stored_manifest(peer: &Peer) -> Outcome<Manifest> {
    let opened = Frame::from_bytes(peer.manifest.clone())
        .and_then(|frame| open_as_named::<Manifest>(&frame))
        .ok()
        .filter(|manifest| manifest.signing_key.0 == peer.signing_key);
    opened.ok_or_else(|| {
        Failure::new(
            Exit::Verification,
            "stored-manifest",
            format!("what is stored of {} does not verify", peer.name),
            "state.db was changed; restore the home from a backup",
        )
    })
}

/// Reads a file that should hold one manifest; its signature is not checked here.
pub(super) fn manifest_frame(file: &Path) -> Outcome<Frame> {
    use std::io::Read;
    let strange = || {
        Failure::usage(
            "not-a-peer-file",
            format!("{} is not a peer file", file.display()),
            "ask the peer to run `tallyd peer export FILE` and to send that file",
        )
    };
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        // One byte more than any frame of this kind has.
        .and_then(|opened| {
            opened
                .take(MAX_STATEMENT_BYTES as u64 + 6)
                .read_to_end(&mut bytes)
        })
        .map_err(|e| {
            Failure::usage(
                "io",
                format!("cannot read {}: {e}", file.display()),
                "check the path",
            )
        })?;
    let frame = Frame::from_bytes(bytes).map_err(|_| strange())?;
    match frame.kind() {
        Kind::Manifest => Ok(frame),
        _ => Err(strange()),
    }
}

fn ms(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}
