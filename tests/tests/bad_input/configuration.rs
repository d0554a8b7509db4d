//! `node.toml`: every complaint has file, line and key, and the program does not start.

use crate::{Stage, configure};

/// Replaces a line of the configuration of a copy of the asker's home, and expects the complaint of
/// both programs; then puts it back and runs.
fn complaints(cases: &[(&str, &str, &[&str])]) {
    let stage = Stage::new();
    stage.spoiled("h");
    let good = stage.place.read("h/node.toml");
    for (from, to, says) in cases {
        configure(&stage.place, "h", from, to);
        // The line on which the wrong text stands.
        let text = stage.place.read("h/node.toml");
        let wrong = to.lines().last().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let number = lines.iter().rposition(|line| *line == wrong).unwrap() + 1;
        let place = format!("h/node.toml: line {number}: ");
        for line in [stage.ask_as("h"), "tallyd serve --home h".to_owned()] {
            let message = stage.refused(&line, 2, "config", &[&place]);
            for part in *says {
                assert!(message.contains(part), "no {part:?} in: {message}");
            }
        }
        // `check` says the same, and what to do.
        let ended = stage.place.run("tallyd check --home h --json");
        assert_eq!(ended.code, 2, "{}", ended.err);
        assert!(
            ended.out.contains(&format!("line {number}: ")),
            "{}",
            ended.out
        );
        stage.place.write("h/node.toml", &good);
    }
    stage.good_as("h");
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    complaints(&[
        (
            "window_chunks = 4",
            "windows_chunks = 4",
            &["limits.windows_chunks", "did you mean window_chunks?"],
        ),
        (
            "name = \"asker\"",
            "nam = \"asker\"",
            &["no key nam;", "did you mean name?"],
        ),
        (
            "[policy]",
            "[polices]",
            &["no key polices;", "did you mean policy?"],
        ),
        (
            "window_chunks = 4",
            "window_chunks = 4\ncolour = 7",
            &[
                "limits.colour",
                "known here: max_message_bytes, chunk_elements,",
            ],
        ),
        (
            "window_chunks = 4",
            "window_chunks = 4\nwindow_chunks = 4",
            &["limits.window_chunks", "duplicate key"],
        ),
    ]);
}

#[test]
fn a_wrong_unit_is_named_with_its_line_and_key() {
    let key = "idle_timeout_seconds = 60";
    complaints(&[
        (
            key,
            "idle_timeout_minutes = 5",
            &[
                "limits.idle_timeout_minutes",
                "did you mean idle_timeout_seconds?",
                "units",
            ],
        ),
        (
            key,
            "idle_timeout_seconds = \"5m\"",
            &["limits.idle_timeout_seconds", "\"5m\"", "a whole number"],
        ),
        (
            key,
            "idle_timeout_seconds = -5",
            &["limits.idle_timeout_seconds", "-5", "a whole number"],
        ),
        (
            key,
            "idle_timeout_seconds = 0.5",
            &["limits.idle_timeout_seconds", "0.5", "a whole number"],
        ),
        (
            key,
            "idle_timeout_seconds = 0",
            &["limits.idle_timeout_seconds", "1 to 86400"],
        ),
        (
            key,
            "idle_timeout_seconds = 86401",
            &["limits.idle_timeout_seconds", "1 to 86400"],
        ),
        (
            key,
            "idle_timeout_seconds = 99999999999999999999",
            &["limits.idle_timeout_seconds", "a whole number"],
        ),
        (
            key,
            "idle_timeout_seconds = 5 m",
            &["limits.idle_timeout_seconds"],
        ),
        (
            "clock_skew_warn_seconds = 2",
            "clock_skew_warn_seconds = 31",
            &["policy.clock_skew_warn_seconds", "1 to 30"],
        ),
        (
            "name = \"asker\"",
            "name = \"Asker\"",
            &["name: ", "a-z, 0-9 and hyphen"],
        ),
        (
            "format = \"json\"",
            "format = \"xml\"",
            &["log.format", "pretty"],
        ),
    ]);
}

/// A secret under a key that does not exist is not repeated on a terminal or in a log.
#[test]
fn a_passphrase_in_the_configuration_is_not_shown() {
    let stage = Stage::new();
    stage.spoiled("h");
    let name = "name = \"asker\"";
    configure(
        &stage.place,
        "h",
        name,
        &format!("{name}\npassphrase = \"ZZQQ words\""),
    );
    // `ZZQQ` is one of the values that no message may hold.
    let says = ["no key passphrase;", "did you mean passphrase_file?"];
    stage.refused(&stage.ask_as("h"), 2, "config", &says);
    stage.refused("tallyd serve --home h", 2, "config", &says);
    configure(
        &stage.place,
        "h",
        "passphrase = \"ZZQQ words\"",
        "passphrase = \"ZZQQ",
    );
    stage.refused(&stage.ask_as("h"), 2, "config", &["h/node.toml: line "]);
}

#[test]
fn a_configuration_that_is_no_text_or_not_there_is_named() {
    let stage = Stage::new();
    stage.spoiled("h");
    let file = stage.place.path("h/node.toml");
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, [&good[..], b"# \xff\n"].concat()).unwrap();
    let says = ["h/node.toml", "UTF-8"];
    stage.refused(&stage.ask_as("h"), 2, "io", &says);
    std::fs::remove_file(&file).unwrap();
    stage.refused(
        &stage.ask_as("h"),
        2,
        "io",
        &["h/node.toml", "check the path"],
    );
    std::fs::write(&file, good).unwrap();
    stage.good_as("h");
}
