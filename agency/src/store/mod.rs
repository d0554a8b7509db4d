//! What a node must remember: peers, collections, requests seen, sessions, charges, runs, records.
//!
//! [`Store`] is the seam: [`SqliteStore`] keeps it in the home's `state.db`. `tally` and `tallyd`
//! may use it at once. When a method that writes returns, what it wrote survives a crash.
//! Times are milliseconds since the Unix epoch.

mod rows;
mod sqlite;

#[cfg(test)]
mod tests;

use async_trait::async_trait;

pub use self::rows::{
    Admitted, Answer, Bound, Chunk, ChunkBinding, Collection, Digest, Grant, NewRun, NewSession,
    Peer, RecordEntry, Role, Run, Session, SessionId, SessionLimits, SessionStatus,
};
pub use self::sqlite::SqliteStore;

use crate::error::Result;

/// The state of one node. Object-safe: use it as `Arc<dyn Store>`.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    // Peers.

    /// Adds a peer or replaces its manifest, pins and authorities; `revoked_ms` is ignored.
    ///
    /// A revoked peer is refused (`peer-revoked`) unless `reinstate`; a pin that belongs to another
    /// peer is refused (`pin-taken`). `added_ms` of a known peer stays.
    async fn upsert_peer(&self, peer: &Peer, reinstate: bool) -> Result<()>;
    /// All peers by name, revoked ones too.
    async fn list_peers(&self) -> Result<Vec<Peer>>;
    /// One peer.
    async fn peer(&self, name: &str) -> Result<Option<Peer>>;
    /// Revokes a peer; `false` if there is none. The time of a first revocation stays.
    async fn revoke_peer(&self, name: &str, now_ms: i64) -> Result<bool>;

    // Collections.

    /// All collections by name, without removed ones.
    async fn list_collections(&self) -> Result<Vec<Collection>>;
    /// One collection; also a removed one, whose epoch a later publication must continue.
    async fn collection(&self, name: &str) -> Result<Option<Collection>>;
    /// Adds or replaces a collection. An epoch lower than the stored one is refused
    /// (`epoch-went-back`): charges count per epoch.
    async fn upsert_collection(&self, collection: &Collection) -> Result<()>;
    /// Marks a collection as removed; `false` if there is none, or it was removed before.
    async fn remove_collection(&self, name: &str) -> Result<bool>;

    // The sender's sessions.

    /// Remembers a request's id, checks the limits and opens the session, in one transaction.
    /// Nothing is remembered when the answer is a limit or `Expired`.
    async fn admit_session(
        &self,
        new: &NewSession,
        limits: &SessionLimits,
        now_ms: i64,
    ) -> Result<Admitted>;
    /// Remembers the id of a request that is refused, with a session of status `refused`, so that
    /// it cannot be used again, and notes its record, in one transaction. `New`, `SameAgain`,
    /// `Replayed` or `Expired`; nothing is noted but for `New`.
    async fn refuse_session(
        &self,
        new: &NewSession,
        record: &RecordEntry,
        now_ms: i64,
    ) -> Result<Admitted>;
    /// Forgets refused requests that expired before `now_ms`; gives their number. Their expiry alone
    /// refuses them from then on. Sessions that were granted stay.
    async fn purge_refused(&self, now_ms: i64) -> Result<u64>;
    /// One session.
    async fn session(&self, session: &SessionId) -> Result<Option<Session>>;
    /// Sessions of status `open`, oldest first. After a restart, those to resume or abort.
    async fn open_sessions(&self) -> Result<Vec<Session>>;
    /// Ends an open session, notes its record and forgets its chunks, in one transaction; charges
    /// stay. Ending it again with the same status and record is no error; with another, a bug.
    /// `None` is for a session whose record was lost.
    async fn close_session(
        &self,
        session: &SessionId,
        status: SessionStatus,
        record: Option<&RecordEntry>,
        now_ms: i64,
    ) -> Result<()>;

    // Chunks and charges.

    /// For each chunk: binds its index to the hash of its bytes, and charges its elements to the peer,
    /// before anything is evaluated. All in one transaction, in the order given: what a chunk is charged
    /// counts for those behind it. Peer, collection and epoch are the session's own.
    ///
    /// Only `Bound::New` writes anything. Nothing is refunded, ever. Chunks of a session are bound
    /// without a gap: one whose predecessor was refused is `OutOfOrder`. The chunk's frame is kept until
    /// it is answered: what was charged is in the record however the session ends.
    ///
    /// # Errors
    /// As a whole: nothing was bound. Of one chunk: it was not bound, others were.
    async fn bind_chunks(
        &self,
        chunks: &[ChunkBinding<'_>],
        now_ms: i64,
    ) -> Result<Vec<Result<Bound>>>;
    /// Notes where the answers to bound chunks lie in the record file, which now holds both frames of
    /// each, on the disk; forgets the questions. One transaction. The same place again is no error;
    /// another place is a bug.
    async fn chunks_answered(&self, session: &SessionId, answers: &[(u32, Answer)]) -> Result<()>;
    /// All bound chunks of an open session, by index.
    async fn chunks(&self, session: &SessionId) -> Result<Vec<Chunk>>;
    /// Elements charged so far.
    async fn charged(
        &self,
        peer: &str,
        collection: &str,
        epoch: u64,
        element_type: &str,
    ) -> Result<u64>;

    // The receiver's runs.

    /// Remembers a run that starts. A session id that is known is a bug.
    async fn save_run(&self, run: &NewRun) -> Result<()>;
    /// The newest unfinished run of the same input with the same peer and collection.
    async fn find_open_run(
        &self,
        peer: &str,
        collection: &str,
        input_digest: &Digest,
    ) -> Result<Option<Run>>;
    /// All unfinished runs, oldest first.
    async fn open_runs(&self) -> Result<Vec<Run>>;
    /// Replaces the state text of an unfinished run.
    async fn update_run(&self, session: &SessionId, state: &str) -> Result<()>;
    /// Whether this node asked under this session id itself, however long ago.
    async fn is_own_run(&self, session: &SessionId) -> Result<bool>;
    /// Ends a run and forgets its sealed seed. Ending it again is no error.
    async fn finish_run(&self, session: &SessionId, now_ms: i64) -> Result<()>;

    // Records.

    /// Notes a closed record. The same entry again is no error; another one for the same session and
    /// role is a bug.
    async fn add_record(&self, entry: &RecordEntry) -> Result<()>;
    /// The record of a session.
    async fn record(&self, session: &SessionId, role: Role) -> Result<Option<RecordEntry>>;
    /// The record with this peer that was closed last, in either role.
    async fn last_record(&self, peer: &str) -> Result<Option<RecordEntry>>;
    /// The newest records, newest first, at most `limit`.
    async fn list_records(&self, limit: u32) -> Result<Vec<RecordEntry>>;

    /// Whether the store can be read and written now: takes the write lock, gives it back, and gives
    /// the number of open sessions.
    async fn probe(&self) -> Result<u64>;

    /// Writes everything out and closes the files. Later calls fail.
    async fn close(&self);
}
