//! The reference kernel, on curve25519-dalek.
//!
//! Encoding costs an inverse square root for each point (4.5 µs). dalek can encode the
//! doubles of a whole batch with one inversion (0.5 µs each), so the products of a
//! multiplication are kept as halves: the scalar is halved first, and encoding doubles.
//! Every operation here is linear, so a batch of halves stays one.

use std::sync::LazyLock;

use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::constants::{RISTRETTO_BASEPOINT_POINT, RISTRETTO_BASEPOINT_TABLE};
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoBasepointTable};
use curve25519_dalek::scalar::Scalar as Inner;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Base, BaseRepr, Encoding, Kernel, Points, Repr, Scalar, hash, sealed};
use crate::sha512::Sha512Many;

/// The kernel; it has no state of its own.
pub(super) struct Dalek;

/// A batch: the elements are `points`, or their doubles when `halved`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Batch {
    points: Vec<RistrettoPoint>,
    halved: bool,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// The scalar to use for terms that are added to this batch.
    fn term(&self, scalar: &Inner) -> Zeroizing<Inner> {
        Zeroizing::new(if self.halved {
            scalar.div_by_2()
        } else {
            *scalar
        })
    }
}

/// The table of one point. On the heap: it is 30 KiB.
pub(super) type Table = Box<RistrettoBasepointTable>;

static GENERATOR: LazyLock<Base> =
    LazyLock::new(|| Base(BaseRepr::Dalek(Box::new(RISTRETTO_BASEPOINT_TABLE.clone()))));

impl sealed::Sealed for Dalek {}

impl Kernel for Dalek {
    fn name(&self) -> &'static str {
        "dalek"
    }

    fn sha512(&self) -> Sha512Many {
        Sha512Many::portable()
    }

    fn generator(&self) -> &Base {
        &GENERATOR
    }

    fn base(&self, encoding: &Encoding) -> Option<Base> {
        let point = decode_one(encoding)?;
        Some(Base(BaseRepr::Dalek(Box::new(
            RistrettoBasepointTable::create(&point),
        ))))
    }

    fn base_point(&self, base: &Base) -> Points {
        whole(vec![table(base).basepoint()])
    }

    fn concat(&self, parts: &[&Points]) -> Points {
        let mut points = Vec::with_capacity(parts.iter().map(|p| p.len()).sum());
        for part in parts {
            let part = batch(part);
            // Halves are only worth keeping through one encoding, so a join drops them.
            points.extend(
                part.points
                    .iter()
                    .map(|p| if part.halved { p + p } else { *p }),
            );
        }
        whole(points)
    }

    fn hash_to_group(&self, dst: &[u8], inputs: &[&[u8]]) -> Points {
        let mut points = Vec::with_capacity(inputs.len());
        hash::expand_each(
            self.sha512(),
            dst,
            inputs,
            |input, message| message.push(input),
            |uniform| points.push(RistrettoPoint::from_uniform_bytes(uniform)),
        );
        whole(points)
    }

    fn decode(&self, encodings: &[Encoding], valid: &mut [bool]) -> Points {
        assert_eq!(encodings.len(), valid.len(), "one flag for each encoding");
        whole(
            encodings
                .iter()
                .zip(valid)
                .map(|(encoding, valid)| {
                    let point = decode_one(encoding);
                    *valid = point.is_some();
                    point.unwrap_or(RISTRETTO_BASEPOINT_POINT)
                })
                .collect(),
        )
    }

    fn mul(&self, points: &Points, scalar: &Scalar) -> Points {
        let batch = batch(points);
        let half = Zeroizing::new(scalar.0.div_by_2());
        // The halves of k·P are (k/2)·P; the halves of k·2Q are k·Q = (k/2)·2Q.
        let factor = if batch.halved { &scalar.0 } else { &*half };
        halves(batch.points.iter().map(|p| p * factor).collect())
    }

    fn mul_each(&self, points: &Points, scalars: &[Scalar]) -> Points {
        let batch = batch(points);
        assert_eq!(batch.len(), scalars.len(), "one scalar for each point");
        halves(
            batch
                .points
                .iter()
                .zip(scalars)
                .map(|(p, s)| {
                    let half = Zeroizing::new(s.0.div_by_2());
                    p * if batch.halved { &s.0 } else { &*half }
                })
                .collect(),
        )
    }

    fn add_base(&self, points: &mut Points, base: &Base, scalars: &[Scalar]) {
        let Repr::Dalek(batch) = &mut points.0 else {
            super::foreign()
        };
        assert_eq!(batch.len(), scalars.len(), "one scalar for each point");
        for (i, scalar) in scalars.iter().enumerate() {
            let term = batch.term(&scalar.0);
            batch.points[i] += &*term * table(base);
        }
    }

    fn sub_base(&self, points: &mut Points, base: &Base, scalars: &[Scalar]) {
        let Repr::Dalek(batch) = &mut points.0 else {
            super::foreign()
        };
        assert_eq!(batch.len(), scalars.len(), "one scalar for each point");
        for (i, scalar) in scalars.iter().enumerate() {
            let term = batch.term(&scalar.0);
            batch.points[i] -= &*term * table(base);
        }
    }

    fn encode(&self, points: &Points) -> Vec<Encoding> {
        let batch = batch(points);
        if batch.halved {
            RistrettoPoint::double_and_compress_batch(&batch.points)
                .iter()
                .map(CompressedRistretto::to_bytes)
                .collect()
        } else {
            batch
                .points
                .iter()
                .map(|p| p.compress().to_bytes())
                .collect()
        }
    }

    fn msm_vartime(&self, scalars: &[Scalar], lists: &[&Points]) -> Points {
        let sum = |points: &&Points| {
            let batch = batch(points);
            assert_eq!(batch.len(), scalars.len(), "one scalar for each point");
            let scalars = scalars.iter().map(|s| &s.0);
            let sum = RistrettoPoint::vartime_multiscalar_mul(scalars, &batch.points);
            if batch.halved { sum + sum } else { sum }
        };
        whole(lists.iter().map(sum).collect())
    }
}

/// RFC 9497, section 4.1, `DeserializeElement`: canonical and not the identity.
fn decode_one(encoding: &Encoding) -> Option<RistrettoPoint> {
    CompressedRistretto(*encoding)
        .decompress()
        .filter(|point| !point.is_identity())
}

fn whole(points: Vec<RistrettoPoint>) -> Points {
    Points(Repr::Dalek(Batch {
        points,
        halved: false,
    }))
}

fn halves(points: Vec<RistrettoPoint>) -> Points {
    Points(Repr::Dalek(Batch {
        points,
        halved: true,
    }))
}

fn batch(points: &Points) -> &Batch {
    match &points.0 {
        Repr::Dalek(batch) => batch,
        #[cfg(target_arch = "x86_64")]
        _ => super::foreign(),
    }
}

fn table(base: &Base) -> &RistrettoBasepointTable {
    match &base.0 {
        BaseRepr::Dalek(table) => table,
        #[cfg(target_arch = "x86_64")]
        _ => super::foreign(),
    }
}
