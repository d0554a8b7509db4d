//! A session from its record: brought to where it stood, replayed when it is over, aborted when
//! nobody can go on with it.

use std::{collections::HashMap, sync::Arc};

use tallystick_agency::{
    AgencyError, Result, clock,
    peers::int,
    records::{self, Place, RecordFile},
    store::SessionStatus,
};
use tallystick_protocol::{
    error::Error,
    frame::{Frame, FrameReader, Kind},
    session::{Asked, Serving},
    statements::{Charge, Hex, Int},
};

use super::{End, Link, add_record, blocking};
use crate::node::Node;

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

/// Closes a session from what is on disk, with the sender's closing alone.
pub(super) async fn abort(node: &Node, session: &Hex<16>) -> Result<()> {
    let Some(known) = node.store.session(&session.0).await? else {
        return Ok(());
    };
    if known.status != SessionStatus::Open {
        return Ok(());
    }
    let now = clock::now_ms();
    let dir = node.home.records_dir();
    take_back(node, session)?;
    if records::is_open(&dir, session) {
        let peer = node
            .store
            .peer(&known.peer)
            .await?
            .ok_or_else(|| broken(session))?;
        let peer = tallystick_agency::peers::reference(&peer)?;
        let request = blocking(|| {
            let (mut record, frames) = RecordFile::reopen(&dir, *session)?;
            let (_, place) = frames.first().ok_or_else(|| broken(session))?;
            record.frame_at(*place)
        })?;
        let asked = Asked::open(request, &peer, node.me.clone())?;
        let Rebuilt {
            mut record,
            serving,
            ..
        } = rebuild(node, asked, Trailing::Kept)?;
        let charged = charges(node, &serving, &known.peer).await?;
        let closing = serving.abort(charged, int(now)?.get())?;
        let closed = blocking(|| {
            record.append(&closing)?;
            record.close()
        })?;
        add_record(node, session, &known.peer, closed.digest, now).await?;
    }
    node.store
        .close_session(&session.0, SessionStatus::Aborted, now)
        .await?;
    tracing::info!(peer = known.peer, session = %session, "aborted");
    Ok(())
}

/// Opens the record of an open session again if it was closed already: a crash came before the store
/// knew. The closing in it never left, since it leaves after the store knows.
pub(super) fn take_back(node: &Node, session: &Hex<16>) -> Result<()> {
    let dir = node.home.records_dir();
    let (closed, open) = (
        records::closed_path(&dir, session),
        dir.join(format!("{session}.part")),
    );
    if open.exists() || !closed.exists() {
        return Ok(());
    }
    blocking(|| {
        std::fs::rename(&closed, &open).map_err(|source| AgencyError::Io {
            action: "rename to",
            path: open.clone(),
            source,
        })
    })
}

fn broken(session: &Hex<16>) -> AgencyError {
    AgencyError::SealBroken {
        what: format!("records/{session}.part"),
    }
}

/// What becomes of questions at the end of a record that have no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trailing {
    /// The receiver will send them again.
    CutOff,
    /// They were charged, and the session ends here.
    Kept,
}

/// A session as its record has it.
pub(super) struct Rebuilt {
    pub(super) record: RecordFile,
    pub(super) grant: Frame,
    pub(super) serving: Serving,
    pub(super) answered: HashMap<[u8; 32], Place>,
}

/// Reads a record that was left open and brings the session to where it stood.
pub(super) fn rebuild(node: &Node, asked: Asked, trailing: Trailing) -> Result<Rebuilt> {
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
        let mut serving = asked.resume(node.kernel, &grant, nonce, Arc::clone(&node.key))?;
        let mut answered = HashMap::new();
        let mut chunks = chunks.iter().peekable();
        while let Some((kind, place)) = chunks.next() {
            let answer = chunks.next_if(|(kind, _)| *kind == Kind::EvaluatedChunk);
            let whole =
                *kind == Kind::BlindedChunk && (answer.is_some() || trailing == Trailing::Kept);
            if !whole {
                record.cut(place.offset)?;
                break;
            }
            let question = record.frame_at(*place)?;
            serving = serving.receive(&question)?.0;
            if let Some((_, place)) = answer {
                serving = serving.replay(&record.frame_at(*place)?)?;
                answered.insert(question.digest(), *place);
            }
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

/// Closes sessions that nobody can resume any more: their grant has expired. Forgets refused
/// requests that their expiry alone refuses from now on.
pub(crate) async fn sweep(node: &Node, now: i64) -> Result<()> {
    node.store.purge_refused(now).await?;
    let quiet = now - i64::from(node.home.config().limits.idle_timeout_seconds) * 1000;
    for known in node.store.open_sessions().await? {
        // A session that is still being served ends itself at its next tick.
        if known.expires_ms < now && known.active_ms < quiet {
            let session = Hex(known.session);
            let Some(_claim) = node.claims.claim(&session, &known.peer).await else {
                continue;
            };
            // One record that is damaged keeps no other session open.
            if let Err(error) = abort(node, &session).await {
                let (peer, code) = (&known.peer, error.code());
                tracing::error!(peer, %session, code, "cannot close it: {error}");
            }
        }
    }
    Ok(())
}
