//! A desk that says what the number of a document tells it to, served as the real one is.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tallystick_client::desk::{
    Answering, Basis, Class, CollectionStatus, Conclusion, DeskStatus, LabelValue, LinkState,
    Missing, Presented, Reason, Trouble, Verdict,
    http::{self, HttpOptions, Token},
};
use tallystick_protocol::{
    identifiers::{Profile, mrz::check_digit},
    statements::{Coverage, Int, ListKind, Name},
};
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot},
};
use tonic::async_trait;
use zeroize::Zeroizing;

/// A label that would do harm if a page took it for markup.
pub const HOSTILE: &str = "<img src=x onerror=\"document.title='owned'\"><script>1</script>";

/// What a document with this first letter gets.
const LETTERS: [(char, Conclusion); 8] = [
    ('X', Conclusion::Impossible),
    ('R', Conclusion::Reported),
    ('W', Conclusion::Watchlisted),
    ('N', Conclusion::NeverIssued),
    ('H', Conclusion::OtherHolder),
    ('M', Conclusion::Incomplete),
    ('C', Conclusion::Consistent),
    ('K', Conclusion::NothingKnown),
];
/// A number that begins with the letter and this takes its time.
const SLOW: &str = "SLOW";
/// That time.
pub const SLOWNESS: Duration = Duration::from_millis(1800);

/// The number of a reported document whose answer waits until [`FakeDesk::release`].
pub const HELD: &str = "RHELD567";

/// The number of a document that gets this conclusion.
#[must_use]
pub fn number(conclusion: Conclusion, slow: bool) -> String {
    let letter = LETTERS.iter().find(|(_, known)| *known == conclusion);
    let rest = if slow { SLOW } else { "1234" };
    format!("{}{rest}567", letter.unwrap().0)
}

/// The two lines of a passport with this number.
#[must_use]
pub fn passport(number: &str) -> [String; 2] {
    let digit = |text: &str| char::from(check_digit(text.as_bytes()));
    let number = format!("{number:<<9}");
    let number = format!("{number}{}", digit(&number));
    let (birth, expiry, optional) = ("7408122", "3204153", "<<<<<<<<<<<<<<<");
    assert_eq!(birth[6..], digit(&birth[..6]).to_string());
    assert_eq!(expiry[6..], digit(&expiry[..6]).to_string());
    assert_eq!(optional.len(), 15);
    let covered = format!("{number}{birth}{expiry}{}", &optional[..15]);
    let line = format!("{number}UTO{birth}F{expiry}{}", &optional[..15]);
    [
        format!("{:<<44}", "P<UTOERIKSSON<<ANNA<MARIA"),
        format!("{line}{}", digit(&covered)),
    ]
}

/// The desk.
#[derive(Debug, Default)]
pub struct FakeDesk {
    asked: AtomicUsize,
    released: Notify,
}

impl FakeDesk {
    /// Lets the answer about [`HELD`] go, or the next one.
    pub fn release(&self) {
        self.released.notify_one();
    }

    /// How many documents it was asked about.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn of_list(collection: &str, kind: ListKind, label: &[(&str, &str)]) -> Basis {
    let label = label.iter().map(|(column, value)| LabelValue {
        column: (*column).to_owned(),
        value: Zeroizing::new((*value).to_owned()),
    });
    Basis::Collection {
        peer: "north".to_owned(),
        collection: name(collection),
        kind: Some(kind),
        epoch: Some(3),
        published: Some("2026-05-01".to_owned()),
        complete_as_of: (kind == ListKind::IssuedDocuments).then(|| "2026-04-30".to_owned()),
        type_name: Some(name("document")),
        rules: vec!["exact"],
        label: label.collect(),
    }
}

fn reason(class: Class, text: &str, basis: Basis) -> Reason {
    Reason {
        class,
        text: Zeroizing::new(text.to_owned()),
        basis,
        does_not_prove: "That the picture and the chip are those of the holder.",
    }
}

fn reasons(conclusion: Conclusion) -> Vec<Reason> {
    let register = || of_list("register", ListKind::IssuedDocuments, &[]);
    match conclusion {
        Conclusion::Impossible => vec![reason(
            Class::Impossible,
            "The check digit of the document number does not hold.",
            Basis::Document {
                code: "number-check",
                field: "number",
                line: Some(2),
                column: Some(10),
                rule: "Doc 9303-3, 4.9",
            },
        )],
        Conclusion::Reported => {
            let label = [("report", "stolen"), ("note", HOSTILE)];
            let stolen = of_list("stolen", ListKind::StolenDocuments, &label);
            vec![reason(
                Class::Reported,
                "North reports it as stolen.",
                stolen,
            )]
        }
        Conclusion::Watchlisted => {
            let list = of_list("watchlist", ListKind::Watchlist, &[]);
            vec![reason(
                Class::Watchlisted,
                "North has this person on its watchlist.",
                list,
            )]
        }
        Conclusion::NeverIssued => vec![reason(
            Class::NeverIssued,
            "North never issued this number.",
            register(),
        )],
        Conclusion::OtherHolder => vec![reason(
            Class::OtherHolder,
            "North issued this number to somebody else.",
            register(),
        )],
        Conclusion::Consistent => vec![reason(
            Class::Consistent,
            "North issued this number to this holder.",
            register(),
        )],
        Conclusion::NothingKnown => vec![reason(
            Class::NotFound,
            "North does not report this document.",
            of_list("stolen", ListKind::StolenDocuments, &[]),
        )],
        Conclusion::Incomplete | Conclusion::Unreadable => Vec::new(),
    }
}

#[async_trait]
impl Answering for FakeDesk {
    async fn ask(&self, presented: &Presented) -> Verdict {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let keys = presented.keys(Profile::exact(), &name("document"));
        let text = keys.first().map(|key| key.normalised.key_text.to_string());
        let text = text.unwrap_or_default();
        let number = text.rsplit(':').next().unwrap_or_default();
        if number == HELD {
            self.released.notified().await;
        }
        if number.contains(SLOW) {
            tokio::time::sleep(SLOWNESS).await;
        }
        let known = LETTERS
            .iter()
            .find(|(letter, _)| number.starts_with(*letter));
        let conclusion = known.map_or(Conclusion::NothingKnown, |(_, conclusion)| *conclusion);
        let missing = Missing {
            peer: "south".to_owned(),
            collection: name("register"),
            code: "network".to_owned(),
            why: "No answer from south / register, because the connection was refused.".to_owned(),
            since_ms: Some(1_777_600_000_000),
            could_change: true,
            no_answer: true,
        };
        // Beside a graver conclusion, too.
        let lacks = [Conclusion::Incomplete, Conclusion::Watchlisted].contains(&conclusion);
        Verdict {
            schema: Verdict::SCHEMA,
            id: presented.id().map(str::to_owned),
            conclusion,
            headline: conclusion.headline(),
            reasons: reasons(conclusion),
            missing: lacks.then_some(missing).into_iter().collect(),
            not_asked: Vec::new(),
            not_proved: vec!["Image and chip were not looked at."],
            milliseconds: 3,
        }
    }

    async fn ask_all(&self, presented: &[Presented]) -> Vec<Verdict> {
        let mut all = Vec::new();
        for one in presented {
            all.push(self.ask(one).await);
        }
        all
    }

    fn status(&self) -> DeskStatus {
        let trouble = |why: &str| Trouble {
            code: "network".to_owned(),
            why: why.to_owned(),
            since_ms: 1_777_600_000_000,
        };
        let list = |collection: &str, kind, why: Option<&str>| CollectionStatus {
            peer: "north".to_owned(),
            collection: name(collection),
            state: match why {
                None => LinkState::Ready,
                Some(_) => LinkState::Waiting,
            },
            kind: Some(kind),
            covers: (kind == ListKind::IssuedDocuments).then(|| Coverage {
                states: vec!["UTO".parse().unwrap()],
                complete_ms: Int::new(1_777_600_000_000).unwrap(),
            }),
            epoch: Some(3),
            published_ms: Some(1_777_600_000_000),
            snapshot: None,
            session: None,
            elements_left: [("document".to_owned(), 512)].into(),
            flights_left: 64,
            asked: 0,
            answered: 0,
            missing: 0,
            trouble: why.map(trouble),
            note: None,
        };
        let down = Some("the connection was refused");
        DeskStatus {
            schema: "tally.desk-status/1",
            began_ms: 1_777_600_000_000,
            ends_ms: 1_777_628_800_000,
            ready: false,
            alarms: 0,
            collections: vec![
                list("stolen", ListKind::StolenDocuments, None),
                list("register", ListKind::IssuedDocuments, down),
            ],
        }
    }
}

/// A desk that is served until it is dropped.
#[derive(Debug)]
pub struct Served {
    /// Where.
    pub address: SocketAddr,
    /// What opens it.
    pub token: String,
    /// What answers.
    pub desk: Arc<FakeDesk>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// At this address; its page forgets after so long.
    #[must_use]
    pub fn at(address: &str, clear_after: Duration) -> Self {
        let token = Token::fresh();
        let revealed = token.reveal().to_owned();
        let desk = Arc::new(FakeDesk::default());
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel();
        let answering = Arc::clone(&desk);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let work = async {
                let listener = TcpListener::from_std(listener).unwrap();
                let options = HttpOptions { token, clear_after };
                let ended = async {
                    let _ = ended.await;
                };
                http::serve(listener, answering, options, ended).await
            };
            runtime.block_on(work).unwrap();
        });
        Self {
            address,
            token: revealed,
            desk,
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// On a free port.
    #[must_use]
    pub fn new() -> Self {
        Self::at("127.0.0.1:0", Duration::from_secs(60))
    }

    /// Tells it to end; gives what waits for that.
    pub fn end(&mut self) -> JoinHandle<()> {
        let _ = self.end.take().unwrap().send(());
        self.thread.take().unwrap()
    }
}

impl Default for Served {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.end.is_some() {
            let thread = self.end();
            // A panic there has failed what asked it.
            let _ = thread.join();
        }
    }
}
