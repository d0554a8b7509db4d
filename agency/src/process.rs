//! What the operating system should and does know about this process.

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::sys::time::TimeVal;
use nix::time::ClockId;

use crate::error::{AgencyError, Result};
use crate::memory;

/// What this process has used so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// User and system time of all threads, in seconds.
    pub cpu_seconds: f64,
    /// The largest resident set so far, in bytes.
    pub peak_rss_bytes: u64,
}

/// Call first in `main`: no core dumps (they would hold keys), no reading of this process's memory
/// by others of the same user, memory out of swap where that is allowed, new files for the owner
/// only, signals apart from secrets.
pub fn harden() -> Result<()> {
    signals_apart()?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
        .map_err(|e| AgencyError::Bug(format!("cannot switch off core dumps: {e}")))?;
    // A dump that goes to a program instead of a file knows no limit; and whoever may trace this
    // process may read it.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)
        .map_err(|e| AgencyError::Bug(format!("cannot forbid dumps of memory: {e}")))?;
    memory::lock();
    umask(Mode::from_bits_truncate(0o077));
    Ok(())
}

/// Leaves the signals that end a program to a thread that never holds a secret.
///
/// The system writes the registers of the thread that gets a signal to its stack, and a new thread
/// begins with those of the one that made it: any thread would do to leave half a key where nobody
/// wipes it. All threads that begin after this have the mask of the one that calls.
fn signals_apart() -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| AgencyError::Bug(format!("signals: {e}"));
    let ends = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    let ends: SigSet = ends.into_iter().collect();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            // A child inherits the mask of the thread that made it, in which they are blocked.
            let _ = ready.send(ends.thread_unblock());
            loop {
                std::thread::park();
            }
        })
        .map_err(|e| failed(&e))?;
    let unblocked = is_ready.recv().map_err(|e| failed(&e))?;
    unblocked.map_err(|e| failed(&e))?;
    ends.thread_block().map_err(|e| failed(&e))
}

/// Whether this process was told to take no notice of a signal, as `nohup` does with SIGHUP. Where the
/// system does not say, it was.
#[must_use]
pub fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| {
        let mask = line.strip_prefix("SigIgn:")?.trim();
        u64::from_str_radix(mask, 16).ok()
    });
    ignored.is_none_or(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

/// Processor time and peak memory of this process.
///
/// On Linux the peak is `VmHWM` of `/proc/self/status`: `ru_maxrss` is inherited across `exec`, so
/// a child of a large process would report its parent's peak. Elsewhere it is `ru_maxrss`.
pub fn usage() -> Result<Usage> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)
        .map_err(|e| AgencyError::Bug(format!("getrusage: {e}")))?;
    let peak_rss_bytes = std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| status_bytes(&status, "VmHWM:"))
        .unwrap_or_else(|| {
            // Linux counts in KiB, macOS in bytes.
            let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
            u64::try_from(usage.max_rss()).unwrap_or(0) * unit
        });
    Ok(Usage {
        cpu_seconds: seconds(usage.user_time()) + seconds(usage.system_time()),
        peak_rss_bytes,
    })
}

/// Processor time of the calling thread so far, in seconds. `None` where the system does not count it.
///
/// Not by `getrusage`, which counts ticks of some milliseconds on many systems.
#[must_use]
pub fn thread_cpu_seconds() -> Option<f64> {
    let time = ClockId::CLOCK_THREAD_CPUTIME_ID.now().ok()?;
    Some(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

/// Memory of this process that is resident now, in bytes. `None` where the system does not tell.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status_bytes(&status, "VmRSS:")
}

/// Anonymous memory of the process `id` that is resident now, in bytes: what the system cannot read again
/// from a file. `None` where the system does not tell, or there is no such process.
#[must_use]
pub fn anonymous_bytes_of(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status_bytes(&status, "RssAnon:")
}

/// Processor time of the process `id` and of all its threads so far, in seconds, to the hundredth. `None`
/// where the system does not tell.
#[must_use]
pub fn cpu_seconds_of(id: u32) -> Option<f64> {
    /// Linux counts in hundredths of a second there, whatever its own clock does (`USER_HZ`).
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let mut ticks = || times.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

/// File handles that are open, and the most that may be. `None` where the system does not tell.
#[must_use]
pub fn file_handles() -> Option<(u64, u64)> {
    // One of them is the folder that is being read.
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some((open.saturating_sub(1) as u64, most_file_handles()?))
}

/// The most file handles that this process may open.
#[must_use]
pub fn most_file_handles() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(soft)
}

/// A line of `/proc/self/status` that counts kilobytes.
fn status_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_peak_of_linux() {
        assert_eq!(
            status_bytes("Name:\tx\nVmHWM:\t    1234 kB\nVmRSS:\t 1 kB\n", "VmHWM:"),
            Some(1234 * 1024)
        );
        assert_eq!(status_bytes("VmHWM:\tlots\n", "VmHWM:"), None);
    }

    #[test]
    fn anonymous_memory_is_part_of_what_is_resident() {
        let mut data = vec![0u8; 32 << 20];
        for (i, byte) in data.iter_mut().enumerate() {
            *byte = (i % 251) as u8;
        }
        let anonymous = anonymous_bytes_of(std::process::id()).unwrap();
        assert!(anonymous >= 32 << 20);
        assert!(anonymous <= usage().unwrap().peak_rss_bytes);
        assert!(data.iter().any(|b| *b > 0));
        assert_eq!(anonymous_bytes_of(u32::MAX), None);
    }

    #[test]
    fn usage_grows_with_work() {
        let before = usage().unwrap();
        let mut data = vec![0u8; 64 << 20];
        for (i, byte) in data.iter_mut().enumerate() {
            *byte = (i % 251) as u8;
        }
        let sum: u64 = data.iter().map(|b| u64::from(*b)).sum();
        assert!(sum > 0);
        let after = usage().unwrap();
        assert!(after.cpu_seconds > before.cpu_seconds);
        assert!(after.peak_rss_bytes >= 64 << 20);
        // The same from outside, where it is told: in hundredths, and a little later.
        if let Some(seen) = cpu_seconds_of(std::process::id()) {
            assert!(seen + 0.05 >= after.cpu_seconds, "{seen}");
            assert!(seen < after.cpu_seconds + 60.0, "{seen}");
        }
        assert_eq!(cpu_seconds_of(u32::MAX), None);
    }

    #[test]
    fn a_thread_is_charged_for_its_own_work_alone() {
        let before = thread_cpu_seconds().unwrap();
        let other = std::thread::spawn(|| {
            let begun = thread_cpu_seconds().unwrap();
            while thread_cpu_seconds().unwrap() < begun + 0.05 {}
        });
        other.join().unwrap();
        assert!(thread_cpu_seconds().unwrap() < before + 0.05);
    }

    #[test]
    fn harden_switches_core_dumps_off() {
        harden().unwrap();
        let (soft, hard) = nix::sys::resource::getrlimit(Resource::RLIMIT_CORE).unwrap();
        assert_eq!((soft, hard), (0, 0));
        let old = umask(Mode::from_bits_truncate(0o077));
        assert_eq!(old, Mode::from_bits_truncate(0o077));
    }
}
