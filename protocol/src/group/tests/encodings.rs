//! A table of encodings: what is accepted and what is refused, in every lane of every short batch.

use super::*;

struct Case {
    name: String,
    encoding: Encoding,
    valid: bool,
}

/// RFC 9496, appendix A.1, from the first multiple on: the identity is refused here.
const MULTIPLES: [&str; 15] = [
    "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76",
    "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
    "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259",
    "da80862773358b466ffadfe0b3293ab3d9fd53c5ea6c955358f568322daf6a57",
    "e882b131016b52c1d3337080187cf768423efccbb517bb495ab812c4160ff44e",
    "f64746d3c92b13050ed8d80236a7f0007c3b3f962f5ba793d19a601ebb1df403",
    "44f53520926ec81fbd5a387845beb7df85a96a24ece18738bdcfa6a7822a176d",
    "903293d8f2287ebe10e2374dc1a53e0bc887e592699f02d077d5263cdd55601c",
    "02622ace8f7303a31cafc63f8fc48fdc16e1c8c8d234b2f0d6685282a9076031",
    "20706fd788b2720a1ed2a5dad4952b01f413bcf0e7564de8cdc816689e2db95f",
    "bce83f8ba5dd2fa572864c24ba1810f9522bc6004afe95877ac73241cafdab42",
    "e4549ee16b9aa03099ca208c67adafcafa4c3f3e4e5303de6026e3ca8ff84460",
    "aa52e000df2e16f55fb1032fc33bc42742dad6bd5a8fc0be0167436c5948501f",
    "46376b80f409b29dc2b5f6f0c52591990896e5716f41477cd30085ab7f10301e",
    "e0c418f7c8d9c4cdd7395b93ea124f3ad99021bb681dfc3302a9d99a2e53e64e",
];

/// RFC 9496, appendix A.2.
const INVALID: [(&str, &[&str]); 5] = [
    (
        "not canonical",
        &[
            "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ],
    ),
    (
        "negative",
        &[
            "0100000000000000000000000000000000000000000000000000000000000000",
            "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
            "c34c4e1826e5d403b78e246e88aa051c36ccf0aafebffe137d148a2bf9104562",
            "c940e5a4404157cfb1628b108db051a8d439e1a421394ec4ebccb9ec92a8ac78",
            "47cfc5497c53dc8e61c91d17fd626ffb1c49e2bca94eed052281b510b1117a24",
            "f1c6165d33367351b0da8f6e4511010c68174a03b6581212c71c0e1d026c3c72",
            "87260f7a2f12495118360f02c26a470f450dadf34a413d21042b43b9d93e1309",
        ],
    ),
    (
        "x² is no square",
        &[
            "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
            "4eac077a713c57b4f4397629a4145982c661f48044dd3f96427d40b147d9742f",
            "de6a7b00deadc788eb6b6c8d20c0ae96c2f2019078fa604fee5b87d6e989ad7b",
            "bcab477be20861e01e4a0e295284146a510150d9817763caf1a6f4b422d67042",
            "2a292df7e32cababbd9de088d1d1abec9fc0440f637ed2fba145094dc14bea08",
            "f4a9e534fc0d216c44b218fa0c42d99635a0127ee2e53c712f70609649fdff22",
            "8268436f8c4126196cf64b3c7ddbda90746a378625f9813dd9b8457077256731",
            "2810e5cbc2cc4d4eece54f61c6f69758e289aa7ab440b3cbeaa21995c2f4232b",
        ],
    ),
    (
        "xy is negative",
        &[
            "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e",
            "a45fdc55c76448c049a1ab33f17023edfb2be3581e9c7aade8a6125215e04220",
            "d483fe813c6ba647ebbfd3ec41adca1c6130c2beeee9d9bf065c8d151c5f396e",
            "8a2e1d30050198c65a54483123960ccc38aef6848e1ec8f5f780e8523769ba32",
            "32888462f8b486c68ad7dd9610be5192bbeaf3b443951ac1a8118419d9fa097b",
            "227142501b9d4355ccba290404bde41575b037693cef1f438c47f8fbf35d1165",
            "5c37cc491da847cfeb9281d407efc41e15144c876e0170b499a96a22ed31e01e",
            "445425117cb8c90edcbc7c1cc0e74f747f2c1efa5630a967c64f287792a48a4b",
        ],
    ),
    (
        "y is zero (s = -1)",
        &["ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"],
    ),
];

/// `number`, little-endian, less than 2^255 by `below`: p is less by 19.
fn below_2_255(below: u8) -> Encoding {
    let mut bytes = [0xff; 32];
    bytes[0] -= below - 1;
    bytes[31] = 0x7f;
    bytes
}

/// p - s for an s below p.
fn negated(s: &Encoding) -> Encoding {
    let mut bytes = below_2_255(19);
    let mut borrow = 0i16;
    for (byte, s) in bytes.iter_mut().zip(s) {
        let difference = i16::from(*byte) - i16::from(*s) - borrow;
        borrow = i16::from(difference < 0);
        *byte = difference as u8;
    }
    bytes
}

fn cases() -> Vec<Case> {
    let case = |name: String, encoding, valid| Case {
        name,
        encoding,
        valid,
    };
    let mut cases = vec![case("the identity".to_owned(), [0; 32], false)];
    for (n, text) in MULTIPLES.iter().enumerate() {
        let encoding = bytes(text);
        cases.push(case(format!("{}·B", n + 1), encoding, true));
        if n < 3 {
            let mut high = encoding;
            high[31] |= 0x80;
            cases.push(case(format!("{}·B, bit 255 set", n + 1), high, false));
            let negated = negated(&encoding);
            cases.push(case(format!("{}·B, negated", n + 1), negated, false));
        }
    }
    for (name, texts) in INVALID {
        for text in texts {
            cases.push(case(format!("{name}: {text}"), bytes(text), false));
        }
    }
    // p to 2^255 - 1: numbers from 0 to 18 in another form, some of elements.
    for below in 1..=19 {
        let name = format!("2^255 - {below}");
        cases.push(case(name, below_2_255(below), false));
    }
    for small in 0..20 {
        let mut encoding = [0; 32];
        encoding[0] = small;
        encoding[31] = 0x80;
        cases.push(case(format!("2^255 + {small}"), encoding, false));
    }
    cases.push(case("2^256 - 1".to_owned(), [0xff; 32], false));
    // Small even numbers: half of them are elements, which the reference tells.
    for small in (2..20).step_by(2) {
        for encoding in [below_2_255(19 + small), {
            let mut encoding = [0; 32];
            encoding[0] = small;
            encoding
        }] {
            let valid = reference().base(&encoding).is_some();
            cases.push(case(format!("about ±{small}"), encoding, valid));
        }
    }
    cases
}

/// Decodes, and compares with what must come: the flags, the elements, and the generator where an
/// encoding is refused.
#[track_caller]
fn decodes(kernel: &dyn Kernel, batch: &[Encoding], expected: &[bool], name: &str) {
    // Flags as wrong as can be, so that each must be written.
    let mut valid: Vec<bool> = expected.iter().map(|valid| !valid).collect();
    let points = kernel.decode(batch, &mut valid);
    let at = || format!("{}: {name} among {}", kernel.name(), batch.len());
    assert_eq!(valid, expected, "{}", at());
    let filled: Vec<Encoding> = batch
        .iter()
        .zip(expected)
        .map(|(encoding, valid)| if *valid { *encoding } else { bytes(B) })
        .collect();
    assert_eq!(kernel.encode(&points), filled, "{}", at());
}

#[test]
fn the_table_is_that_of_the_reference() {
    let cases = cases();
    assert!(cases.iter().filter(|case| case.valid).count() > 15);
    for case in &cases {
        decodes(reference(), &[case.encoding], &[case.valid], &case.name);
    }
}

#[test]
fn each_encoding_in_every_lane_of_every_short_batch() {
    let good = reference().encode(&hashed(reference(), 3, 17));
    for &kernel in kernels() {
        for case in cases() {
            assert_eq!(
                kernel.base(&case.encoding).is_some(),
                case.valid,
                "{}: base of {}",
                kernel.name(),
                case.name
            );
            // Lengths up to two groups and one element; every lane of the last group, where the
            // others are filled.
            for len in 1..=17 {
                for lane in 0..len {
                    let mut batch = good[..len].to_vec();
                    let mut expected = vec![true; len];
                    batch[lane] = case.encoding;
                    expected[lane] = case.valid;
                    if kernel.name() == "dalek" && len > 2 {
                        break;
                    }
                    decodes(kernel, &batch, &expected, &case.name);
                }
            }
        }
    }
}

#[test]
fn a_product_needs_every_encoding_good() {
    let good = reference().encode(&hashed(reference(), 3, 33));
    let cases: Vec<Case> = cases().into_iter().filter(|case| !case.valid).collect();
    for &kernel in kernels() {
        for (n, case) in cases.iter().enumerate() {
            let len = 1 + n % 33;
            let lane = (n * 7) % len;
            let mut batch = good[..len].to_vec();
            batch[lane] = case.encoding;
            let mut valid = vec![n % 2 == 0; len];
            let product = kernel.decode_mul_encode(&batch, &small(3), &mut valid);
            assert!(product.is_none(), "{}: {}", kernel.name(), case.name);
            for (at, valid) in valid.iter().enumerate() {
                assert_eq!(*valid, at != lane, "{}: {}", kernel.name(), case.name);
            }
        }
    }
}

#[test]
fn any_set_of_lanes_may_be_bad() {
    let good = reference().encode(&hashed(reference(), 4, 16));
    let cases: Vec<Case> = cases().into_iter().filter(|case| !case.valid).collect();
    for &kernel in kernels() {
        // All sets of the first group, and with each another one of the second.
        for set in 0u32..256 {
            let set = set | (set.wrapping_mul(0x9d) & 0xff) << 8;
            let len = 9 + set as usize % 8;
            let expected: Vec<bool> = (0..len).map(|lane| set >> lane & 1 == 0).collect();
            let batch: Vec<Encoding> = (0..len)
                .map(|lane| match expected[lane] {
                    true => good[lane],
                    false => cases[(set as usize + lane * 5) % cases.len()].encoding,
                })
                .collect();
            decodes(kernel, &batch, &expected, &format!("set {set:x}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One string in sixteen is an element; a good one with a bit changed is as random.
    #[test]
    fn random_bytes_decode_as_with_the_reference(
        mut batch in prop::collection::vec(any::<Encoding>(), 0..40),
        plausible: bool,
        bit in 0usize..256,
    ) {
        let good = reference().encode(&hashed(reference(), bit as u64, 40));
        for (n, encoding) in batch.iter_mut().enumerate() {
            if n % 3 == 1 {
                *encoding = good[n];
                encoding[bit / 8] ^= 1 << (bit % 8);
            }
            if plausible {
                encoding[0] &= 0xfe;
                encoding[31] &= 0x7f;
            }
        }
        let mut expected = vec![false; batch.len()];
        reference().decode(&batch, &mut expected);
        for &kernel in kernels() {
            decodes(kernel, &batch, &expected, "random bytes");
        }
    }
}
