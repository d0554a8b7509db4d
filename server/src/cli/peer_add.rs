//! `tallyd peer add`: a peer's manifest comes in and is pinned.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tallystick_agency::{
    clock,
    exit::{Exit, Failure, Outcome},
    peers::{self, Import},
    store::{Peer, Store},
};
use tallystick_protocol::statements::{Manifest, open_as_named};

use super::{
    block_on,
    peer::{manifest_frame, stored_manifest},
    print,
};
use tallystick_agency::command::Context;
use tallystick_agency::report::{Report, facts, grouped, moment, or_dash};

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The file that the peer exported
    file: PathBuf,
    /// Address under which the peer is reached, instead of the one in its manifest
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    address: Option<String>,
    /// The fingerprint that the peer told over another channel; another one is refused
    #[arg(long, value_name = "HEX", value_parser = fingerprint)]
    fingerprint: Option<String>,
    /// Let a revoked peer in again
    #[arg(long)]
    reinstate: bool,
    /// Accept another signing key, or an older manifest, for a peer that is known
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Serialize)]
struct Added {
    name: String,
    state: Option<String>,
    fingerprint: String,
    /// `matched` when `--fingerprint` was given, `not-compared` else.
    comparison: &'static str,
    address: Option<String>,
    expires_ms: i64,
    /// `added`, `updated`, `unchanged`, `replaced` or `reinstated`.
    outcome: &'static str,
    changed: Vec<&'static str>,
}

impl Report for Added {
    const COMMAND: &'static str = "peer-add";

    fn text(&self) -> String {
        let changed = match self.changed.is_empty() {
            true => self.outcome.to_owned(),
            false => format!("{}: {}", self.outcome, self.changed.join(", ")),
        };
        facts([
            ("peer", self.name.clone()),
            ("state", or_dash(self.state.as_deref())),
            ("fingerprint", grouped(&self.fingerprint)),
            ("compared", self.comparison.to_owned()),
            ("address", or_dash(self.address.as_deref())),
            ("valid until", moment(self.expires_ms)),
            ("outcome", changed),
        ])
        .trim_fmt()
    }
}

pub(super) fn add(context: &Context, args: &AddArgs) -> Outcome<()> {
    let frame = manifest_frame(&args.file)?;
    let home = context.open_home()?;
    let now = clock::now_ms();
    let manifest: Manifest = open_as_named(&frame).map_err(|e| broken(&args.file, &e))?;
    let Import {
        mut peer,
        fingerprint,
    } = peers::import(&home, frame.into_bytes(), now)?;
    if let Some(expected) = &args.fingerprint
        && *expected != fingerprint
    {
        let what = format!(
            "the fingerprint is another one: the file's is {}",
            grouped(&fingerprint).replace('\n', " ")
        );
        return Err(Failure::new(
            Exit::Verification,
            "fingerprint-mismatch",
            what,
            "nothing was added; check the digits, and ask the peer for its file again",
        ));
    }
    let added = block_on(context, async {
        let store = home.store().await?;
        let known = store.peer(&peer.name).await?;
        if let Some(address) = &args.address {
            peer.address = Some(address.clone());
        } else if peer.address.is_none() {
            // Told by hand before, and the manifest says nothing else.
            peer.address = known.as_ref().and_then(|known| known.address.clone());
        }
        if let Some(other) = store
            .list_peers()
            .await?
            .iter()
            .find(|other| other.name != peer.name && other.signing_key == peer.signing_key)
        {
            let what = format!("{} already stands for this signing key", other.name);
            let next = "ask the peer which name is right; each agency has a key of its own";
            return Err(Failure::new(Exit::Refused, "key-taken", what, next));
        }
        let changed = match &known {
            Some(known) => changes(known, &peer, &manifest, args)?,
            None => Vec::new(),
        };
        store.upsert_peer(&peer, args.reinstate).await?;
        if args.fingerprint.is_some() {
            store
                .note_comparison(&peer.name, &peer.signing_key, now)
                .await?;
        }
        store.close().await;
        let outcome = match &known {
            None => "added",
            Some(known) if known.revoked_ms.is_some() => "reinstated",
            Some(known) if known.signing_key != peer.signing_key => "replaced",
            Some(_) if changed.is_empty() => "unchanged",
            Some(_) => "updated",
        };
        Ok(Added {
            name: peer.name,
            state: manifest.state.map(|state| state.to_string()),
            fingerprint,
            comparison: match args.fingerprint {
                Some(_) => "matched",
                None => "not-compared",
            },
            address: peer.address,
            expires_ms: peer.expires_ms,
            outcome,
            changed,
        })
    })?;
    print(context, &added)?;
    if args.fingerprint.is_none() && matches!(added.outcome, "added" | "replaced" | "reinstated") {
        context.hint(
            "next: compare the fingerprint with the peer over another channel, by telephone or in \
             person, and add the file again with --fingerprint. Until then nobody vouches for this \
             peer.",
        );
    }
    if added.address.is_none() {
        context.hint("warning: no address is known; give --address to reach the peer");
    }
    Ok(())
}

/// What is new about a known peer. Another signing key, an older manifest and a revoked peer need
/// their flags: a manifest that is signed by the pinned key vouches for everything else.
fn changes(
    known: &Peer,
    peer: &Peer,
    manifest: &Manifest,
    args: &AddArgs,
) -> Outcome<Vec<&'static str>> {
    let before = stored_manifest(known)?;
    let mut pins: Vec<_> = peer.tls_pins.clone();
    pins.sort_unstable();
    let changed: Vec<&'static str> = [
        ("signing key", known.signing_key != peer.signing_key),
        ("log key", before.log_key != manifest.log_key),
        ("TLS key", known.tls_pins != pins),
        ("authority", known.authorities != peer.authorities),
        ("state", before.state != manifest.state),
        ("address", known.address != peer.address),
        ("expiry", known.expires_ms != peer.expires_ms),
    ]
    .into_iter()
    .filter_map(|(what, differs)| differs.then_some(what))
    .collect();
    let refuse = |code, what, next| Err(Failure::new(Exit::Refused, code, what, next));
    if known.revoked_ms.is_some() && !args.reinstate {
        return refuse(
            "peer-revoked",
            format!("{} is revoked", peer.name),
            "to let it in again, give --reinstate",
        );
    }
    if known.signing_key != peer.signing_key && !args.replace {
        return refuse(
            "peer-key-changed",
            format!(
                "{} is known with another signing key; changed: {}",
                peer.name,
                changed.join(", ")
            ),
            "ask the peer over another channel; if it has new keys, give --replace and --fingerprint",
        );
    }
    if manifest.issued_ms < before.issued_ms && !args.replace {
        return refuse(
            "manifest-older",
            format!("a newer manifest of {} is known already", peer.name),
            "ask the peer for its current file; to go back all the same, give --replace",
        );
    }
    Ok(changed)
}

fn broken(file: &Path, error: &tallystick_protocol::error::Error) -> Failure {
    Failure::new(
        Exit::Verification,
        error.code(),
        format!("{} does not verify: {error}", file.display()),
        "nothing was added; ask the peer for its file again",
    )
}

/// `HOST:PORT` as the configuration takes it.
fn address(text: &str) -> Result<String, &'static str> {
    let good = text
        .rsplit_once(':')
        .filter(|(host, _)| {
            !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c.is_control())
        })
        .and_then(|(_, port)| port.parse::<u16>().ok())
        .is_some_and(|port| port != 0);
    match good {
        true => Ok(text.to_owned()),
        false => Err("write HOST:PORT, for example tally.example.org:7443"),
    }
}

/// A fingerprint as people write it: spaces, colons and capitals do not matter.
fn fingerprint(text: &str) -> Result<String, &'static str> {
    let digits: String = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| c.to_ascii_lowercase())
        .collect();
    match digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(digits),
        false => Err("a fingerprint has 64 hexadecimal digits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_write_them() {
        let digits = "0123456789abcdef".repeat(4);
        let spoken = grouped(&digits.to_uppercase());
        assert_eq!(fingerprint(&spoken).as_deref(), Ok(digits.as_str()));
        for bad in ["", "00", &digits[1..], &format!("{}g", &digits[1..])] {
            assert!(fingerprint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_have_host_and_port() {
        for good in ["a:1", "[::1]:7443", "tally.example.org:65535"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in ["a", ":1", "a:0", "a:65536", "a b:1", "a:"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
