mod chunks;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;

struct Place {
    _dir: tempfile::TempDir,
    file: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.db");
    Place { _dir: dir, file }
}

/// Opens a store, or makes it the first time.
async fn open(file: &Path) -> Arc<dyn Store> {
    let store = match file.exists() {
        true => SqliteStore::open(file).await,
        false => SqliteStore::create(file).await,
    };
    Arc::new(store.unwrap())
}

fn peer(name: &str, pin: u8) -> Peer {
    Peer {
        name: name.to_owned(),
        manifest: b"manifest".to_vec(),
        signing_key: [7; 32],
        tls_pins: vec![[pin; 32], [pin + 1; 32]],
        authorities: vec![b"second".to_vec(), b"first".to_vec()],
        address: Some("host:7443".to_owned()),
        added_ms: 10,
        expires_ms: 1000,
        revoked_ms: None,
    }
}

fn request(id: u8, peer: &str) -> NewSession {
    NewSession {
        session: [id; 16],
        peer: peer.to_owned(),
        collection: "c".to_owned(),
        epoch: 3,
        request_digest: [id; 32],
        expires_ms: 1000,
        grants: vec![Grant {
            element_type: "document".to_owned(),
            granted: 1_000_000,
            used: 0,
        }],
        record_path: format!("records/{id}.tally"),
        shift: false,
    }
}

fn entry(id: u8, role: Role, peer: &str, closed_ms: i64) -> RecordEntry {
    RecordEntry {
        session: [id; 16],
        role,
        peer: peer.to_owned(),
        path: format!("records/{id}.tally"),
        digest: [id; 32],
        closed_ms,
    }
}

const WIDE: SessionLimits = SessionLimits {
    max_total: 1000,
    max_per_peer: 1000,
    active_since_ms: 0,
};
const NO_BUDGET: u64 = u64::MAX;

fn binding<'a>(session: &'a SessionId, index: u32, n: u32, digest: &'a Digest) -> ChunkBinding<'a> {
    ChunkBinding {
        session,
        index,
        element_type: "document",
        elements: n,
        digest,
        question: b"question",
        fresh: &FRESH,
        budget: NO_BUDGET,
    }
}

const FRESH: [u8; 32] = [5; 32];

/// Binds one chunk.
async fn bind(store: &dyn Store, chunk: ChunkBinding<'_>) -> Bound {
    let mut bound = store.bind_chunks(&[chunk], 2).await.unwrap();
    assert_eq!(bound.len(), 1);
    bound.remove(0).unwrap()
}

#[tokio::test]
async fn peers_come_back_as_they_went_in() {
    let place = place();
    let store = open(&place.file).await;
    let (b, a) = (peer("b", 1), peer("a", 11));
    store.upsert_peer(&b, false).await.unwrap();
    store.upsert_peer(&a, false).await.unwrap();
    assert_eq!(store.list_peers().await.unwrap(), [a, b.clone()]);
    assert_eq!(store.peer("none").await.unwrap(), None);

    // A new manifest replaces pins and authorities, and keeps the first date.
    let newer = Peer {
        manifest: b"newer".to_vec(),
        tls_pins: vec![[3; 32]],
        authorities: vec![b"other".to_vec()],
        address: None,
        added_ms: 99,
        expires_ms: 2000,
        ..b
    };
    store.upsert_peer(&newer, false).await.unwrap();
    let want = Peer {
        added_ms: 10,
        ..newer.clone()
    };
    assert_eq!(store.peer("b").await.unwrap(), Some(want));

    // A pin belongs to one agency; a refused upsert changes nothing.
    let error = store
        .upsert_peer(&peer("thief", 3), false)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "pin-taken");
    assert_eq!(store.peer("thief").await.unwrap(), None);

    assert!(store.revoke_peer("b", 50).await.unwrap());
    assert!(store.revoke_peer("b", 60).await.unwrap());
    assert!(!store.revoke_peer("none", 50).await.unwrap());
    assert_eq!(store.peer("b").await.unwrap().unwrap().revoked_ms, Some(50));
    let error = store.upsert_peer(&newer, false).await.unwrap_err();
    assert_eq!(error.code(), "peer-revoked");
    store.upsert_peer(&newer, true).await.unwrap();
    assert_eq!(store.peer("b").await.unwrap().unwrap().revoked_ms, None);
}

#[tokio::test]
async fn epochs_of_collections_never_go_back() {
    let place = place();
    let store = open(&place.file).await;
    let mut collection = Collection {
        name: "c".to_owned(),
        epoch: 2,
        meta: "{}".to_owned(),
        snapshot_digest: None,
        published_ms: None,
        removed: false,
    };
    store.upsert_collection(&collection).await.unwrap();
    collection.snapshot_digest = Some([9; 32]);
    collection.published_ms = Some(5);
    store.upsert_collection(&collection).await.unwrap();
    assert_eq!(
        store.list_collections().await.unwrap(),
        [collection.clone()]
    );

    assert!(store.remove_collection("c").await.unwrap());
    assert!(!store.remove_collection("c").await.unwrap());
    assert!(store.list_collections().await.unwrap().is_empty());
    assert!(store.collection("c").await.unwrap().unwrap().removed);
    collection.epoch = 1;
    let error = store.upsert_collection(&collection).await.unwrap_err();
    assert_eq!(error.code(), "epoch-went-back");
    collection.epoch = 3;
    store.upsert_collection(&collection).await.unwrap();
    assert_eq!(store.collection("c").await.unwrap(), Some(collection));
}

#[tokio::test]
async fn requests_are_admitted_once() {
    let place = place();
    let store = open(&place.file).await;
    let first = request(1, "p");
    assert_eq!(
        store.admit_session(&first, &WIDE, 100).await.unwrap(),
        Admitted::New
    );
    // Also after a restart, and after the expiry.
    store.close().await;
    let store = open(&place.file).await;
    let again = store.admit_session(&first, &WIDE, 5000).await.unwrap();
    let open_again = Admitted::SameAgain {
        status: SessionStatus::Open,
    };
    assert_eq!(again, open_again);
    let other_peer = NewSession {
        peer: "q".to_owned(),
        ..first.clone()
    };
    let other_bytes = NewSession {
        request_digest: [8; 32],
        ..first.clone()
    };
    for replay in [&other_peer, &other_bytes] {
        let got = store.admit_session(replay, &WIDE, 100).await.unwrap();
        assert_eq!(got, Admitted::Replayed);
    }
    let late = store
        .admit_session(&request(2, "p"), &WIDE, 1000)
        .await
        .unwrap();
    assert_eq!(late, Admitted::Expired);
    assert_eq!(store.session(&[2; 16]).await.unwrap(), None);

    let stored = store.session(&[1; 16]).await.unwrap().unwrap();
    assert_eq!(stored.grants, first.grants);
    assert_eq!(
        (stored.epoch, stored.created_ms, stored.closed_ms),
        (3, 100, None)
    );
    assert_eq!(store.open_sessions().await.unwrap(), [stored]);

    let done = entry(1, Role::Sender, "p", 200);
    store
        .close_session(&[1; 16], SessionStatus::Closed, Some(&done), 200)
        .await
        .unwrap();
    store
        .close_session(&[1; 16], SessionStatus::Closed, Some(&done), 300)
        .await
        .unwrap();
    let error = store
        .close_session(&[1; 16], SessionStatus::Aborted, None, 300)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "bug");
    let stored = store.session(&[1; 16]).await.unwrap().unwrap();
    assert_eq!(
        (stored.status, stored.closed_ms),
        (SessionStatus::Closed, Some(200))
    );
    assert!(store.open_sessions().await.unwrap().is_empty());
    // Its record is known as soon as its end is.
    let record = store.record(&[1; 16], Role::Sender).await.unwrap();
    assert_eq!(record, Some(done));
}

#[tokio::test]
async fn refused_requests_are_spent_until_they_expire() {
    let place = place();
    let store = open(&place.file).await;
    let bad = request(1, "p");
    let record = entry(1, Role::Sender, "p", 100);
    assert_eq!(
        store.refuse_session(&bad, &record, 100).await.unwrap(),
        Admitted::New
    );
    let noted = store.record(&[1; 16], Role::Sender).await.unwrap();
    assert_eq!(noted, Some(record));
    let again = Admitted::SameAgain {
        status: SessionStatus::Refused,
    };
    assert_eq!(store.admit_session(&bad, &WIDE, 100).await.unwrap(), again);
    let digest = [1; 32];
    let bound = bind(&*store, binding(&[1; 16], 0, 1, &digest)).await;
    assert_eq!(bound, Bound::NotOpen);
    assert_eq!(store.purge_refused(1000).await.unwrap(), 0);
    assert_eq!(store.purge_refused(1001).await.unwrap(), 1);
    assert_eq!(
        store.admit_session(&bad, &WIDE, 1001).await.unwrap(),
        Admitted::Expired
    );
}

#[tokio::test]
async fn sessions_in_progress_are_limited() {
    let place = place();
    let store = open(&place.file).await;
    let limits = SessionLimits {
        max_total: 3,
        max_per_peer: 2,
        active_since_ms: 50,
    };
    for id in [1, 2] {
        let got = store
            .admit_session(&request(id, "p"), &limits, 100)
            .await
            .unwrap();
        assert_eq!(got, Admitted::New);
    }
    let third = request(3, "p");
    let got = store.admit_session(&third, &limits, 100).await.unwrap();
    assert_eq!(got, Admitted::TooManyOfPeer);
    let got = store
        .admit_session(&request(4, "q"), &limits, 100)
        .await
        .unwrap();
    assert_eq!(got, Admitted::New);
    let got = store
        .admit_session(&request(5, "q"), &limits, 100)
        .await
        .unwrap();
    assert_eq!(got, Admitted::TooManyTotal);
    // What was turned away was not spent: it is admitted once there is room.
    store
        .close_session(&[1; 16], SessionStatus::Aborted, None, 100)
        .await
        .unwrap();
    let got = store.admit_session(&third, &limits, 100).await.unwrap();
    assert_eq!(got, Admitted::New);
    // Sessions that have long been silent do not count, until they speak again.
    let later = SessionLimits {
        active_since_ms: 101,
        ..limits
    };
    let digest = [1; 32];
    for id in [2, 3] {
        let id = [id; 16];
        let chunk = binding(&id, 0, 1, &digest);
        store.bind_chunks(&[chunk], 150).await.unwrap();
    }
    let got = store
        .admit_session(&request(6, "p"), &later, 160)
        .await
        .unwrap();
    assert_eq!(got, Admitted::TooManyOfPeer);
    let got = store
        .admit_session(&request(7, "q"), &later, 160)
        .await
        .unwrap();
    assert_eq!(got, Admitted::New);
}

#[tokio::test]
async fn runs_resume_with_the_same_input_only() {
    let place = place();
    let store = open(&place.file).await;
    let run = |id: u8, created_ms| NewRun {
        session: [id; 16],
        peer: "p".to_owned(),
        collection: "c".to_owned(),
        input_digest: [5; 32],
        sealed_seed: vec![id; 61],
        state: "started".to_owned(),
        created_ms,
    };
    store.save_run(&run(1, 10)).await.unwrap();
    store.save_run(&run(2, 20)).await.unwrap();
    assert_eq!(store.save_run(&run(2, 20)).await.unwrap_err().code(), "bug");
    store.update_run(&[2; 16], "{\"sent\":4}").await.unwrap();
    let found = store
        .find_open_run("p", "c", &[5; 32])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            found.session,
            found.sealed_seed,
            found.state.as_str(),
            found.created_ms
        ),
        ([2; 16], vec![2; 61], "{\"sent\":4}", 20)
    );
    assert!(
        store
            .find_open_run("p", "c", &[6; 32])
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        store
            .find_open_run("q", "c", &[5; 32])
            .await
            .unwrap()
            .is_none()
    );

    let open = async || {
        let runs = store.open_runs().await.unwrap().into_iter();
        runs.map(|run| (run.session[0], run.peer))
            .collect::<Vec<_>>()
    };
    let of_p = |id: u8| (id, "p".to_owned());
    assert_eq!(open().await, [of_p(1), of_p(2)]);
    for _ in 0..2 {
        store.finish_run(&[2; 16], 30).await.unwrap();
    }
    assert_eq!(open().await, [of_p(1)]);
    assert_eq!(
        store.update_run(&[2; 16], "x").await.unwrap_err().code(),
        "bug"
    );
    let found = store
        .find_open_run("p", "c", &[5; 32])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.session, [1; 16]);
}

#[tokio::test]
async fn records_are_found_by_session_and_by_peer() {
    let place = place();
    let store = open(&place.file).await;
    assert_eq!(store.last_record("p").await.unwrap(), None);
    let (a, b, c) = (
        entry(1, Role::Sender, "p", 30),
        entry(2, Role::Receiver, "p", 20),
        entry(3, Role::Sender, "q", 40),
    );
    for record in [&a, &b, &c, &a] {
        store.add_record(record).await.unwrap();
    }
    let changed = RecordEntry {
        digest: [0; 32],
        ..a.clone()
    };
    assert_eq!(store.add_record(&changed).await.unwrap_err().code(), "bug");
    assert_eq!(store.last_record("p").await.unwrap(), Some(a.clone()));
    assert_eq!(
        store.record(&[2; 16], Role::Receiver).await.unwrap(),
        Some(b)
    );
    assert_eq!(store.record(&[2; 16], Role::Sender).await.unwrap(), None);
    assert_eq!(store.list_records(2).await.unwrap(), [c, a]);
}

#[tokio::test]
async fn migrations_run_once_and_a_newer_schema_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = place();
    // Two programs may come first at once.
    let (one, two) = tokio::join!(
        SqliteStore::create(&place.file),
        SqliteStore::create(&place.file)
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    one.upsert_peer(&peer("a", 1), false).await.unwrap();
    assert_eq!(two.list_peers().await.unwrap().len(), 1);
    for suffix in ["", "-wal", "-shm"] {
        let file = place.file.with_file_name(format!("state.db{suffix}"));
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{suffix}");
    }
    one.close().await;
    two.close().await;
    let store = SqliteStore::open(&place.file).await.unwrap();
    assert_eq!(store.list_peers().await.unwrap().len(), 1);
    store.close().await;

    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&place.file);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let rows = sqlx::query("SELECT version FROM schema_migrations")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(rows.len(), 4);
    sqlx::query("INSERT INTO schema_migrations VALUES (99, 0)")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let error = SqliteStore::open(&place.file).await.unwrap_err();
    assert_eq!(error.code(), "newer-format");
    assert!(error.to_string().contains("99"), "{error}");
}

#[tokio::test]
async fn rubbish_is_not_a_store() {
    let place = place();
    crate::fs::atomic_write(&place.file, &[0x55; 5000], 0o600).unwrap();
    let error = SqliteStore::open(&place.file).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("store", crate::Kind::Usage));
    crate::fs::atomic_write(&place.file, &[0x55; 5000], 0o644).unwrap();
    let error = SqliteStore::open(&place.file).await.unwrap_err();
    assert_eq!(error.code(), "permissions");
}

/// A new one would have forgotten the peers and what they were charged.
#[tokio::test]
async fn a_store_that_is_gone_is_not_made_anew() {
    let place = place();
    let error = SqliteStore::open(&place.file).await.unwrap_err();
    assert_eq!(
        (error.code(), error.kind()),
        ("state-gone", crate::Kind::Usage)
    );
    assert!(!place.file.exists());
    crate::fs::atomic_write(&place.file, b"", 0o600).unwrap();
    assert_eq!(
        SqliteStore::open(&place.file).await.unwrap_err().code(),
        "state-gone"
    );
}
