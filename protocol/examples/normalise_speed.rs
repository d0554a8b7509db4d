//! How long it takes to bring a row of each identifier type to its canonical form.
//!
//! `cargo run --release -p tallystick-protocol --example normalise_speed [threads]`
//!
//! Prints microseconds a row a core, for rows that are written as people write them; for people under
//! each built-in profile, all keys of a row.

use std::hint::black_box;
use std::time::Instant;

use tallystick_protocol::identifiers::{IdentifierType, Profile};

const ROUNDS: usize = 20_000;

fn rows(ty: IdentifierType) -> &'static [&'static [&'static str]] {
    match ty {
        IdentifierType::Document => &[&["L898902C3", "UTO"], &["C01X-00T47", "D<<"]],
        IdentifierType::Person => &[
            &["Anna Maria", "Eriksson", "1974-08-12"],
            &[
                "Jürgen",
                "Müller-Lüdenscheidt",
                "12.08.1974",
                "Leningrad",
                "D",
            ],
            &["Дмитрий", "Иванов", "19740812"],
            &["lachlan", "berry", "19990219"],
        ],
        IdentifierType::Holder => &[
            &["L898902C3", "UTO", "Eriksson", "Anna Maria", "1974-08-12"],
            &["C01X00T47", "D", "Müller", "Jürgen", "12.08.1974"],
        ],
        IdentifierType::Name => &[&["Anna Maria", "Eriksson"], &["Jürgen", "Müller"]],
        IdentifierType::Text => &[&["ERIKSSON, Anna Maria"], &["Straße des 17. Juni"]],
        IdentifierType::Bytes => &[&["L898902C3"]],
        IdentifierType::Phone => &[
            &["+44 20 7946 0958", ""],
            &["020 7946 0958", "GB"],
            &["0049 30 12345678", "DE"],
            &["01 42 68 53 00", "FR"],
            &["(201) 555-0123", "US"],
            &["06 6982 1234", "IT"],
            &["+52 1 55 1234 5678", ""],
            &["011 15 2345-6789", "AR"],
            &["22 123 45 67", "PL"],
            &["8 (495) 123-45-67", "RU"],
        ],
        IdentifierType::Iban => &[
            &["GB82 WEST 1234 5698 7654 32"],
            &["DE89370400440532013000"],
        ],
        IdentifierType::Email => &[
            &["Anna.Maria@Example.ORG"],
            &["anna@bücher.example"],
            &["Anna Maria <anna.maria@example.org>"],
        ],
        IdentifierType::Vin => &[&["1M8GDM9AXKP042788"], &["wvw zzz 1jz 3w386752"]],
        IdentifierType::Plate => &[&["M-AB 1234", "DEU"], &["А123ВС77", "RUS"]],
        IdentifierType::Imei => &[&["490154203237518"], &["49-015420-323751-8"]],
        IdentifierType::Wallet => &[
            &["1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", ""],
            &["bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", ""],
            &["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "eth"],
        ],
    }
}

/// A zone of ICAO Doc 9303-4.
const ZONE: &[&[&str]] = &[&[
    "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10",
]];

/// Microseconds a row, and its keys.
fn measure(profile: &Profile, ty: IdentifierType, form: usize) -> (f64, f64) {
    let rows = if form == 0 { rows(ty) } else { ZONE };
    let mut keys = Vec::new();
    // Once before, so that tables are read in.
    let mut all = 0;
    for row in rows {
        keys.clear();
        let made = profile.keys(ty, form, row, &mut keys);
        assert!(made.is_ok(), "{ty}: {made:?}");
        all += keys.len();
    }
    let each = all as f64 / rows.len() as f64;
    let start = Instant::now();
    for row in rows.iter().cycle().take(ROUNDS) {
        keys.clear();
        let _ = black_box(profile.keys(ty, form, black_box(row), &mut keys));
    }
    (start.elapsed().as_secs_f64() * 1e6 / ROUNDS as f64, each)
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let threads: usize = threads.unwrap_or(1);
    println!("type       form profile      us a row a core   keys a row");
    for name in Profile::names() {
        let Some(profile) = Profile::built_in(name) else {
            continue;
        };
        for &ty in profile.types() {
            let people = matches!(ty, IdentifierType::Person | IdentifierType::Name);
            if name != "exact" && !people {
                continue;
            }
            for form in 0..ty.forms().len() {
                let one = || measure(&profile, ty, form);
                let (slowest, keys) = std::thread::scope(|scope| {
                    let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
                    let times = running.into_iter().filter_map(|thread| thread.join().ok());
                    times.fold((0.0, 0.0), |a: (f64, f64), b| if b.0 > a.0 { b } else { a })
                });
                let form = if form == 0 { "" } else { "mrz" };
                println!(
                    "{:10} {form:4} {name:12} {slowest:15.3} {keys:12.1}",
                    ty.name()
                );
            }
        }
    }
}
