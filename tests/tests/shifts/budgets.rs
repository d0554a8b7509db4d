//! Budgets of single types, over the wire.

use tallystick_tests::desk::padding;

use crate::{FLIGHT, Scene};

fn flight() -> Vec<Vec<tallystick_protocol::identifiers::Element>> {
    vec![padding(FLIGHT as usize), padding(FLIGHT as usize)]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_one_type_does_not_touch_anothers() {
    let scene = Scene::new(&[], "--peer-budget 1000 --budget text=40");
    assert_eq!(scene.left().await, [1000, 40]);
    // More than is left of one type is refused before anything is asked.
    assert_eq!(scene.try_begin(9, 41).await.unwrap_err(), "quota-exceeded");
    let mut shift = scene.try_begin(1, 40).await.unwrap();
    shift.flight(flight()).await.unwrap();
    assert_eq!(scene.left().await, [1000 - FLIGHT, 40 - FLIGHT]);
    // Cut while the shift is under way: of one type only, and only that is refused.
    let publish = "tallyd collection publish desk --home holder --input desk.csv \
                   --key document=number,state --key text=case --budget text=20";
    let done = scene.place.json(publish);
    assert_eq!(
        done["budgets"],
        serde_json::json!({"document": 1000, "text": 20})
    );
    shift.flight(flight()).await.unwrap();
    let sent = shift.send(flight()).await;
    let [(document, _), (text, _)] = <[_; 2]>::try_from(sent).unwrap();
    shift.answer(document).await.unwrap();
    let status = shift.answer(text).await.unwrap_err();
    assert!(status.message().starts_with("quota-exceeded: "), "{status}");
    assert_eq!(scene.left().await, [1000 - 3 * FLIGHT, 20 - 2 * FLIGHT]);
    let shown = scene.verified(1);
    assert_eq!(shown["records"][0]["status"], "aborted");
    let record = Scene::record(1, "tally");
    let shown = scene.place.json(&format!("tally audit show {record}"));
    let charged = &shown["sender_closing"]["charged"];
    assert_eq!(charged[0]["elements"], 3 * FLIGHT);
    assert_eq!(charged[1]["elements"], 2 * FLIGHT);
    assert_eq!(charged[1]["quota_after"], 20 - 2 * FLIGHT);
}

/// Eight desks at once, each granted as much as there is: together they get no more.
#[tokio::test(flavor = "multi_thread")]
async fn desks_at_once_share_one_budget() {
    let scene = Scene::new(&[], "--peer-budget 100000 --budget text=200");
    let mut shifts = Vec::new();
    for session in 1..=8 {
        shifts.push(scene.try_begin(session, 200).await.unwrap());
    }
    let mut tasks = tokio::task::JoinSet::new();
    for mut shift in shifts {
        tasks.spawn(async move {
            let mut answered = 0;
            loop {
                match shift.flight(flight()).await {
                    Ok(_) => answered += FLIGHT,
                    Err(status) => {
                        let message = status.message();
                        assert!(message.starts_with("quota-exceeded: "), "{message}");
                        return answered;
                    }
                }
            }
        });
    }
    let answered: u64 = tasks.join_all().await.into_iter().sum();
    assert_eq!(answered, 200);
    let left = scene.left().await;
    assert_eq!(left[1], 0);
    // Each began one more flight, of which the first type was charged.
    assert_eq!(left[0], 100_000 - 200 - 8 * FLIGHT);
    for session in 1..=8 {
        scene.verified(session);
    }
}
