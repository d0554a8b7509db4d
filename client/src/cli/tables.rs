//! Flags that say how a table is read.

use std::path::PathBuf;

use clap::Args;
use tallystick_agency::{collections::TableSource, exit::Outcome, table_flags::FormatFlags};

/// Keys of the own table.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// Columns that make a key, for example document=passport,=UTO; repeatable
    #[arg(long, value_name = "TYPE=COLUMN[,COLUMN]")]
    pub(crate) key: Vec<String>,
    /// File that names keys and label columns
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub(crate) mapping: Option<PathBuf>,
    /// Rules that turn values into elements: exact, eu-strict, eu-wide, or a .profile.toml [default: exact]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    #[command(flatten)]
    pub(crate) format: FormatFlags,
}

impl KeyArgs {
    /// The table at `input`, read by these flags.
    pub(crate) fn source(&self, input: PathBuf, label: Vec<String>) -> Outcome<TableSource> {
        Ok(TableSource {
            input,
            keys: self.key.clone(),
            mapping: self.mapping.clone(),
            label,
            profile: self.profile.clone(),
            format: self.format.stated(),
        })
    }
}
