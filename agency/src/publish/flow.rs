//! Work done on all cores and taken in order, with a bounded number of pieces under way.
//!
//! The thread that reads the table also takes the results: reading, normalising and spooling go on
//! while the cores evaluate, and wait when they are too far ahead.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Receiver, Sender, channel},
};

use crate::{
    error::{AgencyError, Result},
    memory::wipe_stack,
};

/// Pieces of work in order.
pub(super) struct Flow<T> {
    give: Sender<(u64, Result<T>)>,
    take: Receiver<(u64, Result<T>)>,
    /// Pieces that came before their turn.
    early: BTreeMap<u64, Result<T>>,
    /// The next piece that is begun, and the next that is taken.
    next: u64,
    due: u64,
    most: u64,
}

impl<T: Send + 'static> Flow<T> {
    /// No work yet. Twice as many pieces as cores are under way at most, and one.
    pub(super) fn new() -> Self {
        let (give, take) = channel();
        Self {
            give,
            take,
            early: BTreeMap::new(),
            next: 0,
            due: 0,
            most: 2 * rayon::current_num_threads() as u64 + 1,
        }
    }

    /// Begins a piece, when there is room for it. `take` gets those that are ready, in order.
    ///
    /// # Errors
    /// Of pieces that are taken, and of `take`.
    pub(super) fn begin<E: From<AgencyError>>(
        &mut self,
        piece: impl FnOnce() -> Result<T> + Send + 'static,
        take: &mut dyn FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Ok((number, done)) = self.take.try_recv() {
            self.early.insert(number, done);
        }
        self.deliver(take)?;
        while self.next - self.due >= self.most {
            self.wait(take)?;
        }
        let (number, give) = (self.next, self.give.clone());
        self.next += 1;
        rayon::spawn(move || {
            let done = catch_unwind(AssertUnwindSafe(piece));
            let panicked = |_| Err(AgencyError::Bug("a piece of work panicked".to_owned()));
            // Nobody listens when the publication has failed.
            let _ = give.send((number, done.unwrap_or_else(panicked)));
            wipe_stack();
        });
        Ok(())
    }

    /// Takes all that is under way.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(super) fn finish<E: From<AgencyError>>(
        &mut self,
        take: &mut dyn FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.due < self.next {
            self.wait(take)?;
        }
        Ok(())
    }

    fn wait<E: From<AgencyError>>(
        &mut self,
        take: &mut dyn FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        let gone = |_| AgencyError::Bug("work that does not end".to_owned());
        let (number, done) = self.take.recv().map_err(gone)?;
        self.early.insert(number, done);
        self.deliver(take)
    }

    fn deliver<E: From<AgencyError>>(
        &mut self,
        take: &mut dyn FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(done) = self.early.remove(&self.due) {
            self.due += 1;
            take(done?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_taken_in_order_however_long_each_takes() {
        let mut flow = Flow::new();
        let mut taken = Vec::new();
        let mut take = |n: u64| {
            taken.push(n);
            Ok::<_, AgencyError>(())
        };
        for n in 0..200u64 {
            let piece = move || {
                std::thread::sleep(std::time::Duration::from_micros((n * 37) % 300));
                Ok(n)
            };
            flow.begin(piece, &mut take).unwrap();
            assert!(flow.next - flow.due <= flow.most);
        }
        flow.finish(&mut take).unwrap();
        assert_eq!(taken, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn a_piece_that_panics_or_fails_ends_it() {
        let mut take = |_: ()| Ok::<_, AgencyError>(());
        let mut flow = Flow::new();
        flow.begin(|| panic!("on purpose"), &mut take).unwrap();
        assert!(flow.finish(&mut take).is_err());
        let mut flow = Flow::new();
        let fails = || Err(AgencyError::Usage("no".to_owned()));
        flow.begin(fails, &mut take).unwrap();
        assert!(flow.finish(&mut take).is_err());
    }
}
