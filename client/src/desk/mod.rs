//! The desk: one traveller, one document, and what the lists of several agencies say of it.
//!
//! ```text
//! options      what is asked, of whom, on which grounds
//! counter      the desk itself: opened, asked, closed
//! asking       its answers, judged
//! link         a collection of a peer, as one task: a session, and the next when it ends
//! each         the same with a session for each traveller
//! ending       how sessions of a link end, and the link itself
//! context      the steps of a link: connect, offer, begin, take up, finish
//! shift        one session: flights out, answers in, closed
//! flight       keys of several travellers among padding, in sizes that say nothing
//! find         answers verified, looked up, told
//! journal      what must outlive the process, sealed
//! resume       a session whose process ended, brought to where it stood
//! pace         ticks, closing, sleep
//! status       how it all stands, and what a shift did
//! presented    what a traveller presents: a machine-readable zone, or fields
//! alarm        numbers asked one after another, seen before they leave
//! verdict      what is said in the end: its types, and their words for people
//! judge        from what was found on the lists to a verdict
//! words        its sentences
//! answering    what a desk does for whoever stands before it
//! stream       lines in, one verdict a line out
//! manifest     a table in, the same with verdicts out
//! http         the same for other programs of this machine, and a page for a guard
//! ```

mod alarm;
mod answering;
mod asking;
mod context;
mod counter;
mod each;
mod ending;
mod find;
mod flight;
pub mod http;
mod journal;
mod judge;
mod link;
pub mod manifest;
mod options;
mod pace;
mod presented;
mod resume;
mod shift;
mod status;
pub mod stream;
mod verdict;
mod words;

pub use alarm::{Alarm, Asked, OnAlarm};
pub use answering::Answering;
pub use counter::Desk;
pub use judge::judge;
pub use options::{Ask, DeskOptions, MAX_HOURS};
pub use presented::{Fields, Presented, Unreadable};
pub use status::{
    CollectionStatus, DeskStatus, Ended, LinkReport, LinkState, SessionReport, ShiftReport, Trouble,
};
pub use verdict::{
    AskedType, Basis, Class, CollectionAnswer, CollectionFacts, Conclusion, DeskHit, LabelValue,
    Missing, NotAsked, Reason, Told, Verdict,
};
