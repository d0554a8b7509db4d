//! What was found, until it is written: sealed on disk, in the order of the table's keys.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use tallystick_agency::{
    exit::Outcome,
    spool::{Records, Spool},
};

use super::{
    KeyId,
    keys::{PARTITIONS, Pairs, Ranges, Repeats},
};
use crate::{error::bug, snapshots::TagPlace};

/// A hit, as small as can be: where its label lies, and what the key of the label is derived from
/// (empty without labels).
#[derive(Clone, Copy)]
pub(crate) struct Hit<'a> {
    pub(crate) id: KeyId,
    pub(crate) place: TagPlace,
    pub(crate) material: &'a [u8],
}

/// The hits of a session, for every key that holds a matching element. In memory are those of a sixty-fourth
/// of the table's keys at a time, and two numbers for each key that repeats an element which stands first in
/// such a part of the table: for all rows, if all repeat one.
pub(crate) struct Hits {
    scratch: PathBuf,
    ranges: Ranges,
    /// Made with the first hit.
    spool: Option<Spool>,
    elements: u64,
    repeats: Option<Arc<Repeats>>,
    /// The partition of `repeats` that is in memory.
    pairs: Option<(usize, Pairs)>,
}

impl fmt::Debug for Hits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hits({} elements)", self.elements)
    }
}

/// Number, check and place of a spooled hit; what follows is its material.
const HEAD: usize = 8 + 8 + TagPlace::BYTES;

impl Hits {
    /// None yet, in a table of `keys` keys.
    pub(super) fn new(scratch: &Path, keys: u64, repeats: Option<Arc<Repeats>>) -> Self {
        Self {
            scratch: scratch.to_owned(),
            ranges: Ranges::of(keys),
            spool: None,
            elements: 0,
            repeats,
            pairs: None,
        }
    }

    /// Distinct elements that matched.
    pub(crate) fn elements(&self) -> u64 {
        self.elements
    }

    /// Adds the hit of an element. Fastest in the order of the keys.
    pub(crate) fn add(&mut self, hit: Hit<'_>) -> Outcome<()> {
        self.elements += 1;
        let first = hit.id.number;
        self.push(first, hit)?;
        let Some(repeats) = &self.repeats else {
            return Ok(());
        };
        let partition = self.ranges.partition(first);
        let pairs = match self.pairs.take() {
            Some((loaded, pairs)) if loaded == partition => pairs,
            _ => repeats.read(partition)?,
        };
        let start = pairs.partition_point(|(number, _)| *number < first);
        let again = pairs.get(start..).unwrap_or_default().iter();
        for (_, number) in again.take_while(|(number, _)| *number == first) {
            self.push(*number, hit)?;
        }
        self.pairs = Some((partition, pairs));
        Ok(())
    }

    fn push(&mut self, number: u64, hit: Hit<'_>) -> Outcome<()> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            None => self.spool.insert(Spool::create(&self.scratch, PARTITIONS)?),
        };
        let parts: [&[u8]; 4] = [
            &number.to_be_bytes(),
            &hit.id.check.to_be_bytes(),
            &hit.place.to_bytes(),
            hit.material,
        ];
        Ok(spool.push(self.ranges.partition(number), &parts)?)
    }

    /// All of them, to be taken in the order of the keys.
    pub(crate) fn in_order(self) -> InOrder {
        InOrder {
            spool: self.spool,
            partition: 0,
            records: None,
            order: Vec::new(),
            at: 0,
        }
    }
}

/// Hits in the order of the table's keys. Holds a part of them.
pub(crate) struct InOrder {
    spool: Option<Spool>,
    /// The next partition to be read.
    partition: usize,
    records: Option<Records>,
    order: Vec<u64>,
    at: usize,
}

impl InOrder {
    /// Gives the hits of the keys of one row. Rows must be asked in their order.
    pub(crate) fn of_row(
        &mut self,
        keys: &Range<u64>,
        mut each: impl FnMut(Hit<'_>) -> Outcome<()>,
    ) -> Outcome<()> {
        while let Some(number) = self.next_number()? {
            if number >= keys.end {
                break;
            }
            let record = self.records.as_ref().and_then(|all| all.get(self.at));
            self.at += 1;
            each(record.and_then(parse).ok_or_else(|| bug("a spooled hit"))?)?;
        }
        Ok(())
    }

    /// The key of the next hit.
    fn next_number(&mut self) -> Outcome<Option<u64>> {
        loop {
            if let Some(number) = self.order.get(self.at) {
                return Ok(Some(*number));
            }
            let Some(spool) = self.spool.as_mut().filter(|_| self.partition < PARTITIONS) else {
                return Ok(None);
            };
            let mut records = spool.read(self.partition)?;
            // By number: big-endian bytes compare as numbers do.
            records.sort();
            self.partition += 1;
            self.at = 0;
            self.order.clear();
            for record in records.iter() {
                let number = record.first_chunk().ok_or_else(|| bug("a spooled hit"))?;
                self.order.push(u64::from_be_bytes(*number));
            }
            self.records = Some(records);
        }
    }
}

fn parse(record: &[u8]) -> Option<Hit<'_>> {
    let (head, material) = record.split_first_chunk::<HEAD>()?;
    let (number, rest) = head.split_first_chunk::<8>()?;
    let (check, place) = rest.split_first_chunk::<8>()?;
    Some(Hit {
        id: KeyId {
            number: u64::from_be_bytes(*number),
            check: u64::from_be_bytes(*check),
        },
        place: TagPlace::from_bytes(place.try_into().ok()?),
        material,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A hit of an element that stands at several keys is a hit of each, in the table's order.
    #[test]
    fn hits_come_back_by_key_whatever_order_they_were_found_in() {
        let dir = tempfile::tempdir().unwrap();
        let keys = 5000u64;
        let mut repeats = Repeats::new(dir.path(), keys).unwrap();
        // Key n + 2500 holds the element of key n, for every fifth n.
        for n in (0..2500).step_by(5) {
            repeats.push(n, n + 2500).unwrap();
        }
        let mut hits = Hits::new(dir.path(), keys, Some(Arc::new(repeats)));
        let found: Vec<u64> = (0..2500).filter(|n| n % 3 == 0).collect();
        let (evens, odds): (Vec<u64>, Vec<u64>) = found.iter().partition(|n| **n % 2 == 0);
        for number in evens.iter().chain(&odds) {
            let id = KeyId {
                number: *number,
                check: number * 7,
            };
            let place = TagPlace::from_bytes([*number as u8; TagPlace::BYTES]);
            let material = vec![9; (number % 40) as usize];
            let material = &material[..];
            hits.add(Hit {
                id,
                place,
                material,
            })
            .unwrap();
        }
        assert_eq!(hits.elements(), found.len() as u64);
        let of = |n: u64| if n >= 2500 { n - 2500 } else { n };
        let hit = |n: u64| of(n).is_multiple_of(3) && (n < 2500 || n.is_multiple_of(5));
        let mut hits = hits.in_order();
        // Rows of no key, of one, of two.
        let (mut next, mut row) = (0, 0);
        while next < keys {
            let range = next..(next + row % 3).min(keys);
            (next, row) = (range.end, row + 1);
            let mut seen = Vec::new();
            hits.of_row(&range, |hit| {
                assert_eq!(hit.id.check, of(hit.id.number) * 7);
                let place = [of(hit.id.number) as u8; TagPlace::BYTES];
                assert_eq!(hit.place, TagPlace::from_bytes(place));
                assert_eq!(hit.material.len() as u64, of(hit.id.number) % 40);
                seen.push(hit.id.number);
                Ok(())
            })
            .unwrap();
            let wanted: Vec<u64> = range.filter(|n| hit(*n)).collect();
            assert_eq!(seen, wanted);
        }
        let mut none = Hits::new(dir.path(), 0, None).in_order();
        none.of_row(&(0..10), |_| Err(bug("there is none")))
            .unwrap();
    }
}
