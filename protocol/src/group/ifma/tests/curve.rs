//! GF(2^255 - 19) and edwards25519 in plain lines: the oracle for the vector code.

use std::sync::LazyLock;

use num_bigint::BigUint;

/// p = 2^255 - 19.
pub(super) static P: LazyLock<BigUint> = LazyLock::new(|| (BigUint::from(1u8) << 255) - 19u8);

/// The order l of the prime subgroup.
pub(super) static ORDER: LazyLock<BigUint> = LazyLock::new(|| {
    let low = BigUint::parse_bytes(b"27742317777372353535851937790883648493", 10);
    (BigUint::from(1u8) << 252) + low.unwrap()
});

/// d = -121665/121666.
static D: LazyLock<BigUint> = LazyLock::new(|| {
    let number = |n: u32| BigUint::from(n);
    mul(&negative(&number(121_665)), &inverse(&number(121_666)))
});

/// A square root of -1: 2^((p - 1)/4).
pub(super) static I: LazyLock<BigUint> =
    LazyLock::new(|| power(&BigUint::from(2u8), &((&*P - 1u8) / 4u8)));

pub(super) fn mul(a: &BigUint, b: &BigUint) -> BigUint {
    a * b % &*P
}

pub(super) fn negative(a: &BigUint) -> BigUint {
    (&*P - a % &*P) % &*P
}

pub(super) fn power(a: &BigUint, exponent: &BigUint) -> BigUint {
    a.modpow(exponent, &P)
}

/// Zero has none, and gives zero.
pub(super) fn inverse(a: &BigUint) -> BigUint {
    power(a, &(&*P - 2u8))
}

/// By Euler's criterion; zero is one.
pub(super) fn is_square(a: &BigUint) -> bool {
    power(a, &((&*P - 1u8) / 2u8)) <= BigUint::from(1u8)
}

pub(super) fn is_negative(a: &BigUint) -> bool {
    (a % &*P).bit(0)
}

/// A point on -x² + y² = 1 + d·x²·y².
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Affine {
    pub(super) x: BigUint,
    pub(super) y: BigUint,
}

impl Affine {
    pub(super) fn identity() -> Self {
        Self {
            x: BigUint::ZERO,
            y: BigUint::from(1u8),
        }
    }

    /// The point with this y and an x that is even or odd; `None` if there is none.
    pub(super) fn with_y(y: &BigUint, odd: bool) -> Option<Self> {
        let one = BigUint::from(1u8);
        let yy = mul(y, y);
        let square = mul(&(&yy + negative(&one)), &inverse(&(mul(&D, &yy) + 1u8)));
        let mut x = power(&square, &((&*P + 3u8) / 8u8));
        if mul(&x, &x) != square {
            x = mul(&x, &I);
        }
        if mul(&x, &x) != square {
            return None;
        }
        if is_negative(&x) != odd {
            x = negative(&x);
        }
        Some(Self { x, y: y.clone() })
    }

    /// The standard generator: y = 4/5, x even.
    pub(super) fn generator() -> Self {
        let y = mul(&BigUint::from(4u8), &inverse(&BigUint::from(5u8)));
        Self::with_y(&y, false).unwrap()
    }

    /// The eight points whose order divides eight, in the order of a generator's multiples.
    pub(super) fn torsion() -> Vec<Self> {
        // l times any point has such an order.
        let mut y = BigUint::from(2u8);
        loop {
            y += 1u8;
            let Some(point) = Self::with_y(&y, false) else {
                continue;
            };
            let candidate = point.times(&ORDER);
            if candidate.times(&BigUint::from(4u8)) != Self::identity() {
                return (0..8u8)
                    .map(|n| candidate.times(&BigUint::from(n)))
                    .collect();
            }
        }
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        let product = |a, b| mul(a, b);
        let (xx, yy) = (product(&self.x, &other.x), product(&self.y, &other.y));
        let (xy, yx) = (product(&self.x, &other.y), product(&self.y, &other.x));
        let dxy = mul(&D, &mul(&xx, &yy));
        let one = BigUint::from(1u8);
        Self {
            x: mul(&(xy + yx), &inverse(&(&one + &dxy))),
            y: mul(&(xx + yy), &inverse(&(one + negative(&dxy)))),
        }
    }

    pub(super) fn negated(&self) -> Self {
        Self {
            x: negative(&self.x),
            y: self.y.clone(),
        }
    }

    pub(super) fn times(&self, scalar: &BigUint) -> Self {
        let mut sum = Self::identity();
        for bit in (0..scalar.bits()).rev() {
            sum = sum.add(&sum);
            if scalar.bit(bit) {
                sum = sum.add(self);
            }
        }
        sum
    }
}

#[test]
fn the_oracle_is_right_about_itself() {
    let torsion = Affine::torsion();
    for (n, point) in torsion.iter().enumerate() {
        assert_eq!(
            torsion[..n].iter().filter(|other| *other == point).count(),
            0
        );
        assert_eq!(point.times(&BigUint::from(8u8)), Affine::identity());
    }
    assert_eq!(Affine::generator().times(&ORDER), Affine::identity());
    assert_eq!(mul(&I, &I), negative(&BigUint::from(1u8)));
}
