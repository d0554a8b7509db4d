//! `tallyd`: the listener and the sender's service.
//!
//! ```text
//! listen       TLS, allow-list, gRPC, draining
//! health       whether the node can serve
//! metrics      what it counts, and the address where that is told
//! connections  who is connected, and when that ends
//! gates        how much of the node one peer may hold
//! service      the handlers: decode, call, encode
//! committer    binds and charges chunks, many in one transaction
//! session      one session from the sender's side
//! policy       whether a request is granted
//! node         what all sessions share
//! cli          the commands of tallyd
//! ```

pub mod cli;
mod committer;
mod connections;
mod deltas;
mod gates;
mod health;
mod listen;
pub mod metrics;
mod node;
mod policy;
mod service;
mod session;

pub use listen::serve;
pub use node::Node;
