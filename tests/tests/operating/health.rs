//! Whether a node can serve, asked over gRPC, over HTTP, by command, and told to systemd.

use std::{fs, os::unix::net::UnixDatagram, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tallystick_tests::{place::Place, wire};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{fresh_request, published, scrape::http, wait};

const EXCHANGE: &str = "tallystick.v1.Exchange";

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

fn health_line(address: std::net::SocketAddr) -> String {
    format!("tallyd health --address {address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_makes_the_node_not_ready_until_it_works_again() {
    let place = published(1000);
    let serving = place.serve("holder");
    let address = serving.metrics_address();
    let asker = place.home("asker");
    let channel = wire::channel(&asker, "holder", serving.address).await;
    let mut client = HealthClient::new(channel);
    for service in ["", EXCHANGE] {
        let answer = client.check(about(service)).await.unwrap();
        assert_eq!(
            answer.get_ref().status(),
            ServingStatus::Serving,
            "{service}"
        );
    }
    let unknown = client.check(about("other")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let ready = place.json(&health_line(address));
    assert_eq!(ready["ready"], true);

    let database = place.path("holder/state.db");
    let aside = place.path("holder/state.db.aside");
    fs::rename(&database, &aside).unwrap();
    wait("a lost database is not noticed", || {
        http(address, "GET /readyz").status == 503
    });
    let answer = http(address, "GET /readyz");
    assert_eq!(answer.body, "{\"ready\":false,\"reasons\":[\"store\"]}\n");
    assert_eq!(http(address, "GET /healthz").status, 200);
    let ended = place.run(&format!("{} --json", health_line(address)));
    assert_eq!(ended.code, 5, "{}", ended.err);
    assert!(
        ended.out.contains("\"reasons\":[\"store\"]"),
        "{}",
        ended.out
    );
    assert!(
        ended.err.contains("\"code\":\"not-ready\""),
        "{}",
        ended.err
    );
    for service in ["", EXCHANGE] {
        let answer = client.check(about(service)).await.unwrap();
        assert_eq!(answer.get_ref().status(), ServingStatus::NotServing);
    }

    fs::rename(&aside, &database).unwrap();
    wait("it does not come back", || {
        http(address, "GET /readyz").status == 200
    });
    let answer = client.check(about("")).await.unwrap();
    assert_eq!(answer.get_ref().status(), ServingStatus::Serving);
    assert_eq!(serving.stop(), Some(0));
    assert_eq!(place.fails(&health_line(address), 5), "no-answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drains_says_so_to_operators_and_peers() {
    let place = published(1000);
    let mut child = place
        .command("tallyd serve --home holder")
        .stdout(Stdio::null())
        .stderr(fs::File::create(place.path("holder.log")).unwrap())
        .spawn()
        .unwrap();
    let logged = |what: &str| {
        let log = place.read("holder.log");
        let event = log
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|event| event["message"] == what)?;
        Some(event["address"].as_str()?.parse().unwrap())
    };
    wait("it does not listen", || logged("listening").is_some());
    let (peers, metrics) = (
        logged("listening").unwrap(),
        logged("metrics listening").unwrap(),
    );
    let report = place.json(&format!(
        "tally match --home asker --peer holder --address {peers} --collection watchlist \
         --input border.csv --key document=passport,country --out hits.csv"
    ));
    let asker = place.home("asker");
    let request = fresh_request(&place, report["record"].as_str().unwrap());
    // A session that is granted and goes no further holds the node up.
    let mut client = wire::connect(&asker, "holder", peers).await;
    let mut call = wire::call(&mut client, &request).await.unwrap();
    call.next().await.unwrap().unwrap();
    let channel = wire::channel(&asker, "holder", peers).await;
    let mut watching = HealthClient::new(channel)
        .watch(about(EXCHANGE))
        .await
        .unwrap()
        .into_inner();
    let told = watching.message().await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::Serving);

    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let told = tokio::time::timeout(Duration::from_secs(20), watching.message());
    let told = told.await.unwrap().unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::NotServing);
    // The stream ends, so that it does not hold the node up.
    let end = tokio::time::timeout(Duration::from_secs(20), watching.message());
    assert!(!matches!(end.await.unwrap(), Ok(Some(_))));
    let answer = http(metrics, "GET /readyz");
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.body,
        "{\"ready\":false,\"reasons\":[\"draining\"]}\n"
    );
    // With the session gone nothing is left to wait for: the metrics go last.
    drop((call, client));
    wait("it does not end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(place.fails(&health_line(metrics), 5), "no-answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_to_peers_on_the_list_only() {
    let place = published(1000);
    let serving = place.serve("holder");
    let asker = place.home("asker");
    let channel = wire::channel(&asker, "holder", serving.address).await;
    let mut client = HealthClient::new(channel);
    let mut watching = client.watch(about("")).await.unwrap().into_inner();
    watching.message().await.unwrap().unwrap();
    place.does("tallyd peer revoke asker --home holder");
    // The stream that is open is ended, and no other one is opened.
    let end = tokio::time::timeout(Duration::from_secs(20), watching.message());
    assert!(!matches!(end.await.unwrap(), Ok(Some(_))));
    let refused = client.check(about("")).await.unwrap_err();
    assert_ne!(refused.code(), Code::Ok);
}

#[test]
fn systemd_is_told_when_the_node_is_ready_and_when_it_stops() {
    let place = published(1000);
    let socket = place.path("notify");
    let told = UnixDatagram::bind(&socket).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut child = place
        .command("tallyd serve --home holder")
        .env("NOTIFY_SOCKET", &socket)
        .stdout(Stdio::null())
        .stderr(fs::File::create(place.path("holder.log")).unwrap())
        .spawn()
        .unwrap();
    let next = || {
        let mut bytes = [0u8; 64];
        let n = told.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..n].to_vec()).unwrap()
    };
    assert_eq!(next(), "READY=1");
    // Not before it listens.
    assert!(place.read("holder.log").contains("\"listening\""));
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(next(), "STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn health_of_something_else_is_no_answer() {
    let place = Place::new();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let speaks = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = other.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nfine\n");
    });
    assert_eq!(place.fails(&health_line(address), 5), "no-answer");
    speaks.join().unwrap();
}
