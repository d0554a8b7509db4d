//! `tally document`: the commands of its document, and what the program says and ends with.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use tallystick_tests::{
    document::{Machines, Step, document, steps},
    programs::program,
};

const ONE: &str = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<";
const TWO: &str = "L898902C36UTO7408122F1204159ZE184226B<<<<<10";
const TODAY: [&str; 2] = ["--today", "2026-05-01"];

/// Runs `tally document` in a folder, with this on its standard input.
fn tally(folder: &Path, words: &[&str], input: &str) -> Output {
    let mut child = Command::new(program("tally"))
        .arg("document")
        .args(words)
        .current_dir(folder)
        .env_remove("TALLY_HOME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it read all.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// The exit code and the object of `check --json` with these words.
fn check(words: &[&str], input: &str) -> (i32, serde_json::Value) {
    let all = [&["check", "--json"], &TODAY[..], words].concat();
    let output = tally(Path::new("."), &all, input);
    let said = String::from_utf8(output.stdout).unwrap();
    let object = serde_json::from_str(&said).unwrap_or(serde_json::Value::Null);
    (output.status.code().unwrap(), object)
}

fn codes(object: &serde_json::Value) -> Vec<&str> {
    let results = object["results"].as_array().unwrap();
    let findings = results
        .iter()
        .flat_map(|r| r["findings"].as_array().unwrap());
    let counted = findings.filter(|f| f["severity"] != "note");
    counted.map(|f| f["code"].as_str().unwrap()).collect()
}

#[test]
fn the_commands_of_the_document_work_as_they_are_written() {
    let mut machines = Machines::new();
    let (mut blocks, mut said) = (0, String::new());
    let text = document("docs/documents.md");
    for step in steps(&text) {
        assert!(matches!(step, Step::Block(..)));
        blocks += 1;
        said += &machines.step(&step);
    }
    assert!(blocks >= 5, "{blocks}");
    for expected in [
        "line 2, 6: reads O, may be 0",
        "[number-check-digit]",
        "[number-length]",
        "[birth-date-day]",
        "documents 3: 2 clean, 1 with findings, 0 unreadable",
        "number,state\nX0098,UTO\nX0099,UTO\n",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    // What it shows of the report.
    let (_, shown) = text.split_once("```text\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let all: Vec<String> = said.lines().map(words).collect();
    for line in shown.lines() {
        let want = words(line.split('…').next().unwrap());
        assert!(
            all.iter().any(|line| line.starts_with(&want)),
            "{want}\n{said}"
        );
    }
    let stolen = fs::read_to_string(machines.folder("X").join("stolen.csv")).unwrap();
    assert_eq!(stolen.lines().count(), 1 + 6);
}

#[test]
fn the_object_names_the_rule_the_misread_and_what_cannot_be_seen() {
    let (code, object) = check(&["--mrz", ONE, &TWO.replace("902", "9O2")], "");
    assert_eq!(code, 1);
    assert_eq!(object["schema"], "tally.document-check/1");
    assert_eq!(
        codes(&object),
        ["number-check-digit", "composite-check-digit"]
    );
    let document = &object["results"][0];
    assert_eq!(
        (&document["kind"], &document["verdict"]),
        (&"TD3".into(), &"findings".into())
    );
    let number = document["findings"].as_array().unwrap().iter();
    let number = number
        .into_iter()
        .find(|f| f["code"] == "number-check-digit")
        .unwrap();
    assert_eq!(number["reference"], "Doc 9303-3, 4.9");
    let likely = &number["likely"][0];
    assert_eq!((&likely["from"], &likely["to"]), (&"O".into(), &"0".into()));
    assert_eq!((&likely["line"], &likely["column"]), (&2.into(), &6.into()));
    let unseeable = &document["unseeable"];
    let uncovered = ["type", "issuer", "name", "nationality", "sex"];
    assert_eq!(unseeable["uncovered"], serde_json::json!(uncovered));
    let first = unseeable["cells"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["line"] == 2)
        .unwrap();
    assert_eq!(
        (&first["field"], &first["others"]),
        (&"number".into(), &"1BV".into())
    );
}

#[test]
fn exit_codes_tell_findings_from_none_and_from_what_is_no_zone() {
    let clean = format!("{ONE}\n{TWO}\n");
    let wrong = clean.replace("<10", "<11");
    let short = clean.replace("<10", "<1");
    let foreign = clean.replace("ANNA", "ÄNNA");
    for (text, code, found) in [
        (&clean, 0, &[][..]),
        (&clean.replace('\n', ""), 0, &[]),
        (&clean.to_lowercase(), 0, &[]),
        (&wrong, 1, &["composite-check-digit"]),
        (&short, 1, &["mrz-line-length"]),
        (&foreign, 1, &["mrz-character"]),
        (&format!("nothing\n\n{clean}"), 2, &["mrz-shape"]),
        (
            &format!("nothing\n\n{wrong}"),
            1,
            &["mrz-shape", "composite-check-digit"],
        ),
    ] {
        let (ended, object) = check(&["--file", "-"], text);
        assert_eq!((ended, &codes(&object)[..]), (code, found), "{text}");
        let number = |name: &str| object[name].as_u64().unwrap();
        let sum = number("clean") + number("with_findings") + number("unreadable");
        assert_eq!(number("documents"), sum);
    }
    for text in ["", "\n\n", "nothing", "nothing\n\nat all"] {
        let (ended, object) = check(&["--file", "-"], text);
        assert_eq!((ended, object.is_null()), (2, true), "{text}");
    }
    for words in [
        &["--mrz", "P<UTO"][..],
        &["--mrz", ""],
        &[],
        &["--file", "no-such-file"],
    ] {
        assert_eq!(check(words, "").0, 2, "{words:?}");
    }
    for words in [
        &["--kind", "TD9"][..],
        &["--file", "-", "--number", "1"],
        &["--today", "today"],
    ] {
        let output = tally(Path::new("."), &[&["check"], words].concat(), "");
        assert_eq!(output.status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn errors_and_logs_hold_no_part_of_a_document() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("there.csv"), "kept").unwrap();
    let series = ["series", "--state", "UTO", "--from", "CANARY001", "--to"];
    for (words, input) in [
        (&["check", "--mrz", "CANARY001"][..], ""),
        (&["check", "--file", "-"], "CANARY001"),
        (&[&series[..], &["CANARY1"]].concat(), ""),
        (&[&series[..], &["CANARY000"]].concat(), ""),
        (&[&series[..], &["CANARY009", "--cap", "3"]].concat(), ""),
        (
            &[&series[..], &["CANARY009", "--out", "there.csv"]].concat(),
            "",
        ),
        (&[&series[..], &["CANARY009", "--json"]].concat(), ""),
    ] {
        let output = tally(dir.path(), words, input);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.starts_with("error: ") && said.contains("next: "),
            "{said}"
        );
        assert!(!said.contains("CANARY"), "{said}");
    }
    assert_eq!(
        fs::read_to_string(dir.path().join("there.csv")).unwrap(),
        "kept"
    );
}

#[test]
fn a_series_is_a_table_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let words = [
        "series", "--from", "ab 098", "--to", "AB101", "--state", "d", "--out", "s.csv",
    ];
    assert!(tally(dir.path(), &words, "").status.success());
    let path = dir.path().join("s.csv");
    let table = fs::read_to_string(&path).unwrap();
    assert_eq!(
        table,
        "number,state\nAB098,DEU\nAB099,DEU\nAB100,DEU\nAB101,DEU\n"
    );
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(tally(dir.path(), &words, "").status.code(), Some(2));
    assert!(
        tally(dir.path(), &[&words[..], &["--force"]].concat(), "")
            .status
            .success()
    );
    let output = tally(dir.path(), &words[..7], "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), table);
}
