//! Messages of a hundred megabytes, in either direction. Nobody makes room for them.

use std::time::Duration;

use tallystick_protocol::frame::Kind;
use tallystick_tests::{
    http2::{Raw, message},
    place::{Serving, peak_kib},
    running::Running,
    stage::Stage,
    tamper::{Act, Keys, Middle, Rule},
    wire,
};
use tallystick_wire::{Envelope, SnapshotRequest};
use tokio::net::TcpStream;
use tonic::Code;

const FLOOD: usize = 100 << 20;
/// What a flood may cost at most, KiB: far less than it has.
const MOST_KIB: u64 = 24 << 10;

/// A connection of the asker's, by hand.
pub async fn raw(stage: &Stage, serving: &Serving, window: u32) -> Raw {
    let connector = wire::connector(&stage.place.home("asker"), "holder").await;
    let stream = TcpStream::connect(serving.address).await.unwrap();
    let name = tallystick_agency::tls::server_name();
    Raw::open(connector.connect(name, stream).await.unwrap(), window).await
}

fn asks_as_ever(stage: &Stage, serving: &Serving) {
    let line = stage.line("asker", serving.address, "hits.csv --force");
    let _ = Running::start(&stage.place, &line).report();
    stage.matches_are_right("hits.csv");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_sent_to_a_node_are_refused_without_room_for_them() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    asks_as_ever(&stage, &serving);
    let before = serving.peak_kib();

    // All of it.
    let home = stage.place.home("asker");
    let mut client = wire::connect(&home, "holder", serving.address).await;
    let frame = vec![Kind::Request as u8; FLOOD];
    let call = client
        .session(tokio_stream::iter([Envelope { frame }]))
        .await;
    let answer = match call {
        Ok(answer) => answer.into_inner().message().await,
        Err(status) => Err(status),
    };
    // The node ends the call; whether its reason gets through before the line is cut under the rest
    // of the flood, nobody can promise.
    assert!(matches!(answer, Err(_) | Ok(None)), "{answer:?}");
    let request = SnapshotRequest {
        digest: vec![0; FLOOD],
        from_bucket: 0,
        have: Vec::new(),
    };
    assert_ne!(client.snapshot(request).await.unwrap_err().code(), Code::Ok);

    // Said to be on its way.
    let mut raw = raw(&stage, &serving, 1 << 16).await;
    for method in ["Session", "Snapshot", "Catalogue"] {
        let call = raw.call(method).await;
        raw.data(call, &message(u32::try_from(FLOOD).unwrap()))
            .await;
        raw.data(call, &[0; 1024]).await;
        raw.ended(call, Duration::from_secs(20)).await;
    }
    let grown = serving.peak_kib() - before;
    assert!(grown < MOST_KIB, "grown by {grown} KiB");
    asks_as_ever(&stage, &serving);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_sent_to_a_receiver_are_refused_without_room_for_them() {
    let stage = Stage::new();
    let serving = stage.place.serve("holder");
    let (holder, asker) = (stage.place.home("holder"), stage.place.home("asker"));
    let keys = Keys::new(&holder, asker, serving.address).await;
    let line = |address| stage.line("asker", address, "hits.csv --force");
    // What a match takes, and whether it is refused.
    let peak = async |rules: Vec<Rule>| {
        let middle = Middle::tampering(&keys, rules).await;
        let running = Running::start(&stage.place, &line(middle.address));
        let id = running.id().as_raw().unsigned_abs();
        let watching = std::thread::spawn(move || {
            let mut peak = 0;
            while let Some(now) = peak_kib(id) {
                peak = now;
                std::thread::sleep(Duration::from_millis(1));
            }
            peak
        });
        let ended = tokio::task::spawn_blocking(|| running.end()).await.unwrap();
        assert!(middle.done(), "{}", ended.err);
        (watching.join().unwrap(), ended)
    };
    let (honest, ended) = peak(Vec::new()).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    stage.publish();
    for kind in [
        Kind::Catalogue,
        Kind::SnapshotHeader,
        Kind::SnapshotBucket,
        Kind::Grant,
        Kind::EvaluatedChunk,
        Kind::SenderClosing,
    ] {
        let act = Act::Change(Box::new(|frame| {
            let mut flood = frame;
            flood.resize(FLOOD, 0);
            flood
        }));
        let (peak, ended) = peak(vec![Rule { kind, nth: 0, act }]).await;
        assert_eq!(ended.code, 4, "{}: {}", kind.name(), ended.err);
        let grown = peak.saturating_sub(honest);
        assert!(grown < MOST_KIB, "{}: grown by {grown} KiB", kind.name());
    }
}
