//! Peers that keep others waiting: handshakes, messages and answers that never come to their end.

use std::time::{Duration, Instant};

use tallystick_agency::store::Store;
use tallystick_protocol::statements::Hex;
use tallystick_tests::{http2::message, running::wait_for, stage::Stage};
use tallystick_wire::Envelope;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    floods::raw,
    receiver::{Receiver, chunk, next},
};

/// Seconds of silence that the node bears.
const IDLE: u64 = 2;
/// What it must have noticed by then, on the busiest machine.
const LONGEST: Duration = Duration::from_secs(40);

/// Somebody without a key, who sends the start of a handshake byte by byte, many times over.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_byte_by_byte_is_given_up_and_keeps_nobody_out() {
    let stage = Stage::new();
    // Ten seconds where the node does not let it be set.
    stage.configure_if_known("holder", "handshake_timeout_seconds", IDLE);
    let serving = stage.place.serve("holder");
    let address = serving.address;
    let mut slow = Vec::new();
    for _ in 0..40 {
        slow.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // A handshake record of 512 bytes.
            stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0]).await.unwrap();
            let started = Instant::now();
            let mut byte = [0; 1];
            loop {
                let read = stream.read(&mut byte);
                let heard = tokio::time::timeout(Duration::from_millis(100), read).await;
                if heard.is_ok() || stream.write_all(&[0]).await.is_err() {
                    return;
                }
                assert!(started.elapsed() < LONGEST, "the node still listens");
            }
        }));
    }
    let started = Instant::now();
    stage.place.does(&format!(
        "tally collections --home asker --peer holder --address {address}"
    ));
    assert!(started.elapsed() < LONGEST);
    for slow in slow {
        slow.await.unwrap();
    }
}

/// A frame that comes byte by byte is silence, however long it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_byte_by_byte_is_not_waited_for() {
    let stage = Stage::new();
    stage.configure("holder", "idle_timeout_seconds", IDLE);
    let serving = stage.place.serve("holder");
    let mut raw = raw(&stage, &serving, 1 << 16).await;
    let call = raw.call("Session").await;
    raw.data(call, &message(4000)).await;
    let started = Instant::now();
    loop {
        raw.data(call, &[0]).await;
        let next = tokio::time::timeout(Duration::from_millis(100), raw.next()).await;
        match next {
            Err(_) => {}
            // The connection itself may go as well.
            Ok(None) => break,
            Ok(Some((_, of, ends))) if of == call && ends => break,
            Ok(Some(_)) => {}
        }
        assert!(started.elapsed() < LONGEST, "the node still listens");
    }
    assert!(started.elapsed() > Duration::from_secs(1), "for no reason");
}

/// A call that says nothing at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_request_is_not_waited_for() {
    let stage = Stage::new();
    stage.configure("holder", "idle_timeout_seconds", IDLE);
    let serving = stage.place.serve("holder");
    let mut raw = raw(&stage, &serving, 1 << 16).await;
    let call = raw.call("Session").await;
    raw.ended(call, LONGEST).await;
}

/// A receiver that asks and asks, and takes no answer: its session is let go, and can be gone on
/// with over another connection.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_are_not_waited_for() {
    let stage = Stage::new();
    stage.configure("holder", "idle_timeout_seconds", IDLE);
    let receiver = Receiver::on(stage);
    let (mut call, mut matching, _) = receiver.granted(1, 160).await;
    let mut asked = vec![receiver.first(1)];
    for _ in 0..3 {
        let frame;
        (matching, frame) = chunk(matching, 16);
        call.send(&frame).await;
        let answer = next(&mut call).await.unwrap().unwrap();
        (matching, _) = matching.receive(&answer).unwrap();
        asked.push(frame);
    }
    drop(call);
    // The same again, with a window for answers that stays shut.
    let mut raw = raw(&receiver.stage, receiver.serving(), 0).await;
    let stream = raw.call("Session").await;
    for frame in asked.iter().chain(asked[1..].iter().cycle().take(9)) {
        let envelope = Envelope {
            frame: frame.bytes().to_vec(),
        };
        let bytes = tonic_message(&envelope);
        raw.data(stream, &bytes).await;
    }
    wait_for("the node to give up", || {
        let log = receiver.serving().log();
        log.contains(&format!("nothing was taken for {IDLE} s"))
            .then_some(())
    });
    let mut call = receiver.say(&asked[0]).await;
    assert!(next(&mut call).await.unwrap().is_some());
    call.send(&asked[1]).await;
    assert!(next(&mut call).await.unwrap().is_some());
    let store = receiver.stage.place.home("holder").store().await.unwrap();
    let known = store.session(&Hex([1; 16]).0).await.unwrap().unwrap();
    store.close().await;
    assert_eq!(known.grants[0].used, 48);
}

/// An envelope as gRPC frames it: field 1, bytes.
fn tonic_message(envelope: &Envelope) -> Vec<u8> {
    let length = envelope.frame.len();
    let mut body = vec![0x0a];
    let mut left = length;
    while left >= 0x80 {
        body.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    body.push(u8::try_from(left).unwrap());
    body.extend_from_slice(&envelope.frame);
    let mut out = message(u32::try_from(body.len()).unwrap());
    out.extend_from_slice(&body);
    out
}
