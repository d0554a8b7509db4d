//! The store in one SQLite file.
//!
//! WAL and `synchronous=FULL`: readers do not wait for the writer, and a commit is on the disk when
//! it returns. Every writing transaction begins with `BEGIN IMMEDIATE`: one that begins by reading
//! and then writes fails at once when another process wrote in between, whatever the time limit.

mod book;
mod care;
mod chunks;
mod peers;
mod schema;
mod sessions;

use self::sessions::Entry;

use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Connection, Row, Sqlite, Transaction};

use super::{
    Admitted, Answer, Bound, Chunk, ChunkBinding, Collection, Digest, NewRun, NewSession, Peer,
    RecordEntry, Role, Run, Session, SessionId, SessionLimits, SessionStatus, Store,
};
use crate::error::{AgencyError, Result};
use crate::fs::{OWNER_FILE, require_owner_only, touch_owner_file};

/// How long to wait for the other program's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);
/// Page cache of one connection, in KiB. There are three connections.
const CACHE_KIB: &str = "-1024";

/// A node's state in one file. Cheap to share by `Arc`; safe for several processes at once.
#[derive(Debug)]
pub struct SqliteStore {
    /// One connection: writers of this process queue here, in order, and not at the file's lock.
    writer: SqlitePool,
    reader: SqlitePool,
}

impl SqliteStore {
    /// Makes a new database (mode 0600) at `path`. Only a new home does that: a database that is
    /// gone holds charges that must not be forgotten.
    pub async fn create(path: &Path) -> Result<Self> {
        // SQLite gives its -wal and -shm files the mode of the main file.
        touch_owner_file(path)?;
        Self::connect(path).await
    }

    /// Opens `path` and brings its schema up to date. One that is gone or empty, or whose schema is
    /// newer than this program, is refused.
    pub async fn open(path: &Path) -> Result<Self> {
        if std::fs::metadata(path).map_or(0, |meta| meta.len()) == 0 {
            return Err(AgencyError::StateGone(path.to_path_buf()));
        }
        Self::connect(path).await
    }

    async fn connect(path: &Path) -> Result<Self> {
        require_owner_only(path, OWNER_FILE)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .pragma("cache_size", CACHE_KIB)
            // A sealed seed that is forgotten is overwritten.
            .pragma("secure_delete", "ON")
            .statement_cache_capacity(32);
        let pool = |most: u32, options: SqliteConnectOptions| {
            SqlitePoolOptions::new()
                .max_connections(most)
                .acquire_timeout(Duration::from_secs(60))
                // When a commit finds the disk full, SQLite rolls back by itself, and sqlx's own
                // rollback fails: to sqlx the connection is inside a transaction for ever.
                .before_acquire(|connection, _| {
                    let whole = !connection.is_in_transaction();
                    Box::pin(async move { Ok(whole) })
                })
                .connect_with(options)
        };
        // The change to WAL, which only a new file needs, does not wait for another program that
        // makes it at the same moment: SQLite says `busy` at once, whatever the time limit.
        let started = Instant::now();
        let writer = loop {
            match pool(1, options.clone()).await {
                Err(sqlx::Error::Database(e))
                    if is_busy(&*e) && started.elapsed() < BUSY_TIMEOUT =>
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                writer => break writer?,
            }
        };
        schema::migrate(&writer).await?;
        let reader = pool(2, options).await?;
        Ok(Self { writer, reader })
    }

    /// A transaction that holds the write lock from its start.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// SQLITE_BUSY, in any of its extended forms.
fn is_busy(error: &dyn sqlx::error::DatabaseError) -> bool {
    let code = error.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

/// A stored blob of fixed length.
fn bytes<const N: usize>(row: &SqliteRow, column: &'static str) -> Result<[u8; N]> {
    let value: &[u8] = row.try_get(column)?;
    value.try_into().map_err(|_| damaged(column))
}

fn optional_bytes<const N: usize>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<[u8; N]>> {
    let value: Option<&[u8]> = row.try_get(column)?;
    value
        .map(|v| v.try_into().map_err(|_| damaged(column)))
        .transpose()
}

/// A stored number that cannot be negative.
fn unsigned<T: TryFrom<i64>>(row: &SqliteRow, column: &'static str) -> Result<T> {
    T::try_from(row.try_get(column)?).map_err(|_| damaged(column))
}

/// A number as SQLite stores it.
fn signed(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| AgencyError::Bug("a number exceeds 2^63".to_owned()))
}

fn damaged(column: &str) -> AgencyError {
    AgencyError::Bug(format!(
        "state.db: column {column} holds an impossible value"
    ))
}

#[async_trait]
impl Store for SqliteStore {
    async fn upsert_peer(&self, peer: &Peer, reinstate: bool) -> Result<()> {
        self.put_peer(peer, reinstate).await
    }
    async fn list_peers(&self) -> Result<Vec<Peer>> {
        self.get_peers(None).await
    }
    async fn peer(&self, name: &str) -> Result<Option<Peer>> {
        Ok(self.get_peers(Some(name)).await?.pop())
    }
    async fn revoke_peer(&self, name: &str, now_ms: i64) -> Result<bool> {
        self.mark_revoked(name, now_ms).await
    }
    async fn list_collections(&self) -> Result<Vec<Collection>> {
        self.get_collections().await
    }
    async fn collection(&self, name: &str) -> Result<Option<Collection>> {
        self.get_collection(name).await
    }
    async fn upsert_collection(&self, collection: &Collection) -> Result<()> {
        self.put_collection(collection).await
    }
    async fn remove_collection(&self, name: &str) -> Result<bool> {
        self.mark_removed(name).await
    }
    async fn admit_session(
        &self,
        new: &NewSession,
        limits: &SessionLimits,
        now_ms: i64,
    ) -> Result<Admitted> {
        self.admit(new, Entry::Open(limits), now_ms).await
    }
    async fn refuse_session(
        &self,
        new: &NewSession,
        record: &RecordEntry,
        now_ms: i64,
    ) -> Result<Admitted> {
        self.admit(new, Entry::Refused(record), now_ms).await
    }
    async fn purge_refused(&self, now_ms: i64) -> Result<u64> {
        self.forget_refused(now_ms).await
    }
    async fn session(&self, session: &SessionId) -> Result<Option<Session>> {
        Ok(self.get_sessions(Some(session)).await?.pop())
    }
    async fn open_sessions(&self) -> Result<Vec<Session>> {
        self.get_sessions(None).await
    }
    async fn close_session(
        &self,
        session: &SessionId,
        status: SessionStatus,
        record: Option<&RecordEntry>,
        now_ms: i64,
    ) -> Result<()> {
        self.end_session(session, status, record, now_ms).await
    }
    async fn bind_chunks(
        &self,
        chunks: &[ChunkBinding<'_>],
        now_ms: i64,
    ) -> Result<Vec<Result<Bound>>> {
        self.bind_all(chunks, now_ms).await
    }
    async fn chunks_answered(&self, session: &SessionId, answers: &[(u32, Answer)]) -> Result<()> {
        self.note_answers(session, answers).await
    }
    async fn chunks(&self, session: &SessionId) -> Result<Vec<Chunk>> {
        self.get_chunks(session).await
    }
    async fn charged(
        &self,
        peer: &str,
        collection: &str,
        epoch: u64,
        element_type: &str,
    ) -> Result<u64> {
        self.get_charged(peer, collection, epoch, element_type)
            .await
    }
    async fn save_run(&self, run: &NewRun) -> Result<()> {
        self.put_run(run).await
    }
    async fn find_open_run(
        &self,
        peer: &str,
        collection: &str,
        input_digest: &Digest,
    ) -> Result<Option<Run>> {
        self.get_open_run(peer, collection, input_digest).await
    }
    async fn open_runs(&self) -> Result<Vec<Run>> {
        self.get_open_runs().await
    }
    async fn update_run(&self, session: &SessionId, state: &str) -> Result<()> {
        self.set_run_state(session, state).await
    }
    async fn is_own_run(&self, session: &SessionId) -> Result<bool> {
        self.has_run(session).await
    }
    async fn finish_run(&self, session: &SessionId, now_ms: i64) -> Result<()> {
        self.end_run(session, now_ms).await
    }
    async fn add_record(&self, entry: &RecordEntry) -> Result<()> {
        self.note_record(entry).await
    }
    async fn record(&self, session: &SessionId, role: Role) -> Result<Option<RecordEntry>> {
        self.get_record(session, role).await
    }
    async fn last_record(&self, peer: &str) -> Result<Option<RecordEntry>> {
        self.get_last_record(peer).await
    }
    async fn list_records(&self, limit: u32) -> Result<Vec<RecordEntry>> {
        self.get_records(limit).await
    }
    async fn probe(&self) -> Result<u64> {
        self.try_lock_and_count().await
    }
    async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}
