//! `tally desk` before a real node.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::Stdio,
    sync::OnceLock,
};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use tallystick_tests::{
    fake_desk::passport,
    http1,
    place::{Place, Serving, copy, mode, object},
    running::wait_for,
};

/// Whose passports these are, by number.
const GOOD: &str = "L1234567";
const STOLEN: &str = "S1234567";
const UNKNOWN: &str = "U1234567";
const ALTERED: &str = "A1234567";

/// `holder` has a register and a list of stolen documents, `asker` a desk. Made once.
fn made() -> &'static Place {
    static MADE: OnceLock<Place> = OnceLock::new();
    MADE.get_or_init(|| {
        let place = Place::pair("holder", "asker");
        let row = |number: &str, surname: &str| format!("{number},UTO,{surname},Anna Maria,1974-08-12\n");
        let register: String = [(GOOD, "Eriksson"), (STOLEN, "Eriksson"), (ALTERED, "Lindqvist")]
            .map(|(number, surname)| row(number, surname))
            .concat();
        place.write("register.csv", &format!("number,state,surname,given,birth\n{register}"));
        place.write("stolen.csv", &format!("number,state,report\n{STOLEN},UTO,stolen\n"));
        place.does(
            "tallyd collection publish register --home holder --input register.csv \
             --key document=number,state --key holder=number,state,surname,given,birth \
             --kind issued-documents --covers UTO --peer-budget 1000000",
        );
        place.does(
            "tallyd collection publish stolen --home holder --input stolen.csv \
             --key document=number,state --label report --kind stolen-documents --peer-budget 1000000",
        );
        place
    })
}

struct Desk {
    place: Place,
    holder: Option<Serving>,
    asks: String,
}

fn desk() -> Desk {
    let place = Place::new();
    for home in ["holder", "asker"] {
        copy(&made().path(home), &place.path(home));
    }
    let holder = place.serve("holder");
    let address = holder.address;
    let asks = format!(
        "tally desk --home asker --ask holder/register@{address} --ask holder/stolen@{address} \
         --purpose border --patience-seconds 20"
    );
    Desk {
        place,
        holder: Some(holder),
        asks,
    }
}

fn zone(number: &str) -> String {
    passport(number).join(" ")
}

fn conclusions(lines: &str) -> Vec<String> {
    let word = |line: &str| {
        let verdict = object(&format!("{line}\n"));
        verdict["conclusion"].as_str().unwrap().to_owned()
    };
    lines.lines().map(word).collect()
}

#[test]
fn one_document_gets_its_verdict_and_the_shift_its_record() {
    let desk = desk();
    let cases = [
        (GOOD, "consistent"),
        (STOLEN, "reported"),
        (UNKNOWN, "never-issued"),
        (ALTERED, "other-holder"),
    ];
    for (number, conclusion) in cases {
        let verdict = desk
            .place
            .json(&format!("{} --mrz {}", desk.asks, zone(number)));
        assert_eq!(verdict["schema"], "tally.desk/1");
        assert_eq!(verdict["conclusion"], conclusion, "{verdict}");
        assert_eq!(verdict["missing"], Value::Array(Vec::new()));
        for list in verdict["shift"]["collections"].as_array().unwrap() {
            let session = &list["sessions"][0];
            assert_eq!(session["ended"], "complete", "{verdict}");
            let record = session["record"].as_str().unwrap();
            let audit = desk.place.json(&format!("tally audit verify {record}"));
            assert_eq!(audit["verified"], true);
        }
    }
    // For a person, and by fields.
    let fields = "--number L1234567 --state UTO --surname Eriksson --given-names Anna --birth-date 1974-08-12";
    let ended = desk.place.run(&format!("{} {fields}", desk.asks));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended.out.starts_with("Issued to this holder\n"),
        "{}",
        ended.out
    );
    assert!(ended.err.contains("record "), "{}", ended.err);
    assert!(!ended.err.contains("L1234567"), "{}", ended.err);
}

#[test]
fn a_peer_that_is_down_is_missing_and_never_a_miss() {
    let mut desk = desk();
    let _ = desk.holder.take().unwrap().stop();
    let line = format!("{} --mrz {} --patience-seconds 1", desk.asks, zone(UNKNOWN));
    let line = line.replacen("--patience-seconds 20", "", 1);
    let ended = desk.place.run(&format!("{line} --json"));
    assert_eq!(ended.code, 5, "{}\n{}", ended.out, ended.err);
    let verdict = object(&ended.out);
    assert_eq!(verdict["conclusion"], "incomplete");
    assert_eq!(verdict["missing"].as_array().unwrap().len(), 2);
    let why = verdict["missing"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("No answer from"), "{why}");
}

#[test]
fn a_stream_is_answered_line_by_line() {
    let desk = desk();
    let [one, two] = passport(GOOD);
    let input = format!(
        "{one}\n{two}\n{{\"id\":\"b\",\"mrz\":\"{}\"}}\nhalf<<\n\n{}\n{{\"number\":7}}\n",
        passport(STOLEN).concat(),
        passport(UNKNOWN).concat()
    );
    desk.place.write("lines", &input);
    let mut command = desk
        .place
        .command(&format!("{} --stream --json", desk.asks));
    command.stdin(fs::File::open(desk.place.path("lines")).unwrap());
    let output = command.output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{err}");
    let wanted = [
        "consistent",
        "reported",
        "unreadable",
        "never-issued",
        "unreadable",
    ];
    assert_eq!(conclusions(&out), wanted, "{out}");
    let verdicts: Vec<Value> = out
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let lines: Vec<u64> = verdicts
        .iter()
        .map(|v| v["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [1, 3, 4, 6, 7]);
    assert_eq!(verdicts[1]["id"], "b");
    for part in [
        "record ",
        "verdicts: 2 unreadable, 1 reported, 1 never-issued, 1 consistent",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    // The same for people, with tabs.
    let mut command = desk
        .place
        .command(&format!("{} --stream --quiet", desk.asks));
    command.stdin(fs::File::open(desk.place.path("lines")).unwrap());
    let output = command.output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let first: Vec<&str> = out.lines().next().unwrap().split('\t').collect();
    assert_eq!(
        (first[0], first[1], first.len()),
        ("1", "consistent", 4),
        "{out}"
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn ctrl_c_answers_what_was_asked_and_closes_the_shift() {
    let desk = desk();
    let mut command = desk
        .place
        .command(&format!("{} --stream --json", desk.asks));
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    writeln!(input, "{}", passport(STOLEN).concat()).unwrap();
    let mut line = String::new();
    // It comes while the input is open.
    output.read_line(&mut line).unwrap();
    assert_eq!(conclusions(&line), ["reported"]);
    let id = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    kill(id, Signal::SIGINT).unwrap();
    let ended = child.wait_with_output().unwrap();
    let err = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{err}");
    for part in ["record ", "verdicts: 1 reported", "the shift was closed"] {
        assert!(err.contains(part), "{part}: {err}");
    }
    let records = fs::read_dir(desk.place.path("asker/records")).unwrap();
    let open = records
        .flatten()
        .filter(|e| e.path().extension().is_some_and(|e| e != "tally"));
    let open: Vec<_> = open
        .map(|e| e.file_name())
        .filter(|n| n.to_string_lossy().contains("partial"))
        .collect();
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_reader_of_verdicts_that_goes_away_ends_the_shift() {
    let desk = desk();
    let mut command = desk
        .place
        .command(&format!("{} --stream --json", desk.asks));
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let text = format!("{}\n", passport(GOOD).concat());
    input.write_all(text.as_bytes()).unwrap();
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    drop(output);
    // It notices with the next verdict; the pipe may be gone by then.
    let _ = input.write_all(text.repeat(20).as_bytes());
    let ended = child.wait_with_output().unwrap();
    let err = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2), "{err}");
    assert!(
        err.contains("record ") && err.contains("takes nothing any more"),
        "{err}"
    );
}

#[test]
fn a_manifest_comes_back_with_its_verdicts() {
    let desk = desk();
    let row = |seat: &str, number: &str| format!("{seat},{}\n", passport(number).concat());
    let manifest = [
        "seat,zone\n".to_owned(),
        row("1A", GOOD),
        row("1B", STOLEN),
        "1C,nonsense\n".to_owned(),
        row("1D", UNKNOWN),
    ];
    desk.place.write("flight.csv", &manifest.concat());
    let line = format!(
        "{} --manifest flight.csv --key document:mrz=zone",
        desk.asks
    );
    let report = desk.place.json(&format!("{line} --out checked.csv"));
    assert_eq!(
        (&report["rows"], &report["with_missing"]),
        (&4.into(), &0.into())
    );
    assert_eq!(report["verdicts"]["unreadable"], 1);
    assert_eq!(mode(&desk.place.path("checked.csv")), 0o600);
    let text = desk.place.read("checked.csv");
    let mut lines = text.lines();
    let header = lines.next().unwrap();
    assert_eq!(
        header,
        "seat,zone,tally_conclusion,tally_reasons,tally_missing"
    );
    let wanted = ["consistent", "reported", "unreadable", "never-issued"];
    for (wanted, (line, own)) in wanted.iter().zip(lines.zip(manifest[1..].iter())) {
        let own = own.trim_end();
        assert!(line.starts_with(&format!("{own},{wanted},")), "{line}");
    }
    // What stands there stays; the table itself is never written over.
    assert_eq!(
        desk.place.fails(&format!("{line} --out checked.csv"), 2),
        "output-exists"
    );
    let over = desk
        .place
        .fails(&format!("{line} --out flight.csv --force"), 2);
    assert_eq!(over, "output-is-input");
    let again = desk.place.fails(
        &format!(
            "{} --manifest checked.csv --key document:mrz=zone --out c2.csv",
            desk.asks
        ),
        2,
    );
    assert_eq!(again, "output-column");
    // Columns of their own, to standard output.
    desk.place.write(
        "people.csv",
        "no,land,last,first,born\nL1234567,UTO,Eriksson,Anna Maria,1974-08-12\n",
    );
    let line = format!(
        "{} --manifest people.csv --key holder=no,land,last,first,born",
        desk.asks
    );
    let ended = desk.place.run(&line);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended.out.lines().nth(1).unwrap().contains(",consistent,"),
        "{}",
        ended.out
    );
}

#[test]
fn the_endpoint_is_served_until_it_is_told_to_stop() {
    let desk = desk();
    let line = format!(
        "{} --serve 127.0.0.1:0 --token-file token --json",
        desk.asks
    );
    let mut command = desk.place.command(&line);
    let log = desk.place.path("desk.log");
    let child = command
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log).unwrap())
        .spawn();
    let child = child.unwrap();
    let address = wait_for("the endpoint", || {
        let said = fs::read_to_string(&log).unwrap();
        let (_, rest) = said.split_once("desk listening address=")?;
        rest.lines().next()?.parse().ok()
    });
    let path = desk.place.path("token");
    let token = wait_for("the token", || {
        fs::read_to_string(&path)
            .ok()
            .filter(|text| text.ends_with('\n'))
    });
    assert_eq!(mode(&path), 0o600);
    let token = token.trim();
    let headers = [
        &format!("Host: {address}"),
        &format!("Authorization: Bearer {token}"),
        "Content-Type: application/json",
    ];
    wait_for("the lists", || {
        let status = http1::request(address, "GET /v1/status", &headers, None).json();
        (status["ready"] == true).then_some(())
    });
    let body = format!("{{\"mrz\":\"{}\"}}", passport(STOLEN).concat());
    let answer = http1::request(address, "POST /v1/check", &headers, Some(&body));
    assert_eq!(answer.json()["conclusion"], "reported", "{}", answer.body);
    kill(
        nix::unistd::Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{said}");
    let report = object(&String::from_utf8(ended.stdout).unwrap());
    assert_eq!(report["schema"], "tally.desk-shift/1");
    assert_eq!(report["collections"][0]["answered"], 1);
    assert!(!path.exists(), "the token opens nothing any more");
    // Neither who was asked about nor the token is anywhere in what it said.
    assert!(!said.contains(STOLEN) && !said.contains(token), "{said}");
}

#[test]
fn bad_usage_asks_nobody() {
    let desk = desk();
    let asks = &desk.asks;
    for (line, code) in [
        ("tally desk --home asker --mrz X".to_owned(), "mrz-shape"),
        (format!("{asks} --mrz P<UTO L8989"), "mrz-shape"),
        (
            "tally desk --home asker --number 1".to_owned(),
            "nothing-is-asked",
        ),
        (asks.clone(), "nothing-to-ask"),
        (format!("{asks} --stream --number 1"), "usage"),
        (format!("{asks} --serve 0.0.0.0:0"), "not-loopback"),
        (format!("{asks} --number 1 --hours 25"), "usage"),
        (
            format!("{asks} --number 1 --ask nobody/list"),
            "unknown-peer",
        ),
        (
            format!("{asks} --manifest no.csv --key document:mrz=z"),
            "table-io",
        ),
        (format!("{asks} --number 1 --config no.desk.toml"), "io"),
    ] {
        let found = desk.place.fails(&line, 2);
        assert!(
            found == code || code.starts_with("mrz") || code == "io",
            "{line}: {found}"
        );
    }
    assert_eq!(
        fs::read_dir(desk.place.path("asker/records"))
            .unwrap()
            .count(),
        0
    );
}
