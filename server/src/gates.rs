//! How much of the node one peer may hold at a time, counted in memory.
//!
//! A gate counts what is inside, by key and in all; a slot leaves when it is dropped. A pace counts
//! what begins, by key and minute. Both answer at once: who is turned away is told so and may come
//! again, and waiting costs the node nothing.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// Counts what is under way.
#[derive(Debug)]
pub(crate) struct Gate<K: Eq + Hash> {
    inside: Mutex<HashMap<K, u32>>,
    per_key: u32,
    total: u32,
}

/// A place inside a gate.
#[derive(Debug)]
pub(crate) struct Slot<K: Eq + Hash> {
    gate: Arc<Gate<K>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Gate<K> {
    pub(crate) fn new(per_key: u32, total: u32) -> Arc<Self> {
        Arc::new(Self {
            inside: Mutex::default(),
            per_key,
            total,
        })
    }

    /// A place for `key`, unless it or all together have as many as they may.
    pub(crate) fn enter(self: &Arc<Self>, key: &K) -> Option<Slot<K>> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.values().sum::<u32>() >= self.total {
            return None;
        }
        let count = inside.get(key).copied().unwrap_or(0);
        if count >= self.per_key {
            return None;
        }
        inside.insert(key.clone(), count + 1);
        Some(Slot {
            gate: Arc::clone(self),
            key: key.clone(),
        })
    }

    /// How many are inside.
    pub(crate) fn inside(&self) -> u32 {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.values().sum()
    }
}

impl<K: Eq + Hash> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut inside = self
            .gate
            .inside
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = inside.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&self.key);
            }
        }
    }
}

/// Counts what begins: at most so many in a minute, evenly refilled (a token bucket).
#[derive(Debug)]
pub(crate) struct Pace {
    per_minute: f64,
    left: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Pace {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self {
            per_minute: per_minute.into(),
            left: Mutex::default(),
        }
    }

    /// Whether one more of `key` may begin at `now`. Keys are pinned peers, so there are few.
    pub(crate) fn allows(&self, key: &str, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, since) = left.entry(key.to_owned()).or_insert((self.per_minute, now));
        let refill = now.duration_since(*since).as_secs_f64() * self.per_minute / 60.0;
        *tokens = (*tokens + refill).min(self.per_minute);
        *since = now;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_gate_counts_by_key_and_in_all_and_forgets_who_left() {
        let gate = Gate::new(2, 3);
        let (one, other) = ("a".to_owned(), "b".to_owned());
        let first = gate.enter(&one).unwrap();
        let _second = gate.enter(&one).unwrap();
        assert!(gate.enter(&one).is_none(), "as many as one key may");
        let _third = gate.enter(&other).unwrap();
        assert!(gate.enter(&other).is_none(), "as many as all may");
        assert_eq!(gate.inside(), 3);
        drop(first);
        let again = gate.enter(&other).unwrap();
        drop((again, _second, _third));
        assert!(gate.inside.lock().unwrap().is_empty());
    }

    #[test]
    fn a_pace_is_refilled_with_time() {
        let pace = Pace::new(60);
        let start = Instant::now();
        let begun = (0..100).filter(|_| pace.allows("a", start)).count();
        assert_eq!(begun, 60);
        assert!(pace.allows("b", start), "each key has its own");
        let later = start + Duration::from_millis(2500);
        let begun = (0..100).filter(|_| pace.allows("a", later)).count();
        assert_eq!(begun, 2);
    }
}
