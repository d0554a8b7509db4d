//! What was said once, said again: requests, chunks, closings.

use std::{fs::File, io::BufReader};

use tallystick_protocol::{
    frame::{Frame, FrameReader, Kind},
    statements::{Refusal, open_as_named},
};
use tallystick_tests::{place::Place, wire};
use tonic::Code;

use crate::{matched, served};

/// The frames of a record, its header left out.
fn frames(place: &Place, record: &str) -> Vec<Frame> {
    let file = File::open(place.path(record)).unwrap();
    let mut reader = FrameReader::new(BufReader::new(file));
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        frames.push(frame);
    }
    assert_eq!(frames.remove(0).kind(), Kind::RecordHeader);
    frames
}

fn charged(place: &Place, address: std::net::SocketAddr) -> u64 {
    let offers = place.json(&format!(
        "tally collections --home asker --peer holder --address {address}"
    ));
    offers["collections"][0]["quota_left"][0].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_session_said_again_is_answered_as_before_and_not_charged() {
    let (place, serving) = served();
    let (_, [ours, _]) = matched(&place, &serving, "hits.csv");
    let said = frames(&place, &ours);
    let left = charged(&place, serving.address);
    let mut client = wire::connect(&place.home("asker"), "holder", serving.address).await;
    let mut call = wire::call(&mut client, &said[0]).await.unwrap();
    for pair in said.chunks(2) {
        if pair[0].kind() != Kind::Request {
            call.send(&pair[0]).await;
        }
        assert_eq!(call.next().await.unwrap().as_ref(), Some(&pair[1]));
    }
    assert_eq!(said.last().unwrap().kind(), Kind::SenderClosing);
    assert!(call.next().await.unwrap().is_none());
    assert_eq!(charged(&place, serving.address), left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_session_with_other_chunks_gets_nothing() {
    let (place, serving) = served();
    let (_, [first, _]) = matched(&place, &serving, "a.csv");
    let (_, [second, copy]) = matched(&place, &serving, "b.csv");
    let before = std::fs::read(place.path(&copy)).unwrap();
    let left = charged(&place, serving.address);
    let (first, second) = (frames(&place, &first), frames(&place, &second));
    let mut client = wire::connect(&place.home("asker"), "holder", serving.address).await;
    let mut call = wire::call(&mut client, &second[0]).await.unwrap();
    assert_eq!(call.next().await.unwrap().as_ref(), Some(&second[1]));
    assert_eq!(first[2].kind(), Kind::BlindedChunk);
    call.send(&first[2]).await;
    assert_eq!(call.next().await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(std::fs::read(place.path(&copy)).unwrap(), before);
    assert_eq!(charged(&place, serving.address), left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_for_its_audience_and_its_author_alone() {
    let (place, serving) = served();
    let (_, [ours, _]) = matched(&place, &serving, "hits.csv");
    let request = frames(&place, &ours).remove(0);
    // Another agency, known to the holder, says what the asker said.
    place.init("third");
    place.introduce("third", "holder");
    place.introduce("holder", "third");
    // The running node takes the new peer in by itself.
    let third = place.home("third");
    let address = serving.address;
    let started = std::time::Instant::now();
    let line = format!("tally collections --home third --peer holder --address {address} --quiet");
    while place.run(&line).code != 0 {
        assert!(started.elapsed().as_secs() < 10, "a new peer is not served");
    }
    let mut client = wire::connect(&third, "holder", address).await;
    let mut call = wire::call(&mut client, &request).await.unwrap();
    assert_eq!(call.next().await.unwrap_err().code(), Code::InvalidArgument);

    // The asker says to another node what it said to the holder.
    place.introduce("third", "asker");
    place.introduce("asker", "third");
    let other = place.serve("third");
    let asker = place.home("asker");
    let mut client = wire::connect(&asker, "third", other.address).await;
    let mut call = wire::call(&mut client, &request).await.unwrap();
    assert_eq!(call.next().await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_id_is_used_once() {
    use tallystick_protocol::{
        signing::SigningKey,
        statements::{Int, Request, sign},
    };
    let (place, serving) = served();
    let (_, [ours, theirs]) = matched(&place, &serving, "hits.csv");
    let before = std::fs::read(place.path(&theirs)).unwrap();
    let home = place.home("asker");
    let mut request: Request = open_as_named(&frames(&place, &ours)[0]).unwrap();
    // Well signed by its author, of the same session, but not the same request.
    request.issued_ms = Int::new(request.issued_ms.get() + 1).unwrap();
    let key = SigningKey::from(home.signing_key().unwrap());
    let again = sign(&request, &key).unwrap();
    let mut client = wire::connect(&home, "holder", serving.address).await;
    let mut call = wire::call(&mut client, &again).await.unwrap();
    let frame = call.next().await.unwrap().unwrap();
    let refusal: Refusal = open_as_named(&frame).unwrap();
    assert_eq!(refusal.code.name(), "replayed");
    assert!(call.next().await.unwrap().is_none());
    assert_eq!(std::fs::read(place.path(&theirs)).unwrap(), before);
}
