//! Binding and charging, also by two stores at once.

use super::*;

#[tokio::test]
async fn chunks_are_bound_once_and_charged_once() {
    let place = place();
    let store = open(&place.file).await;
    let mut new = request(1, "p");
    new.grants[0].granted = 100;
    store.admit_session(&new, &WIDE, 1).await.unwrap();
    let (id, one, two) = ([1; 16], [1; 32], [2; 32]);
    let got = bind(&*store, binding(&id, 0, 60, &one)).await;
    assert_eq!(got, Bound::New { charged_total: 60 });
    // Again: not charged, no answer yet. Other bytes, type or count: refused.
    let again = ChunkBinding {
        budget: 0,
        fresh: &[9; 32],
        ..binding(&id, 0, 60, &one)
    };
    let same = Bound::SameAgain {
        answer: None,
        fresh: Some(FRESH),
    };
    assert_eq!(
        bind(&*store, again).await,
        same,
        "with what it was bound first"
    );
    let conflict = binding(&id, 0, 60, &two);
    assert_eq!(bind(&*store, conflict).await, Bound::Conflict);
    let conflict = binding(&id, 0, 61, &one);
    assert_eq!(bind(&*store, conflict).await, Bound::Conflict);
    let over = Bound::OverSessionGrant {
        granted: 100,
        used: 60,
    };
    assert_eq!(bind(&*store, binding(&id, 1, 41, &two)).await, over);
    let other_type = ChunkBinding {
        element_type: "text",
        ..binding(&id, 1, 1, &two)
    };
    let none = Bound::OverSessionGrant {
        granted: 0,
        used: 0,
    };
    assert_eq!(bind(&*store, other_type).await, none);
    let ahead = binding(&id, 2, 1, &two);
    assert_eq!(bind(&*store, ahead).await, Bound::OutOfOrder);
    let at = |budget| ChunkBinding {
        budget,
        ..binding(&id, 1, 40, &two)
    };
    let over = Bound::OverBudget { charged: 60 };
    assert_eq!(bind(&*store, at(99)).await, over);
    let got = bind(&*store, at(100)).await;
    assert_eq!(got, Bound::New { charged_total: 100 });
    assert_eq!(store.charged("p", "c", 3, "document").await.unwrap(), 100);
    for (peer, collection, epoch, kind) in [
        ("q", "c", 3, "document"),
        ("p", "d", 3, "document"),
        ("p", "c", 4, "document"),
        ("p", "c", 3, "text"),
    ] {
        assert_eq!(
            store.charged(peer, collection, epoch, kind).await.unwrap(),
            0
        );
    }

    let answer = Answer {
        offset: 1 << 40,
        len: 7,
    };
    store.chunks_answered(&id, &[(0, answer)]).await.unwrap();
    store.chunks_answered(&id, &[(0, answer)]).await.unwrap();
    let elsewhere = Answer { offset: 1, len: 7 };
    for wrong in [(0, elsewhere), (9, answer)] {
        // With one that is right: none of them is noted.
        let error = store.chunks_answered(&id, &[(1, answer), wrong]).await;
        assert_eq!(error.unwrap_err().code(), "bug");
        assert_eq!(store.chunks(&id).await.unwrap()[1].answer, None);
    }

    // All of it survives a restart. A question is kept until its answer is on disk.
    store.close().await;
    let store = open(&place.file).await;
    let again = Bound::SameAgain {
        answer: Some(answer),
        fresh: None,
    };
    assert_eq!(bind(&*store, binding(&id, 0, 60, &one)).await, again);
    let chunks = store.chunks(&id).await.unwrap();
    let of = |i: usize| (chunks[i].index, chunks[i].digest, chunks[i].answer);
    assert_eq!(chunks.len(), 2);
    assert_eq!((of(0), of(1)), ((0, one, Some(answer)), (1, two, None)));
    assert_eq!(chunks[0].question, None);
    assert_eq!(chunks[1].question.as_deref(), Some(&b"question"[..]));
    assert_eq!((chunks[0].fresh, chunks[1].fresh), (None, Some(FRESH)));

    // The end of the session forgets its chunks; an abort refunds nothing.
    store
        .close_session(&id, SessionStatus::Aborted, None, 5)
        .await
        .unwrap();
    assert!(store.chunks(&id).await.unwrap().is_empty());
    for index in [0, 2] {
        let late = binding(&id, index, 1, &one);
        assert_eq!(bind(&*store, late).await, Bound::NotOpen);
    }
    assert_eq!(store.charged("p", "c", 3, "document").await.unwrap(), 100);
}

/// Two stores on one file stand for two processes: they share no lock but the file's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_fifty_binds_and_the_budget_holds() {
    let place = place();
    let stores = [open(&place.file).await, open(&place.file).await];
    for id in 1..=4 {
        stores[0]
            .admit_session(&request(id, "p"), &WIDE, 1)
            .await
            .unwrap();
    }
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..50u8 {
        let store = stores[usize::from(i % 2)].clone();
        // Two different chunks fight for one index.
        let digest = [i % 4; 32];
        tasks.spawn(async move { bind(&*store, binding(&[1; 16], 0, 10, &digest)).await });
    }
    let got = tasks.join_all().await;
    let count = |f: fn(&Bound) -> bool| got.iter().filter(|b| f(b)).count();
    assert_eq!(count(|b| matches!(b, Bound::New { .. })), 1);
    let same = count(|b| matches!(b, Bound::SameAgain { .. }));
    let conflicts = count(|b| matches!(b, Bound::Conflict));
    assert!((11..=12).contains(&same), "{same}");
    assert_eq!(1 + same + conflicts, 50);
    assert_eq!(
        stores[1].charged("p", "c", 3, "document").await.unwrap(),
        10
    );

    // Sixty chunks of 7 of three sessions at once against a budget of 10 + 20 * 7 + 3.
    let budget = 153;
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..3u32 {
        let store = stores[(i % 2) as usize].clone();
        tasks.spawn(async move {
            // Twenty chunks of each, some in one transaction with others of their session.
            let session = [(i % 3 + 2) as u8; 16];
            let mut got = Vec::new();
            for many in [0..1, 1..2, 2..7, 7..20] {
                let of = |index| ChunkBinding {
                    budget,
                    ..binding(&session, index, 7, &[1; 32])
                };
                let chunks: Vec<_> = many.map(of).collect();
                let bound = store.bind_chunks(&chunks, 1).await.unwrap();
                got.extend(bound.into_iter().map(Result::unwrap));
            }
            got
        });
    }
    let got = tasks.join_all().await.concat();
    assert_eq!(got.len(), 60);
    let bound = got
        .iter()
        .filter(|b| matches!(b, Bound::New { .. }))
        .count();
    assert_eq!(bound, 20);
    for other in got.iter().filter(|b| !matches!(b, Bound::New { .. })) {
        let over = *other == Bound::OverBudget { charged: 150 };
        assert!(over || *other == Bound::OutOfOrder, "{other:?}");
    }
    assert_eq!(
        stores[0].charged("p", "c", 3, "document").await.unwrap(),
        150
    );
}

/// What a chunk of a group is charged counts for those behind it; what is refused leaves nothing, and
/// takes no other with it.
#[tokio::test]
async fn a_group_is_bound_in_order_and_each_has_its_own_outcome() {
    let place = place();
    let store = open(&place.file).await;
    for (id, granted) in [(1, 100), (2, 1000)] {
        let mut new = request(id, "p");
        new.grants[0].granted = granted;
        new.grants.push(Grant {
            element_type: "text".to_owned(),
            granted: 1000,
            used: 0,
        });
        store.admit_session(&new, &WIDE, 1).await.unwrap();
    }
    let (one, two, none, digest) = ([1; 16], [2; 16], [3; 16], [7; 32]);
    let of = |session, index, elements, budget| ChunkBinding {
        budget,
        ..binding(session, index, elements, &digest)
    };
    let text = |session, index, budget| ChunkBinding {
        element_type: "text",
        ..of(session, index, 50, budget)
    };
    let group = [
        of(&one, 0, 60, 500),
        of(&two, 0, 300, 500),
        of(&none, 0, 1, 500),
        of(&one, 1, 41, 500),
        of(&one, 1, 40, 500),
        of(&two, 1, 101, 500),
        // Behind one that was refused, of the same session and of another.
        of(&two, 2, 1, 500),
        text(&one, 2, 60),
        text(&two, 1, 60),
        of(&one, 0, 60, 0),
    ];
    let bound = store.bind_chunks(&group, 9).await.unwrap();
    let bound: Vec<Bound> = bound.into_iter().map(Result::unwrap).collect();
    let new = |charged_total| Bound::New { charged_total };
    let want = [
        new(60),
        new(360),
        Bound::NotOpen,
        Bound::OverSessionGrant {
            granted: 100,
            used: 60,
        },
        new(400),
        Bound::OverBudget { charged: 400 },
        Bound::OutOfOrder,
        // The budget of one type is not that of another.
        new(50),
        Bound::OverBudget { charged: 50 },
        Bound::SameAgain {
            answer: None,
            fresh: Some(FRESH),
        },
    ];
    assert_eq!(bound, want);
    store.close().await;

    let store = open(&place.file).await;
    for (ty, charged) in [("document", 400), ("text", 50)] {
        assert_eq!(store.charged("p", "c", 3, ty).await.unwrap(), charged);
    }
    let lengths = [one, two].map(|id| (id, store.clone()));
    for ((id, store), (want, used)) in lengths.into_iter().zip([(3, 150), (1, 300)]) {
        assert_eq!(store.chunks(&id).await.unwrap().len(), want);
        let session = store.session(&id).await.unwrap().unwrap();
        let sum: u64 = session.grants.iter().map(|grant| grant.used).sum();
        assert_eq!((sum, session.active_ms), (used, 9));
    }
}
