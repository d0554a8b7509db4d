//! Real handshakes over loopback between two homes.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::clock::now_ms;
use crate::home::{Home, InitOptions};
use crate::keys::{Passphrase, PassphraseSource};
use crate::store::{Peer, Store};

struct Party {
    _dir: tempfile::TempDir,
    home: Home,
    pins: Arc<PinSet>,
}

async fn party(name: &str) -> Party {
    let dir = tempfile::tempdir().unwrap();
    let options = InitOptions {
        name: name.to_owned(),
        state: None,
        passphrase: Some((Passphrase::new("w").unwrap(), PassphraseSource::Environment)),
        dev_ca: true,
        listen_address: None,
        advertise_address: None,
    };
    let home = Home::init(&dir.path().join("home"), options).await.unwrap();
    Party {
        _dir: dir,
        home,
        pins: Arc::new(PinSet::new()),
    }
}

impl Party {
    fn as_peer(&self) -> Peer {
        let authority = read_certificates(&self.home.authority_file()).unwrap();
        Peer {
            name: self.home.config().name.clone(),
            manifest: Vec::new(),
            signing_key: [0; 32],
            tls_pins: vec![self.home.tls_identity().unwrap().spki_sha256().unwrap()],
            authorities: authority.iter().map(|c| c.to_vec()).collect(),
            address: None,
            added_ms: 0,
            expires_ms: now_ms() + 3_600_000,
            revoked_ms: None,
        }
    }
}

/// What each side saw: the agency it authenticated, or the code of its error.
#[derive(Debug, PartialEq)]
struct Seen {
    server: std::result::Result<String, String>,
    client: std::result::Result<String, String>,
}

fn code(error: std::io::Error) -> String {
    classify(&error).code().to_owned()
}

/// The client asks for `expected`; the server greets it by name, so that both see the other's word.
async fn handshake(server: &Party, client: &Party, expected: &str) -> Seen {
    let config = server_config(&server.home.tls_identity().unwrap(), server.pins.clone()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server_side = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(tcp).await.map_err(code)?;
        let agency = peer_agency(stream.get_ref().1, &*server.pins).unwrap();
        stream.write_all(b"hello").await.map_err(code)?;
        stream.shutdown().await.map_err(code)?;
        Ok(agency)
    };
    let client_side = async {
        let config = client_config(
            &client.home.tls_identity().unwrap(),
            client.pins.clone(),
            expected,
        )
        .unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let tcp = TcpStream::connect(address).await.unwrap();
        let mut stream = connector.connect(server_name(), tcp).await.map_err(code)?;
        let agency = {
            let connection = stream.get_ref().1;
            assert_eq!(
                connection.protocol_version(),
                Some(rustls::ProtocolVersion::TLSv1_3)
            );
            assert_eq!(connection.alpn_protocol(), Some(ALPN));
            let group = connection.negotiated_key_exchange_group().map(|g| g.name());
            assert_eq!(group, Some(rustls::NamedGroup::X25519MLKEM768));
            assert_eq!(
                connection.handshake_kind(),
                Some(rustls::HandshakeKind::Full)
            );
            peer_agency(connection, &*client.pins).unwrap()
        };
        let mut greeting = Vec::new();
        stream.read_to_end(&mut greeting).await.map_err(code)?;
        assert_eq!(greeting, b"hello");
        Ok(agency)
    };
    let (server, client) = tokio::join!(server_side, client_side);
    Seen { server, client }
}

async fn pair() -> (Party, Party) {
    let (one, two) = (party("one").await, party("two").await);
    one.pins.replace(&[two.as_peer()]);
    two.pins.replace(&[one.as_peer()]);
    (one, two)
}

fn refused_client(code: &str) -> Seen {
    Seen {
        server: Err(code.to_owned()),
        client: Err("refused-by-peer".to_owned()),
    }
}

#[tokio::test]
async fn pinned_peers_meet_and_are_checked_each_time() {
    let (one, two) = pair().await;
    let good = Seen {
        server: Ok("two".to_owned()),
        client: Ok("one".to_owned()),
    };
    assert_eq!(handshake(&one, &two, "one").await, good);

    // Revoked in the store: the next handshake fails, and the running connection is not live.
    let store = one.home.store().await.unwrap();
    store.upsert_peer(&two.as_peer(), false).await.unwrap();
    one.pins.refresh(&store).await.unwrap();
    assert_eq!(handshake(&one, &two, "one").await, good);
    let spki = two.as_peer().tls_pins[0];
    assert!(one.pins.is_live(&spki, now_ms()));
    store.revoke_peer("two", now_ms()).await.unwrap();
    one.pins.refresh(&store).await.unwrap();
    assert!(!one.pins.is_live(&spki, now_ms()));
    assert_eq!(
        handshake(&one, &two, "one").await,
        refused_client("revoked")
    );
}

#[tokio::test]
async fn server_says_why_it_refuses_a_client() {
    let (one, two) = pair().await;
    let three = party("three").await;

    one.pins.replace(&[]);
    assert_eq!(
        handshake(&one, &two, "one").await,
        refused_client("unknown-certificate")
    );
    one.pins.replace(&[three.as_peer()]);
    assert_eq!(
        handshake(&one, &two, "one").await,
        refused_client("unknown-certificate")
    );

    // The key is pinned, the authority is not the pinned one.
    let mut peer = two.as_peer();
    peer.authorities = three.as_peer().authorities;
    one.pins.replace(&[peer]);
    assert_eq!(
        handshake(&one, &two, "one").await,
        refused_client("wrong-ca")
    );

    // The authority is pinned, the key is not.
    let mut peer = two.as_peer();
    peer.tls_pins = vec![[1; 32]];
    one.pins.replace(&[peer]);
    assert_eq!(
        handshake(&one, &two, "one").await,
        refused_client("not-on-list")
    );

    let mut peer = two.as_peer();
    peer.expires_ms = now_ms() - 2000;
    one.pins.replace(&[peer]);
    assert!(!one.pins.is_live(&two.as_peer().tls_pins[0], now_ms()));
    assert_eq!(
        handshake(&one, &two, "one").await,
        refused_client("expired-pin")
    );
}

#[tokio::test]
async fn client_says_why_it_refuses_a_server() {
    let (one, two) = pair().await;
    let three = party("three").await;
    async fn client_sees(one: &Party, two: &Party, expected: &str) -> String {
        let seen = handshake(one, two, expected).await;
        assert!(seen.server.is_err(), "{seen:?}");
        seen.client.unwrap_err()
    }

    // One answers where three was asked for, though one is a peer too.
    two.pins.replace(&[one.as_peer(), three.as_peer()]);
    assert_eq!(
        client_sees(&one, &two, "three").await,
        "unknown-certificate"
    );

    let mut peer = one.as_peer();
    peer.revoked_ms = Some(1);
    two.pins.replace(&[peer]);
    assert_eq!(client_sees(&one, &two, "one").await, "revoked");

    let mut peer = one.as_peer();
    peer.authorities = three.as_peer().authorities;
    two.pins.replace(&[peer]);
    assert_eq!(client_sees(&one, &two, "one").await, "wrong-ca");

    let mut peer = one.as_peer();
    peer.tls_pins = vec![[1; 32]];
    two.pins.replace(&[peer]);
    assert_eq!(client_sees(&one, &two, "one").await, "not-on-list");
}

fn issue(party: &Party, change: impl FnOnce(&mut rcgen::CertificateParams)) {
    let ca_pkcs8 = party
        .home
        .keys()
        .open_secret(crate::keystore::DEV_CA_KEY)
        .unwrap();
    let key = |pkcs8: &[u8]| rcgen::KeyPair::try_from(pkcs8).unwrap();
    let ca = std::fs::read_to_string(party.home.authority_file()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&ca, key(&ca_pkcs8)).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
    change(&mut params);
    let leaf = params
        .signed_by(&key(&party.home.tls_key().unwrap()), &issuer)
        .unwrap();
    std::fs::write(party.home.certificate_file(), leaf.pem()).unwrap();
}

#[tokio::test]
async fn certificates_out_of_their_time_or_use_are_refused() {
    let (one, two) = pair().await;
    issue(&two, |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    assert_eq!(
        handshake(&one, &two, "one").await,
        refused_client("expired-certificate")
    );
    issue(&two, |params| {
        params.not_before = rcgen::date_time_ymd(2999, 1, 1);
    });
    assert_eq!(
        handshake(&one, &two, "one").await,
        refused_client("expired-certificate")
    );
    issue(&two, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_eq!(
        handshake(&one, &two, "one").await,
        refused_client("unknown-certificate")
    );
    issue(&two, |_| {});
    assert!(handshake(&one, &two, "one").await.server.is_ok());
}

#[tokio::test]
async fn expired_authority_is_refused() {
    let (one, two) = pair().await;
    // The same CA key under a certificate that has ended, pinned by the server.
    let ca_pkcs8 = two
        .home
        .keys()
        .open_secret(crate::keystore::DEV_CA_KEY)
        .unwrap();
    let ca_key = rcgen::KeyPair::try_from(&ca_pkcs8[..]).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "two development CA");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let ended = params.self_signed(&ca_key).unwrap();
    let mut peer = two.as_peer();
    peer.authorities = vec![ended.der().to_vec()];
    one.pins.replace(&[peer.clone()]);
    assert_eq!(
        handshake(&one, &two, "one").await,
        refused_client("expired-certificate")
    );
    // The test is about time only: with a valid one of the same key it goes through.
    params.not_after = rcgen::date_time_ymd(2999, 1, 1);
    peer.authorities
        .push(params.self_signed(&ca_key).unwrap().der().to_vec());
    one.pins.replace(&[peer]);
    assert!(handshake(&one, &two, "one").await.server.is_ok());
}

#[tokio::test]
async fn no_session_is_resumed() {
    let (one, two) = pair().await;
    let config = server_config(&one.home.tls_identity().unwrap(), one.pins.clone()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // A client that would resume if it could, twice with one configuration.
    let mut config =
        client_config(&two.home.tls_identity().unwrap(), two.pins.clone(), "one").unwrap();
    config.resumption = Resumption::in_memory_sessions(8);
    let connector = TlsConnector::from(Arc::new(config));
    for _ in 0..2 {
        let server_side = async {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(tcp).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let client_side = async {
            let tcp = TcpStream::connect(address).await.unwrap();
            let mut stream = connector.connect(server_name(), tcp).await.unwrap();
            // Tickets would come after the handshake, before this.
            stream.read_to_end(&mut Vec::new()).await.unwrap();
            stream.get_ref().1.handshake_kind()
        };
        let ((), kind) = tokio::join!(server_side, client_side);
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let (one, two) = pair().await;
    let config = server_config(&one.home.tls_identity().unwrap(), one.pins.clone()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();

    let mut config =
        client_config(&two.home.tls_identity().unwrap(), two.pins.clone(), "one").unwrap();
    config.client_auth_cert_resolver = Arc::new(NoCertificate);
    let connector = TlsConnector::from(Arc::new(config));
    let server_side = async {
        let (tcp, _) = listener.accept().await.unwrap();
        acceptor.accept(tcp).await.map(drop).map_err(code)
    };
    let client_side = async {
        let mut stream = connector.connect(server_name(), tcp).await.map_err(code)?;
        stream
            .read_to_end(&mut Vec::new())
            .await
            .map(drop)
            .map_err(code)
    };
    let (server, client) = tokio::join!(server_side, client_side);
    assert_eq!(server, Err("unknown-certificate".to_owned()));
    assert_eq!(client, Err("refused-by-peer".to_owned()));
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }
    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn errors_of_streams_are_sorted() {
    let tls = |e: rustls::Error| std::io::Error::new(std::io::ErrorKind::InvalidData, e);
    let received = |a| classify(&tls(rustls::Error::AlertReceived(a))).code();
    assert_eq!(
        received(AlertDescription::CertificateRevoked),
        "refused-by-peer"
    );
    assert_eq!(received(AlertDescription::InternalError), "network");
    assert_eq!(
        classify(&tls(TlsRefusal::WrongCa.into_rustls())).code(),
        "wrong-ca"
    );
    assert_eq!(classify(&std::io::Error::other("gone")).code(), "network");
    // As tonic wraps it: an error whose source is the stream's.
    let wrapped = AgencyError::io("read", Path::new("x"))(tls(TlsRefusal::Revoked.into_rustls()));
    assert_eq!(classify(&wrapped).code(), "revoked");
    for refusal in [
        TlsRefusal::UnknownCertificate,
        TlsRefusal::ExpiredCertificate,
        TlsRefusal::WrongCa,
        TlsRefusal::NotOnList,
        TlsRefusal::Revoked,
        TlsRefusal::ExpiredPin,
    ] {
        assert_eq!(
            TlsRefusal::from_rustls(&refusal.into_rustls()),
            Some(refusal)
        );
    }
}

/// The verifier is given what a stranger sends: nothing of it panics, and the true bytes alone pass.
#[tokio::test]
async fn every_changed_byte_of_a_certificate_is_refused() {
    use rustls::{pki_types::UnixTime, server::danger::ClientCertVerifier};
    let (one, two) = pair().await;
    let algorithms = provider().signature_verification_algorithms;
    let verifier = PinVerifier::new(one.pins.clone(), algorithms, None);
    let passes = |der: Vec<u8>, beside: &[CertificateDer<'_>]| {
        let leaf = CertificateDer::from(der);
        // What is printed and pinned of it is parsed elsewhere.
        let _ = (spki_sha256(&leaf), certificate_expires_ms(&leaf));
        let verified = verifier.verify_client_cert(&leaf, beside, UnixTime::now());
        verified.is_ok()
    };
    let leaf = two.home.tls_identity().unwrap().leaf().to_vec();
    assert!(passes(leaf.clone(), &[]));
    for at in 0..leaf.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = leaf.clone();
            changed[at] ^= change;
            assert!(!passes(changed, &[]), "byte {at}, {change:#x}");
        }
        assert!(!passes(leaf[..at].to_vec(), &[]), "cut at {at}");
        if at > 0 {
            assert!(
                !passes([&leaf[..at], &leaf[..]].concat(), &[]),
                "doubled to {at}"
            );
        }
    }
    assert!(!passes([&leaf[..], &[0]].concat(), &[]));
    // Garbage beside a good certificate changes nothing.
    let garbage = CertificateDer::from(leaf[7..].to_vec());
    assert!(passes(leaf.clone(), &[garbage]));
}
