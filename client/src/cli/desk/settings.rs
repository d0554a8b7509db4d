//! What flags and a `.desk.toml` file say together: a flag stands before the file.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::Args;
use serde::Deserialize;
use tallystick_agency::{
    exit::{Failure, Outcome},
    fs,
};

use super::super::grounds::GroundsArgs;
use crate::desk::{Ask, DeskOptions, OnAlarm};

/// Whom a desk asks, and for how long.
#[derive(Debug, Args)]
pub(super) struct ShiftArgs {
    /// A collection to ask about everybody; repeatable. An address stands instead of the one in the peer's
    /// manifest
    #[arg(long = "ask", value_name = "PEER/COLLECTION[@HOST:PORT]")]
    asks: Vec<Asked>,
    /// File with collections, grounds and the settings of shift and endpoint; flags stand before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Hours that the shift lasts at most, 1 to 24 [default: 8]
    #[arg(long, value_name = "N", help_heading = "The shift")]
    hours: Option<u32>,
    /// The most that the shift asks of each collection, in small flights of 8 travellers [default: 4096]
    #[arg(long, value_name = "N", help_heading = "The shift")]
    flights: Option<u64>,
    /// How long an answer is waited for; then it is missing [default: 5]
    #[arg(long, value_name = "N", help_heading = "The shift")]
    patience_seconds: Option<u64>,
    /// How often a peer's catalogue is looked at for a newer list [default: 60]
    #[arg(long, value_name = "N", help_heading = "The shift")]
    refresh_seconds: Option<u64>,
    /// Ask at these intervals and at no other time, whether anybody came or not; each is charged
    #[arg(long, value_name = "N", help_heading = "The shift")]
    cover_seconds: Option<u64>,
    /// A record for each traveller, not for the shift: slower
    #[arg(long, help_heading = "The shift")]
    record_each: bool,
    /// What becomes of a question that raises an alarm: hold (it is not asked) or warn [default: hold]
    #[arg(long, value_name = "WHAT", value_parser = alarm, help_heading = "The shift")]
    on_alarm: Option<OnAlarm>,
    #[command(flatten)]
    grounds: GroundsArgs,
}

/// What the endpoint needs.
#[derive(Debug, Args)]
#[command(next_help_heading = "The endpoint of --serve")]
pub(super) struct EndpointArgs {
    /// Write the token to this file, for its owner alone, and do not print it
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// After how long the page forgets a verdict; 0 is never [default: 60]
    #[arg(long, value_name = "N")]
    clear_after_seconds: Option<u64>,
}

/// `PEER/COLLECTION`, perhaps with an address.
#[derive(Debug, Clone)]
struct Asked(Ask);

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (list, address) = match text.split_once('@') {
            Some((list, address)) => (list, Some(address.to_owned())),
            None => (text, None),
        };
        let wanted = || "name it as PEER/COLLECTION".to_owned();
        let (peer, collection) = list.split_once('/').ok_or_else(wanted)?;
        if peer.is_empty() {
            return Err(wanted());
        }
        Ok(Self(Ask {
            peer: peer.to_owned(),
            collection: collection.parse().map_err(|_| wanted())?,
            address,
        }))
    }
}

fn alarm(text: &str) -> Result<OnAlarm, String> {
    match text {
        "hold" => Ok(OnAlarm::Hold),
        "warn" => Ok(OnAlarm::Warn),
        _ => Err("use hold or warn".to_owned()),
    }
}

/// A `.desk.toml` file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DeskFile {
    ask: Vec<Ask>,
    grounds: GroundsArgs,
    shift: ShiftTable,
    endpoint: EndpointTable,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ShiftTable {
    hours: Option<u32>,
    flights: Option<u64>,
    patience_seconds: Option<u64>,
    refresh_seconds: Option<u64>,
    cover_seconds: Option<u64>,
    record_each: bool,
    profile: Option<String>,
    on_alarm: Option<OnAlarm>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EndpointTable {
    address: Option<SocketAddr>,
    token_file: Option<PathBuf>,
    clear_after_seconds: Option<u64>,
}

/// Where the endpoint listens if nothing says so.
const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7480);
/// After how long the page forgets if nothing says so.
const CLEAR_AFTER_SECONDS: u64 = 60;

/// All of it.
pub(super) struct Settings {
    pub(super) desk: DeskOptions,
    pub(super) address: SocketAddr,
    pub(super) token_file: Option<PathBuf>,
    pub(super) clear_after: Duration,
}

impl Settings {
    /// `profile` and `address` are those of flags of their own.
    pub(super) fn new(
        shift: &ShiftArgs,
        endpoint: &EndpointArgs,
        profile: Option<&str>,
        address: Option<SocketAddr>,
        quiet: bool,
    ) -> Outcome<Self> {
        let file = match &shift.config {
            Some(path) => read(path)?,
            None => DeskFile::default(),
        };
        let mut asks = file.ask;
        if !shift.asks.is_empty() {
            asks = shift.asks.iter().map(|asked| asked.0.clone()).collect();
        }
        if asks.is_empty() {
            return Err(Failure::usage(
                "nothing-is-asked",
                "no collection is named",
                "give --ask PEER/COLLECTION, or --config FILE; `tally collections` shows what a peer \
                 offers",
            ));
        }
        let table = file.shift;
        let default = DeskOptions::default();
        let seconds = |flag: Option<u64>, file: Option<u64>| flag.or(file).map(Duration::from_secs);
        Ok(Self {
            desk: DeskOptions {
                asks,
                grounds: shift.grounds.or(file.grounds).grounds(),
                hours: shift.hours.or(table.hours).unwrap_or(default.hours),
                flights: shift.flights.or(table.flights).unwrap_or(default.flights),
                patience: seconds(shift.patience_seconds, table.patience_seconds)
                    .unwrap_or(default.patience),
                refresh: seconds(shift.refresh_seconds, table.refresh_seconds)
                    .unwrap_or(default.refresh),
                cover: seconds(shift.cover_seconds, table.cover_seconds),
                record_each: shift.record_each || table.record_each,
                profile: profile.map(str::to_owned).or(table.profile),
                on_alarm: shift
                    .on_alarm
                    .or(table.on_alarm)
                    .unwrap_or(default.on_alarm),
                quiet,
            },
            address: address.or(file.endpoint.address).unwrap_or(ADDRESS),
            token_file: endpoint.token_file.clone().or(file.endpoint.token_file),
            clear_after: Duration::from_secs(
                endpoint
                    .clear_after_seconds
                    .or(file.endpoint.clear_after_seconds)
                    .unwrap_or(CLEAR_AFTER_SECONDS),
            ),
        })
    }
}

fn read(path: &Path) -> Outcome<DeskFile> {
    let text = fs::read_text(path)?;
    toml::from_str(&text).map_err(|error| {
        // What the parser shows of the file may hold a case or a name: its line is enough.
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |text| text.matches('\n').count() + 1);
        Failure::usage(
            "desk-file",
            format!("{}, line {line}: {}", path.display(), error.message()),
            "mend the file; docs/samples/border.desk.toml has every setting",
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        shift: ShiftArgs,
        #[command(flatten)]
        endpoint: EndpointArgs,
    }

    fn settings(flags: &[&str]) -> Outcome<Settings> {
        let line = Line::try_parse_from(["x"].iter().chain(flags)).unwrap();
        Settings::new(&line.shift, &line.endpoint, None, None, true)
    }

    #[test]
    fn flags_stand_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.desk.toml");
        let text = "[[ask]]\npeer = \"north\"\ncollection = \"stolen\"\n[grounds]\npurpose = \"border\"\n\
                    runner = \"7\"\n[shift]\nhours = 12\npatience_seconds = 2\n[endpoint]\n\
                    address = \"127.0.0.1:9\"\nclear_after_seconds = 5\n";
        std::fs::write(&path, text).unwrap();
        let file = path.to_str().unwrap();
        let of_file = settings(&["--config", file]).unwrap();
        assert_eq!((of_file.desk.hours, of_file.desk.asks.len()), (12, 1));
        assert_eq!(of_file.desk.patience, Duration::from_secs(2));
        assert_eq!(of_file.address, "127.0.0.1:9".parse().unwrap());
        assert_eq!(of_file.clear_after, Duration::from_secs(5));
        let flags = [
            "--config",
            file,
            "--hours",
            "3",
            "--ask",
            "south/register@h:1",
            "--purpose",
            "p",
        ];
        let both = settings(&flags).unwrap().desk;
        assert_eq!((both.hours, both.patience), (3, Duration::from_secs(2)));
        assert_eq!(both.grounds.purpose.unwrap().as_str(), "p");
        assert_eq!(both.grounds.runner.as_deref(), Some("7"));
        let [ask] = &both.asks[..] else { panic!() };
        assert_eq!(
            (ask.peer.as_str(), ask.address.as_deref()),
            ("south", Some("h:1"))
        );
    }

    /// Every setting stands in the sample, those in comments too.
    #[test]
    fn the_sample_has_every_setting() {
        let text = include_str!("../../../../docs/samples/border.desk.toml");
        let setting = |line: &str| line.strip_prefix("# ").unwrap_or(line).to_owned();
        let is_setting = |line: &&str| line.contains(" = ") || line.starts_with('[');
        let all: Vec<String> = text.lines().filter(is_setting).map(setting).collect();
        assert!(toml::from_str::<DeskFile>(text).is_ok());
        let file: DeskFile = toml::from_str(&all.join("\n")).unwrap();
        assert_eq!(
            (file.ask.len(), file.endpoint.token_file.is_some()),
            (2, true)
        );
        let shift = file.shift;
        assert!(shift.cover_seconds.is_some() && shift.profile.is_some() && shift.hours.is_some());
        assert!(shift.flights.is_some() && shift.patience_seconds.is_some());
        assert!(shift.refresh_seconds.is_some() && shift.on_alarm.is_some());
        assert!(
            file.endpoint.address == Some(ADDRESS) && file.endpoint.clear_after_seconds == Some(60)
        );
        let grounds = format!("{:?}", file.grounds);
        assert_eq!(
            grounds.matches("None").count(),
            1,
            "all but the class: {grounds}"
        );
    }

    #[test]
    fn what_is_wrong_is_refused_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.desk.toml");
        for text in [
            "[grounds]\nkase = \"C-77\"",
            "[shift]\nhours = \"C-77\"",
            "ask = C-77",
            "\u{1}",
        ] {
            std::fs::write(&path, text).unwrap();
            let failure = settings(&["--config", path.to_str().unwrap()])
                .err()
                .unwrap();
            assert_eq!(failure.code, "desk-file", "{text}");
            let said = failure.to_string();
            assert!(
                said.contains(", line ") && !said.contains("= \"C-77"),
                "{said}"
            );
        }
        assert_eq!(settings(&[]).err().unwrap().code, "nothing-is-asked");
        for bad in ["north", "/x", "north/", "north/Bad Name"] {
            assert!(Line::try_parse_from(["x", "--ask", bad]).is_err(), "{bad}");
        }
    }
}
