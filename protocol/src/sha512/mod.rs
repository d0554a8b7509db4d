//! SHA-512 (FIPS 180-4) of many short messages at a time.
//!
//! The OPRF hashes every element several times, and each time it is one or two blocks.
//! Where the CPU has AVX-512, eight messages are hashed at once, one in each 64-bit lane of
//! the registers; elsewhere the blocks go to the `sha2` crate one by one. Which of the two
//! works is the kernel's choice: see [`Kernel::sha512`](crate::group::Kernel::sha512).
//!
//! # Timing
//!
//! Time depends on the number and the lengths of the messages, never on their bytes. Eight
//! messages that are hashed together take as long as the longest of them.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::fmt;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::forget_registers;
use sha2::block_api::compress512;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length in bytes of a digest.
pub const DIGEST_LEN: usize = 64;

/// Length in bytes of an input block.
pub const BLOCK_LEN: usize = 128;

/// Messages that are hashed together.
const LANES: usize = 8;

/// The initial hash value (FIPS 180-4, section 5.3.5).
const INITIAL: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// Hashes lists of messages. Which code does so is fixed when it is made.
///
/// # Examples
///
/// ```
/// use tallystick_protocol::sha512::{Construction, Sha512Many};
///
/// let mut digests = Vec::new();
/// Sha512Many::portable().each(
///     &Construction::plain(),
///     ["a", "b"],
///     |name, message| {
///         message.push(b"name ");
///         message.push(name.as_bytes());
///     },
///     |digest| digests.push(*digest),
/// );
/// assert_eq!(digests.len(), 2);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Sha512Many(Code);

#[derive(Debug, Clone, Copy)]
enum Code {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
}

impl Sha512Many {
    /// The `sha2` crate, one message after the other.
    pub fn portable() -> Self {
        Self(Code::Portable)
    }

    /// Eight messages at once; `None` where the CPU or the operating system lacks AVX-512 F
    /// or BW.
    pub fn avx512() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return avx512::Avx512::detect().map(|cpu| Self(Code::Avx512(cpu)));
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// Hashes one message for each item.
    ///
    /// `write` puts the message of an item together in an empty [`Message`]; `digest` gets
    /// the digests, in the order of the items. Both may hold secrets: whatever is kept of
    /// messages, states and digests in between is wiped before this returns.
    ///
    /// An item is asked for, and written, before the digests of up to seven items before it
    /// are given out.
    pub fn each<T>(
        self,
        construction: &Construction<'_>,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(T, &mut Message),
        mut digest: impl FnMut(&[u8; DIGEST_LEN]),
    ) {
        let mut group = Group::default();
        if let Some((start, suffix)) = &construction.second {
            for message in &mut group.second {
                message.push(&[0; DIGEST_LEN]);
                message.push(suffix);
                message.pad(start);
            }
        }
        let mut items = items.into_iter();
        loop {
            let mut filled = 0;
            // The lane is asked first, so no item is taken that has none.
            for (message, item) in group.first.iter_mut().zip(items.by_ref()) {
                message.0.clear();
                write(item, message);
                message.pad(&construction.first);
                filled += 1;
            }
            self.hash(
                &construction.first,
                &group.first[..filled],
                &mut group.state,
                &mut group.digests,
            );
            if let Some((start, _)) = &construction.second {
                for (message, digest) in group.second.iter_mut().zip(&group.digests) {
                    message.0[..DIGEST_LEN].copy_from_slice(digest);
                }
                self.hash(
                    start,
                    &group.second[..filled],
                    &mut group.state,
                    &mut group.digests,
                );
            }
            group.digests[..filled].iter().for_each(&mut digest);
            if filled < LANES {
                break;
            }
        }
    }

    /// Digests of at most eight padded messages, from `start` on.
    fn hash(
        self,
        start: &Midstate,
        messages: &[Message],
        state: &mut State,
        digests: &mut [[u8; DIGEST_LEN]; LANES],
    ) {
        match self.0 {
            Code::Portable => {
                for (message, digest) in messages.iter().zip(digests) {
                    let mut state = Zeroizing::new(start.words);
                    compress512(&mut state, message.blocks());
                    for (bytes, word) in digest.as_chunks_mut::<8>().0.iter_mut().zip(&*state) {
                        *bytes = word.to_be_bytes();
                    }
                }
            }
            #[cfg(target_arch = "x86_64")]
            Code::Avx512(_) if messages.is_empty() => {}
            #[cfg(target_arch = "x86_64")]
            Code::Avx512(cpu) => {
                let mut blocks: [&[[u8; BLOCK_LEN]]; LANES] = [&[]; LANES];
                for (blocks, message) in blocks.iter_mut().zip(messages) {
                    *blocks = message.blocks();
                }
                cpu.hash(&start.words, &blocks, state, digests);
            }
        }
    }
}

/// What is done with each message.
///
/// `Debug` shows nothing: the states of an HMAC are as good as its key.
pub struct Construction<'a> {
    first: Midstate,
    second: Option<(Midstate, &'a [u8])>,
}

impl<'a> Construction<'a> {
    /// SHA-512 of the message.
    pub fn plain() -> Self {
        Self::once(Midstate::after(&[]))
    }

    /// SHA-512 of the blocks behind `start`, and then of the message.
    pub fn once(start: Midstate) -> Self {
        Self {
            first: start,
            second: None,
        }
    }

    /// The digest of [`once`](Self::once), hashed again: SHA-512 of the blocks behind
    /// `second`, then of that digest, then of `suffix`.
    pub fn twice(first: Midstate, second: Midstate, suffix: &'a [u8]) -> Self {
        Self {
            first,
            second: Some((second, suffix)),
        }
    }

    /// HMAC-SHA512 (RFC 2104) of the message under a key of 32 bytes.
    pub fn hmac(key: &[u8; 32]) -> Self {
        let under = |pad: u8| {
            // RFC 2104: a key shorter than a block is filled up with zeros.
            let mut block = Zeroizing::new([pad; BLOCK_LEN]);
            for (padded, key) in block.iter_mut().zip(key) {
                *padded ^= key;
            }
            Midstate::after(std::slice::from_ref(&*block))
        };
        Self::twice(under(0x36), under(0x5c), &[])
    }
}

impl fmt::Debug for Construction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Construction(..)")
    }
}

/// The state of SHA-512 behind whole blocks, so that a common beginning is hashed once.
///
/// Wiped on drop, redacted in `Debug`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Midstate {
    words: [u64; 8],
    blocks: u64,
}

impl Midstate {
    /// The state after these blocks; after none it is the initial hash value.
    pub fn after(blocks: &[[u8; BLOCK_LEN]]) -> Self {
        let mut state = Self {
            words: INITIAL,
            blocks: blocks.len() as u64,
        };
        compress512(&mut state.words, blocks);
        state
    }
}

impl fmt::Debug for Midstate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Midstate(..)")
    }
}

/// A message that is being put together. Wiped on drop, redacted in `Debug`.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub struct Message(Vec<u8>);

impl Message {
    /// Appends `part`.
    #[inline]
    pub fn push(&mut self, part: &[u8]) {
        self.reserve(part.len());
        self.0.extend_from_slice(part);
    }

    /// FIPS 180-4, section 5.1.2: a one bit, zeros to the end of a block but 16 bytes, and the
    /// length in bits with the blocks before `start`.
    fn pad(&mut self, start: &Midstate) {
        let len = self.0.len();
        let padded = (len + 17).next_multiple_of(BLOCK_LEN);
        // A slice holds at most 2^63 bytes: the upper half of the length is zero.
        let bits = (u128::from(start.blocks) * BLOCK_LEN as u128 + len as u128) * 8;
        self.reserve(padded - len);
        self.0.push(0x80);
        self.0.resize(padded - 16, 0);
        self.0.extend_from_slice(&bits.to_be_bytes());
    }

    /// Makes room. A vector that grew by itself would leave the message in the memory it gave
    /// up.
    #[inline]
    fn reserve(&mut self, more: usize) {
        if self.0.capacity() - self.0.len() < more {
            self.grow(more);
        }
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        // Two blocks hold what the protocol hashes for most elements.
        let room = (self.0.len() + more).next_power_of_two();
        let mut grown = Vec::with_capacity(room.max(2 * BLOCK_LEN));
        grown.extend_from_slice(&self.0);
        self.0.zeroize();
        self.0 = grown;
    }

    /// The blocks of a padded message.
    fn blocks(&self) -> &[[u8; BLOCK_LEN]] {
        self.0.as_chunks().0
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Message(..)")
    }
}

/// Eight states, one word of each in a row.
#[derive(Default, Zeroize)]
#[repr(align(64))]
struct State([[u64; LANES]; 8]);

/// What is kept for messages that are hashed together. All of it is wiped at the end of a
/// call: wiping after each group would cost a tenth of the hashing.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Group {
    first: [Message; LANES],
    /// Zeros for the first digest, the suffix, the padding: only the digest changes.
    second: [Message; LANES],
    state: State,
    digests: [[u8; DIGEST_LEN]; LANES],
}

impl Default for Group {
    fn default() -> Self {
        Self {
            first: Default::default(),
            second: Default::default(),
            state: State::default(),
            digests: [[0; DIGEST_LEN]; LANES],
        }
    }
}
