//! The fuzz targets call the functions that the test `corpus` calls: the same file, so one copy.

#![allow(clippy::unwrap_used)]

#[path = "../../tests/src/fuzzed/mod.rs"]
pub mod fuzzed;
