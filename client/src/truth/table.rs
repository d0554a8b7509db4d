//! A table with verdicts and a column that says what each document is.

use tallystick_agency::exit::{Failure, Outcome};

use super::{Class, Score};
use crate::desk::Conclusion;

/// The column of the verdict.
const CONCLUSION: &str = "tally_conclusion";

impl Score {
    /// Counts the rows of a table of verdicts, as `tally desk --manifest` writes it. `truth` is the column
    /// that holds the class of each document.
    ///
    /// # Errors
    /// `Usage` where there is no such column, or a cell of it names no class. The line is named, no other
    /// cell.
    pub fn of_table(table: &[u8], truth: &str) -> Outcome<Self> {
        let usage = |what: String, next: &str| Failure::usage("truth", what, next);
        let malformed = |_| usage("the table of verdicts cannot be read".to_owned(), "");
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(table);
        let header = reader.headers().map_err(malformed)?.clone();
        let column = |name: &str| {
            let found = header.iter().position(|column| column.trim() == name);
            found.ok_or_else(|| {
                let next = "--truth names the column that says what each document is";
                usage(format!("the table has no column {name}"), next)
            })
        };
        let (truth, verdict) = (column(truth)?, column(CONCLUSION)?);
        let mut score = Self::default();
        for row in reader.records() {
            let row = row.map_err(malformed)?;
            let at = |unknown: String| {
                let line = row.position().map_or(0, csv::Position::line);
                usage(format!("line {line}: {unknown}"), "")
            };
            let class = row.get(truth).unwrap_or_default().trim().parse::<Class>();
            let class = class.map_err(|unknown| at(unknown.to_string()))?;
            let said = row.get(verdict).unwrap_or_default();
            let conclusion = Conclusion::ALL.into_iter().find(|c| c.name() == said);
            let conclusion = conclusion.ok_or_else(|| at("there is no verdict".to_owned()))?;
            score.add(class, conclusion);
        }
        Ok(score)
    }

    /// A header and a row for each class, for people.
    #[must_use]
    pub fn rows(&self) -> (Vec<&'static str>, Vec<Vec<String>>) {
        let header = vec![
            "class",
            "documents",
            "to be known",
            "right",
            "missed",
            "wrongly flagged",
            "unanswered",
            "otherwise",
        ];
        let row = |line: &super::Line| {
            vec![
                line.class.to_string(),
                line.documents.to_string(),
                line.expected.to_string(),
                line.right.to_string(),
                line.missed.to_string(),
                line.wrongly_flagged.to_string(),
                line.unanswered.to_string(),
                line.others(),
            ]
        };
        (header, self.classes.iter().map(row).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_verdicts_is_counted_by_class() {
        let table = "id,class,tally_conclusion,tally_reasons\n\
                     1,genuine,consistent,\"a, b\"\n\
                     2, genuine ,never-issued,\"two\nlines\"\n\
                     3,look-alike,consistent,\n";
        let score = Score::of_table(table.as_bytes(), "class").unwrap();
        let (header, rows) = score.rows();
        assert_eq!(rows[0].len(), header.len());
        assert_eq!(
            rows[0].join("|"),
            "genuine|2|consistent|1|0|1|0|1 never-issued"
        );
        assert_eq!(rows[1].join("|"), "look-alike|1|consistent|1|1|0|0|");
    }

    #[test]
    fn what_is_no_truth_is_refused_with_its_line() {
        let said = |table: &str, column: &str| {
            let failure = Score::of_table(table.as_bytes(), column).unwrap_err();
            assert_eq!(failure.code, "truth");
            failure.what
        };
        let table = "class,tally_conclusion\ngenuine,consistent\n";
        assert!(said(table, "kind").contains("no column kind"));
        assert!(said("class\ngenuine\n", "class").contains("tally_conclusion"));
        let table = "class,tally_conclusion\ngenuine,consistent\nreal,consistent\n";
        assert!(said(table, "class").starts_with("line 3: "));
        let table = "class,tally_conclusion\ngenuine,fine\n";
        assert_eq!(said(table, "class"), "line 2: there is no verdict");
    }
}
