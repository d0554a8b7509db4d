//! Which documents there are, who holds them, and which blanks were stolen: computed from numbers.

use tallystick_protocol::identifiers::mrz::Kind;

use super::super::{
    people::{STATES, number, room},
    prng::{Permutation, SplitMix, mix},
};

/// The state whose register is made: that of ICAO's specimens.
pub(super) const STATE: &str = "UTO";
/// The form of its numbers.
const FORM: &str = "A999999A9";
/// The letters of its numbers that stand first on blanks: no document was issued under it.
const BLANK: char = 'Z';
/// The most documents of the register, and as many again that were never issued.
pub(super) const MAX_DOCUMENTS: u64 = 1_000_000_000;

/// Surnames as print has them, and as a zone does (Doc 9303-3, section 6, first forms).
#[rustfmt::skip]
const SURNAMES: [(&str, &str); 40] = [
    ("Eriksson", "ERIKSSON"), ("Müller", "MUELLER"), ("Łukaszewicz", "LUKASZEWICZ"),
    ("García Márquez", "GARCIA<MARQUEZ"), ("O'Neill", "ONEILL"), ("Öztürk", "OEZTUERK"),
    ("Шевченко", "SHEVCHENKO"), ("Benali", "BENALI"), ("de la Cruz", "DE<LA<CRUZ"),
    ("Van den Berg", "VAN<DEN<BERG"), ("Þórsdóttir", "THORSDOTTIR"), ("Kovačević", "KOVACEVIC"),
    ("Novák", "NOVAK"), ("Rossi", "ROSSI"), ("Dubois", "DUBOIS"), ("Lefèvre", "LEFEVRE"),
    ("Silva", "SILVA"), ("Conceição", "CONCEICAO"), ("Ångström", "AANGSTROEM"),
    ("Jørgensen", "JOERGENSEN"), ("Nagy", "NAGY"), ("Popescu", "POPESCU"),
    ("Ștefănescu", "STEFANESCU"), ("Haddad", "HADDAD"), ("Yılmaz", "YILMAZ"),
    ("Kowalska", "KOWALSKA"), ("Weiß", "WEISS"), ("Tran-Smith", "TRAN<SMITH"),
    ("Петренко", "PETRENKO"), ("Sørensen", "SOERENSEN"), ("Fernandes Pereira", "FERNANDES<PEREIRA"),
    ("Okonkwo", "OKONKWO"), ("Nwachukwu", "NWACHUKWU"), ("Abdelrahman", "ABDELRAHMAN"),
    ("Horváth", "HORVATH"), ("Bērziņš", "BERZINS"), ("Kazlauskas", "KAZLAUSKAS"),
    ("Tamm", "TAMM"), ("Virtanen", "VIRTANEN"), ("Borg", "BORG"),
];

/// Given names, in the same two forms.
#[rustfmt::skip]
const GIVEN_NAMES: [(&str, &str); 32] = [
    ("Anna Maria", "ANNA<MARIA"), ("Jürgen", "JUERGEN"), ("Zoë", "ZOE"),
    ("Małgorzata", "MALGORZATA"), ("José", "JOSE"), ("Siobhán", "SIOBHAN"),
    ("İbrahim", "IBRAHIM"), ("Олена", "OLENA"), ("Youssef", "YOUSSEF"), ("Fátima", "FATIMA"),
    ("Pieter", "PIETER"), ("Björk", "BJOERK"), ("Šime", "SIME"), ("Jiří", "JIRI"),
    ("Giulia", "GIULIA"), ("François", "FRANCOIS"), ("Chloé", "CHLOE"), ("João", "JOAO"),
    ("Inês", "INES"), ("Åsa", "AASA"), ("Søren", "SOEREN"), ("Zsófia", "ZSOFIA"),
    ("Ioana", "IOANA"), ("Ștefan", "STEFAN"), ("Layla", "LAYLA"), ("Ayşe", "AYSE"),
    ("Jan", "JAN"), ("Günther", "GUENTHER"), ("Lars Erik", "LARS<ERIK"), ("Minh", "MINH"),
    ("Kwame", "KWAME"), ("Dmytro", "DMYTRO"),
];

/// A name in print and in the zone.
pub(super) type Name = (&'static str, &'static str);

/// A day: year, month, day.
pub(super) type Day = (u64, u64, u64);

/// Who holds a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Holder {
    pub(super) surname: Name,
    pub(super) given: Name,
    pub(super) birth: Day,
    pub(super) sex: u8,
}

/// A document as it was issued.
#[derive(Clone)]
pub(super) struct Document {
    pub(super) kind: Kind,
    pub(super) number: String,
    pub(super) state: &'static str,
    pub(super) nationality: &'static str,
    pub(super) holder: Holder,
    /// Year of a century, month, day.
    pub(super) expiry: Day,
    /// Optional data of a passport: a personal number, or nothing.
    pub(super) personal: Option<u64>,
}

/// What draws are for: each purpose has its own.
#[derive(Clone, Copy)]
pub(super) enum Draws {
    Numbers = 64,
    Foreign,
    Holders,
    Documents,
    Blanks,
    Forgeries,
    Scanner,
    Reports,
    Listed,
    Stolen,
    Register,
    Watchlist,
    Presented,
}

/// Every document, by number.
pub(super) struct World {
    seed: u64,
    /// Serials of documents that are, or might be, issued.
    issued: Permutation,
    /// For each of [`STATES`] but the first.
    foreign: Vec<Permutation>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let key = mix(seed, Draws::Foreign as u64);
        let foreign = STATES.iter().skip(1).zip(0..);
        let foreign = foreign.map(|((_, form), i)| Permutation::new(room(form), mix(key, i)));
        Self {
            seed,
            // The first letter decides most, and the last of all stands on blanks.
            issued: Permutation::new(room(FORM) / 20 * 19, mix(seed, Draws::Numbers as u64)),
            foreign: foreign.collect(),
        }
    }

    pub(super) fn draws(&self, purpose: Draws, index: u64) -> SplitMix {
        SplitMix(mix(mix(self.seed, purpose as u64), index))
    }

    /// A permutation of the lines of a table.
    pub(super) fn order(&self, purpose: Draws, lines: u64) -> Permutation {
        Permutation::new(lines, mix(self.seed, purpose as u64))
    }

    /// A number of the register's state; distinct for distinct `index`. The first are issued.
    pub(super) fn number(&self, index: u64) -> String {
        number(FORM, self.issued.get(index))
    }

    /// Which document of the state has this number; `None` for numbers of blanks and of no form.
    pub(super) fn index_of(&self, text: &str) -> Option<u64> {
        let serial = serial(text)?;
        (serial < room(FORM) / 20 * 19).then(|| self.issued.find(serial))
    }

    /// A document of the register.
    pub(super) fn document(&self, index: u64) -> Document {
        self.fill(self.number(index), STATE, index)
    }

    /// A document of another state.
    pub(super) fn foreign(&self, index: u64) -> Document {
        let states = self.foreign.len() as u64;
        let (which, serial) = ((index % states) as usize, index / states);
        let (state, form) = STATES[which + 1];
        let number = number(form, self.foreign[which].get(serial));
        let mut document = self.fill(number, state, index | 1 << 63);
        document.kind = Kind::Td3;
        document
    }

    /// Number `place` of a series of stolen blanks. A series has one run of digits that counts.
    pub(super) fn blank(&self, series: u64, place: u64) -> String {
        let mut draws = self.draws(Draws::Blanks, series);
        let start = draws.below(900_000);
        // The letter is the series' own.
        let end = number("A9", series * 10 + draws.below(10));
        format!("{BLANK}{:06}{end}", start + place)
    }

    /// A stolen blank, filled in with somebody's data.
    pub(super) fn filled_blank(&self, series: u64, place: u64) -> Document {
        let index = 1 << 62 | series << 32 | place;
        self.fill(self.blank(series, place), STATE, index)
    }

    fn fill(&self, number: String, state: &'static str, index: u64) -> Document {
        let mut draws = self.draws(Draws::Documents, index);
        let kind = match draws.below(10) {
            0 => Kind::Td2,
            1..=3 => Kind::Td1,
            _ => Kind::Td3,
        };
        let (nationality, _) = match draws.below(16) {
            0 => *draws.pick(&STATES),
            _ => (state, ""),
        };
        let expiry = (
            27 + draws.below(9),
            1 + draws.below(12),
            1 + draws.below(28),
        );
        let personal = draws.below(2) == 0;
        Document {
            kind,
            number,
            state,
            nationality,
            holder: self.holder(index, 0),
            expiry,
            personal: personal.then(|| draws.below(1_000_000_000)),
        }
    }

    /// The holder of a document, and others who might have held it, by `life`.
    pub(super) fn holder(&self, index: u64, life: u64) -> Holder {
        let mut draws = self.draws(Draws::Holders, mix(index, life));
        let (surname, given) = (*draws.pick(&SURNAMES), *draws.pick(&GIVEN_NAMES));
        let birth = (
            1940 + draws.below(67),
            1 + draws.below(12),
            1 + draws.below(28),
        );
        let sex = *draws.pick(b"MFMFMFMF<");
        Holder {
            surname,
            given,
            birth,
            sex,
        }
    }

    /// Somebody with another surname, other given names and another date of birth.
    pub(super) fn other(&self, index: u64, than: &Holder) -> Holder {
        let lives = (1..).map(|life| self.holder(index, life));
        let mut others = lives.filter(|other| {
            let initial = |holder: &Holder| holder.given.1.as_bytes().first().copied();
            other.surname != than.surname
                && initial(other) != initial(than)
                && other.birth != than.birth
        });
        // The lives do not end.
        others.next().unwrap_or(*than)
    }
}

/// The place of a number of the form among all of them.
fn serial(text: &str) -> Option<u64> {
    const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPRSTVWXYZ";
    (text.len() == FORM.len()).then_some(())?;
    text.bytes()
        .zip(FORM.bytes())
        .try_fold(0, |serial, (c, form)| {
            let (base, digit) = match form {
                b'A' => (20, LETTERS.iter().position(|letter| *letter == c)? as u64),
                _ => (10, u64::from(c.checked_sub(b'0').filter(|d| *d < 10)?)),
            };
            Some(serial * base + digit)
        })
}

/// `YYYY-MM-DD`.
pub(super) fn iso((year, month, day): Day) -> String {
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tallystick_protocol::identifiers::mrz::{Printed, Zone, compare};

    #[test]
    fn numbers_lead_back_to_their_documents() {
        let world = World::new(5);
        for index in [0, 1, 77, 1_000_000, MAX_DOCUMENTS - 1] {
            let text = world.number(index);
            assert_eq!(world.index_of(&text), Some(index), "{text}");
            assert!(!text.starts_with(BLANK));
        }
        for text in [
            "Z123456B7",
            "A123456B7",
            "B12345BB7",
            "B123456B",
            "B123456B77",
        ] {
            assert_eq!(world.index_of(text), None, "{text}");
        }
    }

    #[test]
    fn series_are_runs_of_digits_and_distinct() {
        let world = World::new(5);
        let all: Vec<_> = (0..20)
            .flat_map(|s| (0..300).map(move |p| (s, p)))
            .collect();
        let numbers: std::collections::BTreeSet<_> =
            all.iter().map(|(s, p)| world.blank(*s, *p)).collect();
        assert_eq!(numbers.len(), all.len());
        assert!(
            numbers
                .iter()
                .all(|n| n.len() == FORM.len() && n.starts_with(BLANK))
        );
        assert_eq!(
            world.blank(3, 1)[1..7].parse::<u64>().unwrap(),
            world.blank(3, 0)[1..7].parse::<u64>().unwrap() + 1
        );
    }

    /// The zone's name is one that the standard allows for what is printed.
    #[test]
    fn both_forms_of_a_name_are_the_same_name() {
        for surname in SURNAMES {
            for given in GIVEN_NAMES {
                let name = format!("{}<<{}", surname.1, given.1);
                assert!(name.len() <= 30, "{name}");
                let line = format!("P<UTO{name:<<39}");
                let second = format!("L898902C36UTO7408122F1204159{:<<14}06", "");
                let zone = Zone::read(&format!("{line}{second}")).unwrap();
                let printed = Printed {
                    surname: Some(surname.0),
                    given_names: Some(given.0),
                    ..Printed::default()
                };
                let found = compare(&zone, &printed);
                assert!(found.is_empty(), "{name}: {found:?}");
            }
        }
    }

    #[test]
    fn somebody_else_differs_in_everything() {
        let world = World::new(1);
        for index in 0..500 {
            let holder = world.document(index).holder;
            let other = world.other(index, &holder);
            assert!(other.surname != holder.surname && other.birth != holder.birth);
            assert_ne!(other.given.1.as_bytes()[0], holder.given.1.as_bytes()[0]);
        }
    }
}
