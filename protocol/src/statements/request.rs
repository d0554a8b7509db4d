//! The receiver's request: the first flight of a session (spec section 3.4).

use serde::{Deserialize, Serialize};

use super::{Hex, Int, Line, Name, PROTOCOL, ProfileReference, SUITE, Statement};
use crate::{frame::Kind, signing::VerifyKey};

/// What the receiver learns (PROTOCOL section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Which of its own elements matched.
    Elements,
    /// How many matched. Has its place; not served by this version.
    Count,
    /// Both sides learn, in alternating steps. Has its place; not served by this version.
    Mutual,
}

impl Mode {
    /// The name in statements.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Elements => "elements",
            Self::Count => "count",
            Self::Mutual => "mutual",
        }
    }
}

/// The class of a session: laws allow different things for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionClass {
    /// One case (Prüm II: "searches only in individual cases").
    IndividualCase,
    /// A standing project with fixed purpose, members and retention.
    StandingCrossCheck,
    /// Counting only: belongs to mode `count`.
    CountOnly,
    /// A shift at a border desk: many small flights, of travellers who are there.
    BorderDesk,
    /// Nobody stated it. Said so, rather than claimed.
    NotStated,
}

impl SessionClass {
    /// The name in statements.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IndividualCase => "individual-case",
            Self::StandingCrossCheck => "standing-cross-check",
            Self::CountOnly => "count-only",
            Self::BorderDesk => "border-desk",
            Self::NotStated => "not-stated",
        }
    }
}

impl std::str::FromStr for SessionClass {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "individual-case" => Ok(Self::IndividualCase),
            "standing-cross-check" => Ok(Self::StandingCrossCheck),
            "count-only" => Ok(Self::CountOnly),
            "border-desk" => Ok(Self::BorderDesk),
            "not-stated" => Ok(Self::NotStated),
            _ => Err("one of individual-case, standing-cross-check, border-desk, count-only"),
        }
    }
}

/// The asking agency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// Its name.
    pub agency: Name,
    /// Its state, an ICAO three-letter code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<Line>,
    /// The key that signs this session's statements and chunks.
    pub signing_key: Hex<32>,
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS certificate.
    pub tls_spki: Hex<32>,
}

/// The agency that is asked: the audience of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderReference {
    /// Its name, as pinned by the receiver.
    pub agency: Name,
    /// Its signing key, as pinned by the receiver.
    pub signing_key: Hex<32>,
}

/// Why the receiver may ask. Signed claims: a verifier shows them, it cannot check them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Legal {
    /// Class of the session.
    pub class: SessionClass,
    /// Purpose.
    pub purpose: Line,
    /// Legal basis.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub legal_basis: Option<Line>,
    /// Category of offence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offence_category: Option<Line>,
    /// Category of person (suspect, convicted, victim, missing, remains).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject_category: Option<Line>,
    /// Salted commitment to the case reference.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub case: Option<Hex<32>>,
    /// Reference of the data protection impact assessment of the link.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dpia: Option<Line>,
    /// Europol handling code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub handling_code: Option<Line>,
    /// Source and accuracy code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_code: Option<Line>,
}

/// Who ran, ordered and approved: salted commitments to their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persons {
    /// Who ran it.
    pub runner: Hex<32>,
    /// Who ordered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub orderer: Option<Hex<32>>,
    /// Who approved it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approver: Option<Hex<32>>,
}

/// What is asked under one identifier type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Identifier type.
    #[serde(rename = "type")]
    pub type_name: Name,
    /// Rules whose keys the elements stand for.
    pub rules: Vec<Line>,
    /// Records the elements come from, padded: the receiver's claim.
    pub records: Int,
    /// Elements that will be sent, padding included: exact, but in a shift, where it is the most.
    pub elements: Int,
    /// In a shift: sizes that a chunk of this type may have, ascending. Small flights of every type
    /// have the first, so that one traveller, a family and nobody look the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flights: Option<Vec<Int>>,
}

/// The most sizes that a shift may name.
pub const MAX_FLIGHT_SIZES: usize = 8;

impl Query {
    /// Which of the sizes of its shift this is; `None` if none of them, or if this is no shift.
    pub(crate) fn flight_size(&self, elements: u64) -> Option<usize> {
        let sizes = self.flights.as_ref()?;
        sizes.iter().position(|size| size.get() == elements)
    }
}

/// The request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// `tallystick/1`.
    pub protocol: String,
    /// `ristretto255-SHA512`.
    pub suite: String,
    /// Session id, and request id: 16 random bytes.
    pub session: Hex<16>,
    /// Build of the receiver's software.
    pub build: Line,
    /// Who asks.
    pub receiver: Receiver,
    /// Who is asked.
    pub sender: SenderReference,
    /// Collection asked.
    pub collection: Name,
    /// Output mode.
    pub mode: Mode,
    /// Profile of the elements.
    pub profile: ProfileReference,
    /// Grounds.
    pub legal: Legal,
    /// People.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub persons: Option<Persons>,
    /// One entry a type, types in ascending order.
    pub queries: Vec<Query>,
    /// Set commitment, when the set was prepared before asking.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub set_commitment: Option<Hex<32>>,
    /// Digest of the authorisation under which the set may be asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authorisation: Option<Hex<32>>,
    /// Commitment to the receiver's audit nonce, revealed in its closing.
    pub nonce_commitment: Hex<32>,
    /// Digest of the last record closed with this peer when the request was made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous: Option<Hex<32>>,
    /// Time of the request.
    pub issued_ms: Int,
    /// After this the request is dead.
    pub expires_ms: Int,
}

impl Request {
    /// Elements over all types, padding included.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.queries
            .iter()
            .fold(0, |sum, q| sum.saturating_add(q.elements.get()))
    }

    /// Whether this is a shift: one grant and one closing for many small flights, which are asked
    /// for as travellers come (spec section 4.5).
    #[must_use]
    pub fn is_shift(&self) -> bool {
        self.queries.iter().any(|query| query.flights.is_some())
    }

    /// The rules of a shift that its queries must hold to together.
    fn check_shift(&self) -> Result<(), &'static str> {
        if self.is_shift() != (self.legal.class == SessionClass::BorderDesk) {
            return Err("a shift has class border-desk, and nothing else has");
        }
        if !self.is_shift() {
            return Ok(());
        }
        if self.set_commitment.is_some() {
            return Err("the set of a shift is not known when it begins");
        }
        let sizes = |query: &Query| query.flights.as_ref().map_or(0, Vec::len);
        let count = self.queries.first().map_or(0, sizes);
        if !(1..=MAX_FLIGHT_SIZES).contains(&count)
            || self.queries.iter().any(|query| sizes(query) != count)
        {
            return Err("all types of a shift name as many sizes of flights, 1 to 8");
        }
        let ascending = |query: &Query| {
            let sizes = query.flights.iter().flatten();
            sizes.is_sorted_by(|a, b| a < b)
        };
        let in_range = |query: &Query| {
            let most = (crate::session::MAX_CHUNK_ELEMENTS as u64).min(query.elements.get());
            let mut sizes = query.flights.iter().flatten();
            sizes.all(|size| (1..=most).contains(&size.get()))
        };
        if !self.queries.iter().all(|q| ascending(q) && in_range(q)) {
            return Err(
                "sizes of flights ascend, from 1 to 65,535 and to the elements of the type",
            );
        }
        Ok(())
    }
}

impl Statement for Request {
    const PAYLOAD_TYPE: &'static str = "application/vnd.tallystick.request.v1+json";
    const KIND: Kind = Kind::Request;

    fn author(&self) -> VerifyKey {
        self.receiver.signing_key.into()
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.protocol != PROTOCOL {
            return Err("another protocol version");
        }
        if self.suite != SUITE {
            return Err("another suite");
        }
        self.profile.check()?;
        if self.queries.is_empty() || self.queries.len() > 32 {
            return Err("queries must name 1 to 32 types");
        }
        if !self.queries.is_sorted_by(|a, b| a.type_name < b.type_name) {
            return Err("types of queries must ascend without repetition");
        }
        if self
            .queries
            .iter()
            .any(|q| q.elements.get() == 0 || q.rules.is_empty())
        {
            return Err("a query has no elements or no rules");
        }
        if self.queries.iter().any(|q| q.rules.len() > 64) {
            return Err("a query names more than 64 rules");
        }
        if self.legal.class == SessionClass::CountOnly && self.mode != Mode::Count {
            return Err("class count-only belongs to mode count");
        }
        self.check_shift()?;
        if self.expires_ms <= self.issued_ms {
            return Err("expires before it is issued");
        }
        let same_key = self.receiver.signing_key == self.sender.signing_key;
        if same_key || self.receiver.agency == self.sender.agency {
            return Err("an agency cannot ask itself");
        }
        Ok(())
    }
}
