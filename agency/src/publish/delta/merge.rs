//! The earlier snapshot, the table and the padding side by side, one bucket in memory at a time.

use std::{
    fs::File,
    io::{BufReader, Seek},
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use tallystick_protocol::{
    frame::{Frame, FrameReader, ReadError},
    signing::SigningKey,
    snapshot::{
        Bucket, BucketChanges, Changes, DeltaBuilder, DeltaPlan, Entry, LabelContext, LabelKey,
        SnapshotLeaves, SnapshotVerifier, bucket_of,
    },
};
use zeroize::Zeroizing;

use super::super::{record::Record, spool::SortedReader, work::Work};
use crate::{
    collections::snapshot_path,
    error::{AgencyError, Result},
    memory::wipe_stack,
};

/// Labels that one core opens at a time.
const OPEN_SLICE: usize = 64;
/// Buckets between two reports of progress.
const REPORT_BUCKETS: u64 = 64;

/// The earlier snapshot: verified whole.
pub(super) struct Base {
    pub(super) leaves: SnapshotLeaves,
    file: File,
    path: PathBuf,
}

impl Base {
    /// Opens the snapshot in force; `None` if it is not there or not whole any more: then it is no
    /// base, and a whole one replaces it.
    pub(super) fn open(work: &Work<'_>, digest: &[u8; 32]) -> Result<Option<Self>> {
        let path = snapshot_path(work.home, work.name.as_str(), digest);
        let Ok(file) = File::open(&path) else {
            return Ok(None);
        };
        let publisher = SigningKey::from(work.home.signing_key()?).verify_key();
        let mut frames = Frames::new(&file, &path);
        let verified = (|| {
            let mut verifier = SnapshotVerifier::new(&frames.next().ok()?, &publisher).ok()?;
            while verifier.next_bucket() < verifier.preamble().buckets() {
                verifier.push(&frames.next().ok()?).ok()?;
            }
            verifier.finish_with_leaves().ok()
        })();
        drop(frames);
        let verified = verified.filter(|leaves| leaves.snapshot().digest().0 == *digest);
        Ok(verified.map(|leaves| Self { leaves, file, path }))
    }

    /// Its buckets from the first on.
    fn buckets(&self) -> Result<Frames<'_>> {
        let mut file = &self.file;
        file.rewind().map_err(AgencyError::io("read", &self.path))?;
        let mut frames = Frames::new(&self.file, &self.path);
        frames.next()?;
        Ok(frames)
    }
}

struct Frames<'a> {
    reader: FrameReader<BufReader<&'a File>>,
    path: &'a Path,
}

impl<'a> Frames<'a> {
    fn new(file: &'a File, path: &'a Path) -> Self {
        Self {
            reader: FrameReader::new(BufReader::with_capacity(1 << 20, file)),
            path,
        }
    }

    fn next(&mut self) -> Result<Frame> {
        match self.reader.next_frame() {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(AgencyError::Bug(
                "a snapshot in force ends early".to_owned(),
            )),
            Err(ReadError::Frame(error)) => Err(error.into()),
            Err(ReadError::Io(source)) => Err(AgencyError::io("read", self.path)(source)),
        }
    }
}

/// An evaluated element of one bucket, in memory for as long as that.
struct Held {
    tag: Vec<u8>,
    material: Zeroizing<Vec<u8>>,
    label: Zeroizing<Vec<u8>>,
}

impl Held {
    fn of(record: &Record<'_>, tag_len: usize) -> Self {
        Self {
            tag: record.whole.get(..tag_len).unwrap_or_default().to_vec(),
            material: Zeroizing::new(record.material.to_vec()),
            label: Zeroizing::new(record.label.to_vec()),
        }
    }
}

/// What the tags of a bucket of the earlier snapshot are now.
enum Now<'h> {
    /// An element of the table; the flag says whether its label is another.
    Element(&'h Held, bool),
    Padding(&'h Held),
    Gone,
}

/// What was counted of the changes.
pub(super) struct Counted {
    pub(super) changes: Changes,
    /// Padding elements in the earlier snapshot.
    pub(super) padding: u64,
    elements: u64,
}

impl Counted {
    /// From how many tags how many fakes are drawn.
    pub(super) fn draw(&self, plan: &DeltaPlan) -> Fates {
        let stay = self.elements - plan.exchanged - self.changes.relabelled;
        Fates {
            go: Draw {
                left: self.padding,
                due: plan.padding_removed,
            },
            reseal: Draw {
                left: stay,
                due: plan.resealed,
            },
        }
    }
}

/// A uniform draw of `due` out of `left`, one after another (Knuth, volume 2, 3.4.2, algorithm S).
struct Draw {
    left: u64,
    due: u64,
}

impl Draw {
    /// Whether the next one is drawn.
    fn next(&mut self) -> Result<bool> {
        if self.due == 0 {
            return Ok(false);
        }
        if self.left == 0 {
            return Err(AgencyError::Bug("a draw from nothing".to_owned()));
        }
        // 128 bits: the remainder favours small numbers by less than 2^-64.
        let mut random = [0u8; 16];
        crate::keys::fill_random(&mut random)?;
        let at = u128::from_be_bytes(random) % u128::from(self.left);
        let drawn = at < u128::from(self.due);
        self.left -= 1;
        self.due -= u64::from(drawn);
        Ok(drawn)
    }
}

/// Which padding goes, and which labels are sealed anew.
pub(super) struct Fates {
    go: Draw,
    reseal: Draw,
}

/// What is read side by side with the earlier snapshot.
pub(super) struct Readers<'r> {
    pub(super) real: &'r mut SortedReader,
    pub(super) padding: &'r mut SortedReader,
    pub(super) fresh: &'r mut SortedReader,
}

/// The merge.
pub(super) struct Merged<'b> {
    base: &'b Base,
    context: LabelContext,
    tag_len: usize,
    label_bytes: usize,
    bits: u64,
}

impl<'b> Merged<'b> {
    pub(super) fn new(base: &'b Base, work: &Work<'_>) -> Result<Self> {
        let preamble = base.leaves.snapshot().preamble();
        let label_bytes = usize::try_from(preamble.label_bytes.get());
        Ok(Self {
            base,
            context: LabelContext::new(&work.name, work.epoch),
            tag_len: preamble.tag_len(),
            label_bytes: label_bytes.map_err(|_| AgencyError::Bug("label bytes".to_owned()))?,
            bits: preamble.bucket_bits.get(),
        })
    }

    /// The records of a bucket; the reader goes on behind them.
    fn held(&self, reader: &mut SortedReader, index: u64) -> Result<Vec<Held>> {
        let mut all = Vec::new();
        while let Some(record) = reader.peek()? {
            let held = Held::of(&record, self.tag_len);
            if bucket_of(&held.tag, self.bits) != index {
                break;
            }
            all.push(held);
            reader.advance()?;
        }
        Ok(all)
    }

    /// What each tag of a bucket is now.
    fn compare<'h>(
        &self,
        bucket: &Bucket<'_>,
        real: &'h [Held],
        padding: &'h [Held],
    ) -> Vec<Now<'h>> {
        let find = |list: &'h [Held], tag: &[u8]| {
            let at = list.binary_search_by(|held| held.tag.as_slice().cmp(tag));
            at.ok().and_then(|at| list.get(at))
        };
        let tags: Vec<&[u8]> = bucket.tags().collect();
        let now = |(position, tag): (usize, &&[u8])| match find(real, tag) {
            Some(held) => {
                let sealed = bucket.sealed_label(position).unwrap_or_default();
                let other = self.label_bytes > 0 && !self.says(held, sealed);
                Now::Element(held, other)
            }
            None => find(padding, tag).map_or(Now::Gone, Now::Padding),
        };
        // Workers are not this thread: each wipes its own stack behind a slice.
        let slices = tags.par_chunks(OPEN_SLICE).enumerate();
        let slices = slices.map(|(slice, tags)| {
            let positions = slice * OPEN_SLICE..;
            let nows: Vec<Now<'h>> = positions.zip(tags).map(now).collect();
            wipe_stack();
            nows
        });
        slices.flatten_iter().collect()
    }

    /// Whether a sealed label says what the table does.
    fn says(&self, held: &Held, sealed: &[u8]) -> bool {
        let opened = LabelKey::from_material(&held.material, &self.context)
            .and_then(|key| key.open(sealed, &self.context, &held.tag));
        opened.is_ok_and(|label| *label == *held.label)
    }

    /// Counts what changed.
    pub(super) fn count(
        &mut self,
        real: &mut SortedReader,
        padding: &mut SortedReader,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Counted> {
        let preamble = self.base.leaves.snapshot().preamble();
        let mut counted = Counted {
            changes: Changes {
                added: 0,
                removed: 0,
                relabelled: 0,
            },
            padding: 0,
            elements: preamble.elements.get(),
        };
        let mut frames = self.base.buckets()?;
        for index in 0..preamble.buckets() {
            let frame = frames.next()?;
            let bucket = self.base.leaves.bucket(&frame)?;
            let (real, padding) = (self.held(real, index)?, self.held(padding, index)?);
            let mut stay = 0;
            for now in self.compare(&bucket, &real, &padding) {
                match now {
                    Now::Element(_, other) => {
                        stay += 1;
                        counted.changes.relabelled += u64::from(other);
                    }
                    Now::Padding(_) => counted.padding += 1,
                    Now::Gone => counted.changes.removed += 1,
                }
            }
            counted.changes.added += real.len() as u64 - stay;
            if index.is_multiple_of(REPORT_BUCKETS) {
                progress(index, preamble.buckets());
            }
        }
        progress(preamble.buckets(), preamble.buckets());
        Ok(counted)
    }

    /// Writes the later snapshot to `whole`, and what changes to `delta`.
    pub(super) fn write(
        &mut self,
        readers: &mut Readers<'_>,
        mut fates: Fates,
        builder: &mut DeltaBuilder,
        whole: &mut dyn FnMut(&Frame) -> Result<()>,
        delta: &mut dyn FnMut(&Frame) -> Result<()>,
        progress: &dyn Fn(u64, u64),
    ) -> Result<()> {
        let buckets = self.base.leaves.snapshot().preamble().buckets();
        let mut frames = self.base.buckets()?;
        for index in 0..buckets {
            let frame = frames.next()?;
            let bucket = self.base.leaves.bucket(&frame)?;
            let real = self.held(readers.real, index)?;
            let padding = self.held(readers.padding, index)?;
            let fresh = self.held(readers.fresh, index)?;
            let nows = self.compare(&bucket, &real, &padding);
            let mut removed = Vec::new();
            // With what is sealed in the label: the table's, or random bytes for padding.
            let mut relabelled: Vec<(&Held, bool)> = Vec::new();
            for (tag, now) in bucket.tags().zip(&nows) {
                match now {
                    Now::Gone => removed.push(tag),
                    Now::Padding(_) if fates.go.next()? => removed.push(tag),
                    Now::Element(held, true) => relabelled.push((held, false)),
                    Now::Element(held, false) if fates.reseal.next()? => {
                        relabelled.push((held, false));
                    }
                    Now::Padding(held) if fates.reseal.next()? => relabelled.push((held, true)),
                    Now::Element(..) | Now::Padding(_) => {}
                }
            }
            let came = real.iter().filter(|held| bucket.find(&held.tag).is_none());
            let came = came.map(|held| (held, false));
            let mut added: Vec<(&Held, bool)> =
                came.chain(fresh.iter().map(|held| (held, true))).collect();
            added.sort_by(|a, b| a.0.tag.cmp(&b.0.tag));
            let (added_labels, new_labels) = (self.seal(&added)?, self.seal(&relabelled)?);
            let changes = BucketChanges {
                removed,
                added: entries(&added, &added_labels),
                relabelled: entries(&relabelled, &new_labels),
            };
            if changes == BucketChanges::default() {
                whole(&frame)?;
            } else {
                let (change, after) = builder.change(&frame, &changes)?;
                delta(&change)?;
                whole(&after)?;
            }
            if index.is_multiple_of(REPORT_BUCKETS) {
                progress(index, buckets);
            }
        }
        progress(buckets, buckets);
        Ok(())
    }

    /// Seals labels; of padding random ones. Empty without labels.
    fn seal(&self, list: &[(&Held, bool)]) -> Result<Vec<Vec<u8>>> {
        if self.label_bytes == 0 {
            return Ok(vec![Vec::new(); list.len()]);
        }
        let mut nonces = vec![[0u8; 24]; list.len()];
        crate::keys::fill_random(nonces.as_flattened_mut())?;
        let seal = |((held, padding), nonce): (&(&Held, bool), &[u8; 24])| {
            let mut random = Zeroizing::new(Vec::new());
            let label: &[u8] = match padding {
                true => {
                    random.resize(self.label_bytes - 2, 0);
                    crate::keys::fill_random(&mut random)?;
                    &random
                }
                false => &held.label,
            };
            let key = LabelKey::from_material(&held.material, &self.context)?;
            Ok(key.seal(label, self.label_bytes, &self.context, &held.tag, *nonce)?)
        };
        let sealed = list.iter().zip(&nonces).map(seal).collect();
        wipe_stack();
        sealed
    }
}

fn entries<'e>(list: &'e [(&Held, bool)], labels: &'e [Vec<u8>]) -> Vec<Entry<'e>> {
    let entry = |((held, _), sealed): (&'e (&Held, bool), &'e Vec<u8>)| Entry {
        tag: &held.tag,
        sealed,
    };
    list.iter().zip(labels).map(entry).collect()
}
