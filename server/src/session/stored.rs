//! A session from its record: brought to where it stood, replayed when it is over, aborted when
//! nobody can go on with it.

use std::{collections::HashMap, sync::Arc};

use tallystick_agency::{
    AgencyError, Result, clock,
    peers::int,
    records::{self, Place, RecordFile},
    store::{Chunk, Session, SessionStatus},
};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, FrameReader, Kind},
    session::{Asked, Serving},
    statements::{Charge, Hex, Int, SenderClosing, Status, open},
};

use super::{End, Link, blocking, entry};
use crate::{metrics::Event, node::Node};

/// What the session cost, as its closing states it.
pub(super) async fn charges(node: &Node, serving: &Serving, peer: &str) -> Result<Vec<Charge>> {
    let grant = serving.agreement().grant();
    let known = node.store.collection(grant.collection.as_str()).await?;
    let budget = match known {
        Some(known) => tallystick_agency::collections::Meta::of(&known)?.peer_budget,
        None => 0,
    };
    let mut charges = Vec::new();
    for (type_name, spent) in serving.progress().spent() {
        let (name, epoch) = (grant.collection.as_str(), grant.epoch.get());
        let charged = node
            .store
            .charged(peer, name, epoch, type_name.as_str())
            .await?;
        let after = budget.saturating_sub(charged);
        charges.push(Charge {
            type_name: type_name.clone(),
            elements: Int::new(spent)?,
            quota_before: Int::new(after + spent)?,
            quota_after: Int::new(after)?,
        });
    }
    Ok(charges)
}

/// Closes a session from what is on disk, with the sender's closing alone. A record that is damaged
/// or gone is set aside: the session ends without one, which is an alarm and not a reason to keep
/// it open for ever.
pub(super) async fn abort(node: &Node, session: &Hex<16>) -> Result<()> {
    settle(node, session).await?;
    let Some(known) = node.store.session(&session.0).await? else {
        return Ok(());
    };
    if known.status != SessionStatus::Open {
        return Ok(());
    }
    let now = clock::now_ms();
    let entry = match close_record(node, &known, now).await {
        Ok((digest, elements)) => {
            tracing::info!(peer = known.peer, session = %session, elements, "aborted");
            Some(entry(session, &known.peer, digest, now))
        }
        Err(error @ AgencyError::SealBroken { .. }) => {
            let kept = blocking(|| records::set_aside(&node.home.records_dir(), session))?;
            let (code, kept) = (
                "record-damaged",
                kept.map(|path| path.display().to_string()),
            );
            tracing::error!(
                peer = known.peer, session = %session, code, kept,
                "aborted without a record: {error}"
            );
            None
        }
        Err(error) => return Err(error),
    };
    node.store
        .close_session(&session.0, SessionStatus::Aborted, entry.as_ref(), now)
        .await?;
    node.metrics.session(Event::Aborted);
    Ok(())
}

/// Signs the sender's closing under an open record; gives its digest and the elements charged.
async fn close_record(node: &Node, known: &Session, now: i64) -> Result<([u8; 32], u64)> {
    let session = Hex(known.session);
    let dir = node.home.records_dir();
    if !records::is_open(&dir, &session) {
        return Err(broken(&session));
    }
    let peer = node
        .store
        .peer(&known.peer)
        .await?
        .ok_or_else(|| broken(&session))?;
    let peer = tallystick_agency::peers::reference(&peer)?;
    let request = blocking(|| {
        let (mut record, frames) = RecordFile::reopen(&dir, session)?;
        let (_, place) = frames.first().ok_or_else(|| broken(&session))?;
        record.frame_at(*place)
    })?;
    // What this node took once is damaged if it does not hold any more.
    let asked = Asked::open(request, &peer, node.me.clone()).map_err(|_| broken(&session))?;
    let bound = node.store.chunks(&session.0).await?;
    let Rebuilt {
        mut record,
        mut serving,
        answered,
        ..
    } = rebuild(node, asked, &bound)?;
    // What was charged and not answered is in the record, too.
    for chunk in bound.into_iter().skip(answered.len()) {
        let question = chunk.question.ok_or_else(|| broken(&session))?;
        let question = Frame::from_bytes(question).map_err(|_| broken(&session))?;
        serving = serving.receive(&question).map_err(|_| broken(&session))?.0;
        blocking(|| record.append(&question))?;
    }
    let charged = charges(node, &serving, &known.peer).await?;
    let elements = charged.iter().map(|charge| charge.elements.get()).sum();
    let closing = serving.abort(charged, int(now)?.get())?;
    let closed = blocking(|| {
        record.append(&closing)?;
        record.close()
    })?;
    Ok((closed.digest, elements))
}

/// Brings the store up to a record that was closed in the moment of a crash: what the record says is
/// signed, and is not signed a second time.
pub(super) async fn settle(node: &Node, session: &Hex<16>) -> Result<()> {
    let known = node.store.session(&session.0).await?;
    let Some(known) = known.filter(|known| known.status == SessionStatus::Open) else {
        return Ok(());
    };
    let dir = node.home.records_dir();
    if records::is_open(&dir, session) {
        return Ok(());
    }
    let Some((record, last)) = blocking(|| records::reread(&dir, session))? else {
        return Ok(());
    };
    let closing: SenderClosing =
        open(&last, &node.me.signing_key.into()).map_err(|_| broken(session))?;
    if closing.session != *session {
        return Err(broken(session));
    }
    let status = match closing.status {
        Status::Complete => SessionStatus::Closed,
        Status::Aborted => SessionStatus::Aborted,
    };
    let now = clock::now_ms();
    let entry = entry(session, &known.peer, record.digest, now);
    node.store
        .close_session(&session.0, status, Some(&entry), now)
        .await?;
    node.metrics.session(Event::of(closing.status));
    Ok(())
}

fn broken(session: &Hex<16>) -> AgencyError {
    AgencyError::SealBroken {
        what: format!("records/{session}.part"),
    }
}

/// A session as its record has it.
pub(super) struct Rebuilt {
    pub(super) record: RecordFile,
    pub(super) grant: Frame,
    pub(super) serving: Serving,
    pub(super) answered: HashMap<[u8; 32], Place>,
}

/// Reads a record that was left open and brings the session to where it stood. `bound` is what the
/// store knows of its chunks: an answer that the record must hold and does not was lost. Questions
/// without an answer are cut off; the store has them.
pub(super) fn rebuild(node: &Node, asked: Asked, bound: &[Chunk]) -> Result<Rebuilt> {
    let session = asked.request().session;
    blocking(|| {
        let (mut record, frames) = RecordFile::reopen(&node.home.records_dir(), session)?;
        let [(_, request), (_, grant), chunks @ ..] = &frames[..] else {
            return Err(broken(&session));
        };
        if record.frame_at(*request)? != *asked.frame() {
            return Err(broken(&session));
        }
        let grant = record.frame_at(*grant)?;
        let nonce = node.nonce(&session);
        let key = Arc::clone(&node.key);
        let resumed = asked.resume(node.kernel, &grant, nonce, key);
        let mut serving = resumed.map_err(|_| broken(&session))?;
        let mut answered = HashMap::new();
        let mut stored = bound.iter();
        for (at, pair) in chunks.chunks(2).enumerate() {
            let [
                (Kind::BlindedChunk, question),
                (Kind::EvaluatedChunk, place),
            ] = pair
            else {
                record.cut(pair[0].1.offset)?;
                break;
            };
            let known = stored.next().ok_or_else(|| broken(&session))?;
            let question = record.frame_at(*question)?;
            let elsewhere = known
                .answer
                .is_some_and(|answer| (answer.offset, answer.len) != (place.offset, place.length));
            if known.index as usize != at || known.digest != question.digest() || elsewhere {
                return Err(broken(&session));
            }
            // What was taken once is damaged if it does not hold any more.
            let taken = serving.receive(&question).map_err(|_| broken(&session))?.0;
            let answer = record.frame_at(*place)?;
            serving = taken.replay(&answer).map_err(|_| broken(&session))?;
            answered.insert(question.digest(), *place);
        }
        if stored.any(|chunk| chunk.answer.is_some()) {
            return Err(broken(&session));
        }
        Ok(Rebuilt {
            record,
            grant,
            serving,
            answered,
        })
    })
}

/// Gives a receiver that lost the end of a closed session the same answers again: for each frame
/// that it sends as before, what followed it.
pub(super) async fn replay(node: &Node, session: &Hex<16>, link: &mut Link) -> Result<(), End> {
    let path = records::closed_path(&node.home.records_dir(), session);
    let mut reader = blocking(|| {
        let file = std::fs::File::open(&path).map_err(|_| broken(session))?;
        Ok(FrameReader::new(std::io::BufReader::new(file)))
    })?;
    let mut next = || {
        blocking(|| match reader.next_frame() {
            Ok(Some(frame)) => Ok(frame),
            _ => Err(broken(session)),
        })
    };
    let (_header, _request) = (next()?, next()?);
    link.send(next()?).await?;
    loop {
        let asked = link.next().await?;
        if asked != next()? {
            let field = "a frame differs from the closed session";
            return Err(Error::Mismatch {
                what: "session",
                field,
            }
            .into());
        }
        let answer = next()?;
        let last = answer.kind() == Kind::SenderClosing;
        link.send(answer).await?;
        if last {
            return Ok(());
        }
    }
}
