//! Plain HTTP and the text format of metrics, read without the programs' code.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// An answer: status, head and body.
pub struct Http {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Sends one request line and reads to the end of the connection.
pub fn http(address: SocketAddr, line: &str) -> Http {
    asked(address, line).unwrap()
}

/// As [`http`]. An error where the connection broke before there was an answer: a server
/// that refuses a request while it still comes may answer and hang up before the rest is
/// written, and the system may then throw away the answer too.
pub fn asked(address: SocketAddr, line: &str) -> io::Result<Http> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(40)))?;
    let request = format!("{line} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let written = stream.write_all(request.as_bytes());
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    if text.is_empty() {
        written?;
        read?;
    }
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Http {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// A family of series.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    pub unit: Option<String>,
}

/// One scrape.
#[derive(Debug, Default)]
pub struct Scrape {
    pub families: BTreeMap<String, Family>,
    /// Name and labels as written, and value.
    pub series: BTreeMap<String, f64>,
}

impl Scrape {
    pub fn of(address: SocketAddr) -> Self {
        let answer = http(address, "GET /metrics");
        assert_eq!(answer.status, 200);
        let kind = "content-type: application/openmetrics-text; version=1.0.0";
        assert!(answer.head.contains(kind), "{}", answer.head);
        Self::parse(&answer.body)
    }

    /// Refuses everything that the format does not allow, as far as it is used.
    fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        let body = text.strip_suffix("# EOF\n").expect("no end");
        for line in body.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", keyword, name, value] => {
                    let family = scrape.families.entry(name.to_owned()).or_default();
                    match keyword {
                        "HELP" => family.help = value.to_owned(),
                        "TYPE" => family.kind = value.to_owned(),
                        "UNIT" => family.unit = Some(value.to_owned()),
                        _ => panic!("{line}"),
                    }
                }
                _ => {
                    let (series, value) = line.rsplit_once(' ').unwrap();
                    let value: f64 = value.parse().unwrap();
                    let twice = scrape.series.insert(series.to_owned(), value);
                    assert!(twice.is_none() && value.is_finite(), "{line}");
                }
            }
        }
        scrape
    }

    pub fn value(&self, series: &str) -> f64 {
        let value = self.series.get(series);
        *value.unwrap_or_else(|| panic!("no {series}: {:#?}", self.series.keys()))
    }

    /// All series of one name, added up.
    pub fn sum(&self, name: &str) -> f64 {
        let of_name = |series: &String| series.split('{').next() == Some(name);
        let all = self.series.iter().filter(|(series, _)| of_name(series));
        all.map(|(_, value)| value).sum()
    }

    /// Name of the family that a series belongs to, by the endings of its type.
    pub fn family(&self, series: &str) -> (&str, &Family) {
        let name = series.split('{').next().unwrap();
        let endings: [(&str, &[&str]); 4] = [
            ("counter", &["_total"]),
            ("gauge", &[""]),
            ("info", &["_info"]),
            ("histogram", &["_bucket", "_sum", "_count"]),
        ];
        let found = self.families.iter().find(|(known, family)| {
            let of_kind = endings.iter().find(|(kind, _)| *kind == family.kind);
            let (_, endings) = of_kind.unwrap_or_else(|| panic!("{known}: {}", family.kind));
            let mut names = endings.iter().map(|ending| format!("{known}{ending}"));
            names.any(|full| full == name)
        });
        let (known, family) = found.unwrap_or_else(|| panic!("{series} has no family"));
        (known, family)
    }

    /// Labels of all series: name, value.
    pub fn labels(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for series in self.series.keys() {
            let Some((_, labels)) = series.split_once('{') else {
                continue;
            };
            for label in labels.strip_suffix('}').unwrap().split(',') {
                let (name, value) = label.split_once('=').unwrap();
                let value = value.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
                assert!(!value.contains(['"', '\\']), "{series}");
                found.push((name.to_owned(), value.to_owned()));
            }
        }
        found
    }
}
