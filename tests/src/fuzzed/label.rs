//! Labels: what a sender seals, and what stands in it.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use sha2::Sha256;
use tallystick_protocol::snapshot::{LabelContext, LabelKey};
use tallystick_tables::LabelRecords;

use super::{
    input::{Input, edited},
    world::name,
};

const NONCE: [u8; 24] = [7; 24];

/// Seals any plaintext, padded well or not, as a sender with the key can.
fn seal(material: &[u8], plaintext: &[u8], tag: &[u8]) -> Vec<u8> {
    let context = [&[8][..], b"fighters", &3u64.to_be_bytes()].concat();
    let mut key = [0; 32];
    let derive = Hkdf::<Sha256>::new(Some(b"tallystick/label-key/v1"), material);
    derive.expand(&context, &mut key).unwrap();
    let payload = Payload {
        msg: plaintext,
        aad: &[&context[..], tag].concat(),
    };
    let sealed = XChaCha20Poly1305::new(&key.into()).encrypt(&XNonce::from(NONCE), payload);
    [&NONCE[..], &sealed.unwrap()].concat()
}

/// What well padded plaintext says.
fn unpadded(plaintext: &[u8]) -> Option<&[u8]> {
    let (length, rest) = plaintext.split_first_chunk::<2>()?;
    let (text, padding) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    padding.iter().all(|byte| *byte == 0).then_some(text)
}

fn sealed(input: &mut Input<'_>) {
    let material = [input.u8(); 32];
    let length = input.below(40);
    let tag = input.take(length);
    let context = LabelContext::new(&name("fighters"), 3);
    let key = LabelKey::from_material(&material, &context).unwrap();
    let edits = input.take(8);
    let plaintext = input.rest();

    let sealed = seal(&material, plaintext, tag);
    let opened = key.open(&sealed, &context, tag).ok();
    assert_eq!(opened.as_deref().map(Vec::as_slice), unpadded(plaintext));
    let changed = edited(&sealed, &mut Input::new(edits));
    assert!(changed == sealed || key.open(&changed, &context, tag).is_err());
    assert!(key.open(&sealed, &context, &[tag, &[1]].concat()).is_err());
    // What is no label at all.
    assert!(key.open(plaintext, &context, tag).is_err());
    let size = plaintext.len() + 2 + usize::from(material[0]);
    if let Ok(own) = key.seal(plaintext, size, &context, tag, NONCE) {
        assert_eq!(*key.open(&own, &context, tag).unwrap(), plaintext);
    }
}

fn records(input: &mut Input<'_>) {
    let columns = input.below(4);
    let bytes = input.rest();
    if let Ok(label) = LabelRecords::decode(bytes, columns) {
        assert!(label.records().iter().all(|record| record.len() == columns));
        assert_eq!(
            *LabelRecords::encode(label.records()).unwrap(),
            bytes,
            "two forms of one label"
        );
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(2) {
        0 => sealed(&mut input),
        _ => records(&mut input),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let sealed = |plaintext: &[u8]| [b"\0\x05\x03tag\0\0\x03\x01\x01\0\0\0", plaintext].concat();
    vec![
        sealed(b"\0\x05hello\0\0\0"),
        sealed(b"\0\x05hello\0\x01"),
        sealed(b"\xff\xff"),
        b"\x01\x02[[\"C-17\",\"H1\"],[\"C-90\",\"H\xc3\xa9\\\"\"]]".to_vec(),
        b"\x01\x01[[\"\\u0061\"]]".to_vec(),
    ]
}
