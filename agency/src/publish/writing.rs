//! The snapshot's file: sorted elements, real and padding, in one order, with their sealed labels.

use std::{
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
};

use rayon::prelude::*;
use tallystick_protocol::{
    frame::Frame,
    signing::SigningKey,
    snapshot::{LabelContext, LabelKey, SnapshotBuilder},
    statements::{Hex, SnapshotPreamble},
};
use tallystick_tables::temporary;
use zeroize::Zeroizing;

use super::{
    OnProgress, Stage,
    record::{PADDING, Record},
    spool::SortedReader,
    withdraw,
    work::Work,
};
use crate::{
    collections::snapshot_path,
    error::{AgencyError, Result},
    fs::sync_dir,
    memory::wipe_stack,
};

/// Bytes of sealed labels made at a time, on all cores.
const SEALED_AT_ONCE: usize = 4 << 20;
/// The most entries at a time.
const MOST_AT_ONCE: usize = 8192;
/// Labels that one core seals at a time.
const SEAL_SLICE: usize = 64;
/// Elements between two reports of progress.
const REPORT_ELEMENTS: u64 = 1 << 14;
/// Bytes gathered for one write.
const WRITE_BYTES: usize = 256 << 10;

/// Two sorted runs as one.
struct Both {
    real: SortedReader,
    padding: SortedReader,
}

impl Both {
    /// Calls `each` for every record, in the order of their tags.
    fn each(mut self, mut each: impl FnMut(&Record<'_>) -> Result<()>) -> Result<()> {
        loop {
            let real_is_next = match (self.real.peek()?, self.padding.peek()?) {
                (None, None) => return Ok(()),
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some(real), Some(padding)) => real.tag <= padding.tag,
            };
            let from = match real_is_next {
                true => &mut self.real,
                false => &mut self.padding,
            };
            if let Some(record) = from.peek()? {
                each(&record)?;
            }
            from.advance()?;
        }
    }
}

/// Entries whose labels are sealed together.
#[derive(Default)]
struct Gathered {
    tags: Vec<[u8; 16]>,
    materials: Zeroizing<Vec<u8>>,
    padding: Vec<bool>,
    labels: Zeroizing<Vec<u8>>,
    ends: Vec<usize>,
}

/// Bytes of the material that a label's key is made of.
const MATERIAL: usize = 32;
/// Bytes of a label's nonce.
const NONCE: usize = 24;

impl Gathered {
    fn push(&mut self, record: &Record<'_>) {
        self.tags.push(record.tag.to_be_bytes());
        self.materials.extend_from_slice(record.material);
        self.padding.push(record.flags & PADDING != 0);
        self.labels.extend_from_slice(record.label);
        self.ends.push(self.labels.len());
    }

    fn clear(&mut self) {
        self.tags.clear();
        self.materials.clear();
        self.padding.clear();
        self.labels.clear();
        self.ends.clear();
    }

    /// Seals label `index`; that of padding is random, and never opened by anybody who follows the
    /// protocol.
    fn seal(
        &self,
        index: usize,
        tag_len: usize,
        label_bytes: usize,
        nonce: &[u8; NONCE],
        context: &LabelContext,
    ) -> Result<Vec<u8>> {
        let missing = || AgencyError::Bug("an entry that was not gathered".to_owned());
        let at = index * MATERIAL;
        let material = self.materials.get(at..at + MATERIAL).ok_or_else(missing)?;
        let tag = self.tags.get(index).and_then(|tag| tag.get(..tag_len));
        let start = index
            .checked_sub(1)
            .and_then(|before| self.ends.get(before));
        let end = self.ends.get(index).copied().ok_or_else(missing)?;
        let label = self.labels.get(start.copied().unwrap_or_default()..end);
        let mut random;
        let label = match self.padding.get(index) {
            Some(true) => {
                random = Zeroizing::new(vec![0u8; label_bytes - 2]);
                crate::keys::fill_random(&mut random)?;
                &random[..]
            }
            _ => label.ok_or_else(missing)?,
        };
        let key = LabelKey::from_material(material, context)?;
        let tag = tag.ok_or_else(missing)?;
        Ok(key.seal(label, label_bytes, context, tag, *nonce)?)
    }

    /// Seals all labels, on all cores.
    fn seal_all(
        &self,
        tag_len: usize,
        label_bytes: usize,
        context: &LabelContext,
    ) -> Result<Vec<Vec<u8>>> {
        let mut nonces = vec![[0u8; NONCE]; self.tags.len()];
        crate::keys::fill_random(nonces.as_flattened_mut())?;
        let slices: Result<Vec<Vec<Vec<u8>>>> = nonces
            .par_chunks(SEAL_SLICE)
            .enumerate()
            .map(|(slice, nonces)| {
                let sealed = nonces.iter().enumerate().map(|(i, nonce)| {
                    self.seal(slice * SEAL_SLICE + i, tag_len, label_bytes, nonce, context)
                });
                let sealed = sealed.collect();
                wipe_stack();
                sealed
            })
            .collect();
        Ok(slices?.into_iter().flatten().collect())
    }
}

impl Work<'_> {
    /// Writes header and buckets into a temporary file, then renames it to its digest.
    pub(super) fn write(
        &self,
        real: SortedReader,
        padding: SortedReader,
        preamble: SnapshotPreamble,
        progress: OnProgress<'_>,
    ) -> Result<(Hex<32>, u64)> {
        let io = |action| AgencyError::io(action, self.folder);
        let key = SigningKey::from(self.home.signing_key()?);
        let context = LabelContext::new(&self.name, self.epoch);
        let (tag_len, total) = (preamble.tag_len(), preamble.elements.get());
        let label_bytes = usize::try_from(preamble.label_bytes.get()).unwrap_or(usize::MAX);
        let mut builder = SnapshotBuilder::new(preamble)?;
        let mut temporary =
            temporary::beside(self.folder, ".snapshot-", "").map_err(io("create a file in"))?;
        let placeholder = builder.placeholder(&key)?;
        let mut out = BufWriter::with_capacity(WRITE_BYTES, temporary.as_file_mut());
        out.write_all(placeholder.bytes()).map_err(io("write to"))?;
        let mut bytes = placeholder.bytes().len() as u64;
        let mut emit = |frame: Frame| -> Result<()> {
            bytes += frame.bytes().len() as u64;
            out.write_all(frame.bytes()).map_err(io("write to"))
        };
        let both = Both { real, padding };
        let mut done = 0u64;
        let mut count = |more: u64| {
            let before = done / REPORT_ELEMENTS;
            done += more;
            if done / REPORT_ELEMENTS != before || done == total {
                progress(Stage::Sealing, done, total);
            }
        };
        // There are no labels where a label has no bytes.
        if let Some(at_once) = SEALED_AT_ONCE.checked_div(label_bytes) {
            let most = at_once.clamp(SEAL_SLICE, MOST_AT_ONCE);
            let mut gathered = Gathered::default();
            let mut seal = |gathered: &mut Gathered| -> Result<()> {
                let sealed = gathered.seal_all(tag_len, label_bytes, &context)?;
                for (tag, sealed) in gathered.tags.iter().zip(&sealed) {
                    let tag = tag.get(..tag_len).unwrap_or_default();
                    builder.push(tag, sealed, &mut emit)?;
                }
                count(sealed.len() as u64);
                gathered.clear();
                Ok(())
            };
            both.each(|record| {
                gathered.push(record);
                match gathered.tags.len() >= most {
                    true => seal(&mut gathered),
                    false => Ok(()),
                }
            })?;
            seal(&mut gathered)?;
        } else {
            both.each(|record| {
                let tag = record.whole.get(..tag_len).unwrap_or_default();
                count(1);
                builder.push(tag, &[], &mut emit)
            })?;
        }
        let (header, digest) = builder.finish(&key, &mut emit)?;
        out.flush().map_err(io("write to"))?;
        drop(out);
        if header.bytes().len() != placeholder.bytes().len() {
            return Err(AgencyError::Bug(
                "a snapshot header changed its length".to_owned(),
            ));
        }
        let file: &mut File = temporary.as_file_mut();
        file.seek(SeekFrom::Start(0)).map_err(io("write to"))?;
        file.write_all(header.bytes()).map_err(io("write to"))?;
        file.sync_all().map_err(io("write to"))?;
        let path = snapshot_path(self.home, self.name.as_str(), &digest.0);
        temporary
            .persist(&path)
            .map_err(|e| AgencyError::io("rename to", &path)(e.error))?;
        sync_dir(self.folder).inspect_err(|_| withdraw(self.home, &self.name, &digest))?;
        Ok((digest, bytes))
    }
}
