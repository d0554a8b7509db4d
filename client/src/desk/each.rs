//! A session, and so a record, for each traveller.
//!
//! One session is always open in advance, so that a traveller waits for one flight and not for a grant.
//! One that nobody needed in the end is closed with nothing in it.

use std::{collections::VecDeque, sync::Arc};

use tallystick_agency::exit::{Exit, Failure, Outcome};
use tokio::task::JoinSet;

use super::{
    context::{Context, Finished},
    flight::{Job, Reply},
    link::{Link, Served},
    pace::{every, told},
    shift::{Fault, Shift},
    status::{Ended, Trouble, flights_spent, shift_over},
};
use crate::{connect::Connected, error::bug};

/// Sessions that are opened at once, at most.
const AT_ONCE: usize = 4;

/// Opens a session of one small flight.
async fn open(context: Arc<Context>, mut connected: Connected) -> Outcome<Shift> {
    let offer = context.offer(&mut connected).await?;
    context.begin(&mut connected, &offer, Some(1)).await
}

impl Link {
    /// Serves each job in a session of its own; `shift` is the first.
    pub(super) async fn serve_each(&mut self, mut connected: Connected, shift: Shift) -> Served {
        let mut ready = VecDeque::from([shift]);
        let mut opening: JoinSet<Outcome<Shift>> = JoinSet::new();
        let mut closing = self.closing.clone();
        let mut refresh = every(self.context.options.refresh);
        let served = loop {
            while !ready.is_empty() && !self.waiting.is_empty() {
                let both = (ready.pop_front(), self.waiting.pop_front());
                if let (Some(shift), Some(job)) = both
                    && let Some(failure) = self.ask_alone(shift, job)
                {
                    return self.drop_all(ready, failure).await;
                }
            }
            let wanted = self.waiting.len().clamp(1, AT_ONCE);
            while ready.len() + opening.len() < wanted {
                opening.spawn(open(Arc::clone(&self.context), connected.clone()));
            }
            tokio::select! {
                biased;
                () = told(&mut closing) => break Served::Closed,
                Some(finished) = self.finishing.join_next() => {
                    let ended = finished.as_ref().ok().and_then(Option::as_ref);
                    let trouble = ended.and_then(trouble);
                    self.take_finished(finished);
                    match trouble {
                        None => {}
                        Some((Ended::Broken, trouble)) => break Served::Over(trouble),
                        Some((_, trouble)) => {
                            let what = trouble.why;
                            break Served::Failed(Failure::new(Exit::Network, &trouble.code, what, ""));
                        }
                    }
                }
                Some(opened) = opening.join_next() => {
                    match opened.unwrap_or_else(|e| Err(bug(e.to_string()))) {
                        Ok(shift) => {
                            self.show(&shift);
                            ready.push_back(shift);
                        }
                        Err(failure) => break Served::Failed(failure),
                    }
                }
                job = self.inbox.recv(), if !ready.is_empty() => match (job, ready.front()) {
                    (Some(job), Some(shift)) if *job.known == *shift.known => {
                        self.waiting.push_back(job);
                    }
                    // Who asked makes other keys.
                    (Some(job), _) => drop(job.reply.send(Reply::Stale)),
                    (None, _) => break Served::Closed,
                },
                _ = refresh.tick() => {
                    if let Err(failure) = self.context.still_trusted(&connected.peer).await {
                        break Served::Failed(failure);
                    }
                    if self.context.is_over() {
                        break Served::Over(Trouble::from(&shift_over()));
                    }
                    // What is opened in advance is of the newest list.
                    match self.context.offer(&mut connected).await {
                        Ok(offer) => {
                            let newest = offer.entry.snapshot;
                            let old = |shift: &Shift| shift.snapshot.verified().digest() != newest;
                            for shift in std::mem::take(&mut ready) {
                                match old(&shift) {
                                    true => self.finish(shift),
                                    false => ready.push_back(shift),
                                }
                            }
                        }
                        Err(failure) => break Served::Failed(failure),
                    }
                }
            }
        };
        opening.abort_all();
        for shift in ready {
            self.finish(shift);
        }
        served
    }

    /// Asks one job in a session; what comes of it is waited for beside.
    fn ask_alone(&mut self, mut shift: Shift, job: Job) -> Option<Failure> {
        let mut jobs = VecDeque::from([job]);
        match self.fly(&mut shift, &mut jobs, false) {
            Ok(true) => {
                self.finish(shift);
                None
            }
            Ok(false) => {
                self.waiting.extend(jobs);
                self.finish(shift);
                Some(flights_spent())
            }
            Err(failure) => {
                self.waiting.extend(jobs);
                self.finish(shift);
                Some(failure)
            }
        }
    }

    async fn drop_all(&mut self, ready: VecDeque<Shift>, failure: Failure) -> Served {
        for shift in ready {
            self.end(shift, Fault::Word(failure.clone())).await;
        }
        Served::Failed(failure)
    }
}

/// How a session ended that did not end well.
fn trouble(finished: &Finished) -> Option<(Ended, Trouble)> {
    let report = &finished.report;
    Some((report.ended, report.trouble.clone()?))
}
