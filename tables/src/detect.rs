//! Which delimiter, and whether there are quotes, where nobody said so.
//!
//! The first records are read by the strict reader with each delimiter in question. One fits if it
//! gives all of them the same number of fields, more than one. Of those that fit the one with the
//! most fields is taken, of equal ones the first of comma, semicolon, tab, pipe. If none fits, the
//! one is taken that gives the first record the most fields: the error that follows then names the
//! row that is ragged. A table of one column is read with commas.
//!
//! Quotes are expected. Only where a tab stands between fields, and the first records do not fit
//! with quotes but do without, a quote is taken for a character like others: programs that write
//! tabs often do not quote. With other delimiters that would hide quotes that are broken.

use std::path::Path;

use zeroize::Zeroizing;

use crate::{
    error::TableError,
    format::{Delimiter, Dialect, Quote, TableFormat},
    input::{Input, fill, read_error},
    reader::RecordReader,
};

/// Bytes that are looked at.
const SAMPLE: usize = 64 << 10;
/// Records that are looked at.
const RECORDS: usize = 1000;

/// How the fields of `input` are told apart. Delimiter or quotes that are stated stand.
pub(crate) fn dialect(
    mut input: Input,
    format: &TableFormat,
    delimiter: Option<Delimiter>,
    file: &Path,
) -> Result<Dialect, TableError> {
    let stated = format.quote.map(|quote| quote == Quote::Double);
    if let (Some(delimiter), Some(quotes)) = (delimiter, stated) {
        return Ok(Dialect { delimiter, quotes });
    }
    let mut sample = Zeroizing::new(vec![0; SAMPLE]);
    let n = fill(&mut input, &mut sample).map_err(|e| read_error(file, e))?;
    Ok(choose(&sample[..n], n < SAMPLE, delimiter, stated))
}

fn choose(
    sample: &[u8],
    whole: bool,
    delimiter: Option<Delimiter>,
    quotes: Option<bool>,
) -> Dialect {
    let candidates = match &delimiter {
        Some(stated) => std::slice::from_ref(stated),
        None => &Delimiter::DETECTED[..],
    };
    let with = |delimiter: Delimiter, quotes: bool| {
        let dialect = Dialect { delimiter, quotes };
        (dialect, look(sample, whole, dialect))
    };
    let looked: Vec<_> = candidates
        .iter()
        .map(|delimiter| with(*delimiter, quotes.unwrap_or(true)))
        .collect();
    if let Some(best) = best(&looked, |look| look.all) {
        return best;
    }
    if quotes.is_none() && candidates.contains(&Delimiter::TAB) {
        let (dialect, look) = with(Delimiter::TAB, false);
        if look.all > 1 {
            return dialect;
        }
    }
    best(&looked, |look| look.first).unwrap_or(Dialect {
        delimiter: delimiter.unwrap_or(Delimiter::COMMA),
        quotes: quotes.unwrap_or(true),
    })
}

/// The first of those with the most fields, if that is more than one.
fn best(looked: &[(Dialect, Look)], fields: impl Fn(&Look) -> usize) -> Option<Dialect> {
    let most = looked.iter().map(|(_, look)| fields(look)).max()?;
    let found = looked.iter().find(|(_, look)| fields(look) == most);
    found.filter(|_| most > 1).map(|(dialect, _)| *dialect)
}

/// What a delimiter makes of the first records.
#[derive(Default)]
struct Look {
    /// Fields of the first record, 0 if there is none.
    first: usize,
    /// Fields of all records, 0 if they differ or are malformed.
    all: usize,
}

/// The last record may be cut where the sample ends, and then does not count.
fn look(sample: &[u8], whole: bool, dialect: Dialect) -> Look {
    let mut reader = RecordReader::new(sample, dialect);
    let mut lens = Vec::new();
    let failed = loop {
        match reader.next_len(Path::new("")) {
            Ok(Some(len)) => lens.push(len),
            Ok(None) => break false,
            // Where the sample ends within quotes.
            Err(_) => break whole || !reader.is_done(),
        }
        if lens.len() == RECORDS {
            break false;
        }
        if reader.is_done() {
            if !whole {
                lens.pop();
            }
            break false;
        }
    };
    let first = lens.first().copied().unwrap_or_default();
    let same = !failed && lens.iter().all(|len| *len == first);
    Look {
        first,
        all: if same { first } else { 0 },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn detect(text: &str) -> String {
        let found = choose(text.as_bytes(), true, None, None);
        let quotes = if found.quotes { "" } else { ", no quotes" };
        format!("{}{quotes}", found.delimiter)
    }

    #[test]
    fn the_delimiter_is_the_one_that_fits_all_records() {
        for (text, want) in [
            ("a,b\n1,2\n", "comma"),
            ("a;b\n1;2\n", "semicolon"),
            ("a\tb\n1\t2\n", "tab"),
            ("a|b\n1|2", "pipe"),
            ("a|b\r\n1|2\r\n", "pipe"),
            // Lists within a field, and decimal commas.
            ("id,names\n1,x;y\n2,z\n", "comma"),
            ("id;share\n1;0,5\n2;0,25\n", "semicolon"),
            // Both fit with as many fields.
            ("name;given,all\nx;y,z\n", "comma"),
            // Within quotes nothing separates.
            ("\"a;b\",c\n\"1;2;3\",4\n", "comma"),
            // More fields before the order.
            ("a,b;c;d\n1,2;3;4\n", "semicolon"),
            // One column, or nothing.
            ("name\nAnna\n", "comma"),
            ("", "comma"),
            ("\n\n", "comma"),
            // Ragged: the header decides.
            ("a;b;c\n1;2\n", "semicolon"),
            ("a,b\n1,2,3\n", "comma"),
            // Broken quotes are not hidden, but where tabs separate and no quote was meant.
            ("a,b\n1,\"2\n", "comma"),
            ("a;b\n1;2\"\n", "semicolon"),
            ("a\tb\n1\t5\" pipe\n", "tab, no quotes"),
            ("a\tb\n\"1\"\t\"2\t3\"\n", "tab"),
        ] {
            assert_eq!(detect(text), want, "{text:?}");
        }
    }

    #[test]
    fn a_record_that_the_sample_cuts_does_not_count() {
        let cut = |text: &str| choose(text.as_bytes(), false, None, None);
        assert_eq!(cut("a;b;c\n1;2;3\n4;5").delimiter.to_string(), "semicolon");
        let quoted = "a;b\n1;2\n3;\"4\n5";
        assert_eq!(cut(quoted).delimiter.to_string(), "semicolon");
        assert!(cut(quoted).quotes);
    }

    #[test]
    fn what_is_stated_stands() {
        let semicolon = ";".parse().ok();
        let found = choose(b"a,b\n1,2\n", true, semicolon, None);
        assert_eq!(found.delimiter.to_string(), "semicolon");
        let found = choose(b"a,\"b\n1,2\n", true, None, Some(false));
        assert_eq!((found.delimiter, found.quotes), (Delimiter::COMMA, false));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        /// Tables with two columns or more, whose cells hold no delimiter outside quotes.
        #[test]
        fn every_plain_table_is_told(
            which in 0usize..4,
            rows in prop::collection::vec(prop::collection::vec("[a-z0-9 .-]{0,6}", 3), 1..8),
        ) {
            let delimiter = Delimiter::DETECTED[which];
            let between = char::from(delimiter.byte()).to_string();
            let text: Vec<String> = rows.iter().map(|row| row.join(&between)).collect();
            let found = choose(text.join("\n").as_bytes(), true, None, None);
            prop_assert_eq!(found.delimiter, delimiter);
        }
    }
}
