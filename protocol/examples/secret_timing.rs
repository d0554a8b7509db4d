//! Does the time of a kernel depend on its secrets? Statistics over many runs tell.
//!
//! The method of "dude, is my code constant time?" (Reparaz, Balasch, Verbauwhede, 2017): each operation
//! runs on a fixed secret and on random ones, in random order, and Welch's t compares the times of the two
//! classes, whole and without the slowest ones. It finds leaks and proves nothing: |t| above 4.5 in long
//! runs asks for a look at the code, and stays above it when more is measured if it is a leak. The short
//! run of CI fails only above 10, three times in a row: machines that do other things give such values by
//! chance once.
//!
//! `cargo run --release -p tallystick-protocol --example secret_timing -- [--samples N] [--kernel NAME]`
//!
//! One operation is a control that leaks: if it does not show, the machine is too noisy to tell anything.

use std::{hint::black_box, process::ExitCode, time::Instant};

use tallystick_protocol::group::{self, Encoding, Kernel, Scalar};

/// Elements of a call: what a kernel does together, and a rest.
const COUNT: usize = 19;
const DST: &[u8] = b"secret timing";
/// What the short run takes for a leak.
const GROSS: f64 = 10.0;
/// Shares of the samples that are kept, the fastest first: noise sits in the slowest.
const CROPS: [f64; 4] = [1.0, 0.99, 0.9, 0.5];

/// What an operation works on. Only the secrets differ between the classes.
struct Work {
    scalars: Vec<Scalar>,
    inputs: Vec<[u8; 32]>,
    encodings: Vec<Encoding>,
}

type Operation = (&'static str, fn(&dyn Kernel, &Work), bool);

/// Name, operation, and whether it must leak.
const OPERATIONS: &[Operation] = &[
    (
        "control: a product for each bit of a scalar",
        |_, work| {
            let mut product = Scalar::hash(DST, &[]);
            for byte in *work.scalars[0].to_bytes() {
                for _ in 0..byte.count_ones() {
                    product = product.mul(&work.scalars[1]);
                }
            }
            drop(black_box(product));
        },
        true,
    ),
    (
        "hash to the group, encode",
        |kernel, work| {
            let points = kernel.hash_to_group(DST, &slices(work));
            drop(black_box(kernel.encode(&points)));
        },
        false,
    ),
    (
        "hash, multiply, encode",
        |kernel, work| {
            drop(black_box(kernel.hash_mul_encode(
                DST,
                &slices(work),
                &work.scalars[0],
            )));
        },
        false,
    ),
    (
        "decode, multiply, encode",
        |kernel, work| {
            let mut valid = [false; COUNT];
            let products = kernel.decode_mul_encode(&work.encodings, &work.scalars[0], &mut valid);
            drop(black_box(products));
        },
        false,
    ),
    (
        "multiply, a scalar for each",
        |kernel, work| {
            let points = kernel.hash_to_group(DST, &PUBLIC.map(<[u8]>::as_ref));
            let scalars = work.scalars.get(..PUBLIC.len()).unwrap_or_default();
            drop(black_box(kernel.mul_each(&points, scalars)));
        },
        false,
    ),
    (
        "add multiples of a fixed base",
        |kernel, work| {
            let mut points = kernel.hash_to_group(DST, &PUBLIC.map(<[u8]>::as_ref));
            let scalars = work.scalars.get(..PUBLIC.len()).unwrap_or_default();
            kernel.add_base(&mut points, kernel.generator(), scalars);
            drop(black_box(points));
        },
        false,
    ),
];

/// Elements that are the same in both classes.
const PUBLIC: [&[u8]; 8] = [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"];

fn slices(work: &Work) -> Vec<&[u8]> {
    work.inputs.iter().map(<[u8; 32]>::as_slice).collect()
}

/// Bytes that nobody chose, and the same in every run.
struct Random(u64);

impl Random {
    /// SplitMix64 (Steele, Lea, Flood, 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Secrets of one class: small scalars and inputs that are all alike, or random ones.
fn work(kernel: &dyn Kernel, random: Option<&mut Random>) -> Work {
    let numbers: Vec<u64> = match random {
        None => vec![0; COUNT],
        Some(random) => (0..COUNT).map(|_| random.next()).collect(),
    };
    let fixed = numbers.iter().all(|n| *n == 0);
    let scalars = numbers.iter().map(|n| match fixed {
        true => Scalar::from_canonical(&[0; 32]).unwrap_or_else(|| Scalar::hash(DST, &[])),
        false => Scalar::hash(DST, &[&n.to_be_bytes()]),
    });
    let inputs = numbers.iter().map(|n| {
        let mut input = [0u8; 32];
        for (to, from) in input.chunks_exact_mut(8).zip([n.to_be_bytes(); 4]) {
            to.copy_from_slice(&from);
        }
        input
    });
    Work {
        scalars: scalars.collect(),
        inputs: inputs.collect(),
        // Public, and the same for both.
        encodings: kernel.encode(&kernel.hash_to_group(DST, &[b"x".as_slice(); COUNT])),
    }
}

/// Welch's t of two lists of times, the slowest left out.
fn welch(classes: &[Vec<f64>; 2], keep: f64) -> f64 {
    let mut all: Vec<f64> = classes.concat();
    all.sort_by(f64::total_cmp);
    let last = ((all.len() as f64 * keep) as usize).clamp(1, all.len()) - 1;
    let most = all.get(last).copied().unwrap_or(f64::MAX);
    let [a, b] = classes.each_ref().map(|times| {
        let kept: Vec<f64> = times.iter().copied().filter(|t| *t <= most).collect();
        let n = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / n;
        let variance = kept.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance / n)
    });
    (a.0 - b.0) / (a.1 + b.1).sqrt()
}

/// The largest |t| over all crops; it keeps its sign.
fn measure(
    kernel: &dyn Kernel,
    operation: fn(&dyn Kernel, &Work),
    samples: usize,
    seed: u64,
) -> f64 {
    let mut random = Random(seed);
    // As many sets of random secrets as fit into the second cache: what differs is the secrets, not
    // whether memory was touched before. The fixed class has as many copies.
    const SETS: usize = 32;
    let fixed: Vec<Work> = (0..SETS).map(|_| work(kernel, None)).collect();
    let mixed: Vec<Work> = (0..SETS).map(|_| work(kernel, Some(&mut random))).collect();
    let mut classes = [Vec::with_capacity(samples), Vec::with_capacity(samples)];
    for i in 0..samples + samples / 10 {
        let (class, set) = (
            random.next() & 1 == 1,
            (random.next() % SETS as u64) as usize,
        );
        let work = if class { &mixed[set] } else { &fixed[set] };
        let at = Instant::now();
        operation(kernel, work);
        let took = at.elapsed().as_nanos() as f64;
        // The first tenth warms up.
        if i >= samples / 10 {
            classes[usize::from(class)].push(took);
        }
    }
    let t = CROPS.map(|keep| welch(&classes, keep));
    t.into_iter().fold(
        0.0,
        |most: f64, t| if t.abs() > most.abs() { t } else { most },
    )
}

/// Whether the operation behaves as it must: says so, after three tries at most.
fn judge(kernel: &dyn Kernel, (name, run, leaks): &Operation, samples: usize) -> bool {
    let mut tries = Vec::new();
    let good = (1..=3).any(|seed| {
        let t = measure(kernel, *run, samples, seed);
        tries.push(format!("{t:+.2}"));
        (t.abs() > GROSS) == *leaks
    });
    let verdict = if good { "ok  " } else { "FAIL" };
    println!(
        "{verdict} {:<6} {name}: t = {}",
        kernel.name(),
        tries.join(", ")
    );
    good
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let samples = flag("--samples").map_or(Ok(20_000), |n| n.parse());
    let Ok(samples) = samples else {
        eprintln!("--samples is a number");
        return ExitCode::from(2);
    };
    let mut kernels = group::kernels();
    if let Some(name) = flag("--kernel") {
        kernels.retain(|kernel| kernel.name() == name);
    }
    if kernels.is_empty() {
        println!("SKIPPED: this machine does not run the kernel");
        return ExitCode::SUCCESS;
    }
    println!("{samples} samples of {COUNT} elements; |t| above {GROSS} three times is a leak");
    let judged: Vec<bool> = kernels
        .iter()
        .flat_map(|kernel| {
            OPERATIONS
                .iter()
                .map(|operation| judge(*kernel, operation, samples))
        })
        .collect();
    match judged.iter().all(|good| *good) {
        true => ExitCode::SUCCESS,
        false => {
            eprintln!("times depend on secrets, or the control does not show: see FAIL above");
            ExitCode::FAILURE
        }
    }
}
