//! The `keys/` folder of a home: secrets sealed under the master key, one file each, mode 0600.

use aws_lc_rs::hmac;
use std::fmt;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use crate::error::{AgencyError, Result};
use crate::fs::{
    OWNER_DIR, OWNER_FILE, atomic_write, read_owner_file, require_owner_only, sync_dir,
};
use crate::keys::{MasterKey, Passphrase, fill_random};
use crate::memory::WipedStack;

/// The file of the sealed master key.
pub const MASTER_FILE: &str = "master.json";
/// Name of the secret that signs statements (Ed25519 seed, 32 bytes).
pub const SIGNING_KEY: &str = "signing";
/// Name of the secret that signs the audit log's checkpoints (Ed25519 seed, 32 bytes).
pub const LOG_KEY: &str = "log";
/// Name of the TLS private key (ECDSA P-256, PKCS #8 DER).
pub const TLS_KEY: &str = "tls";
/// Name of the development CA's private key (ECDSA P-256, PKCS #8 DER).
pub const DEV_CA_KEY: &str = "dev-ca";

const SUFFIX: &str = ".sealed";

/// Sealed secrets, opened by the master key that it holds. Safe to share between threads.
pub struct KeyStore {
    dir: PathBuf,
    master: MasterKey,
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl KeyStore {
    /// Makes a master key in the empty folder `dir` and seals it under `passphrase`.
    pub fn create(dir: &Path, passphrase: &Passphrase) -> Result<Self> {
        let _wiped = WipedStack;
        let (master, text) = MasterKey::create(passphrase)?;
        atomic_write(&dir.join(MASTER_FILE), text.as_bytes(), OWNER_FILE)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            master,
        })
    }

    /// Seals the master key of the folder under another passphrase, all or nothing. Everything else
    /// stays as it is: the master key is the same.
    ///
    /// # Errors
    /// `WrongPassphrase` for the old one.
    pub fn change_passphrase(dir: &Path, old: &Passphrase, new: &Passphrase) -> Result<()> {
        check_modes(dir)?;
        let path = dir.join(MASTER_FILE);
        let bytes = read_owner_file(&path)?;
        let text = MasterKey::reseal(&String::from_utf8_lossy(&bytes), &path, old, new)?;
        // It is all that opens this home: what cannot be read back is not put in its place.
        MasterKey::open(&text, &path, new)?;
        atomic_write(&path, text.as_bytes(), OWNER_FILE)
    }

    /// Opens the folder. Refuses it, and each file in it, if others can reach them.
    pub fn open(dir: &Path, passphrase: &Passphrase) -> Result<Self> {
        let _wiped = WipedStack;
        check_modes(dir)?;
        let path = dir.join(MASTER_FILE);
        let bytes = read_owner_file(&path)?;
        let text = String::from_utf8_lossy(&bytes);
        let master = MasterKey::open(&text, &path, passphrase)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            master,
        })
    }

    /// Whether a secret of this name is there.
    pub fn is_present(&self, name: &str) -> Result<bool> {
        let path = self.path(name)?;
        path.try_exists().map_err(AgencyError::io("read", path))
    }

    /// Seals a secret into `NAME.sealed`, replacing an older one; durable when this returns.
    ///
    /// Names are 1 to 160 of `a-z 0-9 - . _`, starting with a letter or digit.
    pub fn seal_secret(&self, name: &str, secret: &[u8]) -> Result<()> {
        let _wiped = WipedStack;
        let path = self.path(name)?;
        let sealed = self.master.seal("secret", name, secret)?;
        atomic_write(&path, &sealed, OWNER_FILE)
    }

    /// Opens a secret. It is wiped from memory on drop.
    pub fn open_secret(&self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        let _wiped = WipedStack;
        let path = self.path(name)?;
        if !self.is_present(name)? {
            return Err(AgencyError::NoSecret(name.to_owned()));
        }
        let sealed = read_owner_file(&path)?;
        self.master
            .open_sealed("secret", name, &sealed)
            .ok_or_else(|| AgencyError::SealBroken {
                what: path.display().to_string(),
            })
    }

    /// Removes a secret, at the end of an epoch for example; durable when this returns. One that is
    /// not there is no error. The medium may keep its sealed bytes, as may backups.
    pub fn remove_secret(&self, name: &str) -> Result<()> {
        let path = self.path(name)?;
        match std::fs::remove_file(&path) {
            Ok(()) => sync_dir(&self.dir),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(AgencyError::io("remove", path)(e)),
        }
    }

    /// Seals bytes for a field of the database. `aad` says which one; the same must be given to
    /// open it. 29 bytes longer than `bytes`.
    pub fn seal_blob(&self, aad: &str, bytes: &[u8]) -> Result<Vec<u8>> {
        let _wiped = WipedStack;
        self.master.seal("blob", aad, bytes)
    }

    /// Opens what [`Self::seal_blob`] sealed.
    pub fn open_blob(&self, aad: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let _wiped = WipedStack;
        self.master
            .open_sealed("blob", aad, sealed)
            .ok_or_else(|| AgencyError::SealBroken {
                what: "a sealed field of state.db".to_owned(),
            })
    }

    /// HMAC-SHA256 of bytes under a secret of this home, which is made when it is first needed: a
    /// digest that nobody can test guesses against without the home's keys.
    pub fn keyed_digest(&self, name: &str, bytes: &[u8]) -> Result<[u8; 32]> {
        let _wiped = WipedStack;
        if !self.is_present(name)? {
            let mut secret = Zeroizing::new([0u8; 32]);
            fill_random(&mut secret[..])?;
            self.seal_secret(name, &secret[..])?;
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.open_secret(name)?);
        let mut digest = [0u8; 32];
        digest.copy_from_slice(hmac::sign(&key, bytes).as_ref());
        Ok(digest)
    }

    /// Makes and seals a new Ed25519 key.
    pub(crate) fn create_ed25519(&self, name: &str) -> Result<()> {
        let _wiped = WipedStack;
        let mut seed = Zeroizing::new([0u8; 32]);
        fill_random(&mut seed[..])?;
        self.seal_secret(name, &seed[..])
    }

    /// Opens an Ed25519 key. It wipes itself on drop.
    pub fn ed25519(&self, name: &str) -> Result<SigningKey> {
        let _wiped = WipedStack;
        let seed = self.open_secret(name)?;
        match seed.first_chunk::<32>() {
            Some(bytes) if seed.len() == 32 => Ok(SigningKey::from_bytes(bytes)),
            _ => Err(AgencyError::SealBroken {
                what: format!("secret {name} (it does not hold 32 bytes)"),
            }),
        }
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = name.as_bytes();
        let good = (1..=160).contains(&bytes.len())
            && plain(bytes[0])
            && bytes.iter().all(|&b| plain(b) || b"-._".contains(&b));
        if !good {
            return Err(AgencyError::Usage(
                "the name of a secret must be 1 to 160 of a-z 0-9 - . _, starting with a letter or digit"
                    .to_owned(),
            ));
        }
        Ok(self.dir.join(format!("{name}{SUFFIX}")))
    }
}

/// Refuses the folder or any file in it that others can reach.
fn check_modes(dir: &Path) -> Result<()> {
    require_owner_only(dir, OWNER_DIR)?;
    let entries = std::fs::read_dir(dir).map_err(AgencyError::io("read", dir))?;
    for entry in entries {
        let path = entry.map_err(AgencyError::io("read", dir))?.path();
        match require_owner_only(&path, OWNER_FILE) {
            // A temporary file of another process may be gone by now.
            Err(AgencyError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn words() -> Passphrase {
        Passphrase::new("words").unwrap()
    }

    fn store() -> (tempfile::TempDir, KeyStore) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let store = KeyStore::create(dir.path(), &words()).unwrap();
        (dir, store)
    }

    #[test]
    fn secrets_survive_reopening_and_removal_ends_them() {
        let (dir, store) = store();
        store
            .seal_secret("oprf.foreign-fighters.3", b"seed")
            .unwrap();
        drop(store);
        let store = KeyStore::open(dir.path(), &words()).unwrap();
        assert_eq!(
            &store.open_secret("oprf.foreign-fighters.3").unwrap()[..],
            b"seed"
        );
        store.remove_secret("oprf.foreign-fighters.3").unwrap();
        store.remove_secret("oprf.foreign-fighters.3").unwrap();
        assert_eq!(
            store
                .open_secret("oprf.foreign-fighters.3")
                .unwrap_err()
                .code(),
            "no-secret"
        );
    }

    #[test]
    fn files_hold_no_plaintext_and_cannot_be_swapped() {
        let (dir, store) = store();
        let secret = [0xa5u8; 32];
        store.seal_secret("one", &secret).unwrap();
        store.seal_secret("two", b"other").unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(8).any(|w| w == &secret[..8]));
        }
        std::fs::rename(dir.path().join("two.sealed"), dir.path().join("one.sealed")).unwrap();
        assert_eq!(store.open_secret("one").unwrap_err().code(), "seal-broken");
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        let (_dir, store) = store();
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "A",
            "a\0b",
            ".hidden",
            &"x".repeat(161),
        ] {
            assert_eq!(
                store.seal_secret(name, b"x").unwrap_err().code(),
                "usage",
                "{name:?}"
            );
            assert_eq!(store.open_secret(name).unwrap_err().code(), "usage");
            assert_eq!(store.remove_secret(name).unwrap_err().code(), "usage");
        }
    }

    #[test]
    fn open_modes_are_refused() {
        let (dir, store) = store();
        store.seal_secret("one", b"x").unwrap();
        let path = dir.path().join("one.sealed");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        assert_eq!(store.open_secret("one").unwrap_err().code(), "permissions");
        let error = KeyStore::open(dir.path(), &words()).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn wrong_passphrase_and_debug() {
        let (dir, store) = store();
        let wrong = Passphrase::new("other").unwrap();
        assert_eq!(
            KeyStore::open(dir.path(), &wrong).unwrap_err().code(),
            "wrong-passphrase"
        );
        let text = format!("{store:?}").replace(&dir.path().display().to_string(), "DIR");
        insta::assert_snapshot!(text, @r#"KeyStore { dir: "DIR", .. }"#);
        store.create_ed25519(SIGNING_KEY).unwrap();
        let key = store.ed25519(SIGNING_KEY).unwrap();
        assert_eq!(
            key.to_bytes(),
            store.ed25519(SIGNING_KEY).unwrap().to_bytes()
        );
        // dalek prints the public half only.
        assert!(!format!("{key:?}").contains(&hex::encode(key.to_bytes())));
    }

    #[test]
    fn another_passphrase_opens_the_same_secrets() {
        let (dir, store) = store();
        store.seal_secret("one", b"x").unwrap();
        let new = Passphrase::new("new words").unwrap();
        let wrong = Passphrase::new("other").unwrap();
        let refused = KeyStore::change_passphrase(dir.path(), &wrong, &new).unwrap_err();
        assert_eq!(refused.code(), "wrong-passphrase");
        KeyStore::open(dir.path(), &words()).unwrap();
        KeyStore::change_passphrase(dir.path(), &words(), &new).unwrap();
        let old = KeyStore::open(dir.path(), &words()).unwrap_err();
        assert_eq!(old.code(), "wrong-passphrase");
        let store = KeyStore::open(dir.path(), &new).unwrap();
        assert_eq!(&store.open_secret("one").unwrap()[..], b"x");
    }

    #[test]
    fn blobs_are_bound_to_their_field() {
        let (_dir, store) = store();
        let sealed = store.seal_blob("run/1", b"seed").unwrap();
        assert_eq!(&store.open_blob("run/1", &sealed).unwrap()[..], b"seed");
        assert_eq!(
            store.open_blob("run/2", &sealed).unwrap_err().code(),
            "seal-broken"
        );
    }
}
