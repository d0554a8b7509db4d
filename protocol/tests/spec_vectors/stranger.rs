//! A second verifier of records and snapshots, written from the spec's text. It takes the group's
//! arithmetic from the crate, and nothing else: no frame, statement, tree, chunk or proof code. If
//! the text and the code come to differ, one of the two refuses the vectors.

use std::collections::{BTreeMap, VecDeque};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};
use tallystick_protocol::group::{self, Points, Scalar};

/// The name of the check that fails.
pub type Check = &'static str;
type Hash = [u8; 32];

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Section 2: one frame, and what is left.
pub struct Framed<'a> {
    pub kind: u8,
    pub whole: &'a [u8],
    pub body: &'a [u8],
}

pub fn frames(mut bytes: &[u8]) -> Option<Vec<Framed<'_>>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (&[kind, a, b, c, d], _) = bytes.split_first_chunk::<5>()?;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let most = match kind {
            0x01 => 64,
            0x10..=0x12 | 0x30 | 0x31 | 0x40 | 0x42 | 0x50 | 0x51 => 65_536,
            0x20 | 0x21 => 65_535 * 32 + 256,
            0x41 | 0x43 => 4_194_304,
            _ => return None,
        };
        let (whole, rest) = bytes
            .split_at_checked(5 + length)
            .filter(|_| length <= most)?;
        found.push(Framed {
            kind,
            whole,
            body: &whole[5..],
        });
        bytes = rest;
    }
    Some(found)
}

/// Section 3.2: the types of members.
enum T {
    Hex(usize),
    Int,
    Name,
    Line,
    Bool,
    Is(&'static str),
    OneOf(&'static [&'static str]),
    Object(&'static [M]),
    List(&'static T),
}

/// A member: name (with `?` behind an optional one) and type, in the order in which they stand.
struct M(&'static str, T);

const REFERENCE: T = T::Object(&[M("agency", T::Name), M("signing_key", T::Hex(32))]);
const PARTY: T = T::Object(&[
    M("agency", T::Name),
    M("state?", T::Line),
    M("signing_key", T::Hex(32)),
    M("tls_spki", T::Hex(32)),
]);
const PROFILE: T = T::Object(&[
    M("id", T::Line),
    M("tables", T::Hex(32)),
    M(
        "parts",
        T::List(&T::Object(&[M("name", T::Name), M("hash", T::Hex(32))])),
    ),
]);
const MODE: T = T::OneOf(&["elements", "count", "mutual"]);
const STATUS: T = T::OneOf(&["complete", "aborted"]);
const TYPE_KEY: T = T::Object(&[M("type", T::Name), M("public_key", T::Hex(32))]);
const REQUEST: T = T::Object(&[
    M("protocol", T::Is("tallystick/1")),
    M("suite", T::Is("ristretto255-SHA512")),
    M("session", T::Hex(16)),
    M("build", T::Line),
    M("receiver", PARTY),
    M("sender", REFERENCE),
    M("collection", T::Name),
    M("mode", MODE),
    M("profile", PROFILE),
    M(
        "legal",
        T::Object(&[
            M(
                "class",
                T::OneOf(&[
                    "individual-case",
                    "standing-cross-check",
                    "count-only",
                    "border-desk",
                    "not-stated",
                ]),
            ),
            M("purpose", T::Line),
            M("legal_basis?", T::Line),
            M("offence_category?", T::Line),
            M("subject_category?", T::Line),
            M("case?", T::Hex(32)),
            M("dpia?", T::Line),
            M("handling_code?", T::Line),
            M("source_code?", T::Line),
        ]),
    ),
    M(
        "persons?",
        T::Object(&[
            M("runner", T::Hex(32)),
            M("orderer?", T::Hex(32)),
            M("approver?", T::Hex(32)),
        ]),
    ),
    M(
        "queries",
        T::List(&T::Object(&[
            M("type", T::Name),
            M("rules", T::List(&T::Line)),
            M("records", T::Int),
            M("elements", T::Int),
            M("flights?", T::List(&T::Int)),
        ])),
    ),
    M("set_commitment?", T::Hex(32)),
    M("authorisation?", T::Hex(32)),
    M("nonce_commitment", T::Hex(32)),
    M("previous?", T::Hex(32)),
    M("issued_ms", T::Int),
    M("expires_ms", T::Int),
]);
const GRANT: T = T::Object(&[
    M("session", T::Hex(16)),
    M("request", T::Hex(32)),
    M("build", T::Line),
    M("sender", PARTY),
    M("receiver", REFERENCE),
    M("collection", T::Name),
    M("mode", MODE),
    M("epoch", T::Int),
    M("profile", PROFILE),
    M("keys", T::List(&TYPE_KEY)),
    M(
        "snapshot",
        T::Object(&[
            M("digest", T::Hex(32)),
            M("elements", T::Int),
            M("tag_bytes", T::Int),
        ]),
    ),
    M(
        "limits",
        T::Object(&[M("chunk_elements", T::Int), M("window_chunks", T::Int)]),
    ),
    M("discloses_count", T::Bool),
    M("nonce_commitment", T::Hex(32)),
    M("previous?", T::Hex(32)),
    M("granted_ms", T::Int),
    M("expires_ms", T::Int),
]);
const REFUSAL: T = T::Object(&[
    M("session", T::Hex(16)),
    M("request", T::Hex(32)),
    M("sender", REFERENCE),
    M("receiver", REFERENCE),
    M(
        "code",
        T::OneOf(&[
            "not-available",
            "type-not-offered",
            "mode-not-offered",
            "profile-mismatch",
            "too-many-elements",
            "quota-exceeded",
            "clock-skew",
            "expired",
            "replayed",
            "busy",
            "draining",
        ]),
    ),
    M("detail?", T::Line),
    M("refused_ms", T::Int),
]);
const RECEIVER_CLOSING: T = T::Object(&[
    M("session", T::Hex(16)),
    M("request", T::Hex(32)),
    M("grant", T::Hex(32)),
    M("signing_key", T::Hex(32)),
    M("status", STATUS),
    M("chunks", T::Int),
    M("elements", T::Int),
    M("set_commitment", T::Hex(32)),
    M("evaluations", T::Hex(32)),
    M("running", T::Hex(32)),
    M(
        "outcome?",
        T::Object(&[M("commitment", T::Hex(32)), M("matches?", T::Int)]),
    ),
    M("nonce", T::Hex(32)),
    M("first_chunk_ms?", T::Int),
    M("last_chunk_ms?", T::Int),
    M("closed_ms", T::Int),
]);
const SENDER_CLOSING: T = T::Object(&[
    M("session", T::Hex(16)),
    M("request", T::Hex(32)),
    M("grant", T::Hex(32)),
    M("signing_key", T::Hex(32)),
    M("status", STATUS),
    M("receiver_closing?", T::Hex(32)),
    M("chunks", T::Int),
    M(
        "charged",
        T::List(&T::Object(&[
            M("type", T::Name),
            M("elements", T::Int),
            M("quota_before", T::Int),
            M("quota_after", T::Int),
        ])),
    ),
    M("set_commitment", T::Hex(32)),
    M("evaluations", T::Hex(32)),
    M("running", T::Hex(32)),
    M("nonce", T::Hex(32)),
    M("closed_ms", T::Int),
]);
const SNAPSHOT: T = T::Object(&[M("preamble", PREAMBLE), M("root", T::Hex(32))]);
const PREAMBLE: T = T::Object(&[
    M("sender", REFERENCE),
    M("collection", T::Name),
    M("epoch", T::Int),
    M("mode", MODE),
    M("profile", PROFILE),
    M("keys", T::List(&TYPE_KEY)),
    M("elements", T::Int),
    M("tag_bytes", T::Int),
    M("bucket_bits", T::Int),
    M("label_bytes", T::Int),
    M("label_columns", T::List(&T::Line)),
    M("salt", T::Hex(32)),
    M("published_ms", T::Int),
    M(
        "kind?",
        T::OneOf(&["watchlist", "stolen-documents", "issued-documents"]),
    ),
    M(
        "covers?",
        T::Object(&[M("states", T::List(&T::Line)), M("complete_ms", T::Int)]),
    ),
]);
const DELTA: T = T::Object(&[
    M("sender", REFERENCE),
    M("collection", T::Name),
    M("epoch", T::Int),
    M("mode", MODE),
    M("from", T::Hex(32)),
    M("to", T::Hex(32)),
    M("sequence", T::Int),
    M("elements", T::Int),
    M("added", T::Int),
    M("removed", T::Int),
    M("relabelled", T::Int),
    M("published_ms", T::Int),
]);

/// Section 3.1: writes a value in its one form; `None` if it has none.
fn write(value: &Value, ty: &T, out: &mut String) -> Option<()> {
    let text = || value.as_str();
    let ok = match ty {
        T::Hex(n) => {
            let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            text()?.len() == 2 * n && text()?.bytes().all(hex)
        }
        T::Name => {
            let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            let bytes = text()?.as_bytes();
            (1..=63).contains(&bytes.len())
                && ok(bytes[0])
                && bytes.iter().all(|b| ok(*b) || *b == b'-')
        }
        T::Line => (1..=512).contains(&text()?.len()) && !text()?.chars().any(deceives),
        T::Is(want) => text()? == *want,
        T::OneOf(list) => list.contains(&text()?),
        T::Bool => {
            *out += if value.as_bool()? { "true" } else { "false" };
            return Some(());
        }
        T::Int => {
            *out += &value.as_u64().filter(|n| *n < 1 << 53)?.to_string();
            return Some(());
        }
        T::List(each) => {
            *out += "[";
            for (i, item) in value.as_array()?.iter().enumerate() {
                *out += if i > 0 { "," } else { "" };
                write(item, each, out)?;
            }
            *out += "]";
            return Some(());
        }
        T::Object(members) => {
            let object = value.as_object()?;
            *out += "{";
            let mut written = 0;
            for M(name, ty) in *members {
                let bare = name.trim_end_matches('?');
                match object.get(bare) {
                    None if *name != bare => continue,
                    None => return None,
                    Some(value) => {
                        *out += if written > 0 { "," } else { "" };
                        *out += &format!("\"{bare}\":");
                        write(value, ty, out)?;
                        written += 1;
                    }
                }
            }
            *out += "}";
            return (written == object.len()).then_some(());
        }
    };
    if !ok {
        return None;
    }
    *out += "\"";
    for c in text()?.chars() {
        match c {
            '"' => *out += "\\\"",
            '\\' => *out += "\\\\",
            // Control characters are refused by every type of member.
            c => out.push(c),
        }
    }
    *out += "\"";
    Some(())
}

/// Section 3.2: what a line may not hold.
fn deceives(c: char) -> bool {
    matches!(u32::from(c),
        0..=0x1f | 0x7f..=0x9f | 0x61c | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x2069 | 0xfeff)
}

/// Section 3.3.
fn signed(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
    let signature = Signature::from_bytes(signature.try_into().ok()?);
    key.verify_strict(message, &signature).ok()
}

fn hex(value: &Value) -> Vec<u8> {
    value
        .as_str()
        .and_then(|text| hex::decode(text).ok())
        .unwrap_or_default()
}

/// Section 3.1: opens a statement under the key that stands at `author` in it.
fn statement(frame: &Framed<'_>, name: &str, ty: &T, author: &[&str]) -> Option<Value> {
    let body = std::str::from_utf8(frame.body).ok()?;
    let rest = body.strip_prefix("{\"payload\":\"")?;
    let (payload64, rest) = rest.split_once('"')?;
    let payload_type = format!("application/vnd.tallystick.{name}.v1+json");
    let rest = rest.strip_prefix(&format!(
        ",\"payloadType\":\"{payload_type}\",\"signatures\":[{{\"keyid\":\""
    ))?;
    let (keyid, rest) = rest.split_once('"')?;
    let (sig64, end) = rest.strip_prefix(",\"sig\":\"")?.split_once('"')?;
    let payload = BASE64.decode(payload64).ok()?;
    let value: Value = serde_json::from_slice(&payload).ok()?;
    let mut again = String::new();
    write(&value, ty, &mut again)?;
    let key = hex(author.iter().fold(&value, |value, member| &value[*member]));
    let same = again.as_bytes() == payload && keyid == hex::encode(sha256(&[&key])) && end == "}]}";
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    signed(
        &key,
        &[head.as_bytes(), &payload].concat(),
        &BASE64.decode(sig64).ok()?,
    )?;
    same.then_some(value)
}

/// Section 5: the root, as RFC 6962 defines it, by recursion.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            sha256(&[&[1], &root(left), &root(right)])
        }
    }
}

fn demand(check: Check, holds: bool) -> Result<(), Check> {
    if holds { Ok(()) } else { Err(check) }
}

fn ascend(list: &Value, member: &str) -> bool {
    let names: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|v| v[member].as_str())
        .collect();
    names.windows(2).all(|pair| pair[0] < pair[1])
}

fn least_tag_bytes(n: u64, m: u64) -> u64 {
    let mut log = 0u64;
    while (1u128 << log) < u128::from(n) * u128::from(m) {
        log += 1;
    }
    (40 + log).div_ceil(8).min(32)
}

/// Section 1: elements, none of them the identity or in another form than the canonical one.
fn decode(list: &[&[u8]]) -> Option<Points> {
    let list = list.iter().map(|e| (*e).try_into().ok());
    let list: Vec<[u8; 32]> = list.collect::<Option<_>>()?;
    let mut valid = vec![false; list.len()];
    let points = group::reference().decode(&list, &mut valid);
    (!valid.contains(&false)).then_some(points)
}

/// Section 1: the batched proof, whole-chunk weights.
fn proof_holds(key: &[u8], c: &[&[u8]], d: &[&[u8]], proof: &[u8]) -> Option<()> {
    const CONTEXT: &[u8] = b"OPRFV1-\x01-ristretto255-SHA512";
    let dst = |prefix: &[u8]| [prefix, CONTEXT].concat();
    let sized = |part: &[u8]| [&(part.len() as u16).to_be_bytes(), part].concat();
    let kernel = group::reference();
    let mut digest = Sha512::new().chain_update(key);
    for (c, d) in c.iter().zip(d) {
        digest.update(c);
        digest.update(d);
    }
    let seed: [u8; 64] = Sha512::new()
        .chain_update(sized(key))
        .chain_update(sized(&dst(b"Seed-")))
        .chain_update(b"tallystick/dleq-chunk/v1")
        .chain_update(digest.finalize())
        .finalize()
        .into();
    let to_scalar = |input: &[u8]| Scalar::hash(&dst(b"HashToScalar-"), &[input]);
    let weights: Vec<Scalar> = (0u16..)
        .zip(c.iter().zip(d))
        .map(|(i, (c, d))| {
            let parts = [sized(&seed), i.to_be_bytes().to_vec(), sized(c), sized(d)];
            to_scalar(&[parts.concat(), b"Composite".to_vec()].concat())
        })
        .collect();
    let m = kernel.msm_vartime(&weights, &[&decode(c)?]);
    let z = kernel.msm_vartime(&weights, &[&decode(d)?]);
    let scalar = |half: &[u8]| Scalar::from_canonical(half.try_into().ok()?);
    let (challenge, response) = (&proof[..32], &proof[32..]);
    let sc = [scalar(response)?, scalar(challenge)?];
    let b = kernel.base_point(kernel.generator());
    let t2 = kernel.msm_vartime(&sc, &[&kernel.concat(&[&b, &decode(&[key])?])]);
    let t3 = kernel.msm_vartime(&sc, &[&kernel.concat(&[&m, &z])]);
    let mut input = sized(key);
    for element in kernel.encode(&kernel.concat(&[&m, &z, &t2, &t3])) {
        input.extend(sized(&element));
    }
    input.extend(b"Challenge");
    (to_scalar(&input).to_bytes()[..] == *challenge).then_some(())
}

struct Chunks {
    evaluated: Hash,
    blinded: Hash,
    leaves: [Vec<Hash>; 2],
    spent: BTreeMap<String, u64>,
    answered: u64,
}

/// Section 3.2: parts ascend, and the hash is theirs.
fn profile(value: &Value) -> bool {
    let parts = value["parts"].as_array().map_or(&[][..], Vec::as_slice);
    let mut text = format!(
        "tallystick profile/1\n{}\n",
        value["id"].as_str().unwrap_or_default()
    );
    for part in parts {
        let of = |member: &str| part[member].as_str().unwrap_or_default();
        text += &format!("{} {}\n", of("name"), of("hash"));
    }
    (1..=64).contains(&parts.len())
        && ascend(&value["parts"], "name")
        && hex(&value["tables"]) == sha256(&[text.as_bytes()])
}

/// Section 8: verifies a record; the error is the name of the first check that fails.
pub fn record(bytes: &[u8], trusted: &[(&str, Vec<u8>)]) -> Result<(), Check> {
    let frames = frames(bytes).ok_or("framing")?;
    let mut rest = frames.iter();
    let header = rest.next().filter(|f| f.kind == 0x01).ok_or("framing")?;
    let session = header
        .body
        .strip_prefix(b"tallystick-record/1\n")
        .ok_or("framing")?;
    demand("framing", session.len() == 16)?;

    let asked = rest.next().filter(|f| f.kind == 0x10).ok_or("request")?;
    let request =
        statement(asked, "request", &REQUEST, &["receiver", "signing_key"]).ok_or("request")?;
    let number = |value: &Value| value.as_u64().unwrap_or(u64::MAX);
    let queries = request["queries"].as_array().ok_or("request")?;
    demand("request", hex(&request["session"]) == session)?;
    demand(
        "request",
        (1..=32).contains(&queries.len()) && ascend(&request["queries"], "type"),
    )?;
    demand("request", profile(&request["profile"]))?;
    for query in queries {
        let rules = query["rules"].as_array().map_or(0, Vec::len);
        demand(
            "request",
            query["elements"] != 0 && (1..=64).contains(&rules),
        )?;
    }
    demand(
        "request",
        number(&request["expires_ms"]) > number(&request["issued_ms"]),
    )?;
    demand(
        "request",
        request["receiver"]["signing_key"] != request["sender"]["signing_key"],
    )?;
    // Section 3.4: a shift names as many sizes for each type.
    let flights = |query: &Value| -> Vec<u64> {
        query["flights"]
            .as_array()
            .into_iter()
            .flatten()
            .map(number)
            .collect()
    };
    let shift = queries.iter().any(|query| query["flights"].is_array());
    demand(
        "request",
        shift == (request["legal"]["class"] == "border-desk"),
    )?;
    if shift {
        let sizes = flights(&queries[0]).len();
        demand("request", (1..=8).contains(&sizes))?;
        demand("request", request["set_commitment"].is_null())?;
        for query in queries {
            let list = flights(query);
            let most = number(&query["elements"]).min(65_535);
            let ranges = list.iter().all(|size| (1..=most).contains(size));
            let ascends = list.windows(2).all(|pair| pair[0] < pair[1]);
            demand("request", list.len() == sizes && ranges && ascends)?;
        }
    }
    let counts = request["legal"]["class"] == "count-only";
    demand("request", !counts || request["mode"] == "count")?;
    demand(
        "request",
        request["receiver"]["agency"] != request["sender"]["agency"],
    )?;

    let answer = rest.next().ok_or("answer")?;
    let vouched = |party: &Value| {
        let known = |(name, key): &(&str, Vec<u8>)| {
            party["agency"] == *name && *key == hex(&party["signing_key"])
        };
        trusted.iter().any(known)
    };
    let digest = |frame: &Framed<'_>| Value::from(hex::encode(sha256(&[frame.whole])));
    let names_request = |value: &Value| {
        value["session"] == request["session"]
            && value["request"] == digest(asked)
            && value["sender"]["agency"] == request["sender"]["agency"]
            && value["sender"]["signing_key"] == request["sender"]["signing_key"]
            && value["receiver"]["agency"] == request["receiver"]["agency"]
            && value["receiver"]["signing_key"] == request["receiver"]["signing_key"]
    };
    let signers = || {
        demand(
            "signers",
            vouched(&request["receiver"]) && vouched(&request["sender"]),
        )
    };
    if answer.kind == 0x12 {
        let refusal =
            statement(answer, "refusal", &REFUSAL, &["sender", "signing_key"]).ok_or("answer")?;
        demand("answer", names_request(&refusal))?;
        signers()?;
        return demand("framing", rest.next().is_none());
    }
    demand("answer", answer.kind == 0x11)?;
    let grant = statement(answer, "grant", &GRANT, &["sender", "signing_key"]).ok_or("answer")?;
    demand("answer", names_request(&grant))?;
    for member in ["collection", "mode", "profile"] {
        demand("answer", grant[member] == request[member])?;
    }
    demand("answer", grant["mode"] == "elements")?;
    let types = |list: &Value| -> Vec<Value> {
        list.as_array()
            .into_iter()
            .flatten()
            .map(|v| v["type"].clone())
            .collect()
    };
    demand(
        "answer",
        types(&grant["keys"]) == types(&request["queries"]),
    )?;
    let (granted, issued) = (number(&grant["granted_ms"]), number(&request["issued_ms"]));
    demand(
        "answer",
        granted + 30_000 >= issued && granted <= number(&request["expires_ms"]),
    )?;
    demand("answer", number(&grant["expires_ms"]) > granted)?;
    let keys = grant["keys"].as_array().ok_or("answer")?;
    for key in keys {
        let same = keys
            .iter()
            .filter(|other| other["public_key"] == key["public_key"]);
        demand("answer", same.count() == 1)?;
        demand("answer", decode(&[&hex(&key["public_key"])]).is_some())?;
    }
    let tag_bytes = number(&grant["snapshot"]["tag_bytes"]);
    let asked_for: u64 = queries.iter().map(|query| number(&query["elements"])).sum();
    let least = least_tag_bytes(asked_for, number(&grant["snapshot"]["elements"]));
    demand(
        "answer",
        tag_bytes >= least && (5..=32).contains(&tag_bytes),
    )?;
    let most = number(&grant["limits"]["chunk_elements"]);
    let window = number(&grant["limits"]["window_chunks"]);
    demand(
        "answer",
        (1..=65_535).contains(&most) && (1..=64).contains(&window),
    )?;
    demand("answer", !shift || grant["discloses_count"] == false)?;
    for query in queries.iter().filter(|_| shift) {
        demand("answer", flights(query)[0] <= most)?;
    }
    signers()?;

    let start = sha256(&[
        b"tallystick/running/v1\0",
        &sha256(&[asked.whole]),
        &sha256(&[answer.whole]),
    ]);
    let mut chunks = Chunks {
        evaluated: start,
        blinded: start,
        leaves: [vec![], vec![]],
        spent: queries
            .iter()
            .map(|q| (q["type"].as_str().unwrap_or("").to_owned(), 0))
            .collect(),
        answered: 0,
    };
    let mut waiting: VecDeque<(Hash, String, Vec<&[u8]>)> = VecDeque::new();
    // Section 4.5: types of the flight under way that came, and the place of its sizes.
    let mut flight = (0, 0);
    let mut rest = rest.peekable();
    while let Some(frame) = rest.next_if(|f| matches!(f.kind, 0x20 | 0x21)) {
        let split = frame.body.len().checked_sub(64).ok_or("chunks")?;
        let (unsigned, signature) = frame.body.split_at(split);
        let side = usize::from(frame.kind == 0x21);
        let index = (chunks.leaves[side].len() as u32).to_be_bytes();
        let body = unsigned.strip_prefix(&index).ok_or("chunks")?;
        let message = |domain: &[u8], running: &Hash| {
            [domain, session, &index, running, &sha256(&[unsigned])].concat()
        };
        let elements = |count: &[u8], packed: &'_ [u8]| -> Result<(), Check> {
            let count = usize::from(count[0]) << 8 | usize::from(count[1]);
            demand("chunks", count > 0 && packed.len() == count * 32)
        };
        if side == 0 {
            let (&len, body) = body.split_first().ok_or("chunks")?;
            let (name, body) = body.split_at_checked(len.into()).ok_or("chunks")?;
            let name = String::from_utf8(name.to_vec()).map_err(|_| "chunks")?;
            let (count, packed) = body.split_at_checked(2).ok_or("chunks")?;
            elements(count, packed)?;
            let message = message(b"tallystick/blinded-chunk/v1\0", &chunks.blinded);
            signed(
                &hex(&request["receiver"]["signing_key"]),
                &message,
                signature,
            )
            .ok_or("chunks")?;
            let count = (packed.len() / 32) as u64;
            let spent = chunks.spent.get_mut(&name).ok_or("chunks")?;
            *spent += count;
            let declared = queries
                .iter()
                .find(|q| q["type"] == name.as_str())
                .ok_or("chunks")?;
            let declares = number(&declared["elements"]);
            demand("chunks", *spent <= declares && count <= most)?;
            if shift {
                let size = flights(declared).iter().position(|size| *size == count);
                let size = size.ok_or("chunks")?;
                demand("chunks", queries[flight.0]["type"] == name.as_str())?;
                demand("chunks", flight.0 == 0 || size == flight.1)?;
                flight = ((flight.0 + 1) % queries.len(), size);
            } else {
                demand("chunks", count == most || *spent == declares)?;
            }
            demand("chunks", (waiting.len() as u64) < window)?;
            chunks.blinded = sha256(&[&chunks.blinded, &sha256(&[frame.whole])]);
            waiting.push_back((chunks.blinded, name, packed.chunks(32).collect()));
        } else {
            let (count, packed) = body.split_at_checked(2).ok_or("chunks")?;
            let split = packed.len().checked_sub(64).ok_or("chunks")?;
            let (packed, proof) = packed.split_at(split);
            elements(count, packed)?;
            let (through, name, question) = waiting.pop_front().ok_or("chunks")?;
            let running = sha256(&[&chunks.evaluated, &through]);
            let message = message(b"tallystick/evaluated-chunk/v1\0", &running);
            signed(&hex(&grant["sender"]["signing_key"]), &message, signature).ok_or("chunks")?;
            let answers: Vec<&[u8]> = packed.chunks(32).collect();
            demand(
                "chunks",
                answers.len() == question.len() && waiting.is_empty(),
            )?;
            let keys = grant["keys"].as_array().ok_or("chunks")?;
            let key = keys
                .iter()
                .find(|k| k["type"] == name.as_str())
                .ok_or("chunks")?;
            proof_holds(&hex(&key["public_key"]), &question, &answers, proof).ok_or("proofs")?;
            chunks.evaluated = sha256(&[&chunks.evaluated, &sha256(&[frame.whole])]);
            chunks.answered += answers.len() as u64;
        }
        chunks.leaves[side].push(sha256(&[&[0], unsigned]));
    }

    let declared = |name: &str| {
        queries
            .iter()
            .find(|q| q["type"] == name)
            .map(|q| number(&q["elements"]))
    };
    let sent = match shift {
        true => flight.0 == 0,
        false => chunks.spent.iter().all(|(n, s)| declared(n) == Some(*s)),
    };
    let complete = waiting.is_empty() && sent;
    let hexed = |hash: Hash| Value::from(hex::encode(hash));
    let common = |closing: &Value, opening: &Value| {
        let nonce = sha256(&[b"tallystick/nonce/v1\0", &hex(&closing["nonce"])]);
        closing["session"] == request["session"]
            && closing["request"] == digest(asked)
            && closing["grant"] == digest(answer)
            && hexed(nonce) == opening["nonce_commitment"]
            && closing["chunks"] == chunks.leaves[1].len()
            && closing["set_commitment"] == hexed(root(&chunks.leaves[0]))
            && closing["evaluations"] == hexed(root(&chunks.leaves[1]))
            && closing["running"] == hexed(sha256(&[&chunks.evaluated, &chunks.blinded]))
    };
    let mut said: Option<(&Framed<'_>, Value)> = None;
    if let Some(frame) = rest.next_if(|f| f.kind == 0x30) {
        let closing = statement(
            frame,
            "receiver-closing",
            &RECEIVER_CLOSING,
            &["signing_key"],
        )
        .ok_or("closings")?;
        demand(
            "closings",
            closing["signing_key"] == request["receiver"]["signing_key"],
        )?;
        demand("closings", common(&closing, &request))?;
        demand("closings", closing["elements"] == chunks.answered)?;
        let says_complete = closing["status"] == "complete";
        demand("closings", complete || !says_complete)?;
        demand("closings", closing["outcome"].is_object() == says_complete)?;
        let closed = number(&closing["closed_ms"]);
        for time in ["first_chunk_ms", "last_chunk_ms", "closed_ms"] {
            let time = closing[time].as_u64();
            demand(
                "closings",
                time.is_none_or(|time| time >= issued && time <= closed),
            )?;
        }
        if says_complete {
            let matches = closing["outcome"]["matches"].as_u64();
            demand("closings", grant["discloses_count"] == matches.is_some())?;
            demand("closings", matches.is_none_or(|n| n <= chunks.answered))?;
        }
        if complete {
            let promised = &request["set_commitment"];
            demand(
                "closings",
                promised.is_null() || *promised == closing["set_commitment"],
            )?;
        }
        said = Some((frame, closing));
    }
    let Some(frame) = rest.next() else {
        let aborted = said.is_some_and(|(_, closing)| closing["status"] == "aborted");
        return demand("closings", aborted);
    };
    demand("closings", frame.kind == 0x31)?;
    let closing =
        statement(frame, "sender-closing", &SENDER_CLOSING, &["signing_key"]).ok_or("closings")?;
    demand(
        "closings",
        closing["signing_key"] == grant["sender"]["signing_key"],
    )?;
    demand(
        "closings",
        common(&closing, &grant) && number(&closing["closed_ms"]) >= granted,
    )?;
    let (status, names) = match &said {
        Some((frame, said)) => (said["status"].clone(), digest(frame)),
        None => ("aborted".into(), Value::Null),
    };
    demand(
        "closings",
        closing["status"] == status && closing["receiver_closing"] == names,
    )?;
    let charged = closing["charged"].as_array().ok_or("closings")?;
    demand("closings", charged.len() == chunks.spent.len())?;
    for (charge, (name, spent)) in charged.iter().zip(&chunks.spent) {
        let after = number(&charge["quota_before"]).checked_sub(*spent);
        let exact = charge["type"] == name.as_str() && charge["elements"] == *spent;
        demand("closings", exact && after == charge["quota_after"].as_u64())?;
    }
    demand("framing", rest.next().is_none())
}

/// What a snapshot is, taken apart.
pub struct Snapshot {
    preamble: Value,
    root: Hash,
    /// Each tag with its sealed label.
    pub entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The sizes in a preamble.
struct Sizes {
    tag: usize,
    sealed: usize,
    bits: u32,
}

impl Sizes {
    fn of(preamble: &Value) -> Option<Self> {
        let number = |member: &str| preamble[member].as_u64();
        if (preamble["kind"] == "issued-documents") != preamble["covers"].is_object() {
            return None;
        }
        Some(Self {
            tag: number("tag_bytes")? as usize,
            sealed: match number("label_bytes")? as usize {
                0 => 0,
                n => n + 40,
            },
            bits: number("bucket_bits")? as u32,
        })
    }

    fn bucket(&self, tag: &[u8]) -> u64 {
        let prefix = u64::from_be_bytes(std::array::from_fn(|i| *tag.get(i).unwrap_or(&0)));
        prefix.checked_shr(64 - self.bits).unwrap_or(0)
    }
}

/// Section 3.11: preamble and root.
fn header(frame: &Framed<'_>, publisher: &[u8]) -> Option<(Value, Hash)> {
    let author = ["preamble", "sender", "signing_key"];
    let said = (frame.kind == 0x40).then(|| statement(frame, "snapshot", &SNAPSHOT, &author))??;
    let preamble = &said["preamble"];
    let theirs = hex(&preamble["sender"]["signing_key"]) == publisher;
    theirs.then_some((preamble.clone(), hex(&said["root"]).try_into().ok()?))
}

fn preamble_leaf(preamble: &Value) -> Option<Hash> {
    let mut leaf = String::new();
    write(preamble, &PREAMBLE, &mut leaf)?;
    Some(sha256(&[&[0], leaf.as_bytes()]))
}

/// Section 6: verifies a snapshot.
pub fn snapshot(bytes: &[u8], publisher: &[u8]) -> Option<Snapshot> {
    let frames = frames(bytes)?;
    let (first, buckets) = frames.split_first()?;
    let (preamble, said) = header(first, publisher)?;
    let sizes = Sizes::of(&preamble)?;
    let mut leaves = vec![preamble_leaf(&preamble)?];
    let mut entries = BTreeMap::new();
    let mut last = Vec::new();
    for (index, frame) in buckets.iter().enumerate() {
        let (head, body) = frame.body.split_first_chunk::<8>()?;
        let count = u32::from_be_bytes(head[4..].try_into().ok()?) as usize;
        let right = frame.kind == 0x41
            && head[..4] == (index as u32).to_be_bytes()
            && body.len() == count * (sizes.tag + sizes.sealed);
        let (tags, sealed) = right.then(|| body.split_at(count * sizes.tag))?;
        for (i, tag) in tags.chunks(sizes.tag).enumerate() {
            if sizes.bucket(tag) != index as u64 || *tag <= last[..] {
                return None;
            }
            last = tag.to_vec();
            let label = sealed[i * sizes.sealed..(i + 1) * sizes.sealed].to_vec();
            entries.insert(last.clone(), label);
        }
        leaves.push(sha256(&[&[0], frame.body]));
    }
    let whole = buckets.len() == 1 << sizes.bits
        && preamble["elements"] == entries.len()
        && said == root(&leaves);
    whole.then_some(Snapshot {
        preamble,
        root: said,
        entries,
    })
}

/// Section 1.7.
fn padded(n: u64) -> u64 {
    let steps = (4u32..60).flat_map(|k| [4, 5, 6, 7].map(|quarters| (1u64 << k) / 4 * quarters));
    steps.into_iter().find(|step| *step >= n).unwrap_or(0)
}

/// Section 6.7: follows a delta from a snapshot; gives the tags with their labels after it. All
/// buckets are made anew of their tags, so that nothing hangs on which of them were touched.
pub fn delta(
    base: &Snapshot,
    bytes: &[u8],
    publisher: &[u8],
) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
    let frames = frames(bytes)?;
    let [first, second, changes @ ..] = &frames[..] else {
        return None;
    };
    let author = ["sender", "signing_key"];
    let said =
        (first.kind == 0x42).then(|| statement(first, "snapshot-delta", &DELTA, &author))??;
    let (preamble, to) = header(second, publisher)?;
    let was = &base.preamble;
    let same = ["sender", "collection", "epoch", "mode", "elements"];
    let [added, removed, relabelled, elements, sequence] =
        ["added", "removed", "relabelled", "elements", "sequence"].map(|m| said[m].as_u64());
    let (added, removed, relabelled) = (added?, removed?, relabelled?);
    let sizes = Sizes::of(was)?;
    let agreed = same.iter().all(|member| said[*member] == was[*member])
        && hex(&said["from"]) == base.root
        && hex(&said["to"]) == to
        && to != base.root
        && sequence? > 0
        && added == removed
        && padded(added) == added
        && (relabelled == 0 || padded(relabelled) == relabelled)
        && (relabelled == 0) == (sizes.sealed == 0)
        && 4 * (added + relabelled) <= elements?
        && said["published_ms"] == preamble["published_ms"]
        && preamble["published_ms"].as_u64() > was["published_ms"].as_u64()
        && preamble["salt"] != was["salt"];
    let mut unchanged = preamble.clone();
    for member in ["salt", "published_ms"] {
        unchanged[member] = was[member].clone();
    }
    if !agreed || unchanged != *was {
        return None;
    }

    let mut entries = base.entries.clone();
    let (mut counts, mut last) = ([0u64; 3], None);
    for frame in changes {
        let (index, rest) = frame.body.split_first_chunk::<4>()?;
        let (numbers, mut rest) = rest.split_first_chunk::<6>()?;
        let index = u32::from_be_bytes(*index);
        if frame.kind != 0x43 || last.is_some_and(|last| last >= index) {
            return None;
        }
        last = Some(index);
        let numbers =
            [0, 2, 4].map(|i| usize::from(u16::from_be_bytes([numbers[i], numbers[i + 1]])));
        let [gone, come, changed] = numbers;
        let mut take = |count: usize, size: usize| -> Option<Vec<Vec<u8>>> {
            let (head, tail) = rest.split_at_checked(count * size)?;
            rest = tail;
            let nothing = || vec![Vec::new(); count];
            Some(match size {
                0 => nothing(),
                _ => head.chunks(size).map(<[u8]>::to_vec).collect(),
            })
        };
        let tags = [
            take(gone, sizes.tag)?,
            take(come, sizes.tag)?,
            take(changed, sizes.tag)?,
        ];
        let labels = [take(come, sizes.sealed)?, take(changed, sizes.sealed)?];
        let right = rest.is_empty()
            && (1..=1024 * 2).contains(&(gone + come + changed))
            && gone <= 1024
            && come + changed <= 1024
            && (changed == 0 || sizes.sealed > 0)
            && tags
                .iter()
                .all(|list| list.windows(2).all(|pair| pair[0] < pair[1]))
            && tags
                .iter()
                .flatten()
                .all(|tag| sizes.bucket(tag) == u64::from(index));
        if !right {
            return None;
        }
        let [gone, come, changed] = tags;
        let [of_come, of_changed] = labels;
        // Against the earlier bucket, each of them.
        if come.iter().any(|tag| base.entries.contains_key(tag)) {
            return None;
        }
        for tag in &gone {
            entries.remove(tag)?;
        }
        for (tag, label) in changed.iter().zip(of_changed) {
            let old = entries.get_mut(tag)?;
            if std::mem::replace(old, label) == *old {
                return None;
            }
        }
        for (sum, list) in counts.iter_mut().zip([&gone, &come, &changed]) {
            *sum += list.len() as u64;
        }
        entries.extend(come.into_iter().zip(of_come));
    }
    let mut leaves = vec![preamble_leaf(&preamble)?];
    for index in 0..1u64 << sizes.bits {
        let of_bucket = || entries.iter().filter(|(tag, _)| sizes.bucket(tag) == index);
        let count = of_bucket().count() as u32;
        let tags: Vec<u8> = of_bucket().flat_map(|(tag, _)| tag.clone()).collect();
        let labels: Vec<u8> = of_bucket().flat_map(|(_, label)| label.clone()).collect();
        let head = [(index as u32).to_be_bytes(), count.to_be_bytes()].concat();
        leaves.push(sha256(&[&[0], &head, &tags, &labels]));
    }
    let holds = counts == [removed, added, relabelled] && root(&leaves) == to;
    holds.then_some(entries)
}
