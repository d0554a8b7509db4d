#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use tallystick_agency::{
    collections::{Meta, TableSource, profile_reference},
    store::{Collection, Grant, NewSession, SessionLimits, SqliteStore},
};
use tallystick_protocol::{frame::Kind, group, identifiers::Profile};

use super::*;

const BUDGET: u64 = 10_000;

struct Scene {
    _dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    committer: Committer,
}

impl Scene {
    /// A store with a collection in epoch 1, and `sessions` open sessions.
    async fn new(sessions: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::create(&dir.path().join("state.db")).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let meta = Meta {
            types: vec!["document".parse().unwrap()],
            profile: profile_reference(Profile::exact()).unwrap(),
            rules: BTreeMap::new(),
            label_columns: Vec::new(),
            elements: 16,
            tag_bytes: 8,
            rows: 1,
            max_session_elements: 1000,
            peer_budget: BUDGET,
            type_budgets: BTreeMap::new(),
            kind: None,
            covers: None,
            epoch_started_ms: None,
            allow: None,
            source: TableSource {
                input: "t.csv".into(),
                keys: Vec::new(),
                mapping: None,
                label: Vec::new(),
                profile: None,
                format: Default::default(),
            },
        };
        let collection = Collection {
            name: "c".to_owned(),
            epoch: 1,
            meta: meta.to_text().unwrap(),
            snapshot_digest: Some([1; 32]),
            published_ms: Some(1),
            removed: false,
        };
        store.upsert_collection(&collection).await.unwrap();
        let limits = SessionLimits {
            max_total: 1000,
            max_per_peer: 1000,
            active_since_ms: 0,
        };
        for id in 0..sessions {
            let new = NewSession {
                session: [id; 16],
                peer: "p".to_owned(),
                collection: "c".to_owned(),
                epoch: 1,
                request_digest: [id; 32],
                expires_ms: i64::MAX,
                grants: vec![Grant {
                    element_type: "document".to_owned(),
                    granted: BUDGET,
                    used: 0,
                }],
                record_path: String::new(),
                shift: false,
            };
            store.admit_session(&new, &limits, 1).await.unwrap();
        }
        let metrics = Arc::new(Metrics::new(group::best()));
        let committer = Committer::start(Arc::clone(&store), Arc::clone(&metrics));
        Self {
            _dir: dir,
            store,
            metrics,
            committer,
        }
    }

    /// How many transactions there were, and how many chunks were in them.
    fn groups(&self) -> (u64, u64) {
        let text = self.metrics.render().unwrap();
        let of = |what: &str| {
            let series = format!("tallyd_commit_group_chunks_{what} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&series));
            line.unwrap().parse::<f64>().unwrap() as u64
        };
        (of("count"), of("sum"))
    }
}

fn chunk(session: u8, index: u32, elements: u32) -> Binding {
    let frame = Frame::new(Kind::BlindedChunk, &vec![session; 32 * elements as usize]).unwrap();
    Binding {
        session: Hex([session; 16]),
        peer: "p".to_owned(),
        collection: "c".parse().unwrap(),
        epoch: 1,
        index,
        type_name: "document".parse().unwrap(),
        elements,
        digest: frame.digest(),
        frame: Arc::new(frame),
        fresh: [3; 32],
        urgent: false,
    }
}

async fn total(outcome: Outcome) -> u64 {
    match outcome.await.unwrap().unwrap() {
        Bound::New { charged_total } => charged_total,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn many_sessions_share_one_commit() {
    let scene = Scene::new(100).await;
    // The writer has no turn before somebody waits.
    let handed: Vec<Outcome> = (0..100)
        .map(|id| scene.committer.bind(chunk(id, 0, 1)))
        .collect();
    for (at, outcome) in (1..).zip(handed) {
        assert_eq!(total(outcome).await, at, "in the order in which they came");
    }
    assert_eq!(scene.groups(), (1, 100));
    assert_eq!(
        scene.store.charged("p", "c", 1, "document").await.unwrap(),
        100
    );
    // One alone waits for nobody.
    assert_eq!(total(scene.committer.bind(chunk(0, 1, 1))).await, 101);
    assert_eq!(scene.groups(), (2, 101));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_budget_holds_however_many_bind_at_once() {
    let scene = Arc::new(Scene::new(40).await);
    let mut tasks = tokio::task::JoinSet::new();
    for id in 0..40 {
        let scene = Arc::clone(&scene);
        tasks.spawn(async move {
            let handed: Vec<Outcome> = (0..10)
                .map(|index| scene.committer.bind(chunk(id, index, 30)))
                .collect();
            let mut bound = 0;
            for outcome in handed {
                match outcome.await.unwrap().unwrap() {
                    Bound::New { .. } => bound += 1,
                    Bound::OverBudget { charged } => assert!(charged + 30 > BUDGET),
                    other => assert_eq!(other, Bound::OutOfOrder),
                }
            }
            bound
        });
    }
    let bound: u64 = tasks.join_all().await.into_iter().sum();
    assert_eq!(bound, BUDGET / 30);
    let charged = scene.store.charged("p", "c", 1, "document").await.unwrap();
    assert_eq!(charged, bound * 30);
}

#[tokio::test]
async fn who_stands_at_a_desk_goes_first_and_a_group_has_a_size() {
    let scene = Scene::new(3).await;
    let long = |index| scene.committer.bind(chunk(0, index, 30_000));
    let handed = [long(0), long(1), long(2)];
    let desk = Binding {
        urgent: true,
        ..chunk(1, 0, 1)
    };
    let desk = scene.committer.bind(desk);
    assert_eq!(total(desk).await, 1);
    // 30,000 are more than is left of the grant; each has its answer all the same.
    for outcome in handed {
        let bound = outcome.await.unwrap().unwrap();
        let refused = matches!(bound, Bound::OverSessionGrant { .. } | Bound::OutOfOrder);
        assert!(refused, "{bound:?}");
    }
    // 2 MiB: the first two with what is urgent, then the third.
    assert_eq!(scene.groups(), (2, 4));
}

#[tokio::test]
async fn what_nobody_waits_for_is_bound_and_seen_by_who_comes_next() {
    let scene = Scene::new(1).await;
    drop(scene.committer.bind(chunk(0, 0, 8)));
    scene.committer.settled().await.unwrap();
    let chunks = scene.store.chunks(&[0; 16]).await.unwrap();
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0].fresh, Some([3; 32]));
}

#[tokio::test]
async fn an_epoch_that_is_over_and_a_store_that_fails_are_told_to_each() {
    let scene = Scene::new(2).await;
    let old = Binding {
        epoch: 2,
        ..chunk(0, 0, 8)
    };
    let other_peer = Binding {
        collection: "d".parse().unwrap(),
        ..chunk(0, 0, 8)
    };
    for over in [old, other_peer] {
        let behind = scene.committer.bind(over);
        let next = scene.committer.bind(chunk(0, 1, 8));
        assert_eq!(behind.await.unwrap().unwrap_err().code(), "epoch-over");
        assert_eq!(next.await.unwrap().unwrap(), Bound::OutOfOrder);
    }
    scene.store.close().await;
    let handed = [0, 1].map(|id| scene.committer.bind(chunk(id, 0, 8)));
    for outcome in handed {
        assert_eq!(outcome.await.unwrap().unwrap_err().code(), "store");
    }
    assert_eq!(scene.groups().1, 2);
}
