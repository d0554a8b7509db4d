//! The gRPC envelope that carries frames.
//!
//! Generated from `proto/tallystick.proto`. The envelope is one opaque `bytes` field: what is
//! signed is parsed by the protocol crate from the very bytes that came in.

#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod generated {
    tonic::include_proto!("tallystick.v1");
}

pub use generated::{
    CatalogueRequest, Envelope, SnapshotRequest, exchange_client, exchange_server,
};

use tallystick_protocol::{
    error::Error,
    frame::{Frame, MAX_FRAME_BYTES},
};

/// The most bytes a gRPC message may have: the largest frame and its envelope.
pub const MAX_MESSAGE_BYTES: usize = MAX_FRAME_BYTES + 64;

impl From<Frame> for Envelope {
    fn from(frame: Frame) -> Self {
        Self {
            frame: frame.into_bytes(),
        }
    }
}

impl TryFrom<Envelope> for Frame {
    type Error = Error;

    fn try_from(envelope: Envelope) -> Result<Self, Error> {
        Self::from_bytes(envelope.frame)
    }
}
