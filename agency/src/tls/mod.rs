//! Mutual TLS between agencies: TLS 1.3 only, hybrid post-quantum key exchange first, pinned keys.

mod certs;
mod pins;
mod verifier;

#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{AlertDescription, ClientConfig, CommonState, ServerConfig};
use zeroize::Zeroizing;

pub use self::certs::{
    certificate_expires_ms, dev_ca, dev_ca_sign, generate_key, key_spki_sha256, parse_certificates,
    read_certificates, request_name, signing_request, spki_sha256,
};
pub use self::pins::{PeerPin, PeerPins, PinSet};
pub use self::verifier::TlsRefusal;

use self::verifier::PinVerifier;
use crate::error::{AgencyError, Result};

/// The one application protocol: HTTP/2.
pub const ALPN: &[u8] = b"h2";

/// This node's certificate chain, leaf first, and its private key.
pub struct TlsIdentity {
    chain: Vec<CertificateDer<'static>>,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// Joins chain and key; refuses a leaf that is not for this key.
    pub fn new(chain: Vec<CertificateDer<'static>>, pkcs8: Zeroizing<Vec<u8>>) -> Result<Self> {
        let fail = |problem: &str| AgencyError::Certificate {
            what: "tls/node.crt".to_owned(),
            problem: problem.to_owned(),
        };
        let leaf = chain.first().ok_or_else(|| fail("holds no certificate"))?;
        if spki_sha256(leaf)? != key_spki_sha256(&pkcs8)? {
            return Err(fail(
                "is not for this node's key; have tls/node.csr signed, its certificate comes first",
            ));
        }
        Ok(Self { chain, pkcs8 })
    }

    /// The leaf certificate.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        // The constructor holds that there is one.
        &self.chain[0]
    }

    /// SHA-256 of the leaf's SubjectPublicKeyInfo, as it stands in our manifest.
    pub fn spki_sha256(&self) -> Result<[u8; 32]> {
        spki_sha256(self.leaf())
    }
}

/// aws-lc-rs with the key exchanges of this project, best first. `X25519MLKEM768` keeps a recorded
/// session secret from a later quantum computer; the other two are for peers without it.
fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
    Arc::new(CryptoProvider {
        kx_groups: vec![X25519MLKEM768, X25519, SECP256R1],
        ..aws_lc_rs::default_provider()
    })
}

fn bug(e: rustls::Error) -> AgencyError {
    AgencyError::Bug(format!("TLS set-up: {e}"))
}

/// The listener's side. Every client must show a certificate that `pins` allows; the list is asked
/// again at each handshake. No tickets, no resumption and no early data: a resumed session would
/// not be checked against the list.
pub fn server_config(identity: &TlsIdentity, pins: Arc<dyn PeerPins>) -> Result<ServerConfig> {
    let provider = provider();
    let verifier = PinVerifier::new(pins, provider.signature_verification_algorithms, None);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(bug)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(identity.chain.clone(), certs::private_key(&identity.pkcs8))
        .map_err(bug)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The caller's side. Only a server with a pin of the agency `expected` is accepted. Give
/// [`server_name`] to the connector; no name is sent.
pub fn client_config(
    identity: &TlsIdentity,
    pins: Arc<dyn PeerPins>,
    expected: &str,
) -> Result<ClientConfig> {
    let provider = provider();
    let verifier = PinVerifier::new(
        pins,
        provider.signature_verification_algorithms,
        Some(expected.to_owned()),
    );
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(bug)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(identity.chain.clone(), certs::private_key(&identity.pkcs8))
        .map_err(bug)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

/// What the connector asks for as a server name. It is neither sent nor checked.
pub fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

/// SHA-256 of the SubjectPublicKeyInfo that the other side of a finished handshake proved to hold.
/// Takes either connection type of rustls (`&**connection`).
pub fn peer_spki(connection: &CommonState) -> Result<[u8; 32]> {
    if connection.is_handshaking() {
        return Err(AgencyError::Bug("the handshake is not finished".to_owned()));
    }
    let leaf = connection
        .peer_certificates()
        .and_then(<[_]>::first)
        .ok_or(TlsRefusal::UnknownCertificate)?;
    spki_sha256(leaf)
}

/// The authenticated agency on the other side of a finished handshake, by the list as it is now.
pub fn peer_agency(connection: &CommonState, pins: &dyn PeerPins) -> Result<String> {
    let pin = pins
        .lookup(&peer_spki(connection)?)
        .ok_or(TlsRefusal::NotOnList)?;
    if pin.revoked {
        return Err(TlsRefusal::Revoked.into());
    }
    Ok(pin.agency.clone())
}

/// Sorts an error of a TLS stream: our refusal, the peer's refusal, or the network.
///
/// In TLS 1.3 the client is done before the server has looked at its certificate, so the peer's
/// refusal may come with the first read after the handshake: pass those errors here too.
pub fn classify(error: &(dyn StdError + 'static)) -> AgencyError {
    match find_tls(error) {
        Some(tls) => classify_tls(tls),
        None => AgencyError::Network(error.to_string()),
    }
}

/// Why the other side is no node at all, by an error of a handshake; `None` if it may be one.
pub fn stranger(error: &(dyn StdError + 'static)) -> Option<Stranger> {
    use AlertDescription as A;
    match find_tls(error)? {
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(A::ProtocolVersion | A::HandshakeFailure) => {
            Some(Stranger::OtherTls)
        }
        rustls::Error::InvalidMessage(_)
        | rustls::Error::InappropriateMessage { .. }
        | rustls::Error::InappropriateHandshakeMessage { .. }
        | rustls::Error::PeerMisbehaved(_) => Some(Stranger::NoTls),
        _ => None,
    }
}

/// What answers where a node was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// It speaks another version of TLS, or none of our key exchanges.
    OtherTls,
    /// It does not speak TLS.
    NoTls,
}

/// The error of rustls inside an error, if there is one.
fn find_tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut current = Some(error);
    while let Some(e) = current {
        if let Some(tls) = e.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        let inner = e
            .downcast_ref::<std::io::Error>()
            .and_then(|io| io.get_ref())
            .map(|inner| inner as &(dyn StdError + 'static));
        current = inner.or_else(|| e.source());
    }
    None
}

fn classify_tls(error: &rustls::Error) -> AgencyError {
    use AlertDescription as A;
    if let Some(refusal) = TlsRefusal::from_rustls(error) {
        return refusal.into();
    }
    match error {
        rustls::Error::AlertReceived(alert) => {
            let reason = match alert {
                A::CertificateExpired => "it says: expired",
                A::CertificateRevoked => "it says: revoked",
                A::UnknownCA => "it says: wrong authority",
                A::AccessDenied => "it says: not on its list",
                A::CertificateUnknown => "it says: unknown",
                A::BadCertificate | A::UnsupportedCertificate | A::CertificateRequired => {
                    "it says: unusable"
                }
                _ => return AgencyError::Network(format!("TLS: {error}")),
            };
            AgencyError::RefusedByPeer(reason.to_owned())
        }
        rustls::Error::NoCertificatesPresented => TlsRefusal::UnknownCertificate.into(),
        _ => AgencyError::Network(format!("TLS: {error}")),
    }
}
