//! The certificate's part of `tallyd check`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tallystick_agency::{
    AgencyError,
    home::Home,
    keystore::DEV_CA_KEY,
    peers::own_reference,
    store::Peer,
    tls::{self, PinSet, TlsIdentity, TlsRefusal},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, rustls::pki_types::CertificateDer};

use super::{WARN_DAYS, check::Checks, ends_soon, health::reachable};
use tallystick_agency::report::moment;

/// How long whoever holds the port may take to show a certificate.
const PORT_TIMEOUT: Duration = Duration::from_secs(5);

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
    let Some(authorities) = checks.take(name, tls::read_certificates(&home.authority_file()))
    else {
        return;
    };
    if let Err(why) = usable(home, &identity, &authorities).await {
        let again = again(home);
        match why {
            AgencyError::Tls(TlsRefusal::ExpiredCertificate) => {
                let detail = "the certificate, or its authority's, has ended or is not valid yet";
                let detail = format!("{detail}; it ends {}", moment(ends));
                checks.fail(name, "certificate-ended", detail, again);
            }
            AgencyError::Tls(TlsRefusal::WrongCa) => {
                let detail = format!("it is not from the authority in {authority}");
                let fix = format!("put your CA's certificate into {authority}");
                checks.fail(name, "wrong-authority", detail, fix);
            }
            AgencyError::Tls(_) => {
                let detail = "it cannot be used for both server and client";
                checks.fail(name, "certificate-use", detail, again);
            }
            why => checks.failed(name, why),
        }
        return;
    }
    let authority_ends = authorities.iter().map(tls::certificate_expires_ms);
    if let Some(end) = authority_ends.flatten().min()
        && ends_soon(end, now)
    {
        let detail = format!("a certificate in {authority} ends {}", moment(end));
        let fix = "ask your CA for its next one, and add it to the file; then give a new manifest \
                   to every peer";
        checks.warn("authority", "authority-ends-soon", detail, fix);
    }
    let until = format!("matches key and authority; ends {}", moment(ends));
    if ends_soon(ends, now) {
        let fix = format!(
            "within {WARN_DAYS} days: {}; then `tallyd peer export FILE` for every peer",
            again(home)
        );
        checks.warn(name, "certificate-ends-soon", until, fix);
    } else if of_development(home) {
        let fix = "for real data make a home without --dev-ca, signed by your CA";
        let detail = format!("from a development CA; {until}");
        checks.warn(name, "development-ca", detail, fix);
    } else {
        checks.ok(name, until);
    }
}

fn of_development(home: &Home) -> bool {
    home.keys().is_present(DEV_CA_KEY).unwrap_or(false)
}

/// How to get a new certificate for this home.
fn again(home: &Home) -> String {
    match of_development(home) {
        true => "tallyd certificate renew".to_owned(),
        false => format!(
            "have {} signed again, then `tallyd certificate install FILE`",
            home.request_file().display()
        ),
    }
}

/// A list on which this node stands alone.
fn own_pins(
    home: &Home,
    identity: &TlsIdentity,
    authorities: &[CertificateDer<'static>],
) -> Result<Arc<PinSet>, AgencyError> {
    let own = Peer {
        name: home.config().name.clone(),
        manifest: Vec::new(),
        signing_key: own_reference(home)?.signing_key.0,
        tls_pins: vec![identity.spki_sha256()?],
        authorities: authorities.iter().map(|der| der.to_vec()).collect(),
        address: None,
        added_ms: 0,
        expires_ms: i64::MAX,
        revoked_ms: None,
    };
    let pins = Arc::new(PinSet::new());
    pins.replace(std::slice::from_ref(&own));
    Ok(pins)
}

/// Whether who listens there shows this node's own certificate. It refuses ours, as a node does not
/// stand on its own list, but only after it has shown its own.
pub(super) async fn is_own_node(home: &Home, address: SocketAddr) -> bool {
    let look = async {
        let identity = home.tls_identity().ok()?;
        let authorities = tls::read_certificates(&home.authority_file()).ok()?;
        let pins = own_pins(home, &identity, &authorities).ok()?;
        let client = tls::client_config(&identity, pins, &home.config().name).ok()?;
        let stream = TcpStream::connect(reachable(address)).await.ok()?;
        let connector = TlsConnector::from(Arc::new(client));
        connector.connect(tls::server_name(), stream).await.ok()
    };
    matches!(tokio::time::timeout(PORT_TIMEOUT, look).await, Ok(Some(_)))
}

/// Whether certificate, own key and authority work together, for server and client: shown by a
/// handshake of the node with itself.
pub(super) async fn usable(
    home: &Home,
    identity: &TlsIdentity,
    authorities: &[CertificateDer<'static>],
) -> Result<(), AgencyError> {
    let pins = own_pins(home, identity, authorities)?;
    let server = tls::server_config(identity, Arc::clone(&pins) as _)?;
    let client = tls::client_config(identity, pins, &home.config().name)?;
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
