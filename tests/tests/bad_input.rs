//! What people get wrong, through the real programs: each case has its exit code, its stable code,
//! a message that says where and what to do next and shows no value of a table, loses nothing, and
//! is followed by a good run.
//!
//! ```text
//! tables         the table that is read
//! formats        other forms of it, standard input; rejected rows
//! usage          flags and mapping files
//! outputs        where the matches go
//! homes          passphrases, modes, homes of newer programs
//! certificates   who shows what
//! wire           who answers, who calls, and when
//! configuration  node.toml
//! ```
//!
//! An epoch that rotates in the middle of a session is in `resume/ended.rs`.

#![allow(clippy::unwrap_used)]

#[path = "bad_input/certificates.rs"]
mod certificates;
#[path = "bad_input/configuration.rs"]
mod configuration;
#[path = "bad_input/formats.rs"]
mod formats;
#[path = "bad_input/gate.rs"]
mod gate;
#[path = "bad_input/homes.rs"]
mod homes;
#[path = "bad_input/outputs.rs"]
mod outputs;
#[path = "bad_input/tables.rs"]
mod tables;
#[path = "bad_input/usage.rs"]
mod usage;
#[path = "bad_input/wire.rs"]
mod wire;

use std::{
    cell::Cell,
    fs,
    process::Command,
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use serde_json::Value;
use tallystick_tests::place::{Ended, Place, Serving, copy, object};

/// What is on the list: two rows of one document.
const WATCHLIST: &str = "number,state,name,case\n\
    L898902C3,UTO,Anna Eriksson,C-1\n\
    X1234567,DEU,Bo Berg,C-2\n\
    L898902C3,UTO,Anna Eriksson,C-3\n";
/// The good table.
const BORDER: &str = "passport,country,lane\n\
    l898902c3,UTO,1\n\
    Z0000001,DEU,2\n";
/// What a good run writes.
const HITS: &str = "passport,country,lane,tally_type,tally_rule,tally_score,tally_key,their_name,their_case\n\
    l898902c3,UTO,1,document,exact,1.000,document:UTO:L898902C3,Anna Eriksson,C-1\n\
    l898902c3,UTO,1,document,exact,1.000,document:UTO:L898902C3,Anna Eriksson,C-3\n";
/// What a run before has left in the output.
const BEFORE: &str = "the result of another day\n";
/// Parts of values of the tables here, good and bad. No message shows one.
const VALUES: [&str; 6] = ["898902", "000000", "1234567", "Eriksson", "Berg", "ZZQQ"];

/// Evaluations that a peer has by default.
const BUDGET: u64 = 1 << 24;
const THEIR_KEY: &str = "--key document=number,state";
const OUR_KEY: &str = "--key document=passport,country";

/// `holder` offers the watchlist and serves it; `asker` may ask, and has a result from before in
/// `hits.csv`.
struct Stage {
    place: Place,
    serving: Serving,
    /// Evaluations that the asker has left.
    left: Cell<u64>,
}

impl Stage {
    fn new() -> Self {
        Self::configured(|_| ())
    }

    /// The same; `change` comes before the holder serves.
    fn configured(change: impl FnOnce(&Place)) -> Self {
        let place = homes();
        change(&place);
        let serving = place.serve("holder");
        Self {
            place,
            serving,
            left: Cell::new(BUDGET),
        }
    }

    /// The line that asks from `home` and replaces `hits.csv`.
    fn ask_as(&self, home: &str) -> String {
        ask(home, &self.serving.address.to_string())
    }

    fn ask(&self) -> String {
        self.ask_as("asker")
    }

    /// What must not change when something is refused: records, files, the old result. What is left
    /// of the budget is held against [`Self::left`] by the good run that follows.
    fn state(&self) -> (Vec<Vec<String>>, String) {
        let folders = [".", "asker/records", "holder/records"];
        let names = folders.map(|folder| names(&self.place, folder)).to_vec();
        (names, self.place.read("hits.csv"))
    }

    /// Runs a line that must be refused and change nothing; gives the message.
    fn refused(&self, line: &str, exit: i32, code: &str, says: &[&str]) -> String {
        let before = self.state();
        let message = refused(&self.place, line, exit, code, says);
        assert_eq!(self.state(), before, "{line}");
        silent(&self.serving.log());
        message
    }

    /// `table` as the own table is refused; the good one is not.
    fn bad_table(&self, table: impl AsRef<[u8]>, code: &str, says: &[&str]) -> String {
        fs::write(self.place.path("bad.csv"), table).unwrap();
        let line = self.ask().replace("border.csv", "bad.csv");
        self.refused(&line, 2, code, says)
    }

    /// A good run from `home`: nothing was charged before but by other good runs.
    fn good_as(&self, home: &str) -> Value {
        let report = self.asked(&self.ask_as(home));
        assert_eq!(report["hits"], 2);
        assert_eq!(self.place.read("hits.csv"), HITS);
        report
    }

    /// The report of a run that succeeds.
    fn asked(&self, line: &str) -> Value {
        let report = self.place.json(line);
        let charged = &report["charged"][0];
        assert_eq!(charged["quota_before"], self.left.get(), "{report}");
        self.left.set(charged["quota_after"].as_u64().unwrap());
        report
    }

    /// A good run.
    fn good(&self) -> Value {
        self.good_as("asker")
    }

    /// A copy of the asker's home, to be spoiled.
    fn spoiled(&self, name: &str) {
        copy(&self.place.path("asker"), &self.place.path(name));
    }
}

/// The line that asks from `home` at `address` and replaces `hits.csv`.
fn ask(home: &str, address: &str) -> String {
    format!(
        "tally match --home {home} --peer holder --address {address} --collection watchlist \
         --input border.csv {OUR_KEY} --out hits.csv --force"
    )
}

/// The two homes and the tables. Homes are made once for the tests that run at the same time.
fn homes() -> Place {
    static MADE: Mutex<Weak<Place>> = Mutex::new(Weak::new());
    let made = {
        // A test that failed in here has made nothing.
        let mut made = MADE.lock().unwrap_or_else(|broken| broken.into_inner());
        made.upgrade().unwrap_or_else(|| {
            let place = Place::pair("holder", "asker");
            place.write("watchlist.csv", WATCHLIST);
            place.does(&format!(
                "tallyd collection publish watchlist --home holder --input watchlist.csv \
                 {THEIR_KEY} --label name,case"
            ));
            let place = Arc::new(place);
            *made = Arc::downgrade(&place);
            place
        })
    };
    let place = Place::new();
    for home in ["holder", "asker"] {
        copy(&made.path(home), &place.path(home));
    }
    place.write("watchlist.csv", WATCHLIST);
    place.write("border.csv", BORDER);
    place.write("hits.csv", BEFORE);
    place
}

/// Names in a folder, but for logs.
fn names(place: &Place, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(place.path(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".log")).collect();
    names.sort();
    names
}

/// Runs a line that must be refused, with `--json`; gives the message.
fn refused(place: &Place, line: &str, exit: i32, code: &str, says: &[&str]) -> String {
    let ended = place.run(&format!("{line} --json"));
    judged(&ended, line, exit, code, says)
}

/// Holds an end against what it must be: exit code, nothing on stdout, for people what happened and
/// what to do next, for programs the stable code and the same words. No value of a table.
fn judged(ended: &Ended, line: &str, exit: i32, code: &str, says: &[&str]) -> String {
    let all = format!("{line}\n{}\n{}", ended.out, ended.err);
    assert_eq!((ended.code, ended.out.as_str()), (exit, ""), "{all}");
    silent(&ended.err);
    let last = ended.err.lines().last().unwrap_or_default();
    let error = object(&format!("{last}\n"));
    let word = |name: &str| error[name].as_str().unwrap().to_owned();
    assert_eq!(word("code"), code, "{all}");
    let message = word("message");
    for part in says {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
    let what = ended.err.lines().any(|line| line.starts_with("error: "));
    let next = ended
        .err
        .lines()
        .find_map(|line| line.strip_prefix("  next: "));
    assert!(what && next.is_some_and(|next| next.len() > 8), "{all}");
    message
}

/// No value of a table stands there.
fn silent(text: &str) {
    for value in VALUES {
        assert!(!text.contains(value), "{value} in: {text}");
    }
}

/// Changes the configuration of a home.
fn configure(place: &Place, home: &str, from: &str, to: &str) {
    let file = format!("{home}/node.toml");
    let text = place.read(&file);
    assert!(text.contains(from), "{text}");
    place.write(&file, &text.replace(from, to));
}

/// Runs a command that was prepared to its end; a minute at most.
fn run(place: &Place, mut command: Command) -> Ended {
    let (out, err) = ("run-out.log", "run-err.log");
    let mut child = command
        .stdout(fs::File::create(place.path(out)).unwrap())
        .stderr(fs::File::create(place.path(err)).unwrap())
        .spawn()
        .unwrap();
    let status = wait_for("a command to end", || child.try_wait().unwrap());
    Ended {
        code: status.code().unwrap_or(-1),
        out: place.read(out),
        err: place.read(err),
    }
}

/// Looks until it is there; a minute at most.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "waited too long for {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}
