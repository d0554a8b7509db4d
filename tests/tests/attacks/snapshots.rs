//! A real node that offers a snapshot which is well signed and not the one it should be.

use std::fs;

use tallystick_agency::{
    collections::snapshot_path,
    store::{Collection, Store},
};
use tallystick_protocol::{group, oprf::SecretKey, statements::Hex};
use tallystick_tests::{forge, stage::Stage};

use crate::sender::refused;

/// Asks; the snapshot must be refused before a chunk leaves. Gives the code.
fn refused_uncharged(stage: &Stage) -> String {
    let serving = stage.place.serve("holder");
    let line = stage.line("asker", serving.address, "hits.csv");
    let code = refused(stage, &line, 4);
    assert!(!stage.place.path("hits.csv").exists());
    let offers = stage.place.json(&format!(
        "tally collections --home asker --peer holder --address {}",
        serving.address
    ));
    assert_eq!(offers["collections"][0]["quota_left"][0], 1_000_000);
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_swapped_in_the_header_of_a_snapshot_is_refused() {
    let stage = Stage::new();
    let swap = |preamble: &mut tallystick_protocol::statements::SnapshotPreamble,
                _: &mut Vec<_>| {
        let key = SecretKey::from_seed(group::reference(), &[3; 32], b"another").unwrap();
        preamble.keys[0].public_key = Hex(*key.public_bytes());
    };
    forge::snapshot(&stage.place.home("holder"), "watchlist", swap).await;
    assert_eq!(refused_uncharged(&stage), "mismatch");
}

/// The list of the last epoch, which the receiver has evaluations for, offered as this one's.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_another_epoch_is_refused() {
    let stage = Stage::new();
    let home = stage.place.home("holder");
    let store = home.store().await.unwrap();
    let first = store.collection("watchlist").await.unwrap().unwrap();
    let digest = first.snapshot_digest.unwrap();
    let path = snapshot_path(&home, "watchlist", &digest);
    let kept = fs::read(&path).unwrap();
    stage
        .place
        .does("tallyd epoch rotate watchlist --home holder --input watchlist.csv");
    let second = store.collection("watchlist").await.unwrap().unwrap();
    assert_eq!(second.epoch, first.epoch + 1);
    fs::write(&path, kept).unwrap();
    let old = Collection {
        snapshot_digest: Some(digest),
        ..second
    };
    store.upsert_collection(&old).await.unwrap();
    store.close().await;
    assert_eq!(refused_uncharged(&stage), "mismatch");
}
