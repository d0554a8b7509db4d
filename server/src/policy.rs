//! Whether a request is granted, and on which terms.

use std::sync::Arc;

use tallystick_agency::{
    Result,
    collections::{EpochKeys, public_keys},
    config::Limits,
    peers::int,
};
use tallystick_protocol::{
    session::Terms,
    statements::{GrantLimits, Hex, Int, Mode, Query, RefusalCode, Request, SnapshotReference},
};

use crate::{connections::PeerIdentity, node::Node};

/// A grant lives no longer than this, whatever the request says.
const LONGEST_GRANT_MS: i64 = 24 * 3600 * 1000;

/// Terms of a grant, and the secret keys that it needs.
pub(crate) struct Granted {
    pub(crate) terms: Terms,
    pub(crate) keys: Arc<EpochKeys>,
}

/// Decides on a request that is new. The order is that of the codes: what says least comes first.
pub(crate) async fn decide(
    node: &Node,
    identity: &PeerIdentity,
    request: &Request,
    now: i64,
) -> Result<Result<Granted, RefusalCode>> {
    let policy = &node.home.config().policy;
    let ms = |int: Int| i64::try_from(int.get()).unwrap_or(i64::MAX);
    let skew = (now - ms(request.issued_ms)).abs();
    if skew > i64::from(policy.clock_skew_refuse_seconds) * 1000 {
        return Ok(Err(RefusalCode::ClockSkew));
    }
    if skew > i64::from(policy.clock_skew_warn_seconds) * 1000 {
        tracing::warn!(
            peer = identity.agency,
            milliseconds = skew,
            "the clocks differ"
        );
    }
    if ms(request.expires_ms) <= now {
        return Ok(Err(RefusalCode::Expired));
    }
    let Some(offered) = node
        .offered(&identity.agency, request.collection.as_str())
        .await?
    else {
        return Ok(Err(RefusalCode::NotAvailable));
    };
    if request.mode != Mode::Elements {
        return Ok(Err(RefusalCode::ModeNotOffered));
    }
    if request.profile != offered.meta.profile {
        return Ok(Err(RefusalCode::ProfileMismatch));
    }
    // What the record says of the rules is what the list was made by.
    let agreed = |query: &Query| {
        let rules = offered.meta.rules.get(&query.type_name);
        rules.is_none_or(|rules| *rules == query.rules)
    };
    if !request.queries.iter().all(agreed) {
        return Ok(Err(RefusalCode::ProfileMismatch));
    }
    let types = &offered.meta.types;
    if request
        .queries
        .iter()
        .any(|query| !types.contains(&query.type_name))
    {
        return Ok(Err(RefusalCode::TypeNotOffered));
    }
    if request.elements() > offered.meta.max_session_elements {
        return Ok(Err(RefusalCode::TooManyElements));
    }
    for query in &request.queries {
        let (name, epoch) = (offered.name.as_str(), offered.epoch);
        let type_name = query.type_name.as_str();
        let charged = node
            .store
            .charged(&identity.agency, name, epoch, type_name)
            .await?;
        // Concurrent sessions may pass here together; each chunk is charged against the same
        // budget again, in one transaction, before it is evaluated.
        if charged.saturating_add(query.elements.get()) > offered.meta.budget(&query.type_name) {
            return Ok(Err(RefusalCode::QuotaExceeded));
        }
    }
    let limits = &node.home.config().limits;
    let Some(chunk_elements) = chunk_size(node, limits, request) else {
        return Ok(Err(RefusalCode::TooManyElements));
    };
    let keys = node.keys(&offered)?;
    let mut public = public_keys(&keys);
    public.retain(|key| {
        request
            .queries
            .iter()
            .any(|query| query.type_name == key.type_name)
    });
    let previous = node.store.last_record(&identity.agency).await?;
    Ok(Ok(Granted {
        terms: Terms {
            build: node.build.clone(),
            state: node.state.clone(),
            tls_spki: node.tls_spki,
            epoch: Int::new(offered.epoch)?,
            keys: public,
            snapshot: SnapshotReference {
                digest: Hex(offered.digest),
                elements: Int::new(offered.meta.elements)?,
                tag_bytes: offered.meta.tag_bytes.into(),
            },
            limits: GrantLimits {
                chunk_elements: chunk_elements.into(),
                window_chunks: limits.window_chunks.into(),
            },
            // A desk never says that it found somebody.
            discloses_count: policy.demands_count && !request.is_shift(),
            previous: previous.map(|record| Hex(record.digest)),
            // A grant lives as long as its request, and no longer than a day.
            expires_ms: int(ms(request.expires_ms).min(now + LONGEST_GRANT_MS))?,
        },
        keys,
    }))
}

/// Elements of a chunk that this request is granted. `None` for a shift whose smallest flight is larger
/// than any chunk that this node takes.
fn chunk_size(node: &Node, limits: &Limits, request: &Request) -> Option<u32> {
    let sessions = node.serving.inside();
    if !request.is_shift() {
        return Some(chunk_elements(limits, sessions, request.elements()));
    }
    // Flights have sizes of their own, whatever the session carries in all.
    let sessions = sessions.saturating_add(node.shifts.inside());
    let granted = chunk_elements(limits, sessions, u64::MAX);
    let first = |query: &Query| query.flights.iter().flatten().next().copied();
    let least = request.queries.iter().filter_map(first).max();
    let least = least.and_then(|least| u32::try_from(least.get()).ok())?;
    (least <= limits.chunk_elements).then_some(granted.max(least))
}

/// What one element of a chunk costs while it waits: the bytes that came, the frame, the encoding
/// out of it and the evaluation.
const BYTES_PER_ELEMENT: u64 = 4 * 32;
/// No chunk is granted smaller than this: the proof would cost more than what it proves.
const SMALLEST_CHUNK: u32 = 256;

/// A session of fewer elements has smaller chunks, down to `SMALL_CHUNK`: while one is on its way
/// another can be worked on, and all cores have one.
const CHUNKS_OF_A_SESSION: u64 = 16;
const SMALL_CHUNK: u64 = 8192;

/// Elements of a chunk that one more session of so many elements is granted, so that the windows of
/// all sessions fit into the memory that is set aside for them. Large chunks are cheaper: the sums
/// of a proof cost less for each element, and a transaction and its writes to the disk are one a
/// chunk.
fn chunk_elements(limits: &Limits, sessions: u32, elements: u64) -> u32 {
    let memory = u64::from(limits.session_memory_mib) << 20;
    let window = u64::from(limits.window_chunks) * BYTES_PER_ELEMENT;
    // Those that came first were granted more; so each gets half of an equal share.
    let share = memory / (2 * u64::from(sessions.max(1)) * window);
    let share = share.max(SMALLEST_CHUNK.into());
    let part = (elements / CHUNKS_OF_A_SESSION).max(SMALL_CHUNK);
    // By powers of two, so that a grant does not count the other sessions.
    let granted = 1u64 << share.min(part).ilog2();
    u32::try_from(granted).map_or(limits.chunk_elements, |n| n.min(limits.chunk_elements))
}

/// Bytes of a detail: a line of a statement has room for 512.
const LONGEST_DETAIL: usize = 400;

/// In what the profile of a request differs from that of the collection.
pub(crate) async fn profile_difference(node: &Node, request: &Request) -> Option<String> {
    let agency = request.receiver.agency.as_str();
    let offered = node.offered(agency, request.collection.as_str()).await;
    let offered = offered.ok().flatten()?;
    let difference = offered.meta.profile.difference(&request.profile);
    let difference = difference.unwrap_or_else(|| "the request names other rules".to_owned());
    let mut text = format!("profile: {difference}");
    text.truncate(text.floor_char_boundary(LONGEST_DETAIL));
    Some(text)
}

/// What a person who is refused can do about it.
pub(crate) fn detail(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::NotAvailable => "no such collection for this agency; see its catalogue",
        RefusalCode::TypeNotOffered => "the collection has no such type; see the catalogue",
        RefusalCode::ModeNotOffered => "this version serves mode elements",
        RefusalCode::ProfileMismatch => "profile id or tables differ; use the same version",
        RefusalCode::TooManyElements => "ask in smaller sets; see the catalogue for the limit",
        RefusalCode::QuotaExceeded => "the budget of this epoch is spent; ask for a larger one",
        RefusalCode::ClockSkew => "the clocks differ by more than is allowed; set them",
        RefusalCode::Expired => "the request is past its expiry; ask again",
        RefusalCode::Replayed => "this request id was used before; ask again",
        RefusalCode::Busy => "too many sessions at once; try again later",
        RefusalCode::Draining => "the node is shutting down; try again later",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_sessions_are_granted_smaller_chunks() {
        let limits = Limits::default();
        let many = 1 << 22;
        assert_eq!(chunk_elements(&limits, 0, many), limits.chunk_elements);
        assert_eq!(chunk_elements(&limits, 2, many), limits.chunk_elements);
        assert_eq!(chunk_elements(&limits, 8, many), 8192);
        for sessions in [33, 50, 64] {
            assert_eq!(chunk_elements(&limits, sessions, many), 1024);
        }
        assert_eq!(chunk_elements(&limits, 100_000, many), SMALLEST_CHUNK);
        let small = Limits {
            chunk_elements: 16,
            ..limits
        };
        assert_eq!(
            chunk_elements(&small, 100_000, many),
            16,
            "never more than is configured"
        );
    }

    #[test]
    fn a_session_of_few_elements_is_granted_chunks_for_all_cores() {
        let limits = Limits::default();
        let granted = |elements| chunk_elements(&limits, 1, elements);
        assert_eq!(granted(16), 8192);
        assert_eq!(granted(1 << 17), 8192);
        assert_eq!(granted(7 << 15), 8192);
        assert_eq!(granted(1 << 18), 16_384);
        assert_eq!(granted(1 << 20), limits.chunk_elements);
    }
}
