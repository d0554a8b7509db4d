//! A desk and the peers it asks: what is found, what is missing and why, what survives, what the records
//! show. Nodes are the real program; the desk is the library, in this process.

#![allow(clippy::unwrap_used)]

#[path = "desk/asking.rs"]
mod asking;
#[path = "desk/command.rs"]
mod command;
#[path = "desk/document.rs"]
mod document;
#[path = "desk/endpoint.rs"]
mod endpoint;
#[path = "desk/liars.rs"]
mod liars;
#[path = "desk/missing.rs"]
mod missing;
#[path = "desk/wire.rs"]
mod on_the_wire;
#[path = "desk/openapi.rs"]
mod openapi;
#[path = "desk/page.rs"]
mod page;
#[path = "desk/restarts.rs"]
mod restarts;
#[path = "desk/stream.rs"]
mod stream;

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use tallystick_client::{
    desk::{
        Ask, CollectionAnswer, Desk, DeskOptions, Ended, LinkReport, OnAlarm, Presented,
        ShiftReport, Told,
    },
    run::Grounds,
};
use tallystick_tests::place::Place;

/// Rows of the watchlist: several buckets.
const THEIRS: usize = 1100;

/// `holder` offers a watchlist; `asker` has a desk.
struct Post {
    place: Place,
}

impl Post {
    fn new() -> Self {
        let place = Place::pair("holder", "asker");
        let post = Self { place };
        post.publish("");
        post.place.trust("trust.json", &["holder", "asker"]);
        post
    }

    /// Publishes the watchlist; once more if it was.
    fn publish(&self, more: &str) {
        let row = |n: usize| format!("W{n},UTO,Anna,{},1974-08-12,C-{n}\n", family(n));
        let rows: String = (0..THEIRS).map(row).collect();
        self.place.write(
            "watchlist.csv",
            &format!("number,state,given,family,born,case\n{rows}{more}"),
        );
        self.place.does(
            "tallyd collection publish watchlist --home holder --input watchlist.csv \
             --key document=number,state --key person=given,family,born --label case \
             --peer-budget 100000",
        );
    }

    fn options(&self, address: SocketAddr) -> DeskOptions {
        DeskOptions {
            asks: vec![Ask {
                peer: "holder".to_owned(),
                collection: "watchlist".parse().unwrap(),
                address: Some(address.to_string()),
            }],
            grounds: Grounds {
                purpose: Some("entry check".parse().unwrap()),
                case: Some("BCP-7/2026-11".to_owned()),
                runner: Some("guard 17".to_owned()),
                ..Grounds::default()
            },
            // Numbers in these tests are dense.
            on_alarm: OnAlarm::Warn,
            hours: 1,
            patience: Duration::from_secs(10),
            refresh: Duration::from_millis(300),
            ..DeskOptions::default()
        }
    }

    async fn open(&self, options: DeskOptions) -> Desk {
        let home = Arc::new(self.place.home("asker"));
        Desk::open(home, options).await.unwrap()
    }

    fn records(&self, home: &str, ending: &str) -> Vec<String> {
        let folder = self.place.path(home).join("records");
        let names = fs::read_dir(folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
        names.sort();
        names
    }

    /// Both copies of a session's record are the same bytes, complete, and verify; nothing else of it is
    /// left.
    fn copies_agree(&self, session: &str) {
        let copies = ["asker", "holder"].map(|home| format!("{home}/records/{session}.tally"));
        let bytes = copies
            .each_ref()
            .map(|copy| fs::read(self.place.path(copy)).unwrap());
        assert!(bytes[0] == bytes[1], "the copies of {session} differ");
        let verdict = self.place.json(&format!(
            "tally audit verify {} --trust trust.json",
            copies.join(" ")
        ));
        assert_eq!(verdict["verified"], true, "{verdict}");
        assert_eq!(verdict["agree"], true);
        assert_eq!(verdict["records"][0]["status"], "complete");
        // No identifier is left, sealed or not.
        assert!(
            !self
                .place
                .path(&format!("asker/records/{session}.shift"))
                .exists()
        );
        assert!(
            !self
                .place
                .path(&format!("asker/records/{session}.part"))
                .exists()
        );
    }

    /// Every session of a report was closed by both sides, and its record holds.
    fn all_is_well(&self, report: &ShiftReport) {
        for link in &report.collections {
            for session in &link.sessions {
                assert_eq!(session.ended, Ended::Complete, "{:?}", session.trouble);
                self.copies_agree(&session.session);
            }
        }
    }
}

/// The family name of row `n`: names hold no digits.
fn family(n: usize) -> String {
    let letter = |of: usize| char::from(b'A' + (of % 26) as u8);
    format!("Eriksson{}{}{}", letter(n / 676), letter(n / 26), letter(n))
}

/// A traveller by document number and name.
fn traveller(number: &str, family: &str) -> Presented {
    let line = format!(
        r#"{{"number":"{number}","state":"UTO","surname":"{family}","given_names":"Anna","birth_date":"1974-08-12"}}"#
    );
    Presented::from_line(&line).unwrap()
}

/// What was found: types and labels.
fn hits(answer: &CollectionAnswer) -> Vec<(String, String)> {
    let Told::Answered { hits, .. } = &answer.told else {
        panic!("{answer:?}");
    };
    let text = |hit: &tallystick_client::desk::DeskHit| {
        assert!(!hit.spoiled);
        let label = hit.label.as_ref().map(|label| label.join("/"));
        (hit.type_name.to_string(), label.unwrap_or_default())
    };
    let mut hits: Vec<_> = hits.iter().map(text).collect();
    hits.sort();
    hits
}

/// Code and reason of an answer that is missing.
fn missed(answer: &CollectionAnswer) -> (String, String) {
    match &answer.told {
        Told::Missing { code, why, .. } => (code.clone(), why.clone()),
        _ => panic!("{answer:?}"),
    }
}

/// Asks one traveller who is on the list by number and name, and one who is not.
async fn asks_well(desk: &Desk, n: usize) {
    let on = traveller(&format!("W{n}"), &family(n));
    let label = format!("C-{n}");
    let want = ["document", "person"].map(|ty| (ty.to_owned(), label.clone()));
    assert_eq!(hits(&desk.answers(&on).await[0]), want);
    let off = traveller(&format!("P{n}"), "Berg");
    assert_eq!(hits(&desk.answers(&off).await[0]), []);
}

fn only(report: &ShiftReport) -> &LinkReport {
    let [link] = &report.collections[..] else {
        panic!("{report:?}");
    };
    link
}
