//! Publishing onto a snapshot of the same epoch: what changed is written as a delta (spec section 6.7),
//! and the later snapshot whole, for those that have not the earlier one.
//!
//! Which tags of the earlier snapshot are padding, its bytes do not tell, nor to us: the padding is
//! evaluated again, from the epoch's seed and the salts that stand in the snapshot's chain.

mod chain;
mod merge;

use std::{
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
};

use tallystick_protocol::{
    frame::Frame,
    signing::SigningKey,
    snapshot::{BuiltDelta, DeltaBuilder, DeltaPlan, DeltaTerms, SnapshotLeaves, tag_bytes},
    statements::{Coverage, Hex, Int, SnapshotPreamble},
};
use tallystick_tables::temporary;
use tempfile::NamedTempFile;

pub use self::chain::damaged_deltas;
pub(super) use self::chain::{Chain, remove_others};
use self::merge::{Base, Merged};
use super::{NoDelta, OnProgress, Stage, spool::SortedReader, withdraw, work::Work};
use crate::{
    collections::{EpochSeed, delta_path, public_keys, snapshot_path},
    error::{AgencyError, Result},
    fs::sync_dir,
    peers::{int as moment, own_reference},
};

/// A snapshot that was published by delta.
pub(super) struct ByDelta {
    pub(super) leaves: SnapshotLeaves,
    /// Bytes of the whole snapshot, and of the delta.
    pub(super) bytes: u64,
    pub(super) delta_bytes: u64,
    pub(super) plan: DeltaPlan,
}

/// A file that is written behind headers which are known when all is written.
struct Written {
    file: NamedTempFile,
    heads: u64,
    bytes: u64,
}

impl Written {
    /// Writes the headers, and makes all of it durable.
    fn seal(&mut self, heads: &[&Frame], path: &std::path::Path) -> Result<()> {
        let length: u64 = heads.iter().map(|head| head.bytes().len() as u64).sum();
        if length != self.heads {
            let error = "headers of a delta changed their length";
            return Err(AgencyError::Bug(error.to_owned()));
        }
        let io = |action| AgencyError::io(action, path);
        let file: &mut File = self.file.as_file_mut();
        file.seek(SeekFrom::Start(0)).map_err(io("write"))?;
        for head in heads {
            file.write_all(head.bytes()).map_err(io("write"))?;
        }
        file.sync_all().map_err(io("write"))
    }

    /// SHA-256 of what was sealed.
    fn sha256(&mut self, path: &std::path::Path) -> Result<Hex<32>> {
        let io = |action| AgencyError::io(action, path);
        let file: &mut File = self.file.as_file_mut();
        file.seek(SeekFrom::Start(0)).map_err(io("read"))?;
        chain::sha256(file).map_err(io("read"))
    }

    /// Gives what was sealed its name. Says how many bytes it has.
    fn persist(self, path: &std::path::Path) -> Result<u64> {
        self.file
            .persist(path)
            .map_err(|e| AgencyError::io("rename to", path)(e.error))?;
        Ok(self.heads + self.bytes)
    }
}

impl Work<'_> {
    /// Publishes by delta onto the snapshot `digest`, if that can be done; else says why a whole one is
    /// due. `real` are the
    /// elements of the table, in order; `longest` is the longest of their labels, in bytes.
    pub(super) fn by_delta(
        &self,
        digest: [u8; 32],
        real: &mut SortedReader,
        longest: usize,
        progress: OnProgress<'_>,
    ) -> Result<Result<ByDelta, NoDelta>> {
        let Some(chain) = Chain::read(self.home, &self.name, &digest)? else {
            return Ok(Err(NoDelta::NoBase));
        };
        let Some(sequence) = chain.next_sequence() else {
            return Ok(Err(NoDelta::Chain));
        };
        let Some(base) = Base::open(self, &digest)? else {
            return Ok(Err(NoDelta::NoBase));
        };
        if !self.is_of_one_form(base.leaves.snapshot().preamble(), longest)? {
            return Ok(Err(NoDelta::Form));
        }
        let seed = EpochSeed::open(self.home, &self.name, self.epoch)?;
        let parts = chain.padding();
        let mut padding = self.evaluated_padding(&seed, &parts)?.reader()?;

        let mut merged = Merged::new(&base, self)?;
        let counted = merged.count(real, &mut padding, &|done, total| {
            progress(Stage::Comparing, done, total);
        })?;
        let preamble = base.leaves.snapshot().preamble();
        let labelled = preamble.sealed_len() > 0;
        let elements = preamble.elements.get();
        let plan = DeltaPlan::new(&counted.changes, counted.padding, elements, labelled);
        let Some(plan) = plan else {
            return Ok(Err(NoDelta::Changes));
        };

        let mut salt = [0u8; 32];
        crate::keys::fill_random(&mut salt)?;
        let fresh = self.evaluated_padding(&seed, &[(salt, plan.padding_added)])?;
        real.rewind()?;
        padding.rewind()?;
        let terms = DeltaTerms {
            plan,
            sequence: Int::new(sequence)?,
            salt: Hex(salt),
            published_ms: moment(self.now_ms)?,
            covers: self.covers.clone(),
        };
        let key = SigningKey::from(self.home.signing_key()?);
        let mut builder = DeltaBuilder::new(base.leaves.clone(), terms)?;
        let [delta_head, head] = builder.placeholders(&key)?;
        let (mut whole, mut delta) = (self.start(&[&head])?, self.start(&[&delta_head, &head])?);
        let fates = counted.draw(&plan);
        let written = {
            let mut whole = Out::new(&mut whole);
            let mut delta = Out::new(&mut delta);
            let mut readers = merge::Readers {
                real,
                padding: &mut padding,
                fresh: &mut fresh.reader()?,
            };
            merged.write(
                &mut readers,
                fates,
                &mut builder,
                &mut |frame| whole.push(frame),
                &mut |frame| delta.push(frame),
                &|done, total| progress(Stage::Sealing, done, total),
            )?;
            [whole.flush()?, delta.flush()?]
        };
        [whole.bytes, delta.bytes] = written;
        let BuiltDelta {
            delta: delta_head,
            header,
            leaves,
        } = builder.finish(&key)?;
        let to = leaves.snapshot().digest();
        let name = self.name.as_str();
        let publish = || -> Result<(u64, u64)> {
            let path = delta_path(self.home, name, &to.0);
            delta.seal(&[&delta_head, &header], &path)?;
            let sha256 = delta.sha256(&path)?;
            // What the later snapshot needs lies there before it does.
            chain
                .with(to, salt, plan.padding_added, Some(sha256))
                .write(self.home, &self.name)?;
            let delta_bytes = delta.persist(&path)?;
            let path = snapshot_path(self.home, name, &to.0);
            whole.seal(&[&header], &path)?;
            let bytes = whole.persist(&path)?;
            sync_dir(self.folder)?;
            Ok((delta_bytes, bytes))
        };
        let published = publish().inspect_err(|_| withdraw(self.home, &self.name, &to));
        let (delta_bytes, bytes) = published?;
        Ok(Ok(ByDelta {
            leaves,
            bytes,
            delta_bytes,
            plan,
        }))
    }

    fn start(&self, heads: &[&Frame]) -> Result<Written> {
        let io = |action| AgencyError::io(action, self.folder);
        let mut file =
            temporary::beside(self.folder, ".snapshot-", "").map_err(io("create a file in"))?;
        let mut length = 0;
        for head in heads {
            let written = file.as_file_mut().write_all(head.bytes());
            written.map_err(io("write to"))?;
            length += head.bytes().len() as u64;
        }
        Ok(Written {
            file,
            heads: length,
            bytes: 0,
        })
    }

    /// Whether what is to be published can have the earlier snapshot's preamble, but for salt and time.
    fn is_of_one_form(&self, was: &SnapshotPreamble, longest: usize) -> Result<bool> {
        let label_bytes = usize::try_from(was.label_bytes.get()).unwrap_or(usize::MAX);
        let elements = was.elements.get();
        Ok(was.sender == own_reference(self.home)?
            && was.collection == self.name
            && was.epoch.get() == self.epoch
            && was.profile == self.profile
            && was.keys == public_keys(&self.keys)
            && was.tag_bytes.get() == u64::from(tag_bytes(self.max_session_elements, elements))
            && was.label_columns == self.label_columns
            && was.kind == self.kind
            && Coverage::may_follow(was.covers.as_ref(), self.covers.as_ref())
            && (!self.layout.labels || longest + 2 <= label_bytes)
            && was.published_ms < moment(self.now_ms)?)
    }
}

/// Frames on their way to a file.
struct Out<'a> {
    out: BufWriter<&'a mut File>,
    bytes: u64,
}

impl<'a> Out<'a> {
    fn new(to: &'a mut Written) -> Self {
        Self {
            out: BufWriter::with_capacity(256 << 10, to.file.as_file_mut()),
            bytes: 0,
        }
    }

    fn push(&mut self, frame: &Frame) -> Result<()> {
        self.bytes += frame.bytes().len() as u64;
        let written = self.out.write_all(frame.bytes());
        written.map_err(AgencyError::io("write", std::path::Path::new("a snapshot")))
    }

    fn flush(mut self) -> Result<u64> {
        let flushed = self.out.flush();
        flushed.map_err(AgencyError::io("write", std::path::Path::new("a snapshot")))?;
        Ok(self.bytes)
    }
}
