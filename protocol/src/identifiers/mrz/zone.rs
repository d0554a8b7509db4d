//! From text to the cells of a zone.

use std::fmt;

use zeroize::Zeroizing;

use super::layout::{Field, Kind, MAX_CELLS};

/// A zone of the right shape: known format, every cell a character of the zone. Its check digits
/// need not hold. Secret: wiped on drop, hidden in Debug.
#[derive(PartialEq, Eq)]
pub struct Zone {
    kind: Kind,
    cells: Zeroizing<[u8; MAX_CELLS]>,
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({}, ..)", self.kind)
    }
}

/// Why a text is no machine-readable zone. It holds no part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misshapen {
    /// There is nothing.
    #[error("there is no machine-readable zone; give its lines")]
    Empty,
    /// The number of lines and their lengths fit no format, by far.
    #[error(
        "this is no machine-readable zone: it has 3 lines of 30 characters, 2 of 36 or 2 of 44; \
         give the lines as they stand, fillers included"
    )]
    Shape,
    /// One line is too short or too long for the format that the lines come nearest to.
    #[error(
        "line {line} has {found} characters and should have {wanted}; read it again, fillers \
         included"
    )]
    LineLength {
        /// The line, from 1.
        line: usize,
        /// Its characters.
        found: usize,
        /// What the format has.
        wanted: usize,
    },
    /// Something that is not A to Z, 0 to 9 or `<`.
    #[error("line {line}, column {column} is no character of a zone (A-Z, 0-9, <); read it again")]
    Character {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
}

impl Misshapen {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "mrz-empty",
            Self::Shape => "mrz-shape",
            Self::LineLength { .. } => "mrz-line-length",
            Self::Character { .. } => "mrz-character",
        }
    }
}

/// What stands for a character in a cell that holds none: no format has it.
const FOREIGN: u8 = b'?';

/// How far a line may be from the width of a format to be taken for a line of it.
const NEAR: usize = 4;

impl Zone {
    /// Reads a zone: its lines, or all of it in one run of 90, 72 or 88 characters.
    ///
    /// Taken without a word, because it can mean one thing only: small letters, full-width
    /// letters, digits and fillers (U+FF01 and on), `‹` for `<`, `«` for `<<` (as word processors
    /// set it), empty lines, and white space anywhere in a line. White space is never a filler.
    /// Nothing else is: a letter with an accent may be a misread, and a missing filler may stand
    /// in several places.
    ///
    /// # Errors
    /// [`Misshapen`]. Lines are counted without empty ones.
    pub fn read(text: &str) -> Result<Self, Misshapen> {
        let mut cells = Zeroizing::new([0; MAX_CELLS]);
        let mut lengths = [0_usize; 3];
        let (mut total, mut lines, mut foreign) = (0, 0, None);
        for line in text.split(['\n', '\r']).filter(|l| !l.trim().is_empty()) {
            let Some(length) = lengths.get_mut(lines) else {
                return Err(Misshapen::Shape);
            };
            lines += 1;
            for byte in line.chars().flat_map(cell).flatten() {
                *length += 1;
                if byte == FOREIGN && foreign.is_none() {
                    foreign = Some(Misshapen::Character {
                        line: lines,
                        column: *length,
                    });
                }
                // Longer text is only counted, to say by how much.
                if let Some(slot) = cells.get_mut(total) {
                    *slot = byte;
                }
                total += 1;
            }
        }
        let kind = shape(&lengths, lines, cells[0])?;
        match foreign {
            Some(fault) => Err(fault),
            None => Ok(Self { kind, cells }),
        }
    }

    /// The format.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// All cells in order. Secret.
    pub(super) fn cells(&self) -> &[u8] {
        self.cells.get(..self.kind.cells()).unwrap_or_default()
    }

    /// The cells of a field, as text; empty if the format has no such field. Secret.
    #[must_use]
    pub fn field(&self, field: Field) -> &str {
        let cells = self.cells().get(self.kind.span(field)).unwrap_or_default();
        // Cells are ASCII.
        std::str::from_utf8(cells).unwrap_or_default()
    }

    /// The lines as they stand in a document. Secret.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let lines = self.cells().chunks(self.kind.width());
        lines.map(|line| std::str::from_utf8(line).unwrap_or_default())
    }

    /// The same with another character in one cell, as a reader would take it.
    pub(super) fn with(&self, cell: usize, byte: u8) -> Option<Self> {
        let mut cells = self.cells.clone();
        *cells.get_mut(cell)? = byte;
        let kind = Kind::of(self.kind.cells(), cells[0])?;
        Some(Self { kind, cells })
    }
}

/// The cells that a character stands for: none for white space, two for `«`.
fn cell(c: char) -> [Option<u8>; 2] {
    let byte = match c {
        'A'..='Z' | '0'..='9' | '<' => c as u8,
        'a'..='z' => c.to_ascii_uppercase() as u8,
        '«' => return [Some(b'<'), Some(b'<')],
        '‹' => b'<',
        // Full-width forms lie in the order of ASCII.
        '\u{ff01}'..='\u{ff5e}' => {
            let ascii = (u32::from(c) - 0xff01 + 0x21) as u8;
            match ascii {
                b'A'..=b'Z' | b'0'..=b'9' | b'<' => ascii,
                b'a'..=b'z' => ascii.to_ascii_uppercase(),
                _ => FOREIGN,
            }
        }
        c if c.is_whitespace() || c == '\u{feff}' => return [None, None],
        _ => FOREIGN,
    };
    [Some(byte), None]
}

/// The format of lines of these lengths.
fn shape(lengths: &[usize; 3], lines: usize, first: u8) -> Result<Kind, Misshapen> {
    let total: usize = lengths.iter().sum();
    let longest = lengths.iter().max().copied().unwrap_or_default();
    let wanted = match lines {
        0 => return Err(Misshapen::Empty),
        1 => return Kind::of(total, first).ok_or_else(|| one_run(total)),
        2 if longest.abs_diff(36) <= longest.abs_diff(44) => 36,
        2 => 44,
        _ => 30,
    };
    if lengths
        .iter()
        .take(lines)
        .any(|n| n.abs_diff(wanted) > NEAR)
    {
        return Err(Misshapen::Shape);
    }
    for (i, found) in lengths.iter().take(lines).enumerate() {
        if *found != wanted {
            return Err(Misshapen::LineLength {
                line: i + 1,
                found: *found,
                wanted,
            });
        }
    }
    Kind::of(total, first).ok_or(Misshapen::Shape)
}

fn one_run(found: usize) -> Misshapen {
    let near = [90, 88, 72]
        .into_iter()
        .filter(|n| found.abs_diff(*n) <= NEAR);
    match near.min_by_key(|n| found.abs_diff(*n)) {
        Some(wanted) => Misshapen::LineLength {
            line: 1,
            found,
            wanted,
        },
        None => Misshapen::Shape,
    }
}
