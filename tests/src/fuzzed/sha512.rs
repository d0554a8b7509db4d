//! SHA-512 of many messages, by every code that the CPU has, beside the sha2 crate.

use sha2::{Digest, Sha512};
use tallystick_protocol::sha512::{BLOCK_LEN, Construction, Midstate, Sha512Many};

use super::input::Input;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    // Bits 0 and 1: blocks before the first and before the second hash; bit 2: whether there is a
    // second.
    let how = input.u8();
    let block = |bit: u8, fill: u8| match how & bit {
        0 => Vec::new(),
        _ => vec![[fill; BLOCK_LEN]],
    };
    let (first, second) = (block(1, input.u8()), block(2, input.u8()));
    let suffix = input.below(200);
    let suffix = input.take(suffix);
    let mut messages: Vec<&[u8]> = Vec::new();
    while !input.is_empty() {
        let len = usize::from(input.u8()) * usize::from(1 + input.u8() % 8);
        messages.push(input.take(len));
    }

    let digest = |parts: &[&[u8]]| -> [u8; 64] { Sha512::digest(parts.concat()).into() };
    let expected: Vec<[u8; 64]> = messages
        .iter()
        .map(|message| {
            let once = digest(&[first.as_flattened(), message]);
            match how & 4 {
                0 => once,
                _ => digest(&[second.as_flattened(), &once, suffix]),
            }
        })
        .collect();
    for code in [Some(Sha512Many::portable()), Sha512Many::avx512()] {
        let Some(code) = code else { continue };
        let start = Midstate::after(&first);
        let construction = match how & 4 {
            0 => Construction::once(start),
            _ => Construction::twice(start, Midstate::after(&second), suffix),
        };
        let mut found = Vec::new();
        code.each(
            &construction,
            &messages,
            |bytes, message| {
                // In two parts, cut anywhere.
                let (left, right) = bytes.split_at(usize::from(how) % (bytes.len() + 1));
                message.push(left);
                message.push(right);
            },
            |digest| found.push(*digest),
        );
        assert_eq!(found, expected, "{code:?}");
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    // Each message: length and factor less one, then its bytes.
    let made = |how: u8, lens: &[u8], factor: u8| {
        let suffix: Vec<u8> = (0..42).collect();
        let mut seed = [&[how, 0x36, 0x5c, suffix.len() as u8][..], &suffix].concat();
        for &len in lens {
            let size = usize::from(len) * usize::from(factor);
            seed.extend([len, factor - 1]);
            seed.extend((0..size).map(|i| (i * 7 + usize::from(len)) as u8));
        }
        seed
    };
    vec![
        made(0, &[], 1),
        made(0, &[3], 1),
        made(4, &[32; 9], 1),
        made(7, &[0, 1, 63, 64, 110, 111, 112, 113], 1),
        made(1, &[127, 128, 129, 238, 239, 240, 241, 255, 0, 20], 1),
        made(
            6,
            &[8, 200, 8, 8, 8, 8, 8, 8, 8, 8, 137, 8, 8, 8, 8, 8, 8],
            5,
        ),
    ]
}
