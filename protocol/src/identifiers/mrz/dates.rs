//! Dates of a zone: two digits of the year, parts that may be unknown.

use std::fmt;

use zeroize::ZeroizeOnDrop;

/// A day of the Gregorian calendar, years 1 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// A date of birth is an identifier.
impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Date(..)")
    }
}

impl Date {
    /// A day that the calendar has, or `None`.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let real = (1..=9999).contains(&year) && day >= 1 && day <= days(Some(year), month);
        real.then_some(Self { year, month, day })
    }

    /// Reads `YYYY-MM-DD`; `None` for anything else.
    #[must_use]
    pub fn from_iso(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let digits =
            |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
        let shaped =
            parts.next().is_none() && digits(year, 4) && digits(month, 2) && digits(day, 2);
        if !shaped {
            return None;
        }
        Self::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
    }

    /// Four digits.
    #[must_use]
    pub const fn year(self) -> u16 {
        self.year
    }

    /// From 1.
    #[must_use]
    pub const fn month(self) -> u8 {
        self.month
    }

    /// From 1.
    #[must_use]
    pub const fn day(self) -> u8 {
        self.day
    }

    /// The same day so many years on. The 29th of February becomes the 28th where need be.
    pub(super) fn plus_years(self, years: i32) -> Self {
        let year = i32::from(self.year).saturating_add(years).clamp(1, 9999) as u16;
        let day = self.day.min(days(Some(year), self.month));
        Self { year, day, ..self }
    }
}

/// Days of a month; 29 for February of an unknown year, 0 for no month.
const fn days(year: Option<u16>, month: u8) -> u8 {
    let leap = match year {
        None => true,
        Some(year) => {
            year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
        }
    };
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    }
}

/// Why six cells are no date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateFault {
    /// Something else than digits, or fillers that do not fill a part.
    Characters,
    /// The month is not 01 to 12.
    Month,
    /// No month, or not this one, has the day.
    Day,
}

/// A date as a zone holds it: `YYMMDD`. Each part may be unknown (`<<`; Doc 9303-3, 4.8).
/// Secret: wiped on drop, hidden in Debug.
#[derive(PartialEq, Eq, ZeroizeOnDrop)]
pub struct ShortDate {
    year: Option<u8>,
    month: Option<u8>,
    day: Option<u8>,
}

impl fmt::Debug for ShortDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShortDate(..)")
    }
}

impl ShortDate {
    /// Reads six characters. The 29th of February is a day in every year that 4 divides, for the
    /// century is unknown.
    ///
    /// # Errors
    /// [`DateFault`].
    pub fn read(text: &str) -> Result<Self, DateFault> {
        let &[a, b, c, d, e, f] = text.as_bytes() else {
            return Err(DateFault::Characters);
        };
        let part = |a: u8, b: u8| match (a, b) {
            (b'<', b'<') => Ok(None),
            (b'0'..=b'9', b'0'..=b'9') => Ok(Some((a - b'0') * 10 + (b - b'0'))),
            _ => Err(DateFault::Characters),
        };
        let date = Self {
            year: part(a, b)?,
            month: part(c, d)?,
            day: part(e, f)?,
        };
        if date.month.is_some_and(|m| !(1..=12).contains(&m)) {
            return Err(DateFault::Month);
        }
        // 2000 is a leap year, and so are the years of its century that 4 divides.
        let year = date.year.map(|y| 2000 + u16::from(y));
        let most = date.month.map_or(31, |m| days(year, m));
        if date.day.is_some_and(|d| d < 1 || d > most) {
            return Err(DateFault::Day);
        }
        Ok(date)
    }

    /// The last two digits of the year, unless unknown.
    #[must_use]
    pub const fn year(&self) -> Option<u8> {
        self.year
    }

    /// The month, unless unknown.
    #[must_use]
    pub const fn month(&self) -> Option<u8> {
        self.month
    }

    /// The day, unless unknown.
    #[must_use]
    pub const fn day(&self) -> Option<u8> {
        self.day
    }

    /// The latest such day that is not after `end`: how a date of birth is read, with the day of
    /// reading as `end`. `None` if a part is unknown, or the day is in no such year.
    #[must_use]
    pub fn latest_until(&self, end: Date) -> Option<Date> {
        let (year, month, day) = (self.year?, self.month?, self.day?);
        let century = end.year / 100;
        // February of a year like 1900 takes one step more.
        (0..5_u16).find_map(|back| {
            let year = century.checked_sub(back)? * 100 + u16::from(year);
            Date::new(year, month, day).filter(|date| *date <= end)
        })
    }

    /// Such a day nearest to `day`, the later of two: how an expiry is read.
    #[must_use]
    pub fn nearest(&self, day: Date) -> Option<Date> {
        self.latest_until(day.plus_years(50))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(text: &str) -> Date {
        Date::from_iso(text).unwrap()
    }

    #[test]
    fn days_of_the_calendar() {
        for real in ["2024-02-29", "2000-02-29", "1999-12-31", "0001-01-01"] {
            assert!(Date::from_iso(real).is_some(), "{real}");
        }
        let none = [
            "2023-02-29",
            "1900-02-29",
            "2024-04-31",
            "2024-13-01",
            "2024-00-01",
            "2024-01-00",
            "0000-01-01",
            "24-01-01",
            "2024-1-1",
            "2024-01-01-",
            "2024-01",
            "+024-01-01",
            "",
        ];
        for none in none {
            assert!(Date::from_iso(none).is_none(), "{none}");
        }
    }

    #[test]
    fn parts_may_be_unknown_as_a_whole() {
        for text in [
            "740812", "74<<<<", "7408<<", "<<<<<<", "<<0812", "<<0229", "7400<<",
        ] {
            let fault = ShortDate::read(text).err();
            let want = (text == "7400<<").then_some(DateFault::Month);
            assert_eq!(fault, want, "{text}");
        }
        let table = [
            ("7<0812", DateFault::Characters),
            ("74O812", DateFault::Characters),
            ("74081", DateFault::Characters),
            ("741312", DateFault::Month),
            ("740832", DateFault::Day),
            ("740431", DateFault::Day),
            ("730229", DateFault::Day),
            ("<<<<32", DateFault::Day),
            ("740800", DateFault::Day),
        ];
        for (text, fault) in table {
            assert_eq!(ShortDate::read(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn the_century_follows_from_the_day_of_reading() {
        let read = |text: &str| ShortDate::read(text).unwrap();
        let today = day("2026-05-01");
        assert_eq!(read("740812").latest_until(today), Some(day("1974-08-12")));
        assert_eq!(read("260501").latest_until(today), Some(day("2026-05-01")));
        assert_eq!(read("260502").latest_until(today), Some(day("1926-05-02")));
        assert_eq!(
            read("000229").latest_until(day("1999-01-01")),
            Some(day("1600-02-29"))
        );
        assert_eq!(read("7408<<").latest_until(today), None);
        assert_eq!(read("120415").nearest(today), Some(day("2012-04-15")));
        assert_eq!(read("360415").nearest(today), Some(day("2036-04-15")));
        assert_eq!(read("990101").nearest(today), Some(day("1999-01-01")));
        assert_eq!(read("760501").nearest(today), Some(day("2076-05-01")));
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>(), y in 1u16..=9999) {
            let _ = Date::from_iso(&text);
            if let Ok(date) = ShortDate::read(&text) {
                let _ = date.nearest(Date::new(y, 1, 1).unwrap());
            }
        }

        #[test]
        fn what_is_read_lies_in_its_century(text in "[0-9]{6}", y in 1700u16..=2999) {
            let end = Date::new(y, 6, 15).unwrap();
            if let Some(date) = ShortDate::read(&text).ok().and_then(|d| d.latest_until(end)) {
                prop_assert!(date <= end);
                prop_assert!(date.plus_years(400) > end);
                prop_assert_eq!(format!("{:02}", date.year() % 100), &text[..2]);
            }
        }
    }
}
