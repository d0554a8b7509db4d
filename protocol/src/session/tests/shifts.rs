//! Shifts: many small flights under one grant (spec section 4.5).

use super::*;
use crate::{
    error::Error,
    record,
    statements::{Int, Query, SessionClass, Status, sign},
    test_support::NOW,
    verify::{Summary, verify_bytes},
};

/// A request for a shift: types, ascending, with the most elements of each and the sizes of flights.
fn shift(world: &World, queries: &[(&str, u64, &[u64])]) -> Request {
    let plain: Vec<_> = queries.iter().map(|(ty, most, _)| (*ty, *most)).collect();
    let mut request = world.request(1, &plain);
    request.legal.class = SessionClass::BorderDesk;
    for (query, (_, _, sizes)) in request.queries.iter_mut().zip(queries) {
        query.flights = Some(sizes.iter().map(|size| int(*size)).collect());
    }
    request
}

/// Two types, small flights of 2 and 3, large ones of 4 and 6.
fn desk(world: &World) -> Request {
    shift(world, &[("bytes", 40, &[2, 4]), ("text", 60, &[3, 6])])
}

struct Desk {
    world: World,
    matching: Matching,
    serving: Serving,
    frames: Vec<Frame>,
    asked: [u64; 2],
}

impl Desk {
    fn open(request: impl FnOnce(&World) -> Request) -> Self {
        let world = World::new();
        let request = request(&world);
        let (matching, serving, opening) = world.granted(request, 8, 4);
        Self {
            world,
            matching,
            serving,
            frames: opening.into(),
            asked: [0; 2],
        }
    }

    fn blind(&self, ty: &str, first: u64, values: &[u32]) -> Blinded {
        let elements: Vec<_> = values.iter().map(|v| element(ty, *v)).collect();
        let blinder = self.matching.blinder(&name(ty)).unwrap();
        blinder.blind(first, elements).unwrap()
    }

    /// Both chunks of a flight, answered; gives the outputs.
    fn flight(mut self, bytes: &[u32], text: &[u32]) -> (Self, Vec<Vec<oprf::Output>>) {
        let mut outputs = Vec::new();
        for (at, (ty, values)) in [("bytes", bytes), ("text", text)].into_iter().enumerate() {
            let blinded = self.blind(ty, self.asked[at], values);
            self.asked[at] += values.len() as u64;
            let (matching, question, sent) = self.matching.send(blinded).unwrap();
            let (serving, answer) = self.world.serve(self.serving, &question);
            let (matching, answered) = matching.receive(&answer).unwrap();
            (self.matching, self.serving) = (matching, serving);
            outputs.push(sent.finalize(answered).unwrap());
            self.frames.extend([question, answer]);
        }
        (self, outputs)
    }

    /// Closes it, and gives its record.
    fn close(self, matches: u64) -> Vec<u8> {
        let session = self.matching.agreement().request().session;
        let charged = charges(&self.serving);
        let finish = Finish::Complete { matches };
        let closing = self.matching.close(finish, None, NOW + 30).unwrap();
        let closed = self
            .serving
            .close(closing.frame().clone(), charged, NOW + 40)
            .unwrap();
        assert_eq!(closed.ended, Status::Complete);
        let settled = closing.settle(closed.sender.clone()).unwrap();
        assert_eq!(settled.charged, closed.charged);
        let mut bytes = record::header(&session).unwrap().bytes().to_vec();
        for frame in self.frames.iter().chain([&closed.receiver, &closed.sender]) {
            bytes.extend_from_slice(frame.bytes());
        }
        bytes
    }
}

#[test]
fn a_shift_asks_as_travellers_come_and_its_record_verifies() {
    let desk = Desk::open(desk);
    let published = desk
        .world
        .publish(&[("bytes", vec![1, 2]), ("text", vec![7, 8])], 2, 32);
    let padding = [PADDING, PADDING + 1, PADDING + 2, PADDING + 3];
    // A traveller, nobody, a family in a large flight.
    let (desk, found) = desk.flight(&[1, padding[0]], &[7, 9, padding[1]]);
    assert!(published.look_up(&found[0][0]).is_some());
    assert!(published.look_up(&found[1][1]).is_none());
    let (desk, _) = desk.flight(&padding[..2], &padding[..3]);
    let (desk, found) = desk.flight(&[2, 3, 4, 5], &[8, 1, 2, 3, 4, 5]);
    assert!(published.look_up(&found[1][0]).is_some());
    assert_eq!(desk.matching.progress().left(&name("bytes")), 40 - 8);
    assert_eq!(desk.matching.progress().left(&name("text")), 60 - 12);
    assert_eq!(desk.matching.progress().left(&name("phone")), 0);
    let record = desk.close(3);
    let report = verify_bytes(&record);
    assert!(report.verified, "{report:?}");
    assert_eq!(report.claims.summary(), Summary::Complete);
}

#[test]
fn a_shift_of_nobody_closes_as_complete() {
    let record = Desk::open(desk).close(0);
    assert!(verify_bytes(&record).verified);
}

/// On the wire a traveller, a family and nobody are chunks of the same lengths in the same order.
#[test]
fn small_flights_look_the_same_whoever_is_in_them() {
    let shapes = |bytes: &[u32], text: &[u32]| {
        let (desk, _) = Desk::open(desk).flight(bytes, text);
        let lengths = desk.frames[2..]
            .iter()
            .map(|frame| (frame.kind(), frame.bytes().len()));
        lengths.collect::<Vec<_>>()
    };
    let nobody = shapes(
        &[PADDING, PADDING + 1],
        &[PADDING, PADDING + 1, PADDING + 2],
    );
    assert_eq!(shapes(&[1, PADDING], &[7, 8, PADDING]), nobody);
    assert_eq!(shapes(&[1, 2], &[7, 8, 9]), nobody);
}

#[test]
fn flights_of_other_sizes_or_orders_are_refused_on_both_sides() {
    let refused = |desk: Desk, ty: &str, values: &[u32]| -> &'static str {
        let blinded = desk.blind(ty, 0, values);
        let own = match desk.matching.send(blinded) {
            Err(Error::Mismatch { field, .. }) => field,
            other => panic!("{:?}", other.map(|_| ())),
        };
        // A receiver that signs it all the same.
        let opening = [desk.frames[0].clone(), desk.frames[1].clone()];
        let mut transcript = refusals::transcript(&opening);
        for pair in desk.frames[2..].chunks(2) {
            let chunk = BlindedChunk::parse(&pair[0]).unwrap();
            let frame = transcript
                .sign_blinded(chunk.type_name, chunk.elements, &desk.world.receiver)
                .unwrap();
            assert_eq!(frame, pair[0]);
            let answer = EvaluatedChunk::parse(&pair[1]).unwrap();
            transcript
                .sign_evaluated(answer.elements, answer.proof, &desk.world.sender)
                .unwrap();
        }
        let point = [0x5a; 32];
        let elements = vec![point; values.len()];
        let frame = transcript
            .sign_blinded(name(ty), elements, &desk.world.receiver)
            .unwrap();
        match desk.serving.receive(&frame) {
            Err(Error::Mismatch { field, .. }) => assert_eq!(field, own),
            other => panic!("{:?}", other.map(|_| ())),
        }
        own
    };
    let size = "no flight of this shift has so many elements";
    let order = "a flight has one chunk of each type, types ascending";
    assert_eq!(refused(Desk::open(desk), "bytes", &[1]), size);
    assert_eq!(refused(Desk::open(desk), "bytes", &[1, 2, 3]), size);
    assert_eq!(refused(Desk::open(desk), "text", &[1, 2, 3]), order);
    // A small chunk of one type with a large one of another would say which type was asked.
    let half = |values: &[u32]| {
        let mut desk = Desk::open(desk);
        let blinded = desk.blind("bytes", 0, values);
        let (matching, question, _) = desk.matching.send(blinded).unwrap();
        let (serving, answer) = desk.world.serve(desk.serving, &question);
        desk.matching = matching.receive(&answer).unwrap().0;
        desk.serving = serving;
        desk.frames.extend([question, answer]);
        desk
    };
    assert_eq!(refused(half(&[1, 2]), "text", &[1, 2, 3, 4, 5, 6]), size);
    assert_eq!(refused(half(&[1, 2, 3, 4]), "text", &[1, 2, 3]), size);
    assert_eq!(refused(half(&[1, 2]), "bytes", &[1, 2]), order);
    // Half a flight is nothing that can be closed as complete.
    let open = half(&[1, 2]);
    assert!(!open.matching.progress().is_complete());
    let closing = open
        .matching
        .close(Finish::Complete { matches: 0 }, None, NOW);
    assert_eq!(closing.unwrap_err().code(), "usage");
}

#[test]
fn a_shift_ends_with_what_it_declared() {
    let short = |world: &World| shift(world, &[("bytes", 3, &[2]), ("text", 6, &[3])]);
    let (desk, _) = Desk::open(short).flight(&[1, 2], &[1, 2, 3]);
    let blinded = desk.blind("bytes", 2, &[3, 4]);
    match desk.matching.send(blinded) {
        Err(Error::Mismatch { field, .. }) => {
            assert_eq!(field, "more elements than the request declares");
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[test]
fn what_is_no_shift_is_refused() {
    let world = World::new();
    let refused = |change: fn(&mut Request)| {
        let mut request = desk(&world);
        change(&mut request);
        sign(&request, &world.receiver)
            .map(|_| ())
            .map_err(|e| e.code())
    };
    assert_eq!(refused(|_| {}), Ok(()));
    let sizes = |list: &[u64]| Some(list.iter().map(|n| int(*n)).collect::<Vec<Int>>());
    type Change = Box<dyn Fn(&mut Request)>;
    let set = |index: usize, list: &[u64]| -> Change {
        let list = sizes(list);
        Box::new(move |r| r.queries[index].flights = list.clone())
    };
    let changes: Vec<Change> = vec![
        Box::new(|r| r.legal.class = SessionClass::IndividualCase),
        Box::new(|r| r.queries.iter_mut().for_each(|q| q.flights = None)),
        Box::new(|r| r.queries[0].flights = None),
        Box::new(|r| r.set_commitment = Some(Hex([1; 32]))),
        set(0, &[]),
        set(0, &[2]),
        set(0, &[2, 4, 6]),
        set(0, &[4, 2]),
        set(0, &[2, 2]),
        set(0, &[0, 2]),
        set(0, &[2, 41]),
        set(1, &[3, 65_536]),
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut request = desk(&world);
        change(&mut request);
        assert!(sign(&request, &world.receiver).is_err(), "change {at}");
    }
    let mut many = desk(&world);
    for query in &mut many.queries {
        query.flights = Some((1..=9).map(int).collect());
    }
    assert!(sign(&many, &world.receiver).is_err());
    let with = |query: &Query, size| query.flight_size(size);
    let request = desk(&world);
    assert_eq!(with(&request.queries[0], 4), Some(1));
    assert_eq!(with(&request.queries[0], 3), None);
}

/// The sender must not learn that somebody was found, and cannot demand it.
#[test]
fn a_grant_of_a_shift_that_wants_the_count_or_is_too_small_is_refused() {
    let world = World::new();
    let refused = |change: fn(&mut Terms)| {
        let request = desk(&world);
        let mut terms = world.terms(&request, 8, 4);
        change(&mut terms);
        let asking = world.ask(request);
        let asked = world.asked(&asking);
        let key = Arc::clone(&world.sender);
        match asked.grant(kernel(), terms, Hex([9; 32]), NOW + 5, key) {
            Err(Error::Mismatch { field, .. }) => Some(field),
            other => other.map(|_| None).unwrap(),
        }
    };
    assert_eq!(refused(|_| {}), None);
    assert_eq!(
        refused(|t| t.discloses_count = true),
        Some("discloses_count")
    );
    assert_eq!(
        refused(|t| t.limits.chunk_elements = int(2)),
        Some("chunk_elements")
    );
}
