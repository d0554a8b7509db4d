//! What is known of documents that were presented, and how verdicts compare with it.
//!
//! A labelled set says of each document what it is: its [`Class`]. A class fixes two things. Whether a
//! guard who knew everything would want an alarm; and what a desk can conclude from the zone and from the
//! lists it asks. The two differ where a zone cannot tell: a look-alike holds a true document.
//!
//! A [`Score`] counts verdicts against that. It holds numbers only, no document.

mod class;
mod score;
mod table;

pub use class::{Class, UnknownClass};
pub use score::{Line, Score, is_alarm};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod judged_tests;
