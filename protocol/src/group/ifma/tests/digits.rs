//! Digits add up to their scalar, and stay within the tables.

use num_bigint::BigInt;

use crate::group::Scalar;
use crate::group::ifma::digits::{Fives, Windows};

fn small(value: u64) -> Scalar {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    Scalar::from_canonical(&bytes).unwrap()
}

/// Borders of digits, the largest scalars, and some with nothing special.
fn scalars() -> Vec<Scalar> {
    let mut found: Vec<Scalar> = (0..70).map(small).collect();
    for n in 0..70 {
        found.push(small(0).sub(&small(n + 1)));
        found.push(small(n).half());
    }
    for byte in 0..=255 {
        let mut bytes = [byte; 32];
        bytes[31] &= 0x0f;
        found.push(Scalar::from_canonical(&bytes).unwrap());
        found.push(Scalar::hash(b"digits", &[&[byte]]));
    }
    found
}

fn number(scalar: &Scalar) -> BigInt {
    BigInt::from_bytes_le(num_bigint::Sign::Plus, &*scalar.to_bytes())
}

fn signed(size: u8, negative: u8, lane: usize) -> BigInt {
    let size = BigInt::from(size);
    if negative >> lane & 1 == 1 {
        -size
    } else {
        size
    }
}

#[test]
fn digits_add_up() {
    let scalars = scalars();
    for chunk in scalars.chunks(8) {
        let (windows, mut fives) = (Windows::each(chunk), Fives::ZERO);
        fives.fill_each(chunk);
        for lane in 0..8 {
            let expected = chunk.get(lane).map_or(BigInt::ZERO, number);
            let windows = windows.0.iter().rev().fold(BigInt::ZERO, |sum, window| {
                let taken: Vec<u8> = (1..=8)
                    .filter(|n| window.take[usize::from(*n) - 1] >> lane & 1 == 1)
                    .collect();
                assert!(taken.len() <= 1, "one entry at most");
                let size = taken.first().copied().unwrap_or(0);
                sum * 16 + signed(size, window.negative, lane)
            });
            assert_eq!(windows, expected);
            let digits = fives.sizes.iter().zip(fives.negative).rev();
            let fives = digits.fold(BigInt::ZERO, |sum, (sizes, negative)| {
                assert!(sizes[lane] <= 16);
                sum * 32 + signed(sizes[lane], negative, lane)
            });
            assert_eq!(fives, expected);
        }
    }
    for scalar in &scalars {
        let (mut shared, each) = (Windows::ZERO, Windows::each(std::slice::from_ref(scalar)));
        shared.fill_shared(scalar);
        for (shared, each) in shared.0.iter().zip(&each.0) {
            for (shared, each) in shared.take.iter().zip(each.take) {
                assert_eq!(*shared, if each == 1 { 0xff } else { 0 });
            }
            assert_eq!(shared.negative & 1, each.negative);
        }
    }
}
