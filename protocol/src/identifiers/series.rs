//! Series of stolen blanks: from one number to another.

use std::fmt;

use zeroize::Zeroizing;

/// The longest number of a document, as the type `document` bounds it.
const MAX_NUMBER: usize = 30;

/// Why a series was not made. It holds no part of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// A number is empty, too long, or holds something else than letters, digits, spaces, hyphens.
    #[error(
        "a number of the series has a character other than A-Z, 0-9, space and hyphen, or is \
         empty or longer than 30 characters; give both as they stand on the blanks"
    )]
    Number,
    /// The two differ in length, or in more than one run of digits.
    #[error(
        "first and last number must have the same length and differ in one run of at most 18 \
         digits only; make one series for each"
    )]
    Form,
    /// The last comes before the first.
    #[error("the last number comes before the first; swap them")]
    Order,
    /// There are more than the cap allows.
    #[error("the series has {count} numbers and the cap is {cap}; check both ends, or raise --cap")]
    TooMany {
        /// Numbers of the series.
        count: u64,
        /// The cap.
        cap: u64,
    },
}

impl SeriesError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Number => "series-number",
            Self::Form => "series-form",
            Self::Order => "series-order",
            Self::TooMany { .. } => "series-too-many",
        }
    }
}

/// The numbers of a series, in order, both ends included. Secret: what it holds is wiped on drop.
pub struct Series {
    prefix: Zeroizing<String>,
    suffix: Zeroizing<String>,
    width: usize,
    next: u64,
    left: u64,
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Series({} left)", self.left)
    }
}

impl Series {
    /// How many are still to come.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.left
    }
}

impl Iterator for Series {
    type Item = Zeroizing<String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (prefix, suffix, width) = (&*self.prefix, &*self.suffix, self.width);
        let mut number = Zeroizing::new(String::with_capacity(prefix.len() + width + suffix.len()));
        number.push_str(prefix);
        let mut unit = 10_u64.pow(width.saturating_sub(1) as u32);
        for _ in 0..width {
            number.push(char::from(b'0' + (self.next / unit % 10) as u8));
            unit = (unit / 10).max(1);
        }
        number.push_str(suffix);
        // The last may be the largest of its width, and that is below 10^18.
        self.next += 1;
        Some(number)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).ok();
        (left.unwrap_or(usize::MAX), left)
    }
}

/// The numbers from `from` to `to`, both included, at most `cap`.
///
/// Both are read as the type `document` reads numbers: capitals, without spaces and hyphens. They
/// must be equal but for one run of digits of fixed width, which counts: `AB0098` to `AB0103`,
/// `12A` to `19A`. Letters do not count: no rule says which of them a printer leaves out.
///
/// # Errors
/// [`SeriesError`], which holds no part of the numbers.
pub fn expand(from: &str, to: &str, cap: u64) -> Result<Series, SeriesError> {
    let (from, to) = (canonical(from)?, canonical(to)?);
    let (a, b) = (from.as_bytes(), to.as_bytes());
    if a.len() != b.len() {
        return Err(SeriesError::Form);
    }
    let pairs = || a.iter().zip(b);
    let first = pairs().position(|(a, b)| a != b);
    let last = pairs().rposition(|(a, b)| a != b);
    let (first, last) = match (first, last) {
        // Digits behind the last difference count, too: 00 to 10 are eleven numbers.
        (Some(first), Some(last)) => {
            let behind = a.iter().skip(last + 1);
            let digits = behind.take_while(|c| c.is_ascii_digit()).count();
            (first, last + 1 + digits)
        }
        _ => (a.len(), a.len()),
    };
    let run = |bytes: &[u8]| -> Result<u64, SeriesError> {
        let digits = bytes.get(first..last).unwrap_or_default();
        if digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
            return Err(SeriesError::Form);
        }
        Ok(digits.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')))
    };
    let (low, high) = (run(a)?, run(b)?);
    let count = high.checked_sub(low).ok_or(SeriesError::Order)? + 1;
    if count > cap {
        return Err(SeriesError::TooMany { count, cap });
    }
    let part = |text: Option<&str>| Zeroizing::new(text.unwrap_or_default().to_owned());
    Ok(Series {
        prefix: part(from.get(..first)),
        suffix: part(from.get(last..)),
        width: last - first,
        next: low,
        left: count,
    })
}

fn canonical(raw: &str) -> Result<Zeroizing<String>, SeriesError> {
    let mut number = Zeroizing::new(String::with_capacity(MAX_NUMBER));
    for c in raw.chars().filter(|c| !c.is_whitespace() && *c != '-') {
        if !c.is_ascii_alphanumeric() || number.len() == MAX_NUMBER {
            return Err(SeriesError::Number);
        }
        number.push(c.to_ascii_uppercase());
    }
    if number.is_empty() {
        return Err(SeriesError::Number);
    }
    Ok(number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(from: &str, to: &str) -> Vec<String> {
        let series = expand(from, to, 1000).unwrap();
        series.map(|n| n.to_string()).collect()
    }

    #[test]
    fn the_members_of_a_series() {
        assert_eq!(
            all("AB0098", "AB0101"),
            ["AB0098", "AB0099", "AB0100", "AB0101"]
        );
        assert_eq!(all("ab 00-08", "AB0010"), ["AB0008", "AB0009", "AB0010"]);
        assert_eq!(all("1A7", "3A7"), ["1A7", "2A7", "3A7"]);
        assert_eq!(all("X1", "X1"), ["X1"]);
        assert_eq!(all("ABC", "ABC"), ["ABC"]);
        assert_eq!(all("000", "999").len(), 1000);
        assert_eq!(all("A10B", "A20B").len(), 11);
        let most = "999999999999999999";
        assert_eq!(all(most, most), [most]);
    }

    #[test]
    fn what_is_no_series() {
        let bad = |from: &str, to: &str| expand(from, to, 1000).unwrap_err();
        for (from, to) in [("", "1"), ("A_1", "A_2"), ("É1", "É2"), ("-", "-")] {
            assert_eq!(bad(from, to), SeriesError::Number, "{from} {to}");
        }
        assert_eq!(bad(&"1".repeat(31), &"1".repeat(31)), SeriesError::Number);
        for (from, to) in [("A1", "A10"), ("A1", "B1"), ("1A1", "2A2"), ("A", "B")] {
            assert_eq!(bad(from, to), SeriesError::Form, "{from} {to}");
        }
        let (low, high) = ("1".repeat(19), "2".repeat(19));
        assert_eq!(bad(&low, &high), SeriesError::Form);
        assert_eq!(bad("A2", "A1"), SeriesError::Order);
        let many = SeriesError::TooMany {
            count: 1001,
            cap: 1000,
        };
        assert_eq!(bad("A0000", "A1000"), many);
        assert_eq!(expand("1", "1", 0).unwrap_err().code(), "series-too-many");
    }

    proptest! {
        #[test]
        fn never_panics(from in any::<String>(), to in any::<String>(), cap in any::<u64>()) {
            if let Ok(series) = expand(&from, &to, cap) {
                prop_assert!(series.left() <= cap);
                prop_assert!(series.take(3).all(|n| n.len() <= MAX_NUMBER));
            }
        }

        #[test]
        fn counted_one_by_one(
            prefix in "[A-Z]{0,3}", low in 0u64..5000, more in 0u64..300, suffix in "[A-Z]{0,2}",
        ) {
            let name = |n: u64| format!("{prefix}{n:05}{suffix}");
            let want: Vec<String> = (low..=low + more).map(name).collect();
            prop_assert_eq!(all(&name(low), &name(low + more)), want);
        }
    }
}
