//! What may not stand in a closing.

use super::*;
use crate::{
    error::Error,
    statements::{Charge, Int, Outcome, ReceiverClosing, SenderClosing, Statement, Status, sign},
};

/// A whole session up to its closings.
fn before_closing(discloses: bool) -> (World, Matching, Serving) {
    let world = World::new();
    let request = world.request(1, &[("bytes", 1), ("text", 2)]);
    let mut terms = world.terms(&request, 2, 2);
    terms.discloses_count = discloses;
    let (mut matching, mut serving, _) = world.granted_with(request, terms);
    for (ty, values) in [("bytes", vec![1]), ("text", vec![2, 3])] {
        let blinder = matching.blinder(&name(ty)).unwrap();
        let elements: Vec<_> = values.iter().map(|v| element(ty, *v)).collect();
        let (next, frame, sent) = matching.send(blinder.blind(0, elements).unwrap()).unwrap();
        let (served, answer) = world.serve(serving, &frame);
        let (next, answered) = next.receive(&answer).unwrap();
        sent.finalize(answered).unwrap();
        (matching, serving) = (next, served);
    }
    (world, matching, serving)
}

/// Signs a receiver's closing after `change`, and gives what the sender says to it.
fn changed_receiver_closing(
    discloses: bool,
    change: impl FnOnce(&mut ReceiverClosing),
) -> Result<(), Error> {
    let (world, matching, serving) = before_closing(discloses);
    let charged = charges(&serving);
    let closing = matching
        .close(Finish::Complete { matches: 1 }, None, NOW)
        .unwrap();
    let mut said: ReceiverClosing = open_as_named(closing.frame()).unwrap();
    change(&mut said);
    serving
        .close(sign(&said, &world.receiver).unwrap(), charged, NOW)
        .map(|_| ())
}

#[test]
fn a_receivers_closing_that_disagrees_is_refused() {
    let changed = |change: fn(&mut ReceiverClosing)| changed_receiver_closing(false, change);
    let mismatch = |field| {
        Err(Error::Mismatch {
            what: "receiver closing",
            field,
        })
    };
    assert_eq!(changed(|_| {}), Ok(()));
    assert_eq!(changed(|c| c.session = Hex([9; 16])), mismatch("session"));
    assert_eq!(changed(|c| c.request = Hex([9; 32])), mismatch("request"));
    assert_eq!(changed(|c| c.grant = Hex([9; 32])), mismatch("grant"));
    assert_eq!(changed(|c| c.nonce = Hex([9; 32])), mismatch("nonce"));
    assert_eq!(changed(|c| c.chunks = int(1)), mismatch("chunks"));
    assert_eq!(changed(|c| c.chunks = int(3)), mismatch("chunks"));
    assert_eq!(changed(|c| c.elements = int(2)), mismatch("elements"));
    assert_eq!(changed(|c| c.elements = int(4)), mismatch("elements"));
    assert_eq!(
        changed(|c| c.set_commitment = Hex([9; 32])),
        mismatch("set_commitment")
    );
    assert_eq!(
        changed(|c| c.evaluations = Hex([9; 32])),
        mismatch("evaluations")
    );
    assert_eq!(changed(|c| c.running = Hex([9; 32])), mismatch("running"));
    let shows = |c: &mut ReceiverClosing| c.outcome.as_mut().unwrap().matches = Some(int(1));
    assert_eq!(changed(shows), mismatch("outcome"));
    let hides = |c: &mut ReceiverClosing| c.outcome.as_mut().unwrap().matches = None;
    assert_eq!(changed_receiver_closing(true, hides), mismatch("outcome"));
    let too_many = |c: &mut ReceiverClosing| c.outcome.as_mut().unwrap().matches = Some(int(4));
    assert_eq!(
        changed_receiver_closing(true, too_many),
        mismatch("outcome")
    );
    // Of a commitment nobody can tell before it is opened; times only have to go forward.
    assert_eq!(
        changed(|c| c.outcome.as_mut().unwrap().commitment = Hex([9; 32])),
        Ok(())
    );
    assert_eq!(changed(|c| c.closed_ms = int(NOW + 1)), Ok(()));
    assert_eq!(
        changed(|c| c.closed_ms = int(NOW - 1)),
        mismatch("closed_ms")
    );
    assert_eq!(
        changed(|c| c.last_chunk_ms = Some(int(NOW - 1))),
        mismatch("chunk times")
    );
    assert_eq!(
        changed(|c| c.last_chunk_ms = Some(int(NOW + 1))),
        mismatch("chunk times")
    );
    // Who finds a wrong proof in the last chunk must be able to end it.
    let aborts = |c: &mut ReceiverClosing| {
        c.status = Status::Aborted;
        c.outcome = None;
    };
    assert_eq!(changed(aborts), Ok(()));
}

#[test]
fn a_closing_by_another_key_is_refused() {
    let (world, matching, serving) = before_closing(false);
    let charged = charges(&serving);
    let closing = matching
        .close(Finish::Complete { matches: 1 }, None, NOW)
        .unwrap();
    let mut said: ReceiverClosing = open_as_named(closing.frame()).unwrap();
    said.signing_key = world.sender.verify_key().into();
    let frame = sign(&said, &world.sender).unwrap();
    let refused = serving.close(frame, charged.clone(), NOW).unwrap_err();
    assert_eq!(
        refused,
        Error::Signature {
            what: "receiver closing"
        }
    );

    let (_, _, serving) = before_closing(false);
    let closed = serving
        .close(closing.frame().clone(), charged, NOW)
        .unwrap();
    let mut said: SenderClosing = open_as_named(&closed.sender).unwrap();
    said.signing_key = world.receiver.verify_key().into();
    let refused = closing
        .settle(sign(&said, &world.receiver).unwrap())
        .unwrap_err();
    assert_eq!(
        refused,
        Error::Signature {
            what: "sender closing"
        }
    );
}

#[test]
fn a_complete_closing_of_an_incomplete_session_is_refused() {
    let (world, matching, serving, _) = session(1, 3);
    let blinded = blind(&matching, 0, &[1, 2]);
    let (matching, frame, _) = matching.send(blinded).unwrap();
    let (serving, answer) = world.serve(serving, &frame);
    let (matching, _) = matching.receive(&answer).unwrap();
    let charged = charges(&serving);
    let closing = matching.close(Finish::Abort, None, NOW).unwrap();
    let mut said: ReceiverClosing = open_as_named(closing.frame()).unwrap();
    said.status = Status::Complete;
    said.outcome = Some(Outcome {
        commitment: Hex([0; 32]),
        matches: None,
    });
    let refused = serving
        .close(sign(&said, &world.receiver).unwrap(), charged, NOW)
        .unwrap_err();
    assert_eq!(
        refused,
        Error::Mismatch {
            what: "receiver closing",
            field: "status"
        }
    );

    let (_, matching, _, _) = session(1, 3);
    let refused = matching
        .close(Finish::Complete { matches: 0 }, None, NOW)
        .unwrap_err();
    assert_eq!(refused.code(), "usage");
}

#[test]
fn a_set_other_than_the_one_promised_is_refused() {
    let world = World::new();
    let mut request = world.request(1, &[("text", 1)]);
    request.set_commitment = Some(Hex([9; 32]));
    let (matching, serving, _) = world.granted(request, 2, 2);
    let blinded = blind(&matching, 0, &[1]);
    let (matching, frame, _) = matching.send(blinded).unwrap();
    let (serving, answer) = world.serve(serving, &frame);
    let charged = charges(&serving);
    let (matching, _) = matching.receive(&answer).unwrap();
    let closing = matching
        .close(Finish::Complete { matches: 0 }, None, NOW)
        .unwrap();
    let refused = serving
        .close(closing.frame().clone(), charged, NOW)
        .unwrap_err();
    let field = "set_commitment of the request";
    assert_eq!(
        refused,
        Error::Mismatch {
            what: "receiver closing",
            field
        }
    );
}

/// Signs a sender's closing after `change`, and gives what the receiver says to it.
fn changed_sender_closing(change: fn(&mut SenderClosing)) -> Result<(), Error> {
    let (world, matching, serving) = before_closing(false);
    let charged = charges(&serving);
    let closing = matching
        .close(Finish::Complete { matches: 1 }, None, NOW)
        .unwrap();
    let closed = serving
        .close(closing.frame().clone(), charged, NOW)
        .unwrap();
    let mut said: SenderClosing = open_as_named(&closed.sender).unwrap();
    change(&mut said);
    closing
        .settle(sign(&said, &world.sender).unwrap())
        .map(|_| ())
}

#[test]
fn a_senders_closing_that_disagrees_is_refused() {
    let changed = changed_sender_closing;
    let mismatch = |field| {
        Err(Error::Mismatch {
            what: "sender closing",
            field,
        })
    };
    assert_eq!(changed(|_| {}), Ok(()));
    assert_eq!(changed(|c| c.session = Hex([9; 16])), mismatch("session"));
    assert_eq!(changed(|c| c.request = Hex([9; 32])), mismatch("request"));
    assert_eq!(changed(|c| c.grant = Hex([9; 32])), mismatch("grant"));
    assert_eq!(changed(|c| c.nonce = Hex([9; 32])), mismatch("nonce"));
    assert_eq!(
        changed(|c| c.receiver_closing = Some(Hex([9; 32]))),
        mismatch("receiver_closing")
    );
    assert_eq!(changed(|c| c.status = Status::Aborted), mismatch("status"));
    assert_eq!(changed(|c| c.chunks = int(1)), mismatch("chunks"));
    assert_eq!(
        changed(|c| c.set_commitment = Hex([9; 32])),
        mismatch("set_commitment")
    );
    assert_eq!(
        changed(|c| c.evaluations = Hex([9; 32])),
        mismatch("evaluations")
    );
    assert_eq!(changed(|c| c.running = Hex([9; 32])), mismatch("running"));
    let charges: [fn(&mut Vec<Charge>); 8] = [
        |c| c.clear(),
        |c| drop(c.pop()),
        |c| c[0].elements = int(0),
        |c| c[0].elements = int(2),
        |c| c[1].type_name = name("zzz"),
        |c| c[0].quota_after = int(QUOTA + 1),
        |c| c[0].quota_after = c[0].quota_before,
        |c| c[0].quota_before = int(0),
    ];
    for change in charges {
        let (world, matching, serving) = before_closing(false);
        let charged = super::charges(&serving);
        let closing = matching
            .close(Finish::Complete { matches: 1 }, None, NOW)
            .unwrap();
        let closed = serving
            .close(closing.frame().clone(), charged, NOW)
            .unwrap();
        let mut said: SenderClosing = open_as_named(&closed.sender).unwrap();
        change(&mut said.charged);
        let refused = closing
            .settle(sign(&said, &world.sender).unwrap())
            .unwrap_err();
        assert_eq!(
            refused,
            Error::Mismatch {
                what: "sender closing",
                field: "charged"
            }
        );
    }
}

#[test]
fn a_sender_does_not_close_with_charges_that_disagree() {
    let (_, matching, serving) = before_closing(false);
    let closing = matching
        .close(Finish::Complete { matches: 1 }, None, NOW)
        .unwrap();
    let refused = serving
        .close(closing.frame().clone(), Vec::new(), NOW)
        .unwrap_err();
    assert_eq!(refused.code(), "bug");
}

#[test]
fn statements_that_contradict_themselves_are_not_signed() {
    let (world, matching, serving) = before_closing(false);
    let charged = charges(&serving);
    let closing = matching
        .close(Finish::Complete { matches: 1 }, None, NOW)
        .unwrap();
    let said: ReceiverClosing = open_as_named(closing.frame()).unwrap();
    let mut without = said.clone();
    without.outcome = None;
    let mut aborted = said;
    aborted.status = Status::Aborted;
    for bad in [without, aborted] {
        assert_eq!(sign(&bad, &world.receiver).unwrap_err().code(), "usage");
    }
    let closed = serving
        .close(closing.frame().clone(), charged, NOW)
        .unwrap();
    let mut unasked: SenderClosing = open_as_named(&closed.sender).unwrap();
    unasked.receiver_closing = None;
    assert!(unasked.check().is_err());
    assert!(Int::new(1 << 53).is_err());
}
