//! Either program dies at any step of its own: each write, sync, rename and flight, before it, after
//! it and in the middle of it; or its disk is full there. What stands in the end is what would have
//! stood without.
//!
//! `tests/preload/faults.c` makes every step a place where a program can fail. An ordinary run tries
//! steps of every kind, where one is like another only some. `TALLY_KILL_EVERY=1` tries every single step.

#![allow(clippy::unwrap_used)]

#[path = "kills/full.rs"]
mod full;
#[path = "kills/homes.rs"]
mod homes;
#[path = "kills/publishing.rs"]
mod publishing;
#[path = "kills/resuming.rs"]
mod resuming;
#[path = "kills/sessions.rs"]
mod sessions;
#[path = "kills/signals.rs"]
mod signals;

use std::{
    any::Any,
    collections::BTreeMap,
    fs::{self, File},
    future::Future,
    io::BufReader,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::Command,
    sync::{Arc, Mutex, Weak},
};

use rayon::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tallystick_agency::store::{Role, SqliteStore, Store};
use tallystick_protocol::{
    frame::{Frame, FrameReader, Kind},
    statements::Hex,
};
use tallystick_tests::{
    faults::{Event, Fault, Faults},
    oracle::{self, Key, Table},
    place::{self, Ended, Place},
    running::{Running, wait_for},
};

/// Own rows, each an element; padded to [`PADDED`].
const OURS: usize = 300;
/// What is sent and charged: five chunks.
const PADDED: u64 = 320;
const THEIR_KEY: &str = "--key document=number,state";
const OUR_KEY: &str = "--key document=passport,country";
/// Grounds whose salts are kept beside the record.
const CASE: &str = "--case A-1";

/// Two homes that know each other; `holder` offers a watchlist. Made once, and copied for each case;
/// gone with the last of them.
fn made() -> Arc<Place> {
    static MADE: Mutex<Weak<Place>> = Mutex::new(Weak::new());
    let mut made = MADE.lock().unwrap();
    made.upgrade().unwrap_or_else(|| {
        let place = Arc::new(make());
        *made = Arc::downgrade(&place);
        place
    })
}

fn make() -> Place {
    let place = Place::pair("holder", "asker");
    place.write("watchlist.csv", &watchlist(3));
    // Longer, so that what is sealed of it differs in length as well.
    place.write("longer.csv", &watchlist(8));
    let ours: String = (0..OURS)
        .map(|n| format!("{}{n},UTO,{n}\n", if n % 50 == 7 { "w" } else { "P" }))
        .collect();
    place.write("border.csv", &format!("passport,country,lane\n{ours}"));
    place.does(&format!(
        "tallyd collection publish watchlist --home holder --input watchlist.csv {THEIR_KEY} \
         --label case"
    ));
    place.trust("trust.json", &["holder", "asker"]);
    let config = place.path("holder").join("node.toml");
    let text = fs::read_to_string(&config).unwrap();
    let few = text.replace("chunk_elements = 16384", "chunk_elements = 64");
    assert_ne!(few, text);
    fs::write(&config, few).unwrap();
    place.init("third");
    place.does("tallyd peer export third.peer --home third");
    place
}

/// A hundred documents, of which the first `matching` hundreds meet own rows.
fn watchlist(length: usize) -> String {
    let rows: String = (0..length * 50)
        .map(|n| format!("W{n},UTO,C-{n}\n"))
        .collect();
    format!("number,state,case\n{rows}")
}

/// A scene of its own for each case.
struct Scene {
    place: Place,
    _made: Arc<Place>,
}

impl Scene {
    fn new() -> Self {
        let (place, made) = (Place::new(), made());
        for entry in fs::read_dir(made.path("")).unwrap() {
            let entry = entry.unwrap();
            let to = place.path("").join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => place::copy(&entry.path(), &to),
                false => drop(fs::copy(entry.path(), to).unwrap()),
            }
        }
        Self { place, _made: made }
    }

    /// The library, with a log of its own; `None` where there is no C compiler.
    fn faults(&self, name: &str) -> Option<Faults> {
        Faults::new(self.place.path(&format!("{name}.events")))
    }

    /// Starts a node: `None` if it ends before it listens.
    fn serve(&self, prepare: impl FnOnce(&mut Command)) -> (Running, Option<SocketAddr>) {
        let mut command = self.place.command("tallyd serve --home holder");
        prepare(&mut command);
        let mut serving = Running::of(command, "tallyd serve");
        let address = wait_for("the node to listen, or to end", || {
            let listening = |line: &str| -> Option<SocketAddr> {
                let event: Value = serde_json::from_str(line).ok()?;
                (event["message"] == "listening")
                    .then(|| event["address"].as_str()?.parse().ok())?
            };
            match serving.said().lines().find_map(listening) {
                Some(address) => Some(Some(address)),
                None => serving.ended().then_some(None),
            }
        });
        (serving, address)
    }

    /// A node without faults.
    fn serving(&self) -> (Running, SocketAddr) {
        let (serving, address) = self.serve(|_| {});
        let said = serving.said();
        (serving, address.unwrap_or_else(|| panic!("{said}")))
    }

    /// The command that asks.
    fn line(address: SocketAddr, more: &str) -> String {
        format!(
            "tally match --home asker --peer holder --address {address} --collection watchlist \
             --input border.csv {OUR_KEY} {CASE} --out results/hits.csv --json {more}"
        )
    }

    /// Asks.
    fn ask(&self, address: SocketAddr, prepare: impl FnOnce(&mut Command)) -> Ended {
        let _ = fs::create_dir(self.place.path("results"));
        let line = Self::line(address, "");
        let mut command = self.place.command(&line);
        prepare(&mut command);
        Running::of(command, &line).end()
    }

    /// Asks again with the same command, without faults; gives the session.
    fn ask_again(&self, address: SocketAddr) -> String {
        let ended = self.ask(address, |_| {});
        if ended.code == 2 && ended.err.contains("exists") {
            // It died after the output had its name: then the output is whole, and the session over.
            let closed = self.records("asker");
            let [(session, ending, _)] = &closed[..] else {
                panic!("{}", ended.err)
            };
            assert_eq!(ending, "tally");
            return session.clone();
        }
        session(&ended)
    }

    /// Names in a folder.
    fn names(&self, folder: &str) -> Vec<String> {
        let names = fs::read_dir(self.place.path(folder)).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Holds the output against a plain matcher's.
    fn matches_are_right(&self, theirs: &str) {
        let got = Table::parse(&self.place.read("results/hits.csv"));
        let want = self.wanted(theirs);
        assert_eq!(got.header, want[0]);
        assert_eq!(got.rows, want[1..]);
        assert_eq!(
            self.names("results"),
            ["hits.csv"],
            "nothing half-made stays"
        );
    }

    fn wanted(&self, theirs: &str) -> Vec<Vec<String>> {
        let table = |name| Table::parse(&self.place.read(name));
        let want = oracle::matches(
            &table("border.csv"),
            &[Key("document", &["passport", "country"])],
            &table(theirs),
            &[Key("document", &["number", "state"])],
            &["case"],
        );
        assert!(want.len() > 3, "some of the own rows are on the list");
        want
    }

    /// Looks something up in the state of a home.
    fn stored<T>(&self, home: &str, look: impl AsyncFnOnce(&SqliteStore) -> T) -> T {
        let path = self.place.path(home).join("state.db");
        wait(async {
            let store = SqliteStore::open(&path).await.unwrap();
            let found = look(&store).await;
            store.close().await;
            found
        })
    }

    /// What the asker was charged in an epoch, by the holder's own book.
    fn charged(&self, epoch: u64) -> u64 {
        self.stored("holder", async |store| {
            let charged = store.charged("asker", "watchlist", epoch, "document");
            charged.await.unwrap()
        })
    }

    /// The records in a home, closed or not: session, ending, frames.
    fn records(&self, home: &str) -> Vec<(String, String, Vec<Frame>)> {
        let folder = format!("{home}/records");
        let mut records = Vec::new();
        for name in self.names(&folder) {
            let (session, ending) = name.rsplit_once('.').unwrap();
            if ["part", "tally"].contains(&ending) {
                let frames = frames(&self.place.path(&folder).join(&name));
                records.push((session.to_owned(), ending.to_owned(), frames));
            }
        }
        records
    }

    /// All chunks and answers in all records of both homes.
    fn chunks(&self) -> Chunks {
        let mut chunks = Chunks::new();
        for home in ["asker", "holder"] {
            for (session, _, frames) in self.records(home) {
                for frame in frames.iter().filter(|frame| is_chunk(frame)) {
                    // The index comes first in the body of a chunk.
                    let index = u32::from_be_bytes(*frame.body().first_chunk().unwrap());
                    let key = (session.clone(), index, frame.kind().name());
                    let known = chunks.insert(key, frame.bytes().to_vec());
                    let same = known.is_none_or(|known| known == frame.bytes());
                    assert!(
                        same,
                        "two chunks of one index, in {home}'s record of {session}"
                    );
                }
            }
        }
        chunks
    }

    /// What must be true in the end of the session that was interrupted and gone on with. `before`
    /// is what stood in the records when it was.
    fn all_is_well(&self, session: &str, before: &Chunks) {
        self.matches_are_right("watchlist.csv");
        assert_eq!(self.charged(1), PADDED, "charged once");
        self.copies_agree(session);

        // The same index carries the same bytes, or was not seen before: no blind is used for
        // another element, and no nonce of a proof for another chunk.
        let after = self.chunks();
        for (key, bytes) in before {
            assert!(after.get(key) == Some(bytes), "{key:?} is another now");
        }

        let names = [format!("{session}.claims"), format!("{session}.tally")];
        assert_eq!(self.names("asker/records"), names);
        // The snapshot and its mark.
        let cached = self.names("asker/cache/snapshots");
        let ending = |ending: &str| cached.iter().filter(|name| name.ends_with(ending)).count();
        assert_eq!(ending(".snapshot"), 1, "{cached:?}");
        assert_eq!((ending(".index"), cached.len()), (1, 2), "{cached:?}");
        for folder in ["asker/keys", "holder/keys", "holder/collections/watchlist"] {
            let names = self.names(folder);
            assert!(!names.iter().any(|name| name.starts_with('.')), "{names:?}");
        }
        // A grant that never arrived, or was not yet written down there, is not gone on with: of such
        // a session nothing was evaluated, and it is aborted when it has expired.
        let open = self.stored("holder", async |store| store.open_sessions().await.unwrap());
        for (found, ending, frames) in self.records("holder") {
            let known = open
                .iter()
                .any(|open| Hex(open.session).to_string() == found);
            match ending.as_str() {
                "tally" => assert_eq!(found, session),
                _ => assert!(known && !frames.iter().any(is_chunk), "{found}.part"),
            }
        }
    }

    /// Both copies of a closed record are the same bytes, verify, and stand in both indices.
    fn copies_agree(&self, session: &str) {
        let copies = ["asker", "holder"].map(|home| format!("{home}/records/{session}.tally"));
        let bytes = copies
            .each_ref()
            .map(|copy| fs::read(self.place.path(copy)).unwrap());
        assert!(bytes[0] == bytes[1], "the copies differ");
        let [ours, theirs] = copies;
        let line = format!("tally audit verify {ours} {theirs} --trust trust.json");
        let verdict = self.place.json(&line);
        assert_eq!(verdict["verified"], true, "{verdict}");
        assert_eq!(verdict["agree"], true, "{verdict}");
        assert_eq!(verdict["records"][0]["status"], "complete");
        let digest: [u8; 32] = Sha256::digest(&bytes[0]).into();
        let id: Hex<16> = session.parse().unwrap();
        for (home, role) in [("asker", Role::Receiver), ("holder", Role::Sender)] {
            let look = async |store: &SqliteStore| store.record(&id.0, role).await.unwrap();
            let noted = self.stored(home, look).map(|noted| noted.digest);
            assert_eq!(noted, Some(digest), "{home}'s index of records");
        }
    }
}

/// The session of a command that went well.
fn session(ended: &Ended) -> String {
    assert_eq!(ended.code, 0, "{}\n{}", ended.out, ended.err);
    let report = place::object(&ended.out);
    assert_eq!(report["charged"][0]["elements"], PADDED);
    report["session"].as_str().unwrap().to_owned()
}

/// Bytes of chunks, by session, index and kind.
type Chunks = BTreeMap<(String, u32, &'static str), Vec<u8>>;

fn is_chunk(frame: &Frame) -> bool {
    matches!(frame.kind(), Kind::BlindedChunk | Kind::EvaluatedChunk)
}

/// The whole frames of a file.
fn frames(path: &Path) -> Vec<Frame> {
    let mut reader = FrameReader::new(BufReader::new(File::open(path).unwrap()));
    std::iter::from_fn(|| reader.next_frame().ok().flatten()).collect()
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

/// A case by its name, and whether its fault came, or what the case panicked with.
type Tried = (String, Result<bool, Box<dyn Any + Send>>);

/// Tries all cases, says how each went, and fails with all that failed.
fn try_all(what: &str, cases: Vec<(Event, Fault)>, case: impl Fn(&Event, Fault) -> bool + Sync) {
    assert!(!cases.is_empty());
    let total = cases.len();
    let results: Vec<Tried> = cases
        .into_par_iter()
        .map(|(event, fault)| {
            let went = catch_unwind(AssertUnwindSafe(|| case(&event, fault)));
            (format!("{fault:?} at {event}"), went)
        })
        .collect();
    let came = results.iter().filter(|(_, went)| matches!(went, Ok(true)));
    println!("{what}: {total} cases, {} came", came.count());
    let failed = results.iter().filter_map(|(name, went)| {
        let why = went.as_ref().err()?;
        let why = why.downcast_ref::<String>().cloned();
        Some(format!("{name}:\n    {}", why.unwrap_or_default()))
    });
    let failed: Vec<String> = failed.collect();
    assert!(failed.is_empty(), "{what}\n{}", failed.join("\n"));
    let missed: Vec<&String> = results
        .iter()
        .filter_map(|(name, went)| matches!(went, Ok(false)).then_some(name))
        .collect();
    // Some steps are taken more or less often from run to run; the first of a label is always there.
    let first = missed.iter().find(|name| name.ends_with(" @1"));
    assert!(first.is_none(), "{what}: {first:?} never came");
    assert!(
        missed.len() * 3 <= total,
        "{what}: these never came: {missed:?}"
    );
}
