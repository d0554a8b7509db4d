//! Verdicts: a desk's answers, judged.

use std::time::Instant;

use tallystick_protocol::identifiers::mrz::Date;

use super::{Alarm, CollectionAnswer, Desk, OnAlarm, Presented, Verdict, judge};
use crate::day;

/// The day that a clock which names none is taken for: nothing has expired on it.
const NO_DAY: (u16, u8, u8) = (1970, 1, 1);

fn today() -> Date {
    let (year, month, day) = NO_DAY;
    let none = || Date::new(year, month, day);
    day::today()
        .or_else(none)
        .unwrap_or_else(|| unreachable!("the first of January is a day"))
}

impl Desk {
    /// Asks every collection about one traveller and says what follows. Never fails: what is missing
    /// stands in the verdict. Takes as long as the slowest peer, and little longer than the patience of
    /// the desk.
    pub async fn ask(&self, presented: &Presented) -> Verdict {
        let began = Instant::now();
        let answers = self.alarmed(std::slice::from_ref(presented)).await;
        let (alarm, answers) = answers.into_iter().next().unwrap_or_default();
        self.verdict(presented, alarm, answers, began)
    }

    /// The same for many, in their order: a flight's manifest. They share flights, so that it is faster
    /// than asking one after the other. For each answer no longer is waited than the patience of the
    /// desk after the one before.
    pub async fn ask_all(&self, presented: &[Presented]) -> Vec<Verdict> {
        let began = Instant::now();
        let answers = self.alarmed(presented).await;
        let both = presented.iter().zip(answers);
        both.map(|(presented, (alarm, answers))| self.verdict(presented, alarm, answers, began))
            .collect()
    }

    fn verdict(
        &self,
        presented: &Presented,
        alarm: Option<Alarm>,
        answers: Vec<CollectionAnswer>,
        began: Instant,
    ) -> Verdict {
        let mut verdict = judge(presented, today(), answers);
        // Of a question that was held, it stands in place of the answers.
        if let Some(alarm) = alarm.filter(|_| self.on_alarm() == OnAlarm::Warn) {
            verdict.warn(alarm);
        }
        verdict.milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        verdict
    }
}
