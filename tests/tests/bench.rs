//! `tally bench`: what it measures, shows and leaves behind. Not how fast anything is.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tallystick_protocol::{frame::FrameReader, group};
use tallystick_tests::{
    document::document,
    kernel,
    outside::absent,
    place::Place,
    programs::{program, workspace},
    running::wait_for,
};

const SMALL: &str = "tally bench --batch 512 --repeats 2";

#[test]
fn stages_a_session_and_an_estimate_are_reported() {
    let mut place = Place::new();
    let temporary = place.path("temporary");
    fs::create_dir(&temporary).unwrap();
    place.set("TMPDIR", temporary.clone());
    let line = format!("{SMALL} --session 500 --ours 1000 --theirs 1000000");
    let report = place.json(&line);
    assert_eq!(report["schema"], "tally.bench/1");
    assert_eq!(report["kernel"], kernel().name());
    assert_eq!(report["reference"], group::reference().name());
    let both = report["kernel"] != report["reference"];
    let stages = report["stages"].as_array().unwrap();
    let names: Vec<&str> = stages
        .iter()
        .map(|s| s["stage"].as_str().unwrap())
        .collect();
    for name in [
        "hash_to_group",
        "evaluate",
        "prove",
        "verify",
        "finalize",
        "publish",
        "msm",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    for stage in stages {
        assert!(stage["ns"]["max"].as_f64().unwrap() > 0.0, "{stage}");
        assert_eq!(stage["reference_ns"].is_object(), both);
        assert_eq!(stage["ratio"].is_number(), both);
    }
    assert_eq!(report["rows"]["rows"], 20_000);
    let session = &report["session"];
    assert_eq!(session["rows"], 500);
    assert_eq!(session["charged"], 512);
    for side in ["ours", "theirs"] {
        assert!(session[side]["cpu_seconds"].as_f64().unwrap() > 0.0);
        let peak = session[side]["peak_rss_bytes"].as_u64().unwrap();
        let anonymous = session[side]["peak_anonymous_bytes"].as_u64().unwrap();
        assert!(1 << 20 < anonymous && anonymous <= peak, "{session}");
    }
    // A few rows cost what a session costs before any.
    let (start, each) = (&session["start_cpu_seconds"], &session["cpu_us_per_row"]);
    assert!(start.as_f64().unwrap() > 0.0);
    assert!(session["cpu_us_per_further_row"].as_f64().unwrap() < each.as_f64().unwrap());
    assert!(session["sent"].as_u64().unwrap() > 32 * 512);
    assert!(session["bytes_per_row"].as_f64().unwrap() > 64.0);
    assert!(report["session_over_stages"].as_f64().unwrap() > 0.0);
    let estimate = &report["estimate"];
    assert_eq!(
        (&estimate["ours"], &estimate["theirs"]),
        (&1000.into(), &1_000_000.into())
    );
    assert_eq!(estimate["sent"], 32 * 1024 + 84);
    assert!(estimate["session_seconds"].as_f64().unwrap() > 0.0);
    // Homes, keys and tables of the session are gone.
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn an_estimated_snapshot_is_as_large_as_one_that_is_published() {
    let place = Place::pair("holder", "asker");
    let rows: String = (0..3000).map(|n| format!("W{n},UTO\n")).collect();
    place.write("list.csv", &format!("number,state\n{rows}"));
    let published = place.json(
        "tallyd collection publish list --home holder --input list.csv --key document=number,state",
    );
    let digest = published["digest"].as_str().unwrap();
    let path = place.path(&format!("holder/collections/list/{digest}.snapshot"));
    let file = fs::File::open(&path).unwrap();
    let header = FrameReader::new(&file).next_frame().unwrap().unwrap();
    let body = file.metadata().unwrap().len() - header.bytes().len() as u64;
    // However few ask.
    let report = place.json(&format!("{SMALL} --ours 10 --theirs 3000"));
    assert_eq!(report["estimate"]["snapshot"], body);
}

#[test]
fn an_estimate_is_called_one_for_people() {
    let place = Place::new();
    let said = place.run(SMALL);
    assert_eq!(said.code, 0, "{}", said.err);
    for words in [
        "microseconds",
        "theirs: prove the chunk",
        "reading and normalising",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    for words in ["ESTIMATE", "SESSION"] {
        assert!(!said.out.contains(words), "{}", said.out);
    }
    let said = place.run(&format!("{SMALL} --ours 10 --theirs 20"));
    assert!(
        said.out.contains("AN ESTIMATE, NOT MEASURED"),
        "{}",
        said.out
    );
    let without = place.json(SMALL);
    assert_eq!(
        (&without["session"], &without["estimate"]),
        (&Value::Null, &Value::Null)
    );
    for bad in [
        "--ours 1",
        "--batch 15",
        "--repeats 0",
        "--session 1",
        "--ours 0 --theirs 1",
    ] {
        let ended = place.run(&format!("tally bench {bad}"));
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{bad}");
    }
}

#[test]
fn an_interrupt_leaves_nothing() {
    let mut place = Place::new();
    let temporary = place.path("temporary");
    fs::create_dir(&temporary).unwrap();
    place.set("TMPDIR", temporary.clone());
    let child = place
        .command("tally bench --batch 32 --repeats 1 --session 100000 --json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Somewhere in the session: its folder is there.
    wait_for("the session", || {
        let folder = fs::read_dir(&temporary).unwrap().next()?.unwrap().path();
        folder.join("whole/session").is_dir().then_some(())
    });
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let ended = child.wait_with_output();
    let ended = ended.unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("\"code\":\"interrupted\""), "{said}");
    assert!(ended.stdout.is_empty());
    wait_for("an empty folder", || {
        (fs::read_dir(&temporary).unwrap().count() == 0).then_some(())
    });
}

/// The script of the document for a small list against a large one, with small numbers.
#[test]
fn a_few_against_many_are_measured() {
    let place = Place::new();
    let text = document("docs/performance.md");
    let shown = text
        .split('`')
        .find(|code| code.starts_with("benches/warm/"));
    let (script, _) = shown.unwrap().split_once(' ').unwrap();
    let programs = program("tally");
    let ended = Command::new("python3")
        .arg(workspace().join(script))
        .args(["--ours", "100", "--theirs", "3000", "--programs"])
        .arg(programs.parent().unwrap())
        .arg("--dir")
        .arg(place.path("warm"))
        .output();
    let Ok(ended) = ended else {
        return absent("python3");
    };
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(
        ended.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let steps: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<&str> = steps.iter().map(|s| s["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["publish", "match", "match", "match", "sender"]);
    let came = |step: &Value| step["snapshot_from"].as_str().unwrap().to_owned();
    assert_eq!(came(&steps[1]), "whole");
    assert_eq!(came(&steps[2]), "cache");
    for step in &steps {
        assert!(step["peak_rss_mib"].as_u64().unwrap() > 0, "{step}");
    }
}

/// The commands of docs/performance.md, as they stand but for sizes.
#[test]
fn commands_that_the_document_shows_run() {
    let place = Place::new();
    let text = document("docs/performance.md");
    let shown = text.split('`').skip(1).step_by(2);
    let shown: Vec<&str> = shown
        .filter(|code| code.starts_with("tally bench"))
        .collect();
    assert!(shown.len() >= 4, "{shown:?}");
    for line in shown {
        let mut small = format!("{line} ");
        for (long, short) in [
            ("--session", " 300"),
            ("--batch", " 64"),
            ("--repeats", " 1"),
        ] {
            match small.split_once(long) {
                Some((before, after)) => {
                    let after = after.trim_start().trim_start_matches(char::is_numeric);
                    small = format!("{before}{long}{short}{after}");
                }
                None if long == "--session" => {}
                None => small = format!("{small}{long}{short} "),
            }
        }
        let ended = place.run(&small);
        assert_eq!(ended.code, 0, "{line}: {}", ended.err);
        assert!(ended.out.contains("evaluate") || ended.out.contains("multiply"));
    }
    for stage in ["prove", "verify", "evaluate"] {
        assert!(text.contains(&format!("`{stage}`")), "{stage}");
    }
}
