//! The kernel seam: every group operation of the protocol, over slices.
//!
//! The group is ristretto255 (RFC 9496). Protocol code never holds a single point and
//! never names a curve library. It holds a batch, [`Points`], which belongs to the
//! [`Kernel`] that made it, and asks that kernel to work on the whole batch. A faster
//! kernel can then replace the reference one without a change anywhere else.
//!
//! A batch goes back only to the kernel that made it.

mod choice;
mod dalek;
pub(crate) mod hash;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod scalar;
mod self_test;

use std::fmt;

pub use choice::{AUTO, Chosen, KernelError, best, by_name, choose, chosen, kernels};
pub use scalar::Scalar;

use crate::sha512::Sha512Many;

/// Length in bytes of an encoded group element (RFC 9496, section 4).
pub const ELEMENT_LEN: usize = 32;

/// An encoded group element: the canonical 32 bytes of RFC 9496.
pub type Encoding = [u8; ELEMENT_LEN];

/// The generator (RFC 9496, appendix A.1).
const GENERATOR_ENCODING: Encoding = [
    0xe2, 0xf2, 0xae, 0x0a, 0x6a, 0xbc, 0x4e, 0x71, 0xa8, 0x84, 0xa9, 0x61, 0xc5, 0x00, 0x51, 0x5f,
    0x58, 0xe3, 0x0b, 0x6a, 0xa5, 0x82, 0xdd, 0x8d, 0xb6, 0xa6, 0x59, 0x45, 0xe0, 0x8d, 0x2d, 0x76,
];

/// The kernel on curve25519-dalek. It is the oracle for every other kernel, and what [`best`] falls
/// back to. Programs use [`best`].
///
/// # Examples
///
/// ```
/// let kernel = tallystick_protocol::group::reference();
/// assert_eq!(kernel.name(), "dalek");
/// ```
pub fn reference() -> &'static dyn Kernel {
    &dalek::Dalek
}

/// A batch of group elements, opaque and owned by one kernel.
///
/// Wiped on drop, because a batch may hold hashed identifiers. `Debug` prints the
/// length only. Only an element that came through [`Kernel::decode`] is known not to be
/// the identity.
pub struct Points(Repr);

/// One variant for each kernel.
enum Repr {
    Dalek(dalek::Batch),
    #[cfg(target_arch = "x86_64")]
    Ifma(ifma::Batch),
}

impl Points {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Dalek(batch) => batch.len(),
            #[cfg(target_arch = "x86_64")]
            Repr::Ifma(batch) => batch.len(),
        }
    }

    /// Whether the batch holds no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Points({} elements)", self.len())
    }
}

/// A precomputed table of multiples of one public point, for [`Kernel::add_base`].
///
/// Takes 30 to 100 KiB and the time of some tens of multiplications to build, so build it once for
/// each key.
pub struct Base(BaseRepr);

/// One variant for each kernel.
enum BaseRepr {
    Dalek(dalek::Table),
    #[cfg(target_arch = "x86_64")]
    Ifma(Box<ifma::Table>),
}

/// A batch goes back only to the kernel that made it.
fn foreign() -> ! {
    unreachable!("a batch of another kernel")
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Base(..)")
    }
}

/// Group arithmetic over slices. Sealed: kernels live in this module.
///
/// # Timing
///
/// Unless a method says otherwise its time depends on lengths only, so scalars and
/// points may be secret.
///
/// # Panics
///
/// Methods that take two slices panic when their lengths differ. Callers check lengths
/// that a peer can influence before they call.
pub trait Kernel: Send + Sync + sealed::Sealed {
    /// Name of the kernel, for logs and benchmarks.
    fn name(&self) -> &'static str;

    /// The SHA-512 that goes with the kernel, for whatever is hashed for each element.
    fn sha512(&self) -> Sha512Many;

    /// The table of the group's generator, `B` (RFC 9496, section 4).
    fn generator(&self) -> &Base;

    /// Builds the table of a public point. `None` when the encoding is not canonical or
    /// is the identity. Variable time in the encoding.
    fn base(&self, encoding: &Encoding) -> Option<Base>;

    /// The point of a table, as a batch of one.
    fn base_point(&self, base: &Base) -> Points;

    /// Joins batches in order.
    fn concat(&self, parts: &[&Points]) -> Points;

    /// `HashToGroup` of RFC 9497, section 4.1, under the domain separation tag `dst`:
    /// one element for each input, in order. Time depends on the inputs' lengths.
    fn hash_to_group(&self, dst: &[u8], inputs: &[&[u8]]) -> Points;

    /// Decodes each encoding and writes into `valid` whether it was accepted. A
    /// non-canonical encoding and the identity are refused. A refused slot holds the
    /// generator, so that the batch stays aligned. Variable time in the encodings.
    fn decode(&self, encodings: &[Encoding], valid: &mut [bool]) -> Points;

    /// `scalar · P` for each point.
    fn mul(&self, points: &Points, scalar: &Scalar) -> Points;

    /// `s_i · P_i` for each pair.
    fn mul_each(&self, points: &Points, scalars: &[Scalar]) -> Points;

    /// `P_i := P_i + s_i · base`.
    fn add_base(&self, points: &mut Points, base: &Base, scalars: &[Scalar]);

    /// `P_i := P_i - s_i · base`.
    fn sub_base(&self, points: &mut Points, base: &Base, scalars: &[Scalar]);

    /// [`add_base`](Kernel::add_base) and [`encode`](Kernel::encode) in one pass.
    fn add_base_encode(
        &self,
        points: &mut Points,
        base: &Base,
        scalars: &[Scalar],
    ) -> Vec<Encoding> {
        self.add_base(points, base, scalars);
        self.encode(points)
    }

    /// [`sub_base`](Kernel::sub_base) and [`encode`](Kernel::encode) in one pass.
    fn sub_base_encode(
        &self,
        points: &mut Points,
        base: &Base,
        scalars: &[Scalar],
    ) -> Vec<Encoding> {
        self.sub_base(points, base, scalars);
        self.encode(points)
    }

    /// Encodes each point, in order. The identity becomes 32 zero bytes.
    fn encode(&self, points: &Points) -> Vec<Encoding>;

    /// `Σ s_i · P_i` for each list of points, in the order of the lists: one element for each.
    /// The lists are as long as the scalars. **Variable time in scalars and points**: for public
    /// values only.
    fn msm_vartime(&self, scalars: &[Scalar], lists: &[&Points]) -> Points;

    /// [`hash_to_group`](Kernel::hash_to_group), [`mul`](Kernel::mul) and
    /// [`encode`](Kernel::encode) in one pass.
    fn hash_mul_encode(&self, dst: &[u8], inputs: &[&[u8]], scalar: &Scalar) -> Vec<Encoding> {
        self.encode(&self.mul(&self.hash_to_group(dst, inputs), scalar))
    }

    /// [`decode`](Kernel::decode), [`mul`](Kernel::mul) and [`encode`](Kernel::encode).
    /// Returns the decoded points and the encoded products. When any encoding is
    /// refused nothing is multiplied and the answer is `None`; `valid` then names the
    /// bad ones. Variable time in the encodings, not in the scalar.
    fn decode_mul_encode(
        &self,
        encodings: &[Encoding],
        scalar: &Scalar,
        valid: &mut [bool],
    ) -> Option<(Points, Vec<Encoding>)> {
        let points = self.decode(encodings, valid);
        if valid.contains(&false) {
            return None;
        }
        let products = self.encode(&self.mul(&points, scalar));
        Some((points, products))
    }
}

impl std::fmt::Debug for dyn Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernel({})", self.name())
    }
}

mod sealed {
    /// Keeps [`Kernel`](super::Kernel) closed, so that its contract can grow.
    pub trait Sealed {}
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
