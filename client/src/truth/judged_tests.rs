//! Every class of the made-up documents, through keys, lists and judgement, without a network between.

use std::collections::HashMap;

use tallystick_protocol::{
    identifiers::mrz::Date,
    statements::{Coverage, Int, ListKind, Name},
};
use tallystick_tables::{Extractor, Mapping, Source, Tally};
use zeroize::Zeroizing;

use super::{Class, Score};
use crate::{
    datagen::desk::{self, DeskSizes, Table},
    desk::{
        AskedType, CollectionAnswer, CollectionFacts, Conclusion, DeskHit, Presented, Told, judge,
    },
};

/// A list in the clear: its elements with their labels.
struct List {
    facts: CollectionFacts,
    types: Vec<Name>,
    mapping: Mapping,
    elements: HashMap<Vec<u8>, Vec<String>>,
}

impl List {
    fn read(table: &Table, kind: ListKind, state: Option<&str>) -> Self {
        let mapping = Mapping::from_file(table.mapping.as_ref().unwrap()).unwrap();
        let source = Source::open(&table.file).unwrap();
        let extractor = Extractor::new(source.header(), &mapping).unwrap();
        let labels: Vec<usize> = mapping
            .label()
            .iter()
            .map(|column| source.header().index(column).unwrap())
            .collect();
        let (mut rows, mut tally) = (source.rows().unwrap(), Tally::default());
        let mut elements = HashMap::new();
        while let Some(row) = rows.next_row().unwrap() {
            let label = labels.iter().map(|at| row.get(*at).unwrap().to_owned());
            let label: Vec<String> = label.collect();
            for key in extractor.keys(&row, &mut tally) {
                elements.insert(key.normalised.element.as_bytes().to_vec(), label.clone());
            }
        }
        assert_eq!(tally.rejected_total(), 0);
        let covers = state.map(|state| Coverage {
            states: vec![state.parse().unwrap()],
            complete_ms: Int::new(1_780_000_000_000).unwrap(),
        });
        Self {
            facts: CollectionFacts {
                peer: "north".to_owned(),
                collection: "list".parse().unwrap(),
                kind: Some(kind),
                covers,
                epoch: Some(1),
                published_ms: Some(1_780_000_000_000),
                label_columns: mapping.label().iter().map(|c| c.parse().unwrap()).collect(),
            },
            types: mapping
                .types()
                .iter()
                .map(|ty| ty.name().parse().unwrap())
                .collect(),
            mapping,
            elements,
        }
    }

    fn answer(&self, presented: &Presented) -> CollectionAnswer {
        let (mut asked, mut hits) = (Vec::new(), Vec::new());
        for type_name in &self.types {
            let keys = presented.keys(self.mapping.profile(), type_name);
            asked.push(AskedType {
                type_name: type_name.clone(),
                keys: keys.len(),
            });
            for key in keys {
                if let Some(label) = self.elements.get(key.normalised.element.as_bytes()) {
                    hits.push(DeskHit {
                        type_name: type_name.clone(),
                        rule: key.rule,
                        label: Some(Zeroizing::new(label.clone())),
                        spoiled: false,
                    });
                }
            }
        }
        let covers = self.facts.covers.as_ref();
        let outside =
            covers.is_some_and(|c| c.states.iter().all(|s| s.as_str() != presented.state()));
        let told = match outside {
            true => Told::NotAsked {
                why: Told::OTHER_STATE,
            },
            false => Told::Answered { asked, hits },
        };
        CollectionAnswer {
            facts: self.facts.clone(),
            told,
        }
    }
}

/// The score of `each` documents of every class, against a register of `documents`.
fn score(documents: u64, each: u64, seed: u64) -> Score {
    let dir = tempfile::tempdir().unwrap();
    let sizes = DeskSizes {
        documents,
        each: Some(each),
        seed,
    };
    let made = desk::generate(dir.path(), sizes, false).unwrap();
    let lists = [
        List::read(&made.register, ListKind::IssuedDocuments, Some(made.state)),
        List::read(&made.stolen, ListKind::StolenDocuments, None),
        List::read(&made.watchlist, ListKind::Watchlist, None),
    ];
    let today = Date::new(2026, 6, 1).unwrap();
    let mut score = Score::default();
    let mut reader = csv::Reader::from_path(&made.presented.file).unwrap();
    for row in reader.records() {
        let row = row.unwrap();
        let class: Class = row[2].parse().unwrap();
        let conclusion = match Presented::from_mrz(&row[1]) {
            Ok(presented) => {
                let answers = lists.iter().map(|list| list.answer(&presented)).collect();
                judge(&presented, today, answers).conclusion
            }
            Err(_) => Conclusion::Unreadable,
        };
        score.add(class, conclusion);
    }
    score
}

#[test]
fn every_class_is_judged_as_far_as_it_can_be_known() {
    let score = score(8_000, 300, 11);
    assert_eq!(score.classes.len(), Class::ALL.len());
    for line in &score.classes {
        assert_eq!(
            line.right,
            line.documents,
            "{}: {}",
            line.class,
            line.others()
        );
        assert_eq!(line.unanswered, 0, "{}", line.class);
        // What the text says cannot be known, and nothing else.
        let missed = matches!(line.class, Class::LookAlike | Class::AlteredUnseen);
        assert_eq!(
            line.missed,
            if missed { line.documents } else { 0 },
            "{}",
            line.class
        );
        let flagged = matches!(
            line.class,
            Class::MisreadParting
                | Class::MisreadForm
                | Class::MisreadNumber
                | Class::MisreadDate
                | Class::MisreadUnseen
        );
        let expected = if flagged { line.documents } else { 0 };
        assert_eq!(line.wrongly_flagged, expected, "{}", line.class);
    }
    assert!(score.is_right());
}
