//! Certificates: making keys and requests, a development CA, reading PEM files.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::error::{AgencyError, Result};
use crate::fs::read_text;

/// How long certificates of the development CA last: one year for a node, ten for the CA.
const NODE_VALIDITY: Duration = Duration::from_secs(365 * 86_400);
const CA_VALIDITY: Duration = Duration::from_secs(3650 * 86_400);
/// Development certificates start this much in the past, so that clocks may differ a little.
const BACKDATE: Duration = Duration::from_secs(300);

/// A new ECDSA P-256 private key as PKCS #8 DER, wiped on drop.
pub fn generate_key() -> Result<Zeroizing<Vec<u8>>> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(bad("TLS key"))?;
    Ok(Zeroizing::new(key.serialize_der()))
}

/// A certificate signing request (PEM) for a key of [`generate_key`].
///
/// The subject is `CN=AGENCY`. `host` adds a DNS or IP name. Peers pin keys and check no names;
/// names are there for the CA's rules. Both server and client use are asked for.
pub fn signing_request(agency: &str, host: Option<&str>, pkcs8: &[u8]) -> Result<String> {
    let mut names = vec![agency.to_owned()];
    names.extend(host.map(str::to_owned));
    let mut params = CertificateParams::new(names).map_err(bad("certificate request"))?;
    params.distinguished_name = common_name(agency);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = both_uses();
    params
        .serialize_request(&key_pair(pkcs8)?)
        .and_then(|request| request.pem())
        .map_err(bad("certificate request"))
}

/// A self-signed CA certificate (PEM) for trying things out, for a key of [`generate_key`].
pub fn dev_ca(agency: &str, pkcs8: &[u8]) -> Result<String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("{agency} development CA"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity(CA_VALIDITY);
    let certificate = params
        .self_signed(&key_pair(pkcs8)?)
        .map_err(bad("development CA"))?;
    Ok(certificate.pem())
}

/// Signs a request with the development CA; gives the node's certificate (PEM).
pub fn dev_ca_sign(ca_pem: &str, ca_pkcs8: &[u8], request_pem: &str) -> Result<String> {
    let issuer =
        Issuer::from_ca_cert_pem(ca_pem, key_pair(ca_pkcs8)?).map_err(bad("development CA"))?;
    let mut request =
        CertificateSigningRequestParams::from_pem(request_pem).map_err(bad("tls/node.csr"))?;
    let params = &mut request.params;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = both_uses();
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = validity(NODE_VALIDITY);
    let certificate = request
        .signed_by(&issuer)
        .map_err(bad("development certificate"))?;
    Ok(certificate.pem())
}

/// The agency's name in a request of [`signing_request`]; `None` if it has none.
pub fn request_name(request_pem: &str) -> Result<Option<String>> {
    let request =
        CertificateSigningRequestParams::from_pem(request_pem).map_err(bad("tls/node.csr"))?;
    let name = request.params.distinguished_name.get(&DnType::CommonName);
    Ok(name.and_then(|value| match value {
        DnValue::Utf8String(name) => Some(name.clone()),
        DnValue::PrintableString(name) => Some(name.as_str().to_owned()),
        _ => None,
    }))
}

/// All certificates of a PEM file, in order; at least one.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    parse_certificates(&read_text(path)?, &path.display().to_string())
}

/// All certificates of a PEM text, in order; at least one. `what` names it in errors.
pub fn parse_certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let fail = |problem: String| AgencyError::Certificate {
        what: what.to_owned(),
        problem,
    };
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| fail(format!("is not PEM: {e}")))?;
    if certificates.is_empty() {
        return Err(fail("holds no certificate".to_owned()));
    }
    for certificate in &certificates {
        EndEntityCert::try_from(certificate)
            .map_err(|e| fail(format!("holds a certificate that does not parse: {e}")))?;
    }
    Ok(certificates)
}

/// When a certificate's validity ends, in milliseconds since the Unix epoch.
pub fn certificate_expires_ms(certificate: &CertificateDer<'_>) -> Result<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(bad("certificate"))?;
    Ok(parsed.validity().not_after.timestamp().saturating_mul(1000))
}

/// SHA-256 of a certificate's DER SubjectPublicKeyInfo: what peers pin.
pub fn spki_sha256(certificate: &CertificateDer<'_>) -> Result<[u8; 32]> {
    let parsed = EndEntityCert::try_from(certificate).map_err(bad("certificate"))?;
    Ok(Sha256::digest(parsed.subject_public_key_info()).into())
}

/// SHA-256 of the DER SubjectPublicKeyInfo that belongs to a private key of [`generate_key`].
pub fn key_spki_sha256(pkcs8: &[u8]) -> Result<[u8; 32]> {
    use rcgen::PublicKeyData;
    Ok(Sha256::digest(key_pair(pkcs8)?.subject_public_key_info()).into())
}

/// The private key in the form rustls takes.
pub(super) fn private_key(pkcs8: &[u8]) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(pkcs8.to_vec()).into()
}

fn key_pair(pkcs8: &[u8]) -> Result<KeyPair> {
    KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &PKCS_ECDSA_P256_SHA256)
        .map_err(bad("TLS key"))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

fn both_uses() -> Vec<ExtendedKeyUsagePurpose> {
    vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ]
}

fn validity(length: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - BACKDATE, now + length)
}

fn bad<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> AgencyError {
    move |e| AgencyError::Certificate {
        what: what.to_owned(),
        problem: e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_and_development_certificate_carry_the_key() {
        let key = generate_key().unwrap();
        let ca_key = generate_key().unwrap();
        let ca = dev_ca("one", &ca_key).unwrap();
        let request = signing_request("one", Some("192.0.2.1"), &key).unwrap();
        assert!(request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        assert_eq!(request_name(&request).unwrap().as_deref(), Some("one"));
        let certificate = dev_ca_sign(&ca, &ca_key, &request).unwrap();

        let parsed = parse_certificates(&certificate, "test").unwrap();
        assert_eq!(
            spki_sha256(&parsed[0]).unwrap(),
            key_spki_sha256(&key).unwrap()
        );
        let year = crate::clock::now_ms() + 365 * 86_400_000;
        assert!((certificate_expires_ms(&parsed[0]).unwrap() - year).abs() < 60_000);
        let (_, x509) = X509Certificate::from_der(&parsed[0]).unwrap();
        assert!(!x509.is_ca());
        assert_eq!(x509.subject().to_string(), "CN=one");
        assert_eq!(x509.issuer().to_string(), "CN=one development CA");

        let authority = parse_certificates(&ca, "test").unwrap();
        assert_eq!(
            spki_sha256(&authority[0]).unwrap(),
            key_spki_sha256(&ca_key).unwrap()
        );
    }

    #[test]
    fn requests_of_another_key_and_rubbish_are_refused() {
        let request = signing_request("one", None, &generate_key().unwrap()).unwrap();
        let ca_key = generate_key().unwrap();
        let ca = dev_ca("one", &ca_key).unwrap();
        // A changed request no longer proves possession of its key.
        let mut lines: Vec<String> = request.lines().map(str::to_owned).collect();
        let swapped = if lines[1].as_bytes()[40] == b'A' {
            "B"
        } else {
            "A"
        };
        lines[1].replace_range(40..41, swapped);
        assert!(dev_ca_sign(&ca, &ca_key, &lines.join("\n")).is_err());

        for (text, want) in [
            ("", "holds no certificate"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "does not parse",
            ),
            (
                "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
                "is not PEM",
            ),
        ] {
            let error = parse_certificates(text, "tls/ca.crt").unwrap_err();
            assert_eq!(error.code(), "certificate");
            assert!(error.to_string().contains(want), "{error}");
        }
    }
}
