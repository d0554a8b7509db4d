//! Sessions that are interrupted, on either side and at any point: what is found, charged and
//! recorded in the end is what it would have been without.

#![allow(clippy::unwrap_used)]

#[path = "resume/ended.rs"]
mod ended;
#[path = "resume/frames.rs"]
mod frames;
#[path = "resume/interrupted.rs"]
mod interrupted;
#[path = "resume/outputs.rs"]
mod outputs;
#[path = "resume/spoiled.rs"]
mod spoiled;
#[path = "resume/twice.rs"]
mod twice;

use std::fs;

use serde_json::Value;
use tallystick_tests::{
    oracle::{self, Key, Table},
    place::{Place, Serving},
    proxy,
    running::{self, Running, wait_for},
};

/// Own rows, each an element; padded to [`PADDED`].
const OURS: usize = 1500;
/// What is sent and charged.
const PADDED: u64 = 1536;
/// What the peer may have evaluated.
const BUDGET: u64 = 100_000;
/// Bytes to the sender after which about half of the chunks have left.
const HALF: u64 = 30_000;
const THEIR_KEY: &str = "--key document=number,state";
const OUR_KEY: &str = "--key document=passport,country";

/// Two agencies: `holder` offers a watchlist, of which `asker` holds a part. Chunks are small, so
/// that a session has many.
struct Stage {
    place: Place,
}

impl Stage {
    fn new() -> Self {
        let place = Place::pair("holder", "asker");
        let theirs: String = (0..100).map(|n| format!("W{n},UTO,C-{n}\n")).collect();
        place.write("watchlist.csv", &format!("number,state,case\n{theirs}"));
        let ours: String = (0..OURS)
            .map(|n| format!("{}{n},UTO,{n}\n", if n % 50 == 7 { "w" } else { "P" }))
            .collect();
        place.write("border.csv", &format!("passport,country,lane\n{ours}"));
        place.does(&format!(
            "tallyd collection publish watchlist --home holder --input watchlist.csv {THEIR_KEY} \
             --label case --peer-budget {BUDGET}"
        ));
        place.trust("trust.json", &["holder", "asker"]);
        let stage = Self { place };
        stage.limit("chunk_elements = 16384", "chunk_elements = 64");
        stage
    }

    /// Changes a line of the holder's configuration.
    fn limit(&self, from: &str, to: &str) {
        let config = self.place.path("holder").join("node.toml");
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&config, text.replace(from, to)).unwrap();
    }

    /// The command that asks, with its output in `out`.
    fn line(&self, address: impl std::fmt::Display, out: &str) -> String {
        format!(
            "tally match --home asker --peer holder --address {address} --collection watchlist \
             --input border.csv {OUR_KEY} --out {out} --json"
        )
    }

    /// Starts a command.
    fn start(&self, line: &str) -> Running {
        Running::start(&self.place, line)
    }

    /// Files in a home's folder of records that end so.
    fn records(&self, home: &str, ending: &str) -> Vec<String> {
        let folder = self.place.path(home).join("records");
        let names = fs::read_dir(folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
        names.sort();
        names
    }

    /// The session that both sides have under way.
    fn under_way(&self) -> String {
        let [part] = &self.records("holder", ".part")[..] else {
            panic!("{:?}", self.records("holder", ""))
        };
        part.strip_suffix(".part").unwrap().to_owned()
    }

    /// Evaluations that the asker has left.
    fn left(&self, serving: &Serving) -> u64 {
        let offers = self.place.json(&format!(
            "tally collections --home asker --peer holder --address {}",
            serving.address
        ));
        offers["collections"][0]["quota_left"][0].as_u64().unwrap()
    }

    /// Holds an output against a plain matcher's.
    fn matches_are_right(&self, out: &str) {
        let theirs = Table::parse(&self.place.read("watchlist.csv"));
        let ours = Table::parse(&self.place.read("border.csv"));
        let want = oracle::matches(
            &ours,
            &[Key("document", &["passport", "country"])],
            &theirs,
            &[Key("document", &["number", "state"])],
            &["case"],
        );
        assert_eq!(want.len(), 3, "two of the own rows are on the list");
        let got = Table::parse(&self.place.read(out));
        assert_eq!(got.header, want[0]);
        assert_eq!(got.rows, want[1..]);
    }

    /// What must be true of the only session in the end, however it came about.
    fn all_is_well(&self, serving: &Serving, report: &Value, out: &str) {
        self.matches_are_right(out);
        assert_eq!(report["elements_matched"], 2);
        assert_eq!(report["ours"]["elements_padded"], PADDED);
        assert_eq!(report["charged"][0]["elements"], PADDED);
        assert_eq!(report["charged"][0]["quota_before"], BUDGET);
        assert_eq!(report["charged"][0]["quota_after"], BUDGET - PADDED);
        assert_eq!(self.left(serving), BUDGET - PADDED);
        let record = format!("{}.tally", report["session"].as_str().unwrap());
        for home in ["asker", "holder"] {
            assert_eq!(self.records(home, ""), [record.as_str()], "{home}");
        }
        self.copies_agree(&record);
    }

    /// Both copies of a closed record are the same bytes and verify.
    fn copies_agree(&self, record: &str) {
        let copies = ["asker", "holder"].map(|home| format!("{home}/records/{record}"));
        let bytes = copies
            .each_ref()
            .map(|copy| fs::read(self.place.path(copy)).unwrap());
        assert!(bytes[0] == bytes[1], "the copies differ");
        let [ours, theirs] = copies;
        let verdict = self.verify(&format!("{ours} {theirs}"));
        assert_eq!(verdict["agree"], true);
        assert_eq!(verdict["records"][0]["status"], "complete");
    }

    fn verify(&self, records: &str) -> Value {
        let line = format!("tally audit verify {records} --trust trust.json");
        let verdict = self.place.json(&line);
        assert_eq!(verdict["verified"], true, "{verdict}");
        verdict
    }

    /// The holder's record of a session that did not end well, once it is closed.
    fn aborted(&self, session: &str) -> Value {
        let record = format!("holder/records/{session}.tally");
        wait_for("the aborted record", || {
            self.place.path(&record).exists().then_some(())
        });
        let verdict = self.verify(&record);
        assert_eq!(verdict["records"][0]["status"], "aborted");
        self.place.json(&format!("tally audit show {record}"))
    }
}
