//! A long publication dies: the same command goes on where the last checkpoint was, and ends with the
//! same elements; of another table it begins anew, and says so.

use std::{collections::BTreeSet, fs};

use tallystick_protocol::{
    snapshot::{Bucket, SnapshotVerifier},
    statements::{Hex, SnapshotPreamble},
};
use tallystick_tests::{
    faults::{Event, Fault},
    running::Running,
};

use crate::{Scene, THEIR_KEY, frames, try_all};

/// More than two checkpoints, and padding to 20,480.
const ROWS: usize = 18_000;
const SPOOL: &str = "write .unfinished/spool";
const SYNC: &str = "sync .unfinished/spool";
const CHECKPOINT: &str = "write .unfinished/.tally-write-*";

fn table(rows: std::ops::Range<usize>) -> String {
    let rows: String = rows.map(|n| format!("L{n},UTO,C-{}\n", n % 7)).collect();
    format!("number,state,case\n{rows}")
}

fn line(more: &str) -> String {
    format!("tallyd collection publish watchlist --home holder --input long.csv {THEIR_KEY} {more}")
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.place.write("long.csv", &table(0..ROWS));
    scene
}

/// All tags of the snapshot that is in force, cut to what two snapshots have in common.
fn tags(scene: &Scene, length: usize) -> BTreeSet<Vec<u8>> {
    let known = scene.stored("holder", async |store| {
        use tallystick_agency::store::Store;
        store.collection("watchlist").await.unwrap().unwrap()
    });
    let digest = Hex(known.snapshot_digest.unwrap());
    let path = scene
        .place
        .path(&format!("holder/collections/watchlist/{digest}.snapshot"));
    let frames = frames(&path);
    let (header, buckets) = frames.split_first().unwrap();
    let preamble = preamble(header);
    let mut tags = BTreeSet::new();
    for bucket in buckets {
        let bucket = Bucket::parse(bucket, &preamble).unwrap();
        tags.extend(bucket.tags().map(|tag| tag[..length].to_vec()));
    }
    assert_eq!(tags.len() as u64, preamble.elements.get());
    tags
}

fn preamble(header: &tallystick_protocol::frame::Frame) -> SnapshotPreamble {
    let unsigned: serde_json::Value = serde_json::from_slice(header.body()).unwrap();
    let key = serde_json::from_value::<String>(unsigned["payload"].clone()).unwrap();
    let payload = base64(&key);
    let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    let key = payload["preamble"]["sender"]["signing_key"]
        .as_str()
        .unwrap();
    let key: Hex<32> = key.parse().unwrap();
    let publisher = tallystick_protocol::signing::VerifyKey(key.0);
    let verifier = SnapshotVerifier::new(header, &publisher).unwrap();
    verifier.preamble().clone()
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

fn killed(scene: &Scene, line: &str, event: &Event, fault: Fault) -> bool {
    let faults = scene.faults("long").unwrap();
    let mut command = scene.place.command(line);
    faults.arm(&mut command, event, fault);
    let ended = Running::of(command, line).end();
    assert_eq!(
        ended.code,
        if faults.fired() { -1 } else { 0 },
        "{}",
        ended.err
    );
    faults.fired()
}

fn at(label: &str, number: u32, fault: Fault) -> (Event, Fault) {
    let label = label.to_owned();
    (Event { label, number }, fault)
}

#[test]
fn a_long_publication_that_is_killed_goes_on_and_ends_with_the_same_elements() {
    for labels in ["", "--label case"] {
        let line = line(labels);
        let whole = scene();
        let Some(faults) = whole.faults("long") else {
            return;
        };
        let mut command = whole.place.command(&format!("{line} --json"));
        faults.record(&mut command);
        let ended = Running::of(command, &line).end();
        assert_eq!(ended.code, 0, "{}", ended.err);
        let report = tallystick_tests::place::object(&ended.out);
        assert_eq!(report["resumed"], 0);
        assert_eq!(report["distinct"], ROWS);
        let want = tags(&whole, 8);
        let (writes, syncs) = (faults.count(SPOOL), faults.count(SYNC));
        // One at 8,192 elements, one at 16,384, one at the end.
        assert_eq!(syncs, 3);
        // Each with how much of what was evaluated before must be there.
        let cases = vec![
            at(SPOOL, 1, Fault::Kill),
            at(SYNC, 1, Fault::KillAfter),
            at(CHECKPOINT, 1, Fault::Tear),
            at(CHECKPOINT, 2, Fault::Kill),
            at(SPOOL, writes / 2, Fault::Tear),
            at(SYNC, 3, Fault::Kill),
            at("create watchlist/.snapshot-*", 1, Fault::KillAfter),
            at("sync watchlist/.snapshot-*", 1, Fault::Kill),
            at("sync holder/state.db-wal", 1, Fault::Kill),
        ];
        // With labels other records lie in the spool; the steps are the same.
        let every = if labels.is_empty() { 1 } else { 3 };
        let cases = cases.into_iter().step_by(every).collect();
        try_all(&line, cases, |event, fault| {
            let scene = scene();
            let fired = killed(&scene, &line, event, fault);
            scene.place.does("tallyd check --home holder");
            let report = scene.place.json(&line);
            let resumed = report["resumed"].as_u64().unwrap();
            let none = event.number == 1 && !event.label.contains(".snapshot");
            assert_eq!(report["restarted"], false);
            if fired && !event.label.contains("state.db") {
                assert_eq!(resumed == 0, none, "{resumed} at {event}");
            }
            if event.label.contains(".snapshot") {
                assert_eq!(resumed, ROWS as u64);
            }
            assert_eq!(report["distinct"], ROWS);
            assert_eq!(report["rows"], ROWS);
            // Padding is other; the elements are the same.
            let got = tags(&scene, 8);
            assert_eq!(got.len(), want.len());
            assert_eq!(got.intersection(&want).count(), ROWS);
            let folder = scene.names("holder/collections/watchlist");
            let whole = |name: &String| {
                let endings = [".snapshot", ".chain", ".delta"];
                endings.iter().any(|ending| name.ends_with(ending))
            };
            assert!(folder.iter().all(whole), "{folder:?}");
            scene.place.does("tallyd check --home holder");
            fired
        });
    }
}

#[test]
fn a_table_or_mapping_that_changed_meanwhile_is_published_anew() {
    let line = line("");
    let kill = || {
        let scene = scene();
        let (event, fault) = at(CHECKPOINT, 2, Fault::KillAfter);
        scene.faults("long")?;
        assert!(killed(&scene, &line, &event, fault));
        // A thief of the disk sees neither the table nor the key.
        let folder = "holder/collections/watchlist/.unfinished";
        assert!(scene.names(folder).contains(&"spool".to_owned()));
        for name in scene.names(folder) {
            let bytes = fs::read(scene.place.path(folder).join(name)).unwrap();
            assert!(!bytes.windows(6).any(|w| w == b"L12345" || w == b"C-3\",\""));
        }
        Some(scene)
    };
    let Some(changed) = kill() else { return };
    // One row among those that were spooled.
    let text = table(0..ROWS).replace("L77,UTO", "L770000,UTO");
    changed.place.write("long.csv", &text);
    let report = changed.place.json(&line);
    assert_eq!(
        (&report["restarted"], &report["resumed"]),
        (&true.into(), &0.into())
    );
    assert_eq!(report["distinct"], ROWS);

    let cut = kill().unwrap();
    cut.place.write("long.csv", &table(0..100));
    let report = cut.place.json(&line);
    assert_eq!(
        (&report["restarted"], &report["distinct"]),
        (&true.into(), &100.into())
    );

    let grown = kill().unwrap();
    grown.place.write("long.csv", &table(0..ROWS + 500));
    let report = grown.place.json(&line);
    assert_eq!(
        (&report["restarted"], &report["resumed"]),
        (&false.into(), &8192.into())
    );
    assert_eq!(report["distinct"], ROWS + 500);

    let mapped = kill().unwrap();
    let report = mapped
        .place
        .json(&line.replace("number,state", "number,=UTO"));
    assert_eq!(
        (&report["restarted"], &report["resumed"]),
        (&true.into(), &0.into())
    );
}
