use super::*;

const TD3: [&str; 2] = [
    "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<",
    "L898902C36UTO7408122F1204159ZE184226B<<<<<10",
];
const TD1: [&str; 3] = [
    "I<UTOD231458907<<<<<<<<<<<<<<<",
    "7408122F1204159UTO<<<<<<<<<<<6",
    "ERIKSSON<<ANNA<MARIA<<<<<<<<<<",
];

/// The line numbers of what comes, and what it is: `+` for a document, else the code.
fn items(input: &[u8]) -> Vec<(u64, &'static str)> {
    let (queue, mut lines) = mpsc::channel(1000);
    read(input, &queue).unwrap();
    drop(queue);
    let (mut zones, mut found) = (Zones::default(), Vec::new());
    while let Ok(line) = lines.try_recv() {
        found.extend(zones.take(line));
    }
    found.extend(zones.end());
    let what = |item: Item| {
        (
            item.line,
            item.presented.map_or_else(Unreadable::code, |_| "+"),
        )
    };
    found.into_iter().map(what).collect()
}

#[test]
fn zones_come_in_one_run_or_in_their_lines() {
    let run = TD3.concat();
    for end in ["\n", "\r", "\r\n", "\n\n"] {
        let input = [
            TD3[0],
            TD3[1],
            &run,
            TD1[0],
            TD1[1],
            TD1[2],
            "{\"number\":\"1\"}",
        ]
        .join(end);
        let step = if end == "\n\n" { 2 } else { 1 };
        let want = [0, 2, 3, 6].map(|line| (line * step + 1, "+"));
        assert_eq!(items(input.as_bytes()), want, "{end:?}");
    }
    // As serial readers frame it.
    let framed = format!("\u{2}{}\r{}\r\u{3}", TD3[0], TD3[1]);
    assert_eq!(items(framed.as_bytes()), [(1, "+")]);
    assert_eq!(items(b""), []);
    assert_eq!(items(b"\n\r\n \t\n"), []);
}

#[test]
fn whoever_loses_a_line_is_in_step_with_the_next_document() {
    let [one, two] = TD3;
    let [a, b, c] = TD1;
    let codes = |lines: &[&str]| {
        let found = items(lines.join("\n").as_bytes());
        found
            .into_iter()
            .map(|(line, what)| (line, what == "+"))
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(&[one, one, two]), [(1, false), (2, true)]);
    assert_eq!(codes(&[two, one, two]), [(1, false), (2, true)]);
    assert_eq!(codes(&[one, a, b, c]), [(1, false), (2, true)]);
    assert_eq!(codes(&[a, b, one, two]), [(1, false), (3, true)]);
    assert_eq!(
        codes(&[one, "{\"number\":\"1\"}", one, two]),
        [(1, false), (2, true), (3, true)]
    );
    assert_eq!(
        codes(&[one, "garbage", one, two]),
        [(1, false), (2, false), (3, true)]
    );
    assert_eq!(codes(&[one]), [(1, false)]);
    // Whichever of three is lost.
    assert_eq!(codes(&[a, a, b, c]), [(1, false), (2, true)]);
    assert_eq!(codes(&[a, b, a, b, c]), [(1, false), (2, false), (3, true)]);
    assert_eq!(codes(&[a, c, a, b, c]), [(1, false), (2, false), (3, true)]);
    assert_eq!(codes(&[b, c, a, b, c]), [(1, false), (2, false), (3, true)]);
    assert_eq!(codes(&[c, a, b, c]), [(1, false), (2, true)]);
    // A letter of the first line that was read as a digit.
    let misread = one.replace('O', "0");
    assert_eq!(codes(&[&misread, two, one, two]), [(1, true), (3, true)]);
}

#[test]
fn garbage_has_its_line_and_its_reason() {
    let long = "A".repeat(9000);
    let cases: [(&[u8], &str); 7] = [
        (b"hello", "mrz-shape"),
        (b"{\"number\":5}", "json"),
        (b"{\"number\":\"1\"", "json"),
        (b"{\"number\":\"\xff\"}", "json"),
        (b"\xff\xfe\x00\x80", ""),
        (long.as_bytes(), "line-length"),
        (b"{}", "nothing-presented"),
    ];
    for (bytes, code) in cases {
        let input = [b"\n", bytes, b"\n{\"number\":\"1\"}\n"].concat();
        let found = items(&input);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].0, found[1]), (2, (3, "+")));
        assert_ne!(found[0].1, "+");
        assert!(
            found[0].1 == code || code.is_empty() || code == "mrz-shape",
            "{found:?}"
        );
    }
}

#[test]
fn lines_are_read_whole_however_they_arrive() {
    struct Slowly<'a>(&'a [u8]);
    impl Read for Slowly<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else {
                return Ok(0);
            };
            into[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }
    let input = format!("{}\r\n{}\r\n\r\n{}\n", TD3[0], TD3[1], TD3.concat());
    let (queue, mut lines) = mpsc::channel(10);
    read(Slowly(input.as_bytes()), &queue).unwrap();
    let mut numbers = Vec::new();
    while let Ok(line) = lines.try_recv() {
        numbers.push(line.number);
    }
    assert_eq!(numbers, [1, 2, 4]);
}
