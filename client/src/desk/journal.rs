//! What must outlive the process of a desk: which elements wait for an answer, and how many matched.
//!
//! A session's blinds and signatures all follow from its seed, its record and its elements. So the
//! elements of flights under way are noted here, sealed under the home's key, and a desk that was killed
//! can say the very same bytes again, verify the answers and count their matches. Each note is a
//! sealed piece of its own, written before the flight leaves. Elements go when their flight was looked
//! up: [`Journal::compact`] begins the file again with what is left. Nothing here survives a power cut
//! for certain; then the session is given up and the next begins.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tallystick_agency::{AgencyError, exit::Outcome, fs::OWNER_FILE, home::Home};
use tallystick_protocol::{identifiers::Elements, statements::Hex};
use zeroize::Zeroizing;

use super::flight::ChunkPlan;
use crate::{error::bug, session::journal_path};

/// A sealed note is no longer than this: a flight of every type at its largest.
const LONGEST_NOTE: usize = 64 << 20;
/// Bytes of notes that are not needed any more, from which on a journal is begun again.
const LONG: usize = 1 << 20;

/// Where real elements stand in a chunk, and what they are.
pub(super) struct NotedChunk {
    pub(super) size: usize,
    pub(super) first_index: u64,
    /// Of which its padding was made.
    pub(super) fresh: Zeroizing<[u8; 32]>,
    /// Places of the real ones, ascending.
    pub(super) places: Vec<u32>,
    /// The real ones, in the same order.
    pub(super) elements: Elements,
}

/// Flights that are not looked up yet, by their number in the session.
pub(super) type Noted = BTreeMap<u64, Vec<NotedChunk>>;

/// The journal of one session.
pub(super) struct Journal {
    home: Arc<Home>,
    session: Hex<16>,
    path: PathBuf,
    file: File,
    length: u64,
    /// Number of the next note.
    next: u64,
    matches: u64,
    /// Notes of flights under way, as they were noted.
    open: BTreeMap<u64, Zeroizing<Vec<u8>>>,
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    /// Matches of all flights that are not noted any more.
    Total = 0,
    /// A flight that leaves.
    Asked = 1,
    /// A flight that was looked up, and its matches.
    Found = 2,
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> AgencyError {
    AgencyError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

fn create(path: &Path) -> Outcome<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(OWNER_FILE)
        .open(path);
    Ok(file.map_err(|e| io("create", path, e))?)
}

impl Journal {
    /// Begins the journal of a session.
    pub(super) fn create(home: &Arc<Home>, session: Hex<16>) -> Outcome<Self> {
        let path = journal_path(&home.records_dir(), &session);
        Ok(Self {
            home: Arc::clone(home),
            session,
            file: create(&path)?,
            path,
            length: 0,
            next: 0,
            matches: 0,
            open: BTreeMap::new(),
        })
    }

    /// Takes up what a process left, with the flights that were under way. A note that was cut short
    /// never counted: its flight had not left.
    ///
    /// # Errors
    /// `SealBroken` if it was altered.
    pub(super) fn reopen(home: &Arc<Home>, session: Hex<16>) -> Outcome<(Self, Noted)> {
        let path = journal_path(&home.records_dir(), &session);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(io("read", &path, e).into()),
        };
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(OWNER_FILE)
            .open(&path)
            .map_err(|e| io("open", &path, e))?;
        let mut journal = Self {
            home: Arc::clone(home),
            session,
            path,
            file,
            length: 0,
            next: 0,
            matches: 0,
            open: BTreeMap::new(),
        };
        let mut rest = bytes.as_slice();
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some((sealed, behind)) = behind.split_at_checked(length) else {
                break;
            };
            let place = journal.place(journal.next);
            let note = journal.home.keys().open_blob(&place, sealed)?;
            journal.take(&note)?;
            rest = behind;
            journal.next += 1;
            journal.length += 4 + length as u64;
        }
        let cut = journal.file.set_len(journal.length);
        cut.map_err(|e| io("cut", &journal.path, e))?;
        let mut noted = Noted::new();
        for (flight, note) in &journal.open {
            noted.insert(*flight, decode(note)?);
        }
        Ok((journal, noted))
    }

    /// Each note its own, so that none can be left out or moved.
    fn place(&self, number: u64) -> String {
        format!("shift/{}/{number}", self.session)
    }

    fn take(&mut self, note: &[u8]) -> Outcome<()> {
        let mut read = Reader(note);
        let (kind, number) = (read.u8()?, read.u64()?);
        match kind {
            kind if kind == Kind::Total as u8 => self.matches = number,
            kind if kind == Kind::Asked as u8 => {
                self.open.insert(number, Zeroizing::new(read.0.to_vec()));
            }
            kind if kind == Kind::Found as u8 => {
                self.open.remove(&number);
                self.matches += read.u64()?;
            }
            _ => return Err(broken()),
        }
        Ok(())
    }

    fn write(&mut self, kind: Kind, number: u64, body: &[u8]) -> Outcome<()> {
        let mut note = Zeroizing::new(Vec::with_capacity(9 + body.len()));
        note.push(kind as u8);
        note.extend_from_slice(&number.to_be_bytes());
        note.extend_from_slice(body);
        let sealed = self.home.keys().seal_blob(&self.place(self.next), &note)?;
        let length = u32::try_from(sealed.len())
            .ok()
            .filter(|length| *length as usize <= LONGEST_NOTE)
            .ok_or_else(|| bug("a note of a flight is too long"))?;
        let bytes = [&length.to_be_bytes()[..], &sealed].concat();
        let written = self.file.write_all(&bytes);
        written.map_err(|e| io("write", &self.path, e))?;
        self.length += bytes.len() as u64;
        self.next += 1;
        Ok(())
    }

    /// Notes a flight, before it leaves.
    pub(super) fn asked(&mut self, flight: u64, chunks: &[ChunkPlan]) -> Outcome<()> {
        let note = encode(chunks)?;
        self.write(Kind::Asked, flight, &note)?;
        self.open.insert(flight, note);
        Ok(())
    }

    /// Notes that a flight was looked up, and how many of its elements matched.
    pub(super) fn found(&mut self, flight: u64, matches: u64) -> Outcome<()> {
        self.write(Kind::Found, flight, &matches.to_be_bytes())?;
        self.open.remove(&flight);
        self.matches += matches;
        let needed: usize = self.open.values().map(|note| 2 * note.len()).sum();
        if self.length > (LONG + needed) as u64 {
            self.compact()?;
        }
        Ok(())
    }

    /// Matches of all flights that were looked up.
    pub(super) fn matches(&self) -> u64 {
        self.matches
    }

    /// Whether there are notes that are not needed any more.
    pub(super) fn has_grown(&self) -> bool {
        self.open.is_empty() && self.next > 1
    }

    /// Begins the file again with the count and the flights under way.
    pub(super) fn compact(&mut self) -> Outcome<()> {
        let (path, next) = (self.path.clone(), self.path.with_extension("shift-next"));
        self.file = create(&next)?;
        (self.length, self.next) = (0, 0);
        self.write(Kind::Total, self.matches, &[])?;
        let open = std::mem::take(&mut self.open);
        for (flight, note) in &open {
            self.write(Kind::Asked, *flight, note)?;
        }
        self.open = open;
        std::fs::rename(&next, &path).map_err(|e| io("rename to", &path, e))?;
        Ok(())
    }
}

fn broken() -> tallystick_agency::exit::Failure {
    AgencyError::SealBroken {
        what: "the journal of a shift".to_owned(),
    }
    .into()
}

fn encode(chunks: &[ChunkPlan]) -> Outcome<Zeroizing<Vec<u8>>> {
    let reals = |chunk: &ChunkPlan| {
        let both = chunk.owners.iter().zip(chunk.elements.iter());
        both.map(|(owner, bytes)| owner.map_or(0, |_| 6 + bytes.len()))
            .sum::<usize>()
    };
    // The full size at once: growing would leave unwiped copies behind.
    let size: usize = chunks.iter().map(|chunk| 48 + reals(chunk)).sum();
    let mut note = Zeroizing::new(Vec::with_capacity(2 + size));
    let number = |n: usize| u32::try_from(n).map_err(|_| bug("a chunk of a flight"));
    note.extend_from_slice(&u16::try_from(chunks.len()).unwrap_or(0).to_be_bytes());
    for chunk in chunks {
        note.extend_from_slice(&chunk.first_index.to_be_bytes());
        note.extend_from_slice(&chunk.fresh[..]);
        note.extend_from_slice(&number(chunk.owners.len())?.to_be_bytes());
        let count = chunk.owners.iter().flatten().count();
        note.extend_from_slice(&number(count)?.to_be_bytes());
        let both = chunk.owners.iter().zip(chunk.elements.iter());
        for (place, (owner, bytes)) in both.enumerate() {
            if owner.is_some() {
                note.extend_from_slice(&number(place)?.to_be_bytes());
                let length = u16::try_from(bytes.len()).map_err(|_| bug("an element"))?;
                note.extend_from_slice(&length.to_be_bytes());
                note.extend_from_slice(bytes);
            }
        }
    }
    Ok(note)
}

fn decode(note: &[u8]) -> Outcome<Vec<NotedChunk>> {
    let mut read = Reader(note);
    let mut chunks = Vec::new();
    for _ in 0..read.u16()? {
        let first_index = read.u64()?;
        let fresh = Zeroizing::new(read.array()?);
        let (size, count) = (read.u32()? as usize, read.u32()? as usize);
        let mut places = Vec::new();
        let mut elements = Elements::with_capacity(count.min(note.len()));
        for _ in 0..count {
            places.push(read.u32()?);
            let length = read.u16()?.into();
            if !elements.push_bytes(read.bytes(length)?) {
                return Err(broken());
            }
        }
        chunks.push(NotedChunk {
            size,
            first_index,
            fresh,
            places,
            elements,
        });
    }
    Ok(chunks)
}

/// Reads numbers off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or_else(broken)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(broken)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u8(&mut self) -> Outcome<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u16(&mut self) -> Outcome<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Outcome<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Outcome<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
