//! How the table is read: other delimiters, encodings, packings, JSON lines, standard input, no
//! header; and rows that are rejected.

use std::{
    fs::{self, File},
    io::Write,
    process::Stdio,
};

use serde_json::Value;
use tallystick_tests::place::{Ended, Place};

use crate::{HITS, Stage, THEIR_KEY, judged, refused, run};

/// The good table, with another delimiter.
fn border(delimiter: &str) -> String {
    crate::BORDER.replace(',', delimiter)
}

const LINES: &str = "{\"passport\":\"l898902c3\",\"country\":\"UTO\",\"lane\":1}\n\
    {\"passport\":\"Z0000001\",\"lane\":2,\"country\":\"DEU\"}\n";

/// The good table in gzip.
const GZIP: [u8; 69] = *include_bytes!("border.csv.gz");

impl Stage {
    /// Asks with a table of this name and content; what matched must be what always does.
    fn asks_with(&self, name: &str, table: impl AsRef<[u8]>, flags: &str) -> Value {
        fs::write(self.place.path(name), table).unwrap();
        let line = self.ask().replace("border.csv", name);
        let report = self.asked(&format!("{line} {flags}"));
        assert_eq!(
            (&report["hits"], &report["ours"]["rows"]),
            (&2.into(), &2.into())
        );
        assert_eq!(self.place.read("hits.csv"), HITS, "{name} {flags}");
        report
    }

    /// Refuses a table of this name and content.
    fn refuses(&self, name: &str, table: impl AsRef<[u8]>, flags: &str, code: &str, says: &[&str]) {
        fs::write(self.place.path(name), table).unwrap();
        let line = self.ask().replace("border.csv", name);
        self.refused(&format!("{line} {flags}"), 2, code, says);
    }
}

/// Runs a line with these bytes on standard input.
fn with_input(place: &Place, line: &str, bytes: &[u8]) -> Ended {
    fs::write(place.path("stdin"), bytes).unwrap();
    let mut command = place.command(&format!("{line} --json"));
    command.stdin(File::open(place.path("stdin")).unwrap());
    run(place, command)
}

#[test]
fn one_table_in_every_form_gives_one_result() {
    let stage = Stage::new();
    for delimiter in [";", "\t", "|"] {
        stage.asks_with("own.csv", border(delimiter), "");
    }
    stage.asks_with("own.tsv", border("\t"), "");
    stage.asks_with("own.txt", border(":"), "--delimiter :");
    stage.asks_with("own.jsonl", LINES, "");
    stage.asks_with("own.txt", LINES, "--format jsonl");
    stage.asks_with("own.csv.gz", GZIP, "");
    let utf16: Vec<u8> = format!("\u{feff}{}", border(","))
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    stage.asks_with("own.csv", &utf16, "");
    stage.asks_with("own.csv", &utf16[2..], "--encoding utf-16le");
    // A mapping file states it as well; a flag stands before it.
    let mapping = "[[key]]\ntype = \"document\"\nnumber = \"passport\"\nstate = \"country\"\n\
                   [table]\ndelimiter = \":\"\n";
    stage.place.write("own.mapping.toml", mapping);
    let line = stage
        .ask()
        .replace(crate::OUR_KEY, "--mapping own.mapping.toml");
    let line = line.replace("border.csv", "own.csv");
    for (delimiter, flags) in [(":", ""), ("^", "--delimiter ^")] {
        stage.place.write("own.csv", &border(delimiter));
        assert_eq!(stage.asked(&format!("{line} {flags}"))["hits"], 2);
        assert_eq!(stage.place.read("hits.csv"), HITS);
    }
    stage.good();
}

#[test]
fn columns_without_a_header_are_numbers() {
    let stage = Stage::new();
    let (_, rows) = crate::BORDER.split_once('\n').unwrap();
    stage.place.write("own.csv", rows);
    let line = stage.ask().replace("border.csv", "own.csv");
    let by_number = line.replace(crate::OUR_KEY, "--key document=1,2 --no-header");
    assert_eq!(stage.asked(&by_number)["hits"], 2);
    let hits = stage.place.read("hits.csv");
    assert!(hits.starts_with("1,2,3,tally_type,"), "{hits}");
    stage.place.write("hits.csv", crate::BEFORE);
    // By name there is nothing, and without the flag the first row is no list of names.
    let says = ["no column \"passport\"", "numbers, here 1 to 3"];
    stage.refuses(
        "own.csv",
        rows,
        "--no-header",
        "table-missing-column",
        &says,
    );
    let says = ["no column \"passport\"", "--no-header"];
    stage.refuses("own.csv", rows, "", "table-missing-column", &says);
    stage.refuses(
        "own.csv",
        "anna,berg\nbo,berg\n",
        "",
        "table-missing-column",
        &says,
    );
    stage.good();
}

#[test]
fn a_packed_table_that_is_cut_short_or_damaged_is_refused() {
    let stage = Stage::new();
    let code = "table-does-not-unpack";
    for cut in [0, 5, 30, GZIP.len() - 1] {
        stage.refuses(
            "own.csv.gz",
            &GZIP[..cut],
            "",
            code,
            &["own.csv.gz", "ends too early"],
        );
    }
    let mut damaged = GZIP;
    damaged[40] ^= 0x55;
    stage.refuses(
        "own.csv.gz",
        damaged,
        "",
        code,
        &["own.csv.gz", "fetch it again"],
    );
    stage.refuses("own.csv.gz", border(","), "", code, &["it is damaged"]);
    stage.refuses("own.csv.zst", border(","), "", code, &["own.csv.zst"]);
    stage.refuses(
        "own.csv.zst",
        b"\x28\xb5\x2f\xfd",
        "",
        code,
        &["ends too early"],
    );
    stage.good();
}

#[test]
fn another_encoding_than_the_one_stated_is_refused_with_its_line() {
    let stage = Stage::new();
    let latin = [border(";").as_bytes(), b"X1;UTO;\xe9ZZQQ\n"].concat();
    let says = [
        "own.csv, line 4, column 3",
        "UTF-8",
        "--encoding windows-1252",
    ];
    stage.refuses("own.csv", &latin, "", "table-not-utf8", &says);
    let says = ["own.csv, line 4", "Shift_JIS"];
    stage.refuses(
        "own.csv",
        &latin[..latin.len() - 5],
        "--encoding shift_jis",
        "table-encoding",
        &says,
    );
    let says = ["byte order mark of UTF-8", "leave out --encoding"];
    let marked = format!("\u{feff}{}", border(","));
    stage.refuses(
        "own.csv",
        marked,
        "--encoding windows-1252",
        "table-encoding",
        &says,
    );
    // What is unknown is bad usage.
    let ended = stage
        .place
        .run(&format!("{} --encoding cp850", stage.ask()));
    assert_eq!(ended.code, 2, "{}", ended.err);
    assert!(ended.err.contains("windows-1252"), "{}", ended.err);
    stage.good();
}

#[test]
fn a_line_of_json_that_is_no_row_is_refused_with_its_line() {
    let stage = Stage::new();
    for (line, says) in [
        ("{\"passport\":\"Z0000001\"", "no JSON object"),
        ("[\"Z0000001\"]", "no JSON object"),
        ("{\"passport\":[\"Z0000001\"]}", "an array or an object"),
        ("{\"passport\":1,\"passport\":2}", "stands twice"),
        ("{\"Z0000001\":1}", "the first line does not have"),
    ] {
        let table = format!("{LINES}\n{line}\n");
        stage.refuses(
            "own.jsonl",
            table,
            "",
            "table-json",
            &["own.jsonl, line 4", says],
        );
    }
    let says = ["own.jsonl", "no delimiter"];
    stage.refuses("own.jsonl", LINES, "--delimiter ;", "table-format", &says);
    stage.refuses("own.jsonl", "", "", "table-empty", &["own.jsonl, line 1"]);
    stage.good();
}

#[test]
fn a_delimiter_that_does_not_fit_is_named() {
    let stage = Stage::new();
    // Ragged under each: the header decides, and the row is named.
    let table = "passport;country;lane\nl898902c3;UTO\nZ0000001;DEU;2\n";
    let says = [
        "own.csv, line 2",
        "2 fields, the header has 3",
        "semicolon",
        "--delimiter",
    ];
    stage.refuses("own.csv", table, "", "table-ragged-row", &says);
    let says = ["separated by tab", "state --delimiter"];
    stage.refuses(
        "own.csv",
        border(","),
        "--delimiter tab",
        "table-missing-column",
        &says,
    );
    stage.good();
}

#[test]
fn standard_input_is_a_table() {
    let stage = Stage::new();
    let line = stage.ask().replace("border.csv", "-");
    // The second time the session is a new one: the first is over.
    for bytes in [border(",").as_bytes(), border(";").as_bytes(), &GZIP] {
        let ended = with_input(&stage.place, &line, bytes);
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert_eq!(stage.place.read("hits.csv"), HITS);
        let report: Value = serde_json::from_str(&ended.out).unwrap();
        stage
            .left
            .set(report["charged"][0]["quota_after"].as_u64().unwrap());
        stage.place.write("hits.csv", crate::BEFORE);
    }
    // A pipe, too.
    let mut command = stage.place.command(&format!("{line} --json"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    for part in border(",").as_bytes().chunks(7) {
        pipe.write_all(part).unwrap();
    }
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    stage
        .left
        .set(report["charged"][0]["quota_after"].as_u64().unwrap());
    // Nothing of it stays.
    let cache = crate::names(&stage.place, "asker/cache");
    assert!(cache.iter().all(|name| !name.contains("tmp")), "{cache:?}");
    stage.good();
}

#[test]
fn standard_input_that_is_empty_or_a_terminal_is_refused() {
    let stage = Stage::new();
    let place = &stage.place;
    let line = stage.ask().replace("border.csv", "-");
    let ended = with_input(place, &line, b"");
    judged(
        &ended,
        &line,
        2,
        "table-empty",
        &["standard input, line 1", "is empty"],
    );
    let ended = with_input(place, &line, b"passport,country,lane\nl898902c3,UTO\n");
    judged(
        &ended,
        &line,
        2,
        "table-ragged-row",
        &["standard input, line 2"],
    );
    // The other end of a terminal is one, too.
    let terminal = File::options().read(true).write(true).open("/dev/ptmx");
    if let Ok(terminal) = terminal {
        let mut command = place.command(&format!("{line} --json"));
        command.stdin(terminal);
        let ended = run(place, command);
        judged(
            &ended,
            &line,
            2,
            "table-terminal",
            &["is a terminal", "pipe"],
        );
    }
    let line = format!(
        "tally try --ours - --theirs watchlist.csv {}",
        crate::OUR_KEY
    );
    refused(
        place,
        &line,
        2,
        "usage",
        &["cannot be tried", "save it to a file"],
    );
    stage.good();
}

const SOME_BAD: &str =
    "passport,country,lane\nl898902c3,UTO,1\nZ000?001,UTO,2\nZ0000001,ZZ,3\n,UTO,4\n";

#[test]
fn rejected_keys_are_listed_and_totals_add_up() {
    let stage = Stage::new();
    stage.place.write("border.csv", SOME_BAD);
    let line = format!("{} --rejects rejects.csv", stage.ask());
    let report = stage.asked(&line);
    let ours = &report["ours"];
    let rejected: u64 = ours["rejected"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!((rejected, &ours["rows"]), (2, &4.into()));
    let keys = ours["keys"].as_u64().unwrap() + ours["empty"].as_u64().unwrap();
    assert_eq!(keys + rejected, 4);
    let list = stage.place.read("rejects.csv");
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(
        lines[1].starts_with("3,\"document=passport,country\",document-"),
        "{list}"
    );
    assert!(
        lines[2].starts_with("4,\"document=passport,country\",document-state"),
        "{list}"
    );
    crate::silent(&list);
    // It exists now: --force, which the line has, replaces it; without, nothing is asked.
    let line = line.replace("hits.csv --force", "new.csv");
    stage.refused(&line, 2, "output-exists", &["rejects.csv", "--force"]);
    let line = line.replace("rejects.csv", "new.csv");
    stage.refused(&line, 2, "usage", &["one file"]);
    stage.place.write("border.csv", crate::BORDER);
    stage.good();
}

#[test]
fn rejects_stop_a_run_only_if_asked() {
    let stage = Stage::new();
    let place = &stage.place;
    place.write("some.csv", SOME_BAD);
    let line = stage.ask().replace("border.csv", "some.csv");
    let says = [
        "some.csv, line 3",
        "document-number",
        "first of 2 keys",
        "--rejects FILE",
    ];
    stage.refused(
        &format!("{line} --stop-on-rejects"),
        2,
        "rows-rejected",
        &says,
    );
    // The list is complete then, though the run was not.
    let stopped = format!("{line} --stop-on-rejects --rejects rejects.csv");
    refused(place, &stopped, 2, "rows-rejected", &["line 3"]);
    assert_eq!(place.read("rejects.csv").lines().count(), 3);
    // A good table does not stop.
    stage.asked(&format!("{} --stop-on-rejects", stage.ask()));
    // The same where a collection is published, and what was offered stays.
    let list = || place.json("tallyd collection list --home holder");
    let before = list();
    let publish = "tallyd collection publish watchlist --home holder --input some.csv \
                   --key document=passport,country --rejects published.csv";
    let says = ["some.csv, line 3", "first of 2 keys"];
    refused(
        place,
        &format!("{publish} --stop-on-rejects"),
        2,
        "rows-rejected",
        &says,
    );
    assert_eq!(list(), before);
    assert_eq!(place.read("published.csv"), place.read("rejects.csv"));
    refused(place, publish, 2, "output-exists", &["published.csv"]);
    assert_eq!(list(), before);
    let report = place.json(&format!("{publish} --force"));
    assert_eq!((&report["keys"], &report["empty"]), (&1.into(), &1.into()));
    assert_eq!(place.read("published.csv"), place.read("rejects.csv"));
    // From standard input, and as it was before.
    let again = format!(
        "tallyd collection publish watchlist --home holder --input - {THEIR_KEY} --label name,case"
    );
    let ended = with_input(place, &again, crate::WATCHLIST.replace(',', ";").as_bytes());
    assert_eq!(ended.code, 0, "{}", ended.err);
    let ended = place.run("tallyd check --home holder --json");
    assert!(!ended.out.contains("table-gone"), "{}", ended.out);
    let report = stage.place.json(&stage.ask());
    assert_eq!(report["hits"], 2);
    assert_eq!(place.read("hits.csv"), HITS);
}
