//! Flights: what several travellers ask at once, filled up to a size that says nothing of them.
//!
//! A flight has one chunk of each type of its shift, all of one level of their sizes. So whoever sees
//! it sees neither how many travellers it is for, nor in which types they are asked, nor whether
//! anybody is.

use std::{collections::VecDeque, fmt, sync::Arc};

use rand::seq::SliceRandom;
use tallystick_agency::{AgencyError, collections::rule_names, exit::Outcome};
use tallystick_protocol::{
    identifiers::{Elements, IdentifierType, Key, Profile, Rule, padding_element},
    oprf::SessionSeed,
    statements::{Hex, Int, Name, Query, Request},
};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{DeskHit, status::Trouble};
use crate::error::bug;

/// Types under which a document that somebody presents can stand on a list.
const TYPES: [&str; 4] = ["document", "holder", "name", "person"];
/// Travellers that a flight has room for, by level.
const TRAVELLERS: [u64; 3] = [8, 64, 512];
/// The most elements of a chunk.
const MOST_ELEMENTS: u64 = 16_384;

/// A type that a shift asks, and how many elements a chunk of it has at each level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TypeSizes {
    pub(super) name: Name,
    pub(super) sizes: Vec<u64>,
}

/// The types of a shift, ascending. All have as many levels, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sizes(Vec<TypeSizes>);

/// Elements that one traveller gives at most under a profile, by powers of two.
fn of_a_traveller(profile: &Profile, ty: IdentifierType) -> u64 {
    match (ty, profile.rules(ty).as_slice()) {
        (IdentifierType::Person | IdentifierType::Name, [] | [Rule::Exact]) => 1,
        (IdentifierType::Person | IdentifierType::Name, _) => {
            u64::from(profile.keys_per_row()).next_power_of_two()
        }
        _ => 1,
    }
}

impl Sizes {
    /// Those of the types that a collection offers, as far as a document can give them; `None` if it
    /// offers no such type.
    pub(super) fn offered<'a>(
        profile: &Profile,
        offered: impl Iterator<Item = &'a Name>,
    ) -> Option<Self> {
        let asked = offered.filter(|name| TYPES.contains(&name.as_str()));
        let types = asked.filter_map(|name| {
            let ty: IdentifierType = name.as_str().parse().ok()?;
            let each = of_a_traveller(profile, ty);
            let known = profile.types().contains(&ty);
            let sizes = TRAVELLERS.iter().map(|n| n * each).collect();
            known.then(|| TypeSizes {
                name: name.clone(),
                sizes,
            })
        });
        let types: Vec<_> = types.collect();
        let sizes = Self(types).up_to(|_| MOST_ELEMENTS);
        (!sizes.0.is_empty() && sizes.levels() > 0).then_some(sizes)
    }

    /// Those that a request names.
    pub(super) fn of(request: &Request) -> Self {
        let queries = request.queries.iter().map(|query| TypeSizes {
            name: query.type_name.clone(),
            sizes: query.flights.iter().flatten().map(|n| n.get()).collect(),
        });
        Self(queries.collect())
    }

    /// The levels at which no type has more than `most` says.
    pub(super) fn up_to(mut self, most: impl Fn(&Name) -> u64) -> Self {
        let fits = |ty: &TypeSizes| {
            let most = most(&ty.name);
            ty.sizes.iter().take_while(|size| **size <= most).count()
        };
        let levels = self.0.iter().map(fits).min().unwrap_or(0);
        for ty in &mut self.0 {
            ty.sizes.truncate(levels);
        }
        self
    }

    pub(super) fn levels(&self) -> usize {
        self.0.first().map_or(0, |ty| ty.sizes.len())
    }

    pub(super) fn types(&self) -> &[TypeSizes] {
        &self.0
    }

    /// Elements of one small flight over all types.
    pub(super) fn small(&self) -> u64 {
        let firsts = self.0.iter().filter_map(|ty| ty.sizes.first());
        firsts.sum()
    }

    /// The queries of a request that may carry so many small flights.
    pub(super) fn queries(&self, profile: &Profile, flights: u64) -> Outcome<Vec<Query>> {
        let int = |n: u64| Int::new(n).map_err(AgencyError::from);
        let most = |ty: &TypeSizes| ty.sizes.first().map_or(0, |n| n.saturating_mul(flights));
        let sizes = self.clone();
        let sizes = sizes.up_to(|name| {
            let ty = self.0.iter().find(|ty| ty.name == *name);
            ty.map_or(0, most)
        });
        let query = |ty: &TypeSizes| {
            let flights = ty.sizes.iter().map(|size| int(*size));
            Ok(Query {
                type_name: ty.name.clone(),
                rules: rule_names(profile, &ty.name)?,
                records: int(most(ty))?,
                elements: int(most(ty))?,
                flights: Some(flights.collect::<Result<_, _>>()?),
            })
        };
        sizes.0.iter().map(query).collect()
    }
}

/// What a traveller asks of one collection, and who waits for the answer.
pub(super) struct Job {
    /// For each type of the shift the traveller's keys, in the order of its types.
    pub(super) keys: Vec<Vec<Key>>,
    /// What the keys were made by: a link that meanwhile knows better sends the job back.
    pub(super) known: Arc<Known>,
    pub(super) reply: oneshot::Sender<Reply>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job(..)")
    }
}

/// What must be known of a collection before keys can be made for it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) profile: Arc<Profile>,
    /// Hash of the profile's tables.
    pub(super) tables: [u8; 32],
    pub(super) types: Vec<Name>,
    /// States that a register covers; `None` for other lists.
    pub(super) covers: Option<Vec<String>>,
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.tables == other.tables && self.types == other.types && self.covers == other.covers
    }
}

/// What comes back for a job.
#[derive(Debug)]
pub(super) enum Reply {
    /// It was asked, verified and looked up.
    Found {
        facts: Arc<super::CollectionFacts>,
        hits: Vec<DeskHit>,
    },
    /// The collection is another than the keys were made for: make them again.
    Stale,
    /// There will be no answer.
    Missing(Trouble),
}

/// Whose element stands at a place of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Its job among those of the flight.
    pub(super) job: u32,
    /// Its key among those of the job for the type.
    pub(super) key: u32,
}

/// One chunk before it is blinded.
pub(super) struct ChunkPlan {
    pub(super) type_name: Name,
    /// Elements of this type before it in the session.
    pub(super) first_index: u64,
    /// 32 random bytes of this chunk alone, of which its padding is made. A desk whose disk went back in
    /// time says another chunk under this index: nobody must see by comparing the two what is padding.
    pub(super) fresh: Zeroizing<[u8; 32]>,
    pub(super) elements: Elements,
    /// For each place; `None` for padding.
    pub(super) owners: Vec<Option<Owner>>,
}

/// A flight before it is blinded.
pub(super) struct Flight {
    pub(super) chunks: Vec<ChunkPlan>,
    pub(super) jobs: Vec<Job>,
}

/// Takes the next jobs off the queue: as many as go into the largest flight that they fill to more than
/// a half, else into the smallest that takes any. `left` are the elements that may still be asked of
/// each type. `None` if not even the smallest flight may be asked any more.
pub(super) fn choose(
    waiting: &mut VecDeque<Job>,
    sizes: &Sizes,
    left: impl Fn(&Name) -> u64,
) -> Option<(usize, Vec<Job>)> {
    let levels = sizes.clone().up_to(left).levels();
    if levels == 0 {
        return None;
    }
    // Who waited for them has gone.
    waiting.retain(|job| !job.reply.is_closed());
    loop {
        let mut choice = (0, fill(waiting, sizes, 0).0);
        for level in 1..levels {
            let (taken, half_full) = fill(waiting, sizes, level);
            if half_full || (choice.1 == 0 && taken > 0) {
                choice = (level, taken);
            }
        }
        match choice {
            (_, 0) => match waiting.pop_front() {
                None => return Some((0, Vec::new())),
                Some(job) => {
                    let why = "the traveller has more keys than a flight has room for";
                    let trouble = Trouble::now("too-many-keys", why);
                    // Whoever does not wait any more needs no answer.
                    let _ = job.reply.send(Reply::Missing(trouble));
                }
            },
            (level, taken) => return Some((level, waiting.drain(..taken).collect())),
        }
    }
}

/// How many jobs from the front go into a flight of this level, and whether one of its chunks is then
/// more than half full.
fn fill(waiting: &VecDeque<Job>, sizes: &Sizes, level: usize) -> (usize, bool) {
    let room = sizes.types().iter().map(|ty| ty.sizes.get(level));
    let room: Vec<u64> = room.map(|size| size.copied().unwrap_or(0)).collect();
    let mut used = vec![0u64; room.len()];
    let mut taken = 0;
    for job in waiting {
        let needs = |at: usize| job.keys.get(at).map_or(0, Vec::len) as u64;
        let more: Vec<u64> = (0..).zip(&used).map(|(at, n)| n + needs(at)).collect();
        if more.iter().zip(&room).any(|(more, room)| more > room) {
            break;
        }
        used = more;
        taken += 1;
    }
    let half_full = used.iter().zip(&room).any(|(used, room)| used * 2 > *room);
    (taken, half_full)
}

impl Flight {
    /// Puts the keys of some jobs at random places among padding. `sent` are the elements of each type
    /// before this flight.
    pub(super) fn pack(
        sizes: &Sizes,
        level: usize,
        jobs: Vec<Job>,
        (session, seed): (&Hex<16>, &SessionSeed),
        sent: impl Fn(&Name) -> u64,
    ) -> Outcome<Self> {
        let mut chunks = Vec::with_capacity(sizes.types().len());
        for (at, ty) in sizes.types().iter().enumerate() {
            let size = ty.sizes.get(level).copied().unwrap_or(0);
            let size = usize::try_from(size).map_err(|_| bug("a size of a flight"))?;
            let mut owners: Vec<Option<Owner>> = Vec::with_capacity(size);
            for (job, asked) in (0u32..).zip(&jobs) {
                let keys = asked.keys.get(at).map_or(0, Vec::len);
                owners.extend((0u32..).take(keys).map(|key| Some(Owner { job, key })));
            }
            if owners.len() > size {
                return Err(bug("a flight is too full"));
            }
            owners.resize(size, None);
            owners.shuffle(&mut rand::rng());
            let first_index = sent(&ty.name);
            let element = |owner: &Option<Owner>| {
                let owner = owner.as_ref()?;
                let keys = jobs.get(owner.job as usize)?.keys.get(at)?;
                Some(keys.get(owner.key as usize)?.normalised.element.as_bytes())
            };
            let reals = owners.iter().map(element);
            let fresh = Zeroizing::new(rand::random::<[u8; 32]>());
            let elements = filled(&ty.name, first_index, reals, &fresh, (session, seed))?;
            chunks.push(ChunkPlan {
                type_name: ty.name.clone(),
                first_index,
                fresh,
                elements,
                owners,
            });
        }
        Ok(Self { chunks, jobs })
    }
}

/// The elements of a chunk, padding at the places where there is none.
pub(super) fn filled<'a>(
    type_name: &Name,
    first_index: u64,
    reals: impl ExactSizeIterator<Item = Option<&'a [u8]>>,
    fresh: &[u8; 32],
    (session, seed): (&Hex<16>, &SessionSeed),
) -> Outcome<Elements> {
    let mut elements = Elements::with_capacity(reals.len());
    for (index, real) in (first_index..).zip(reals) {
        match real {
            Some(bytes) if elements.push_bytes(bytes) => {}
            Some(_) => return Err(bug("an element of a flight")),
            None => {
                let random = padding(type_name, index, fresh, (session, seed));
                elements.push(&padding_element(&random));
            }
        }
    }
    Ok(elements)
}

fn padding(
    type_name: &Name,
    index: u64,
    fresh: &[u8; 32],
    (session, seed): (&Hex<16>, &SessionSeed),
) -> Zeroizing<[u8; 32]> {
    seed.derive(
        session,
        &format!("padding/{type_name}/{index}/{}", Hex(*fresh)),
    )
}

#[cfg(test)]
#[path = "flight_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
