//! Certificates, the passphrase, backups.

use std::fs;

use tallystick_agency::{
    store::{Bound, ChunkBinding, Grant, NewSession, SessionLimits, Store},
    tls,
};

use crate::place::{Place, WORDS, content, mode, text};

#[test]
fn a_development_certificate_is_renewed_and_a_foreign_one_is_not_installed() {
    let place = Place::offering();
    let file = place.path("alpha/tls/node.crt");
    let before = fs::read(&file).unwrap();
    // Times have seconds; the serial is random.
    let renewed = place.json("certificate renew --home alpha", "certificate");
    assert_ne!(fs::read(&file).unwrap(), before);
    let year = tallystick_agency::clock::now_ms() + 365 * 86_400_000;
    assert!((renewed["expires_ms"].as_i64().unwrap() - year).abs() < 600_000);
    place.is_well("alpha");
    assert_eq!(mode(&file), 0o600);

    let before = fs::read(&file).unwrap();
    let authority = place.path("alpha/tls/ca.crt");
    let trusted = fs::read(&authority).unwrap();
    for (line, code) in [
        (
            "certificate install beta/tls/node.crt --home alpha",
            "certificate",
        ),
        (
            "certificate install alpha/tls/node.crt --authority beta/tls/ca.crt --home alpha",
            "wrong-ca",
        ),
        ("certificate install list.csv --home alpha", "certificate"),
    ] {
        let output = place.run(
            &format!("{line} --json"),
            if code == "wrong-ca" { 3 } else { 2 },
        );
        assert_eq!(crate::place::error_code(&output), code, "{line}");
        assert_eq!(fs::read(&file).unwrap(), before, "{line}");
        assert_eq!(fs::read(&authority).unwrap(), trusted, "{line}");
    }
}

#[test]
fn a_certificate_of_another_authority_is_installed_with_it() {
    let place = Place::new();
    place.run("init plain --name plain --listen 127.0.0.1:0 -q", 0);
    assert_eq!(
        place.fails("certificate renew --home plain", 2),
        "no-development-ca"
    );
    // The national CA.
    let key = tls::generate_key().unwrap();
    let ca = tls::dev_ca("national", &key).unwrap();
    place.run("certificate request --home plain -q", 0);
    let request = fs::read_to_string(place.path("plain/tls/node.csr")).unwrap();
    place.write(
        "signed.crt",
        &tls::dev_ca_sign(&ca, &key, &request).unwrap(),
    );
    place.write("national.crt", &ca);
    // Under no authority, then under the right one.
    assert_eq!(
        place.fails("certificate install signed.crt --home plain", 2),
        "io"
    );
    place.run(
        "certificate install signed.crt --authority national.crt --home plain -q",
        0,
    );
    place.finds("plain", "no-peers", "warn");
    place.run("peer export plain.peer --home plain -q", 0);
}

#[test]
fn the_passphrase_is_changed() {
    let place = Place::offering();
    place.write("new", "other words\n");
    let line = "passphrase --new-passphrase-file new --home alpha";
    assert_eq!(
        place.fails("passphrase --home alpha", 2),
        "no-new-passphrase"
    );
    place.run(line, 0);
    // The old words open it no more, and so cannot change it either.
    assert_eq!(place.fails(line, 2), "wrong-passphrase");
    assert_eq!(place.fails("peer list --home alpha", 2), "wrong-passphrase");
    let mut list = place.command("peer list --home alpha --passphrase-file new");
    assert!(list.output().unwrap().status.success());
    let mut check = place.command("check --home alpha --passphrase-file new");
    assert!(check.output().unwrap().status.success());
}

/// Charges one chunk to `beta`.
fn charge(place: &Place, home: &str) {
    let home = place.open(home);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = home.store().await.unwrap();
        let now = tallystick_agency::clock::now_ms();
        let session: [u8; 16] = std::array::from_fn(|i| i as u8);
        let grant = Grant {
            element_type: "text".to_owned(),
            granted: 16,
            used: 0,
        };
        let new = NewSession {
            session,
            peer: "beta".to_owned(),
            collection: "c".to_owned(),
            epoch: 1,
            request_digest: [7; 32],
            expires_ms: now + 60_000,
            grants: vec![grant],
            record_path: String::new(),
            shift: false,
        };
        let limits = SessionLimits {
            max_total: 8,
            max_per_peer: 8,
            active_since_ms: 0,
        };
        store.admit_session(&new, &limits, now).await.unwrap();
        let chunk = ChunkBinding {
            session: &session,
            index: 0,
            element_type: "text",
            elements: 16,
            digest: &[9; 32],
            question: b"chunk",
            fresh: &[5; 32],
            budget: 100,
        };
        let bound = store.bind_chunks(&[chunk], now).await.unwrap().remove(0);
        assert_eq!(bound.unwrap(), Bound::New { charged_total: 16 });
        store.close().await;
    });
}

#[test]
fn a_backup_is_whole_and_what_is_restored_forgets_no_charge_in_silence() {
    let place = Place::offering();
    place.run("backup copy --home alpha -q", 0);
    // What comes after the copy is not in it.
    charge(&place, "alpha");
    place.run("epoch rotate c --home alpha -q", 0);

    let copy = place.path("copy");
    assert_eq!(mode(&copy), 0o700);
    for (file, bytes) in content(&copy) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        assert!(!String::from_utf8_lossy(&bytes).contains(WORDS));
    }
    // Nobody serves a backup by mistake.
    assert_eq!(place.fails("serve --home copy", 2), "not-a-home");
    assert_eq!(place.fails("backup copy --home alpha", 2), "usage");
    assert_eq!(place.fails("restore alpha again", 2), "usage");

    let restored = place.json("restore copy again", "restore");
    assert_eq!(restored["withdrawn"][0], "c");
    assert_eq!(restored["name"], "alpha");
    assert_eq!(place.fails("restore copy again", 2), "usage");
    // Not offered until it has an epoch that the lost home has not used.
    place.finds("again", "withdrawn", "warn");
    let rotated = place.json("epoch rotate c --home again", "epoch-rotate");
    assert_eq!(rotated["previous_epoch"], 1001);
    assert_eq!(rotated["epoch"], 1002);
    assert_eq!(place.key_files("again"), ["oprf.c.1002.sealed"]);
    place.is_well("again");
    // The same peers, keys and certificate.
    let fingerprint = place.fingerprint("again");
    assert_eq!(fingerprint, place.fingerprint("alpha"));
    let peers = text(&place.run("peer list --home again", 0).stdout);
    assert!(peers.contains("beta"), "{peers}");
}

#[test]
fn a_restored_collection_that_is_published_again_begins_a_new_epoch_too() {
    let place = Place::offering();
    place.run("backup copy --home alpha -q", 0);
    place.run("restore copy again -q", 0);
    place.run(
        "collection publish c --home again --input list.csv --key text=a -q",
        0,
    );
    assert_eq!(place.key_files("again"), ["oprf.c.1002.sealed"]);
    place.is_well("again");
}
