//! Where the matches go.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::Stdio,
};

use nix::unistd::geteuid;
use tallystick_tests::place::Ended;

use crate::{BEFORE, BORDER, HITS, Stage, ask, gate, judged, names, wait_for};

#[test]
fn an_output_that_exists_stays_as_it_is() {
    let stage = Stage::new();
    let line = stage.ask().replace(" --force", "");
    let says = ["hits.csv", "exists already", "left as it is", "--force"];
    stage.refused(&line, 2, "output-exists", &says);
    assert_eq!(stage.place.read("hits.csv"), BEFORE);
    // What is no plain file is not replaced with --force either.
    fs::create_dir(stage.place.path("folder")).unwrap();
    symlink(stage.place.path("hits.csv"), stage.place.path("link.csv")).unwrap();
    for name in ["folder", "link.csv"] {
        let line = stage.ask().replace("hits.csv", name);
        stage.refused(&line, 2, "output-exists", &[name]);
    }
    stage.asked(&line.replace("hits.csv", "new.csv"));
    assert_eq!(stage.place.read("new.csv"), HITS);
}

#[test]
fn with_force_the_output_is_replaced_at_the_very_end() {
    let stage = Stage::new();
    let place = &stage.place;
    let line = |address: std::net::SocketAddr| {
        let line = ask("asker", &address.to_string());
        format!("{line} --json")
    };
    let still_there = || assert_eq!(place.read("hits.csv"), BEFORE);
    // A peer that goes away in the middle: the old result is still there.
    let ended = gate::through(place, None, line, still_there);
    judged(&ended, "a peer that goes", 5, "network", &["cannot reach"]);
    still_there();
    // As long as the run goes on there is the old one or the whole new one.
    let mut running = place.command(&line(stage.serving.address));
    let mut running = running.stdout(Stdio::null()).spawn().unwrap();
    let status = wait_for("the run to end", || {
        let seen = place.read("hits.csv");
        assert!(seen == BEFORE || seen == HITS, "{seen}");
        running.try_wait().unwrap()
    });
    assert!(status.success());
    assert_eq!(place.read("hits.csv"), HITS);
    let left: Vec<String> = names(place, ".");
    assert!(
        !left.iter().any(|name| name.contains("partial")),
        "{left:?}"
    );
}

#[test]
fn an_output_in_a_folder_that_is_not_there_is_refused() {
    let stage = Stage::new();
    let line = stage.ask().replace("hits.csv", "results/hits.csv");
    let says = ["results/hits.csv", "create the output", "make the folder"];
    let message = stage.refused(&line, 2, "table-io", &says);
    // Nobody knows the temporary name.
    assert!(!message.contains("partial"), "{message}");
    // Below a file there is no folder, and a name that ends like a folder's is none for a file.
    let line = stage.ask().replace("hits.csv", "border.csv/hits.csv");
    stage.refused(&line, 2, "table-io", &["border.csv/hits.csv"]);
    let line = stage.ask().replace("hits.csv", "new.csv/");
    stage.refused(&line, 2, "table-io", &["new.csv/", "name a file"]);
    stage.good();
}

#[test]
fn an_output_in_a_folder_that_takes_none_is_refused() {
    let stage = Stage::new();
    // Modes hold nobody who runs the tests as root; the kernel's own folder does.
    let folder = match geteuid().is_root() {
        true => "/sys".to_owned(),
        false => {
            let folder = stage.place.path("closed");
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
            folder.display().to_string()
        }
    };
    let line = stage
        .ask()
        .replace("hits.csv", &format!("{folder}/hits.csv"));
    let says = ["hits.csv", "create the output", "choose a folder"];
    stage.refused(&line, 2, "table-io", &says);
    stage.good();
}

/// An own column that the output needs for something else: known before anything is charged.
#[test]
fn an_output_with_two_columns_of_one_name_is_refused() {
    let stage = Stage::new();
    for column in ["tally_key", "their_name"] {
        let table = BORDER.replace("lane", column);
        let says = [column, "rename that column"];
        stage.bad_table(&table, "output-column", &says);
        // The same where the output is standard output.
        let line = stage.ask().replace("border.csv", "bad.csv");
        let line = line.replace("--out hits.csv --force", "");
        stage.refused(&line, 2, "output-column", &says);
    }
    stage.good();
}

/// Else the table would be gone with its result in its place.
#[test]
fn an_output_that_is_the_input_is_refused() {
    let stage = Stage::new();
    let place = &stage.place;
    fs::hard_link(place.path("border.csv"), place.path("same.csv")).unwrap();
    symlink("border.csv", place.path("link.csv")).unwrap();
    let whole = place.path("border.csv").display().to_string();
    for name in [
        "border.csv",
        "./asker/../border.csv",
        "same.csv",
        "link.csv",
        &whole,
    ] {
        let line = stage.ask().replace("hits.csv", name);
        let says = [name, "the table that is read", "choose another name"];
        stage.refused(&line, 2, "output-is-input", &says);
        assert_eq!(place.read("border.csv"), BORDER);
    }
    let copies = "--ours border.csv --theirs watchlist.csv --out border.csv --force --dir trial";
    let ended = place.run(&format!(
        "tally try {copies} --key document=passport,country --theirs-key document=number,state"
    ));
    assert_eq!(ended.code, 2, "{}", ended.err);
    assert_eq!(place.read("border.csv"), BORDER);
    stage.good();
}

/// `tally match … | head`: what was lost can be had without asking again.
#[test]
fn a_reader_of_standard_output_that_goes_away_loses_nothing() {
    let stage = Stage::new();
    let to_stdout = stage.ask().replace("--out hits.csv --force", "");
    let mut running = stage.place.command(&to_stdout);
    let err = stage.place.path("pipe.log");
    let mut running = running
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&err).unwrap())
        .spawn()
        .unwrap();
    drop(running.stdout.take());
    let status = wait_for("the end", || running.try_wait().unwrap());
    let ended = Ended {
        code: status.code().unwrap(),
        out: String::new(),
        err: fs::read_to_string(err).unwrap(),
    };
    assert_eq!(ended.code, 2, "{}", ended.err);
    for part in [
        "standard output",
        "roken pipe",
        "  next: the session is over and charged",
        "--out FILE",
    ] {
        assert!(ended.err.contains(part), "no {part} in {}", ended.err);
    }
    assert_eq!(stage.good()["resumed"], true);
    // The next session finds that nothing more was charged.
    assert_eq!(stage.good()["resumed"], false);
}
