//! Planted values, and looking for them: in bytes, files and folders, in every form in which a
//! program might let them out.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

/// Bytes of a secret that give it away: fewer than a piece of it that another use has overwritten.
const PIECE: usize = 8;

/// One form of one planted value.
#[derive(Debug)]
struct Needle {
    what: String,
    form: &'static str,
    bytes: Vec<u8>,
}

/// Planted values. Each is looked for in many forms at once.
#[derive(Debug, Default)]
pub struct Canaries {
    needles: Vec<Needle>,
    /// Needles by their first two bytes.
    starts: BTreeMap<u16, Vec<usize>>,
}

/// A planted value that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sighting {
    /// What was planted.
    pub what: String,
    /// In which form it was found.
    pub form: &'static str,
    /// Where.
    pub place: String,
}

impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) in {}", self.what, self.form, self.place)
    }
}

impl Canaries {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Plants a text: as it stands, in hexadecimal, base64 and UTF-16. Say the canonical form of an
    /// identifier as another text of the same name.
    pub fn text(&mut self, what: &str, text: &str) {
        assert!(text.len() >= 8, "{what} is too short to be unmistakable");
        self.add(what, "text", text.as_bytes().to_vec());
        self.written(what, text.as_bytes());
        let wide = |to: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to).collect();
        self.add(what, "UTF-16", wide(u16::to_le_bytes));
        self.add(what, "UTF-16", wide(u16::to_be_bytes));
    }

    /// Plants a key or seed: every aligned piece of it in binary, and the whole in hexadecimal and
    /// base64.
    pub fn secret(&mut self, what: &str, bytes: &[u8]) {
        assert!(bytes.len() >= 2 * PIECE, "{what} is too short");
        for piece in bytes.chunks_exact(PIECE) {
            let distinct = piece.iter().collect::<std::collections::BTreeSet<_>>();
            // Pieces of fixed encodings (zeros, names of curves) stand in many places.
            if distinct.len() >= 6 {
                self.add(what, "binary", piece.to_vec());
            }
        }
        self.written(what, bytes);
    }

    /// Hexadecimal and base64, at each of the three places where it may stand in other data.
    fn written(&mut self, what: &str, bytes: &[u8]) {
        let hex = |upper: bool| -> Vec<u8> {
            let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            if upper { digits.to_uppercase() } else { digits }.into_bytes()
        };
        self.add(what, "hexadecimal", hex(false));
        self.add(what, "hexadecimal", hex(true));
        for url in [false, true] {
            for before in 0..3 {
                let text = base64(&[&vec![0; before], bytes].concat(), url);
                // Digits that also hold bits of the neighbours are left out.
                let from = (before * 8).div_ceil(6);
                let to = (before + bytes.len()) * 8 / 6;
                self.add(what, "base64", text[from..to].to_vec());
            }
        }
    }

    fn add(&mut self, what: &str, form: &'static str, bytes: Vec<u8>) {
        let start = u16::from_be_bytes([bytes[0], bytes[1]]);
        self.starts
            .entry(start)
            .or_default()
            .push(self.needles.len());
        self.needles.push(Needle {
            what: what.to_owned(),
            form,
            bytes,
        });
    }

    /// Those of another collection, too.
    pub fn join(&mut self, other: &Self) {
        for needle in &other.needles {
            self.add(&needle.what, needle.form, needle.bytes.clone());
        }
    }

    /// Only those whose name begins so.
    #[must_use]
    pub fn only(&self, beginnings: &[&str]) -> Self {
        let mut some = Self::new();
        for needle in &self.needles {
            if beginnings.iter().any(|name| needle.what.starts_with(name)) {
                some.add(&needle.what, needle.form, needle.bytes.clone());
            }
        }
        assert!(!some.needles.is_empty(), "{beginnings:?}");
        some
    }

    /// Names of what was planted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.needles.iter().map(|n| n.what.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The longest form, in bytes: how much neighbouring blocks must overlap.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.needles
            .iter()
            .map(|n| n.bytes.len())
            .max()
            .unwrap_or_default()
    }

    /// What stands in these bytes, each once.
    #[must_use]
    pub fn in_bytes(&self, place: &str, bytes: &[u8]) -> Vec<Sighting> {
        let mut known = vec![false; 1 << 16];
        self.starts
            .keys()
            .for_each(|start| known[usize::from(*start)] = true);
        let mut seen = Vec::new();
        for (at, pair) in bytes.windows(2).enumerate() {
            let start = u16::from_be_bytes([pair[0], pair[1]]);
            if !known[usize::from(start)] {
                continue;
            }
            for index in &self.starts[&start] {
                let needle = &self.needles[*index];
                if bytes[at..].starts_with(&needle.bytes) {
                    seen.push(Sighting {
                        what: needle.what.clone(),
                        form: needle.form,
                        place: place.to_owned(),
                    });
                }
            }
        }
        seen.sort();
        seen.dedup();
        seen
    }

    /// What stands in a file.
    #[must_use]
    pub fn in_file(&self, path: &Path) -> Vec<Sighting> {
        let place = path.display().to_string();
        self.in_bytes(&place, &fs::read(path).unwrap())
    }

    /// What stands in the files of a folder and below, and in their names. A file that is gone
    /// before it is read holds nothing.
    #[must_use]
    pub fn in_folder(&self, folder: &Path) -> Vec<Sighting> {
        let mut seen = Vec::new();
        for path in files(folder) {
            let place = path.display().to_string();
            seen.extend(self.in_bytes(&place, place.as_bytes()));
            if let Ok(bytes) = fs::read(&path) {
                seen.extend(self.in_bytes(&place, &bytes));
            }
        }
        seen
    }

    /// What stands in the open files of a process, those without a name too.
    #[must_use]
    pub fn in_open_files(&self, process: i32) -> Vec<Sighting> {
        let mut seen = Vec::new();
        let folder = format!("/proc/{process}/fd");
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else {
                continue;
            };
            // Not pipes, sockets, devices.
            let regular = fs::metadata(entry.path()).is_ok_and(|meta| meta.is_file());
            if regular && let Ok(bytes) = fs::read(entry.path()) {
                seen.extend(self.in_bytes(&target.display().to_string(), &bytes));
            }
        }
        seen
    }
}

/// All files of a folder and below.
#[must_use]
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Fails where something was found.
///
/// # Panics
/// With all that was found.
pub fn nothing(seen: &[Sighting]) {
    let lines: Vec<String> = seen.iter().map(Sighting::to_string).collect();
    assert!(seen.is_empty(), "in the clear:\n{}", lines.join("\n"));
}

/// Fails where one of these was not found: a search that finds nothing anywhere proves nothing.
///
/// # Panics
/// With what is missing.
pub fn found(seen: &[Sighting], names: &[&str]) {
    for name in names {
        assert!(
            seen.iter().any(|sighting| sighting.what == *name),
            "{name} should have been found; seen: {seen:?}"
        );
    }
}

fn base64(bytes: &[u8], url: bool) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let digit = |value: u32| match (value as usize, url) {
        (62, false) => b'+',
        (63, false) => b'/',
        (62, true) => b'-',
        (63, true) => b'_',
        (value, _) => LETTERS[value],
    };
    let mut text = Vec::new();
    for group in bytes.chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digits = [18, 12, 6, 0].map(|shift| digit(bits >> shift & 63));
        text.extend_from_slice(&digits[..group.len() + 1]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_wherever_it_stands() {
        let mut canaries = Canaries::new();
        canaries.text("word", "Kanarienvogel");
        canaries.secret("key", b"0123456789abcdefghijklmnopqrstuv");
        let forms = [
            "xKanarienvogelx".to_owned(),
            "ff4b616e617269656e766f67656cff".to_owned(),
            "FF4B616E617269656E766F67656CFF".to_owned(),
            // In JSON, behind one byte and behind two.
            "eyJ3IjoiS2FuYXJpZW52b2dlbCJ9".to_owned(),
            "eEthbmFyaWVudm9nZWw=".to_owned(),
            "eHhLYW5hcmllbnZvZ2Vs".to_owned(),
        ];
        for form in &forms {
            let seen = canaries.in_bytes("here", form.as_bytes());
            assert_eq!(seen.len(), 1, "{form}: {seen:?}");
            found(&seen, &["word"]);
        }
        let wide: Vec<u8> = "Kanarienvogel"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        found(&canaries.in_bytes("here", &wide), &["word"]);
        // A piece of a key is enough.
        found(&canaries.in_bytes("here", b"..ghijklmn.."), &["key"]);
        nothing(&canaries.in_bytes("here", b"kanarienvogel, 9abcdefg"));
        nothing(
            &canaries
                .only(&["key"])
                .in_bytes("here", forms[0].as_bytes()),
        );
    }
}
