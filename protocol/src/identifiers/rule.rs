//! Rules: why a key stands for its record. A hit says by which rule it was found.

use std::fmt;
use std::str::FromStr;

/// Why a key stands for its record.
///
/// Commission Delegated Regulation (EU) 2023/333 says in Annex II which identity data are similar.
/// Set intersection is exact, so a record emits one key for each form in which it may be met again,
/// and each key carries its rule inside the element: a key of one rule never meets a key of another.
/// Both sides emit the same family, so what meets is equal in what the rule keeps of a record. That is
/// wider than its name in two cases, which [`Rule::OneEdit`] and [`Rule::Truncated`] say; the re-check
/// of a hit tells them apart where the label names the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The whole canonical identifier.
    Exact,
    /// Equal in one of the transliterations of ICAO Doc 9303-3.
    Transliteration,
    /// The same words in another order or in another field: inverted and grouped fields, swapped
    /// words.
    NameOrder,
    /// The same letters in another order, words joined or split.
    SwappedLetters,
    /// One letter of one name inserted, left out, replaced, or swapped with its neighbour: the names are
    /// the same once at most one letter is left out of each. So a letter that moved further (MARIA,
    /// ARIAN) meets as well.
    OneEdit,
    /// One name cut short: both begin with the same letters. So names that go on differently
    /// (ALEXANDER, ALEXANDRA) meet as well.
    Truncated,
    /// Day and month of the birth date swapped.
    DateSwapped,
    /// One digit of the birth date replaced.
    DateOneEdit,
    /// The same day in another calendar.
    Calendar,
    /// Names that sound alike when they are written down by ear: Daitch-Mokotoff.
    Transcription,
    /// Three data elements, not all of them names and birth date.
    ThreeElements,
    /// The same with a place of birth under another of its names.
    RenamedPlace,
    /// One name given as its first letter: both begin with it.
    Initial,
    /// Both names, and the year of birth alone.
    YearOfBirth,
    /// Two of given name, surname and birth date.
    TwoOfThree,
}

impl Rule {
    /// Every rule, in the order in which keys are made: what the budget of a row cuts is the end.
    pub const ALL: [Self; 15] = [
        Self::Exact,
        Self::Transliteration,
        Self::NameOrder,
        Self::DateSwapped,
        Self::Calendar,
        Self::SwappedLetters,
        Self::Truncated,
        Self::Transcription,
        Self::ThreeElements,
        Self::RenamedPlace,
        Self::TwoOfThree,
        Self::YearOfBirth,
        Self::Initial,
        Self::DateOneEdit,
        Self::OneEdit,
    ];

    /// The name in statements, profiles and output columns.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Transliteration => "transliteration",
            Self::NameOrder => "name-order",
            Self::SwappedLetters => "swapped-letters",
            Self::OneEdit => "one-edit",
            Self::Truncated => "truncated",
            Self::DateSwapped => "date-swapped",
            Self::DateOneEdit => "date-one-edit",
            Self::Calendar => "calendar",
            Self::Transcription => "transcription",
            Self::ThreeElements => "three-elements",
            Self::RenamedPlace => "renamed-place",
            Self::Initial => "initial",
            Self::YearOfBirth => "year-of-birth",
            Self::TwoOfThree => "two-of-three",
        }
    }

    /// How sure a hit by this rule is before any re-check, in thousandths: 1000 is certain. An order
    /// for people, from how much of the identity the key rests on; no probability.
    #[must_use]
    pub const fn score_thousandths(self) -> u16 {
        match self {
            Self::Exact => 1000,
            Self::Transliteration => 980,
            Self::NameOrder => 960,
            Self::Calendar => 940,
            Self::OneEdit => 930,
            Self::DateSwapped => 920,
            Self::SwappedLetters => 910,
            Self::DateOneEdit => 900,
            Self::Truncated => 880,
            Self::Transcription => 850,
            Self::ThreeElements => 820,
            Self::RenamedPlace => 810,
            Self::Initial => 760,
            Self::YearOfBirth => 700,
            Self::TwoOfThree => 650,
        }
    }

    /// Whether two records that are similar by this rule are, by what it says, also similar by another.
    #[must_use]
    pub const fn implies(self, other: Self) -> bool {
        match self {
            Self::Exact => !matches!(other, Self::Exact),
            Self::Transliteration => !matches!(other, Self::Exact | Self::Transliteration),
            // The same words and the same date.
            Self::NameOrder => matches!(
                other,
                Self::SwappedLetters
                    | Self::DateSwapped
                    | Self::DateOneEdit
                    | Self::Calendar
                    | Self::YearOfBirth
            ),
            Self::OneEdit | Self::Truncated => {
                matches!(other, Self::TwoOfThree | Self::Initial)
            }
            _ => false,
        }
    }

    /// How many whole data elements of a person its keys rest on (given name, surname, birth date,
    /// place of birth, nationality). An initial and a year are parts of one, and are not counted.
    #[must_use]
    pub const fn rests_on(self) -> u8 {
        match self {
            Self::Initial | Self::YearOfBirth | Self::TwoOfThree => 2,
            _ => 3,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(name: &str) -> Result<Self, UnknownRule> {
        let mut all = Self::ALL.into_iter();
        all.find(|rule| rule.name() == name).ok_or(UnknownRule)
    }
}

/// No rule has this name. Whose fault: whoever wrote the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown rule")]
pub struct UnknownRule;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_scores_put_exact_first() {
        for rule in Rule::ALL {
            assert_eq!(rule.name().parse::<Rule>(), Ok(rule));
            assert!(rule == Rule::Exact || rule.score_thousandths() < 1000);
        }
        assert_eq!("fuzzy".parse::<Rule>(), Err(UnknownRule));
        let names: std::collections::BTreeSet<_> = Rule::ALL.map(Rule::name).into();
        assert_eq!(names.len(), Rule::ALL.len());
    }
}
