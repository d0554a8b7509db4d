//! Binds and charges the chunks of all sessions, as many as wait in one transaction.
//!
//! A transaction is one sync of the disk, whatever it holds. While one is under way the chunks of other
//! sessions gather behind it, and the next takes them all: so nobody waits longer than for a commit or
//! two, and many small chunks cost hardly more than one. Chunks of one session stay in order.

use std::{collections::HashMap, sync::Arc, time::Instant};

use tallystick_agency::{
    AgencyError, Result, clock,
    store::{Bound, ChunkBinding, Store},
};
use tallystick_protocol::{
    frame::Frame,
    statements::{Hex, Name},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    metrics::{Metrics, Stage},
    node::Offered,
    session::epoch_over,
};

/// The most chunks of one transaction.
const MOST: usize = 512;
/// The most bytes of questions in one transaction, but for the first: what comes behind waits for it.
const MOST_BYTES: usize = 2 << 20;

/// A chunk that was accepted, to be bound.
#[derive(Debug)]
pub(crate) struct Binding {
    /// Its session.
    pub(crate) session: Hex<16>,
    /// Whose budget it is charged to.
    pub(crate) peer: String,
    /// The collection and the epoch that were granted.
    pub(crate) collection: Name,
    pub(crate) epoch: u64,
    /// The chunk.
    pub(crate) index: u32,
    pub(crate) type_name: Name,
    pub(crate) elements: u32,
    pub(crate) digest: [u8; 32],
    pub(crate) frame: Arc<Frame>,
    /// What it is to be evaluated with.
    pub(crate) fresh: [u8; 32],
    /// Whether somebody stands at a desk and waits: those go before chunks of long sessions.
    pub(crate) urgent: bool,
}

/// What became of a binding.
pub(crate) type Outcome = oneshot::Receiver<Result<Bound>>;

enum Job {
    Bind(Box<Binding>, oneshot::Sender<Result<Bound>>),
    /// To be told when all before it is on the disk.
    Told(oneshot::Sender<()>),
}

impl Job {
    fn is_urgent(&self) -> bool {
        matches!(self, Self::Bind(binding, _) if binding.urgent)
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Bind(binding, _) => binding.frame.bytes().len(),
            Self::Told(_) => 0,
        }
    }
}

/// Where sessions hand in their chunks. The work ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Committer {
    /// Without a bound: each session has at most its window in here.
    jobs: mpsc::UnboundedSender<Job>,
}

impl Committer {
    /// Starts the one that writes.
    pub(crate) fn start(store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        let (jobs, waiting) = mpsc::unbounded_channel();
        tokio::spawn(write_all(store, metrics, waiting));
        Self { jobs }
    }

    /// Hands a chunk in. It is bound whether or not anybody waits for the outcome.
    pub(crate) fn bind(&self, binding: Binding) -> Outcome {
        let (tell, outcome) = oneshot::channel();
        // Fails only when the writer is gone; then so is `tell`, and the outcome says so.
        let _ = self.jobs.send(Job::Bind(Box::new(binding), tell));
        outcome
    }

    /// Waits until all that was handed in before is bound, or was refused.
    ///
    /// # Errors
    /// `Bug` if the writer is gone.
    pub(crate) async fn settled(&self) -> Result<()> {
        let (tell, told) = oneshot::channel();
        let _ = self.jobs.send(Job::Told(tell));
        told.await.map_err(|_| gone())
    }
}

/// What a session makes of an outcome that never came.
pub(crate) fn gone() -> AgencyError {
    AgencyError::Bug("the writer of charges is gone".to_owned())
}

async fn write_all(
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
) {
    let mut waiting: Vec<Job> = Vec::with_capacity(MOST);
    loop {
        if waiting.is_empty() && jobs.recv_many(&mut waiting, MOST).await == 0 {
            return;
        }
        while let Ok(job) = jobs.try_recv() {
            waiting.push(job);
        }
        // Stable: the chunks of a session keep their order, and whoever is told stays behind all that
        // was handed in before.
        waiting.sort_by_key(|job| !job.is_urgent());
        let mut bytes = 0;
        let many = waiting.iter().take(MOST).take_while(|job| {
            let fits = bytes == 0 || bytes + job.bytes() <= MOST_BYTES;
            bytes += job.bytes();
            fits
        });
        let many = many.count();
        let group = waiting.drain(..many).collect();
        write(&*store, &metrics, group).await;
    }
}

/// Binds a group in one transaction and tells each what became of it.
async fn write(store: &dyn Store, metrics: &Metrics, group: Vec<Job>) {
    let started = Instant::now();
    let mut told = Vec::new();
    let mut bindings = Vec::with_capacity(group.len());
    let mut offers = HashMap::new();
    for job in group {
        let (binding, tell) = match job {
            Job::Bind(binding, tell) => (binding, tell),
            Job::Told(tell) => {
                told.push(tell);
                continue;
            }
        };
        // As it is offered now: a budget that was cut is cut for sessions under way.
        let key = (binding.peer.clone(), binding.collection.clone());
        let offer = match offers.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let (peer, name) = place.key();
                match Offered::find(store, peer, name.as_str()).await {
                    Ok(offered) => place.insert(offered),
                    Err(error) => {
                        let _ = tell.send(Err(error));
                        continue;
                    }
                }
            }
        };
        match offer.as_ref().filter(|offer| offer.epoch == binding.epoch) {
            Some(offer) => {
                let budget = offer.meta.budget(&binding.type_name);
                bindings.push((binding, budget, tell));
            }
            None => {
                let _ = tell.send(Err(epoch_over()));
            }
        }
    }
    if !bindings.is_empty() {
        let chunks: Vec<ChunkBinding<'_>> = bindings
            .iter()
            .map(|(binding, budget, _)| ChunkBinding {
                session: &binding.session.0,
                index: binding.index,
                element_type: binding.type_name.as_str(),
                elements: binding.elements,
                digest: &binding.digest,
                question: binding.frame.bytes(),
                fresh: &binding.fresh,
                budget: *budget,
            })
            .collect();
        metrics.group(chunks.len());
        let bound = store.bind_chunks(&chunks, clock::now_ms()).await;
        metrics.stage(Stage::Commit, started);
        drop(chunks);
        match bound {
            Ok(outcomes) => {
                for ((_, _, tell), outcome) in bindings.into_iter().zip(outcomes) {
                    // Whoever asked may be gone: the chunk is bound all the same.
                    let _ = tell.send(outcome);
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for (_, _, tell) in bindings {
                    let _ = tell.send(Err(AgencyError::Shared(Arc::clone(&error))));
                }
            }
        }
    }
    for tell in told {
        let _ = tell.send(());
    }
}

#[cfg(test)]
mod tests;
