//! Shifts on a real node: silence, limits, budgets, and what is left of them when the node dies.

#![allow(clippy::unwrap_used)]

#[path = "shifts/budgets.rs"]
mod budgets;
#[path = "shifts/lost.rs"]
mod lost;
#[path = "shifts/places.rs"]
mod places;

use std::fs;

use serde_json::Value;
use tallystick_agency::store::Store;
use tallystick_protocol::statements::Hex;
use tallystick_tests::{
    desk::{Desk, Shift},
    place::{Place, Serving},
};

/// Elements of a flight, of each type.
const FLIGHT: u64 = 8;
/// What a shift may ask of each type.
const MOST: u64 = 800;
/// What the asker may have evaluated, of each type.
const BUDGET: u64 = 100_000;
const PUBLISH: &str = "tallyd collection publish desk --home holder --input desk.csv \
                       --key document=number,state --key text=case";

/// A holder that offers a collection of two types, and the desk of an asker.
struct Scene {
    place: Place,
    serving: Option<Serving>,
    desk: Desk,
}

impl Scene {
    fn new(limits: &[(&str, &str)], publish: &str) -> Self {
        let place = Place::pair("holder", "asker");
        let rows: String = (0..100).map(|n| format!("W{n},UTO,C-{n}\n")).collect();
        place.write("desk.csv", &format!("number,state,case\n{rows}"));
        place.does(&format!("{PUBLISH} {publish}"));
        place.trust("trust.json", &["holder", "asker"]);
        let config = place.path("holder").join("node.toml");
        let mut text = fs::read_to_string(&config).unwrap();
        for (key, value) in limits {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{key} = ")));
            text = text.replace(line.unwrap(), &format!("{key} = {value}"));
        }
        fs::write(&config, text).unwrap();
        let serving = place.serve("holder");
        let desk = Desk::new(&place, "asker", "holder", serving.address);
        Self {
            place,
            serving: Some(serving),
            desk,
        }
    }

    fn plain() -> Self {
        Self::new(&[], &format!("--peer-budget {BUDGET}"))
    }

    /// Begins a shift of both types.
    async fn begin(&self, session: u8) -> Shift {
        self.try_begin(session, MOST).await.unwrap()
    }

    async fn try_begin(&self, session: u8, most: u64) -> Result<Shift, &'static str> {
        let offer = self.desk.offer("desk").await;
        let asks = [
            ("document", most, &[FLIGHT, 32][..]),
            ("text", most, &[FLIGHT, 32]),
        ];
        self.desk
            .begin(self.desk.asking(session, &offer, &asks))
            .await
    }

    /// Kills the node.
    fn kill(&mut self) {
        drop(self.serving.take());
    }

    /// Starts it again.
    fn start(&mut self) {
        let serving = self.place.serve("holder");
        self.desk.lead_to(serving.address);
        self.serving = Some(serving);
    }

    /// Where the holder's record of a session lies.
    fn record(session: u8, ending: &str) -> String {
        format!("holder/records/{}.{ending}", Hex([session; 16]))
    }

    /// A closed record, verified.
    fn verified(&self, session: u8) -> Value {
        let record = Self::record(session, "tally");
        tallystick_tests::running::wait_for("the record", || {
            self.place.path(&record).exists().then_some(())
        });
        let line = format!("tally audit verify {record} --trust trust.json");
        let verdict = self.place.json(&line);
        assert_eq!(verdict["verified"], true, "{verdict}");
        verdict
    }

    /// What the asker has left of each type.
    async fn left(&self) -> Vec<u64> {
        let offer = self.desk.offer("desk").await;
        offer.quota_left.iter().map(|left| left.get()).collect()
    }

    /// Chunks that the holder's store has bound in a session, and how many it knows the answer of.
    async fn bound(&self, session: u8) -> (usize, usize) {
        let store = self.place.home("holder").store().await.unwrap();
        let chunks = store.chunks(&[session; 16]).await.unwrap();
        store.close().await;
        let answered = chunks.iter().filter(|chunk| chunk.answer.is_some()).count();
        (chunks.len(), answered)
    }
}
