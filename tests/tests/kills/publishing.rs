//! A publication dies: what is offered is wholly the old list or wholly the new one.

use std::sync::atomic::{AtomicUsize, Ordering};

use tallystick_agency::store::Store;
use tallystick_protocol::statements::Hex;
use tallystick_tests::{
    faults::{Event, Fault, Faults, kills, one_in},
    running::Running,
};

use crate::{Scene, THEIR_KEY, session, try_all};

const PUBLISH: &str =
    "tallyd collection publish watchlist --home holder --input longer.csv --label case";
const ROTATE: &str = "tallyd epoch rotate watchlist --home holder --input longer.csv";
const FIRST: &str =
    "tallyd collection publish second --home holder --input longer.csv --label case";

fn recorded(scene: &Scene, line: &str) -> Option<Faults> {
    let faults = scene.faults("publish")?;
    let mut command = scene.place.command(line);
    faults.record(&mut command);
    let ended = Running::of(command, line).end();
    assert_eq!(ended.code, 0, "{}", ended.err);
    Some(faults)
}

fn dies(scene: &Scene, line: &str, event: &Event, fault: Fault) -> Faults {
    let faults = scene.faults("publish").unwrap();
    let mut command = scene.place.command(line);
    faults.arm(&mut command, event, fault);
    let ended = Running::of(command, line).end();
    assert_eq!(
        ended.code,
        if faults.fired() { -1 } else { 0 },
        "{}",
        ended.err
    );
    faults
}

/// What is in force: epoch and digest.
fn in_force(scene: &Scene) -> (u64, String) {
    scene.stored("holder", async |store| {
        let known = store.collection("watchlist").await.unwrap().unwrap();
        (known.epoch, Hex(known.snapshot_digest.unwrap()).to_string())
    })
}

/// The epochs whose keys are there.
fn seeds(scene: &Scene) -> Vec<u64> {
    let names = scene.names("holder/keys");
    let seeds = names.iter().filter_map(|name| {
        let epoch = name
            .strip_prefix("oprf.watchlist.")?
            .strip_suffix(".sealed")?;
        epoch.parse().ok()
    });
    seeds.collect()
}

/// A new list for a collection that is offered already.
fn again(line: &str, event: &Event, fault: Fault) -> bool {
    let scene = Scene::new();
    let (_, old) = in_force(&scene);
    let faults = dies(&scene, line, event, fault);
    let (epoch, digest) = in_force(&scene);
    scene.place.does("tallyd check --home holder");

    // A peer sees one list, whole.
    let (serving, address) = scene.serving();
    let report = scene.ask(address, |_| {});
    session(&report);
    let theirs = if digest == old {
        "watchlist.csv"
    } else {
        "longer.csv"
    };
    scene.matches_are_right(theirs);
    let current = seeds(&scene).iter().all(|seed| *seed >= epoch);
    assert!(
        current,
        "keys of an epoch that is over: {:?}",
        seeds(&scene)
    );
    drop(serving);

    // The same command again.
    scene.place.does(line);
    let (last, digest) = in_force(&scene);
    assert!(last >= epoch && digest != old);
    scene.place.does("tallyd check --home holder");
    let names = scene.names("holder/collections/watchlist");
    assert!(names.contains(&format!("{digest}.snapshot")));
    // Beside the snapshots, what the one in force needs for the next delta, and its own.
    let count = |ending| names.iter().filter(|name| name.ends_with(ending)).count();
    let [snapshots, chains, deltas] = [".snapshot", ".chain", ".delta"].map(count);
    assert!(snapshots <= 2 && chains == 1 && deltas <= 1, "{names:?}");
    assert_eq!(snapshots + chains + deltas, names.len(), "{names:?}");
    assert!(!seeds(&scene).iter().any(|seed| *seed < last));
    faults.fired()
}

/// A collection that is not offered yet.
fn first(event: &Event, fault: Fault) -> bool {
    let scene = Scene::new();
    let line = format!("{FIRST} {THEIR_KEY}");
    let faults = dies(&scene, &line, event, fault);
    scene.place.does("tallyd check --home holder");
    let offered = scene.place.json("tallyd collection list --home holder");
    let names: Vec<&str> = offered["collections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(
        names == ["watchlist"] || names == ["second", "watchlist"],
        "{names:?}"
    );
    let found = |scene: &Scene| {
        let said = scene.place.json("tallyd check --home holder");
        let checks = said["checks"].as_array().unwrap().clone();
        checks
            .into_iter()
            .find(|one| one["name"] == "collection second")
            .map(|one| one["code"].as_str().unwrap().to_owned())
    };
    let began = scene
        .names("holder/collections")
        .contains(&"second".to_owned());
    if names.len() == 1 && began {
        assert_eq!(found(&scene).as_deref(), Some("unfinished"));
        // Every other time it is taken off, and not gone on with.
        static TURN: AtomicUsize = AtomicUsize::new(0);
        if TURN.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            scene
                .place
                .does("tallyd collection remove second --home holder");
            assert_eq!(found(&scene), None);
            let left = |name: &String| name.contains("second") && !name.ends_with(".lock");
            for folder in ["holder/keys", "holder/collections"] {
                assert!(!scene.names(folder).iter().any(left), "{folder}");
            }
        }
    }
    scene.place.does(&line);
    scene.place.does("tallyd check --home holder");
    assert_eq!(found(&scene).as_deref(), Some("ok"));
    let hidden = |name: &String| name.starts_with('.');
    assert!(!scene.names("holder/collections/second").iter().any(hidden));
    assert!(!scene.names("holder/keys").iter().any(hidden));
    faults.fired()
}

#[test]
fn a_publication_that_dies_at_any_step_leaves_one_list_whole() {
    let scene = Scene::new();
    let line = format!("{PUBLISH} {THEIR_KEY}");
    let Some(faults) = recorded(&scene, &line) else {
        return;
    };
    let cases = one_in(2, 1, kills(faults.chosen()));
    try_all("publish", cases, |event, fault| again(&line, event, fault));
}

#[test]
fn a_rotation_that_dies_at_any_step_leaves_one_epoch_whole() {
    let scene = Scene::new();
    let Some(faults) = recorded(&scene, ROTATE) else {
        return;
    };
    let cases = one_in(2, 0, kills(faults.chosen()));
    try_all("rotate", cases, |event, fault| again(ROTATE, event, fault));
}

#[test]
fn a_first_publication_that_dies_at_any_step_is_none_or_whole() {
    let scene = Scene::new();
    let Some(faults) = recorded(&scene, &format!("{FIRST} {THEIR_KEY}")) else {
        return;
    };
    let cases = one_in(2, 1, kills(faults.chosen()));
    try_all("first publication", cases, first);
}
