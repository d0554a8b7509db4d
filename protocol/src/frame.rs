//! Frames: `kind u8 ‖ length u32 ‖ body`, the one codec of wire, file and record (spec section 2).
//!
//! A flight is one frame. gRPC carries it as one opaque field, a file carries it unchanged, a
//! record is frames in order. What is hashed and verified are the bytes received, so a [`Frame`]
//! keeps them.

use sha2::{Digest, Sha256};
use std::{
    io::{self, Read},
    sync::OnceLock,
};

use crate::error::Error;

/// Bytes before the body: kind and length.
pub const HEADER_BYTES: usize = 5;
/// The most bytes a statement's body may have.
pub const MAX_STATEMENT_BYTES: usize = 64 * 1024;
/// The most bytes a chunk's body may have: 65,535 elements of 32 bytes and what stands around them.
pub const MAX_CHUNK_BYTES: usize = 65_535 * 32 + 256;
/// The most bytes a bucket of a snapshot may have.
pub const MAX_BUCKET_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes any frame may have, header included.
pub const MAX_FRAME_BYTES: usize = HEADER_BYTES + MAX_BUCKET_BYTES;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal, $max:expr;)*) => {
        /// What a frame is. Codes are fixed (spec section 2.2).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $code,)* }

        impl Kind {
            /// The kind of a code, or `None` for a code this version does not know.
            #[must_use]
            pub fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
            /// The name used in messages and reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
            /// The most bytes its body may have.
            #[must_use]
            pub fn max_body(self) -> usize {
                match self { $(Self::$name => $max,)* }
            }
        }
    };
}

kinds! {
    /// First frame of a record.
    RecordHeader = 0x01, "record header", 64;
    /// The receiver's signed request.
    Request = 0x10, "request", MAX_STATEMENT_BYTES;
    /// The sender's signed grant.
    Grant = 0x11, "grant", MAX_STATEMENT_BYTES;
    /// The sender's signed refusal.
    Refusal = 0x12, "refusal", MAX_STATEMENT_BYTES;
    /// A run of blinded elements.
    BlindedChunk = 0x20, "blinded chunk", MAX_CHUNK_BYTES;
    /// A run of evaluations with their proof.
    EvaluatedChunk = 0x21, "evaluated chunk", MAX_CHUNK_BYTES;
    /// The receiver's signed closing.
    ReceiverClosing = 0x30, "receiver closing", MAX_STATEMENT_BYTES;
    /// The sender's signed closing.
    SenderClosing = 0x31, "sender closing", MAX_STATEMENT_BYTES;
    /// The signed header of a snapshot.
    SnapshotHeader = 0x40, "snapshot header", MAX_STATEMENT_BYTES;
    /// One bucket of a snapshot.
    SnapshotBucket = 0x41, "snapshot bucket", MAX_BUCKET_BYTES;
    /// The signed header of a delta between two snapshots.
    SnapshotDelta = 0x42, "snapshot delta", MAX_STATEMENT_BYTES;
    /// What changes in one bucket.
    DeltaBucket = 0x43, "delta bucket", MAX_BUCKET_BYTES;
    /// An agency's signed manifest of keys.
    Manifest = 0x50, "agency manifest", MAX_STATEMENT_BYTES;
    /// The signed list of collections that one peer may ask.
    Catalogue = 0x51, "catalogue", MAX_STATEMENT_BYTES;
}

/// One frame, with the exact bytes it came in.
#[derive(Clone)]
pub struct Frame {
    kind: Kind,
    bytes: Vec<u8>,
    /// Its digest, once it was asked for: a chunk's is needed several times.
    digest: OnceLock<[u8; 32]>,
}

/// By their bytes, of which the kind is one.
impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Frame {}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({}, {} bytes)", self.kind.name(), self.bytes.len())
    }
}

impl Frame {
    /// Wraps a body.
    ///
    /// # Errors
    /// [`Error::Limit`] if the body is larger than its kind allows.
    pub fn new(kind: Kind, body: &[u8]) -> Result<Self, Error> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(&[0; HEADER_BYTES]);
        bytes.extend_from_slice(body);
        Self::behind_room(kind, bytes)
    }

    /// Makes a frame of a body that was written behind room for the header, without a copy.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn behind_room(kind: Kind, mut bytes: Vec<u8>) -> Result<Self, Error> {
        let body = bytes.len().saturating_sub(HEADER_BYTES);
        if body > kind.max_body() {
            return Err(Error::Limit {
                what: kind.name(),
                limit: kind.max_body() as u64,
            });
        }
        let length = u32::try_from(body).map_err(|_| Error::Bug("frame length"))?;
        let header = bytes
            .first_chunk_mut::<HEADER_BYTES>()
            .ok_or(Error::Bug("frame header"))?;
        header[0] = kind as u8;
        header[1..].copy_from_slice(&length.to_be_bytes());
        Ok(Self::whole(kind, bytes))
    }

    /// Bytes that were checked.
    fn whole(kind: Kind, bytes: Vec<u8>) -> Self {
        Self {
            kind,
            bytes,
            digest: OnceLock::new(),
        }
    }

    /// Takes bytes that must be exactly one frame.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Limit`]; never panics.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        let header = bytes
            .first_chunk::<HEADER_BYTES>()
            .ok_or(Error::Malformed {
                what: "frame",
                why: "shorter than its header",
            })?;
        let (kind, length) = parse_header(header)?;
        if bytes.len() - HEADER_BYTES != length {
            return Err(Error::Malformed {
                what: kind.name(),
                why: "length does not match",
            });
        }
        Ok(Self::whole(kind, bytes))
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The whole frame, as received.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole frame, as received.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// SHA-256 of the whole frame: what statements mean when they name another by digest.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        *self
            .digest
            .get_or_init(|| Sha256::digest(&self.bytes).into())
    }

    /// Demands a kind.
    pub(crate) fn expect(&self, kind: Kind) -> Result<&[u8], Error> {
        if self.kind == kind {
            Ok(self.body())
        } else {
            Err(Error::Order {
                got: self.kind.name(),
                expected: kind.name(),
            })
        }
    }
}

fn parse_header(header: &[u8; HEADER_BYTES]) -> Result<(Kind, usize), Error> {
    let [code, length @ ..] = *header;
    let kind = Kind::from_code(code).ok_or(Error::Malformed {
        what: "frame",
        why: "unknown kind",
    })?;
    let length = u32::from_be_bytes(length) as usize;
    if length > kind.max_body() {
        return Err(Error::Limit {
            what: kind.name(),
            limit: kind.max_body() as u64,
        });
    }
    Ok((kind, length))
}

/// Why a stream of frames ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream itself failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not frames.
    #[error(transparent)]
    Frame(#[from] Error),
}

/// Reads frames one after another in memory bounded by one frame.
///
/// The reader is the caller's: this crate opens nothing.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    offset: u64,
}

impl<R: Read> FrameReader<R> {
    /// Starts at offset zero of `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, offset: 0 }
    }

    /// Bytes consumed by complete frames so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame, or `None` at a clean end.
    ///
    /// # Errors
    /// [`ReadError::Frame`] for bytes that are no frame or end inside one, [`ReadError::Io`] as
    /// the reader gives it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ReadError> {
        let mut header = [0u8; HEADER_BYTES];
        let mut filled = 0;
        while filled < HEADER_BYTES {
            match self.inner.read(&mut header[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => {
                    let why = "ends inside a frame header";
                    return Err(Error::Malformed { what: "frame", why }.into());
                }
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        let (kind, length) = parse_header(&header)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + length);
        bytes.extend_from_slice(&header);
        bytes.resize(HEADER_BYTES + length, 0);
        self.inner
            .read_exact(&mut bytes[HEADER_BYTES..])
            .map_err(|e| {
                if e.kind() == io::ErrorKind::UnexpectedEof {
                    ReadError::Frame(Error::Malformed {
                        what: kind.name(),
                        why: "ends inside it",
                    })
                } else {
                    ReadError::Io(e)
                }
            })?;
        self.offset += bytes.len() as u64;
        Ok(Some(Frame::whole(kind, bytes)))
    }
}

/// A cursor over a body: every read is checked.
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(what: &'static str, body: &'a [u8]) -> Self {
        Self { rest: body, what }
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Error::Malformed {
            what: self.what,
            why: "too short",
        })?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let head = self.take(N)?;
        head.try_into().map_err(|_| Error::Bug("cursor"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[b]| b)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn elements(&mut self, count: usize) -> Result<Vec<[u8; 32]>, Error> {
        let bytes = self.take(count * 32)?;
        let (elements, _) = bytes.as_chunks::<32>();
        Ok(elements.to_vec())
    }

    pub(crate) fn end(self) -> Result<(), Error> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Error::Malformed {
                what: self.what,
                why: "bytes left over",
            })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_codec_and_nothing_else_does() {
        let frame = Frame::new(Kind::Request, b"abc").unwrap();
        assert_eq!(frame.bytes(), b"\x10\0\0\0\x03abc");
        assert_eq!(Frame::from_bytes(frame.bytes().to_vec()).unwrap(), frame);
        for bad in [
            &b""[..],
            b"\x10\0\0\0",
            b"\x10\0\0\0\x04abc",
            b"\x10\0\0\0\x02abc",
            b"\xff\0\0\0\0",
            b"\x10\xff\xff\xff\xff",
        ] {
            assert!(Frame::from_bytes(bad.to_vec()).is_err(), "{bad:?}");
        }
        assert!(Frame::new(Kind::Request, &vec![0; MAX_STATEMENT_BYTES + 1]).is_err());
    }

    #[test]
    fn the_reader_ends_only_between_frames() {
        let two = [
            Frame::new(Kind::Request, b"abc").unwrap().into_bytes(),
            Frame::new(Kind::Grant, b"").unwrap().into_bytes(),
        ]
        .concat();
        let mut reader = FrameReader::new(&two[..]);
        assert_eq!(reader.next_frame().unwrap().unwrap().kind(), Kind::Request);
        assert_eq!(reader.next_frame().unwrap().unwrap().kind(), Kind::Grant);
        assert!(reader.next_frame().unwrap().is_none());
        assert_eq!(reader.offset(), two.len() as u64);
        for cut in 1..8 {
            assert!(
                FrameReader::new(&two[..cut]).next_frame().is_err(),
                "cut at {cut}"
            );
        }
        for cut in 9..13 {
            let mut reader = FrameReader::new(&two[..cut]);
            reader.next_frame().unwrap();
            assert!(reader.next_frame().is_err(), "cut at {cut}");
        }
    }
}
