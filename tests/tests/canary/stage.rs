//! Two agencies with planted values in all that they know.

use std::{cell::RefCell, fs, path::PathBuf};

use tallystick_tests::{
    canary::Canaries,
    place::{Ended, Place},
};

use crate::secrets;

/// The passphrase of both homes.
pub const WORDS: &str = "canary words Qz7XwK4vJt9R";
/// The asker's table: what hits, what misses, what is refused.
pub const OURS: &str = "\
passport,country,name,code,lane
qx7-9kwz 4mjv,UTO,Nobody Vrqkzwjh,kd-Hq5Wzt8Yb,lane-hit-7VXqKD2M
ZK3QW8YV5TJX,UTO,Zsofia  Kwqvxj-Yes,kd-Vw2Kxq9Zj,lane-name-3WqZKX8V
,,,kd-yes-Xq4Wzk7V,lane-code-9KqWVX5Z
RJ!CT7ZQK9WX,UTO,,,lane-bad-5QxWKZ4V
T2ZQK8VW3NN,FR,,,lane-two-8VqXZK6W
";
/// The holder's table.
pub const THEIRS: &str = "\
number,state,name,code,case,remark
QX79KWZ4MJV,UTO,Nobody Else Qkwx,hc-Wz8Kxq3V,case-doc-4KzQWX7V,remark-2VWqXKZ9
HV6WQK2ZX9T,UTO,zsofia kwqvxj-yes,hc-Kq7Vzx5W,case-name-6ZqKXW3V,remark-5XKqZWV8
MW4KZX8QV2J,UTO,Hidden Xwqzkvyt,kd-yes-Xq4Wzk7V,case-code-8WqVZX5K,remark-7ZVqWKX3
NP5ZVK3XW8Q,UTO,Hidden Zkvqwxtu,hc-Xw6Qzv2K,case-miss-2XqZWK9V,remark-9KWqVZX6
JB!CT4VXZ8KW,UTO,,,case-bad-7VqWXK4Z,remark-4WXqKVZ5
";
/// Bytes to the holder after which about half of the chunks have left.
pub const HALF: u64 = 20_000;
/// Rows that only make the session long.
const FILLING: usize = 700;
const OUR_KEYS: &str = "--key document=passport,country --key text=name --key bytes=code";
const THEIR_KEYS: &str = "--key document=number,state --key text=name --key bytes=code";

/// Where it plays.
pub struct Stage {
    /// The folder.
    pub place: Place,
    /// All that commands have said, results and logs.
    pub said: RefCell<String>,
}

impl Stage {
    /// Two homes that know each other, tables, nothing published. Everything is logged; temporary
    /// files go to the folder `temporary`.
    pub fn new() -> Self {
        let mut place = Place::with_words(WORDS);
        fs::create_dir(place.path("temporary")).unwrap();
        place.set("TMPDIR", place.path("temporary"));
        place.set("TALLY_LOG", "trace");
        let filling = |from: &str, columns: &str| -> String {
            (0..FILLING)
                .map(|n| format!("{from}{n},UTO{columns}\n"))
                .collect()
        };
        place.write("ours.csv", &format!("{OURS}{}", filling("P", ",,,")));
        place.write("theirs.csv", &format!("{THEIRS}{}", filling("W", ",,,c,")));
        let stage = Self {
            place,
            said: RefCell::default(),
        };
        for home in ["holder", "asker"] {
            stage.does(&format!(
                "tallyd init {home} --name {home} --dev-ca --listen 127.0.0.1:0"
            ));
            stage.configure(home, "format = \"pretty\"", "format = \"json\"");
            stage.configure(home, "filter = \"info\"", "filter = \"trace\"");
            stage.configure(home, "chunk_elements = 16384", "chunk_elements = 32");
            stage.does(&format!("tallyd peer export {home}.peer --home {home}"));
        }
        stage.does("tallyd peer add asker.peer --home holder");
        stage.does("tallyd peer add holder.peer --home asker");
        stage
    }

    /// The same, with the list published.
    pub fn published() -> Self {
        let stage = Self::new();
        stage.does(&publish("theirs.csv"));
        stage
    }

    /// Changes a line of a home's configuration.
    pub fn configure(&self, home: &str, from: &str, to: &str) {
        let path = format!("{home}/node.toml");
        let text = self.place.read(&path);
        assert!(text.contains(from), "{text}");
        self.place.write(&path, &text.replace(from, to));
    }

    /// Runs a command line; keeps what it says.
    pub fn run(&self, line: &str) -> Ended {
        let ended = self.place.run(line);
        self.heard(&ended);
        ended
    }

    /// Keeps what a command has said.
    pub fn heard(&self, ended: &Ended) {
        let mut said = self.said.borrow_mut();
        said.push_str(&ended.out);
        said.push_str(&ended.err);
    }

    /// Runs a line that must succeed.
    pub fn does(&self, line: &str) {
        let ended = self.run(line);
        assert_eq!(ended.code, 0, "{line}\n{}", tail(&ended.err));
    }

    /// Runs a line that must fail with this code of the error.
    pub fn fails(&self, line: &str, code: &str) {
        let ended = self.run(&format!("{line} --json"));
        assert_ne!(ended.code, 0, "{line}");
        let last = ended.err.lines().last().unwrap_or_default();
        assert!(last.contains(&format!("\"code\":\"{code}\"")), "{last}");
    }

    /// Runs a line that must fail.
    pub fn refuses(&self, line: &str) {
        let ended = self.run(line);
        assert_ne!(ended.code, 0, "{line}");
    }

    /// The record of a session that both have closed.
    pub fn record(&self) -> String {
        let names = fs::read_dir(self.home("asker").join("records")).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.find(|name| name.ends_with(".tally")).unwrap()
    }

    /// Plants the keys that a home holds now.
    pub fn plant_keys(&self, canaries: &mut Canaries, home: &str) {
        secrets::plant(canaries, &self.place, home, WORDS);
    }

    /// What the other side is told, and every home keeps.
    pub fn told(&self) -> Canaries {
        let mut told = Canaries::new();
        told.text("the name of the list", "watchlist");
        told.text("the purpose", "purpose-7WqXZK4V");
        told
    }

    /// A home.
    pub fn home(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    /// Everything that was planted, with all keys that both homes hold now.
    pub fn canaries(&self) -> Canaries {
        let mut canaries = values();
        for home in ["holder", "asker"] {
            self.plant_keys(&mut canaries, home);
        }
        canaries
    }
}

/// The command that publishes a table.
pub fn publish(table: &str) -> String {
    format!(
        "tallyd collection publish watchlist --home holder --input {table} {THEIR_KEYS} --label case"
    )
}

/// The command that asks.
pub fn ask(address: impl std::fmt::Display, table: &str, out: &str) -> String {
    format!(
        "tally match --home asker --peer holder --address {address} --collection watchlist \
         --input {table} {OUR_KEYS} --case case-no-5KqZWX8V --runner runner-3ZqVXKW7 \
         --purpose purpose-7WqXZK4V {out}"
    )
}

/// What stands in the tables, the passphrase, and the grounds that are told to nobody.
fn values() -> Canaries {
    let mut canaries = Canaries::new();
    let mut plant = |what: &str, forms: &[&str]| {
        forms.iter().for_each(|form| canaries.text(what, form));
    };
    plant("our document that hits", &["qx7-9kwz 4mjv", "QX79KWZ4MJV"]);
    plant("our document that misses", &["ZK3QW8YV5TJX"]);
    plant("our document that is refused", &["RJ!CT7ZQK9WX"]);
    plant("our document of no state", &["T2ZQK8VW3NN"]);
    plant("our text that hits", &["Kwqvxj-Yes", "KWQVXJ-YES"]);
    plant("our text that misses", &["Vrqkzwjh", "VRQKZWJH"]);
    plant("our bytes that hit", &["kd-yes-Xq4Wzk7V"]);
    plant("our bytes that miss", &["kd-Hq5Wzt8Yb"]);
    plant("our other column", &["7VXqKD2M", "3WqZKX8V", "9KqWVX5Z"]);
    plant("our other column of no hit", &["5QxWKZ4V", "8VqXZK6W"]);
    plant("their document that is not asked", &["NP5ZVK3XW8Q"]);
    plant("their document that is refused", &["JB!CT4VXZ8KW"]);
    plant(
        "their text that is not asked",
        &["Xwqzkvyt", "Zkvqwxtu", "XWQZKVYT", "ZKVQWXTU"],
    );
    plant("their text that hits", &["kwqvxj-yes"]);
    plant(
        "their bytes that are not asked",
        &["hc-Xw6Qzv2K", "hc-Wz8Kxq3V"],
    );
    plant(
        "their label that is opened",
        &["4KzQWX7V", "6ZqKXW3V", "8WqVZX5K"],
    );
    plant("their label that is not opened", &["2XqZWK9V"]);
    plant("their label of a row that is refused", &["7VqWXK4Z"]);
    plant(
        "their other column",
        &["2VWqXKZ9", "5XKqZWV8", "7ZVqWKX3", "9KWqVZX6"],
    );
    plant("the passphrase", &[WORDS, "Qz7XwK4vJt9R"]);
    plant("our grounds", &["case-no-5KqZWX8V", "runner-3ZqVXKW7"]);
    canaries
}

/// The end of a long log.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
