//! Bytes of a reader in, documents out: lines, and zones that come in their two or three lines.

use std::io::{self, BufRead, BufReader, Read};

use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::super::{Presented, Unreadable};

/// The longest line that is looked at, in bytes. What is longer is no document.
const MAX_LINE: usize = 8 * 1024;

/// A line that is not empty.
pub(super) struct Line {
    /// Its number, from 1, counting empty ones.
    pub(super) number: u64,
    bytes: Zeroizing<Vec<u8>>,
    /// It had more than [`MAX_LINE`] bytes; they are not kept.
    cut: bool,
}

/// Reads lines until the input ends or nobody takes them any more. Blocks while the queue is full: so the
/// reader's own pipe fills, and whoever writes to it waits.
///
/// A line ends with LF, CR, or both. What stands around it and cannot be seen is dropped: serial readers
/// frame what they read in control characters.
pub(super) fn read(input: impl Read, queue: &mpsc::Sender<Line>) -> io::Result<()> {
    let mut input = BufReader::with_capacity(64 * 1024, input);
    let mut number = 1;
    let mut after_return = false;
    let mut line = Line::new(number);
    loop {
        let bytes = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        if bytes.is_empty() {
            // The last line needs no end.
            let _ = line.give(queue);
            return Ok(());
        }
        let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = end else {
            after_return = false;
            line.push(bytes);
            let taken = bytes.len();
            input.consume(taken);
            continue;
        };
        let (text, mark) = (bytes.get(..end).unwrap_or_default(), bytes.get(end));
        let of_pair = after_return && text.is_empty() && mark == Some(&b'\n');
        after_return = mark == Some(&b'\r');
        line.push(text);
        input.consume(end + 1);
        if of_pair {
            continue;
        }
        number += 1;
        let whole = std::mem::replace(&mut line, Line::new(number));
        if whole.give(queue).is_err() {
            return Ok(());
        }
    }
}

/// Nobody takes lines any more.
struct Unwanted;

impl Line {
    fn new(number: u64) -> Self {
        Self {
            number,
            bytes: Zeroizing::new(Vec::new()),
            cut: false,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() > MAX_LINE {
            self.cut = true;
            self.bytes.clear();
        }
        if !self.cut {
            // Once and for all lines but the longest, so that no copy is left behind.
            self.bytes.reserve(bytes.len().max(128));
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn give(self, queue: &mpsc::Sender<Self>) -> Result<(), Unwanted> {
        if !self.cut && self.seen().is_empty() {
            return Ok(());
        }
        queue.blocking_send(self).map_err(|_| Unwanted)
    }

    fn seen(&self) -> &[u8] {
        let unseen = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
        let start = self.bytes.iter().position(|byte| !unseen(byte));
        let end = self.bytes.iter().rposition(|byte| !unseen(byte));
        match (start, end) {
            (Some(start), Some(end)) => self.bytes.get(start..=end).unwrap_or_default(),
            _ => &[],
        }
    }
}

/// What a line, or the lines of a zone, came to.
pub(super) struct Item {
    /// Number of its first line.
    pub(super) line: u64,
    /// What to ask about, or why there is nothing.
    pub(super) presented: Result<Presented, Unreadable>,
}

/// The lines of a zone that have come so far.
#[derive(Default)]
pub(super) struct Zones {
    first: u64,
    lines: Vec<Zeroizing<String>>,
    /// Characters of each.
    width: usize,
}

/// How many lines of this length make a zone.
fn lines_of(width: usize) -> Option<usize> {
    match width {
        30 => Some(3),
        36 | 44 => Some(2),
        _ => None,
    }
}

/// A line of names. The others have dates and numbers: a line without a digit is the first of two or the
/// last of three. So whoever lost a line is in step again with the next document.
fn is_names(text: &str) -> bool {
    !text.bytes().any(|byte| byte.is_ascii_digit())
}

impl Zones {
    /// Whether part of a zone has come.
    pub(super) fn begun(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Takes a line; gives what is complete by it: a part that goes no further, the document, or both.
    pub(super) fn take(&mut self, line: Line) -> Vec<Item> {
        let number = line.number;
        if line.cut {
            return self.and(number, Err(Unreadable::TooLong));
        }
        let Ok(text) = std::str::from_utf8(line.seen()) else {
            return self.and(number, Err(not_utf8(line.seen())));
        };
        let width = text.chars().filter(|c| !c.is_whitespace()).count();
        let Some(needed) = lines_of(width).filter(|_| !text.starts_with('{')) else {
            return self.and(number, Presented::from_line(text));
        };
        let mut given = Vec::new();
        let names = is_names(text);
        if width != self.width || self.lines.len() == 1 && names {
            given.extend(self.end());
        }
        if self.lines.len() == 2 && !names {
            // The first of the three had lost its others: the second may be a first one.
            let rest = self.lines.split_off(1);
            let at = self.first + 1;
            given.extend(self.end());
            (self.lines, self.first) = (rest, at);
        }
        if !self.begun() {
            self.first = number;
        }
        self.width = width;
        self.lines.push(Zeroizing::new(text.to_owned()));
        let never_first = needed == 3 && names && self.lines.len() == 1;
        if self.lines.len() == needed || never_first {
            given.extend(self.end());
        }
        given
    }

    /// What has come so far is all there is.
    pub(super) fn end(&mut self) -> Option<Item> {
        let lines = std::mem::take(&mut self.lines);
        self.width = 0;
        if lines.is_empty() {
            return None;
        }
        let lines: Vec<&str> = lines.iter().map(|line| line.as_str()).collect();
        let zone = Zeroizing::new(lines.join("\n"));
        Some(Item {
            line: self.first,
            presented: Presented::from_mrz(&zone),
        })
    }

    fn and(&mut self, line: u64, presented: Result<Presented, Unreadable>) -> Vec<Item> {
        let before = self.end();
        before
            .into_iter()
            .chain([Item { line, presented }])
            .collect()
    }
}

/// Why bytes that are no text are no document: the zone's own rule, or that of JSON. They are never
/// guessed: a letter that is guessed is another name.
fn not_utf8(bytes: &[u8]) -> Unreadable {
    if bytes.first() == Some(&b'{') {
        let column = std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to() + 1, |_| 0);
        return Unreadable::Json { column };
    }
    let shown = Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
    match Presented::from_line(&shown) {
        Err(unreadable) => unreadable,
        Ok(_) => Unreadable::Json { column: 0 },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "lines_tests.rs"]
mod tests;
