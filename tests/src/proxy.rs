//! A network between the two agencies that fails when it is told to.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::running::wait_for;

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// To the sender.
    Up,
    /// To the receiver.
    Down,
}

/// Asked before bytes are passed on, with those that went this way so far: whether to stop here.
type Stop = Box<dyn Fn(Way, u64) -> bool + Send>;

const PASSING: u8 = 0;
const HELD: u8 = 1;
const CUT: u8 = 2;
const OVER: u8 = 3;
const NAP: Duration = Duration::from_millis(2);

struct Shared {
    upstream: Mutex<SocketAddr>,
    state: AtomicU8,
    passed: [AtomicU64; 2],
    stop: Mutex<(Stop, u8)>,
    recording: AtomicBool,
    recorded: [Mutex<Vec<u8>>; 2],
}

/// Passes TCP connections on to an address.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Passes everything on.
    #[must_use]
    pub fn new(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            state: AtomicU8::new(PASSING),
            passed: [AtomicU64::new(0), AtomicU64::new(0)],
            stop: Mutex::new((Box::new(|_, _| false), PASSING)),
            recording: AtomicBool::new(false),
            recorded: Default::default(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared }
    }

    /// From now on: when `stop` says so, nothing moves any more; connections stay open.
    pub fn hold_when(&self, stop: impl Fn(Way, u64) -> bool + Send + 'static) {
        *self.shared.stop.lock().unwrap() = (Box::new(stop), HELD);
    }

    /// From now on: when `stop` says so, all connections are closed, new ones too.
    pub fn cut_when(&self, stop: impl Fn(Way, u64) -> bool + Send + 'static) {
        *self.shared.stop.lock().unwrap() = (Box::new(stop), CUT);
    }

    /// Waits until it has stopped.
    pub fn stopped(&self) {
        wait_for("the network to stop", || {
            (self.shared.state.load(Ordering::SeqCst) != PASSING).then_some(())
        });
    }

    /// Closes all connections.
    pub fn cut(&self) {
        self.shared.state.store(CUT, Ordering::SeqCst);
        // Pumps look every few milliseconds.
        std::thread::sleep(10 * NAP);
    }

    /// Passes everything on again; what was held, too.
    pub fn mend(&self) {
        self.hold_when(|_, _| false);
        self.shared.state.store(PASSING, Ordering::SeqCst);
    }

    /// From now on keeps what passes, both ways.
    pub fn record(&self) {
        self.shared.recording.store(true, Ordering::SeqCst);
    }

    /// What passed one way since it records, connections mixed as they came.
    #[must_use]
    pub fn recorded(&self, way: Way) -> Vec<u8> {
        self.shared.recorded[way as usize].lock().unwrap().clone()
    }

    /// Leads new connections elsewhere.
    pub fn lead_to(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock().unwrap() = upstream;
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({})", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state.store(OVER, Ordering::SeqCst);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let state = shared.state.load(Ordering::SeqCst);
        if state == OVER {
            return;
        }
        let Ok((down, _)) = listener.accept() else {
            std::thread::sleep(NAP);
            continue;
        };
        let upstream = *shared.upstream.lock().unwrap();
        if state == CUT {
            continue;
        }
        let Ok(up) = TcpStream::connect(upstream) else {
            continue;
        };
        for stream in [&down, &up] {
            stream.set_nonblocking(false).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(NAP)).unwrap();
        }
        for (way, from, to) in [(Way::Up, &down, &up), (Way::Down, &up, &down)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let shared = Arc::clone(shared);
            std::thread::spawn(move || pump(way, from, to, &shared));
        }
    }
}

fn pump(way: Way, mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = [0u8; 1024];
    let passed = &shared.passed[way as usize];
    loop {
        let read = match shared.state.load(Ordering::SeqCst) {
            HELD => {
                std::thread::sleep(NAP);
                continue;
            }
            PASSING => from.read(&mut buffer),
            _ => break,
        };
        let read = match read {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        {
            let stop = shared.stop.lock().unwrap();
            if (stop.0)(way, passed.load(Ordering::SeqCst)) {
                let _ = shared.state.compare_exchange(
                    PASSING,
                    stop.1,
                    Ordering::SeqCst,
                    Ordering::SeqCst,
                );
            }
        }
        // What was read is kept over a hold, and lost with a cut.
        while shared.state.load(Ordering::SeqCst) == HELD {
            std::thread::sleep(NAP);
        }
        if shared.state.load(Ordering::SeqCst) != PASSING || to.write_all(&buffer[..read]).is_err()
        {
            break;
        }
        passed.fetch_add(read as u64, Ordering::SeqCst);
        if shared.recording.load(Ordering::SeqCst) {
            let mut recorded = shared.recorded[way as usize].lock().unwrap();
            recorded.extend_from_slice(&buffer[..read]);
        }
    }
    // Either may be gone already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
