//! A peer that opens ten thousand sessions.

use std::{sync::Arc, time::Duration};

use tallystick_agency::tls;
use tallystick_protocol::{frame::Kind, statements::Hex};
use tallystick_tests::{
    http2::{GOAWAY, RST_STREAM, Raw},
    place::Serving,
    stage::Stage,
    wire,
};
use tokio::net::TcpStream;

use crate::{
    floods::raw,
    receiver::{Receiver, next, refusal},
};

/// What a node may take at most, whatever comes.
const MOST_KIB: u64 = 150 << 10;
const SESSIONS: usize = 10_000;
const CONNECTIONS: usize = 200;

/// Another agency that knows the holder, and is known.
fn another(stage: &Stage) {
    stage.place.init("other");
    stage.place.introduce("other", "holder");
    stage.place.introduce("holder", "other");
}

/// It is served as ever.
fn is_served(stage: &Stage, serving: &Serving, out: &str) {
    let line = stage.line("other", serving.address, out);
    let report = tallystick_tests::running::Running::start(&stage.place, &line).report();
    assert_eq!(report["elements_matched"], 3);
    stage.matches_are_right(out);
}

/// Without heed for what the node allows: most calls are refused at once.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_calls_on_one_connection_harm_nobody_else() {
    let stage = Stage::new();
    another(&stage);
    let serving = stage.place.serve("holder");
    let mut raw = raw(&stage, &serving, 1 << 16).await;
    let mut bytes = Vec::new();
    for _ in 0..SESSIONS {
        let (_, call) = raw.calling("Session");
        bytes.extend_from_slice(&call);
    }
    for part in bytes.chunks(1 << 14) {
        raw.say(part).await;
    }
    // They are refused, one by one or all at once.
    let refused = async {
        let mut refused = 0;
        while let Some((kind, _, _)) = raw.next().await {
            refused += usize::from(kind == RST_STREAM);
            if kind == GOAWAY || refused > 1000 {
                break;
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(60), refused).await;
    assert!(refused.is_ok(), "none of ten thousand calls is refused");
    is_served(&stage, &serving, "hits.csv");
    let peak = serving.peak_kib();
    assert!(peak < MOST_KIB, "{peak} KiB");
}

/// As many as it can on each of many connections.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_calls_on_many_connections_harm_nobody_else() {
    let stage = Stage::new();
    another(&stage);
    let serving = stage.place.serve("holder");
    let connector = Arc::new(wire::connector(&stage.place.home("asker"), "holder").await);
    let mut open: Vec<Raw> = Vec::new();
    let mut refused = 0;
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(serving.address).await.unwrap();
        let Ok(stream) = connector.connect(tls::server_name(), stream).await else {
            refused += 1;
            continue;
        };
        let mut raw = Raw::open(stream, 1 << 16).await;
        for _ in 0..SESSIONS / CONNECTIONS {
            raw.call("Session").await;
        }
        open.push(raw);
    }
    is_served(&stage, &serving, "hits.csv");
    let peak = serving.peak_kib();
    assert!(peak < MOST_KIB, "{peak} KiB, {refused} connections refused");
    drop(open);
    is_served(&stage, &serving, "after.csv");
}

/// Requests that are well signed, each of a session of its own, and none is ever closed: as many as
/// are allowed are granted, the others hear so and leave nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_beyond_the_limit_are_refused_by_name() {
    const ALLOWED: usize = 3;
    let stage = Stage::new();
    another(&stage);
    stage.configure("holder", "max_sessions_per_peer", ALLOWED as u64);
    let receiver = Receiver::on(stage);
    let mut client = wire::connect(&receiver.home, "holder", receiver.address).await;
    let mut granted = Vec::new();
    for number in 0..60u8 {
        let asking = receiver.asking_as(Hex([number + 1; 16]), 16);
        let call = wire::call(&mut client, asking.frame());
        let mut call = call.await.unwrap();
        if granted.len() < ALLOWED {
            let grant = next(&mut call).await.unwrap().unwrap();
            assert_eq!(grant.kind(), Kind::Grant);
            granted.push(call);
        } else {
            assert_eq!(refusal(&mut call).await, "busy");
        }
    }
    is_served(&receiver.stage, receiver.serving(), "other.csv");
    let open = receiver.stage.records("holder", ".part");
    assert_eq!(open.len(), ALLOWED, "{open:?}");
}
