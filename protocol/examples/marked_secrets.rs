//! Is any branch, or any address, made from a secret? Valgrind tells.
//!
//! Secrets are marked as memory that was never written. Memcheck follows every bit that is computed from
//! them, and counts each conditional jump, and each address, that depends on one (as `ctgrind` by
//! Adam Langley does). Each case below states how many it may have: none, or the branch that the
//! protocol demands. What is marked on purpose to fail must fail, else the run proves nothing.
//!
//! `ct/run marked` builds and runs it; see `ct/README.md`. Memcheck knows no AVX-512: the kernels that it
//! runs are those of other machines. Only for x86-64.

use std::{hint::black_box, process::ExitCode, sync::Arc};

use subtle::ConstantTimeEq;
use tallystick_protocol::{
    dleq::{self, Weights},
    group::{self, Encoding, Kernel, Scalar},
    oprf::{self, AdditiveBlinds, Output, PublicKey, ScalarBlinds, SecretKey, SessionSeed},
    snapshot::{LabelContext, LabelKey},
};

/// Requests to the program that runs this one (valgrind.h, memcheck.h). Elsewhere they do nothing.
#[expect(unsafe_code, reason = "one instruction sequence; see its block")]
mod valgrind {
    const RUNNING: usize = 0x1001;
    const COUNT_ERRORS: usize = 0x1201;
    const MEMCHECK: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16;

    #[cfg(target_arch = "x86_64")]
    fn request(code: usize, first: usize, second: usize) -> usize {
        let arguments = [code, first, second, 0, 0, 0];
        let mut answer = 0;
        // SAFETY: the rotations add up to 128 bits and the exchange is of a register with itself, so that
        // a processor does nothing; valgrind reads six words at `arguments` and writes `answer`.
        unsafe {
            core::arch::asm!(
                "rol rdi, 3",
                "rol rdi, 13",
                "rol rdi, 61",
                "rol rdi, 51",
                "xchg rbx, rbx",
                in("rax") &raw const arguments,
                inout("rdx") answer,
                out("rdi") _,
            );
        }
        answer
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn request(_: usize, _: usize, _: usize) -> usize {
        0
    }

    /// Whether somebody counts.
    pub fn is_there() -> bool {
        request(RUNNING, 0, 0) != 0
    }

    /// Jumps and addresses so far that depend on marked memory.
    pub fn errors() -> usize {
        request(COUNT_ERRORS, 0, 0)
    }

    /// Marks a value as secret. What it points at is not marked.
    pub fn mark<T: ?Sized>(value: &T) {
        let at = std::ptr::from_ref(value).addr();
        request(MEMCHECK + 1, at, size_of_val(value));
    }

    /// Makes a value public, as a protocol does that sends it.
    pub fn publish<T: ?Sized>(value: &T) {
        let at = std::ptr::from_ref(value).addr();
        request(MEMCHECK + 2, at, size_of_val(value));
    }
}

use valgrind::{mark, publish};

/// Elements of a chunk: two groups of eight and a rest.
const COUNT: usize = 19;
const DST: &[u8] = b"marked secrets";
const SESSION: [u8; 16] = [7; 16];

/// How many secret jumps and addresses a case must have.
enum Expected {
    /// None.
    None,
    /// At most so many, for this reason.
    AtMost(usize, &'static str),
    /// Some: a control, which shows that the method sees what it looks for.
    Some,
}

use Expected::{AtMost, None as Nothing, Some as Leaks};

/// The branch that ends a chunk with the identity in it, which an honest one never has.
const IDENTITY: Expected = AtMost(
    1,
    "the identity is refused, by one branch for the whole chunk",
);
/// What products of the reference kernel have: they are encoded with one inversion for all.
const INVERSION: Expected = AtMost(
    1,
    "dalek asserts that the product of what is not zero is not zero",
);
const BOTH: Expected = AtMost(2, "the identity is refused; dalek asserts as above");

struct Case {
    name: &'static str,
    expected: Expected,
    run: fn(&dyn Kernel),
}

const CASES: &[Case] = &[
    Case {
        name: "control: a branch on a secret bit",
        expected: Leaks,
        run: |_| {
            let secret = secret_bytes(1);
            if black_box(&secret)[0] & 1 == 1 {
                black_box(DST);
            }
        },
    },
    Case {
        name: "control: a secret index",
        expected: Leaks,
        run: |_| {
            let (secret, table) = (secret_bytes(1), [7u8; 256]);
            black_box(black_box(&table)[usize::from(black_box(&secret)[0])]);
        },
    },
    Case {
        name: "control: the sum of products for public values, with secret scalars",
        expected: Leaks,
        run: |kernel| {
            let points = kernel.hash_to_group(DST, &slices(&inputs()));
            drop(black_box(kernel.msm_vartime(&secret_scalars(), &[&points])));
        },
    },
    Case {
        name: "hash to the group, encode",
        expected: Nothing,
        run: |kernel| {
            let secret = secret_inputs();
            let points = kernel.hash_to_group(DST, &slices(&secret));
            drop(black_box(kernel.encode(&points)));
        },
    },
    Case {
        name: "multiply",
        expected: INVERSION,
        run: |kernel| {
            let secret = secret_inputs();
            let points = kernel.hash_to_group(DST, &slices(&secret));
            let products = kernel.mul(&points, &secret_scalar());
            drop(black_box(kernel.encode(&products)));
        },
    },
    Case {
        name: "multiply, a scalar for each",
        expected: INVERSION,
        run: |kernel| {
            let secret = secret_inputs();
            let points = kernel.hash_to_group(DST, &slices(&secret));
            let products = kernel.mul_each(&points, &secret_scalars());
            drop(black_box(kernel.encode(&products)));
        },
    },
    Case {
        name: "add and subtract multiples of fixed bases",
        expected: Nothing,
        run: |kernel| {
            let secret = secret_inputs();
            let other = kernel.encode(&kernel.hash_to_group(DST, &[b"other"]))[0];
            let Some(other) = kernel.base(&other) else {
                return;
            };
            let mut points = kernel.hash_to_group(DST, &slices(&secret));
            kernel.add_base(&mut points, kernel.generator(), &secret_scalars());
            kernel.sub_base(&mut points, &other, &secret_scalars());
            drop(black_box(kernel.encode(&points)));
        },
    },
    Case {
        name: "hash, multiply, encode",
        expected: INVERSION,
        run: |kernel| {
            let secret = secret_inputs();
            let products = kernel.hash_mul_encode(DST, &slices(&secret), &secret_scalar());
            drop(black_box(products));
        },
    },
    Case {
        name: "decode public elements, multiply, encode",
        expected: INVERSION,
        run: |kernel| {
            let blinded = public_elements(kernel);
            let mut valid = [false; COUNT];
            let products = kernel.decode_mul_encode(&blinded, &secret_scalar(), &mut valid);
            drop(black_box(products));
        },
    },
    Case {
        name: "arithmetic of scalars",
        expected: Nothing,
        run: |_| {
            let wide: [u8; 64] = [[3; 32], secret_bytes(9)]
                .concat()
                .try_into()
                .unwrap_or([0; 64]);
            mark(&wide);
            let (a, b) = (Scalar::from_wide(black_box(&wide)), secret_scalar());
            let c = a.add(&b).sub(&a.mul(&b)).invert();
            let zero = (c.is_zero(), a.ct_eq(&b));
            black_box((zero.0.unwrap_u8(), zero.1.unwrap_u8()));
            black_box(c.to_bytes());
            drop(black_box(Scalar::invert_all(&secret_scalars())));
            drop(black_box(Scalar::hash(DST, &[&secret_bytes(2)])));
        },
    },
    Case {
        name: "blinds from the session's seed",
        expected: Nothing,
        run: |kernel| {
            let (seed, secret) = (SessionSeed::new([4; 32]), secret_inputs());
            mark(&seed);
            let blinds = black_box(&seed).blinds(kernel, &SESSION, "text", 0, &slices(&secret));
            drop(black_box(blinds));
        },
    },
    Case {
        name: "blind a chunk, additively",
        expected: IDENTITY,
        run: |kernel| {
            let secret = secret_inputs();
            let blinds = AdditiveBlinds::new(secret_scalars());
            drop(black_box(oprf::blind_additive(
                kernel,
                &slices(&secret),
                &blinds,
            )));
        },
    },
    Case {
        name: "blind a chunk, as the RFC does",
        expected: AtMost(
            2 + COUNT,
            "as above; and a blind that is zero is refused, by its position",
        ),
        run: |kernel| {
            let secret = secret_inputs();
            if let Ok(blinds) = ScalarBlinds::new(secret_scalars()) {
                drop(black_box(oprf::blind_scalar(
                    kernel,
                    &slices(&secret),
                    &blinds,
                )));
            }
        },
    },
    Case {
        name: "evaluate and prove a chunk",
        expected: INVERSION,
        run: |kernel| {
            let (key, blinded) = (secret_key(kernel), public_elements(kernel));
            let evaluated = oprf::blind_evaluate(kernel, &key, &blinded);
            if let Ok(evaluated) = black_box(evaluated) {
                publish(evaluated.elements());
                black_box(evaluated.prove(Weights::WholeChunk, &secret_bytes(8)));
            }
        },
    },
    Case {
        name: "verify with public values, finalize with secret ones",
        expected: IDENTITY,
        run: |kernel| {
            let Some((blinds, verified, secret)) = answered(kernel) else {
                return;
            };
            let outputs = oprf::finalize_additive(kernel, &slices(&secret), blinds, verified);
            if let Ok(outputs) = &outputs {
                compare(outputs);
            }
            drop(black_box(outputs));
        },
    },
    Case {
        name: "outputs of the sender's own elements, label keys, sealing",
        expected: BOTH,
        run: |kernel| {
            let (key, secret) = (secret_key(kernel), secret_inputs());
            let outputs = oprf::evaluate(kernel, &slices(&secret), &key);
            let (Ok(outputs), Ok(name)) = (outputs, "marked".parse()) else {
                return;
            };
            compare(&outputs);
            let context = LabelContext::new(&name, 1);
            if let Ok(key) = LabelKey::derive(&outputs[0], &context) {
                let label = secret_bytes(3);
                let sealed = key.seal(&label, 64, &context, outputs[0].tag(8), [6; 24]);
                drop(black_box(sealed));
            }
        },
    },
];

/// Outputs compared in constant time, the answer not used for a branch.
fn compare(outputs: &[Output]) {
    for two in outputs.windows(2) {
        black_box(two[0].ct_eq(&two[1]).unwrap_u8());
    }
}

fn secret_bytes(n: u8) -> [u8; 32] {
    let bytes = [n; 32];
    mark(black_box(&bytes));
    bytes
}

fn scalars() -> Vec<Scalar> {
    let numbers = 0..COUNT as u8;
    numbers
        .map(|i| Scalar::hash(DST, &[b"scalar", &[i]]))
        .collect()
}

fn secret_scalars() -> Vec<Scalar> {
    let secret = scalars();
    mark(secret.as_slice());
    secret
}

fn secret_scalar() -> Scalar {
    let secret = Scalar::hash(DST, &[b"key"]);
    mark(&secret);
    secret
}

/// A key whose public half is public.
fn secret_key(kernel: &dyn Kernel) -> Box<SecretKey> {
    let key = SecretKey::from_seed(kernel, &[5; 32], DST);
    let key = Box::new(key.unwrap_or_else(|error| panic!("{error}")));
    mark(&*key);
    publish(key.public_bytes());
    key
}

fn inputs() -> Vec<[u8; 32]> {
    (0..COUNT as u8).map(|i| [i; 32]).collect()
}

fn secret_inputs() -> Vec<[u8; 32]> {
    let secret = inputs();
    mark(secret.as_slice());
    secret
}

fn slices(inputs: &[[u8; 32]]) -> Vec<&[u8]> {
    inputs.iter().map(<[u8; 32]>::as_slice).collect()
}

/// Elements as a peer sends them.
fn public_elements(kernel: &dyn Kernel) -> Vec<Encoding> {
    kernel.encode(&kernel.hash_to_group(b"public", &slices(&inputs())))
}

/// A chunk of the receiver whose answer is verified: blinds and elements are secret from here on.
fn answered(kernel: &dyn Kernel) -> Option<(AdditiveBlinds, dleq::Verified, Vec<[u8; 32]>)> {
    let inputs = inputs();
    let key = SecretKey::from_seed(kernel, &[5; 32], DST).ok()?;
    let public = Arc::new(PublicKey::decode(kernel, key.public_bytes()).ok()?);
    let blinds = AdditiveBlinds::new(scalars());
    let blinded = oprf::blind_additive(kernel, &slices(&inputs), &blinds).ok()?;
    let evaluated = oprf::blind_evaluate(kernel, &key, &blinded).ok()?;
    let proof = evaluated.prove(Weights::WholeChunk, &[8; 32]);
    let elements = evaluated.into_elements();
    let weights = Weights::WholeChunk;
    let verified = dleq::verify_own(kernel, &public, weights, &blinded, &elements, &proof).ok()?;
    mark(inputs.as_slice());
    // The same blinds once more, where they can be marked.
    Some((AdditiveBlinds::new(secret_scalars()), verified, inputs))
}

fn main() -> ExitCode {
    if !valgrind::is_there() {
        eprintln!("nobody counts: run this by `ct/run marked`, which needs valgrind");
        return ExitCode::from(2);
    }
    let mut wrong = 0;
    for kernel in group::kernels() {
        println!("kernel {}", kernel.name());
        for Case {
            name,
            expected,
            run,
        } in CASES
        {
            // Tables that are made once must not be made from what is marked.
            let _ = kernel.generator();
            let before = valgrind::errors();
            run(kernel);
            let found = valgrind::errors() - before;
            let (good, note) = match expected {
                Nothing => (found == 0, ""),
                AtMost(most, why) => (found <= *most, *why),
                Leaks => (found > 0, "a control: it must be seen"),
            };
            wrong += usize::from(!good);
            let verdict = if good { "ok  " } else { "FAIL" };
            println!(
                "{verdict} {found:>6} {name}{}{note}",
                if note.is_empty() { "" } else { ": " }
            );
        }
    }
    match wrong {
        0 => ExitCode::SUCCESS,
        wrong => {
            eprintln!(
                "{wrong} cases have secret jumps or addresses that they must not have, or see none"
            );
            ExitCode::FAILURE
        }
    }
}
