//! How a profile makes keys of people: the table `[person]` of its file.

use serde::Deserialize;

use super::super::{ProfileError, Rule, profile::each_once};

/// How keys are made of persons and names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct PersonRules {
    /// Data elements that each key of a person rests on at least.
    minimum_elements: u8,
    /// Names of the rules, as the file has them.
    #[serde(rename = "rules")]
    names: Vec<String>,
    #[serde(skip)]
    rules: Vec<Rule>,
    /// Letters that stay of a name that was cut.
    #[serde(default = "three")]
    pub(super) truncated_letters: u8,
    /// Letters that both names have together at least, for the rule that needs no birth date.
    #[serde(default = "eighteen")]
    pub(super) long_name_letters: u8,
    /// Transliterations of a person at most.
    #[serde(default = "eight")]
    pub(super) transliterations: u8,
    /// Codes by ear of a person at most.
    #[serde(default = "eight")]
    pub(super) transcriptions: u8,
}

const fn three() -> u8 {
    3
}

const fn eight() -> u8 {
    8
}

const fn eighteen() -> u8 {
    18
}

/// From this on a part of an element (an initial, a year) is none, and the law's three are whole.
const WHOLE: u8 = 3;

impl PersonRules {
    /// Those of a profile without people.
    pub(in super::super) const fn none() -> Self {
        Self {
            minimum_elements: WHOLE,
            names: Vec::new(),
            rules: Vec::new(),
            truncated_letters: three(),
            long_name_letters: eighteen(),
            transliterations: eight(),
            transcriptions: eight(),
        }
    }

    /// Checks what the file says; `with_names` says whether the profile has the type `name`.
    pub(in super::super) fn checked(mut self, with_names: bool) -> Result<Self, ProfileError> {
        self.rules = each_once(&self.names, ProfileError::Rule)?;
        if !(1..=5).contains(&self.minimum_elements) {
            return Err(ProfileError::Range(
                "person.minimum_elements must be 1 to 5",
            ));
        }
        let weak = |rule: &&Rule| rule.rests_on() < self.minimum_elements;
        if let Some(weak) = self.rules.iter().find(weak) {
            return Err(ProfileError::Weak(weak.name()));
        }
        if with_names && self.minimum_elements > 2 {
            return Err(ProfileError::Range(
                "keys of the type name rest on two data elements: leave the type out, or lower \
                 person.minimum_elements to 2",
            ));
        }
        if self.only_whole() && self.truncated_letters < WHOLE {
            return Err(ProfileError::Range(
                "fewer than three letters are an initial, which rests on two data elements: raise \
                 person.truncated_letters, or lower person.minimum_elements to 2",
            ));
        }
        let numbers = [
            self.truncated_letters,
            self.long_name_letters,
            self.transliterations,
            self.transcriptions,
        ];
        if self.rules.is_empty() || numbers.contains(&0) {
            return Err(ProfileError::Range(
                "person.rules must name a rule, and numbers of [person] must be at least 1",
            ));
        }
        // The order of a file carries nothing.
        self.names.sort_unstable();
        Ok(self)
    }

    pub(super) fn has(&self, rule: Rule) -> bool {
        self.rules.contains(&rule)
    }

    /// The rules, in order.
    pub(in super::super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether an initial and a part of a date are no data element.
    pub(super) const fn only_whole(&self) -> bool {
        self.minimum_elements >= WHOLE
    }

    /// What the profile's hash says of them.
    pub(in super::super) fn text(&self) -> String {
        let rules: Vec<&str> = self.rules.iter().map(|rule| rule.name()).collect();
        format!(
            "rules: {}\nminimum elements {}, truncated to {}, long names {}, transliterations {}, \
             transcriptions {}\n",
            rules.join(" "),
            self.minimum_elements,
            self.truncated_letters,
            self.long_name_letters,
            self.transliterations,
            self.transcriptions
        )
    }
}
