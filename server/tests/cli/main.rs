//! `tallyd` as its users run it.

#![allow(clippy::unwrap_used)]

mod check;
mod collection;
mod home;
mod peer;
mod place;
mod serve;
