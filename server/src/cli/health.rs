//! `tallyd health`: whether the node that runs from this home can serve.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use tallystick_agency::{
    config::{FILE_NAME, NodeConfig},
    exit::{Exit, Failure, Outcome},
};

use super::print;
use crate::health::Answer;
use tallystick_agency::command::Context;
use tallystick_agency::report::{Report, facts};

/// A node that takes longer for one step has other troubles.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More than any answer has.
const MOST_BYTES: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Ask this address instead of the one in node.toml
    #[arg(long, value_name = "ADDR")]
    address: Option<SocketAddr>,
}

#[derive(Debug, Serialize)]
struct Health {
    address: String,
    #[serde(flatten)]
    answer: Answer,
}

impl Report for Health {
    const COMMAND: &'static str = "health";

    fn text(&self) -> String {
        let state = match self.answer.ready {
            true => "ready".to_owned(),
            false => format!("not ready: {}", self.answer.reasons.join(", ")),
        };
        facts([("node", self.address.clone()), ("state", state)]).trim_fmt()
    }
}

/// Needs no passphrase: it reads the address and asks.
pub(super) fn run(context: &Context, args: &HealthArgs) -> Outcome<()> {
    let address = match args.address {
        Some(address) => address,
        None => {
            let config = NodeConfig::load(&context.home_dir()?.join(FILE_NAME))?;
            config.metrics.listen_address.ok_or_else(|| {
                Failure::usage(
                    "no-metrics-address",
                    "node.toml names no address for metrics and health",
                    "set listen_address of [metrics] and start the node again",
                )
            })?
        }
    };
    let address = reachable(address);
    let answer = ask(address).map_err(|error| {
        Failure::new(
            Exit::Network,
            "no-answer",
            format!("nothing answers as a node at {address}: {error}"),
            "see whether `tallyd serve` runs, and what it logged last",
        )
    })?;
    let health = Health {
        address: address.to_string(),
        answer,
    };
    print(context, &health)?;
    match health.answer.ready {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Network,
            "not-ready",
            format!(
                "the node is not ready: {}",
                health.answer.reasons.join(", ")
            ),
            "see what it logged, and `tallyd check`",
        )),
    }
}

/// All addresses of a machine are reached over loopback.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(address: SocketAddr) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.take(MOST_BYTES).read_to_string(&mut text)?;
    let strange = || io::Error::other("it speaks something else");
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(strange)?;
    let status = head.split(' ').nth(1);
    if !head.starts_with("HTTP/1.") || !matches!(status, Some("200" | "503")) {
        return Err(strange());
    }
    serde_json::from_str(body).map_err(|_| strange())
}
