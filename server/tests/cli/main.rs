//! `tallyd` as its users run it.

#![allow(clippy::unwrap_used)]

mod care;
mod check;
mod collection;
mod findings;
mod home;
mod peer;
mod place;
mod registers;
mod serve;
