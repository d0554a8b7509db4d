//! Each thing that a peer may not do, by name, with the error it gets.

use super::*;

mod answers;
mod chunks;
mod closings;
mod openings;

/// A session with one type, chunks of two, a window of two.
pub(super) fn session(id: u8, elements: u64) -> (World, Matching, Serving, [Frame; 2]) {
    let world = World::new();
    let request = world.request(id, &[("text", elements)]);
    let (matching, serving, opening) = world.granted(request, 2, 2);
    (world, matching, serving, opening)
}

pub(super) fn blind(matching: &Matching, first: u64, values: &[u32]) -> Blinded {
    let elements: Vec<_> = values.iter().map(|v| element("text", *v)).collect();
    matching
        .blinder(&name("text"))
        .unwrap()
        .blind(first, elements)
        .unwrap()
}

/// A transcript from which to sign what the states would not.
pub(super) fn transcript(opening: &[Frame; 2]) -> Transcript {
    let request: Request = open_as_named(&opening[0]).unwrap();
    Transcript::new(request.session, &opening[0], &opening[1])
}
