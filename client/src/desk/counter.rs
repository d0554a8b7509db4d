//! The desk: several collections at several peers asked at once about everybody who comes.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tallystick_agency::{
    clock,
    exit::{Failure, Outcome},
    home::Home,
    store::{SqliteStore, Store},
    worker::WorkerPool,
};
use tallystick_protocol::{identifiers::Key, statements::ListKind};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};

use super::{
    Alarm, Asked, AskedType, CollectionAnswer, CollectionFacts, DeskOptions, OnAlarm, Presented,
    Told,
    context::Context,
    flight::{Job, Known, Reply},
    link::Link,
    status::{DeskStatus, LinkReport, ShiftReport, Shown, Trouble, now_ms},
};

/// Jobs that wait in the queue of a link. Who brings more waits, as long as an answer is waited for.
const QUEUE: usize = 2048;
/// Travellers of a manifest that are under way at once.
const AT_ONCE: usize = 1024;
/// How often keys are made anew for a list that changes while it is asked.
const MOST_STALE: u32 = 8;

/// An open desk. Clones are the same desk. Dropping the last one without [`Desk::close`] is as if the
/// process ended: the next desk with the same grounds takes its sessions up.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    options: Arc<DeskOptions>,
    store: Arc<SqliteStore>,
    links: Vec<Handle>,
    began_ms: u64,
    ends_ms: i64,
    closing: watch::Sender<bool>,
    /// What was asked, as far as an alarm needs it.
    seen: Mutex<Asked>,
    alarms: AtomicU64,
    /// Taken by whoever closes.
    tasks: Mutex<Option<Vec<JoinHandle<LinkReport>>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for task in tasks.iter().flatten() {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Desk({} collections)", self.0.links.len())
    }
}

/// One collection, from the side of those who ask.
struct Handle {
    peer: String,
    collection: tallystick_protocol::statements::Name,
    inbox: mpsc::Sender<Job>,
    known: watch::Receiver<Option<Arc<Known>>>,
    shown: Arc<Shown>,
    patience: Duration,
}

/// A question under way.
enum Pending {
    /// There is nothing to wait for.
    Told(Told),
    /// It is in the queue.
    Waiting {
        reply: oneshot::Receiver<Reply>,
        asked: Vec<AskedType>,
    },
}

impl Desk {
    /// Opens a shift. A peer that cannot be reached is no error: its answers are missing, and it is tried
    /// again. Returns at once; lists are fetched and sessions opened meanwhile.
    ///
    /// # Errors
    /// Options that no desk can work with, a peer that this home does not know, a home that cannot be
    /// opened.
    pub async fn open(home: Arc<Home>, options: DeskOptions) -> Outcome<Self> {
        let options = Arc::new(options.checked()?);
        if let Some(profile) = &options.profile {
            tallystick_agency::profiles::load(profile)?;
        }
        let store = Arc::new(home.store().await?);
        for ask in &options.asks {
            if store.peer(&ask.peer).await?.is_none() {
                return Err(Failure::usage(
                    "unknown-peer",
                    format!("there is no peer {} in this home", ask.peer),
                    "add its manifest with `tallyd peer add FILE`; `tallyd peer list` shows the known ones",
                ));
            }
        }
        let pool = WorkerPool::new(home.config().limits.worker_threads as usize)?;
        let now = clock::now_ms();
        let ends_ms = now + i64::from(options.hours) * 3_600_000;
        let (closing, told) = watch::channel(false);
        let (mut links, mut tasks) = (Vec::new(), Vec::new());
        for ask in &options.asks {
            let shown = Arc::new(Shown::new(&ask.peer, &ask.collection, options.flights));
            let (inbox, jobs) = mpsc::channel(QUEUE);
            let (known, knows) = watch::channel(None);
            let context = Arc::new(Context {
                home: Arc::clone(&home),
                store: Arc::clone(&store),
                pool: pool.clone(),
                options: Arc::clone(&options),
                ask: ask.clone(),
                ends_ms,
                shown: Arc::clone(&shown),
                flown: AtomicU64::new(0),
                pinned: OnceLock::new(),
            });
            if links.is_empty() {
                // Sessions of earlier commands that nobody can go on with.
                context.asker().close_abandoned().await?;
            }
            links.push(Handle {
                peer: ask.peer.clone(),
                collection: ask.collection.clone(),
                inbox,
                known: knows,
                shown,
                patience: options.patience,
            });
            let link = Link {
                context,
                inbox: jobs,
                known,
                closing: told.clone(),
                waiting: std::collections::VecDeque::new(),
                finishing: JoinSet::new(),
                sessions: Vec::new(),
            };
            tasks.push(tokio::spawn(link.run()));
        }
        Ok(Self(Arc::new(Inner {
            options,
            store,
            links,
            began_ms: u64::try_from(now).unwrap_or(0),
            ends_ms,
            closing,
            seen: Mutex::new(Asked::new()),
            alarms: AtomicU64::new(0),
            tasks: Mutex::new(Some(tasks)),
        })))
    }

    /// What every collection says of one traveller, in the order in which they were named. What is missing
    /// is among it, with its reason. Takes as long as the slowest peer, and no longer than the
    /// patience of the desk.
    pub async fn answers(&self, presented: &Presented) -> Vec<CollectionAnswer> {
        let mut all = self.answers_all(std::slice::from_ref(presented)).await;
        all.pop().unwrap_or_default()
    }

    /// The same for many, in their order. They share flights.
    pub async fn answers_all(&self, presented: &[Presented]) -> Vec<Vec<CollectionAnswer>> {
        let all = self.alarmed(presented).await;
        all.into_iter().map(|(_, answers)| answers).collect()
    }

    /// The same, with what each question looks like beside those before it.
    pub(super) async fn alarmed(
        &self,
        presented: &[Presented],
    ) -> Vec<(Option<Alarm>, Vec<CollectionAnswer>)> {
        let mut all = Vec::with_capacity(presented.len());
        for some in presented.chunks(AT_ONCE) {
            let alarms: Vec<_> = some.iter().map(|one| self.look(one)).collect();
            let answers = self.under_way(some, &alarms).await;
            all.extend(alarms.into_iter().zip(answers));
        }
        all
    }

    /// Sees a search for numbers before it leaves.
    fn look(&self, presented: &Presented) -> Option<Alarm> {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = seen.look(presented)?;
        self.0.alarms.fetch_add(1, Ordering::Relaxed);
        let held = self.0.options.on_alarm == OnAlarm::Hold;
        tracing::warn!(code = alarm.code(), held, "alarm: {}", alarm.why());
        Some(alarm)
    }

    async fn under_way(
        &self,
        presented: &[Presented],
        alarms: &[Option<Alarm>],
    ) -> Vec<Vec<CollectionAnswer>> {
        let patience = self.0.options.patience;
        let mut rows: Vec<Vec<Pending>> = Vec::with_capacity(presented.len());
        // One time for all lists: a peer that hangs must not make the traveller wait for each of its lists.
        let mut until = Instant::now() + patience;
        for (one, alarm) in presented.iter().zip(alarms) {
            let held = alarm.filter(|_| self.0.options.on_alarm == OnAlarm::Hold);
            let mut row = Vec::with_capacity(self.0.links.len());
            for link in &self.0.links {
                row.push(match held.filter(|_| link.can_be_mapped()) {
                    Some(alarm) => Pending::Told(alarm.held()),
                    None => link.ask(one, until).await,
                });
            }
            rows.push(row);
        }
        let mut answers = Vec::with_capacity(rows.len());
        for (one, row) in presented.iter().zip(rows) {
            let mut answered = Vec::with_capacity(row.len());
            for (link, pending) in self.0.links.iter().zip(row) {
                let answer = link.told(one, pending, until).await;
                // Of many, each is waited for since the last came.
                if matches!(answer.told, Told::Answered { .. }) {
                    until = Instant::now() + patience;
                }
                answered.push(answer);
            }
            answers.push(answered);
        }
        answers
    }

    pub(super) fn on_alarm(&self) -> OnAlarm {
        self.0.options.on_alarm
    }

    /// How the desk stands.
    #[must_use]
    pub fn status(&self) -> DeskStatus {
        let collections: Vec<_> = self.0.links.iter().map(|l| l.shown.status()).collect();
        let ready = |status: &super::CollectionStatus| {
            status.state == super::LinkState::Ready && status.trouble.is_none()
        };
        DeskStatus {
            schema: "tally.desk-status/1",
            began_ms: self.0.began_ms,
            ends_ms: u64::try_from(self.0.ends_ms).unwrap_or(0),
            ready: collections.iter().all(ready),
            alarms: self.0.alarms.load(Ordering::Relaxed),
            collections,
        }
    }

    /// Waits until every collection answers or `longest` is over; whether all do.
    pub async fn ready(&self, longest: Duration) -> bool {
        let ready = async {
            while !self.status().ready {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(longest, ready).await.is_ok()
    }

    /// Closes the shift: every session on both sides, as far as the peers can be reached.
    ///
    /// # Errors
    /// If it was closed before.
    pub async fn close(self) -> Outcome<ShiftReport> {
        let tasks = {
            let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.take()
        };
        let Some(tasks) = tasks else {
            return Err(Failure::usage(
                "desk-closed",
                "the desk was closed before",
                "open another",
            ));
        };
        self.0.closing.send_replace(true);
        let mut collections = Vec::with_capacity(tasks.len());
        for task in tasks {
            collections.push(task.await.map_err(|e| crate::error::bug(e.to_string()))?);
        }
        self.0.store.close().await;
        Ok(ShiftReport {
            schema: "tally.desk-shift/1",
            began_ms: self.0.began_ms,
            closed_ms: now_ms(),
            alarms: self.0.alarms.load(Ordering::Relaxed),
            collections,
        })
    }
}

impl Handle {
    /// Whether a search for numbers could learn from this list what was issued: a register, or a list that
    /// does not say what it is. Others are asked whatever the numbers look like: nobody who is looked for
    /// shall pass because his number was typed too often.
    fn can_be_mapped(&self) -> bool {
        !matches!(
            self.shown.status().kind,
            Some(ListKind::Watchlist | ListKind::StolenDocuments)
        )
    }

    /// Puts a traveller's keys into the queue.
    async fn ask(&self, presented: &Presented, until: Instant) -> Pending {
        let patience = self.patience;
        if let Some(trouble) = self.shown.hopeless(patience) {
            return Pending::Told(missing(trouble));
        }
        let asking = async {
            let mut known = self.known.clone();
            let known = known.wait_for(Option::is_some).await;
            let known = known.map(|known| known.clone());
            let Ok(Some(known)) = known else {
                return None;
            };
            Some(self.queue(presented, known).await)
        };
        match tokio::time::timeout_at(until.into(), asking).await {
            Ok(Some(pending)) => pending,
            Ok(None) | Err(_) => Pending::Told(missing(self.shown.late(patience))),
        }
    }

    async fn queue(&self, presented: &Presented, known: Arc<Known>) -> Pending {
        if let Some(states) = &known.covers
            && !states.iter().any(|state| state == presented.state())
        {
            let why = Told::OTHER_STATE;
            self.ask_nothing(known).await;
            return Pending::Told(Told::NotAsked { why });
        }
        let of = |ty| presented.keys(&known.profile, ty);
        let keys: Vec<Vec<Key>> = known.types.iter().map(of).collect();
        if keys.iter().all(Vec::is_empty) {
            let why = Told::NO_KEYS;
            self.ask_nothing(known).await;
            return Pending::Told(Told::NotAsked { why });
        }
        let asked = known.types.iter().zip(&keys).map(|(ty, keys)| AskedType {
            type_name: ty.clone(),
            keys: keys.len(),
        });
        let asked = asked.collect();
        let (answer, reply) = oneshot::channel();
        let job = Job {
            keys,
            known,
            reply: answer,
        };
        match self.inbox.send(job).await {
            Ok(()) => Pending::Waiting { reply, asked },
            Err(_) => Pending::Told(missing(Trouble::now("closed", "the desk is closed"))),
        }
    }

    /// Lets a flight leave in which nothing of this traveller is: whether one leaves must not tell whose
    /// document it is, nor what can be read of it.
    async fn ask_nothing(&self, known: Arc<Known>) {
        let (answer, reply) = oneshot::channel();
        let job = Job {
            keys: known.types.iter().map(|_| Vec::new()).collect(),
            known,
            reply: answer,
        };
        if self.inbox.send(job).await.is_ok() {
            // A job that nobody waits for would not leave.
            tokio::spawn(reply);
        }
    }

    /// Waits for an answer, no longer than `until`; one that is there is taken.
    async fn told(
        &self,
        presented: &Presented,
        pending: Pending,
        until: Instant,
    ) -> CollectionAnswer {
        let patience = self.patience;
        let reply = self.reply(presented, pending, until);
        let waited = tokio::time::timeout_at(until.into(), reply);
        let (told, facts) = match waited.await {
            Ok(told) => told,
            Err(_) => (missing(self.shown.late(patience)), None),
        };
        match &told {
            Told::Answered { .. } => self.shown.count(true),
            Told::Missing { .. } => self.shown.count(false),
            Told::NotAsked { .. } => {}
        }
        let facts = facts.map_or_else(|| self.facts(), |facts| (*facts).clone());
        CollectionAnswer { facts, told }
    }

    async fn reply(
        &self,
        presented: &Presented,
        mut pending: Pending,
        until: Instant,
    ) -> (Told, Option<Arc<CollectionFacts>>) {
        for _ in 0..MOST_STALE {
            let (reply, asked) = match pending {
                Pending::Told(told) => return (told, None),
                Pending::Waiting { reply, asked } => (reply, asked),
            };
            match reply.await {
                Ok(Reply::Found { facts, hits }) => {
                    return (Told::Answered { asked, hits }, Some(facts));
                }
                Ok(Reply::Missing(trouble)) => return (missing(trouble), None),
                Ok(Reply::Stale) => pending = self.ask(presented, until).await,
                // It was lost with its session.
                Err(_) => return (missing(self.shown.late(self.patience)), None),
            }
        }
        let why = "its lists change faster than they can be asked";
        (missing(Trouble::now("changing", why)), None)
    }

    /// What is known of the collection without an answer of it.
    fn facts(&self) -> CollectionFacts {
        let status = self.shown.status();
        CollectionFacts {
            peer: self.peer.clone(),
            collection: self.collection.clone(),
            kind: status.kind,
            covers: status.covers,
            epoch: status.epoch,
            published_ms: status.published_ms,
            label_columns: Vec::new(),
        }
    }
}

fn missing(trouble: Trouble) -> Told {
    Told::Missing {
        code: trouble.code,
        why: trouble.why,
        since_ms: Some(trouble.since_ms),
    }
}
