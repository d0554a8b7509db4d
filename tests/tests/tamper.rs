//! Somebody in the middle changes one frame of a match, in any way, whatever the frame and its
//! direction: the match is refused, or stops, or is right all the same; never wrong, never hanging,
//! and the same command comes through when the middle leaves it alone.

#![allow(clippy::unwrap_used)]

#[path = "tamper/bytes.rs"]
mod bytes;
#[path = "tamper/case.rs"]
mod case;
#[path = "tamper/order.rs"]
mod order;
