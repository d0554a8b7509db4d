//! Answers of peers that work.

use std::time::Duration;

use tallystick_client::desk::{Conclusion, DeskOptions, LinkState, OnAlarm, Told};

use super::{Post, asks_well, family, hits, only, traveller};

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_answers_many_travellers_in_one_session() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let desk = post.open(post.options(serving.address)).await;
    for n in 0..20 {
        asks_well(&desk, n * 7).await;
    }
    // By the name alone, and by the number alone.
    let name = traveller("P1", &family(5));
    assert_eq!(
        hits(&desk.answers(&name).await[0]),
        [("person".to_owned(), "C-5".to_owned())]
    );
    let number = traveller("W6", "Berg");
    assert_eq!(
        hits(&desk.answers(&number).await[0]),
        [("document".to_owned(), "C-6".to_owned())]
    );
    let status = desk.status();
    assert!(status.ready);
    let collection = &status.collections[0];
    assert_eq!(collection.state, LinkState::Ready);
    assert_eq!(
        (collection.asked, collection.answered, collection.missing),
        (42, 42, 0)
    );
    assert_eq!(collection.flights_left, 4096 - 42);
    let report = desk.close().await.unwrap();
    let link = only(&report);
    assert_eq!((link.asked, link.answered, link.missing), (42, 42, 0));
    let [session] = &link.sessions[..] else {
        panic!("{report:?}");
    };
    // One small flight each: 8 elements of either type.
    let charged: Vec<u64> = session.charged.iter().map(|c| c.elements.get()).collect();
    assert_eq!(charged, [42 * 8, 42 * 8]);
    post.all_is_well(&report);
    // The count is nobody's business: a commitment stands in the closing.
    let shown = post.place.json(&format!(
        "tally audit show asker/records/{}.tally",
        session.session
    ));
    assert_eq!(shown["request"]["legal"]["class"], "border-desk", "{shown}");
    assert!(!shown.to_string().contains("\"matches\":"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_goes_in_large_flights_and_comes_back_in_order() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let desk = post.open(post.options(serving.address)).await;
    assert!(desk.ready(Duration::from_secs(20)).await);
    let all: Vec<_> = (0..1200)
        .map(|n| match n % 10 {
            3 => traveller(&format!("W{n}"), "Berg"),
            _ => traveller(&format!("P{n}"), "Berg"),
        })
        .collect();
    let answers = desk.answers_all(&all).await;
    assert_eq!(answers.len(), all.len());
    for (n, answer) in answers.iter().enumerate() {
        let want = match n % 10 == 3 && n < 1100 {
            true => vec![("document".to_owned(), format!("C-{n}"))],
            false => vec![],
        };
        assert_eq!(hits(&answer[0]), want, "{n}");
    }
    let report = desk.close().await.unwrap();
    let charged = only(&report).sessions[0].charged[0].elements.get();
    assert!((1200..3000).contains(&charged), "{charged}");
    post.all_is_well(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_collections_of_several_peers_are_asked_at_once() {
    let post = Post::new();
    post.place.init("other");
    post.place.introduce("other", "asker");
    post.place.introduce("asker", "other");
    post.place
        .trust("trust.json", &["holder", "asker", "other"]);
    post.place
        .write("stolen.csv", "number,state\nW3,UTO\nS1,UTO\n");
    post.place.does(
        "tallyd collection publish stolen --home other --input stolen.csv --key document=number,state",
    );
    let serving = post.place.serve("holder");
    let second = post.place.serve("other");
    let mut options = post.options(serving.address);
    options.asks.push(tallystick_client::desk::Ask {
        peer: "other".to_owned(),
        collection: "stolen".parse().unwrap(),
        address: Some(second.address.to_string()),
    });
    let desk = post.open(options).await;
    let answers = desk.answers(&traveller("W3", "Berg")).await;
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].facts.peer, "holder");
    assert_eq!(
        hits(&answers[0]),
        [("document".to_owned(), "C-3".to_owned())]
    );
    assert_eq!(answers[1].facts.collection.as_str(), "stolen");
    assert_eq!(hits(&answers[1]), [("document".to_owned(), String::new())]);
    // Nothing that the second list could hold is known of this one.
    let nameless = tallystick_client::desk::Presented::from_line(
        r#"{"surname":"ErikssonAAE","given_names":"Anna","birth_date":"1974-08-12"}"#,
    );
    let answers = desk.answers(&nameless.unwrap()).await;
    assert_eq!(hits(&answers[0]), [("person".to_owned(), "C-4".to_owned())]);
    assert!(matches!(
        answers[1].told,
        Told::NotAsked { why: Told::NO_KEYS }
    ));
    let report = desk.close().await.unwrap();
    assert_eq!(report.collections.len(), 2);
    for (link, peer) in report.collections.iter().zip(["holder", "other"]) {
        assert_eq!(link.sessions.len(), 1);
        let session = &link.sessions[0].session;
        let copies = ["asker", peer].map(|home| format!("{home}/records/{session}.tally"));
        let line = format!("tally audit verify {} --trust trust.json", copies.join(" "));
        let verdict = post.place.json(&line);
        assert_eq!(
            (&verdict["verified"], &verdict["agree"]),
            (&true.into(), &true.into())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_for_each_traveller_if_that_is_asked_for() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let options = DeskOptions {
        record_each: true,
        ..post.options(serving.address)
    };
    let desk = post.open(options).await;
    for n in 0..3 {
        asks_well(&desk, n).await;
    }
    let report = desk.close().await.unwrap();
    let asked = |session: &&tallystick_client::desk::SessionReport| {
        session
            .charged
            .iter()
            .any(|charge| charge.elements.get() > 0)
    };
    let sessions = &only(&report).sessions;
    assert_eq!(sessions.iter().filter(asked).count(), 6, "{report:?}");
    for session in sessions.iter().filter(asked) {
        let charged: Vec<u64> = session.charged.iter().map(|c| c.elements.get()).collect();
        assert_eq!(charged, [8, 8]);
    }
    post.all_is_well(&report);
}

/// Numbers that look like a search do not leave: the sender is charged for nothing, the answers are missing
/// by name. With `Warn` they leave, and the verdict says the alarm.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_for_numbers_is_held_before_it_leaves() {
    let post = Post::new();
    let running = post.place.serve("holder");
    for on_alarm in [OnAlarm::Hold, OnAlarm::Warn] {
        let options = post.options(running.address);
        let desk = post
            .open(DeskOptions {
                on_alarm,
                ..options
            })
            .await;
        let mut held = 0;
        let mut warned = 0;
        for number in 0..20 {
            let verdict = desk
                .ask(&traveller(&format!("Q{:05}", 100 + number), "Berg"))
                .await;
            let codes: Vec<&str> = verdict.missing.iter().map(|m| m.code.as_str()).collect();
            match codes[..] {
                [] => {}
                ["dense-numbers"] => {
                    assert_eq!(verdict.conclusion, Conclusion::Incomplete);
                    held += 1;
                }
                _ => panic!("{codes:?}"),
            }
            let said = verdict
                .reasons
                .iter()
                .any(|r| r.text.starts_with("Alarm: "));
            warned += u64::from(said);
        }
        let alarms = desk.status().alarms;
        assert!(alarms >= 12, "{alarms}");
        let report = desk.close().await.unwrap();
        let link = only(&report);
        match on_alarm {
            OnAlarm::Hold => assert_eq!((held, warned), (alarms, 0)),
            OnAlarm::Warn => assert_eq!((held, warned), (0, alarms)),
        }
        assert_eq!(report.alarms, alarms);
        // What was held was charged to nobody: one small flight for each question that left.
        let asked = 20 - held;
        let charged = &link.sessions[0].charged;
        let documents = charged.iter().find(|c| c.type_name.as_str() == "document");
        assert_eq!(documents.unwrap().elements.get(), asked * 8);
        post.all_is_well(&report);
    }
}
