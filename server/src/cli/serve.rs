//! `tallyd serve`.

use std::{io, net::SocketAddr};

use tallystick_agency::{
    clock::now_ms,
    config::{FILE_NAME, LogConfig, NodeConfig},
    exit::{Exit, Failure, Outcome},
    logging::init_tracing,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use tallystick_agency::command::{Context, Signals, runtime};

use crate::node::Node;

pub(super) fn run(context: &Context) -> Outcome<()> {
    // Opening the home may already log. A file that does not load is reported by `open`.
    let file = context.home_dir()?.join(FILE_NAME);
    let log = NodeConfig::load(&file).map_or_else(|_| LogConfig::default(), |config| config.log);
    let filter = if context.quiet { "warn" } else { &log.filter };
    init_tracing(log.format, filter)?;
    let home = context.open_home()?;
    home.current_tls_identity(now_ms())?;

    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let node = Node::open(home).await?;
        let address = node.listen_address();
        let listener = TcpListener::bind(address)
            .await
            .map_err(|e| unavailable(address, &e))?;
        let address = listener.local_addr().unwrap_or(address);
        tracing::info!(%address, "listening");

        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            signals.next().await;
            stop.cancel();
            signals.next().await;
            tracing::warn!("ended at once; sessions under way can be resumed");
            std::process::exit(Exit::Interrupted.code().into());
        });
        crate::serve(listener, node, stopped).await?;
        tracing::info!("stopped");
        Ok(())
    })
}

/// Why a node cannot listen, and what to do.
pub(super) fn unavailable(address: SocketAddr, error: &io::Error) -> Failure {
    let (code, why, next) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            "port-in-use",
            "the port is in use",
            "stop the program that holds it (another tallyd?), or change listen_address in node.toml",
        ),
        io::ErrorKind::AddrNotAvailable => (
            "address-not-here",
            "this machine has no such address",
            "change listen_address in node.toml; 0.0.0.0 means all IPv4 interfaces",
        ),
        io::ErrorKind::PermissionDenied => (
            "port-not-allowed",
            "this user may not use the port",
            "choose a port above 1023 as listen_address in node.toml",
        ),
        _ => (
            "cannot-listen",
            "the system says no",
            "change listen_address in node.toml",
        ),
    };
    let what = format!("cannot listen on {address}: {why} ({error})");
    Failure::usage(code, what, next)
}
