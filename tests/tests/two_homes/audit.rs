//! Both copies of a record, laid together.

use std::fs;

use serde_json::Value;
use tallystick_tests::place::{Ended, Place, mode, object};

use crate::{matched, served};

fn verify(place: &Place, flags: &str) -> (i32, Value, Ended) {
    let ended = place.run(&format!("tally audit verify {flags} --json"));
    let verdict = object(&ended.out);
    assert_eq!(verdict["schema"], "tally.audit-verify/1");
    (ended.code, verdict, ended)
}

fn verdicts(record: &Value) -> Vec<(&str, &str)> {
    let checks = record["checks"].as_array().unwrap().iter();
    checks
        .map(|c| (c["name"].as_str().unwrap(), c["verdict"].as_str().unwrap()))
        .collect()
}

#[test]
fn both_copies_verify_and_agree() {
    let (place, serving) = served();
    let (report, [ours, theirs]) = matched(&place, &serving, "hits.csv");
    assert_eq!(
        fs::canonicalize(report["record"].as_str().map(|p| place.path(p)).unwrap()).unwrap(),
        fs::canonicalize(place.path(&ours)).unwrap()
    );
    let bytes = fs::read(place.path(&ours)).unwrap();
    assert_eq!(bytes, fs::read(place.path(&theirs)).unwrap());
    for copy in [&ours, &theirs] {
        assert_eq!(mode(&place.path(copy)), 0o600);
    }
    // No home, no peer, no passphrase: the files alone.
    serving.stop();
    place.trust("trust.json", &["asker", "holder"]);
    let (code, verdict, ended) = verify(&place, &format!("{ours} {theirs} --trust trust.json"));
    assert_eq!((code, ended.err.as_str()), (0, ""));
    assert_eq!(verdict["verified"], true);
    assert_eq!(verdict["agree"], true);
    let records = verdict["records"].as_array().unwrap();
    assert_eq!(records.len(), 2);
    for record in records {
        assert_eq!(record["session"], report["session"]);
        assert_eq!(record["signers"], "trusted");
        let made = [
            "framing", "request", "answer", "signers", "chunks", "proofs", "closings",
        ];
        let beyond = ["match-count", "identifiers", "snapshot"];
        let want: Vec<(&str, &str)> = made
            .map(|name| (name, "pass"))
            .into_iter()
            .chain(beyond.map(|name| (name, "not-checked")))
            .collect();
        assert_eq!(verdicts(record), want);
    }

    // Without a trust file: nobody vouched, and it says so.
    let (code, verdict, ended) = verify(&place, &format!("{ours} {theirs}"));
    assert_eq!(code, 0);
    assert_eq!(verdict["verified"], true);
    assert_eq!(verdict["records"][0]["signers"], "not-checked");
    assert!(verdicts(&verdict["records"][0]).contains(&("signers", "not-checked")));
    assert!(ended.err.contains("nobody vouched"), "{}", ended.err);

    // One copy alone has nothing to agree with.
    let (code, verdict, _) = verify(&place, &ours);
    assert_eq!(code, 0);
    assert!(verdict["agree"].is_null());

    let shown = place.json(&format!("tally audit show {theirs}"));
    assert_eq!(shown["schema"], "tally.audit-show/1");
    assert_eq!(shown["request"]["collection"], "watchlist");
    assert_eq!(shown["request"]["receiver"]["agency"], "asker");
    assert_eq!(shown["elements"], 16);
    assert_eq!(shown["bytes"], bytes.len());
}

#[test]
fn trust_that_does_not_vouch_is_six() {
    let (place, serving) = served();
    let (_, [ours, theirs]) = matched(&place, &serving, "hits.csv");
    place.init("third");
    for (file, homes) in [
        ("one.json", vec!["asker"]),
        ("other.json", vec!["holder", "third"]),
    ] {
        place.trust(file, &homes);
        let (code, verdict, _) = verify(&place, &format!("{ours} {theirs} --trust {file}"));
        assert_eq!(code, 6, "{file}");
        assert_eq!(verdict["verified"], false);
        for record in verdict["records"].as_array().unwrap() {
            assert!(verdicts(record).contains(&("signers", "fail")));
        }
    }
    // The right key under another agency's name vouches for nobody.
    place.trust("names.json", &["asker", "holder"]);
    let swapped = place.read("names.json").replace("\"holder\"", "\"third\"");
    place.write("names.json", &swapped);
    let (code, ..) = verify(&place, &format!("{ours} --trust names.json"));
    assert_eq!(code, 6);

    for text in ["", "{}", "{\"schema\":\"tally.trust/2\",\"agencies\":[]}"] {
        place.write("bad.json", text);
        let line = format!("tally audit verify {ours} --trust bad.json");
        assert_eq!(place.fails(&line, 2), "trust-file", "{text}");
    }
    let line = format!("tally audit verify {ours} --trust nowhere.json");
    assert_eq!(place.fails(&line, 2), "trust-file");
    assert_eq!(place.fails("tally audit verify nowhere.tally", 2), "io");
}

#[test]
fn copies_of_different_sessions_do_not_agree() {
    let (place, serving) = served();
    let (_, [first, _]) = matched(&place, &serving, "a.csv");
    let (_, [_, second]) = matched(&place, &serving, "b.csv");
    let (code, verdict, _) = verify(&place, &format!("{first} {second}"));
    assert_eq!(code, 6);
    assert_eq!(verdict["agree"], false);
    assert_eq!(verdict["verified"], false);
    for record in verdict["records"].as_array().unwrap() {
        assert!(
            verdicts(record)
                .iter()
                .all(|(_, verdict)| *verdict != "fail")
        );
    }
    let ended = place.run(&format!("tally audit verify {first} {second}"));
    assert_eq!(ended.code, 6);
    assert!(ended.out.contains("DO NOT AGREE"), "{}", ended.out);
}

#[test]
fn a_changed_record_is_six() {
    let (place, serving) = served();
    let (_, [ours, theirs]) = matched(&place, &serving, "hits.csv");
    let mut bytes = fs::read(place.path(&ours)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(place.path("changed.tally"), &bytes).unwrap();
    let (code, verdict, _) = verify(&place, &format!("changed.tally {theirs}"));
    assert_eq!(code, 6);
    assert_eq!(verdict["verified"], false);
    let failed = |record: &Value| {
        verdicts(record)
            .iter()
            .filter(|(_, v)| *v == "fail")
            .count()
    };
    assert_eq!(failed(&verdict["records"][0]), 1);
    assert_eq!(failed(&verdict["records"][1]), 0);
    let shown = place.run("tally audit show changed.tally --json");
    assert_eq!(shown.code, 6);
    assert_eq!(object(&shown.out)["verified"], false);
}

/// Each record names the one before it with the same peer.
#[test]
fn records_are_chained() {
    let (place, serving) = served();
    let (_, [first, _]) = matched(&place, &serving, "a.csv");
    let (_, [second, _]) = matched(&place, &serving, "b.csv");
    let show = |record: &str| place.json(&format!("tally audit show {record}"));
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(fs::read(place.path(&first)).unwrap());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(show(&first)["request"].get("previous").is_none());
    assert_eq!(show(&second)["request"]["previous"], digest);
    assert_eq!(show(&second)["grant"]["previous"], digest);
}
