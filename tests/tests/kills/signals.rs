//! Signals at any flight, and a peer that vanishes without a word.

use std::{
    fs,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tallystick_agency::process::is_ignored;
use tallystick_tests::{
    faults::{Event, Fault, Faults},
    running::wait_for,
};

use crate::{Scene, session, try_all};

/// What is waited at most where a second or two are configured: machines are slow at times.
const SOON: Duration = Duration::from_secs(20);

/// Every flight with one signal after the other.
fn flights(faults: &Faults, signals: &[Signal]) -> Vec<(Event, Fault)> {
    let every = std::env::var_os("TALLY_KILL_EVERY").is_some();
    let sends = faults.count("send socket");
    assert!(sends > 12, "{sends} flights");
    let step = if every { 1 } else { 6 };
    // Programs take no notice of what those who run the tests take no notice of (`nohup`).
    let noticed = |signal: &Signal| !is_ignored(*signal);
    let signals: Vec<Signal> = signals.iter().copied().filter(noticed).collect();
    let events = (1..=sends).step_by(step).enumerate();
    let case = |(turn, number): (usize, u32)| {
        let event = Event {
            label: "send socket".to_owned(),
            number,
        };
        (event, Fault::Signal(signals[turn % signals.len()] as i32))
    };
    events.map(case).collect()
}

fn command_flights(signals: &[Signal]) -> Option<Vec<(Event, Fault)>> {
    let scene = Scene::new();
    let faults = scene.faults("command")?;
    let (_serving, address) = scene.serving();
    session(&scene.ask(address, |ask| faults.record(ask)));
    Some(flights(&faults, signals))
}

fn node_flights(signals: &[Signal]) -> Option<Vec<(Event, Fault)>> {
    let scene = Scene::new();
    let faults = scene.faults("node")?;
    let (_serving, address) = scene.serve(|serve| faults.record(serve));
    session(&scene.ask(address.unwrap(), |_| {}));
    Some(flights(&faults, signals))
}

const ENDING: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

#[test]
fn a_receiver_that_is_told_to_end_at_any_flight_says_how_to_go_on() {
    let Some(cases) = command_flights(&ENDING) else {
        return;
    };
    try_all("signals to the receiver", cases, |event, fault| {
        let scene = Scene::new();
        let faults = scene.faults("command").unwrap();
        let (_serving, address) = scene.serving();
        let first = scene.ask(address, |ask| faults.arm(ask, event, fault));
        let before = scene.chunks();
        let session = match first.code {
            // At the last flights all that is left to do may be done before the signal is seen.
            0 => session(&first),
            _ => {
                assert_eq!(first.code, 130, "{}", first.err);
                assert!(
                    first.err.contains("run the same command again"),
                    "{}",
                    first.err
                );
                // A file under a temporary name goes with the next output, if a busy machine left
                // no time to remove it.
                let left = scene.names("results");
                let whole = left.iter().find(|name| !name.ends_with(".partial"));
                assert_eq!(whole, None);
                scene.ask_again(address)
            }
        };
        scene.all_is_well(&session, &before);
        faults.fired()
    });
}

#[test]
fn a_sender_that_is_told_to_end_at_any_flight_ends_cleanly() {
    let Some(cases) = node_flights(&ENDING) else {
        return;
    };
    try_all("signals to the sender", cases, |event, fault| {
        let scene = Scene::new();
        let faults = scene.faults("node").unwrap();
        let (serving, address) = scene.serve(|serve| faults.arm(serve, event, fault));
        let first = scene.ask(address.unwrap(), |_| {});
        if !faults.fired() {
            serving.signal(Signal::SIGTERM);
        }
        let ended = serving.end();
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(
            ended.err.contains("\"message\":\"stopped\""),
            "{}",
            ended.err
        );
        let before = scene.chunks();
        let (_serving, address) = scene.serving();
        let session = match first.code {
            // A session under way is ended in peace.
            0 => session(&first),
            code => {
                assert!([3, 5].contains(&code), "{}", first.err);
                // Not reached: it was told in the handshake.
                let next = ["run the same command again", "check that its node runs"];
                let says = next.iter().any(|next| first.err.contains(next));
                assert!(says, "{}", first.err);
                scene.ask_again(address)
            }
        };
        scene.all_is_well(&session, &before);
        faults.fired()
    });
}

/// Under `nohup` a hang-up is no reason to end.
#[test]
fn a_hang_up_that_is_ignored_stays_ignored() {
    let scene = Scene::new();
    let (serving, address) = scene.serve(|serve| {
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
            .arg(serve.get_program());
        shell
            .args(serve.get_args())
            .current_dir(scene.place.path(""));
        for (name, value) in serve.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        *serve = shell;
    });
    serving.signal(Signal::SIGHUP);
    let session = session(&scene.ask(address.unwrap(), |_| {}));
    scene.all_is_well(&session, &scene.chunks());
    serving.signal(Signal::SIGTERM);
    assert_eq!(serving.end().code, 0);
}

/// Has both sides wait for a second or two only.
fn impatient(scene: &Scene) {
    for home in ["holder", "asker"] {
        let config = scene.place.path(home).join("node.toml");
        let text = fs::read_to_string(&config).unwrap();
        let short = text.replace("idle_timeout_seconds = 60", "idle_timeout_seconds = 2");
        assert_ne!(short, text);
        fs::write(config, short).unwrap();
    }
}

/// The node stands still, as if its machine had lost power: no end of the connection arrives.
#[test]
fn a_sender_that_vanishes_at_any_flight_is_noticed_in_time() {
    let Some(cases) = node_flights(&[Signal::SIGSTOP]) else {
        return;
    };
    try_all("a sender that vanishes", cases, |event, fault| {
        let scene = Scene::new();
        impatient(&scene);
        let faults = scene.faults("node").unwrap();
        let (serving, address) = scene.serve(|serve| faults.arm(serve, event, fault));
        let address = address.unwrap();
        let started = Instant::now();
        let first = scene.ask(address, |_| {});
        let took = started.elapsed();
        let session = match first.code {
            0 => session(&first),
            _ => {
                assert_eq!(first.code, 5, "{}", first.err);
                assert!(took < SOON, "{took:?}: {}", first.err);
                let says = ["said nothing for 2 s", "cannot reach holder"];
                assert!(
                    says.iter().any(|said| first.err.contains(said)),
                    "{}",
                    first.err
                );
                let charged = first.err.contains("charged") || first.err.contains("cannot reach");
                assert!(charged, "{}", first.err);
                // Back again, as if only the network had been away.
                serving.signal(Signal::SIGCONT);
                scene.ask_again(address)
            }
        };
        serving.signal(Signal::SIGCONT);
        scene.all_is_well(&session, &scene.chunks());
        faults.fired()
    });
}

#[test]
fn a_receiver_that_vanishes_is_noticed_in_time() {
    let scene = Scene::new();
    let Some(faults) = scene.faults("command") else {
        return;
    };
    let (_serving, address) = scene.serving();
    session(&scene.ask(address, |ask| faults.record(ask)));
    // The third record of the own chunks: the session is under way.
    let event = Event {
        label: "write records/*.part".to_owned(),
        number: 5,
    };
    let scene = Scene::new();
    impatient(&scene);
    let faults = scene.faults("command").unwrap();
    let (serving, address) = scene.serving();
    let line = Scene::line(address, "");
    fs::create_dir(scene.place.path("results")).unwrap();
    let mut command = scene.place.command(&line);
    faults.arm(&mut command, &event, Fault::Signal(Signal::SIGSTOP as i32));
    let stopped = tallystick_tests::running::Running::of(command, &line);
    wait_for("the command to stand still", || {
        faults.fired().then_some(())
    });
    let since = Instant::now();
    wait_for("the node to notice", || {
        let log = serving.said();
        (log.contains("nothing came for 2 s") || log.contains("nothing was taken for 2 s"))
            .then_some(())
    });
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    // Its record stays open: it may come back.
    let before = scene.chunks();
    assert!(!before.is_empty());
    stopped.signal(Signal::SIGCONT);
    let ended = stopped.end();
    let session = match ended.code {
        // All answers were on their way already.
        0 => session(&ended),
        _ => {
            assert_eq!(ended.code, 5, "{}", ended.err);
            assert!(ended.err.contains("charged"), "{}", ended.err);
            scene.ask_again(address)
        }
    };
    scene.all_is_well(&session, &before);
}
