//! Many random elements through every operation.

use std::{num::NonZero, thread};

use super::*;

/// Elements of one batch: odd groups, more than one chunk of an encoding, many buckets.
const BATCH: usize = 1031;

/// How many elements in an ordinary run.
const ORDINARY: usize = 1 << 16;

/// Elements in all; every one goes through [`Kernel::hash_mul_encode`] and
/// [`Kernel::decode_mul_encode`], one in four through fixed bases and sums, too.
///
/// `TALLY_KERNEL_ELEMENTS=4194304 cargo test --release --locked -p tallystick-protocol --lib many_random`
/// tries four million, which takes some minutes.
fn wanted() -> usize {
    match std::env::var("TALLY_KERNEL_ELEMENTS") {
        Ok(count) => count.parse().unwrap(),
        Err(_) => ORDINARY,
    }
}

#[test]
fn many_random_elements_agree_with_the_reference() {
    let batches = wanted().div_ceil(BATCH) as u64;
    let threads = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    for &kernel in kernels() {
        if kernel.name() == "dalek" {
            continue;
        }
        thread::scope(|scope| {
            for first in 0..threads {
                let own = (first..batches).step_by(threads as usize);
                scope.spawn(move || own.for_each(|batch| one(kernel, batch)));
            }
        });
        let tried = batches as usize * BATCH;
        println!("{}: {tried} elements as with the reference", kernel.name());
    }
}

/// The reference hashes, encodes and multiplies; everything else must agree with that.
fn one(kernel: &dyn Kernel, batch: u64) {
    let oracle = reference();
    let inputs: Vec<[u8; 16]> = (0..BATCH as u64)
        .map(|i| (u128::from(batch) << 64 | u128::from(i)).to_le_bytes())
        .collect();
    let inputs: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
    let key = Scalar::hash(DST, &[b"many", &batch.to_be_bytes()]);
    let points = oracle.hash_to_group(DST, &inputs);
    let encodings = oracle.encode(&points);
    let products = oracle.encode(&oracle.mul(&points, &key));

    let same = |what: &str, mine: &[Encoding], theirs: &[Encoding]| {
        assert!(mine == theirs, "{}: {what}, batch {batch}", kernel.name());
    };
    same(
        "hash",
        &kernel.hash_mul_encode(DST, &inputs, &key),
        &products,
    );
    let mut valid = vec![false; BATCH];
    let (mut decoded, mine) = kernel
        .decode_mul_encode(&encodings, &key, &mut valid)
        .unwrap();
    assert!(!valid.contains(&false));
    same("decode", &mine, &products);
    same("encode", &kernel.encode(&decoded), &encodings);
    if !batch.is_multiple_of(4) {
        return;
    }

    let base = &encodings[0];
    let (mine, theirs) = (kernel.base(base).unwrap(), oracle.base(base).unwrap());
    let s = scalars(batch, BATCH);
    let mut theirs_moved = points;
    kernel.add_base(&mut decoded, &mine, &s);
    oracle.add_base(&mut theirs_moved, &theirs, &s);
    let moved = oracle.encode(&theirs_moved);
    same("add_base", &kernel.encode(&decoded), &moved);
    let mut products = kernel.mul_each(&decoded, &s);
    let theirs_products = oracle.mul_each(&theirs_moved, &s);
    same(
        "mul_each",
        &kernel.encode(&products),
        &oracle.encode(&theirs_products),
    );
    same(
        "sums",
        &kernel.encode(&kernel.msm_vartime(&s, &[&decoded, &products])),
        &oracle.encode(&oracle.msm_vartime(&s, &[&theirs_moved, &theirs_products])),
    );
    kernel.sub_base(&mut products, &mine, &s);
    let mut theirs_products = theirs_products;
    oracle.sub_base(&mut theirs_products, &theirs, &s);
    same(
        "sub_base",
        &kernel.encode(&products),
        &oracle.encode(&theirs_products),
    );
}
