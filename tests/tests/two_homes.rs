//! Two agencies, two homes, the programs as people run them, real TLS between: what is found, what
//! is written, how it is refused, and what the records show afterwards.

#![allow(clippy::unwrap_used)]

#[path = "two_homes/audit.rs"]
mod audit;
#[path = "two_homes/matching.rs"]
mod matching;
#[path = "two_homes/output.rs"]
mod output;
#[path = "two_homes/refusals.rs"]
mod refusals;
#[path = "two_homes/replays.rs"]
mod replays;

use serde_json::Value;
use tallystick_tests::place::{Place, Serving};

/// A watchlist of three documents, one of them in two rows.
const WATCHLIST: &str = "number,state,name,case\n\
    L898902C3,UTO,Anna Eriksson,C-1\n\
    X1234567,DEU,Bo Berg,C-2\n\
    L898902C3,UTO,Anna Eriksson,C-3\n\
    Y7654321,FRA,Cy Cole,C-4\n";
/// A border list; two of its documents are on the watchlist.
const BORDER: &str = "passport,country,lane\n\
    l898902c3,UTO,1\n\
    Z0000001,DEU,2\n\
    X-123 4567,D<<,3\n";
const THEIR_KEY: &str = "--key document=number,state";
const OUR_KEY: &str = "--key document=passport,country";

/// `holder` offers the watchlist, `asker` may ask it.
fn served() -> (Place, Serving) {
    let place = published();
    let serving = place.serve("holder");
    (place, serving)
}

/// The same, not served yet.
fn published() -> Place {
    let place = Place::pair("holder", "asker");
    place.write("watchlist.csv", WATCHLIST);
    place.write("border.csv", BORDER);
    publish(
        &place,
        "watchlist",
        &format!("--input watchlist.csv {THEIR_KEY} --label name,case"),
    );
    place
}

fn publish(place: &Place, collection: &str, flags: &str) {
    place.does(&format!(
        "tallyd collection publish {collection} --home holder {flags}"
    ));
}

/// The line that asks `holder` for the watchlist, from `home`.
fn ask(serving: &Serving, home: &str, flags: &str) -> String {
    let address = serving.address;
    format!(
        "tally match --home {home} --peer holder --address {address} --collection watchlist \
         --input border.csv {OUR_KEY} {flags}"
    )
}

/// Asks, and gives the report and the names of both copies of the record.
fn matched(place: &Place, serving: &Serving, out: &str) -> (Value, [String; 2]) {
    let report = place.json(&ask(serving, "asker", &format!("--out {out}")));
    let session = report["session"].as_str().unwrap();
    let copies = ["asker", "holder"].map(|home| format!("{home}/records/{session}.tally"));
    (report, copies)
}
