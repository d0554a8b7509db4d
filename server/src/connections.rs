//! Connections whose certificate is on the allow-list: who is on the other side, how many there
//! are, and when they are cut.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tallystick_agency::tls::PinSet;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::{
    gates::{Gate, Slot},
    metrics::Counted,
};

/// Ticks between the moment in which a peer is seen to be off the list and the end of its
/// connections: its sessions are told why meanwhile.
const NOTICE_TICKS: u8 = 3;
/// How long a connection that is one too many is kept, so that it can be told so.
const TOLD: Duration = Duration::from_secs(2);

/// Who is on the other side of a connection, by its certificate.
#[derive(Debug, Clone)]
pub(crate) struct PeerIdentity {
    pub(crate) agency: String,
    pub(crate) spki: [u8; 32],
    pub(crate) state: Arc<State>,
}

/// One connection, as its calls and the upkeep see it.
#[derive(Debug)]
pub(crate) struct State {
    spki: [u8; 32],
    cut: CancellationToken,
    /// `None`: one too many, all it may do is be told so.
    slot: Option<Slot<String>>,
    use_: Mutex<Use>,
}

#[derive(Debug)]
struct Use {
    calls: u32,
    idle_since: Instant,
    ticks_off_list: u8,
}

/// A call under way on a connection.
#[derive(Debug)]
pub(crate) struct CallGuard(Arc<State>);

impl State {
    /// Whether calls are served, and not only refused.
    pub(crate) fn is_admitted(&self) -> bool {
        self.slot.is_some()
    }

    /// Counts a call for as long as the guard lives: a connection without calls is idle.
    pub(crate) fn call(self: &Arc<Self>) -> CallGuard {
        self.with_use(|use_| use_.calls += 1);
        CallGuard(Arc::clone(self))
    }

    fn with_use<T>(&self, f: impl FnOnce(&mut Use) -> T) -> T {
        f(&mut self.use_.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.with_use(|use_| {
            use_.calls -= 1;
            use_.idle_since = Instant::now();
        });
    }
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Connections {
    gate: Arc<Gate<String>>,
    open: Mutex<Vec<Weak<State>>>,
}

impl Connections {
    pub(crate) fn new(per_peer: u32, total: u32) -> Self {
        Self {
            gate: Gate::new(per_peer, total),
            open: Mutex::default(),
        }
    }

    /// Takes a connection in. One that is too many is cut after it could be told so.
    pub(crate) fn admit(
        &self,
        stream: Counted<TlsStream<TcpStream>>,
        agency: String,
        spki: [u8; 32],
    ) -> Connection {
        let slot = self.gate.enter(&agency);
        let cut = CancellationToken::new();
        if slot.is_none() {
            let cut = cut.clone();
            tokio::spawn(async move {
                tokio::time::sleep(TOLD).await;
                cut.cancel();
            });
        }
        let state = Arc::new(State {
            spki,
            cut: cut.clone(),
            slot,
            use_: Mutex::new(Use {
                calls: 0,
                idle_since: Instant::now(),
                ticks_off_list: 0,
            }),
        });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push(Arc::downgrade(&state));
        Connection {
            stream,
            peer: PeerIdentity {
                agency,
                spki,
                state,
            },
            cut: Box::pin(cut.cancelled_owned()),
        }
    }

    /// Cuts connections of peers that are off the list, a few ticks after their sessions were told,
    /// and those on which nothing was called for `idle`. To be called at every refresh of the list.
    pub(crate) fn tick(&self, pins: &PinSet, now_ms: i64, idle: Duration) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|state| {
            let Some(state) = state.upgrade() else {
                return false;
            };
            let live = pins.is_live(&state.spki, now_ms);
            let over = state.with_use(|use_| {
                use_.ticks_off_list = match live {
                    true => 0,
                    false => use_.ticks_off_list.saturating_add(1),
                };
                use_.ticks_off_list > NOTICE_TICKS
                    || (use_.calls == 0 && use_.idle_since.elapsed() > idle)
            });
            if over {
                state.cut.cancel();
            }
            !over
        });
    }
}

/// A connection whose certificate is on the allow-list. It fails when it is cut.
pub(crate) struct Connection {
    stream: Counted<TlsStream<TcpStream>>,
    pub(crate) peer: PeerIdentity,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = PeerIdentity;

    fn connect_info(&self) -> PeerIdentity {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
