use super::*;
use crate::group::{Base, Encoding, Points, Scalar, sealed};
use crate::sha512::Sha512Many;

/// A kernel that is wrong in one way: the named method alone.
struct Wrong(&'static str);

impl Wrong {
    fn wrong(&self, method: &str) -> bool {
        self.0 == method
    }
}

impl sealed::Sealed for Wrong {}

impl Kernel for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }

    fn sha512(&self) -> Sha512Many {
        reference().sha512()
    }

    fn generator(&self) -> &Base {
        reference().generator()
    }

    fn base(&self, encoding: &Encoding) -> Option<Base> {
        reference().base(encoding)
    }

    fn base_point(&self, base: &Base) -> Points {
        match self.wrong("base_point") {
            true => reference().hash_to_group(b"", &[b""]),
            false => reference().base_point(base),
        }
    }

    fn concat(&self, parts: &[&Points]) -> Points {
        let mut parts = parts.to_vec();
        if self.wrong("concat") {
            parts.reverse();
        }
        reference().concat(&parts)
    }

    fn hash_to_group(&self, dst: &[u8], inputs: &[&[u8]]) -> Points {
        let mut inputs = inputs.to_vec();
        if self.wrong("hash_to_group") && inputs.len() > 18 {
            // The last one of the rest.
            inputs[18] = b"";
        }
        reference().hash_to_group(dst, &inputs)
    }

    fn decode(&self, encodings: &[Encoding], valid: &mut [bool]) -> Points {
        let points = reference().decode(encodings, valid);
        if self.wrong("decode") {
            valid.fill(true);
        }
        points
    }

    fn mul(&self, points: &Points, scalar: &Scalar) -> Points {
        match self.wrong("mul") {
            true => reference().mul(points, &scalar.add(scalar)),
            false => reference().mul(points, scalar),
        }
    }

    fn mul_each(&self, points: &Points, scalars: &[Scalar]) -> Points {
        match (self.wrong("mul_each"), scalars.first()) {
            (true, Some(first)) => reference().mul(points, first),
            _ => reference().mul_each(points, scalars),
        }
    }

    fn add_base(&self, points: &mut Points, base: &Base, scalars: &[Scalar]) {
        let many = self.wrong("add_base to many") && scalars.len() > 64;
        match self.wrong("add_base") || many {
            true => reference().sub_base(points, base, scalars),
            false => reference().add_base(points, base, scalars),
        }
    }

    fn sub_base(&self, points: &mut Points, base: &Base, scalars: &[Scalar]) {
        match self.wrong("sub_base") {
            true => reference().add_base(points, base, scalars),
            false => reference().sub_base(points, base, scalars),
        }
    }

    fn add_base_encode(
        &self,
        points: &mut Points,
        base: &Base,
        scalars: &[Scalar],
    ) -> Vec<Encoding> {
        let mut encodings = reference().add_base_encode(points, base, scalars);
        if self.wrong("add_base_encode of many") && encodings.len() > 512 {
            encodings[512][0] ^= 1;
        }
        encodings
    }

    fn sub_base_encode(
        &self,
        points: &mut Points,
        base: &Base,
        scalars: &[Scalar],
    ) -> Vec<Encoding> {
        match self.wrong("sub_base_encode") {
            true => reference().add_base_encode(points, base, scalars),
            false => reference().sub_base_encode(points, base, scalars),
        }
    }

    fn encode(&self, points: &Points) -> Vec<Encoding> {
        let mut encodings = reference().encode(points);
        if self.wrong("encode") && encodings.len() > 15 {
            // The lanes of the second group of eight.
            encodings[15][31] ^= 1;
        }
        encodings
    }

    fn msm_vartime(&self, scalars: &[Scalar], lists: &[&Points]) -> Points {
        let mut lists = lists.to_vec();
        if self.wrong("msm_vartime of lists") && lists.len() > 1 {
            lists[1] = lists[0];
        }
        let sums = reference().msm_vartime(scalars, &lists);
        // Sums of few do without buckets, and the narrowest windows without ranges.
        let few = self.wrong("msm_vartime of few") && scalars.len() < 49;
        let many = self.wrong("msm_vartime of many") && scalars.len() > 100;
        match self.wrong("msm_vartime") || few || many {
            true => reference().mul(&sums, &scalars[0]),
            false => sums,
        }
    }

    fn hash_mul_encode(&self, dst: &[u8], inputs: &[&[u8]], scalar: &Scalar) -> Vec<Encoding> {
        let mut encodings = reference().hash_mul_encode(dst, inputs, scalar);
        if self.wrong("hash_mul_encode") {
            encodings.reverse();
        }
        encodings
    }

    fn decode_mul_encode(
        &self,
        encodings: &[Encoding],
        scalar: &Scalar,
        valid: &mut [bool],
    ) -> Option<(Points, Vec<Encoding>)> {
        let decoded = reference().decode_mul_encode(encodings, scalar, valid);
        if self.wrong("decode_mul_encode") && decoded.is_none() {
            // Takes the generator for what must be refused.
            let points = reference().decode(encodings, valid);
            let products = reference().encode(&reference().mul(&points, scalar));
            return Some((points, products));
        }
        decoded
    }
}

const DALEK: Candidate = Candidate {
    name: "dalek",
    about: "about dalek",
    find: || Some(reference()),
};
const WRONG: Candidate = Candidate {
    name: "wrong",
    about: "about wrong",
    find: || Some(&Wrong("mul")),
};
const ABSENT: Candidate = Candidate {
    name: "absent",
    about: "needs what no machine has",
    find: || None,
};
const ALL: &[Candidate] = &[ABSENT, WRONG, DALEK];

#[test]
fn every_method_that_is_wrong_fails_the_self_test() {
    assert_eq!(self_test(&Wrong("none")), Ok(()));
    for method in [
        "base_point",
        "concat",
        "hash_to_group",
        "decode",
        "mul",
        "mul_each",
        "add_base",
        "sub_base",
        "encode",
        "add_base to many",
        "add_base_encode of many",
        "sub_base_encode",
        "msm_vartime",
        "msm_vartime of few",
        "msm_vartime of many",
        "msm_vartime of lists",
        "hash_mul_encode",
        "decode_mul_encode",
    ] {
        let wrong = Wrong(method);
        assert!(self_test(&wrong).is_err(), "{method}");
    }
}

#[test]
fn a_kernel_that_fails_is_passed_over_and_told() {
    for asked in [None, Some(""), Some(AUTO)] {
        let chosen = choose_from(ALL, asked).unwrap();
        assert_eq!(chosen.kernel().name(), "dalek");
        assert_eq!(
            chosen.warning().unwrap(),
            "the kernel wrong computes wrongly here (RFC 9497); dalek is used instead"
        );
        assert_eq!(
            chosen.to_string(),
            "dalek (about dalek; the kernel wrong computes wrongly here (RFC 9497))"
        );
    }
}

#[test]
fn without_a_fault_there_is_no_warning() {
    let chosen = choose_from(&[ABSENT, DALEK], None).unwrap();
    assert_eq!(chosen.to_string(), "dalek (about dalek)");
    assert_eq!(chosen.warning(), None);
    let forced = choose_from(ALL, Some("dalek")).unwrap();
    assert_eq!(forced.to_string(), "dalek (about dalek; asked for)");
    assert_eq!(forced.warning(), None);
}

#[test]
fn what_cannot_be_had_is_not_chosen() {
    let error = |asked| choose_from(ALL, Some(asked)).unwrap_err().to_string();
    assert_eq!(
        error("fast"),
        "no kernel is called \"fast\"; this machine runs wrong, dalek"
    );
    assert_eq!(
        error("absent"),
        "this machine cannot run the kernel absent (needs what no machine has); it runs wrong, dalek"
    );
    assert_eq!(
        error("wrong"),
        "the kernel wrong computes wrongly here (RFC 9497); ask for another, or for auto"
    );
    let nothing = choose_from(&[ABSENT, WRONG], None).unwrap_err();
    assert_eq!(nothing, KernelError::AllWrong { check: "RFC 9497" });
}

#[test]
fn names_in_the_list_are_those_of_the_kernels() {
    let last = CANDIDATES.last().unwrap();
    assert_eq!(last.name, reference().name());
    for candidate in CANDIDATES {
        if let Some(kernel) = (candidate.find)() {
            assert_eq!(kernel.name(), candidate.name);
            assert_eq!(by_name(candidate.name).unwrap().name(), candidate.name);
        } else {
            assert!(matches!(
                by_name(candidate.name),
                Err(KernelError::NotHere { .. })
            ));
        }
    }
    let usable: Vec<_> = kernels().iter().map(|kernel| kernel.name()).collect();
    assert_eq!(usable.last(), Some(&"dalek"));
}

/// What the environment asks for, as the programs do, so that all tests of this process agree.
#[test]
fn the_first_choice_stands() {
    let asked = std::env::var("TALLY_KERNEL").ok();
    let first = choose(asked.as_deref()).unwrap();
    assert_eq!(choose(None).unwrap().kernel().name(), first.kernel().name());
    assert_eq!(best().name(), first.kernel().name());
    assert_eq!(
        choose(Some("fast")).unwrap_err(),
        KernelError::Settled {
            used: first.kernel().name()
        }
    );
}
