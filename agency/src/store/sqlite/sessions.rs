//! Requests, the sender's sessions, bound chunks and charges.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::{SqliteStore, book::put_record, bytes, damaged, signed, unsigned};
use crate::error::{AgencyError, Result};
use crate::store::{
    Admitted, Answer, Bound, Chunk, ChunkBinding, Grant, NewSession, RecordEntry, Session,
    SessionId, SessionLimits, SessionStatus,
};

pub(super) type Tx = Transaction<'static, Sqlite>;

/// How a new session begins.
#[derive(Clone, Copy)]
pub(super) enum Entry<'a> {
    /// Granted, if there is room.
    Open(&'a SessionLimits),
    /// Refused, with the record of it.
    Refused(&'a RecordEntry),
}

impl SqliteStore {
    /// Admits within limits, or remembers a refusal.
    pub(super) async fn admit(
        &self,
        new: &NewSession,
        entry: Entry<'_>,
        now_ms: i64,
    ) -> Result<Admitted> {
        let mut tx = self.write().await?;
        if let Some(seen) = seen_before(&mut tx, new).await? {
            return Ok(seen);
        }
        if new.expires_ms <= now_ms {
            return Ok(Admitted::Expired);
        }
        if let Entry::Open(limits) = entry {
            let row = sqlx::query(
                "SELECT COUNT(*) AS total, COUNT(CASE WHEN peer = ? THEN 1 END) AS of_peer \
                 FROM sessions WHERE status = 'open' AND active_ms >= ?",
            )
            .bind(&new.peer)
            .bind(limits.active_since_ms)
            .fetch_one(&mut *tx)
            .await?;
            if row.try_get::<i64, _>("of_peer")? >= i64::from(limits.max_per_peer) {
                return Ok(Admitted::TooManyOfPeer);
            }
            if row.try_get::<i64, _>("total")? >= i64::from(limits.max_total) {
                return Ok(Admitted::TooManyTotal);
            }
        }
        match entry {
            Entry::Open(_) => insert_session(&mut tx, new, true, now_ms).await?,
            Entry::Refused(record) => {
                insert_session(&mut tx, new, false, now_ms).await?;
                put_record(&mut tx, record).await?;
            }
        }
        tx.commit().await?;
        Ok(Admitted::New)
    }

    pub(super) async fn forget_refused(&self, now_ms: i64) -> Result<u64> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM sessions WHERE status = 'refused' AND expires_ms < ?")
            .bind(now_ms)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }

    /// One session, or all open ones.
    pub(super) async fn get_sessions(&self, id: Option<&SessionId>) -> Result<Vec<Session>> {
        let mut tx = self.reader.begin().await?;
        let rows = match id {
            Some(id) => {
                sqlx::query("SELECT * FROM sessions WHERE session = ?")
                    .bind(&id[..])
                    .fetch_all(&mut *tx)
                    .await?
            }
            None => {
                sqlx::query("SELECT * FROM sessions WHERE status = 'open' ORDER BY created_ms")
                    .fetch_all(&mut *tx)
                    .await?
            }
        };
        let mut sessions = Vec::with_capacity(rows.len());
        for row in rows {
            let id: SessionId = bytes(&row, "session")?;
            let grants = sqlx::query(
                "SELECT element_type, granted, used FROM session_grants \
                 WHERE session = ? ORDER BY element_type",
            )
            .bind(&id[..])
            .fetch_all(&mut *tx)
            .await?
            .iter()
            .map(grant)
            .collect::<Result<_>>()?;
            sessions.push(Session {
                session: id,
                peer: row.try_get("peer")?,
                collection: row.try_get("collection")?,
                epoch: unsigned(&row, "epoch")?,
                request_digest: bytes(&row, "request_digest")?,
                expires_ms: row.try_get("expires_ms")?,
                status: status(&row)?,
                grants,
                record_path: row.try_get("record_path")?,
                created_ms: row.try_get("created_ms")?,
                active_ms: row.try_get("active_ms")?,
                closed_ms: row.try_get("closed_ms")?,
            });
        }
        tx.commit().await?;
        Ok(sessions)
    }

    pub(super) async fn end_session(
        &self,
        id: &SessionId,
        to: SessionStatus,
        record: Option<&RecordEntry>,
        now_ms: i64,
    ) -> Result<()> {
        if to == SessionStatus::Open {
            return Err(AgencyError::Bug("a session cannot end as open".to_owned()));
        }
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "UPDATE sessions SET status = ?, closed_ms = ? WHERE session = ? AND status = 'open'",
        )
        .bind(to.as_str())
        .bind(now_ms)
        .bind(&id[..])
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            let row = sqlx::query("SELECT status FROM sessions WHERE session = ?")
                .bind(&id[..])
                .fetch_optional(&mut *tx)
                .await?
                .ok_or_else(|| AgencyError::Bug("no such session".to_owned()))?;
            if status(&row)? != to {
                return Err(AgencyError::Bug(
                    "the session has ended in another way".to_owned(),
                ));
            }
        }
        if let Some(record) = record {
            put_record(&mut tx, record).await?;
        }
        sqlx::query("DELETE FROM chunks WHERE session = ?")
            .bind(&id[..])
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn bind(
        &self,
        new: &ChunkBinding<'_>,
        budget: u64,
        now_ms: i64,
    ) -> Result<Bound> {
        let mut tx = self.write().await?;
        // A chunk bound before is answered again whatever the session's state and budget are now.
        if let Some(old) = chunk_row(&mut tx, new.session, new.index).await? {
            let same = old.digest == *new.digest
                && old.element_type == new.element_type
                && old.elements == new.elements;
            return Ok(match same {
                true => Bound::SameAgain { answer: old.answer },
                false => Bound::Conflict,
            });
        }
        let session = sqlx::query(
            "SELECT peer, collection, epoch FROM sessions WHERE session = ? AND status = 'open'",
        )
        .bind(&new.session[..])
        .fetch_optional(&mut *tx)
        .await?;
        let Some(session) = session else {
            return Ok(Bound::NotOpen);
        };
        let peer: String = session.try_get("peer")?;
        let collection: String = session.try_get("collection")?;
        let epoch: i64 = session.try_get("epoch")?;

        let elements = u64::from(new.elements);
        let (granted, used) = grant_row(&mut tx, new).await?;
        if used.saturating_add(elements) > granted {
            return Ok(Bound::OverSessionGrant { granted, used });
        }
        let charged = charge_row(&mut tx, &peer, &collection, epoch, new.element_type).await?;
        let charged_total = charged.saturating_add(elements);
        if charged_total > budget {
            return Ok(Bound::OverBudget { charged });
        }

        sqlx::query(
            "INSERT INTO chunks (session, chunk_index, element_type, elements, digest, question) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&new.session[..])
        .bind(i64::from(new.index))
        .bind(new.element_type)
        .bind(i64::from(new.elements))
        .bind(&new.digest[..])
        .bind(new.question)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "UPDATE session_grants SET used = used + ? WHERE session = ? AND element_type = ?",
        )
        .bind(i64::from(new.elements))
        .bind(&new.session[..])
        .bind(new.element_type)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO charges (peer, collection, epoch, element_type, elements) \
             VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (peer, collection, epoch, element_type) \
             DO UPDATE SET elements = excluded.elements",
        )
        .bind(&peer)
        .bind(&collection)
        .bind(epoch)
        .bind(new.element_type)
        .bind(signed(charged_total)?)
        .execute(&mut *tx)
        .await?;
        sqlx::query("UPDATE sessions SET active_ms = MAX(active_ms, ?) WHERE session = ?")
            .bind(now_ms)
            .bind(&new.session[..])
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Bound::New { charged_total })
    }

    pub(super) async fn note_answer(
        &self,
        session: &SessionId,
        index: u32,
        answer: Answer,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "UPDATE chunks SET answer_offset = ?1, answer_len = ?2, question = NULL \
             WHERE session = ?3 AND chunk_index = ?4 AND (answer_offset IS NULL \
             OR (answer_offset = ?1 AND answer_len = ?2))",
        )
        .bind(signed(answer.offset)?)
        .bind(i64::from(answer.len))
        .bind(&session[..])
        .bind(i64::from(index))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(AgencyError::Bug(
                "the chunk is not bound, or answered elsewhere".to_owned(),
            ));
        }
        tx.commit().await?;
        Ok(())
    }

    /// Through the writer: what a session that was dropped still commits comes before this.
    pub(super) async fn get_chunks(&self, session: &SessionId) -> Result<Vec<Chunk>> {
        sqlx::query("SELECT * FROM chunks WHERE session = ? ORDER BY chunk_index")
            .bind(&session[..])
            .fetch_all(&self.writer)
            .await?
            .iter()
            .map(chunk)
            .collect()
    }

    pub(super) async fn get_charged(
        &self,
        peer: &str,
        collection: &str,
        epoch: u64,
        element_type: &str,
    ) -> Result<u64> {
        let mut tx = self.reader.begin().await?;
        let charged = charge_row(&mut tx, peer, collection, signed(epoch)?, element_type).await?;
        tx.commit().await?;
        Ok(charged)
    }
}

/// What is known of a request's id; `None` if nothing is.
async fn seen_before(tx: &mut Tx, new: &NewSession) -> Result<Option<Admitted>> {
    let session =
        sqlx::query("SELECT peer, request_digest, status FROM sessions WHERE session = ?")
            .bind(&new.session[..])
            .fetch_optional(&mut **tx)
            .await?;
    if let Some(row) = session {
        let same = row.try_get::<String, _>("peer")? == new.peer
            && bytes::<32>(&row, "request_digest")? == new.request_digest;
        return Ok(Some(match same {
            true => Admitted::SameAgain {
                status: status(&row)?,
            },
            false => Admitted::Replayed,
        }));
    }
    Ok(None)
}

async fn insert_session(tx: &mut Tx, new: &NewSession, open: bool, now_ms: i64) -> Result<()> {
    let status = match open {
        true => SessionStatus::Open,
        false => SessionStatus::Refused,
    };
    sqlx::query(
        "INSERT INTO sessions (session, peer, collection, epoch, request_digest, expires_ms, \
         status, record_path, created_ms, active_ms, closed_ms) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&new.session[..])
    .bind(&new.peer)
    .bind(&new.collection)
    .bind(signed(new.epoch)?)
    .bind(&new.request_digest[..])
    .bind(new.expires_ms)
    .bind(status.as_str())
    .bind(&new.record_path)
    .bind(now_ms)
    .bind(now_ms)
    .bind((!open).then_some(now_ms))
    .execute(&mut **tx)
    .await?;
    for grant in &new.grants {
        sqlx::query(
            "INSERT INTO session_grants (session, element_type, granted, used) VALUES (?, ?, ?, 0)",
        )
        .bind(&new.session[..])
        .bind(&grant.element_type)
        .bind(signed(grant.granted)?)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn chunk_row(tx: &mut Tx, session: &SessionId, index: u32) -> Result<Option<Chunk>> {
    sqlx::query("SELECT * FROM chunks WHERE session = ? AND chunk_index = ?")
        .bind(&session[..])
        .bind(i64::from(index))
        .fetch_optional(&mut **tx)
        .await?
        .as_ref()
        .map(chunk)
        .transpose()
}

/// Granted and used elements; a type that was not granted has 0 and 0.
async fn grant_row(tx: &mut Tx, new: &ChunkBinding<'_>) -> Result<(u64, u64)> {
    let row = sqlx::query(
        "SELECT element_type, granted, used FROM session_grants \
         WHERE session = ? AND element_type = ?",
    )
    .bind(&new.session[..])
    .bind(new.element_type)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(match row {
        Some(row) => {
            let grant = grant(&row)?;
            (grant.granted, grant.used)
        }
        None => (0, 0),
    })
}

async fn charge_row(
    tx: &mut Tx,
    peer: &str,
    collection: &str,
    epoch: i64,
    element_type: &str,
) -> Result<u64> {
    let row = sqlx::query(
        "SELECT elements FROM charges \
         WHERE peer = ? AND collection = ? AND epoch = ? AND element_type = ?",
    )
    .bind(peer)
    .bind(collection)
    .bind(epoch)
    .bind(element_type)
    .fetch_optional(&mut **tx)
    .await?;
    row.map_or(Ok(0), |row| unsigned(&row, "elements"))
}

fn status(row: &SqliteRow) -> Result<SessionStatus> {
    SessionStatus::parse(row.try_get("status")?).ok_or_else(|| damaged("status"))
}

fn grant(row: &SqliteRow) -> Result<Grant> {
    Ok(Grant {
        element_type: row.try_get("element_type")?,
        granted: unsigned(row, "granted")?,
        used: unsigned(row, "used")?,
    })
}

fn chunk(row: &SqliteRow) -> Result<Chunk> {
    let offset: Option<i64> = row.try_get("answer_offset")?;
    Ok(Chunk {
        index: unsigned(row, "chunk_index")?,
        element_type: row.try_get("element_type")?,
        elements: unsigned(row, "elements")?,
        digest: bytes(row, "digest")?,
        answer: match offset {
            Some(_) => Some(Answer {
                offset: unsigned(row, "answer_offset")?,
                len: unsigned(row, "answer_len")?,
            }),
            None => None,
        },
        question: row.try_get("question")?,
    })
}
