//! Who is refused, how the programs say it, and that nothing is charged for it.

use std::net::TcpListener;

use tallystick_agency::{
    fs::{OWNER_FILE, atomic_write},
    tls,
};
use tallystick_tests::place::{Place, Serving, copy};

use crate::{THEIR_KEY, ask, publish, published, served};

/// Evaluations that `asker` has left.
fn left(place: &Place, serving: &Serving) -> u64 {
    let offers = place.json(&format!(
        "tally collections --home asker --peer holder --address {}",
        serving.address
    ));
    offers["collections"][0]["quota_left"][0].as_u64().unwrap()
}

#[test]
fn wrong_usage_is_two() {
    let (place, serving) = served();
    for line in [
        "tally",
        "tally match",
        "tally match --home asker --peer holder --collection watchlist",
        "tally audit verify",
        "tallyd",
        "tallyd collection publish",
    ] {
        let ended = place.run(line);
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{line}");
        assert!(!ended.err.is_empty(), "{line}");
    }
    let good = ask(&serving, "asker", "");
    for (from, to, code) in [
        ("--home asker", "--home nowhere", "not-a-home"),
        ("--home asker ", "", "no-home"),
        ("--peer holder", "--peer nobody", "unknown-peer"),
        ("border.csv", "nothing.csv", "table-io"),
        ("passport", "pasport", "table-missing-column"),
        ("document=", "dokument=", "mapping-key"),
    ] {
        let line = good.replace(from, to);
        assert_ne!(line, good);
        assert_eq!(place.fails(&line, 2), code, "{line}");
    }
    place.write("empty.csv", "passport,country\n,\n");
    assert_eq!(
        place.fails(&good.replace("border.csv", "empty.csv"), 2),
        "no-keys"
    );
    assert_eq!(
        place.fails(&format!("{good} --profile loose"), 2),
        "unknown-profile"
    );
}

#[test]
fn a_peer_that_is_down_is_five() {
    let (place, serving) = served();
    let line = ask(&serving, "asker", "");
    assert_eq!(serving.stop(), Some(0));
    assert_eq!(place.fails(&line, 5), "network");
    // Somebody listens there who is no node at all.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let hangs_up = std::thread::spawn(move || drop(other.accept()));
    let line = format!("tally collections --home asker --peer holder --address {address}");
    assert_eq!(place.fails(&line, 5), "network");
    hangs_up.join().unwrap();
}

#[test]
fn what_is_not_offered_is_three() {
    let (place, serving) = served();
    let before = left(&place, &serving);
    let good = ask(&serving, "asker", "");
    let line = good.replace("--collection watchlist", "--collection other");
    assert_eq!(place.fails(&line, 3), "not-available");
    let line = good.replace("document=passport,country", "text=passport");
    assert_eq!(place.fails(&line, 3), "type-not-offered");
    place.init("other");
    place.introduce("holder", "other");
    // Published for somebody else only: as if it were not there.
    publish(
        &place,
        "watchlist",
        &format!("--input watchlist.csv {THEIR_KEY} --label name,case --allow other"),
    );
    assert_eq!(place.fails(&good, 3), "not-available");
    publish(
        &place,
        "watchlist",
        &format!("--input watchlist.csv {THEIR_KEY} --label name,case --allow asker"),
    );
    assert_eq!(left(&place, &serving), before);
    place.does(&good);
    // Removed: gone.
    place.does("tallyd collection remove watchlist --home holder");
    assert_eq!(place.fails(&good, 3), "not-available");
}

#[test]
fn what_policy_forbids_is_three() {
    let (place, serving) = served();
    let limits = |flags: &str| {
        let fixed = format!("--input watchlist.csv {THEIR_KEY} --label name,case");
        publish(&place, "watchlist", &format!("{fixed} {flags}"));
    };
    // Seventeen elements are padded to twenty.
    let mut rows = "passport,country\n".to_owned();
    rows.extend((0..17).map(|n| format!("P{n},UTO\n")));
    place.write("border.csv", &rows);
    let line = ask(&serving, "asker", "");
    limits("--max-session-elements 16 --peer-budget 1000");
    assert_eq!(place.fails(&line, 3), "too-many-elements");
    limits("--max-session-elements 20 --peer-budget 30");
    assert_eq!(left(&place, &serving), 30);
    let report = place.json(&line);
    assert_eq!(report["charged"][0]["elements"], 20);
    assert_eq!(left(&place, &serving), 10);
    assert_eq!(place.fails(&line, 3), "quota-exceeded");
    assert_eq!(left(&place, &serving), 10);
    // Publishing again within the epoch gives nothing back; a new epoch does.
    limits("--max-session-elements 20 --peer-budget 30");
    assert_eq!(left(&place, &serving), 10);
    place.does("tallyd epoch rotate watchlist --home holder");
    assert_eq!(left(&place, &serving), 30);
    place.does(&line);
}

#[test]
fn refusals_leave_records_that_verify() {
    let (place, serving) = served();
    let fixed = format!("--input watchlist.csv {THEIR_KEY} --label name,case --peer-budget 20");
    publish(&place, "watchlist", &fixed);
    let (report, _) = crate::matched(&place, &serving, "hits.csv");
    let first = report["session"].as_str().unwrap().to_owned();
    assert_eq!(
        place.fails(&ask(&serving, "asker", ""), 3),
        "quota-exceeded"
    );
    place.trust("trust.json", &["asker", "holder"]);
    let sessions = |home: &str| -> Vec<String> {
        let names = std::fs::read_dir(place.path(home).join("records")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with(&first)).collect();
        names.sort();
        names
    };
    assert_eq!(sessions("asker"), sessions("holder"));
    let [refused] = &sessions("asker")[..] else {
        panic!("{:?}", sessions("asker"))
    };
    let line = format!(
        "tally audit verify asker/records/{refused} holder/records/{refused} --trust trust.json"
    );
    let verdict = place.json(&line);
    assert_eq!(verdict["verified"], true);
    assert_eq!(verdict["agree"], true);
    assert_eq!(verdict["records"][0]["status"], "refused");
    let shown = place.json(&format!("tally audit show asker/records/{refused}"));
    assert_eq!(shown["refusal"]["code"], "quota-exceeded");
}

#[test]
fn revoked_peers_are_three() {
    let (place, serving) = served();
    let line = ask(&serving, "asker", "");
    place.does(&line);
    // The asked side revokes: the running node notices by itself.
    place.does("tallyd peer revoke asker --home holder");
    let started = std::time::Instant::now();
    while place.run(&format!("{line} --quiet")).code == 0 {
        assert!(
            started.elapsed().as_secs() < 10,
            "a revoked peer is still served"
        );
    }
    // By the listener, or by a connection that it took before it had noticed.
    let code = place.fails(&line, 3);
    assert!(
        ["refused-by-peer", "not-on-list"].contains(&code.as_str()),
        "{code}"
    );
    place.does("tallyd peer add asker.peer --home holder --reinstate");
    let started = std::time::Instant::now();
    while place.run(&format!("{line} --quiet")).code != 0 {
        assert!(
            started.elapsed().as_secs() < 10,
            "a reinstated peer is not served"
        );
    }
    // The asking side revokes: it does not even connect.
    place.does("tallyd peer revoke holder --home asker");
    assert_eq!(place.fails(&line, 3), "revoked");
}

#[test]
fn strangers_are_three() {
    let (place, serving) = served();
    // Knows the holder, is not known to it.
    place.init("stranger");
    place.introduce("stranger", "holder");
    assert_eq!(
        place.fails(&ask(&serving, "stranger", ""), 3),
        "refused-by-peer"
    );

    // The asker's own authority signs a certificate for another key: right CA, not on the list.
    copy(&place.path("asker"), &place.path("thief"));
    let home = place.home("thief");
    let key = tls::generate_key().unwrap();
    let request = tls::signing_request("asker", None, &key).unwrap();
    let authority = std::fs::read_to_string(home.authority_file()).unwrap();
    let authority_key = home.keys().open_secret("dev-ca").unwrap();
    let certificate = tls::dev_ca_sign(&authority, &authority_key, &request).unwrap();
    home.keys().seal_secret("tls", &key).unwrap();
    atomic_write(&home.certificate_file(), certificate.as_bytes(), OWNER_FILE).unwrap();
    assert_eq!(
        place.fails(&ask(&serving, "thief", ""), 3),
        "refused-by-peer"
    );
    let log = serving.log();
    assert!(log.contains("not-on-list"), "{log}");
    assert!(!log.contains("granted"), "{log}");

    // The asker itself is served as before.
    place.does(&ask(&serving, "asker", ""));
    // Somebody else's node at the holder's address is refused by the asker.
    let other = place.serve("stranger");
    assert_eq!(
        place.fails(&ask(&other, "asker", ""), 3),
        "unknown-certificate"
    );
}

/// The match count is the receiver's to tell: a sender that demands it is refused, unless the receiver
/// allows it. Then the closing says it.
#[test]
fn the_count_is_told_only_where_both_sides_say_so() {
    let place = published();
    let edit = |home: &str, from: &str, to: &str| {
        let file = format!("{home}/node.toml");
        let text = place.read(&file);
        assert!(text.contains(from), "{text}");
        place.write(&file, &text.replace(from, to));
    };
    edit("holder", "demands_count = false", "demands_count = true");
    let serving = place.serve("holder");
    assert_eq!(
        place.fails(&ask(&serving, "asker", ""), 3),
        "count-disclosure"
    );
    edit(
        "asker",
        "sender_learns_count = false",
        "sender_learns_count = true",
    );
    // The first session was granted and never used: another is begun.
    let report = place.json(&ask(&serving, "asker", "--purpose again"));
    let record = report["record"].as_str().unwrap();
    let shown = place.json(&format!("tally audit show {record}"));
    assert_eq!(
        shown["receiver_closing"]["outcome"]["matches"],
        report["elements_matched"]
    );
}
