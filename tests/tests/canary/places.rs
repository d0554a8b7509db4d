//! Wire, logs, homes with their databases, temporary and open files.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
};

use nix::{sys::signal::Signal, unistd::Pid};
use tallystick_tests::{
    canary::{Canaries, Sighting, found, nothing},
    memory::{go_on, state},
    outside::absent,
    place::Serving,
    proxy::{Proxy, Way},
    running::{Running, wait_for},
};

use crate::{
    secrets::plant_seeds,
    stage::{HALF, Stage, ask, publish},
};

/// Files that hold what was planted, and may: what was asked for, and what it was made of.
const ASKED_FOR: [&str; 6] = [
    "ours.csv",
    "theirs.csv",
    "words",
    "hits.csv",
    "again.csv",
    "plain.txt",
];

/// Processor time between two stops.
const SLICE_NS: u64 = 1_000_000;

/// Runs a command that is stopped again and again; each time its open files, the folder for
/// temporary files and all homes are looked through. Gives what was found, and the sizes of the
/// spools that were looked at: files without a name, or those of a publication under way.
fn watched(stage: &Stage, line: &str, canaries: &Canaries) -> (Vec<Sighting>, BTreeSet<u64>) {
    let running = Running::start(&stage.place, line);
    let id = running.id();
    let (mut seen, mut spools) = (Vec::new(), BTreeSet::new());
    loop {
        running.signal(Signal::SIGSTOP);
        wait_for("a stop or the end", || {
            ['T', 'Z'].contains(&state(id)).then_some(())
        });
        if state(id) == 'Z' {
            break;
        }
        for entry in fs::read_dir(format!("/proc/{id}/fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let target = target.display().to_string();
            if (target.contains("(deleted)") || target.contains("/.unfinished/"))
                && let Ok(meta) = fs::metadata(entry.path())
                // Not what it says, which is kept in such a file, too.
                && !["1", "2"].contains(&entry.file_name().to_str().unwrap_or_default())
            {
                spools.insert(meta.len());
            }
        }
        seen.extend(canaries.in_open_files(id.as_raw()));
        seen.extend(canaries.in_folder(&stage.place.path("temporary")));
        seen.extend(canaries.in_folder(&stage.place.path("holder")));
        let worked = processor_ns(id);
        go_on(id);
        wait_for("some work or the end", || {
            (processor_ns(id) > worked + SLICE_NS || state(id) == 'Z').then_some(())
        });
    }
    let ended = running.end();
    assert_eq!(ended.code, 0, "{line}\n{}", ended.err);
    stage.heard(&ended);
    (seen, spools)
}

/// What all threads of a process have worked so far.
fn processor_ns(process: Pid) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

fn not_asked_for(seen: Vec<Sighting>) -> Vec<Sighting> {
    let name = |s: &Sighting| {
        let path = Path::new(&s.place);
        path.file_name()
            .is_some_and(|name| ASKED_FOR.iter().any(|asked| name == *asked))
    };
    seen.into_iter().filter(|s| !name(s)).collect()
}

#[test]
fn while_a_list_is_published_no_file_shows_it() {
    let stage = Stage::new();
    let (seen, spools) = watched(&stage, &publish("theirs.csv"), &stage.canaries());
    if spools.is_empty() {
        absent("a view of the open files of an own process");
        return;
    }
    // Spools were there to be looked at; what must be sorted is larger than nothing.
    assert!(spools.iter().any(|size| *size > 0), "{spools:?}");
    nothing(&not_asked_for(seen));
    // The control: the same search finds a file without a name.
    let mut open = tempfile::tempfile_in(stage.place.path("temporary")).unwrap();
    open.write_all(b"....NP5ZVK3XW8Q....").unwrap();
    let own = i32::try_from(std::process::id()).unwrap();
    let seen = stage.canaries().in_open_files(own);
    found(&seen, &["their document that is not asked"]);
}

fn metrics(serving: &Serving) -> String {
    let mut stream = TcpStream::connect(serving.metrics_address()).unwrap();
    let head = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_whole_life_leaves_nothing_in_the_clear() {
    let stage = Stage::published();
    let mut canaries = stage.canaries();
    stage.configure(
        "holder",
        "#listen_address = \"127.0.0.1:9464\"",
        "listen_address = \"127.0.0.1:0\"",
    );
    let serving = stage.place.serve("holder");
    let proxy = Proxy::new(serving.address);
    proxy.record();
    stage.does(&ask(proxy.address, "ours.csv", "--out hits.csv"));

    // One that is interrupted, and gone on with.
    let broken = Proxy::new(serving.address);
    broken.record();
    broken.hold_when(|way, passed| way == Way::Up && passed > HALF);
    let line = ask(broken.address, "again.csv", "--out again-hits.csv");
    fs::copy(stage.place.path("ours.csv"), stage.place.path("again.csv")).unwrap();
    let running = Running::start(&stage.place, &line);
    broken.stopped();
    assert_eq!(plant_seeds(&mut canaries, &stage.place, "asker"), 1);
    running.signal(Signal::SIGINT);
    let ended = running.end();
    assert_eq!(ended.code, 130, "{}", ended.err);
    stage.heard(&ended);
    broken.cut();
    broken.mend();
    stage.does(&line);

    let record = stage.record();
    stage.does(&format!(
        "tally audit verify asker/records/{record} holder/records/{record}"
    ));
    stage.does(&format!("tally audit show asker/records/{record}"));
    stage.does(&format!(
        "tally collections --home asker --peer holder --address {}",
        proxy.address
    ));
    stage.does("tallyd collection list --home holder");
    stage.does("tallyd check --home asker");
    stage.does("tallyd epoch rotate watchlist --home holder");
    canaries.join(&stage.canaries());
    stage.does(&ask(proxy.address, "ours.csv", "--out hits.csv --force"));
    stage.does("tallyd collection remove watchlist --home holder");
    let log = serving.log();
    let metrics = metrics(&serving);
    assert!(metrics.contains("# HELP"), "{metrics}");
    nothing(&canaries.in_bytes("metrics", metrics.as_bytes()));
    assert_eq!(serving.stop(), Some(0));

    for (what, proxy) in [("whole", &proxy), ("broken", &broken)] {
        for way in [Way::Up, Way::Down] {
            let passed = proxy.recorded(way);
            assert!(passed.len() > 10_000, "{}", passed.len());
            nothing(&canaries.in_bytes(&format!("the wire, {what}, {way:?}"), &passed));
        }
    }
    assert!(log.contains("TRACE"), "nothing is logged at trace");
    nothing(&canaries.in_bytes("the log of the node", log.as_bytes()));
    let said = stage.said.borrow();
    assert!(said.contains("TRACE"), "nothing is logged at trace");
    nothing(&canaries.in_bytes("what commands say", said.as_bytes()));
    // Homes with databases, logs, all that was left behind.
    let everything = stage.place.path("");
    let seen = canaries.in_folder(&everything);
    let values = [
        "our document that misses",
        "their document that is not asked",
        "the passphrase",
    ];
    found(&seen, &values);
    let (asked, rest): (Vec<_>, Vec<_>) = not_asked_for(seen)
        .into_iter()
        .partition(|s| s.place.ends_with("again-hits.csv"));
    nothing(&rest);
    // Outputs hold what was asked for, and nothing of what missed or was not asked.
    let hits = canaries.in_file(&stage.place.path("hits.csv"));
    let opened = [
        "our document that hits",
        "our text that hits",
        "our bytes that hit",
    ];
    for seen in [&hits, &asked] {
        found(seen, &opened);
        found(seen, &["their label that is opened", "our other column"]);
        let foreign = |s: &&Sighting| {
            !opened.contains(&s.what.as_str())
                && ["key", "seed", "the passphrase", "our grounds"]
                    .iter()
                    .any(|name| s.what.starts_with(name))
                || s.what.contains("not ")
                || s.what.starts_with("their other")
                || s.what.contains("refused")
        };
        let foreign: Vec<Sighting> = seen.iter().filter(foreign).cloned().collect();
        nothing(&foreign);
    }
    // The same search finds what is told to the other side: in both databases and both records.
    let told = stage.told();
    for home in ["holder", "asker"] {
        let seen = told.in_folder(&stage.home(home));
        found(&seen, &["the name of the list", "the purpose"]);
        assert!(
            seen.iter().any(|s| s.place.contains("state.db")),
            "{seen:?}"
        );
    }
}

/// The control of the search of the wire: what passes in the clear is found.
#[test]
fn what_passes_in_the_clear_is_recorded_and_found() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::new(listener.local_addr().unwrap());
    proxy.record();
    let mut near = TcpStream::connect(proxy.address).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let mut canaries = Canaries::new();
    canaries.text("up", "up-4QxWKZ8V");
    canaries.text("down", "down-7XqZKW2V");
    near.write_all(b"....up-4QxWKZ8V....").unwrap();
    far.write_all(b"....down-7XqZKW2V....").unwrap();
    far.read_exact(&mut [0; 19]).unwrap();
    near.read_exact(&mut [0; 21]).unwrap();
    for (way, name) in [(Way::Up, "up"), (Way::Down, "down")] {
        let seen = wait_for("what passed", || {
            let seen = canaries.in_bytes("wire", &proxy.recorded(way));
            (!seen.is_empty()).then_some(seen)
        });
        assert_eq!(seen.len(), 1);
        found(&seen, &[name]);
    }
}

#[test]
fn no_error_shows_a_value() {
    let stage = Stage::published();
    let canaries = stage.canaries();
    let serving = stage.place.serve("holder");
    let [quote, ragged, latin, first, twice] = [
        (
            "quote.csv",
            b"passport,country,name,code,lane\n\"ZK3QW8YV5TJX,UTO,,,\n".to_vec(),
        ),
        (
            "ragged.csv",
            b"passport,country,name,code,lane\nZK3QW8YV5TJX,UTO\n".to_vec(),
        ),
        (
            "latin.csv",
            b"passport,country,name,code,lane\nZK3QW8YV5TJX,UTO,Vrqkzwjh \xe9,,\n".to_vec(),
        ),
        (
            "first.csv",
            b"ZK3QW8YV5TJX,UTO,Nobody Vrqkzwjh,kd-Hq5Wzt8Yb,lane-1\n".to_vec(),
        ),
        (
            "twice.csv",
            b"ZK3QW8YV5TJX,ZK3QW8YV5TJX,Nobody Vrqkzwjh,1\n".to_vec(),
        ),
    ]
    .map(|(name, bytes)| {
        fs::write(stage.place.path(name), bytes).unwrap();
        name
    });
    let none = "none.csv";
    stage.place.write(
        none,
        "passport,country,name,code,lane\nRJ!CT7ZQK9WX,UTO,,,\nT2ZQK8VW3NN,FR,,,\n",
    );
    for (table, code) in [
        (quote, "table-quote"),
        (ragged, "table-ragged-row"),
        (latin, "table-not-utf8"),
        (first, "table-missing-column"),
        (twice, "table-duplicate-column"),
        (none, "no-keys"),
    ] {
        stage.fails(&ask(serving.address, table, "--out x.csv"), code);
        stage.refuses(&publish(table));
    }
    let long = "case-long-8VqKXW5Z".repeat(400);
    stage.place.write(
        "long.csv",
        &format!("number,state,name,code,case\nHV6WQK2ZX9T,UTO,,,{long}\n"),
    );
    stage.refuses(&publish("long.csv"));
    stage
        .place
        .write("words", "another passphrase than Qz7XwK4vJt9R\n");
    stage.fails("tallyd check --home holder", "check-failed");
    let said = stage.said.borrow();
    nothing(&canaries.in_bytes("what commands say", said.as_bytes()));
    nothing(&canaries.in_bytes("the log of the node", serving.log().as_bytes()));
    drop(said);
    // The control: a word that is no value, and that errors do show.
    let asked =
        ask(serving.address, "ours.csv", "--out x.csv").replace("text=name", "text=QX79KWZ4MJV");
    stage.place.write("words", crate::stage::WORDS);
    stage.refuses(&asked);
    found(
        &canaries.in_bytes("what commands say", stage.said.borrow().as_bytes()),
        &["our document that hits"],
    );
}
