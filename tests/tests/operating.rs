//! A node as its operator sees it: metrics, health, what systemd is told.

#![allow(clippy::unwrap_used)]

#[path = "operating/health.rs"]
mod health;
#[path = "operating/metrics.rs"]
mod metrics;
#[path = "operating/scrape.rs"]
mod scrape;

use std::{fs, time::Duration};

use tallystick_protocol::{
    frame::{Frame, FrameReader},
    signing::SigningKey,
    statements::{Hex, Int, Request, open_as_named, sign},
};
use tallystick_tests::place::{Place, Serving};

const OUR_KEY: &str = "--key document=passport,country";

/// `holder` offers a watchlist and tells metrics; `asker` may ask.
fn published(budget: u64) -> Place {
    let place = Place::pair("holder", "asker");
    let config = place.path("holder/node.toml");
    let text = fs::read_to_string(&config).unwrap();
    let off = "#listen_address = \"127.0.0.1:9464\"";
    assert!(text.contains(off));
    let on = "listen_address = \"127.0.0.1:0\"";
    fs::write(&config, text.replace(off, on)).unwrap();
    place.write(
        "watchlist.csv",
        "number,state,name\nL898902C3,UTO,Anna Eriksson\nX1234567,DEU,Bo Berg\n",
    );
    place.write(
        "border.csv",
        "passport,country,lane\nl898902c3,UTO,1\nZ0000001,DEU,2\n",
    );
    place.does(&format!(
        "tallyd collection publish watchlist --home holder --input watchlist.csv \
         --key document=number,state --label name --peer-budget {budget}"
    ));
    place
}

fn ask(serving: &Serving, flags: &str) -> String {
    let address = serving.address;
    format!(
        "tally match --home asker --peer holder --address {address} --collection watchlist \
         --input border.csv {OUR_KEY} {flags}"
    )
}

/// A request of `asker` like one that stands in a record, of a session of its own.
fn fresh_request(place: &Place, record: &str) -> Frame {
    let mut reader = FrameReader::new(fs::File::open(place.path(record)).unwrap());
    let frames = [(); 2].map(|()| reader.next_frame().unwrap().unwrap());
    let mut request: Request = open_as_named(&frames[1]).unwrap();
    let now = tallystick_agency::clock::now_ms().unsigned_abs();
    request.session = Hex(rand::random());
    request.issued_ms = Int::new(now).unwrap();
    request.expires_ms = Int::new(now + 600_000).unwrap();
    let key = SigningKey::from(place.home("asker").signing_key().unwrap());
    sign(&request, &key).unwrap()
}

/// Waits until `ready`, at most half a minute.
fn wait(what: &str, mut ready: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !ready() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
