use super::*;

fn words() -> Passphrase {
    Passphrase::new("some words").unwrap()
}

fn options() -> InitOptions {
    InitOptions {
        name: "agency-one".to_owned(),
        state: Some("UTO".to_owned()),
        passphrase: Some((words(), PassphraseSource::Environment)),
        dev_ca: true,
        listen_address: None,
        advertise_address: Some("one.example:7443".to_owned()),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn all_files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_files(&path, into);
        }
        into.push(path);
    }
}

#[tokio::test]
async fn init_makes_everything_for_the_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("home");
    let home = Home::init(&dir, options()).await.unwrap();
    assert_eq!(mode(&dir), 0o700);
    let mut paths = Vec::new();
    all_files(&dir, &mut paths);
    for path in &paths {
        assert_eq!(
            mode(path),
            if path.is_dir() { 0o700 } else { 0o600 },
            "{path:?}"
        );
    }
    let mut names: Vec<String> = paths
        .iter()
        .map(|p| p.strip_prefix(&dir).unwrap().display().to_string())
        .collect();
    names.sort();
    assert_eq!(
        names.join(" "),
        "VERSION cache cache/snapshots collections keys keys/dev-ca.sealed keys/log.sealed \
         keys/master.json keys/signing.sealed keys/tls.sealed node.toml records state.db tls \
         tls/ca.crt tls/node.crt tls/node.csr"
    );
    // Nothing is left beside it.
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    assert_eq!(home.config().state.as_deref(), Some("UTO"));
    assert_ne!(
        home.signing_key().unwrap().to_bytes(),
        home.log_key().unwrap().to_bytes()
    );
    let identity = home.tls_identity().unwrap();
    assert_eq!(
        identity.spki_sha256().unwrap(),
        tls::key_spki_sha256(&home.tls_key().unwrap()).unwrap()
    );
    let before = identity.leaf().clone();
    home.renew_dev_certificate().unwrap();
    assert_ne!(*home.tls_identity().unwrap().leaf(), before);

    let text = format!("{home:?}{identity:?}");
    for secret in [
        home.signing_key().unwrap().to_bytes().to_vec(),
        home.tls_key().unwrap().to_vec(),
    ] {
        assert!(!text.contains(&hex::encode(&secret[..32])));
        assert!(!text.contains(&format!("{:?}", &secret[..32])));
    }
    insta::assert_snapshot!(format!("{identity:?}"), @"TlsIdentity { certificates: 1, .. }");
}

#[tokio::test]
async fn reopening_gives_the_same_keys_and_needs_the_passphrase() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("home");
    let key = Home::init(&dir, options())
        .await
        .unwrap()
        .signing_key()
        .unwrap();
    let (one, two) = (
        Home::open_with(&dir, &words()).unwrap(),
        Home::open_with(&dir, &words()).unwrap(),
    );
    assert_eq!(one.signing_key().unwrap(), key);
    assert_eq!(two.signing_key().unwrap(), key);
    // Both may hold the state at once.
    let (a, b) = (one.store().await.unwrap(), two.store().await.unwrap());
    assert!(a.list_peers().await.unwrap().is_empty());
    assert!(b.list_peers().await.unwrap().is_empty());

    let wrong = Passphrase::new("other").unwrap();
    let error = Home::open_with(&dir, &wrong).unwrap_err();
    assert_eq!(error.code(), "wrong-passphrase");
    let error = Home::open(&dir, &PassphraseInputs::default()).unwrap_err();
    assert_eq!(error.code(), "no-passphrase");
}

#[tokio::test]
async fn without_a_passphrase_one_is_generated_and_found_again() {
    let parent = tempfile::tempdir().unwrap();
    // An existing empty folder, as a mounted volume is.
    let dir = parent.path().join("volume");
    fs::create_dir(&dir).unwrap();
    let given = InitOptions {
        passphrase: None,
        ..options()
    };
    Home::init(&dir, given).await.unwrap();
    assert_eq!(mode(&dir), 0o700);
    assert!(!fs::read_dir(&dir).unwrap().any(|e| {
        e.unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".tally-init-")
    }));
    Home::open(&dir, &PassphraseInputs::default()).unwrap();
    let file = dir.join("passphrase");
    assert_eq!(mode(&file), 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Home::open(&dir, &PassphraseInputs::default()).unwrap_err();
    assert_eq!(error.code(), "permissions");

    // A file from the command line is remembered.
    let words_file = parent.path().join("words");
    fs::write(&words_file, "from a file\n").unwrap();
    let inputs = PassphraseInputs {
        flag_file: Some(words_file),
        ..Default::default()
    };
    let given = InitOptions {
        passphrase: inputs.resolve(None, true).unwrap(),
        ..options()
    };
    let dir = parent.path().join("flagged");
    Home::init(&dir, given).await.unwrap();
    Home::open(&dir, &PassphraseInputs::default()).unwrap();
}

#[tokio::test]
async fn init_refuses_what_it_should_and_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("home");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("thing"), "x").unwrap();
    let error = Home::init(&dir, options()).await.unwrap_err();
    assert_eq!(error.code(), "home-not-empty");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);

    let bad = InitOptions {
        name: "Not A Name".to_owned(),
        ..options()
    };
    let error = Home::init(&parent.path().join("other"), bad)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "usage");
    assert!(error.to_string().contains("name: allowed"), "{error}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn newer_open_and_foreign_folders_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("home");
    Home::init(&dir, options()).await.unwrap();
    let code = || Home::open_with(&dir, &words()).unwrap_err().code();

    fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).unwrap();
    let error = Home::open_with(&dir, &words()).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();

    let key = dir.join("keys/signing.sealed");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(code(), "permissions");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    fs::write(dir.join("VERSION"), "2\n").unwrap();
    let error = Home::open_with(&dir, &words()).unwrap_err();
    assert_eq!(error.code(), "newer-format");
    assert!(error.to_string().contains("format 2"), "{error}");
    fs::write(dir.join("VERSION"), "rubbish").unwrap();
    assert_eq!(code(), "not-a-home");
    fs::remove_file(dir.join("VERSION")).unwrap();
    assert_eq!(code(), "not-a-home");
}

#[tokio::test]
async fn without_development_ca_the_operator_is_told_what_to_do() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("home");
    let given = InitOptions {
        dev_ca: false,
        ..options()
    };
    let home = Home::init(&dir, given).await.unwrap();
    let error = home.tls_identity().unwrap_err();
    assert!(error.to_string().contains("node.csr"), "{error}");
    assert_eq!(home.renew_dev_certificate().unwrap_err().code(), "io");

    // Another CA signs the request; the operator puts both files in place.
    let ca_key = tls::generate_key().unwrap();
    let ca = tls::dev_ca("national", &ca_key).unwrap();
    let request = fs::read_to_string(home.request_file()).unwrap();
    let certificate = tls::dev_ca_sign(&ca, &ca_key, &request).unwrap();
    fs::write(home.certificate_file(), certificate).unwrap();
    home.tls_identity().unwrap();

    // A certificate for another key is noticed.
    let other = tls::signing_request("x", None, &tls::generate_key().unwrap()).unwrap();
    fs::write(
        home.certificate_file(),
        tls::dev_ca_sign(&ca, &ca_key, &other).unwrap(),
    )
    .unwrap();
    let error = home.tls_identity().unwrap_err();
    assert!(
        error.to_string().contains("not for this node's key"),
        "{error}"
    );
}
