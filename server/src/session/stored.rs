//! A session from its record: brought to where it stood, replayed when it is over, aborted when
//! nobody can go on with it.

use std::{collections::HashMap, sync::Arc};

use tallystick_agency::{
    AgencyError, Kind as ErrorKind, Result, clock,
    collections::{EpochKeys, Meta},
    peers::int,
    records::{self, Place, RecordFile},
    store::{Answer, Chunk, Session, SessionStatus},
};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, FrameReader, Kind},
    session::{Asked, Serving},
    statements::{Charge, Hex, Int, SenderClosing, SenderReference, Status, open},
};

use super::{
    End, Link, blocking,
    chunks::{Unsettled, evaluate},
    entry,
};
use crate::{metrics::Event, node::Node};

/// What the session cost, as its closing states it.
pub(super) async fn charges(node: &Node, serving: &Serving, peer: &str) -> Result<Vec<Charge>> {
    let grant = serving.agreement().grant();
    let known = node.store.collection(grant.collection.as_str()).await?;
    let meta = known.as_ref().map(Meta::of).transpose()?;
    let mut charges = Vec::new();
    for (type_name, spent) in serving.progress().spent() {
        let (name, epoch) = (grant.collection.as_str(), grant.epoch.get());
        let charged = node
            .store
            .charged(peer, name, epoch, type_name.as_str())
            .await?;
        let budget = meta.as_ref().map_or(0, |meta| meta.budget(type_name));
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
    let rebuilt = Rebuilt::new(node, asked).await?;
    let grant = rebuilt.serving.agreement().grant();
    let keys = node
        .keys_in_force(&grant.collection, grant.epoch.get())
        .await?;
    // What was charged is in the record, and what was answered; also where nobody knows any more
    // whether the answer has left.
    let (rebuilt, _) = rebuilt.answer_lost(node, keys.as_deref()).await?;
    let Rebuilt {
        mut record,
        serving,
        ..
    } = rebuilt;
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

/// A session as its record has it, brought to where it stood.
pub(super) struct Rebuilt {
    pub(super) record: RecordFile,
    pub(super) grant: Frame,
    pub(super) serving: Serving,
    pub(super) answered: HashMap<[u8; 32], Place>,
    /// Answers in the record of which the store does not know.
    pub(super) unsettled: Unsettled,
    /// Chunks that are bound, and whose answer the record has not: none was given, or a crash took it.
    lost: Vec<Chunk>,
}

/// What came of reading a record.
enum Read {
    Whole(Box<Rebuilt>),
    /// The answer to the chunk of this index is damaged, and was not known to be on the disk.
    Damaged(usize),
}

impl Rebuilt {
    /// Reads the record that was left open. What the store knows to be in it must be there. What came
    /// behind was perhaps never on the disk: as much of it as is whole is taken and written once more,
    /// the rest is lost.
    pub(super) async fn new(node: &Node, asked: Asked) -> Result<Self> {
        let session = asked.request().session;
        let receiver = &asked.request().receiver;
        let peer = SenderReference {
            agency: receiver.agency.clone(),
            signing_key: receiver.signing_key,
        };
        let request = asked.frame().clone();
        let bound = node.bound(&session).await?;
        blocking(|| {
            let mut most = bound.len();
            loop {
                // What this node took once is damaged if it does not hold any more.
                let asked = Asked::open(request.clone(), &peer, node.me.clone())
                    .map_err(|_| broken(&session))?;
                match Self::read(node, asked, &bound, most)? {
                    Read::Whole(rebuilt) => return Ok(*rebuilt),
                    Read::Damaged(index) => most = index,
                }
            }
        })
    }

    /// Reads it with at most so many chunks.
    fn read(node: &Node, asked: Asked, bound: &[Chunk], most: usize) -> Result<Read> {
        let session = asked.request().session;
        let (mut record, frames) = RecordFile::reopen(&node.home.records_dir(), session)?;
        let [(_, request), (_, grant), chunks @ ..] = &frames[..] else {
            return Err(broken(&session));
        };
        if record.frame_at(*request)? != *asked.frame() {
            return Err(broken(&session));
        }
        let behind_grant = grant.offset + u64::from(grant.length);
        let grant = record.frame_at(*grant)?;
        let nonce = node.nonce(&session);
        let key = Arc::clone(&node.key);
        let resumed = asked.resume(node.kernel, &grant, nonce, key);
        let mut rebuilt = Self {
            serving: resumed.map_err(|_| broken(&session))?,
            record,
            grant,
            answered: HashMap::new(),
            unsettled: Unsettled::default(),
            lost: Vec::new(),
        };
        let mut whole = behind_grant;
        let mut again = Vec::new();
        for (at, (known, pair)) in bound.iter().zip(chunks.chunks(2)).enumerate() {
            let settled = known.answer.is_some();
            // An index is that of a row: they are bound without a gap.
            if known.index as usize != at {
                return Err(broken(&session));
            }
            let [(Kind::BlindedChunk, asked), (Kind::EvaluatedChunk, place)] = pair else {
                break;
            };
            if !settled && at >= most {
                break;
            }
            let question = rebuilt.record.frame_at(*asked)?;
            let here =
                |answer: &Answer| (answer.offset, answer.len) == (place.offset, place.length);
            let is_it = known.digest == question.digest();
            if settled && !(is_it && known.answer.as_ref().is_some_and(here)) {
                return Err(broken(&session));
            }
            if !is_it {
                return Ok(Read::Damaged(at));
            }
            // What was taken once is damaged if it does not hold any more.
            let taken = rebuilt.serving.receive(&question);
            let taken = taken.map_err(|_| broken(&session))?.0;
            let answer = rebuilt.record.frame_at(*place)?;
            rebuilt.serving = match taken.replay(&answer) {
                Ok(serving) => serving,
                Err(_) if settled => return Err(broken(&session)),
                Err(_) => return Ok(Read::Damaged(at)),
            };
            rebuilt.answered.insert(question.digest(), *place);
            match settled {
                true => whole = place.offset + u64::from(place.length),
                false => {
                    rebuilt.unsettled.push(known.index, *place, known.elements);
                    again.push([question, answer]);
                }
            }
        }
        let read = rebuilt.answered.len();
        rebuilt.lost = bound.get(read..).unwrap_or_default().to_vec();
        // Answers are noted in their order.
        if rebuilt.lost.iter().any(|chunk| chunk.answer.is_some()) {
            return Err(broken(&session));
        }
        // A disk that failed to take them once would not be asked again for the same pages.
        rebuilt.record.cut(whole)?;
        for frame in again.iter().flatten() {
            rebuilt.record.append(frame)?;
        }
        Ok(Read::Whole(Box::new(rebuilt)))
    }

    /// Answers what is bound and has no answer in the record, with what it was bound with: an answer
    /// that has left before comes out the same to the byte. Without keys, or from the first that cannot
    /// be evaluated, the record gets the questions alone; that fault of the peer's is given back.
    pub(super) async fn answer_lost(
        mut self,
        node: &Node,
        mut keys: Option<&EpochKeys>,
    ) -> Result<(Self, Option<AgencyError>)> {
        let session = self.serving.agreement().request().session;
        let mut fault = None;
        for chunk in std::mem::take(&mut self.lost) {
            let question = chunk.question.ok_or_else(|| broken(&session))?;
            let question = Frame::from_bytes(question).map_err(|_| broken(&session))?;
            let taken = self.serving.receive(&question);
            let (serving, accepted) = taken.map_err(|_| broken(&session))?;
            self.serving = serving;
            blocking(|| self.record.append(&question))?;
            let Some(known) = keys else { continue };
            // An earlier version kept nothing, and sent nothing that was not on the disk.
            let fresh = chunk.fresh.unwrap_or_else(rand::random);
            let evaluation = match evaluate(node, accepted, known, fresh).await {
                Ok(evaluation) => evaluation,
                Err(error) if error.kind() == ErrorKind::PeerFault => {
                    (keys, fault) = (None, Some(error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let answer;
            (self.serving, answer) = self.serving.answer(evaluation)?;
            let place = blocking(|| self.record.append(&answer))?;
            self.unsettled.push(chunk.index, place, chunk.elements);
            self.answered.insert(question.digest(), place);
        }
        Ok((self, fault))
    }
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
