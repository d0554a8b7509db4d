//! `expand_message_xmd` with SHA-512 (RFC 9380, section 5.3.1).

use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::sha512::{BLOCK_LEN, Construction, Message, Midstate, Sha512Many};

/// Output length in bytes. The ristretto255-SHA512 suite (RFC 9497, section 4.1) uses 64
/// both for group elements and for scalars, so one output block is enough.
pub(crate) const EXPANDED: usize = 64;

/// Expands one message for each item to 64 uniform bytes under `dst`. `write` puts an item's
/// message together; `expanded` gets the results, in the order of the items.
///
/// Time depends on the lengths only. What lies between is wiped.
pub(crate) fn expand_each<T>(
    sha512: Sha512Many,
    dst: &[u8],
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(T, &mut Message),
    expanded: impl FnMut(&[u8; EXPANDED]),
) {
    // RFC 9380, section 5.3.3: a tag longer than 255 bytes is hashed first.
    let hashed: [u8; 64];
    let dst = if dst.len() > 255 {
        hashed = Sha512::new()
            .chain_update(b"H2C-OVERSIZE-DST-")
            .chain_update(dst)
            .finalize()
            .into();
        &hashed[..]
    } else {
        dst
    };
    // DST_prime = DST || I2OSP(len(DST), 1); the length fits after the step above.
    let dst_prime = [dst, &[dst.len() as u8]].concat();
    // msg_prime = Z_pad || msg || l_i_b_str || I2OSP(0, 1) || DST_prime
    let suffix = [&(EXPANDED as u16).to_be_bytes(), &[0u8][..], &dst_prime].concat();
    // b_0 = H(msg_prime), where Z_pad is a whole block
    // b_1 = H(b_0 || I2OSP(1, 1) || DST_prime); uniform_bytes = b_1
    let second = [&[1u8], &dst_prime[..]].concat();
    let construction = Construction::twice(
        Midstate::after(&[[0; BLOCK_LEN]]),
        Midstate::after(&[]),
        &second,
    );
    sha512.each(
        &construction,
        items,
        |item, message| {
            write(item, message);
            message.push(&suffix);
        },
        expanded,
    );
}

/// [`expand_each`] for the concatenation of `parts` alone. The result is wiped on drop.
pub(crate) fn expand_message_xmd(dst: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; EXPANDED]> {
    let mut uniform = Zeroizing::new([0u8; EXPANDED]);
    expand_each(
        Sha512Many::portable(),
        dst,
        [parts],
        |parts, message| parts.iter().for_each(|part| message.push(part)),
        |expanded| *uniform = *expanded,
    );
    uniform
}
