//! One chunk through every stage of the arithmetic, as a session runs them.

use std::{hint::black_box, sync::Arc, thread, time::Instant};

use tallystick_agency::exit::{Failure, Outcome};
use tallystick_protocol::{
    dleq::{self, Weights},
    group::{Kernel, Scalar},
    oprf::{self, AdditiveBlinds, Output, PublicKey, SecretKey, SessionSeed},
};

use super::{Figure, Lap};
use crate::error::bug;

/// What is measured, in this order: a name for programs, and what it is. Those of the first kind are one
/// call of the kernel each; the others are what a session does with each element of a chunk.
pub const STAGES: &[(&str, &str)] = &[
    ("hash_to_group", "hash to the group"),
    ("multiply", "multiply by one scalar"),
    ("encode_points", "encode, one by one"),
    ("encode", "encode products"),
    ("decode", "decode"),
    ("msm", "sum of products, public"),
    ("derive_blind", "ours: derive a blind"),
    ("blind", "ours: hash, add r·B, encode"),
    ("evaluate", "theirs: decode, multiply, encode"),
    ("prove", "theirs: prove the chunk"),
    ("verify", "ours: decode, verify the proof"),
    ("finalize", "ours: subtract r·K, encode, hash"),
    ("hash_mul_encode", "theirs: hash, multiply, encode"),
    ("publish", "theirs: the same, and the last hash"),
];

/// Domain separation tag of the plain calls.
const DST: &[u8] = b"tally bench";
const SESSION: [u8; 16] = [7; 16];

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Elements of the chunk, 1 to 65,535.
    pub batch: usize,
    /// Times that every stage is measured with each kernel, at least 1.
    pub repeats: usize,
}

/// One stage.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// Its name, as in [`STAGES`].
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// With the kernel that is used.
    pub used: Figure,
    /// With the reference kernel in the same run; `None` where that is the one that is used.
    pub reference: Option<Figure>,
}

impl Stage {
    /// How many times faster the used kernel is.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        Some(self.reference?.median / self.used.median)
    }
}

/// All stages.
#[derive(Debug)]
pub struct Bench {
    /// In the order of [`STAGES`].
    pub stages: Vec<Stage>,
    /// Threads that evaluated at once.
    pub threads: usize,
    /// How many times more than one thread they did in a second.
    pub speedup: f64,
}

impl Bench {
    /// Nanoseconds for each element of a stage, with the used kernel.
    #[must_use]
    pub fn ns(&self, name: &str) -> f64 {
        let stage = self.stages.iter().find(|stage| stage.name == name);
        stage.map_or(f64::NAN, |stage| stage.used.median)
    }
}

/// Measures `used`, and `reference` beside it if it is another. `progress` hears how many of
/// [`passes`] are done.
///
/// # Errors
/// `Bug` if a kernel computes wrongly, or no thread can be started.
pub fn stages(
    used: &dyn Kernel,
    reference: &dyn Kernel,
    options: Options,
    progress: impl Fn(u64),
) -> Outcome<Bench> {
    let mut kernels = vec![used];
    if used.name() != reference.name() {
        kernels.push(reference);
    }
    let chunks = kernels
        .iter()
        .map(|kernel| Chunk::new(*kernel, options.batch))
        .collect::<Outcome<Vec<_>>>()?;
    let mut times = vec![vec![Vec::with_capacity(options.repeats); STAGES.len()]; chunks.len()];
    let mut first: Option<Vec<u8>> = None;
    for repeat in 0..options.repeats {
        for (n, (chunk, times)) in chunks.iter().zip(&mut times).enumerate() {
            let tags = chunk.pass(times)?;
            // Speed of wrong answers is none.
            if *first.get_or_insert_with(|| tags.clone()) != tags {
                return Err(bug(format!("the kernel {} differs", chunk.kernel.name())));
            }
            progress((repeat * chunks.len() + n + 1) as u64);
        }
    }
    let mut figures = times
        .into_iter()
        .map(|times| times.into_iter().map(Figure::of));
    let (mut of_used, mut of_reference) = (figures.next(), figures.next());
    let stages = STAGES.iter().map(|(name, what)| {
        let next = |figures: &mut Option<_>| -> Option<Figure> {
            figures.as_mut().and_then(Iterator::next).flatten()
        };
        Some(Stage {
            name,
            what,
            used: next(&mut of_used)?,
            reference: next(&mut of_reference),
        })
    });
    let stages = stages
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| bug("nothing was measured"))?;
    let chunk = chunks.first().ok_or_else(|| bug("no kernel"))?;
    let (threads, speedup) = speedup(chunk, options.repeats)?;
    Ok(Bench {
        stages,
        threads,
        speedup,
    })
}

/// How often the progress of [`stages`] moves.
#[must_use]
pub fn passes(used: &dyn Kernel, reference: &dyn Kernel, options: Options) -> u64 {
    let kernels = if used.name() == reference.name() {
        1
    } else {
        2
    };
    (kernels * options.repeats) as u64
}

/// What all passes of one kernel start from.
struct Chunk<'a> {
    kernel: &'a dyn Kernel,
    inputs: Vec<[u8; 32]>,
    key: SecretKey,
    public: Arc<PublicKey>,
    seed: SessionSeed,
    /// A valid chunk, as the peer gets it.
    blinded: Vec<[u8; 32]>,
}

impl<'a> Chunk<'a> {
    fn new(kernel: &'a dyn Kernel, batch: usize) -> Outcome<Self> {
        let inputs: Vec<[u8; 32]> = (0..batch as u64)
            .map(|i| {
                let mut input = [0x61; 32];
                for (to, from) in input.iter_mut().zip(i.to_be_bytes()) {
                    *to = from;
                }
                input
            })
            .collect();
        let key = SecretKey::from_seed(kernel, &[3; 32], b"bench").map_err(failed)?;
        let public = PublicKey::decode(kernel, key.public_bytes()).map_err(failed)?;
        let mut chunk = Self {
            kernel,
            inputs,
            key,
            public: Arc::new(public),
            seed: SessionSeed::new([5; 32]),
            blinded: Vec::new(),
        };
        let blinds = AdditiveBlinds::new(chunk.blinds()?);
        let blinded = oprf::blind_additive(kernel, &chunk.inputs(), &blinds);
        chunk.blinded = blinded.map_err(failed)?.to_vec();
        Ok(chunk)
    }

    fn inputs(&self) -> Vec<&[u8]> {
        self.inputs.iter().map(<[u8; 32]>::as_slice).collect()
    }

    fn blinds(&self) -> Outcome<Vec<Scalar>> {
        let blinds = self
            .seed
            .blinds(self.kernel, &SESSION, "text", 0, &self.inputs());
        blinds.map_err(failed)
    }

    /// Every stage once; adds a time to each list. Gives the tags that came out.
    fn pass(&self, times: &mut [Vec<f64>]) -> Outcome<Vec<u8>> {
        let (kernel, inputs) = (self.kernel, self.inputs());
        let mut times = times.iter_mut();
        let mut took = |lap: Lap| {
            let each = lap.each(inputs.len());
            if let Some(times) = times.next() {
                times.push(each);
            }
        };
        let weights = self.blinds()?;
        let factor = Scalar::hash(DST, &[b"factor"]);

        let lap = Lap::start();
        let points = black_box(kernel.hash_to_group(DST, &inputs));
        took(lap);
        let lap = Lap::start();
        let products = black_box(kernel.mul(&points, &factor));
        took(lap);
        let lap = Lap::start();
        black_box(kernel.encode(&points));
        took(lap);
        let lap = Lap::start();
        let encodings = black_box(kernel.encode(&products));
        took(lap);
        let mut valid = vec![false; encodings.len()];
        let lap = Lap::start();
        let decoded = black_box(kernel.decode(&encodings, &mut valid));
        took(lap);
        let lap = Lap::start();
        black_box(kernel.msm_vartime(&weights, &[&decoded]));
        took(lap);

        let lap = Lap::start();
        let blinds = AdditiveBlinds::new(black_box(self.blinds()?));
        took(lap);
        let lap = Lap::start();
        let blinded = oprf::blind_additive(kernel, &inputs, &blinds).map_err(failed)?;
        took(lap);
        let lap = Lap::start();
        let evaluated = oprf::blind_evaluate(kernel, &self.key, &blinded).map_err(failed)?;
        took(lap);
        let lap = Lap::start();
        let proof = evaluated.prove(Weights::WholeChunk, &[9; 32]);
        took(lap);
        let elements = evaluated.into_elements();
        let lap = Lap::start();
        let verified = dleq::verify_own(
            kernel,
            &self.public,
            Weights::WholeChunk,
            &blinded,
            &elements,
            &proof,
        );
        let verified = verified.map_err(failed)?;
        took(lap);
        let lap = Lap::start();
        let outputs = oprf::finalize_additive(kernel, &inputs, blinds, verified).map_err(failed)?;
        took(lap);
        let lap = Lap::start();
        black_box(kernel.hash_mul_encode(DST, &inputs, &factor));
        took(lap);
        let lap = Lap::start();
        let published = oprf::evaluate(kernel, &inputs, &self.key).map_err(failed)?;
        took(lap);

        let tags = |outputs: &[Output]| -> Vec<u8> {
            outputs
                .iter()
                .flat_map(|output| output.tag(16))
                .copied()
                .collect()
        };
        let found = tags(&outputs);
        match found == tags(&published) {
            true => Ok(found),
            false => Err(bug(format!(
                "the kernel {} computes wrongly",
                kernel.name()
            ))),
        }
    }
}

/// How many times more chunks all processors evaluate in a second than one does: the best of the repeats.
fn speedup(chunk: &Chunk<'_>, repeats: usize) -> Outcome<(usize, f64)> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let evaluate = || {
        oprf::blind_evaluate(chunk.kernel, &chunk.key, &chunk.blinded)
            .map(|evaluated| drop(black_box(evaluated)))
            .map_err(failed)
    };
    let (mut alone, mut together) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..repeats.min(3) {
        let at = Instant::now();
        evaluate()?;
        alone = alone.min(at.elapsed().as_secs_f64());
        let at = Instant::now();
        thread::scope(|scope| {
            let begun: Vec<_> = (0..threads).map(|_| scope.spawn(evaluate)).collect();
            let mut ended = begun.into_iter().map(|thread| {
                let ended = thread.join();
                ended.unwrap_or_else(|_| Err(bug("a thread panicked")))
            });
            ended.try_for_each(|ended| ended)
        })?;
        together = together.min(at.elapsed().as_secs_f64());
    }
    Ok((threads, threads as f64 * alone / together))
}

fn failed(error: impl std::fmt::Display) -> Failure {
    bug(format!("a stage failed: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tallystick_protocol::group;

    use super::*;

    #[test]
    fn every_stage_is_measured_with_every_kernel() {
        let options = Options {
            batch: 17,
            repeats: 2,
        };
        for kernel in group::kernels() {
            let seen = std::cell::Cell::new(0);
            let bench = stages(kernel, group::reference(), options, |n| seen.set(n)).unwrap();
            assert_eq!(seen.get(), passes(kernel, group::reference(), options));
            assert_eq!(bench.stages.len(), STAGES.len());
            for stage in &bench.stages {
                let both = kernel.name() != "dalek";
                assert_eq!(stage.reference.is_some(), both, "{}", stage.name);
                assert!(stage.used.min <= stage.used.median && stage.used.median.is_finite());
                assert_eq!(bench.ns(stage.name), stage.used.median);
            }
            assert!(bench.threads >= 1 && bench.speedup > 0.0);
            assert!(bench.ns("no stage").is_nan());
        }
    }
}
