//! Verdicts against the truth, counted.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Class;
use crate::desk::Conclusion;

/// Whether a guard acts on this conclusion.
#[must_use]
pub const fn is_alarm(conclusion: Conclusion) -> bool {
    matches!(
        conclusion,
        Conclusion::Impossible
            | Conclusion::Reported
            | Conclusion::Watchlisted
            | Conclusion::NeverIssued
            | Conclusion::OtherHolder
    )
}

/// The verdicts of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The class.
    pub class: Class,
    /// Documents of this class.
    pub documents: u64,
    /// What the desk can conclude of it.
    pub expected: Conclusion,
    /// Verdicts that say so.
    pub right: u64,
    /// Documents that want an alarm and got a verdict without one.
    pub missed: u64,
    /// Documents that want none and got one.
    pub wrongly_flagged: u64,
    /// Documents without a verdict because an answer is missing. They are not missed: the desk says so.
    pub unanswered: u64,
    /// How often each conclusion was reached.
    pub conclusions: BTreeMap<Conclusion, u64>,
}

/// Verdicts against the truth, class by class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    /// Classes that occurred, in the order of [`Class::ALL`].
    pub classes: Vec<Line>,
}

impl Score {
    /// Counts one verdict.
    pub fn add(&mut self, class: Class, conclusion: Conclusion) {
        let at = match self.classes.binary_search_by_key(&class, |l| l.class) {
            Ok(at) => at,
            Err(at) => {
                self.classes.insert(at, Line::new(class));
                at
            }
        };
        if let Some(line) = self.classes.get_mut(at) {
            line.add(conclusion);
        }
    }

    /// Whether every verdict is what the desk can conclude.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.classes.iter().all(|line| line.right == line.documents)
    }

    /// Documents of all classes.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.classes.iter().map(|line| line.documents).sum()
    }
}

impl Line {
    const fn new(class: Class) -> Self {
        Self {
            class,
            documents: 0,
            expected: class.expected(),
            right: 0,
            missed: 0,
            wrongly_flagged: 0,
            unanswered: 0,
            conclusions: BTreeMap::new(),
        }
    }

    fn add(&mut self, conclusion: Conclusion) {
        let one = |count: &mut u64, counts: bool| *count += u64::from(counts);
        let alarm = is_alarm(conclusion);
        let unanswered = conclusion == Conclusion::Incomplete;
        let wants = self.class.wants_alarm();
        one(&mut self.documents, true);
        one(&mut self.right, conclusion == self.expected);
        one(&mut self.unanswered, unanswered);
        // What cannot be read is read again: nobody is let through by it.
        let let_through = !alarm && !unanswered && conclusion != Conclusion::Unreadable;
        one(&mut self.missed, wants && let_through);
        one(&mut self.wrongly_flagged, !wants && alarm);
        *self.conclusions.entry(conclusion).or_default() += 1;
    }

    /// Conclusions that were not expected, the most frequent first: `3 never-issued, 1 consistent`.
    #[must_use]
    pub fn others(&self) -> String {
        let others = self
            .conclusions
            .iter()
            .filter(|(c, _)| **c != self.expected);
        let mut others: Vec<_> = others.collect();
        others.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let others = others.iter().map(|(c, count)| format!("{count} {c}"));
        others.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn line(class: Class, conclusions: &[Conclusion]) -> Line {
        let mut score = Score::default();
        for conclusion in conclusions {
            score.add(class, *conclusion);
        }
        score.classes.pop().unwrap()
    }

    #[test]
    fn what_is_let_through_is_missed_and_what_is_unanswered_is_not() {
        let told = [
            Conclusion::Reported,
            Conclusion::Consistent,
            Conclusion::NothingKnown,
            Conclusion::Incomplete,
            Conclusion::Unreadable,
            Conclusion::NeverIssued,
        ];
        let stolen = line(Class::Stolen, &told);
        assert_eq!((stolen.documents, stolen.right), (6, 1));
        assert_eq!((stolen.missed, stolen.wrongly_flagged), (2, 0));
        assert_eq!(stolen.unanswered, 1);
        let genuine = line(Class::Genuine, &told);
        assert_eq!((genuine.right, genuine.missed), (1, 0));
        assert_eq!((genuine.wrongly_flagged, genuine.unanswered), (2, 1));
    }

    #[test]
    fn what_cannot_be_known_is_right_and_missed() {
        let alike = line(
            Class::LookAlike,
            &[Conclusion::Consistent, Conclusion::Consistent],
        );
        assert_eq!((alike.right, alike.missed), (2, 2));
        let misread = line(Class::MisreadNumber, &[Conclusion::Impossible]);
        assert_eq!((misread.right, misread.wrongly_flagged), (1, 1));
    }

    #[test]
    fn classes_stand_in_order_and_others_by_their_number() {
        let mut score = Score::default();
        for (class, conclusion) in [
            (Class::MisreadCut, Conclusion::Unreadable),
            (Class::Genuine, Conclusion::OtherHolder),
            (Class::Genuine, Conclusion::NeverIssued),
            (Class::Genuine, Conclusion::NeverIssued),
            (Class::Genuine, Conclusion::Consistent),
        ] {
            score.add(class, conclusion);
        }
        assert_eq!(score.classes[0].class, Class::Genuine);
        assert_eq!(score.classes[0].others(), "2 never-issued, 1 other-holder");
        assert_eq!((score.documents(), score.is_right()), (5, false));
        assert_eq!(score.classes[1].others(), "");
    }
}
