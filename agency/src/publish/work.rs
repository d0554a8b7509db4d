//! The work of a publication: evaluate, spool, sort, seal, write.

use std::{io::ErrorKind, path::Path};

use tallystick_protocol::{
    group::Kernel,
    identifiers::padded_size,
    snapshot::{bucket_bits, label_bytes, tag_bytes},
    statements::{
        Coverage, Hex, Int, Line, ListKind, Mode, Name, ProfileReference, SnapshotPreamble,
    },
};
use tallystick_tables::{Mapping, Rejects, RejectsWriter, Source, Tally};

use super::{
    OnProgress, Published, PublishedDelta, Stage,
    delta::Chain,
    reading::{Halt, Reading},
    record::Layout,
    sort::{BUDGET, Counted, Sorter},
    spool::{MOST_BITS, Side},
    unfinished::{Found, Position, Unfinished},
    withdraw,
};
use crate::{
    collections::{EpochKeys, EpochSeed, public_keys},
    error::{AgencyError, Result},
    home::Home,
    peers::{int as moment, own_reference},
};

/// Bytes of a table for which there is one partition: some 65,536 rows.
const TABLE_BYTES: u64 = 4 << 20;

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
    pub(super) kind: Option<ListKind>,
    pub(super) covers: Option<Coverage>,
    pub(super) layout: Layout,
    /// The snapshot in force, if a delta from it may be published.
    pub(super) base: Option<[u8; 32]>,
    /// Stands for what is published, but for the rows of the table.
    pub(super) binding: Hex<32>,
    pub(super) now_ms: i64,
}

impl Work<'_> {
    /// Evaluates the table, sorts, seals, writes. Goes on with `found`, if the table is the same.
    pub(super) fn run(
        &self,
        table: &Source,
        mapping: &Mapping,
        rejects: &Rejects,
        found: Option<Found>,
        progress: OnProgress<'_>,
    ) -> Result<(Published, Option<RejectsWriter>)> {
        if let Some(found) = found {
            let found = Unfinished::resume(self.home, &self.name, found, self.layout);
            let done = match found {
                Ok((unfinished, spool, before)) => {
                    let keys = &self.keys;
                    let reading = Reading::new(self.kernel, keys, unfinished, spool, before);
                    self.attempt(reading, table, mapping, rejects, progress)
                }
                // What was spooled was changed, or is gone.
                Err(AgencyError::SealBroken { .. }) => Err(Halt::Changed),
                Err(AgencyError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                    Err(Halt::Changed)
                }
                Err(error) => Err(error.into()),
            };
            match done {
                Ok(done) => return Ok(done),
                Err(Halt::Error(error)) => return Err(error),
                Err(Halt::Changed) => {}
            }
            let (mut published, rejects) = self.anew(table, mapping, rejects, progress)?;
            published.restarted = true;
            return Ok((published, rejects));
        }
        self.anew(table, mapping, rejects, progress)
    }

    fn anew(
        &self,
        table: &Source,
        mapping: &Mapping,
        rejects: &Rejects,
        progress: OnProgress<'_>,
    ) -> Result<(Published, Option<RejectsWriter>)> {
        let partitions = table.size()? / TABLE_BYTES;
        let bits = partitions.max(1).ilog2().min(MOST_BITS);
        let (home, name) = (self.home, &self.name);
        let (unfinished, spool) = Unfinished::begin(home, name, self.binding, self.layout, bits)?;
        let before = Position::START;
        let reading = Reading::new(self.kernel, &self.keys, unfinished, spool, before);
        match self.attempt(reading, table, mapping, rejects, progress) {
            Ok(done) => Ok(done),
            Err(Halt::Error(error)) => Err(error),
            Err(Halt::Changed) => Err(AgencyError::Bug("nothing was there to change".to_owned())),
        }
    }

    fn attempt(
        &self,
        mut reading: Reading<'_>,
        table: &Source,
        mapping: &Mapping,
        rejects: &Rejects,
        progress: OnProgress<'_>,
    ) -> Result<(Published, Option<RejectsWriter>), Halt> {
        let mut pass = rejects.begin(table.header(), mapping)?;
        let resumed = reading.before.elements;
        let tally = reading.table(table, mapping, &mut pass, progress)?;
        let rejects = pass.end(table.path(), &tally)?;
        if tally.keys == 0 {
            let error = AgencyError::Usage(format!(
                "{}: no row gives a key: {}; check the columns of --key",
                table.path().display(),
                tally.why_no_keys()
            ));
            return Err(error.into());
        }
        let published = Published {
            tally,
            resumed,
            ..self.seal(reading, progress)?
        };
        Ok((published, rejects))
    }

    /// Counts, pads, seals, writes.
    fn seal(&self, mut reading: Reading<'_>, progress: OnProgress<'_>) -> Result<Published, Halt> {
        let sorter = Sorter {
            columns: self.label_columns.len(),
            budget: BUDGET,
        };
        reading.spool.rest()?;
        let partitions = reading.spool.partitions() as u64;
        let Counted {
            sorted: real,
            longest,
            cut_labels,
        } = sorter.sort(&reading.spool, Side::Real, |done| {
            progress(Stage::Sorting, done as u64, partitions);
        })?;
        let distinct = real.records();
        let label_bytes = match self.layout.labels {
            true => label_bytes(longest).map_err(AgencyError::from)?,
            false => 0,
        };
        let mut real = real.reader()?;
        let by_delta = match self.base {
            Some(base) => Some(self.by_delta(base, &mut real, longest, progress)?),
            None => None,
        };
        let no_delta = by_delta
            .as_ref()
            .and_then(|done| done.as_ref().err().copied());
        if let Some(Ok(by_delta)) = by_delta {
            let preamble = by_delta.leaves.snapshot().preamble();
            let elements = preamble.elements.get();
            return Ok(Published {
                epoch: self.epoch,
                digest: by_delta.leaves.snapshot().digest(),
                tally: Tally::default(),
                distinct,
                elements,
                tag_bytes: tag_bytes(self.max_session_elements, elements),
                label_bytes: usize::try_from(preamble.label_bytes.get()).unwrap_or_default(),
                cut_labels,
                bytes: by_delta.bytes,
                delta: Some(PublishedDelta {
                    bytes: by_delta.delta_bytes,
                    exchanged: by_delta.plan.exchanged,
                    relabelled: by_delta.plan.relabelled,
                }),
                no_delta: None,
                resumed: 0,
                restarted: false,
                labels_dropped: Vec::new(),
            });
        }
        real.rewind()?;
        let elements = padded_size(distinct);
        let seed = EpochSeed::open(self.home, &self.name, self.epoch)?;
        let salt = reading.padding(&seed, distinct, elements - distinct, progress)?;
        reading.spool.rest()?;
        let padding = sorter
            .sort(&reading.spool, Side::Padding, |_| {})?
            .sorted
            .reader()?;

        let tag_bytes = tag_bytes(self.max_session_elements, elements);
        if tag_bytes as usize > self.layout.tag {
            let error = AgencyError::Bug("a tag is longer than what was spooled".to_owned());
            return Err(error.into());
        }
        let int = |n: u64| Int::new(n).map_err(AgencyError::from);
        let preamble = SnapshotPreamble {
            sender: own_reference(self.home)?,
            collection: self.name.clone(),
            epoch: int(self.epoch)?,
            mode: Mode::Elements,
            profile: self.profile.clone(),
            keys: public_keys(&self.keys),
            elements: int(elements)?,
            tag_bytes: tag_bytes.into(),
            bucket_bits: bucket_bits(elements).into(),
            label_bytes: int(label_bytes as u64)?,
            label_columns: self.label_columns.clone(),
            salt: Hex(salt),
            published_ms: moment(self.now_ms)?,
            kind: self.kind,
            covers: self.covers.clone(),
        };
        let (digest, bytes) = self.write(real, padding, preamble, progress)?;
        let chain = Chain::begin(digest, salt, elements - distinct).write(self.home, &self.name);
        chain.inspect_err(|_| withdraw(self.home, &self.name, &digest))?;
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
            delta: None,
            no_delta,
            resumed: 0,
            restarted: false,
            labels_dropped: Vec::new(),
        })
    }
}
