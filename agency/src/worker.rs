//! A bounded pool for work that keeps a processor busy, so that async threads stay free.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{Semaphore, oneshot};

use crate::error::{AgencyError, Result};
use crate::memory;

/// The work panicked. The pool goes on. What it said went to the panic hook only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("work on the processor pool panicked")]
pub struct WorkerPanic;

impl From<WorkerPanic> for AgencyError {
    fn from(panic: WorkerPanic) -> Self {
        Self::Bug(panic.to_string())
    }
}

/// A dedicated rayon pool with a bounded number of jobs in flight. Clones share it.
///
/// Inside a job, rayon's parallel iterators use this pool's threads. Jobs wait in the order they
/// came when twice as many as there are threads are in flight, so memory stays bounded by what the
/// waiting callers hold. The last clone that goes waits for the jobs under way.
#[derive(Clone)]
pub struct WorkerPool {
    threads: Arc<Threads>,
    slots: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// Threads that are gone when this is. rayon's own pool only tells its threads to end: a job that
/// nobody waits for any more would still hold its secrets when the program ends.
struct Threads {
    /// `None` while it is dropped.
    pool: Option<rayon::ThreadPool>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    fn new(threads: usize) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| {
            AgencyError::Bug(format!("cannot start worker threads: {e}"))
        };
        let handles = Mutex::new(Vec::new());
        let spawn = |thread: rayon::ThreadBuilder| {
            let name = format!("worker-{}", thread.index());
            let handle = thread::Builder::new().name(name).spawn(|| thread.run())?;
            let mut handles = handles.lock().unwrap_or_else(PoisonError::into_inner);
            handles.push(handle);
            Ok(())
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .spawn_handler(spawn)
            .build()
            .map_err(|e| failed(&e))?;
        Ok(Self {
            pool: Some(pool),
            handles: handles.into_inner().unwrap_or_else(PoisonError::into_inner),
        })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        drop(self.pool.take());
        // A job that holds the last clone keeps the others from ending, too: who waited for them on
        // its thread would wait for ever.
        let own = thread::current().id();
        if self
            .handles
            .iter()
            .any(|handle| handle.thread().id() == own)
        {
            return;
        }
        for handle in self.handles.drain(..) {
            // Jobs catch their panics.
            let _ = handle.join();
        }
    }
}

/// One caller who waits for a place; also one who gives up is counted out.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerPool")
            .field("threads", &self.threads())
            .finish()
    }
}

impl WorkerPool {
    /// Starts a pool. 0 threads means one for each processor that this process may use.
    pub fn new(threads: usize) -> Result<Self> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        Ok(Self {
            threads: Arc::new(Threads::new(threads)?),
            slots: Arc::new(Semaphore::new(threads * 2)),
            waiting: Arc::default(),
        })
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.threads.handles.len()
    }

    /// Jobs that wait for a place, and jobs that have one. Half of the places are threads that work.
    pub fn jobs(&self) -> (usize, usize) {
        let places = self.threads() * 2;
        let taken = places.saturating_sub(self.slots.available_permits());
        (self.waiting.load(Ordering::Relaxed), taken)
    }

    /// Runs `f` on the pool and waits for its value without blocking the async thread.
    ///
    /// Dropping the future before the work has started gives its place up; work that runs is not
    /// interrupted, and keeps its place until it ends.
    pub async fn run<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> std::result::Result<T, WorkerPanic> {
        let waiting = Waiting::new(&self.waiting);
        // The semaphore is never closed, so this cannot fail in practice.
        let permit = Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .map_err(|_| WorkerPanic)?;
        drop(waiting);
        let (sender, receiver) = oneshot::channel();
        // It is there until nobody can call this any more.
        let pool = self.threads.pool.as_ref().ok_or(WorkerPanic)?;
        pool.spawn(move || {
            if sender.is_closed() {
                return;
            }
            // Nothing of `f` is seen again after a panic: it is consumed here.
            let value = catch_unwind(AssertUnwindSafe(f));
            memory::wipe_stack();
            // Before the caller goes on, so that its next job finds the place free.
            drop(permit);
            if let Ok(value) = value {
                // The caller may have gone away; then nobody wants the value.
                let _ = sender.send(value);
            }
        });
        receiver.await.map_err(|_| WorkerPanic)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;

    /// A secret in a job outlives nobody who could still look.
    #[tokio::test]
    async fn whoever_lets_the_pool_go_waits_for_work_that_nobody_waits_for() {
        struct Slow(Arc<AtomicBool>);
        impl Drop for Slow {
            fn drop(&mut self) {
                std::thread::sleep(Duration::from_millis(50));
                self.0.store(true, Ordering::SeqCst);
            }
        }
        for _ in 0..3 {
            let pool = WorkerPool::new(2).unwrap();
            let gone = Arc::new(AtomicBool::new(false));
            let (begun, begins) = oneshot::channel();
            let secret = Slow(Arc::clone(&gone));
            let work = pool.run(move || {
                let _ = begun.send(());
                drop(secret);
            });
            tokio::select! {
                _ = work => unreachable!("it sleeps"),
                _ = begins => {}
            }
            drop(pool);
            assert!(gone.load(Ordering::SeqCst));
        }
    }

    /// Nobody should write such a job; it must not hang all the same.
    #[tokio::test]
    async fn a_job_may_hold_the_last_of_the_pool() {
        let pool = WorkerPool::new(2).unwrap();
        let (done, ended) = oneshot::channel();
        let own = pool.clone();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let begun = pool.run(move || {
            let _ = wait.recv();
            drop(own);
            let _ = done.send(());
        });
        tokio::select! {
            _ = begun => unreachable!("it waits"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        drop(pool);
        go.send(()).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
        assert_eq!(ended.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn gives_values_and_survives_panics() {
        let pool = WorkerPool::new(2).unwrap();
        assert_eq!(pool.run(|| 6 * 7).await, Ok(42));
        for _ in 0..8 {
            assert_eq!(
                pool.run(|| -> u32 { panic!("on purpose") }).await,
                Err(WorkerPanic)
            );
        }
        assert_eq!(pool.run(|| 1).await, Ok(1));
    }

    #[tokio::test]
    async fn number_in_flight_is_bounded() {
        let pool = WorkerPool::new(2).unwrap();
        let gate = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let mut jobs = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (pool, gate, done) = (pool.clone(), gate.clone(), done.clone());
            jobs.spawn(async move {
                pool.run(move || {
                    while !gate.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                })
                .await
            });
        }
        // Long enough for all to ask: four are in, two of them run, sixteen wait outside.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.slots.available_permits(), 0);
        assert_eq!(pool.jobs(), (16, 4));
        assert_eq!(pool.threads(), 2);
        assert!(
            tokio::time::timeout(Duration::from_millis(5), pool.run(|| ()))
                .await
                .is_err()
        );
        assert_eq!(done.load(Ordering::SeqCst), 0);
        gate.store(true, Ordering::SeqCst);
        while let Some(job) = jobs.join_next().await {
            job.unwrap().unwrap();
        }
        assert_eq!(done.load(Ordering::SeqCst), 20);
        assert_eq!(pool.slots.available_permits(), 4);
        assert_eq!(pool.jobs(), (0, 0));
    }

    #[tokio::test]
    async fn abandoned_work_gives_its_place_back() {
        let pool = WorkerPool::new(1).unwrap();
        for _ in 0..6 {
            let work = pool.run(|| std::thread::sleep(Duration::from_millis(5)));
            let _ = tokio::time::timeout(Duration::from_millis(1), work).await;
        }
        assert_eq!(pool.run(|| 3).await, Ok(3));
    }
}
