//! What is fuzzed: one plain function over bytes for each parser of what a peer or a file says, and
//! for receiver and sender as state machines.
//!
//! The fuzz targets in `fuzz/` call them with inputs that coverage finds, and the test `corpus` with
//! the inputs that were kept: nothing is written twice. A function panics when a rule is broken;
//! bytes that are refused are no fault. The module `fuzzed_home` has those that need a home or
//! TLS; this one is built into the fuzz targets as well and names only what they depend on.
//!
//! Hostile peers hold keys, so most inputs are signed here before they are given: else no mutation
//! would come past the signature.

mod chunk;
mod delta;
mod frames;
mod identifiers;
mod input;
mod kernel;
mod label;
mod mapping;
mod merkle;
mod mrz;
mod opening;
mod receiver;
mod record;
mod sender;
mod sha512;
mod shift;
mod snapshot;
mod statement;
mod table;
mod world;

pub use input::Target;

use tallystick_protocol::{
    frame::Frame,
    statements::{Hex, Statement},
};

/// Targets of `fuzz/`, by name.
pub const TARGETS: [Target; 18] = [
    Target::new("chunk", chunk::run, chunk::seeds),
    Target::new("delta", delta::run, delta::seeds),
    Target::new("frames", frames::run, frames::seeds),
    Target::new("identifiers", identifiers::run, identifiers::seeds),
    Target::new("kernel", kernel::run, kernel::seeds),
    Target::new("label", label::run, label::seeds),
    Target::new("mapping", mapping::run, mapping::seeds),
    Target::new("merkle", merkle::run, merkle::seeds),
    Target::new("mrz", mrz::run, mrz::seeds),
    Target::new("opening", opening::run, opening::seeds),
    Target::new("receiver", receiver::run, receiver::seeds),
    Target::new("record", record::run, record::seeds),
    Target::new("sender", sender::run, sender::seeds),
    Target::new("sha512", sha512::run, sha512::seeds),
    Target::new("shift", shift::run, shift::seeds),
    Target::new("snapshot", snapshot::run, snapshot::seeds),
    Target::new("statement", statement::run, statement::seeds),
    Target::new("table", table::run, table::seeds),
];

/// Runs a target of [`TARGETS`].
///
/// # Panics
/// When a rule is broken, or there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap().run)(data);
}

/// Any payload as a statement that the sender of the fuzzed sessions signs; `None` if it is too long.
#[must_use]
pub fn signed<S: Statement>(payload: &[u8]) -> Option<Frame> {
    world::world().sender.statement::<S>(payload)
}

/// The key of [`signed`].
#[must_use]
pub fn signing_key() -> Hex<32> {
    world::world().sender.reference.signing_key
}

/// The payload of a signed statement.
#[must_use]
pub fn payload_of(frame: &Frame) -> Vec<u8> {
    world::payload_of(frame)
}
