use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::{Digest, Sha512};

use super::*;

/// Every code that this CPU has. Says when the vector code is left out.
fn codes() -> Vec<Sha512Many> {
    let vector = Sha512Many::avx512();
    if vector.is_none() {
        eprintln!("skipped: this CPU has no AVX-512 F and BW");
    }
    [Some(Sha512Many::portable()), vector]
        .into_iter()
        .flatten()
        .collect()
}

fn digests<M: AsRef<[u8]>>(
    code: Sha512Many,
    construction: &Construction<'_>,
    messages: &[M],
) -> Vec<[u8; 64]> {
    let mut digests = Vec::new();
    code.each(
        construction,
        messages,
        |bytes, message| message.push(bytes.as_ref()),
        |digest| digests.push(*digest),
    );
    digests
}

/// Bytes that differ from place to place and from message to message.
fn bytes(len: usize, salt: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i * 7 + salt * 131 + (i >> 8)) as u8)
        .collect()
}

fn oracle<M: AsRef<[u8]>>(messages: &[M]) -> Vec<[u8; 64]> {
    messages.iter().map(|m| Sha512::digest(m).into()).collect()
}

fn same<M: AsRef<[u8]>>(messages: &[M]) {
    let expected = oracle(messages);
    for code in codes() {
        let found = digests(code, &Construction::plain(), messages);
        assert_eq!(found, expected, "{code:?}");
    }
}

/// The examples of FIPS 180-4 (NIST, "SHA-512 examples"), and a million times "a".
#[test]
fn nist_examples() {
    let million = vec![b'a'; 1_000_000];
    let examples: [(&[u8], &str); 4] = [
        (
            b"",
            "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
             47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
        ),
        (
            b"abc",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
        (
            b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn\
              hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018\
             501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909",
        ),
        (
            &million,
            "e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973eb\
             de0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b",
        ),
    ];
    for code in codes() {
        let found = digests(code, &Construction::plain(), &examples.map(|(m, _)| m));
        for (digest, (_, expected)) in found.iter().zip(examples) {
            assert_eq!(hex::encode(digest), expected, "{code:?}");
        }
    }
}

/// The first round of NIST's Monte Carlo test (SHAVS, section 6.4) under the seed of its
/// SHA512Monte file: a thousand digests, each of the three before it.
#[test]
fn nist_monte_carlo() {
    let seed = hex::decode(
        "5c337de5caf35d18ed90b5cddfce001ca1b8ee8602f367e7c24ccca6f893802f\
         b1aca7a3dae32dcd60800a59959bc540d63237876b799229ae71a2526fbc52cd",
    )
    .unwrap();
    for code in codes() {
        let mut last = [(); 3].map(|()| seed.clone());
        for _ in 0..1000 {
            let digest = digests(code, &Construction::plain(), &[last.concat()])[0];
            last.rotate_left(1);
            last[2] = digest.to_vec();
        }
        assert_eq!(
            hex::encode(&last[2]),
            "ada69add0071b794463c8806a177326735fa624b68ab7bcab2388b9276c036e4\
             eaaff87333e83c81c0bca0359d4aeebcbcfd314c0630e0c2af68c1fb19cc470e",
            "{code:?}"
        );
    }
}

#[test]
fn every_length_in_every_lane() {
    for len in 0..=300 {
        // The others differ in length too, most of them in blocks.
        for lane in 0..LANES {
            let mut messages: Vec<_> = (0..LANES).map(|i| bytes((i * 61) % 290, i)).collect();
            messages[lane] = bytes(len, lane);
            same(&messages);
        }
        same(&(0..LANES).map(|i| bytes(len, i)).collect::<Vec<_>>());
    }
}

#[test]
fn any_number_of_messages() {
    for count in 0..=17 {
        same(&(0..count).map(|i| bytes(20 + i, i)).collect::<Vec<_>>());
    }
}

#[test]
fn a_long_message_among_short_ones() {
    for lane in 0..LANES {
        let mut messages: Vec<_> = (0..LANES).map(|i| bytes(i, i)).collect();
        messages[lane] = bytes(65_535, 3);
        same(&messages);
    }
}

/// Nothing of a group is left for the next, which is shorter.
#[test]
fn a_short_group_after_a_long_one() {
    let long = (0..8).map(|i| bytes(1100 - i * 100, i));
    let short = (0..11).map(|i| bytes(i, i));
    same(&long.chain(short).collect::<Vec<_>>());
}

#[test]
fn a_message_of_many_parts_is_their_concatenation() {
    let whole = bytes(700, 1);
    for code in codes() {
        for size in [1, 3, 64, 127, 128, 129, 699] {
            let mut found = Vec::new();
            code.each(
                &Construction::plain(),
                [&whole],
                |whole, message| whole.chunks(size).for_each(|part| message.push(part)),
                |digest| found.push(*digest),
            );
            assert_eq!(found, oracle(&[&whole]));
        }
    }
}

#[test]
fn nothing_shows_a_value() {
    let mut message = Message::default();
    message.push(b"secret");
    assert_eq!(format!("{message:?}"), "Message(..)");
    assert_eq!(format!("{:?}", Midstate::after(&[])), "Midstate(..)");
    let hmac = Construction::hmac(&[1; 32]);
    assert_eq!(format!("{hmac:?}"), "Construction(..)");
}

proptest! {
    #[test]
    fn as_sha2_does(messages: Vec<Vec<u8>>) {
        same(&messages);
    }

    #[test]
    fn blocks_before_the_message_count(
        blocks in prop::collection::vec(prop::array::uniform32(any::<[u8; 4]>()), 0..4),
        lens in prop::collection::vec(0usize..400, 0..18),
    ) {
        let blocks: Vec<[u8; 128]> =
            blocks.iter().map(|b| b.as_flattened().try_into().unwrap()).collect();
        let messages: Vec<_> = lens.iter().enumerate().map(|(i, len)| bytes(*len, i)).collect();
        let whole: Vec<_> =
            messages.iter().map(|m| [blocks.as_flattened(), m].concat()).collect();
        for code in codes() {
            let construction = Construction::once(Midstate::after(&blocks));
            prop_assert_eq!(digests(code, &construction, &messages), oracle(&whole));
        }
    }

    #[test]
    fn a_second_hash_takes_digest_and_suffix(
        suffix in prop::collection::vec(any::<u8>(), 0..300),
        lens in prop::collection::vec(0usize..400, 0..18),
    ) {
        let messages: Vec<_> = lens.iter().enumerate().map(|(i, len)| bytes(*len, i)).collect();
        let block = [9; BLOCK_LEN];
        let whole: Vec<_> = oracle(&messages)
            .iter()
            .map(|digest| [&block, &digest[..], &suffix].concat())
            .collect();
        let second = Midstate::after(&[block]);
        let construction = Construction::twice(Midstate::after(&[]), second, &suffix);
        for code in codes() {
            prop_assert_eq!(digests(code, &construction, &messages), oracle(&whole));
        }
    }

    #[test]
    fn hmac_is_hmac(key: [u8; 32], messages: Vec<Vec<u8>>) {
        let expected: Vec<[u8; 64]> = messages
            .iter()
            .map(|m| {
                let hmac = Hmac::<Sha512>::new_from_slice(&key).unwrap();
                hmac.chain_update(m).finalize().into_bytes().into()
            })
            .collect();
        for code in codes() {
            prop_assert_eq!(&digests(code, &Construction::hmac(&key), &messages), &expected);
        }
    }
}
