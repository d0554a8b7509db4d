//! Peers.

use std::fs;

use serde_json::Value;
use tallystick_agency::{clock::now_ms, peers};

use crate::place::{Place, error_code, mode, text};

const YEAR_MS: i64 = 365 * 86_400_000;

#[test]
fn peers_are_exchanged_listed_and_revoked() {
    let place = Place::new();
    place.two();
    assert_eq!(mode(&place.path("alpha.peer")), 0o644);
    // stdout without FILE holds the same manifest but for its time: same length, nothing beside.
    let output = place.run("peer export --home alpha", 0);
    assert_eq!(
        output.stdout.len(),
        fs::read(place.path("alpha.peer")).unwrap().len()
    );
    assert_eq!(place.fails("peer export --home alpha", 2), "usage");
    // An older peer file is replaced, anything else is not.
    place.run("peer export alpha.peer --home alpha", 0);
    let other = place.write("table.csv", "a,b\n");
    assert_eq!(
        place.fails("peer export table.csv --home alpha", 2),
        "file-exists"
    );
    assert_eq!(fs::read(other).unwrap(), b"a,b\n");

    // The fingerprint is shown in groups, and compared when it was told.
    let added = place.run("peer add beta.peer --home alpha", 0);
    let told = place.json("peer export beta.peer --home beta", "peer-export");
    let told = told["fingerprint"].as_str().unwrap().to_owned();
    let groups = [&told[..4], &told[4..8], &told[8..12]].join(" ");
    assert!(text(&added.stdout).contains(&groups));
    assert!(text(&added.stderr).contains("over another channel"));
    let spoken = told.to_uppercase();
    let line = format!("peer add beta.peer --home alpha --fingerprint {spoken} --address b.test:9");
    let again = place.json(&line, "peer-add");
    assert_eq!(again["comparison"], "matched");
    assert_eq!(again["outcome"], "updated");
    // The address told by hand stays when the manifest names none.
    let again = place.json("peer add beta.peer --home alpha", "peer-add");
    assert_eq!(again["address"], "b.test:9");
    assert_eq!(again["outcome"], "unchanged");

    let listed = place.json("peer list --home alpha", "peer-list");
    assert_eq!(listed["peers"][0]["name"], "beta");
    assert_eq!(listed["peers"][0]["fingerprint"], told);
    assert_eq!(listed["peers"][0]["status"], "ok");

    let revoked = place.json("peer revoke beta --home alpha", "peer-revoke");
    assert!(revoked["revoked_ms"].as_i64().unwrap() > 0);
    assert_eq!(
        place.fails("peer revoke gamma --home alpha", 2),
        "no-such-peer"
    );
    let listed = place.json("peer list --home alpha", "peer-list");
    assert_eq!(listed["peers"][0]["status"], "revoked");
    assert_eq!(
        place.fails("peer add beta.peer --home alpha", 3),
        "peer-revoked"
    );
    let again = place.json("peer add beta.peer --home alpha --reinstate", "peer-add");
    assert_eq!(again["outcome"], "reinstated");
}

#[test]
fn peer_files_that_cannot_be_trusted_are_refused() {
    let place = Place::new();
    place.two();
    let zeros = "0".repeat(64);
    let line = format!("peer add beta.peer --home alpha --fingerprint {zeros}");
    assert_eq!(place.fails(&line, 6), "fingerprint-mismatch");
    assert_eq!(place.fails("peer add alpha.peer --home alpha", 2), "usage");
    assert_eq!(place.fails("peer add none.peer --home alpha", 2), "io");
    place.write("table.csv", "a,b\n");
    assert_eq!(
        place.fails("peer add table.csv --home alpha", 2),
        "not-a-peer-file"
    );

    // Wherever a byte is flipped, nothing is added.
    let good = fs::read(place.path("beta.peer")).unwrap();
    for at in [
        0,
        4,
        5,
        good.len() / 3,
        good.len() / 2,
        good.len() - 20,
        good.len() - 1,
    ] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(place.path("flipped"), &bytes).unwrap();
        let code = if at < 5 { 2 } else { 6 };
        place.fails("peer add flipped --home alpha", code);
    }
    fs::write(place.path("cut"), &good[..good.len() - 1]).unwrap();
    assert_eq!(
        place.fails("peer add cut --home alpha", 2),
        "not-a-peer-file"
    );
    let old = peers::export(&place.open("beta"), now_ms() - 2 * YEAR_MS).unwrap();
    fs::write(place.path("old"), old.bytes()).unwrap();
    assert_eq!(place.fails("peer add old --home alpha", 2), "usage");
    let listed = place.json("peer list --home alpha", "peer-list");
    assert_eq!(listed["peers"], Value::Array(Vec::new()));
}

#[test]
fn a_known_peer_does_not_change_its_key_unnoticed() {
    let place = Place::new();
    place.two();
    place.run("peer add beta.peer --home alpha", 0);
    // Another agency under the same name.
    place.run("init beta2 --name beta --dev-ca -q", 0);
    place.run("peer export beta2.peer --home beta2 -q", 0);
    let output = place.run("peer add beta2.peer --home alpha --json", 3);
    assert_eq!(error_code(&output), "peer-key-changed");
    assert!(text(&output.stderr).contains("signing key, log key, TLS key, authority"));
    let before = place.json("peer list --home alpha", "peer-list");
    let replaced = place.json("peer add beta2.peer --home alpha --replace", "peer-add");
    assert_eq!(replaced["outcome"], "replaced");
    let after = place.json("peer list --home alpha", "peer-list");
    assert_ne!(
        before["peers"][0]["fingerprint"],
        after["peers"][0]["fingerprint"]
    );

    // A manifest of the pinned key that is older than the known one is not news.
    let older = peers::export(&place.open("beta2"), now_ms() - YEAR_MS / 2).unwrap();
    fs::write(place.path("older"), older.bytes()).unwrap();
    assert_eq!(
        place.fails("peer add older --home alpha", 3),
        "manifest-older"
    );
    // The same key under another name.
    let config = place.path("beta2").join("node.toml");
    let renamed = fs::read_to_string(&config)
        .unwrap()
        .replace("\"beta\"", "\"gamma\"");
    fs::write(&config, renamed).unwrap();
    place.run("peer export gamma.peer --home beta2 -q", 0);
    assert_eq!(
        place.fails("peer add gamma.peer --home alpha", 3),
        "key-taken"
    );
}
