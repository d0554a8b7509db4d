//! Kernels: any chain of operations on any batches, by every kernel of the machine, beside the
//! reference.

use std::sync::LazyLock;

use tallystick_protocol::group::{
    Encoding, Kernel, KernelError, Points, Scalar, by_name, reference,
};

use super::input::Input;

const DST: &[u8] = b"fuzzed kernel";

/// Elements of a batch at most; buckets of a sum begin well below.
const MOST: usize = 130;

/// Kernels other than the reference that this machine runs.
static KERNELS: LazyLock<Vec<&dyn Kernel>> = LazyLock::new(|| match by_name("ifma") {
    Ok(kernel) => vec![kernel],
    Err(KernelError::NotHere { .. } | KernelError::Unknown { .. }) => Vec::new(),
    Err(error) => panic!("{error}"),
});

/// One batch: first the reference's, then those of the others.
type Batch = Vec<Points>;

fn all() -> impl Iterator<Item = &'static dyn Kernel> {
    std::iter::once(reference()).chain(KERNELS.iter().copied())
}

/// The same by every kernel.
fn each(make: impl FnMut(&'static dyn Kernel) -> Points) -> Batch {
    all().map(make).collect()
}

/// The answers of all kernels, which must be one.
fn agreed<T: PartialEq>(answers: impl IntoIterator<Item = T>) -> T {
    let mut answers = answers.into_iter();
    let first = answers.next().unwrap();
    for (answer, kernel) in answers.zip(KERNELS.iter()) {
        assert!(answer == first, "{} differs", kernel.name());
    }
    first
}

fn encoded(batch: &Batch) -> Vec<Encoding> {
    agreed(
        all()
            .zip(batch)
            .map(|(kernel, points)| kernel.encode(points)),
    )
}

/// A scalar: any, or one of those that recodings are known to trip over.
fn scalar(input: &mut Input<'_>) -> Scalar {
    let small = |value: u8| {
        let mut bytes = [0; 32];
        bytes[0] = value;
        Scalar::from_canonical(&bytes).unwrap()
    };
    match input.below(6) {
        0 => small(input.u8()),
        1 => small(0).sub(&small(input.u8())),
        2 => {
            let mut power = [0; 32];
            let bit = input.below(252);
            power[bit / 8] = 1 << (bit % 8);
            let power = Scalar::from_canonical(&power).unwrap();
            power.sub(&small(input.u8()))
        }
        3 => {
            let (even, odd) = (input.u8(), input.u8());
            let mut bytes = std::array::from_fn(|i| if i % 2 == 0 { even } else { odd });
            bytes[31] &= 0x0f;
            Scalar::from_canonical(&bytes).unwrap()
        }
        4 => small(2).invert().add(&small(input.u8())),
        _ => {
            let mut wide = [0; 64];
            wide[..32].copy_from_slice(&input.array());
            Scalar::from_wide(&wide)
        }
    }
}

/// One for each element: some are given, and repeat.
fn scalars(input: &mut Input<'_>, count: usize) -> Vec<Scalar> {
    let given: Vec<Scalar> = (0..=input.below(12)).map(|_| scalar(input)).collect();
    let copy = |i: usize| given[i % given.len()].add(&given[0].sub(&given[0]));
    (0..count).map(copy).collect()
}

/// Bytes that are an element, nearly one, or anything.
fn encoding(input: &mut Input<'_>, known: &[Encoding]) -> Encoding {
    let mut bytes = match (input.below(4), known) {
        (0, _) | (_, []) => input.array(),
        (1, _) => {
            // Around p and 2^255.
            let mut bytes = [0xff; 32];
            bytes[0] = input.u8();
            bytes[31] = input.one_of(&[0x7f, 0xff, 0x80, 0]);
            bytes
        }
        _ => known[input.below(known.len())],
    };
    if input.below(4) == 0 {
        let bit = input.below(256);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    bytes
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    // What the last batch encodes to.
    let mut known: Vec<Encoding> = Vec::new();
    let mut batch = each(|kernel| kernel.hash_to_group(DST, &[]));
    let mut before = each(|kernel| kernel.base_point(kernel.generator()));
    for _ in 0..10 {
        if input.is_empty() {
            break;
        }
        match input.below(9) {
            0 => {
                let seed = input.array();
                let count = input.below(40);
                let inputs: Vec<&[u8]> = (0..count).map(|n| &seed[..n % 33]).collect();
                before = std::mem::replace(
                    &mut batch,
                    each(|kernel| kernel.hash_to_group(DST, &inputs)),
                );
                let key = scalar(&mut input);
                agreed(all().map(|kernel| kernel.hash_mul_encode(DST, &inputs, &key)));
            }
            1 => {
                let count = input.below(20);
                let encodings: Vec<Encoding> =
                    (0..count).map(|_| encoding(&mut input, &known)).collect();
                let mut flags = Vec::new();
                let decoded = each(|kernel| {
                    let mut valid = vec![flags.len() % 2 == 0; count];
                    let points = kernel.decode(&encodings, &mut valid);
                    flags.push(valid);
                    points
                });
                agreed(flags);
                let key = scalar(&mut input);
                agreed(all().map(|kernel| {
                    let mut valid = vec![false; count];
                    let product = kernel.decode_mul_encode(&encodings, &key, &mut valid);
                    (product.map(|(_, products)| products), valid)
                }));
                agreed(all().map(|kernel| {
                    let base = encodings.first().and_then(|first| kernel.base(first));
                    base.map(|base| kernel.encode(&kernel.base_point(&base)))
                }));
                before = std::mem::replace(&mut batch, decoded);
            }
            2 => {
                let factor = scalar(&mut input);
                let products = all().zip(&batch);
                batch = products.map(|(kernel, p)| kernel.mul(p, &factor)).collect();
            }
            3 => {
                let factors = scalars(&mut input, batch[0].len());
                let products = all().zip(&batch);
                batch = products
                    .map(|(kernel, p)| kernel.mul_each(p, &factors))
                    .collect();
            }
            way @ (4 | 5) => {
                let terms = scalars(&mut input, batch[0].len());
                // An element of the batch as base: terms meet themselves and their negatives.
                let own = (!known.is_empty()).then(|| known[input.below(known.len())]);
                for (kernel, points) in all().zip(&mut batch) {
                    let own = own.and_then(|own| kernel.base(&own));
                    let base = own.as_ref().unwrap_or(kernel.generator());
                    match way {
                        4 => kernel.add_base(points, base, &terms),
                        _ => kernel.sub_base(points, base, &terms),
                    }
                }
            }
            6 => {
                let times = 1 + input.below(3);
                if before[0].len() + times * batch[0].len() <= MOST {
                    let joined = all().zip(before.iter().zip(&batch));
                    let joined = joined.map(|(kernel, (before, points))| {
                        let mut parts = vec![before];
                        parts.extend(vec![points; times]);
                        kernel.concat(&parts)
                    });
                    batch = joined.collect();
                }
            }
            7 => {
                let terms = scalars(&mut input, batch[0].len());
                let lists = input.below(4);
                let sums: Batch = all()
                    .zip(&batch)
                    .map(|(kernel, points)| kernel.msm_vartime(&terms, &vec![points; lists]))
                    .collect();
                encoded(&sums);
                if input.below(4) == 0 {
                    before = sums;
                }
            }
            _ => std::mem::swap(&mut batch, &mut before),
        }
        known = encoded(&batch);
        assert_eq!(known.len(), batch[0].len());
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    // Hashing: 32 bytes, a count, and a scalar.
    let hashed = |count: u8| [&[0][..], &[0x5a; 32], &[count, 0, 3]].concat();
    let special = [
        0, 0, // zero
        1, 1, // l - 1
        2, 200, 0, // a power of two
        3, 0x88, 0x88, // all digits -8, one after the other
        4, 0, // a half
        3, 0xff, 0x0f,
    ];
    let each = |step: u8| [&[step, 5][..], &special].concat();
    let after = |steps: &[Vec<u8>]| steps.concat();
    vec![
        hashed(0),
        after(&[hashed(17), each(3), each(4), vec![0], each(5), vec![1]]),
        // Decoding: 17 known ones, one of which is changed; then bytes around p.
        after(&[
            hashed(17),
            vec![1, 17],
            [2, 3, 1].repeat(16),
            vec![2, 0, 0, 7],
            vec![0, 2],
            vec![1, 3, 1, 0xed, 0, 1, 1, 0xec, 0, 1, 1, 0, 3, 1],
        ]),
        // A sum of more than a hundred terms: hashed, joined, two lists.
        after(&[
            hashed(33),
            vec![8, 6, 2],
            vec![2, 0, 7],
            each(7),
            vec![2, 1],
            vec![6, 0],
            each(7),
            vec![3, 0],
        ]),
        // Identities, and sums with them.
        after(&[
            hashed(9),
            vec![2, 0, 0],
            each(4),
            vec![0],
            each(7),
            vec![1, 0],
        ]),
    ]
}
