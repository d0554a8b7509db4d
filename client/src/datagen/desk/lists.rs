//! What the tables hold, line by line.

use std::{
    io::{self, Write},
    ops::Range,
};

use serde_json::json;

use super::{
    presented::{self, Of, Presented, SERIES, Watched, series_length},
    world::{Document, Draws, STATE, World, iso},
};

/// The rows of a register of the documents `of`, in mixed order.
pub(super) fn write_register(world: &World, of: Range<u64>, out: &mut dyn Write) -> io::Result<()> {
    let documents = of.end.saturating_sub(of.start);
    let order = world.order(Draws::Register, documents);
    (0..documents).try_for_each(|line| {
        let document = world.document(of.start + order.get(line));
        let Document {
            number,
            state,
            holder,
            ..
        } = document;
        let (surname, given) = (holder.surname.0, holder.given.0);
        let birth = iso(holder.birth);
        writeln!(out, "{number},{state},{surname},{given},{birth}")
    })
}

/// What the tables hold, line by line.
pub(super) struct Lists<'a> {
    pub(super) world: &'a World,
    pub(super) documents: u64,
    pub(super) each: u64,
    /// Lines of the other lists that nobody presents, for each of two kinds.
    pub(super) filling: u64,
    pub(super) presented: &'a Presented,
}

impl Lists<'_> {
    const fn blanks(&self) -> u64 {
        SERIES * series_length(self.each)
    }

    pub(super) fn stolen_rows(&self) -> u64 {
        self.presented.stolen.len() as u64 + 2 * self.filling + self.blanks()
    }

    /// Presented ones, others of the register, others of other states, blanks: in mixed order.
    pub(super) fn stolen(&self, out: &mut dyn Write) -> io::Result<()> {
        let order = self.world.order(Draws::Stolen, self.stolen_rows());
        (0..self.stolen_rows()).try_for_each(|line| {
            let index = order.get(line);
            let report = |index| {
                let mut draws = self.world.draws(Draws::Reports, index);
                *draws.pick(&["stolen", "stolen", "lost", "lost", "lost", "revoked"])
            };
            let (number, state, report, series) = match self.reported(index) {
                Ok(of) => {
                    let document = self.find(&of);
                    (
                        document.number,
                        document.state,
                        report(index),
                        String::new(),
                    )
                }
                Err(blank) => {
                    let (series, place) = (blank % SERIES, blank / SERIES);
                    let name = format!("S-{:02}", series + 1);
                    (self.world.blank(series, place), STATE, "blank-series", name)
                }
            };
            writeln!(out, "{number},{state},{report},{series}")
        })
    }

    /// The document of a line of the reported ones, or else which blank it is.
    fn reported(&self, index: u64) -> Result<Of, u64> {
        let presented = self.presented.stolen.len() as u64;
        if let Some(of) = self.presented.stolen.get(index as usize) {
            return Ok(of.clone());
        }
        let index = index - presented;
        match (
            index.checked_sub(self.filling),
            index.checked_sub(2 * self.filling),
        ) {
            (None, _) => Ok(Of::Register(self.documents - 1 - index)),
            (Some(other), None) => Ok(Of::Foreign(self.presented.used_foreign + other)),
            (_, Some(blank)) => Err(blank),
        }
    }

    pub(super) fn watchlist_rows(&self) -> u64 {
        self.presented.watched.len() as u64 + self.filling
    }

    /// People of names as a zone has them: only profiles with transliteration find others.
    pub(super) fn watchlist(&self, out: &mut dyn Write) -> io::Result<()> {
        let order = self.world.order(Draws::Watchlist, self.watchlist_rows());
        (0..self.watchlist_rows()).try_for_each(|line| {
            let index = order.get(line);
            let mut draws = self.world.draws(Draws::Listed, index);
            // Nobody who presents a document was born before 1940: only those who should are found.
            let mut nobody = self.world.holder(index, u64::MAX);
            nobody.birth.0 = 1930 + draws.below(10);
            let (document, holder) = match self.presented.watched.get(index as usize) {
                Some(Watched::Document(of)) => (Some(self.find(of)), nobody),
                Some(Watched::Person(holder)) => (None, *holder),
                None => {
                    let first = self.presented.used_foreign + self.filling;
                    (Some(self.world.foreign(first + index)), nobody)
                }
            };
            let (number, state) = document.map_or_else(Default::default, |d| (d.number, d.state));
            let spaced = |name: &str| name.replace('<', " ");
            let year = 2019 + draws.below(7);
            let handling = draws.below(4);
            writeln!(
                out,
                "{number},{state},{},{},{},C-{year}-{:07},H{handling}",
                spaced(holder.surname.1),
                spaced(holder.given.1),
                iso(holder.birth),
                line + 1
            )
        })
    }

    fn find(&self, of: &Of) -> Document {
        match of {
            Of::Register(index) => self.world.document(*index),
            Of::Foreign(index) => self.world.foreign(*index),
        }
    }

    /// Presented documents in mixed order, each with its number in it.
    fn each_shown(
        &self,
        mut write: impl FnMut(u64, &presented::Shown) -> io::Result<()>,
    ) -> io::Result<()> {
        let lines = self.presented.shown.len() as u64;
        let order = self.world.order(Draws::Presented, lines);
        (0..lines).try_for_each(|line| {
            let shown = self.presented.shown.get(order.get(line) as usize);
            shown.map_or(Ok(()), |shown| write(line + 1, shown))
        })
    }

    pub(super) fn shown(&self, out: &mut dyn Write) -> io::Result<()> {
        self.each_shown(|id, shown| {
            writeln!(out, "P{id:06},{},{}", shown.lines.concat(), shown.class)
        })
    }

    pub(super) fn lines(&self, out: &mut dyn Write) -> io::Result<()> {
        self.each_shown(|id, shown| {
            let line = json!({ "id": format!("P{id:06}"), "mrz": shown.lines });
            writeln!(out, "{line}")
        })
    }
}
