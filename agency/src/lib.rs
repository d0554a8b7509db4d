//! One agency's own side: its home folder, keys at rest, peers, TLS, state and records.
//!
//! `tally` and `tallyd` open the same home at the same time. Nothing here knows the protocol's
//! mathematics; it gives the protocol its keys, its durable state and its authenticated peers.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod backup;
pub mod build;
pub mod clock;
pub mod collections;
pub mod command;
pub mod config;
pub mod error;
pub mod exit;
pub mod fs;
pub mod home;
pub mod keys;
pub mod keystore;
pub mod logging;
pub mod marks;
pub mod memory;
pub mod peers;
pub mod process;
pub mod profiles;
pub mod publish;
pub mod records;
pub mod report;
pub mod spool;
pub mod store;
pub mod table_flags;
pub mod tls;
pub mod worker;

pub use error::{AgencyError, Kind, Result};
