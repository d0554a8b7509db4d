//! `tallyd serve`.

use std::{fs, process::Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::place::{Place, text, wait};

#[test]
fn a_port_in_use_is_named() {
    let place = Place::new();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    place.run(
        &format!("init h --name alpha --dev-ca --listen {address} -q"),
        0,
    );
    let output = place.run("serve --home h", 2);
    assert!(text(&output.stderr).contains("the port is in use"));
    assert!(output.stdout.is_empty());
}

#[test]
fn serve_listens_until_it_is_told_to_stop() {
    let place = Place::new();
    place.init("alpha");
    let config = place.path("alpha").join("node.toml");
    let text_before = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text_before.replace("format = \"pretty\"", "format = \"json\""),
    )
    .unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let log = place.path("log");
        let mut child = place
            .command("serve --home alpha")
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        wait(|| fs::read_to_string(&log).unwrap().contains("listening"));
        let line = fs::read_to_string(&log).unwrap();
        let event: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        let address = event["address"].as_str().unwrap();
        assert!(std::net::TcpStream::connect(address).is_ok());
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
