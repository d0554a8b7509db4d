//! Lists that change within an epoch: what is published beside the whole snapshot, how a receiver's copy
//! follows, and what it does where it cannot.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tallystick_protocol::{
    frame::FrameReader,
    statements::{SnapshotDelta, open_as_named},
};
use tallystick_tests::{
    oracle::{self, Key, Table},
    place::{Place, Serving, object},
};

/// Rows of the first list.
const ROWS: u32 = 1100;

/// Two agencies; `holder` offers a list of documents with a case each.
struct Stage {
    place: Place,
    list: BTreeMap<u32, String>,
    labels: bool,
    asked: usize,
    /// Of the last match.
    report: Value,
}

impl Stage {
    fn new(labels: bool) -> Self {
        let place = Place::pair("holder", "asker");
        let ours: String = (0..40).map(|n| format!("W{},UTO,{n}\n", n * 3)).collect();
        place.write("border.csv", &format!("passport,country,lane\n{ours}"));
        let mut stage = Self {
            place,
            list: (0..ROWS).map(|n| (n, format!("C-{n}"))).collect(),
            labels,
            asked: 0,
            report: Value::Null,
        };
        assert_eq!(
            stage.publish("")["delta"],
            Value::Null,
            "there is nothing to change"
        );
        stage
    }

    /// Publishes the list as it is now.
    fn publish(&mut self, more: &str) -> Value {
        let rows: String = self
            .list
            .iter()
            .map(|(n, case)| format!("W{n},UTO,{case}\n"))
            .collect();
        self.place
            .write("list.csv", &format!("number,state,case\n{rows}"));
        let label = if self.labels { "--label case" } else { "" };
        self.place.json(&format!(
            "tallyd collection publish list --home holder --input list.csv \
             --key document=number,state {label} {more}"
        ))
    }

    /// Takes some rows off, adds others, and gives others another case.
    fn change(
        &mut self,
        gone: std::ops::Range<u32>,
        come: std::ops::Range<u32>,
        other: std::ops::Range<u32>,
    ) {
        self.list.retain(|n, _| !gone.contains(n));
        self.list.extend(come.map(|n| (n, format!("C-{n}"))));
        for n in other {
            self.list.entry(n).and_modify(|case| case.push('x'));
        }
    }

    fn line(&self, serving: &Serving, out: &str) -> String {
        format!(
            "tally match --home asker --peer holder --address {} --collection list \
             --input border.csv --key document=passport,country --out {out}",
            serving.address
        )
    }

    /// What `check` says of the list.
    fn checked(&self) -> String {
        let said = self.place.json("tallyd check --home holder");
        let checks = said["checks"].as_array().unwrap();
        let list = checks.iter().find(|one| one["name"] == "collection list");
        list.unwrap()["code"].as_str().unwrap().to_owned()
    }

    /// Removes a snapshot from the asker's cache, as if it had not been fetched yet.
    fn forget(&self, digest: &Value) {
        fs::remove_file(self.cached(digest, "snapshot")).unwrap();
    }

    /// Asks; gives how the snapshot came.
    fn came(&mut self, serving: &Serving) -> String {
        self.asks(serving);
        self.report["theirs"]["snapshot_from"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Asks; what is found must be what a plain matcher finds. Gives the bytes that were received.
    fn asks(&mut self, serving: &Serving) -> u64 {
        self.asked += 1;
        let out = format!("hits-{}.csv", self.asked);
        let ended = self
            .place
            .run(&format!("{} --json", self.line(serving, &out)));
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        let labels: &[&str] = if self.labels { &["case"] } else { &[] };
        let want = oracle::matches(
            &Table::parse(&self.place.read("border.csv")),
            &[Key("document", &["passport", "country"])],
            &Table::parse(&self.place.read("list.csv")),
            &[Key("document", &["number", "state"])],
            labels,
        );
        let got = Table::parse(&self.place.read(&out));
        assert_eq!(got.rows, want[1..], "{out}");
        assert!(want.len() > 10);
        self.report = object(&ended.out);
        self.report["bytes"]["received"].as_u64().unwrap()
    }

    fn published(&self, digest: &Value, ending: &str) -> PathBuf {
        let name = format!(
            "holder/collections/list/{}.{ending}",
            digest.as_str().unwrap()
        );
        self.place.path(&name)
    }

    fn cached(&self, digest: &Value, ending: &str) -> PathBuf {
        let name = format!(
            "asker/cache/snapshots/{}.{ending}",
            digest.as_str().unwrap()
        );
        self.place.path(&name)
    }

    /// The asker's copy is the holder's file.
    fn copies_agree(&self, digest: &Value) {
        let [theirs, ours] = [
            self.published(digest, "snapshot"),
            self.cached(digest, "snapshot"),
        ];
        assert!(
            fs::read(theirs).unwrap() == fs::read(ours).unwrap(),
            "another snapshot"
        );
    }

    /// Nothing half done lies in the cache.
    fn cache_is_clean(&self) {
        for entry in fs::read_dir(self.place.path("asker/cache/snapshots")).unwrap() {
            let path = entry.unwrap().path();
            let ending = path.extension().unwrap_or_default();
            assert!(
                ending == "snapshot" || ending == "index",
                "{}",
                path.display()
            );
        }
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn said(path: &Path) -> SnapshotDelta {
    let file = fs::File::open(path).unwrap();
    open_as_named(&FrameReader::new(file).next_frame().unwrap().unwrap()).unwrap()
}

#[test]
fn a_list_that_changes_is_followed_by_small_deltas_and_found_right() {
    for labels in [true, false] {
        let mut stage = Stage::new(labels);
        let serving = stage.place.serve("holder");
        let whole = stage.asks(&serving);
        stage.change(3..6, 2000..2005, 9..12);
        let second = stage.publish("");
        let shown = if labels { 16 } else { 0 };
        assert_eq!(second["delta"]["exchanged"], 16);
        assert_eq!(second["delta"]["relabelled"], shown);
        let delta = stage.published(&second["digest"], "delta");
        assert_eq!(second["delta"]["bytes"], size(&delta));
        let snapshot = size(&stage.published(&second["digest"], "snapshot"));
        assert!(size(&delta) * 2 < snapshot);
        let by_delta = stage.asks(&serving);
        assert!(
            by_delta + snapshot - size(&delta) < whole + 2000,
            "{by_delta} after {whole}"
        );
        stage.copies_agree(&second["digest"]);

        // Two more, without asking in between: both are followed at once.
        stage.change(0..30, 3000..3001, 60..90);
        let third = stage.publish("");
        assert_eq!(third["delta"]["exchanged"], 40);
        assert_eq!(third["delta"]["relabelled"], if labels { 40 } else { 0 });
        stage.change(0..0, 0..30, 0..0);
        let fourth = stage.publish("");
        let said = said(&stage.published(&fourth["digest"], "delta"));
        assert_eq!(said.from.to_string(), third["digest"].as_str().unwrap());
        assert_eq!(said.sequence.get(), 3);
        stage.asks(&serving);
        stage.copies_agree(&fourth["digest"]);
        assert!(!stage.cached(&third["digest"], "snapshot").exists());
        // The same list once more: nothing shows that nothing changed.
        let fifth = stage.publish("");
        assert_eq!(fifth["delta"]["exchanged"], 16);
        assert_eq!(fifth["delta"]["relabelled"], shown);
        stage.asks(&serving);
        stage.copies_agree(&fifth["digest"]);
        stage.cache_is_clean();
        // What was superseded is gone, but for the one before, and so are the marks.
        for ending in ["snapshot", "index"] {
            assert!(stage.cached(&fourth["digest"], ending).exists());
            assert!(!stage.cached(&second["digest"], ending).exists());
        }
        let cache = fs::read_dir(stage.place.path("asker/cache/snapshots")).unwrap();
        assert_eq!(cache.count(), 4);
        // Records verify as ever.
        assert_eq!(serving.stop(), Some(0));
    }
}

#[test]
fn a_whole_snapshot_is_published_where_a_delta_will_not_do() {
    let mut stage = Stage::new(false);
    let delta = |done: &Value| done["delta"] != Value::Null;
    stage.change(0..1, 0..0, 0..0);
    assert!(delta(&stage.publish("")));
    let full = stage.publish("--full");
    assert!(!delta(&full));
    assert_eq!(full["delta_reason"], Value::Null, "it was asked for");
    // A new chain.
    let next = stage.publish("");
    assert_eq!(
        said(&stage.published(&next["digest"], "delta"))
            .sequence
            .get(),
        1
    );
    // Other tags, more than the padding holds, more than a quarter, another epoch.
    let form = stage.publish("--max-session-elements 1000000000");
    assert!(!delta(&form));
    assert_eq!(form["delta_reason"], "form");
    // What is not said stays: tags are as long as before.
    assert!(delta(&stage.publish("")));
    stage.change(0..0, 5000..5182, 0..0);
    let larger = stage.publish("");
    assert!(!delta(&larger));
    assert_eq!(larger["delta_reason"], "changes");
    assert_eq!(larger["padded"], 1280 + 256);
    stage.change(0..500, 0..0, 0..0);
    assert!(!delta(&stage.publish("")));
    stage.place.does("tallyd epoch rotate list --home holder");
    assert!(delta(&stage.publish("")));
    // What is kept beside the snapshots belongs to the one in force.
    let folder = stage.place.path("holder/collections/list");
    let count = |ending: &str| {
        let entries = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .filter(|path| path.extension().is_some_and(|e| e == ending))
            .count()
    };
    assert_eq!(
        (count("delta"), count("chain"), count("snapshot")),
        (1, 1, 2)
    );
    stage
        .place
        .does("tallyd collection remove list --home holder");
    assert_eq!(
        (count("delta"), count("chain"), count("snapshot")),
        (0, 0, 0)
    );
}

#[test]
fn a_chain_of_deltas_ends() {
    let mut stage = Stage::new(false);
    let serving = stage.place.serve("holder");
    stage.asks(&serving);
    let said = |stage: &Stage, done: &Value| {
        let path = stage.published(&done["digest"], "delta");
        path.exists().then(|| said(&path).sequence.get())
    };
    for sequence in 1..=8 {
        let done = stage.publish("");
        assert_eq!(said(&stage, &done), Some(sequence));
    }
    // All eight are followed at once.
    stage.asks(&serving);
    let whole = stage.publish("");
    assert_eq!(whole["delta"], Value::Null);
    assert_eq!(whole["delta_reason"], "chain");
    assert_eq!(said(&stage, &whole), None);
    let next = stage.publish("");
    assert_eq!(said(&stage, &next), Some(1));
    assert_eq!(next["delta_reason"], Value::Null);
    // What is kept of its padding is lost: people are told, too.
    let chain = stage.published(&next["digest"], "chain");
    fs::remove_file(chain).unwrap();
    let ended = stage.place.run(
        "tallyd collection publish list --home holder --input list.csv --key document=number,state",
    );
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended.err.contains("`tallyd epoch rotate list`"),
        "{}",
        ended.err
    );
    assert!(ended.out.contains("none (no-base)"), "{}", ended.out);
    let next = stage.publish("");
    stage.asks(&serving);
    stage.copies_agree(&next["digest"]);
}

#[test]
fn a_delta_that_was_changed_is_not_used_and_the_whole_snapshot_is_fetched() {
    let mut stage = Stage::new(true);
    let serving = stage.place.serve("holder");
    stage.asks(&serving);
    stage.change(3..6, 2000..2005, 9..12);
    let second = stage.publish("");
    let path = stage.published(&second["digest"], "delta");
    let delta = fs::read(&path).unwrap();
    let mut forged = delta.clone();
    *forged.last_mut().unwrap() ^= 1;
    let cut = delta[..delta.len() - 1].to_vec();
    let mut frames = Vec::new();
    let mut reader = FrameReader::new(&delta[..]);
    while let Some(frame) = reader.next_frame().unwrap() {
        frames.push(frame.into_bytes());
    }
    // A holder looks at the first header before it sends; so this is in the second.
    let mut signature = delta.clone();
    signature[frames[0].len() + 5 + 20] ^= 1;
    let missing = [&frames[..2], &frames[3..]].concat().concat();
    for (what, bytes) in [
        ("a label", forged),
        ("a header", signature),
        ("a bucket missing", missing),
        ("its end missing", cut),
    ] {
        fs::write(&path, bytes).unwrap();
        // Whoever runs the holder is told, and how to mend it.
        assert_eq!(stage.checked(), "delta-damaged", "{what}");
        assert_eq!(stage.came(&serving), "whole", "{what}");
        stage.copies_agree(&second["digest"]);
        stage.cache_is_clean();
        stage.forget(&second["digest"]);
    }
    // One that is gone. With the right one it is followed.
    fs::remove_file(&path).unwrap();
    assert_eq!(stage.checked(), "delta-damaged");
    assert_eq!(stage.came(&serving), "whole");
    stage.forget(&second["digest"]);
    fs::write(&path, &delta).unwrap();
    assert_eq!(stage.checked(), "ok");
    assert_eq!(stage.came(&serving), "deltas");
    stage.copies_agree(&second["digest"]);
    stage.cache_is_clean();
    assert_eq!(stage.came(&serving), "cache");
    // What the fix says mends it.
    fs::remove_file(&path).unwrap();
    stage.place.does("tallyd epoch rotate list --home holder");
    assert_eq!(stage.checked(), "ok");
}

#[test]
fn a_fetch_that_was_cut_short_goes_on_and_a_damaged_copy_is_fetched_whole() {
    let mut stage = Stage::new(true);
    let serving = stage.place.serve("holder");
    stage.asks(&serving);
    stage.publish("");
    stage.asks(&serving);
    for cut in [3usize, 700, 2900, usize::MAX] {
        stage.change(cut as u32 % 7..9, 2000..2005, 9..12);
        let next = stage.publish("");
        let delta = fs::read(stage.published(&next["digest"], "delta")).unwrap();
        let left = stage.cached(&next["digest"], "deltas");
        fs::write(left, &delta[..cut.min(delta.len())]).unwrap();
        stage.asks(&serving);
        stage.copies_agree(&next["digest"]);
        stage.cache_is_clean();
    }
    // What another delta left, and what is none.
    let next = stage.publish("");
    let other = fs::read(stage.published(&next["digest"], "delta")).unwrap();
    let next = stage.publish("");
    fs::write(
        stage.cached(&next["digest"], "deltas"),
        &other[..other.len() / 2],
    )
    .unwrap();
    stage.asks(&serving);
    stage.copies_agree(&next["digest"]);
    let base = stage.cached(&next["digest"], "snapshot");
    let next = stage.publish("");
    fs::write(stage.cached(&next["digest"], "deltas"), b"no frames").unwrap();
    // The copy that it leads from is damaged.
    let mut bytes = fs::read(&base).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&base, bytes).unwrap();
    for entry in fs::read_dir(stage.place.path("asker/cache/snapshots")).unwrap() {
        let path = entry.unwrap().path();
        if path != base && path.extension().is_some_and(|e| e == "snapshot") {
            fs::remove_file(path).unwrap();
        }
    }
    stage.asks(&serving);
    stage.copies_agree(&next["digest"]);
    stage.cache_is_clean();
}
