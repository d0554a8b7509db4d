//! The home folder of an agency: configuration, keys, certificates, state, records.
//!
//! ```text
//! VERSION            format number of this layout
//! node.toml          configuration
//! passphrase         only if init generated it
//! keys/              sealed secrets, 0600 each
//! tls/               node.crt, node.csr, ca.crt
//! exported.peer      the manifest that was given to peers last
//! state.db           state store
//! collections/       what this node offers, and what of it is not finished
//! records/           session records
//! cache/snapshots/   snapshots of peers, and the marks of those that were verified; may be deleted
//! ```
//! Everything is for the owner only. `tally` and `tallyd` use one home at the same time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use crate::config::{self, NodeConfig};
use crate::error::{AgencyError, Result};
use crate::fs::{
    OWNER_DIR, OWNER_FILE, atomic_write, create_owner_dir, parent_of, require_owner_only, sync_dir,
};
use crate::keys::{Passphrase, PassphraseInputs, PassphraseSource};
use crate::keystore::{DEV_CA_KEY, KeyStore, LOG_KEY, SIGNING_KEY, TLS_KEY};
use crate::memory;
use crate::report::moment;
use crate::store::{SqliteStore, Store};
use crate::tls::{self, TlsIdentity};

/// The layout that this program writes.
pub const FORMAT: u64 = 1;

const VERSION_FILE: &str = "VERSION";
const PASSPHRASE_FILE: &str = "passphrase";

/// What a new home should be.
#[derive(Debug)]
pub struct InitOptions {
    /// The agency's name.
    pub name: String,
    /// Its state, three capital letters.
    pub state: Option<String>,
    /// Passphrase and where it came from; `None` generates one into the home, with a warning.
    /// One from the command line's file is also named in `node.toml`.
    pub passphrase: Option<(Passphrase, PassphraseSource)>,
    /// Whether to make a development CA and have it sign this node's certificate.
    pub dev_ca: bool,
    /// Where the server listens; the default if `None`.
    pub listen_address: Option<std::net::SocketAddr>,
    /// `host:port` for peers.
    pub advertise_address: Option<String>,
}

/// An opened home. Share it by `Arc`.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    config: NodeConfig,
    keys: KeyStore,
}

impl Home {
    /// Creates a home, all or nothing, and opens it.
    ///
    /// A folder that does not exist is built beside its place and renamed. An existing empty folder
    /// (a mounted volume cannot be renamed over) is filled from a hidden folder inside, `VERSION`
    /// last. A folder that holds anything is refused.
    pub async fn init(dir: &Path, options: InitOptions) -> Result<Self> {
        let (config, passphrase, generated) = plan(&options)?;
        // The checks of a file that is read hold for one that is written.
        config.check().map_err(AgencyError::Usage)?;
        let exists = match fs::read_dir(dir) {
            Ok(mut entries) => match entries.next() {
                // Also one that is whole because `init` was killed when all was done.
                Some(_) if dir.join(VERSION_FILE).exists() => {
                    return Err(AgencyError::HomeExists(dir.to_path_buf()));
                }
                Some(_) => return Err(AgencyError::HomeNotEmpty(dir.to_path_buf())),
                None => true,
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
            Err(e) => return Err(AgencyError::io("read", dir)(e)),
        };
        let place = if exists { dir } else { parent_of(dir)? };
        let staging = tempfile::Builder::new()
            .prefix(".tally-init-")
            .permissions(fs::Permissions::from_mode(OWNER_DIR))
            .tempdir_in(place)
            .map_err(AgencyError::io("create a folder in", place))?;
        build(
            staging.path(),
            &config,
            &passphrase,
            generated,
            options.dev_ca,
        )
        .await?;
        if exists {
            fs::set_permissions(dir, fs::Permissions::from_mode(OWNER_DIR))
                .map_err(AgencyError::io("set the mode of", dir))?;
            move_entries(staging.path(), dir)?;
        } else {
            fs::rename(staging.path(), dir).map_err(AgencyError::io("create", dir))?;
            // Moved: there is nothing left to remove.
            let _ = staging.keep();
            sync_dir(place)?;
        }
        Self::open_with(dir, &passphrase)
    }

    /// Opens a home with the first passphrase that `inputs` and the configuration offer.
    pub fn open(dir: &Path, inputs: &PassphraseInputs) -> Result<Self> {
        let (config, (passphrase, _)) = Self::passphrase(dir, inputs)?;
        Self::unlock(dir, config, &passphrase)
    }

    /// The configuration, and the first passphrase that `inputs` and it offer.
    fn passphrase(
        dir: &Path,
        inputs: &PassphraseInputs,
    ) -> Result<(NodeConfig, (Passphrase, PassphraseSource))> {
        let config = check_and_load(dir)?;
        // Before the first secret is read.
        memory::settle(config.lock_memory, &dir.join(config::FILE_NAME))?;
        let file = config.passphrase_file.as_ref().map(|file| dir.join(file));
        if let Some(file) = &file
            && file.starts_with(dir)
            && file.exists()
        {
            require_owner_only(file, OWNER_FILE)?;
        }
        let found = inputs
            .resolve(file.as_deref(), false)?
            .ok_or(AgencyError::NoPassphrase)?;
        Ok((config, found))
    }

    /// Opens a home with a passphrase at hand.
    pub fn open_with(dir: &Path, passphrase: &Passphrase) -> Result<Self> {
        Self::unlock(dir, check_and_load(dir)?, passphrase)
    }

    /// Changes the passphrase of a home. Whoever has it open goes on; the next start needs the new
    /// one. Gives where the old one came from.
    pub fn change_passphrase(
        dir: &Path,
        inputs: &PassphraseInputs,
        new: &Passphrase,
    ) -> Result<PassphraseSource> {
        let (_, (old, source)) = Self::passphrase(dir, inputs)?;
        KeyStore::change_passphrase(&dir.join("keys"), &old, new)?;
        Ok(source)
    }

    fn unlock(dir: &Path, config: NodeConfig, passphrase: &Passphrase) -> Result<Self> {
        let keys = KeyStore::open(&dir.join("keys"), passphrase)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            config,
            keys,
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The passphrase file that [`Self::init`] generated because no passphrase was given: keys and
    /// passphrase lie on one disk then, and whoever copies the folder has the keys.
    pub fn generated_passphrase_file(&self) -> Option<PathBuf> {
        let file = self.config.passphrase_file.as_ref();
        file.filter(|file| file.as_os_str() == PASSPHRASE_FILE)
            .map(|file| self.dir.join(file))
    }

    /// The configuration as it was when the home was opened.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Sealed secrets and blobs.
    pub fn keys(&self) -> &KeyStore {
        &self.keys
    }

    /// The key that signs statements. Wiped on drop.
    pub fn signing_key(&self) -> Result<SigningKey> {
        self.keys.ed25519(SIGNING_KEY)
    }

    /// The key that signs the audit log. Wiped on drop.
    pub fn log_key(&self) -> Result<SigningKey> {
        self.keys.ed25519(LOG_KEY)
    }

    /// Opens the state store.
    pub async fn store(&self) -> Result<SqliteStore> {
        SqliteStore::open(&self.dir.join("state.db")).await
    }

    /// Refuses a home whose state store is gone: a file that was removed goes on working for whoever
    /// has it open, and what is written there is lost.
    pub fn require_state(&self) -> Result<()> {
        let path = self.dir.join("state.db");
        match path.try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err(AgencyError::StateGone(path)),
            Err(e) => Err(AgencyError::io("read", path)(e)),
        }
    }

    /// Where session records lie.
    pub fn records_dir(&self) -> PathBuf {
        self.dir.join("records")
    }

    /// Where this node's collections lie.
    pub fn collections_dir(&self) -> PathBuf {
        self.dir.join("collections")
    }

    /// Where peers' snapshots are kept. May be emptied at any time.
    pub fn snapshot_cache_dir(&self) -> PathBuf {
        self.dir.join("cache").join("snapshots")
    }

    /// The node's certificate chain, PEM, leaf first; put there by the operator or the development CA.
    pub fn certificate_file(&self) -> PathBuf {
        self.dir.join("tls").join("node.crt")
    }

    /// The CA certificates under which peers check this node, PEM.
    pub fn authority_file(&self) -> PathBuf {
        self.dir.join("tls").join("ca.crt")
    }

    /// The manifest that `peer export` made last.
    pub fn exported_file(&self) -> PathBuf {
        self.dir.join("exported.peer")
    }

    /// The request to have signed, PEM.
    pub fn request_file(&self) -> PathBuf {
        self.dir.join("tls").join("node.csr")
    }

    /// The certificate chain and key for TLS. Without a certificate the error says how to get one.
    pub fn tls_identity(&self) -> Result<TlsIdentity> {
        let file = self.certificate_file();
        if !file.exists() {
            return Err(AgencyError::Certificate {
                what: file.display().to_string(),
                problem: format!(
                    "is not there; have your CA sign {}, and put its certificate there and the CA's into {}",
                    self.request_file().display(),
                    self.authority_file().display()
                ),
            });
        }
        let chain = tls::read_certificates(&file)?;
        TlsIdentity::new(chain, self.tls_key()?)
    }

    /// [`Self::tls_identity`], refused when its time is over: every peer would refuse it, with less
    /// to say about what to do.
    pub fn current_tls_identity(&self, now_ms: i64) -> Result<TlsIdentity> {
        let identity = self.tls_identity()?;
        let ends = tls::certificate_expires_ms(identity.leaf())?;
        if ends > now_ms {
            return Ok(identity);
        }
        Err(AgencyError::Certificate {
            what: self.certificate_file().display().to_string(),
            problem: format!(
                "ended on {}; have {} signed again, replace it, and give peers a new manifest \
                 (`tallyd peer export`)",
                moment(ends),
                self.request_file().display()
            ),
        })
    }

    /// The TLS private key, PKCS #8 DER. Wiped on drop.
    pub fn tls_key(&self) -> Result<Zeroizing<Vec<u8>>> {
        self.keys.open_secret(TLS_KEY)
    }

    /// Writes `tls/node.csr` anew, for the name and address in the configuration and the same key.
    pub fn renew_request(&self) -> Result<()> {
        let (config, key) = (&self.config, self.tls_key()?);
        let request = tls::signing_request(&config.name, config.advertise_host(), &key)?;
        atomic_write(&self.request_file(), request.as_bytes(), OWNER_FILE)
    }

    /// Has the development CA sign `tls/node.csr` again: before the certificate ends. Homes made
    /// without a development CA answer `no-secret`.
    pub fn renew_dev_certificate(&self) -> Result<()> {
        let ca = crate::fs::read_text(&self.authority_file())?;
        let request = crate::fs::read_text(&self.request_file())?;
        let key = self.keys.open_secret(DEV_CA_KEY)?;
        let certificate = tls::dev_ca_sign(&ca, &key, &request)?;
        atomic_write(&self.certificate_file(), certificate.as_bytes(), OWNER_FILE)
    }
}

/// Configuration and passphrase of a new home, and whether the passphrase was generated.
fn plan(options: &InitOptions) -> Result<(NodeConfig, Passphrase, bool)> {
    let mut config = NodeConfig::new(&options.name);
    config.state = options.state.clone();
    config.advertise_address = options.advertise_address.clone();
    if let Some(address) = options.listen_address {
        config.listen_address = address;
    }
    match &options.passphrase {
        Some((passphrase, source)) => {
            if let PassphraseSource::Flag(file) = source {
                let file = fs::canonicalize(file).map_err(AgencyError::io("read", file))?;
                config.passphrase_file = Some(file);
            }
            Ok((config, passphrase.duplicate(), false))
        }
        None => {
            config.passphrase_file = Some(PathBuf::from(PASSPHRASE_FILE));
            Ok((config, Passphrase::generate()?, true))
        }
    }
}

/// Fills an empty folder.
async fn build(
    dir: &Path,
    config: &NodeConfig,
    passphrase: &Passphrase,
    generated: bool,
    dev_ca: bool,
) -> Result<()> {
    for name in [
        "keys",
        "tls",
        "collections",
        "records",
        "cache",
        "cache/snapshots",
    ] {
        create_owner_dir(&dir.join(name))?;
    }
    let write = |name: &str, text: &str| atomic_write(&dir.join(name), text.as_bytes(), OWNER_FILE);
    write(config::FILE_NAME, &config.render())?;
    if generated {
        let mut line = Zeroizing::new(passphrase.as_bytes().to_vec());
        line.push(b'\n');
        atomic_write(&dir.join(PASSPHRASE_FILE), &line, OWNER_FILE)?;
    }

    let keys = KeyStore::create(&dir.join("keys"), passphrase)?;
    keys.create_ed25519(SIGNING_KEY)?;
    keys.create_ed25519(LOG_KEY)?;
    let tls_key = tls::generate_key()?;
    keys.seal_secret(TLS_KEY, &tls_key)?;
    let request = tls::signing_request(&config.name, config.advertise_host(), &tls_key)?;
    write("tls/node.csr", &request)?;
    if dev_ca {
        let ca_key = tls::generate_key()?;
        keys.seal_secret(DEV_CA_KEY, &ca_key)?;
        let ca = tls::dev_ca(&config.name, &ca_key)?;
        write("tls/node.crt", &tls::dev_ca_sign(&ca, &ca_key, &request)?)?;
        write("tls/ca.crt", &ca)?;
    }

    SqliteStore::create(&dir.join("state.db"))
        .await?
        .close()
        .await;
    write(VERSION_FILE, &format!("{FORMAT}\n"))
}

/// Moves everything from `from` into `to`, `VERSION` last: without it, it is not a home.
fn move_entries(from: &Path, to: &Path) -> Result<()> {
    let entries = fs::read_dir(from).map_err(AgencyError::io("read", from))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(AgencyError::io("read", from))?.file_name());
    }
    names.sort_by_key(|name| name == VERSION_FILE);
    for name in names {
        if name == VERSION_FILE {
            sync_dir(to)?;
        }
        let target = to.join(&name);
        fs::rename(from.join(&name), &target).map_err(AgencyError::io("create", target))?;
    }
    sync_dir(to)
}

/// What can be checked and read without the passphrase.
fn check_and_load(dir: &Path) -> Result<NodeConfig> {
    let version = match fs::read_to_string(dir.join(VERSION_FILE)) {
        Ok(text) => text,
        // Permission and other errors have better words than "not a home".
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(AgencyError::NotAHome(dir.to_path_buf()));
        }
        Err(e) => return Err(AgencyError::io("read", dir.join(VERSION_FILE))(e)),
    };
    let found: u64 = version
        .trim()
        .parse()
        .map_err(|_| AgencyError::NotAHome(dir.to_path_buf()))?;
    if found > FORMAT {
        return Err(AgencyError::NewerFormat {
            what: format!("the home {}", dir.display()),
            found,
            known: FORMAT,
        });
    }
    require_owner_only(dir, OWNER_DIR)?;
    NodeConfig::load(&dir.join(config::FILE_NAME))
}

#[cfg(test)]
mod tests;
