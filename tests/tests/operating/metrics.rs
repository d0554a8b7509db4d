//! What is counted agrees with what the records say, and says no more.

use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use tallystick_tests::document::document;

use crate::{
    ask, published,
    scrape::{Scrape, asked, http},
    wait,
};

const GRANTED: &str = "tallyd_sessions_total{state=\"granted\"}";
const CLOSED: &str = "tallyd_sessions_total{state=\"closed\"}";
const REFUSED: &str = "tallyd_sessions_total{state=\"refused\"}";
const DOCUMENTS: &str = "tallyd_elements_charged_total{type=\"document\"}";

#[test]
fn metrics_add_up_with_what_the_records_say() {
    // Enough for two sessions of sixteen.
    let place = published(40);
    let serving = place.serve("holder");
    let address = serving.metrics_address();
    let before = Scrape::of(address);
    for series in [GRANTED, CLOSED, REFUSED, DOCUMENTS] {
        assert_eq!(before.value(series), 0.0, "{series}");
    }
    let mut charged = 0;
    for out in ["a.csv", "b.csv"] {
        let report = place.json(&ask(&serving, &format!("--out {out}")));
        charged += report["charged"][0]["elements"].as_u64().unwrap();
    }
    assert_eq!(
        place.fails(&ask(&serving, "--out c.csv"), 3),
        "quota-exceeded"
    );
    // A stranger, and somebody who speaks something else.
    place.init("stranger");
    place.introduce("stranger", "holder");
    let line = ask(&serving, "--out e.csv").replace("--home asker", "--home stranger");
    assert_eq!(place.fails(&line, 3), "refused-by-peer");
    let mut other = TcpStream::connect(serving.address).unwrap();
    other.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let _ = other.read_to_end(&mut Vec::new());

    let refused = |code: &str| format!("tallyd_connections_refused_total{{code=\"{code}\"}}");
    wait("refused connections are not counted", || {
        let now = Scrape::of(address);
        let codes = ["network", "unknown-certificate"];
        codes.iter().all(|code| now.value(&refused(code)) >= 1.0)
    });
    // What is looked at from time to time.
    wait("the sessions in the store are not shown", || {
        let now = Scrape::of(address).series;
        now.get("tallyd_sessions_open") == Some(&0.0)
            && now.get("tallyd_connections_open") == Some(&0.0)
    });
    let after = Scrape::of(address);
    for (series, want) in [
        (GRANTED, 2.0),
        (CLOSED, 2.0),
        (REFUSED, 1.0),
        ("tallyd_sessions_total{state=\"aborted\"}", 0.0),
        ("tallyd_refusals_total{code=\"quota-exceeded\"}", 1.0),
        (DOCUMENTS, charged as f64),
        ("tallyd_calls_total{call=\"session\"}", 3.0),
        // The second match has it already.
        ("tallyd_calls_total{call=\"snapshot\"}", 1.0),
        ("tallyd_sessions_served", 0.0),
        ("tallyd_chunks_in_flight", 0.0),
        ("tallyd_snapshots_sending", 0.0),
        ("tallyd_ready", 1.0),
    ] {
        assert_eq!(after.value(series), want, "{series}");
    }
    assert_eq!(charged, 32);
    assert_eq!(after.sum("tallyd_refusals_total"), after.value(REFUSED));
    assert_eq!(after.sum("tallyd_faults_total"), 0.0);
    // Each session that ended, and each refusal, has its record.
    let records = fs::read_dir(place.path("holder/records")).unwrap();
    let closed = records.filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|ending| ending == "tally")
    });
    let ended = after.value(CLOSED) + after.value(REFUSED);
    assert_eq!(closed.count() as f64, ended);
    for stage in ["charge", "queue", "evaluate", "record", "send"] {
        let of = |what: &str| format!("tallyd_stage_duration_seconds_{what}{{stage=\"{stage}\"}}");
        assert_eq!(after.value(&of("count")), 2.0, "{stage}");
        assert!(after.value(&of("sum")) > 0.0, "{stage}");
    }
    // Both ways: 32 bytes an element, beside everything else.
    for direction in ["in", "out"] {
        let series = format!("tallyd_network_bytes_total{{direction=\"{direction}\"}}");
        assert!(after.value(&series) > 32.0 * 32.0, "{direction}");
    }
    let now = tallystick_agency::clock::now_ms() as f64 / 1000.0;
    let year = 365.0 * 86_400.0;
    for whose in ["own", "peer-soonest"] {
        let series =
            format!("tallyd_certificate_expiry_timestamp_seconds{{certificate=\"{whose}\"}}");
        assert!((after.value(&series) - now - year).abs() < 600.0, "{whose}");
    }
    let age = after.value("tallyd_epoch_age_seconds{collection=\"watchlist\"}");
    assert!((0.0..300.0).contains(&age), "{age}");
    if cfg!(target_os = "linux") {
        assert!(after.value("process_resident_memory_bytes") > 1e6);
        assert!(after.value("process_open_fds") > 5.0);
    }
    assert!(after.value("process_cpu_seconds_total") > 0.0);
    documented(&after);
    well_formed(&after);
    only_known_words(&after);
}

/// The operators' document, the alarms and the node speak of the same metrics.
fn documented(scrape: &Scrape) {
    let text = document("docs/operations.md");
    let shown = |text: &str| -> BTreeSet<String> {
        let of_name = |c: char| c.is_ascii_lowercase() || c == '_';
        text.split(|c| !of_name(c))
            .filter(|word| {
                (word.starts_with("tallyd_") || word.starts_with("process_")) && word.len() > 8
            })
            .map(str::to_owned)
            .collect()
    };
    let real: BTreeSet<String> = scrape
        .families
        .iter()
        .map(|(name, family)| match family.kind.as_str() {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.clone(),
        })
        .collect();
    let table: String = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(shown(&table), real);
    let alarms = document("docs/samples/tallyd.rules.yml");
    let used = shown(&alarms);
    assert!(used.len() > 8 && used.is_subset(&real), "{used:?}");
    for line in alarms.lines() {
        if let Some((_, alarm)) = line.split_once("- alert: ") {
            assert!(text.contains(&format!("| `{alarm}` |")), "{alarm}");
        }
    }
}

/// Prometheus' rules of naming: https://prometheus.io/docs/practices/naming/
fn well_formed(scrape: &Scrape) {
    for (name, family) in &scrape.families {
        assert!(family.help.len() > 10, "{name}: {family:?}");
        let plain = |b: u8| b.is_ascii_lowercase() || b == b'_';
        assert!(name.bytes().all(plain), "{name}");
        let ours = name.starts_with("tallyd_") || name.starts_with("process_");
        assert!(ours, "{name}");
        if let Some(unit) = &family.unit {
            assert!(["seconds", "bytes"].contains(&unit.as_str()), "{name}");
            assert!(name.ends_with(&format!("_{unit}")), "{name}");
        }
        let timed = ["duration", "age", "timestamp", "memory", "network", "free"];
        if timed.iter().any(|word| name.contains(word)) {
            assert!(family.unit.is_some(), "{name} has no unit");
        }
        let mut series = scrape.series.keys();
        assert!(
            series.any(|s| scrape.family(s).0 == name),
            "{name} is empty"
        );
    }
    for series in scrape.series.keys() {
        let (_, family) = scrape.family(series);
        assert!(!family.kind.is_empty(), "{series}");
    }
}

/// Labels hold words of the program and the names of collections. A value that is new here must be
/// one that the programs have in their sources.
fn only_known_words(scrape: &Scrape) {
    let labels = scrape.labels();
    let names: BTreeSet<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
    let known = [
        "build",
        "call",
        "certificate",
        "code",
        "collection",
        "direction",
        "kernel",
        "le",
        "reason",
        "stage",
        "state",
        "type",
        "version",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), known);
    let codes = "not-available type-not-offered mode-not-offered profile-mismatch too-many-elements \
                 quota-exceeded clock-skew expired replayed busy draining bug io seal-broken store \
                 epoch-over mismatch network revoked expired-certificate expired-pin \
                 handshake-timeout not-on-list unknown-certificate too-many-calls \
                 too-many-connections too-many-requests too-many-snapshots too-many-handshakes";
    let codes: Vec<&str> = codes.split(' ').collect();
    for (name, value) in &labels {
        let value = value.as_str();
        let good = match name.as_str() {
            "build" | "version" => value.len() < 24,
            "call" => ["catalogue", "session", "snapshot"].contains(&value),
            "certificate" => ["own", "peer-soonest"].contains(&value),
            "code" => codes.contains(&value),
            "collection" => value == "watchlist",
            "direction" => ["in", "out"].contains(&value),
            "kernel" => value == tallystick_tests::kernel().name(),
            "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
            "reason" => ["certificate", "disk", "draining", "store"].contains(&value),
            "stage" => {
                let stages = "charge commit evaluate handshake queue record send settle";
                stages.split(' ').any(|stage| stage == value)
            }
            "state" => [
                "aborted", "closed", "granted", "left", "refused", "replayed", "resumed",
            ]
            .contains(&value),
            "type" => ["bytes", "document", "holder", "other", "text"].contains(&value),
            _ => false,
        };
        assert!(good, "{name}={value}");
    }
    // Nobody's name, and nothing of the tables. The node is called `holder` as a type is: where that may
    // stand is judged above.
    let all = format!("{scrape:?}").to_lowercase();
    for word in [
        "asker",
        "stranger",
        "l898902c3",
        "anna",
        "eriksson",
        "passport",
    ] {
        assert!(!all.contains(word), "{word}");
    }
}

#[test]
fn metrics_take_get_only_and_nothing_large() {
    let place = published(1000);
    let serving = place.serve("holder");
    let address = serving.metrics_address();
    assert_ne!(address.port(), serving.address.port());
    for (line, want) in [
        ("GET /metrics", 200),
        ("GET /metrics?name=x", 200),
        ("GET /healthz", 200),
        ("GET /readyz", 200),
        ("GET /", 404),
        ("GET /metrics/", 404),
        ("POST /metrics", 405),
        ("DELETE /metrics", 405),
        ("PUT /readyz", 405),
    ] {
        let answer = http(address, line);
        assert_eq!(answer.status, want, "{line}");
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
    }
    let head = http(address, "HEAD /metrics");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    match asked(address, &format!("GET /{}", "x".repeat(20_000))) {
        Ok(large) => assert!((400..500).contains(&large.status), "{}", large.status),
        Err(cut) => assert!(
            matches!(
                cut.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ),
            "{cut}"
        ),
    }
    assert_eq!(http(address, "GET /healthz").status, 200);
    // The peers' port tells nothing of it to whoever has no certificate, and nothing at all to peers.
    let mut stream = TcpStream::connect(serving.address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    assert!(!String::from_utf8_lossy(&said).contains("tallyd_"));
}

#[test]
fn whoever_sends_nothing_to_the_metrics_holds_up_nobody() {
    let place = published(1000);
    let serving = place.serve("holder");
    let address = serving.metrics_address();
    // More than may be connected at once; some have begun to speak.
    let idle: Vec<TcpStream> = (0..48)
        .map(|n| {
            let mut stream = TcpStream::connect(address).unwrap();
            if n % 2 == 0 {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap();
            }
            stream
        })
        .collect();
    // The service does not notice.
    let report = place.json(&ask(&serving, "--out hits.csv"));
    assert_eq!(report["elements_matched"], 1);
    // Their time ends, and others have their turn.
    let started = Instant::now();
    assert_eq!(http(address, "GET /healthz").status, 200);
    assert!(started.elapsed() < Duration::from_secs(30));
    for mut stream in idle {
        stream
            .set_read_timeout(Some(Duration::from_secs(40)))
            .unwrap();
        let ended = stream.read_to_end(&mut Vec::new());
        let timed_out = ended.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "one that says nothing is kept");
    }
}

#[test]
fn metrics_are_off_unless_they_are_configured() {
    let place = published(1000);
    let config = place.path("holder/node.toml");
    let text = fs::read_to_string(&config).unwrap();
    let on = "[metrics]";
    let (before, after) = text.split_once(on).unwrap();
    let after = after.replace("\nlisten_address", "\n#listen_address");
    fs::write(&config, format!("{before}{on}{after}")).unwrap();
    let serving = place.serve("holder");
    assert!(!serving.log().contains("metrics listening"));
    assert_eq!(
        place.fails("tallyd health --home holder", 2),
        "no-metrics-address"
    );
    // Never on the peers' port.
    let port = format!("{before}{on}\nlisten_address = \"127.0.0.1:7001\"\n");
    fs::write(&config, port.replace("127.0.0.1:0", "127.0.0.1:7001")).unwrap();
    assert_eq!(place.fails("tallyd serve --home holder", 2), "config");
}
