//! What the tests of the whole share: the programs as users run them, folders with homes in them,
//! a bare connection that sends whatever it is told, and a plain matcher to compare with.
//!
//! ```text
//! programs  where the two programs are, built if need be
//! place     a temporary folder: homes, tables, running commands, nodes that serve
//! running   a command under way; waiting for what must come
//! proxy     a network that fails when it is told to, and keeps what passes
//! faults    a program that dies, or finds its disk full, at a step of its own
//! stage     two agencies with a list each, and what must come out
//! wire      frames over real TLS without a client's good manners
//! tamper    somebody in the middle with both sides' TLS keys, who changes frames
//! forge     things well signed that no honest side signs
//! desk      a shift by hand, flight by flight
//! http2     HTTP/2 by hand, for what no library would send
//! http1     HTTP/1.1 by hand, likewise
//! fake_desk a desk that says what it is told to, served as the real one is
//! oracle    matching in a few plain lines
//! fuzzed    every parser of foreign bytes, and both roles, over any input; also the fuzz targets
//! fuzzed_home  the same for what needs a home
//! document  the commands that a document shows, run as they stand
//! browser   a real browser without a window, by WebDriver
//! canary    planted values, and looking for them in bytes, files, folders
//! memory    programs stopped so that their memory can be read
//! outside   what is not the toolchain: libraries put before the system's, and skipping without them
//! ```
//!
//! Helpers panic when something is not as a test needs it.

#![allow(clippy::unwrap_used)]

pub mod browser;
pub mod canary;
pub mod desk;
pub mod document;
pub mod fake_desk;
pub mod faults;
pub mod forge;
pub mod fuzzed;
pub mod fuzzed_home;
pub mod http1;
pub mod http2;
pub mod memory;
pub mod oracle;
pub mod outside;
pub mod place;
pub mod programs;
pub mod proxy;
pub mod running;
pub mod stage;
pub mod tamper;
pub mod wire;

use std::sync::OnceLock;

use tallystick_protocol::group::{self, Kernel};

/// The kernel of tests in this process: the one that `TALLY_KERNEL` names, as for the programs that they
/// start, or the fastest one.
#[must_use]
pub fn kernel() -> &'static dyn Kernel {
    static KERNEL: OnceLock<&'static dyn Kernel> = OnceLock::new();
    *KERNEL.get_or_init(|| match std::env::var("TALLY_KERNEL") {
        Ok(name) => group::by_name(&name).unwrap(),
        Err(_) => group::best(),
    })
}
