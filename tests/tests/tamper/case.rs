//! One thing done to one frame, and what must come of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tallystick_agency::store::{SessionStatus, Store};
use tallystick_client::audit;
use tallystick_protocol::{
    frame::{Frame, Kind},
    statements::Hex,
};
use tallystick_tests::{
    forge::frames,
    place::{Serving, copy, object},
    running::{Running, failure},
    stage::{CHUNK, PADDED, Stage, configure},
    tamper::{Act, Change, Keys, Middle, Rule},
};
use tokio::runtime::Runtime;

/// Seconds of silence after which a receiver that must notice one gives up.
const SILENCE: u64 = 3;
/// Of how many cases one is run when not all are. No divisor of their number for a frame, so that
/// it is another one for each.
const SOME: usize = 3;
/// Matches at once: those that wait for silence need no processor.
const AT_ONCE: usize = 8;

/// How a match with one frame tampered with must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Exit 4: somebody broke the protocol.
    Broken,
    /// Exit 5: nothing more came, and in time the receiver gave up; the session goes on when the same
    /// command runs again.
    Stopped,
    /// Exit 5 as well, and at once: the line was cut.
    Cut,
    /// Exit 0, and everything is right.
    Right,
}

/// One case.
pub struct Case {
    name: String,
    rules: Vec<Rule>,
    want: Want,
}

/// A case: what is done to the nth frame of a kind.
pub fn case(kind: Kind, nth: usize, what: &str, act: Act, want: Want) -> Case {
    Case {
        name: format!("{} {nth}: {what}", kind.name()),
        rules: vec![Rule { kind, nth, act }],
        want,
    }
}

/// A case in which something is done to many frames.
pub fn all(what: &str, rules: Vec<Rule>, want: Want) -> Case {
    Case {
        name: what.to_owned(),
        rules,
        want,
    }
}

/// A case in which other bytes come.
pub fn changed(
    kind: Kind,
    nth: usize,
    what: &str,
    want: Want,
    change: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
) -> Case {
    let change: Change = Box::new(change);
    case(kind, nth, what, Act::Change(change), want)
}

/// Two agencies, a node that serves, and what passed in a session before the list was published
/// again.
pub struct Scene {
    stage: Stage,
    serving: Serving,
    keys: Arc<Keys>,
    earlier: BTreeMap<u8, Vec<Vec<u8>>>,
    runtime: Runtime,
}

impl Scene {
    pub fn new() -> Self {
        let stage = Stage::new();
        // Many at once, and sessions that are left open count for a while.
        stage.allow_many();
        // One to stand in the middle with, one to copy: nobody may have that one open.
        for home in ["middle", "fresh"] {
            copy(&stage.place.path("asker"), &stage.place.path(home));
        }
        let serving = stage.place.serve("holder");
        let runtime = Runtime::new().unwrap();
        let (holder, asker) = (stage.place.home("holder"), stage.place.home("middle"));
        let keys = runtime.block_on(Keys::new(&holder, asker, serving.address));
        let mut scene = Self {
            stage,
            serving,
            keys,
            earlier: BTreeMap::new(),
            runtime,
        };
        let middle = scene.middle(Vec::new());
        let line = scene.stage.line("asker", middle.address, "earlier.csv");
        let _ = Running::start(&scene.stage.place, &line).report();
        for frame in middle.passed() {
            scene.earlier.entry(frame[0]).or_default().push(frame);
        }
        scene.stage.publish();
        scene
    }

    /// The frame at the same place in the earlier session.
    pub fn earlier(&self, kind: Kind, nth: usize) -> Vec<u8> {
        self.earlier[&(kind as u8)][nth].clone()
    }

    fn middle(&self, rules: Vec<Rule>) -> Middle {
        self.runtime.block_on(Middle::tampering(&self.keys, rules))
    }

    /// Runs all cases if `TALLY_SWEEP` is set, else some of each kind. They are many, and most are
    /// also held by tests of the parts.
    pub fn sweep(&self, mut cases: Vec<Case>) {
        if std::env::var_os("TALLY_SWEEP").is_none() {
            let mut number = 0;
            cases.retain(|_| {
                number += 1;
                number % SOME == 0
            });
        }
        self.run(cases);
    }

    /// Runs all cases, each from a copy of the receiver's home; then looks at the sender's books.
    pub fn run(&self, cases: Vec<Case>) {
        let cases = Mutex::new(cases.into_iter().enumerate());
        let sessions = Mutex::new(Vec::new());
        let failed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    loop {
                        let next = cases.lock().unwrap().next();
                        let Some((number, case)) = next else { return };
                        let name = case.name.clone();
                        let one = || self.one(&format!("case-{number}"), case);
                        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(one)) {
                            Ok(known) => sessions.lock().unwrap().extend(known),
                            Err(_) => failed.lock().unwrap().push(name),
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().unwrap();
        assert!(failed.is_empty(), "{failed:#?}");
        self.books(&sessions.into_inner().unwrap());
    }

    /// Runs a case; gives the sessions that its receiver asked for.
    fn one(&self, home: &str, case: Case) -> Vec<String> {
        let place = &self.stage.place;
        let Case { name, rules, want } = case;
        copy(&place.path("fresh"), &place.path(home));
        if want == Want::Stopped {
            configure(&place.path(home), "idle_timeout_seconds", SILENCE);
        }
        let middle = self.middle(rules);
        let out = format!("{home}.csv");
        let line = self.stage.line(home, middle.address, &out);
        // A command that hangs fails the case.
        let mut ended = Running::start(place, &line).end();
        let mut early = 0;
        while want == Want::Stopped && ended.code == 5 && !middle.done() && early < 3 {
            // A machine so busy that the honest frames before took too long: again.
            ended = Running::start(place, &line).end();
            early += 1;
        }
        assert!(middle.done(), "{name}: the frame never came\n{}", ended.err);
        assert!(!ended.err.contains("panicked"), "{name}: {}", ended.err);
        let code = match want {
            Want::Right => 0,
            Want::Broken => 4,
            Want::Stopped | Want::Cut => 5,
        };
        assert_eq!(ended.code, code, "{name}: {}", ended.err);
        if want == Want::Right {
            self.is_right(home, &out, &ended.out);
        } else {
            assert_eq!(ended.out, "", "{name}");
            let (_, message) = failure(&ended);
            assert!(!message.is_empty(), "{name}");
            assert!(!place.path(&out).exists(), "{name}");
            // What is kept of it does not pass for the record of a session.
            for kept in self.stage.records(home, "") {
                let path = place.path(home).join("records").join(&kept);
                assert!(!kept.ends_with(".tally"), "{name}: {kept}");
                let verdict = audit::verify(&path, None, true);
                assert!(!verdict.is_ok_and(|v| v.report.verified), "{name}: {kept}");
            }
            configure(&place.path(home), "idle_timeout_seconds", 60);
            let again = Running::start(place, &line).end();
            assert_eq!(again.code, 0, "{name}, again: {}", again.err);
            self.is_right(home, &out, &again.out);
        }
        let mut sessions: Vec<String> = self
            .stage
            .records(home, "")
            .iter()
            .filter_map(|record| record.split_once('.').map(|(id, _)| id.to_owned()))
            .collect();
        sessions.dedup();
        // A session that stopped is gone on with; one that was broken is another one now.
        let most = if want == Want::Broken { 2 } else { 1 + early };
        assert!(sessions.len() <= most, "{name}: {sessions:?}");
        sessions
    }

    /// A match that came through: hits, charge, both copies of the record.
    fn is_right(&self, home: &str, out: &str, report: &str) {
        let report = object(report);
        self.stage.matches_are_right(out);
        assert_eq!(report["elements_matched"], 3);
        assert_eq!(report["charged"][0]["elements"], PADDED);
        self.stage
            .copies_agree(home, report["session"].as_str().unwrap());
    }

    /// The sender's books: each chunk was charged once, in a session that the receiver knows, and
    /// every record that was closed verifies.
    fn books(&self, sessions: &[String]) {
        let log = self.serving.log();
        assert!(!log.contains("panicked"), "{log}");
        assert!(!log.contains("\"bug\""), "{log}");
        let home = self.stage.place.home("holder");
        self.runtime.block_on(async {
            let store = home.store().await.unwrap();
            let mut charged = 0;
            let earlier = self.stage.records("asker", ".tally");
            let earlier = earlier
                .iter()
                .map(|name| name.strip_suffix(".tally").unwrap());
            for session in sessions.iter().map(String::as_str).chain(earlier) {
                let id: Hex<16> = session.parse().unwrap();
                let Some(known) = store.session(&id.0).await.unwrap() else {
                    continue;
                };
                // The store forgets the chunks of a session that is over; its record has them.
                let record = format!("holder/records/{session}.tally");
                let record = self.stage.place.path(&record);
                let chunks = match known.status {
                    SessionStatus::Open => store.chunks(&id.0).await.unwrap().len(),
                    _ => {
                        let of_receiver = |frame: &&Frame| frame.kind() == Kind::BlindedChunk;
                        frames(&record).iter().filter(of_receiver).count()
                    }
                };
                assert_eq!(known.grants[0].used, CHUNK * chunks as u64);
                assert!(known.grants[0].used <= PADDED);
                if known.status == SessionStatus::Closed {
                    assert_eq!(known.grants[0].used, PADDED);
                }
                charged += known.grants[0].used;
            }
            let all = store.charged("asker", "watchlist", 1, "document");
            assert_eq!(all.await.unwrap(), charged);
            store.close().await;
        });
        let closed = self.stage.records("holder", ".tally");
        let closed: Vec<String> = closed
            .iter()
            .map(|record| format!("holder/records/{record}"))
            .collect();
        for record in closed {
            let verdict = audit::verify(&self.stage.place.path(&record), None, true).unwrap();
            assert!(verdict.report.verified, "{record}");
        }
    }
}

/// Not for long: what comes so late does no harm.
pub const SHORTLY: Duration = Duration::from_millis(200);
/// Longer than a receiver that must notice waits.
pub const LONG: Duration = Duration::from_secs(SILENCE * 2);
