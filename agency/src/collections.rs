//! What a node keeps about a collection that it offers, and the keys of its epochs.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use tallystick_protocol::{
    group::Kernel,
    identifiers::{IdentifierType, Profile},
    oprf::SecretKey,
    statements::{Coverage, Hex, Line, ListKind, Mode, Name, ProfileReference, TypeKey},
};
use tallystick_tables::{KeySpec, Mapping, TableFormat};
use zeroize::Zeroizing;

use crate::{
    error::{AgencyError, Result},
    home::Home,
    profiles,
    store::Collection,
};

/// How a table is read: the flags or the file that were given, so that an epoch can be rotated
/// without asking again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSource {
    /// The table.
    pub input: PathBuf,
    /// `--key` flags.
    #[serde(default)]
    pub keys: Vec<String>,
    /// `--mapping` file.
    #[serde(default)]
    pub mapping: Option<PathBuf>,
    /// `--label` columns.
    #[serde(default)]
    pub label: Vec<String>,
    /// `--profile`: the name of a built-in profile, a file, or what the file said when the list was
    /// published; `exact` when absent.
    #[serde(default)]
    pub profile: Option<String>,
    /// What flags state of how it is read.
    #[serde(default)]
    pub format: TableFormat,
}

impl TableSource {
    /// How the table is read: what the flags state, and what the mapping file states of the rest.
    #[must_use]
    pub fn format(&self, mapping: &Mapping) -> TableFormat {
        self.format.or(mapping.table())
    }

    /// The mapping that the flags or the file stand for.
    ///
    /// # Errors
    /// `Table` for flags or a file that do not parse; `Usage` if both are given.
    pub fn mapping(&self) -> Result<Mapping> {
        let mapping = self.mapped()?;
        match &self.profile {
            None => Ok(mapping),
            Some(name) => Ok(mapping.with_profile(profiles::load(name)?)?),
        }
    }

    fn mapped(&self) -> Result<Mapping> {
        match &self.mapping {
            Some(_) if !self.keys.is_empty() => Err(AgencyError::Usage(
                "give --key or --mapping, not both: a mapping file names its keys".to_owned(),
            )),
            Some(file) => {
                let mapping = Mapping::from_file(file)?;
                match self.label.is_empty() {
                    true => Ok(mapping),
                    false => {
                        let table = mapping.table();
                        let keys = mapping.keys().to_vec();
                        let mapping = Mapping::from_flags(keys, self.label.clone())?;
                        Ok(mapping.with_table(table))
                    }
                }
            }
            None => {
                let keys = self.keys.iter().map(|flag| KeySpec::parse(flag));
                Ok(Mapping::from_flags(
                    keys.collect::<Result<_, _>>()?,
                    self.label.clone(),
                )?)
            }
        }
    }
}

/// The type of a document, and of a document with its holder, as a register has both.
const DOCUMENT: &str = "document";
const HOLDER: &str = "holder";
/// The days of a hundred years.
const DATES_OF_A_CENTURY: u64 = 36_525;

/// What the store keeps of a collection, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// Identifier types it offers, ascending.
    pub types: Vec<Name>,
    /// Profile of its elements.
    pub profile: ProfileReference,
    /// Rules of its elements, by type; empty in what was published before this was kept.
    #[serde(default)]
    pub rules: BTreeMap<Name, Vec<Line>>,
    /// Names of the columns in its labels.
    pub label_columns: Vec<Line>,
    /// Tags in its snapshot, padding included.
    pub elements: u64,
    /// Bytes of a tag.
    pub tag_bytes: u32,
    /// Rows of the table it was made from.
    pub rows: u64,
    /// Elements one session may carry.
    pub max_session_elements: u64,
    /// Elements one peer may have evaluated under one key, in an epoch, where its type has no budget of
    /// its own. [`Meta::budget`] says which counts.
    pub peer_budget: u64,
    /// The same for single types.
    #[serde(default)]
    pub type_budgets: BTreeMap<Name, u64>,
    /// What stands on it; absent where its publisher does not say.
    #[serde(default)]
    pub kind: Option<ListKind>,
    /// What a register covers.
    #[serde(default)]
    pub covers: Option<Coverage>,
    /// When its epoch began; absent in what was published before this was kept.
    #[serde(default)]
    pub epoch_started_ms: Option<i64>,
    /// Peers that may ask; all peers when absent.
    #[serde(default)]
    pub allow: Option<Vec<Name>>,
    /// The table and how it is read.
    pub source: TableSource,
}

impl Meta {
    /// Reads what [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// `Bug` if the store holds something else.
    pub fn of(collection: &Collection) -> Result<Self> {
        serde_json::from_str(&collection.meta)
            .map_err(|e| AgencyError::Bug(format!("what is stored of a collection: {e}")))
    }

    /// The text for the store.
    ///
    /// # Errors
    /// `Bug` only.
    pub fn to_text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| AgencyError::Bug(e.to_string()))
    }

    /// Elements of this type that one peer may have evaluated in an epoch.
    ///
    /// Without a word about it a holder has twice the budget of a document: a traveller is asked as one
    /// document, and under a name or two. More would only help to guess (`docs/operations.md`).
    #[must_use]
    pub fn budget(&self, type_name: &Name) -> u64 {
        if let Some(budget) = self.type_budgets.get(type_name) {
            return *budget;
        }
        let document = self.types.iter().find(|name| name.as_str() == DOCUMENT);
        match document {
            Some(document) if type_name.as_str() == HOLDER => {
                self.budget(document).saturating_mul(2)
            }
            _ => self.peer_budget,
        }
    }

    /// The budgets of all types, ascending by type.
    #[must_use]
    pub fn budgets(&self) -> BTreeMap<Name, u64> {
        let types = self.types.iter();
        types
            .map(|name| (name.clone(), self.budget(name)))
            .collect()
    }

    /// For a register whose holders one peer may have evaluated often enough to try every date of a
    /// century as the date of birth on one document: how often.
    #[must_use]
    pub fn maps_birth_dates(&self) -> Option<u64> {
        let holder = self.types.iter().find(|name| name.as_str() == HOLDER)?;
        let budget = self.budget(holder);
        let register = self.kind == Some(ListKind::IssuedDocuments);
        (register && budget >= DATES_OF_A_CENTURY).then_some(budget)
    }

    /// Whether this peer may ask.
    #[must_use]
    pub fn allows(&self, peer: &str) -> bool {
        self.allow
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name.as_str() == peer))
    }
}

/// A profile, as statements refer to it.
///
/// # Errors
/// `Bug` only.
pub fn profile_reference(profile: &Profile) -> Result<ProfileReference> {
    ProfileReference::try_from(profile)
        .map_err(|why| AgencyError::Bug(format!("a profile's id: {why}")))
}

/// The names of the rules by which a profile makes elements of a type, as statements list them.
///
/// # Errors
/// `Bug` only.
pub fn rule_names(profile: &Profile, type_name: &Name) -> Result<Vec<Line>> {
    let ty = type_name.as_str().parse::<IdentifierType>();
    let rules = ty.map(|ty| profile.rules(ty)).unwrap_or_default();
    let names = rules.iter().map(|rule| rule.name().parse());
    names
        .collect::<std::result::Result<_, _>>()
        .map_err(|why| AgencyError::Bug(format!("a rule's name: {why}")))
}

/// Where the snapshot of this digest lies.
#[must_use]
pub fn snapshot_path(home: &Home, collection: &str, digest: &[u8; 32]) -> PathBuf {
    home.collections_dir()
        .join(collection)
        .join(format!("{}.snapshot", Hex(*digest)))
}

/// Where the delta that leads to the snapshot of this digest lies, if there is one.
#[must_use]
pub fn delta_path(home: &Home, collection: &str, digest: &[u8; 32]) -> PathBuf {
    snapshot_path(home, collection, digest).with_extension("delta")
}

/// The secret of an epoch, from which its keys are derived.
pub(crate) struct EpochSeed(pub(crate) Zeroizing<[u8; 32]>);

/// How the names of epochs' secrets begin.
pub(crate) const EPOCH_SECRET: &str = "oprf.";

fn secret_name(collection: &Name, epoch: u64) -> String {
    format!("{EPOCH_SECRET}{collection}.{epoch}")
}

impl EpochSeed {
    /// Opens the seed of an epoch.
    pub(crate) fn open(home: &Home, collection: &Name, epoch: u64) -> Result<Self> {
        let bytes = home.keys().open_secret(&secret_name(collection, epoch))?;
        let seed = <[u8; 32]>::try_from(&bytes[..])
            .map_err(|_| AgencyError::Bug("an epoch's seed has another length".to_owned()))?;
        Ok(Self(Zeroizing::new(seed)))
    }

    /// Makes the seed of a new epoch. One that lies there is replaced: the store does not know it,
    /// so what was ever charged under it is not known either.
    pub(crate) fn create(home: &Home, collection: &Name, epoch: u64) -> Result<()> {
        let mut seed = Zeroizing::new([0u8; 32]);
        crate::keys::fill_random(&mut seed[..])?;
        home.keys()
            .seal_secret(&secret_name(collection, epoch), &seed[..])
    }

    /// Forgets the seeds of all epochs before `epoch`, also those that a crash left behind.
    pub(crate) fn destroy_before(home: &Home, collection: &Name, epoch: u64) -> Result<()> {
        (1..epoch).try_for_each(|old| Self::destroy(home, collection, old))
    }

    /// Forgets the seed: nothing can be evaluated under this epoch any more.
    pub(crate) fn destroy(home: &Home, collection: &Name, epoch: u64) -> Result<()> {
        home.keys().remove_secret(&secret_name(collection, epoch))
    }

    /// The OPRF key of one type and mode: DeriveKeyPair of RFC 9497 with an info that is injective
    /// in collection, epoch, mode and type.
    pub(crate) fn key(
        &self,
        kernel: &dyn Kernel,
        collection: &Name,
        epoch: u64,
        mode: Mode,
        type_name: &Name,
    ) -> Result<SecretKey> {
        let mut info = b"tallystick/oprf-key/v1".to_vec();
        for part in [collection.as_str(), mode.name(), type_name.as_str()] {
            info.push(u8::try_from(part.len()).map_err(|_| AgencyError::Bug("a name".to_owned()))?);
            info.extend_from_slice(part.as_bytes());
        }
        info.extend_from_slice(&epoch.to_be_bytes());
        SecretKey::from_seed(kernel, &self.0, &info)
            .map_err(|e| AgencyError::Bug(format!("deriving an OPRF key: {e}")))
    }
}

/// The secret keys of a collection's types in one epoch and mode.
pub type EpochKeys = BTreeMap<Name, Arc<SecretKey>>;

/// Derives the keys of an epoch.
///
/// # Errors
/// `NoSecret` once the epoch is over.
pub fn epoch_keys(
    home: &Home,
    kernel: &dyn Kernel,
    collection: &Name,
    epoch: u64,
    mode: Mode,
    types: &[Name],
) -> Result<EpochKeys> {
    let seed = EpochSeed::open(home, collection, epoch)?;
    types
        .iter()
        .map(|name| {
            Ok((
                name.clone(),
                Arc::new(seed.key(kernel, collection, epoch, mode, name)?),
            ))
        })
        .collect()
}

/// The public halves, ascending by type.
#[must_use]
pub fn public_keys(keys: &EpochKeys) -> Vec<TypeKey> {
    let public = |(name, key): (&Name, &Arc<SecretKey>)| TypeKey {
        type_name: name.clone(),
        public_key: Hex(*key.public_bytes()),
    };
    keys.iter().map(public).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn meta(types: &[&str], kind: Option<ListKind>, budgets: &[(&str, u64)]) -> Meta {
        let name = |name: &&str| -> Name { name.parse().unwrap() };
        Meta {
            types: types.iter().map(name).collect(),
            profile: profile_reference(Profile::exact()).unwrap(),
            rules: BTreeMap::new(),
            label_columns: Vec::new(),
            elements: 16,
            tag_bytes: 8,
            rows: 1,
            max_session_elements: 1000,
            peer_budget: 30_000,
            type_budgets: budgets.iter().map(|(ty, n)| (name(ty), *n)).collect(),
            kind,
            covers: None,
            epoch_started_ms: None,
            allow: None,
            source: TableSource {
                input: "t.csv".into(),
                keys: Vec::new(),
                mapping: None,
                label: Vec::new(),
                profile: None,
                format: TableFormat::default(),
            },
        }
    }

    #[test]
    fn a_type_has_its_own_budget_or_that_of_all_and_a_holder_twice_that_of_a_document() {
        let budgets = |types: &[&str], said: &[(&str, u64)]| -> Vec<u64> {
            meta(types, None, said).budgets().into_values().collect()
        };
        let both = ["document", "holder"];
        assert_eq!(budgets(&["document", "text"], &[]), [30_000, 30_000]);
        assert_eq!(budgets(&["document", "text"], &[("text", 7)]), [30_000, 7]);
        assert_eq!(budgets(&both, &[]), [30_000, 60_000]);
        assert_eq!(budgets(&both, &[("document", 50)]), [50, 100]);
        assert_eq!(
            budgets(&both, &[("document", 50), ("holder", 60)]),
            [50, 60]
        );
        assert_eq!(
            budgets(&["holder", "text"], &[]),
            [30_000, 30_000],
            "without documents"
        );
        assert_eq!(budgets(&both, &[("document", u64::MAX)]), [u64::MAX; 2]);
    }

    #[test]
    fn a_register_whose_budget_covers_all_dates_is_seen() {
        let register = Some(ListKind::IssuedDocuments);
        let both = ["document", "holder"];
        let seen = |kind, budget| meta(&both, kind, &[("holder", budget)]).maps_birth_dates();
        assert_eq!(seen(register, 36_525), Some(36_525));
        assert_eq!(seen(register, 36_524), None);
        assert_eq!(seen(Some(ListKind::Watchlist), 1 << 30), None);
    }

    #[test]
    fn what_an_earlier_version_stored_is_read() {
        let text = meta(&["document"], None, &[]).to_text().unwrap();
        let without = [",\"type_budgets\":{}", ",\"kind\":null,\"covers\":null"];
        let old = without.iter().fold(text.clone(), |text, part| {
            assert!(text.contains(part), "{text}");
            text.replace(part, "")
        });
        let stored = Collection {
            name: "c".to_owned(),
            epoch: 1,
            meta: old,
            snapshot_digest: None,
            published_ms: None,
            removed: false,
        };
        assert_eq!(Meta::of(&stored).unwrap().to_text().unwrap(), text);
    }
}
