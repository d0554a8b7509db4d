//! The steps of a link: connect, see what is offered, begin a session or take one up, close it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tallystick_agency::{
    AgencyError, clock,
    collections::profile_reference,
    exit::{Exit, Failure, Outcome},
    home::Home,
    profiles,
    records::RecordFile,
    store::{Peer, SqliteStore, Store},
    worker::WorkerPool,
};
use tallystick_protocol::{
    identifiers::Profile,
    session::Matching,
    statements::{CatalogueEntry, Hex, ListKind, Name, ProfileReference, Request},
};

use super::{
    Ask, CollectionFacts, DeskOptions,
    flight::{Known, Sizes},
    journal::Journal,
    resume::{Revived, revive},
    shift::{Fault, Parts, Settled, Shift},
    status::{Ended, SessionReport, Shown, Trouble},
};
use crate::{
    collections::catalogue,
    connect::{Connected, connect},
    error::bug,
    session::{Asker, Granted, Intent, Taken, granted},
    snapshots::{CachedSnapshot, Wanted, blocking},
};

/// Name of the secret that a desk's grounds are digested under.
const DESK_SECRET: &str = "desk-input";
/// A request outlives its shift by so much, so that the shift can be closed.
const CLOSING_SECONDS: i64 = 120;

/// What the steps of a link need.
pub(super) struct Context {
    pub(super) home: Arc<Home>,
    pub(super) store: Arc<SqliteStore>,
    pub(super) pool: WorkerPool,
    pub(super) options: Arc<DeskOptions>,
    pub(super) ask: Ask,
    pub(super) ends_ms: i64,
    pub(super) shown: Arc<Shown>,
    /// Small flights asked so far; a large one counts as many.
    pub(super) flown: AtomicU64,
    /// Kind and states of the list when the shift began.
    pub(super) pinned: OnceLock<(Option<ListKind>, Vec<String>)>,
}

/// What a peer offers, as far as a desk asks it.
pub(super) struct Offer {
    pub(super) entry: CatalogueEntry,
    pub(super) profile: Arc<Profile>,
    pub(super) sizes: Sizes,
}

impl Offer {
    /// Elements that may still be evaluated of a type, by the peer's word.
    fn left(&self, name: &Name) -> u64 {
        let mut both = self.entry.keys.iter().zip(&self.entry.quota_left);
        let found = both.find(|(key, _)| key.type_name == *name);
        found.map_or(0, |(_, left)| left.get())
    }
}

fn refused(code: &str, what: String, next: &str) -> Failure {
    Failure::new(Exit::Refused, code, what, next)
}

impl Context {
    pub(super) fn asker(&self) -> Asker<'_> {
        Asker {
            home: &self.home,
            store: self.store.as_ref(),
            peer: &self.ask.peer,
            collection: &self.ask.collection,
            quiet: self.options.quiet,
        }
    }

    /// What makes a shift the same when it is begun again: its grounds.
    fn digest(&self) -> Outcome<[u8; 32]> {
        let grounds = self.options.grounds.as_text()?;
        Ok(self.home.keys().keyed_digest(DESK_SECRET, &grounds)?)
    }

    pub(super) async fn connect(&self) -> Outcome<Connected> {
        let store: &dyn Store = self.store.as_ref();
        connect(
            &self.home,
            store,
            &self.ask.peer,
            self.ask.address.as_deref(),
        )
        .await
    }

    /// Whether the shift is over by its hours.
    pub(super) fn is_over(&self) -> bool {
        clock::now_ms() >= self.ends_ms
    }

    /// Small flights that the shift may still ask.
    pub(super) fn flights_left(&self) -> u64 {
        let flown = self.flown.load(Ordering::Relaxed);
        self.options.flights.saturating_sub(flown)
    }

    /// The peer as this home knows it now: it may have been revoked, or pinned anew.
    pub(super) async fn still_trusted(&self, was: &Peer) -> Outcome<()> {
        let now = self.store.peer(&self.ask.peer).await?;
        let same = |now: &Peer| now.revoked_ms.is_none() && now.signing_key == was.signing_key;
        match now.is_some_and(|now| same(&now)) {
            true => Ok(()),
            false => Err(refused(
                "revoked",
                format!("{} is revoked in this home, or pinned anew", was.name),
                "",
            )),
        }
    }

    /// The profile of a collection: the one that was named, or a built-in one.
    fn profile(&self, wanted: &ProfileReference) -> Outcome<Arc<Profile>> {
        let named = match &self.options.profile {
            Some(name) => profiles::load(name)?,
            None => {
                let built_in = Profile::built_in(wanted.id.as_str());
                Arc::new(built_in.unwrap_or_else(|| Profile::exact().clone()))
            }
        };
        match profile_reference(&named)?.difference(wanted) {
            None => Ok(named),
            Some(difference) => Err(refused(
                "profile-mismatch",
                format!(
                    "{} was published under another profile: {difference}",
                    self.ask.collection
                ),
                "name its profile; nothing was asked",
            )),
        }
    }

    /// What the peer's catalogue says of the collection now.
    pub(super) async fn offer(&self, connected: &mut Connected) -> Outcome<Offer> {
        let (peer, collection) = (&self.ask.peer, &self.ask.collection);
        let offered = catalogue(&self.home, connected).await?.collections;
        let entry = offered.into_iter().find(|e| e.collection == *collection);
        let entry = entry.ok_or_else(|| {
            let what = format!(
                "{peer} offers this agency no collection {collection}: see `tally collections --peer {peer}`, \
                 or ask it to allow this agency"
            );
            refused("not-available", what, "")
        })?;
        let profile = self.profile(&entry.profile)?;
        let types = entry.keys.iter().map(|key| &key.type_name);
        let sizes = Sizes::offered(&profile, types).ok_or_else(|| {
            let what = format!("{collection} of {peer} has nothing that a document could be on");
            refused("type-not-offered", what, "")
        })?;
        Ok(Offer {
            entry,
            profile,
            sizes,
        })
    }

    /// How many small flights may be asked for, by the shift and by the peer's budgets.
    fn flights(&self, offer: &Offer) -> Outcome<u64> {
        let own = self.flights_left();
        if own == 0 {
            let what = "the shift has asked as much as it may".to_owned();
            return Err(refused("flights-spent", what, ""));
        }
        let types = offer.sizes.types().iter();
        let by_budget = types.map(|ty| {
            let small = ty.sizes.first().copied().unwrap_or(1).max(1);
            offer.left(&ty.name) / small
        });
        let budget = by_budget.min().unwrap_or(0);
        let session = offer.entry.max_session_elements.get() / offer.sizes.small().max(1);
        let (peer, collection) = (&self.ask.peer, &self.ask.collection);
        match (budget, session) {
            (0, _) => Err(refused(
                "quota-exceeded",
                format!("the budget that {peer} gives for {collection} in this epoch is spent"),
                "",
            )),
            (_, 0) => Err(refused(
                "too-many-elements",
                format!("{peer} allows fewer elements in a session than one flight has"),
                "",
            )),
            (budget, session) => Ok(own.min(budget).min(session)),
        }
    }

    fn known(
        &self,
        profile: Arc<Profile>,
        request: &Request,
        snapshot: &CachedSnapshot,
    ) -> Arc<Known> {
        let covers = snapshot.verified().preamble().covers.as_ref();
        let states = covers.map(|covers| covers.states.iter().map(ToString::to_string).collect());
        let types = request.queries.iter().map(|query| query.type_name.clone());
        Arc::new(Known {
            tables: profile.tables_hash(),
            profile,
            types: types.collect(),
            covers: states,
        })
    }

    fn facts(&self, snapshot: &CachedSnapshot) -> CollectionFacts {
        let preamble = snapshot.verified().preamble();
        CollectionFacts {
            peer: self.ask.peer.clone(),
            collection: self.ask.collection.clone(),
            kind: preamble.kind,
            covers: preamble.covers.clone(),
            epoch: Some(preamble.epoch.get()),
            published_ms: Some(preamble.published_ms.get()),
            label_columns: preamble.label_columns.clone(),
        }
    }

    /// A register that becomes another kind of list, or gives up a state, in the middle of a shift: what it
    /// would have called never issued would only be not found any more.
    fn is_what_it_was(&self, snapshot: &CachedSnapshot) -> Outcome<()> {
        let preamble = snapshot.verified().preamble();
        let states = preamble.covers.iter().flat_map(|covers| &covers.states);
        let states: Vec<String> = states.map(ToString::to_string).collect();
        let (kind, covered) = self.pinned.get_or_init(|| (preamble.kind, states.clone()));
        if *kind == preamble.kind && covered.iter().all(|state| states.contains(state)) {
            return Ok(());
        }
        let (peer, collection) = (&self.ask.peer, &self.ask.collection);
        Err(refused(
            "list-changed",
            format!(
                "{collection} of {peer} says another kind or fewer states than when the shift began"
            ),
            "speak to the peer; a new shift takes it as it is",
        ))
    }

    /// Begins a new session for what is offered. `flights` bounds it further.
    pub(super) async fn begin(
        &self,
        connected: &mut Connected,
        offer: &Offer,
        flights: Option<u64>,
    ) -> Outcome<Shift> {
        let asker = self.asker();
        let most = self.flights(offer)?;
        let flights = flights.map_or(most, |flights| flights.min(most));
        let wanted = Wanted {
            digest: offer.entry.snapshot,
            collection: offer.entry.collection.clone(),
            epoch: offer.entry.epoch,
        };
        let snapshot = asker.snapshot(connected, wanted).await?;
        self.is_what_it_was(&snapshot)?;
        let left = (self.ends_ms - clock::now_ms()) / 1000 + CLOSING_SECONDS;
        let intent = Intent {
            digest: self.digest()?,
            grounds: &self.options.grounds,
            profile: &offer.profile,
            queries: offer.sizes.queries(&offer.profile, flights)?,
            lifetime_seconds: u32::try_from(left).unwrap_or(1),
        };
        let taken = asker.begin(&intent, &connected.peer).await?;
        let session = taken.asking.request().session;
        let begun = self.granted(connected, taken, snapshot, &offer.profile);
        match begun.await {
            Ok(shift) => Ok(shift),
            Err(failure) if failure.exit == Exit::PeerFault => {
                Err(asker.set_aside(&session, failure).await?)
            }
            Err(failure) => {
                // Nothing was asked in it.
                asker.give_up(&session, true).await?;
                Err(failure)
            }
        }
    }

    async fn granted(
        &self,
        connected: &mut Connected,
        taken: Taken,
        snapshot: CachedSnapshot,
        profile: &Arc<Profile>,
    ) -> Outcome<Shift> {
        let asker = self.asker();
        let request = taken.asking.frame().clone();
        let session = taken.asking.request().session;
        let Granted {
            flights,
            matching,
            frame,
        } = asker.ask(connected, taken.asking, None, false).await?;
        let snapshot = asker.agree(&matching, snapshot, connected).await?;
        let mut record = RecordFile::again(&self.home.records_dir(), session)?;
        record.append(&request)?;
        record.append(&frame)?;
        let journal = Journal::create(&self.home, session)?;
        let held = taken.held.ok_or_else(|| bug("a session nobody holds"))?;
        let mut shift = Shift::new(Parts {
            home: Arc::clone(&self.home),
            pool: self.pool.clone(),
            known: self.known(
                Arc::clone(profile),
                matching.agreement().request(),
                &snapshot,
            ),
            facts: self.facts(&snapshot),
            snapshot: Arc::new(snapshot),
            seed: taken.seed,
            matching,
            request,
            held,
            record,
            journal,
        })?;
        shift.attach(flights);
        Ok(shift)
    }

    /// The session that a desk with the same grounds left unfinished, if nobody else goes on with it.
    pub(super) async fn left_behind(&self, peer: &Peer) -> Outcome<Option<Taken>> {
        match self.asker().taken(&self.digest()?, peer).await {
            // Another desk of this home: this one begins its own.
            Err(failure) if failure.code == "run-under-way" => Ok(None),
            taken => taken,
        }
    }

    /// Takes up a session that a process left unfinished, and says again what was not answered. `None`
    /// if it cannot be gone on with; then it is closed as aborted.
    pub(super) async fn take_up(
        &self,
        connected: &mut Connected,
        taken: Taken,
    ) -> Outcome<Option<Shift>> {
        let session = taken.asking.request().session;
        if taken.closed_record.is_some() {
            return self.note_closed(&session).await.map(|()| None);
        }
        let asker = self.asker();
        match self.revived(connected, taken).await {
            Ok(Some(mut shift)) => match shift.reattach(asker, connected).await {
                Ok(()) => Ok(Some(shift)),
                Err(failure) => {
                    drop(shift);
                    self.ended(&session, failure).await
                }
            },
            Ok(None) => {
                asker.give_up(&session, true).await?;
                Ok(None)
            }
            Err(failure) => self.ended(&session, failure).await,
        }
    }

    /// What becomes of a stored session that could not be taken up. Trouble of the network leaves it as
    /// it is.
    async fn ended<T>(&self, session: &Hex<16>, failure: Failure) -> Outcome<Option<T>> {
        let asker = self.asker();
        match failure.exit {
            Exit::Network => Err(failure),
            Exit::PeerFault => Err(asker.set_aside(session, failure).await?),
            _ => {
                let code = failure.code.as_str();
                tracing::warn!(%session, code, "a shift cannot be gone on with: {failure}");
                asker.give_up(session, true).await?;
                Ok(None)
            }
        }
    }

    async fn revived(&self, connected: &mut Connected, taken: Taken) -> Outcome<Option<Shift>> {
        let (home, seed) = (Arc::clone(&self.home), Arc::clone(&taken.seed));
        let request = taken.asking.frame().clone();
        let asking = taken.asking;
        let reviving = blocking(move || revive(&home, asking, &seed));
        let Some(Revived {
            matching,
            record,
            journal,
            air,
            next,
        }) = reviving.await?
        else {
            return Ok(None);
        };
        let snapshot = self.granted_snapshot(connected, &matching).await?;
        let agreed = matching.agreement().request();
        let profile = self.profile(&agreed.profile)?;
        let held = taken.held.ok_or_else(|| bug("a session nobody holds"))?;
        let mut shift = Shift::new(Parts {
            home: Arc::clone(&self.home),
            pool: self.pool.clone(),
            known: self.known(profile, agreed, &snapshot),
            facts: self.facts(&snapshot),
            snapshot: Arc::new(snapshot),
            seed: taken.seed,
            matching,
            request,
            held,
            record,
            journal,
        })?;
        shift.go_on(air, next, taken.closing);
        Ok(Some(shift))
    }

    async fn granted_snapshot(
        &self,
        connected: &mut Connected,
        matching: &Matching,
    ) -> Outcome<CachedSnapshot> {
        let asker = self.asker();
        let snapshot = asker.snapshot(connected, granted(matching)).await?;
        asker.agree(matching, snapshot, connected).await
    }

    /// Notes the record of a session that was closed in the moment in which its process ended.
    async fn note_closed(&self, session: &Hex<16>) -> Outcome<()> {
        let dir = self.home.records_dir();
        let asker = self.asker();
        if let Some((closed, _)) = tallystick_agency::records::reread(&dir, session)? {
            asker.note_record(closed.digest, session).await?;
        }
        crate::session::remove_journal(&dir, session)?;
        Ok(self.store.finish_run(&session.0, clock::now_ms()).await?)
    }

    /// How long a peer may say nothing while a session is closed that nobody waits for.
    pub(super) fn idle(&self) -> Duration {
        Duration::from_secs(self.home.config().limits.idle_timeout_seconds.into())
    }

    /// Sessions of shifts with this collection that a process was closing when it ended, whatever their
    /// grounds.
    pub(super) async fn leftovers(&self, connected: &Connected) -> Outcome<Vec<Taken>> {
        self.asker().unclosed_shifts(&connected.peer).await
    }

    /// Takes a session up only to close it.
    pub(super) async fn close_left(
        &self,
        mut connected: Connected,
        taken: Taken,
    ) -> Option<Finished> {
        match self.take_up(&mut connected, taken).await {
            Ok(shift) => Some(self.finish(shift?, self.idle()).await),
            Err(failure) => {
                let code = failure.code.as_str();
                tracing::warn!(code, "a shift that was left behind stays open: {failure}");
                None
            }
        }
    }

    /// Closes a session that asks nothing more, once all that is under way has come. Gives what became
    /// of it.
    pub(super) async fn finish(&self, mut shift: Shift, patience: Duration) -> Finished {
        let (session, snapshot) = (shift.session, shift.snapshot.verified().digest());
        let silent = |_| {
            let peer = &self.ask.peer;
            let what = format!("{peer} said nothing for {} s", patience.as_secs_f64());
            Fault::Word(Failure::new(Exit::Network, "network", what, ""))
        };
        let drained = tokio::time::timeout(patience, shift.drain()).await;
        let drained = drained.map_err(silent).and_then(|drained| drained);
        let jobs = match &drained {
            Ok(()) => Vec::new(),
            Err(_) => shift.take_jobs().await,
        };
        let settled = match drained {
            Ok(()) => {
                let closed = tokio::time::timeout(patience, shift.close(self.asker())).await;
                closed.map_err(silent).and_then(|closed| closed)
            }
            Err(fault) => {
                drop(shift);
                Err(fault)
            }
        };
        let report = self.report(session, snapshot, settled).await;
        Finished { report, jobs }
    }

    /// What became of a session, after the last that can be done for it was.
    pub(super) async fn report(
        &self,
        session: Hex<16>,
        snapshot: Hex<32>,
        settled: Result<Settled, Fault>,
    ) -> SessionReport {
        let mut report = SessionReport {
            session: session.to_string(),
            ended: Ended::Complete,
            record: None,
            snapshot: snapshot.to_string(),
            charged: Vec::new(),
            trouble: None,
        };
        let asker = self.asker();
        let failure = match settled {
            Ok(settled) => {
                report.record = Some(settled.record);
                report.charged = settled.charged;
                return report;
            }
            Err(Fault::Broke(failure)) => {
                report.ended = Ended::Broken;
                match asker.set_aside(&session, failure.clone()).await {
                    Ok(failure) | Err(failure) => failure,
                }
            }
            Err(Fault::Word(failure)) if failure.exit != Exit::Network => {
                report.ended = Ended::Aborted;
                let signed = failure.code == crate::session::SESSION_OVER;
                let given_up = asker.give_up(&session, signed).await;
                given_up.err().unwrap_or(failure)
            }
            Err(Fault::Word(failure) | Fault::Own(failure)) => {
                report.ended = Ended::Open;
                failure
            }
        };
        let path = tallystick_agency::records::closed_path(&self.home.records_dir(), &session);
        report.record = path.exists().then_some(path);
        report.trouble = Some(Trouble::from(&failure));
        report
    }
}

/// A session that asks nothing more.
pub(super) struct Finished {
    pub(super) report: SessionReport,
    /// Those who wait for an answer that it did not give.
    pub(super) jobs: Vec<super::flight::Job>,
}

impl From<AgencyError> for Fault {
    fn from(error: AgencyError) -> Self {
        Self::of(error.into())
    }
}
