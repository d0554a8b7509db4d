//! A side of a session dies and comes back; the same command again goes on.

use tallystick_tests::faults::{Event, Fault, Faults, kills};

use crate::{Scene, session, try_all};

/// A whole session of which one side writes down its events; gives those of the node, then those of
/// the command.
fn recorded(scene: &Scene) -> Option<(Faults, Faults)> {
    let (node, command) = (scene.faults("node")?, scene.faults("command")?);
    let (serving, address) = scene.serve(|serve| node.record(serve));
    let ended = scene.ask(address.unwrap(), |ask| command.record(ask));
    assert_eq!(ended.code, 0, "{}", ended.err);
    serving.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(serving.end().code, 0);
    Some((node, command))
}

/// The node dies at a step, and is started again.
fn sender(event: &Event, fault: Fault) -> bool {
    let scene = Scene::new();
    let faults = scene.faults("node").unwrap();
    let (serving, address) = scene.serve(|serve| faults.arm(serve, event, fault));
    // It may die before it listens.
    let first = address.map(|address| scene.ask(address, |_| {}));
    if !faults.fired() {
        serving.signal(nix::sys::signal::Signal::SIGTERM);
    }
    let code = serving.end().code;
    assert_eq!(code, if faults.fired() { -1 } else { 0 });
    if let Some(first) = &first {
        let good = [0, 5].contains(&first.code);
        assert!(good, "{}\n{}", first.code, first.err);
        // Not reached: it died in the handshake.
        let next = ["run the same command again", "check that its node runs"];
        let says = next.iter().any(|next| first.err.contains(next));
        assert!(first.code == 0 || says, "{}", first.err);
    }
    let before = scene.chunks();
    let (_serving, address) = scene.serving();
    let session = match first {
        Some(first) if first.code == 0 => session(&first),
        _ => scene.ask_again(address),
    };
    scene.all_is_well(&session, &before);
    faults.fired()
}

/// The asking command dies at a step, and is given again.
fn receiver(event: &Event, fault: Fault) -> bool {
    let scene = Scene::new();
    let faults = scene.faults("command").unwrap();
    let (_serving, address) = scene.serving();
    let first = scene.ask(address, |ask| faults.arm(ask, event, fault));
    assert_eq!(
        first.code,
        if faults.fired() { -1 } else { 0 },
        "{}",
        first.err
    );
    let before = scene.chunks();
    let session = match first.code {
        0 => session(&first),
        _ => scene.ask_again(address),
    };
    scene.all_is_well(&session, &before);
    faults.fired()
}

#[test]
fn a_sender_that_dies_at_any_step_goes_on() {
    let scene = Scene::new();
    let Some((node, _)) = recorded(&scene) else {
        return;
    };
    try_all("sender", kills(node.chosen()), sender);
}

/// What the record had of the session and the disk had not is gone. The receiver has some of it: the
/// answers that it gets again, and those that it does not ask for, must be the same to the byte.
#[test]
fn a_sender_whose_machine_dies_at_any_step_gives_the_same_answers() {
    let scene = Scene::new();
    let Some((node, _)) = recorded(&scene) else {
        return;
    };
    // Where a session is under way: nothing else is lost.
    let under_way = |event: &Event| {
        ["records/", "state.db", "socket"]
            .iter()
            .any(|part| event.label.contains(part))
    };
    let events = node.chosen().into_iter().filter(under_way);
    let cases = events.map(|event| (event, Fault::Lose));
    try_all("sender's machine", cases.collect(), sender);
}

#[test]
fn a_receiver_that_dies_at_any_step_goes_on() {
    let scene = Scene::new();
    let Some((_, command)) = recorded(&scene) else {
        return;
    };
    try_all("receiver", kills(command.chosen()), receiver);
}
