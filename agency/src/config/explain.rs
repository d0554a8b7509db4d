//! What is wrong with a configuration file: which line, which key, and which key was meant.
//!
//! The parser's own excerpt is not shown: a passphrase under a key that does not exist would stand
//! in it.

use toml::de::Error;

/// The parser's complaint about `text` in one line.
pub(super) fn complaint(text: &str, error: &Error) -> String {
    let Some(span) = error.span() else {
        return error.message().to_owned();
    };
    let before = text.get(..span.start).unwrap_or(text);
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let section = before.lines().rev().find_map(section_of);
    let key = key_of(line);
    if let Some((unknown, known)) = unknown_field(error.message()) {
        // A section that is unknown stands in its own header.
        let full = match (section, key == Some(unknown)) {
            (Some(section), true) => format!("{section}.{unknown}"),
            _ => unknown.to_owned(),
        };
        let hint = match nearest(unknown, &known) {
            Some(near) => format!("did you mean {near}? units stand in the names of keys"),
            None => format!("known here: {}", known.join(", ")),
        };
        return format!("line {number}: there is no key {full}; {hint}");
    }
    // Types as people name them.
    let said = error
        .message()
        .replace(" as i128", "")
        .replace("expected u32", "expected a whole number")
        .replace("expected u64", "expected a whole number");
    let said = said.replace('\n', ", ");
    match (section, key) {
        (Some(section), Some(key)) => format!("line {number}: {section}.{key}: {said}"),
        (None, Some(key)) => format!("line {number}: {key}: {said}"),
        (_, None) => format!("line {number}: {said}"),
    }
}

/// A complaint about a value, which begins with its key, with the line of that key before it.
pub(super) fn placed(text: &str, problem: String) -> String {
    let full = problem.split(':').next().unwrap_or_default();
    let mut section = None;
    for (number, line) in (1..).zip(text.lines()) {
        section = section_of(line).or(section);
        let here = match (section, key_of(line)) {
            (Some(section), Some(key)) => format!("{section}.{key}") == full,
            (None, Some(key)) => key == full,
            (_, None) => false,
        };
        if here {
            return format!("line {number}: {problem}");
        }
    }
    // The default stands in a line of no file.
    problem
}

/// `limits` of a line `[limits]`.
fn section_of(line: &str) -> Option<&str> {
    let inner = line.trim().strip_prefix('[')?;
    let (name, _) = inner.split_once(']')?;
    Some(name.trim())
}

/// `state` of a line `state = "DEU"`; `None` for a comment and anything unusual.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (!key.is_empty() && key.bytes().all(plain)).then_some(key)
}

/// The unknown key of the parser's message, and the known ones.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut names = message
        .strip_prefix("unknown field ")?
        .split('`')
        .skip(1)
        .step_by(2);
    let unknown = names.next()?;
    Some((unknown, names.collect()))
}

/// The known key that is spelt most like an unknown one, if it is spelt like it at all.
fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known.iter().map(|name| (distance(unknown, name), *name));
    let (least, name) = distances.min()?;
    (least * 2 <= name.len()).then_some(name)
}

/// Levenshtein's distance, in bytes.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (one, other, want) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("minutes", "seconds", 6),
        ] {
            assert_eq!(distance(one, other), want, "{one} {other}");
            assert_eq!(distance(other, one), want, "{other} {one}");
        }
    }

    #[test]
    fn a_word_unlike_any_key_has_no_nearest() {
        assert_eq!(nearest("colour", &["name", "state", "log"]), None);
        assert_eq!(nearest("nam", &["name", "state", "log"]), Some("name"));
    }
}
