//! Programs stopped so that their memory can be read, and reading it.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    process::Command,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    canary::{Canaries, Sighting},
    outside::{absent, preload},
    running::wait_for,
};

/// Bytes read at a time.
const BLOCK: usize = 4 << 20;

/// Makes a command stop when it has done all its work, and whenever it is asked to; `None` where
/// that cannot be arranged.
#[must_use]
pub fn stoppable(mut command: Command, at_exit: bool) -> Option<Command> {
    command.env("LD_PRELOAD", preload("at_exit")?);
    if at_exit {
        command.env("TALLY_TEST_STOP_AT_EXIT", "1");
    }
    Some(command)
}

/// The letter of a process's state: `T` where it is stopped, `Z` where it has ended.
#[must_use]
pub fn state(process: Pid) -> char {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.unwrap_or('Z')
}

/// Waits until a child has stopped.
///
/// # Panics
/// When it ends instead.
pub fn stopped(child: Pid) {
    wait_for("a process to stop", || match state(child) {
        'T' => Some(()),
        state => {
            assert_ne!(state, 'Z', "it has ended and should have stopped");
            None
        }
    });
}

/// Stops a child where it stands, readable.
pub fn stop(child: Pid) {
    kill(child, Signal::SIGUSR2).unwrap();
    stopped(child);
}

/// Lets a stopped process go on.
pub fn go_on(child: Pid) {
    kill(child, Signal::SIGCONT).unwrap();
}

/// A part of a process's memory.
#[derive(Debug)]
struct Region {
    from: u64,
    to: u64,
    name: String,
}

/// Looks through all readable memory of a stopped process; `None` where the system does not show
/// it.
#[must_use]
pub fn search(process: Pid, canaries: &Canaries) -> Option<Vec<Sighting>> {
    let Ok(memory) = File::open(format!("/proc/{process}/mem")) else {
        absent("the memory of an own process");
        return None;
    };
    let mut seen = Vec::new();
    let mut block = vec![0u8; BLOCK];
    for region in regions(process) {
        let mut at = region.from;
        while at < region.to {
            let want = usize::try_from(region.to - at).unwrap().min(BLOCK);
            // What was never touched and cannot be, such as guards, is not there.
            let Ok(read) = memory.read_at(&mut block[..want], at) else {
                break;
            };
            if read == 0 {
                break;
            }
            seen.extend(canaries.in_bytes(&region.name, &block[..read]));
            if at + read as u64 == region.to {
                break;
            }
            // Neighbouring blocks overlap, and yet each goes further.
            at += read.saturating_sub(canaries.longest()).max(1) as u64;
        }
    }
    seen.sort();
    seen.dedup();
    Some(seen)
}

/// The readable mappings that hold data.
fn regions(process: Pid) -> Vec<Region> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    maps.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (from, to) = words.next()?.split_once('-')?;
            let rights = words.next()?;
            let name = words.nth(3).unwrap_or("anonymous memory");
            let shown = rights.starts_with('r') && !name.starts_with("[v");
            shown.then(|| Region {
                from: u64::from_str_radix(from, 16).unwrap(),
                to: u64::from_str_radix(to, 16).unwrap(),
                name: format!("{name} ({from})"),
            })
        })
        .collect()
}
