//! Named attacks of a peer that breaks the protocol on purpose: a receiver's on a real node, a
//! sender's on a real match, and those that only wear out.

#![allow(clippy::unwrap_used)]

#[path = "attacks/answers.rs"]
mod answers;
#[path = "attacks/asking.rs"]
mod asking;
#[path = "attacks/floods.rs"]
mod floods;
#[path = "attacks/many.rs"]
mod many;
#[path = "attacks/receiver.rs"]
mod receiver;
#[path = "attacks/sender.rs"]
mod sender;
#[path = "attacks/slow.rs"]
mod slow;
#[path = "attacks/snapshots.rs"]
mod snapshots;
