//! How alike what two records say of a person is: the re-check of a hit, on the side that may see both.

use strsim::normalized_damerau_levenshtein;

use super::{
    date::{BirthDate, DateOrder},
    name::{Name, sorted_words},
};

/// What one record says: given names, surname, birth date, as a table gives them; empty where it says
/// nothing.
#[derive(Clone, Copy, Default)]
pub struct Said<'a> {
    /// Given names.
    pub given_name: &'a str,
    /// Surname.
    pub surname: &'a str,
    /// Birth date.
    pub birth_date: &'a str,
    /// Order of day, month and year in it, as a mapping states it.
    pub date_order: &'a str,
}

impl std::fmt::Debug for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Said(..)")
    }
}

/// How alike two records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alike {
    /// 1000 if all that both say is the same.
    pub thousandths: u16,
    /// Whether both names and whole birth dates were there to compare: else what is alike is only
    /// what was said.
    pub whole: bool,
}

/// How alike two records are, in thousandths: 1000 if all that both say is the same. `None` where they
/// have nothing to compare.
///
/// Names weigh two, the birth date one. Names are compared in the letters A to Z, as they stand and
/// inverted, by the Damerau-Levenshtein distance over the longer length; the better counts. Dates are
/// compared digit by digit in the same way; a day and month that are swapped count as 900. It orders
/// hits for a person who reads them; it is no probability.
#[must_use]
pub fn similarity(ours: Said<'_>, theirs: Said<'_>) -> Option<Alike> {
    let (names, both) = names(ours, theirs);
    let (names, dates) = (names.map(|alike| (alike, 2.0)), dates(ours, theirs));
    let whole = both && dates.is_some_and(|(_, whole)| whole);
    let dates = dates.map(|(alike, _)| (alike, 1.0));
    let (sum, weight) = [names, dates]
        .into_iter()
        .flatten()
        .fold((0.0, 0.0), |(sum, all), (alike, weight)| {
            (sum + alike * weight, all + weight)
        });
    // Between 0 and 1000 by construction.
    (weight > 0.0).then(|| Alike {
        thousandths: (1000.0 * sum / weight).round() as u16,
        whole,
    })
}

/// And whether both sides say both names.
fn names(ours: Said<'_>, theirs: Said<'_>) -> (Option<f64>, bool) {
    let read = |raw: &str| Name::read(raw).ok().flatten();
    let (g, s) = (read(ours.given_name), read(ours.surname));
    let (h, t) = (read(theirs.given_name), read(theirs.surname));
    let alike = |a: &Option<Name>, b: &Option<Name>| -> Option<f64> {
        Some(normalized_damerau_levenshtein(
            a.as_ref()?.latin(),
            b.as_ref()?.latin(),
        ))
    };
    let mean = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => Some((a + b) / 2.0),
        (one, other) => one.or(other),
    };
    let words = match (&g, &s, &h, &t) {
        (Some(g), Some(s), Some(h), Some(t)) => Some(normalized_damerau_levenshtein(
            &sorted_words(&[g.latin(), s.latin()]),
            &sorted_words(&[h.latin(), t.latin()]),
        )),
        _ => None,
    };
    let ways = [
        mean(alike(&g, &h), alike(&s, &t)),
        mean(alike(&g, &t), alike(&s, &h)),
        words,
    ];
    let both = g.is_some() && s.is_some() && h.is_some() && t.is_some();
    (ways.into_iter().flatten().reduce(f64::max), both)
}

/// And whether both are whole.
fn dates(ours: Said<'_>, theirs: Said<'_>) -> Option<(f64, bool)> {
    let read = |said: Said<'_>| {
        let order = DateOrder::parse(said.date_order).ok()?;
        BirthDate::parse(said.birth_date, order).ok().flatten()
    };
    let (a, b) = (read(ours)?, read(theirs)?);
    let alike = normalized_damerau_levenshtein(a.as_str(), b.as_str());
    let swapped = a.is_whole() && a.unordered().as_str() == b.unordered().as_str();
    let alike = if swapped { alike.max(0.9) } else { alike };
    Some((alike, a.is_whole() && b.is_whole()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said<'a>(given_name: &'a str, surname: &'a str, birth_date: &'a str) -> Said<'a> {
        Said {
            given_name,
            surname,
            birth_date,
            date_order: "",
        }
    }

    #[test]
    fn the_same_is_a_thousand_and_less_alike_is_less() {
        let anna = said("Anna", "Müller", "1974-08-12");
        let table = [
            (said("ANNA", "Mueller", "12.08.1974"), Some(1000)),
            (said("Mueller", "Anna", "19740812"), Some(1000)),
            (said("Anna", "Mueller", "1974-12-08"), Some(967)),
            (said("Anna", "Muellar", "1974-08-12"), Some(952)),
            (said("Anna", "", ""), Some(1000)),
            (said("", "", "1974-08-12"), Some(1000)),
            (said("", "", ""), None),
            (said("", "", "12/08/1974"), None),
        ];
        for (other, alike) in table {
            for found in [similarity(anna, other), similarity(other, anna)] {
                assert_eq!(found.map(|found| found.thousandths), alike);
                let said = [other.given_name, other.surname, other.birth_date];
                let whole = said.iter().all(|part| !part.is_empty());
                assert!(found.is_none_or(|found| found.whole == whole));
            }
        }
        let far = similarity(anna, said("Berta", "Schulz", "1931-02-03"));
        assert!(far.is_some_and(|alike| alike.thousandths < 500));
        assert_eq!(format!("{anna:?}"), "Said(..)");
    }

    proptest! {
        #[test]
        fn it_stays_in_its_range(a in any::<[String; 3]>(), b in any::<[String; 3]>()) {
            let alike = similarity(said(&a[0], &a[1], &a[2]), said(&b[0], &b[1], &b[2]));
            prop_assert!(alike.is_none_or(|alike| alike.thousandths <= 1000));
            prop_assert!(similarity(said(&a[0], &a[1], &a[2]), said(&a[0], &a[1], &a[2])).is_none_or(|alike| alike.thousandths == 1000));
        }
    }
}
