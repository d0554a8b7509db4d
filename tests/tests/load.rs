//! Two hundred sessions of mixed size at once against one node: no error, no wrong hit, bounded
//! memory, every element charged once.
//!
//! The ordinary run lasts a few seconds. `TALLY_LOAD_SECONDS=180` makes it the measurement of
//! `docs/load.md`: sessions follow each other until the time is over, and the figures are
//! printed.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::unistd::Pid;
use tallystick_client::run::{Finishing, Grounds, MatchOptions, SharedBuffer, Sink, run};
use tallystick_tables::{KeySpec, Mapping, Rejects, TableFormat};
use tallystick_tests::place::{Place, Serving};
use tokio::task::JoinSet;

/// Sessions at the same time.
const SESSIONS: usize = 200;
/// Agencies that ask.
const AGENCIES: usize = 10;
/// Rows of the tables that are asked; each agency has some of each.
const ROWS: [usize; 4] = [10, 100, 400, 1500];
/// The same for the measurement.
const MEASURED_ROWS: [usize; 4] = [10, 100, 1000, 10_000];
/// Rows of the collection.
const LISTED: usize = 20_000;
/// Of how many own rows one is on the list.
const EVERY: usize = 10;
/// What a node may hold.
const MEMORY_KIB: u64 = 150 * 1024;

/// A line of `/proc/PID/status`, in KiB.
fn status_kib(process: Pid, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

struct Asker {
    home: Arc<tallystick_agency::home::Home>,
    address: String,
    table: PathBuf,
    rows: usize,
}

impl Asker {
    /// One session; the seconds it took and the elements it was charged.
    async fn ask(&self) -> (f64, u64) {
        let started = Instant::now();
        let sink = SharedBuffer::default();
        let key = KeySpec::parse("document=passport,country").unwrap();
        let options = MatchOptions {
            peer: "holder".to_owned(),
            address: Some(self.address.clone()),
            collection: "watchlist".parse().unwrap(),
            input: self.table.clone(),
            format: TableFormat::default(),
            mapping: Mapping::from_flags(vec![key], Vec::new()).unwrap(),
            rejects: Rejects::default(),
            out: None,
            force: false,
            sink: Sink::Memory(sink.clone()),
            grounds: Grounds::default(),
            quiet: true,
            finishing: Finishing::default(),
        };
        let report = run(&self.home, options).await.unwrap();
        assert!(!report.resumed);
        assert_eq!(report.matched as usize, self.rows / EVERY);
        let lines = sink.take().iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines, 1 + self.rows / EVERY, "the header and the hits");
        let charged = report.charged.iter().map(|c| c.elements.get()).sum();
        (started.elapsed().as_secs_f64(), charged)
    }
}

fn served(rows: [usize; 4]) -> (Place, Serving, Vec<Asker>) {
    let place = Place::new();
    place.init("holder");
    let list: String = (0..LISTED).map(|n| format!("W{n},UTO,{n}\n")).collect();
    place.write("watchlist.csv", &format!("number,state,case\n{list}"));
    place.does(
        "tallyd collection publish watchlist --home holder --input watchlist.csv \
         --key document=number,state --label case --peer-budget 4000000000",
    );
    let config = place.path("holder").join("node.toml");
    let mut text = fs::read_to_string(&config).unwrap();
    for (from, to) in [
        ("max_sessions_total = 64", "max_sessions_total = 256"),
        ("max_sessions_per_peer = 8", "max_sessions_per_peer = 32"),
        ("_per_minute_per_peer = 600", "_per_minute_per_peer = 60000"),
        (
            "max_handshakes_per_address = 64",
            "max_handshakes_per_address = 256",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    fs::write(&config, text).unwrap();
    let homes: Vec<_> = (0..AGENCIES)
        .map(|n| {
            let name = format!("asker{n}");
            place.init(&name);
            place.introduce("holder", &name);
            place.introduce(&name, "holder");
            Arc::new(place.home(&name))
        })
        .collect();
    let serving = place.serve("holder");
    let askers = (0..SESSIONS).map(|n| {
        let rows = rows[(n / AGENCIES) % rows.len()];
        // Every table its own: the same one twice at once would be one session.
        let own = (0..rows).map(|row| match row % EVERY {
            0 => format!("W{},UTO\n", (n * 97 + row) % LISTED),
            _ => format!("P{n}X{row},UTO\n"),
        });
        let text = format!("passport,country\n{}", own.collect::<String>());
        Asker {
            home: Arc::clone(&homes[n % AGENCIES]),
            address: serving.address.to_string(),
            table: place.write(&format!("table{n}.csv"), &text),
            rows,
        }
    });
    let askers = askers.collect();
    (place, serving, askers)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_sessions_at_once_on_one_node() {
    let seconds = std::env::var("TALLY_LOAD_SECONDS").ok();
    let lasts = Duration::from_secs(seconds.map_or(0, |seconds| seconds.parse().unwrap()));
    let rows = match lasts.is_zero() {
        true => ROWS,
        false => MEASURED_ROWS,
    };
    let (place, serving, askers) = served(rows);
    let before = status_kib(serving.id(), "VmRSS");
    let started = Instant::now();
    let mut asking = JoinSet::new();
    for asker in askers {
        asking.spawn(async move {
            let mut all = Vec::new();
            loop {
                all.push(asker.ask().await);
                if started.elapsed() >= lasts {
                    return all;
                }
            }
        });
    }
    let mut resident = Vec::new();
    let mut watch = tokio::time::interval(Duration::from_secs(5));
    let mut ended = Vec::new();
    while !asking.is_empty() {
        tokio::select! {
            done = asking.join_next() => ended.extend(done.unwrap().unwrap()),
            _ = watch.tick() => resident.push(status_kib(serving.id(), "VmRSS")),
        }
    }
    let elapsed = started.elapsed().as_secs_f64();

    let peak = status_kib(serving.id(), "VmHWM");
    let mut took: Vec<f64> = ended.iter().map(|(seconds, _)| *seconds).collect();
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    let elements: u64 = ended.iter().map(|(_, charged)| charged).sum();
    eprintln!(
        "{} sessions in {elapsed:.1} s, {:.1} a second, {:.0} elements a second\n\
         seconds of a run: P50 {:.2}, P95 {:.2}, P99 {:.2}, longest {:.2}\n\
         tallyd resident, MiB: {} before, {} at most; every 5 s: {:?}",
        took.len(),
        took.len() as f64 / elapsed,
        elements as f64 / elapsed,
        at(50),
        at(95),
        at(99),
        at(100),
        before / 1024,
        peak / 1024,
        resident.iter().map(|kib| kib / 1024).collect::<Vec<_>>(),
    );
    assert!(took.len() >= SESSIONS);
    assert!(peak < MEMORY_KIB, "{peak} KiB");
    // What the reports say was charged is what the node has charged.
    let store = place.home("holder").store().await.unwrap();
    let mut charged = 0;
    for n in 0..AGENCIES {
        let peer = format!("asker{n}");
        charged += charge(&store, &peer).await;
    }
    assert_eq!(charged, elements);
    assert!(
        tallystick_agency::store::Store::open_sessions(&store)
            .await
            .unwrap()
            .is_empty()
    );
    let log = serving.log();
    for word in ["\"level\":\"ERROR\"", "panicked"] {
        assert!(!log.contains(word), "{log}");
    }
}

async fn charge(store: &dyn tallystick_agency::store::Store, peer: &str) -> u64 {
    let epoch = store.collection("watchlist").await.unwrap().unwrap().epoch;
    let charged = store.charged(peer, "watchlist", epoch, "document").await;
    charged.unwrap()
}
