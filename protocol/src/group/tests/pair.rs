//! A batch of one kernel beside the reference's batch of the same elements.

use super::*;

/// What one kernel and the reference have made in the same way.
pub(super) struct Pair {
    pub(super) kernel: &'static dyn Kernel,
    pub(super) mine: Points,
    pub(super) theirs: Points,
}

/// A fixed base of both.
pub(super) struct BasePair {
    mine: Base,
    theirs: Base,
}

impl BasePair {
    pub(super) fn new(kernel: &dyn Kernel, encoding: &Encoding) -> Self {
        Self {
            mine: kernel.base(encoding).unwrap(),
            theirs: reference().base(encoding).unwrap(),
        }
    }

    pub(super) fn mine(&self) -> &Base {
        &self.mine
    }
}

impl Pair {
    /// Random elements: sums, with a Z of their own.
    pub(super) fn hashed(kernel: &'static dyn Kernel, seed: u64, count: usize) -> Self {
        Self {
            kernel,
            mine: super::hashed(kernel, seed, count),
            theirs: super::hashed(reference(), seed, count),
        }
    }

    /// The same elements, decoded from the reference's encodings: Z is 1. None is the identity.
    pub(super) fn decoded(&self) -> Self {
        let encodings = reference().encode(&self.theirs);
        let decode = |kernel: &dyn Kernel| {
            let mut valid = vec![false; encodings.len()];
            let points = kernel.decode(&encodings, &mut valid);
            assert!(!valid.contains(&false));
            points
        };
        Self {
            kernel: self.kernel,
            mine: decode(self.kernel),
            theirs: decode(reference()),
        }
    }

    pub(super) fn mul(&self, scalar: &Scalar) -> Self {
        Self {
            kernel: self.kernel,
            mine: self.kernel.mul(&self.mine, scalar),
            theirs: reference().mul(&self.theirs, scalar),
        }
    }

    pub(super) fn mul_each(&self, scalars: &[Scalar]) -> Self {
        Self {
            kernel: self.kernel,
            mine: self.kernel.mul_each(&self.mine, scalars),
            theirs: reference().mul_each(&self.theirs, scalars),
        }
    }

    pub(super) fn add_base(&mut self, base: &BasePair, scalars: &[Scalar]) {
        self.kernel.add_base(&mut self.mine, &base.mine, scalars);
        reference().add_base(&mut self.theirs, &base.theirs, scalars);
    }

    pub(super) fn sub_base(&mut self, base: &BasePair, scalars: &[Scalar]) {
        self.kernel.sub_base(&mut self.mine, &base.mine, scalars);
        reference().sub_base(&mut self.theirs, &base.theirs, scalars);
    }

    pub(super) fn concat(parts: &[&Self]) -> Self {
        let kernel = parts[0].kernel;
        let mine: Vec<&Points> = parts.iter().map(|part| &part.mine).collect();
        let theirs: Vec<&Points> = parts.iter().map(|part| &part.theirs).collect();
        Self {
            kernel,
            mine: kernel.concat(&mine),
            theirs: reference().concat(&theirs),
        }
    }

    pub(super) fn sums(scalars: &[Scalar], lists: &[&Self]) -> Self {
        let kernel = lists[0].kernel;
        let mine: Vec<&Points> = lists.iter().map(|list| &list.mine).collect();
        let theirs: Vec<&Points> = lists.iter().map(|list| &list.theirs).collect();
        Self {
            kernel,
            mine: kernel.msm_vartime(scalars, &mine),
            theirs: reference().msm_vartime(scalars, &theirs),
        }
    }

    /// Both encode to the same; gives the encodings.
    #[track_caller]
    pub(super) fn check(&self, what: impl FnOnce() -> String) -> Vec<Encoding> {
        let theirs = reference().encode(&self.theirs);
        let mine = self.kernel.encode(&self.mine);
        if mine != theirs {
            let bad: Vec<usize> = (0..theirs.len().max(mine.len()))
                .filter(|i| mine.get(*i) != theirs.get(*i))
                .collect();
            panic!(
                "{}: {}: lanes {bad:?} of {}",
                self.kernel.name(),
                what(),
                theirs.len()
            );
        }
        mine
    }
}

/// A number below 2^252 as a scalar: the four highest bits of `bytes` are dropped.
pub(super) fn number(mut bytes: [u8; 32]) -> Scalar {
    bytes[31] &= 0x0f;
    Scalar::from_canonical(&bytes).unwrap()
}

/// `digit` in all places of `bits` bits that lie below bit 252.
pub(super) fn repeated(digit: u32, bits: usize) -> Scalar {
    let mut bytes = [0u8; 32];
    for bit in 0..252 / bits * bits {
        if digit >> (bit % bits) & 1 == 1 {
            bytes[bit / 8] |= 1 << (bit % 8);
        }
    }
    number(bytes)
}

/// Scalars that something is known to go wrong with: small ones, those around the order and its
/// half, powers of two and their neighbours, and digits at the borders of windows of four to
/// thirteen bits.
pub(super) fn specials() -> Vec<Scalar> {
    let mut found: Vec<Scalar> = (0..=40).map(small).collect();
    let half = small(2).invert();
    for less in [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33] {
        found.push(small(0).sub(&small(less)));
        // (l + 1)/2 is a half.
        found.push(half.sub(&small(less)));
        found.push(half.add(&small(less)));
    }
    found.push(half);
    let mut power = small(1);
    for _ in 0..253 {
        found.push(power.sub(&small(1)));
        let next = power.add(&power);
        found.push(power);
        power = next;
    }
    for byte in [
        0x88, 0x77, 0xf0, 0x0f, 0x80, 0x08, 0x78, 0x87, 0xff, 0xaa, 0x55,
    ] {
        found.push(number([byte; 32]));
    }
    for bits in 4..=13 {
        let half = 1 << (bits - 1);
        for digit in [1, half - 1, half, half + 1, 2 * half - 2, 2 * half - 1] {
            found.push(repeated(digit, bits));
        }
    }
    found
}
