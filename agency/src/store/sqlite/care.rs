//! What an operator needs of the database beside the service: whether it works, whether people
//! compared fingerprints, and a copy of it while it is in use.

use std::path::Path;

use sqlx::Row;

use super::{SqliteStore, bytes, unsigned};
use crate::error::{AgencyError, Result};
use crate::fs::touch_owner_file;

impl SqliteStore {
    pub(super) async fn try_lock_and_count(&self) -> Result<u64> {
        let mut tx = self.write().await?;
        let row = sqlx::query("SELECT COUNT(*) AS open FROM sessions WHERE status = 'open'")
            .fetch_one(&mut *tx)
            .await?;
        let open = unsigned(&row, "open")?;
        // Nothing was written.
        tx.rollback().await?;
        Ok(open)
    }

    /// Notes that people compared the fingerprint of this signing key over another channel.
    pub async fn note_comparison(
        &self,
        peer: &str,
        signing_key: &[u8; 32],
        now_ms: i64,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO peer_comparisons (peer, signing_key, compared_ms) VALUES (?, ?, ?) \
             ON CONFLICT (peer, signing_key) DO UPDATE SET compared_ms = excluded.compared_ms",
        )
        .bind(peer)
        .bind(&signing_key[..])
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The peers and signing keys whose fingerprint people compared.
    pub async fn comparisons(&self) -> Result<Vec<(String, [u8; 32])>> {
        let rows = sqlx::query("SELECT peer, signing_key FROM peer_comparisons ORDER BY peer")
            .fetch_all(&self.reader)
            .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("peer")?, bytes(row, "signing_key")?)))
            .collect()
    }

    /// What SQLite finds damaged in the file, if anything.
    pub async fn damage(&self) -> Result<Option<String>> {
        let row = sqlx::query("PRAGMA quick_check(1)")
            .fetch_one(&self.reader)
            .await?;
        let said: String = row.try_get(0)?;
        Ok((said != "ok").then_some(said))
    }

    /// Writes a copy of the database as it stands at one moment to a file that is not there yet,
    /// mode 0600. Other programs may go on reading and writing.
    pub async fn copy_to(&self, path: &Path) -> Result<()> {
        let name = path
            .to_str()
            .ok_or_else(|| AgencyError::Usage(format!("{} is not UTF-8", path.display())))?;
        // SQLite takes an empty file for one that is not there, and keeps its mode.
        touch_owner_file(path)?;
        sqlx::query("VACUUM INTO ?")
            .bind(name)
            .execute(&self.reader)
            .await?;
        std::fs::File::open(path)
            .and_then(|file| file.sync_all())
            .map_err(AgencyError::io("sync", path))
    }
}
