//! Answers verified, looked up, and told to whoever waits.

use std::sync::Arc;

use rayon::prelude::*;
use tallystick_agency::{
    AgencyError,
    exit::{Failure, Outcome},
    worker::WorkerPool,
};
use tallystick_protocol::{
    identifiers::Rule,
    oprf::Output,
    session::{Answered, Sent},
    statements::Name,
};
use zeroize::Zeroizing;

use super::{
    CollectionFacts, DeskHit,
    flight::{Job, Owner, Reply},
};
use crate::{
    error::bug,
    session::LabelOpener,
    snapshots::{CachedSnapshot, TagPlace},
};

/// Hits of one traveller on one list that are told: more say nothing more, and take time that a sender of
/// many long labels could see in when the next flight leaves.
const MOST_HITS: usize = 32;

/// A chunk with its answer.
pub(super) struct LandedChunk {
    pub(super) sent: Sent,
    pub(super) answered: Answered,
    pub(super) type_name: Name,
    pub(super) owners: Vec<Option<Owner>>,
}

/// A flight whose every chunk was answered.
pub(super) struct Landed {
    pub(super) number: u64,
    pub(super) chunks: Vec<LandedChunk>,
    pub(super) jobs: Vec<Job>,
    pub(super) snapshot: Arc<CachedSnapshot>,
    pub(super) labels: LabelOpener,
    pub(super) facts: Arc<CollectionFacts>,
}

/// A flight that could not be verified or looked up, and who asked.
pub(super) struct NotFound {
    pub(super) failure: Failure,
    pub(super) jobs: Vec<Job>,
}

impl NotFound {
    pub(super) fn of(failure: Failure) -> Self {
        let jobs = Vec::new();
        Self { failure, jobs }
    }
}

/// An element that stands on the list.
struct Found {
    owner: Owner,
    type_name: Name,
    rule: Option<Rule>,
    place: TagPlace,
    material: Zeroizing<Vec<u8>>,
}

/// One chunk's outputs.
type Outputs = (Name, Vec<Output>, Vec<Option<Owner>>);

impl Landed {
    /// Verifies and looks up; gives the number of the flight and how many of its elements match. The
    /// answers follow by themselves: nothing waits for them.
    pub(super) async fn find(self, pool: WorkerPool) -> Result<(u64, u64), NotFound> {
        let Self {
            number,
            chunks,
            jobs,
            snapshot,
            labels,
            facts,
        } = self;
        let looked_up = pool.run(move || look_up(chunks, &snapshot)).await;
        let looked_up = looked_up.map_err(|e| Failure::from(AgencyError::from(e)));
        let found = match looked_up.and_then(|found| found) {
            Ok(found) => found,
            Err(failure) => return Err(NotFound { failure, jobs }),
        };
        let matches = found.len() as u64;
        tokio::spawn(async move {
            let told = pool.run(move || tell(found, jobs, &labels, &facts)).await;
            if told.is_err() {
                tracing::error!(code = "bug", "answers of a flight were not told");
            }
        });
        Ok((number, matches))
    }
}

/// Verifies every proof, then finds the tags.
fn look_up(chunks: Vec<LandedChunk>, snapshot: &CachedSnapshot) -> Outcome<Vec<Found>> {
    let finalize = |chunk: LandedChunk| -> Result<Outputs, AgencyError> {
        let outputs = chunk.sent.finalize(chunk.answered)?;
        Ok((chunk.type_name, outputs, chunk.owners))
    };
    let outputs: Result<Vec<Outputs>, _> = chunks.into_par_iter().map(finalize).collect();
    let outputs = outputs?;
    let preamble = snapshot.verified().preamble();
    let (tag_len, with_labels) = (preamble.tag_len(), preamble.sealed_len() > 0);
    let all = || {
        outputs.iter().flat_map(|(type_name, outputs, owners)| {
            let both = outputs.iter().zip(owners);
            both.map(move |(output, owner)| (type_name, output, owner))
        })
    };
    // Padding is looked up as well: a lookup takes as long whatever is asked.
    let tags: Vec<&[u8]> = all().map(|(_, output, _)| output.tag(tag_len)).collect();
    let places = snapshot.find_all(&tags)?;
    if places.len() != tags.len() {
        return Err(bug("tags that were not looked up"));
    }
    let mut found = Vec::new();
    for ((type_name, output, owner), place) in all().zip(places) {
        // Padding cannot match but by a collision of tags; it is nobody's hit.
        if let (Some(place), Some(owner)) = (place, owner) {
            let material = match with_labels {
                true => output.label_key_material(),
                false => &[],
            };
            found.push(Found {
                owner: *owner,
                type_name: type_name.clone(),
                rule: None,
                place,
                material: Zeroizing::new(material.to_vec()),
            });
        }
    }
    Ok(found)
}

/// Opens labels and answers. Who has gone meanwhile is told nothing.
fn tell(mut found: Vec<Found>, jobs: Vec<Job>, labels: &LabelOpener, facts: &Arc<CollectionFacts>) {
    for (number, job) in (0u32..).zip(jobs) {
        let mut hits = Vec::new();
        for hit in found.iter_mut().filter(|hit| hit.owner.job == number) {
            let types = job.known.types.iter().position(|ty| *ty == hit.type_name);
            let keys = types.and_then(|at| job.keys.get(at));
            hit.rule = keys
                .and_then(|keys| keys.get(hit.owner.key as usize))
                .map(|key| key.rule);
            hits.extend(opened(hit, labels));
            // The publisher must not choose how long a verdict takes.
            if hits.len() >= MOST_HITS {
                hits.truncate(MOST_HITS);
                break;
            }
        }
        let facts = Arc::clone(facts);
        let _ = job.reply.send(Reply::Found { facts, hits });
    }
}

/// A hit for each record behind an element; one without a label where there is none to open.
fn opened(hit: &Found, labels: &LabelOpener) -> Vec<DeskHit> {
    let one = |label, spoiled| DeskHit {
        type_name: hit.type_name.clone(),
        rule: hit.rule.unwrap_or(Rule::Exact),
        label,
        spoiled,
    };
    match labels.open(hit.place, &hit.material) {
        Ok(Some(records)) if records.is_empty() => vec![one(None, false)],
        Ok(Some(records)) => {
            let records = records.into_iter().map(Zeroizing::new);
            records.map(|record| one(Some(record), false)).collect()
        }
        Ok(None) => vec![one(None, true)],
        Err(failure) => {
            let code = failure.code.as_str();
            tracing::warn!(code, "a label of a hit was not read: {failure}");
            vec![one(None, true)]
        }
    }
}
