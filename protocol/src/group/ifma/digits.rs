//! Scalars as signed digits. No branch and no address depends on a digit. What touches a digit is never
//! put into its caller, so that the scan of the machine code (`ct/`) finds it.

use zeroize::{Zeroize, Zeroizing};

use super::field::Mask;
use crate::group::Scalar;

/// Digits of a scalar in radix 16.
pub(super) const WINDOWS: usize = 64;

/// Digits of a scalar in radix 32.
pub(super) const FIVES: usize = 51;

/// A digit of eight scalars in radix 16, as the masks that a masked load takes. They are made once
/// and lie in memory: a mask computed next to its use could become a branch.
#[derive(Clone, Copy, Zeroize)]
pub(super) struct Window {
    /// Bit `lane` of `take[n]` is set where the digit is `n + 1` or `-(n + 1)`.
    pub(super) take: [Mask; 8],
    /// The lanes whose digit is negative.
    pub(super) negative: Mask,
}

/// All digits of eight scalars in radix 16, least first.
#[derive(Clone, Copy, Zeroize)]
pub(super) struct Windows(pub(super) [Window; WINDOWS]);

impl Windows {
    /// All scalars zero.
    pub(super) const ZERO: Self = Self(
        [Window {
            take: [0; 8],
            negative: 0,
        }; WINDOWS],
    );

    /// The same scalar in all lanes. In place, where zeros were: what is moved leaves copies behind.
    #[inline(never)]
    pub(super) fn fill_shared(&mut self, scalar: &Scalar) {
        self.set(scalar, 0xff);
    }

    /// A scalar for each lane; zero for lanes that have none. In place, where zeros were.
    #[inline(never)]
    pub(super) fn fill_each(&mut self, scalars: &[Scalar]) {
        for (lane, scalar) in scalars.iter().enumerate().take(8) {
            self.set(scalar, 1 << lane);
        }
    }

    /// As [`fill_each`](Self::fill_each), for public scalars.
    pub(super) fn each(scalars: &[Scalar]) -> Self {
        let mut windows = Self::ZERO;
        windows.fill_each(scalars);
        windows
    }

    #[inline(never)]
    fn set(&mut self, scalar: &Scalar, lanes: Mask) {
        let mut digits = Zeroizing::new([0; WINDOWS]);
        radix_16(scalar, &mut digits);
        for (window, digit) in self.0.iter_mut().zip(digits.iter()) {
            let (size, negative) = split(*digit);
            for (take, entry) in window.take.iter_mut().zip(1u8..) {
                *take |= lanes & equal(size, entry);
            }
            window.negative |= lanes & negative;
        }
    }
}

/// All digits of eight scalars in radix 32, least first: for each digit its size in each lane (0 to
/// 16) and the lanes where it is negative.
#[derive(Clone, Copy, Zeroize)]
pub(super) struct Fives {
    pub(super) sizes: [[u8; 8]; FIVES],
    pub(super) negative: [Mask; FIVES],
}

impl Fives {
    /// All scalars zero.
    pub(super) const ZERO: Self = Self {
        sizes: [[0; 8]; FIVES],
        negative: [0; FIVES],
    };

    /// A scalar for each lane; zero for lanes that have none. In place, where zeros were: what is
    /// moved leaves copies behind.
    #[inline(never)]
    pub(super) fn fill_each(&mut self, scalars: &[Scalar]) {
        let mut digits = Zeroizing::new([0; FIVES]);
        for (lane, scalar) in scalars.iter().enumerate().take(8) {
            radix_32(scalar, &mut digits);
            for (n, digit) in digits.iter().enumerate() {
                let (size, negative) = split(*digit);
                self.sizes[n][lane] = size;
                self.negative[n] |= (1 << lane) & negative;
            }
        }
    }
}

/// Size of a digit, and all ones if it is negative. Wrapping, although nothing wraps: the check would
/// be a jump after a secret.
fn split(digit: i8) -> (u8, Mask) {
    let sign = digit >> 7;
    ((digit ^ sign).wrapping_sub(sign) as u8, sign as u8)
}

/// All ones where `a == b`.
fn equal(a: u8, b: u8) -> Mask {
    // 0 - 1 borrows into the upper byte; anything else does not.
    (u16::from(a ^ b).wrapping_sub(1) >> 8) as u8
}

/// Digits from -8 to 7 (the last one from 0 to 2), least first.
fn radix_16(scalar: &Scalar, digits: &mut [i8; WINDOWS]) {
    let bytes = scalar.to_bytes();
    let mut carry = 0i8;
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes.iter()) {
        for (digit, part) in pair.iter_mut().zip([byte & 15, byte >> 4]) {
            let value = (part as i8).wrapping_add(carry);
            carry = value.wrapping_add(8) >> 4;
            *digit = value.wrapping_sub(carry << 4);
        }
    }
    // A scalar is below 2^253: nothing is carried out of the last digit.
}

/// Digits from -16 to 15 (the last one from 0 to 8), least first.
fn radix_32(scalar: &Scalar, digits: &mut [i8; FIVES]) {
    let bytes = scalar.to_bytes();
    let mut carry = 0i8;
    for (n, digit) in digits.iter_mut().enumerate() {
        let (byte, shift) = (n * 5 / 8, n * 5 % 8);
        let next = bytes.get(byte + 1).copied().unwrap_or(0);
        let pair = u16::from_le_bytes([bytes[byte], next]);
        let value = ((pair >> shift & 31) as i8).wrapping_add(carry);
        carry = value.wrapping_add(16) >> 5;
        *digit = value.wrapping_sub(carry << 5);
    }
}
