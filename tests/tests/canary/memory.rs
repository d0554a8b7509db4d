//! What is left in the memory of a program when it has done its work, and while it waits.

use tallystick_tests::{
    canary::{Canaries, Sighting, found, nothing},
    memory::{go_on, search, stop, stoppable, stopped},
    proxy::{Proxy, Way},
    running::Running,
};

use crate::{
    secrets::plant_seeds,
    stage::{HALF, Stage, ask, publish},
};

/// Runs a command to its end and looks through its memory then; `None` where that is not shown.
fn after(stage: &Stage, line: &str, canaries: impl FnOnce() -> Canaries) -> Option<Vec<Sighting>> {
    let command = stoppable(stage.place.command(line), true)?;
    let running = Running::of(command, line);
    stopped(running.id());
    let seen = search(running.id(), &canaries());
    go_on(running.id());
    let ended = running.end();
    assert_eq!(ended.code, 0, "{line}\n{}", ended.err);
    seen
}

/// What was found but for the arguments of a program, which the system keeps on its first stack.
fn without_arguments(seen: Vec<Sighting>) -> Vec<Sighting> {
    let argument = |s: &Sighting| s.what == "our grounds" && s.place.starts_with("[stack]");
    seen.into_iter().filter(|s| !argument(s)).collect()
}

/// Fails when a program holds anything after its work.
fn clean(stage: &Stage, line: &str) {
    if let Some(seen) = after(stage, line, || stage.canaries()) {
        nothing(&without_arguments(seen));
    }
}

#[test]
fn after_init_publish_check_and_rotate_memory_holds_nothing() {
    let stage = Stage::new();
    let third = "tallyd init third --name third --dev-ca --listen 127.0.0.1:0";
    let canaries = || {
        let mut canaries = stage.canaries();
        stage.plant_keys(&mut canaries, "third");
        canaries
    };
    if let Some(seen) = after(&stage, third, canaries) {
        nothing(&seen);
    }
    clean(&stage, &publish("theirs.csv"));
    clean(&stage, "tallyd check --home holder");
    // Keys that are destroyed are looked for, too.
    let before = stage.canaries();
    let rotate = "tallyd epoch rotate watchlist --home holder";
    let canaries = || {
        let mut canaries = stage.canaries();
        canaries.join(&before);
        canaries
    };
    if let Some(seen) = after(&stage, rotate, canaries) {
        nothing(&seen);
    }
}

#[test]
fn after_a_match_memory_holds_nothing_wherever_the_result_went() {
    let stage = Stage::published();
    let serving = stage.place.serve("holder");
    clean(&stage, &ask(serving.address, "ours.csv", "--out hits.csv"));
    clean(&stage, &ask(serving.address, "ours.csv", ""));
    let record = stage.record();
    clean(
        &stage,
        &format!("tally audit verify asker/records/{record}"),
    );
}

/// Also the control of the others: the same search finds what a program does hold.
#[test]
fn a_match_under_way_holds_its_seed_and_after_an_interruption_nothing() {
    let stage = Stage::published();
    let serving = stage.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    proxy.hold_when(|way, passed| way == Way::Up && passed > HALF);
    let line = ask(proxy.address, "ours.csv", "--out hits.csv");
    let Some(command) = stoppable(stage.place.command(&line), true) else {
        return;
    };
    let running = Running::of(command, &line);
    proxy.stopped();
    stop(running.id());
    let mut canaries = stage.canaries();
    assert_eq!(plant_seeds(&mut canaries, &stage.place, "asker"), 1);
    let Some(seen) = search(running.id(), &canaries) else {
        return;
    };
    found(
        &seen,
        &["seed of a session of asker", "key signing of asker"],
    );
    assert!(
        seen.iter().any(|s| s.what.starts_with("our document")),
        "{seen:?}"
    );
    go_on(running.id());
    running.signal(nix::sys::signal::Signal::SIGINT);
    stopped(running.id());
    let seen = search(running.id(), &canaries).unwrap();
    nothing(&without_arguments(seen));
    go_on(running.id());
    assert_eq!(running.end().code, 130);
}

#[test]
fn a_node_that_waits_holds_its_keys_and_no_value_and_after_its_end_nothing() {
    let stage = Stage::published();
    let line = "tallyd serve --home holder";
    let Some(command) = stoppable(stage.place.command(line), true) else {
        return;
    };
    let serving = stage.place.serve_by(command, "holder");
    stage.does(&ask(serving.address, "ours.csv", "--out hits.csv"));
    stage.does(&ask(serving.address, "ours.csv", "--out again.csv"));
    let node = serving.id();
    let canaries = stage.canaries();
    stop(node);
    let Some(seen) = search(node, &canaries) else {
        return;
    };
    go_on(node);
    // What it works with.
    let held = ["key signing of holder", "key oprf document 1 of holder"];
    found(&seen, &held);
    let needed = |s: &Sighting| {
        [
            "signing",
            "master",
            "tls",
            "oprf document 1",
            "oprf text 1",
            "oprf bytes 1",
            "audit-nonce",
        ]
        .iter()
        .any(|key| s.what == format!("key {key} of holder"))
    };
    let (_, more): (Vec<_>, Vec<_>) = seen.into_iter().partition(needed);
    nothing(&more);
    nix::sys::signal::kill(node, nix::sys::signal::Signal::SIGTERM).unwrap();
    stopped(node);
    nothing(&search(node, &canaries).unwrap());
    go_on(node);
}

/// What the system keeps of a program's start cannot be wiped without unsafe code: SECURITY.md says
/// so, and to use a file instead.
#[test]
fn words_given_by_the_environment_stay_where_the_system_put_them_and_nowhere_else() {
    let stage = Stage::new();
    let line = "tallyd check --home holder";
    let Some(mut command) = stoppable(stage.place.command(line), true) else {
        return;
    };
    command
        .env_remove("TALLY_PASSPHRASE_FILE")
        .env("TALLY_PASSPHRASE", crate::stage::WORDS);
    let running = Running::of(command, line);
    stopped(running.id());
    let Some(seen) = search(running.id(), &stage.canaries()) else {
        return;
    };
    found(&seen, &["the passphrase"]);
    let kept = |s: &Sighting| s.what == "the passphrase" && s.place.starts_with("[stack]");
    let more: Vec<Sighting> = seen.into_iter().filter(|s| !kept(s)).collect();
    nothing(&more);
    go_on(running.id());
    assert_eq!(running.end().code, 0);
}
