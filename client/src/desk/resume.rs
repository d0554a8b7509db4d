//! A session of a shift whose process ended: brought to where it stood, from its record and its journal.

use std::{sync::Arc, time::Instant};

use tallystick_agency::{
    AgencyError,
    exit::Outcome,
    home::Home,
    records::{Place, RecordFile},
};
use tallystick_protocol::{
    frame::{Frame, Kind},
    oprf::SessionSeed,
    session::{Answer, Asking, Matching},
    statements::{Hex, Name},
};

use super::{
    flight::{Owner, filled},
    journal::{Journal, Noted, NotedChunk},
    shift::{Airborne, InAir},
};
use crate::session::receive;

/// Whose an element is that nobody waits for any more. It counts if it matches.
const NOBODY: Owner = Owner {
    job: u32::MAX,
    key: 0,
};

/// A session as it stood.
pub(super) struct Revived {
    pub(super) matching: Matching,
    pub(super) record: RecordFile,
    pub(super) journal: Journal,
    /// Flights that were not looked up yet, some of them with all their answers.
    pub(super) air: Vec<InAir>,
    /// Number of the next flight.
    pub(super) next: u64,
}

/// Brings a session to where it stood. Work for the disk and the processor: some 100 µs a chunk.
///
/// # Errors
/// `SealBroken` if record and journal do not hold together, as after a power cut, or were altered.
/// `None` if the record has no grant.
pub(super) fn revive(
    home: &Arc<Home>,
    asking: Asking,
    seed: &SessionSeed,
) -> Outcome<Option<Revived>> {
    let session = asking.request().session;
    let broken = || AgencyError::SealBroken {
        what: format!("records/{session}.part"),
    };
    let (mut record, frames) = RecordFile::reopen(&home.records_dir(), session)?;
    let [(_, request), (_, grant), chunks @ ..] = &frames[..] else {
        return Ok(None);
    };
    if record.frame_at(*request)? != *asking.frame() {
        return Err(broken().into());
    }
    let queries = asking.request().queries.iter();
    let types: Vec<Name> = queries.map(|query| query.type_name.clone()).collect();
    let grant = record.frame_at(*grant)?;
    let Answer::Granted(matching) = asking.answer(grant).map_err(AgencyError::from)? else {
        return Ok(None);
    };
    let (journal, noted) = Journal::reopen(home, session)?;
    let mut replay = Replay {
        matching: Some(*matching),
        session,
        seed,
        types,
        noted,
        air: Vec::new(),
    };
    let mut index = 0;
    for pair in chunks.chunks(2) {
        let [
            (Kind::BlindedChunk, question),
            (Kind::EvaluatedChunk, answer),
        ] = pair
        else {
            let place: Option<&(Kind, Place)> = pair.first();
            record.cut(place.map_or(0, |(_, place)| place.offset))?;
            break;
        };
        let (question, answer) = (record.frame_at(*question)?, record.frame_at(*answer)?);
        let holds = replay.answered(index, &question, &answer)?;
        if !holds {
            return Err(broken().into());
        }
        index += 1;
    }
    // What was noted and not answered: the same bytes again. Its notes are whole flights.
    while replay.unanswered(index)? {
        index += 1;
    }
    let types = replay.types.len() as u64;
    if index % types != 0 || replay.noted.keys().any(|flight| flight * types >= index) {
        return Err(broken().into());
    }
    Ok(Some(Revived {
        matching: replay.matching.take().ok_or_else(broken)?,
        record,
        journal,
        air: replay.air,
        next: index / types,
    }))
}

struct Replay<'a> {
    /// `None` while a step has it.
    matching: Option<Matching>,
    session: Hex<16>,
    seed: &'a SessionSeed,
    types: Vec<Name>,
    noted: Noted,
    air: Vec<InAir>,
}

impl Replay<'_> {
    fn place(&self, index: u64) -> (u64, usize) {
        let types = self.types.len() as u64;
        (index / types, usize::try_from(index % types).unwrap_or(0))
    }

    /// Signs a noted chunk again. The same seed and elements give the same bytes.
    fn again(&mut self, index: u64) -> Outcome<Option<Airborne>> {
        let (flight, at) = self.place(index);
        let noted = self.noted.get(&flight).and_then(|chunks| chunks.get(at));
        let (Some(noted), Some(type_name)) = (noted, self.types.get(at)) else {
            return Ok(None);
        };
        let Some(matching) = self.matching.take() else {
            return Ok(None);
        };
        let owners = owners(noted);
        let mut reals = noted.elements.iter();
        let each = owners.iter().map(|owner| owner.and_then(|_| reals.next()));
        let (first, seed) = (noted.first_index, self.seed);
        let elements = filled(type_name, first, each, &noted.fresh, (&self.session, seed))?;
        let blinder = matching.blinder(type_name).map_err(AgencyError::from)?;
        let blinded = blinder.blind(first, elements).map_err(AgencyError::from)?;
        let (matching, question, sent) = matching.send(blinded).map_err(AgencyError::from)?;
        self.matching = Some(matching);
        Ok(Some(Airborne {
            question,
            sent,
            type_name: type_name.clone(),
            owners,
            answered: None,
        }))
    }

    fn fly(&mut self, index: u64, chunk: Airborne) {
        let (number, _) = self.place(index);
        match self.air.last_mut().filter(|flight| flight.number == number) {
            Some(flight) => flight.chunks.push(chunk),
            None => self.air.push(InAir {
                number,
                chunks: vec![chunk],
                jobs: Vec::new(),
                since: Instant::now(),
            }),
        }
    }

    /// Goes through a chunk that was answered; whether it holds.
    fn answered(&mut self, index: u64, question: &Frame, answer: &Frame) -> Outcome<bool> {
        let again = self.again(index)?;
        let Some(matching) = self.matching.take() else {
            return Ok(false);
        };
        match again {
            None => {
                let matching = matching.replay(question, answer);
                self.matching = Some(matching.map_err(AgencyError::from)?);
            }
            Some(chunk) if chunk.question != *question => return Ok(false),
            Some(mut chunk) => {
                let (matching, answered) = receive(matching, answer)?;
                self.matching = Some(matching);
                chunk.answered = Some(answered);
                self.fly(index, chunk);
            }
        }
        Ok(true)
    }

    /// Goes through a chunk that was not answered; whether there is one.
    fn unanswered(&mut self, index: u64) -> Outcome<bool> {
        let again = self.again(index)?;
        let there = again.is_some();
        if let Some(chunk) = again {
            self.fly(index, chunk);
        }
        Ok(there)
    }
}

fn owners(noted: &NotedChunk) -> Vec<Option<Owner>> {
    let mut owners = vec![None; noted.size];
    for place in &noted.places {
        if let Some(owner) = owners.get_mut(*place as usize) {
            *owner = Some(NOBODY);
        }
    }
    owners
}
