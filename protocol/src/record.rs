//! Session records: a header, the frames in order, both closings (spec section 7).
//!
//! ```text
//! header, request, refusal
//! header, request, grant, (blinded, evaluated)*, [blinded*], receiver closing, sender closing
//! ```
//! Blinded chunks without an answer stand only in the record of an aborted session; such a record
//! may hold one closing. The bytes are those that went over the wire, so both copies of a complete
//! session are the same file. There is no identifier in a record.

use crate::{
    error::Error,
    frame::{Frame, Kind},
    statements::Hex,
};

/// First bytes of the header's body.
pub const MAGIC: &[u8] = b"tallystick-record/1\n";

/// The header of the record of a session.
///
/// # Errors
/// [`Error::Bug`] only.
pub fn header(session: &Hex<16>) -> Result<Frame, Error> {
    Frame::new(Kind::RecordHeader, &[MAGIC, &session.0].concat())
}

/// The session that a header names.
///
/// # Errors
/// [`Error::Malformed`] for anything but the header of this version.
pub fn session_of(frame: &Frame) -> Result<Hex<16>, Error> {
    let malformed = |why| Error::Malformed {
        what: Kind::RecordHeader.name(),
        why,
    };
    let body = frame.expect(Kind::RecordHeader)?;
    let session = body
        .strip_prefix(MAGIC)
        .ok_or(malformed("another format or version"))?;
    Ok(Hex(session
        .try_into()
        .map_err(|_| malformed("session id is not 16 bytes"))?))
}
