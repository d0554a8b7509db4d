//! The kinds of identifiers, and the parts that make them.

use std::fmt;
use std::str::FromStr;

/// A kind of identifier. Each has its own OPRF key, so a query of one type can never be counted
/// as another.
///
/// `padding` is not among them: it is reserved for the protocol, see
/// [`PADDING_TYPE`](super::PADDING_TYPE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentifierType {
    /// A travel or identity document: its number and the state that issued it.
    Document,
    /// A document and who holds it.
    Holder,
    /// A person: names and birth date, and what else is known.
    Person,
    /// The names of a person alone.
    Name,
    /// A phone number.
    Phone,
    /// An international bank account number.
    Iban,
    /// An email address.
    Email,
    /// A vehicle identification number.
    Vin,
    /// A registration plate: its number and the state of registration.
    Plate,
    /// Mobile equipment.
    Imei,
    /// The address of a crypto-asset wallet.
    Wallet,
    /// Free text, compared without regard to case, width and spacing.
    Text,
    /// Bytes compared as they stand.
    Bytes,
}

/// A part of a key: a column, or a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSpec {
    /// Its name in mapping files.
    pub name: &'static str,
    /// Whether a mapping may leave it out.
    pub optional: bool,
}

/// The parts of one way to give a key, in the order in which flags name them; optional ones last.
pub type Form = &'static [PartSpec];

const fn part(name: &'static str) -> PartSpec {
    PartSpec {
        name,
        optional: false,
    }
}

const fn optional(name: &'static str) -> PartSpec {
    PartSpec {
        name,
        optional: true,
    }
}

const MRZ: Form = &[part("mrz")];
const DOCUMENT: &[Form] = &[&[part("number"), part("state")], MRZ];
const HOLDER: &[Form] = &[
    &[
        part("number"),
        part("state"),
        part("surname"),
        part("given_name"),
        part("birth_date"),
        optional("date_order"),
    ],
    MRZ,
];
const PERSON: &[Form] = &[
    &[
        part("given_name"),
        part("surname"),
        part("birth_date"),
        optional("birth_place"),
        optional("nationality"),
        optional("date_order"),
    ],
    MRZ,
];
const NAME: &[Form] = &[&[part("given_name"), part("surname")]];
const PHONE: &[Form] = &[&[part("number"), optional("region")]];
const NUMBER: &[Form] = &[&[part("number")]];
const EMAIL: &[Form] = &[&[part("address")]];
const PLATE: &[Form] = &[&[part("number"), part("state")]];
const WALLET: &[Form] = &[&[part("address"), optional("chain")]];
const VALUE: &[Form] = &[&[part("value")]];

impl IdentifierType {
    /// Every type, in the order in which lists show them.
    pub const ALL: [Self; 13] = [
        Self::Document,
        Self::Holder,
        Self::Person,
        Self::Name,
        Self::Phone,
        Self::Iban,
        Self::Email,
        Self::Vin,
        Self::Plate,
        Self::Imei,
        Self::Wallet,
        Self::Text,
        Self::Bytes,
    ];

    /// The name in flags, statements and output columns. At most 255 bytes of ASCII.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Holder => "holder",
            Self::Person => "person",
            Self::Name => "name",
            Self::Phone => "phone",
            Self::Iban => "iban",
            Self::Email => "email",
            Self::Vin => "vin",
            Self::Plate => "plate",
            Self::Imei => "imei",
            Self::Wallet => "wallet",
            Self::Text => "text",
            Self::Bytes => "bytes",
        }
    }

    /// Whether a value of this type was given to one bearer by somebody who numbers them: that it is
    /// met again is no chance.
    #[must_use]
    pub const fn is_unique(self) -> bool {
        !matches!(self, Self::Person | Self::Name | Self::Text | Self::Bytes)
    }

    /// All names, as messages list them: `document, person, …`.
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The ways to give a key of this type: at least one, each with another number of parts that
    /// must be there.
    pub const fn forms(self) -> &'static [Form] {
        match self {
            Self::Document => DOCUMENT,
            Self::Holder => HOLDER,
            Self::Person => PERSON,
            Self::Name => NAME,
            Self::Phone => PHONE,
            Self::Iban | Self::Vin | Self::Imei => NUMBER,
            Self::Email => EMAIL,
            Self::Plate => PLATE,
            Self::Wallet => WALLET,
            Self::Text | Self::Bytes => VALUE,
        }
    }

    /// Its forms for a message: `number, state, or mrz`, optional parts in brackets.
    #[must_use]
    pub fn forms_text(self) -> String {
        let form = |form: &Form| -> String {
            let parts = form.iter().map(|part| match part.optional {
                true => format!("[{}]", part.name),
                false => part.name.to_owned(),
            });
            parts.collect::<Vec<_>>().join(", ")
        };
        let forms: Vec<String> = self.forms().iter().map(form).collect();
        forms.join(", or ")
    }

    /// The form of this name, and its index: the first has none, others have that of their one part.
    pub fn form_named(self, name: Option<&str>) -> Option<(usize, Form)> {
        let mut forms = self.forms().iter().copied().enumerate();
        match name {
            None => forms.next(),
            Some(name) => forms
                .skip(1)
                .find(|(_, form)| form.first().is_some_and(|part| part.name == name)),
        }
    }
}

impl fmt::Display for IdentifierType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for IdentifierType {
    type Err = UnknownType;

    fn from_str(name: &str) -> Result<Self, UnknownType> {
        Self::ALL
            .into_iter()
            .find(|ty| ty.name() == name)
            .ok_or(UnknownType)
    }
}

/// No identifier type has this name. Whose fault: whoever wrote the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown identifier type; use one of: {}", IdentifierType::names())]
pub struct UnknownType;

impl UnknownType {
    /// The stable code of this error.
    pub const fn code(self) -> &'static str {
        "unknown-type"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identifiers::PADDING_TYPE;

    #[test]
    fn names_parse_back_and_others_are_refused() {
        for ty in IdentifierType::ALL {
            assert_eq!(ty.name().parse::<IdentifierType>(), Ok(ty));
            assert_eq!(ty.to_string(), ty.name());
            assert_ne!(ty.name(), PADDING_TYPE);
        }
        for bad in ["", "Document", "document ", "padding", "persons"] {
            assert_eq!(bad.parse::<IdentifierType>(), Err(UnknownType));
        }
        assert!(UnknownType.to_string().contains("document, holder, person"));
    }

    #[test]
    fn forms_are_found_by_their_name() {
        let form = |name| {
            IdentifierType::Document
                .form_named(name)
                .map(|(at, form)| (at, form.len()))
        };
        assert_eq!(form(None), Some((0, 2)));
        assert_eq!(form(Some("mrz")), Some((1, 1)));
        assert_eq!(form(Some("number")), None);
        assert_eq!(IdentifierType::Text.form_named(Some("mrz")), None);
    }

    /// Else an optional part in the middle would shift the others.
    #[test]
    fn forms_are_told_apart_and_optional_parts_come_last() {
        for ty in IdentifierType::ALL {
            assert!(ty.forms()[1..].iter().all(|form| form.len() == 1), "{ty}");
            for form in ty.forms() {
                assert!(form.is_sorted_by_key(|part| part.optional), "{ty}");
            }
        }
    }
}
