//! Tallystick's protocol, without IO.
//!
//! Two agencies find which of their identifiers both hold; a record proves how. This crate has no
//! sockets, files, clock, OS randomness, async or threads of its own: bytes, randomness and time
//! are passed in. Data flows one way:
//!
//! ```text
//! identifiers → elements → blinded → evaluated → outputs (tag, label key) → hits
//! ```
//!
//! - [`identifiers`]: raw values to canonical elements, profiles.
//! - [`group`]: the kernel seam; [`oprf`] and [`dleq`] run through it. [`sha512`]: many at a time.
//! - [`frame`], [`statements`], [`session`]: what goes over the wire, and in which order.
//! - [`snapshot`]: what the sender publishes.
//! - [`record`], [`verify`], [`log`]: what an auditor checks.

pub mod dleq;
pub mod error;
pub mod frame;
pub mod group;
pub mod identifiers;
pub mod log;
pub mod oprf;
pub mod record;
pub mod session;
pub mod sha512;
pub mod signing;
pub mod snapshot;
pub mod statements;
pub mod verify;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod test_support;
