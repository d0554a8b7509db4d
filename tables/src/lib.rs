//! Tables in and out.
//!
//! Rows come in one at a time ([`Source`]), a mapping says which columns make keys ([`Mapping`],
//! [`Extractor`]) and which columns a match hands over ([`LabelRecords`]), and matches go out as CSV
//! ([`MatchWriter`]), as do the keys that were rejected ([`RejectsWriter`]).
//!
//! ```text
//! format      what is stated of a table, by flag or mapping; what a file's name says
//! input       where its bytes lie: a file, or a sealed copy of standard input (sealed); counted,
//!             hashed and unpacked (gzip, zstd) on their way
//! decoding    other encodings to UTF-8, strictly
//! detect      the delimiter, from the first records
//! reader      records between delimiters; json_lines: an object a line
//! source      passes over the rows, whatever gives them: the seam for other kinds of tables
//! ```
//!
//! Everything is synchronous, streams, and holds one row at a time. What a row holds is sensitive:
//! no error, and no Debug, shows any of it. Errors name file, line and column, and say what to do.
//! Nothing here is done in constant time: it is work on a party's own files, on its own machine.

mod decoding;
mod detect;
mod error;
mod extract;
mod format;
mod header;
mod input;
mod json_lines;
mod label;
mod mapping;
mod new_file;
mod output;
mod reader;
mod recheck;
mod rejects;
mod sealed;
mod source;
pub mod temporary;

pub use error::TableError;
pub use extract::{Extractor, LabelColumns, Rejected, RowKey, RowKeys, RowReject, Tally};
pub use format::{Delimiter, Encoding, Quote, RowFormat, TableFormat};
pub use input::TableInput;
pub use label::{LabelRecords, MAX_LABEL_BYTES};
pub use mapping::{KeySpec, Mapping, Part};
pub use output::{MATCH_COLUMNS, MatchWriter, RowHit, THEIR_PREFIX, Written};
pub use reader::{MAX_COLUMNS, MAX_FIELD_BYTES, MAX_ROW_BYTES, Row};
pub use recheck::Recheck;
pub use rejects::{Rejects, RejectsPass, RejectsWriter};
pub use sealed::{SealedCopy, SealedReader, SealedWriter};
pub use source::{FileDigest, Header, Rows, Source};
