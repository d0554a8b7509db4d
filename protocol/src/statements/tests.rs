//! The one accepted byte form, and that nothing else is it.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use proptest::prelude::*;

use super::*;
use crate::{
    error::Error,
    frame::{Frame, FrameReader, Kind},
    signing::SigningKey,
    test_support::*,
};

fn signed() -> (World, Frame) {
    let world = World::new();
    let frame = sign(&world.request(7, &[("text", 3)]), &world.receiver).unwrap();
    (world, frame)
}

/// Payload and envelope text of a frame.
fn parts(frame: &Frame) -> (String, String) {
    let envelope = String::from_utf8(frame.body().to_vec()).unwrap();
    let text = envelope.split('"').nth(3).unwrap();
    (
        String::from_utf8(BASE64.decode(text).unwrap()).unwrap(),
        envelope,
    )
}

/// An envelope around any payload, rightly signed over the bytes it carries.
fn seal(payload: &str, payload_type: &str, key: &SigningKey) -> Frame {
    let encoding = format!(
        "DSSEv1 {} {} {} {}",
        payload_type.len(),
        payload_type,
        payload.len(),
        payload
    );
    let signature = BASE64.encode(key.sign(encoding.as_bytes()));
    let keyid = key.verify_key().key_id();
    let payload = BASE64.encode(payload);
    envelope(&format!(
        r#"{{"payload":"{payload}","payloadType":"{payload_type}","signatures":[{{"keyid":"{keyid}","sig":"{signature}"}}]}}"#
    ))
}

fn envelope(text: &str) -> Frame {
    Frame::new(Kind::Request, text.as_bytes()).unwrap()
}

fn code(frame: &Frame, world: &World) -> Result<(), &'static str> {
    let opened = open::<Request>(frame, &world.receiver.verify_key());
    opened.map(|_| ()).map_err(|e| e.code())
}

#[test]
fn the_tests_own_seal_makes_the_accepted_form() {
    let (world, frame) = signed();
    let (payload, _) = parts(&frame);
    assert_eq!(
        seal(&payload, Request::PAYLOAD_TYPE, &world.receiver),
        frame
    );
    assert_eq!(code(&frame, &world), Ok(()));
}

#[test]
fn signed_payloads_in_any_other_form_are_refused() {
    let (world, frame) = signed();
    let (payload, _) = parts(&frame);
    let replace = |from: &str, to: &str| {
        assert_eq!(payload.matches(from).count(), 1, "{from}");
        payload.replacen(from, to, 1)
    };
    let suite = r#""suite":"ristretto255-SHA512","#;
    let protocol = r#""protocol":"tallystick/1","#;
    let issued = format!(r#""issued_ms":{NOW}"#);
    let issued = issued.as_str();
    for (what, bad) in [
        ("a doubled member", replace(suite, &[suite, suite].concat())),
        (
            "an unknown member",
            replace(suite, &[suite, r#""x":1,"#].concat()),
        ),
        (
            "an unknown member inside",
            replace(r#""legal":{"#, r#""legal":{"x":1,"#),
        ),
        (
            "a null",
            replace(issued, &[r#""previous":null,"#, issued].concat()),
        ),
        ("a missing member", replace(suite, "")),
        ("a space", replace(suite, &suite.replace(':', ": "))),
        ("a space at the end", format!("{payload} ")),
        ("a line end", format!("{payload}\n")),
        (
            "another order",
            replace(&[protocol, suite].concat(), &[suite, protocol].concat()),
        ),
        ("2^53", replace(issued, r#""issued_ms":9007199254740992"#)),
        (
            "a float",
            replace(issued, &format!(r#""issued_ms":{NOW}.0"#)),
        ),
        ("an exponent", replace(issued, r#""issued_ms":18e11"#)),
        ("a negative number", replace(issued, r#""issued_ms":-1"#)),
        (
            "a leading zero",
            replace(issued, &format!(r#""issued_ms":0{NOW}"#)),
        ),
        (
            "a number as text",
            replace(issued, &format!(r#""issued_ms":"{NOW}""#)),
        ),
        ("an escape", replace("tallystick/1", "tallystick\\/1")),
        ("a unicode escape", replace("fighters", "\\u0066ighters")),
        (
            "upper-case hex",
            replace(&"33".repeat(32), &"3A".repeat(32)),
        ),
        ("short hex", replace(&"33".repeat(32), &"33".repeat(31))),
        ("a name outside the rules", replace("fighters", "Fighters")),
        (
            "a control character",
            replace("tally 0.1.0", "tally\\u0000"),
        ),
        (
            "an unknown mode",
            replace(r#""mode":"elements""#, r#""mode":"all""#),
        ),
        ("an array", format!("[{payload}]")),
        ("nothing", String::new()),
    ] {
        assert_ne!(bad, payload, "{what}");
        let frame = seal(&bad, Request::PAYLOAD_TYPE, &world.receiver);
        assert_eq!(code(&frame, &world), Err("malformed"), "{what}");
    }
    // Deep nesting ends in an error, not in the stack.
    let deep = "[".repeat(20_000);
    let frame = seal(&deep, Request::PAYLOAD_TYPE, &world.receiver);
    assert_eq!(code(&frame, &world), Err("malformed"));
}

#[test]
fn rules_between_members_hold_for_what_is_opened_too() {
    let (world, frame) = signed();
    let (payload, _) = parts(&frame);
    let own = hex::encode(world.sender.verify_key().0);
    let receiver = hex::encode(world.receiver.verify_key().0);
    for (what, bad) in [
        ("self-ask", payload.replace(&own, &receiver)),
        (
            "another protocol",
            payload.replace("tallystick/1", "tallystick/2"),
        ),
        (
            "another suite",
            payload.replace("ristretto255-SHA512", "P256-SHA256"),
        ),
        (
            "no elements",
            payload.replace(r#""elements":3"#, r#""elements":0"#),
        ),
        ("no rules", payload.replace(r#"["exact"]"#, "[]")),
        (
            "expired at birth",
            payload.replace(&format!("{}", NOW + 60_000), &format!("{NOW}")),
        ),
    ] {
        assert_ne!(bad, payload, "{what}");
        let frame = seal(&bad, Request::PAYLOAD_TYPE, &world.receiver);
        assert_eq!(code(&frame, &world), Err("malformed"), "{what}");
    }
}

#[test]
fn envelopes_in_any_other_form_are_refused() {
    let (world, frame) = signed();
    let (payload, good) = parts(&frame);
    let payload64 = BASE64.encode(&payload);
    let keyid = world.receiver.verify_key().key_id();
    let other_keyid = world.sender.verify_key().key_id();
    let signature = good.split('"').nth_back(1).unwrap();
    let entry = format!(r#"{{"keyid":"{keyid}","sig":"{signature}"}}"#);
    let swapped_entry = format!(r#"{{"sig":"{signature}","keyid":"{keyid}"}}"#);
    // 64 bytes leave 4 bits unused in the last digit before `==`.
    let digits = signature.trim_end_matches('=');
    assert_eq!((digits.len(), signature.len()), (86, 88));
    let (last, head) = (digits.as_bytes()[85], &digits[..85]);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let next = alphabet[alphabet.iter().position(|c| *c == last).unwrap() + 1] as char;
    let malformed = [
        ("a space", good.replacen(':', ": ", 1)),
        ("a line end", format!("{good}\n")),
        ("an unknown member", good.replacen('{', r#"{"x":1,"#, 1)),
        (
            "a doubled member",
            good.replacen('{', &format!(r#"{{"payload":"{payload64}","#), 1),
        ),
        (
            "two signatures",
            good.replacen(&entry, &format!("{entry},{entry}"), 1),
        ),
        ("no signature", good.replacen(&entry, "", 1)),
        ("another order", good.replacen(&entry, &swapped_entry, 1)),
        (
            "a null",
            good.replacen(&format!("\"{signature}\""), "null", 1),
        ),
        ("unpadded base64", good.replacen(signature, digits, 1)),
        (
            "trailing bits",
            good.replacen(signature, &format!("{head}{next}=="), 1),
        ),
        ("a short signature", good.replacen(signature, "AAAA", 1)),
        (
            "a later version",
            good.replacen("request.v1", "request.v2", 1),
        ),
        ("another type", good.replacen("request.v1", "grant.v1", 1)),
        (
            "padding in the payload",
            good.replacen(&payload64, &format!("{payload64}===="), 1),
        ),
        (
            "a line end in base64",
            good.replacen(&payload64, &format!("{payload64}\\n"), 1),
        ),
        (
            "an escaped character",
            good.replacen("vnd.tally", "vnd\\u002etally", 1),
        ),
    ];
    for (what, bad) in malformed {
        assert_ne!(bad, good, "{what}");
        assert_eq!(code(&envelope(&bad), &world), Err("malformed"), "{what}");
    }
    let bad_signature = [
        ("a wrong keyid", good.replacen(&keyid, &other_keyid, 1)),
        (
            "an upper-case keyid",
            good.replacen(&keyid, &keyid.to_uppercase(), 1),
        ),
        ("an empty keyid", good.replacen(&keyid, "", 1)),
        (
            "another signature",
            good.replacen(signature, &format!("{}==", "A".repeat(86)), 1),
        ),
    ];
    for (what, bad) in bad_signature {
        assert_ne!(bad, good, "{what}");
        assert_eq!(
            code(&envelope(&bad), &world),
            Err("bad-signature"),
            "{what}"
        );
    }
    // The URL-safe alphabet writes the same bytes in other digits.
    assert!(
        signature.contains(['+', '/']),
        "take another key for this test"
    );
    let url_safe = signature.replace('+', "-").replace('/', "_");
    let frame = envelope(&good.replacen(signature, &url_safe, 1));
    assert_eq!(code(&frame, &world), Err("malformed"));
}

#[test]
fn a_signature_counts_for_its_own_payload_type_and_key_only() {
    let (world, frame) = signed();
    let (payload, _) = parts(&frame);
    // The payload of a request under the type of a grant, and under a later version.
    for other in [
        Grant::PAYLOAD_TYPE,
        "application/vnd.tallystick.request.v2+json",
    ] {
        let frame = seal(&payload, other, &world.receiver);
        assert_eq!(code(&frame, &world), Err("malformed"), "{other}");
        let (_, text) = parts(&frame);
        let relabelled = envelope(&text.replacen(other, Request::PAYLOAD_TYPE, 1));
        assert_eq!(code(&relabelled, &world), Err("bad-signature"), "{other}");
    }
    let by_other = seal(&payload, Request::PAYLOAD_TYPE, &world.sender);
    assert_eq!(code(&by_other, &world), Err("bad-signature"));
    let refused = open::<Request>(&frame, &world.sender.verify_key()).unwrap_err();
    assert_eq!(refused, Error::Signature { what: "request" });
    assert!(open_as_named::<Request>(&frame).is_ok());
    let as_grant = Frame::new(Kind::Grant, frame.body()).unwrap();
    assert_eq!(
        open_as_named::<Grant>(&as_grant).unwrap_err().code(),
        "malformed"
    );
    assert_eq!(
        open_as_named::<Grant>(&frame).unwrap_err().code(),
        "out-of-order"
    );
}

fn open_each(bytes: &[u8]) {
    fn one<S: Statement>(bytes: &[u8]) {
        if let Ok(frame) = Frame::new(S::KIND, bytes) {
            assert!(open_as_named::<S>(&frame).is_err());
        }
    }
    one::<Request>(bytes);
    one::<Grant>(bytes);
    one::<Refusal>(bytes);
    one::<ReceiverClosing>(bytes);
    one::<SenderClosing>(bytes);
    one::<SnapshotHeader>(bytes);
    one::<Manifest>(bytes);
    one::<Catalogue>(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_statements_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        text in "[\\[\\]{}\",:a-z0-9 ]{0,200}",
    ) {
        open_each(&bytes);
        open_each(text.as_bytes());
        // Behind the envelope, with a signature that holds.
        let key = SigningKey::from_seed(&[1; 32]);
        let frame = seal(&text, Request::PAYLOAD_TYPE, &key);
        prop_assert!(open_as_named::<Request>(&frame).is_err());
    }

    #[test]
    fn no_bytes_make_frames_panic(
        kind in any::<u8>(),
        length in prop_oneof![0u32..40, any::<u32>()],
        bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let framed = [&[kind][..], &length.to_be_bytes(), &bytes].concat();
        for bytes in [bytes, framed] {
            let whole = Frame::from_bytes(bytes.clone());
            let mut reader = FrameReader::new(&bytes[..]);
            let mut read = 0;
            while let Ok(Some(frame)) = reader.next_frame() {
                read += frame.bytes().len() as u64;
                prop_assert_eq!(reader.offset(), read);
                let again = Frame::from_bytes(frame.bytes().to_vec());
                prop_assert_eq!(again.as_ref(), Ok(&frame));
                let _ = crate::record::session_of(&frame);
            }
            if let Ok(frame) = whole {
                prop_assert_eq!(read, frame.bytes().len() as u64);
            }
        }
    }

    #[test]
    fn no_bytes_make_record_headers_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let frame = Frame::new(Kind::RecordHeader, &bytes).unwrap();
        prop_assert!(crate::record::session_of(&frame).is_err());
        let magic = [crate::record::MAGIC, &bytes].concat();
        if let Ok(frame) = Frame::new(Kind::RecordHeader, &magic) {
            prop_assert_eq!(crate::record::session_of(&frame).is_ok(), bytes.len() == 16);
        }
    }
}

/// A register says what it covers; nothing else does. Absent, both leave the bytes as they were.
#[test]
fn what_kind_of_list_and_what_it_covers_belong_together() {
    let world = World::new();
    let header = |kind, covers| {
        let mut preamble = world.preamble(&["text"], 16, 2, 0);
        preamble.kind = kind;
        preamble.covers = covers;
        let root = Hex([0; 32]);
        sign(&SnapshotHeader { preamble, root }, &world.sender)
    };
    let covering = |states: &[&str]| {
        Some(Coverage {
            states: states.iter().map(|state| line(state)).collect(),
            complete_ms: int(NOW),
        })
    };
    let register = Some(ListKind::IssuedDocuments);
    let plain = header(None, None).unwrap();
    assert!(!parts(&plain).0.contains("kind"));
    for kind in ListKind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
        let covers = covering(&["UTO", "XXA"]).filter(|_| Some(kind) == register);
        let frame = header(Some(kind), covers).unwrap();
        let said = format!(r#""kind":"{kind}""#);
        assert!(parts(&frame).0.contains(&said));
        open::<SnapshotHeader>(&frame, &world.sender.verify_key()).unwrap();
    }
    assert!("register".parse::<ListKind>().is_err());
    for (kind, covers) in [
        (register, None),
        (None, covering(&["UTO"])),
        (Some(ListKind::Watchlist), covering(&["UTO"])),
        (register, covering(&[])),
        (register, covering(&["UTO", "UTO"])),
        (register, covering(&["XXA", "UTO"])),
    ] {
        assert!(header(kind, covers).is_err());
    }
}
