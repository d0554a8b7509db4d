//! `tally try`, as somebody types it who has just built it.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tallystick_tests::{
    oracle::{self, Key, Table},
    place::{Place, mode},
};

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap().lines().count() - 1
}

/// The members that every report has, whatever was tried.
fn check(place: &Place, report: &Value) {
    assert_eq!(report["schema"], "tally.try/1");
    assert_eq!(report["verified"], true);
    let path = |value: &Value| -> PathBuf { place.path(value.as_str().unwrap()) };
    let records: Vec<PathBuf> = report["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(path)
        .collect();
    assert_eq!(records.len(), 2);
    assert_ne!(records[0], records[1]);
    assert_eq!(
        fs::read(&records[0]).unwrap(),
        fs::read(&records[1]).unwrap()
    );
    assert!(path(&report["trust"]).is_file());
    assert!(path(&report["dir"]).is_dir());
    let seconds = |name: &str| report["seconds"][name].as_f64().unwrap();
    assert!(seconds("publish") > 0.0 && seconds("session") > 0.0);
    assert!(seconds("total") >= seconds("session"));
    for side in ["ours", "theirs"] {
        let side = &report[side];
        assert!(side["cpu_seconds"].as_f64().unwrap() > 0.0);
        assert!(side["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
        let elements = side["elements"].as_u64().unwrap();
        assert!(elements > 0 && side["rows"].as_u64().unwrap() > 0);
    }
    // What went out holds at least each blinded element, what came in each evaluation.
    let least = 32 * report["ours"]["elements"].as_u64().unwrap();
    assert!(report["bytes"]["sent"].as_u64().unwrap() > least);
    assert!(report["bytes"]["received"].as_u64().unwrap() > least);
    assert!(!report["kernel"].as_str().unwrap().is_empty());

    let line = format!(
        "tally audit verify {} {} --trust {}",
        records[0].display(),
        records[1].display(),
        path(&report["trust"]).display()
    );
    let verdict = place.json(&line);
    assert_eq!(verdict["verified"], true);
    assert_eq!(verdict["agree"], true);
}

#[test]
fn the_sample_finds_its_overlap() {
    let place = Place::new();
    let report = place.json("tally try --dir trial");
    check(&place, &report);
    let data = place.path("trial/data");
    let truth = lines(&data.join("truth.csv"));
    assert!(truth > 0);
    assert_eq!(report["hits"], truth);
    assert_eq!(report["elements_matched"], truth);
    assert_eq!(report["ours"]["rows"], lines(&data.join("ours.csv")));
    assert_eq!(report["theirs"]["rows"], lines(&data.join("theirs.csv")));
    assert_eq!(report["dir"], "trial");
    let matches = place.path("trial/matches.csv");
    assert_eq!((lines(&matches), mode(&matches)), (truth, 0o600));
    // The very documents, with the labels that belong to them.
    let table = |name: &str| Table::parse(&fs::read_to_string(data.join(name)).unwrap());
    let key = [Key("document", &["document", "state"])];
    let label = ["name", "case_ref", "handling"];
    let want = oracle::matches(&table("ours.csv"), &key, &table("theirs.csv"), &key, &label);
    let got = Table::parse(&fs::read_to_string(&matches).unwrap());
    assert_eq!(got.header, want[0]);
    assert_eq!(got.rows, want[1..]);

    // The folder is not used twice.
    assert_eq!(place.fails("tally try --dir trial", 2), "dir-not-empty");
    assert_eq!(lines(&matches), truth);
}

#[test]
fn the_sample_tells_its_story() {
    let place = Place::new();
    let ended = place.run("tally try --dir trial");
    assert_eq!(ended.code, 0, "{}", ended.err);
    for part in [
        "WHO HOLDS WHAT",
        "FIVE OF THE HITS",
        "their_case_ref",
        "WHAT IT COST",
        "BOTH RECORDS",
        "the copies agree",
        "verified",
        "WHAT NOBODY LEARNED",
        "WHAT TO TYPE NEXT",
        "audit verify trial/ours/records/",
        "audit show",
        "try --ours",
    ] {
        assert!(ended.out.contains(part), "no {part} in\n{}", ended.out);
    }
    // The first of the commands to type next works as it stands.
    let next = ended
        .out
        .lines()
        .find(|line| line.contains("audit verify"))
        .unwrap();
    let (_, arguments) = next.split_once("audit verify ").unwrap();
    assert_eq!(
        place.run(&format!("tally audit verify {arguments}")).code,
        0
    );
}

#[test]
fn own_tables_are_tried() {
    let place = Place::new();
    place.does("tally datagen --dir data --ours 300 --theirs 40 --overlap 25 --seed 7");
    // Columns that are named otherwise on the other side.
    let theirs = place
        .read("data/theirs.csv")
        .replacen("document,state", "number,issuer", 1);
    place.write("theirs.csv", &theirs);
    let tables = "--ours data/ours.csv --theirs theirs.csv --key document=document,state \
                  --theirs-key document=number,issuer";
    let report = place.json(&format!(
        "tally try {tables} --label case_ref,birth_date --dir trial --out hits.csv"
    ));
    check(&place, &report);
    assert_eq!(report["hits"], 25);
    assert_eq!(report["out"], "hits.csv");
    let header = place.read("hits.csv").lines().next().unwrap().to_owned();
    assert!(
        header.ends_with("tally_key,their_case_ref,their_birth_date"),
        "{header}"
    );

    // By a mapping file, and without labels.
    place.write(
        "ours.mapping.toml",
        "[[key]]\ntype = \"document\"\nnumber = \"document\"\nstate = \"state\"\n",
    );
    let report = place.json(
        "tally try --ours data/ours.csv --theirs theirs.csv --mapping ours.mapping.toml \
         --theirs-key document=number,issuer --dir again",
    );
    check(&place, &report);
    assert_eq!(report["hits"], 25);

    // An output that exists is not replaced.
    place.write("hits.csv", "mine");
    let ended = place.run(&format!("tally try {tables} --dir third --out hits.csv"));
    assert_eq!((ended.code, ended.out.as_str()), (2, ""));
    assert_eq!(place.read("hits.csv"), "mine");
    for (line, code) in [
        ("tally try --ours data/ours.csv", 2),
        (
            "tally try --ours none.csv --theirs theirs.csv --key document=document,state",
            2,
        ),
        (
            "tally try --ours data/ours.csv --theirs theirs.csv --key document=document,state",
            2,
        ),
        ("tally try --profile loose", 2),
    ] {
        let ended = place.run(line);
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{line}");
        assert!(ended.err.contains("error: "), "{line}: {}", ended.err);
    }
}

/// What is asked decides what the peer grants, where the default is less.
#[test]
fn a_trial_larger_than_the_default_session_is_granted() {
    let place = Place::pair("holder", "asker");
    let rows: String = (0..600).map(|n| format!("W{n},UTO\n")).collect();
    place.write("list.csv", &format!("number,state\n{rows}"));
    for (asked, granted) in [(16u64, 1 << 20), (1 << 30, 1 << 30)] {
        let mut command = place.command(&format!(
            "tally try-sender --home holder --collection large-{asked} --asked {asked} \
             --input list.csv --key document=number,state"
        ));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut ready = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut ready).unwrap();
        assert!(ready.contains("\"elements\":600"), "{ready}");
        drop(child.stdin.take());
        // It ends with standard input, in order or not: what it published stays.
        child.wait().unwrap();
        let report = place.json("tallyd collection list --home holder");
        let list = report["collections"].as_array().unwrap();
        let name = format!("large-{asked}");
        let this = list
            .iter()
            .find(|entry| entry["name"] == name.as_str())
            .unwrap();
        assert_eq!(this["max_session_elements"], granted);
    }
}

/// The processes whose parent is `parent` and that run the peer's side.
fn senders(parent: Option<u32>) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        // A process may end while it is looked at.
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let of: Option<u32> = after
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok());
        let command = String::from_utf8_lossy(&read("cmdline")).into_owned();
        if command.contains("try-sender") && (parent.is_none() || of == parent) {
            found.push(Pid::from_raw(id));
        }
    }
    found
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "waited too long for {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A peer that dies, at its start or in the middle, ends the trial; it does not hang.
#[test]
fn a_peer_that_dies_ends_the_trial() {
    let mut ended = 0;
    for after in [0, 30, 100, 250, 600] {
        let place = Place::new();
        let mut command = place.command("tally try --dir trial --json");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let parent = child.id();
        let sender = wait_for("the peer", || senders(Some(parent)).first().copied());
        std::thread::sleep(Duration::from_millis(after));
        // On a fast machine the peer may be done by then.
        let killed = kill(sender, Signal::SIGKILL).is_ok();
        let started = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "after {after} ms"
        );
        let err = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(0) {
            // Only where nothing was expected of it any more.
            assert!(!killed || after > 0, "after {after} ms: {err}");
            continue;
        }
        assert!(
            output.status.code().is_some() && output.stdout.is_empty(),
            "{err}"
        );
        assert!(killed && err.contains("error: "), "{err}");
        ended += 1;
    }
    assert!(ended > 0);
}

/// A trial that is killed leaves no peer behind.
#[test]
fn a_trial_that_dies_takes_its_peer_along() {
    let place = Place::new();
    let mut command = place.command("tally try --dir trial --json --quiet");
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let parent = child.id();
    let sender = wait_for("the peer", || senders(Some(parent)).first().copied());
    std::thread::sleep(Duration::from_millis(300));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the peer's end", || {
        (!senders(None).contains(&sender)).then_some(())
    });
}
