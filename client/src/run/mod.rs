//! A receiver's run: count, fetch the snapshot, ask, blind and send, verify and look up, close,
//! write.
//!
//! ```text
//! asked     what is asked, and what makes a run the same run
//! pipeline  chunks on their way out and back
//! output    labels opened, matches written
//! ```
//!
//! Chunks go out while answers come in. What is kept of a chunk until its answer is bounded by the
//! window of the grant; what is kept after is a few bytes a hit, sealed on disk. **No label is opened before the
//! session is closed**: else a sender who spoils one label would see, from a closing that does not
//! come or comes late, that this one matched. If the output then fails (a full disk), the same
//! command writes it from the own record, without the peer and without a charge.

mod asked;
mod options;
mod output;
mod pipeline;

use std::{path::PathBuf, sync::Arc, time::Instant};

use tallystick_agency::{
    AgencyError, clock,
    collections::profile_reference,
    exit::{Exit, Failure, Outcome},
    home::Home,
    marks::MarkKey,
    peers::int,
    records::{self, RecordFile, closed_path},
    store::{Peer, Store},
};
use tallystick_protocol::{
    group,
    session::{Answer, Asking, Closed, Finish},
    statements::{Charge, Hex, SenderClosing, digest_of, open},
};
use tallystick_tables::{MatchWriter, TableInput};

pub(crate) use self::options::STDOUT;
pub use self::options::{Came, Finishing, MatchOptions, MatchReport, SharedBuffer, Sink};
use self::pipeline::Pipeline;
pub use crate::session::Grounds;
use crate::{
    collections::catalogue,
    connect::{Connected, connect},
    error::{after_the_charge, bug},
    input::{Hits, Plan},
    progress::Progress,
    session::{
        Asker, ClosingTimes, Flights, Granted, LabelOpener, SESSION_OVER, Stage, Taken, granted,
        is_ended, label_columns,
    },
    snapshots::{self, CachedSnapshot, Wanted, blocking},
};

/// Runs a match.
///
/// # Errors
/// A [`Failure`] with its exit code; nothing is written to the output then.
pub async fn run(home: &Home, options: MatchOptions) -> Outcome<MatchReport> {
    let started = Instant::now();
    let store = home.store().await?;
    let asker = Asker {
        home,
        store: &store,
        peer: &options.peer,
        collection: &options.collection,
        quiet: options.quiet,
    };
    let runner = Runner {
        asker,
        options: &options,
        started,
    };
    let result = runner.run().await;
    store.close().await;
    result
}

struct Runner<'a> {
    asker: Asker<'a>,
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
        self.asker.close_abandoned().await?;
        let plan = self.plan().await?;
        // Refuses an output that exists before anything is asked or charged.
        if options.out.is_some() {
            drop(output::writer(options, &plan, &[])?);
        }
        let digest = self.input_digest(&plan)?;
        let peer = self.asker.store.peer(&options.peer).await?;
        let taken = match &peer {
            Some(peer) => self.asker.taken(&digest, peer).await?,
            None => None,
        };
        if let (Some(peer), Some(taken)) = (&peer, &taken)
            && taken.closed_record.is_some()
        {
            return self.again(plan, peer, taken).await;
        }
        let mut connected = connect(
            self.asker.home,
            self.asker.store,
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
            None => {
                let ask = self.ask(&plan, digest)?;
                self.asker.begin(&ask, &connected.peer).await?
            }
        };
        let session = taken.asking.request().session;
        let done = self.session(&plan, connected, snapshot, taken, resumed);
        let (settled, snapshot) = match done.await {
            Ok(done) => done,
            Err(failure) => {
                if is_ended(&failure) {
                    let signed = failure.code == SESSION_OVER;
                    self.asker.give_up(&session, signed).await?;
                }
                if failure.exit == Exit::PeerFault {
                    return Err(self.asker.set_aside(&session, failure).await?);
                }
                return Err(failure);
            }
        };
        self.conclude(plan, session, snapshot, settled, resumed)
            .await
    }

    /// The snapshot that the peer's catalogue names, once it is sure that the peer can be asked.
    async fn offered(&self, plan: &Plan, connected: &mut Connected) -> Outcome<CachedSnapshot> {
        let options = self.options;
        let collections = catalogue(self.asker.home, connected).await?.collections;
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
        self.asker.snapshot(connected, wanted).await
    }

    async fn plan(&self) -> Outcome<Arc<Plan>> {
        let (options, quiet) = (self.options, self.options.quiet);
        let (path, format) = (options.input.clone(), options.format);
        let (mapping, rejects) = (options.mapping.clone(), options.rejects.clone());
        let scratch = self.asker.home.snapshot_cache_dir();
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
        let granting = self.asker.ask(&mut connected, asking, grant, resumed);
        let Granted {
            mut flights,
            matching,
            frame: answer,
        } = granting.await?;
        let snapshot = Arc::new(
            self.asker
                .agree(&matching, snapshot, &mut connected)
                .await?,
        );
        let mut record = RecordFile::again(&self.asker.home.records_dir(), session)?;
        record.append(&request)?;
        record.append(&answer)?;
        let grant_epoch = matching.agreement().grant().epoch.get();
        let padded = matching.agreement().request().elements();
        let bar = Progress::new("matching", padded, "elements", self.options.quiet);
        let pipeline = Pipeline::new(self.asker.home, &snapshot, Some(record), &bar, plan.hits())?;
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
                self.asker
                    .note(&session, Stage::Closing { grant, times })
                    .await?;
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
        let record = self.asker.keep(record, &session).await?;
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

    /// Writes the output of a session that was closed before, from the own record: without the
    /// peer, without a charge.
    async fn again(&self, plan: Arc<Plan>, peer: &Peer, taken: &Taken) -> Outcome<MatchReport> {
        let session = taken.asking.request().session;
        let path = closed_path(&self.asker.home.records_dir(), &session);
        let (mut flights, request, answer) = Flights::replay(&path)?;
        if request != *taken.asking.frame() {
            return Err(bug("a record of another request"));
        }
        let key = Arc::new(self.asker.home.signing_key()?.into());
        let asking =
            Asking::resume(group::best(), request, key, taken.seed()).map_err(AgencyError::from)?;
        let Answer::Granted(matching) = asking.answer(answer).map_err(AgencyError::from)? else {
            return Err(bug("a refused session that is not over"));
        };
        let wanted = granted(&matching);
        let publisher = peer.signing_key.into();
        let cache = self.asker.home.snapshot_cache_dir();
        let key = MarkKey::of(self.asker.home.keys())?;
        let snapshot = match snapshots::cached(&cache, wanted.digest, publisher, &key).await? {
            Some(snapshot) => snapshot,
            None => {
                let address = self.options.address.as_deref();
                let mut connected = connect(
                    self.asker.home,
                    self.asker.store,
                    &self.options.peer,
                    address,
                )
                .await?;
                self.asker.snapshot(&mut connected, wanted).await?
            }
        };
        let snapshot = Arc::new(snapshot);
        let grant_epoch = matching.agreement().grant().epoch.get();
        let padded = matching.agreement().request().elements();
        let bar = Progress::new("again", padded, "elements", self.options.quiet);
        let pipeline = Pipeline::new(self.asker.home, &snapshot, None, &bar, plan.hits())?;
        let seed = Arc::new(taken.seed());
        let done = pipeline.run(*matching, &plan, seed, &mut flights).await?;
        bar.finish();
        let (_receiver, sender) = (flights.next("").await?, flights.next("").await?);
        // A crash may have come between closing the record and noting it.
        if let Some((closed, _)) = records::reread(&self.asker.home.records_dir(), &session)? {
            self.asker.note_record(closed.digest, &session).await?;
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
        let labels = LabelOpener::new(Arc::clone(&snapshot));
        let matched = settled.hits.elements();
        let (again, hits) = (Arc::clone(&plan), settled.hits);
        let writing = blocking(move || output::write_hits(&again, &labels, hits, writer));
        let (writer, spoiled) = writing.await.map_err(after_the_charge)?;
        self.options.finishing.begin();
        plan.finish_rejects()?;
        let written = writer.finish().map_err(AgencyError::from)?;
        self.asker
            .store
            .finish_run(&session.0, clock::now_ms())
            .await?;
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
            came: snapshot.came(),
            sent,
            received,
            session_seconds: settled.session_seconds,
            total_seconds: self.started.elapsed().as_secs_f64(),
            spoiled,
            kernel: group::best().name(),
        })
    }
}
