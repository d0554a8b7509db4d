//! `tally`: the receiver's runs, audit, and the commands people type.
//!
//! ```text
//! run          a match: input → connect → snapshots → session → output
//! session      what a run and a desk have in common: request, grounds, being taken up
//! audit        records, checked offline
//! try_out      two throw-away agencies on this machine
//! bench        what this machine does in a second
//! datagen      synthetic tables: two lists with a known overlap, documents of known classes
//! truth        classes of documents, and verdicts against them
//! cli          the commands
//! ```

pub mod audit;
pub mod bench;
pub mod cli;
pub mod collections;
mod connect;
pub mod datagen;
mod day;
pub mod desk;
mod error;
pub mod estimate;
mod input;
pub mod progress;
pub mod run;
mod session;
mod snapshots;
pub mod truth;
pub mod try_out;

pub use connect::Traffic;
