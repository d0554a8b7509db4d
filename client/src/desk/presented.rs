//! What a traveller presents: a machine-readable zone, or fields that somebody typed.

use std::fmt;

use serde::Deserialize;
use tallystick_protocol::{
    identifiers::{
        IdentifierType, Key, Profile,
        mrz::{
            Date, Field, Finding, Kind, Misshapen, Printed, Zone, check, check_printed, compare,
        },
        normalise,
    },
    statements::{Line, Name},
};
use zeroize::Zeroizing;

/// The longest line that is read, in bytes: a zone has 90 characters, and a person's names 240.
const MAX_LINE: usize = 8 * 1024;

/// Fields of a document as they are printed or typed. Secret; an empty one is as good as none.
#[derive(Default)]
pub struct Fields {
    /// The format, if it is known: it bounds the number.
    pub kind: Option<Kind>,
    /// The document number.
    pub number: Option<Zeroizing<String>>,
    /// The issuing state: three letters, or `D`.
    pub state: Option<Zeroizing<String>>,
    /// The nationality, in the same form.
    pub nationality: Option<Zeroizing<String>>,
    /// The surname, in its own script or as in the zone.
    pub surname: Option<Zeroizing<String>>,
    /// The given names.
    pub given_names: Option<Zeroizing<String>>,
    /// The date of birth, `YYYY-MM-DD`.
    pub birth_date: Option<Zeroizing<String>>,
    /// The last day of validity, `YYYY-MM-DD`.
    pub expiry: Option<Zeroizing<String>>,
    /// The sex: M, F or X.
    pub sex: Option<Zeroizing<String>>,
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fields(..)")
    }
}

fn text(field: &Option<Zeroizing<String>>) -> Option<&str> {
    let text = field.as_ref()?.as_str();
    (!text.trim().is_empty()).then_some(text)
}

impl Fields {
    fn printed(&self) -> Printed<'_> {
        Printed {
            kind: self.kind,
            number: text(&self.number),
            state: text(&self.state),
            nationality: text(&self.nationality),
            surname: text(&self.surname),
            given_names: text(&self.given_names),
            birth_date: text(&self.birth_date),
            expiry: text(&self.expiry),
            sex: text(&self.sex),
        }
    }
}

/// Why nothing can be asked about an input. It holds no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The line is longer than any document.
    #[error("the line is longer than 8 KiB; send one document a line")]
    TooLong,
    /// No zone, and no JSON object that has one or fields.
    #[error("{0}")]
    Zone(#[from] Misshapen),
    /// It begins like JSON and is none, or has other members.
    #[error(
        "column {column}: this is no JSON object with the members id, mrz, kind, number, state, \
         nationality, surname, given_names, birth_date, expiry, sex; all but mrz are strings, and mrz \
         may be a list of lines"
    )]
    Json {
        /// From 1; 0 if the parser does not say.
        column: usize,
    },
    /// The id is no short text.
    #[error("the id is no text of 1 to 512 bytes without control characters")]
    Id,
    /// The format is none of the five.
    #[error("the format is none of TD1, TD2, TD3, MRV-A, MRV-B")]
    Kind,
    /// There is neither a document number nor a name.
    #[error("there is neither a document number nor a surname; give a zone, or fields")]
    Nothing,
}

impl Unreadable {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLong => "line-length",
            Self::Zone(fault) => fault.code(),
            Self::Json { .. } => "json",
            Self::Id => "id",
            Self::Kind => "kind",
            Self::Nothing => "nothing-presented",
        }
    }
}

/// What a traveller presents, and an id by which whoever asks knows it again. Secret: its fields are
/// wiped on drop, and Debug shows nothing.
pub struct Presented {
    id: Option<String>,
    zone: Option<Zone>,
    fields: Fields,
    /// Three letters, or empty.
    state: String,
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presented(..)")
    }
}

/// The members of a line of JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    id: Option<String>,
    mrz: Option<Lines>,
    kind: Option<String>,
    number: Option<String>,
    state: Option<String>,
    nationality: Option<String>,
    surname: Option<String>,
    given_names: Option<String>,
    birth_date: Option<String>,
    expiry: Option<String>,
    sex: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Lines {
    Run(String),
    Lines(Vec<String>),
}

impl Presented {
    /// Reads a machine-readable zone: its lines, or all of it in one run. Its check digits need not hold:
    /// [`Self::findings`] says which do not.
    ///
    /// # Errors
    /// [`Unreadable::Zone`].
    pub fn from_mrz(text: &str) -> Result<Self, Unreadable> {
        if text.len() > MAX_LINE {
            return Err(Unreadable::TooLong);
        }
        Ok(Self::new(Some(Zone::read(text)?), Fields::default()))
    }

    /// Takes typed fields.
    ///
    /// # Errors
    /// [`Unreadable::Nothing`] without a number and without a surname.
    pub fn from_fields(fields: Fields) -> Result<Self, Unreadable> {
        if text(&fields.number).is_none() && text(&fields.surname).is_none() {
            return Err(Unreadable::Nothing);
        }
        Ok(Self::new(None, fields))
    }

    /// Takes a zone and what is printed above it: the zone is asked about, the print compared with it.
    ///
    /// # Errors
    /// [`Unreadable::Zone`].
    pub fn from_both(text: &str, printed: Fields) -> Result<Self, Unreadable> {
        let presented = Self::from_mrz(text)?;
        Ok(Self::new(presented.zone, printed))
    }

    /// Reads one line: a zone in one run, or a JSON object with `mrz` (a text or a list of lines), fields,
    /// or both, and perhaps an `id`.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn from_line(line: &str) -> Result<Self, Unreadable> {
        let line = line.trim();
        if line.len() > MAX_LINE {
            return Err(Unreadable::TooLong);
        }
        if !line.starts_with('{') {
            return Self::from_mrz(line);
        }
        // What the parser says may quote the line.
        let members: Members = serde_json::from_str(line).map_err(|error| Unreadable::Json {
            column: error.column(),
        })?;
        let secret = |field: Option<String>| field.map(Zeroizing::new);
        let kind = match members.kind {
            None => None,
            Some(kind) => Some(kind_named(&kind).ok_or(Unreadable::Kind)?),
        };
        let fields = Fields {
            kind,
            number: secret(members.number),
            state: secret(members.state),
            nationality: secret(members.nationality),
            surname: secret(members.surname),
            given_names: secret(members.given_names),
            birth_date: secret(members.birth_date),
            expiry: secret(members.expiry),
            sex: secret(members.sex),
        };
        let zone = match members.mrz {
            None => None,
            Some(Lines::Run(run)) => Some(Zeroizing::new(run)),
            Some(Lines::Lines(lines)) => {
                let lines = Zeroizing::new(lines);
                Some(Zeroizing::new(lines.join("\n")))
            }
        };
        let presented = match zone {
            Some(zone) => Self::from_both(&zone, fields)?,
            None => Self::from_fields(fields)?,
        };
        match members.id {
            None => Ok(presented),
            Some(id) => match id.parse::<Line>() {
                Ok(_) => Ok(presented.with_id(id)),
                Err(_) => Err(Unreadable::Id),
            },
        }
    }

    fn new(zone: Option<Zone>, fields: Fields) -> Self {
        let stated = match &zone {
            Some(zone) => Some(zone.issuer()),
            None => text(&fields.state),
        };
        // As keys have it: read by the rules of the type `document`.
        let document = normalise(IdentifierType::Document, &["1", stated.unwrap_or_default()]);
        let text = document.ok().flatten().map(|document| document.key_text);
        let state = text.as_ref().and_then(|text| text.split(':').nth(1));
        Self {
            id: None,
            state: state.unwrap_or_default().to_owned(),
            zone,
            fields,
        }
    }

    /// The same with the id of whoever asks: it comes back in the verdict and goes nowhere else.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The id of whoever asks.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The issuing state: three letters, or empty if it is not known.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.state
    }

    /// Whether there is a document number.
    #[must_use]
    pub fn has_number(&self) -> bool {
        match &self.zone {
            Some(zone) => !zone.document_number().is_empty(),
            None => text(&self.fields.number).is_some(),
        }
    }

    /// Everything that cannot be true of it by itself, read on the day `today`.
    #[must_use]
    pub fn findings(&self, today: Date) -> Vec<Finding> {
        let printed = self.fields.printed();
        match &self.zone {
            None => check_printed(&printed, today),
            Some(zone) => {
                let mut found = check(zone, today);
                found.extend(check_printed(&printed, today));
                found.extend(compare(zone, &printed));
                found
            }
        }
    }

    /// Whether the number's own check digit holds; `None` for fields, which have none.
    #[must_use]
    pub fn number_check(&self) -> Option<bool> {
        self.zone
            .as_ref()
            .map(|zone| zone.holds(Field::NumberCheck))
    }

    /// The zone, if there is one. Secret.
    #[must_use]
    pub const fn zone(&self) -> Option<&Zone> {
        self.zone.as_ref()
    }

    /// The keys under which it stands on a list of this type; none where what is presented does not say
    /// enough, where the profile does not have the type, and for types that no document has. Check digits
    /// need not hold.
    #[must_use]
    pub fn keys(&self, profile: &Profile, type_name: &Name) -> Vec<Key> {
        let Ok(ty) = type_name.as_str().parse::<IdentifierType>() else {
            return Vec::new();
        };
        let mut keys = Vec::with_capacity(64);
        let made = match &self.zone {
            Some(zone) if zone.is_old_french_card() => return keys,
            Some(zone) if ty == IdentifierType::Name => {
                let parts = [zone.given_names(), zone.surname()];
                profile.keys(ty, 0, &[&parts[0], &parts[1]], &mut keys)
            }
            Some(zone) => profile.keys_as_read(ty, zone, &mut keys),
            None => {
                let field = |field| text(field).unwrap_or_default();
                let fields = &self.fields;
                let parts: &[&str] = match ty {
                    IdentifierType::Document => &[field(&fields.number), field(&fields.state)],
                    IdentifierType::Holder => &[
                        field(&fields.number),
                        field(&fields.state),
                        field(&fields.surname),
                        field(&fields.given_names),
                        field(&fields.birth_date),
                    ],
                    IdentifierType::Person => &[
                        field(&fields.given_names),
                        field(&fields.surname),
                        field(&fields.birth_date),
                        "",
                        field(&fields.nationality),
                    ],
                    IdentifierType::Name => &[field(&fields.given_names), field(&fields.surname)],
                    _ => return Vec::new(),
                };
                profile.keys(ty, 0, parts, &mut keys)
            }
        };
        // Part of a refused identifier's keys is no identifier.
        if made.is_err() {
            keys.clear();
        }
        keys
    }
}

fn kind_named(name: &str) -> Option<Kind> {
    let plain = |text: &str| text.replace('-', "").to_ascii_uppercase();
    let mut kinds = Kind::ALL.into_iter();
    kinds.find(|kind| plain(kind.name()) == plain(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "presented_tests.rs"]
mod tests;
