//! The keys and seeds of a home, opened as only its owner can.

use std::fs;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use sqlx::{Connection, Row, SqliteConnection};
use tallystick_agency::{
    collections::{Meta, epoch_keys},
    store::Store,
};
use tallystick_protocol::{group, statements::Mode};
use tallystick_tests::{canary::Canaries, place::Place};

/// Plants every secret that a home holds now.
pub fn plant(canaries: &mut Canaries, place: &Place, name: &str, words: &str) {
    let home = place.home(name);
    for entry in fs::read_dir(place.path(name).join("keys")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(secret) = file.strip_suffix(".sealed") else {
            continue;
        };
        let bytes = home.keys().open_secret(secret).unwrap();
        let what = format!("key {secret} of {name}");
        match secret {
            "tls" | "dev-ca" => scalar(canaries, &what, private_scalar(&bytes)),
            _ => scalar(canaries, &what, &bytes),
        }
    }
    let (wrapping, master) = keys_of_keys(place, name, words);
    scalar(canaries, &format!("key wrapping of {name}"), &wrapping);
    scalar(canaries, &format!("key master of {name}"), &master);
    wait(async {
        let store = home.store().await.unwrap();
        for collection in store.list_collections().await.unwrap() {
            let offered = collection.name.parse().unwrap();
            let (types, mode) = (Meta::of(&collection).unwrap().types, Mode::Elements);
            let kernel = group::reference();
            let keys = epoch_keys(&home, kernel, &offered, collection.epoch, mode, &types);
            for (ty, key) in keys.unwrap() {
                let what = format!("key oprf {ty} {} of {name}", collection.epoch);
                scalar(canaries, &what, &key.to_bytes()[..]);
            }
        }
    });
}

/// Plants the seeds of a home's sessions under way; gives their number.
pub fn plant_seeds(canaries: &mut Canaries, place: &Place, name: &str) -> usize {
    let home = place.home(name);
    let database = format!("sqlite:{}", place.path(name).join("state.db").display());
    wait(async {
        let mut database = SqliteConnection::connect(&database).await.unwrap();
        let runs =
            sqlx::query("SELECT session, sealed_seed FROM runs WHERE sealed_seed IS NOT NULL")
                .fetch_all(&mut database)
                .await
                .unwrap();
        for run in &runs {
            let session: Vec<u8> = run.get(0);
            let session: String = session.iter().map(|byte| format!("{byte:02x}")).collect();
            let sealed: Vec<u8> = run.get(1);
            let place = format!("run-seed/{session}");
            let secret = home.keys().open_blob(&place, &sealed).unwrap();
            scalar(
                canaries,
                &format!("seed of a session of {name}"),
                &secret[..32],
            );
        }
        runs.len()
    })
}

/// A number may lie in memory in either order of bytes.
fn scalar(canaries: &mut Canaries, what: &str, bytes: &[u8]) {
    canaries.secret(what, bytes);
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    canaries.secret(what, &reversed);
}

/// The private number in a PKCS #8 file of a P-256 key; what else stands there is public.
fn private_scalar(pkcs8: &[u8]) -> &[u8] {
    // ECPrivateKey, version 1, OCTET STRING of 32 bytes.
    let before = [0x02, 0x01, 0x01, 0x04, 0x20];
    let at = pkcs8.windows(5).position(|bytes| bytes == before).unwrap();
    &pkcs8[at + 5..at + 37]
}

/// The key that the passphrase gives, and the master key that it seals.
fn keys_of_keys(place: &Place, name: &str, words: &str) -> ([u8; 32], Vec<u8>) {
    let text = place.read(&format!("{name}/keys/master.json"));
    let file: Value = serde_json::from_str(&text).unwrap();
    let number = |key: &str| u32::try_from(file[key].as_u64().unwrap()).unwrap();
    let bytes = |key: &str| STANDARD.decode(file[key].as_str().unwrap()).unwrap();
    let costs = argon2::Params::new(
        number("memory_kib"),
        number("passes"),
        number("lanes"),
        Some(32),
    );
    let mut wrapping = [0; 32];
    argon2::Argon2::new(
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        costs.unwrap(),
    )
    .hash_password_into(words.as_bytes(), &bytes("salt"), &mut wrapping)
    .unwrap();
    let key = RandomizedNonceKey::new(&AES_256_GCM, &wrapping).unwrap();
    let sealed = bytes("sealed");
    let nonce = Nonce::assume_unique_for_key(sealed[1..13].try_into().unwrap());
    let mut work = sealed[13..].to_vec();
    let purpose = Aad::from(b"tallystick/master-key/v1");
    let master = key.open_in_place(nonce, purpose, &mut work).unwrap();
    (wrapping, master.to_vec())
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}
