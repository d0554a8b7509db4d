//! The table on its way to the spool: read, normalised, evaluated, in order.

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::hmac;
use sha2::{Digest, Sha256};
use tallystick_protocol::{
    group::Kernel,
    identifiers::{Element, padding_element},
    oprf::{self, SecretKey},
    statements::Name,
};
use tallystick_tables::{
    Extractor, LabelColumns, LabelRecords, Mapping, RejectsPass, Source, Tally,
};
use zeroize::Zeroizing;

use super::{
    OnProgress, Stage,
    flow::Flow,
    record::{Layout, PADDING},
    spool::{Side, Spool},
    unfinished::{Padding, Position, Unfinished},
};
use crate::{
    collections::{EpochKeys, EpochSeed},
    error::{AgencyError, Result},
};

/// Elements of one batch: what one core evaluates at a time, and what a publication that goes on can
/// leave out. Part of what a checkpoint means.
const BATCH: usize = 4096;
/// Elements that the kernel gets at a time.
const SLICE: usize = 1024;
/// Elements after which there is a checkpoint at the latest, and at the earliest; in between when an
/// eighth was added.
const CHECKPOINT: std::ops::RangeInclusive<u64> = 8192..=1 << 19;
/// Rows between two reports of progress.
const REPORT_ROWS: u64 = 4096;

/// Why reading ended early.
#[derive(Debug)]
pub(super) enum Halt {
    /// The table is not the one whose elements are spooled: all is to be done anew.
    Changed,
    /// An error.
    Error(AgencyError),
}

impl From<AgencyError> for Halt {
    fn from(error: AgencyError) -> Self {
        Self::Error(error)
    }
}

impl From<tallystick_tables::TableError> for Halt {
    fn from(error: tallystick_tables::TableError) -> Self {
        Self::Error(error.into())
    }
}

/// Elements of one type, in the order of their rows, each with its row's label.
struct Batch {
    ty: Name,
    key: Arc<SecretKey>,
    elements: Vec<Element>,
    /// Labels one behind the other, and where each ends; empty without labels.
    labels: Zeroizing<Vec<u8>>,
    ends: Vec<usize>,
}

impl Batch {
    fn new(ty: &Name, key: &Arc<SecretKey>) -> Self {
        Self {
            ty: ty.clone(),
            key: Arc::clone(key),
            elements: Vec::with_capacity(BATCH),
            labels: Zeroizing::default(),
            ends: Vec::new(),
        }
    }

    fn label(&self, index: usize) -> &[u8] {
        let start = index
            .checked_sub(1)
            .and_then(|before| self.ends.get(before));
        let end = self.ends.get(index).copied().unwrap_or_default();
        let range = start.copied().unwrap_or_default()..end;
        self.labels.get(range).unwrap_or_default()
    }

    /// What it holds, so that a later run sees whether the table gives the same again.
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.ty.as_str());
        hash.update([0]);
        for (i, element) in self.elements.iter().enumerate() {
            // An element and a label say themselves where they end.
            hash.update(element.as_bytes());
            if !self.ends.is_empty() {
                let label = self.label(i);
                hash.update((label.len() as u64).to_be_bytes());
                hash.update(label);
            }
        }
        hash.finalize().into()
    }

    fn evaluate(&self, kernel: &dyn Kernel, layout: Layout) -> Result<Zeroizing<Vec<u8>>> {
        let size = self.elements.len() * layout.size(0) + self.labels.len();
        let mut records = Zeroizing::new(Vec::with_capacity(size));
        let labels = |i: usize| self.label(i);
        evaluate(
            kernel,
            &self.key,
            layout,
            &self.elements,
            0,
            &labels,
            &mut records,
        )?;
        Ok(records)
    }
}

fn evaluate<'l>(
    kernel: &dyn Kernel,
    key: &SecretKey,
    layout: Layout,
    elements: &[Element],
    flags: u8,
    label: &dyn Fn(usize) -> &'l [u8],
    records: &mut Vec<u8>,
) -> Result<()> {
    for (slice, elements) in elements.chunks(SLICE).enumerate() {
        let inputs: Vec<&[u8]> = elements.iter().map(Element::as_bytes).collect();
        let outputs = oprf::evaluate(kernel, &inputs, key)
            .map_err(|e| AgencyError::Bug(format!("evaluating the own table: {e}")))?;
        for (i, output) in outputs.iter().enumerate() {
            layout.write(records, output, flags, label(slice * SLICE + i))?;
        }
    }
    Ok(())
}

/// What became of a batch.
struct Evaluated {
    elements: u64,
    digest: [u8; 32],
    /// Its records; `None` for a batch that is spooled already.
    records: Option<Zeroizing<Vec<u8>>>,
}

/// The way to the spool.
pub(super) struct Reading<'a> {
    pub(super) kernel: &'static dyn Kernel,
    pub(super) keys: &'a EpochKeys,
    pub(super) unfinished: Unfinished<'a>,
    pub(super) spool: Spool,
    /// What an earlier run came to.
    pub(super) before: Position,
    /// Where this one stands.
    pub(super) now: Position,
    /// Elements at the last checkpoint.
    pub(super) saved: u64,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        kernel: &'static dyn Kernel,
        keys: &'a EpochKeys,
        unfinished: Unfinished<'a>,
        spool: Spool,
        before: Position,
    ) -> Self {
        Self {
            kernel,
            keys,
            unfinished,
            spool,
            saved: before.elements,
            before,
            now: Position::START,
        }
    }

    /// Reads the table and spools its elements. What an earlier run spooled is read again, compared,
    /// and not evaluated. Once a reject is to end the run, the rest is read for its rejects alone.
    pub(super) fn table(
        &mut self,
        table: &Source,
        mapping: &Mapping,
        rejects: &mut RejectsPass,
        progress: OnProgress<'_>,
    ) -> Result<Tally, Halt> {
        let extractor = Extractor::new(table.header(), mapping)?;
        let label_columns = LabelColumns::new(table.header(), mapping)?;
        let total = table.size()?;
        let mut tally = Tally::default();
        let mut batches: BTreeMap<&str, Batch> = self
            .keys
            .iter()
            .map(|(name, key)| (name.as_str(), Batch::new(name, key)))
            .collect();
        let mut flow = Flow::new();
        let mut begun = 0;
        let mut rows = table.rows()?;
        while let Some(row) = rows.next_row()? {
            let note = |reject| rejects.note(&reject);
            let keys = extractor.keys_and_rejects(&row, &mut tally, note)?;
            if rejects.stops(&tally) {
                continue;
            }
            let label = match label_columns.is_empty() {
                true => None,
                false => Some(LabelRecords::encode(&[label_columns.record(&row)])?),
            };
            if tally.rows.is_multiple_of(REPORT_ROWS) {
                self.report(rows.bytes_read().min(total), total, progress);
            }
            for key in keys {
                let Some(batch) = batches.get_mut(key.ty.name()) else {
                    continue;
                };
                batch.elements.push(key.normalised.element);
                if let Some(label) = &label {
                    batch.labels.extend_from_slice(label);
                    batch.ends.push(batch.labels.len());
                }
                if batch.elements.len() == BATCH {
                    let next = Batch::new(&batch.ty, &batch.key);
                    let full = std::mem::replace(batch, next);
                    self.begin(&mut flow, full, &mut begun)?;
                }
            }
        }
        rows.finish()?;
        for batch in batches.into_values() {
            if !batch.elements.is_empty() {
                self.begin(&mut flow, batch, &mut begun)?;
            }
        }
        flow.finish(&mut |batch| self.take(batch))?;
        if self.now.batches < self.before.batches {
            return Err(Halt::Changed);
        }
        self.now.padding = self.before.padding.clone();
        if self.now.elements > self.saved && self.now.elements >= *CHECKPOINT.start() {
            self.save()?;
        }
        self.report(total, total, progress);
        Ok(tally)
    }

    fn report(&self, done: u64, total: u64, progress: OnProgress<'_>) {
        let stage = match self.now.elements.checked_sub(self.before.elements) {
            Some(elements) if self.now.batches >= self.before.batches => {
                Stage::Evaluating { elements }
            }
            _ => Stage::Resuming,
        };
        progress(stage, done, total);
    }

    fn begin(
        &mut self,
        flow: &mut Flow<Evaluated>,
        batch: Batch,
        begun: &mut u64,
    ) -> Result<(), Halt> {
        let (kernel, layout) = (self.kernel, self.spool.layout());
        let known = *begun < self.before.batches;
        *begun += 1;
        let piece = move || {
            let records = match known {
                true => None,
                false => Some(batch.evaluate(kernel, layout)?),
            };
            Ok(Evaluated {
                elements: batch.elements.len() as u64,
                digest: batch.digest(),
                records,
            })
        };
        flow.begin(piece, &mut |batch| self.take(batch))
    }

    /// Takes the next batch of the table.
    fn take(&mut self, batch: Evaluated) -> Result<(), Halt> {
        let chained = Sha256::new_with_prefix(self.now.digest).chain_update(batch.digest);
        self.now.digest = chained.finalize().into();
        self.now.batches += 1;
        self.now.elements += batch.elements;
        let Some(records) = batch.records else {
            let last = self.now.batches == self.before.batches;
            if last && self.now.digest != self.before.digest {
                return Err(Halt::Changed);
            }
            return Ok(());
        };
        // Padding was counted for a table that has ended.
        if self.before.padding.is_some() {
            return Err(Halt::Changed);
        }
        self.spool(Side::Real, &records)?;
        let (least, most) = (*CHECKPOINT.start(), *CHECKPOINT.end());
        let due = (self.now.elements / 8).clamp(least, most);
        if self.now.elements - self.saved >= due {
            self.save()?;
        }
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.unfinished.save(&mut self.spool, &self.now)?;
        self.saved = self.now.elements;
        Ok(())
    }

    fn spool(&mut self, side: Side, mut records: &[u8]) -> Result<()> {
        let layout = self.spool.layout();
        while let Some((record, rest)) = layout.next(records)? {
            self.spool.push(side, &record)?;
            records = rest;
        }
        Ok(())
    }

    /// Spools padding elements, derived from the epoch's seed and the snapshot's salt, so that they can
    /// be opened, and that two snapshots of one epoch do not show which tags are padding. They are
    /// evaluated under the key of the first type. Gives the salt.
    pub(super) fn padding(
        &mut self,
        seed: &EpochSeed,
        distinct: u64,
        count: u64,
        progress: OnProgress<'_>,
    ) -> Result<[u8; 32], Halt> {
        let mut padding = match self.now.padding.take() {
            Some(padding) if padding.distinct == distinct && padding.spooled <= count => padding,
            Some(_) => return Err(Halt::Changed),
            None => {
                let mut salt = [0u8; 32];
                crate::keys::fill_random(&mut salt)?;
                Padding {
                    salt,
                    distinct,
                    spooled: 0,
                }
            }
        };
        let salt = padding.salt;
        let keys = self.keys;
        let Some(key) = keys.values().next() else {
            return Err(AgencyError::Bug("a collection without a type".to_owned()).into());
        };
        let hmac = padding_key(seed);
        let (kernel, layout) = (self.kernel, self.spool.layout());
        let mut saved = padding.spooled;
        let mut index = padding.spooled;
        let mut take = |(end, records): (u64, Zeroizing<Vec<u8>>)| -> Result<(), Halt> {
            self.spool(Side::Padding, &records)?;
            padding.spooled = end;
            progress(Stage::Padding, end, count);
            if end - saved >= *CHECKPOINT.end() || (end == count && count >= *CHECKPOINT.start()) {
                saved = end;
                self.now.padding = Some(padding.clone());
                self.save()?;
            }
            Ok(())
        };
        let mut flow = Flow::new();
        while index < count {
            let end = count.min(index + BATCH as u64);
            let (key, hmac) = (Arc::clone(key), hmac.clone());
            let piece = move || {
                let records = padding_records(kernel, &key, layout, &hmac, &salt, index..end)?;
                Ok((end, records))
            };
            flow.begin(piece, &mut take)?;
            index = end;
        }
        flow.finish(&mut take)?;
        Ok(salt)
    }
}

/// What padding elements of an epoch are derived under.
pub(super) fn padding_key(seed: &EpochSeed) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &seed.0[..])
}

/// The records of padding elements, by salt and number.
pub(super) fn padding_records(
    kernel: &dyn Kernel,
    key: &SecretKey,
    layout: Layout,
    hmac: &hmac::Key,
    salt: &[u8; 32],
    range: std::ops::Range<u64>,
) -> Result<Zeroizing<Vec<u8>>> {
    let elements: Vec<Element> = range.map(|i| element(hmac, salt, i)).collect();
    let mut records = Zeroizing::new(Vec::with_capacity(elements.len() * layout.size(0)));
    let none = |_| &[][..];
    evaluate(kernel, key, layout, &elements, PADDING, &none, &mut records)?;
    Ok(records)
}

/// The padding element of a number.
fn element(key: &hmac::Key, salt: &[u8; 32], index: u64) -> Element {
    let mut context = hmac::Context::with_key(key);
    context.update(b"tallystick/snapshot-padding/v1");
    context.update(salt);
    context.update(&index.to_be_bytes());
    let mut random = Zeroizing::new([0u8; 32]);
    random.copy_from_slice(context.sign().as_ref());
    padding_element(&random)
}
