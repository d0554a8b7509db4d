//! The bytes of a table on their way to a reader: counted and hashed as they are stored, unpacked,
//! turned into UTF-8.

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufRead, BufReader, IsTerminal, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};
use sha2::{Digest, Sha256};

use crate::{
    decoding::{Decoding, Malformed},
    error::TableError,
    format::{Encoding, Packing, TableFormat},
    sealed::{SealedCopy, SealedReader},
    source::{Source, io_error},
};

/// What standard input is called in errors.
const STANDARD_INPUT: &str = "standard input";

/// A table that can be read in as many passes as needed, and what is stated of it.
#[derive(Clone, Debug)]
pub struct TableInput {
    pub(crate) place: Place,
    pub(crate) format: TableFormat,
}

/// Where the bytes lie.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    File(PathBuf),
    Copy(SealedCopy),
}

impl TableInput {
    /// Whether this path stands for standard input.
    pub fn is_standard(path: &Path) -> bool {
        path.as_os_str() == "-"
    }

    /// The table in a file.
    pub fn file(path: impl Into<PathBuf>, format: TableFormat) -> Self {
        Self {
            place: Place::File(path.into()),
            format,
        }
    }

    /// The table at `path`. If that is `-`, standard input is read to its end and kept sealed in
    /// `scratch` (see [`SealedCopy`]); `progress` is told the bytes read so far.
    ///
    /// # Errors
    /// `Terminal`, `Io`.
    pub fn named(
        path: &Path,
        format: TableFormat,
        scratch: &Path,
        progress: impl FnMut(u64),
    ) -> Result<Self, TableError> {
        if !Self::is_standard(path) {
            return Ok(Self::file(path, format));
        }
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Err(TableError::Terminal);
        }
        let copied = |e| io_error(Path::new(STANDARD_INPUT), "copy what comes in", e);
        // A handle of our own: the library's has a buffer that nobody wipes.
        let stdin = stdin.as_fd().try_clone_to_owned().map_err(copied)?;
        let copy = SealedCopy::make(File::from(stdin), scratch, progress).map_err(copied)?;
        Ok(Self::copy(copy, format))
    }

    /// The table in a sealed copy.
    pub const fn copy(copy: SealedCopy, format: TableFormat) -> Self {
        Self {
            place: Place::Copy(copy),
            format,
        }
    }

    /// Opens the table and reads its header.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open(&self) -> Result<Source, TableError> {
        Source::of(self)
    }

    /// Size as it is stored, in bytes.
    ///
    /// # Errors
    /// `Io`.
    pub fn size(&self) -> Result<u64, TableError> {
        self.place.size()
    }
}

impl Place {
    /// What errors call it.
    pub(crate) fn name(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Copy(_) => Path::new(STANDARD_INPUT),
        }
    }

    pub(crate) fn size(&self) -> Result<u64, TableError> {
        match self {
            Self::File(path) => {
                let meta = fs::metadata(path);
                let meta = meta.map_err(|e| io_error(path, "look at the table", e))?;
                Ok(meta.len())
            }
            Self::Copy(copy) => Ok(copy.bytes()),
        }
    }

    /// The kind of file is asked before it is opened: opening a pipe would wait for its writer.
    fn open(&self) -> Result<Raw, TableError> {
        let from = match self {
            Self::File(path) => {
                let open_error = |e| io_error(path, "open the table", e);
                if !fs::metadata(path).map_err(open_error)?.is_file() {
                    return Err(TableError::NotAFile {
                        file: path.to_owned(),
                    });
                }
                Stored::File(File::open(path).map_err(open_error)?)
            }
            Self::Copy(copy) => Stored::Copy(copy.reader()),
        };
        Ok(Raw {
            from,
            hash: Sha256::new(),
            bytes: 0,
            ended: false,
        })
    }

    /// How what has no name is packed: by its first bytes.
    pub(crate) fn packing(&self) -> Result<Option<Packing>, TableError> {
        let Self::Copy(_) = self else {
            return Ok(None);
        };
        let mut first = [0; 4];
        let n = fill(&mut self.open()?, &mut first).map_err(|e| read_error(self.name(), e))?;
        Ok(Some(Packing::of_bytes(&first[..n])))
    }
}

enum Stored {
    File(File),
    Copy(SealedReader),
}

/// The bytes as they are stored.
struct Raw {
    from: Stored,
    hash: Sha256,
    bytes: u64,
    ended: bool,
}

impl Read for Raw {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.from {
            Stored::File(file) => file.read(into)?,
            Stored::Copy(copy) => copy.read(into)?,
        };
        self.hash.update(&into[..n]);
        self.bytes += n as u64;
        self.ended |= n == 0 && !into.is_empty();
        Ok(n)
    }
}

/// Packed bytes that do not unpack. Carried through [`io::Error`].
#[derive(Debug)]
struct Damaged(&'static str);

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Damaged {}

const CUT_SHORT: &str = "it ends too early";
const BROKEN: &str = "it is damaged";

fn damaged(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Damaged(problem))
}

enum Stream {
    Plain(Raw),
    Gzip(Box<MultiGzDecoder<BufReader<Raw>>>),
    Zstd(Box<Zstd>),
}

impl Stream {
    fn raw(&self) -> &Raw {
        match self {
            Self::Plain(raw) => raw,
            Self::Gzip(gzip) => gzip.get_ref().get_ref(),
            Self::Zstd(zstd) => zstd.from.get_ref(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(raw) => raw.read(into),
            Self::Gzip(gzip) => gzip.read(into).map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => damaged(CUT_SHORT),
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => damaged(BROKEN),
                _ => e,
            }),
            Self::Zstd(zstd) => zstd.read(into),
        }
    }
}

/// All frames of a file, one after another, each with its checksum.
struct Zstd {
    from: BufReader<Raw>,
    decoder: FrameDecoder,
    in_frame: bool,
    frames: u64,
}

impl Zstd {
    fn new(raw: Raw) -> Self {
        Self {
            from: BufReader::new(raw),
            decoder: FrameDecoder::new(),
            in_frame: false,
            frames: 0,
        }
    }

    fn damaged(&self) -> io::Error {
        damaged(match self.from.get_ref().ended {
            true => CUT_SHORT,
            false => BROKEN,
        })
    }

    /// Begins the next frame; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        if self.from.fill_buf()?.is_empty() {
            return match self.frames {
                0 => Err(damaged(CUT_SHORT)),
                _ => Ok(false),
            };
        }
        match self.decoder.reset(&mut self.from) {
            Ok(()) => self.in_frame = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = u64::from(length);
                let skipped = io::copy(&mut (&mut self.from).take(length), &mut io::sink())?;
                if skipped < length {
                    return Err(damaged(CUT_SHORT));
                }
                self.frames += 1;
            }
            Err(_) => return Err(self.damaged()),
        }
        Ok(true)
    }

    fn end(&mut self) -> io::Result<()> {
        self.in_frame = false;
        self.frames += 1;
        match self.decoder.get_checksum_from_data() {
            Some(stated) if self.decoder.get_calculated_checksum() != Some(stated) => {
                Err(damaged(BROKEN))
            }
            _ => Ok(()),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame {
                if !self.begin()? {
                    return Ok(0);
                }
            } else if self.decoder.can_collect() > 0 {
                return self.decoder.read(into);
            } else if self.decoder.is_finished() {
                self.end()?;
            } else {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                if self.decoder.decode_blocks(&mut self.from, one).is_err() {
                    return Err(self.damaged());
                }
            }
        }
    }
}

/// The text of a table in UTF-8, perhaps behind a byte order mark.
pub(crate) struct Input {
    stream: Stream,
    /// The first bytes of the stream, that were looked at.
    head: [u8; 4],
    head_at: usize,
    head_len: usize,
    decoding: Option<Decoding>,
}

impl Input {
    /// Begins to read.
    ///
    /// # Errors
    /// `Io`, `NotAFile`, `Packed`, `Mark`, `Utf16` for UTF-32.
    pub(crate) fn open(
        place: &Place,
        packing: Packing,
        stated: Option<Encoding>,
    ) -> Result<Self, TableError> {
        let file = place.name();
        let raw = place.open()?;
        let mut stream = match packing {
            Packing::Plain => Stream::Plain(raw),
            Packing::Gzip => Stream::Gzip(Box::new(MultiGzDecoder::new(BufReader::new(raw)))),
            Packing::Zstd => Stream::Zstd(Box::new(Zstd::new(raw))),
        };
        let mut head = [0; 4];
        let head_len = fill(&mut stream, &mut head).map_err(|e| read_error(file, e))?;
        let (mark, head_at) = match &head[..head_len] {
            [0xff, 0xfe, 0, 0] | [0, 0, 0xfe, 0xff] => {
                return Err(TableError::Utf16 {
                    file: file.to_owned(),
                });
            }
            [0xff, 0xfe, ..] => (Some(encoding_rs::UTF_16LE), 2),
            [0xfe, 0xff, ..] => (Some(encoding_rs::UTF_16BE), 2),
            // The readers strip it.
            [0xef, 0xbb, 0xbf, ..] => (Some(encoding_rs::UTF_8), 0),
            _ => (None, 0),
        };
        let mark = mark.and_then(|mark| mark.name().parse::<Encoding>().ok());
        if let (Some(mark), Some(stated)) = (mark, stated)
            && mark != stated
            && !(mark.is_utf16() && stated.is_utf16())
        {
            return Err(TableError::Mark {
                file: file.to_owned(),
                mark: mark.name(),
                stated: stated.name(),
            });
        }
        let encoding = mark.or(stated).filter(|one| *one != Encoding::UTF_8);
        Ok(Self {
            stream,
            head,
            head_at,
            head_len,
            decoding: encoding.map(Decoding::new),
        })
    }

    /// Bytes read so far, as they are stored.
    pub(crate) fn bytes(&self) -> u64 {
        self.stream.raw().bytes
    }

    /// SHA-256 of all bytes as they are stored, and their number, once the end was reached.
    pub(crate) fn digest(&self) -> Option<([u8; 32], u64)> {
        let raw = self.stream.raw();
        raw.ended
            .then(|| (raw.hash.clone().finalize().into(), raw.bytes))
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut unpacked = Unpacked {
            head: &self.head[..self.head_len],
            at: &mut self.head_at,
            stream: &mut self.stream,
        };
        match &mut self.decoding {
            Some(decoding) => decoding.read(&mut unpacked, into),
            None => unpacked.read(into),
        }
    }
}

/// The first bytes once more, then the rest.
struct Unpacked<'a> {
    head: &'a [u8],
    at: &'a mut usize,
    stream: &'a mut Stream,
}

impl Read for Unpacked<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let head = self.head.get(*self.at..).unwrap_or_default();
        if head.is_empty() {
            return self.stream.read(into);
        }
        let n = head.len().min(into.len());
        into[..n].copy_from_slice(&head[..n]);
        *self.at += n;
        Ok(n)
    }
}

/// Reads until `into` is full or the end is there; gives how many bytes.
pub(crate) fn fill(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < into.len() {
        match from.read(&mut into[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

/// What stands behind an error of reading.
pub(crate) fn read_error(file: &Path, source: io::Error) -> TableError {
    let inner = source.get_ref();
    if let Some(malformed) = inner.and_then(|inner| inner.downcast_ref::<Malformed>()) {
        return malformed.error(file);
    }
    match inner.and_then(|inner| inner.downcast_ref::<Damaged>()) {
        Some(Damaged(problem)) => TableError::Packed {
            file: file.to_owned(),
            problem,
        },
        None => io_error(file, "read the table", source),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "input_tests.rs"]
mod tests;
