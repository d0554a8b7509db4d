//! How much of a node one peer may hold: each limit is a key of the configuration, and what is over
//! it gets a typed refusal at once, while others are served.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Read,
    net::TcpStream,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tallystick_agency::store::{SessionStatus, Store};
use tallystick_tests::{
    place::{Place, Serving},
    wire,
};
use tallystick_wire::{
    CatalogueRequest, Envelope, SnapshotRequest, exchange_client::ExchangeClient,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

/// What waits longer hangs.
const LONGEST: Duration = Duration::from_secs(30);
/// A revoked peer is cut within 5 s. What is not cut at all is noticed after the idle time only,
/// which is a minute: so the bound of the test leaves room for a busy machine.
const CUT: Duration = Duration::from_secs(20);

/// A holder with these limits, an asker that knows it, and a bystander.
fn served(limits: &[(&str, &str)]) -> (Place, Serving) {
    let place = Place::pair("holder", "asker");
    let config = place.path("holder").join("node.toml");
    let mut text = fs::read_to_string(&config).unwrap();
    for (key, value) in limits {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{key} = ")));
        text = text.replace(line.unwrap(), &format!("{key} = {value}"));
    }
    fs::write(&config, text).unwrap();
    // An agency that has nothing to do with the one at its limit.
    place.init("bystander");
    place.introduce("holder", "bystander");
    place.introduce("bystander", "holder");
    let serving = place.serve("holder");
    (place, serving)
}

fn collections(home: &str, serving: &Serving) -> String {
    let address = serving.address;
    format!("tally collections --home {home} --peer holder --address {address}")
}

async fn client(place: &Place, serving: &Serving) -> ExchangeClient<Channel> {
    wire::connect(&place.home("asker"), "holder", serving.address).await
}

async fn catalogue(client: &mut ExchangeClient<Channel>) -> Result<(), Status> {
    client.catalogue(CatalogueRequest {}).await.map(drop)
}

fn refused(result: Result<impl Sized, Status>, code: &str) {
    let status = result.err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(
        status.message().starts_with(&format!("{code}: ")),
        "{status}"
    );
}

/// Opens a session call and says nothing on it.
async fn silent(
    client: &mut ExchangeClient<Channel>,
) -> Result<(tokio::sync::mpsc::Sender<Envelope>, Streaming<Envelope>), Status> {
    let (out, frames) = tokio::sync::mpsc::channel(1);
    let call = client.session(ReceiverStream::new(frames)).await?;
    Ok((out, call.into_inner()))
}

/// Tries until it succeeds.
async fn until_ok<T, F: Future<Output = Result<T, Status>>>(mut attempt: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(status) => assert!(started.elapsed() < LONGEST, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_peer() {
    let (place, serving) = served(&[("max_connections_per_peer", "2")]);
    let mut first = client(&place, &serving).await;
    let mut second = client(&place, &serving).await;
    catalogue(&mut first).await.unwrap();
    catalogue(&mut second).await.unwrap();
    let mut third = client(&place, &serving).await;
    refused(catalogue(&mut third).await, "too-many-connections");
    let code = place.fails(&collections("asker", &serving), 3);
    assert_eq!(code, "too-many-connections");
    place.does(&collections("bystander", &serving));
    catalogue(&mut first).await.unwrap();
    // Who leaves makes room.
    drop(second);
    let place = &place;
    let serving = &serving;
    until_ok(|| async move { catalogue(&mut client(place, serving).await).await }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_one_peer() {
    let (place, serving) = served(&[("max_calls_per_peer", "1")]);
    let mut client = client(&place, &serving).await;
    let held = silent(&mut client).await.unwrap();
    refused(catalogue(&mut client).await, "too-many-calls");
    refused(silent(&mut client).await, "too-many-calls");
    place.does(&collections("bystander", &serving));
    drop(held);
    until_ok(|| {
        let mut client = client.clone();
        async move { catalogue(&mut client).await }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_begun_in_a_minute() {
    let (place, serving) = served(&[("session_requests_per_minute_per_peer", "2")]);
    let mut client = client(&place, &serving).await;
    for _ in 0..2 {
        drop(silent(&mut client).await.unwrap());
    }
    refused(silent(&mut client).await, "too-many-requests");
    catalogue(&mut client).await.unwrap();
}

/// A peer that opens session after session holds no more than its share, and another is served.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_sessions() {
    let (place, serving) = served(&[]);
    let mut turned_away = 0;
    let mut held = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(client(&place, &serving).await);
    }
    for n in 0..10_000 {
        let client = &mut clients[n % 8];
        match tokio::time::timeout(LONGEST, silent(client)).await.unwrap() {
            Ok(call) => held.push(call),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                turned_away += 1;
            }
        }
    }
    assert_eq!(held.len(), 32, "as many calls as one peer may make");
    assert_eq!(turned_away, 10_000 - 32);
    place.does(&collections("bystander", &serving));
    let status = fs::read_to_string(format!("/proc/{}/status", serving.id())).unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(peak < 150 * 1024, "{peak} KiB");
}

/// A collection whose snapshot is larger than what waits in buffers.
fn publish_large(place: &Place) -> Vec<u8> {
    let rows: String = (0..40_000)
        .map(|n| format!("W{n},UTO,{n:0>200}\n"))
        .collect();
    place.write("large.csv", &format!("number,state,case\n{rows}"));
    let report = place.json(
        "tallyd collection publish large --home holder --input large.csv \
         --key document=number,state --label case",
    );
    let digest = report["digest"].as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&digest[at..at + 2], 16).unwrap();
    (0..digest.len()).step_by(2).map(byte).collect()
}

async fn read_nothing(
    client: &mut ExchangeClient<Channel>,
    digest: &[u8],
) -> Result<Streaming<Envelope>, Status> {
    let request = SnapshotRequest {
        digest: digest.to_vec(),
        from_bucket: 0,
        have: Vec::new(),
    };
    Ok(client.snapshot(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_read_by_one_peer() {
    let (place, serving) = served(&[("max_snapshots_per_peer", "1")]);
    let digest = publish_large(&place);
    let mut client = client(&place, &serving).await;
    let held = read_nothing(&mut client, &digest).await.unwrap();
    refused(
        read_nothing(&mut client, &digest).await,
        "too-many-snapshots",
    );
    drop(held);
    until_ok(|| {
        let (mut client, digest) = (client.clone(), &digest);
        async move { read_nothing(&mut client, digest).await }
    })
    .await;
}

/// Bytes until the other side closes; an error is an end, too.
fn drained(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(LONGEST)).unwrap();
    let mut buffer = [0u8; 256];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => panic!("still open"),
            Err(_) => return,
        }
    }
}

/// Waits for a word in the log.
fn logged(serving: &Serving, word: &str) {
    let started = Instant::now();
    while !serving.log().contains(word) {
        assert!(started.elapsed() < LONGEST, "{word}: {}", serving.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn handshakes_of_one_address() {
    let (place, serving) = served(&[
        ("max_handshakes_per_address", "2"),
        ("handshake_timeout_seconds", "3"),
    ]);
    let silent = || TcpStream::connect(serving.address).unwrap();
    let (mut first, mut second) = (silent(), silent());
    // Both have been accepted when a third is closed.
    let mut third = silent();
    drained(&mut third);
    logged(&serving, "too-many-handshakes");
    // A handshake that is only dribbled does not last.
    for stream in [&mut first, &mut second] {
        drained(stream);
    }
    logged(&serving, "handshake-timeout");
    place.does(&collections("asker", &serving));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_is_called_is_closed() {
    let (place, serving) = served(&[
        ("max_connections_per_peer", "1"),
        ("idle_timeout_seconds", "2"),
    ]);
    let mut idle = client(&place, &serving).await;
    catalogue(&mut idle).await.unwrap();
    let (place, serving) = (&place, &serving);
    until_ok(|| async move { catalogue(&mut client(place, serving).await).await }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_peer_is_cut_also_when_it_takes_nothing() {
    let (place, serving) = served(&[("chunk_elements", "64"), ("window_chunks", "1")]);
    let digest = publish_large(&place);
    // One connection is idle, one reads a snapshot slowly, one runs a session and is frozen.
    let mut idle = client(&place, &serving).await;
    catalogue(&mut idle).await.unwrap();
    let mut reader = client(&place, &serving).await;
    let mut snapshot = read_nothing(&mut reader, &digest).await.unwrap();
    let rows: String = (0..30_000).map(|n| format!("P{n},UTO\n")).collect();
    place.write("border.csv", &format!("passport,country\n{rows}"));
    let line = format!(
        "tally match --home asker --peer holder --address {} --collection large --input border.csv \
         --key document=passport,country --out hits.csv",
        serving.address
    );
    let mut frozen = place.command(&line).spawn().unwrap();
    let store = place.home("holder").store().await.unwrap();
    let session = until(async || {
        let open = store.open_sessions().await.unwrap();
        let session = open.first()?;
        (session.grants[0].used > 0).then_some(session.session)
    })
    .await;
    let id = Pid::from_raw(frozen.id().try_into().unwrap());
    kill(id, Signal::SIGSTOP).unwrap();

    let revoked = Instant::now();
    place.does("tallyd peer revoke asker --home holder");
    until(async || {
        let known = store.session(&session).await.unwrap().unwrap();
        (known.status == SessionStatus::Aborted).then_some(())
    })
    .await;
    let aborted = revoked.elapsed();
    eprintln!("the session ended {aborted:.1?} after the revocation");
    assert!(aborted < CUT);
    // Whoever asks for the rest of the snapshot after 5 s gets nothing: the connection is gone.
    let cut = Duration::from_secs(5).saturating_sub(revoked.elapsed());
    tokio::time::sleep(cut).await;
    let rest = async {
        while snapshot.message().await?.is_some() {}
        Ok::<_, Status>(())
    };
    let rest = tokio::time::timeout(LONGEST, rest).await.unwrap();
    rest.unwrap_err();
    catalogue(&mut idle).await.unwrap_err();
    kill(id, Signal::SIGCONT).unwrap();
    assert_eq!(frozen.wait().unwrap().code(), Some(3), "it is told so");
    assert!(!place.path("hits.csv").exists());
}

/// Looks until it is there.
async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < LONGEST, "waited too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
