//! Which kernel a process uses.
//!
//! The fastest one that the processor can run, if it passes its [self-test](self_test): a machine or a
//! build that computes wrongly must not find that out from a peer. A kernel that fails is passed
//! over, and [`Chosen::warning`] says so. The choice is made once for each process.

use std::{fmt, sync::OnceLock};

use super::{Kernel, reference, self_test::self_test};

/// The name that asks for the fastest kernel.
pub const AUTO: &str = "auto";

/// A kernel that this program has. It may need more than the processor offers.
struct Candidate {
    /// What [`Kernel::name`] says.
    name: &'static str,
    /// What it runs on, for people.
    about: &'static str,
    /// `None` where the processor lacks what it needs.
    find: fn() -> Option<&'static dyn Kernel>,
}

/// All kernels, the fastest first. The last one runs everywhere.
const CANDIDATES: &[Candidate] = &[
    #[cfg(target_arch = "x86_64")]
    Candidate {
        name: "ifma",
        about: "AVX-512 IFMA, eight elements at a time",
        find: || super::ifma::Ifma::detect().map(|kernel| kernel as &dyn Kernel),
    },
    Candidate {
        name: "dalek",
        about: "curve25519-dalek, one element at a time",
        find: || Some(reference()),
    },
];

/// The kernel of this process, and why it is this one.
#[derive(Debug)]
pub struct Chosen {
    kernel: &'static dyn Kernel,
    about: &'static str,
    asked: bool,
    failed: Vec<Failed>,
}

/// A kernel that failed its self-test, and what it got wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failed {
    name: &'static str,
    check: &'static str,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, check } = self;
        write!(f, "the kernel {name} computes wrongly here ({check})")
    }
}

impl Chosen {
    /// The kernel.
    pub fn kernel(&self) -> &'static dyn Kernel {
        self.kernel
    }

    /// What the kernel runs on, whether somebody asked for it, and which faster ones failed.
    pub fn why(&self) -> String {
        let mut why = self.about.to_owned();
        if self.asked {
            why += "; asked for";
        }
        for failed in &self.failed {
            why += &format!("; {failed}");
        }
        why
    }

    /// What an operator must be told: that a kernel failed its self-test and is not used.
    pub fn warning(&self) -> Option<String> {
        let failed: Vec<String> = self.failed.iter().map(Failed::to_string).collect();
        (!failed.is_empty()).then(|| {
            let name = self.kernel.name();
            format!("{}; {name} is used instead", failed.join(", "))
        })
    }
}

/// `NAME (WHY)`.
impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kernel.name(), self.why())
    }
}

/// Why a kernel cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No kernel has this name.
    #[error("no kernel is called {asked:?}; this machine runs {}", .usable.join(", "))]
    Unknown {
        /// The name.
        asked: String,
        /// Names of those that this machine can run.
        usable: Vec<&'static str>,
    },
    /// The processor lacks what the kernel needs.
    #[error("this machine cannot run the kernel {asked} ({about}); it runs {}", .usable.join(", "))]
    NotHere {
        /// The name.
        asked: &'static str,
        /// What it needs.
        about: &'static str,
        /// Names of those that this machine can run.
        usable: Vec<&'static str>,
    },
    /// The kernel failed its self-test.
    #[error("the kernel {asked} computes wrongly here ({check}); ask for another, or for {AUTO}")]
    Wrong {
        /// The name.
        asked: &'static str,
        /// What it got wrong.
        check: &'static str,
    },
    /// Not even the reference computes rightly: neither this machine nor this build can be used.
    #[error("no kernel computes rightly here ({check}); check the machine's memory and processor")]
    AllWrong {
        /// What the reference got wrong.
        check: &'static str,
    },
    /// Another kernel was chosen before.
    #[error("this process already uses the kernel {used}; choose before the first use")]
    Settled {
        /// Its name.
        used: &'static str,
    },
}

static CHOSEN: OnceLock<Chosen> = OnceLock::new();

/// Chooses the kernel of this process: the one that is `asked` for, or the fastest one for `None`,
/// an empty name and [`AUTO`]. Runs its self-test, which takes some milliseconds at most.
///
/// # Errors
/// When the kernel cannot be had, or another one is in use already. Nothing is chosen then.
pub fn choose(asked: Option<&str>) -> Result<&'static Chosen, KernelError> {
    if CHOSEN.get().is_none() {
        let chosen = choose_from(CANDIDATES, asked)?;
        // A choice that another thread made in the meantime stands; it is compared below.
        let _ = CHOSEN.set(chosen);
    }
    let stands = chosen();
    match asked_name(asked) {
        Some(name) if name != stands.kernel.name() => Err(KernelError::Settled {
            used: stands.kernel.name(),
        }),
        _ => Ok(stands),
    }
}

/// The kernel of this process. Chooses the fastest one if [`choose`] was not called.
pub fn chosen() -> &'static Chosen {
    CHOSEN.get_or_init(|| {
        choose_from(CANDIDATES, None).unwrap_or_else(|_| Chosen {
            // Programs call `choose`, which refuses here.
            kernel: reference(),
            about: "the reference, after every self-test failed",
            asked: false,
            failed: failed(CANDIDATES),
        })
    })
}

/// The kernel that this process uses: that of [`chosen`].
pub fn best() -> &'static dyn Kernel {
    chosen().kernel
}

/// Every kernel that this machine can run and that passes its self-test, the fastest first.
pub fn kernels() -> Vec<&'static dyn Kernel> {
    let found = CANDIDATES.iter().filter_map(|candidate| (candidate.find)());
    found.filter(|kernel| self_test(*kernel).is_ok()).collect()
}

/// The kernel with this name, for tests and comparisons beside the one that is used.
///
/// # Errors
/// When no kernel has the name, the machine cannot run it, or it fails its self-test.
pub fn by_name(name: &str) -> Result<&'static dyn Kernel, KernelError> {
    named(CANDIDATES, name).map(|(_, kernel)| kernel)
}

/// The name of one kernel, if one was asked for.
fn asked_name(asked: Option<&str>) -> Option<&str> {
    asked.filter(|name| !name.is_empty() && *name != AUTO)
}

fn choose_from(candidates: &[Candidate], asked: Option<&str>) -> Result<Chosen, KernelError> {
    if let Some(name) = asked_name(asked) {
        let (about, kernel) = named(candidates, name)?;
        return Ok(Chosen {
            kernel,
            about,
            asked: true,
            failed: Vec::new(),
        });
    }
    let mut failed = Vec::new();
    for candidate in candidates {
        let Some(kernel) = (candidate.find)() else {
            continue;
        };
        match self_test(kernel) {
            Ok(()) => {
                return Ok(Chosen {
                    kernel,
                    about: candidate.about,
                    asked: false,
                    failed,
                });
            }
            Err(check) => failed.push(Failed {
                name: candidate.name,
                check,
            }),
        }
    }
    Err(KernelError::AllWrong {
        check: failed.last().map_or("none runs", |failed| failed.check),
    })
}

/// A kernel of this name that runs here and computes rightly, and what it runs on.
fn named(
    candidates: &[Candidate],
    name: &str,
) -> Result<(&'static str, &'static dyn Kernel), KernelError> {
    let here = |candidate: &Candidate| (candidate.find)().is_some();
    let usable = || {
        let here = candidates.iter().filter(|candidate| here(candidate));
        here.map(|candidate| candidate.name).collect()
    };
    let Some(candidate) = candidates.iter().find(|candidate| candidate.name == name) else {
        return Err(KernelError::Unknown {
            asked: name.to_owned(),
            usable: usable(),
        });
    };
    let Some(kernel) = (candidate.find)() else {
        return Err(KernelError::NotHere {
            asked: candidate.name,
            about: candidate.about,
            usable: usable(),
        });
    };
    match self_test(kernel) {
        Ok(()) => Ok((candidate.about, kernel)),
        Err(check) => Err(KernelError::Wrong {
            asked: candidate.name,
            check,
        }),
    }
}

/// Those that run here and compute wrongly.
fn failed(candidates: &[Candidate]) -> Vec<Failed> {
    let tested = candidates.iter().filter_map(|candidate| {
        let check = self_test((candidate.find)()?).err()?;
        Some(Failed {
            name: candidate.name,
            check,
        })
    });
    tested.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
