//! Bound chunks, what they were charged, where their answers lie.

use std::collections::{BTreeMap, HashMap, hash_map};

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{
    SqliteStore, bytes, optional_bytes,
    sessions::{Tx, grant},
    signed, unsigned,
};
use crate::error::{AgencyError, Result};
use crate::store::{Answer, Bound, Chunk, ChunkBinding, Grant, SessionId};

/// An open session, as a transaction that binds chunks of it sees it.
struct Open {
    peer: String,
    collection: String,
    epoch: i64,
    grants: BTreeMap<String, Grant>,
    /// The index that the next chunk has.
    next: u32,
    /// Whether a chunk was bound.
    moved: bool,
}

/// Peer, collection, epoch, type.
type Account = (String, String, i64, String);

/// What one transaction that binds chunks has read and will write: each row once, however many chunks
/// it is for.
#[derive(Default)]
struct Book {
    /// `None` for a session that is not open.
    sessions: HashMap<SessionId, Option<Open>>,
    /// Elements charged, those of this transaction included.
    charged: HashMap<Account, u64>,
}

impl SqliteStore {
    pub(super) async fn bind_all(
        &self,
        chunks: &[ChunkBinding<'_>],
        now_ms: i64,
    ) -> Result<Vec<Result<Bound>>> {
        let mut tx = self.write().await?;
        let mut book = Book::default();
        let mut outcomes = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            outcomes.push(match book.bind(&mut tx, chunk).await {
                // A row that is damaged is one session's misfortune. It is read before anything is
                // written for the chunk.
                Err(bug @ AgencyError::Bug(_)) => Err(bug),
                Err(error) => return Err(error),
                Ok(bound) => Ok(bound),
            });
        }
        match book.write(&mut tx, now_ms).await? {
            true => tx.commit().await?,
            false => tx.rollback().await?,
        }
        Ok(outcomes)
    }

    pub(super) async fn note_answers(
        &self,
        session: &SessionId,
        answers: &[(u32, Answer)],
    ) -> Result<()> {
        let mut tx = self.write().await?;
        for (index, answer) in answers {
            let done = sqlx::query(
                "UPDATE chunks SET answer_offset = ?1, answer_len = ?2, question = NULL, fresh = NULL \
                 WHERE session = ?3 AND chunk_index = ?4 AND (answer_offset IS NULL \
                 OR (answer_offset = ?1 AND answer_len = ?2))",
            )
            .bind(signed(answer.offset)?)
            .bind(i64::from(answer.len))
            .bind(&session[..])
            .bind(i64::from(*index))
            .execute(&mut *tx)
            .await?;
            if done.rows_affected() == 0 {
                return Err(AgencyError::Bug(
                    "the chunk is not bound, or answered elsewhere".to_owned(),
                ));
            }
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
        let account = (
            peer.to_owned(),
            collection.to_owned(),
            signed(epoch)?,
            element_type.to_owned(),
        );
        let mut tx = self.reader.begin().await?;
        let charged = charge_row(&mut tx, &account).await?;
        tx.commit().await?;
        Ok(charged)
    }
}

impl Book {
    /// Binds one chunk, if it may be; writes its row and keeps the sums for [`Self::write`].
    async fn bind(&mut self, tx: &mut Tx, new: &ChunkBinding<'_>) -> Result<Bound> {
        let open = match self.sessions.entry(*new.session) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(place) => place.insert(open(tx, new.session).await?),
        };
        let next = match open {
            Some(open) if open.next == new.index => open,
            // A chunk bound before is answered again whatever the session's state and budget are now.
            other => {
                let Some(old) = chunk_row(tx, new.session, new.index).await? else {
                    return Ok(match other {
                        Some(_) => Bound::OutOfOrder,
                        None => Bound::NotOpen,
                    });
                };
                let same = old.digest == *new.digest
                    && old.element_type == new.element_type
                    && old.elements == new.elements;
                return Ok(match same {
                    true => Bound::SameAgain {
                        answer: old.answer,
                        fresh: old.fresh,
                    },
                    false => Bound::Conflict,
                });
            }
        };

        let elements = u64::from(new.elements);
        let Some(grant) = next.grants.get_mut(new.element_type) else {
            return Ok(Bound::OverSessionGrant {
                granted: 0,
                used: 0,
            });
        };
        let (granted, used) = (grant.granted, grant.used);
        if used.saturating_add(elements) > granted {
            return Ok(Bound::OverSessionGrant { granted, used });
        }
        let account = (
            next.peer.clone(),
            next.collection.clone(),
            next.epoch,
            new.element_type.to_owned(),
        );
        let charged = match self.charged.get(&account) {
            Some(charged) => *charged,
            None => charge_row(tx, &account).await?,
        };
        let charged_total = charged.saturating_add(elements);
        if charged_total > new.budget {
            return Ok(Bound::OverBudget { charged });
        }
        // Before the first write: one that cannot be stored leaves nothing.
        signed(charged_total)?;
        let after = next
            .next
            .checked_add(1)
            .ok_or_else(|| AgencyError::Bug("more chunks than can be counted".to_owned()))?;

        sqlx::query(
            "INSERT INTO chunks (session, chunk_index, element_type, elements, digest, question, \
             fresh) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&new.session[..])
        .bind(i64::from(new.index))
        .bind(new.element_type)
        .bind(i64::from(new.elements))
        .bind(&new.digest[..])
        .bind(new.question)
        .bind(&new.fresh[..])
        .execute(&mut **tx)
        .await?;
        grant.used = used + elements;
        next.next = after;
        next.moved = true;
        self.charged.insert(account, charged_total);
        Ok(Bound::New { charged_total })
    }

    /// Writes the sums of all chunks that were bound; whether there were any.
    async fn write(&self, tx: &mut Tx, now_ms: i64) -> Result<bool> {
        let sessions = self.sessions.iter();
        let moved = sessions.filter_map(|(id, open)| Some((id, open.as_ref()?)));
        let mut any = false;
        for (session, open) in moved.filter(|(_, open)| open.moved) {
            any = true;
            for grant in open.grants.values() {
                sqlx::query(
                    "UPDATE session_grants SET used = ? WHERE session = ? AND element_type = ?",
                )
                .bind(signed(grant.used)?)
                .bind(&session[..])
                .bind(&grant.element_type)
                .execute(&mut **tx)
                .await?;
            }
            sqlx::query("UPDATE sessions SET active_ms = MAX(active_ms, ?) WHERE session = ?")
                .bind(now_ms)
                .bind(&session[..])
                .execute(&mut **tx)
                .await?;
        }
        for ((peer, collection, epoch, element_type), charged) in &self.charged {
            sqlx::query(
                "INSERT INTO charges (peer, collection, epoch, element_type, elements) \
                 VALUES (?, ?, ?, ?, ?) \
                 ON CONFLICT (peer, collection, epoch, element_type) \
                 DO UPDATE SET elements = excluded.elements",
            )
            .bind(peer)
            .bind(collection)
            .bind(epoch)
            .bind(element_type)
            .bind(signed(*charged)?)
            .execute(&mut **tx)
            .await?;
        }
        Ok(any)
    }
}

/// A session with its grants, if it is open.
async fn open(tx: &mut Tx, session: &SessionId) -> Result<Option<Open>> {
    let row = sqlx::query(
        "SELECT peer, collection, epoch, (SELECT COALESCE(MAX(chunk_index) + 1, 0) FROM chunks \
         WHERE chunks.session = sessions.session) AS next \
         FROM sessions WHERE session = ? AND status = 'open'",
    )
    .bind(&session[..])
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let grants =
        sqlx::query("SELECT element_type, granted, used FROM session_grants WHERE session = ?")
            .bind(&session[..])
            .fetch_all(&mut **tx)
            .await?;
    let grants = grants.iter().map(|row| {
        let grant = grant(row)?;
        Ok((grant.element_type.clone(), grant))
    });
    Ok(Some(Open {
        peer: row.try_get("peer")?,
        collection: row.try_get("collection")?,
        epoch: row.try_get("epoch")?,
        grants: grants.collect::<Result<_>>()?,
        next: unsigned(&row, "next")?,
        moved: false,
    }))
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

async fn charge_row(tx: &mut Tx, account: &Account) -> Result<u64> {
    let (peer, collection, epoch, element_type) = account;
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
        fresh: optional_bytes(row, "fresh")?,
    })
}
