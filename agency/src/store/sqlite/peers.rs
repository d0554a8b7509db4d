//! Peers and collections.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, bytes, optional_bytes, signed, unsigned};
use crate::error::{AgencyError, Result};
use crate::store::{Collection, Digest, Peer};

impl SqliteStore {
    pub(super) async fn put_peer(&self, peer: &Peer, reinstate: bool) -> Result<()> {
        let mut tx = self.write().await?;
        let known = sqlx::query("SELECT revoked_ms FROM peers WHERE name = ?")
            .bind(&peer.name)
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(row) = known
            && row.try_get::<Option<i64>, _>("revoked_ms")?.is_some()
            && !reinstate
        {
            return Err(AgencyError::Refused {
                code: "peer-revoked",
                message: format!(
                    "{} is revoked; reinstate it explicitly to add it again",
                    peer.name
                ),
            });
        }
        sqlx::query(
            "INSERT INTO peers (name, manifest, signing_key, address, added_ms, expires_ms, revoked_ms) \
             VALUES (?, ?, ?, ?, ?, ?, NULL) \
             ON CONFLICT (name) DO UPDATE SET manifest = excluded.manifest, \
             signing_key = excluded.signing_key, address = excluded.address, \
             expires_ms = excluded.expires_ms, revoked_ms = NULL",
        )
        .bind(&peer.name)
        .bind(&peer.manifest[..])
        .bind(&peer.signing_key[..])
        .bind(peer.address.as_deref())
        .bind(peer.added_ms)
        .bind(peer.expires_ms)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM peer_pins WHERE peer = ?")
            .bind(&peer.name)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM peer_authorities WHERE peer = ?")
            .bind(&peer.name)
            .execute(&mut *tx)
            .await?;
        for spki in &peer.tls_pins {
            let done = sqlx::query(
                "INSERT INTO peer_pins (spki, peer) VALUES (?, ?) ON CONFLICT (spki) DO NOTHING",
            )
            .bind(&spki[..])
            .bind(&peer.name)
            .execute(&mut *tx)
            .await?;
            if done.rows_affected() == 0 {
                return Err(AgencyError::Refused {
                    code: "pin-taken",
                    message: format!(
                        "{} names a TLS key twice, or one that is another peer's; ask for a new manifest",
                        peer.name
                    ),
                });
            }
        }
        for (der, position) in peer.authorities.iter().zip(0i64..) {
            sqlx::query("INSERT INTO peer_authorities (peer, position, der) VALUES (?, ?, ?)")
                .bind(&peer.name)
                .bind(position)
                .bind(&der[..])
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// All peers, or the one of this name.
    pub(super) async fn get_peers(&self, name: Option<&str>) -> Result<Vec<Peer>> {
        // One reading transaction, so that a peer and its pins are of the same moment.
        let mut tx = self.reader.begin().await?;
        let rows = sqlx::query(
            "SELECT name, manifest, signing_key, address, added_ms, expires_ms, revoked_ms \
             FROM peers WHERE ?1 IS NULL OR name = ?1 ORDER BY name",
        )
        .bind(name)
        .fetch_all(&mut *tx)
        .await?;
        let mut peers = Vec::with_capacity(rows.len());
        for row in rows {
            let name: String = row.try_get("name")?;
            let pins = sqlx::query("SELECT spki FROM peer_pins WHERE peer = ? ORDER BY spki")
                .bind(&name)
                .fetch_all(&mut *tx)
                .await?;
            let authorities =
                sqlx::query("SELECT der FROM peer_authorities WHERE peer = ? ORDER BY position")
                    .bind(&name)
                    .fetch_all(&mut *tx)
                    .await?;
            peers.push(Peer {
                name,
                manifest: row.try_get("manifest")?,
                signing_key: bytes(&row, "signing_key")?,
                tls_pins: pins
                    .iter()
                    .map(|r| bytes(r, "spki"))
                    .collect::<Result<Vec<Digest>>>()?,
                authorities: authorities
                    .iter()
                    .map(|r| r.try_get("der"))
                    .collect::<std::result::Result<_, _>>()?,
                address: row.try_get("address")?,
                added_ms: row.try_get("added_ms")?,
                expires_ms: row.try_get("expires_ms")?,
                revoked_ms: row.try_get("revoked_ms")?,
            });
        }
        tx.commit().await?;
        Ok(peers)
    }

    pub(super) async fn mark_revoked(&self, name: &str, now_ms: i64) -> Result<bool> {
        let mut tx = self.write().await?;
        let done =
            sqlx::query("UPDATE peers SET revoked_ms = COALESCE(revoked_ms, ?) WHERE name = ?")
                .bind(now_ms)
                .bind(name)
                .execute(&mut *tx)
                .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    pub(super) async fn get_collections(&self) -> Result<Vec<Collection>> {
        sqlx::query(
            "SELECT name, epoch, meta, snapshot_digest, published_ms, removed \
             FROM collections WHERE removed = 0 ORDER BY name",
        )
        .fetch_all(&self.reader)
        .await?
        .iter()
        .map(collection)
        .collect()
    }

    pub(super) async fn get_collection(&self, name: &str) -> Result<Option<Collection>> {
        sqlx::query(
            "SELECT name, epoch, meta, snapshot_digest, published_ms, removed \
             FROM collections WHERE name = ?",
        )
        .bind(name)
        .fetch_optional(&self.reader)
        .await?
        .as_ref()
        .map(collection)
        .transpose()
    }

    pub(super) async fn put_collection(&self, new: &Collection) -> Result<()> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "INSERT INTO collections (name, epoch, meta, snapshot_digest, published_ms, removed) \
             VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, meta = excluded.meta, \
             snapshot_digest = excluded.snapshot_digest, published_ms = excluded.published_ms, \
             removed = excluded.removed WHERE excluded.epoch >= collections.epoch",
        )
        .bind(&new.name)
        .bind(signed(new.epoch)?)
        .bind(&new.meta)
        .bind(new.snapshot_digest.as_ref().map(|d| &d[..]))
        .bind(new.published_ms)
        .bind(i64::from(new.removed))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(AgencyError::Refused {
                code: "epoch-went-back",
                message: format!("{}: a later epoch was published already", new.name),
            });
        }
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn mark_removed(&self, name: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let done = sqlx::query("UPDATE collections SET removed = 1 WHERE name = ? AND removed = 0")
            .bind(name)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }
}

fn collection(row: &SqliteRow) -> Result<Collection> {
    Ok(Collection {
        name: row.try_get("name")?,
        epoch: unsigned(row, "epoch")?,
        meta: row.try_get("meta")?,
        snapshot_digest: optional_bytes(row, "snapshot_digest")?,
        published_ms: row.try_get("published_ms")?,
        removed: row.try_get::<i64, _>("removed")? != 0,
    })
}
