//! Two agencies with a list each, small enough that a match takes a moment, and of several chunks and
//! buckets.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::OnceLock,
};

use serde_json::Value;

use crate::{
    oracle::{self, Key, Table},
    place::{Place, mode},
};

/// Own rows, each an element.
pub const OURS: usize = 46;
/// Elements that are sent and charged for them.
pub const PADDED: u64 = 48;
/// Elements of a chunk: three chunks a session.
pub const CHUNK: u64 = 16;
/// Rows of the watchlist: four buckets.
const THEIRS: usize = 1100;

/// `holder` offers a watchlist, of which `asker` holds a part.
#[derive(Debug)]
pub struct Stage {
    /// Where it all is.
    pub place: Place,
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    /// Two homes that know each other, the collection published, nothing served. They are made once
    /// and copied for each test.
    #[must_use]
    pub fn new() -> Self {
        static MADE: OnceLock<Vec<Packed>> = OnceLock::new();
        let made = MADE.get_or_init(|| pack(&Self::made().place.path("")));
        let place = Place::new();
        for Packed { path, mode, bytes } in made {
            let path = place.path(path);
            match bytes {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::create_dir(&path).unwrap(),
            }
            fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
        }
        Self { place }
    }

    fn made() -> Self {
        let place = Place::pair("holder", "asker");
        let theirs: String = (0..THEIRS).map(|n| format!("W{n},UTO,C-{n}\n")).collect();
        place.write("watchlist.csv", &format!("number,state,case\n{theirs}"));
        let name = |n: usize| if n % 15 == 7 { "w" } else { "P" };
        let ours: String = (0..OURS)
            .map(|n| format!("{}{n},UTO,{n}\n", name(n)))
            .collect();
        place.write("border.csv", &format!("passport,country,lane\n{ours}"));
        place.trust("trust.json", &["holder", "asker"]);
        let stage = Self { place };
        stage.publish();
        stage.configure("holder", "chunk_elements", CHUNK);
        stage
    }

    /// Publishes the watchlist, once more if it was: the epoch stays, the snapshot is another.
    pub fn publish(&self) {
        self.place.does(
            "tallyd collection publish watchlist --home holder --input watchlist.csv \
             --key document=number,state --label case --full --peer-budget 1000000",
        );
    }

    /// Sets a number in a home's configuration.
    pub fn configure(&self, home: &str, key: &str, value: u64) {
        configure(&self.place.path(home), key, value);
    }

    /// Sets a number in a home's configuration, if it has this key.
    pub fn configure_if_known(&self, home: &str, key: &str, value: u64) {
        let text = self.place.read(&format!("{home}/node.toml"));
        if text.contains(&format!("\n{key} = ")) {
            self.configure(home, key, value);
        }
    }

    /// Lifts the holder's limits on how much one peer may do at once.
    pub fn allow_many(&self) {
        let text = self.place.read("holder/node.toml");
        let of_numbers = |line: &&str| line.starts_with("max_") && !line.starts_with("max_message");
        let limits = text.lines().filter(of_numbers);
        // Wholes first: a peer's share may not be more.
        let (whole, share): (Vec<&str>, Vec<&str>) =
            limits.partition(|line| line.contains("_total"));
        for line in whole.iter().chain(&share) {
            let (key, _) = line.split_once(" = ").unwrap();
            if !key.contains("elements") {
                self.configure("holder", key, 400);
            }
        }
    }

    /// The command by which a home asks, with its output in `out`.
    #[must_use]
    pub fn line(&self, home: &str, address: impl std::fmt::Display, out: &str) -> String {
        format!(
            "tally match --home {home} --peer holder --address {address} --collection watchlist \
             --input border.csv --key document=passport,country --out {out} --json"
        )
    }

    /// Holds an output against a plain matcher's.
    pub fn matches_are_right(&self, out: &str) {
        let theirs = Table::parse(&self.place.read("watchlist.csv"));
        let ours = Table::parse(&self.place.read("border.csv"));
        let want = oracle::matches(
            &ours,
            &[Key("document", &["passport", "country"])],
            &theirs,
            &[Key("document", &["number", "state"])],
            &["case"],
        );
        assert_eq!(want.len(), 4, "three of the own rows are on the list");
        let got = Table::parse(&self.place.read(out));
        assert_eq!(got.header, want[0], "{out}");
        assert_eq!(got.rows, want[1..], "{out}");
    }

    /// Both copies of a session's record are the same bytes, complete, and verify.
    pub fn copies_agree(&self, home: &str, session: &str) {
        let copies = [home, "holder"].map(|home| format!("{home}/records/{session}.tally"));
        let bytes = copies
            .each_ref()
            .map(|copy| fs::read(self.place.path(copy)).unwrap());
        assert!(bytes[0] == bytes[1], "the copies of {session} differ");
        let verdict = self.verify(&copies.join(" "));
        assert_eq!(verdict["agree"], true);
        assert_eq!(verdict["records"][0]["status"], "complete");
    }

    /// Verifies records under the trust file; they must pass.
    #[must_use]
    pub fn verify(&self, records: &str) -> Value {
        let line = format!("tally audit verify {records} --trust trust.json");
        let verdict = self.place.json(&line);
        assert_eq!(verdict["verified"], true, "{verdict}");
        verdict
    }

    /// Files in a home's folder of records that end so.
    #[must_use]
    pub fn records(&self, home: &str, ending: &str) -> Vec<String> {
        let names = fs::read_dir(self.place.path(home).join("records")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
        names.sort();
        names
    }
}

/// A file of a folder, or a folder in it, as kept in memory.
struct Packed {
    path: String,
    mode: u32,
    bytes: Option<Vec<u8>>,
}

/// Everything in a folder, folders before what is in them.
fn pack(top: &Path) -> Vec<Packed> {
    let mut packed = Vec::new();
    let mut left = vec![top.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let bytes = (!path.is_dir()).then(|| fs::read(&path).unwrap());
            packed.push(Packed {
                path: path.strip_prefix(top).unwrap().to_str().unwrap().to_owned(),
                mode: mode(&path),
                bytes,
            });
            if path.is_dir() {
                left.push(path);
            }
        }
    }
    packed
}

/// Sets a number in the configuration of the home in `dir`.
pub fn configure(dir: &Path, key: &str, value: u64) {
    let config = dir.join("node.toml");
    let text = fs::read_to_string(&config).unwrap();
    let start = format!("{key} = ");
    let set = |line: &str| match line.starts_with(&start) {
        true => format!("{start}{value}\n"),
        false => format!("{line}\n"),
    };
    let lines: String = text.lines().map(set).collect();
    assert!(lines.contains(&format!("{start}{value}\n")), "no key {key}");
    fs::write(&config, lines).unwrap();
}
