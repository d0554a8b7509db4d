//! The profile that both sides must share (spec section 3.3).

use serde::{Deserialize, Serialize};

use super::{Hex, Line, Name};
use crate::identifiers::{Profile, tables_hash};

/// The profile both sides must share: a mismatch is refused before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileReference {
    /// For example `exact/1`.
    pub id: Line,
    /// SHA-256 over id and parts, as [`tables_hash`] makes it.
    pub tables: Hex<32>,
    /// Its parts, ascending by name: so that two sides that differ see in what.
    pub parts: Vec<ProfilePartReference>,
}

/// One part of a profile: a type with its rules and tables, or the limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfilePartReference {
    /// `limits`, or the identifier type.
    pub name: Name,
    /// SHA-256 over its rules and tables.
    pub hash: Hex<32>,
}

impl ProfileReference {
    /// The profile of this id and these parts, which must ascend by name.
    #[must_use]
    pub fn new(id: Line, parts: Vec<ProfilePartReference>) -> Self {
        let tables = Hex(hash_of(&id, &parts));
        Self { id, tables, parts }
    }

    /// What a statement that carries it must hold.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.parts.is_empty() || self.parts.len() > 64 {
            return Err("a profile must have 1 to 64 parts");
        }
        if !self.parts.is_sorted_by(|a, b| a.name < b.name) {
            return Err("parts of a profile must ascend without repetition");
        }
        match hash_of(&self.id, &self.parts) == self.tables.0 {
            true => Ok(()),
            false => Err("the hash of a profile's tables is not that of its parts"),
        }
    }

    /// How another profile differs from this one, for a person; `None` if it does not.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        let mut text = match self.id == other.id {
            true => format!("both are {}", self.id),
            false => format!("{} here, {} there", self.id, other.id),
        };
        if self.parts == other.parts {
            text += "; their rules and tables are the same";
        }
        let has = |profile: &Self, part: &ProfilePartReference| profile.parts.contains(part);
        let named = |profile: &Self, part: &ProfilePartReference| {
            profile.parts.iter().any(|other| other.name == part.name)
        };
        let names = |parts: Vec<&ProfilePartReference>| -> String {
            let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
            names.join(", ")
        };
        let mut say = |what: &str, parts: Vec<&ProfilePartReference>| {
            if !parts.is_empty() {
                text += &format!("; {what}: {}", names(parts));
            }
        };
        let ours = || self.parts.iter();
        say(
            "other rules or tables in",
            ours()
                .filter(|p| named(other, p) && !has(other, p))
                .collect(),
        );
        say("only here", ours().filter(|p| !named(other, p)).collect());
        say(
            "only there",
            other.parts.iter().filter(|p| !named(self, p)).collect(),
        );
        Some(text)
    }
}

fn hash_of(id: &Line, parts: &[ProfilePartReference]) -> [u8; 32] {
    let parts = parts.iter();
    tables_hash(
        id.as_str(),
        parts.map(|part| (part.name.as_str(), part.hash.0)),
    )
}

impl TryFrom<&Profile> for ProfileReference {
    type Error = &'static str;

    fn try_from(profile: &Profile) -> Result<Self, Self::Error> {
        let parts = profile.parts().iter().map(|part| {
            Ok(ProfilePartReference {
                name: part.name.parse()?,
                hash: Hex(part.hash()),
            })
        });
        let parts = parts.collect::<Result<_, Self::Error>>()?;
        Ok(Self::new(profile.id().parse()?, parts))
    }
}
