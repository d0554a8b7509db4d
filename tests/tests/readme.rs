//! The commands that the README shows are run as they stand; what other documents show is run by
//! other tests, or not there. `tallystick_tests::document` says how.

#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf};

use tallystick_agency::exit::Exit;
use tallystick_tests::{
    document::{Machines, Step, document, steps},
    programs::workspace,
};

#[test]
fn the_walk_through_works_as_it_is_written() {
    let mut machines = Machines::new();
    let (mut blocks, mut said) = (0, String::new());
    for step in steps(&document("README.md")) {
        if let Step::Block(words, block) = &step {
            if words == &["first"] {
                // Cargo is running this very test; what comes behind `--` is run below.
                assert!(block.starts_with("cargo "), "{block}");
                continue;
            }
            blocks += 1;
        }
        said += &machines.step(&step);
    }
    assert!(blocks > 10, "{blocks}");
    for expected in ["the copies agree", "verified", "their_case_ref", "signers"] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    assert!(!said.contains("nobody vouched"), "{said}");
    let matches = fs::read_to_string(machines.folder("A").join("matches.csv")).unwrap();
    assert_eq!(matches.lines().count(), 25 + 1);
}

#[test]
fn the_commands_about_tables_work_as_they_are_written() {
    let mut machines = Machines::new();
    let mut said = String::new();
    for step in steps(&document("docs/tables.md")) {
        said += &machines.step(&step);
    }
    for expected in [
        "their_case",
        "3,\"document=number,state\",document-number",
        "4,\"document=number,state\",document-state",
        "some.csv, line 3",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    let matches = |dir: &str| {
        let path = machines.folder("T").join(dir).join("matches.csv");
        fs::read_to_string(path).unwrap()
    };
    for dir in ["first", "second", "third"] {
        let text = matches(dir);
        assert!(text.contains("document:UTO:L898902C3"), "{dir}: {text}");
        assert_eq!(text.lines().count(), 2, "{dir}: {text}");
    }
    assert!(!machines.folder("T").join("fourth/matches.csv").exists());
}

#[test]
fn the_commands_about_matching_work_as_they_are_written() {
    let mut machines = Machines::new();
    let mut said = String::new();
    for step in steps(&document("docs/matching.md")) {
        match &step {
            // What measures is another test, or takes a machine of its own.
            Step::Block(words, block) if words == &["repeat"] => {
                assert!(block.starts_with("cargo "), "{block}");
            }
            _ => said += &machines.step(&step),
        }
    }
    assert_eq!(said.matches("phone:+442079460958").count(), 4, "{said}");
    for expected in [
        "person:one-edit:",
        "date-one-edit",
        "false hits to expect against 1000000 records",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    let matches = fs::read_to_string(machines.folder("M").join("tried/matches.csv")).unwrap();
    for row in ["Katarina", "Sean"] {
        assert!(matches.contains(row), "{matches}");
    }
}

#[test]
fn the_first_commands_are_the_two_that_are_promised() {
    let text = document("README.md");
    let first: Vec<String> = steps(&text)
        .into_iter()
        .filter_map(|step| match step {
            Step::Block(words, block) if words == ["first"] => Some(block),
            _ => None,
        })
        .collect();
    let [run, test] = &first[..] else {
        panic!("{first:?}")
    };
    let arguments = run
        .strip_prefix("cargo run --release --locked --bin tally -- ")
        .unwrap();
    assert_eq!(test, "cargo test --release --workspace --locked");
    let mut machines = Machines::new();
    let said = machines.run("X", &format!("tally {arguments}"));
    // What the README shows of it, but for what is cut and what differs from run to run.
    let (_, shown) = text.split_once("```text\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let said: Vec<Vec<String>> = said.lines().map(words).collect();
    for line in shown.lines().filter(|line| !line.contains("network")) {
        let whole = line.split('…').next().unwrap().trim_end();
        let want = words(whole);
        let found = said.iter().any(|line| line.starts_with(&want));
        assert!(found, "`tally try` does not say: {whole}");
    }
}

/// Commands in other documents must be ones that a test knows how to run.
#[test]
fn no_document_shows_a_command_that_nobody_runs() {
    let ci = document(".ci/run");
    for name in ["SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        for step in steps(&document(name)) {
            let Step::Block(words, block) = step else {
                continue;
            };
            assert_eq!(words, ["ci"], "{name}: {block}");
            for line in block.lines() {
                assert!(ci.contains(line), "{name}: .ci/run does not run: {line}");
            }
        }
    }
    // Run by tests of their own.
    let run = [
        "docs/operations.md",
        "docs/desk.md",
        "docs/documents.md",
        "docs/matching.md",
        "docs/tables.md",
    ];
    let run = run.map(|name| workspace().join(name));
    for path in documents().into_iter().filter(|path| !run.contains(path)) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(steps(&text).is_empty(), "{} shows commands", path.display());
    }
}

/// All documents below `docs`.
fn documents() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![workspace().join("docs")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 20);
    found
}

#[test]
fn links_lead_somewhere() {
    let mut all = documents();
    all.extend(["README.md", "SECURITY.md", "CONTRIBUTING.md"].map(|name| workspace().join(name)));
    for path in all {
        let text = fs::read_to_string(&path).unwrap();
        for (at, _) in text.match_indices("](") {
            let (target, _) = text[at + 2..].split_once(')').unwrap();
            if target.starts_with("https://") {
                continue;
            }
            let (name, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = match name {
                "" => path.clone(),
                name => path.parent().unwrap().join(name),
            };
            assert!(file.exists(), "{}: {target}", path.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&file).unwrap();
                let mut anchors = text
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(anchor);
                let found = anchors.any(|anchor| anchor == heading);
                assert!(found, "{}: {target}", path.display());
            }
        }
    }
}

/// What a heading is called in links.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -".contains(*c));
    kept.collect::<String>().replace(' ', "-")
}

/// The tests that SECURITY.md points at are there.
#[test]
fn security_names_tests_that_exist() {
    let text = document("SECURITY.md");
    let named = text.split('`').skip(1).step_by(2).filter(|word| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        word.bytes().all(plain) && word.matches('_').count() > 2
    });
    let named: Vec<&str> = named.collect();
    assert!(named.len() > 30, "{}", named.len());
    let mut sources = String::new();
    let mut folders: Vec<PathBuf> = ["agency", "protocol", "server", "client", "tables", "tests"]
        .map(|name| workspace().join(name))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                sources += &fs::read_to_string(path).unwrap();
            }
        }
    }
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "{name}");
    }
}

#[test]
fn exit_codes_are_those_of_the_programs() {
    let all = [
        Exit::Done,
        Exit::Findings,
        Exit::Usage,
        Exit::Refused,
        Exit::PeerFault,
        Exit::Network,
        Exit::Verification,
        Exit::Bug,
        Exit::Interrupted,
    ];
    let text = document("README.md");
    let (_, section) = text.split_once("## Exit codes\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let shown: Vec<u8> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(shown, all.map(Exit::code));
}
