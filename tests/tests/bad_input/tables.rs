//! The table that is read.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};

use nix::unistd::{geteuid, mkfifo};
use tallystick_tests::programs::program;

use crate::{HITS, OUR_KEY, Stage, THEIR_KEY, gate, judged, refused, run};

const HEADER: &str = "passport,country,lane\n";

#[test]
fn a_missing_column_is_named_beside_those_there_are() {
    let stage = Stage::new();
    let table = "pass,country,lane\nl898902c3,UTO,1\n";
    let says = ["bad.csv, line 1", "\"passport\"", "pass, country, lane"];
    stage.bad_table(table, "table-missing-column", &says);
    // A file without a header: its first row is no list of names.
    let says = ["bad.csv, line 1", "must name the columns"];
    let table = "l898902c3,UTO,1\nZ0000001,DEU,2\n";
    stage.bad_table(table, "table-missing-column", &says);
    stage.good();
}

#[test]
fn a_duplicate_column_is_named() {
    let stage = Stage::new();
    let table = "passport,country,passport\nl898902c3,UTO,Z0000001\n";
    let says = ["bad.csv, line 1", "columns 1 and 3", "passport", "rename"];
    stage.bad_table(table, "table-duplicate-column", &says);
    stage.good();
}

#[test]
fn a_byte_order_mark_is_stripped_and_utf_16_without_one_is_refused_with_a_hint() {
    let stage = Stage::new();
    let says = [
        "bad.csv, line 1",
        "UTF-16",
        "--encoding utf-16le",
        "CSV UTF-8",
    ];
    let units = || "passport,country,lane\nl898902c3,UTO,1\n".encode_utf16();
    let little: Vec<u8> = units().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = units().flat_map(u16::to_be_bytes).collect();
    stage.bad_table(little, "table-not-utf8", &says);
    stage.bad_table(big, "table-not-utf8", &says);
    let border = stage.place.read("border.csv");
    stage
        .place
        .write("border.csv", &format!("\u{feff}{border}"));
    // The mark is no part of the first column's name, and not of the output.
    stage.good();
}

#[test]
fn text_that_is_not_utf_8_is_placed() {
    let stage = Stage::new();
    let table = [HEADER.as_bytes(), b"l898902c3,UTO,1\nX1,UTO,\xe9ZZQQ\n"].concat();
    let says = ["bad.csv, line 3, column 3", "UTF-8", "save the table"];
    stage.bad_table(table, "table-not-utf8", &says);
    stage.good();
}

#[test]
fn a_zero_byte_is_placed() {
    let stage = Stage::new();
    let says = ["bad.csv, line 3, column 2", "zero byte", "write it anew"];
    let table = format!("{HEADER}l898902c3,UTO,1\nZ0000001,D\0U,2\n");
    stage.bad_table(table, "table-zero-byte", &says);
    // The end of a file whose machine went down.
    let says = ["bad.csv, line 3, column 1", "zero byte"];
    let table = format!("{HEADER}l898902c3,UTO,1\n{}", "\0".repeat(512));
    stage.bad_table(table, "table-zero-byte", &says);
    let table = "pass\0port,country,lane\nl898902c3,UTO,1\n";
    stage.bad_table(table, "table-zero-byte", &["bad.csv, line 1, column 1"]);
    stage.good();
}

#[test]
fn a_ragged_row_is_placed() {
    let stage = Stage::new();
    for (row, found) in [
        ("Z0000001,UTO", "2 fields"),
        ("Z0000001,UTO,1,ZZQQ", "4 fields"),
    ] {
        let table = format!("{HEADER}l898902c3,UTO,1\n\n{row}\nX1,UTO,2\n");
        let says = ["bad.csv, line 4", found, "the header has 3", "comma"];
        stage.bad_table(table, "table-ragged-row", &says);
    }
    stage.good();
}

#[test]
fn a_quote_that_does_not_fit_is_placed() {
    let stage = Stage::new();
    let table = format!("{HEADER}l898902c3,UTO,1\nZ0000001,\"UTO,2\n");
    let says = ["bad.csv, line 3, column 2", "never closed"];
    stage.bad_table(table, "table-quote", &says);
    let table = format!("{HEADER}l898902c3,UTO,ZZ\"QQ\n");
    let says = ["bad.csv, line 2, column 3", "doubled"];
    stage.bad_table(table, "table-quote", &says);
    stage.good();
}

#[test]
fn line_ends_of_cr_alone_are_named() {
    let stage = Stage::new();
    let says = ["bad.csv, line 1", "CR alone", "LF or CRLF"];
    let table = "passport,country,lane\nl898902c3,UTO,1\nZ0000001,DEU,2\n".replace('\n', "\r");
    stage.bad_table(&table, "table-line-ends", &says);
    // Quoted, and so long that it looks like a header of too many columns.
    stage.bad_table(table.replace("UTO", "\"UTO\""), "table-line-ends", &says);
    stage.bad_table(table.repeat(4000), "table-line-ends", &says);
    // CRLF is as good as LF.
    let border = stage.place.read("border.csv");
    stage
        .place
        .write("border.csv", &border.replace('\n', "\r\n"));
    stage.good();
}

#[test]
fn an_empty_key_is_counted_and_reported() {
    let stage = Stage::new();
    let table = format!("{HEADER} ,UTO,1\nl898902c3,UTO,2\n,DEU,3\n");
    stage.place.write("border.csv", &table);
    let report = stage.asked(&stage.ask());
    assert_eq!(report["ours"]["rows"], 3);
    assert_eq!(report["ours"]["empty"], 2);
    assert_eq!(report["ours"]["keys"], 1);
    assert_eq!(report["hits"], 2);
    assert_eq!(
        stage.place.read("hits.csv"),
        HITS.replace("UTO,1,", "UTO,2,")
    );
    // Nothing but empty keys: nothing is asked.
    let says = ["bad.csv", "2 rows, 2 keys empty", "--key"];
    stage.bad_table(format!("{HEADER},UTO,1\n,DEU,3\n"), "no-keys", &says);
    // A key that cannot be read is counted by its reason, with its line.
    let says = ["1 rejected", "first in line 2", "three letters"];
    stage.bad_table(format!("{HEADER}l898902c3,DE,1\n"), "no-keys", &says);
}

#[test]
fn duplicate_keys_are_asked_once_and_every_row_is_returned() {
    let stage = Stage::new();
    let table = format!("{HEADER}l898902c3,UTO,1\nL-898902 C3,UTO,2\nl898902c3,UTO,1\n");
    stage.place.write("border.csv", &table);
    let report = stage.asked(&stage.ask());
    assert_eq!(report["ours"]["keys"], 3);
    assert_eq!(report["ours"]["elements"], 1);
    assert_eq!(report["elements_matched"], 1);
    assert_eq!(report["hits"], 6);
    let lanes: Vec<String> = stage
        .place
        .read("hits.csv")
        .lines()
        .skip(1)
        .map(|line| {
            let mut cells = line.split(',');
            format!("{} {}", cells.nth(2).unwrap(), cells.nth(5).unwrap())
        })
        .collect();
    assert_eq!(
        lanes,
        ["1 C-1", "1 C-3", "2 C-1", "2 C-3", "1 C-1", "1 C-3"]
    );
}

#[test]
fn an_empty_file_is_refused() {
    let stage = Stage::new();
    let says = ["bad.csv, line 1", "empty", "must name the columns"];
    for nothing in ["", "\n\r\n\n", "\u{feff}"] {
        stage.bad_table(nothing, "table-empty", &says);
    }
    let says = ["bad.csv", "no row below the header", "nothing was asked"];
    stage.bad_table(HEADER, "no-keys", &says);
    stage.good();
}

/// A quote that is never closed, over as much as 64 GiB: it is not read to its end, and not kept.
#[test]
fn a_field_of_a_gibibyte_is_refused_at_once_in_bounded_memory() {
    let stage = Stage::new();
    let path = stage.place.path("bad.csv");
    fs::write(&path, format!("{HEADER}l898902c3,UTO,1\nZ0000001,\"")).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    // A hole takes no room on the disk. Some file systems take no such large file.
    if file.set_len(64 << 30).is_err() {
        file.set_len(1 << 30).unwrap();
    }
    let before = stage.state();
    let asked = stage
        .place
        .command(&stage.ask().replace("border.csv", "bad.csv"));
    // The system gives no more than 768 MiB of addresses, stacks of threads included.
    let mut limited = Command::new("/bin/sh");
    limited
        .args(["-c", "ulimit -v 786432 && exec \"$@\"", "sh"])
        .arg(program("tally"))
        .args(asked.get_args())
        .arg("--json")
        .current_dir(asked.get_current_dir().unwrap());
    for (name, value) in asked.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let started = Instant::now();
    let ended = run(&stage.place, limited);
    let says = ["bad.csv, line 3, column 2", "1048576 bytes", "never closed"];
    judged(&ended, "a large field", 2, "table-field-too-long", &says);
    // To read it all takes minutes.
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(stage.state(), before);
    stage.good();
}

#[test]
fn very_many_columns_and_very_long_headers_are_bounded() {
    let stage = Stage::new();
    let columns = |n: usize| -> String { (0..n).map(|i| format!(",c{i}")).collect() };
    let says = ["bad.csv, line 1", "4096 columns", "leave out"];
    let table = format!("passport,country{}\n", columns(4095));
    stage.bad_table(table, "table-too-many-columns", &says);
    let says = ["bad.csv, line 1, column 3", "1048576 bytes"];
    let table = format!("passport,country,{}\n", "x".repeat(2 << 20));
    stage.bad_table(table, "table-field-too-long", &says);
    // A message shows a part of it.
    let long = "y".repeat(1 << 20);
    let table = format!("pass,country,{long}\nl898902c3,UTO,1\n");
    let message = stage.bad_table(table, "table-missing-column", &["\"passport\""]);
    assert!(message.len() < 1000, "{}", message.len());
    // As many and as long as is allowed.
    let cells = ",".repeat(4094);
    let table = format!("passport,country{}\nl898902c3,UTO{cells}\n", columns(4094));
    stage.place.write("wide.csv", &table);
    let line = stage.ask().replace("border.csv", "wide.csv");
    assert_eq!(stage.asked(&line)["hits"], 2);
    let table = format!("passport,country,{long}\nl898902c3,UTO,1\n");
    stage.place.write("wide.csv", &table);
    assert_eq!(stage.asked(&line)["hits"], 2);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let stage = Stage::new();
    let records = |home: &str| crate::names(&stage.place, &format!("{home}/records"));
    let grown = format!("{}Y7654321,FRA,4\n", crate::BORDER);
    let upstream = Some(stage.serving.address);
    let line = |address: std::net::SocketAddr| {
        let json = crate::ask("asker", &address.to_string());
        format!("{json} --json")
    };
    // When it connects it has read the table once, and counted.
    let ended = gate::through(&stage.place, upstream, line, || {
        stage.place.write("border.csv", &grown);
    });
    let says = ["border.csv", "changed while it was read", "stays charged"];
    judged(&ended, "a changed table", 2, "table-changed", &says);
    assert_eq!(stage.place.read("hits.csv"), crate::BEFORE);
    // What it had read first was asked, and is charged.
    let closed = |home| {
        records(home)
            .iter()
            .filter(|name| name.ends_with(".tally"))
            .count()
    };
    assert_eq!(closed("asker"), 1);
    // As it was, its matches are written from the record, and nothing is charged again.
    stage.place.write("border.csv", crate::BORDER);
    let report = stage.place.json(&stage.ask());
    assert_eq!(
        (&report["resumed"], &report["hits"]),
        (&true.into(), &2.into())
    );
    assert_eq!(stage.place.read("hits.csv"), HITS);
    assert_eq!(closed("asker"), 1);
    let charged = &report["charged"][0];
    assert_eq!(charged["quota_before"], stage.left.get());
    stage.left.set(charged["quota_after"].as_u64().unwrap());
    // As it stands now it is another table, and another session.
    stage.place.write("border.csv", &grown);
    let report = stage.asked(&stage.ask());
    assert_eq!(report["resumed"], false);
    assert_eq!(report["ours"]["rows"], 3);
    assert_eq!(closed("asker"), 2);
}

#[test]
fn what_is_no_readable_file_is_refused() {
    let stage = Stage::new();
    let place = &stage.place;
    let instead = |name: &str| stage.ask().replace("border.csv", name);
    let says = ["nothing.csv", "open the table", "check the path"];
    stage.refused(&instead("nothing.csv"), 2, "table-io", &says);
    // The same without an output: nothing was asked, so nothing waits to be written.
    let line = instead("nothing.csv").replace("--out hits.csv --force", "");
    let message = stage.refused(&line, 2, "table-io", &says);
    assert!(!message.contains("charg"), "{message}");
    let says = ["asker", "not a regular file", "save it to a file"];
    stage.refused(&instead("asker"), 2, "table-not-a-file", &says);
    mkfifo(&place.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let says = ["pipe", "not a regular file", "read more than once"];
    stage.refused(&instead("pipe"), 2, "table-not-a-file", &says);
    stage.refused(&instead("/dev/zero"), 2, "table-not-a-file", &["/dev/zero"]);
    // Modes hold nobody who runs the tests as root.
    if !geteuid().is_root() {
        let closed = place.write("closed.csv", crate::BORDER);
        fs::set_permissions(closed, fs::Permissions::from_mode(0o000)).unwrap();
        let says = ["closed.csv", "ermission denied", "let this user read"];
        stage.refused(&instead("closed.csv"), 2, "table-io", &says);
    }
    stage.good();
}

/// The same reader stands behind `publish`: what is offered stays as it is.
#[test]
fn a_bad_table_is_not_published() {
    let stage = Stage::new();
    let place = &stage.place;
    let list = || place.json("tallyd collection list --home holder");
    let before = list();
    let publish = |flags: &str| {
        format!("tallyd collection publish watchlist --home holder --input bad.csv {flags}")
    };
    for (table, flags, code, says) in [
        (
            "number,state\nL898902C3,UTO\n",
            "--label nome",
            "table-missing-column",
            "\"nome\"",
        ),
        (
            "nr,state\nL898902C3,UTO\n",
            "",
            "table-missing-column",
            "\"number\"",
        ),
        (
            "number,state\nL898902C3,UTO,1\n",
            "",
            "table-ragged-row",
            "line 2",
        ),
        (
            "number,state\n\"L898902C3,UTO\n",
            "",
            "table-quote",
            "line 2, column 1",
        ),
        ("", "", "table-empty", "line 1"),
    ] {
        place.write("bad.csv", table);
        let line = publish(&format!("{THEIR_KEY} {flags}"));
        refused(place, &line, 2, code, &["bad.csv", says]);
        assert_eq!(list(), before);
    }
    let line = publish(OUR_KEY).replace("bad.csv", "watchlist.csv");
    refused(place, &line, 2, "table-missing-column", &["\"passport\""]);
    assert_eq!(list(), before);
    // What was offered is still served.
    stage.good();
}
