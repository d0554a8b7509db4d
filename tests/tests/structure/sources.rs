//! What stands in the sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tallystick_tests::programs::workspace;

/// The most lines a file may have, tests left out.
const MOST_LINES: usize = 600;

/// A source file: its path from the top of the workspace, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Whether all of it is for tests.
    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap();
        let of_tests = self.path.split('/').any(|part| part == "tests");
        of_tests || name == "tests.rs" || name == "test_support.rs" || name.ends_with("_tests.rs")
    }

    /// The text up to the tests at its end.
    fn program(&self) -> &str {
        let end = self.text.rfind("#[cfg(test)]").filter(|at| {
            let rest = &self.text[*at..];
            rest.contains("mod tests {")
        });
        &self.text[..end.unwrap_or(self.text.len())]
    }

    /// The program without comments.
    fn code(&self) -> String {
        let lines = self.program().lines();
        let bare = lines.map(|line| line.split_once("//").map_or(line, |(code, _)| code));
        bare.collect::<Vec<_>>().join("\n")
    }
}

/// All files below the workspace with these endings.
fn files(endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    collect(workspace(), endings, &mut found);
    assert!(found.len() > 5);
    found
}

fn collect(dir: &Path, endings: &[&str], found: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                collect(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            let relative = path.strip_prefix(workspace()).unwrap();
            found.push(Source {
                path: relative.to_string_lossy().into_owned(),
                text: fs::read_to_string(&path).unwrap(),
            });
        }
    }
}

fn rust() -> Vec<Source> {
    let found = files(&[".rs"]);
    assert!(found.len() > 50);
    found
}

/// The modules of the standard library that a file names, `use std::{…}` taken apart.
fn of_std(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("std::") {
        let rest = &code[at + "std::".len()..];
        let word = |text: &str| -> String {
            let name = |c: &char| c.is_alphanumeric() || *c == '_';
            text.trim_start().chars().take_while(name).collect()
        };
        let Some(list) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    found.push(word(&list[start..i]));
                    start = i + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn lists_of_imports_are_taken_apart() {
    let code = "use std::{fs, io::{self, Read}, net};\nuse std::thread;\nlet x = std::env::var();";
    assert_eq!(of_std(code), ["fs", "io", "net", "thread", "env"]);
}

#[test]
fn the_protocol_does_no_io() {
    let banned = ["net", "fs", "thread", "env", "process", "os"];
    for source in rust() {
        if !source.path.starts_with("protocol/src/") || source.is_test() {
            continue;
        }
        let code = source.code();
        let found: Vec<String> = of_std(&code)
            .into_iter()
            .filter(|module| banned.contains(&module.as_str()))
            .collect();
        assert!(found.is_empty(), "{} uses std::{found:?}", source.path);
        for word in [
            "SystemTime",
            "Instant",
            "getrandom",
            "OsRng",
            "SysRng",
            "tokio",
            "async fn",
            "rayon",
            "println!",
            "tallystick_",
        ] {
            assert!(!code.contains(word), "{} has {word}", source.path);
        }
    }
}

#[test]
fn only_try_imports_the_server() {
    for source in rust() {
        let of_client = source.path.starts_with("client/src/");
        let of_try = source.path.starts_with("client/src/try_out");
        if of_client && !of_try {
            assert!(
                !source.code().contains("tallystick_server"),
                "{}",
                source.path
            );
        }
    }
}

#[test]
fn only_the_cache_takes_a_snapshot_on_trust() {
    let marked = "client/src/snapshots/file.rs";
    for word in ["assume_verified(", "parse_assumed("] {
        let call = |source: &Source| {
            let code = source.code().replace(&format!("fn {word}"), "");
            !source.is_test() && !source.path.starts_with("tests/") && code.contains(word)
        };
        let callers: Vec<String> = rust()
            .into_iter()
            .filter(call)
            .map(|source| source.path)
            .collect();
        assert_eq!(callers, [marked], "{word}");
    }
}

#[test]
fn the_group_is_behind_its_seam() {
    for source in rust() {
        let inside = source.path.starts_with("protocol/src/group");
        // The tests package compares with another implementation, which has the same names.
        if inside || source.path.starts_with("tests/") {
            continue;
        }
        for word in ["RistrettoPoint", "EdwardsPoint", "CompressedRistretto"] {
            assert!(!source.text.contains(word), "{} has {word}", source.path);
        }
    }
}

#[test]
fn files_are_short() {
    let long: Vec<String> = rust()
        .iter()
        .filter(|source| !source.is_test())
        .map(|source| (source, source.program().lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(source, lines)| format!("{}: {lines}", source.path))
        .collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines: {long:?}");
}

/// Where vector instructions are, the only place for `unsafe`.
const VECTOR_CODE: [&str; 3] = [
    "protocol/src/group/ifma/",
    "protocol/src/sha512/avx512.rs",
    // Asks valgrind; no part of the programs.
    "protocol/examples/marked_secrets.rs",
];

/// The lines of a text that are unsafe code or allow it, counted from 1. Blocks whose reason
/// stands right above them are left out where `reasons` are enough.
fn unsafe_lines(text: &str, reasons: bool) -> Vec<usize> {
    let word = ["un", "safe"].concat();
    let forms = ["fn", "impl", "extern", "trait"].map(|form| format!("{word} {form}"));
    let (block, allowed) = (format!("{word} {{"), format!("({word}_code"));
    let mut found = Vec::new();
    // Whether a reason stands above and nothing but comment has come since.
    let mut reason = false;
    for (at, line) in text.lines().enumerate() {
        let (code, comment) = line.split_once("//").unwrap_or((line, ""));
        let is_block = code.contains(&block);
        let is_other = forms.iter().any(|form| code.contains(form)) || code.contains(&allowed);
        if is_block && !(reasons && reason) || is_other && !reasons {
            found.push(at + 1);
        }
        reason = code.trim().is_empty()
            && (comment.trim_start().starts_with("SAFETY: ") || reason && !comment.is_empty());
    }
    found
}

#[test]
fn unsafe_lines_are_found() {
    let word = ["un", "safe"].concat();
    let text = format!(
        "#![allow({word}_code)]\n\
         // SAFETY: the first line\n\
         // and the second.\n\
         let x = {word} {{ f() }};\n\
         let y = {word} {{ f() }};\n\
         // SAFETY: too far\n\
         \n\
         {word} {{ f() }}\n\
         // {word} {{ in a comment }}\n\
         {word} fn g() {{}}"
    );
    assert_eq!(unsafe_lines(&text, true), [5, 8]);
    assert_eq!(unsafe_lines(&text, false), [1, 4, 5, 8, 10]);
}

/// `unsafe` is denied by lint, and only the vector code allows it; there each block says why
/// it is sound.
#[test]
fn there_is_no_unsafe_code_but_in_the_kernels() {
    for source in rust() {
        let vector = VECTOR_CODE.iter().any(|path| source.path.starts_with(path));
        // Its tests call what they have looked for first, each in the same way.
        if vector && source.is_test() {
            continue;
        }
        let found = unsafe_lines(&source.text, vector);
        assert!(found.is_empty(), "{}: {found:?}", source.path);
    }
}

/// Sources, manifests, documents and scripts hold no path of anybody's machine.
#[test]
fn nothing_names_a_machine() {
    let folders = ["root", "work", "home"].map(|name| format!("/{name}/"));
    for source in files(&[
        ".rs", ".toml", ".md", ".sql", ".proto", ".json", "run", ".lock",
    ]) {
        for folder in &folders {
            assert!(
                !source.text.contains(folder),
                "{} has {folder}",
                source.path
            );
        }
    }
}
