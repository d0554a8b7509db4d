//! `tallyd check`.

use std::fs;

use crate::place::{Place, error_code, parse, set_mode, text, verdicts};

#[test]
fn check_finds_what_is_wrong() {
    let place = Place::new();
    place.two();
    let fingerprint = place.fingerprint("beta");
    place.run(
        &format!("peer add beta.peer --home alpha -q --fingerprint {fingerprint}"),
        0,
    );
    place.write("list.csv", "a\nx\n");
    place.run(
        "collection publish c --home alpha --input list.csv --key text=a -q",
        0,
    );
    let check = "check --home alpha";
    let good = place.json(check, "check");
    assert_eq!(good["failed"], 0);
    for name in [
        "configuration",
        "permissions",
        "keys",
        "peer beta",
        "collection c",
        "port",
        "kernel",
    ] {
        assert!(verdicts(&good).contains(&(name, "ok")), "{name}: {good}");
    }
    // A development authority is said, and is no failure.
    assert!(verdicts(&good).contains(&("certificate", "warn")));

    let home = place.path("alpha");
    let finds = |name: &str, code: &str, words: &str| {
        let output = place.run(&format!("{check} --json"), 2);
        assert_eq!(error_code(&output), "check-failed");
        let checks = parse(&output, "check");
        let all = checks["checks"].as_array().unwrap();
        let found = all
            .iter()
            .find(|c| c["name"] == name && c["code"] == code && c["verdict"] == "fail");
        let found = found.unwrap_or_else(|| panic!("{name}: {checks}"));
        let said = format!("{} {}", found["detail"], found["fix"]);
        assert!(said.contains(words), "{said}");
        assert!(!found["fix"].as_str().unwrap().is_empty());
        // The same for people.
        assert!(text(&place.run(check, 2).stdout).contains("FAIL"));
    };
    let with = |file: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>, what: [&str; 3]| {
        let [name, code, words] = what;
        let path = home.join(file);
        let before = fs::read(&path).unwrap();
        fs::write(&path, change(before.clone())).unwrap();
        finds(name, code, words);
        fs::write(&path, before).unwrap();
    };
    let key = home.join("keys/log.sealed");
    set_mode(&key, 0o644);
    finds("permissions", "permissions", "chmod 600");
    set_mode(&key, 0o600);

    let append = |line: &'static str| move |before: Vec<u8>| [&before, line.as_bytes()].concat();
    with(
        "node.toml",
        &append("oops = 1\n"),
        ["configuration", "config", "oops"],
    );
    let replace = |from: &'static str, to: &'static str| {
        move |before: Vec<u8>| {
            let before = text(&before);
            assert!(before.contains(from));
            before.replace(from, to).into_bytes()
        }
    };
    let unit = replace("idle_timeout_seconds = 60", "idle_timeout_ms = 60000");
    with(
        "node.toml",
        &unit,
        ["configuration", "config", "idle_timeout_ms"],
    );
    let unit = replace(
        "idle_timeout_seconds = 60",
        "idle_timeout_seconds = \"60s\"",
    );
    with(
        "node.toml",
        &unit,
        ["configuration", "config", "idle_timeout_seconds"],
    );
    let range = replace("window_chunks = 4", "window_chunks = 65");
    with(
        "node.toml",
        &range,
        ["configuration", "config", "allowed: 1 to 64"],
    );

    let flip = |mut before: Vec<u8>| {
        let last = before.len() - 1;
        before[last] ^= 1;
        before
    };
    with(
        "keys/log.sealed",
        &flip,
        ["keys", "seal-broken", "does not open"],
    );
    let other = |file: &'static str| {
        let path = place.path("beta").join(file);
        move |_| fs::read(&path).unwrap()
    };
    with(
        "tls/node.crt",
        &other("tls/node.crt"),
        ["certificate", "certificate", "not for this node's key"],
    );
    with(
        "tls/ca.crt",
        &other("tls/ca.crt"),
        ["certificate", "wrong-authority", "not from the authority"],
    );
    let snapshot = format!("collections/c/{}.snapshot", digest(&place));
    with(
        &snapshot,
        &flip,
        ["collection c", "snapshot", "publish the collection again"],
    );
    with(
        "keys/oprf.c.1.sealed",
        &flip,
        ["collection c", "seal-broken", "does not open"],
    );

    assert_eq!(place.json(check, "check")["failed"], 0);
}

fn digest(place: &Place) -> String {
    let listed = place.json("collection list --home alpha", "collection-list");
    listed["collections"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned()
}
