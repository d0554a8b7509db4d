//! What makes or changes a home dies: a home is whole or is none, a peer is there or is not.

use std::{collections::BTreeMap, fs, path::Path};

use tallystick_tests::{
    faults::{Event, Fault, Faults, kills, one_in},
    place::Place,
    running::Running,
};

use crate::{Scene, try_all};

const INIT: &str = "tallyd init fresh --name fresh --dev-ca --listen 127.0.0.1:0 --json";

fn run(place: &Place, line: &str, prepare: impl FnOnce(&mut std::process::Command)) -> i32 {
    let mut command = place.command(line);
    prepare(&mut command);
    Running::of(command, line).end().code
}

/// All files below a folder, with what they hold.
fn content(folder: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(content(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

/// A home is made in a folder that is not there, or is there and empty (a mounted volume).
fn init(mounted: bool, event: &Event, fault: Fault) -> bool {
    let place = Place::new();
    let home = place.path("fresh");
    if mounted {
        fs::create_dir(&home).unwrap();
    }
    let faults = Faults::new(place.path("init.events")).unwrap();
    let code = run(&place, INIT, |command| faults.arm(command, event, fault));
    assert_eq!(code, if faults.fired() { -1 } else { 0 });

    let is_home = home.join("VERSION").exists();
    if is_home {
        // It is whole, and no second one is made over it.
        let before = content(&home);
        let ended = place.run(INIT);
        assert_eq!(ended.code, 2, "{}", ended.err);
        assert!(ended.err.contains("is a home already"), "{}", ended.err);
        assert_eq!(content(&home), before);
    } else if mounted && fs::read_dir(&home).unwrap().next().is_some() {
        // Says what is to be done, and does it then.
        let before = content(&home);
        let ended = place.run(INIT);
        assert_eq!(ended.code, 2, "{}", ended.err);
        assert!(ended.err.contains("empty this one first"), "{}", ended.err);
        assert_eq!(content(&home), before);
        fs::remove_dir_all(&home).unwrap();
        fs::create_dir(&home).unwrap();
        place.does(INIT.trim_end_matches(" --json"));
    } else {
        place.does(INIT.trim_end_matches(" --json"));
    }
    place.does("tallyd check --home fresh");
    faults.fired()
}

fn recorded(mounted: bool) -> Option<(Place, Faults)> {
    let place = Place::new();
    if mounted {
        fs::create_dir(place.path("fresh")).unwrap();
    }
    let faults = Faults::new(place.path("init.events"))?;
    assert_eq!(run(&place, INIT, |command| faults.record(command)), 0);
    Some((place, faults))
}

#[test]
fn a_home_that_is_not_finished_is_none() {
    let Some((_place, faults)) = recorded(false) else {
        return;
    };
    let cases = one_in(3, 0, kills(faults.chosen()));
    try_all("init", cases, |event, fault| init(false, event, fault));
}

#[test]
fn a_home_on_a_volume_that_is_not_finished_is_none() {
    let Some((_place, faults)) = recorded(true) else {
        return;
    };
    let cases = one_in(3, 1, kills(faults.chosen()));
    try_all("init in a folder", cases, |event, fault| {
        init(true, event, fault)
    });
}

/// Adds a peer that is not known yet, or revokes one that is.
fn peer(line: &str, revoked: bool, event: &Event, fault: Fault) -> bool {
    let scene = Scene::new();
    let place = &scene.place;
    let faults = scene.faults("peer").unwrap();
    let code = run(place, line, |command| faults.arm(command, event, fault));
    assert_eq!(code, if faults.fired() { -1 } else { 0 });
    place.does("tallyd check --home holder");
    // It may have died after it was done; the same again is no harm.
    let ended = place.run(line);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let known = place.json("tallyd peer list --home holder");
    let known = known["peers"].as_array().unwrap();
    let name = if revoked { "asker" } else { "third" };
    let of_name: Vec<_> = known.iter().filter(|peer| peer["name"] == name).collect();
    assert_eq!(of_name.len(), 1, "{known:?}");
    assert_eq!(of_name[0]["revoked_ms"].is_i64(), revoked, "{known:?}");
    faults.fired()
}

#[test]
fn a_peer_is_added_or_revoked_whole() {
    for (line, revoked) in [
        ("tallyd peer add third.peer --home holder", false),
        ("tallyd peer revoke asker --home holder", true),
    ] {
        let scene = Scene::new();
        let Some(faults) = scene.faults("peer") else {
            return;
        };
        let code = run(&scene.place, line, |command| faults.record(command));
        assert_eq!(code, 0);
        let cases = one_in(3, revoked.into(), kills(faults.chosen()));
        try_all(line, cases, |event, fault| {
            peer(line, revoked, event, fault)
        });
    }
}
