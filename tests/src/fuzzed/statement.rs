//! Signed statements: the envelope as it comes, and any payload under a good signature.

use tallystick_protocol::{
    frame::{Frame, Kind},
    statements::{
        Catalogue, CatalogueEntry, Grant, Hex, Manifest, ReceiverClosing, Refusal, RefusalCode,
        Request, SenderClosing, SnapshotDelta, SnapshotHeader, Statement, TlsIdentity, open,
        open_as_named, sign,
    },
};

use super::{
    input::{Input, edited},
    world::{Agency, NOW, honest, int, payload_of, world},
};

/// What was opened has one form only, and is its author's.
fn check<S: Statement>(frame: &Frame) {
    let Ok(statement) = open_as_named::<S>(frame) else {
        return;
    };
    assert!(open::<S>(frame, &statement.author()).is_ok());
    assert!(
        statement.check().is_ok(),
        "a rule between members is broken"
    );
    let payload = serde_json::to_vec(&statement).unwrap();
    assert_eq!(payload, payload_of(frame), "another form was accepted");
    for agency in [&world().receiver, &world().sender] {
        let theirs = statement.author() == agency.key.verify_key();
        assert_eq!(open::<S>(frame, &agency.key.verify_key()).is_ok(), theirs);
        if theirs {
            // Signing is deterministic: so the envelope, too, has one form.
            assert_eq!(&sign(&statement, &agency.key).unwrap(), frame);
        }
    }
}

/// The payload as it is, and an envelope that is edited after it was signed.
fn of_kind<S: Statement>(by: &Agency, payload: &[u8], input: &mut Input<'_>) {
    let Some(frame) = by.statement::<S>(payload) else {
        return;
    };
    check::<S>(&frame);
    let changed = edited(frame.body(), input);
    let changed = Frame::new(S::KIND, &changed);
    if let Ok(changed) = changed.as_ref()
        && *changed != frame
        && open_as_named::<S>(&frame).is_ok()
    {
        check::<S>(changed);
        let same = payload_of_any(changed) == Some(payload.to_vec());
        assert!(
            !same || open_as_named::<S>(changed).is_err(),
            "two forms of one statement"
        );
    }
}

fn payload_of_any(frame: &Frame) -> Option<Vec<u8>> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let envelope: serde_json::Value = serde_json::from_slice(frame.body()).ok()?;
    STANDARD.decode(envelope["payload"].as_str()?).ok()
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.below(10);
    let by = [&world().receiver, &world().sender][input.below(2)];
    let edits = input.take(12);
    let payload = input.rest();
    let edits = &mut Input::new(edits);
    match kind {
        0 => of_kind::<Request>(by, payload, edits),
        1 => of_kind::<Grant>(by, payload, edits),
        2 => of_kind::<Refusal>(by, payload, edits),
        3 => of_kind::<ReceiverClosing>(by, payload, edits),
        4 => of_kind::<SenderClosing>(by, payload, edits),
        5 => of_kind::<Manifest>(by, payload, edits),
        6 => of_kind::<Catalogue>(by, payload, edits),
        7 => of_kind::<SnapshotHeader>(by, payload, edits),
        9 => of_kind::<SnapshotDelta>(by, payload, edits),
        // No signature: the bytes are an envelope.
        _ => {
            for kind in [Kind::Request, Kind::Grant, Kind::Manifest] {
                if let Ok(frame) = Frame::new(kind, payload) {
                    check::<Request>(&frame);
                    check::<Grant>(&frame);
                    check::<Manifest>(&frame);
                }
            }
        }
    }
}

/// A statement of each kind.
fn samples() -> [(u8, u8, Frame); 9] {
    let (world, honest) = (world(), honest(0));
    let refused = world.asked(&honest.request).refuse(
        RefusalCode::QuotaExceeded,
        Some("not today".parse().unwrap()),
        NOW,
        &world.sender.key,
    );
    let manifest = Manifest {
        agency: world.sender.reference.agency.clone(),
        state: Some("UTO".parse().unwrap()),
        signing_key: world.sender.reference.signing_key,
        log_key: Hex([0x61; 32]),
        tls: TlsIdentity {
            authority: "-----BEGIN CERTIFICATE-----\n".parse().unwrap(),
            spki: vec![Hex([0x62; 32])],
        },
        witness_key: None,
        officer_keys: Some(vec![Hex([0x63; 32])]),
        annex_key: None,
        address: Some("b.example.org:7443".parse().unwrap()),
        issued_ms: int(NOW),
        expires_ms: int(NOW + 1),
    };
    let preamble = world.snapshot.preamble.clone();
    let catalogue = Catalogue {
        sender: world.sender.reference.clone(),
        receiver: world.receiver.reference.clone(),
        collections: vec![CatalogueEntry {
            collection: preamble.collection,
            modes: vec![preamble.mode],
            epoch: preamble.epoch,
            profile: preamble.profile,
            quota_left: preamble.keys.iter().map(|_| int(7)).collect(),
            keys: preamble.keys,
            snapshot: world.snapshot.root,
            elements: preamble.elements,
            label_columns: preamble.label_columns,
            max_session_elements: int(100),
            published_ms: preamble.published_ms,
            kind: None,
            covers: None,
        }],
        issued_ms: int(NOW),
    };
    let preamble = &world.snapshot.preamble;
    let delta = SnapshotDelta {
        sender: preamble.sender.clone(),
        collection: preamble.collection.clone(),
        epoch: preamble.epoch,
        mode: preamble.mode,
        from: world.snapshot.root,
        to: Hex([0x64; 32]),
        sequence: int(1),
        elements: int(1280),
        added: int(20),
        removed: int(20),
        relabelled: int(16),
        published_ms: preamble.published_ms,
    };
    [
        (0, 0, honest.request.clone()),
        (1, 1, honest.grant.clone()),
        (2, 1, refused.unwrap().1),
        (3, 0, honest.receiver_closing.clone()),
        (4, 1, honest.sender_closing.clone()),
        (5, 1, sign(&manifest, &world.sender.key).unwrap()),
        (6, 1, sign(&catalogue, &world.sender.key).unwrap()),
        (7, 1, world.snapshot.header.clone()),
        (9, 1, sign(&delta, &world.sender.key).unwrap()),
    ]
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let samples = samples();
    let edits = [0; 12];
    let signed = samples
        .iter()
        .map(|(kind, by, frame)| [&[*kind, *by], &edits[..], &payload_of(frame)].concat());
    let envelope = String::from_utf8(samples[0].2.body().to_vec()).unwrap();
    let raw = |text: &str| [&[8, 0], &edits[..], text.as_bytes()].concat();
    let request = String::from_utf8(payload_of(&samples[0].2)).unwrap();
    let other = |text: String| [&[0, 0], &edits[..], text.as_bytes()].concat();
    let more = [
        raw(&envelope),
        // Forms that a reader of JSON takes, and nobody here.
        raw(&envelope.replace("\":\"", "\": \"")),
        raw(&envelope.replace("payloadType", "payload\\u0054ype")),
        other(request.replace("\":\"", "\": \"")),
        other(request.replace("\"queries\"", "\"persons\":null,\"queries\"")),
        other(request.replace("Case", "\\u0043ase")),
        // A rule between members.
        other(request.replace(
            "\"mode\":\"elements\"",
            "\"mode\":\"elements\",\"mode\":\"count\"",
        )),
        other(request.replace(&format!("{}", NOW + 60_000), "1")),
    ];
    signed.chain(more).collect()
}
