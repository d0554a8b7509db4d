//! The receiver's runs, and the index of records.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, bytes, damaged, sessions::Tx};
use crate::error::{AgencyError, Result};
use crate::store::{Digest, NewRun, RecordEntry, Role, Run, SessionId};

impl SqliteStore {
    pub(super) async fn put_run(&self, run: &NewRun) -> Result<()> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "INSERT INTO runs (session, peer, collection, input_digest, sealed_seed, state, created_ms) \
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (session) DO NOTHING",
        )
        .bind(&run.session[..])
        .bind(&run.peer)
        .bind(&run.collection)
        .bind(&run.input_digest[..])
        .bind(&run.sealed_seed[..])
        .bind(&run.state)
        .bind(run.created_ms)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(AgencyError::Bug(
                "a run of this session is known".to_owned(),
            ));
        }
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn get_open_run(
        &self,
        peer: &str,
        collection: &str,
        input_digest: &Digest,
    ) -> Result<Option<Run>> {
        let row = sqlx::query(
            "SELECT session, peer, sealed_seed, state, created_ms FROM runs WHERE peer = ? \
             AND collection = ? AND input_digest = ? AND finished_ms IS NULL \
             ORDER BY created_ms DESC LIMIT 1",
        )
        .bind(peer)
        .bind(collection)
        .bind(&input_digest[..])
        .fetch_optional(&self.reader)
        .await?;
        row.as_ref().map(run).transpose()
    }

    pub(super) async fn get_open_runs(&self) -> Result<Vec<Run>> {
        sqlx::query(
            "SELECT session, peer, sealed_seed, state, created_ms FROM runs \
             WHERE finished_ms IS NULL ORDER BY created_ms, session",
        )
        .fetch_all(&self.reader)
        .await?
        .iter()
        .map(run)
        .collect()
    }

    pub(super) async fn set_run_state(&self, session: &SessionId, state: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let done =
            sqlx::query("UPDATE runs SET state = ? WHERE session = ? AND finished_ms IS NULL")
                .bind(state)
                .bind(&session[..])
                .execute(&mut *tx)
                .await?;
        if done.rows_affected() == 0 {
            return Err(AgencyError::Bug(
                "there is no unfinished run of this session".to_owned(),
            ));
        }
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn has_run(&self, session: &SessionId) -> Result<bool> {
        let found = sqlx::query("SELECT 1 FROM runs WHERE session = ?")
            .bind(&session[..])
            .fetch_optional(&self.reader)
            .await?;
        Ok(found.is_some())
    }

    pub(super) async fn end_run(&self, session: &SessionId, now_ms: i64) -> Result<()> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "UPDATE runs SET finished_ms = COALESCE(finished_ms, ?), sealed_seed = NULL \
             WHERE session = ?",
        )
        .bind(now_ms)
        .bind(&session[..])
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(AgencyError::Bug(
                "there is no run of this session".to_owned(),
            ));
        }
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn note_record(&self, entry: &RecordEntry) -> Result<()> {
        let mut tx = self.write().await?;
        put_record(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn get_record(
        &self,
        session: &SessionId,
        role: Role,
    ) -> Result<Option<RecordEntry>> {
        sqlx::query("SELECT * FROM records WHERE session = ? AND role = ?")
            .bind(&session[..])
            .bind(role.as_str())
            .fetch_optional(&self.reader)
            .await?
            .as_ref()
            .map(record)
            .transpose()
    }

    pub(super) async fn get_last_record(&self, peer: &str) -> Result<Option<RecordEntry>> {
        sqlx::query(
            "SELECT * FROM records WHERE peer = ? ORDER BY closed_ms DESC, session DESC LIMIT 1",
        )
        .bind(peer)
        .fetch_optional(&self.reader)
        .await?
        .as_ref()
        .map(record)
        .transpose()
    }

    pub(super) async fn get_records(&self, limit: u32) -> Result<Vec<RecordEntry>> {
        sqlx::query("SELECT * FROM records ORDER BY closed_ms DESC, session DESC LIMIT ?")
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?
            .iter()
            .map(record)
            .collect()
    }
}

fn run(row: &SqliteRow) -> Result<Run> {
    Ok(Run {
        session: bytes(row, "session")?,
        peer: row.try_get("peer")?,
        sealed_seed: row.try_get("sealed_seed")?,
        state: row.try_get("state")?,
        created_ms: row.try_get("created_ms")?,
    })
}

/// Notes a record within a transaction.
pub(super) async fn put_record(tx: &mut Tx, entry: &RecordEntry) -> Result<()> {
    sqlx::query(
        "INSERT INTO records (session, role, peer, path, digest, closed_ms) \
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (session, role) DO NOTHING",
    )
    .bind(&entry.session[..])
    .bind(entry.role.as_str())
    .bind(&entry.peer)
    .bind(&entry.path)
    .bind(&entry.digest[..])
    .bind(entry.closed_ms)
    .execute(&mut **tx)
    .await?;
    let stored = sqlx::query("SELECT * FROM records WHERE session = ? AND role = ?")
        .bind(&entry.session[..])
        .bind(entry.role.as_str())
        .fetch_one(&mut **tx)
        .await?;
    // When it was noted may differ: a crash came between.
    let same = RecordEntry {
        closed_ms: entry.closed_ms,
        ..record(&stored)?
    };
    if same != *entry {
        return Err(AgencyError::Bug(
            "another record of this session is known".to_owned(),
        ));
    }
    Ok(())
}

fn record(row: &SqliteRow) -> Result<RecordEntry> {
    Ok(RecordEntry {
        session: bytes(row, "session")?,
        role: Role::parse(row.try_get("role")?).ok_or_else(|| damaged("role"))?,
        peer: row.try_get("peer")?,
        path: row.try_get("path")?,
        digest: bytes(row, "digest")?,
        closed_ms: row.try_get("closed_ms")?,
    })
}
