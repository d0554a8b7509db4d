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
    let bind = async |b: ChunkBinding<'_>, budget| store.bind_chunk(&b, budget, 2).await.unwrap();

    let got = bind(binding(&id, 0, 60, &one), 1000).await;
    assert_eq!(got, Bound::New { charged_total: 60 });
    // Again: not charged, no answer yet. Other bytes, type or count: refused.
    let got = bind(binding(&id, 0, 60, &one), 0).await;
    assert_eq!(got, Bound::SameAgain { answer: None });
    assert_eq!(bind(binding(&id, 0, 60, &two), 1000).await, Bound::Conflict);
    assert_eq!(bind(binding(&id, 0, 61, &one), 1000).await, Bound::Conflict);
    let over = Bound::OverSessionGrant {
        granted: 100,
        used: 60,
    };
    assert_eq!(bind(binding(&id, 1, 41, &two), 1000).await, over);
    let other_type = ChunkBinding {
        element_type: "text",
        ..binding(&id, 1, 1, &two)
    };
    let none = Bound::OverSessionGrant {
        granted: 0,
        used: 0,
    };
    assert_eq!(bind(other_type, 1000).await, none);
    let got = bind(binding(&id, 1, 40, &two), 99).await;
    assert_eq!(got, Bound::OverBudget { charged: 60 });
    let got = bind(binding(&id, 1, 40, &two), 100).await;
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
    store.chunk_answered(&id, 0, answer).await.unwrap();
    store.chunk_answered(&id, 0, answer).await.unwrap();
    let elsewhere = Answer { offset: 1, len: 7 };
    assert_eq!(
        store
            .chunk_answered(&id, 0, elsewhere)
            .await
            .unwrap_err()
            .code(),
        "bug"
    );
    assert_eq!(
        store
            .chunk_answered(&id, 9, answer)
            .await
            .unwrap_err()
            .code(),
        "bug"
    );

    // All of it survives a restart. A question is kept until its answer is on disk.
    store.close().await;
    let store = open(&place.file).await;
    let got = store.bind_chunk(&binding(&id, 0, 60, &one), 0, 6).await;
    let again = Bound::SameAgain {
        answer: Some(answer),
    };
    assert_eq!(got.unwrap(), again);
    let chunks = store.chunks(&id).await.unwrap();
    let of = |i: usize| (chunks[i].index, chunks[i].digest, chunks[i].answer);
    assert_eq!(chunks.len(), 2);
    assert_eq!((of(0), of(1)), ((0, one, Some(answer)), (1, two, None)));
    assert_eq!(chunks[0].question, None);
    assert_eq!(chunks[1].question.as_deref(), Some(&b"question"[..]));

    // The end of the session forgets its chunks; an abort refunds nothing.
    store
        .close_session(&id, SessionStatus::Aborted, None, 5)
        .await
        .unwrap();
    assert!(store.chunks(&id).await.unwrap().is_empty());
    for index in [0, 2] {
        let late = binding(&id, index, 1, &one);
        let got = store.bind_chunk(&late, NO_BUDGET, 6).await.unwrap();
        assert_eq!(got, Bound::NotOpen);
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
        tasks.spawn(async move {
            store
                .bind_chunk(&binding(&[1; 16], 0, 10, &digest), NO_BUDGET, 1)
                .await
                .unwrap()
        });
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

    // Sixty chunks of 7 over three sessions against a budget of 10 + 20 * 7 + 3.
    let budget = 153;
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..60u32 {
        let store = stores[(i % 2) as usize].clone();
        tasks.spawn(async move {
            let session = [(i % 3 + 2) as u8; 16];
            store
                .bind_chunk(&binding(&session, i, 7, &[1; 32]), budget, 1)
                .await
                .unwrap()
        });
    }
    let got = tasks.join_all().await;
    let bound = got
        .iter()
        .filter(|b| matches!(b, Bound::New { .. }))
        .count();
    assert_eq!(bound, 20);
    for other in got.iter().filter(|b| !matches!(b, Bound::New { .. })) {
        assert_eq!(*other, Bound::OverBudget { charged: 150 });
    }
    assert_eq!(
        stores[0].charged("p", "c", 3, "document").await.unwrap(),
        150
    );
}
