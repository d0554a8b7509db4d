//! Runs that nobody can go on with: their records are closed with the receiver's own word.

use std::path::Path;

use tallystick_agency::{
    AgencyError, clock,
    exit::Outcome,
    peers::int,
    records::{self, RecordFile},
    store::{RecordEntry, Role, Run},
};
use tallystick_protocol::{
    frame::Kind,
    session::{Answer, Asking, Finish},
    statements::Hex,
};

use super::{
    Asker,
    stored::{Stage, Unsealed, claims_path, remove, remove_journal},
};
use crate::snapshots::blocking;

impl Asker<'_> {
    /// Closes what earlier runs of this home left open and can no longer be resumed: their request
    /// has expired. Trouble with one of them is logged and stops nobody.
    pub(crate) async fn close_abandoned(&self) -> Outcome<()> {
        let now = int(clock::now_ms())?;
        for run in self.store.open_runs().await? {
            let session = Hex(run.session);
            let closed = match self.unseal(&run) {
                Ok(known) if known.asking.request().expires_ms > now => continue,
                Ok(known) => self.abandon(&run, known).await,
                Err(failure) => Err(failure),
            };
            if let Err(failure) = closed {
                let code = failure.code.as_str();
                tracing::warn!(%session, code, "an abandoned run cannot be closed: {failure}");
            }
        }
        Ok(())
    }

    /// The same for one run that was ended by the peer or by a rule, if it is not closed yet. A run
    /// whose closing has left is not given up on the peer's unsigned word: the peer may have closed
    /// it, and then its result can still be had.
    pub(crate) async fn give_up(&self, session: &Hex<16>, signed: bool) -> Outcome<()> {
        let runs = self.store.open_runs().await?;
        let Some(run) = runs.iter().find(|run| run.session == session.0) else {
            return Ok(());
        };
        let known = self.unseal(run)?;
        match known.stage {
            Stage::Closing { .. } if !signed => Ok(()),
            _ => self.abandon(run, known).await,
        }
    }

    /// Ends a run. Its record is closed as aborted, with all that was answered, and signed by this
    /// side alone; one without a grant is removed. What was charged stays charged.
    pub(super) async fn abandon(&self, run: &Run, known: Unsealed) -> Outcome<()> {
        let session = Hex(run.session);
        let dir = self.home.records_dir();
        let asked = known.stage == Stage::Asked;
        let is_closed = records::closed_path(&dir, &session).exists();
        if is_closed && !asked {
            // Closed by both: only its output is missing, and can still be written.
            return Ok(());
        }
        let mut kept = is_closed;
        if records::is_open(&dir, &session) {
            let Some(_held) = self.try_hold(&session)? else {
                // Under way in another process.
                return Ok(());
            };
            // That process may have closed it in this very moment.
            if records::closed_path(&dir, &session).exists() && !asked {
                records::remove_open(&dir, &session)?;
                return Ok(());
            }
            let asking = known.asking;
            let folder = dir.clone();
            let closed = match known.stage {
                // One session has one closing of each side, and this side's is signed already.
                Stage::Closing { .. } => {
                    records::set_aside(&dir, &session)?;
                    None
                }
                _ => blocking(move || Ok(close(&folder, session, asking)?)).await?,
            };
            kept |= closed.is_some();
            if let Some(digest) = closed {
                let entry = RecordEntry {
                    session: session.0,
                    role: Role::Receiver,
                    peer: run.peer.clone(),
                    path: records::relative_path(&session),
                    digest,
                    closed_ms: clock::now_ms(),
                };
                self.store.add_record(&entry).await?;
                tracing::info!(peer = run.peer, %session, "closed as aborted");
            }
        }
        // First what nobody looks for once the run is over: claims without a record.
        if asked && !kept {
            remove(&claims_path(&dir, &session))?;
        }
        remove_journal(&dir, &session)?;
        self.store.finish_run(&run.session, clock::now_ms()).await?;
        Ok(())
    }
}

/// Closes an open record as aborted; gives its digest. `None`: nothing was granted, or the record is
/// damaged and was set aside.
fn close(dir: &Path, session: Hex<16>, asking: Asking) -> Result<Option<[u8; 32]>, AgencyError> {
    let path = records::open_path(dir, &session);
    let length = std::fs::metadata(&path).map_or(0, |meta| meta.len());
    if length == 0 {
        records::remove_open(dir, &session)?;
        return Ok(None);
    }
    let closed = sign_off(dir, session, asking);
    if let Err(AgencyError::SealBroken { .. } | AgencyError::Protocol(_)) = &closed {
        records::set_aside(dir, &session)?;
        tracing::error!(%session, code = "record-damaged", "an own record is damaged");
        return Ok(None);
    }
    closed
}

fn sign_off(dir: &Path, session: Hex<16>, asking: Asking) -> Result<Option<[u8; 32]>, AgencyError> {
    let (mut record, frames) = RecordFile::reopen(dir, session)?;
    let [_, (_, grant), chunks @ ..] = &frames[..] else {
        record.discard()?;
        return Ok(None);
    };
    let Answer::Granted(matching) = asking.answer(record.frame_at(*grant)?)? else {
        // A refusal closes a record by itself.
        return Ok(Some(record.close()?.digest));
    };
    let mut matching = *matching;
    for pair in chunks.chunks(2) {
        let [
            (Kind::BlindedChunk, question),
            (Kind::EvaluatedChunk, answer),
        ] = pair
        else {
            record.cut(pair[0].1.offset)?;
            break;
        };
        let (question, answer) = (record.frame_at(*question)?, record.frame_at(*answer)?);
        matching = matching.replay(&question, &answer)?;
    }
    let now = int(clock::now_ms())?.get();
    let closing = matching.close(Finish::Abort, None, now)?;
    record.append(closing.frame())?;
    Ok(Some(record.close()?.digest))
}
