//! What a sender signs that it must not.

use tallystick_protocol::{frame::Kind, group, oprf::SecretKey, statements::Hex};
use tallystick_tests::{forge, running::Running};

use crate::sender::{Answering, Liar, Lies, Sender};

/// Another key than any that was granted.
fn another_key() -> SecretKey {
    SecretKey::from_seed(group::reference(), &[3; 32], b"another").unwrap()
}

async fn answered(answer: Answering) -> String {
    let liar = Liar::new().await;
    let lies = Lies {
        answer: Some(answer),
        ..Lies::default()
    };
    let (code, said) = liar.refused(lies).await;
    // Before the closing: the liar does not hear whether anything matched.
    assert_eq!(*said.last().unwrap(), Kind::BlindedChunk);
    code
}

/// Else the others would prove nothing: what the liar does besides lying is right.
#[tokio::test(flavor = "multi_thread")]
async fn a_liar_that_does_not_lie_is_believed() {
    let liar = Liar::new().await;
    let middle = liar.lying(Lies::default()).await;
    let line = liar.stage.line("asker", middle.address, "hits.csv");
    let running = Running::start(&liar.stage.place, &line);
    let report = tokio::task::spawn_blocking(|| running.report())
        .await
        .unwrap();
    liar.stage.matches_are_right("hits.csv");
    let record = format!(
        "asker/records/{}.tally",
        report["session"].as_str().unwrap()
    );
    let verdict = liar.stage.verify(&record);
    assert_eq!(verdict["records"][0]["status"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_point_that_is_not_canonical_is_refused() {
    let code = answered(|sender, blinded| {
        let mut honest = Sender::evaluate(sender.document_key(), blinded);
        honest.elements[3] = [0xff; 32];
        honest
    });
    assert_eq!(code.await, "bad-element");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_the_identity_is_refused() {
    let code = answered(|sender, blinded| {
        let mut honest = Sender::evaluate(sender.document_key(), blinded);
        honest.elements[3] = [0; 32];
        honest
    });
    assert_eq!(code.await, "bad-element");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_wrong_proof_is_refused() {
    let code = answered(|sender, blinded| {
        let mut honest = Sender::evaluate(sender.document_key(), blinded);
        honest.proof[3] ^= 1;
        honest
    });
    assert_eq!(code.await, "bad-proof");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_one_wrong_evaluation_is_refused() {
    let code = answered(|sender, blinded| {
        let mut honest = Sender::evaluate(sender.document_key(), blinded);
        honest.elements[3] = Sender::evaluate(&another_key(), blinded).elements[3];
        honest
    });
    assert_eq!(code.await, "bad-proof");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_proof_for_another_key_is_refused() {
    let code = answered(|_, blinded| Sender::evaluate(&another_key(), blinded));
    assert_eq!(code.await, "bad-proof");
}

/// A key of this session alone would make the receiver's elements recognisable, or its hits few: it
/// must be the snapshot's, which everybody has. Nothing leaves the receiver.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_swapped_in_the_grant_is_refused_before_a_chunk_leaves() {
    let liar = Liar::new().await;
    let lies = Lies {
        terms: Some(|terms| terms.keys[0].public_key = Hex(*another_key().public_bytes())),
        ..Lies::default()
    };
    let (code, said) = liar.refused(lies).await;
    assert_eq!(code, "mismatch");
    assert_eq!(said, [Kind::Request]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_with_two_members_of_one_name_is_refused() {
    let liar = Liar::new().await;
    let lies = Lies {
        grant: Some(|sender, grant| forge::doubled(&grant, "epoch", &sender.signing)),
        ..Lies::default()
    };
    let (code, said) = liar.refused(lies).await;
    assert_eq!(code, "malformed");
    assert_eq!(said, [Kind::Request]);
}

/// More charged than was asked; other evaluations than were sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_senders_closing_that_disagrees_ends_the_match() {
    let liar = Liar::new().await;
    let more = Lies {
        closing: Some(|closing| {
            let charge = &mut closing.charged[0];
            charge.elements = 64u32.into();
            charge.quota_before = 1_000_064u32.into();
            charge.quota_after = 1_000_000u32.into();
        }),
        ..Lies::default()
    };
    let other = Lies {
        closing: Some(|closing| closing.evaluations = Hex([1; 32])),
        ..Lies::default()
    };
    for lies in [more, other] {
        let (code, said) = liar.refused(lies).await;
        assert_eq!(code, "mismatch");
        assert_eq!(*said.last().unwrap(), Kind::ReceiverClosing);
    }
}
