//! How sessions of a link end, and the link itself.

use std::sync::Arc;

use super::{
    context::Finished,
    flight::Reply,
    link::{Link, Served, TICK},
    pace::told,
    shift::{Fault, Shift},
    status::{Ended, LinkState, SessionReport, Trouble},
};
use crate::connect::Connected;

impl Link {
    /// Answers nobody any more, until the desk is closed.
    pub(super) async fn over(&mut self, trouble: Option<Trouble>) {
        let shown = Arc::clone(&self.context.shown);
        if let Some(trouble) = &trouble {
            shown.trouble(LinkState::Over, trouble.clone());
        }
        let why = trouble.unwrap_or_else(|| Trouble::now("closed", "the desk is closed"));
        loop {
            for job in self.waiting.drain(..) {
                // Who does not wait any more needs no answer.
                let _ = job.reply.send(Reply::Missing(why.clone()));
            }
            let mut closing = self.closing.clone();
            tokio::select! {
                biased;
                job = self.inbox.recv() => match job {
                    Some(job) => self.waiting.push_back(job),
                    None => break,
                },
                () = told(&mut closing) => break,
            }
        }
        shown.trouble(
            LinkState::Closed,
            Trouble::now("closed", "the desk is closed"),
        );
        self.inbox.close();
        while let Ok(job) = self.inbox.try_recv() {
            let _ = job.reply.send(Reply::Missing(why.clone()));
        }
    }

    /// Waits for the sessions that are being closed, but not for a peer that does not answer: the next
    /// desk closes what stays open.
    pub(super) async fn finished(&mut self) {
        let patience = self.context.options.patience.max(TICK);
        let until = tokio::time::Instant::now() + patience;
        while let Ok(Some(finished)) =
            tokio::time::timeout_at(until, self.finishing.join_next()).await
        {
            self.take_finished(finished);
        }
        self.finishing.abort_all();
    }

    pub(super) fn take_finished(
        &mut self,
        finished: Result<Option<Finished>, tokio::task::JoinError>,
    ) {
        match finished {
            Ok(None) => {}
            Ok(Some(Finished { report, jobs })) => {
                self.note(report);
                // They are asked again in the next session.
                self.waiting.extend(jobs);
            }
            Err(error) => tracing::error!(code = "bug", "closing a session: {error}"),
        }
    }

    /// Notes what became of a session. One that was left open and is taken up ends once.
    pub(super) fn note(&mut self, report: SessionReport) {
        self.sessions
            .retain(|known| known.session != report.session);
        self.sessions.push(report);
    }

    /// Closes, beside the work, what other processes left behind.
    pub(super) async fn close_leftovers(&mut self, connected: &Connected) {
        match self.context.leftovers(connected).await {
            Ok(left) => {
                for taken in left {
                    let (context, connected) = (Arc::clone(&self.context), connected.clone());
                    self.finishing
                        .spawn(async move { context.close_left(connected, taken).await });
                }
            }
            Err(failure) => {
                let code = failure.code.as_str();
                tracing::warn!(code, "shifts that were left behind stay open: {failure}");
            }
        }
    }

    /// Ends a session that cannot go on; those who wait are asked again elsewhere.
    pub(super) async fn end(&mut self, mut shift: Shift, fault: Fault) {
        let (session, digest) = (shift.session, shift.snapshot.verified().digest());
        let jobs = shift.take_jobs().await;
        self.waiting.extend(jobs);
        drop(shift);
        let report = self.context.report(session, digest, Err(fault)).await;
        self.note(report);
    }

    /// Closes a session beside.
    pub(super) fn finish(&mut self, shift: Shift) {
        let context = Arc::clone(&self.context);
        self.finishing
            .spawn(async move { Some(context.finish(shift, context.idle()).await) });
    }

    /// Closes a session and waits for it.
    pub(super) async fn close(&mut self, shift: Shift) -> Served {
        // Whoever is told `closed` while an answer is under way would be told too early.
        let patience = self.context.options.patience.max(TICK);
        let finished = self.context.finish(shift, patience).await;
        let Finished { report, jobs } = finished;
        let broken = report.ended == Ended::Broken;
        let trouble = report.trouble.clone();
        self.waiting.extend(jobs);
        self.note(report);
        match trouble {
            Some(trouble) if broken => Served::Over(trouble),
            _ => Served::Closed,
        }
    }
}
