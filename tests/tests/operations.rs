//! What operators are told is true: the commands of docs/operations.md run as they stand, the unit
//! starts what there is, the codes are those of the program.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, process::Command};

use tallystick_tests::{
    document::{Machines, Step, document, steps},
    outside,
    programs::{program, workspace},
};

#[test]
fn the_operators_commands_work_as_they_are_written() {
    let mut machines = Machines::new();
    let (mut blocks, mut said) = (0, String::new());
    for step in steps(&document("docs/operations.md")) {
        blocks += usize::from(matches!(step, Step::Block(..)));
        said += &machines.step(&step);
    }
    assert!(blocks > 20, "{blocks}");
    for expected in ["ready", "is held by this node", "withdrawn", "1003"] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    // Each match found the same, before and after all that was done between.
    let found = ["first", "second", "third"].map(|name| {
        let text = fs::read_to_string(machines.folder("A").join(format!("{name}.csv"))).unwrap();
        assert_eq!(text.lines().count(), 25 + 1);
        text
    });
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0], found[2]);
}

/// Lines of a unit: section, key, value.
fn unit() -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in document("docs/samples/tallyd.service").lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.strip_suffix(']').unwrap().to_owned();
        } else if !line.is_empty() && !line.starts_with('#') {
            let (key, value) = line.split_once('=').unwrap();
            lines.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    lines
}

fn value(key: &str) -> String {
    let lines = unit();
    let mut found = lines.iter().filter(|(_, known, _)| known == key);
    let (_, _, value) = found.next().unwrap_or_else(|| panic!("no {key}"));
    assert!(found.next().is_none(), "{key} twice");
    value.clone()
}

#[test]
fn the_unit_starts_what_there_is_and_closes_what_it_does_not_need() {
    let start = value("ExecStart");
    let words: Vec<&str> = start.split(' ').collect();
    assert_eq!(words[0], "/usr/local/bin/tallyd");
    // The parser takes every word of it; help instead of serving.
    let taken = Command::new(program("tallyd"))
        .args(&words[1..])
        .arg("--help")
        .output()
        .unwrap();
    assert!(taken.status.success(), "{taken:?}");
    let help = String::from_utf8(taken.stdout).unwrap();
    for flag in words.iter().filter(|word| word.starts_with("--")) {
        assert!(help.contains(flag), "{flag}");
    }
    // The credential that is loaded is the one that is read.
    let credential = value("LoadCredential");
    let (name, source) = credential.split_once(':').unwrap();
    assert_eq!(words.last().unwrap(), &format!("%d/{name}"));
    assert!(document("docs/operations.md").contains(source));
    let home = value("Environment");
    let folder = home.strip_prefix("TALLY_HOME=/var/lib/").unwrap();
    assert_eq!(folder.split('/').next().unwrap(), value("StateDirectory"));
    // It waits longer than the node drains by default.
    let template = fs::read_to_string(workspace().join("agency/src/node.template.toml")).unwrap();
    let drain = template
        .lines()
        .find_map(|line| line.strip_prefix("drain_timeout_seconds = "));
    let drain: u32 = drain.unwrap().parse().unwrap();
    assert!(value("TimeoutStopSec").parse::<u32>().unwrap() > drain);
    for (key, want) in [
        ("Type", "notify"),
        ("User", "tallyd"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("SystemCallFilter", "@system-service"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("CapabilityBoundingSet", ""),
        ("LimitCORE", "0"),
        ("UMask", "0077"),
        ("Restart", "on-failure"),
        ("StateDirectoryMode", "0700"),
    ] {
        assert_eq!(value(key), want, "{key}");
    }
}

#[test]
fn systemd_takes_the_unit_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tallyd.service");
    let tallyd = program("tallyd").display().to_string();
    let text = document("docs/samples/tallyd.service").replace("/usr/local/bin/tallyd", &tallyd);
    fs::write(&file, text).unwrap();
    let run = |arguments: &[&str]| {
        Command::new("systemd-analyze")
            .args(arguments)
            .arg(&file)
            .output()
    };
    let Ok(verified) = run(&["verify", "--man=no"]) else {
        outside::absent("systemd-analyze");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success(), "{said}");
    // An unknown key is only told about.
    assert!(!said.contains("tallyd.service"), "{said}");
    let unit = document("docs/samples/tallyd.service");
    assert!(
        unit.contains("\nLimitMEMLOCK=infinity\n"),
        "else nothing is locked"
    );
}

/// Words in quotes that stand as codes in the sources of `check`.
fn codes_of_check() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in [
        "check",
        "check_place",
        "check_peers",
        "check_records",
        "check_collection",
        "check_certificate",
    ] {
        let path = workspace().join(format!("server/src/cli/{file}.rs"));
        let text = fs::read_to_string(path).unwrap();
        for word in text.split('"').skip(1).step_by(2) {
            let plain = |b: u8| b.is_ascii_lowercase() || b == b'-';
            if word.contains('-') && word.bytes().all(plain) && !word.starts_with('-') {
                found.insert(word.to_owned());
            }
        }
    }
    found
}

#[test]
fn every_code_of_check_is_explained() {
    let text = document("docs/operations.md");
    let (_, section) = text.split_once("## What `check` finds\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let shown: BTreeSet<String> = rows
        .flat_map(|row| {
            let (first, _) = row[2..].split_once(" | ").unwrap();
            let codes = first.split('`').skip(1).step_by(2).map(str::to_owned);
            codes.collect::<Vec<_>>()
        })
        .collect();
    let mut real = codes_of_check();
    // Of one word, or made elsewhere.
    real.extend(["leftovers", "unfinished", "withdrawn", "port-in-use"].map(str::to_owned));
    // The end of the command, not a finding.
    real.remove("check-failed");
    assert_eq!(shown, real);
}

#[test]
fn lines_of_the_log_are_those_of_the_program() {
    let text = document("docs/operations.md");
    let (_, section) = text.split_once("\n## Logs\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut sources = String::new();
    for file in [
        "listen",
        "health",
        "service",
        "policy",
        "cli/serve",
        "session/mod",
        "session/chunks",
        "session/stored",
    ] {
        let path = workspace().join(format!("server/src/{file}.rs"));
        sources += &fs::read_to_string(path).unwrap();
    }
    let mut rows = 0;
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let (first, _) = row[2..].split_once(" | ").unwrap();
        for line in first.split('`').skip(1).step_by(2) {
            assert!(sources.contains(&format!("\"{line}")), "{line}");
            rows += 1;
        }
    }
    assert!(rows > 15, "{rows}");
}
