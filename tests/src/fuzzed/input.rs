//! Decisions taken from bytes.

/// A function that is fuzzed, and where its fuzzer starts.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of the fuzz target and of the folder of its corpus.
    pub name: &'static str,
    /// Panics when a rule is broken.
    pub run: fn(&[u8]),
    /// Inputs that reach far in.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    /// One target.
    #[must_use]
    pub const fn new(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Self {
        Self { name, run, seeds }
    }
}

/// Takes decisions from the front of an input; past its end each is zero.
#[derive(Debug)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// One of `n` choices, `n` at least 1.
    pub(super) fn below(&mut self, n: usize) -> usize {
        match n {
            0..=256 => usize::from(self.u8()) % n,
            _ => usize::from(self.u16()) % n,
        }
    }

    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// At most `n` bytes.
    pub(super) fn take(&mut self, n: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        head
    }

    /// 32 bytes, zeros past the end.
    pub(super) fn array(&mut self) -> [u8; 32] {
        std::array::from_fn(|_| self.u8())
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Changes some bytes of `original`, as decided: by place and value, up to three of them, and perhaps
/// its length.
pub(super) fn edited(original: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=input.below(3) {
        let at = usize::from(input.u16()) % (bytes.len() + 1);
        match input.below(4) {
            0 if at < bytes.len() => bytes[at] ^= 1 << input.below(8),
            1 if at < bytes.len() => bytes[at] = input.u8(),
            2 if at < bytes.len() => {
                let end = (at + 1 + input.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let length = input.below(40);
                let insert = input.take(length).to_vec();
                bytes.splice(at..at, insert);
            }
        }
    }
    bytes
}
