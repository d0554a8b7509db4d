//! Licences, bans, generations, features.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tallystick_tests::programs::workspace;

use crate::{cargo, members};

/// A line of `cargo tree`: what is really built, features resolved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    depth: usize,
    name: String,
    version: String,
    licence: String,
    features: Vec<String>,
}

fn tree(arguments: &[&str]) -> Vec<Line> {
    let fixed = ["tree", "--prefix", "depth", "--format", "{p}|{l}|{f}|"];
    let text = cargo(&[&fixed, arguments].concat());
    let lines: Vec<Line> = text.lines().filter_map(line).collect();
    assert!(lines.len() > 50, "{text}");
    lines
}

/// `2name v1.2.3 (path or kind)|licence|features|`; other lines are headings.
fn line(text: &str) -> Option<Line> {
    let mut parts = text.split('|');
    let (package, licence, features) = (parts.next()?, parts.next()?, parts.next()?);
    let name_at = package.find(|c: char| !c.is_ascii_digit())?;
    let mut words = package[name_at..].split(' ');
    let features = features.split(',').filter(|feature| !feature.is_empty());
    Some(Line {
        depth: package[..name_at].parse().ok()?,
        name: words.next()?.to_owned(),
        version: words.next()?.to_owned(),
        licence: licence.to_owned(),
        features: features.map(str::to_owned).collect(),
    })
}

/// Everything that any target of the workspace is built from, on this machine.
fn everything() -> Vec<Line> {
    tree(&["--workspace", "-e", "normal,build,dev"])
}

/// Licences under which code may be used here: permissive, with no duty beyond naming the authors.
const ALLOWED: [&str; 13] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "0BSD",
];

/// Whether an SPDX expression can be met by the licences allowed. `/` is the old way to write OR.
fn allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any(&words, &mut at);
    met && at == words.len()
}

fn any(words: &[&str], at: &mut usize) -> bool {
    let mut met = all(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(words, at);
    }
    met
}

fn all(words: &[&str], at: &mut usize) -> bool {
    let mut met = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at);
    }
    met
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else {
        return false;
    };
    *at += 1;
    if *word == "(" {
        let met = any(words, at);
        *at += 1;
        return met && words.get(*at - 1) == Some(&")");
    }
    match words.get(*at..*at + 2) {
        Some(["WITH", exception]) => {
            *at += 2;
            ALLOWED.contains(&format!("{word} WITH {exception}").as_str())
        }
        _ => ALLOWED.contains(word),
    }
}

#[test]
fn expressions_of_licences_are_understood() {
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "ISC AND (GPL-3.0 OR ISC)",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
    ] {
        assert!(allowed(good), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "MIT GPL-3.0",
        "(MIT",
        "MIT WITH LLVM-exception",
        "ISC AND (GPL-3.0 OR AGPL-3.0)",
    ] {
        assert!(!allowed(bad), "{bad}");
    }
}

#[test]
fn licences_are_allowed() {
    let unknown: BTreeSet<String> = everything()
        .iter()
        .filter(|line| !allowed(&line.licence))
        .map(|line| format!("{} {}: {:?}", line.name, line.version, line.licence))
        .collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// What has no place here, and why.
const BANNED: [(&str, &str); 9] = [
    ("openssl", "TLS is rustls on aws-lc-rs"),
    ("openssl-sys", "TLS is rustls on aws-lc-rs"),
    ("native-tls", "TLS is rustls on aws-lc-rs"),
    ("ring", "one provider of cryptography: aws-lc-rs"),
    ("rusqlite", "does not resolve beside sqlx"),
    ("protoc-bin-vendored", "nobody needs protoc"),
    ("protobuf-src", "nobody needs protoc"),
    ("reqwest", "nothing here speaks HTTP to strangers"),
    ("chrono", "times are integers; `time` prints them"),
];

#[test]
fn nothing_banned_is_built() {
    for line in everything() {
        if let Some((name, why)) = BANNED.iter().find(|(name, _)| *name == line.name) {
            panic!("{name}: {why}");
        }
        assert!(
            !line.name.starts_with("protoc-bin"),
            "{}: nobody needs protoc",
            line.name
        );
        if line.name == "tonic" {
            let tls = line.features.iter().find(|feature| feature.contains("tls"));
            assert_eq!(tls, None, "tonic's TLS brings version 1.2 in");
        }
        if line.name == "rustls" {
            for feature in ["tls12", "ring", "fips"] {
                assert!(
                    !line.features.iter().any(|f| f == feature),
                    "rustls: {feature}"
                );
            }
            assert!(line.features.iter().any(|f| f == "prefer-post-quantum"));
        }
    }
}

/// Crates of which the programs hold one version: two generations do not fit together, or double
/// what must be reviewed.
const ONE_GENERATION: [&str; 25] = [
    "aead",
    "argon2",
    "aws-lc-rs",
    "chacha20poly1305",
    "curve25519-dalek",
    "digest",
    "ed25519-dalek",
    "hkdf",
    "hmac",
    "http",
    "hyper",
    "prost",
    "rand",
    "rand_core",
    "rcgen",
    "rustls",
    "rustls-webpki",
    "sha2",
    "signature",
    "sqlx",
    "subtle",
    "tokio",
    "tokio-rustls",
    "tonic",
    "zeroize",
];

/// Edges that are not followed. sqlx hashes the text of its migrations with the older sha2; nothing
/// of ours is given to it.
const NOT_OURS: [(&str, &str); 1] = [("sqlx-core", "sha2")];

#[test]
fn the_programs_hold_one_generation() {
    let lines = tree(&[
        "-p",
        "tallystick-client",
        "-p",
        "tallystick-server",
        "-e",
        "normal",
    ]);
    // Each package is listed with what it depends on once; further places only name it.
    let mut edges: BTreeMap<(String, String), BTreeSet<(String, String)>> = BTreeMap::new();
    let mut path: Vec<(String, String)> = Vec::new();
    for line in lines {
        path.truncate(line.depth);
        let here = (line.name, line.version);
        if let Some(parent) = path.last() {
            edges
                .entry(parent.clone())
                .or_default()
                .insert(here.clone());
        }
        path.push(here);
    }
    let root = |name: &str| (name.to_owned(), "v0.1.0".to_owned());
    let mut open = vec![root("tallystick-client"), root("tallystick-server")];
    let mut seen: BTreeSet<(String, String)> = open.iter().cloned().collect();
    while let Some(package) = open.pop() {
        for next in edges.get(&package).into_iter().flatten() {
            let skip = NOT_OURS.contains(&(package.0.as_str(), next.0.as_str()));
            if !skip && seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    for name in ONE_GENERATION {
        let versions: Vec<&str> = seen
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, version)| version.as_str())
            .collect();
        assert_eq!(versions.len(), 1, "{name}: {versions:?}");
    }
}

/// `cargo run --bin tally` and `cargo test --workspace` must ask for the same features, or what
/// they share is built twice. Members' own dependencies count for both commands, dev-dependencies
/// only for the second: what these add must be in the first already.
///
/// What build scripts are made from is left out. Cargo resolves it apart, and its tree shows a
/// package that both sides use once, with the dependencies of whichever came first.
#[test]
fn programs_and_tests_share_one_set_of_features() {
    let set = |edges: &str| -> BTreeSet<(String, String, Vec<String>)> {
        tree(&["--workspace", "-e", edges])
            .into_iter()
            .map(|line| (line.name, line.version, line.features))
            .collect()
    };
    let (programs, tests) = (set("normal"), set("normal,dev"));
    let alone: Vec<_> = programs.difference(&tests).collect();
    assert!(
        alone.is_empty(),
        "tests ask for more features of these; name the crate that asks among the [dependencies] of \
         the tests package: {alone:#?}"
    );
}

/// The dependencies of a member of one kind: `null`, `"dev"` or `"build"`.
fn direct(member: &Value, kind: &Value) -> BTreeSet<String> {
    let all = member["dependencies"].as_array().unwrap().iter();
    all.filter(|dependency| dependency["kind"] == *kind)
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn members_import_downwards_only() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("protocol", &[][..]),
        ("wire", &["protocol"]),
        ("tables", &["protocol"]),
        ("agency", &["protocol", "tables"]),
        ("server", &["protocol", "wire", "tables", "agency"]),
        // The server for the module of `try` alone; the sources are looked at too.
        (
            "client",
            &["protocol", "wire", "tables", "agency", "server"],
        ),
    ]);
    for member in members() {
        let name = member["name"].as_str().unwrap();
        let short = name.strip_prefix("tallystick-").unwrap();
        if short == "tests" {
            continue;
        }
        for kind in [Value::Null, "dev".into(), "build".into()] {
            for dependency in direct(&member, &kind) {
                if let Some(ours) = dependency.strip_prefix("tallystick-") {
                    assert!(allowed[short].contains(&ours), "{short} imports {ours}");
                }
            }
        }
        if short == "protocol" {
            let outside = [
                "tokio",
                "getrandom",
                "rayon",
                "rand",
                "tracing",
                "mio",
                "socket2",
            ];
            let found = direct(&member, &Value::Null);
            let found = outside.iter().find(|name| found.contains(**name));
            assert_eq!(
                found, None,
                "protocol has no sockets, clock, threads or randomness"
            );
        }
    }
}

#[test]
fn every_dependency_has_one_place_and_one_reason() {
    let text = std::fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let listed = table["workspace"]["dependencies"].as_table().unwrap();
    let mut used = BTreeSet::new();
    for member in members() {
        let path = member["manifest_path"].as_str().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        assert_eq!(
            manifest["lints"]["workspace"].as_bool(),
            Some(true),
            "{path}"
        );
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            let inherits = &manifest["package"][key]["workspace"];
            assert_eq!(inherits.as_bool(), Some(true), "{path}: {key}");
        }
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(section) = manifest.get(section) else {
                continue;
            };
            for (name, how) in section.as_table().unwrap() {
                assert_eq!(how["workspace"].as_bool(), Some(true), "{path}: {name}");
                used.insert(name.clone());
            }
        }
    }
    let unused: Vec<&String> = listed.keys().filter(|name| !used.contains(*name)).collect();
    assert!(unused.is_empty(), "nobody uses {unused:?}");
    for name in listed
        .keys()
        .filter(|name| !name.starts_with("tallystick-"))
    {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} = ")))
            .unwrap();
        // A version has no comment sign in it.
        let reason = line.split_once('#').map_or("", |(_, reason)| reason.trim());
        assert!(!reason.is_empty(), "{name} has no reason");
    }
}

/// Dependencies that only generated code names, and those whose code has another name.
const NAMED_ELSEWHERE: [(&str, &str, Option<&str>); 3] = [
    ("tallystick-wire", "prost", None),
    ("tallystick-wire", "tonic-prost", None),
    ("tallystick-agency", "rustls-webpki", Some("webpki")),
];

#[test]
fn every_dependency_is_used() {
    let mut unused = Vec::new();
    for member in members() {
        let name = member["name"].as_str().unwrap();
        let manifest = std::path::Path::new(member["manifest_path"].as_str().unwrap());
        let mut sources = String::new();
        read(manifest.parent().unwrap(), &mut sources);
        for dependency in member["dependencies"].as_array().unwrap() {
            let package = dependency["name"].as_str().unwrap();
            let code = dependency["rename"].as_str().unwrap_or(package);
            let elsewhere = NAMED_ELSEWHERE
                .iter()
                .find(|(of, dependency, _)| *of == name && *dependency == package);
            let code = match elsewhere {
                Some((.., None)) => continue,
                Some((.., Some(other))) => other,
                None => code,
            };
            if !names(&sources, &code.replace('-', "_")) {
                unused.push(format!("{name}: {package}"));
            }
        }
    }
    assert!(
        unused.is_empty(),
        "dependencies that no source names: {unused:#?}"
    );
}

fn read(dir: &std::path::Path, sources: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, sources);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            sources.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// Whether the name stands in the text as a word.
fn names(text: &str, name: &str) -> bool {
    let of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(of_word) && !after.is_some_and(of_word)
    })
}
