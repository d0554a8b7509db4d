//! How long the SHA-512 of an element takes: the `sha2` crate as one would call it, and both
//! codes of the protocol.
//!
//! `cargo run --release -p tallystick-protocol --example sha512_speed`
//!
//! Prints nanoseconds a message on one core, the least of many rounds: for messages of some
//! lengths, and for what is hashed for each element of a session (32 bytes long). Scalars
//! are measured apart: weights and blinds take one reduction each.

use std::hint::black_box;
use std::time::Instant;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha512};
use tallystick_protocol::group::Scalar;
use tallystick_protocol::sha512::{BLOCK_LEN, Construction, Message, Midstate, Sha512Many};

const MESSAGES: usize = 4096;
const ROUNDS: usize = 60;

/// `DST_prime` of the suite: 40 bytes for group elements, 41 for scalars, and their number.
const TO_GROUP: &[u8] = b"HashToGroup-OPRFV1-\x01-ristretto255-SHA512\x28";
const TO_SCALAR: &[u8] = b"HashToScalar-OPRFV1-\x01-ristretto255-SHA512\x29";

/// Takes a part of a message.
type Push<'a> = &'a mut dyn FnMut(&[u8]);

/// One use: the parts of an element's message, and what is hashed once and for all.
struct Use {
    name: &'static str,
    kind: Kind,
    write: fn(&[u8], Push<'_>),
    element_len: usize,
}

enum Kind {
    Plain,
    /// Expansion under this `DST_prime`.
    Expand(&'static [u8]),
    Hmac,
}

const USES: [Use; 7] = [
    Use {
        name: "32 bytes, 1 block",
        kind: Kind::Plain,
        write: |element, push| push(element),
        element_len: 32,
    },
    Use {
        name: "200 bytes, 2 blocks",
        kind: Kind::Plain,
        write: |element, push| push(element),
        element_len: 200,
    },
    Use {
        name: "1100 bytes, 9 blocks",
        kind: Kind::Plain,
        write: |element, push| push(element),
        element_len: 1100,
    },
    Use {
        name: "expansion to a group element",
        kind: Kind::Expand(TO_GROUP),
        write: |element, push| push(element),
        element_len: 32,
    },
    Use {
        name: "weight of a proof",
        kind: Kind::Expand(TO_SCALAR),
        write: |element, push| {
            push(&[0, 64]);
            push(&[7; 64]);
            push(&element[..2]);
            push(&[0, 32]);
            push(element);
            push(&[0, 32]);
            push(element);
            push(b"Composite");
        },
        element_len: 32,
    },
    Use {
        name: "blind",
        kind: Kind::Hmac,
        write: |element, push| {
            push(&[1; 25]);
            push(&element[..8]);
            push(element);
        },
        element_len: 32,
    },
    Use {
        name: "output",
        kind: Kind::Plain,
        write: |element, push| {
            push(&[0, 32]);
            push(element);
            push(&[0, 32]);
            push(element);
            push(b"Finalize");
        },
        element_len: 32,
    },
];

const KEY: [u8; 32] = [3; 32];

impl Use {
    fn one_by_one(&self, elements: &[Vec<u8>]) -> Vec<[u8; 64]> {
        let digest = |element: &Vec<u8>| match self.kind {
            Kind::Plain => {
                let mut hash = Sha512::new();
                (self.write)(element, &mut |part| hash.update(part));
                hash.finalize().into()
            }
            Kind::Expand(dst) => {
                let mut hash = Sha512::new().chain_update([0; BLOCK_LEN]);
                (self.write)(element, &mut |part| hash.update(part));
                let first = hash.chain_update([0, 64, 0]).chain_update(dst).finalize();
                let second = Sha512::new().chain_update(first).chain_update([1]);
                second.chain_update(dst).finalize().into()
            }
            Kind::Hmac => {
                let mut block = [0; BLOCK_LEN];
                block[..32].copy_from_slice(&KEY);
                let mut hmac = Hmac::<Sha512>::new((&block).into());
                (self.write)(element, &mut |part| hmac.update(part));
                hmac.finalize().into_bytes().into()
            }
        };
        elements.iter().map(digest).collect()
    }

    fn many(&self, sha512: Sha512Many, elements: &[Vec<u8>]) -> Vec<[u8; 64]> {
        let mut digests = Vec::with_capacity(elements.len());
        let second;
        let (construction, end) = match self.kind {
            Kind::Plain => (Construction::plain(), Vec::new()),
            Kind::Hmac => (Construction::hmac(&KEY), Vec::new()),
            Kind::Expand(dst) => {
                second = [&[1], dst].concat();
                let zeros = Midstate::after(&[[0; BLOCK_LEN]]);
                let twice = Construction::twice(zeros, Midstate::after(&[]), &second);
                (twice, [&[0, 64, 0], dst].concat())
            }
        };
        sha512.each(
            &construction,
            elements,
            |element: &Vec<u8>, message: &mut Message| {
                (self.write)(element, &mut |part| message.push(part));
                message.push(&end);
            },
            |digest| digests.push(*digest),
        );
        digests
    }
}

/// Nanoseconds an item, the least of many rounds: others may be at work on the machine.
fn least<T>(mut round: impl FnMut() -> T) -> f64 {
    let time = |_| {
        let start = Instant::now();
        black_box(round());
        start.elapsed().as_secs_f64() * 1e9 / MESSAGES as f64
    };
    (0..ROUNDS).map(time).fold(f64::INFINITY, f64::min)
}

fn main() {
    let vector = Sha512Many::avx512();
    if vector.is_none() {
        println!("this CPU has no AVX-512 F and BW: portable code only");
    }
    println!("ns a message                      sha2  portable    vector");
    for one in &USES {
        let elements: Vec<Vec<u8>> = (0..MESSAGES)
            .map(|i| (0..one.element_len).map(|j| (i * 31 + j) as u8).collect())
            .collect();
        let expected = one.one_by_one(&elements);
        let before = least(|| one.one_by_one(black_box(&elements)));
        print!("{:28} {before:9.1}", one.name);
        for code in [Some(Sha512Many::portable()), vector].into_iter().flatten() {
            assert!(one.many(code, &elements) == expected, "{}", one.name);
            print!(" {:9.1}", least(|| one.many(code, black_box(&elements))));
        }
        println!();
    }

    let wide: Vec<[u8; 64]> = (0..MESSAGES).map(|i| [i as u8; 64]).collect();
    let reduce = || wide.iter().map(Scalar::from_wide).collect::<Vec<_>>();
    let kept = least(|| std::mem::forget(reduce()));
    let dropped = least(reduce);
    println!("reduction to a scalar        {kept:9.1}");
    println!("wiping a scalar              {:9.1}", dropped - kept);
}
