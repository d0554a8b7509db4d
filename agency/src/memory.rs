//! Keeping secrets out of swap, and wiping what calls leave behind.
//!
//! Nothing less than the whole of memory is locked: keys lie where libraries put them, and
//! identifiers pass through buffers of every size. Pages are locked as they are first touched, so
//! that stacks and arenas that are only reserved cost nothing.

use std::{hint::black_box, path::Path, sync::OnceLock};

use serde::Deserialize;

use crate::error::{AgencyError, Result};

/// Bytes of stack wiped by one call, and how many calls: more than the deepest use of a secret takes.
const BLOCK_BYTES: usize = 16 * 1024;
const STACK_BLOCKS: usize = 4;

/// `lock_memory`: whether memory is kept out of swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum LockMemory {
    /// Where the system allows it.
    #[default]
    Try,
    /// A program that may not does not start.
    Require,
    /// Never.
    Off,
}

/// Why memory is not locked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotLocked {
    /// A limit would let memory run out in the middle of the work.
    #[error(
        "the memory of this program is not locked, so the system may write keys and identifiers to \
         swap: RLIMIT_MEMLOCK is not unlimited; allow it (LimitMEMLOCK=infinity in a systemd unit, \
         or the capability CAP_IPC_LOCK), or encrypt swap and set lock_memory = \"off\""
    )]
    Limited,
    /// The system said no.
    #[error(
        "the memory of this program is not locked, so the system may write keys and identifiers to \
         swap: {0}; encrypt swap and set lock_memory = \"off\""
    )]
    Refused(String),
    /// It was configured so.
    #[error("the memory of this program is not locked: lock_memory = \"off\"")]
    Off,
}

/// What [`lock`] came to in this process, once.
static STATE: OnceLock<std::result::Result<(), NotLocked>> = OnceLock::new();

/// Locks all memory of this process, now and to come, where that cannot make it fail later. Call
/// it before the first secret is read; what the configuration says follows with [`settle`].
pub fn lock() {
    STATE.get_or_init(system::lock);
}

/// Follows the configuration in `file`.
///
/// # Errors
/// `Config` if locked memory is required and could not be had.
pub fn settle(wish: LockMemory, file: &Path) -> Result<()> {
    // Not a program of its own, but a library inside another: none of its business.
    let Some(state) = STATE.get() else {
        return Ok(());
    };
    match (wish, state) {
        (LockMemory::Off, Ok(())) => system::unlock(),
        (LockMemory::Require, Err(why)) => {
            return Err(AgencyError::Config {
                file: file.to_path_buf(),
                problem: format!("lock_memory = \"require\": {why}"),
            });
        }
        _ => {}
    }
    Ok(())
}

/// Whether memory is locked as `wish` has it.
///
/// # Errors
/// Why it is not.
pub fn state(wish: LockMemory) -> std::result::Result<(), NotLocked> {
    match (wish, STATE.get()) {
        (LockMemory::Off, _) | (_, None) => Err(NotLocked::Off),
        (_, Some(state)) => state.clone(),
    }
}

/// Wipes the stack below the caller: what calls that have returned left there, values that were
/// moved and registers that were spilled among them. Takes a few microseconds.
///
/// To be called where a thread has done a piece of work with secrets and waits for the next.
pub fn wipe_stack() {
    wipe_below(STACK_BLOCKS);
}

/// Wipes the stack below the function that holds it, when that function returns: where a secret was
/// used, so that nothing of it stays in the gaps of frames that come to lie there later.
pub(crate) struct WipedStack;

impl Drop for WipedStack {
    fn drop(&mut self) {
        wipe_stack();
    }
}

/// The same further down, for the end of a program's first thread: its stack is the largest.
pub(crate) fn wipe_whole_stack() {
    wipe_below(16 * STACK_BLOCKS);
}

#[inline(never)]
fn wipe_below(blocks: usize) {
    let mut below = [0u8; BLOCK_BYTES];
    // So that the array is there at all; and again, so that it is not gone before the next.
    black_box(&mut below);
    if blocks > 1 {
        wipe_below(blocks - 1);
    }
    black_box(&below);
}

#[cfg(target_os = "linux")]
mod system {
    use nix::sys::{
        mman::{MlockAllFlags, mlockall, munlockall},
        resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
    };

    use super::NotLocked;

    /// Number of CAP_IPC_LOCK in a set of capabilities.
    const IPC_LOCK: u32 = 14;

    pub(super) fn lock() -> Result<(), NotLocked> {
        // Reserved address space counts against the limit, so any limit is reached one day, and
        // then memory cannot be had: only without a limit is locking harmless.
        if !unlimited() {
            return Err(NotLocked::Limited);
        }
        let on_fault = MlockAllFlags::from_bits_retain(nix::libc::MCL_ONFAULT);
        mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)
            .map_err(|why| NotLocked::Refused(why.to_string()))
    }

    pub(super) fn unlock() {
        // Fails only where it was never locked.
        let _ = munlockall();
    }

    fn unlimited() -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if may_lock(&status) {
            return true;
        }
        match getrlimit(Resource::RLIMIT_MEMLOCK) {
            Ok((RLIM_INFINITY, _)) => true,
            Ok((_, RLIM_INFINITY)) => {
                setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok()
            }
            _ => false,
        }
    }

    /// Whether a process with this status has the capability to lock memory without a limit.
    pub(super) fn may_lock(status: &str) -> bool {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let set = line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
        set.is_some_and(|set| set >> IPC_LOCK & 1 == 1)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::NotLocked;

    pub(super) fn lock() -> Result<(), NotLocked> {
        Err(NotLocked::Refused(
            "this system cannot lock pages as they are used".to_owned(),
        ))
    }

    pub(super) fn unlock() {}
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_capability_is_read_from_the_status_of_a_process() {
        assert!(system::may_lock("Name:\tx\nCapEff:\t0000000000004000\n"));
        assert!(!system::may_lock("Name:\tx\nCapEff:\t0000000000003fff\n"));
        assert!(!system::may_lock("CapPrm:\t0000000000004000\n"));
    }

    #[test]
    fn nobody_locks_the_memory_of_a_library() {
        assert!(settle(LockMemory::Require, Path::new("node.toml")).is_ok());
        assert_eq!(state(LockMemory::Try), Err(NotLocked::Off));
    }
}
