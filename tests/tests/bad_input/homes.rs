//! Passphrases, modes, and homes of newer programs.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use tallystick_tests::{outside::absent, place::mode};

use crate::{Stage, refused};

/// The home `h` cannot be opened, by either program.
fn closed(stage: &Stage, flags: &str, code: &str, says: &[&str]) {
    for line in [stage.ask_as("h"), "tallyd serve --home h".to_owned()] {
        stage.refused(&format!("{line} {flags}"), 2, code, says);
    }
}

fn set_mode(stage: &Stage, name: &str, mode: u32) {
    fs::set_permissions(stage.place.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

/// With a copy of the asker's home.
fn stage() -> Stage {
    let stage = Stage::new();
    stage.spoiled("h");
    stage
}

#[test]
fn a_wrong_passphrase_opens_nothing() {
    let stage = stage();
    stage.place.write("other", "ZZQQ other words\n");
    let says = ["wrong passphrase", "give the passphrase of this home"];
    closed(&stage, "--passphrase-file other", "wrong-passphrase", &says);
    stage.good_as("h");
}

#[test]
fn a_passphrase_file_that_is_missing_or_empty_is_named() {
    let stage = stage();
    let says = ["read the passphrase file gone", "check the path"];
    closed(&stage, "--passphrase-file gone", "io", &says);
    let says = ["read the passphrase file asker", "directory"];
    closed(&stage, "--passphrase-file asker", "io", &says);
    stage.place.write("words", "\nZZQQ\n");
    let says = [
        "the passphrase file words is empty",
        "write the passphrase there",
    ];
    closed(&stage, "--passphrase-file words", "usage", &says);
    // None at all, and nobody to ask.
    for program in [stage.ask_as("h"), "tallyd serve --home h".to_owned()] {
        let mut command = stage.place.command(&format!("{program} --json"));
        command.env_remove("TALLY_PASSPHRASE");
        let ended = crate::run(&stage.place, command);
        let says = [
            "no passphrase",
            "--passphrase-file FILE",
            "TALLY_PASSPHRASE_FILE",
        ];
        crate::judged(&ended, &program, 2, "no-passphrase", &says);
    }
    stage.good_as("h");
}

#[test]
fn a_passphrase_file_that_others_can_reach_is_refused_in_the_home_and_warned_about_elsewhere() {
    let stage = stage();
    let words = stage.place.write("h/words", "words for tests\n");
    let line = "name = \"asker\"";
    crate::configure(
        &stage.place,
        "h",
        line,
        &format!("passphrase_file = \"words\"\n{line}"),
    );
    for open in [0o644, 0o640, 0o604] {
        set_mode(&stage, "h/words", open);
        let says = [
            &format!("h/words has mode {open:o}")[..],
            "chmod 600 'h/words'",
        ];
        closed(&stage, "", "permissions", &says);
    }
    set_mode(&stage, "h/words", 0o600);
    stage.good_as("h");
    // Elsewhere it may be a mounted secret, which the mount guards.
    fs::copy(words, stage.place.path("words")).unwrap();
    set_mode(&stage, "words", 0o644);
    let line = format!("{} --passphrase-file words", stage.ask_as("h"));
    let warned = stage.place.run(&line);
    assert_eq!(warned.code, 0, "{}", warned.err);
    assert!(
        warned.err.contains("everybody on this machine"),
        "{}",
        warned.err
    );
    assert!(warned.err.contains("chmod 600"), "{}", warned.err);
    set_mode(&stage, "words", 0o600);
    let quiet = stage.place.run(&line);
    assert!(!quiet.err.contains("everybody"), "{}", quiet.err);
}

#[test]
fn a_key_file_that_others_can_reach_is_refused_with_the_command_that_mends_it() {
    let stage = stage();
    for (name, open, want) in [
        ("h/keys/tls.sealed", 0o640, 0o600),
        ("h/keys/signing.sealed", 0o604, 0o600),
        ("h/keys/master.json", 0o660, 0o600),
        ("h/keys", 0o750, 0o700),
        ("h", 0o705, 0o700),
        ("h/state.db", 0o644, 0o600),
    ] {
        assert_eq!(mode(&stage.place.path(name)), want);
        set_mode(&stage, name, open);
        let mend = format!("chmod {want:o} '{name}'");
        let says = [&format!("{name} has mode {open:o}")[..], &mend];
        closed(&stage, "", "permissions", &says);
        // What the message says does mend it.
        let done = Command::new("/bin/sh")
            .args(["-c", &mend])
            .current_dir(stage.place.path("."))
            .status();
        assert!(done.unwrap().success());
        stage.good_as("h");
    }
}

#[test]
fn a_home_of_a_newer_program_is_refused_and_not_touched() {
    let stage = stage();
    stage.place.write("h/VERSION", "2\n");
    let says = ["h has format 2", "up to 1", "use a newer program"];
    closed(&stage, "", "newer-format", &says);
    assert_eq!(stage.place.read("h/VERSION"), "2\n");
    stage.place.write("h/VERSION", "1\n");

    // A key that only a newer program knows.
    crate::configure(&stage.place, "h", "[limits]", "[limits]\nseats_count = 5");
    let says = ["h/node.toml", "there is no key limits.seats_count"];
    closed(&stage, "", "config", &says);
    crate::configure(&stage.place, "h", "seats_count = 5\n", "");

    let master = stage.place.read("h/keys/master.json");
    stage.place.write(
        "h/keys/master.json",
        &master.replace("tallystick-master/1", "tallystick-master/2"),
    );
    let says = [
        "h/keys/master.json",
        "tallystick-master/1",
        "use a newer program",
    ];
    closed(&stage, "", "config", &says);
    stage.place.write("h/keys/master.json", &master);
    stage.good_as("h");
}

#[test]
fn a_database_of_a_newer_program_is_refused_and_not_touched() {
    let stage = stage();
    let sql = |sql: &str| {
        let script = "import sqlite3, sys\n\
            database = sqlite3.connect('h/state.db')\n\
            database.execute(sys.argv[1])\n\
            database.commit()\n\
            database.close()\n";
        let done = Command::new("python3")
            .args(["-c", script, sql])
            .current_dir(stage.place.path("."))
            .status();
        done.map(|status| assert!(status.success()))
    };
    if sql("insert into schema_migrations values (999, 0)").is_err() {
        return absent("python3");
    }
    let says = ["state.db has format 999", "use a newer program"];
    closed(&stage, "", "newer-format", &says);
    closed(&stage, "", "newer-format", &says);
    sql("delete from schema_migrations where version = 999").unwrap();
    stage.good_as("h");
}

#[test]
fn what_is_no_home_is_refused() {
    let stage = stage();
    fs::rename(stage.place.path("h/VERSION"), stage.place.path("VERSION")).unwrap();
    closed(
        &stage,
        "",
        "not-a-home",
        &["h is not a home", "tallyd init"],
    );
    fs::rename(stage.place.path("VERSION"), stage.place.path("h/VERSION")).unwrap();
    // A home is made in no folder that holds something.
    let line = "tallyd init h --name other";
    let says = ["h is a home already", "choose another folder"];
    refused(&stage.place, line, 2, "home-not-empty", &says);
    stage.good_as("h");
    fs::rename(stage.place.path("h/state.db"), stage.place.path("state.db")).unwrap();
    let says = ["h/state.db is gone", "restore it from a backup"];
    closed(&stage, "", "state-gone", &says);
    fs::rename(stage.place.path("state.db"), stage.place.path("h/state.db")).unwrap();
    stage.good_as("h");
}
