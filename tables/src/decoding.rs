//! Text of other encodings as UTF-8, strictly: what is malformed is refused, never replaced.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult};
use zeroize::Zeroizing;

use crate::{error::TableError, format::Encoding};

const BUFFER: usize = 64 << 10;

/// Bytes that are no text in the encoding stated. Carried through [`io::Error`].
#[derive(Debug)]
pub(crate) struct Malformed {
    encoding: Encoding,
    /// The line on which they stand, from 1.
    line: u64,
}

impl Malformed {
    pub(crate) fn error(&self, file: &std::path::Path) -> TableError {
        TableError::Malformed {
            file: file.to_owned(),
            line: self.line,
            encoding: self.encoding.name(),
        }
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} is not {}", self.line, self.encoding.name())
    }
}

impl std::error::Error for Malformed {}

/// Turns bytes into UTF-8. Byte order marks must be gone.
pub(crate) struct Decoding {
    encoding: Encoding,
    decoder: Decoder,
    input: Zeroizing<Vec<u8>>,
    at: usize,
    filled: usize,
    output: Zeroizing<Vec<u8>>,
    given: usize,
    ready: usize,
    line: u64,
    /// The input has ended.
    last: bool,
    done: bool,
}

impl Decoding {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            decoder: encoding.table().new_decoder_without_bom_handling(),
            input: Zeroizing::new(vec![0; BUFFER]),
            at: 0,
            filled: 0,
            output: Zeroizing::new(vec![0; BUFFER]),
            given: 0,
            ready: 0,
            line: 1,
            last: false,
            done: false,
        }
    }

    /// Reads UTF-8 that is made of what `from` holds.
    pub(crate) fn read(&mut self, from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.ready && !self.done {
            if self.at == self.filled && !self.last {
                self.filled = from.read(&mut self.input)?;
                self.at = 0;
                self.last = self.filled == 0;
            }
            self.decode()?;
        }
        let n = into.len().min(self.ready - self.given);
        into[..n].copy_from_slice(&self.output[self.given..self.given + n]);
        self.given += n;
        Ok(n)
    }

    fn decode(&mut self) -> io::Result<()> {
        let input = &self.input[self.at..self.filled];
        let (result, read, written) =
            self.decoder
                .decode_to_utf8_without_replacement(input, &mut self.output, self.last);
        self.at += read;
        self.given = 0;
        self.ready = written;
        let made = &self.output[..written];
        if let Some(at) = self.control(made) {
            self.line += lines(&made[..at]);
            return Err(self.malformed());
        }
        self.line += lines(made);
        match result {
            DecoderResult::InputEmpty => self.done = self.last,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => return Err(self.malformed()),
        }
        Ok(())
    }

    /// Where a character of U+0080 to U+009F stands. Encodings of one byte a character give them
    /// for bytes that they have no character for; no text holds them.
    fn control(&self, made: &[u8]) -> Option<usize> {
        if self.encoding.is_utf16() {
            return None;
        }
        made.windows(2)
            .position(|pair| matches!(pair, [0xc2, 0x80..=0x9f]))
    }

    fn malformed(&self) -> io::Error {
        let malformed = Malformed {
            encoding: self.encoding,
            line: self.line,
        };
        io::Error::new(io::ErrorKind::InvalidData, malformed)
    }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hands out a few bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(self.1).min(into.len());
            into[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn decode(encoding: &str, bytes: &[u8], step: usize) -> Result<String, u64> {
        let mut decoding = Decoding::new(encoding.parse().unwrap());
        let mut from = Drip(bytes, step);
        let (mut all, mut some) = (Vec::new(), vec![0; step]);
        loop {
            match decoding.read(&mut from, &mut some) {
                Ok(0) => return Ok(String::from_utf8(all).unwrap()),
                Ok(n) => all.extend_from_slice(&some[..n]),
                Err(e) => {
                    let inner = e.get_ref().unwrap().downcast_ref::<Malformed>();
                    return Err(inner.unwrap().line);
                }
            }
        }
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_line() {
        for (encoding, bytes, want) in [
            ("windows-1252", &b"Caf\xe9 \x80"[..], Ok("Café €")),
            ("iso-8859-2", b"\xb1\xe6", Ok("ąć")),
            ("windows-1252", b"a\nb\x81\n", Err(2)),
            ("shift_jis", b"a\n\n\x82\n", Err(3)),
            ("shift_jis", b"\x82\xa0", Ok("あ")),
            ("shift_jis", b"\x82", Err(1)),
            ("utf-16le", b"a\0\n\0b\0", Ok("a\nb")),
            ("utf-16be", b"\0a\0\n\xd8\x00\0b", Err(2)),
            ("utf-16le", b"a\0b", Err(1)),
            ("koi8-r", b"", Ok("")),
        ] {
            for step in [1, 3, 1 << 16] {
                let want = want.map(str::to_owned);
                assert_eq!(decode(encoding, bytes, step), want, "{encoding} {bytes:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn utf_16_comes_back(text in "\\PC{0,40}", step in 1usize..9) {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            prop_assert_eq!(decode("utf-16be", &bytes, step), Ok(text));
        }

        #[test]
        fn a_byte_of_windows_1252_is_a_character_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let holes = bytes.iter().any(|b| matches!(b, 0x81 | 0x8d | 0x8f | 0x90 | 0x9d));
            match decode("windows-1252", &bytes, 7) {
                Ok(text) => {
                    prop_assert!(!holes);
                    prop_assert_eq!(text.chars().count(), bytes.len());
                }
                Err(_) => prop_assert!(holes),
            }
        }
    }
}
