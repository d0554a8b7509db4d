//! Profiles: a named set of rules that both sides agree on before anything runs.

use std::fmt;

use sha2::{Digest, Sha256};

use super::{ENCODING_VERSION, IdentifierType, MAX_VALUE_BYTES, Rule};

/// The types, rules and tables that turn raw values into elements.
///
/// Request and grant carry the id and the hash of the tables; a peer with another hash is refused,
/// because it would silently miss matches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    id: &'static str,
    tables_hash: [u8; 32],
}

impl Profile {
    /// The built-in profile of this name (`exact` or `exact/1`), or `None`.
    pub fn built_in(name: &str) -> Option<Self> {
        matches!(name, "exact" | "exact/1").then(Self::exact)
    }

    /// `exact/1`: the types of this module, each key by the rule `exact`.
    pub fn exact() -> Self {
        let text = exact_tables(
            unicode_normalization::UNICODE_VERSION,
            char::UNICODE_VERSION,
        );
        Self {
            id: "exact/1",
            tables_hash: Sha256::digest(text.as_bytes()).into(),
        }
    }

    /// Name and version, as statements carry it: `exact/1`.
    pub const fn id(&self) -> &'static str {
        self.id
    }

    /// SHA-256 over the fixed text of the profile's types, rules and Unicode versions.
    ///
    /// It changes with the Unicode version of the build, too: a letter that gains an upper case in
    /// a later version would be matched differently by the two sides.
    pub const fn tables_hash(&self) -> [u8; 32] {
        self.tables_hash
    }

    /// The types this profile knows.
    pub const fn types(&self) -> &'static [IdentifierType] {
        &IdentifierType::ALL
    }

    /// The rules by which this profile makes keys.
    pub const fn rules(&self) -> &'static [Rule] {
        &[Rule::Exact]
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({}, {})", self.id, hex::encode(self.tables_hash))
    }
}

/// The text that is hashed. It says in words what the code does: whoever changes a rule changes
/// the words here, and takes a new version of the profile.
fn exact_tables(nfkc: (u8, u8, u8), case: (u8, u8, u8)) -> String {
    let hyphens: Vec<String> = super::document::HYPHENS
        .iter()
        .map(|c| format!("U+{:04X}", *c as u32))
        .collect();
    let version = |(a, b, c): (u8, u8, u8)| format!("{a}.{b}.{c}");
    format!(
        "tallystick profile exact/1\n\
         element: version {ENCODING_VERSION}, type, issuer, value, at most {MAX_VALUE_BYTES} bytes\n\
         document: number, state\n\
         document.number: NFKC; a-z to A-Z; remove White_Space, '<', {}; [A-Z0-9]{{1,30}}\n\
         document.state: trim White_Space; NFKC; a-z to A-Z; strip trailing '<'; D is DEU; [A-Z]{{3}}\n\
         text: NFKC; upper case; NFKC; fold White_Space to U+0020; trim\n\
         bytes: as they stand\n\
         rules: exact\n\
         unicode: normalisation {}, case {}\n",
        hyphens.join(" "),
        version(nfkc),
        version(case),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn built_in_names() {
        for name in ["exact", "exact/1"] {
            assert_eq!(Profile::built_in(name).unwrap().id(), "exact/1");
        }
        for name in ["", "Exact", "exact/2", "eu-strict"] {
            assert!(Profile::built_in(name).is_none());
        }
    }

    /// Pinned at fixed Unicode versions, so that a new compiler does not fail the test but a
    /// changed rule does. If it fails, the profile needs a new version.
    #[test]
    fn tables_text_is_pinned() {
        let hash: [u8; 32] = Sha256::digest(exact_tables((16, 0, 0), (16, 0, 0))).into();
        assert_eq!(hex::encode(hash), PINNED);
        let other: [u8; 32] = Sha256::digest(exact_tables((16, 0, 0), (17, 0, 0))).into();
        assert_ne!(hash, other);
        assert_eq!(
            Profile::exact().tables_hash(),
            Profile::exact().tables_hash()
        );
    }

    const PINNED: &str = "aead0a64fe1963c7f21669c4b5ff6fe48d5651575ce8967bca7dafc358373748";
}
