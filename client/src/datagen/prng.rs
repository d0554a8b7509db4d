//! The generator: small, written out, and the same for ever. No source of secrets.

/// SplitMix64.
pub(super) struct SplitMix(pub(super) u64);

impl SplitMix {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, by a multiply and shift. The bias is n/2^64: nothing here can see it.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

/// One word from two.
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let spread = SplitMix(a).next();
    SplitMix(spread ^ b).next()
}

/// A keyed permutation of `0..size`: a Feistel network on the next even power of two, walked until
/// it lands inside (Black and Rogaway 2002). At most four steps on average.
pub(super) struct Permutation {
    size: u64,
    half: u32,
    keys: [u64; 4],
}

impl Permutation {
    pub(super) fn new(size: u64, key: u64) -> Self {
        let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
        Self {
            size,
            half: bits.div_ceil(2).max(1),
            keys: [0, 1, 2, 3].map(|round| mix(key, round)),
        }
    }

    /// `index` below the size; the image, too.
    pub(super) fn get(&self, index: u64) -> u64 {
        debug_assert!(index < self.size);
        let mask = (1u64 << self.half) - 1;
        let mut x = index;
        loop {
            let (mut left, mut right) = (x >> self.half, x & mask);
            for key in self.keys {
                (left, right) = (right, left ^ (mix(key, right) & mask));
            }
            x = (left << self.half) | right;
            if x < self.size {
                return x;
            }
        }
    }

    /// The index whose image this is; `image` below the size.
    pub(super) fn find(&self, image: u64) -> u64 {
        debug_assert!(image < self.size);
        let mask = (1u64 << self.half) - 1;
        let mut x = image;
        loop {
            let (mut left, mut right) = (x >> self.half, x & mask);
            for key in self.keys.iter().rev() {
                (left, right) = (right ^ (mix(*key, left) & mask), left);
            }
            x = (left << self.half) | right;
            if x < self.size {
                return x;
            }
        }
    }
}
