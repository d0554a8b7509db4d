//! Tables in and out.
//!
//! Rows come in as CSV, one at a time ([`Source`]), a mapping says which columns make keys
//! ([`Mapping`], [`Extractor`]) and which columns a match hands over ([`LabelRecords`]), and
//! matches go out as CSV ([`MatchWriter`]).
//!
//! Everything is synchronous, streams, and holds one row at a time. What a row holds is sensitive:
//! no error, and no Debug, shows any of it. Errors name file, line and column, and say what to do.
//! Nothing here is done in constant time: it is work on a party's own files, on its own machine.

mod error;
mod extract;
mod label;
mod mapping;
mod output;
mod reader;
mod source;
pub mod temporary;

pub use error::TableError;
pub use extract::{Extractor, LabelColumns, Rejected, RowKey, Tally};
pub use label::{LabelRecords, MAX_LABEL_BYTES};
pub use mapping::{KeySpec, Mapping, Part};
pub use output::{MATCH_COLUMNS, MatchWriter, RowHit, THEIR_PREFIX, Written};
pub use reader::{MAX_COLUMNS, MAX_FIELD_BYTES, MAX_ROW_BYTES, Row};
pub use source::{FileDigest, Header, Rows, Source};
