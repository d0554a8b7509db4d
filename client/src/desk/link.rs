//! A peer's collection as a desk asks it: one task that keeps a session open, and opens another when
//! one ends.
//!
//! Who asks puts a job into the link's queue and waits for the reply as long as it likes. A job that
//! nobody waits for any more is dropped before it leaves.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tallystick_agency::exit::{Exit, Failure, Outcome};
use tallystick_protocol::statements::Hex;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    context::{Context, Finished, Offer},
    flight::{Job, Known, Reply},
    pace::{Clocks, every, ticked, told},
    shift::{Fault, Shift},
    status::{
        LinkReport, LinkState, SessionReport, Trouble, closed_without, flights_spent, is_for_good,
        now_ms, shift_over, slept,
    },
};
use crate::{connect::Connected, session::is_ended};

/// The first pause before a peer is tried again; each is twice the last one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause before a peer that cannot be reached is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a link looks after itself.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// Jobs that wait beside the queue.
const MOST_WAITING: usize = 4096;

/// One collection's task.
pub(super) struct Link {
    pub(super) context: Arc<Context>,
    pub(super) inbox: mpsc::Receiver<Job>,
    /// Told what must be known before keys can be made.
    pub(super) known: watch::Sender<Option<Arc<Known>>>,
    /// True once the desk is being closed.
    pub(super) closing: watch::Receiver<bool>,
    /// Jobs that were taken from the queue.
    pub(super) waiting: VecDeque<Job>,
    /// Sessions that were superseded and are being closed.
    pub(super) finishing: JoinSet<Option<Finished>>,
    pub(super) sessions: Vec<SessionReport>,
}

/// How a session's serving ended.
pub(super) enum Served {
    /// The connection is gone; the session goes on over another.
    Lost(Box<Shift>, Failure),
    /// The session is over; another may be begun at once.
    Renew,
    /// The session is over, or what is stored of it must be taken up, for this reason.
    Failed(Failure),
    /// Nothing more is asked in this shift.
    Over(Trouble),
    /// The desk was closed.
    Closed,
}

/// Why a flight did not leave.
enum Grounded {
    /// There is nothing left to ask in this session, or in this shift.
    Spent,
    /// Something at home.
    Failed(Failure),
}

/// What a look at the catalogue led to.
enum Looked {
    /// Nothing new.
    Same,
    /// A session for the newer list.
    Newer(Box<Shift>),
}

/// Ends with whoever waits for it.
type Looking = AbortOnDropHandle<Outcome<Looked>>;

impl Link {
    /// Works until the desk is closed.
    pub(super) async fn run(mut self) -> LinkReport {
        let mut kept: Option<Shift> = None;
        // A session may lie on disk: of an earlier process, or of this one after a trouble at home.
        let mut stored = true;
        let mut pause = FIRST_PAUSE;
        let trouble = loop {
            let shown = Arc::clone(&self.context.shown);
            if self.is_closing() && kept.is_none() {
                break None;
            }
            let served = match self.attach(&mut kept, stored).await {
                Ok(Some((connected, shift))) => {
                    if stored {
                        self.close_leftovers(&connected).await;
                    }
                    (pause, stored) = (FIRST_PAUSE, false);
                    let began = Instant::now();
                    let served = self.serve(connected, shift).await;
                    // A peer that ends every session at once is not asked without a pause.
                    if matches!(served, Served::Renew) && began.elapsed() < TICK {
                        self.pause(FIRST_PAUSE).await;
                    }
                    served
                }
                Ok(None) => Served::Closed,
                Err(failure) => Served::Failed(failure),
            };
            let failure = match served {
                Served::Closed => break None,
                Served::Over(trouble) => break Some(trouble),
                Served::Renew => continue,
                Served::Lost(shift, failure) => {
                    kept = Some(*shift);
                    failure
                }
                Served::Failed(failure) => {
                    stored |= kept.is_none();
                    failure
                }
            };
            let trouble = Trouble::from(&failure);
            tracing::warn!(
                peer = self.context.ask.peer,
                collection = %self.context.ask.collection,
                code = trouble.code,
                "no answers: {failure}"
            );
            if is_for_good(&failure) {
                break Some(trouble);
            }
            if self.is_closing() {
                break Some(trouble);
            }
            shown.trouble(LinkState::Waiting, trouble);
            let longest = match failure.exit {
                Exit::Network => LONGEST_PAUSE,
                _ => LONGEST_PAUSE.max(self.context.options.refresh),
            };
            self.pause(pause.min(longest)).await;
            pause = (pause * 2).min(longest);
        };
        if let Some(shift) = kept.take() {
            let (session, digest) = (shift.session, shift.snapshot.verified().digest());
            drop(shift);
            let why = trouble.clone();
            let failure = why.map_or_else(closed_without, |why| {
                Failure::new(Exit::Network, &why.code, why.why, "")
            });
            let report = self
                .context
                .report(session, digest, Err(Fault::Word(failure)));
            let report = report.await;
            self.note(report);
        }
        self.over(trouble.clone()).await;
        self.finished().await;
        let status = self.context.shown.status();
        LinkReport {
            peer: status.peer,
            collection: status.collection,
            asked: status.asked,
            answered: status.answered,
            missing: status.missing,
            sessions: self.sessions,
            trouble,
        }
    }

    fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Waits, but not beyond the closing of the desk.
    async fn pause(&mut self, time: Duration) {
        let mut closing = self.closing.clone();
        // Either is a reason to go on.
        let _ = tokio::time::timeout(time, told(&mut closing)).await;
    }

    /// Connects, and opens a session or goes on with one. `None` if the desk was closed meanwhile.
    async fn attach(
        &mut self,
        kept: &mut Option<Shift>,
        stored: bool,
    ) -> Outcome<Option<(Connected, Shift)>> {
        let mut closing = self.closing.clone();
        let context = Arc::clone(&self.context);
        // A desk that is being closed still closes a session that it has; but begins none.
        let was_kept = kept.is_some();
        let opening = async {
            let mut connected = context.connect().await?;
            if let Some(shift) = kept.as_mut() {
                shift.reattach(context.asker(), &mut connected).await?;
                return Ok((connected, None));
            }
            if stored
                && let Some(taken) = context.left_behind(&connected.peer).await?
                && let Some(shift) = context.take_up(&mut connected, taken).await?
            {
                return Ok((connected, Some(shift)));
            }
            if context.is_over() {
                return Err(shift_over());
            }
            let offer = context.offer(&mut connected).await?;
            let shift = context.begin(&mut connected, &offer, None).await?;
            Ok((connected, Some(shift)))
        };
        let patience = self.context.options.patience;
        let opened: Outcome<_> = tokio::select! {
            biased;
            opened = opening => opened,
            () = async {
                told(&mut closing).await;
                if was_kept {
                    tokio::time::sleep(patience).await;
                }
            } => {
                return match was_kept {
                    true => Err(closed_without()),
                    false => Ok(None),
                };
            }
        };
        match opened {
            Ok((connected, shift)) => {
                let shift = shift.or_else(|| kept.take());
                Ok(shift.map(|shift| (connected, shift)))
            }
            Err(failure) => {
                // The session is over: what it was asked is asked again in the next.
                if (is_ended(&failure) || failure.exit == Exit::PeerFault)
                    && let Some(shift) = kept.take()
                {
                    let fault = match failure.exit {
                        Exit::PeerFault => Fault::Broke(failure.clone()),
                        _ => Fault::Word(failure.clone()),
                    };
                    self.end(shift, fault).await;
                }
                Err(failure)
            }
        }
    }

    /// Shows what a session is of, and lets keys be made for it.
    pub(super) fn show(&self, shift: &Shift) {
        self.known.send_replace(Some(Arc::clone(&shift.known)));
        let shown = &self.context.shown;
        shown.set(|status| {
            let facts = &shift.facts;
            status.kind = facts.kind;
            status.covers.clone_from(&facts.covers);
            status.epoch = facts.epoch;
            status.published_ms = facts.published_ms;
            status.snapshot = Some(shift.snapshot.verified().digest().to_string());
            status.session = Some(shift.session.to_string());
            status.elements_left = shift.elements_left();
            status.flights_left = self.context.flights_left();
        });
        shown.ready();
    }

    /// Serves jobs in a session until it ends.
    async fn serve(&mut self, connected: Connected, shift: Shift) -> Served {
        let mut shift = shift;
        if shift.is_closing() {
            // It was being closed when its process ended.
            self.finish(shift);
            return Served::Renew;
        }
        self.show(&shift);
        if self.context.options.record_each {
            return self.serve_each(connected, shift).await;
        }
        let options = Arc::clone(&self.context.options);
        let mut closing = self.closing.clone();
        let mut tick = every(TICK);
        let mut refresh = every(options.refresh);
        refresh.reset();
        let mut cover = options.cover.map(every);
        let mut looking: Option<Looking> = None;
        let mut clocks = Clocks::now();
        loop {
            // With fixed times, only those.
            while cover.is_none() && !self.waiting.is_empty() && shift.has_room() {
                if let Some(served) = self.depart(&mut shift, false) {
                    return self.grounded(shift, served).await;
                }
            }
            let takes = self.waiting.len() < MOST_WAITING && (cover.is_some() || shift.has_room());
            tokio::select! {
                biased;
                () = told(&mut closing) => return self.close(shift).await,
                event = shift.event() => {
                    if let Err(fault) = shift.handle(event).await {
                        return self.failed(shift, fault).await;
                    }
                    self.late(&shift);
                }
                job = self.inbox.recv(), if takes => match job {
                    Some(job) => self.take(&shift, job),
                    None => return self.close(shift).await,
                },
                () = ticked(&mut cover) => {
                    if shift.has_room()
                        && let Some(served) = self.depart(&mut shift, true)
                    {
                        return self.grounded(shift, served).await;
                    }
                }
                looked = join(&mut looking) => {
                    looking = None;
                    match looked {
                        Ok(Looked::Same) => {}
                        Ok(Looked::Newer(newer)) => {
                            shift = self.supersede(shift, *newer);
                        }
                        Err(failure) if failure.code == "revoked" => {
                            self.finish(shift);
                            return Served::Failed(failure);
                        }
                        Err(failure) => {
                            let code = failure.code.as_str();
                            tracing::warn!(code, "the list was not refreshed: {failure}");
                            let note = format!("the list was not refreshed: {}", failure.what);
                            self.context.shown.set(|status| status.note = Some(note));
                        }
                    }
                }
                _ = refresh.tick() => {
                    if looking.is_none() {
                        let seen = (shift.snapshot.verified().digest(), shift.facts.epoch);
                        let look = look(Arc::clone(&self.context), connected.clone(), seen);
                        looking = Some(AbortOnDropHandle::new(tokio::spawn(look)));
                    }
                }
                Some(finished) = self.finishing.join_next() => self.take_finished(finished),
                _ = tick.tick() => {
                    if let Err(failure) = shift.tidy() {
                        return self.failed(shift, Fault::Own(failure)).await;
                    }
                    if clocks.slept() {
                        return Served::Lost(Box::new(shift), slept());
                    }
                    if self.context.is_over() {
                        return match self.close(shift).await {
                            Served::Closed => Served::Over(Trouble::from(&shift_over())),
                            other => other,
                        };
                    }
                    if now_ms() > shift.renew_ms {
                        return self.renew(shift).await;
                    }
                    self.late(&shift);
                    self.context.shown.set(|status| {
                        status.elements_left = shift.elements_left();
                        status.flights_left = self.context.flights_left();
                    });
                }
            }
        }
    }

    /// Shows a peer that does not answer, and that it does again.
    fn late(&self, shift: &Shift) {
        let (patience, peer) = (self.context.options.patience, &self.context.ask.peer);
        let shown = &self.context.shown;
        match shift.waits_since().map(|since| since.elapsed()) {
            Some(waited) if waited > patience => {
                let why = format!("{peer} has not answered for {} s", waited.as_secs());
                shown.slow(Trouble::now("slow", why));
            }
            _ => shown.ready(),
        }
    }

    fn take(&mut self, shift: &Shift, job: Job) {
        let mut next = Some(job);
        while let Some(job) = next {
            match *job.known == *shift.known {
                true => self.waiting.push_back(job),
                // Who asked makes other keys.
                false => drop(job.reply.send(Reply::Stale)),
            }
            next = match self.waiting.len() < MOST_WAITING {
                true => self.inbox.try_recv().ok(),
                false => None,
            };
        }
    }

    /// Sends a flight off; false if this session or the shift has nothing left to ask.
    pub(super) fn fly(
        &self,
        shift: &mut Shift,
        jobs: &mut VecDeque<Job>,
        empty: bool,
    ) -> Outcome<bool> {
        if self.context.flights_left() == 0 {
            return Ok(false);
        }
        let flown = shift.fly(jobs, empty)?;
        if let Some(flown) = flown {
            self.context.flown.fetch_add(flown, Ordering::Relaxed);
            let left = self.context.flights_left();
            self.context.shown.set(|status| status.flights_left = left);
        }
        Ok(flown.is_some())
    }

    /// Sends a flight of those who wait; says why not, if the session must end.
    fn depart(&mut self, shift: &mut Shift, empty: bool) -> Option<Grounded> {
        // Keys for another list, or another profile, are made again.
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (mut waiting, stale): (VecDeque<Job>, VecDeque<Job>) =
            waiting.partition(|job| *job.known == *shift.known);
        for job in stale {
            // Who does not wait any more needs no answer.
            let _ = job.reply.send(Reply::Stale);
        }
        let flown = self.fly(shift, &mut waiting, empty);
        self.waiting = waiting;
        match flown {
            Ok(true) => None,
            Ok(false) => Some(Grounded::Spent),
            Err(failure) => Some(Grounded::Failed(failure)),
        }
    }

    async fn grounded(&mut self, shift: Shift, why: Grounded) -> Served {
        match why {
            Grounded::Spent => self.renew(shift).await,
            Grounded::Failed(failure) => self.failed(shift, Fault::Own(failure)).await,
        }
    }

    /// Asks in a newer session from now on, and closes the old one beside.
    fn supersede(&mut self, old: Shift, newer: Shift) -> Shift {
        let (was, now) = (old.facts.epoch, newer.facts.epoch);
        let note = match was == now {
            true => "a newer list is asked since then".to_owned(),
            false => format!("epoch {} is asked since then", now.unwrap_or(0)),
        };
        let peer = &self.context.ask.peer;
        tracing::info!(peer, session = %newer.session, "{note}");
        self.finish(old);
        self.show(&newer);
        let when = now_ms();
        let shown = &self.context.shown;
        shown.set(|status| status.note = Some(format!("{note} ({when} ms since 1970)")));
        newer
    }

    /// Closes a session that has nothing left to ask, and says what is next.
    async fn renew(&mut self, shift: Shift) -> Served {
        if self.context.flights_left() > 0 && !self.context.is_over() {
            self.finish(shift);
            return Served::Renew;
        }
        match self.close(shift).await {
            Served::Closed if self.context.is_over() => Served::Over(Trouble::from(&shift_over())),
            Served::Closed => Served::Over(Trouble::from(&flights_spent())),
            other => other,
        }
    }

    /// What follows from a fault of a session.
    async fn failed(&mut self, shift: Shift, fault: Fault) -> Served {
        let failure = match &fault {
            Fault::Word(failure) | Fault::Broke(failure) | Fault::Own(failure) => failure.clone(),
        };
        match fault {
            Fault::Word(failure)
                if !is_ended(&failure) && matches!(failure.exit, Exit::Network | Exit::Refused) =>
            {
                return Served::Lost(Box::new(shift), failure);
            }
            // The next session's list says more than a flight that failed.
            Fault::Word(_) if failure.code == "epoch-over" => {
                let note = "its epoch ended; the next is asked".to_owned();
                self.context.shown.set(|status| status.note = Some(note));
                self.end(shift, fault).await;
                return Served::Renew;
            }
            // The peer's word that this side broke the protocol, as after a power cut that took what was
            // sent: no reason to ask it nothing more.
            Fault::Word(_) if failure.exit == Exit::PeerFault => {
                self.end(shift, fault).await;
                return Served::Failed(Failure {
                    exit: Exit::Refused,
                    ..failure
                });
            }
            _ => self.end(shift, fault).await,
        }
        Served::Failed(failure)
    }
}

/// Waits for a look at the catalogue; for ever if there is none.
async fn join(looking: &mut Option<Looking>) -> Outcome<Looked> {
    match looking {
        Some(task) => match task.await {
            Ok(looked) => looked,
            Err(error) => Err(crate::error::bug(error.to_string())),
        },
        None => std::future::pending().await,
    }
}

/// Looks whether there is a newer list, and opens a session for it.
async fn look(
    context: Arc<Context>,
    mut connected: Connected,
    (digest, epoch): (Hex<32>, Option<u64>),
) -> Outcome<Looked> {
    context.still_trusted(&connected.peer).await?;
    let offer: Offer = context.offer(&mut connected).await?;
    if offer.entry.snapshot == digest && Some(offer.entry.epoch.get()) == epoch {
        return Ok(Looked::Same);
    }
    let shift = context.begin(&mut connected, &offer, None).await?;
    Ok(Looked::Newer(Box::new(shift)))
}
