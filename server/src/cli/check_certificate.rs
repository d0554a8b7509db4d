//! The certificate's part of `tallyd check`.

use std::sync::Arc;

use tallystick_agency::{
    AgencyError,
    home::Home,
    keystore::DEV_CA_KEY,
    peers::own_reference,
    store::Peer,
    tls::{self, PinSet, TlsIdentity, TlsRefusal},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{WARN_DAYS, check::Checks, ends_soon};
use tallystick_agency::report::moment;

/// The certificate as peers see it: by a handshake of the node with itself, its own key pinned
/// under its own authority.
pub(super) async fn certificate(checks: &mut Checks, home: &Home, now: i64) {
    let name = "certificate";
    let Some(identity) = checks.take(name, home.tls_identity()) else {
        return;
    };
    let Some(ends) = checks.take(name, tls::certificate_expires_ms(identity.leaf())) else {
        return;
    };
    let authority = home.authority_file().display().to_string();
    if let Err(why) = handshake(home, &identity).await {
        let again = format!(
            "have {} signed again and replace {}",
            home.request_file().display(),
            home.certificate_file().display()
        );
        match why {
            AgencyError::Tls(TlsRefusal::ExpiredCertificate) => {
                let detail = "the certificate, or its authority's, has ended or is not valid yet";
                checks.fail(name, format!("{detail}; it ends {}", moment(ends)), again);
            }
            AgencyError::Tls(TlsRefusal::WrongCa) => {
                let detail = format!("it is not from the authority in {authority}");
                checks.fail(
                    name,
                    detail,
                    format!("put your CA's certificate into {authority}"),
                );
            }
            AgencyError::Tls(_) => {
                let detail = "it cannot be used for both server and client";
                checks.fail(name, detail, again);
            }
            why => checks.failed(name, why),
        }
        return;
    }
    let until = format!("matches key and authority; ends {}", moment(ends));
    if ends_soon(ends, now) {
        let fix = format!(
            "within {WARN_DAYS} days: have {} signed again, and give a new manifest to peers",
            home.request_file().display()
        );
        checks.warn(name, until, fix);
    } else if home.keys().is_present(DEV_CA_KEY).unwrap_or(false) {
        let fix = "for real data make a home without --dev-ca, signed by your CA";
        checks.warn(name, format!("from a development CA; {until}"), fix);
    } else {
        checks.ok(name, until);
    }
}

async fn handshake(home: &Home, identity: &TlsIdentity) -> Result<(), AgencyError> {
    let own = Peer {
        name: home.config().name.clone(),
        manifest: Vec::new(),
        signing_key: own_reference(home)?.signing_key.0,
        tls_pins: vec![identity.spki_sha256()?],
        authorities: tls::read_certificates(&home.authority_file())?
            .iter()
            .map(|der| der.to_vec())
            .collect(),
        address: None,
        added_ms: 0,
        expires_ms: i64::MAX,
        revoked_ms: None,
    };
    let pins = Arc::new(PinSet::new());
    pins.replace(std::slice::from_ref(&own));
    let server = tls::server_config(identity, Arc::clone(&pins) as _)?;
    let client = tls::client_config(identity, pins, &own.name)?;
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let (accepted, connected) = tokio::join!(
        TlsAcceptor::from(Arc::new(server)).accept(theirs),
        TlsConnector::from(Arc::new(client)).connect(tls::server_name(), ours),
    );
    // The side that refuses knows why; the other one sees an alert.
    let refusals = [connected.err(), accepted.err()];
    let mut refusals = refusals.iter().flatten().map(|e| tls::classify(e));
    let first = refusals.next();
    match (first, refusals.next()) {
        (None, _) => Ok(()),
        (Some(_), Some(AgencyError::Tls(why))) => Err(AgencyError::Tls(why)),
        (Some(why), _) => Err(why),
    }
}
