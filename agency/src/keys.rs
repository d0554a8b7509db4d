//! Passphrases and the master key, and how things are sealed at rest.
//!
//! passphrase → argon2id (RFC 9106) → key-encryption key → master key → everything else.
//! The AEAD is AES-256-GCM with a random 96-bit nonce per sealing; each key seals far fewer than
//! 2^32 messages. The associated data names what is sealed, so that no sealed thing can stand in
//! for another.

use std::fmt;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{AgencyError, Result};

const MASTER_FORMAT: &str = "tallystick-master/1";
const MASTER_AAD: &[u8] = b"tallystick/master-key/v1";
/// First byte of everything sealed under the master key: the version of this layout.
const SEAL_VERSION: u8 = 1;
const SALT_LEN: usize = 16;

/// The words that open a home. Wiped on drop.
pub struct Passphrase(Zeroizing<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

impl Passphrase {
    /// Takes a passphrase; white space around it is dropped, an empty one is refused.
    pub fn new(words: &str) -> Result<Self> {
        let words = words.trim();
        if words.is_empty() {
            return Err(AgencyError::Usage("the passphrase is empty".to_owned()));
        }
        Ok(Self(Zeroizing::new(words.to_owned())))
    }

    /// A random passphrase of 256 bits, as 64 hexadecimal digits.
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        fill_random(&mut bytes[..])?;
        Ok(Self(Zeroizing::new(hex::encode(&bytes[..]))))
    }

    /// The first line of a file. One that everybody can reach is logged as a warning, not refused:
    /// mounted secrets often are, and the mount is what guards them.
    pub fn from_file(file: &Path) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        if std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o007 != 0)
        {
            tracing::warn!(
                file = %file.display(),
                "everybody on this machine can reach the passphrase file; mend it with chmod 600"
            );
        }
        let text = std::fs::read_to_string(file).map(Zeroizing::new);
        let text = text.map_err(AgencyError::io("read the passphrase file", file))?;
        Self::new(text.lines().next().unwrap_or("")).map_err(|_| {
            AgencyError::Usage(format!(
                "the first line of the passphrase file {} is empty; write the passphrase there",
                file.display()
            ))
        })
    }

    /// A second copy, made on purpose: there is no `Clone`.
    pub(crate) fn duplicate(&self) -> Self {
        Self(Zeroizing::new(self.0.as_str().to_owned()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Where a passphrase came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassphraseSource {
    /// The file named on the command line.
    Flag(PathBuf),
    /// The file named by `TALLY_PASSPHRASE_FILE`.
    EnvironmentFile(PathBuf),
    /// `TALLY_PASSPHRASE`.
    Environment,
    /// `passphrase_file` of `node.toml`.
    Config(PathBuf),
    /// Typed.
    Terminal,
}

/// The places where a passphrase may be found, in the order they are asked.
#[derive(Default)]
pub struct PassphraseInputs {
    /// `--passphrase-file`.
    pub flag_file: Option<PathBuf>,
    /// `TALLY_PASSPHRASE_FILE`.
    pub env_file: Option<PathBuf>,
    /// `TALLY_PASSPHRASE`.
    pub env_value: Option<Zeroizing<String>>,
    /// Whether a person can be asked.
    pub terminal: bool,
}

impl fmt::Debug for PassphraseInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassphraseInputs")
            .field("flag_file", &self.flag_file)
            .field("env_file", &self.env_file)
            .field("env_value", &self.env_value.as_ref().map(|_| ".."))
            .field("terminal", &self.terminal)
            .finish()
    }
}

impl PassphraseInputs {
    /// The flag as given, the two environment variables, and whether stdin is a terminal.
    pub fn from_environment(flag_file: Option<PathBuf>) -> Self {
        use std::io::IsTerminal;
        Self {
            flag_file,
            env_file: std::env::var_os("TALLY_PASSPHRASE_FILE")
                .filter(|v| !v.is_empty())
                .map(PathBuf::from),
            env_value: std::env::var("TALLY_PASSPHRASE")
                .ok()
                .filter(|v| !v.is_empty())
                .map(Zeroizing::new),
            terminal: std::io::stdin().is_terminal(),
        }
    }

    /// The first source that is set wins; if it fails, the next is not tried.
    ///
    /// `config_file` is `passphrase_file` of the configuration, already made absolute. `confirm`
    /// asks twice at a terminal: for a new home. `None` means that no source is there.
    pub fn resolve(
        &self,
        config_file: Option<&Path>,
        confirm: bool,
    ) -> Result<Option<(Passphrase, PassphraseSource)>> {
        use PassphraseSource as S;
        let from_file = |file: &Path, source: fn(PathBuf) -> S| {
            Ok(Some((
                Passphrase::from_file(file)?,
                source(file.to_path_buf()),
            )))
        };
        if let Some(file) = &self.flag_file {
            return from_file(file, S::Flag);
        }
        if let Some(file) = &self.env_file {
            return from_file(file, S::EnvironmentFile);
        }
        if let Some(value) = &self.env_value {
            return Ok(Some((Passphrase::new(value)?, S::Environment)));
        }
        if let Some(file) = config_file {
            return from_file(file, S::Config);
        }
        if self.terminal {
            return Ok(Some((prompt(confirm)?, S::Terminal)));
        }
        Ok(None)
    }
}

/// Asks a person for a new passphrase, twice.
///
/// # Errors
/// `Usage` if the two differ, or nothing can be read.
pub fn prompt_new() -> Result<Passphrase> {
    ask_for("New passphrase of this home: ", true)
}

fn prompt(confirm: bool) -> Result<Passphrase> {
    ask_for("Passphrase of this home: ", confirm)
}

fn ask_for(words: &str, confirm: bool) -> Result<Passphrase> {
    let ask = |words: &str| {
        rpassword::prompt_password(words)
            .map(Zeroizing::new)
            .map_err(|e| AgencyError::Usage(format!("cannot read from the terminal: {e}")))
    };
    let first = Passphrase::new(&ask(words)?)?;
    if confirm && Passphrase::new(&ask("The same again: ")?)?.0 != first.0 {
        return Err(AgencyError::Usage("the two passphrases differ".to_owned()));
    }
    Ok(first)
}

/// Fills a slice from the operating system's generator by way of aws-lc.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    aws_lc_rs::rand::fill(bytes)
        .map_err(|_| AgencyError::Bug("the random generator failed".to_owned()))
}

/// `keys/master.json`: the master key, sealed under the passphrase.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MasterFile {
    format: String,
    kdf: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    aead: String,
    sealed: String,
}

/// The key that seals everything else of this home. No Clone, no content in Debug.
pub struct MasterKey(RandomizedNonceKey);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    /// Makes a random master key. Returns it and the text of its file, sealed under `passphrase`
    /// with argon2id: 19 MiB, 2 passes, 1 lane (OWASP's first choice), about 20 ms.
    pub(crate) fn create(passphrase: &Passphrase) -> Result<(Self, String)> {
        let mut key = Zeroizing::new([0u8; 32]);
        fill_random(&mut key[..])?;
        let text = MasterFile::sealed(&key[..], passphrase)?;
        Ok((Self(aead_key(&key[..])?), text))
    }

    /// Opens the text of a master key file.
    pub(crate) fn open(text: &str, path: &Path, passphrase: &Passphrase) -> Result<Self> {
        Ok(Self(aead_key(&Self::unseal(text, path, passphrase)?)?))
    }

    /// The text of a master key file for the same key under another passphrase.
    pub(crate) fn reseal(
        text: &str,
        path: &Path,
        old: &Passphrase,
        new: &Passphrase,
    ) -> Result<String> {
        MasterFile::sealed(&Self::unseal(text, path, old)?, new)
    }

    /// The key itself.
    fn unseal(text: &str, path: &Path, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>> {
        let fail = |problem: String| AgencyError::Config {
            file: path.to_path_buf(),
            problem,
        };
        let file: MasterFile = serde_json::from_str(text).map_err(|e| fail(e.to_string()))?;
        let expected = [MASTER_FORMAT, "argon2id", "aes-256-gcm"];
        if [&file.format, &file.kdf, &file.aead] != expected {
            return Err(fail(format!(
                "format, kdf, aead must be {}; use a newer program",
                expected.join(", ")
            )));
        }
        let sealed = BASE64
            .decode(&file.sealed)
            .map_err(|e| fail(format!("sealed: {e}")))?;
        let kek = file.derive(passphrase)?;
        let key = open(&kek, MASTER_AAD, &sealed).ok_or(AgencyError::WrongPassphrase)?;
        if key.len() != 32 {
            return Err(fail("sealed: does not hold 32 bytes".to_owned()));
        }
        Ok(key)
    }

    /// Seals `bytes`: version(1) ‖ nonce(12) ‖ ciphertext ‖ tag(16), 29 bytes longer than `bytes`.
    pub(crate) fn seal(&self, purpose: &str, name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
        seal(&self.0, &associated(purpose, name), bytes)
    }

    /// Opens what [`Self::seal`] made for the same purpose and name; `None` if it is anything else.
    pub(crate) fn open_sealed(
        &self,
        purpose: &str,
        name: &str,
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        open(&self.0, &associated(purpose, name), sealed)
    }
}

/// Purposes are constants of this crate without a zero byte, so this is injective.
fn associated(purpose: &str, name: &str) -> Vec<u8> {
    [
        b"tallystick/",
        purpose.as_bytes(),
        b"/v1\0",
        name.as_bytes(),
    ]
    .concat()
}

impl MasterFile {
    /// The text of a file that seals this key, with a fresh salt.
    fn sealed(key: &[u8], passphrase: &Passphrase) -> Result<String> {
        let mut salt = [0u8; SALT_LEN];
        fill_random(&mut salt)?;
        let mut file = Self {
            format: MASTER_FORMAT.to_owned(),
            kdf: "argon2id".to_owned(),
            memory_kib: 19 * 1024,
            passes: 2,
            lanes: 1,
            salt: BASE64.encode(salt),
            aead: "aes-256-gcm".to_owned(),
            sealed: String::new(),
        };
        let kek = file.derive(passphrase)?;
        file.sealed = BASE64.encode(seal(&kek, MASTER_AAD, key)?);
        let mut text = serde_json::to_string_pretty(&file)
            .map_err(|e| AgencyError::Bug(format!("master key file: {e}")))?;
        text.push('\n');
        Ok(text)
    }

    fn derive(&self, passphrase: &Passphrase) -> Result<RandomizedNonceKey> {
        let fail = |problem: String| AgencyError::Usage(format!("master key file: {problem}"));
        // A changed file must not make this program take all memory or run for hours.
        if self.memory_kib > 4 << 20 || self.passes > 1000 || self.lanes > 64 {
            return Err(fail("argon2 parameters are out of bounds".to_owned()));
        }
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|e| fail(format!("argon2 parameters: {e}")))?;
        let salt = BASE64
            .decode(&self.salt)
            .map_err(|e| fail(format!("salt: {e}")))?;
        let mut key = Zeroizing::new([0u8; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &salt, &mut key[..])
            .map_err(|e| fail(format!("argon2: {e}")))?;
        aead_key(&key[..])
    }
}

fn aead_key(key: &[u8]) -> Result<RandomizedNonceKey> {
    RandomizedNonceKey::new(&AES_256_GCM, key)
        .map_err(|_| AgencyError::Bug("the AEAD refused its key".to_owned()))
}

fn seal(key: &RandomizedNonceKey, aad: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
    // Room for the tag from the start: growing later would leave a copy of the plaintext behind.
    let mut work = Vec::with_capacity(bytes.len() + AES_256_GCM.tag_len());
    work.extend_from_slice(bytes);
    let nonce = match key.seal_in_place_append_tag(Aad::from(aad), &mut work) {
        Ok(nonce) => nonce,
        Err(_) => {
            work.zeroize();
            return Err(AgencyError::Bug("the AEAD could not seal".to_owned()));
        }
    };
    let mut sealed = vec![SEAL_VERSION];
    sealed.extend_from_slice(nonce.as_ref());
    sealed.extend_from_slice(&work);
    Ok(sealed)
}

fn open(key: &RandomizedNonceKey, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (version, rest) = sealed.split_first()?;
    if *version != SEAL_VERSION {
        return None;
    }
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>()?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let mut work = Zeroizing::new(ciphertext.to_vec());
    let len = key
        .open_in_place(nonce, Aad::from(aad), work.as_mut_slice())
        .ok()?
        .len();
    work.truncate(len);
    Some(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Passphrase {
        Passphrase::new(text).unwrap()
    }

    #[test]
    fn secrets_do_not_print() {
        let inputs = PassphraseInputs {
            env_value: Some(Zeroizing::new("hunter2".to_owned())),
            ..Default::default()
        };
        let (master, _) = MasterKey::create(&words("hunter2")).unwrap();
        insta::assert_debug_snapshot!(words("hunter2"), @"Passphrase(..)");
        insta::assert_debug_snapshot!(master, @"MasterKey(..)");
        insta::assert_snapshot!(format!("{inputs:?}"), @r#"PassphraseInputs { flag_file: None, env_file: None, env_value: Some(".."), terminal: false }"#);
    }

    #[test]
    fn sources_are_asked_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("  {name} words \nsecond line\n")).unwrap();
            path
        };
        let (flag, env, config) = (file("flag"), file("env"), file("config"));
        let mut inputs = PassphraseInputs {
            flag_file: Some(flag.clone()),
            env_file: Some(env.clone()),
            env_value: Some(Zeroizing::new("value".to_owned())),
            terminal: false,
        };
        let expect = |inputs: &PassphraseInputs, words: &str, source: PassphraseSource| {
            let (got, from) = inputs.resolve(Some(&config), false).unwrap().unwrap();
            assert_eq!((got.as_bytes(), from), (words.as_bytes(), source));
        };
        expect(&inputs, "flag words", PassphraseSource::Flag(flag));
        inputs.flag_file = None;
        expect(&inputs, "env words", PassphraseSource::EnvironmentFile(env));
        inputs.env_file = None;
        expect(&inputs, "value", PassphraseSource::Environment);
        inputs.env_value = None;
        expect(
            &inputs,
            "config words",
            PassphraseSource::Config(config.clone()),
        );
        assert!(inputs.resolve(None, false).unwrap().is_none());
        // A source that is named but missing is an error, not a reason to go on.
        inputs.flag_file = Some(dir.path().join("none"));
        assert_eq!(
            inputs.resolve(Some(&config), false).unwrap_err().code(),
            "io"
        );
        std::fs::write(dir.path().join("none"), "\nlater").unwrap();
        assert!(
            inputs
                .resolve(None, false)
                .unwrap_err()
                .to_string()
                .contains("first line")
        );
    }

    #[test]
    fn master_key_needs_its_passphrase_and_its_parameters() {
        let (master, text) = MasterKey::create(&words("right")).unwrap();
        let path = Path::new("keys/master.json");
        let again = MasterKey::open(&text, path, &words("right")).unwrap();
        let sealed = master.seal("secret", "a", b"content").unwrap();
        assert_eq!(
            &again.open_sealed("secret", "a", &sealed).unwrap()[..],
            b"content"
        );

        let code = |text: &str, w: &str| MasterKey::open(text, path, &words(w)).unwrap_err().code();
        assert_eq!(code(&text, "wrong"), "wrong-passphrase");
        assert_eq!(
            code(&text.replace("\"passes\": 2", "\"passes\": 3"), "right"),
            "wrong-passphrase"
        );
        assert_eq!(code(&text.replace("19456", "4294967295"), "right"), "usage");
        assert_eq!(
            code(&text.replace("master/1", "master/2"), "right"),
            "config"
        );
        assert_eq!(code("{}", "right"), "config");
    }

    #[test]
    fn sealed_things_cannot_stand_in_for_each_other() {
        let (master, _) = MasterKey::create(&words("w")).unwrap();
        let sealed = master.seal("secret", "a", b"content").unwrap();
        assert_eq!(sealed.len(), 7 + 29);
        assert!(master.open_sealed("secret", "b", &sealed).is_none());
        assert!(master.open_sealed("blob", "a", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(
                master.open_sealed("secret", "a", &changed).is_none(),
                "{at}"
            );
            assert!(
                master.open_sealed("secret", "a", &sealed[..at]).is_none(),
                "{at}"
            );
        }
        // The nonce is fresh each time.
        assert_ne!(sealed, master.seal("secret", "a", b"content").unwrap());
    }

    #[test]
    fn generated_passphrases_differ() {
        let (a, b) = (
            Passphrase::generate().unwrap(),
            Passphrase::generate().unwrap(),
        );
        assert_eq!(a.as_bytes().len(), 64);
        assert_ne!(a.as_bytes(), b.as_bytes());
    }
}
