//! What is fuzzed like [`super::fuzzed`], and needs a home, certificates, a database's crates or a file.
//!
//! These have no fuzz target: with them each run of the fuzzers would build TLS and SQLite again. The
//! test `corpus` runs them over seeds that it changes at random.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use prost::Message;
use tallystick_agency::{
    config::NodeConfig,
    home::{Home, InitOptions},
    keys::{Passphrase, PassphraseSource},
    keystore::{KeyStore, MASTER_FILE, SIGNING_KEY},
    peers,
    records::RecordFile,
    spool::Spool,
    tls,
};
use tallystick_client::audit::{TrustFile, manifest_key, verify};
use tallystick_protocol::{
    frame::{Frame, FrameReader},
    record,
    statements::{Hex, Manifest},
    verify::Trust,
};
use tallystick_wire::Envelope;
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::{fuzzed::Target, programs::workspace};

/// Functions without a fuzz target, by name.
pub const TARGETS: [Target; 9] = [
    Target::new("certificate", certificate, certificate_seeds),
    Target::new("config", config, config_seeds),
    Target::new("envelope", envelope, envelope_seeds),
    Target::new("master_key", master_key, master_key_seeds),
    Target::new("peer_file", peer_file, peer_file_seeds),
    Target::new("record_file", record_file, record_seeds),
    Target::new("sealed_secret", sealed_secret, sealed_secret_seeds),
    Target::new("spool", spool, spool_seeds),
    Target::new("trust_file", trust_file, trust_file_seeds),
];

thread_local! {
    static FOLDER: RefCell<TempDir> = RefCell::new(tempfile::tempdir().unwrap());
}

/// Writes an input to a file of this thread.
fn file(name: &str, data: &[u8]) -> PathBuf {
    let path = FOLDER.with_borrow(|folder| folder.path().join(name));
    fs::write(&path, data).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn words() -> Passphrase {
    Passphrase::new("words for tests").unwrap()
}

/// A home with a development authority, and another agency's peer file.
fn home() -> &'static (TempDir, Home, Vec<u8>) {
    static HOME: OnceLock<(TempDir, Home, Vec<u8>)> = OnceLock::new();
    HOME.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let init = |name: &str| {
            let options = InitOptions {
                name: name.to_owned(),
                state: Some("UTO".to_owned()),
                passphrase: Some((words(), PassphraseSource::Environment)),
                dev_ca: true,
                listen_address: None,
                advertise_address: Some("one.example:7443".to_owned()),
            };
            let dir = folder.path().join(name);
            runtime.block_on(Home::init(&dir, options)).unwrap()
        };
        let (home, other) = (init("here"), init("there"));
        let exported = peers::export(&other, NOW).unwrap().into_bytes();
        (folder, home, exported)
    })
}

const NOW: i64 = 1_800_000_000_000;

/// Certificates as PEM and as DER.
fn certificate(data: &[u8]) {
    if let Ok(pem) = std::str::from_utf8(data)
        && let Ok(certificates) = tls::parse_certificates(pem, "a file")
    {
        assert!(!certificates.is_empty());
        // What was taken as a certificate has a key to be pinned.
        for certificate in &certificates {
            assert!(tls::spki_sha256(certificate).is_ok());
            let _ = tls::certificate_expires_ms(certificate);
        }
    }
    let der = CertificateDer::from(data.to_vec());
    let (pin, ends) = (tls::spki_sha256(&der), tls::certificate_expires_ms(&der));
    if let (Ok(pin), Ok(_)) = (pin, ends) {
        assert_ne!(pin, [0; 32]);
    }
}

fn certificate_seeds() -> Vec<Vec<u8>> {
    let home = &home().1;
    let leaf = home.tls_identity().unwrap().leaf().to_vec();
    let pem = fs::read(home.certificate_file()).unwrap();
    let both = [&pem[..], &fs::read(home.authority_file()).unwrap()].concat();
    vec![leaf, pem, both]
}

/// `node.toml`.
fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(config) = NodeConfig::parse(text, Path::new("node.toml")) {
        let host = config.advertise_host();
        assert!(host.is_none_or(|host| !host.contains(['[', ']'])));
        assert_eq!(
            NodeConfig::parse(text, Path::new("node.toml")).ok(),
            Some(config)
        );
    }
}

fn config_seeds() -> Vec<Vec<u8>> {
    let template = NodeConfig::new("here").render();
    let bare = template.lines().filter(|line| !line.starts_with('#'));
    let bare = bare.collect::<Vec<_>>().join("\n");
    let every = template.replace("\n#", "\n");
    [
        template.clone(),
        bare,
        every,
        "name = \"here\"\n".to_owned(),
    ]
    .map(String::into_bytes)
    .into()
}

/// The gRPC envelope, as prost decodes it, and the frame in it.
fn envelope(data: &[u8]) {
    let Ok(envelope) = Envelope::decode(data) else {
        return;
    };
    let bytes = envelope.frame.clone();
    let frame = Frame::try_from(envelope);
    assert_eq!(frame.is_ok(), Frame::from_bytes(bytes.clone()).is_ok());
    if let Ok(frame) = frame {
        assert_eq!(frame.bytes(), bytes, "what is verified is what came in");
        assert_eq!(Envelope::from(frame).frame, bytes);
    }
}

fn envelope_seeds() -> Vec<Vec<u8>> {
    let record = sample("record.tally");
    let mut reader = FrameReader::new(&record[..]);
    let frames = std::iter::from_fn(move || reader.next_frame().unwrap());
    frames
        .take(3)
        .map(|frame| Envelope::from(frame).encode_to_vec())
        .collect()
}

/// A master key file and the passphrase. Sizes that are within bounds and slow are left out.
fn master_key(data: &[u8]) {
    let said: serde_json::Value = serde_json::from_slice(data).unwrap_or_default();
    let number = |name: &str| said[name].as_u64().unwrap_or(0);
    let within = number("memory_kib") <= 4 << 20 && number("passes") <= 1000;
    if within && number("memory_kib").saturating_mul(number("passes")) > 1 << 16 {
        return;
    }
    let path = file(MASTER_FILE, data);
    let opened = KeyStore::open(path.parent().unwrap(), &words());
    fs::remove_file(&path).unwrap();
    if opened.is_ok() {
        let truth = fs::read(home().1.dir().join("keys").join(MASTER_FILE)).unwrap();
        let truth: serde_json::Value = serde_json::from_slice(&truth).unwrap();
        assert_eq!(said, truth, "a changed master key file opens");
    }
}

fn master_key_seeds() -> Vec<Vec<u8>> {
    let text = fs::read_to_string(home().1.dir().join("keys").join(MASTER_FILE)).unwrap();
    let cheap = text.replace("19456", "64");
    assert_ne!(cheap, text);
    let huge = text.replace("19456", "4294967295");
    let lanes = cheap.replace("\"lanes\": 1", "\"lanes\": 64");
    [text, cheap, huge, lanes].map(String::into_bytes).into()
}

/// Another agency's peer file: as it comes, and any payload well signed.
fn peer_file(data: &[u8]) {
    let (_, home, exported) = home();
    let path = file("peer", data);
    let _ = manifest_key(&path);
    if let Ok(import) = peers::import(home, data.to_vec(), NOW) {
        assert_eq!(data, exported, "a changed peer file is taken");
        assert_eq!(import.peer.name, "there");
    }
    let signed = crate::fuzzed::signed::<Manifest>(data);
    if let Some(frame) = signed
        && let Ok(import) = peers::import(home, frame.bytes().to_vec(), NOW)
    {
        assert!(import.peer.name != "here" && import.peer.expires_ms > NOW);
        assert!(!import.peer.authorities.is_empty() && !import.peer.tls_pins.is_empty());
        let path = file("peer", frame.bytes());
        let (agency, fingerprint) = manifest_key(&path).unwrap();
        assert_eq!(agency.agency.as_str(), import.peer.name);
        assert_eq!(fingerprint, import.fingerprint);
    }
}

fn peer_file_seeds() -> Vec<Vec<u8>> {
    let exported = home().2.clone();
    let manifest = crate::fuzzed::payload_of(&Frame::from_bytes(exported.clone()).unwrap());
    // The same under a key that the function signs with.
    let text = String::from_utf8(manifest).unwrap();
    let key = crate::fuzzed::signing_key().to_string();
    let at = text.find("\"signing_key\":\"").unwrap() + 15;
    let ours = [&text[..at], &key, &text[at + 64..]].concat();
    assert!(
        crate::fuzzed::signed::<Manifest>(ours.as_bytes()).is_some_and(|frame| peers::import(
            &home().1,
            frame.into_bytes(),
            NOW
        )
        .is_ok())
    );
    vec![exported, ours.into_bytes()]
}

/// A record that was left open: what is cut off, and what stays. The same file to an auditor.
fn record_file(data: &[u8]) {
    let session = Hex([0x5e; 16]);
    let path = file(&format!("{session}.part"), data);
    let dir = path.parent().unwrap();
    if let Ok((mut record, frames)) = RecordFile::reopen(dir, session) {
        let header = record::header(&session).unwrap();
        assert!(
            data.starts_with(header.bytes()),
            "the record of another session"
        );
        let end = frames
            .last()
            .map(|(_, place)| place.offset + u64::from(place.length));
        let end = end.unwrap_or(header.bytes().len() as u64);
        let kept = fs::read(&path).unwrap();
        assert_eq!(
            kept,
            &data[..usize::try_from(end).unwrap()],
            "whole frames stay"
        );
        for (kind, place) in &frames {
            assert_eq!(record.frame_at(*place).unwrap().kind(), *kind);
        }
        let place = record.append(&header).unwrap();
        assert_eq!(place.offset, end);
        let (_, again) = RecordFile::reopen(dir, session).unwrap();
        assert_eq!(again.len(), frames.len() + 1);
        fs::write(&path, data).unwrap();
    }
    let report = verify(&path, Some(trust()), true).unwrap().report;
    let truth = ["record.tally", "aborted.tally", "refused.tally"].map(sample);
    let known = truth.iter().any(|truth| truth == data);
    assert!(report.verified == known, "what verifies is a true record");
}

fn sample(name: &str) -> Vec<u8> {
    fs::read(workspace().join("docs/spec/vectors").join(name)).unwrap()
}

fn trust() -> Trust {
    TrustFile::read(&workspace().join("docs/spec/vectors/trust.json")).unwrap()
}

fn record_seeds() -> Vec<Vec<u8>> {
    ["record.tally", "aborted.tally", "refused.tally"]
        .map(sample)
        .into()
}

/// What is sealed under the master key, in a file and in a field.
fn sealed_secret(data: &[u8]) {
    let keys = home().1.keys();
    assert!(
        keys.open_blob("run-seed/1", data).is_err(),
        "nobody sealed this"
    );
    let sealed = keys.seal_blob("run-seed/1", data).unwrap();
    assert_eq!(sealed.len(), data.len() + 29);
    assert_eq!(*keys.open_blob("run-seed/1", &sealed).unwrap(), data);
    assert!(keys.open_blob("run-seed/2", &sealed).is_err());
    let at = data.first().map_or(0, |byte| usize::from(*byte)) % sealed.len();
    let mut changed = sealed.clone();
    changed[at] ^= 1 << (data.len() % 8);
    assert!(keys.open_blob("run-seed/1", &changed).is_err());
    assert!(keys.open_blob("run-seed/1", &sealed[..at]).is_err());
    assert!(
        keys.open_secret(&String::from_utf8_lossy(data)).is_err(),
        "no such secret"
    );
}

fn sealed_secret_seeds() -> Vec<Vec<u8>> {
    let keys = home().1.dir().join("keys");
    let sealed = fs::read(keys.join(format!("{SIGNING_KEY}.sealed"))).unwrap();
    vec![sealed, b"../master".to_vec(), b"\x01".to_vec()]
}

/// Records into partitions and back: none is lost, none changes, in whichever order.
fn spool(data: &[u8]) {
    let folder = FOLDER.with_borrow(|folder| folder.path().to_owned());
    let mut spool = Spool::create(&folder, 3).unwrap();
    let mut expected: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
    let mut rest = data;
    while let [how, size, tail @ ..] = rest {
        let partition = usize::from(how % 3);
        if how & 0x80 == 0 {
            // Up to a block and over it.
            let size = usize::from(*size).min(tail.len());
            let (text, tail) = tail.split_at(size);
            let record = match how & 0x40 {
                0 => text.to_vec(),
                _ => text.repeat(300),
            };
            spool
                .push(partition, &[&record[..size / 2], &record[size / 2..]])
                .unwrap();
            expected.entry(partition).or_default().push(record);
            rest = tail;
        } else {
            let mut records = spool.read(partition).unwrap();
            let mut expected = expected.get(&partition).cloned().unwrap_or_default();
            assert!(records.iter().eq(expected.iter().map(Vec::as_slice)));
            records.sort();
            expected.sort();
            assert!(records.iter().eq(expected.iter().map(Vec::as_slice)));
            rest = tail;
        }
    }
    for partition in 0..spool.partitions() {
        let found = spool.read(partition).unwrap().iter().count();
        assert_eq!(found, expected.get(&partition).map_or(0, Vec::len));
    }
}

fn spool_seeds() -> Vec<Vec<u8>> {
    let long = [&[0x41, 200][..], &[7; 200]].concat();
    vec![
        b"\0\x03abc\x01\0\0\x02de\x80\0\x81\0\x82\0\0\x01f\x80\0".to_vec(),
        [&long[..], &long, &[0x81, 0], &long, &[0x81, 0]].concat(),
    ]
}

/// `--trust`.
fn trust_file(data: &[u8]) {
    let path = file("trust.json", data);
    if TrustFile::read(&path).is_ok() {
        let file: TrustFile = serde_json::from_slice(data).unwrap();
        let text = TrustFile::of(file.agencies.clone()).to_text().unwrap();
        assert_eq!(serde_json::from_str::<TrustFile>(&text).unwrap(), file);
    }
}

fn trust_file_seeds() -> Vec<Vec<u8>> {
    vec![
        sample("trust.json"),
        br#"{"schema":"tally.trust/1","agencies":[]}"#.to_vec(),
    ]
}
