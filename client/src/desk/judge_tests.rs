//! Every combination of documents and answers, against the rules said once more; and what texts hold.

use std::collections::BTreeSet;

use tallystick_protocol::{
    identifiers::Rule,
    statements::{Coverage, Int},
};

use super::*;
use crate::desk::{Alarm, Fields};

const FIRST: &str = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<";
const SECOND: &str = "L898902C36UTO7408122F1204159ZE184226B<<<<<10";

/// 2026-05-01 and 2026-04-30.
const PUBLISHED: u64 = 1_777_593_600_000;
const COMPLETE: u64 = PUBLISHED - 86_400_000;

fn today() -> Date {
    Date::from_iso("2010-05-01").unwrap()
}

fn zone(first: &str, second: &str) -> Presented {
    Presented::from_mrz(&format!("{first}\n{second}")).unwrap()
}

fn typed(fields: &[(&str, &str)]) -> Presented {
    let field = |name: &str| {
        let found = fields.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| Zeroizing::new((*value).to_owned()))
    };
    Presented::from_fields(Fields {
        number: field("number"),
        state: field("state"),
        surname: field("surname"),
        given_names: field("given_names"),
        birth_date: field("birth_date"),
        ..Fields::default()
    })
    .unwrap()
}

/// A document, whether it breaks a rule, whether the check digits of its number and of its date of birth
/// say that these were misread, whether its state is the register's, and whether that is not known.
struct Document {
    name: &'static str,
    presented: Presented,
    broken: bool,
    number_misread: bool,
    birth_misread: bool,
    ours: bool,
    state_unknown: bool,
}

fn documents() -> Vec<Document> {
    let document = |name, presented, flags: &str| Document {
        name,
        presented,
        broken: flags.contains('b'),
        number_misread: flags.contains('n'),
        birth_misread: flags.contains('d'),
        ours: !flags.contains('o'),
        state_unknown: flags.contains('s'),
    };
    let all = [("number", "L898902C3"), ("state", "UTO")];
    let person = [
        ("surname", "Eriksson"),
        ("given_names", "Anna"),
        ("birth_date", "1974-08-12"),
    ];
    let other = [("number", "L898902C3"), ("state", "FRA")];
    vec![
        document("a good zone", zone(FIRST, SECOND), ""),
        document(
            "number misread",
            zone(FIRST, &SECOND.replace("C36", "D36")),
            "bn",
        ),
        document(
            "birth misread",
            zone(FIRST, &SECOND.replace("7408122", "7408132")),
            "bd",
        ),
        document(
            "both misread",
            zone(FIRST, &SECOND.replace("C36UTO7408122", "D36UTO7408132")),
            "bnd",
        ),
        document(
            "a name with a hole",
            zone(&FIRST.replace("ANNA<MARIA<", "ANNA<<MARIA"), SECOND),
            "b",
        ),
        document("typed", typed(&[all, [person[0], person[1]]].concat()), ""),
        document("a number alone", typed(&all), ""),
        document("a name alone", typed(&person), "o"),
        document("of another state", typed(&other), "o"),
        document("a number without a state", typed(&all[..1]), "os"),
        document(
            "of a state that there is not",
            zone(&FIRST.replace("UTO", "XQZ"), SECOND),
            "os",
        ),
    ]
}

/// What a list or a register says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Absent,
    Down,
    NoKeys,
    Miss,
    MissInPart,
    HitDocument,
    HitPerson,
    Spoiled,
}

const LISTS: [List; 8] = [
    List::Absent,
    List::Down,
    List::NoKeys,
    List::Miss,
    List::MissInPart,
    List::HitDocument,
    List::HitPerson,
    List::Spoiled,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Absent,
    Down,
    NeverReached,
    NotAsked,
    NoKeys,
    Both,
    NumberAlone,
    NumberWithoutHolderAsked,
    HolderAlone,
    Neither,
}

const REGISTERS: [Register; 10] = [
    Register::Absent,
    Register::Down,
    Register::NeverReached,
    Register::NotAsked,
    Register::NoKeys,
    Register::Both,
    Register::NumberAlone,
    Register::NumberWithoutHolderAsked,
    Register::HolderAlone,
    Register::Neither,
];

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn facts(collection: &str, kind: Option<ListKind>) -> CollectionFacts {
    let covers = (kind == Some(ListKind::IssuedDocuments)).then(|| Coverage {
        states: vec!["UTO".parse().unwrap()],
        complete_ms: Int::new(COMPLETE).unwrap(),
    });
    CollectionFacts {
        peer: "police-b".to_owned(),
        collection: name(collection),
        kind,
        covers,
        epoch: Some(3),
        published_ms: Some(PUBLISHED),
        label_columns: ["case", "report", "series"]
            .map(|c| c.parse().unwrap())
            .into(),
    }
}

fn hit(ty: &str, rule: Rule, label: Option<&[&str]>) -> DeskHit {
    let label = label.map(|label| Zeroizing::new(label.iter().map(|&v| v.to_owned()).collect()));
    DeskHit {
        type_name: name(ty),
        rule,
        spoiled: label.is_none(),
        label,
    }
}

fn asked(types: &[(&str, usize)]) -> Vec<AskedType> {
    let one = |(ty, keys): &(&str, usize)| AskedType {
        type_name: name(ty),
        keys: *keys,
    };
    types.iter().map(one).collect()
}

fn down() -> Told {
    Told::Missing {
        code: "network".to_owned(),
        why: "it does not answer".to_owned(),
        since_ms: Some(PUBLISHED),
    }
}

fn list_answer(collection: &str, kind: Option<ListKind>, list: List) -> Option<CollectionAnswer> {
    let answered = |types: &[(&str, usize)], hits| Told::Answered {
        asked: asked(types),
        hits,
    };
    let both = [("document", 1), ("person", 30)];
    let told = match list {
        List::Absent => return None,
        List::Down => down(),
        List::NoKeys => Told::NotAsked { why: Told::NO_KEYS },
        List::Miss => answered(&both, vec![]),
        List::MissInPart => answered(&[("document", 1), ("person", 0)], vec![]),
        List::HitDocument => {
            let label: &[&str] = &["B-1", "stolen", ""];
            answered(&both, vec![hit("document", Rule::Exact, Some(label))])
        }
        List::HitPerson => {
            let label: &[&str] = &["B-2", "", ""];
            let hits =
                [Rule::OneEdit, Rule::Transliteration].map(|r| hit("person", r, Some(label)));
            answered(&both, hits.into())
        }
        List::Spoiled => answered(&both, vec![hit("document", Rule::Exact, None)]),
    };
    let facts = facts(collection, kind);
    Some(CollectionAnswer { facts, told })
}

fn register_answer(register: Register) -> Option<CollectionAnswer> {
    let answered = |holder: usize, hits: &[&str]| Told::Answered {
        asked: asked(&[("document", 1), ("holder", holder)]),
        hits: hits
            .iter()
            .map(|ty| hit(ty, Rule::Exact, Some(&[])))
            .collect(),
    };
    let mut facts = facts("register", Some(ListKind::IssuedDocuments));
    let told = match register {
        Register::Absent => return None,
        Register::Down => down(),
        Register::NeverReached => {
            (facts.kind, facts.covers, facts.epoch, facts.published_ms) = (None, None, None, None);
            down()
        }
        Register::NotAsked => Told::NotAsked {
            why: Told::OTHER_STATE,
        },
        Register::NoKeys => Told::NotAsked { why: Told::NO_KEYS },
        Register::Both => answered(1, &["document", "holder"]),
        Register::NumberAlone => answered(1, &["document"]),
        Register::NumberWithoutHolderAsked => answered(0, &["document"]),
        Register::HolderAlone => answered(1, &["holder"]),
        Register::Neither => answered(1, &[]),
    };
    Some(CollectionAnswer { facts, told })
}

/// The rules, said once more: what each answer is a reason for, what is missing, and the word of it all.
fn expected(
    document: &Document,
    stolen: List,
    watchlist: List,
    register: Register,
) -> (
    Conclusion,
    BTreeSet<Class>,
    BTreeSet<(&'static str, String)>,
) {
    let mut classes = BTreeSet::new();
    let mut missing = BTreeSet::new();
    let mut open = false;
    if document.broken {
        classes.insert(Class::Impossible);
    }
    for (at, list) in [("stolen", stolen), ("watchlist", watchlist)] {
        match list {
            List::Absent => {}
            List::Down => {
                open |= missing.insert((at, "network".to_owned()));
            }
            List::NoKeys => {
                open |= missing.insert((at, "no-keys".to_owned()));
            }
            List::Miss => {
                classes.insert(Class::NotFound);
            }
            List::MissInPart => {
                classes.insert(Class::NotFound);
                open |= missing.insert((at, "no-keys".to_owned()));
            }
            List::HitDocument | List::Spoiled if at == "stolen" => {
                classes.insert(Class::Reported);
            }
            List::HitDocument | List::Spoiled | List::HitPerson => {
                classes.insert(Class::Watchlisted);
            }
        }
    }
    // Whether a register may be the one: it is, or nobody knows.
    let ours = document.ours || document.state_unknown;
    let mut no_answer = |code: &str, counts: bool| {
        missing.insert(("register", code.to_owned()));
        open |= counts;
    };
    match register {
        Register::Absent => {}
        Register::NotAsked | Register::Neither if document.state_unknown => {
            no_answer("no-state", true);
        }
        Register::NotAsked => {}
        Register::Down => no_answer("network", ours),
        // It may be anything.
        Register::NeverReached => no_answer("network", true),
        Register::NoKeys => no_answer("no-keys", ours),
        Register::Both => {
            classes.insert(Class::Consistent);
        }
        Register::NumberAlone if document.birth_misread => {
            classes.insert(Class::Misread);
            no_answer("misread", ours);
        }
        Register::NumberAlone => {
            classes.insert(Class::OtherHolder);
        }
        Register::NumberWithoutHolderAsked => {
            classes.insert(Class::Issued);
            no_answer("holder-not-asked", ours);
        }
        Register::HolderAlone => {
            classes.insert(Class::Contradiction);
            no_answer("register-contradicts", ours);
        }
        Register::Neither if !ours => {}
        Register::Neither if document.number_misread => {
            classes.insert(Class::Misread);
            no_answer("misread", true);
        }
        Register::Neither => {
            classes.insert(Class::NeverIssued);
        }
    }
    let has = |class: Class| classes.contains(&class);
    let conclusion = if has(Class::Reported) {
        Conclusion::Reported
    } else if has(Class::Watchlisted) {
        Conclusion::Watchlisted
    } else if has(Class::Impossible) {
        Conclusion::Impossible
    } else if has(Class::NeverIssued) {
        Conclusion::NeverIssued
    } else if has(Class::OtherHolder) {
        Conclusion::OtherHolder
    } else if open {
        Conclusion::Incomplete
    } else if has(Class::Consistent) {
        Conclusion::Consistent
    } else {
        Conclusion::NothingKnown
    };
    (conclusion, classes, missing)
}

#[test]
fn every_combination_of_documents_lists_hits_and_missing_answers() {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for document in documents() {
        for stolen in LISTS {
            for watchlist in LISTS {
                for register in REGISTERS {
                    let case = format!("{}: {stolen:?} {watchlist:?} {register:?}", document.name);
                    let answers = || {
                        // A watchlist of an older publisher does not say what it is.
                        let kind = [None, Some(ListKind::Watchlist)][count % 2];
                        let all = [
                            list_answer("stolen", Some(ListKind::StolenDocuments), stolen),
                            list_answer("watchlist", kind, watchlist),
                            register_answer(register),
                        ];
                        all.into_iter().flatten().collect::<Vec<_>>()
                    };
                    let verdict = judge(&document.presented, today(), answers());
                    let (conclusion, classes, missing) =
                        expected(&document, stolen, watchlist, register);
                    assert_eq!(verdict.conclusion, conclusion, "{case}");
                    assert_eq!(verdict.headline, conclusion.headline());
                    let said = verdict.reasons.iter().map(|reason| reason.class);
                    let said: BTreeSet<Class> =
                        said.filter(|class| *class != Class::Note).collect();
                    assert_eq!(said, classes, "{case}");
                    assert!(
                        verdict.reasons.is_sorted_by_key(|reason| reason.class),
                        "{case}"
                    );
                    let found = verdict.missing.iter();
                    let found: BTreeSet<(&str, String)> = found
                        .map(|m| (m.collection.as_str(), m.code.clone()))
                        .collect();
                    assert_eq!(found, missing, "{case}");
                    accounted_for(&verdict, &answers(), &case);
                    // In whatever order they come.
                    let mut turned = answers();
                    turned.reverse();
                    let turned = judge(&document.presented, today(), turned);
                    assert_eq!(turned.conclusion, conclusion, "{case}");
                    seen.insert(conclusion);
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, 11 * 8 * 8 * 10);
    let all: BTreeSet<Conclusion> = Conclusion::ALL.into();
    assert_eq!(
        &seen | &[Conclusion::Unreadable].into(),
        all,
        "a word that no case reaches"
    );
}

/// Each collection stands somewhere in the verdict, and none that gave no answer as a miss.
fn accounted_for(verdict: &Verdict, answers: &[CollectionAnswer], case: &str) {
    let of = |basis: &Basis, name: &Name| matches!(basis, Basis::Collection { collection, .. } if collection == name);
    for answer in answers {
        let name = &answer.facts.collection;
        let reasons = verdict
            .reasons
            .iter()
            .filter(|reason| of(&reason.basis, name))
            .count();
        let missing = verdict
            .missing
            .iter()
            .filter(|missing| missing.collection == *name)
            .count();
        let not_asked = verdict
            .not_asked
            .iter()
            .filter(|other| other.collection == *name)
            .count();
        assert!(
            reasons + missing + not_asked > 0,
            "{case}: {name} stands nowhere"
        );
        if !matches!(answer.told, Told::Answered { .. }) {
            assert_eq!(reasons, 0, "{case}: {name} gave no answer and is a reason");
        }
    }
    for missing in &verdict.missing {
        assert!(
            missing.why.starts_with("No answer from "),
            "{case}: {}",
            missing.why
        );
        assert!(missing.why.contains("police-b"), "{case}");
    }
    let text = verdict.text();
    assert!(text.starts_with(verdict.headline), "{case}");
    for why in verdict.missing.iter().map(|missing| &missing.why) {
        assert!(text.contains(why.as_str()), "{case}");
    }
}

fn only(answer: CollectionAnswer, presented: &Presented) -> Verdict {
    judge(presented, today(), vec![answer])
}

/// The texts of the reasons of one class.
fn texts(verdict: &Verdict, class: Class) -> Vec<String> {
    let reasons = verdict
        .reasons
        .iter()
        .filter(|reason| reason.class == class);
    reasons.map(|reason| reason.text.to_string()).collect()
}

#[test]
fn never_issued_names_register_state_and_the_day_up_to_which_it_is_complete() {
    let answer = || register_answer(Register::Neither).unwrap();
    let verdict = only(answer(), &zone(FIRST, SECOND));
    let text = texts(&verdict, Class::NeverIssued).concat();
    for part in [
        "register of police-b (2026-05-01 00:00 UTC)",
        "UTO",
        "complete as of 2026-04-30",
        "issued later",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("typed"));
    let typed = typed(&[("number", "L898902C3"), ("state", "UTO")]);
    let text = texts(&only(answer(), &typed), Class::NeverIssued).concat();
    assert!(text.contains("typed"), "{text}");
}

#[test]
fn a_misread_number_is_never_never_issued() {
    let misread = zone(FIRST, &SECOND.replace("L898902C3", "L8989O2C3"));
    let verdict = only(register_answer(Register::Neither).unwrap(), &misread);
    assert_eq!(verdict.conclusion, Conclusion::Impossible);
    assert!(texts(&verdict, Class::NeverIssued).is_empty());
    let text = texts(&verdict, Class::Misread).concat();
    assert!(text.contains("check digit does not hold"), "{text}");
    // Which check, and what was likely misread.
    let texts = texts(&verdict, Class::Impossible).join("\n");
    assert!(
        texts.contains("check digit of the document number"),
        "{texts}"
    );
    assert!(
        texts.contains("Perhaps O was read for 0 in line 2, column 6"),
        "{texts}"
    );
}

#[test]
fn reports_say_how_and_of_which_series() {
    let reported = |label: &[&str]| {
        let told = Told::Answered {
            asked: asked(&[("document", 1)]),
            hits: vec![hit("document", Rule::Exact, Some(label))],
        };
        let facts = facts("stolen", Some(ListKind::StolenDocuments));
        let verdict = only(CollectionAnswer { facts, told }, &zone(FIRST, SECOND));
        assert_eq!(verdict.conclusion, Conclusion::Reported);
        texts(&verdict, Class::Reported).concat()
    };
    assert!(reported(&["1", "stolen", ""]).starts_with("Reported stolen: "));
    assert!(reported(&["1", "LOST", ""]).starts_with("Reported lost: "));
    assert!(reported(&["1", "blank-series", ""]).contains("stolen as a blank"));
    assert!(reported(&["1", "", "X0098 to X0103"]).contains("series X0098 to X0103"));
    assert!(reported(&["1", "withdrawn", ""]).contains("as: withdrawn"));
    assert!(reported(&[]).contains("stolen, lost or revoked"));
}

#[test]
fn rules_that_found_the_same_label_are_one_reason_and_others_are_not() {
    let label = |case: &'static str| [case, "", ""];
    let hits = vec![
        hit("person", Rule::OneEdit, Some(&label("B-1"))),
        hit("person", Rule::Exact, Some(&label("B-1"))),
        hit("person", Rule::OneEdit, Some(&label("B-1"))),
        hit("person", Rule::Initial, Some(&label("B-2"))),
        hit("document", Rule::Exact, Some(&label("B-1"))),
    ];
    let told = Told::Answered {
        asked: asked(&[("document", 1), ("person", 30)]),
        hits,
    };
    let facts = facts("watchlist", Some(ListKind::Watchlist));
    let verdict = only(CollectionAnswer { facts, told }, &zone(FIRST, SECOND));
    let reasons: Vec<_> = verdict
        .reasons
        .iter()
        .filter(|r| r.class == Class::Watchlisted)
        .collect();
    let rules = |reason: &Reason| match &reason.basis {
        Basis::Collection { rules, label, .. } => (rules.clone(), label[0].value.to_string()),
        Basis::Document { .. } => (vec![], String::new()),
    };
    let mut found: Vec<_> = reasons.iter().map(|reason| rules(reason)).collect();
    found.sort();
    let want = [
        (vec!["exact"], "B-1"),
        (vec!["exact", "one-edit"], "B-1"),
        (vec!["initial"], "B-2"),
    ];
    assert_eq!(found, want.map(|(rules, label)| (rules, label.to_owned())));
    assert!(
        reasons
            .iter()
            .any(|r| r.does_not_prove.contains("ask the owner"))
    );
    assert!(
        reasons
            .iter()
            .any(|r| r.does_not_prove.contains("Similar is not the same"))
    );
}

/// A publisher chooses these words: they change neither a terminal nor the order of what is read.
#[test]
fn words_of_others_cannot_deceive() {
    let label: &[&str] = &["B-1\u{1b}[2J", "sto\u{202e}len\n- all is well", "\u{0}"];
    let told = Told::Answered {
        asked: asked(&[("document", 1)]),
        hits: vec![hit("document", Rule::Exact, Some(label))],
    };
    let mut facts = facts("stolen", Some(ListKind::StolenDocuments));
    facts.peer = "police\r-b".to_owned();
    let verdict = only(
        CollectionAnswer {
            facts: facts.clone(),
            told,
        },
        &zone(FIRST, SECOND),
    );
    let json = serde_json::to_string(&verdict).unwrap();
    let text = verdict.text();
    for bad in ["\u{1b}", "\u{202e}", "\r", "\\u001b", "\\r"] {
        assert!(!text.contains(bad) && !json.contains(bad), "{bad:?}");
    }
    assert!(!text.contains("\n- all"));
    let told = Told::Missing {
        code: "net\u{7}work".to_owned(),
        why: "it said\u{1b}[0m no.\n".to_owned(),
        since_ms: None,
    };
    let verdict = only(CollectionAnswer { facts, told }, &zone(FIRST, SECOND));
    assert!(!verdict.text().contains('\u{1b}') && !verdict.missing[0].code.contains('\u{7}'));
    let long = words::safe(&"x\n".repeat(4000));
    assert_eq!(long.chars().count(), 200);
}

/// What programs read: its members, their order and their names.
#[test]
fn the_object_of_a_verdict() {
    let presented = zone(FIRST, SECOND).with_id("gate 4");
    let answers = vec![
        register_answer(Register::Both).unwrap(),
        list_answer("stolen", Some(ListKind::StolenDocuments), List::Down).unwrap(),
    ];
    let mut verdict = judge(&presented, today(), answers);
    verdict.milliseconds = 12;
    let json = serde_json::to_string(&verdict).unwrap();
    assert!(json.starts_with(
        "{\"schema\":\"tally.desk/1\",\"id\":\"gate 4\",\"conclusion\":\"incomplete\""
    ));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let members: BTreeSet<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let want = [
        "schema",
        "id",
        "conclusion",
        "headline",
        "reasons",
        "missing",
        "not_asked",
        "not_proved",
        "milliseconds",
    ];
    assert_eq!(members, want.into());
    let reason = &value["reasons"][0];
    assert_eq!(reason["class"], "consistent");
    assert_eq!(reason["basis"]["from"], "collection");
    assert_eq!(reason["basis"]["published"], "2026-05-01 00:00 UTC");
    assert_eq!(reason["basis"]["complete_as_of"], "2026-04-30");
    assert_eq!(reason["basis"]["type"], "holder");
    assert_eq!(reason["basis"]["kind"], "issued-documents");
    let missing = &value["missing"][0];
    assert_eq!(missing["code"], "network");
    assert_eq!(missing["since_ms"], PUBLISHED);
    assert_eq!(
        missing["why"],
        "No answer from stolen of police-b (2026-05-01 00:00 UTC), because it does not answer."
    );
    assert_eq!(format!("{verdict:?}"), "Verdict(incomplete)");
    assert_eq!(format!("{presented:?}"), "Presented(..)");
    let named = [
        Conclusion::ALL.map(Conclusion::name),
        Conclusion::ALL.map(Conclusion::headline),
    ];
    for names in named {
        assert_eq!(BTreeSet::from(names).len(), Conclusion::ALL.len());
    }
    for conclusion in Conclusion::ALL {
        assert_eq!(serde_json::to_value(conclusion).unwrap(), conclusion.name());
    }
}

/// What a desk can never see, and says so in every verdict.
#[test]
fn pictures_and_chips_are_named_as_out_of_scope() {
    for answer in REGISTERS.into_iter().filter_map(register_answer) {
        let verdict = only(answer, &zone(FIRST, SECOND));
        assert!(verdict.not_proved[0].contains("Pictures and chips"));
        let decided = verdict.reasons.iter().filter(|r| r.class < Class::NotFound);
        assert!(
            decided
                .clone()
                .all(|reason| !reason.does_not_prove.is_empty())
        );
    }
}

#[test]
fn an_alarm_stands_in_place_of_answers_or_beside_them() {
    for alarm in [Alarm::DenseNumbers, Alarm::ManyHolders] {
        let facts = facts("register", Some(ListKind::IssuedDocuments));
        let held = CollectionAnswer {
            facts,
            told: alarm.held(),
        };
        let verdict = only(held, &zone(FIRST, SECOND));
        assert_eq!(verdict.conclusion, Conclusion::Incomplete);
        assert_eq!(verdict.missing[0].code, alarm.code());
        assert!(
            verdict.missing[0]
                .why
                .contains("because it was not asked: this desk")
        );
        let mut verdict = only(
            register_answer(Register::Both).unwrap(),
            &zone(FIRST, SECOND),
        );
        verdict.warn(alarm);
        assert_eq!(verdict.conclusion, Conclusion::Consistent);
        assert!(verdict.text().contains("Alarm: this desk"));
    }
}

/// Its fields stand elsewhere: whatever is read of it would be asked for nothing.
#[test]
fn an_old_french_card_is_not_asked_about() {
    let card = zone(
        "IDFRABERTHIER<<<<<<<<<<<<<<<<<<<<<<<",
        "8806923102858CORINNE<<<<<<<6512068F6",
    );
    let exact = tallystick_protocol::identifiers::Profile::exact();
    for ty in ["document", "holder", "person", "name"] {
        assert!(card.keys(exact, &name(ty)).is_empty(), "{ty}");
    }
    let verdict = only(register_answer(Register::NoKeys).unwrap(), &card);
    assert_eq!(texts(&verdict, Class::Impossible).len(), 0);
    assert!(texts(&verdict, Class::Note).concat().contains("France"));
}
