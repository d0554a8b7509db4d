//! Who answers, who calls, and what time it is there.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use tallystick_tests::{
    outside::{absent, preload},
    place::Ended,
};

use crate::{BEFORE, Stage, configure, judged, refused, run, wait_for};

/// Asks from a home whose clock is so many milliseconds ahead of everybody's; `None` where there is
/// no compiler to make such a clock.
pub fn skewed(stage: &Stage, home: &str, milliseconds: i64) -> Option<Ended> {
    let clock = preload("skew")?;
    let mut command = stage
        .place
        .command(&format!("{} --json", stage.ask_as(home)));
    command
        .env("LD_PRELOAD", clock)
        .env("SKEW_MILLISECONDS", milliseconds.to_string());
    Some(run(&stage.place, command))
}

#[test]
fn a_collection_that_is_not_there_is_named() {
    let stage = Stage::new();
    let line = stage
        .ask()
        .replace("--collection watchlist", "--collection other");
    let says = [
        "holder offers no collection other",
        "tally collections --peer",
    ];
    stage.refused(&line, 3, "not-available", &says);
    stage.good();
}

#[test]
fn clocks_that_differ_by_more_than_thirty_seconds_are_refused_in_both_directions() {
    let stage = Stage::new();
    let says = ["clock", "set them"];
    for milliseconds in [32_000, -32_000] {
        let Some(ended) = skewed(&stage, "asker", milliseconds) else {
            return;
        };
        judged(&ended, "skew", 3, "clock-skew", &says);
        assert_eq!(stage.place.read("hits.csv"), BEFORE);
    }
    // Just within the rule.
    for milliseconds in [27_000, -27_000] {
        let ended = skewed(&stage, "asker", milliseconds).unwrap();
        assert_eq!(ended.code, 0, "{}", ended.err);
        stage.left.set(stage.left.get() - 16);
    }
    stage.good();
}

/// Each side has its own limit: here the holder would grant.
#[test]
fn an_asker_refuses_a_peer_whose_clock_differs() {
    let stage = Stage::new();
    let rule = "clock_skew_refuse_seconds = ";
    let (usual, strict) = (format!("{rule}30"), format!("{rule}10"));
    configure(&stage.place, "asker", &usual, &strict);
    for milliseconds in [20_000, -20_000] {
        let Some(ended) = skewed(&stage, "asker", milliseconds) else {
            return;
        };
        let says = [
            "the peer's clock differs from ours by ",
            "NTP",
            "nothing was charged",
        ];
        judged(&ended, "skew", 3, "clock-skew", &says);
        assert_eq!(stage.place.read("hits.csv"), BEFORE);
    }
    stage.good();
    // A limit beyond the format's own is none.
    configure(&stage.place, "asker", &strict, &format!("{rule}31"));
    let says = ["policy.clock_skew_refuse_seconds", "1 to 30"];
    stage.refused(&stage.ask(), 2, "config", &says);
}

#[test]
fn clocks_that_differ_by_more_than_two_seconds_are_warned_about_on_both_sides() {
    let stage = Stage::new();
    let warned = || stage.serving.log().matches("the clocks differ").count();
    let asked = stage.good();
    assert_eq!(asked["hits"], 2);
    assert_eq!(warned(), 0);
    for (times, milliseconds) in [(1, 4000), (2, -4000)] {
        let Some(ended) = skewed(&stage, "asker", milliseconds) else {
            return;
        };
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(
            ended.err.contains("the peer's clock differs from ours"),
            "{}",
            ended.err
        );
        assert_eq!(warned(), times, "{}", stage.serving.log());
    }
}

#[test]
fn a_port_in_use_is_named() {
    let stage = Stage::new();
    stage.spoiled("h");
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    configure(&stage.place, "h", "127.0.0.1:0", &address);
    let says = [&address[..], "the port is in use", "change listen_address"];
    stage.refused("tallyd serve --home h", 2, "port-in-use", &says);
    drop(held);
    assert_eq!(stage.place.serve("h").stop(), Some(0));
    configure(&stage.place, "h", &address, "192.0.2.1:7443");
    let says = ["192.0.2.1:7443", "no such address", "listen_address"];
    stage.refused("tallyd serve --home h", 2, "address-not-here", &says);
}

/// Listens and does one thing with whoever comes, until the test is over.
fn answering(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap());
        }
    });
    address
}

/// Reads what comes, answers, and waits for the other side to go.
fn says(answer: &'static [u8]) -> SocketAddr {
    answering(move |mut stream| {
        let mut bytes = [0; 4096];
        let _ = stream.read(&mut bytes);
        let _ = stream.write_all(answer);
        while stream.read(&mut bytes).is_ok_and(|read| read > 0) {}
    })
}

#[test]
fn a_peer_that_speaks_something_else_is_no_node() {
    let stage = Stage::new();
    let ssh = answering(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let echo = answering(|stream| {
        let mut back = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut &stream, &mut back);
    });
    let http = says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    for address in [ssh, echo, http] {
        let says = [
            &address.to_string()[..],
            "is no node",
            "check address and port",
        ];
        let line = crate::ask("asker", &address.to_string());
        stage.refused(&line, 5, "not-a-node", &says);
    }
    // An old server's answer to a new greeting.
    let alert = says(b"\x15\x03\x01\x00\x02\x02\x46");
    let line = crate::ask("asker", &alert.to_string());
    let says = [&alert.to_string()[..], "does not speak TLS 1.3"];
    stage.refused(&line, 5, "tls-version", &says);
    // Nobody, and nowhere.
    for (address, why) in [
        ("127.0.0.1:1", "refused"),
        ("nowhere.invalid:7443", "address"),
        ("nowhere", "invalid"),
    ] {
        let says = [address, why, "check that its node runs"];
        stage.refused(&crate::ask("asker", address), 5, "network", &says);
    }
    stage.good();
}

#[test]
fn a_peer_that_says_nothing_is_given_up() {
    let stage = Stage::new();
    let silent = answering(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let line = crate::ask("asker", &silent.to_string());
    let says = ["no answer within 10 s", "check that its node runs"];
    stage.refused(&line, 5, "network", &says);
    stage.good();
}

/// The same said to a node: it refuses, says so in its log, and serves the others.
#[test]
fn a_caller_that_speaks_something_else_is_refused_and_others_are_served() {
    let stage = Stage::new();
    let address = stage.serving.address;
    let refused = || stage.serving.log().matches("connection refused").count();
    // Says nothing, all the time.
    let silent = TcpStream::connect(address).unwrap();
    for (times, bytes) in [
        (1, &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..]),
        (2, b"SSH-2.0-OpenSSH_9.2\r\n"),
        (3, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (4, b"\x16\x03\x01\xff\xff\x01"),
        (5, &[0; 4096]),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream.write_all(bytes).unwrap();
        // Nothing but an alert, and the end.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 64, "{answer:?}");
        drop(stream);
        wait_for("the refusal in the log", || {
            (refused() == times).then_some(())
        });
        stage.good();
    }
    assert!(!stage.serving.log().contains("panicked"));
    // It is cut off while it still stands there.
    wait_for("the silent one in the log", || {
        (refused() == 6).then_some(())
    });
    drop(silent);
    stage.good();
}

/// Serves or calls with the certificate and key of a home, in one version of TLS.
const OTHER_TLS: &str = r#"
import base64, socket, ssl, sys
side, home, version, port = sys.argv[1:5]
with open("key.der", "rb") as der, open("key.pem", "w") as pem:
    text = base64.encodebytes(der.read()).decode()
    pem.write(f"-----BEGIN PRIVATE KEY-----\n{text}-----END PRIVATE KEY-----\n")
server = side == "server"
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.load_cert_chain(f"{home}/tls/node.crt", "key.pem")
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
context.set_alpn_protocols(["h2"])
if server:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    stream = listener.accept()[0]
else:
    stream = socket.create_connection(("127.0.0.1", int(port)))
try:
    with context.wrap_socket(stream, server_side=server) as stream:
        stream.recv(9)
        print("met in", stream.version())
        if server:
            stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            while stream.recv(4096):
                pass
except OSError as error:
    print("refused:", error)
"#;

/// A script with another TLS; `None` where there is no Python.
fn other_tls(stage: &Stage, side: &str, home: &str, version: &str) -> Option<Command> {
    let runs = Command::new("python3").arg("--version").output();
    if !runs.is_ok_and(|output| output.status.success()) {
        absent("python3");
        return None;
    }
    let key = stage.place.home(home).tls_key().unwrap();
    fs::write(stage.place.path("key.der"), &key[..]).unwrap();
    let mut command = Command::new("python3");
    command
        .args(["-c", OTHER_TLS, side, home, version])
        .arg(stage.serving.address.port().to_string())
        .current_dir(stage.place.path("."));
    Some(command)
}

#[test]
fn a_caller_with_tls_1_2_is_refused() {
    let stage = Stage::new();
    for (version, met) in [("TLSv1_2", "refused:"), ("TLSv1_3", "met in TLSv1.3")] {
        let Some(command) = other_tls(&stage, "client", "asker", version) else {
            return;
        };
        let ended = run(&stage.place, command);
        assert!(
            ended.out.starts_with(met),
            "{version}: {} {}",
            ended.out,
            ended.err
        );
        if version == "TLSv1_2" {
            assert!(ended.out.contains("protocol version"), "{}", ended.out);
            wait_for("the refusal in the log", || {
                let log = stage.serving.log();
                log.contains("connection refused").then_some(())
            });
        }
    }
    stage.good();
}

#[test]
fn a_server_with_tls_1_2_is_refused() {
    let stage = Stage::new();
    for (version, met, code, part) in [
        (
            "TLSv1_2",
            "refused:",
            "tls-version",
            "does not speak TLS 1.3",
        ),
        // The right certificate in the right version, and then not our protocol: what of that is
        // seen first, its answer or its end, is chance.
        ("TLSv1_3", "met in TLSv1.3", "network", "the peer"),
    ] {
        let Some(mut command) = other_tls(&stage, "server", "holder", version) else {
            return;
        };
        let mut server = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap();
        let line = crate::ask("asker", &format!("127.0.0.1:{port}"));
        refused(&stage.place, &line, 5, code, &[part]);
        let said = lines.next().unwrap().unwrap();
        assert!(said.starts_with(met), "{version}: {said}");
        server.wait().unwrap();
        assert_eq!(stage.place.read("hits.csv"), BEFORE);
    }
    stage.good();
}
