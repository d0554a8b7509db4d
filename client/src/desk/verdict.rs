//! What is said in the end of one traveller: its types, and their words for people.

use std::fmt;

use serde::Serialize;
use tallystick_protocol::{
    identifiers::Rule,
    statements::{Coverage, Line, ListKind, Name},
};
use zeroize::Zeroizing;

use super::{Alarm, Unreadable};

/// What a desk knows of a collection it asks.
#[derive(Clone, Debug, Serialize)]
pub struct CollectionFacts {
    /// Whose it is.
    pub peer: String,
    /// Its name.
    pub collection: Name,
    /// What a hit or a miss means; a watchlist where the publisher does not say. `None` also while it was
    /// never reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ListKind>,
    /// What a register is complete for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covers: Option<Coverage>,
    /// The epoch of its keys; `None` while it was never reached, as with the date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// When the snapshot that is asked was published, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_ms: Option<u64>,
    /// Names of the columns of its labels, in order.
    pub label_columns: Vec<Line>,
}

/// What one collection said of one traveller.
#[derive(Debug)]
pub struct CollectionAnswer {
    /// Which.
    pub facts: CollectionFacts,
    /// What.
    pub told: Told,
}

/// An answer, or why there is none.
#[derive(Debug)]
pub enum Told {
    /// It was asked, and what follows is verified.
    Answered {
        /// Each type of the collection that the desk asks, and how many keys the traveller had.
        asked: Vec<AskedType>,
        /// What was found.
        hits: Vec<DeskHit>,
    },
    /// It was not asked: [`Self::OTHER_STATE`], [`Self::NO_KEYS`].
    NotAsked {
        /// The stable code.
        why: &'static str,
    },
    /// It should have answered and did not.
    Missing {
        /// The stable code.
        code: String,
        /// In plain words.
        why: String,
        /// Since when, in milliseconds since 1970, if it is known.
        since_ms: Option<u64>,
    },
}

impl Told {
    /// A register that does not cover the issuing state: no reason to ask it.
    pub const OTHER_STATE: &'static str = "other-state";
    /// What is presented says nothing by which the collection can be asked: its answer is missing.
    pub const NO_KEYS: &'static str = "no-keys";
}

/// How many keys of a type were asked for a traveller; none if what is presented does not say enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AskedType {
    /// The type.
    #[serde(rename = "type")]
    pub type_name: Name,
    /// How many keys.
    pub keys: usize,
}

/// A key of the traveller that stands on the list.
pub struct DeskHit {
    /// The key's type.
    pub type_name: Name,
    /// Why the key stands for the traveller.
    pub rule: Rule,
    /// The opened label, one value for each column; `None` without labels. Secret.
    pub label: Option<Zeroizing<Vec<String>>>,
    /// There should be a label, and it did not open.
    pub spoiled: bool,
}

impl fmt::Debug for DeskHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeskHit({}, {})", self.type_name, self.rule)
    }
}

/// The one word of a verdict: the gravest of its reasons, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// What came is no document that can be asked about: nothing was asked.
    Unreadable,
    /// The document is reported stolen, lost or revoked.
    Reported,
    /// The traveller, or the document, stands on a watchlist.
    Watchlisted,
    /// The zone or the print breaks a rule that every document keeps. Behind what lists say of it: a misread
    /// of one character must not hide that it was reported.
    Impossible,
    /// The register of the issuing state does not hold the number.
    NeverIssued,
    /// The register holds the number, and not with this holder.
    OtherHolder,
    /// Nothing was found, and an answer that could have changed that is missing.
    Incomplete,
    /// The register holds the number with this holder, and nothing else was found.
    Consistent,
    /// Nothing was found, and no register was asked.
    NothingKnown,
}

impl Conclusion {
    /// Every one, the gravest first.
    pub const ALL: [Self; 9] = [
        Self::Unreadable,
        Self::Reported,
        Self::Watchlisted,
        Self::Impossible,
        Self::NeverIssued,
        Self::OtherHolder,
        Self::Incomplete,
        Self::Consistent,
        Self::NothingKnown,
    ];

    /// The name in reports: `never-issued`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Impossible => "impossible",
            Self::Reported => "reported",
            Self::Watchlisted => "watchlisted",
            Self::NeverIssued => "never-issued",
            Self::OtherHolder => "other-holder",
            Self::Incomplete => "incomplete",
            Self::Consistent => "consistent",
            Self::NothingKnown => "nothing-known",
        }
    }

    /// The same for a guard, to be read at arm's length.
    #[must_use]
    pub const fn headline(self) -> &'static str {
        match self {
            Self::Unreadable => "Not read: scan again",
            Self::Impossible => "Cannot be right: scan again, then examine",
            Self::Reported => "Document reported",
            Self::Watchlisted => "On a watchlist",
            Self::NeverIssued => "Number never issued",
            Self::OtherHolder => "Issued to somebody else",
            Self::Incomplete => "Answers are missing",
            Self::Consistent => "Issued to this holder",
            Self::NothingKnown => "Nothing found",
        }
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a reason is about, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// It could not be read.
    Unreadable,
    /// It is reported.
    Reported,
    /// It is on a watchlist.
    Watchlisted,
    /// It breaks a rule of documents.
    Impossible,
    /// The register does not hold the number.
    NeverIssued,
    /// The register holds the number with another holder.
    OtherHolder,
    /// The register does not hold it as it was read; but a check digit says that it was misread.
    Misread,
    /// The register contradicts itself.
    Contradiction,
    /// The register holds the number; by whom it is held was not asked.
    Issued,
    /// The register holds the number with this holder.
    Consistent,
    /// A list that was asked does not hold it.
    NotFound,
    /// Something rare or worth knowing that decides nothing.
    Note,
}

/// What a reason rests on.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "from")]
pub enum Basis {
    /// The document itself.
    Document {
        /// The stable code of what was found.
        code: &'static str,
        /// The field.
        field: &'static str,
        /// Line of the zone, from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<usize>,
        /// Column of the zone, from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        column: Option<usize>,
        /// The rule: part and section of ICAO Doc 9303, or another standard.
        rule: &'static str,
    },
    /// A collection.
    Collection {
        /// Whose.
        peer: String,
        /// Its name.
        collection: Name,
        /// What it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<ListKind>,
        /// The epoch of its keys.
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<u64>,
        /// The day on which its snapshot was published, `YYYY-MM-DD` in UTC.
        #[serde(skip_serializing_if = "Option::is_none")]
        published: Option<String>,
        /// The day up to which a register is complete, in the same form.
        #[serde(skip_serializing_if = "Option::is_none")]
        complete_as_of: Option<String>,
        /// The type of the key.
        #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
        type_name: Option<Name>,
        /// The rules by which keys stand for the traveller, the surest first.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        rules: Vec<&'static str>,
        /// What the list says of the hit.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        label: Vec<LabelValue>,
    },
}

/// A column of a label.
#[derive(Serialize)]
pub struct LabelValue {
    /// Its name.
    pub column: String,
    /// What it holds, without characters that could deceive a reader. Secret.
    #[serde(serialize_with = "shown")]
    pub value: Zeroizing<String>,
}

/// A reason of a verdict. Its text may hold what a label says: for whoever asked, never for a log.
#[derive(Serialize)]
pub struct Reason {
    /// What it is about.
    pub class: Class,
    /// In plain words, one or two sentences.
    #[serde(serialize_with = "shown")]
    pub text: Zeroizing<String>,
    /// What it rests on.
    pub basis: Basis,
    /// What it does not prove.
    pub does_not_prove: &'static str,
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reason({:?})", self.class)
    }
}

/// An answer that is not there.
#[derive(Clone, Debug, Serialize)]
pub struct Missing {
    /// Who should have given it.
    pub peer: String,
    /// Of which collection.
    pub collection: Name,
    /// The stable code.
    pub code: String,
    /// `No answer from …, because …`.
    pub why: String,
    /// Since when, in milliseconds since 1970, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Whether the answer could have changed the conclusion, had nothing graver been found.
    pub could_change: bool,
    /// Whether the list gave no answer. Else it is the document that nothing follows from.
    pub no_answer: bool,
}

/// A collection that there was no reason to ask.
#[derive(Clone, Debug, Serialize)]
pub struct NotAsked {
    /// Whose.
    pub peer: String,
    /// Its name.
    pub collection: Name,
    /// The stable code.
    pub code: &'static str,
    /// In plain words.
    pub why: String,
}

/// The verdict on one traveller. It holds what labels say: for whoever asked, never for a log.
#[derive(Serialize)]
pub struct Verdict {
    /// `tally.desk/1`.
    pub schema: &'static str,
    /// The id of whoever asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The gravest of the reasons, or that answers are missing.
    pub conclusion: Conclusion,
    /// The same for a guard.
    pub headline: &'static str,
    /// Why, the gravest first; what was asked and not found, and what is only worth knowing, at the end.
    pub reasons: Vec<Reason>,
    /// Answers that are not there.
    pub missing: Vec<Missing>,
    /// Collections that there was no reason to ask.
    pub not_asked: Vec<NotAsked>,
    /// What no verdict of a desk proves.
    pub not_proved: Vec<&'static str>,
    /// From the question to the verdict, as whoever asked the lists measured it.
    pub milliseconds: u64,
}

impl Verdict {
    /// What `schema` says.
    pub const SCHEMA: &'static str = "tally.desk/1";

    /// The same for a person: the headline, each reason with what it does not prove, and what is missing.
    /// Secret, as its parts are.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let said = self
            .reasons
            .iter()
            .map(|r| r.text.len() + r.does_not_prove.len());
        let missing = self.missing.iter().map(|m| m.why.len());
        let asked = self.not_asked.iter().map(|n| n.why.len());
        // Room for all of it, so that it never moves and leaves a copy.
        let room: usize = said.chain(missing).chain(asked).map(|n| n + 8).sum();
        let proved: usize = self.not_proved.iter().map(|text| text.len() + 4).sum();
        let mut text = Zeroizing::new(String::with_capacity(room + proved + 80));
        text.push_str(self.headline);
        for reason in &self.reasons {
            text.push_str("\n- ");
            text.push_str(&reason.text);
            if !reason.does_not_prove.is_empty() {
                text.push_str("\n  ");
                text.push_str(reason.does_not_prove);
            }
        }
        let others = self.missing.iter().map(|missing| &missing.why);
        for why in others.chain(self.not_asked.iter().map(|other| &other.why)) {
            text.push_str("\n- ");
            text.push_str(why);
        }
        for not in &self.not_proved {
            text.push('\n');
            text.push_str(not);
        }
        text
    }

    /// Whether a list that was to be asked gave no answer.
    #[must_use]
    pub fn lacks_answers(&self) -> bool {
        self.missing.iter().any(|missing| missing.no_answer)
    }

    /// Says an alarm beside a verdict on a question that was asked all the same. It decides nothing.
    pub fn warn(&mut self, alarm: Alarm) {
        self.reasons.push(Reason {
            class: Class::Note,
            text: Zeroizing::new(format!("Alarm: {}.", alarm.why())),
            basis: Basis::Document {
                code: alarm.code(),
                field: "number",
                line: None,
                column: None,
                rule: Self::SCHEMA,
            },
            does_not_prove: "It says how this desk is used, and nothing of the document.",
        });
    }

    /// The verdict on an input that is nothing to ask about: nothing was asked.
    #[must_use]
    pub fn unreadable(id: Option<String>, fault: Unreadable) -> Self {
        let reason = Reason {
            class: Class::Unreadable,
            text: Zeroizing::new(fault.to_string()),
            basis: Basis::Document {
                code: fault.code(),
                field: "input",
                line: None,
                column: None,
                rule: Self::SCHEMA,
            },
            does_not_prove: "Nothing was asked: this says nothing of the document.",
        };
        Self {
            schema: Self::SCHEMA,
            id,
            conclusion: Conclusion::Unreadable,
            headline: Conclusion::Unreadable.headline(),
            reasons: vec![reason],
            missing: Vec::new(),
            not_asked: Vec::new(),
            not_proved: Vec::new(),
            milliseconds: 0,
        }
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verdict({})", self.conclusion)
    }
}

fn shown<S: serde::Serializer>(text: &Zeroizing<String>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}
