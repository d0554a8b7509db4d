//! Birth dates, whole and in part, and the calendars they may be written in.

use calendrical_calculations::{
    gregorian::gregorian_from_fixed,
    islamic::{ISLAMIC_EPOCH_FRIDAY, fixed_from_tabular_islamic},
    persian::fixed_from_fast_persian,
    rata_die::RataDie,
};
use zeroize::Zeroize;

use super::super::Reject;

/// An unknown digit, as in a machine-readable zone (ICAO Doc 9303-3).
const UNKNOWN: u8 = b'<';

/// Two-digit years above this are of the 1900s. Fixed, because both sides must read the same: it
/// moves with the version of a profile and not with the calendar.
pub(super) const LAST_YEAR_OF_2000S: u8 = 26;

/// A date as eight characters, `YYYYMMDD`; a month or day that is not known is `<<`. Wiped on drop.
///
/// A date is a string that people copy and mistype: one that no calendar has (a thirteenth month) is
/// kept, since the rules for swapped and mistyped digits are there to find it again.
pub(in crate::identifiers) struct BirthDate {
    digits: [u8; 8],
}

impl Drop for BirthDate {
    fn drop(&mut self) {
        self.digits.zeroize();
    }
}

/// The order of day, month and year where a cell does not say it itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(in crate::identifiers) enum DateOrder {
    /// ISO 8601.
    #[default]
    YearMonthDay,
    DayMonthYear,
    MonthDayYear,
}

impl DateOrder {
    pub(in crate::identifiers) fn parse(text: &str) -> Result<Self, Reject> {
        match text.trim().to_ascii_lowercase().as_str() {
            "" | "ymd" => Ok(Self::YearMonthDay),
            "dmy" => Ok(Self::DayMonthYear),
            "mdy" => Ok(Self::MonthDayYear),
            _ => Err(Reject::DateOrder),
        }
    }
}

impl BirthDate {
    /// Reads a cell; `None` if it is empty or wholly unknown.
    ///
    /// `YYYYMMDD`, `YYYY-MM-DD`, `YYYY-MM`, `YYYY`, with `-`, `/`, `.` or a space between; with a
    /// stated order also `DD.MM.YYYY` or `MM/DD/YYYY` and `DDMMYYYY`. Day first needs no statement
    /// where points stand between, as nobody writes months first so. Unknown parts are `00`, `XX`,
    /// `<<`, `??` or absent.
    pub(in crate::identifiers) fn parse(
        raw: &str,
        order: DateOrder,
    ) -> Result<Option<Self>, Reject> {
        let raw = raw.trim();
        // A time behind the date carries nothing.
        let raw = match raw.split_once('T') {
            Some((date, time)) if time.contains(':') => date,
            _ => raw.split_once(' ').map_or(
                raw,
                |(date, rest)| if rest.contains(':') { date } else { raw },
            ),
        };
        if raw.is_empty() {
            return Ok(None);
        }
        let between = |c: char| matches!(c, '-' | '/' | '.' | ' ' | '\u{2010}'..='\u{2014}');
        let mut parts = [""; 3];
        let mut n = 0;
        for part in raw.split(between).map(str::trim).filter(|p| !p.is_empty()) {
            *parts.get_mut(n).ok_or(Reject::DateForm)? = part;
            n += 1;
        }
        let date = match (&parts[..n], order) {
            ([one], _) if one.chars().all(|c| c == '<') => return Ok(None),
            ([year], _) if year.len() == 4 => Self::of(year, "", "")?,
            ([all], order) if all.len() == 8 && all.is_ascii() => {
                // Nobody was born in the year 1205 or 5128: the year stands where it can be one.
                let order = match plausible(&all[..4]) && !plausible(&all[4..]) {
                    true => DateOrder::YearMonthDay,
                    false => order,
                };
                let (a, b, c) = match order {
                    DateOrder::YearMonthDay => (&all[..4], &all[4..6], &all[6..]),
                    DateOrder::DayMonthYear => (&all[4..], &all[2..4], &all[..2]),
                    DateOrder::MonthDayYear => (&all[4..], &all[..2], &all[2..4]),
                };
                Self::of(a, b, c)?
            }
            ([year, month], _) if year.len() == 4 => Self::of(year, month, "")?,
            ([month, year], _) if year.len() == 4 => Self::of(year, month, "")?,
            ([year, month, day], _) if year.len() == 4 => Self::of(year, month, day)?,
            ([month, day, year], DateOrder::MonthDayYear) if year.len() == 4 => {
                Self::of(year, month, day)?
            }
            ([day, month, year], DateOrder::DayMonthYear) if year.len() == 4 => {
                Self::of(year, month, day)?
            }
            ([day, month, year], DateOrder::YearMonthDay)
                if year.len() == 4 && raw.contains('.') =>
            {
                Self::of(year, month, day)?
            }
            ([a, b, year], _) if year.len() == 4 && is_number(a) && is_number(b) => {
                return Err(Reject::DateOrder);
            }
            _ => return Err(Reject::DateForm),
        };
        Ok(date)
    }

    /// The six characters of a machine-readable zone, `YYMMDD` with fillers for what is unknown.
    pub(in crate::identifiers) fn from_mrz(six: &str) -> Result<Option<Self>, Reject> {
        if six.len() != 6 || !six.is_ascii() {
            return Err(Reject::DateForm);
        }
        let Ok(year) = six[..2].parse::<u8>() else {
            // Without a year there is nothing to match.
            return Ok(None);
        };
        let century = if year > LAST_YEAR_OF_2000S { 19 } else { 20 };
        let year = zeroize::Zeroizing::new(format!("{century}{}", &six[..2]));
        Self::of(&year, &six[2..4], &six[4..])
    }

    /// `None` where the year is not known.
    fn of(year: &str, month: &str, day: &str) -> Result<Option<Self>, Reject> {
        let mut digits = [UNKNOWN; 8];
        if is_unknown(year) {
            return Ok(None);
        }
        if year.len() != 4 || !is_number(year) {
            return Err(Reject::DateForm);
        }
        digits[..4].copy_from_slice(year.as_bytes());
        for (slot, part) in [(4..6, month), (6..8, day)] {
            if is_unknown(part) {
                continue;
            }
            match part.as_bytes() {
                [one] if one.is_ascii_digit() => digits[slot].copy_from_slice(&[b'0', *one]),
                [a, b] if a.is_ascii_digit() && b.is_ascii_digit() => {
                    digits[slot].copy_from_slice(part.as_bytes());
                }
                _ => return Err(Reject::DateForm),
            }
        }
        Ok(Some(Self { digits }))
    }

    /// `YYYYMMDD`.
    pub(in crate::identifiers) fn as_str(&self) -> &str {
        // ASCII by construction; the fallback is never taken.
        std::str::from_utf8(&self.digits).unwrap_or_default()
    }

    pub(super) fn year(&self) -> &str {
        self.as_str().get(..4).unwrap_or_default()
    }

    /// Whether month and day are known.
    pub(super) fn is_whole(&self) -> bool {
        !self.digits.contains(&UNKNOWN)
    }

    /// The same whichever of the two numbers is the day.
    pub(super) fn unordered(&self) -> Self {
        let [.., a, b, c, d] = self.digits;
        let (first, second) = ([a, b].min([c, d]), [a, b].max([c, d]));
        let mut digits = self.digits;
        digits[4..6].copy_from_slice(&first);
        digits[6..].copy_from_slice(&second);
        Self { digits }
    }

    /// One digit replaced by `*`, in each of the eight places.
    pub(super) fn wildcards(&self) -> impl Iterator<Item = Self> {
        let digits = zeroize::Zeroizing::new(self.digits);
        (0..8).map(move |at| {
            let mut digits = *digits;
            digits[at] = b'*';
            Self { digits }
        })
    }

    /// The days in the Gregorian calendar that this date may mean: itself, and for years that are
    /// over or have not come, the day of the same numbers in the Persian and Islamic calendars
    /// (1250 to 1500) or in the Buddhist one (2400 to 2600).
    ///
    /// The Islamic calendar is the tabular one in its civil form: calendars by sight of the moon
    /// differ from it, and from each other, by a day or two, so the two days beside it are named too.
    pub(super) fn in_calendars(&self) -> Vec<Self> {
        let number = |range: std::ops::Range<usize>| -> Option<u16> {
            std::str::from_utf8(&self.digits[range]).ok()?.parse().ok()
        };
        let mut days = vec![Self {
            digits: self.digits,
        }];
        let (Some(year), Some(month), Some(day)) = (number(0..4), number(4..6), number(6..8))
        else {
            return days;
        };
        let (month, day) = match (u8::try_from(month), u8::try_from(day)) {
            (Ok(month @ 1..=12), Ok(day @ 1..=31)) => (month, day),
            _ => return days,
        };
        let mut fixed = Vec::new();
        match year {
            1250..=1500 => {
                fixed.push(fixed_from_fast_persian(year.into(), month, day));
                let islamic =
                    fixed_from_tabular_islamic(year.into(), month, day, ISLAMIC_EPOCH_FRIDAY);
                fixed.extend([islamic, islamic - 1, islamic + 1]);
            }
            2400..=2600 => {
                days.push(Self::number(year - 543, month, day));
            }
            _ => {}
        }
        days.extend(fixed.into_iter().filter_map(Self::fixed));
        days
    }

    fn fixed(date: RataDie) -> Option<Self> {
        let (year, month, day) = gregorian_from_fixed(date).ok()?;
        Some(Self::number(u16::try_from(year).ok()?, month, day))
    }

    fn number(year: u16, month: u8, day: u8) -> Self {
        let mut digits = [b'0'; 8];
        let text = zeroize::Zeroizing::new(format!("{year:04}{month:02}{day:02}"));
        if let Some(eight) = text.as_bytes().first_chunk::<8>() {
            digits = *eight;
        }
        Self { digits }
    }
}

/// Whether four digits may be a year of birth, in any calendar that is read.
fn plausible(year: &str) -> bool {
    let year: u16 = year.parse().unwrap_or(0);
    matches!(year, 1250..=1500 | 1850..=2100 | 2400..=2600)
}

fn is_number(part: &str) -> bool {
    part.bytes().all(|b| b.is_ascii_digit())
}

fn is_unknown(part: &str) -> bool {
    part.chars()
        .all(|c| matches!(c, '0' | 'X' | 'x' | '<' | '?' | '*' | '_'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn date(raw: &str, order: &str) -> Result<Option<String>, Reject> {
        let order = DateOrder::parse(order)?;
        Ok(BirthDate::parse(raw, order)?.map(|d| d.as_str().to_owned()))
    }

    #[test]
    fn one_day_however_it_is_written() {
        let cases = [
            ("19740812", ""),
            ("1974-08-12", ""),
            (" 1974/8/12 ", ""),
            ("1974.08.12", "dmy"),
            ("12.08.1974", ""),
            ("12.8.1974", "dmy"),
            ("12/08/1974", "dmy"),
            ("12-08-1974", "DMY"),
            ("12081974", "dmy"),
            ("19740812", "dmy"),
            ("19740812", "mdy"),
            ("08/12/1974", "mdy"),
            ("08121974", "mdy"),
            ("1974-08-12T00:00:00Z", ""),
            ("1974-08-12 00:00", ""),
        ];
        for (raw, order) in cases {
            assert_eq!(
                date(raw, order),
                Ok(Some("19740812".into())),
                "{raw} {order}"
            );
        }
    }

    #[test]
    fn parts_that_are_unknown() {
        for raw in [
            "1974",
            "1974-00-00",
            "1974XXXX",
            "1974<<<<",
            "00.00.1974",
            "1974-??-??",
        ] {
            assert_eq!(date(raw, ""), Ok(Some("1974<<<<".into())), "{raw}");
        }
        for raw in ["1974-08", "1974-08-00", "19740800", "08/1974", "197408<<"] {
            assert_eq!(date(raw, ""), Ok(Some("197408<<".into())), "{raw}");
        }
        for raw in ["", "  ", "00000000", "0000-00-00", "<<<<<<", "XXXX-08-12"] {
            assert_eq!(date(raw, ""), Ok(None), "{raw}");
        }
    }

    #[test]
    fn what_is_no_date_or_not_clear_is_refused() {
        for raw in ["12/08/1974", "12-08-1974", "12 08 1974"] {
            assert_eq!(date(raw, ""), Err(Reject::DateOrder), "{raw}");
        }
        for raw in [
            "740812",
            "12 Aug 1974",
            "1974-8-12-1",
            "１９７４",
            "about 1974",
            "197",
            "12.08.74",
        ] {
            assert_eq!(date(raw, ""), Err(Reject::DateForm), "{raw}");
        }
        assert_eq!(date("1974", "dym"), Err(Reject::DateOrder));
    }

    #[test]
    fn years_of_two_digits_turn_at_a_fixed_year() {
        let six = |raw: &str| {
            BirthDate::from_mrz(raw).map(|date| date.map(|date| date.as_str().to_owned()))
        };
        assert_eq!(six("740812"), Ok(Some("19740812".into())));
        assert_eq!(six("260812"), Ok(Some("20260812".into())));
        assert_eq!(six("270812"), Ok(Some("19270812".into())));
        assert_eq!(six("7408<<"), Ok(Some("197408<<".into())));
        assert_eq!(six("<<<<<<"), Ok(None));
        assert_eq!(six("74081"), Err(Reject::DateForm));
        assert_eq!(six("74O812"), Err(Reject::DateForm));
    }

    #[test]
    fn other_calendars() {
        let days = |raw: &str| -> Vec<String> {
            let date = BirthDate::parse(raw, DateOrder::YearMonthDay)
                .unwrap()
                .unwrap();
            date.in_calendars()
                .iter()
                .map(|d| d.as_str().to_owned())
                .collect()
        };
        assert_eq!(days("19740812"), ["19740812"]);
        // Nowruz of 1403, and the Islamic new year 1445 of the civil calendar.
        assert!(days("14030101").contains(&"20240320".to_owned()));
        assert!(days("14450101").contains(&"20230719".to_owned()));
        assert!(days("25170812").contains(&"19740812".to_owned()));
        assert_eq!(days("14031301"), ["14031301"]);
        assert_eq!(days("1403<<<<"), ["1403<<<<"]);
    }

    proptest! {
        #[test]
        fn never_panics(raw in any::<String>(), order in "[dmy]{0,3}") {
            if let Ok(order) = DateOrder::parse(&order)
                && let Ok(Some(date)) = BirthDate::parse(&raw, order)
            {
                prop_assert_eq!(date.as_str().len(), 8);
                prop_assert_eq!(date.wildcards().count(), 8);
                prop_assert!(!date.in_calendars().is_empty());
            }
            let _ = BirthDate::from_mrz(&raw);
        }

        #[test]
        fn canonical_stays(raw in "[12][0-9]{3}([01][0-9]([0-3][0-9])?)?") {
            if let Ok(Some(once)) = BirthDate::parse(&raw, DateOrder::YearMonthDay) {
                let twice = BirthDate::parse(once.as_str(), DateOrder::YearMonthDay).unwrap().unwrap();
                prop_assert_eq!(once.as_str(), twice.as_str());
            }
        }

        #[test]
        fn swapped_day_and_month_meet(y in 1900u16..2020, a in 1u8..=31, b in 1u8..=31) {
            let (x, z) = (BirthDate::number(y, a, b), BirthDate::number(y, b, a));
            let (x, z) = (x.unordered(), z.unordered());
            prop_assert_eq!(x.as_str(), z.as_str());
        }
    }
}
