//! Says from which commit the programs were built: sets `TALLY_BUILD` for the crate.
//!
//! Without git, or outside its repository, the build is `unknown`; it never fails for that.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    // Naming at least one path keeps the script from running at every build.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=TALLY_BUILD={}", build());
}

fn build() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    match root.and_then(revision) {
        Some(revision) => revision,
        None => "unknown".to_owned(),
    }
}

/// The commit of the repository whose top is `root`, `-dirty` if a tracked file differs from it.
fn revision(root: &Path) -> Option<String> {
    // An unpacked source archive may lie inside a repository of somebody else.
    let top = PathBuf::from(git(root, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let own = PathBuf::from(git(root, &["rev-parse", "--absolute-git-dir"])?);
    // A second work tree keeps its branches with the first.
    let shared = root.join(git(root, &["rev-parse", "--git-common-dir"])?);
    // A commit moves a branch; the rest changes at a checkout or when changes are staged. A path
    // that is not there would run the script at every build.
    for path in [
        own.join("HEAD"),
        own.join("index"),
        shared.join("refs/heads"),
        shared.join("packed-refs"),
    ] {
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    let commit = git(root, &["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(root, &["status", "--porcelain", "--untracked-files=no"])?;
    let dirty = if changes.is_empty() { "" } else { "-dirty" };
    Some(format!("{commit}{dirty}"))
}

/// What git prints, trimmed; `None` if it is not there or says no.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        // Else `status` writes the index, which is watched.
        .arg("--no-optional-locks")
        .args(arguments)
        .current_dir(root)
        // Set inside hooks, and then for another repository perhaps.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}
