//! Profiles: a named set of types, rules and tables that both sides agree on before anything runs.

use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    ENCODING_VERSION, IdentifierType, Key, MAX_VALUE_BYTES, Normalised, Reject, Rule, document,
    email, holder, iban, imei,
    mrz::{Mrz, Zone},
    person::{self, Person, PersonRules},
    phone, plate, text, vin, wallet,
};

/// The profiles that are built in, each the text of its `.profile.toml`.
const BUILT_IN: [(&str, &str); 3] = [
    ("exact", include_str!("profiles/exact.profile.toml")),
    ("eu-strict", include_str!("profiles/eu-strict.profile.toml")),
    ("eu-wide", include_str!("profiles/eu-wide.profile.toml")),
];

/// The types, rules and tables that turn raw values into keys.
///
/// Request and grant carry the id, the hash and the parts behind it. A peer with another hash is
/// refused, because it would silently miss matches; the parts tell both sides what differs.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    id: String,
    types: Vec<IdentifierType>,
    person: PersonRules,
    keys_per_row: u16,
    parts: Vec<ProfilePart>,
}

/// One part of a profile: a type, or the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfilePart {
    /// `limits`, or the name of a type.
    pub name: String,
    /// Its rules and tables, in words and rows.
    pub text: String,
}

impl ProfilePart {
    /// SHA-256 over the text.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_bytes()).into()
    }
}

const fn keys_per_row() -> u16 {
    160
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    id: String,
    #[serde(default = "keys_per_row")]
    keys_per_row: u16,
    types: Vec<String>,
    person: Option<PersonRules>,
    /// Hashes that parts must have in this build, in hexadecimal.
    #[serde(default)]
    tables: std::collections::BTreeMap<String, String>,
}

/// Why a profile is refused. Whose fault: whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Not TOML, or not these members.
    #[error("line {line}: {problem}")]
    Toml {
        /// From 1.
        line: usize,
        /// What the parser says.
        problem: String,
    },
    /// The id is no name and version.
    #[error("the id must be NAME/VERSION, such as unit-7/1: a-z, 0-9 and hyphens, then a number")]
    Id,
    /// The id is that of a built-in profile.
    #[error("the id is that of a built-in profile, which says something else: choose another")]
    TakenId,
    /// An unknown type, or one that is named twice.
    #[error("types: {0} is unknown or named twice; there are {names}", names = IdentifierType::names())]
    Type(String),
    /// An unknown rule, or one that is named twice.
    #[error(
        "person.rules: {0} is unknown or named twice; there are {names}",
        names = Rule::ALL.map(Rule::name).join(", ")
    )]
    Rule(String),
    /// A rule whose keys rest on fewer elements than the profile asks for.
    #[error(
        "person.rules: keys of {0} rest on fewer data elements than person.minimum_elements: leave \
         the rule out, or lower the minimum"
    )]
    Weak(&'static str),
    /// Persons without rules, or numbers out of range.
    #[error("{0}")]
    Range(&'static str),
    /// The table of this build is not the one that was meant.
    #[error(
        "tables.{0}: this build has another table; use the version that the profile was written for, \
         or agree on a new profile"
    )]
    Table(String),
}

impl ProfileError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "profile-file"
    }
}

impl Profile {
    /// Names of the built-in profiles.
    #[must_use]
    pub fn names() -> [&'static str; 3] {
        BUILT_IN.map(|(name, _)| name)
    }

    /// The built-in profile of this name (`exact` or `exact/1`), or `None`.
    #[must_use]
    pub fn built_in(name: &str) -> Option<Self> {
        let name = name.strip_suffix("/1").unwrap_or(name);
        let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        Self::parse(text).ok()
    }

    /// `exact/1`: each identifier as it stands.
    ///
    /// # Panics
    /// Never: it is part of the build, and a test reads it.
    #[must_use]
    pub fn exact() -> &'static Self {
        static EXACT: LazyLock<Profile> = LazyLock::new(|| {
            Profile::built_in("exact")
                .unwrap_or_else(|| unreachable!("exact/1 is part of the build"))
        });
        &EXACT
    }

    /// Reads a `.profile.toml`.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        let profile = Self::parse(text)?;
        match Self::built_in(&profile.id) {
            Some(built_in) if built_in != profile => Err(ProfileError::TakenId),
            _ => Ok(profile),
        }
    }

    fn parse(text: &str) -> Result<Self, ProfileError> {
        let file: ProfileFile = toml::from_str(text).map_err(|e| ProfileError::Toml {
            line: e
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1),
            problem: e.message().to_owned(),
        })?;
        if !is_id(&file.id) {
            return Err(ProfileError::Id);
        }
        let types = each_once(&file.types, ProfileError::Type)?;
        if types.is_empty() || file.keys_per_row == 0 {
            return Err(ProfileError::Range(
                "a profile needs a type, and keys_per_row at least 1",
            ));
        }
        let of_people =
            |ty: &IdentifierType| matches!(ty, IdentifierType::Person | IdentifierType::Name);
        let person = match (file.person, types.iter().any(of_people)) {
            (Some(rules), _) => rules.checked(types.contains(&IdentifierType::Name))?,
            (None, false) => PersonRules::none(),
            (None, true) => {
                return Err(ProfileError::Range(
                    "the types person and name need a table [person] with their rules",
                ));
            }
        };
        let mut profile = Self {
            id: file.id,
            types,
            person,
            keys_per_row: file.keys_per_row,
            parts: Vec::new(),
        };
        profile.parts = profile.hashed_parts();
        for (name, hash) in &file.tables {
            let part = profile.parts.iter().find(|part| part.name == *name);
            if part.is_none_or(|part| hex::encode(part.hash()) != *hash) {
                return Err(ProfileError::Table(name.clone()));
            }
        }
        Ok(profile)
    }

    /// Name and version, as statements carry it: `exact/1`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// SHA-256 over id and parts, see [`tables_hash`].
    #[must_use]
    pub fn tables_hash(&self) -> [u8; 32] {
        let parts = self.parts.iter();
        tables_hash(
            &self.id,
            parts.map(|part| (part.name.as_str(), part.hash())),
        )
    }

    /// What the hash is made of, ascending by name.
    #[must_use]
    pub fn parts(&self) -> &[ProfilePart] {
        &self.parts
    }

    /// The types this profile knows.
    #[must_use]
    pub fn types(&self) -> &[IdentifierType] {
        &self.types
    }

    /// The most keys that one row has.
    #[must_use]
    pub const fn keys_per_row(&self) -> u16 {
        self.keys_per_row
    }

    /// The rules by which this profile makes keys of a type, in the order in which it makes them.
    #[must_use]
    pub fn rules(&self, ty: IdentifierType) -> Vec<Rule> {
        match ty {
            IdentifierType::Person => self.person.rules().to_vec(),
            IdentifierType::Name => {
                let rules = self.person.rules().iter().copied();
                rules.filter(|rule| person::is_of_names(*rule)).collect()
            }
            _ => vec![Rule::Exact],
        }
    }

    /// Appends the keys of one identifier to `keys`, which holds those of the other identifiers of the
    /// row: all together are no more than the profile allows a row. `parts` are those of the form `form` of
    /// [`IdentifierType::forms`], in order; optional ones at the end may be missing or empty.
    ///
    /// # Errors
    /// [`Reject`], which says what is wrong and holds no part of the value.
    pub fn keys(
        &self,
        ty: IdentifierType,
        form: usize,
        parts: &[&str],
        keys: &mut Vec<Key>,
    ) -> Result<Made, Reject> {
        if !self.types.contains(&ty) {
            return Err(Reject::TypeNotInProfile);
        }
        // The last part of a person says how to read, and nothing of anybody.
        let says = |part: &&str| part.chars().any(char::is_alphanumeric);
        let said_nothing = !parts.iter().take(5).any(says);
        let person = match (form, parts) {
            (0, _) => match ty {
                IdentifierType::Person => Person::read(parts, &self.person)?,
                IdentifierType::Name => Person::read_name(parts)?,
                _ => return Ok(exactly(normalise(ty, parts)?, keys)),
            },
            (_, [zone]) if zone.trim().is_empty() => return Ok(Made::Nothing),
            (_, [zone]) => return self.keys_as_read(ty, Mrz::parse(zone)?.zone(), keys),
            _ => return Err(Reject::Parts),
        };
        self.keys_of(&person, said_nothing, keys)
    }

    /// The same for a machine-readable zone, though its check digits may not hold: for whoever asks
    /// about a document in hand and says what does not hold beside the answer. Lists are made of zones
    /// that hold, by [`Self::keys`].
    ///
    /// # Errors
    /// [`Reject`]; types that no zone names are refused as [`Reject::Parts`].
    pub fn keys_as_read(
        &self,
        ty: IdentifierType,
        zone: &Zone,
        keys: &mut Vec<Key>,
    ) -> Result<Made, Reject> {
        if !self.types.contains(&ty) {
            return Err(Reject::TypeNotInProfile);
        }
        match ty {
            IdentifierType::Person => {
                let person = Person::of_zone(zone, &self.person)?;
                self.keys_of(&person, false, keys)
            }
            IdentifierType::Holder => Ok(exactly(holder::of_zone(zone)?, keys)),
            IdentifierType::Document => {
                let made = document::normalise(&zone.document_number(), zone.issuer())?;
                Ok(exactly(made, keys))
            }
            _ => Err(Reject::Parts),
        }
    }

    fn keys_of(
        &self,
        person: &Person,
        said_nothing: bool,
        keys: &mut Vec<Key>,
    ) -> Result<Made, Reject> {
        let before = keys.len();
        let cut = person.keys(&self.person, self.keys_per_row.into(), keys)?;
        match keys.len() - before {
            0 if said_nothing => Ok(Made::Nothing),
            0 if cut => Ok(Made::Cut),
            0 => Err(Reject::TooFewElements),
            _ if cut => Ok(Made::Cut),
            _ => Ok(Made::All),
        }
    }

    /// What is hashed says in words and tables what the code does: whoever changes a rule changes the
    /// words, and both sides see which part differs.
    fn hashed_parts(&self) -> Vec<ProfilePart> {
        let version = |(a, b, c): (u8, u8, u8)| format!("{a}.{b}.{c}");
        let unicode = format!(
            "unicode: normalisation {}, case {}",
            version(unicode_normalization::UNICODE_VERSION),
            version(char::UNICODE_VERSION)
        );
        let mut parts = vec![(
            "limits".to_owned(),
            format!(
                "element: version {ENCODING_VERSION}, type, issuer, value, at most {MAX_VALUE_BYTES} \
                 bytes\nkeys of a row: {}\n",
                self.keys_per_row
            ),
        )];
        for ty in &self.types {
            let text = match ty {
                IdentifierType::Document => format!("{}{unicode}\n", document::rules_text()),
                IdentifierType::Holder => {
                    let tables = Sha256::digest(super::transliteration::tables_text());
                    format!(
                        "{}{}transliteration: SHA-256 {}\n{unicode}\n",
                        holder::rules_text(),
                        person::reading_text(),
                        hex::encode(tables)
                    )
                }
                IdentifierType::Phone => {
                    format!("{}{}\n{unicode}\n", phone::RULES, phone::TABLES)
                }
                IdentifierType::Email => {
                    format!("{}{}\n{unicode}\n", email::RULES, email::TABLES)
                }
                IdentifierType::Iban => format!("{}{unicode}\n", iban::RULES),
                IdentifierType::Vin => format!("{}{unicode}\n", vin::RULES),
                IdentifierType::Plate => format!("{}{unicode}\n", plate::RULES),
                IdentifierType::Imei => format!("{}{unicode}\n", imei::RULES),
                IdentifierType::Wallet => wallet::RULES.to_owned(),
                IdentifierType::Text => format!(
                    "text: NFKC; upper case; NFKC; fold White_Space to U+0020; trim\n{unicode}\n"
                ),
                IdentifierType::Bytes => "bytes: as they stand\n".to_owned(),
                IdentifierType::Person | IdentifierType::Name => {
                    format!("{}{unicode}\n{}", self.person.text(), person::tables_text())
                }
            };
            parts.push((ty.name().to_owned(), text));
        }
        parts.sort();
        parts
            .into_iter()
            .map(|(name, text)| ProfilePart { name, text })
            .collect()
    }
}

/// The one key of an identifier that has no similar ones.
fn exactly(normalised: Option<Normalised>, keys: &mut Vec<Key>) -> Made {
    let Some(normalised) = normalised else {
        return Made::Nothing;
    };
    keys.push(Key {
        rule: Rule::Exact,
        normalised,
    });
    Made::All
}

/// Whether all keys of a row were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// There was nothing to match.
    Nothing,
    /// All.
    All,
    /// Families were left out that went beyond the profile's keys of a row.
    Cut,
}

/// What statements call the tables hash of a profile: SHA-256 over the lines `tallystick profile/1`,
/// the id, and for each part, ascending by name, its name, a space and its hash in hexadecimal; each
/// line ends with LF.
pub fn tables_hash<'a>(id: &str, parts: impl Iterator<Item = (&'a str, [u8; 32])>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(format!("tallystick profile/1\n{id}\n"));
    for (name, part) in parts {
        hash.update(format!("{name} {}\n", hex::encode(part)));
    }
    hash.finalize().into()
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Profile({}, {})",
            self.id,
            hex::encode(self.tables_hash())
        )
    }
}

/// The one canonical form of an identifier that has no similar ones.
fn normalise(ty: IdentifierType, parts: &[&str]) -> Result<Option<Normalised>, Reject> {
    match (ty, parts) {
        (IdentifierType::Document, [number, state]) => document::normalise(number, state),
        (IdentifierType::Holder, parts) => holder::normalise(parts),
        (IdentifierType::Phone, [number]) => phone::normalise(number, ""),
        (IdentifierType::Phone, [number, region]) => phone::normalise(number, region),
        (IdentifierType::Iban, [number]) => iban::normalise(number),
        (IdentifierType::Email, [address]) => email::normalise(address),
        (IdentifierType::Vin, [number]) => vin::normalise(number),
        (IdentifierType::Plate, [number, state]) => plate::normalise(number, state),
        (IdentifierType::Imei, [number]) => imei::normalise(number),
        (IdentifierType::Wallet, [address]) => wallet::normalise(address, ""),
        (IdentifierType::Wallet, [address, chain]) => wallet::normalise(address, chain),
        (IdentifierType::Text, [value]) => text::normalise(value),
        (IdentifierType::Bytes, [value]) => text::normalise_bytes(value),
        _ => Err(Reject::Parts),
    }
}

pub(super) fn each_once<T: std::str::FromStr + PartialEq + Ord>(
    names: &[String],
    error: fn(String) -> ProfileError,
) -> Result<Vec<T>, ProfileError> {
    let mut all: Vec<T> = Vec::new();
    for name in names {
        match name.parse() {
            Ok(one) if !all.contains(&one) => all.push(one),
            _ => return Err(error(name.escape_debug().to_string())),
        }
    }
    all.sort_unstable();
    Ok(all)
}

fn is_id(id: &str) -> bool {
    let Some((name, version)) = id.split_once('/') else {
        return false;
    };
    let word = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let number = version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0');
    (1..=48).contains(&name.len()) && word(name) && (1..=6).contains(&version.len()) && number
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn built_in_profiles_are_read() {
        for name in Profile::names() {
            let profile = Profile::built_in(name).unwrap();
            assert_eq!(profile.id(), format!("{name}/1"));
            assert_eq!(Profile::built_in(profile.id()).unwrap(), profile);
        }
        for name in ["", "Exact", "exact/2", "eu", "exact/1/1"] {
            assert!(Profile::built_in(name).is_none(), "{name}");
        }
        assert_eq!(
            Profile::exact().rules(IdentifierType::Person),
            [Rule::Exact]
        );
    }

    /// What stands in a statement tells two profiles apart, and which part differs.
    #[test]
    fn the_hash_follows_the_rules_and_not_the_text_of_the_file() {
        let text = BUILT_IN[1].1;
        let strict = Profile::built_in("eu-strict").unwrap();
        let commented = Profile::from_toml(&format!("# Ours.\n{text}")).unwrap();
        assert_eq!(strict.tables_hash(), commented.tables_hash());
        let changed = text
            .replace("eu-strict/1", "ours/1")
            .replace("\"calendar\",", "");
        let changed = Profile::from_toml(&changed).unwrap();
        let differ: Vec<&str> = strict
            .parts()
            .iter()
            .zip(changed.parts())
            .filter(|(a, b)| a != b)
            .map(|(a, _)| a.name.as_str())
            .collect();
        assert_eq!(differ, ["person"]);
        assert_ne!(strict.tables_hash(), changed.tables_hash());
    }

    #[test]
    fn profiles_that_are_refused() {
        let of = |text: &str| Profile::from_toml(text).unwrap_err();
        let person = "[person]\nminimum_elements = 3\nrules = [\"exact\"]\n";
        assert!(matches!(of("id = 1"), ProfileError::Toml { line: 1, .. }));
        assert!(matches!(
            of("id = \"a/1\"\ntypes = [\"text\"]\nrules = []"),
            ProfileError::Toml { line: 3, .. }
        ));
        for id in ["a", "a/0", "a/01", "A/1", "/1", "a/", "a b/1", "a/1/2"] {
            assert_eq!(
                of(&format!("id = \"{id}\"\ntypes = [\"text\"]")),
                ProfileError::Id
            );
        }
        let taken = format!("id = \"exact/1\"\ntypes = [\"person\"]\n{person}");
        assert_eq!(of(&taken), ProfileError::TakenId);
        for types in ["[\"face\"]", "[\"text\", \"text\"]"] {
            let text = format!("id = \"a/1\"\ntypes = {types}");
            assert!(matches!(of(&text), ProfileError::Type(_)));
        }
        let rules = |rules: &str, minimum: u8| {
            format!(
                "id = \"a/1\"\ntypes = [\"person\"]\n[person]\nminimum_elements = {minimum}\nrules = {rules}\n"
            )
        };
        assert!(matches!(
            of(&rules("[\"fuzzy\"]", 3)),
            ProfileError::Rule(_)
        ));
        assert!(matches!(of(&rules("[]", 3)), ProfileError::Range(_)));
        assert!(matches!(
            of(&rules("[\"exact\"]", 0)),
            ProfileError::Range(_)
        ));
        assert_eq!(
            of(&rules("[\"initial\"]", 3)),
            ProfileError::Weak("initial")
        );
        assert!(Profile::from_toml(&rules("[\"initial\"]", 2)).is_ok());
        assert!(matches!(
            of("id = \"a/1\"\ntypes = [\"person\"]"),
            ProfileError::Range(_)
        ));
        let names = rules("[\"exact\", \"one-edit\"]", 3).replace("\"person\"", "\"name\"");
        assert!(matches!(of(&names), ProfileError::Range(_)));
        let pinned = "id = \"a/1\"\ntypes = [\"bytes\"]\n[tables]\nbytes = \"00\"";
        assert_eq!(of(pinned), ProfileError::Table("bytes".to_owned()));
    }

    #[test]
    fn a_type_outside_the_profile_is_refused() {
        let profile = Profile::from_toml("id = \"a/1\"\ntypes = [\"bytes\"]").unwrap();
        let mut keys = Vec::new();
        let made = profile.keys(IdentifierType::Text, 0, &["a"], &mut keys);
        assert_eq!(made, Err(Reject::TypeNotInProfile));
        let made = profile.keys(IdentifierType::Bytes, 0, &["a"], &mut keys);
        assert_eq!((made, keys.len()), (Ok(Made::All), 1));
    }
}
