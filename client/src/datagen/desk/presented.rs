//! The documents that come to the desk, each with its class, and what the lists must hold for it.

use tallystick_protocol::identifiers::mrz::Field;

use super::{
    scanner,
    sheet::{Sheet, Text, six},
    world::{Document, Draws, Holder, World},
};
use crate::{datagen::prng::SplitMix, truth::Class};

/// Series of stolen blanks.
pub(super) const SERIES: u64 = 20;
/// The fewest blanks of a series.
const SERIES_LEAST: u64 = 100;

/// Blanks of each series, for so many presented documents of each class. Those that are presented lie
/// far apart: many numbers close together are what an alarm of the asking side is for.
pub(super) const fn series_length(each: u64) -> u64 {
    let wanted = each.div_ceil(SERIES).saturating_mul(20);
    if wanted > SERIES_LEAST {
        wanted
    } else {
        SERIES_LEAST
    }
}

/// One presented document.
pub(super) struct Shown {
    pub(super) class: Class,
    /// Lines of the zone, as the scanner gave them.
    pub(super) lines: Vec<String>,
}

/// A document that the lists know of.
#[derive(Clone)]
pub(super) enum Of {
    /// Of the register's state, by its place in the register.
    Register(u64),
    /// Of another state.
    Foreign(u64),
}

/// A line of the watchlist that somebody presented is found by.
pub(super) enum Watched {
    /// By the document.
    Document(Of),
    /// By the person.
    Person(Holder),
}

/// What is presented, and what the lists must hold for it.
pub(super) struct Presented {
    pub(super) shown: Vec<Shown>,
    pub(super) stolen: Vec<Of>,
    pub(super) watched: Vec<Watched>,
    /// Documents of the register, from the first, that were looked at: the rest is nobody's.
    pub(super) used: u64,
    /// The same of other states.
    pub(super) used_foreign: u64,
}

/// Makes `each` documents of every class. `None` if the register has too few documents for it.
pub(super) fn present(world: &World, documents: u64, each: u64) -> Option<Presented> {
    let mut maker = Maker {
        world,
        documents,
        invented: documents,
        made: Presented {
            shown: Vec::new(),
            stolen: Vec::new(),
            watched: Vec::new(),
            used: 0,
            used_foreign: 0,
        },
    };
    for class in Class::ALL {
        for turn in 0..each {
            let lines = maker.one(class, turn)?;
            maker.made.shown.push(Shown { class, lines });
        }
    }
    Some(maker.made)
}

struct Maker<'a> {
    world: &'a World,
    documents: u64,
    /// The next number that nobody issued.
    invented: u64,
    made: Presented,
}

impl Maker<'_> {
    /// The lines of the next document of a class; `turn` decides between its kinds.
    fn one(&mut self, class: Class, turn: u64) -> Option<Vec<String>> {
        let index = (class as u64) << 32 | turn;
        let mut draws = self.world.draws(Draws::Forgeries, index);
        let sheet = match class {
            Class::Genuine | Class::LookAlike => self.issued()?.1.print(),
            Class::Foreign => self.foreign().1.print(),
            Class::Watchlisted => self.watched(turn)?.print(),
            Class::Stolen => self.stolen(turn)?.print(),
            Class::BlankSeries => {
                let (series, place) = (turn % SERIES, turn / SERIES * 20);
                Text::of(&self.world.filled_blank(series, place)).print()
            }
            Class::NeverIssued => self.never_issued(turn, &mut draws)?.print(),
            Class::AlteredName => {
                let (index, mut text) = self.issued()?;
                let holder = self.world.document(index).holder;
                let other = self.world.other(index, &holder);
                other.surname.1.clone_into(&mut text.surname);
                other.given.1.clone_into(&mut text.given);
                text.print()
            }
            Class::AlteredLetter => loop {
                let mut text = self.issued()?.1;
                // The next one where this has no such letter.
                if let Some(surname) = altered(&text.surname) {
                    text.surname = surname;
                    break text.print();
                }
            },
            Class::AlteredBirthDate => {
                let (index, mut text) = self.issued()?;
                let holder = self.world.document(index).holder;
                let (year, month, day) = holder.birth;
                text.birth = six(match turn % 2 {
                    // A few years younger, as somebody has it who wants to be of another age.
                    0 => (year + 1 + draws.below(9), month, day),
                    _ => self.world.other(index, &holder).birth,
                });
                text.print()
            }
            Class::AlteredUnseen => self.altered_unseen(turn)?.print(),
            Class::Impossible => self.impossible(turn, &mut draws)?,
            _ => return self.misread(class, index),
        };
        Some(sheet.lines())
    }

    /// The next document of the register.
    fn issued(&mut self) -> Option<(u64, Text)> {
        let index = self.made.used;
        self.made.used += 1;
        let text = Text::of(&self.world.document(index));
        (index < self.documents).then_some((index, text))
    }

    /// The next document of another state.
    fn foreign(&mut self) -> (u64, Text) {
        let index = self.made.used_foreign;
        self.made.used_foreign += 1;
        (index, Text::of(&self.world.foreign(index)))
    }

    /// Every other one by the document, every other by the person; of both kinds of states.
    fn watched(&mut self, turn: u64) -> Option<Text> {
        let (of, document, text) = match turn / 2 % 2 {
            0 => {
                let (index, text) = self.issued()?;
                (Of::Register(index), self.world.document(index), text)
            }
            _ => {
                let (index, text) = self.foreign();
                (Of::Foreign(index), self.world.foreign(index), text)
            }
        };
        self.made.watched.push(match turn % 2 {
            0 => Watched::Document(of),
            _ => Watched::Person(document.holder),
        });
        Some(text)
    }

    /// Of the register and of other states; as it was, or with another holder's data.
    fn stolen(&mut self, turn: u64) -> Option<Text> {
        let (of, document): (Of, Document) = match turn % 2 {
            0 => {
                let index = self.issued()?.0;
                (Of::Register(index), self.world.document(index))
            }
            _ => {
                let index = self.foreign().0;
                (Of::Foreign(index), self.world.foreign(index))
            }
        };
        self.made.stolen.push(of);
        let mut shown = document.clone();
        if turn / 2 % 2 == 1 {
            shown.holder = self.world.other(turn, &document.holder);
        }
        Some(Text::of(&shown))
    }

    /// Invented, or a true one with one digit altered and check digits made anew.
    fn never_issued(&mut self, turn: u64, draws: &mut SplitMix) -> Option<Text> {
        if turn.is_multiple_of(2) {
            let index = self.invented;
            self.invented += 1;
            return Some(Text::of(&self.world.document(index)));
        }
        let mut text = self.issued()?.1;
        // Some digit, altered, makes a number that is not in the register.
        for _ in 0..1000 {
            let at = 1 + draws.below(6) as usize;
            let digit = char::from(b'0' + draws.below(10) as u8);
            let altered: String = text
                .number
                .chars()
                .enumerate()
                .map(|(i, c)| if i == at { digit } else { c })
                .collect();
            let issued = self
                .world
                .index_of(&altered)
                .is_none_or(|index| index < self.documents);
            if !issued {
                text.number = altered;
                return Some(text);
            }
        }
        None
    }

    /// The expiry, or given names behind the first: neither element holds them.
    fn altered_unseen(&mut self, turn: u64) -> Option<Text> {
        let mut text = self.issued()?.1;
        match turn % 2 {
            0 => text.expiry[1] = b'0' + (text.expiry[1] - b'0' + 2) % 10,
            _ => {
                text.given = match text.given.split_once('<') {
                    Some((first, _)) => first.to_owned(),
                    None => format!("{}<JAN", text.given),
                };
            }
        }
        Some(text)
    }

    /// Seven ways to break a rule, each by itself.
    fn impossible(&mut self, turn: u64, draws: &mut SplitMix) -> Option<Sheet> {
        let (_, mut text) = self.issued()?;
        match turn % 7 {
            // The thirteenth month and its like.
            0 => text.birth[2..4].copy_from_slice(&[b'1', b'3' + draws.below(7) as u8]),
            // The 31st of a month of 30 days.
            1 => text.expiry[2..].copy_from_slice(b"0431"),
            // What is X in print is a filler in a zone.
            2 => text.sex = b'X',
            _ => {}
        }
        let mut sheet = text.print();
        let shift = |byte: u8, by: u64| b'0' + (byte - b'0' + by as u8) % 10;
        let other = 1 + draws.below(9);
        match turn % 7 {
            // Check digits that somebody made up, under a composite that fits them.
            3 => {
                let cell = sheet.at(Field::NumberCheck).start;
                sheet.set(cell, shift(sheet.get(cell), other));
                sheet.seal_all();
            }
            4 => {
                let cell = sheet.at(Field::BirthCheck).start;
                sheet.set(cell, shift(sheet.get(cell), other));
                sheet.seal_all();
            }
            5 => {
                let cell = sheet.at(Field::Composite).start;
                sheet.set(cell, shift(sheet.get(cell), other));
            }
            // A digit of the number altered, and nothing else.
            6 => {
                let cell = sheet.at(Field::Number).start + 1 + draws.below(6) as usize;
                sheet.set(cell, shift(sheet.get(cell), other));
            }
            _ => {}
        }
        Some(sheet)
    }

    /// A genuine document as a scanner reads it; the next one where this has nothing to misread.
    fn misread(&mut self, class: Class, index: u64) -> Option<Vec<String>> {
        let mut draws = self.world.draws(Draws::Scanner, index);
        loop {
            let sheet = self.issued()?.1.print();
            let read = match class {
                Class::MisreadName => scanner::name(&sheet, &mut draws),
                Class::MisreadParting => scanner::parting(&sheet, &mut draws),
                Class::MisreadForm => scanner::form(&sheet, &mut draws),
                Class::MisreadNumber => scanner::number(&sheet, &mut draws),
                Class::MisreadDate => scanner::date(&sheet, &mut draws),
                Class::MisreadUnseen => scanner::unseen(&sheet, &mut draws),
                _ => return Some(scanner::cut(&sheet, &mut draws)),
            };
            if let Some(read) = read {
                return Some(read.lines());
            }
        }
    }
}

/// One letter of the first ten is another one, which nobody takes for it. `None` if there is none to alter.
fn altered(surname: &str) -> Option<String> {
    let other = |c: char| match c {
        'A' => Some('E'),
        'E' => Some('A'),
        'R' => Some('S'),
        'S' => Some('R'),
        _ => None,
    };
    let at = surname
        .char_indices()
        .find_map(|(i, c)| Some((i, other(c)?)));
    let (at, to) = at?;
    let mut text = surname.to_owned();
    text.replace_range(at..=at, to.encode_utf8(&mut [0; 4]));
    Some(text)
}
