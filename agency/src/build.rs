//! Which build this is, for `--version` and for the `build` member of statements.

use tallystick_protocol::statements::Line;

use crate::error::{AgencyError, Result};

/// The version of the programs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first twelve digits of the commit, with `-dirty` if tracked files differed from it when the
/// build script last ran; `unknown` outside the repository.
pub const HASH: &str = env!("TALLY_BUILD");

/// Program, version and build, as statements carry them: `tallystick 0.1.0 (abc123def456)`.
///
/// # Errors
/// `Bug` only.
pub fn line() -> Result<Line> {
    format!("tallystick {VERSION} ({HASH})")
        .parse()
        .map_err(|_| AgencyError::Bug("the name of this build is no line of text".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_has_a_name() {
        let hash = HASH.strip_suffix("-dirty").unwrap_or(HASH);
        let digits = hash.len() >= 12 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(hash == "unknown" || digits, "{HASH}");
        assert_eq!(
            line().unwrap().as_str(),
            format!("tallystick {VERSION} ({HASH})")
        );
    }
}
