//! What a peer that may ask a register can map of it when it asks for something else than travellers: all
//! of it without budgets, and next to nothing within them.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashSet};

use tallystick_protocol::{
    identifiers::{Element, IdentifierType, normalise},
    oprf::Output,
    statements::{Line, ListKind},
};
use tallystick_tests::{
    desk::{Desk, snapshot},
    place::{Place, Serving},
};

/// Numbers that a guesser tries, of which some are issued.
const NUMBERS: u32 = 1000;
/// The dates of a year.
const DAYS: u32 = 365;
/// Elements of a flight of guesses.
const FLIGHT: usize = 73;

fn is_issued(number: u32) -> bool {
    number * number % 11 < 4
}

fn number(n: u32) -> String {
    format!("P{n:06}")
}

/// A day of 1974, as a table writes it.
fn day(n: u32) -> String {
    let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let (mut month, mut left) = (1, n);
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("1974-{month:02}-{:02}", left + 1)
}

/// The day on which the holder of a document was born.
fn born(n: u32) -> u32 {
    (n * 37 + 200) % DAYS
}

fn document(n: u32) -> Element {
    element(IdentifierType::Document, &[&number(n), "UTO"])
}

/// The document with a holder of the right name, and of some date of birth.
fn holder(n: u32, born: u32) -> Element {
    let parts = [&number(n), "UTO", "ERIKSSON", "ANNA", &day(born)];
    element(IdentifierType::Holder, &parts)
}

fn element(ty: IdentifierType, parts: &[&str]) -> Element {
    normalise(ty, parts).unwrap().unwrap().element
}

/// A register, and a peer of its holder who guesses.
struct Scene {
    place: Place,
    _serving: Serving,
    desk: Desk,
    tags: HashSet<Vec<u8>>,
    sessions: u8,
}

impl Scene {
    async fn new(budgets: &str) -> Self {
        let place = Place::pair("holder", "asker");
        let rows = (0..NUMBERS).filter(|n| is_issued(*n));
        let rows: String = rows
            .map(|n| format!("{},UTO,ERIKSSON,ANNA,{}\n", number(n), day(born(n))))
            .collect();
        place.write(
            "register.csv",
            &format!("number,state,surname,given,born\n{rows}"),
        );
        place.does(&format!(
            "tallyd collection publish register --home holder --input register.csv \
             --key document=number,state --key holder=number,state,surname,given,born \
             --kind issued-documents --covers UTO {budgets}"
        ));
        let serving = place.serve("holder");
        let desk = Desk::new(&place, "asker", "holder", serving.address);
        let (preamble, tags) = snapshot(&place, "holder", "register").await;
        // Snapshot and catalogue say the same of it.
        let offer = desk.offer("register").await;
        assert_eq!(preamble.kind, Some(ListKind::IssuedDocuments));
        assert_eq!(
            (preamble.kind, &preamble.covers),
            (offer.kind, &offer.covers)
        );
        let states = &offer.covers.unwrap().states;
        assert_eq!(states.iter().map(Line::as_str).collect::<Vec<_>>(), ["UTO"]);
        Self {
            desk,
            tags,
            place,
            _serving: serving,
            sessions: 0,
        }
    }

    /// Asks guesses of one type, flight by flight, in as many shifts as that takes, each of as much as
    /// is left; until all are asked or nothing more is evaluated. Gives for each that was asked whether
    /// it is on the register.
    async fn guess(&mut self, ty: &str, guesses: Vec<Element>) -> Vec<bool> {
        let mut known = Vec::new();
        let mut guesses = guesses.into_iter().peekable();
        while guesses.peek().is_some() {
            self.sessions += 1;
            let offer = self.desk.offer("register").await;
            let keys = offer.keys.iter().zip(&offer.quota_left);
            let mut left = keys.filter(|(key, _)| key.type_name.as_str() == ty);
            let left = left.next().unwrap().1.get();
            let size = (FLIGHT as u64).min(left.max(1));
            // Three flights a shift, the last of them never closed: an abort gives nothing back.
            let most = (3 * size).min(left.max(1));
            let asks = [(ty, most, &[size][..])];
            let asking = self.desk.asking(self.sessions, &offer, &asks);
            let mut shift = match self.desk.begin(asking).await {
                Ok(shift) => shift,
                Err(code) => {
                    assert_eq!(code, "quota-exceeded");
                    return known;
                }
            };
            for _ in 0..most / size {
                let mut flight: Vec<Element> = guesses.by_ref().take(size as usize).collect();
                let real = flight.len();
                flight.extend(tallystick_tests::desk::padding(size as usize - real));
                let outputs = shift.flight(vec![flight]).await.unwrap();
                known.extend(outputs[0][..real].iter().map(|output| self.is_on(output)));
                if guesses.peek().is_none() {
                    break;
                }
            }
        }
        known
    }

    /// Looks an output up in the snapshot, which anybody who may ask may fetch.
    fn is_on(&self, output: &Output) -> bool {
        let length = self.tags.iter().next().unwrap().len();
        self.tags.contains(output.tag(length))
    }

    fn budgets(&self) -> serde_json::Value {
        let line = "tallyd collection list --home holder";
        self.place.json(line)["collections"][0]["budgets"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn issued_numbers_are_mapped_without_a_budget_and_not_within_one() {
    let guesses = || (0..NUMBERS).map(document).collect::<Vec<_>>();
    let issued: Vec<bool> = (0..NUMBERS).map(is_issued).collect();
    let mut wide = Scene::new("--peer-budget 1000000").await;
    let mapped = wide.guess("document", guesses()).await;
    assert_eq!(mapped, issued, "each number that was issued, and no other");

    // What a hundred travellers need.
    let mut narrow = Scene::new("--peer-budget 1000000 --budget document=100").await;
    assert_eq!(
        narrow.budgets()["holder"],
        200,
        "twice that of documents, left alone"
    );
    let mapped = narrow.guess("document", guesses()).await;
    assert_eq!(mapped, issued[..100], "right, as far as it goes");
    // Another day, another program, a published list: the budget is that of the epoch.
    assert!(narrow.guess("document", guesses()).await.is_empty());
    narrow.place.does(
        "tallyd collection publish register --home holder --input register.csv \
         --key document=number,state --key holder=number,state,surname,given,born",
    );
    assert!(narrow.guess("document", guesses()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_birth_date_is_guessed_without_a_budget_and_not_within_one() {
    // A document that is known to be issued, and the name in it.
    let target = (0..NUMBERS)
        .find(|n| is_issued(*n) && born(*n) > 250)
        .unwrap();
    let guesses = || (0..DAYS).map(|day| holder(target, day)).collect::<Vec<_>>();
    let found = |known: &[bool]| -> BTreeSet<u32> {
        let hits = (0u32..).zip(known).filter(|(_, hit)| **hit);
        hits.map(|(day, _)| day).collect()
    };
    let mut wide = Scene::new("--peer-budget 1000000").await;
    let known = wide.guess("holder", guesses()).await;
    assert_eq!(found(&known), BTreeSet::from([born(target)]));

    let mut narrow = Scene::new("--peer-budget 1000000 --budget holder=100").await;
    let known = narrow.guess("holder", guesses()).await;
    assert_eq!((known.len(), found(&known).len()), (100, 0));
    assert!(narrow.guess("holder", guesses()).await.is_empty());
    // The budget of documents, which is not spent, buys no holder: each type has a key of its own.
    let known = narrow.guess("document", guesses()).await;
    assert_eq!((known.len(), found(&known).len()), (DAYS as usize, 0));
}

/// Guessers who share what they find are one peer only if they have one key; those who have one key and
/// many connections share one budget.
#[tokio::test(flavor = "multi_thread")]
async fn guessing_on_many_connections_at_once_maps_no_more() {
    let scene = Scene::new("--peer-budget 1000000 --budget document=200").await;
    let offer = scene.desk.offer("register").await;
    let mut shifts = Vec::new();
    for session in 1..=8 {
        let asks = [("document", 200, &[25][..])];
        let asking = scene.desk.asking(session, &offer, &asks);
        shifts.push(scene.desk.begin(asking).await.unwrap());
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (at, mut shift) in (0u32..).zip(shifts) {
        tasks.spawn(async move {
            let mut mapped = Vec::new();
            for flight in 0..5 {
                let first = at * 125 + flight * 25;
                let guesses = (first..first + 25).map(document).collect();
                match shift.flight(vec![guesses]).await {
                    Ok(outputs) => {
                        mapped.extend((first..).zip(outputs.into_iter().next().unwrap()))
                    }
                    Err(status) => {
                        assert!(status.message().starts_with("quota-exceeded: "), "{status}");
                        break;
                    }
                }
            }
            mapped
        });
    }
    let mapped: Vec<(u32, Output)> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(mapped.len(), 200);
    for (n, output) in &mapped {
        assert_eq!(scene.is_on(output), is_issued(*n));
    }
}
