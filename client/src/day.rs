//! The day on which a document is looked at.

use tallystick_agency::clock;
use tallystick_protocol::identifiers::mrz::Date;
use time::OffsetDateTime;

/// Today in UTC; `None` where the clock names no day of four digits' years.
pub(crate) fn today() -> Option<Date> {
    let now = OffsetDateTime::from_unix_timestamp(clock::now_ms().div_euclid(1000)).ok()?;
    Date::new(
        u16::try_from(now.year()).ok()?,
        now.month().into(),
        now.day(),
    )
}
