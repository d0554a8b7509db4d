//! What tests need from outside the toolchain, and what happens where it is absent.

use std::{fs, path::PathBuf, process::Command, sync::Mutex};

use crate::programs::{program, workspace};

/// Says that a test is skipped because `what` is not here. CI sets a variable that makes it fail.
///
/// # Panics
/// When `TALLY_REQUIRE_ALL` is set, and `TALLY_REQUIRE_ALL_BUT` is not just this.
pub fn absent(what: &str) {
    let excepted = std::env::var_os("TALLY_REQUIRE_ALL_BUT").is_some_and(|but| but == what);
    assert!(
        excepted || std::env::var_os("TALLY_REQUIRE_ALL").is_none(),
        "{what} is not here"
    );
    // Past the capture of the test harness, so that it is seen.
    let line = format!("SKIPPED: {what} is not here\n");
    let _ = fs::write("/dev/stderr", line);
}

/// The library built from `tests/preload/NAME.c`, to be loaded into a program by `LD_PRELOAD`;
/// `None` where there is no C compiler.
///
/// # Panics
/// When the source does not compile.
#[must_use]
pub fn preload(name: &str) -> Option<PathBuf> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock();
    let source = workspace().join(format!("tests/preload/{name}.c"));
    let library = program("tally").with_file_name(format!("preload-{name}.so"));
    let changed = |path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    if changed(&library) > changed(&source) {
        return Some(library);
    }
    // Other test programs build it too: each its own file, then one name.
    let fresh = library.with_extension(std::process::id().to_string());
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let built = Command::new(compiler)
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([&fresh, &source])
        .arg("-ldl")
        .status();
    match built {
        Err(_) => {
            absent("a C compiler");
            None
        }
        Ok(status) => {
            assert!(status.success(), "{} does not compile", source.display());
            fs::rename(fresh, &library).unwrap();
            Some(library)
        }
    }
}
