//! The receiver's own table: counted once, sent once, written once. Memory grows by one bit a key:
//! what must be compared to find repeated elements is spilled to disk, sealed, in partitions.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use tallystick_agency::{
    AgencyError,
    exit::{Failure, Outcome},
    spool::Spool,
};
use tallystick_protocol::{
    identifiers::{Element, IdentifierType, Profile, padded_size, padding_element},
    oprf::SessionSeed,
    statements::{Hex, Name},
};
use tallystick_tables::{
    Extractor, FileDigest, Mapping, Rejects, RejectsWriter, Source, TableInput, Tally,
};

use crate::{error::bug, progress::Progress};

/// 128 bits of SHA-256 of an element: what an element is known by inside one run. Never leaves it.
pub(crate) type ElementId = [u8; 16];

/// The id of an element.
pub(crate) fn id_of(element: &Element) -> ElementId {
    let digest: [u8; 32] = Sha256::digest(element.as_bytes()).into();
    let mut id = [0u8; 16];
    id.copy_from_slice(&digest[..16]);
    id
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
    /// For each element in table order: whether it stands there for the first time.
    first: Bits,
    /// The list of rejected keys, until the run has done its work.
    rejects: Mutex<Option<RejectsWriter>>,
}

/// The fewest places for keys of one type, where a row has many: more than a row of usual names emits
/// under any built-in profile.
const LEAST_SIMILAR: u64 = 64;

/// A row of bits.
#[derive(Debug)]
struct Bits(Vec<u64>);

/// Partitions of the spool that finds repeated elements.
const PARTITIONS: usize = 64;

impl Bits {
    /// `len` bits, none set.
    fn zeros(len: u64) -> Self {
        let words = usize::try_from(len.div_ceil(64)).unwrap_or(usize::MAX);
        Self(vec![0; words])
    }

    fn set(&mut self, index: u64) {
        if let Some(word) = self.0.get_mut((index / 64) as usize) {
            *word |= 1 << (index % 64);
        }
    }

    fn get(&self, index: u64) -> bool {
        let word = self.0.get((index / 64) as usize);
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

impl Plan {
    /// Reads the table once: counts rows and keys, finds which elements are new. `scratch` is where
    /// it spills to.
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
        let types: Vec<Name> = mapping
            .types()
            .iter()
            .map(|ty| type_name(ty.name()))
            .collect::<Outcome<_>>()?;
        let mut spool = Spool::create(scratch, PARTITIONS)?;
        let mut rows = source.rows().map_err(AgencyError::from)?;
        while let Some(row) = rows.next_row().map_err(AgencyError::from)? {
            let before = tally.elements;
            let note = |reject| rejects.note(&reject);
            let keys = extractor.keys_and_rejects(&row, &mut tally, note);
            let keys = keys.map_err(AgencyError::from)?;
            for (ordinal, key) in (before..).zip(keys) {
                let id = id_of(&key.normalised.element);
                let ty = types.iter().position(|name| name.as_str() == key.ty.name());
                let ty = ty.and_then(|at| u8::try_from(at).ok());
                let ty = ty.ok_or_else(|| bug("a type outside the mapping"))?;
                spool.push(
                    usize::from(id[0] >> 2),
                    &[&id, &ordinal.to_be_bytes(), &[ty]],
                )?;
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
        let (first, distinct) = first_places(&mut spool, tally.elements, &types)?;
        Ok(Self {
            profile: Arc::clone(mapping.profile()),
            source,
            extractor,
            tally,
            digest,
            distinct,
            first,
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

    /// Reads the table again and gives its elements in chunks of one type, padding mixed in at
    /// random places: the same chunks each time for one seed. A file that changed is refused.
    pub(crate) fn send(
        &self,
        session: &Hex<16>,
        seed: &SessionSeed,
        chunk_elements: usize,
        mut emit: impl FnMut(Chunk) -> Outcome<()>,
    ) -> Outcome<()> {
        for (name, real) in &self.distinct {
            let places = self.padded_size(name, *real);
            let mixer = Mixer::new(session, seed, name.clone(), (*real, places), chunk_elements);
            self.send_type(mixer, &mut emit)?;
        }
        Ok(())
    }

    /// One pass for one type. Types go one after another: chunks that leave as rows fill them would
    /// show which types a row has, and so how many rows there are.
    fn send_type(
        &self,
        mut mixer: Mixer<'_>,
        emit: &mut impl FnMut(Chunk) -> Outcome<()>,
    ) -> Outcome<()> {
        let name = mixer.chunk.type_name.clone();
        let mut tally = Tally::default();
        let mut index = 0u64;
        let mut rows = self.source.rows().map_err(AgencyError::from)?;
        while let Some(row) = rows.next_row().map_err(AgencyError::from)? {
            for key in self.extractor.keys(&row, &mut tally) {
                let new = self.first.get(index);
                index += 1;
                if !new || key.ty.name() != name.as_str() {
                    continue;
                }
                // More than the first pass saw: the file has changed.
                if mixer.real_left == 0 {
                    return Err(self.changed());
                }
                mixer.real(key.normalised.element, emit)?;
            }
        }
        let digest = rows.finish().map_err(AgencyError::from)?;
        self.source
            .verify_same(&self.digest, &digest)
            .map_err(AgencyError::from)?;
        mixer.finish(emit)
    }

    fn changed(&self) -> Failure {
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

/// For each distinct element the key at which it stands first, and how many there are of each
/// type. An id covers the type, so elements of two types never have one id.
fn first_places(
    spool: &mut Spool,
    keys: u64,
    types: &[Name],
) -> Outcome<(Bits, BTreeMap<Name, u64>)> {
    let mut first = Bits::zeros(keys);
    let mut distinct: BTreeMap<Name, u64> = BTreeMap::new();
    for partition in 0..spool.partitions() {
        let mut records = spool.read(partition)?;
        // By id, then by ordinal: big-endian bytes compare as numbers do.
        records.sort();
        let mut last: Option<&[u8]> = None;
        for record in records.iter() {
            let (id, rest) = record.split_at(record.len().min(16));
            let ([ordinal @ .., ty], true) = (rest, last != Some(id)) else {
                continue;
            };
            last = Some(id);
            let ordinal = ordinal.try_into().map_err(|_| bug("a spooled key"))?;
            first.set(u64::from_be_bytes(ordinal));
            let name = types
                .get(usize::from(*ty))
                .ok_or_else(|| bug("a spooled type"))?;
            *distinct.entry(name.clone()).or_default() += 1;
        }
    }
    Ok((first, distinct))
}

fn type_name(name: &str) -> Outcome<Name> {
    name.parse().map_err(|_| bug("a type's name"))
}

/// A chunk of one type before blinding.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) type_name: Name,
    /// Elements of this type before it.
    pub(crate) first_index: u64,
    pub(crate) elements: Vec<Element>,
    /// The id of each real element; `None` for padding.
    pub(crate) ids: Vec<Option<ElementId>>,
}

/// Mixes the elements of one type with padding: at each place, the next element is real with
/// probability (real ones left) / (places left). That draws uniformly among all interleavings, and
/// needs no memory.
struct Mixer<'a> {
    session: &'a Hex<16>,
    seed: &'a SessionSeed,
    real_left: u64,
    places_left: u64,
    draws: u64,
    chunk_elements: usize,
    chunk: Chunk,
}

impl<'a> Mixer<'a> {
    fn new(
        session: &'a Hex<16>,
        seed: &'a SessionSeed,
        type_name: Name,
        (real, places): (u64, u64),
        chunk_elements: usize,
    ) -> Self {
        let chunk = Chunk {
            type_name,
            first_index: 0,
            elements: Vec::new(),
            ids: Vec::new(),
        };
        Self {
            session,
            seed,
            real_left: real,
            places_left: places,
            draws: 0,
            chunk_elements,
            chunk,
        }
    }

    /// Takes the next real element, after the padding that is drawn before it.
    fn real(
        &mut self,
        element: Element,
        emit: &mut impl FnMut(Chunk) -> Outcome<()>,
    ) -> Outcome<()> {
        while self.draw() >= self.real_left {
            self.padding(emit)?;
        }
        self.real_left = self.real_left.saturating_sub(1);
        let id = id_of(&element);
        self.place(element, Some(id), emit)
    }

    /// Uniform below the places left (by wide multiplication: the bias is below 2^-64 · n).
    fn draw(&mut self) -> u64 {
        if self.real_left == self.places_left {
            return 0;
        }
        let usage = format!("mix/{}/{}", self.chunk.type_name, self.draws);
        self.draws += 1;
        let bytes = self.seed.derive(self.session, &usage);
        let wide = bytes
            .first_chunk::<8>()
            .map_or(0, |b| u64::from_be_bytes(*b));
        ((u128::from(wide) * u128::from(self.places_left)) >> 64) as u64
    }

    fn padding(&mut self, emit: &mut impl FnMut(Chunk) -> Outcome<()>) -> Outcome<()> {
        let index = self.chunk.first_index + self.chunk.elements.len() as u64;
        let usage = format!("padding/{}/{index}", self.chunk.type_name);
        let random = self.seed.derive(self.session, &usage);
        self.place(padding_element(&random), None, emit)
    }

    fn place(
        &mut self,
        element: Element,
        id: Option<ElementId>,
        emit: &mut impl FnMut(Chunk) -> Outcome<()>,
    ) -> Outcome<()> {
        self.places_left = self.places_left.saturating_sub(1);
        self.chunk.elements.push(element);
        self.chunk.ids.push(id);
        if self.chunk.elements.len() == self.chunk_elements {
            self.flush(emit)?;
        }
        Ok(())
    }

    fn flush(&mut self, emit: &mut impl FnMut(Chunk) -> Outcome<()>) -> Outcome<()> {
        let next = Chunk {
            type_name: self.chunk.type_name.clone(),
            first_index: self.chunk.first_index + self.chunk.elements.len() as u64,
            elements: Vec::new(),
            ids: Vec::new(),
        };
        emit(std::mem::replace(&mut self.chunk, next))
    }

    fn finish(mut self, emit: &mut impl FnMut(Chunk) -> Outcome<()>) -> Outcome<()> {
        while self.places_left > 0 {
            self.padding(emit)?;
        }
        if !self.chunk.elements.is_empty() {
            self.flush(emit)?;
        }
        Ok(())
    }
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

    fn chunks(plan: &Plan, seed: u8, size: usize) -> Vec<(Name, u64, Vec<Option<ElementId>>)> {
        let mut out = Vec::new();
        let seed = SessionSeed::new([seed; 32]);
        plan.send(&Hex([1; 16]), &seed, size, |chunk| {
            assert!(chunk.elements.len() <= size);
            for (element, id) in chunk.elements.iter().zip(&chunk.ids) {
                assert!(id.is_none_or(|id| id == id_of(element)));
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
            let distinct: HashSet<_> = ids.iter().flatten().collect();
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

    #[test]
    fn a_file_that_changes_between_the_passes_is_refused() {
        let (dir, plan) = plan("number,name\nA1,x\nA2,y\n");
        std::fs::write(dir.path().join("t.csv"), "number,name\nA1,x\nA3,y\n").unwrap();
        let seed = SessionSeed::new([1; 32]);
        let sent = plan.send(&Hex([1; 16]), &seed, 4, |_| Ok(()));
        assert_eq!(sent.unwrap_err().code, "table-changed");
    }
}
