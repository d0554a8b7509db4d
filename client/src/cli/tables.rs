//! Flags that say how a table is read.

use std::path::PathBuf;

use clap::Args;
use tallystick_agency::{
    collections::TableSource,
    exit::{Failure, Outcome},
    table_flags::FormatFlags,
};
use tallystick_protocol::identifiers::Profile;

/// Keys of the own table.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// Columns that make a key, for example document=passport,=UTO; repeatable
    #[arg(long, value_name = "TYPE=COLUMN[,COLUMN]")]
    pub(crate) key: Vec<String>,
    /// File that names keys and label columns
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub(crate) mapping: Option<PathBuf>,
    /// Profile: the rules that turn values into elements
    #[arg(long, value_name = "NAME", default_value = "exact")]
    pub(crate) profile: String,
    #[command(flatten)]
    pub(crate) format: FormatFlags,
}

impl KeyArgs {
    /// The table at `input`, read by these flags.
    pub(crate) fn source(&self, input: PathBuf, label: Vec<String>) -> Outcome<TableSource> {
        check_profile(&self.profile)?;
        Ok(TableSource {
            input,
            keys: self.key.clone(),
            mapping: self.mapping.clone(),
            label,
            format: self.format.stated(),
        })
    }
}

/// Refuses a profile that this version does not have.
pub(crate) fn check_profile(name: &str) -> Outcome<()> {
    match Profile::built_in(name) {
        Some(_) => Ok(()),
        None => Err(Failure::usage(
            "unknown-profile",
            "there is no such profile",
            "this version has the profile: exact",
        )),
    }
}
