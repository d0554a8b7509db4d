//! The peers' part of `tallyd check`: who they are, and what they were told of this node.

use tallystick_agency::{
    AgencyError, exit::Outcome, home::Home, peers::own_reference, store::Peer, tls::request_name,
};
use tallystick_protocol::statements::{Manifest, open_as_named};

use super::{
    check::Checks,
    ends_soon,
    peer::{manifest_frame, status, stored_manifest},
};
use tallystick_agency::report::moment;

pub(super) fn peers(
    checks: &mut Checks,
    peers: &[Peer],
    compared: &[(String, [u8; 32])],
    now: i64,
) {
    for peer in peers {
        let name = format!("peer {}", peer.name);
        if checks.take(&name, stored_manifest(peer)).is_none() {
            continue;
        }
        let until = format!("until {}", moment(peer.expires_ms));
        let fix = "ask the peer for a new file and add it";
        let mut good = true;
        let mut warn = |code, detail: String, fix: String| {
            good = false;
            checks.warn(&name, code, detail, fix);
        };
        match status(peer, now) {
            "revoked" => {
                checks.ok(&name, "revoked");
                continue;
            }
            "expired" => warn(
                "peer-expired",
                format!("manifest was valid {until}"),
                fix.into(),
            ),
            "expiring" => {
                let detail = format!("manifest or certificate is valid {until}");
                warn("peer-ends-soon", detail, fix.into());
            }
            _ => {}
        }
        let known = |(of, key): &(String, [u8; 32])| *of == peer.name && *key == peer.signing_key;
        if !compared.iter().any(known) {
            let detail = "nobody has said that the fingerprint of its key was compared".to_owned();
            let fix = format!(
                "compare it over another channel, then: tallyd peer add FILE --fingerprint HEX \
                 (see `tallyd peer list` for {})",
                peer.name
            );
            warn("fingerprint-not-compared", detail, fix);
        }
        if good {
            checks.ok(&name, format!("valid {until}"));
        }
    }
    if peers.is_empty() {
        let fix = "exchange files: `tallyd peer export FILE`, `tallyd peer add FILE`";
        checks.warn("peers", "no-peers", "none; nobody can connect", fix);
    }
}

/// What peers were given last, against what is true now. Peers hold statements of this node to the
/// manifest that they have.
pub(super) fn manifest(checks: &mut Checks, home: &Home, now: i64) {
    let check = "manifest";
    let file = home.exported_file();
    let config = home.config();
    if !file.exists() {
        // Not given out yet, or by an older program: the request still has the name of `init`.
        let request = tallystick_agency::fs::read_text(&home.request_file());
        if let Ok(Some(name)) = request.and_then(|text| request_name(&text))
            && name != config.name
        {
            renamed(checks, &name, &config.name);
        } else {
            checks.ok(check, "not exported yet");
        }
        return;
    }
    let read = || -> Outcome<Manifest> {
        let frame = manifest_frame(&file)?;
        Ok(open_as_named::<Manifest>(&frame).map_err(AgencyError::from)?)
    };
    let Some(exported) = checks.take(check, read()) else {
        return;
    };
    if exported.agency.as_str() != config.name {
        return renamed(checks, exported.agency.as_str(), &config.name);
    }
    let expires = i64::try_from(exported.expires_ms.get()).unwrap_or(i64::MAX);
    let own = own_reference(home).map(|own| own.signing_key);
    let spki = home.tls_identity().and_then(|tls| tls.spki_sha256());
    let authority = tallystick_agency::fs::read_text(&home.authority_file());
    let mut changed = Vec::new();
    if own.is_ok_and(|key| key != exported.signing_key) {
        changed.push("signing key");
    }
    if spki.is_ok_and(|spki| !exported.tls.spki.iter().any(|known| known.0 == spki)) {
        changed.push("TLS key");
    }
    if authority.is_ok_and(|text| text != exported.tls.authority.as_str()) {
        changed.push("authority");
    }
    if config.state.as_deref() != exported.state.as_ref().map(|state| state.as_str()) {
        changed.push("state");
    }
    if config.advertise_address.as_deref() != exported.address.as_ref().map(|at| at.as_str()) {
        changed.push("address");
    }
    let fix = "tallyd peer export FILE, and give the file to every peer";
    if !changed.is_empty() {
        let detail = format!("changed since peers were given it: {}", changed.join(", "));
        checks.warn(check, "manifest-outdated", detail, fix);
    } else if ends_soon(expires, now) {
        let detail = format!("what peers have of this node ends {}", moment(expires));
        checks.warn(check, "manifest-ends-soon", detail, fix);
    } else {
        checks.ok(
            check,
            format!("peers have what is true; until {}", moment(expires)),
        );
    }
}

/// Under another name nothing that this node says is believed.
fn renamed(checks: &mut Checks, before: &str, now: &str) {
    let detail = format!("node.toml says {now}, the signed manifest and the certificate {before}");
    let fix = format!(
        "put name = \"{before}\" back; to change the name for good: `tallyd certificate request`, \
         a new certificate, `tallyd peer export FILE`, and every peer adds it anew"
    );
    checks.fail("manifest", "name-changed", detail, fix);
}
