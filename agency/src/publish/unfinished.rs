//! A publication that was killed, as it lies in its collection's folder: the spool, and a checkpoint
//! that says how far it is good.
//!
//! The checkpoint holds the spool's key and is sealed under the home's. It is written when a spool has
//! become worth more than a moment; before that the spool's key lives only in memory. Both are removed
//! when the publication is in force, or fails.

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use tallystick_protocol::statements::{Hex, Line, Name, ProfileReference, TypeKey};
use tallystick_tables::Mapping;

use super::{
    blocks::{BlockKey, Extent, Run},
    record::Layout,
    spool::Spool,
};
use crate::{
    error::{AgencyError, Result},
    fs::{OWNER_FILE, atomic_write, create_owner_dir, read_owner_file},
    home::Home,
};

/// The folder in that of the collection.
const FOLDER: &str = ".unfinished";
/// The spool in it.
const SPOOL: &str = "spool";
/// The checkpoint in it.
const CHECKPOINT: &str = "checkpoint";
/// The version of the checkpoint's layout.
const VERSION: u8 = 2;

/// How far a publication has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// Batches of the table's elements that are spooled.
    pub(super) batches: u64,
    /// Elements in them.
    pub(super) elements: u64,
    /// Digest of these batches, each with the digest of those before.
    pub(super) digest: [u8; 32],
    /// Set when all of the table is spooled and padding has begun.
    pub(super) padding: Option<Padding>,
}

impl Position {
    pub(super) const START: Self = Self {
        batches: 0,
        elements: 0,
        digest: [0; 32],
        padding: None,
    };
}

/// How far the padding has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Padding {
    /// Salt of the padding elements, and of the snapshot.
    pub(super) salt: [u8; 32],
    /// Distinct elements that were counted.
    pub(super) distinct: u64,
    /// Padding elements that are spooled.
    pub(super) spooled: u64,
}

/// What a publication is of. A checkpoint of another is of no use.
#[derive(Debug)]
pub(super) struct Binding<'a> {
    pub(super) name: &'a Name,
    pub(super) epoch: u64,
    /// The snapshot in force when it began.
    pub(super) in_force: Option<[u8; 32]>,
    pub(super) keys: &'a [TypeKey],
    pub(super) profile: &'a ProfileReference,
    pub(super) mapping: &'a Mapping,
    pub(super) label_columns: &'a [Line],
    pub(super) layout: Layout,
}

impl Binding<'_> {
    /// The digest that stands for all of it. The table is not in it: its elements are compared.
    pub(super) fn digest(&self) -> Hex<32> {
        let keys = self.keys.iter().map(|key| (&key.type_name, key.public_key));
        let parts = [
            env!("CARGO_PKG_VERSION").to_owned(),
            self.name.to_string(),
            self.epoch.to_string(),
            format!("{:?}", self.in_force.map(Hex)),
            format!("{:?}", keys.collect::<Vec<_>>()),
            format!("{:?}", self.profile),
            format!("{:?}", self.mapping.keys()),
            format!("{:?}", self.label_columns),
            format!("{:?}", self.layout),
        ];
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Hex(hash.finalize().into())
    }
}

/// The folder of one publication, and what seals its checkpoint.
pub(super) struct Unfinished<'a> {
    home: &'a Home,
    folder: PathBuf,
    purpose: String,
    binding: Hex<32>,
    key: BlockKey,
    bits: u32,
}

/// What a checkpoint says.
pub(super) struct Found {
    binding: Hex<32>,
    key: BlockKey,
    bits: u32,
    extent: Extent,
    pub(super) position: Position,
}

impl Found {
    /// What was left behind of a collection; `None` if there is nothing, or what does not open.
    ///
    /// # Errors
    /// An IO error: then it may be read another time.
    pub(super) fn read(home: &Home, name: &Name) -> Result<Option<Self>> {
        let path = folder_of(home, name).join(CHECKPOINT);
        let sealed = match read_owner_file(&path) {
            Ok(sealed) => sealed,
            Err(error) if super::is_passing(&error) => return Err(error),
            Err(_) => return Ok(None),
        };
        let text = home.keys().open_blob(&purpose(name), &sealed);
        Ok(text.ok().and_then(|text| decode(&text)))
    }

    /// Whether it is of this publication.
    pub(super) fn is_of(&self, binding: Hex<32>) -> bool {
        self.binding == binding
    }
}

fn folder_of(home: &Home, name: &Name) -> PathBuf {
    home.collections_dir().join(name.as_str()).join(FOLDER)
}

fn purpose(name: &Name) -> String {
    format!("unfinished publication of {name}")
}

/// Whether a publication of this collection was begun and has died. One that is under way is none.
#[must_use]
pub fn is_unfinished(home: &Home, name: &Name) -> bool {
    is_begun(home, name) && super::is_free(home, name)
}

/// Whether a publication of this collection lies there, under way or not.
pub(super) fn is_begun(home: &Home, name: &Name) -> bool {
    folder_of(home, name).exists()
}

/// Whether it came as far as a checkpoint, good or not.
pub(super) fn has_checkpoint(home: &Home, name: &Name) -> bool {
    folder_of(home, name).join(CHECKPOINT).exists()
}

/// Removes what a publication left behind; the checkpoint, which has the key, first.
pub(super) fn discard(home: &Home, name: &Name) -> Result<()> {
    let folder = folder_of(home, name);
    let missing = |e: &std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
    match std::fs::remove_file(folder.join(CHECKPOINT)) {
        Err(e) if !missing(&e) => return Err(AgencyError::io("remove", folder)(e)),
        _ => {}
    }
    match std::fs::remove_dir_all(&folder) {
        Err(e) if !missing(&e) => Err(AgencyError::io("remove", folder)(e)),
        _ => Ok(()),
    }
}

impl<'a> Unfinished<'a> {
    /// Begins anew; nothing of an earlier one stays.
    pub(super) fn begin(
        home: &'a Home,
        name: &Name,
        binding: Hex<32>,
        layout: Layout,
        bits: u32,
    ) -> Result<(Self, Spool)> {
        discard(home, name)?;
        let folder = folder_of(home, name);
        create_owner_dir(&folder)?;
        let key = BlockKey::fresh()?;
        let spool = Spool::create(&folder.join(SPOOL), &key, layout, bits)?;
        let purpose = purpose(name);
        let this = Self {
            home,
            folder,
            purpose,
            binding,
            key,
            bits,
        };
        Ok((this, spool))
    }

    /// Goes on with what was found. Its new run is durable when this returns.
    pub(super) fn resume(
        home: &'a Home,
        name: &Name,
        found: Found,
        layout: Layout,
    ) -> Result<(Self, Spool, Position)> {
        let Found {
            binding,
            key,
            bits,
            extent,
            position,
        } = found;
        let folder = folder_of(home, name);
        let mut spool = Spool::reopen(&folder.join(SPOOL), &key, layout, bits, extent)?;
        let this = Self {
            home,
            folder,
            purpose: purpose(name),
            binding,
            key,
            bits,
        };
        this.save(&mut spool, &position)?;
        Ok((this, spool, position))
    }

    /// Makes the spool durable, then a checkpoint that says how far it goes.
    pub(super) fn save(&self, spool: &mut Spool, position: &Position) -> Result<()> {
        spool.sync()?;
        let text = encode(self, spool.extent(), position);
        let sealed = self.home.keys().seal_blob(&self.purpose, &text)?;
        atomic_write(&self.checkpoint(), &sealed, OWNER_FILE)
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.join(CHECKPOINT)
    }
}

/// Largest number of runs that a checkpoint may name.
const MOST_RUNS: u64 = 1 << 20;

fn encode(
    of: &Unfinished<'_>,
    extent: &Extent,
    position: &Position,
) -> zeroize::Zeroizing<Vec<u8>> {
    let runs = extent.runs.len();
    let mut text = zeroize::Zeroizing::new(Vec::with_capacity(256 + 40 * runs));
    text.push(VERSION);
    text.extend_from_slice(&of.binding.0);
    text.extend_from_slice(of.key.bytes());
    text.extend_from_slice(&of.bits.to_be_bytes());
    let padding = position.padding.as_ref();
    let numbers = [
        extent.bytes,
        extent.blocks,
        position.batches,
        position.elements,
        u64::from(padding.is_some()),
        padding.map_or(0, |padding| padding.distinct),
        padding.map_or(0, |padding| padding.spooled),
        runs as u64,
    ];
    for number in numbers {
        text.extend_from_slice(&number.to_be_bytes());
    }
    for run in &extent.runs {
        text.extend_from_slice(&run.first.to_be_bytes());
        text.extend_from_slice(&run.salt);
    }
    text.extend_from_slice(&position.digest);
    text.extend_from_slice(&padding.map_or([0; 32], |padding| padding.salt));
    text
}

/// Reads what [`encode`] wrote; `None` for anything else, such as another version's.
fn decode(text: &[u8]) -> Option<Found> {
    let mut rest = text;
    fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
        let (first, behind) = rest.split_first_chunk::<N>()?;
        *rest = behind;
        Some(first)
    }
    let number = |rest: &mut &[u8]| Some(u64::from_be_bytes(*take::<8>(rest)?));
    if take::<1>(&mut rest)? != &[VERSION] {
        return None;
    }
    let binding = Hex(*take::<32>(&mut rest)?);
    let key = BlockKey::new(take::<32>(&mut rest)?);
    let bits = u32::from_be_bytes(*take::<4>(&mut rest)?);
    let mut numbers = [0u64; 8];
    for to in &mut numbers {
        *to = number(&mut rest)?;
    }
    let [
        bytes,
        blocks,
        batches,
        elements,
        padded,
        distinct,
        spooled,
        runs,
    ] = numbers;
    if bits > super::spool::MOST_BITS || runs > MOST_RUNS {
        return None;
    }
    let runs = (0..runs)
        .map(|_| {
            let first = number(&mut rest)?;
            let salt = *take::<32>(&mut rest)?;
            Some(Run { first, salt })
        })
        .collect::<Option<_>>()?;
    let digest = *take::<32>(&mut rest)?;
    let salt = *take::<32>(&mut rest)?;
    let padding = (padded != 0).then_some(Padding {
        salt,
        distinct,
        spooled,
    });
    rest.is_empty().then_some(Found {
        binding,
        key,
        bits,
        extent: Extent {
            bytes,
            blocks,
            runs,
        },
        position: Position {
            batches,
            elements,
            digest,
            padding,
        },
    })
}
