//! A door on the way to a node: whoever comes waits until the test has done what it wants to do in
//! the middle of a run.

use std::{
    io::copy,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use tallystick_tests::place::{Ended, Place};

use crate::wait_for;

/// Runs a line that connects to the door, whose address `line` is given; calls `meanwhile` when the
/// program is there; then leads it on to `upstream`, or shuts the door if there is none.
pub fn through(
    place: &Place,
    upstream: Option<SocketAddr>,
    line: impl FnOnce(SocketAddr) -> String,
    meanwhile: impl FnOnce(),
) -> Ended {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    door.set_nonblocking(true).unwrap();
    let line = line(door.local_addr().unwrap());
    thread::scope(|scope| {
        let ended = scope.spawn(|| place.run(&line));
        // A program that ends before it comes must fail the test, not hang it.
        let down = wait_for("the program at the door", || match door.accept() {
            Ok((down, _)) => Some(down),
            Err(_) => {
                assert!(!ended.is_finished(), "it never came");
                None
            }
        });
        down.set_nonblocking(false).unwrap();
        meanwhile();
        if let Some(upstream) = upstream {
            let up = TcpStream::connect(upstream).unwrap();
            for (from, to) in [(&down, &up), (&up, &down)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                // Ends with the connection.
                thread::spawn(move || {
                    let _ = copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
        drop(down);
        ended.join().unwrap()
    })
}
