//! `tallyd backup` and `tallyd restore`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tallystick_agency::{backup, clock, exit::Outcome, store::Store};

use super::{block_on, print};
use tallystick_agency::command::Context;
use tallystick_agency::report::{Report, facts, moment};

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Folder to make; it must not be there yet
    dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// Folder that `tallyd backup` has made
    backup: PathBuf,
    /// Home to make; it must not be there yet
    dir: PathBuf,
}

#[derive(Debug, Serialize)]
struct BackedUp {
    backup: String,
    files: u64,
    bytes: u64,
}

impl Report for BackedUp {
    const COMMAND: &'static str = "backup";

    fn text(&self) -> String {
        facts([
            ("backup", self.backup.clone()),
            ("files", self.files.to_string()),
            ("bytes", self.bytes.to_string()),
        ])
        .trim_fmt()
    }
}

pub(super) fn run(context: &Context, args: &BackupArgs) -> Outcome<()> {
    let home = context.open_home()?;
    let copied = block_on(context, async {
        let store = home.store().await?;
        let copied = backup::backup(&home, &store, &args.dir, clock::now_ms()).await?;
        store.close().await;
        Ok(copied)
    })?;
    print(
        context,
        &BackedUp {
            backup: shown(&args.dir),
            files: copied.files,
            bytes: copied.bytes,
        },
    )?;
    context.hint("the passphrase is not in it: keep that elsewhere; without it a backup is lost");
    Ok(())
}

#[derive(Debug, Serialize)]
struct Restored {
    home: String,
    name: String,
    created_ms: i64,
    files: u64,
    /// Collections that are not offered until they have a new epoch.
    withdrawn: Vec<String>,
}

impl Report for Restored {
    const COMMAND: &'static str = "restore";

    fn text(&self) -> String {
        facts([
            ("home", self.home.clone()),
            ("name", self.name.clone()),
            ("as it was", moment(self.created_ms)),
            ("files", self.files.to_string()),
            ("withdrawn", self.withdrawn.join(", ")),
        ])
        .trim_fmt()
    }
}

pub(super) fn restore(context: &Context, args: &RestoreArgs) -> Outcome<()> {
    let done = block_on(context, async {
        Ok(backup::restore(&args.backup, &args.dir).await?)
    })?;
    print(
        context,
        &Restored {
            home: shown(&args.dir),
            name: done.name,
            created_ms: done.created_ms,
            files: done.copied.files,
            withdrawn: done.withdrawn.clone(),
        },
    )?;
    context.hint("what peers were charged since is not known here, so nothing is offered. next:");
    for name in &done.withdrawn {
        context.hint(&format!("  tallyd epoch rotate {name}"));
    }
    context.hint("  revoke again whom you revoked since; then `tallyd check`");
    Ok(())
}

fn shown(dir: &Path) -> String {
    std::path::absolute(dir)
        .unwrap_or_else(|_| dir.to_path_buf())
        .display()
        .to_string()
}
