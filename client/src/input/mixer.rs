//! Elements and padding in chunks of one type.

use tallystick_agency::exit::Outcome;
use tallystick_protocol::{
    identifiers::{Elements, padding_element},
    oprf::SessionSeed,
    statements::{Hex, Name},
};
use zeroize::Zeroizing;

use super::KeyId;
use crate::error::bug;

/// A chunk of one type before blinding.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) type_name: Name,
    /// Elements of this type before it.
    pub(crate) first_index: u64,
    pub(crate) elements: Elements,
    /// What each real element is known by; `None` for padding.
    pub(crate) ids: Vec<Option<KeyId>>,
}

/// Mixes the elements of one type with padding: at each place, the next element is real with
/// probability (real ones left) / (places left). That draws uniformly among all interleavings, and
/// needs no memory.
pub(super) struct Mixer<'a> {
    session: &'a Hex<16>,
    seed: &'a SessionSeed,
    real_left: u64,
    places_left: u64,
    draws: u64,
    /// What the last derivation gave: four draws.
    drawn: Zeroizing<[u8; 32]>,
    chunk_elements: usize,
    chunk: Chunk,
}

/// Bytes of one draw.
const DRAW: usize = 8;
/// Draws of one derivation.
const DRAWS: u64 = 4;

impl<'a> Mixer<'a> {
    pub(super) fn new(
        session: &'a Hex<16>,
        seed: &'a SessionSeed,
        type_name: Name,
        (real, places): (u64, u64),
        chunk_elements: usize,
    ) -> Self {
        Self {
            session,
            seed,
            real_left: real,
            places_left: places,
            draws: 0,
            drawn: Zeroizing::new([0; 32]),
            chunk_elements,
            chunk: chunk(type_name, 0, chunk_elements, places),
        }
    }

    /// Takes the next real element, after the padding that is drawn before it.
    pub(super) fn real(
        &mut self,
        element: &[u8],
        id: KeyId,
        emit: &mut impl FnMut(Chunk) -> Outcome<()>,
    ) -> Outcome<()> {
        while self.draw() >= self.real_left {
            self.padding(emit)?;
        }
        self.real_left = self.real_left.saturating_sub(1);
        if !self.chunk.elements.push_bytes(element) {
            return Err(bug("a spooled element"));
        }
        self.placed(Some(id), emit)
    }

    /// Uniform below the places left (by wide multiplication: the bias is below 2^-64 · n).
    fn draw(&mut self) -> u64 {
        if self.real_left == self.places_left {
            return 0;
        }
        let (block, at) = (self.draws / DRAWS, (self.draws % DRAWS) as usize);
        if at == 0 {
            let usage = format!("mix/{}/{block}", self.chunk.type_name);
            self.drawn = self.seed.derive(self.session, &usage);
        }
        self.draws += 1;
        let (draws, _) = self.drawn.as_chunks::<DRAW>();
        let wide = draws.get(at).map_or(0, |draw| u64::from_be_bytes(*draw));
        ((u128::from(wide) * u128::from(self.places_left)) >> 64) as u64
    }

    fn padding(&mut self, emit: &mut impl FnMut(Chunk) -> Outcome<()>) -> Outcome<()> {
        let index = self.chunk.first_index + self.chunk.elements.len() as u64;
        let usage = format!("padding/{}/{index}", self.chunk.type_name);
        let random = self.seed.derive(self.session, &usage);
        self.chunk.elements.push(&padding_element(&random));
        self.placed(None, emit)
    }

    fn placed(
        &mut self,
        id: Option<KeyId>,
        emit: &mut impl FnMut(Chunk) -> Outcome<()>,
    ) -> Outcome<()> {
        self.places_left = self.places_left.saturating_sub(1);
        self.chunk.ids.push(id);
        if self.chunk.elements.len() == self.chunk_elements {
            self.flush(emit)?;
        }
        Ok(())
    }

    fn flush(&mut self, emit: &mut impl FnMut(Chunk) -> Outcome<()>) -> Outcome<()> {
        let next = chunk(
            self.chunk.type_name.clone(),
            self.chunk.first_index + self.chunk.elements.len() as u64,
            self.chunk_elements,
            self.places_left,
        );
        emit(std::mem::replace(&mut self.chunk, next))
    }

    pub(super) fn finish(mut self, emit: &mut impl FnMut(Chunk) -> Outcome<()>) -> Outcome<()> {
        while self.places_left > 0 {
            self.padding(emit)?;
        }
        if !self.chunk.elements.is_empty() {
            self.flush(emit)?;
        }
        Ok(())
    }
}

/// An empty chunk with room for what it will hold.
fn chunk(type_name: Name, first_index: u64, chunk_elements: usize, places_left: u64) -> Chunk {
    let room = usize::try_from(places_left).map_or(chunk_elements, |n| n.min(chunk_elements));
    Chunk {
        type_name,
        first_index,
        elements: Elements::with_capacity(room),
        ids: Vec::with_capacity(room),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The example of the spec (1.5): a run that is taken up by another version puts elements where this
    /// one does.
    #[test]
    fn elements_stand_where_the_vector_says() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../docs/spec/vectors/values.json"
        );
        let values: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let seed: Hex<32> = values["session_seed"].as_str().unwrap().parse().unwrap();
        let seed = SessionSeed::new(seed.0);
        let mix = &values["mix"];
        let session: Hex<16> = mix["session"].as_str().unwrap().parse().unwrap();
        let (real, places) = (
            mix["elements"].as_u64().unwrap(),
            mix["places"].as_u64().unwrap(),
        );
        let expected: Vec<u64> = serde_json::from_value(mix["elements_at"].clone()).unwrap();
        let type_name: Name = mix["type"].as_str().unwrap().parse().unwrap();
        let mut at = Vec::new();
        let mut emit = |chunk: Chunk| {
            let ids = (chunk.first_index..).zip(&chunk.ids);
            at.extend(ids.filter(|(_, id)| id.is_some()).map(|(index, _)| index));
            Ok(())
        };
        let mut mixer = Mixer::new(&session, &seed, type_name, (real, places), 7);
        for number in 0..real {
            let id = KeyId { number, check: 0 };
            let element = padding_element(&[0; 32]);
            mixer.real(element.as_bytes(), id, &mut emit).unwrap();
        }
        mixer.finish(&mut emit).unwrap();
        assert_eq!(at, expected);
    }
}
