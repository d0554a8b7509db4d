//! Our own certificate verifiers: a pinned key, under a pinned authority, on a live list.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, PeerMisbehaved,
    SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::certs::spki_sha256;
use super::pins::{PeerPin, PeerPins};

/// Why a peer's certificate was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsRefusal {
    /// Neither its key nor its authority is known.
    #[error("the peer's certificate is unknown; add the peer's current manifest first")]
    UnknownCertificate,
    /// The certificate, or its authority's, is outside its validity.
    #[error("the peer's certificate has expired or is not valid yet; the peer must renew it")]
    ExpiredCertificate,
    /// The key is pinned, but the certificate is not from the pinned authority.
    #[error(
        "the peer's certificate is not from its pinned authority; ask for its current manifest"
    )]
    WrongCa,
    /// The authority is pinned, but the key is not on the list, or is another agency's.
    #[error("the peer's certificate is not on the list; add the peer's current manifest first")]
    NotOnList,
    /// The peer was revoked.
    #[error("the peer is revoked")]
    Revoked,
    /// The manifest that pins the peer has expired.
    #[error("the peer's manifest has expired; ask for a new one")]
    ExpiredPin,
}

impl TlsRefusal {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::UnknownCertificate => "unknown-certificate",
            Self::ExpiredCertificate => "expired-certificate",
            Self::WrongCa => "wrong-ca",
            Self::NotOnList => "not-on-list",
            Self::Revoked => "revoked",
            Self::ExpiredPin => "expired-pin",
        }
    }

    /// The rustls error, chosen so that the alert on the wire is the fitting one: the peer learns
    /// that its certificate expired, is revoked or has the wrong authority, and no more.
    pub(super) fn into_rustls(self) -> rustls::Error {
        rustls::Error::InvalidCertificate(match self {
            Self::ExpiredCertificate => CertificateError::Expired,
            Self::WrongCa => CertificateError::UnknownIssuer,
            Self::NotOnList => CertificateError::ApplicationVerificationFailure,
            Self::Revoked => CertificateError::Revoked,
            Self::UnknownCertificate | Self::ExpiredPin => {
                CertificateError::Other(OtherError(Arc::new(self)))
            }
        })
    }

    /// The reverse; `None` for errors that are not about a certificate.
    pub(super) fn from_rustls(error: &rustls::Error) -> Option<Self> {
        let rustls::Error::InvalidCertificate(reason) = error else {
            return None;
        };
        Some(match reason {
            CertificateError::Expired => Self::ExpiredCertificate,
            CertificateError::UnknownIssuer => Self::WrongCa,
            CertificateError::ApplicationVerificationFailure => Self::NotOnList,
            CertificateError::Revoked => Self::Revoked,
            CertificateError::Other(other) => other
                .0
                .downcast_ref::<Self>()
                .copied()
                .unwrap_or(Self::UnknownCertificate),
            _ => Self::UnknownCertificate,
        })
    }
}

/// The checks shared by both sides.
pub(super) struct PinVerifier {
    pins: Arc<dyn PeerPins>,
    algorithms: WebPkiSupportedAlgorithms,
    /// On the client side, the one agency that may answer.
    expected: Option<String>,
}

impl fmt::Debug for PinVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinVerifier")
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

impl PinVerifier {
    pub(super) fn new(
        pins: Arc<dyn PeerPins>,
        algorithms: WebPkiSupportedAlgorithms,
        expected: Option<String>,
    ) -> Self {
        Self {
            pins,
            algorithms,
            expected,
        }
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), TlsRefusal> {
        let spki = spki_sha256(leaf).map_err(|_| TlsRefusal::UnknownCertificate)?;
        let pin = self.pins.lookup(&spki).filter(|pin| {
            self.expected
                .as_ref()
                .is_none_or(|name| *name == pin.agency)
        });
        let Some(pin) = pin else {
            let authorities = self.pins.authorities(self.expected.as_deref());
            return Err(
                match self.chain(leaf, intermediates, &authorities, now, usage) {
                    Ok(()) => TlsRefusal::NotOnList,
                    Err(_) => TlsRefusal::UnknownCertificate,
                },
            );
        };
        check_pin(&pin, now)?;
        self.chain(leaf, intermediates, &pin.authorities, now, usage)
            .map_err(|error| match error {
                webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
                    TlsRefusal::ExpiredCertificate
                }
                // The second is an authority of the same name with another key.
                webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
                    TlsRefusal::WrongCa
                }
                _ => TlsRefusal::UnknownCertificate,
            })
    }

    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        authorities: &[CertificateDer<'static>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), webpki::Error> {
        let mut anchors = Vec::with_capacity(authorities.len());
        for authority in authorities {
            // webpki takes an anchor as timeless; a pinned authority must be valid too.
            if authority_is_valid(authority, now) {
                anchors.push(anchor_from_trusted_cert(authority)?);
            }
        }
        if anchors.is_empty() && !authorities.is_empty() {
            return Err(webpki::Error::CertExpired {
                time: now,
                not_after: now,
            });
        }
        EndEntityCert::try_from(leaf)?
            .verify_for_usage(
                self.algorithms.all,
                &anchors,
                intermediates,
                now,
                usage,
                None,
                None,
            )
            .map(drop)
    }

    fn verify_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }
}

fn check_pin(pin: &PeerPin, now: UnixTime) -> Result<(), TlsRefusal> {
    if pin.revoked {
        return Err(TlsRefusal::Revoked);
    }
    let now_ms = i64::try_from(now.as_secs().saturating_mul(1000)).unwrap_or(i64::MAX);
    if now_ms >= pin.expires_ms {
        return Err(TlsRefusal::ExpiredPin);
    }
    Ok(())
}

fn authority_is_valid(authority: &CertificateDer<'_>, now: UnixTime) -> bool {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let Ok((_, parsed)) = X509Certificate::from_der(authority) else {
        return false;
    };
    let validity = parsed.validity();
    i64::try_from(now.as_secs()).is_ok_and(|now| {
        (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now)
    })
}

/// TLS 1.2 is not compiled in; should it ever be, this refuses it.
fn no_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
}

impl ClientCertVerifier for PinVerifier {
    /// Empty: a list of authorities would tell any caller who our peers are.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now, KeyUsage::client_auth())
            .map(|()| ClientCertVerified::assertion())
            .map_err(TlsRefusal::into_rustls)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for PinVerifier {
    /// The server's name is not checked: the key is pinned, a name would add nothing.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now, KeyUsage::server_auth())
            .map(|()| ServerCertVerified::assertion())
            .map_err(TlsRefusal::into_rustls)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
