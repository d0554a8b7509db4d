//! The receiver's own table: read once, sent from a sealed copy of its elements, read again for the
//! rows that are written. Memory grows by a bit or two a key: what must be compared to find repeated
//! elements, and what was found, is spilled to disk, sealed, in partitions.
//!
//! ```text
//! keys   which keys are elements seen before
//! mixer  elements and padding in chunks
//! hits   what was found, until it is written
//! ```
//!
//! A key is known by its number in the table's order, over all types: what `keys` counts.

mod hits;
mod keys;
mod mixer;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tallystick_agency::{
    AgencyError,
    exit::{Failure, Outcome},
};
use tallystick_protocol::{
    identifiers::{IdentifierType, MAX_VALUE_BYTES, Profile, padded_size},
    oprf::SessionSeed,
    statements::{Hex, Name},
};
use tallystick_tables::{
    Extractor, FileDigest, Mapping, Rejects, RejectsWriter, RowKeys, SealedCopy, SealedReader,
    SealedWriter, Source, TableInput, Tally,
};
use zeroize::Zeroizing;

pub(crate) use self::{
    hits::{Hit, Hits},
    mixer::Chunk,
};
use self::{
    keys::{Bits, KeysOfRows, Repeats, Seen},
    mixer::Mixer,
};
use crate::{error::bug, progress::Progress};

/// What an element sent is known by: the number of the key at which it stands first, and a check
/// that finds a row that holds another key by then. The check says nothing outside this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyId {
    pub(crate) number: u64,
    pub(crate) check: u64,
}

/// What a first pass over a table found.
#[derive(Debug)]
pub(crate) struct Plan {
    profile: Arc<Profile>,
    pub(crate) source: Source,
    pub(crate) extractor: Extractor,
    pub(crate) tally: Tally,
    pub(crate) digest: FileDigest,
    /// Distinct elements of each type.
    pub(crate) distinct: BTreeMap<Name, u64>,
    /// For each key: whether its element stands there for the first time.
    first: Bits,
    /// How many keys each row has.
    rows: KeysOfRows,
    /// Keys whose elements stood before.
    repeats: Option<Arc<Repeats>>,
    /// The elements of each type in the table's order, with the numbers of their keys.
    elements: BTreeMap<Name, SealedCopy>,
    checks: RandomState,
    scratch: PathBuf,
    /// The list of rejected keys, until the run has done its work.
    rejects: Mutex<Option<RejectsWriter>>,
}

/// The fewest places for keys of one type, where a row has many: more than a row of usual names emits
/// under any built-in profile.
const LEAST_SIMILAR: u64 = 64;

/// What stands before an element in the sealed copy: the number of its key, its length.
const ELEMENT_HEAD: usize = 8 + 2;
/// More bytes than an element has: names of type and issuer have at most 255.
const LONGEST_ELEMENT: usize = 3 + 255 + 255 + 2 + MAX_VALUE_BYTES;

impl Plan {
    /// Reads the table: counts rows and keys, finds which elements are new, keeps them. `scratch`
    /// is where it spills to.
    pub(crate) fn make(
        input: &TableInput,
        mapping: &Mapping,
        rejects: &Rejects,
        scratch: &Path,
        progress: &Progress,
    ) -> Outcome<Self> {
        let source = input.open().map_err(AgencyError::from)?;
        let mut rejects = rejects
            .begin(source.header(), mapping)
            .map_err(AgencyError::from)?;
        let extractor = Extractor::new(source.header(), mapping).map_err(AgencyError::from)?;
        let mut tally = Tally::default();
        let types = mapping.types();
        let names: Vec<Name> = types
            .iter()
            .map(|ty| type_name(ty.name()))
            .collect::<Outcome<_>>()?;
        let spill = |source| spilling(scratch, source);
        let mut lists = Vec::with_capacity(types.len());
        for _ in &types {
            lists.push(SealedWriter::create(scratch).map_err(spill)?);
        }
        let mut seen = Seen::new(scratch)?;
        let mut of_rows = KeysOfRows::default();
        let mut keys = RowKeys::default();
        let mut rows = source.rows().map_err(AgencyError::from)?;
        while let Some(row) = rows.next_row().map_err(AgencyError::from)? {
            let before = tally.elements;
            let note = |reject| rejects.note(&reject);
            let read = extractor.keys_into(&row, &mut tally, &mut keys, note);
            read.map_err(AgencyError::from)?;
            let keys = keys.as_slice();
            of_rows.push(keys.len());
            for (number, key) in (before..).zip(keys) {
                let ty = types.iter().position(|ty| *ty == key.ty);
                let ty = ty.ok_or_else(|| bug("a type outside the mapping"))?;
                let bytes = key.normalised.element.as_bytes();
                seen.push(bytes, number, ty)?;
                let length =
                    u16::try_from(bytes.len()).map_err(|_| bug("an element is too long"))?;
                let mut head = [0u8; ELEMENT_HEAD];
                head[..8].copy_from_slice(&number.to_be_bytes());
                head[8..].copy_from_slice(&length.to_be_bytes());
                if let Some(list) = lists.get_mut(ty) {
                    list.append(&head).map_err(spill)?;
                    list.append(bytes).map_err(spill)?;
                }
            }
            if tally.rows.is_multiple_of(4096) {
                progress.set(rows.bytes_read());
            }
        }
        let digest = rows.finish().map_err(AgencyError::from)?;
        progress.finish();
        let table = source.path();
        let rejects = rejects.end(table, &tally).map_err(AgencyError::from)?;
        if tally.rows == 0 {
            return Err(Failure::usage(
                "no-keys",
                format!("{}: there is no row below the header", table.display()),
                "check the file; nothing was asked",
            ));
        }
        if tally.keys == 0 {
            return Err(Failure::usage(
                "no-keys",
                format!(
                    "{}: no row gives a key: {}",
                    table.display(),
                    tally.why_no_keys()
                ),
                "check the columns of --key; nothing was asked",
            ));
        }
        let (first, distinct, repeats) = seen.settle(tally.elements, &names)?;
        let mut elements = BTreeMap::new();
        for (name, list) in names.into_iter().zip(lists) {
            elements.insert(name, list.finish().map_err(spill)?);
        }
        Ok(Self {
            profile: Arc::clone(mapping.profile()),
            source,
            extractor,
            tally,
            digest,
            distinct,
            first,
            rows: of_rows,
            repeats: repeats.map(Arc::new),
            elements,
            checks: RandomState::new(),
            scratch: scratch.to_owned(),
            rejects: Mutex::new(rejects),
        })
    }

    /// Gives the list of rejected keys its name, if there is one: when the run has done its work.
    pub(crate) fn finish_rejects(&self) -> Outcome<()> {
        let mut rejects = self.rejects.lock().unwrap_or_else(PoisonError::into_inner);
        let finished = rejects.take().map(RejectsWriter::finish).transpose();
        finished.map_err(AgencyError::from)?;
        Ok(())
    }

    /// Distinct elements of all types.
    pub(crate) fn elements(&self) -> u64 {
        self.distinct.values().sum()
    }

    /// Elements of each type that will be sent, padding included.
    pub(crate) fn padded(&self) -> BTreeMap<Name, u64> {
        self.distinct
            .iter()
            .map(|(name, n)| (name.clone(), self.padded_size(name, *n)))
            .collect()
    }

    /// What so many elements of a type are padded to. Under a profile with similar keys a single row's
    /// number of elements says how long its names are: all rows of usual names look the same.
    fn padded_size(&self, name: &Name, elements: u64) -> u64 {
        let ty = name.as_str().parse::<IdentifierType>();
        let similar = ty.is_ok_and(|ty| self.profile.rules(ty).len() > 1);
        padded_size(if similar {
            elements.max(LEAST_SIMILAR)
        } else {
            elements
        })
    }

    /// The elements as they were read, in chunks of one type, padding mixed in at random places: the
    /// same chunks each time for one table and seed. Types go one after another: chunks that leave as
    /// rows fill them would show which types a row has, and so how many rows there are.
    pub(crate) fn send(
        &self,
        session: &Hex<16>,
        seed: &SessionSeed,
        chunk_elements: usize,
        mut emit: impl FnMut(Chunk) -> Outcome<()>,
    ) -> Outcome<()> {
        for (name, real) in &self.distinct {
            let places = self.padded_size(name, *real);
            let mut mixer =
                Mixer::new(session, seed, name.clone(), (*real, places), chunk_elements);
            if let Some(list) = self.elements.get(name) {
                self.send_type(list, &mut mixer, &mut emit)?;
            }
            mixer.finish(&mut emit)?;
        }
        Ok(())
    }

    fn send_type(
        &self,
        list: &SealedCopy,
        mixer: &mut Mixer<'_>,
        emit: &mut impl FnMut(Chunk) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut reader = list.reader();
        let mut left = list.bytes();
        let mut element = Zeroizing::new([0u8; LONGEST_ELEMENT]);
        while left > 0 {
            let (number, element) = self.next_element(&mut reader, &mut element)?;
            left = left.saturating_sub((ELEMENT_HEAD + element.len()) as u64);
            if self.first.get(number) {
                let check = self.check(element);
                mixer.real(element, KeyId { number, check }, emit)?;
            }
        }
        Ok(())
    }

    fn next_element<'a>(
        &self,
        reader: &mut SealedReader,
        element: &'a mut [u8; LONGEST_ELEMENT],
    ) -> Outcome<(u64, &'a [u8])> {
        let spill = |source| spilling(&self.scratch, source);
        let mut head = [0u8; ELEMENT_HEAD];
        reader.read_exact(&mut head).map_err(spill)?;
        let [number @ .., high, low] = head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let element = element
            .get_mut(..length)
            .ok_or_else(|| bug("a spooled element"))?;
        reader.read_exact(element).map_err(spill)?;
        Ok((u64::from_be_bytes(number), element))
    }

    /// What tells whether a key is the one that was read first, but for one in 2^64.
    pub(crate) fn check(&self, element: &[u8]) -> u64 {
        self.checks.hash_one(element)
    }

    /// Where what is found is kept.
    pub(crate) fn hits(&self) -> Hits {
        Hits::new(&self.scratch, self.tally.elements, self.repeats.clone())
    }

    /// The numbers of the keys of each row, in order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = std::ops::Range<u64>> + '_ {
        self.rows.numbers()
    }

    /// What is said of a table that is another than before.
    pub(crate) fn changed(&self) -> Failure {
        let other = FileDigest {
            sha256: [0; 32],
            ..self.digest
        };
        match self.source.verify_same(&self.digest, &other) {
            Err(error) => AgencyError::from(error).into(),
            Ok(()) => bug("a changed file was not noticed"),
        }
    }
}

fn spilling(scratch: &Path, source: std::io::Error) -> Failure {
    AgencyError::Io {
        action: "spill to",
        path: scratch.to_owned(),
        source,
    }
    .into()
}

fn type_name(name: &str) -> Outcome<Name> {
    name.parse().map_err(|_| bug("a type's name"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use tallystick_tables::{KeySpec, TableFormat};

    fn plan(text: &str) -> (tempfile::TempDir, Plan) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        let keys = vec![
            KeySpec::parse("document=number,=UTO").unwrap(),
            KeySpec::parse("text=name").unwrap(),
        ];
        let mapping = Mapping::from_flags(keys, vec![]).unwrap();
        let plan = Plan::make(
            &TableInput::file(path, TableFormat::default()),
            &mapping,
            &Rejects::default(),
            dir.path(),
            &Progress::new("t", 0, "rows", true),
        )
        .unwrap();
        (dir, plan)
    }

    fn chunks(plan: &Plan, seed: u8, size: usize) -> Vec<(Name, u64, Vec<Option<KeyId>>)> {
        let mut out = Vec::new();
        let seed = SessionSeed::new([seed; 32]);
        plan.send(&Hex([1; 16]), &seed, size, |chunk| {
            assert!(chunk.elements.len() <= size);
            assert_eq!(chunk.elements.len(), chunk.ids.len());
            for (element, id) in chunk.elements.iter().zip(&chunk.ids) {
                assert!(id.is_none_or(|id| id.check == plan.check(element)));
            }
            out.push((chunk.type_name, chunk.first_index, chunk.ids));
            Ok(())
        })
        .unwrap();
        out
    }

    #[test]
    fn every_distinct_element_is_sent_once_among_padding() {
        let rows: String = (0..50)
            .map(|i| format!("A{},Name {}\n", i % 40, i % 7))
            .collect();
        let (_dir, plan) = plan(&format!("number,name\n{rows}"));
        let padded = plan.padded();
        assert_eq!(padded.values().sum::<u64>(), 40 + 16);
        let all = chunks(&plan, 1, 9);
        for (name, real) in &plan.distinct {
            let ids: Vec<_> = all
                .iter()
                .filter(|(n, ..)| n == name)
                .flat_map(|(.., ids)| ids.clone())
                .collect();
            assert_eq!(ids.len() as u64, padded[name]);
            let distinct: HashSet<_> = ids.iter().flatten().map(|id| id.check).collect();
            assert_eq!(distinct.len() as u64, *real);
            assert_eq!(ids.iter().flatten().count() as u64, *real);
        }
        assert_eq!(
            all,
            chunks(&plan, 1, 9),
            "the same seed gives the same chunks"
        );
        assert_ne!(all, chunks(&plan, 2, 9), "another seed mixes otherwise");
    }

    /// What is seen of the chunks follows from the padded sizes: not from which row has which type.
    #[test]
    fn types_go_one_after_another_in_full_chunks() {
        let rows: String = (0..30).map(|i| format!("A{i},Name {}\n", i % 20)).collect();
        let (_dir, plan) = plan(&format!("number,name\n{rows}"));
        let mut seen: Vec<(String, usize)> = Vec::new();
        for (name, _, ids) in chunks(&plan, 1, 9) {
            seen.push((name.to_string(), ids.len()));
        }
        let expected = [("document", [9, 9, 9, 5].as_slice()), ("text", &[9, 9, 2])];
        let expected: Vec<(String, usize)> = expected
            .into_iter()
            .flat_map(|(name, sizes)| sizes.iter().map(move |size| (name.to_owned(), *size)))
            .collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn padding_stands_everywhere_and_not_at_the_end_only() {
        let (_dir, plan) = plan("number,name\nA1,x\n");
        let mut places = HashSet::new();
        for seed in 0..200 {
            let all = chunks(&plan, seed, 64);
            let (.., ids) = &all[0];
            places.insert(ids.iter().position(Option::is_some).unwrap());
        }
        assert_eq!(
            places.len(),
            16,
            "one element among 16 places, each place taken sometimes"
        );
    }

    /// What is sent is what was counted, whatever becomes of the file.
    #[test]
    fn a_file_that_changes_after_it_was_read_does_not_change_what_is_sent() {
        let (dir, plan) = plan("number,name\nA1,x\nA2,y\n");
        let before = chunks(&plan, 1, 4);
        std::fs::write(dir.path().join("t.csv"), "number,name\nA1,x\nA3,y\n").unwrap();
        assert_eq!(chunks(&plan, 1, 4), before);
        assert_eq!(plan.changed().code, "table-changed");
    }
}
