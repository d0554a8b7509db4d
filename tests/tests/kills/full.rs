//! No space left, from any step on: what was there stays, the message says which file and why, and the
//! same command goes on when there is space again.

use std::fs;

use nix::sys::signal::Signal;
use tallystick_tests::{
    faults::{Event, Fault, Faults, one_in},
    place::{Ended, Place},
    running::Running,
};

use crate::{Scene, THEIR_KEY, session, try_all};

/// Events of the kinds that take room.
fn filling(faults: &Faults) -> Vec<(Event, Fault)> {
    let events = faults.chosen().into_iter();
    let events = events.filter(Event::grows);
    let cases = events.map(|event| (event, Fault::Full));
    one_in(2, 0, cases.collect())
}

/// An error that says which file, why, and what to do.
fn is_clear(ended: &Ended) {
    assert_eq!(ended.code, 2, "{}", ended.err);
    let said = ended.err.to_lowercase();
    // SQLite does not say why it cannot open or enlarge its own files; the advice does.
    let mut space = ["no space left", "no storage space"].iter();
    let why = space.any(|words| said.contains(words)) && said.contains("make room")
        || said.contains("check free space and permissions of state.db");
    assert!(why, "{}", ended.err);
    let named = ended.err.contains('/') || ended.err.contains("state.db");
    assert!(named, "{}", ended.err);
}

fn receiver(event: &Event, fault: Fault) -> bool {
    let scene = Scene::new();
    let faults = scene.faults("command").unwrap();
    let (_serving, address) = scene.serving();
    let ended = scene.ask(address, |ask| faults.arm(ask, event, fault));
    let before = scene.chunks();
    let session = match ended.code {
        // Full from the last steps on: closing the database needs no room.
        0 => session(&ended),
        _ => {
            is_clear(&ended);
            assert!(
                scene.names("results").is_empty(),
                "{:?}",
                scene.names("results")
            );
            fs::remove_file(faults.full()).unwrap();
            scene.ask_again(address)
        }
    };
    scene.all_is_well(&session, &before);
    faults.fired()
}

#[test]
fn a_receiver_whose_disk_is_full_says_so_and_goes_on_later() {
    let scene = Scene::new();
    let Some(faults) = scene.faults("command") else {
        return;
    };
    let (_serving, address) = scene.serving();
    session(&scene.ask(address, |ask| faults.record(ask)));
    try_all("full disk: match", filling(&faults), receiver);
}

/// A node whose disk is full keeps running, tells its peer that it is its own fault, and goes on with
/// the session when there is space again.
fn sender(event: &Event, fault: Fault) -> bool {
    let scene = Scene::new();
    let faults = scene.faults("node").unwrap();
    let (mut serving, address) = scene.serve(|serve| faults.arm(serve, event, fault));
    let Some(address) = address else {
        is_clear(&serving.end());
        let (_serving, address) = scene.serving();
        let session = session(&scene.ask(address, |_| {}));
        scene.all_is_well(&session, &scene.chunks());
        return faults.fired();
    };
    let first = scene.ask(address, |_| {});
    assert!(!serving.ended(), "{}", serving.said());
    let before = scene.chunks();
    let session = match first.code {
        0 => session(&first),
        _ => {
            assert_eq!(first.code, 5, "{}", first.err);
            assert!(
                first.err.contains("the peer's node has a fault"),
                "{}",
                first.err
            );
            assert!(
                first.err.contains("run the same command again"),
                "{}",
                first.err
            );
            let log = serving.said().to_lowercase();
            let why = log.contains("no space left") || log.contains("check free space");
            assert!(why, "{log}");
            fs::remove_file(faults.full()).unwrap();
            scene.ask_again(address)
        }
    };
    scene.all_is_well(&session, &before);
    let _ = fs::remove_file(faults.full());
    serving.signal(Signal::SIGTERM);
    assert_eq!(serving.end().code, 0);
    faults.fired()
}

#[test]
fn a_sender_whose_disk_is_full_keeps_running_and_goes_on_later() {
    let scene = Scene::new();
    let Some(faults) = scene.faults("node") else {
        return;
    };
    let (serving, address) = scene.serve(|serve| faults.record(serve));
    session(&scene.ask(address.unwrap(), |_| {}));
    serving.signal(Signal::SIGTERM);
    assert_eq!(serving.end().code, 0);
    try_all("full disk: serve", filling(&faults), sender);
}

/// Runs a command into a full disk; then, with space, once more.
fn command(place: &Place, line: &str, event: &Event, check: impl FnOnce()) -> bool {
    let faults = Faults::new(place.path("command.events")).unwrap();
    let mut full = place.command(line);
    faults.arm(&mut full, event, Fault::Full);
    let ended = Running::of(full, line).end();
    if ended.code != 0 {
        is_clear(&ended);
        check();
        let again = place.run(line);
        assert_eq!(again.code, 0, "{}", again.err);
    }
    faults.fired()
}

fn recorded(place: &Place, line: &str) -> Option<Faults> {
    let faults = Faults::new(place.path("command.events"))?;
    let mut whole = place.command(line);
    faults.record(&mut whole);
    let ended = Running::of(whole, line).end();
    assert_eq!(ended.code, 0, "{}", ended.err);
    Some(faults)
}

#[test]
fn a_publication_without_space_leaves_the_old_list_in_force() {
    let publish = format!(
        "tallyd collection publish watchlist --home holder --input longer.csv --label case {THEIR_KEY}"
    );
    let rotate = "tallyd epoch rotate watchlist --home holder --input longer.csv";
    for line in [publish.as_str(), rotate] {
        let scene = Scene::new();
        let Some(faults) = recorded(&scene.place, line) else {
            return;
        };
        try_all(line, filling(&faults), |event, _| {
            let scene = Scene::new();
            let listed = || scene.place.json("tallyd collection list --home holder");
            let before = listed();
            let fired = command(&scene.place, line, event, || {
                assert_eq!(listed(), before);
                scene.place.does("tallyd check --home holder");
                // What was begun is gone: what takes room is given back.
                let mut names = scene.names("holder/collections/watchlist");
                names.retain(|name| !name.ends_with(".chain"));
                assert_eq!(names.len(), 1, "{names:?}");
            });
            assert_ne!(listed(), before);
            scene.place.does("tallyd check --home holder");
            fired
        });
    }
}

#[test]
fn a_home_without_space_is_not_made() {
    let line = "tallyd init fresh --name fresh --dev-ca --listen 127.0.0.1:0";
    let place = Place::new();
    let Some(faults) = recorded(&place, line) else {
        return;
    };
    try_all("full disk: init", filling(&faults), |event, _| {
        let place = Place::new();
        let fired = command(&place, line, event, || {
            let left = fs::read_dir(place.path("")).unwrap();
            let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let left: Vec<String> = left.filter(|name| !name.starts_with("command.")).collect();
            assert!(left.is_empty(), "{left:?}");
        });
        place.does("tallyd check --home fresh");
        fired
    });
}
