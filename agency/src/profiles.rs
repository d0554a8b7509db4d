//! Profiles by name or from files.

use std::{path::Path, sync::Arc};

use tallystick_protocol::identifiers::Profile;

use crate::error::{AgencyError, Result};

/// How the name of a file ends, so that a mistyped name is not taken for one.
const EXTENSION: &str = ".profile.toml";
/// The largest file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The profile that `--profile` names: a built-in one (`exact`, `eu-strict/1`), or that of a
/// `.profile.toml`; or one given by its text.
///
/// # Errors
/// `Usage` for an unknown name; `Profile` for a file that is none; `Io`.
pub fn load(name: &str) -> Result<Arc<Profile>> {
    if let Some(profile) = Profile::built_in(name) {
        return Ok(Arc::new(profile));
    }
    let text = text(name)?;
    let file = match is_text(name) {
        true => Path::new("the profile of the collection"),
        false => Path::new(name),
    };
    let profile = Profile::from_toml(&text).map_err(|why| AgencyError::Profile {
        file: file.to_owned(),
        problem: why.to_string(),
    })?;
    Ok(Arc::new(profile))
}

/// What is kept of a name, so that it means the same later: itself, if it is built in; else the text of
/// the file.
///
/// # Errors
/// As those of [`load`].
pub(crate) fn text(name: &str) -> Result<String> {
    if Profile::built_in(name).is_some() || is_text(name) {
        return Ok(name.to_owned());
    }
    if !name.ends_with(EXTENSION) {
        return Err(AgencyError::UnknownProfile(format!(
            "there is no profile {}; built in are {}, and the name of a file ends with {EXTENSION}",
            name.escape_debug(),
            Profile::names().join(", ")
        )));
    }
    let path = Path::new(name);
    let size = std::fs::metadata(path).map_err(AgencyError::io("read", path))?;
    if size.len() > MAX_BYTES {
        return Err(AgencyError::Profile {
            file: path.to_owned(),
            problem: format!("the file is longer than {MAX_BYTES} bytes"),
        });
    }
    std::fs::read_to_string(path).map_err(AgencyError::io("read", path))
}

/// A name and a path are one line; a profile has an id and types, and so more.
fn is_text(name: &str) -> bool {
    name.contains('\n')
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
        let kept = text(name).unwrap();
        std::fs::write(&path, "id = \"ours/1\"\ntypes = [\"texts\"]\n").unwrap();
        assert_eq!(load(&kept).unwrap().id(), "ours/1", "what it said stays");
        assert_eq!(load(name).unwrap_err().code(), "profile-file");
    }
}
