//! What `tallyd check` finds beyond a home that does not open, each by its stable code.

use std::{fs, net::TcpListener, process::Stdio};

use tallystick_agency::{
    clock,
    fs::file_digest,
    home::Home,
    store::{NewSession, RecordEntry, Role, SessionLimits, Store},
};

use crate::place::{Place, parse, text, verdicts, wait};

const DAY_MS: i64 = 86_400_000;
const SESSION: &str = "000102030405060708090a0b0c0d0e0f";

fn with_store<T>(
    home: &Home,
    work: impl AsyncFnOnce(&tallystick_agency::store::SqliteStore) -> T,
) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = home.store().await.unwrap();
        let value = work(&store).await;
        store.close().await;
        value
    })
}

fn session() -> [u8; 16] {
    std::array::from_fn(|i| i as u8)
}

/// A record of `alpha` that is listed, closed at this time.
fn list_record(place: &Place, closed_ms: i64) -> std::path::PathBuf {
    let home = place.open("alpha");
    let path = format!("records/{SESSION}.tally");
    let file = home.dir().join(&path);
    fs::write(&file, b"a record of some bytes").unwrap();
    let entry = RecordEntry {
        session: session(),
        role: Role::Sender,
        peer: "beta".to_owned(),
        path,
        digest: file_digest(&file).unwrap(),
        closed_ms,
    };
    with_store(&home, async |store| store.add_record(&entry).await.unwrap());
    file
}

#[test]
fn records_that_are_lost_cut_short_or_not_listed_are_found() {
    let place = Place::offering();
    place.is_well("alpha");
    let file = list_record(&place, clock::now_ms());
    place.is_well("alpha");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    place.finds("alpha", "record-changed", "fail");
    fs::remove_file(&file).unwrap();
    place.finds("alpha", "record-lost", "fail");
    fs::write(&file, &whole).unwrap();
    place.is_well("alpha");
    let other = file.with_file_name(format!("{}.tally", "f".repeat(32)));
    fs::write(&other, &whole).unwrap();
    place.finds("alpha", "record-not-listed", "warn");
    fs::rename(&other, other.with_extension("part")).unwrap();
    place.finds("alpha", "record-left-open", "warn");
}

#[test]
fn sessions_that_nobody_closed_are_found() {
    let place = Place::offering();
    let home = place.open("alpha");
    let long_ago = clock::now_ms() - DAY_MS;
    let new = NewSession {
        session: session(),
        peer: "beta".to_owned(),
        collection: "c".to_owned(),
        epoch: 1,
        request_digest: [7; 32],
        expires_ms: long_ago + 1000,
        grants: Vec::new(),
        record_path: format!("records/{SESSION}.tally"),
        shift: false,
    };
    let limits = SessionLimits {
        max_total: 8,
        max_per_peer: 8,
        active_since_ms: 0,
    };
    with_store(&home, async |store| {
        store.admit_session(&new, &limits, long_ago).await.unwrap();
    });
    let part = home.records_dir().join(format!("{SESSION}.part"));
    fs::write(&part, b"open").unwrap();
    place.finds("alpha", "session-overdue", "warn");
    // A session without its record cannot be closed rightly.
    fs::remove_file(&part).unwrap();
    let (found, exit) = place.findings("alpha");
    assert!(found.contains(&("record-lost".to_owned(), "fail".to_owned())));
    assert_eq!(exit, 2);
}

#[test]
fn a_clock_that_went_back_is_found() {
    let place = Place::offering();
    list_record(&place, clock::now_ms() + DAY_MS);
    place.finds("alpha", "clock-behind", "fail");
}

#[test]
fn a_database_that_is_damaged_is_found() {
    let place = Place::offering();
    let file = place.path("alpha/state.db");
    let mut bytes = fs::read(&file).unwrap();
    // The page of the collections, which is not read to open it.
    let row = b"\"epoch_started_ms\"";
    let at = bytes.windows(row.len()).position(|w| w == row).unwrap();
    let page = at / 4096 * 4096;
    bytes[page..page + 4096].fill(0x5a);
    fs::write(&file, bytes).unwrap();
    place.finds("alpha", "state-damaged", "fail");
}

#[test]
fn a_name_that_peers_do_not_know_is_found() {
    let place = Place::new();
    place.init("alpha");
    let name = ("name = \"alpha\"", "name = \"gamma\"");
    // Before any peer was told, and after.
    for told in [false, true] {
        if told {
            place.run("peer export alpha.peer --home alpha -q", 0);
        }
        place.configure("alpha", name.0, name.1);
        let (found, exit) = place.findings("alpha");
        let renamed = ("name-changed".to_owned(), "fail".to_owned());
        assert!(found.contains(&renamed), "{found:?}");
        assert_eq!(exit, 2);
        place.configure("alpha", name.1, name.0);
    }
    place.finds("alpha", "no-peers", "warn");
}

#[test]
fn what_peers_were_told_and_is_no_longer_true_is_found() {
    let place = Place::offering();
    let address = "#advertise_address = \"tally.example.org:7443\"";
    place.configure("alpha", address, &address[1..]);
    place.finds("alpha", "manifest-outdated", "warn");
    place.run("peer export alpha.peer --home alpha -q", 0);
    place.is_well("alpha");
}

#[test]
fn a_peer_whose_fingerprint_nobody_compared_is_found() {
    let place = Place::new();
    place.two();
    place.run("peer add beta.peer --home alpha -q", 0);
    place.finds("alpha", "fingerprint-not-compared", "warn");
    let fingerprint = place.fingerprint("beta");
    let line = format!("peer add beta.peer --home alpha -q --fingerprint {fingerprint}");
    place.run(&line, 0);
    place.is_well("alpha");
}

#[test]
fn an_epoch_that_is_too_old_is_found() {
    let place = Place::offering();
    let home = place.open("alpha");
    with_store(&home, async |store| {
        let mut known = store.collection("c").await.unwrap().unwrap();
        let began = known.published_ms.unwrap();
        let then = began - 91 * DAY_MS;
        let (from, to) = (began.to_string(), then.to_string());
        assert!(known.meta.contains(&format!("\"epoch_started_ms\":{from}")));
        known.meta = known.meta.replace(&from, &to);
        store.upsert_collection(&known).await.unwrap();
    });
    place.finds("alpha", "epoch-old", "warn");
    // Publishing anew makes no new epoch, so it stays old.
    place.run(
        "collection publish c --home alpha --input list.csv --key text=a -q",
        0,
    );
    place.finds("alpha", "epoch-old", "warn");
    place.configure("alpha", "epoch_warn_days = 90", "epoch_warn_days = 0");
    place.is_well("alpha");
    place.configure("alpha", "epoch_warn_days = 0", "epoch_warn_days = 90");
    place.run("epoch rotate c --home alpha -q", 0);
    place.is_well("alpha");
}

#[test]
fn whoever_holds_the_port_is_told_apart() {
    let place = Place::offering();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    place.configure("alpha", "127.0.0.1:0", &address);
    // One that says nothing, and one that speaks TLS under another certificate.
    place.finds("alpha", "port-in-use", "fail");
    drop(held);
    place.configure("beta", "127.0.0.1:0", &address);
    for (home, own) in [("beta", false), ("alpha", true)] {
        let log = place.path(&format!("{home}.log"));
        let mut child = place
            .command(&format!("serve --home {home}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        wait(|| fs::read_to_string(&log).unwrap().contains("listening"));
        let (found, _) = place.findings("alpha");
        let foreign = found.contains(&("port-in-use".to_owned(), "fail".to_owned()));
        let checks = place.command("check --json --home alpha").output().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(foreign, !own, "{home}: {found:?}");
        let checks = parse(&checks, "check");
        assert_eq!(verdicts(&checks).contains(&("port", "ok")), own);
    }
}

#[test]
fn metrics_that_everybody_can_ask_for_are_found() {
    let place = Place::offering();
    let off = "#listen_address = \"127.0.0.1:9464\"";
    place.configure("alpha", off, "listen_address = \"127.0.0.1:0\"");
    place.is_well("alpha");
    let config = place.path("alpha/node.toml");
    let before = fs::read_to_string(&config).unwrap();
    let (top, metrics) = before.split_once("[metrics]").unwrap();
    let public = metrics.replacen("127.0.0.1:0", "0.0.0.0:0", 1);
    fs::write(&config, format!("{top}[metrics]{public}")).unwrap();
    place.finds("alpha", "metrics-public", "warn");
}

#[test]
fn too_few_file_handles_are_found() {
    let place = Place::offering();
    let line = place.command("check --json --home alpha");
    let program = line.get_program().to_str().unwrap();
    let script = format!("ulimit -n 150 && exec {program} check --json --home alpha");
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(line.get_current_dir().unwrap())
        .env("TALLY_PASSPHRASE", crate::place::WORDS)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("\"file-handles-few\""), "{said}");
}
