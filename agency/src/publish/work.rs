//! The work of a publication: evaluate, spill, sort, seal, write.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
    path::Path,
};

use aws_lc_rs::hmac;
use rayon::prelude::*;
use tallystick_protocol::{
    frame::Frame,
    group::Kernel,
    identifiers::{Element, padded_size, padding_element},
    oprf::{self, Output, SecretKey},
    signing::SigningKey,
    snapshot::{
        LabelContext, LabelKey, MAX_LABEL_BYTES, SnapshotBuilder, bucket_bits, label_bytes,
        tag_bytes,
    },
    statements::{Hex, Int, Line, Mode, Name, ProfileReference, SnapshotPreamble},
};
use tallystick_tables::{
    Extractor, LabelColumns, LabelRecords, Mapping, Rejects, RejectsPass, RejectsWriter, Source,
    Tally, temporary,
};
use zeroize::Zeroizing;

use super::{OnProgress, Published, Stage};
use crate::{
    collections::{EpochKeys, EpochSeed, public_keys, snapshot_path},
    error::{AgencyError, Result},
    fs::sync_dir,
    home::Home,
    peers::{int, own_reference},
    spool::{Records, Spool},
};

/// Partitions of the spool: a power of two, so that a partition is a prefix of the tag.
const PARTITIONS: usize = 64;
/// Elements evaluated at a time.
const BATCH: usize = 8192;
/// Elements one core evaluates at a time.
const SLICE: usize = 512;

/// One publication.
pub(super) struct Work<'a> {
    pub(super) home: &'a Home,
    pub(super) kernel: &'static dyn Kernel,
    pub(super) name: Name,
    pub(super) epoch: u64,
    pub(super) keys: EpochKeys,
    pub(super) folder: &'a Path,
    pub(super) max_session_elements: u64,
    pub(super) label_columns: Vec<Line>,
    pub(super) profile: ProfileReference,
    pub(super) now_ms: i64,
}

/// Elements of one type on their way to evaluation, each with its row's label.
#[derive(Default)]
struct Batch {
    elements: Vec<Element>,
    labels: Vec<Zeroizing<Vec<u8>>>,
}

/// A spooled record: OPRF output (tag 32, label key material 32), kind, label.
const REAL: u8 = 0;
const PADDING: u8 = 1;

impl Work<'_> {
    /// Evaluates the table, sorts, seals, writes.
    pub(super) fn run(
        &self,
        table: &Source,
        mapping: &Mapping,
        rejects: &Rejects,
        progress: OnProgress<'_>,
    ) -> Result<(Published, Option<RejectsWriter>)> {
        let mut pass = rejects.begin(table.header(), mapping)?;
        let (mut spool, tally) = self.evaluate(table, mapping, &mut pass, progress)?;
        let rejects = pass.end(table.path(), &tally)?;
        if tally.keys == 0 {
            return Err(AgencyError::Usage(format!(
                "{}: no row gives a key: {}; check the columns of --key",
                table.path().display(),
                tally.why_no_keys()
            )));
        }
        let published = Published {
            tally,
            ..self.seal(&mut spool, progress)?
        };
        Ok((published, rejects))
    }

    /// Reads the table, evaluates its elements, spills them. Once a reject is to end the run, the rest
    /// is read for its rejects alone.
    fn evaluate(
        &self,
        table: &Source,
        mapping: &Mapping,
        rejects: &mut RejectsPass,
        progress: OnProgress<'_>,
    ) -> Result<(Spool, Tally)> {
        let extractor = Extractor::new(table.header(), mapping)?;
        let label_columns = LabelColumns::new(table.header(), mapping)?;
        let total = table.size()?;
        let mut spool = Spool::create(self.folder, PARTITIONS)?;
        let mut tally = Tally::default();
        let mut batches: std::collections::BTreeMap<Name, Batch> = self
            .keys
            .keys()
            .map(|name| (name.clone(), Batch::default()))
            .collect();
        let mut rows = table.rows()?;
        while let Some(row) = rows.next_row()? {
            let note = |reject| rejects.note(&reject);
            let keys = extractor.keys_and_rejects(&row, &mut tally, note)?;
            if rejects.stops(&tally) {
                continue;
            }
            let label = match label_columns.is_empty() {
                true => Zeroizing::new(Vec::new()),
                false => LabelRecords::encode(&[label_columns.record(&row)])?,
            };
            if tally.rows.is_multiple_of(4096) {
                progress(Stage::Evaluating, rows.bytes_read().min(total), total);
            }
            for key in keys {
                let Some((_, batch)) = batches
                    .iter_mut()
                    .find(|(name, _)| name.as_str() == key.ty.name())
                else {
                    continue;
                };
                batch.elements.push(key.normalised.element);
                batch.labels.push(label.clone());
                if batch.elements.len() == BATCH {
                    let (name, batch) = (key.ty.name(), std::mem::take(batch));
                    self.spill(&mut spool, name, &batch, REAL)?;
                }
            }
        }
        rows.finish()?;
        for (name, batch) in &batches {
            self.spill(&mut spool, name.as_str(), batch, REAL)?;
        }
        progress(Stage::Evaluating, total, total);
        Ok((spool, tally))
    }

    fn key(&self, type_name: &str) -> Result<&SecretKey> {
        let mut keys = self.keys.iter();
        keys.find(|(name, _)| name.as_str() == type_name)
            .map(|(_, key)| &**key)
            .ok_or_else(|| AgencyError::Bug("a type without a key".to_owned()))
    }

    fn spill(&self, spool: &mut Spool, type_name: &str, batch: &Batch, kind: u8) -> Result<()> {
        let key = self.key(type_name)?;
        let evaluate = |slice: &[Element]| {
            let inputs: Vec<&[u8]> = slice.iter().map(Element::as_bytes).collect();
            oprf::evaluate(self.kernel, &inputs, key)
        };
        let outputs: Vec<Vec<Output>> = batch
            .elements
            .par_chunks(SLICE)
            .map(evaluate)
            .collect::<Result<_, _>>()
            .map_err(|e| AgencyError::Bug(format!("evaluating the own table: {e}")))?;
        for (output, label) in outputs.iter().flatten().zip(&batch.labels) {
            let tag = output.tag(32);
            let record = [tag, output.label_key_material(), &[kind], label];
            spool.push(partition_of(tag), &record)?;
        }
        Ok(())
    }

    /// Counts, pads, seals, writes.
    fn seal(&self, spool: &mut Spool, progress: OnProgress<'_>) -> Result<Published> {
        let with_labels = !self.label_columns.is_empty();
        let mut distinct = 0u64;
        let (mut longest, mut cut_labels) = (0usize, 0u64);
        for partition in 0..spool.partitions() {
            for_each_element(&mut spool.read(partition)?, |_, _, labels| {
                distinct += 1;
                if with_labels {
                    let (label, cut) = self.merge(labels)?;
                    longest = longest.max(label.len());
                    cut_labels += u64::from(cut);
                }
                Ok(())
            })?;
        }
        let label_bytes = if with_labels {
            label_bytes(longest)?
        } else {
            0
        };
        let elements = padded_size(distinct);
        let mut salt = [0u8; 32];
        crate::keys::fill_random(&mut salt)?;
        self.pad(spool, &salt, elements - distinct)?;

        let tag_bytes = tag_bytes(self.max_session_elements, elements);
        let preamble = SnapshotPreamble {
            sender: own_reference(self.home)?,
            collection: self.name.clone(),
            epoch: Int::new(self.epoch)?,
            mode: Mode::Elements,
            profile: self.profile.clone(),
            keys: public_keys(&self.keys),
            elements: Int::new(elements)?,
            tag_bytes: tag_bytes.into(),
            bucket_bits: bucket_bits(elements).into(),
            label_bytes: Int::new(label_bytes as u64)?,
            label_columns: self.label_columns.clone(),
            salt: Hex(salt),
            published_ms: int(self.now_ms)?,
        };
        let (digest, bytes) = self.write(spool, preamble, label_bytes, progress)?;
        Ok(Published {
            epoch: self.epoch,
            digest,
            tally: Tally::default(),
            distinct,
            elements,
            tag_bytes,
            label_bytes,
            cut_labels,
            bytes,
        })
    }

    /// Adds padding elements, derived from the epoch's seed and the snapshot's salt, so that they can
    /// be opened, and that two snapshots of one epoch do not show which tags are padding. They are
    /// evaluated under the key of the first type.
    fn pad(&self, spool: &mut Spool, salt: &[u8; 32], count: u64) -> Result<()> {
        let seed = EpochSeed::open(self.home, &self.name, self.epoch)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &seed.0[..]);
        let Some(first) = self.keys.keys().next() else {
            return Ok(());
        };
        let element = |index: u64| {
            let mut context = hmac::Context::with_key(&key);
            context.update(b"tallystick/snapshot-padding/v1");
            context.update(salt);
            context.update(&index.to_be_bytes());
            let mut random = Zeroizing::new([0u8; 32]);
            random.copy_from_slice(context.sign().as_ref());
            padding_element(&random)
        };
        let mut index = 0;
        while index < count {
            let end = count.min(index + BATCH as u64);
            let elements: Vec<Element> = (index..end).map(element).collect();
            let labels = elements
                .iter()
                .map(|_| Zeroizing::new(Vec::new()))
                .collect();
            self.spill(spool, first.as_str(), &Batch { elements, labels }, PADDING)?;
            index = end;
        }
        Ok(())
    }

    /// Writes header and buckets into a temporary file, then renames it to its digest.
    fn write(
        &self,
        spool: &mut Spool,
        preamble: SnapshotPreamble,
        label_bytes: usize,
        progress: OnProgress<'_>,
    ) -> Result<(Hex<32>, u64)> {
        let io = |action| AgencyError::io(action, self.folder);
        let key = SigningKey::from(self.home.signing_key()?);
        let context = LabelContext::new(&self.name, self.epoch);
        let tag_len = preamble.tag_len();
        let mut builder = SnapshotBuilder::new(preamble)?;
        let mut temporary =
            temporary::beside(self.folder, ".snapshot-", "").map_err(io("create a file in"))?;
        let placeholder = builder.placeholder(&key)?;
        let mut out = BufWriter::new(temporary.as_file_mut());
        out.write_all(placeholder.bytes()).map_err(io("write to"))?;
        let mut bytes = placeholder.bytes().len() as u64;
        let mut emit = |frame: Frame| -> Result<()> {
            bytes += frame.bytes().len() as u64;
            out.write_all(frame.bytes()).map_err(io("write to"))
        };
        let partitions = spool.partitions();
        for partition in 0..partitions {
            for_each_element(&mut spool.read(partition)?, |output, kind, labels| {
                let tag = &output[..tag_len];
                let sealed = match label_bytes {
                    0 => Vec::new(),
                    _ => {
                        let label = match kind {
                            PADDING => random_label(label_bytes)?,
                            _ => self.merge(labels)?.0,
                        };
                        let mut nonce = [0u8; 24];
                        crate::keys::fill_random(&mut nonce)?;
                        LabelKey::from_material(&output[32..], &context)?.seal(
                            &label,
                            label_bytes,
                            &context,
                            tag,
                            nonce,
                        )?
                    }
                };
                builder.push(tag, &sealed, &mut emit)
            })?;
            progress(Stage::Sealing, partition as u64 + 1, partitions as u64);
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
        sync_dir(self.folder)?;
        Ok((digest, bytes))
    }

    /// One label from those of all rows with the element: the distinct records, the first of them
    /// where all would not fit. The flag says that some were left out. Takes time in the number of the
    /// rows, of which a common key may have very many.
    fn merge(&self, labels: &[&[u8]]) -> Result<(Zeroizing<Vec<u8>>, bool)> {
        let mut records = Wiped(Vec::new());
        let mut seen = HashSet::new();
        // The brackets, and the two bytes that say how long a label is.
        let (mut size, mut cut) = (2 + 2, false);
        'labels: for label in labels {
            // Most rows of one element have one label.
            if !seen.insert(*label) {
                continue;
            }
            let label = LabelRecords::decode(label, self.label_columns.len())?;
            for record in label.records() {
                // With the comma before it.
                let more = LabelRecords::encode(std::slice::from_ref(record))?.len() - 2 + 1;
                if records.0.contains(record) {
                    continue;
                }
                if !records.0.is_empty() && size + more > MAX_LABEL_BYTES {
                    cut = true;
                    break 'labels;
                }
                size += more;
                records.0.push(record.clone());
            }
        }
        let label = LabelRecords::encode(&records.0)?;
        // A record that is too long alone: it says which limit, and what to do.
        label_bytes(label.len())?;
        Ok((label, cut))
    }
}

/// Records that are wiped however they end.
struct Wiped(Vec<Vec<String>>);

impl Drop for Wiped {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// The content of a padding element's label: random, never opened by anybody who follows the
/// protocol.
fn random_label(label_bytes: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut label = Zeroizing::new(vec![0u8; label_bytes - 2]);
    crate::keys::fill_random(&mut label)?;
    Ok(label)
}

fn partition_of(tag: &[u8]) -> usize {
    let bits = PARTITIONS.trailing_zeros();
    tag.first()
        .map_or(0, |first| usize::from(*first) >> (8 - bits))
}

/// Calls `each` for every distinct element of a sorted partition: its 64 output bytes, its kind,
/// and the labels of all its rows. Distinct elements have distinct outputs but for a collision of
/// SHA-512.
fn for_each_element(
    records: &mut Records,
    mut each: impl FnMut(&[u8], u8, &[&[u8]]) -> Result<()>,
) -> Result<()> {
    records.sort();
    let mut records = records.iter().peekable();
    let mut labels: Vec<&[u8]> = Vec::new();
    while let Some(record) = records.next() {
        let (head, label) = record
            .split_first_chunk::<65>()
            .ok_or_else(|| AgencyError::Bug("a spooled record is too short".to_owned()))?;
        labels.push(label);
        if records
            .peek()
            .is_some_and(|next| next.get(..64) == Some(&head[..64]))
        {
            continue;
        }
        each(&head[..64], head[64], &labels)?;
        labels.clear();
    }
    Ok(())
}
