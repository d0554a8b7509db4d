//! The parts of the kernel, each beside integers of any size or beside the reference.
//!
//! ```text
//! curve    the field and the curve in plain lines, over num-bigint
//! field    bounds of limbs, products, roots
//! point    addition and doubling of every pair of a list with all kinds of points
//! coset    representatives that differ by torsion, and by a factor of all coordinates
//! uniform  uniform bytes to points
//! digits   scalars as digits
//! ```

mod coset;
mod curve;
mod digits;
mod field;
mod point;
mod uniform;

use num_bigint::BigUint;

use super::Ifma;
use super::field::{Limbs, Stored};

/// Whether this CPU has the instructions. Tests that ask say so when they are skipped.
fn here() -> bool {
    let found = Ifma::detect().is_some();
    if !found {
        // Past the capture of the test harness, so that it is seen.
        let _ = std::fs::write("/dev/stderr", "SKIPPED: this CPU has no AVX-512 IFMA\n");
    }
    found
}

/// What five limbs mean, all 64 bits of each.
fn value(limbs: &Limbs) -> BigUint {
    limbs
        .iter()
        .rev()
        .fold(BigUint::ZERO, |sum, limb| (sum << 52) + *limb)
}

/// The same without what products ignore.
fn counted(limbs: &Limbs) -> BigUint {
    value(&limbs.map(|limb| limb & ((1 << 52) - 1)))
}

/// Clean limbs of a number below 2^260.
fn limbs_of(number: &BigUint) -> Limbs {
    let mask = BigUint::from((1u64 << 52) - 1);
    std::array::from_fn(|i| u64::try_from((number >> (52 * i)) & &mask).unwrap())
}

/// Eight elements, lane by lane.
fn stored(lanes: &[Limbs; 8]) -> Stored {
    let mut stored = Stored::ZERO;
    for (lane, limbs) in lanes.iter().enumerate() {
        for (to, limb) in stored.0.iter_mut().zip(limbs) {
            to[lane] = *limb;
        }
    }
    stored
}

fn lane(stored: &Stored, lane: usize) -> Limbs {
    stored.0.map(|limb| limb[lane])
}
