//! What a presented document is.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::desk::Conclusion;

/// What a document of a labelled set is, and what happened to it on its way to the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Issued to whoever presents it, read without fault.
    Genuine,
    /// Genuine, of a state whose register is not asked.
    Foreign,
    /// Genuine; the document or its holder stands on the watchlist.
    Watchlisted,
    /// Reported stolen, lost or revoked; as it was, or with another holder's data.
    Stolen,
    /// A blank of a stolen series, filled in with check digits that hold.
    BlankSeries,
    /// A number that nobody issued: invented, or one digit of a true one altered.
    NeverIssued,
    /// A genuine document that bears another name.
    AlteredName,
    /// A genuine document with one letter of the surname altered.
    AlteredLetter,
    /// A genuine document that bears another date of birth.
    AlteredBirthDate,
    /// A genuine document altered where neither element looks: the expiry, the end of the given names.
    AlteredUnseen,
    /// A genuine document, presented by somebody who resembles its holder.
    LookAlike,
    /// A zone that no rule allows: check digits, dates, numbers.
    Impossible,
    /// Genuine; letters of the name read as others that look like them.
    MisreadName,
    /// Genuine; a filler that parts names read as a letter, so that there are other names.
    MisreadParting,
    /// Genuine; a digit read in the name, or a letter among the fillers behind it.
    MisreadForm,
    /// Genuine; a character of the number misread, and a check digit sees it.
    MisreadNumber,
    /// Genuine; a character of a date misread, and a check digit sees it.
    MisreadDate,
    /// Genuine; a character of the number misread as one that every check digit takes for it.
    MisreadUnseen,
    /// Genuine; characters of a line lost.
    MisreadCut,
}

impl Class {
    /// Every class, in the order of reports.
    pub const ALL: [Self; 19] = [
        Self::Genuine,
        Self::Foreign,
        Self::Watchlisted,
        Self::Stolen,
        Self::BlankSeries,
        Self::NeverIssued,
        Self::AlteredName,
        Self::AlteredLetter,
        Self::AlteredBirthDate,
        Self::AlteredUnseen,
        Self::LookAlike,
        Self::Impossible,
        Self::MisreadName,
        Self::MisreadParting,
        Self::MisreadForm,
        Self::MisreadNumber,
        Self::MisreadDate,
        Self::MisreadUnseen,
        Self::MisreadCut,
    ];

    /// The name in tables and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Genuine => "genuine",
            Self::Foreign => "foreign",
            Self::Watchlisted => "watchlisted",
            Self::Stolen => "stolen",
            Self::BlankSeries => "blank-series",
            Self::NeverIssued => "never-issued",
            Self::AlteredName => "altered-name",
            Self::AlteredLetter => "altered-letter",
            Self::AlteredBirthDate => "altered-birth-date",
            Self::AlteredUnseen => "altered-unseen",
            Self::LookAlike => "look-alike",
            Self::Impossible => "impossible",
            Self::MisreadName => "misread-name",
            Self::MisreadParting => "misread-parting",
            Self::MisreadForm => "misread-form",
            Self::MisreadNumber => "misread-number",
            Self::MisreadDate => "misread-date",
            Self::MisreadUnseen => "misread-unseen",
            Self::MisreadCut => "misread-cut",
        }
    }

    /// What the desk can conclude.
    ///
    /// A misread that a check digit sees makes a zone that cannot be true, whoever presents it: the
    /// reason names the likely misread. One that nothing sees makes another number or another name.
    #[must_use]
    pub const fn expected(self) -> Conclusion {
        match self {
            Self::Genuine | Self::MisreadName => Conclusion::Consistent,
            Self::AlteredUnseen | Self::LookAlike => Conclusion::Consistent,
            Self::Foreign => Conclusion::NothingKnown,
            Self::Watchlisted => Conclusion::Watchlisted,
            Self::Stolen | Self::BlankSeries => Conclusion::Reported,
            Self::NeverIssued | Self::MisreadUnseen => Conclusion::NeverIssued,
            Self::AlteredName | Self::AlteredLetter | Self::AlteredBirthDate => {
                Conclusion::OtherHolder
            }
            Self::MisreadParting => Conclusion::OtherHolder,
            Self::Impossible => Conclusion::Impossible,
            Self::MisreadForm | Self::MisreadNumber | Self::MisreadDate => Conclusion::Impossible,
            Self::MisreadCut => Conclusion::Unreadable,
        }
    }

    /// Whether a guard who knew everything would want an alarm.
    #[must_use]
    pub const fn wants_alarm(self) -> bool {
        !matches!(
            self,
            Self::Genuine
                | Self::Foreign
                | Self::MisreadName
                | Self::MisreadParting
                | Self::MisreadForm
                | Self::MisreadNumber
                | Self::MisreadDate
                | Self::MisreadUnseen
                | Self::MisreadCut
        )
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A word that names no class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{:?} is no class of documents; the classes are {}", .0, Class::ALL.map(Class::name).join(", "))]
pub struct UnknownClass(String);

impl FromStr for Class {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, UnknownClass> {
        let named = Self::ALL.into_iter().find(|class| class.name() == text);
        named.ok_or_else(|| UnknownClass(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_read_back() {
        for (i, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class.name().parse(), Ok(class));
            assert_eq!(Class::ALL.iter().position(|c| *c == class), Some(i));
        }
        assert!("Genuine".parse::<Class>().is_err());
        let error = "x".repeat(100).parse::<Class>().map_err(|e| e.to_string());
        assert!(error.is_err_and(|text| text.contains("look-alike") && text.len() < 500));
    }
}
