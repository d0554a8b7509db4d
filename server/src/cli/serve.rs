//! `tallyd serve`.

use std::{ffi::OsStr, io, net::SocketAddr, os::unix::net::UnixDatagram, sync::Arc};

use tallystick_agency::{
    clock::now_ms,
    config::{FILE_NAME, LogConfig, NodeConfig},
    exit::{Exit, Failure, Outcome},
    logging::init_tracing,
    memory::{self, LockMemory},
    publish,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use tallystick_agency::command::{Context, Signals, runtime, warn_of_kernel};
use tallystick_protocol::group;

use crate::node::Node;

pub(super) fn run(context: &Context) -> Outcome<()> {
    // Opening the home may already log. A file that does not load is reported by `open`.
    let file = context.home_dir()?.join(FILE_NAME);
    let log = NodeConfig::load(&file).map_or_else(|_| LogConfig::default(), |config| config.log);
    let filter = if context.quiet { "warn" } else { &log.filter };
    init_tracing(log.format, filter)?;
    warn_of_kernel();
    let home = context.open_home()?;
    home.current_tls_identity(now_ms())?;
    // `off` was somebody's choice.
    if home.config().lock_memory != LockMemory::Off
        && let Err(why) = memory::state(home.config().lock_memory)
    {
        tracing::warn!("{why}");
    }

    let runtime = runtime()?;
    let pool = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let node = Node::open(home).await?;
        if let Err(error) = publish::finish_broken_off(&node.home, &*node.store).await {
            tracing::error!(code = error.code(), "cannot destroy old keys: {error}");
        }
        let pool = node.pool.clone();
        let address = node.listen_address();
        let listener = TcpListener::bind(address)
            .await
            .map_err(|e| unavailable(address, &e))?;
        let address = listener.local_addr().unwrap_or(address);
        let ended = CancellationToken::new();
        let metrics = match node.metrics_address() {
            None => None,
            Some(address) => Some(metrics(address, &node, &ended).await?),
        };
        tracing::info!(%address, kernel = %group::chosen(), "listening");
        notify("READY=1");

        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            signals.next().await;
            notify("STOPPING=1");
            stop.cancel();
            signals.next().await;
            tracing::warn!("ended at once; sessions under way can be resumed");
            std::process::exit(Exit::Interrupted.code().into());
        });
        let served = crate::serve(listener, node, stopped).await;
        // Until here: while sessions end, their numbers and the reason can be asked for.
        ended.cancel();
        if let Some(metrics) = metrics {
            // Ends at the token.
            let _ = metrics.await;
        }
        served?;
        tracing::info!("stopped");
        Outcome::Ok(pool)
    });
    drop(runtime);
    // The last clone: it waits for jobs that nobody waits for, which hold keys.
    pool.map(drop)
}

/// Starts to answer the operator's own machines.
async fn metrics(
    address: SocketAddr,
    node: &Arc<Node>,
    ended: &CancellationToken,
) -> Outcome<JoinHandle<()>> {
    let listener = TcpListener::bind(address).await.map_err(|e| {
        let mut failure = unavailable(address, &e);
        failure.next = failure
            .next
            .replace("listen_address", "listen_address of [metrics]");
        failure
    })?;
    let address = listener.local_addr().unwrap_or(address);
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "metrics are told to whoever reaches this address");
    }
    tracing::info!(%address, "metrics listening");
    Ok(tokio::spawn(crate::metrics::serve(
        listener,
        Arc::clone(node),
        ended.clone(),
    )))
}

/// Tells systemd, if it started this process with `Type=notify`.
fn notify(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = tell(&socket, state) {
        tracing::warn!(%error, "cannot tell systemd: {state}");
    }
}

fn tell(socket: &OsStr, state: &str) -> io::Result<()> {
    let name = socket.as_encoded_bytes();
    let sender = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    if let Some(name) = name.strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return sender.send_to_addr(state.as_bytes(), &address).map(drop);
    }
    match name.first() {
        Some(b'/') => sender.send_to(state.as_bytes(), socket).map(drop),
        _ => Err(io::Error::other("NOTIFY_SOCKET is no path")),
    }
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
