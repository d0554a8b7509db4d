use tallystick_agency::{
    home::InitOptions,
    keys::{Passphrase, PassphraseSource},
};
use tallystick_protocol::{
    identifiers::{IdentifierType, normalise},
    oprf::SessionSeed,
};

use super::*;
use crate::desk::flight::{Owner, filled};

const SESSION: Hex<16> = Hex([9; 16]);

async fn home() -> (tempfile::TempDir, Arc<Home>) {
    let dir = tempfile::tempdir().unwrap();
    let words = Passphrase::new("words for tests").unwrap();
    let options = InitOptions {
        name: "asker".to_owned(),
        state: None,
        passphrase: Some((words, PassphraseSource::Environment)),
        dev_ca: false,
        listen_address: None,
        advertise_address: None,
    };
    let home = Home::init(&dir.path().join("home"), options).await.unwrap();
    (dir, Arc::new(home))
}

/// A chunk of 8 with one real element at place 5.
fn chunk(number: &str) -> ChunkPlan {
    let key = normalise(IdentifierType::Document, &[number, "UTO"])
        .unwrap()
        .unwrap();
    let mut owners = vec![None; 8];
    owners[5] = Some(Owner { job: 0, key: 0 });
    let reals = owners
        .iter()
        .map(|owner: &Option<Owner>| owner.map(|_| key.element.as_bytes()));
    let seed = SessionSeed::new([1; 32]);
    let type_name = "document".parse().unwrap();
    ChunkPlan {
        elements: filled(&type_name, 16, reals, &[7; 32], (&SESSION, &seed)).unwrap(),
        type_name,
        first_index: 16,
        fresh: Zeroizing::new([7; 32]),
        owners,
    }
}

fn element(noted: &NotedChunk) -> Vec<u8> {
    noted.elements.iter().next().unwrap().to_vec()
}

#[tokio::test]
async fn what_was_noted_comes_back_and_what_was_found_does_not() {
    let (_dir, home) = home().await;
    let mut journal = Journal::create(&home, SESSION).unwrap();
    for (flight, number) in (0..).zip(["ABC1", "ABC2", "ABC3"]) {
        journal.asked(flight, &[chunk(number)]).unwrap();
    }
    journal.found(1, 2).unwrap();
    journal.found(0, 1).unwrap();
    let path = journal_path(&home.records_dir(), &SESSION);
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(3).any(|at| at == b"ABC"), "sealed");
    drop(journal);
    let (mut journal, noted) = Journal::reopen(&home, SESSION).unwrap();
    assert_eq!(journal.matches(), 3);
    assert_eq!(noted.keys().copied().collect::<Vec<_>>(), [2]);
    let one = &noted[&2][0];
    assert_eq!(
        (one.size, one.first_index, &one.places[..]),
        (8, 16, &[5][..])
    );
    assert!(element(one).ends_with(b"ABC3"));
    // Begun again, it holds what is needed and no more, and goes on.
    journal.compact().unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < bytes.len() as u64);
    journal.asked(3, &[chunk("ABC4")]).unwrap();
    journal.found(2, 0).unwrap();
    drop(journal);
    let (mut journal, noted) = Journal::reopen(&home, SESSION).unwrap();
    assert_eq!(journal.matches(), 3);
    assert_eq!(noted.keys().copied().collect::<Vec<_>>(), [3]);
    assert!(!journal.has_grown());
    journal.found(3, 5).unwrap();
    assert!(journal.has_grown());
    journal.compact().unwrap();
    assert!(!journal.has_grown());
    drop(journal);
    assert_eq!(Journal::reopen(&home, SESSION).unwrap().0.matches(), 8);
}

#[tokio::test]
async fn a_torn_note_never_counted_and_an_altered_one_is_seen() {
    let (_dir, home) = home().await;
    let path = journal_path(&home.records_dir(), &SESSION);
    let mut journal = Journal::create(&home, SESSION).unwrap();
    journal.asked(0, &[chunk("ABC1")]).unwrap();
    let whole = std::fs::metadata(&path).unwrap().len();
    journal.asked(1, &[chunk("ABC2")]).unwrap();
    drop(journal);
    let bytes = std::fs::read(&path).unwrap();
    for cut in [1, 2, 30, bytes.len() as u64 - whole - 1] {
        std::fs::write(&path, &bytes[..bytes.len() - cut as usize]).unwrap();
        let (_, noted) = Journal::reopen(&home, SESSION).unwrap();
        assert_eq!(noted.len(), 1, "cut by {cut}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
    }
    // Of another session, in another place, changed.
    std::fs::write(&path, &bytes).unwrap();
    let other = Hex([8; 16]);
    std::fs::copy(&path, journal_path(&home.records_dir(), &other)).unwrap();
    assert_eq!(
        Journal::reopen(&home, other).map(|_| ()).unwrap_err().code,
        "seal-broken"
    );
    let second = bytes[whole as usize..].to_vec();
    std::fs::write(&path, &second).unwrap();
    assert_eq!(
        Journal::reopen(&home, SESSION)
            .map(|_| ())
            .unwrap_err()
            .code,
        "seal-broken"
    );
    let mut changed = bytes;
    changed[40] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    assert_eq!(
        Journal::reopen(&home, SESSION)
            .map(|_| ())
            .unwrap_err()
            .code,
        "seal-broken"
    );
}
