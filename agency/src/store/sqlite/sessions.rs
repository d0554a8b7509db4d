//! Requests and the sender's sessions.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::{SqliteStore, book::put_record, bytes, damaged, signed, unsigned};
use crate::error::{AgencyError, Result};
use crate::store::{
    Admitted, Grant, NewSession, RecordEntry, Session, SessionId, SessionLimits, SessionStatus,
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
                 FROM sessions WHERE status = 'open' AND active_ms >= ? AND shift = ?",
            )
            .bind(&new.peer)
            .bind(limits.active_since_ms)
            .bind(i64::from(new.shift))
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
         status, record_path, created_ms, active_ms, closed_ms, shift) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
    .bind(i64::from(new.shift))
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

fn status(row: &SqliteRow) -> Result<SessionStatus> {
    SessionStatus::parse(row.try_get("status")?).ok_or_else(|| damaged("status"))
}

pub(super) fn grant(row: &SqliteRow) -> Result<Grant> {
    Ok(Grant {
        element_type: row.try_get("element_type")?,
        granted: unsigned(row, "granted")?,
        used: unsigned(row, "used")?,
    })
}
