//! Machine-readable zones of travel documents: ICAO Doc 9303, eighth edition, parts 3 to 7.
//!
//! | Format | Lines | Documents |
//! |---|---|---|
//! | TD1 | 3 of 30 | cards (part 5) |
//! | TD2 | 2 of 36 | larger cards (part 6) |
//! | TD3 | 2 of 44 | passports (part 4) |
//! | MRV-A, MRV-B | 2 of 44, 2 of 36 | visas (part 7) |
//!
//! The identity cards that France issued before 2021 have 2 lines of 36 in an order of their own;
//! they are not read.
//!
//! Two uses, two ways in. [`Mrz::parse`] gives fields for matching and refuses a zone whose check
//! digits do not hold: a misread would silently match nothing. [`check`] takes any zone of the
//! right shape and says what in it cannot be true; [`blind_cells`] says what no check digit of it
//! can see. [`check_printed`] and [`compare`] do the same for what is printed above the zone.

mod check;
mod dates;
mod digits;
mod finding;
mod layout;
mod names;
mod printed;
mod repair;
mod states;
mod zone;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::fmt;

use zeroize::Zeroizing;

pub use check::check;
pub use dates::{Date, DateFault, ShortDate};
pub use digits::{ALPHABET, BlindCell, blind_cells, check_digit, look_the_same};
pub use finding::{Finding, Likely, Severity};
pub use layout::{Field, Kind, Place};
pub use printed::{Printed, check_printed, compare};
pub use states::{ICAO, ISO_3166, canonical as canonical_state, is_known as is_known_state};
pub use zone::{Misshapen, Zone};

#[cfg(test)]
pub(in crate::identifiers) use repair::confused_letters;

use super::Reject;
use digits::NumberForm;

/// The sex as a zone holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sex {
    /// `M`.
    Male,
    /// `F`.
    Female,
    /// `<`: not specified; `X` in print.
    Unspecified,
}

/// The fields of a zone whose check digits all hold. Secret: wiped on drop, hidden in Debug.
pub struct Mrz {
    zone: Zone,
    number: Zeroizing<String>,
    surname: Zeroizing<String>,
    given_names: Zeroizing<String>,
}

impl fmt::Debug for Mrz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mrz({}, ..)", self.zone.kind())
    }
}

impl Mrz {
    /// Reads a zone; see [`Zone::read`] for what is tolerated.
    ///
    /// # Errors
    /// [`Reject::MrzShape`] and [`Reject::MrzCharacter`] for what is no zone;
    /// [`Reject::MrzCheckDigit`] if any check digit, or the composite, does not hold.
    pub fn parse(text: &str) -> Result<Self, Reject> {
        let zone = Zone::read(text).map_err(|fault| match fault {
            Misshapen::Character { .. } => Reject::MrzCharacter,
            _ => Reject::MrzShape,
        })?;
        if digits::failing(&zone) != 0 {
            return Err(Reject::MrzCheckDigit);
        }
        Ok(Self {
            number: zone.document_number(),
            surname: zone.surname(),
            given_names: zone.given_names(),
            zone,
        })
    }

    /// The format.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.zone.kind()
    }

    /// The zone itself.
    #[must_use]
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The document code without fillers: `P`, `ID`, `V`.
    #[must_use]
    pub fn document_code(&self) -> &str {
        self.zone.field(Field::Type).trim_end_matches('<')
    }

    /// See [`Zone::document_number`].
    #[must_use]
    pub fn document_number(&self) -> &str {
        &self.number
    }

    /// See [`Zone::issuer`].
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.zone.issuer()
    }

    /// See [`Zone::nationality`].
    #[must_use]
    pub fn nationality(&self) -> &str {
        self.zone.nationality()
    }

    /// See [`Zone::surname`].
    #[must_use]
    pub fn surname(&self) -> &str {
        &self.surname
    }

    /// See [`Zone::given_names`].
    #[must_use]
    pub fn given_names(&self) -> &str {
        &self.given_names
    }

    /// See [`Zone::name_may_be_cut`].
    #[must_use]
    pub fn name_may_be_cut(&self) -> bool {
        self.zone.name_may_be_cut()
    }

    /// See [`Zone::birth_date`].
    #[must_use]
    pub fn birth_date(&self) -> &str {
        self.zone.birth_date()
    }

    /// The last day of validity: six characters `YYMMDD`.
    #[must_use]
    pub fn expiry(&self) -> &str {
        self.zone.field(Field::Expiry)
    }

    /// The sex; `None` if the zone holds another character there.
    #[must_use]
    pub fn sex(&self) -> Option<Sex> {
        match self.zone.field(Field::Sex) {
            "M" => Some(Sex::Male),
            "F" => Some(Sex::Female),
            "<" => Some(Sex::Unspecified),
            _ => None,
        }
    }
}

/// Its fields as they were read, whether or not the check digits hold: for a question that is asked
/// all the same, where the answer says that they do not.
impl Zone {
    /// The whole number, also a long one, without fillers: letters A to Z and digits; may be empty.
    /// Secret.
    #[must_use]
    pub fn document_number(&self) -> Zeroizing<String> {
        document_number(self)
    }

    /// Whether this check digit holds, or the format does not have it; true for fields that are none.
    #[must_use]
    pub fn holds(&self, check: Field) -> bool {
        digits::failing(self) & (1 << (check as u32)) == 0
    }

    /// Whether it is an identity card that France issued before 2021: its fields stand elsewhere, so none
    /// of those that are read here is what it says.
    #[must_use]
    pub fn is_old_french_card(&self) -> bool {
        self.kind() == Kind::Td2
            && self.field(Field::Type) == "ID"
            && self.field(Field::Issuer) == "FRA"
    }

    /// The issuing state or organisation: three letters, `DEU` for `D<<`. Whether it has that code
    /// is not checked here: see [`is_known_state`].
    #[must_use]
    pub fn issuer(&self) -> &str {
        canonical_state(self.field(Field::Issuer).trim_end_matches('<'))
    }

    /// The nationality, in the form of [`issuer`](Self::issuer). Secret.
    #[must_use]
    pub fn nationality(&self) -> &str {
        canonical_state(self.field(Field::Nationality).trim_end_matches('<'))
    }

    /// The primary part of the name, fillers turned into single spaces. Secret.
    #[must_use]
    pub fn surname(&self) -> Zeroizing<String> {
        names::spaced(names::parts(self.field(Field::Name)).0)
    }

    /// The secondary part of the name, in the same form; empty if the zone has none. Secret.
    #[must_use]
    pub fn given_names(&self) -> Zeroizing<String> {
        names::spaced(names::parts(self.field(Field::Name)).1)
    }

    /// Whether the name fills its field to the end, so that it may have been cut.
    #[must_use]
    pub fn name_may_be_cut(&self) -> bool {
        names::fills(self.field(Field::Name))
    }

    /// The date of birth: six characters `YYMMDD`, parts that are unknown as `<<`.
    /// [`ShortDate::read`] reads it and refuses what is no date. Secret.
    #[must_use]
    pub fn birth_date(&self) -> &str {
        self.field(Field::Birth)
    }
}

/// The number of a zone without fillers, the rest of a long number included.
fn document_number(zone: &Zone) -> Zeroizing<String> {
    let form = NumberForm::of(zone.kind(), zone.cells());
    let rest = zone.cells().get(form.rest.0..form.rest.1);
    let rest = std::str::from_utf8(rest.unwrap_or_default()).unwrap_or_default();
    let main = zone.field(Field::Number);
    let mut number = Zeroizing::new(String::with_capacity(main.len() + rest.len()));
    number.extend(main.chars().chain(rest.chars()).filter(|c| *c != '<'));
    number
}
