//! The desk: one traveller, one document, and what the lists of several agencies say of it.
//!
//! ```text
//! presented    what a traveller presents: a machine-readable zone, or fields
//! alarm        numbers asked one after another, seen before they leave
//! verdict      what is said in the end: its types, and their words for people
//! judge        from what was found on the lists to a verdict
//! words        its sentences
//! ```

mod alarm;
mod judge;
mod presented;
mod verdict;
mod words;

pub use alarm::OnAlarm;
pub use judge::judge;
pub use presented::{Fields, Presented, Unreadable};
pub use verdict::{
    AskedType, Basis, Class, CollectionAnswer, CollectionFacts, Conclusion, DeskHit, LabelValue,
    Missing, NotAsked, Reason, Told, Verdict,
};
