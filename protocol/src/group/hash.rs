//! `expand_message_xmd` with SHA-512 (RFC 9380, section 5.3.1).

use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

/// Input block of SHA-512 in bytes: `s_in_bytes` of RFC 9380.
const BLOCK: usize = 128;

/// Output length in bytes. The ristretto255-SHA512 suite (RFC 9497, section 4.1) uses 64
/// both for group elements and for scalars, so one output block is enough.
pub(crate) const EXPANDED: usize = 64;

/// Expands the concatenation of `parts` to 64 uniform bytes under `dst`.
///
/// Time depends on the lengths only. The result is wiped on drop.
pub(crate) fn expand_message_xmd(dst: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; EXPANDED]> {
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
    let dst_len = [dst.len() as u8];

    // msg_prime = Z_pad || msg || l_i_b_str || I2OSP(0, 1) || DST_prime
    // b_0 = H(msg_prime)
    let mut hash = Sha512::new().chain_update([0u8; BLOCK]);
    for part in parts {
        hash.update(part);
    }
    let b_0: Zeroizing<[u8; 64]> = Zeroizing::new(
        hash.chain_update((EXPANDED as u16).to_be_bytes())
            .chain_update([0u8])
            .chain_update(dst)
            .chain_update(dst_len)
            .finalize()
            .into(),
    );
    // b_1 = H(b_0 || I2OSP(1, 1) || DST_prime); uniform_bytes = b_1
    Zeroizing::new(
        Sha512::new()
            .chain_update(b_0.as_slice())
            .chain_update([1u8])
            .chain_update(dst)
            .chain_update(dst_len)
            .finalize()
            .into(),
    )
}
