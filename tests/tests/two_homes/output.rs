//! What the commands print and write.

use std::{fs, os::unix::fs::symlink};

use tallystick_tests::place::{mode, object};

use crate::{BORDER, ask, matched, served};

const LINES: &str = "passport,country,lane,tally_type,tally_rule,tally_score,tally_key,their_name,their_case\n\
    l898902c3,UTO,1,document,exact,1.000,document:UTO:L898902C3,Anna Eriksson,C-1\n\
    l898902c3,UTO,1,document,exact,1.000,document:UTO:L898902C3,Anna Eriksson,C-3\n\
    X-123 4567,D<<,3,document,exact,1.000,document:DEU:X1234567,Bo Berg,C-2\n";

#[test]
fn the_output_is_as_promised() {
    let (place, serving) = served();
    let (report, _) = matched(&place, &serving, "hits.csv");
    assert_eq!(place.read("hits.csv"), LINES);
    assert_eq!(mode(&place.path("hits.csv")), 0o600);
    assert_eq!(place.read("border.csv"), BORDER);

    assert_eq!(report["schema"], "tally.match/1");
    assert_eq!(report["hits"], 3);
    assert_eq!(report["elements_matched"], 2);
    assert_eq!(report["ours"]["elements"], 3);
    assert_eq!(report["ours"]["elements_padded"], 16);
    assert_eq!(report["charged"][0]["elements"], 16);
    assert!(report["bytes"]["sent"].as_u64().unwrap() > 16 * 32);
    assert!(report["bytes"]["received"].as_u64().unwrap() > 16 * 32);

    // What exists stays as it is, and nothing is asked.
    let charged = report["charged"][0]["quota_after"].clone();
    place.write("hits.csv", "mine");
    assert_eq!(
        place.fails(&ask(&serving, "asker", "--out hits.csv"), 2),
        "output-exists"
    );
    assert_eq!(place.read("hits.csv"), "mine");
    let offers = place.json(&format!(
        "tally collections --home asker --peer holder --address {}",
        serving.address
    ));
    assert_eq!(offers["schema"], "tally.collections/1");
    assert_eq!(offers["collections"][0]["quota_left"][0], charged);

    // With --force it is replaced; a link is not followed and not replaced.
    place.does(&ask(&serving, "asker", "--out hits.csv --force"));
    assert_eq!(place.read("hits.csv"), LINES);
    assert_eq!(mode(&place.path("hits.csv")), 0o600);
    place.write("victim", "whole");
    symlink(place.path("victim"), place.path("link.csv")).unwrap();
    assert_eq!(
        place.fails(&ask(&serving, "asker", "--out link.csv --force"), 2),
        "output-exists"
    );
    assert_eq!(place.read("victim"), "whole");
    // Nothing else was left beside the output.
    let names = fs::read_dir(place.path(".")).unwrap();
    let partial = names.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().contains("partial")
    });
    assert_eq!(partial.count(), 0);
}

#[test]
fn stdout_holds_the_result_alone() {
    let (place, serving) = served();
    // Without --out the lines are the result; what else there is to say is on stderr.
    let ended = place.run(&ask(&serving, "asker", ""));
    assert_eq!((ended.code, ended.out.as_str()), (0, LINES));
    assert!(ended.err.contains("elements matched"), "{}", ended.err);
    let ended = place.run(&ask(&serving, "asker", "--quiet"));
    assert_eq!(
        (ended.code, ended.out.as_str(), ended.err.as_str()),
        (0, LINES, "")
    );
    // With --json and without --out there is one object and no line.
    let report = place.json(&ask(&serving, "asker", "--quiet"));
    assert_eq!(report["hits"], 3);
    assert!(report["out"].is_null());
    // With --out and without --json it is a table for people.
    let ended = place.run(&ask(&serving, "asker", "--quiet --out hits.csv"));
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(
        ended.out.contains("lines written") && !ended.out.contains("L898902C3"),
        "{}",
        ended.out
    );

    let address = serving.address;
    for (line, schema) in [
        (
            format!("tally collections --home asker --peer holder --address {address}"),
            "tally.collections/1",
        ),
        (
            "tallyd collection list --home holder".to_owned(),
            "tallyd.collection-list/1",
        ),
        (
            "tallyd peer list --home holder".to_owned(),
            "tallyd.peer-list/1",
        ),
        (
            "tally datagen --dir data --ours 3 --theirs 3 --overlap 1 --seed 1".to_owned(),
            "tally.datagen/1",
        ),
    ] {
        let ended = place.run(&format!("{line} --json"));
        assert_eq!(ended.code, 0, "{line}: {}", ended.err);
        assert_eq!(object(&ended.out)["schema"], schema);
        let ended = place.run(&line.replace("--dir data", "--dir more"));
        assert_eq!(ended.code, 0, "{line}: {}", ended.err);
        assert!(
            !ended.out.is_empty() && !ended.out.starts_with('{'),
            "{line}: {}",
            ended.out
        );
    }
    let ended = place.run("tally --version");
    assert!(
        ended.out.starts_with("tally 0.1.0 (") && ended.out.contains("kernel"),
        "{}",
        ended.out
    );
    let ended = place.run("tally completions bash");
    assert!(
        ended.code == 0 && ended.out.contains("_tally()"),
        "{}",
        ended.err
    );
}

/// No identifier of either side stands in a log, a record or anything else that is kept in clear.
#[test]
fn nothing_kept_holds_an_identifier() {
    let (place, serving) = served();
    matched(&place, &serving, "hits.csv");
    let log = serving.log();
    assert!(
        log.contains("\"granted\"") && log.contains("\"closed\""),
        "{log}"
    );
    serving.stop();
    let secrets = [
        "898902", "1234567", "0000001", "Eriksson", "ERIKSSON", "C-1", "Anna",
    ];
    let mut files = vec![(place.path("holder.log"), log.into_bytes())];
    for home in ["asker", "holder"] {
        collect(&place.path(home), &mut files);
    }
    assert!(files.len() > 20);
    for (path, bytes) in files {
        for secret in secrets {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds {secret}", path.display());
        }
    }
}

fn collect(dir: &std::path::Path, files: &mut Vec<(std::path::PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
}
