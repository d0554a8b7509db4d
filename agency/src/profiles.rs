//! Profiles by name or from files.

use std::{path::Path, sync::Arc};

use tallystick_protocol::identifiers::Profile;

use crate::error::{AgencyError, Result};

/// How the name of a file ends, so that a mistyped name is not taken for one.
const EXTENSION: &str = ".toml";
/// The largest file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The profile that `--profile` names: a built-in one (`exact`, `eu-strict/1`), or that of a
/// `.profile.toml`.
///
/// # Errors
/// `Usage` for an unknown name; `Profile` for a file that is none; `Io`.
pub fn load(name: &str) -> Result<Arc<Profile>> {
    if let Some(profile) = Profile::built_in(name) {
        return Ok(Arc::new(profile));
    }
    if !name.ends_with(EXTENSION) {
        return Err(AgencyError::UnknownProfile(format!(
            "there is no profile {}; built in are {}, and a file ends with .profile.toml",
            name.escape_debug(),
            Profile::names().join(", ")
        )));
    }
    let path = Path::new(name);
    let size = std::fs::metadata(path).map_err(AgencyError::io("read", path))?;
    let problem = |problem: String| AgencyError::Profile {
        file: path.to_owned(),
        problem,
    };
    if size.len() > MAX_BYTES {
        return Err(problem(format!(
            "the file is longer than {MAX_BYTES} bytes"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(AgencyError::io("read", path))?;
    let profile = Profile::from_toml(&text).map_err(|why| problem(why.to_string()))?;
    Ok(Arc::new(profile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_files_and_what_is_neither() {
        assert_eq!(load("eu-wide").unwrap().id(), "eu-wide/1");
        assert_eq!(load("loose").unwrap_err().code(), "unknown-profile");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ours.profile.toml");
        let name = path.to_str().unwrap();
        assert_eq!(load(name).unwrap_err().code(), "io");
        std::fs::write(&path, "id = \"ours/1\"\ntypes = [\"text\"]\n").unwrap();
        assert_eq!(load(name).unwrap().id(), "ours/1");
        std::fs::write(&path, "id = \"ours/1\"\ntypes = [\"texts\"]\n").unwrap();
        assert_eq!(load(name).unwrap_err().code(), "profile-file");
    }
}
