//! Where the two programs are.
//!
//! `cargo test` builds a package's programs only for that package's own tests, so the tests here
//! ask cargo for them, unless they are newer than every source. Features and profile are the same as
//! those of the tests, so that only the programs themselves are left to build.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

/// The folder of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The path of `tally` or `tallyd`, as the sources stand now.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let path = FOLDER.get_or_init(build).join(name);
    assert!(path.is_file(), "{} is not there", path.display());
    path
}

/// Builds both, beside the test that runs.
fn build() -> PathBuf {
    // TARGET/PROFILE/deps/test-0123456789abcdef
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap().to_owned();
    // Cargo waits while another cargo builds; what is new enough need not wait with it.
    if let (Some(tally), Some(tallyd)) = (
        changed(&folder.join("tally")),
        changed(&folder.join("tallyd")),
    ) && newest(workspace()).is_some_and(|source| source < tally.min(tallyd))
    {
        return folder;
    }
    let target = folder.parent().unwrap();
    let profile = match folder.file_name().and_then(|name| name.to_str()).unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "build", "--locked", "--quiet", "--bin", "tally", "--bin", "tallyd",
        ])
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace());
    let built = cargo.status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "the programs could not be built; see what cargo says above, and try: cargo build --profile {profile}"
    );
    folder
}

fn changed(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|meta| meta.modified()).ok()
}

/// When what the programs are made of was changed last: all but tests.
fn newest(dir: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let of_entry = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        match path.is_dir() {
            true if ["target", "tests", "docs"].contains(&name) || name.starts_with('.') => None,
            true => newest(&path),
            false => changed(&path).filter(|_| !name.ends_with(".md")),
        }
    };
    entries.filter_map(|entry| of_entry(entry.path())).max()
}
