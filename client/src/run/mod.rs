//! A receiver's run: count, fetch the snapshot, ask, blind and send, verify and look up, close,
//! write.
//!
//! ```text
//! request   what is asked, on which grounds; a run that was interrupted is taken up
//! flights   the frames of a session: live, or from the own closed record
//! pipeline  chunks on their way out and back
//! output    labels opened, matches written
//! abandoned runs that nobody can go on with, closed as aborted
//! ```
//!
//! Chunks go out while answers come in. What is kept of a chunk until its answer is bounded by the
//! window of the grant; what is kept after is a few bytes a hit, sealed on disk. **No label is opened before the
//! session is closed**: else a sender who spoils one label would see, from a closing that does not
//! come or comes late, that this one matched. If the output then fails (a full disk), the same
//! command writes it from the own record, without the peer and without a charge.

mod abandoned;
mod flights;
mod options;
mod output;
mod pipeline;
mod request;
mod snapshot;

use std::{path::PathBuf, sync::Arc, time::Instant};

use tallystick_agency::{
    AgencyError, clock,
    collections::profile_reference,
    exit::{Exit, Failure, Outcome},
    home::Home,
    marks::MarkKey,
    peers::int,
    records::{self, RecordFile, closed_path},
    store::{Peer, RecordEntry, Role, Store},
};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, Kind as FrameKind},
    group,
    session::{Answer, Asking, Closed, Finish, Matching},
    snapshot::LabelContext,
    statements::{Charge, Hex, RefusalCode, SenderClosing, digest_of, open},
};
use tallystick_tables::{MatchWriter, TableInput};

pub(crate) use self::options::STDOUT;
pub use self::options::{Finishing, Grounds, MatchOptions, MatchReport, SharedBuffer, Sink};
use self::{
    flights::Flights,
    output::{LabelOpener, label_columns},
    pipeline::Pipeline,
    request::{ClosingTimes, Stage, Taken},
    snapshot::granted,
};
use crate::{
    collections::catalogue,
    connect::{Connected, connect},
    error::{after_the_charge, bug},
    input::{Hits, Plan},
    progress::Progress,
    snapshots::{self, CachedSnapshot, Wanted, blocking},
};

/// Runs a match.
///
/// # Errors
/// A [`Failure`] with its exit code; nothing is written to the output then.
pub async fn run(home: &Home, options: MatchOptions) -> Outcome<MatchReport> {
    let started = Instant::now();
    let store = home.store().await?;
    let runner = Runner {
        home,
        store: &store,
        options: &options,
        started,
    };
    let result = runner.run().await;
    store.close().await;
    result
}

/// The sender has refused, signed, to go on with a session.
const SESSION_OVER: &str = "session-over";

/// What a sender says when it ends a session for good: the same command then starts a new one.
const ENDED: [&str; 7] = [
    SESSION_OVER,
    "epoch-over",
    "expired",
    "not-open",
    "over-grant",
    "quota-exceeded",
    "revoked",
];

struct Runner<'a> {
    home: &'a Home,
    store: &'a dyn Store,
    options: &'a MatchOptions,
    started: Instant,
}

/// A session whose every proof was verified and which both sides have closed.
struct Settled {
    grant_epoch: u64,
    padded: u64,
    hits: Hits,
    charged: Vec<Charge>,
    record: PathBuf,
    session_seconds: f64,
    traffic: (u64, u64),
}

impl Runner<'_> {
    async fn run(&self) -> Outcome<MatchReport> {
        let options = self.options;
        self.close_abandoned().await?;
        let plan = self.plan().await?;
        // Refuses an output that exists before anything is asked or charged.
        if options.out.is_some() {
            drop(output::writer(options, &plan, &[])?);
        }
        let peer = self.store.peer(&options.peer).await?;
        let taken = match &peer {
            Some(peer) => self.taken(&plan, peer).await?,
            None => None,
        };
        if let (Some(peer), Some(taken)) = (&peer, &taken)
            && taken.closed_record.is_some()
        {
            return self.again(plan, peer, taken).await;
        }
        let mut connected = connect(
            self.home,
            self.store,
            &options.peer,
            options.address.as_deref(),
        )
        .await?;
        let snapshot = self.offered(&plan, &mut connected).await?;
        // An output that cannot be is refused before anything is charged.
        MatchWriter::check_columns(plan.source.header(), &label_columns(&snapshot))
            .map_err(AgencyError::from)?;
        let resumed = taken.is_some();
        let taken = match taken {
            Some(taken) => taken,
            None => self.begin(&plan, &connected.peer).await?,
        };
        let session = taken.asking.request().session;
        let done = self.session(&plan, connected, snapshot, taken, resumed);
        let (settled, snapshot) = match done.await {
            Ok(done) => done,
            Err(failure) => {
                if ENDED.contains(&failure.code.as_str()) && failure.exit == Exit::Refused {
                    let signed = failure.code == SESSION_OVER;
                    self.give_up(&session, signed).await?;
                }
                if failure.exit == Exit::PeerFault {
                    return Err(self.set_aside(&session, failure).await?);
                }
                return Err(failure);
            }
        };
        self.conclude(plan, session, snapshot, settled, resumed)
            .await
    }

    /// Ends a run whose peer broke the protocol, and keeps what it had signed until then: the next
    /// session must not write over the evidence.
    async fn set_aside(&self, session: &Hex<16>, failure: Failure) -> Outcome<Failure> {
        self.store.finish_run(&session.0, clock::now_ms()).await?;
        let Some(kept) = records::set_aside(&self.home.records_dir(), session)? else {
            return Ok(failure);
        };
        let next = format!(
            "what came is kept in {}; speak to the peer; the same command starts a new session, \
             which is charged",
            kept.display()
        );
        Ok(Failure { next, ..failure })
    }

    /// The snapshot that the peer's catalogue names, once it is sure that the peer can be asked.
    async fn offered(&self, plan: &Plan, connected: &mut Connected) -> Outcome<CachedSnapshot> {
        let options = self.options;
        let collections = catalogue(self.home, connected).await?.collections;
        let entry = collections
            .into_iter()
            .find(|entry| entry.collection == options.collection);
        let entry = entry.ok_or_else(|| {
            Failure::new(
                Exit::Refused,
                "not-available",
                format!(
                    "{} offers no collection {}",
                    options.peer, options.collection
                ),
                "see `tally collections --peer` for what it offers this agency",
            )
        })?;
        let ours = profile_reference(self.options.mapping.profile())?;
        if let Some(difference) = ours.difference(&entry.profile) {
            return Err(Failure::new(
                Exit::Refused,
                "profile-mismatch",
                format!(
                    "{} was published under another profile: {difference}",
                    options.collection
                ),
                format!(
                    "ask with --profile {}, and with the same version of this program; nothing was asked",
                    entry.profile.id.as_str().trim_end_matches("/1")
                ),
            ));
        }
        for type_name in plan.distinct.keys() {
            if !entry.keys.iter().any(|key| key.type_name == *type_name) {
                return Err(Failure::new(
                    Exit::Refused,
                    "type-not-offered",
                    format!(
                        "{} has no identifiers of type {type_name}",
                        options.collection
                    ),
                    "drop that --key, or ask the peer to publish the type",
                ));
            }
        }
        let wanted = Wanted {
            digest: entry.snapshot,
            collection: entry.collection,
            epoch: entry.epoch,
        };
        self.snapshot(connected, wanted).await
    }

    async fn plan(&self) -> Outcome<Arc<Plan>> {
        let (options, quiet) = (self.options, self.options.quiet);
        let (path, format) = (options.input.clone(), options.format);
        let (mapping, rejects) = (options.mapping.clone(), options.rejects.clone());
        let scratch = self.home.snapshot_cache_dir();
        let plan = blocking(move || {
            let bar = Progress::new("copying", 0, "bytes", quiet);
            let input = TableInput::named(&path, format, &scratch, |bytes| bar.set(bytes));
            bar.finish();
            let input = input.map_err(AgencyError::from)?;
            let bar = Progress::new("reading", input.size().unwrap_or(0), "bytes", quiet);
            Plan::make(&input, &mapping, &rejects, &scratch, &bar)
        })
        .await?;
        if plan.tally.rejected_total() > 0 {
            tracing::warn!(
                rejected = plan.tally.rejected_total(),
                "some keys were rejected and are not asked; the report counts them by reason"
            );
        }
        Ok(Arc::new(plan))
    }

    /// Asks, sends, verifies, closes.
    async fn session(
        &self,
        plan: &Arc<Plan>,
        mut connected: Connected,
        snapshot: CachedSnapshot,
        taken: Taken,
        resumed: bool,
    ) -> Outcome<(Settled, Arc<CachedSnapshot>)> {
        let started = Instant::now();
        let Taken {
            asking,
            seed,
            grant,
            closing,
            held: _held,
            ..
        } = taken;
        let session = asking.request().session;
        let request = asking.frame().clone();
        let charged = match resumed {
            true => "what was sent is charged",
            false => "nothing was charged",
        };
        let mut flights = Flights::open(&mut connected, request.clone(), charged).await?;
        let answer = flights.next(charged).await?;
        let granted_at = clock::now_ms();
        if grant.is_some_and(|taken| taken != digest_of(&answer))
            && answer.kind() == FrameKind::Grant
        {
            let error = Error::Mismatch {
                what: "grant",
                field: "it is another than before",
            };
            return Err(AgencyError::from(error).into());
        }
        let matching = self
            .granted(asking, &request, answer.clone(), resumed)
            .await?;
        if !resumed {
            self.check_clock(&matching, granted_at)?;
            self.check_disclosure(&matching)?;
            self.note(&session, Stage::Granted(digest_of(&answer)))
                .await?;
        }
        let snapshot = Arc::new(self.agree(&matching, snapshot, &mut connected).await?);
        let mut record = RecordFile::again(&self.home.records_dir(), session)?;
        record.append(&request)?;
        record.append(&answer)?;
        let grant_epoch = matching.agreement().grant().epoch.get();
        let padded = matching.agreement().request().elements();
        let bar = Progress::new("matching", padded, "elements", self.options.quiet);
        let pipeline = Pipeline::new(self.home, &snapshot, Some(record), &bar, plan.hits())?;
        let done = pipeline.run(matching, plan, seed, &mut flights).await?;
        bar.finish();

        let matches = done.hits.elements();
        let times = match closing {
            Some(times) => times,
            None => {
                let times = ClosingTimes {
                    chunks: done.times,
                    closed: int(clock::now_ms())?.get(),
                };
                let grant = digest_of(&answer);
                self.note(&session, Stage::Closing { grant, times }).await?;
                times
            }
        };
        let closing = done
            .matching
            .close(Finish::Complete { matches }, times.chunks, times.closed)
            .map_err(AgencyError::from)?;
        flights.send(closing.frame().clone()).await;
        let frame = flights.next("the session was charged").await?;
        let Closed {
            receiver,
            sender,
            charged,
            ..
        } = closing.settle(frame).map_err(AgencyError::from)?;
        let mut record = done.record.ok_or_else(|| bug("a run without a record"))?;
        record.append(&receiver)?;
        record.append(&sender)?;
        let record = self.keep(record, &session).await?;
        let settled = Settled {
            grant_epoch,
            padded,
            hits: done.hits,
            charged,
            record,
            session_seconds: started.elapsed().as_secs_f64(),
            traffic: (connected.traffic.sent(), connected.traffic.received()),
        };
        Ok((settled, snapshot))
    }

    /// Takes the answer to a request. A refusal is recorded and ends the run.
    async fn granted(
        &self,
        asking: Asking,
        request: &Frame,
        answer: Frame,
        resumed: bool,
    ) -> Outcome<Matching> {
        let session = asking.request().session;
        match asking.answer(answer).map_err(AgencyError::from)? {
            Answer::Granted(matching) => Ok(*matching),
            Answer::Refused { refusal, frame, .. } => {
                let code = refusal.code;
                let detail = refusal.detail.map_or(String::new(), |d| format!(": {d}"));
                let what = format!("{} refused ({}){detail}", self.options.peer, code.name());
                // For the moment only: the same request may be granted later.
                if matches!(code, RefusalCode::Busy | RefusalCode::Draining) {
                    let next = match resumed {
                        true => "what was sent is charged; run the same command again later",
                        false => "nothing was charged; run the same command again later",
                    };
                    return Err(Failure::new(Exit::Refused, code.name(), what, next));
                }
                if resumed {
                    return Err(Failure::new(
                        Exit::Refused,
                        SESSION_OVER,
                        format!("{} has ended this session meanwhile", self.options.peer),
                        "what it was charged stays charged; the same command starts a new session",
                    ));
                }
                let mut record = RecordFile::create(&self.home.records_dir(), session)?;
                record.append(request)?;
                record.append(&frame)?;
                self.keep(record, &session).await?;
                self.store.finish_run(&session.0, clock::now_ms()).await?;
                let next = format!("the refusal is in {}", records::relative_path(&session));
                Err(Failure::new(Exit::Refused, code.name(), what, next))
            }
        }
    }

    /// Writes the output of a session that was closed before, from the own record: without the
    /// peer, without a charge.
    async fn again(&self, plan: Arc<Plan>, peer: &Peer, taken: &Taken) -> Outcome<MatchReport> {
        let session = taken.asking.request().session;
        let path = closed_path(&self.home.records_dir(), &session);
        let (mut flights, request, answer) = Flights::replay(&path)?;
        if request != *taken.asking.frame() {
            return Err(bug("a record of another request"));
        }
        let key = Arc::new(self.home.signing_key()?.into());
        let asking =
            Asking::resume(group::best(), request, key, taken.seed()).map_err(AgencyError::from)?;
        let Answer::Granted(matching) = asking.answer(answer).map_err(AgencyError::from)? else {
            return Err(bug("a refused session that is not over"));
        };
        let wanted = granted(&matching);
        let publisher = peer.signing_key.into();
        let cache = self.home.snapshot_cache_dir();
        let key = MarkKey::of(self.home.keys())?;
        let snapshot = match snapshots::cached(&cache, wanted.digest, publisher, &key).await? {
            Some(snapshot) => snapshot,
            None => {
                let address = self.options.address.as_deref();
                let mut connected =
                    connect(self.home, self.store, &self.options.peer, address).await?;
                self.snapshot(&mut connected, wanted).await?
            }
        };
        let snapshot = Arc::new(snapshot);
        let grant_epoch = matching.agreement().grant().epoch.get();
        let padded = matching.agreement().request().elements();
        let bar = Progress::new("again", padded, "elements", self.options.quiet);
        let pipeline = Pipeline::new(self.home, &snapshot, None, &bar, plan.hits())?;
        let seed = Arc::new(taken.seed());
        let done = pipeline.run(*matching, &plan, seed, &mut flights).await?;
        bar.finish();
        let (_receiver, sender) = (flights.next("").await?, flights.next("").await?);
        // A crash may have come between closing the record and noting it.
        if let Some((closed, _)) = records::reread(&self.home.records_dir(), &session)? {
            self.note_record(closed.digest, &session).await?;
        }
        let closing: SenderClosing =
            open(&sender, &peer.signing_key.into()).map_err(AgencyError::from)?;
        let settled = Settled {
            grant_epoch,
            padded,
            hits: done.hits,
            charged: closing.charged,
            record: path,
            session_seconds: 0.0,
            traffic: (0, 0),
        };
        self.conclude(plan, session, snapshot, settled, true).await
    }

    /// Opens labels, writes the matches, forgets the run.
    async fn conclude(
        &self,
        plan: Arc<Plan>,
        session: Hex<16>,
        snapshot: Arc<CachedSnapshot>,
        settled: Settled,
        resumed: bool,
    ) -> Outcome<MatchReport> {
        let preamble = snapshot.verified().preamble().clone();
        let columns = label_columns(&snapshot);
        let writer = output::writer(self.options, &plan, &columns)?;
        let context = LabelContext::new(&self.options.collection, settled.grant_epoch);
        let labels = LabelOpener::new(Arc::clone(&snapshot), context, columns.len());
        let matched = settled.hits.elements();
        let (again, hits) = (Arc::clone(&plan), settled.hits);
        let writing = blocking(move || output::write_hits(&again, &labels, hits, writer));
        let (writer, spoiled) = writing.await.map_err(after_the_charge)?;
        self.options.finishing.begin();
        plan.finish_rejects()?;
        let written = writer.finish().map_err(AgencyError::from)?;
        self.store.finish_run(&session.0, clock::now_ms()).await?;
        let (sent, received) = settled.traffic;
        Ok(MatchReport {
            session,
            peer: self.options.peer.clone(),
            collection: self.options.collection.clone(),
            epoch: settled.grant_epoch,
            resumed,
            tally: plan.tally.clone(),
            elements: plan.elements(),
            padded: settled.padded,
            their_elements: preamble.elements.get(),
            matched,
            hits: written.lines,
            charged: settled.charged,
            record: settled.record,
            snapshot: snapshot.verified().digest(),
            sent,
            received,
            session_seconds: settled.session_seconds,
            total_seconds: self.started.elapsed().as_secs_f64(),
            spoiled,
            kernel: group::best().name(),
        })
    }

    /// The match count is the receiver's to tell: a sender that grants only for it is not asked.
    fn check_disclosure(&self, matching: &Matching) -> Outcome<()> {
        let asked = matching.agreement().grant().discloses_count;
        match asked && !self.home.config().policy.sender_learns_count {
            false => Ok(()),
            true => Err(Failure::new(
                Exit::Refused,
                "count-disclosure",
                format!("{} wants to learn how many match", self.options.peer),
                "nothing was charged; allow it with sender_learns_count in node.toml, if you may",
            )),
        }
    }

    /// The clock rule of the wire (PROTOCOL 3.2).
    fn check_clock(&self, matching: &Matching, now: i64) -> Outcome<()> {
        let policy = &self.home.config().policy;
        let granted = i64::try_from(matching.agreement().grant().granted_ms.get());
        let skew = (now - granted.unwrap_or(i64::MAX)).saturating_abs();
        if skew > i64::from(policy.clock_skew_refuse_seconds) * 1000 {
            return Err(Failure::new(
                Exit::Refused,
                "clock-skew",
                format!("the peer's clock differs from ours by {} s", skew / 1000),
                "set the clocks (NTP) on both sides; nothing was charged",
            ));
        }
        if skew > i64::from(policy.clock_skew_warn_seconds) * 1000 {
            tracing::warn!(milliseconds = skew, "the peer's clock differs from ours");
        }
        Ok(())
    }

    /// Closes a record and notes it.
    async fn keep(&self, record: RecordFile, session: &Hex<16>) -> Outcome<PathBuf> {
        let closed = record.close()?;
        self.note_record(closed.digest, session).await?;
        Ok(closed.path)
    }

    async fn note_record(&self, digest: [u8; 32], session: &Hex<16>) -> Outcome<()> {
        let entry = RecordEntry {
            session: session.0,
            role: Role::Receiver,
            peer: self.options.peer.clone(),
            path: records::relative_path(session),
            digest,
            closed_ms: clock::now_ms(),
        };
        Ok(self.store.add_record(&entry).await?)
    }
}
