//! Session records on disk: written frame by frame, closed by a rename.
//!
//! While a session is open its record is `SESSION.part`; closed, it is `SESSION.tally`. What cannot
//! be gone on with and is evidence nevertheless is `SESSION.broken`. A record holds no identifier.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, FrameReader, Kind, ReadError},
    record,
    statements::Hex,
};

use crate::{
    error::{AgencyError, Result},
    fs::{OWNER_FILE, sync_dir},
};

/// An open record.
#[derive(Debug)]
pub struct RecordFile {
    file: File,
    path: PathBuf,
    session: Hex<16>,
    length: u64,
    /// Bytes up to here stand in the file already: what is appended must be these again.
    stored: u64,
}

/// Where a frame lies in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
}

impl Place {
    fn new(offset: u64, frame: &Frame) -> Result<Self> {
        let length = u32::try_from(frame.bytes().len())
            .map_err(|_| AgencyError::Bug("a frame is too long".to_owned()))?;
        Ok(Self { offset, length })
    }
}

/// A record that was closed.
#[derive(Debug)]
pub struct ClosedRecord {
    /// Its file.
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
}

/// Where the record of a session lies while it is open.
#[must_use]
pub fn open_path(dir: &Path, session: &Hex<16>) -> PathBuf {
    dir.join(format!("{session}.part"))
}

/// Where the record of a session lies once it is closed.
#[must_use]
pub fn closed_path(dir: &Path, session: &Hex<16>) -> PathBuf {
    dir.join(format!("{session}.tally"))
}

fn broken_path(dir: &Path, session: &Hex<16>) -> PathBuf {
    dir.join(format!("{session}.broken"))
}

/// Where a closed record lies, relative to its home: what the index of records says.
#[must_use]
pub fn relative_path(session: &Hex<16>) -> String {
    format!("records/{session}.tally")
}

impl RecordFile {
    /// Starts the record of a session. One that was left open before is started again.
    ///
    /// # Errors
    /// An IO error.
    pub fn create(dir: &Path, session: Hex<16>) -> Result<Self> {
        let path = open_path(dir, &session);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(OWNER_FILE)
            .open(&path)
            .map_err(AgencyError::io("create", &path))?;
        let mut record = Self {
            file,
            path,
            session,
            length: 0,
            stored: 0,
        };
        record.append(&record::header(&session)?)?;
        // A file whose folder was not forced to the disk may be gone after a power cut.
        sync_dir(dir)?;
        Ok(record)
    }

    /// Takes up a record that was left open, with the places of its whole frames after the header.
    /// A frame that was cut short by a crash is cut off: what follows it never left.
    ///
    /// # Errors
    /// An IO error; `SealBroken` if the file is not the record of this session.
    pub fn reopen(dir: &Path, session: Hex<16>) -> Result<(Self, Vec<(Kind, Place)>)> {
        let path = open_path(dir, &session);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(AgencyError::io("open", &path))?;
        let mut reader = FrameReader::new(BufReader::new(&file));
        let mut frames = Vec::new();
        let mut header = None;
        let length = loop {
            let offset = reader.offset();
            match reader.next_frame() {
                Ok(Some(frame)) if offset == 0 => header = Some(frame),
                Ok(Some(frame)) => frames.push((frame.kind(), Place::new(offset, &frame)?)),
                Ok(None) | Err(ReadError::Frame(_)) => break offset,
                Err(ReadError::Io(e)) => return Err(AgencyError::io("read", &path)(e)),
            }
        };
        drop(reader);
        if header != Some(record::header(&session)?) {
            return Err(AgencyError::SealBroken {
                what: path.display().to_string(),
            });
        }
        let mut record = Self {
            file,
            path,
            session,
            length,
            stored: 0,
        };
        record.cut(length)?;
        Ok((record, frames))
    }

    /// Starts the record of a session that is gone through again from its first frame. What an
    /// earlier time had written stays: it was signed, and must come again as it was.
    ///
    /// # Errors
    /// As for [`Self::create`] and [`Self::reopen`].
    pub fn again(dir: &Path, session: Hex<16>) -> Result<Self> {
        let path = open_path(dir, &session);
        let header = record::header(&session)?.bytes().len() as u64;
        // A disk that was full may have taken less than that.
        if std::fs::metadata(&path).map_or(0, |meta| meta.len()) < header {
            return Self::create(dir, session);
        }
        let (mut record, _) = Self::reopen(dir, session)?;
        record.stored = record.length;
        record.length = 0;
        record.append(&record::header(&session)?)?;
        Ok(record)
    }

    /// Cuts off everything from `offset` on.
    ///
    /// # Errors
    /// An IO error.
    pub fn cut(&mut self, offset: u64) -> Result<()> {
        self.file
            .set_len(offset)
            .map_err(AgencyError::io("cut", &self.path))?;
        self.length = offset;
        Ok(())
    }

    /// Appends a frame; it is durable after [`Self::sync`].
    ///
    /// # Errors
    /// An IO error, a full disk among them. In a record that is gone through again: a fault of the
    /// peer if the frame is another than before.
    pub fn append(&mut self, frame: &Frame) -> Result<Place> {
        let offset = self.length;
        if offset < self.stored {
            let place = Place::new(offset, frame)?;
            let length = frame.bytes().len() as u64;
            if offset + length > self.stored || self.bytes_at(place)? != frame.bytes() {
                let own = matches!(frame.kind(), Kind::Request | Kind::BlindedChunk);
                return Err(match own {
                    true => AgencyError::SealBroken {
                        what: self.path.display().to_string(),
                    },
                    false => AgencyError::from(Error::Mismatch {
                        what: frame.kind().name(),
                        field: "it is another than the one in the record of this session",
                    }),
                });
            }
            self.length += length;
            return Ok(place);
        }
        let write = |file: &mut File| {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(frame.bytes())
        };
        write(&mut self.file).map_err(AgencyError::io("write", &self.path))?;
        self.length += frame.bytes().len() as u64;
        Place::new(offset, frame)
    }

    /// Forces what was appended to the disk.
    ///
    /// # Errors
    /// An IO error.
    pub fn sync(&self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(AgencyError::io("write", &self.path))
    }

    /// Reads a frame back.
    ///
    /// # Errors
    /// An IO error; `SealBroken` if there is no frame at this place.
    pub fn frame_at(&mut self, place: Place) -> Result<Frame> {
        let bytes = self.bytes_at(place)?;
        // What is wrong with an own file is nobody else's fault.
        Frame::from_bytes(bytes).map_err(|_| AgencyError::SealBroken {
            what: self.path.display().to_string(),
        })
    }

    fn bytes_at(&mut self, place: Place) -> Result<Vec<u8>> {
        let mut bytes = vec![0u8; place.length as usize];
        let mut read = |file: &mut File| {
            file.seek(SeekFrom::Start(place.offset))?;
            file.read_exact(&mut bytes)
        };
        read(&mut self.file).map_err(AgencyError::io("read", &self.path))?;
        Ok(bytes)
    }

    /// Removes a record of which nothing left.
    ///
    /// # Errors
    /// An IO error.
    pub fn discard(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(AgencyError::io("remove", &self.path))
    }

    /// Closes the record: forces it to the disk, renames it, hashes it. A closed record is evidence:
    /// none is ever written over.
    ///
    /// # Errors
    /// An IO error; `SealBroken` if a record of this session was closed before.
    pub fn close(mut self) -> Result<ClosedRecord> {
        self.sync()?;
        let dir = crate::fs::parent_of(&self.path)?.to_owned();
        let path = closed_path(&dir, &self.session);
        // Who closes holds the session, so nobody makes one between this and the next line.
        if path.exists() {
            return Err(AgencyError::SealBroken {
                what: format!("{}, which was closed before,", path.display()),
            });
        }
        std::fs::rename(&self.path, &path).map_err(AgencyError::io("rename to", &path))?;
        sync_dir(&dir)?;
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(AgencyError::io("read", &path))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0u8; 64 * 1024];
        loop {
            match self
                .file
                .read(&mut buffer)
                .map_err(AgencyError::io("read", &path))?
            {
                0 => break,
                n => hash.update(&buffer[..n]),
            }
        }
        Ok(ClosedRecord {
            path,
            digest: hash.finalize().into(),
        })
    }
}

/// A closed record once more: its digest, and the frame that ends it. `None` if there is none.
///
/// # Errors
/// An IO error; `SealBroken` if the file is not whole.
pub fn reread(dir: &Path, session: &Hex<16>) -> Result<Option<(ClosedRecord, Frame)>> {
    let path = closed_path(dir, session);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(AgencyError::io("open", &path)(e)),
    };
    let mut reader = FrameReader::new(BufReader::new(file));
    let (mut hash, mut last) = (Sha256::new(), None);
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                hash.update(frame.bytes());
                last = Some(frame);
            }
            Ok(None) => break,
            Err(ReadError::Io(e)) => return Err(AgencyError::io("read", &path)(e)),
            Err(ReadError::Frame(_)) => {
                last = None;
                break;
            }
        }
    }
    let digest = hash.finalize().into();
    match last {
        Some(last) => Ok(Some((ClosedRecord { path, digest }, last))),
        None => Err(AgencyError::SealBroken {
            what: path.display().to_string(),
        }),
    }
}

/// Sets an open record aside as `SESSION.broken`: nobody goes on with it, and what it holds is
/// evidence. Gives its new path, `None` if there was none.
///
/// # Errors
/// An IO error.
pub fn set_aside(dir: &Path, session: &Hex<16>) -> Result<Option<PathBuf>> {
    let kept = broken_path(dir, session);
    match std::fs::rename(open_path(dir, session), &kept) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(AgencyError::io("rename to", &kept)(e)),
    }
    sync_dir(dir)?;
    Ok(Some(kept))
}

/// The sessions whose records lie open in a folder.
///
/// # Errors
/// An IO error.
pub fn open_ones(dir: &Path) -> Result<Vec<Hex<16>>> {
    let entries = std::fs::read_dir(dir).map_err(AgencyError::io("read", dir))?;
    let mut sessions = Vec::new();
    for entry in entries {
        let name = entry.map_err(AgencyError::io("read", dir))?.file_name();
        let session = name.to_str().and_then(|name| name.strip_suffix(".part"));
        // Another file is nobody's record.
        if let Some(Ok(session)) = session.map(str::parse) {
            sessions.push(session);
        }
    }
    Ok(sessions)
}

/// Removes an open record, unless somebody holds it locked; whether it did.
///
/// # Errors
/// An IO error.
pub fn discard_unlocked(dir: &Path, session: &Hex<16>) -> Result<bool> {
    let path = open_path(dir, session);
    let file = match File::open(&path) {
        Ok(file) => file,
        // Closed by who held it.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(AgencyError::io("open", &path)(e)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(e)) => return Err(AgencyError::io("lock", &path)(e)),
    }
    std::fs::remove_file(&path).map_err(AgencyError::io("remove", &path))?;
    Ok(true)
}

/// Removes an open record into which nothing was written.
///
/// # Errors
/// An IO error.
pub fn remove_open(dir: &Path, session: &Hex<16>) -> Result<()> {
    let path = open_path(dir, session);
    std::fs::remove_file(&path).map_err(AgencyError::io("remove", &path))
}

/// Whether a record of this session was closed, or set aside.
#[must_use]
pub fn is_kept(dir: &Path, session: &Hex<16>) -> bool {
    closed_path(dir, session).exists() || broken_path(dir, session).exists()
}

/// Whether a record of this session was left open.
#[must_use]
pub fn is_open(dir: &Path, session: &Hex<16>) -> bool {
    open_path(dir, session).exists()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_a_crash_up_to_its_last_whole_frame() {
        let dir = tempfile::tempdir().unwrap();
        let session = Hex([7; 16]);
        let mut record = RecordFile::create(dir.path(), session).unwrap();
        let frames: Vec<_> = (0..3u8)
            .map(|i| Frame::new(Kind::BlindedChunk, &[i; 40]).unwrap())
            .collect();
        let places: Vec<_> = frames.iter().map(|f| record.append(f).unwrap()).collect();
        assert_eq!(record.frame_at(places[1]).unwrap(), frames[1]);
        record.sync().unwrap();
        drop(record);

        let path = open_path(dir.path(), &session);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let (mut record, found) = RecordFile::reopen(dir.path(), session).unwrap();
        assert_eq!(
            found.iter().map(|(_, place)| *place).collect::<Vec<_>>(),
            places[..2]
        );
        assert_eq!(record.append(&frames[2]).unwrap(), places[2]);
        let closed = record.close().unwrap();
        assert_eq!(std::fs::read(&closed.path).unwrap(), whole);
        assert_eq!(closed.digest, <[u8; 32]>::from(Sha256::digest(&whole)));
        assert!(!is_open(dir.path(), &session));

        // Reading it again gives the same digest, and the frame that ends it.
        let (again, last) = reread(dir.path(), &session).unwrap().unwrap();
        assert_eq!((again.path, again.digest), (closed.path, closed.digest));
        assert_eq!(last, frames[2]);
        assert!(reread(dir.path(), &Hex([8; 16])).unwrap().is_none());
        let path = closed_path(dir.path(), &session);
        std::fs::write(path, &whole[..whole.len() - 3]).unwrap();
        let error = reread(dir.path(), &session).unwrap_err();
        assert_eq!(error.code(), "seal-broken");
    }

    #[test]
    fn a_record_that_is_gone_through_again_keeps_what_it_held() {
        let dir = tempfile::tempdir().unwrap();
        let session = Hex([7; 16]);
        let frames: Vec<_> = (0..3u8)
            .map(|i| Frame::new(Kind::BlindedChunk, &[i; 40]).unwrap())
            .collect();
        let mut record = RecordFile::again(dir.path(), session).unwrap();
        for frame in &frames[..2] {
            record.append(frame).unwrap();
        }
        drop(record);
        let path = open_path(dir.path(), &session);
        let held = std::fs::read(&path).unwrap();

        // Broken off after the first: both are still there.
        let mut record = RecordFile::again(dir.path(), session).unwrap();
        record.append(&frames[0]).unwrap();
        // Own frames that differ are a damaged file, those of the peer its fault.
        let other = record.append(&frames[2]).unwrap_err();
        assert_eq!(other.code(), "seal-broken");
        let answer = Frame::new(Kind::EvaluatedChunk, &[1; 40]).unwrap();
        let other = record.append(&answer).unwrap_err();
        assert_eq!(other.kind(), crate::Kind::PeerFault, "{other}");
        drop(record);
        assert!(std::fs::read(&path).unwrap() == held);

        let mut record = RecordFile::again(dir.path(), session).unwrap();
        for frame in &frames {
            record.append(frame).unwrap();
        }
        record.close().unwrap();

        // A closed record is written over by nothing.
        let mut twin = RecordFile::create(dir.path(), session).unwrap();
        twin.append(&frames[0]).unwrap();
        assert_eq!(twin.close().unwrap_err().code(), "seal-broken");
        let (_, last) = reread(dir.path(), &session).unwrap().unwrap();
        assert_eq!(last, frames[2]);
    }

    #[test]
    fn the_record_of_another_session_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(RecordFile::create(dir.path(), Hex([1; 16])).unwrap());
        std::fs::rename(
            open_path(dir.path(), &Hex([1; 16])),
            open_path(dir.path(), &Hex([2; 16])),
        )
        .unwrap();
        assert!(RecordFile::reopen(dir.path(), Hex([2; 16])).is_err());
    }
}
