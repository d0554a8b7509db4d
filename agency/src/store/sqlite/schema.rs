//! Numbered migrations, each applied once, all in one transaction.

use sqlx::Row;
use sqlx::sqlite::SqlitePool;

use crate::clock::now_ms;
use crate::error::{AgencyError, Result};

/// Migration n stands at index n - 1. Never change one that was released: add another.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/0001_initial.sql"),
    include_str!("../../../migrations/0002_questions.sql"),
    include_str!("../../../migrations/0003_comparisons.sql"),
    include_str!("../../../migrations/0004_shifts.sql"),
];

/// Brings a database up to date; does nothing if it is. Two programs may try at once.
pub(super) async fn migrate(pool: &SqlitePool) -> Result<()> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS schema_migrations \
         (version BIGINT PRIMARY KEY NOT NULL, applied_ms BIGINT NOT NULL)",
    )
    .execute(&mut *tx)
    .await?;
    let found: i64 =
        sqlx::query("SELECT COALESCE(MAX(version), 0) AS version FROM schema_migrations")
            .fetch_one(&mut *tx)
            .await?
            .try_get("version")?;
    let found = usize::try_from(found)
        .map_err(|_| AgencyError::Bug("state.db: negative schema version".to_owned()))?;
    let pending = MIGRATIONS.get(found..).ok_or(AgencyError::NewerFormat {
        what: "state.db".to_owned(),
        found: found as u64,
        known: MIGRATIONS.len() as u64,
    })?;
    for (sql, version) in pending.iter().copied().zip(found as i64 + 1..) {
        sqlx::raw_sql(sql).execute(&mut *tx).await?;
        sqlx::query("INSERT INTO schema_migrations (version, applied_ms) VALUES (?, ?)")
            .bind(version)
            .bind(now_ms())
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}
