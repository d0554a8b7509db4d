//! From what was found on the lists to a verdict.
//!
//! What was said is not weighed against each other: every reason stands in the verdict, and its one word is
//! that of the gravest. A missing answer is never a miss: without anything grave the word is that answers
//! are missing, if one of them could have changed it.

use tallystick_protocol::{
    identifiers::{
        IdentifierType,
        mrz::{Date, Field, Finding, Severity, is_known_state},
    },
    statements::{ListKind, Name},
};
use zeroize::Zeroizing;

use super::{
    AskedType, Basis, Class, CollectionAnswer, CollectionFacts, Conclusion, DeskHit, LabelValue,
    Missing, NotAsked, Presented, Reason, Told, Verdict, words,
};

/// Column of a label that says how a document is reported.
const REPORT: &str = "report";
/// Column of a label that names the series of blanks a document is of.
const SERIES: &str = "series";

/// Code of an answer that says nothing, since the question was misread.
const MISREAD: &str = "misread";

/// Code of an answer of a register that may be the right one: the state was not read.
const NO_STATE: &str = "no-state";

/// What no verdict proves.
const NOT_PROVED: [&str; 2] = [
    "Pictures and chips are not looked at: whether the document is genuine and the bearer its holder is \
     for you to see.",
    "A list says what its publisher put on it, as of its date.",
];

/// The verdict on `presented`, read on the day `today`, from what the collections said. Pure: the same
/// input gives the same verdict. `milliseconds` is 0, for whoever asked to fill in.
#[must_use]
pub fn judge(presented: &Presented, today: Date, answers: Vec<CollectionAnswer>) -> Verdict {
    let findings = presented.findings(today);
    let mut said = Said::default();
    for finding in &findings {
        said.reasons.push(of_finding(finding));
    }
    for answer in answers {
        let facts = &answer.facts;
        match answer.told {
            Told::Missing {
                code,
                why,
                since_ms,
            } => {
                let why = words::missing(facts, &why);
                said.miss(presented, facts, &code, why, since_ms);
                said.is_no_answer();
            }
            Told::NotAsked {
                why: Told::OTHER_STATE,
            } => said.of_other_states(presented, facts),
            Told::NotAsked { why } => {
                said.miss(presented, facts, why, words::no_keys(facts, None), None);
            }
            Told::Answered { asked, hits } => match facts.kind {
                Some(ListKind::IssuedDocuments) => {
                    of_register(presented, facts, &asked, &hits, &mut said);
                }
                _ => of_list(presented, facts, &asked, &hits, &mut said),
            },
        }
    }
    said.verdict(presented)
}

/// What was gathered so far.
#[derive(Default)]
struct Said {
    reasons: Vec<Reason>,
    missing: Vec<Missing>,
    not_asked: Vec<NotAsked>,
}

impl Said {
    fn miss(
        &mut self,
        presented: &Presented,
        facts: &CollectionFacts,
        code: &str,
        why: String,
        since_ms: Option<u64>,
    ) {
        self.missing.push(Missing {
            peer: words::safe(&facts.peer),
            collection: facts.collection.clone(),
            code: words::safe(code),
            why,
            since_ms,
            could_change: could_change(presented, facts),
            no_answer: false,
        });
    }

    /// What was missed last is the list's answer itself.
    fn is_no_answer(&mut self) {
        if let Some(last) = self.missing.last_mut() {
            last.no_answer = true;
        }
    }

    /// A register of other states was not asked. Of a number without a state that there is, it may be the
    /// one that should have been.
    fn of_other_states(&mut self, presented: &Presented, facts: &CollectionFacts) {
        if presented.has_number() && !is_known_state(presented.state()) {
            self.miss(presented, facts, NO_STATE, words::no_state(facts), None);
            return;
        }
        self.not_asked.push(NotAsked {
            peer: words::safe(&facts.peer),
            collection: facts.collection.clone(),
            code: Told::OTHER_STATE,
            why: words::other_state(facts),
        });
    }

    fn verdict(mut self, presented: &Presented) -> Verdict {
        self.reasons.sort_by_key(|reason| reason.class);
        let found = self.reasons.iter().map(|reason| word_of(reason.class));
        let found = found.min().unwrap_or(Conclusion::NothingKnown);
        let open = self.missing.iter().any(|missing| missing.could_change);
        let conclusion = match open {
            true => found.min(Conclusion::Incomplete),
            false => found,
        };
        Verdict {
            schema: Verdict::SCHEMA,
            id: presented.id().map(str::to_owned),
            conclusion,
            headline: conclusion.headline(),
            reasons: self.reasons,
            missing: self.missing,
            not_asked: self.not_asked,
            not_proved: NOT_PROVED.to_vec(),
            milliseconds: 0,
        }
    }
}

/// The word that a reason calls for by itself.
const fn word_of(class: Class) -> Conclusion {
    match class {
        Class::Unreadable => Conclusion::Unreadable,
        Class::Impossible => Conclusion::Impossible,
        Class::Reported => Conclusion::Reported,
        Class::Watchlisted => Conclusion::Watchlisted,
        Class::NeverIssued => Conclusion::NeverIssued,
        Class::OtherHolder => Conclusion::OtherHolder,
        Class::Consistent => Conclusion::Consistent,
        // What a register says in part stands among what is missing as well.
        Class::Misread | Class::Contradiction | Class::Issued => Conclusion::NothingKnown,
        Class::NotFound | Class::Note => Conclusion::NothingKnown,
    }
}

/// Whether an answer of this collection could say anything of this document: a register of other states
/// could not, and none can without a number. What is not known of a collection or of the state is no reason
/// to do without the answer.
fn could_change(presented: &Presented, facts: &CollectionFacts) -> bool {
    if facts.kind != Some(ListKind::IssuedDocuments) || facts.covers.is_none() {
        return true;
    }
    let state = is_known_state(presented.state());
    presented.has_number() && (covers(presented, facts) || !state)
}

fn covers(presented: &Presented, facts: &CollectionFacts) -> bool {
    let states = facts.covers.iter().flat_map(|covers| &covers.states);
    let mut states = states.map(|state| state.as_str());
    !presented.state().is_empty() && states.any(|state| state == presented.state())
}

fn of_finding(finding: &Finding) -> Reason {
    let class = match finding.severity {
        Severity::Error => Class::Impossible,
        Severity::Warning | Severity::Note => Class::Note,
    };
    let does_not_prove = match class {
        Class::Impossible => {
            "A misread looks the same: scan it again before you conclude anything."
        }
        _ => "",
    };
    Reason {
        class,
        text: words::finding(finding),
        basis: Basis::Document {
            code: finding.code,
            field: finding.field.name(),
            line: finding.place.map(|place| place.line),
            column: finding.place.map(|place| place.column),
            rule: finding.reference,
        },
        does_not_prove,
    }
}

fn basis(
    facts: &CollectionFacts,
    type_name: Option<&Name>,
    rules: Vec<&'static str>,
    label: Vec<LabelValue>,
) -> Basis {
    let complete = facts.covers.as_ref().map(|covers| covers.complete_ms.get());
    Basis::Collection {
        peer: words::safe(&facts.peer),
        collection: facts.collection.clone(),
        kind: facts.kind,
        epoch: facts.epoch,
        published: facts.published_ms.map(words::minute),
        complete_as_of: complete.map(words::day),
        type_name: type_name.cloned(),
        rules,
        label,
    }
}

/// A watchlist, or a list of reported documents.
fn of_list(
    presented: &Presented,
    facts: &CollectionFacts,
    asked: &[AskedType],
    hits: &[DeskHit],
    said: &mut Said,
) {
    let reported = facts.kind == Some(ListKind::StolenDocuments);
    for hit in one_of_each(hits) {
        let first = hit.first;
        let of_document = matches!(
            first.type_name.as_str().parse(),
            Ok(IdentifierType::Document | IdentifierType::Holder)
        );
        let label = shown(facts, first);
        let (class, text, does_not_prove) = match reported && of_document {
            true => (
                Class::Reported,
                words::reported(
                    facts,
                    value(&label, REPORT),
                    value(&label, SERIES),
                    first.spoiled,
                ),
                "It does not say that the bearer took it: owners travel with documents they found again.",
            ),
            false => (
                Class::Watchlisted,
                words::watchlisted(facts, first, of_document),
                words::watchlisted_not_proved(first, of_document),
            ),
        };
        said.reasons.push(Reason {
            class,
            text,
            basis: basis(facts, Some(&first.type_name), hit.rules, label),
            does_not_prove,
        });
    }
    let by: Vec<&Name> = asked
        .iter()
        .filter(|a| a.keys > 0)
        .map(|a| &a.type_name)
        .collect();
    if hits.is_empty() && !by.is_empty() {
        said.reasons.push(Reason {
            class: Class::NotFound,
            text: words::not_found(facts, &by),
            basis: basis(facts, None, Vec::new(), Vec::new()),
            does_not_prove: "",
        });
    }
    for ty in asked.iter().filter(|asked| asked.keys == 0) {
        let why = words::no_keys(facts, Some(&ty.type_name));
        said.miss(presented, facts, Told::NO_KEYS, why, None);
    }
    if asked.is_empty() && hits.is_empty() {
        said.miss(
            presented,
            facts,
            Told::NO_KEYS,
            words::no_keys(facts, None),
            None,
        );
    }
}

/// A register of issued documents.
fn of_register(
    presented: &Presented,
    facts: &CollectionFacts,
    asked: &[AskedType],
    hits: &[DeskHit],
    said: &mut Said,
) {
    let keys = |ty: IdentifierType| {
        let mut of_type = asked
            .iter()
            .filter(|asked| asked.type_name.as_str() == ty.name());
        of_type.any(|asked| asked.keys > 0)
    };
    let hit = |ty: IdentifierType| hits.iter().find(|hit| hit.type_name.as_str() == ty.name());
    let (number, holder) = (hit(IdentifierType::Document), hit(IdentifierType::Holder));
    let mut add = |class: Class, text: String, hit: Option<&DeskHit>, does_not_prove| {
        let rules = hit.map(|hit| hit.rule.name()).into_iter().collect();
        let label = hit.map(|hit| shown(facts, hit)).unwrap_or_default();
        said.reasons.push(Reason {
            class,
            text: Zeroizing::new(text),
            basis: basis(facts, hit.map(|hit| &hit.type_name), rules, label),
            does_not_prove,
        });
    };
    match (number, holder) {
        (Some(_), Some(holder)) => add(
            Class::Consistent,
            words::consistent(facts),
            Some(holder),
            "It does not prove that the bearer is the holder: somebody who looks alike passes here.",
        ),
        (Some(number), None) if keys(IdentifierType::Holder) => {
            match misread(presented, Field::BirthCheck) {
                true => {
                    add(
                        Class::Misread,
                        words::holder_misread(facts),
                        Some(number),
                        "It does not prove that the document has another holder.",
                    );
                    said.miss(presented, facts, MISREAD, words::misread(facts), None);
                }
                false => add(
                    Class::OtherHolder,
                    words::other_holder(facts, presented),
                    Some(number),
                    "A misread name, a name that was changed, or a register that writes it otherwise looks the \
                 same; and it does not say who the holder is.",
                ),
            }
        }
        (Some(number), None) => {
            add(
                Class::Issued,
                words::issued(facts),
                Some(number),
                "It does not say to whom.",
            );
            let why = words::holder_not_asked(facts);
            said.miss(presented, facts, "holder-not-asked", why, None);
        }
        (None, Some(holder)) => {
            add(
                Class::Contradiction,
                words::contradiction(facts),
                Some(holder),
                "It proves nothing of the document: tell the register's owner.",
            );
            let why = words::contradicts(facts);
            said.miss(presented, facts, "register-contradicts", why, None);
        }
        // A register of other states knows nothing of what it does not hold.
        (None, None) if !covers(presented, facts) => said.of_other_states(presented, facts),
        (None, None) if !keys(IdentifierType::Document) => {
            let why = words::no_keys(facts, None);
            said.miss(presented, facts, Told::NO_KEYS, why, None);
        }
        (None, None) if presented.number_check() == Some(false) => {
            add(
                Class::Misread,
                words::number_misread(facts),
                None,
                "It does not prove that the number was never issued.",
            );
            said.miss(presented, facts, MISREAD, words::misread(facts), None);
        }
        (None, None) => add(
            Class::NeverIssued,
            words::never_issued(facts, presented),
            None,
            "It rests on a register that is complete and holds this sort of document, and on a number that \
             was read right.",
        ),
    }
}

/// Whether this check digit of the zone says that what it covers was misread.
fn misread(presented: &Presented, check: Field) -> bool {
    presented.zone().is_some_and(|zone| !zone.holds(check))
}

/// Hits that open the same label are one finding by several rules.
struct OneOfEach<'a> {
    /// The surest.
    first: &'a DeskHit,
    rules: Vec<&'static str>,
}

fn one_of_each(hits: &[DeskHit]) -> Vec<OneOfEach<'_>> {
    let mut sorted: Vec<&DeskHit> = hits.iter().collect();
    sorted.sort_by_key(|hit| std::cmp::Reverse(hit.rule.score_thousandths()));
    let mut each: Vec<OneOfEach<'_>> = Vec::new();
    for hit in sorted {
        let same = |known: &&mut OneOfEach<'_>| {
            known.first.type_name == hit.type_name
                && known.first.spoiled == hit.spoiled
                && known.first.label.as_deref() == hit.label.as_deref()
        };
        match each.iter_mut().find(same) {
            Some(known) if known.rules.contains(&hit.rule.name()) => {}
            Some(known) => known.rules.push(hit.rule.name()),
            None => each.push(OneOfEach {
                first: hit,
                rules: vec![hit.rule.name()],
            }),
        }
    }
    each
}

/// The label of a hit without empty values; a publisher's words are shown only if they cannot deceive.
fn shown(facts: &CollectionFacts, hit: &DeskHit) -> Vec<LabelValue> {
    let values = hit.label.iter().flat_map(|label| label.iter());
    let columns = facts.label_columns.iter().map(|column| column.as_str());
    let pairs = columns
        .zip(values)
        .filter(|(_, value)| !value.trim().is_empty());
    pairs
        .map(|(column, value)| LabelValue {
            column: words::safe(column),
            value: Zeroizing::new(words::safe(value.trim())),
        })
        .collect()
}

fn value<'a>(label: &'a [LabelValue], column: &str) -> Option<&'a str> {
    let mut named = label.iter().filter(|value| value.column == column);
    named.next().map(|value| value.value.as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "judge_tests.rs"]
mod tests;
