//! Which keys of a table hold an element that stood before.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use tallystick_agency::{exit::Outcome, spool::Spool};
use tallystick_protocol::statements::Name;
use zeroize::Zeroizing;

use crate::error::bug;

/// Partitions of what is sorted: one of them is in memory at a time.
pub(super) const PARTITIONS: usize = 64;

/// A row of bits.
#[derive(Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    len: u64,
}

impl Bits {
    /// `len` bits, none set.
    fn zeros(len: u64) -> Self {
        let words = usize::try_from(len.div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            words: vec![0; words],
            len,
        }
    }

    fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        self.len += 1;
        if bit {
            self.set(self.len - 1);
        }
    }

    fn set(&mut self, index: u64) {
        if let Some(word) = self.words.get_mut((index / 64) as usize) {
            *word |= 1 << (index % 64);
        }
    }

    pub(super) fn get(&self, index: u64) -> bool {
        let word = self.words.get((index / 64) as usize);
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

/// How many keys each row has: for each row as many ones, then a zero.
#[derive(Debug, Default)]
pub(super) struct KeysOfRows(Bits);

impl KeysOfRows {
    /// The next row.
    pub(super) fn push(&mut self, keys: usize) {
        for _ in 0..keys {
            self.0.push(true);
        }
        self.0.push(false);
    }

    /// The numbers of the keys of each row.
    pub(super) fn numbers(&self) -> impl Iterator<Item = std::ops::Range<u64>> + '_ {
        let (mut at, mut number) = (0, 0);
        std::iter::from_fn(move || {
            if at == self.0.len {
                return None;
            }
            let first = number;
            while self.0.get(at) {
                at += 1;
                number += 1;
            }
            at += 1;
            Some(first..number)
        })
    }
}

/// All keys of a table, by the digests of their elements.
pub(super) struct Seen<'a> {
    spool: Spool,
    scratch: &'a Path,
}

/// Bytes of a digest that are compared: 128 bits of SHA-256.
const DIGEST: usize = 16;

impl<'a> Seen<'a> {
    pub(super) fn new(scratch: &'a Path) -> Outcome<Self> {
        Ok(Self {
            spool: Spool::create(scratch, PARTITIONS)?,
            scratch,
        })
    }

    /// The key of this number: its element, and which of the mapping's types it has.
    pub(super) fn push(&mut self, element: &[u8], number: u64, ty: usize) -> Outcome<()> {
        let digest: [u8; 32] = Sha256::digest(element).into();
        let ty = u8::try_from(ty).map_err(|_| bug("too many types"))?;
        let partition = usize::from(digest[0]) % PARTITIONS;
        let parts: [&[u8]; 3] = [&digest[..DIGEST], &number.to_be_bytes(), &[ty]];
        Ok(self.spool.push(partition, &parts)?)
    }

    /// Which of `keys` keys hold a new element, how many elements there are of each type, and which
    /// keys hold one again. A digest covers the type, so elements of two types never share one.
    pub(super) fn settle(
        mut self,
        keys: u64,
        types: &[Name],
    ) -> Outcome<(Bits, BTreeMap<Name, u64>, Option<Repeats>)> {
        let mut first = Bits::zeros(keys);
        let mut of_types = vec![0u64; types.len()];
        let mut repeats: Option<Repeats> = None;
        for partition in 0..PARTITIONS {
            let records = self.spool.read(partition)?;
            let mut keys_here: Zeroizing<Vec<(u128, u64, u8)>> =
                Zeroizing::new(Vec::with_capacity(records.iter().count()));
            for record in records.iter() {
                keys_here.push(parse(record).ok_or_else(|| bug("a spooled key"))?);
            }
            drop(records);
            keys_here.sort_unstable();
            for group in keys_here.chunk_by(|a, b| a.0 == b.0) {
                let Some(((_, number, ty), again)) = group.split_first() else {
                    continue;
                };
                first.set(*number);
                let count = of_types.get_mut(usize::from(*ty));
                *count.ok_or_else(|| bug("a spooled type"))? += 1;
                for (_, other, _) in again {
                    let repeats = match &mut repeats {
                        Some(repeats) => repeats,
                        None => repeats.insert(Repeats::new(self.scratch, keys)?),
                    };
                    repeats.push(*number, *other)?;
                }
            }
        }
        let distinct = types.iter().cloned().zip(of_types);
        let distinct = distinct.filter(|(_, count)| *count > 0).collect();
        Ok((first, distinct, repeats))
    }
}

fn parse(record: &[u8]) -> Option<(u128, u64, u8)> {
    let (digest, rest) = record.split_first_chunk::<DIGEST>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let [ty] = rest else { return None };
    let (digest, number) = (u128::from_be_bytes(*digest), u64::from_be_bytes(*number));
    Some((digest, number, *ty))
}

/// In which of the partitions a key lies, where they are ranges of numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranges(u64);

impl Ranges {
    pub(super) fn of(keys: u64) -> Self {
        Self(keys.div_ceil(PARTITIONS as u64).max(1))
    }

    pub(super) fn partition(self, number: u64) -> usize {
        let partition = usize::try_from(number / self.0).unwrap_or(usize::MAX);
        partition.min(PARTITIONS - 1)
    }
}

/// Keys that hold the element of an earlier key, by that key's number.
#[derive(Debug)]
pub(super) struct Repeats {
    ranges: Ranges,
    spool: Mutex<Spool>,
}

/// Pairs of numbers, first and again, in order.
pub(super) type Pairs = Vec<(u64, u64)>;

impl Repeats {
    pub(super) fn new(scratch: &Path, keys: u64) -> Outcome<Self> {
        Ok(Self {
            ranges: Ranges::of(keys),
            spool: Mutex::new(Spool::create(scratch, PARTITIONS)?),
        })
    }

    pub(super) fn push(&mut self, first: u64, again: u64) -> Outcome<()> {
        let spool = self.spool.get_mut().unwrap_or_else(PoisonError::into_inner);
        let partition = self.ranges.partition(first);
        Ok(spool.push(partition, &[&first.to_be_bytes(), &again.to_be_bytes()])?)
    }

    /// Those of one partition.
    pub(super) fn read(&self, partition: usize) -> Outcome<Pairs> {
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        let records = spool.read(partition)?;
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes);
        let mut pairs = Vec::with_capacity(records.iter().count());
        for record in records.iter() {
            let (first, again) = record.split_at(record.len().min(8));
            match (number(first), number(again)) {
                (Ok(first), Ok(again)) => pairs.push((first, again)),
                _ => return Err(bug("a spooled repeat")),
            }
        }
        pairs.sort_unstable();
        Ok(pairs)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_keys_they_were_given() {
        let mut rows = KeysOfRows::default();
        let counts = [1usize, 0, 3, 70, 0, 0, 1, 64, 2];
        for count in counts {
            rows.push(count);
        }
        let mut next = 0;
        let numbers: Vec<_> = rows.numbers().collect();
        assert_eq!(numbers.len(), counts.len());
        for (range, count) in numbers.iter().zip(counts) {
            assert_eq!(*range, next..next + count as u64);
            next = range.end;
        }
        assert_eq!(KeysOfRows::default().numbers().count(), 0);
    }

    #[test]
    fn repeated_elements_are_found_with_the_key_they_stand_at_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = Seen::new(dir.path()).unwrap();
        let keys = 3000u64;
        // Element of a key: the first 100 once, the rest in turns.
        let of = |n: u64| if n < 100 { n } else { 1000 + n % 700 };
        for n in 0..keys {
            let ty = (of(n) % 2) as usize;
            seen.push(&of(n).to_be_bytes(), n, ty).unwrap();
        }
        let types: Vec<Name> = ["text", "bytes", "vin"]
            .iter()
            .map(|name| name.parse().unwrap())
            .collect();
        let (first, distinct, repeats) = seen.settle(keys, &types).unwrap();
        let repeats = repeats.unwrap();
        let expected = |n: u64| (0..n).find(|earlier| of(*earlier) == of(n));
        let mut pairs: Pairs = Vec::new();
        for partition in 0..PARTITIONS {
            pairs.extend(repeats.read(partition).unwrap());
        }
        let mut wanted: Pairs = (0..keys).filter_map(|n| Some((expected(n)?, n))).collect();
        wanted.sort_unstable();
        assert_eq!(pairs, wanted);
        for n in 0..keys {
            assert_eq!(first.get(n), expected(n).is_none(), "{n}");
        }
        let counts: Vec<_> = distinct.iter().map(|(n, c)| (n.as_str(), *c)).collect();
        assert_eq!(counts, [("bytes", 400), ("text", 400)]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
