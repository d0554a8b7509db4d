//! Making a home, and using the program wrongly.

use std::fs;

use serde_json::Value;

use crate::place::{Place, WORDS, content, error_code, mode, parse, set_mode, text, verdicts};

#[test]
fn version_names_build_and_kernel() {
    let place = Place::new();
    let line = text(&place.run("--version", 0).stdout);
    assert!(
        line.starts_with("tallyd 0.1.0 (") && line.contains(")\nkernel: "),
        "{line}"
    );
}

#[test]
fn bad_usage_is_exit_two_and_says_what_to_do() {
    let place = Place::new();
    assert_eq!(place.fails("check --port 1", 2), "usage");
    assert_eq!(place.fails("sing", 2), "usage");
    assert_eq!(place.fails("peer", 2), "usage");
    for line in [
        "check",
        "serve",
        "peer list",
        "peer export x",
        "collection list",
    ] {
        assert_eq!(place.fails(line, 2), "no-home", "{line}");
    }
    assert_eq!(place.fails("check --home none", 2), "not-a-home");
    assert_eq!(place.fails("serve --home none", 2), "not-a-home");
    // An error without --json has no object.
    let err = text(&place.run("check", 2).stderr);
    assert_eq!(
        err,
        "error: no home is named\n  next: give --home DIR or set TALLY_HOME; `tallyd init DIR --name NAME` makes one\n"
    );
}

#[test]
fn init_makes_a_home_once() {
    let place = Place::new();
    let line = "init h --name alpha --dev-ca --state UTO --listen 127.0.0.1:7 --advertise a.test:8";
    let made = place.json(line, "init");
    let home = place.path("h");
    assert_eq!(made["home"], home.to_str().unwrap());
    assert_eq!(made["name"], "alpha");
    assert_eq!(made["state"], "UTO");
    assert_eq!(made["listen_address"], "127.0.0.1:7");
    assert_eq!(made["advertise_address"], "a.test:8");
    assert_eq!(made["certificate"], "development");
    assert_eq!(made["fingerprint"].as_str().unwrap().len(), 64);
    assert_eq!(mode(&home), 0o700);
    for (path, bytes) in content(&home) {
        assert_eq!(mode(&path), 0o600, "{path:?}");
        let secret = bytes.windows(WORDS.len()).any(|w| w == WORDS.as_bytes());
        assert!(!secret, "{path:?} holds the passphrase");
    }
    let names = [
        "VERSION",
        "node.toml",
        "state.db",
        "tls/node.crt",
        "keys/signing.sealed",
    ];
    assert!(names.iter().all(|name| home.join(name).is_file()));

    let before = content(&home);
    assert_eq!(place.fails(line, 2), "home-not-empty");
    assert_eq!(content(&home), before);
    for bad in [
        "--name Alpha",
        "--name a --state uto",
        "--name a --advertise a",
    ] {
        assert_eq!(
            place.fails(&format!("init other {bad}"), 2),
            "usage",
            "{bad}"
        );
        assert!(!place.path("other").exists());
    }
}

#[test]
fn a_home_for_a_national_authority_waits_for_its_certificate() {
    let place = Place::new();
    let made = place.json("init h --name alpha", "init");
    assert_eq!(made["certificate"], "requested");
    let request = fs::read_to_string(made["request"].as_str().unwrap()).unwrap();
    assert!(request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
    assert_eq!(place.fails("peer export x --home h", 2), "certificate");
    assert!(!place.path("x").exists());
    let output = place.run("check --home h --json", 2);
    assert!(verdicts(&parse(&output, "check")).contains(&("certificate", "fail")));
    assert_eq!(error_code(&output), "check-failed");
}

#[test]
fn a_wrong_passphrase_opens_nothing() {
    let place = Place::new();
    place.init("alpha");
    let wrong = place.write("wrong", "other words\n");
    set_mode(&wrong, 0o600);
    let line = "peer list --home alpha --passphrase-file wrong";
    assert_eq!(place.fails(line, 2), "wrong-passphrase");
    // The folder can be named by the environment too.
    let mut command = place.command("peer list --json");
    let output = command.env("TALLY_HOME", "alpha").output().unwrap();
    assert_eq!(
        parse(&output, "peer-list")["peers"],
        Value::Array(Vec::new())
    );
}
