//! Flags that say how a table is read.

use std::path::PathBuf;

use clap::Args;
use tallystick_agency::{
    AgencyError, collections::TableSource, exit::Outcome, table_flags::FormatFlags,
};
use tallystick_tables::{Mapping, TableInput};

use crate::progress::Progress;

/// Keys of the own table.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// Columns that make a key, for example document=passport,=UTO; repeatable
    ///
    /// A part written =TEXT is a constant. Types and their parts, those in brackets optional: document
    /// number,state; holder number,state,surname,given_name,birth_date,[date_order]; person
    /// given_name,surname,birth_date,[birth_place],[nationality],[date_order]; name given_name,surname;
    /// phone number,[region]; iban, vin, imei number; email address; plate number,state; wallet
    /// address,[chain]; text, bytes value. A column with a whole machine-readable zone: document:mrz=COLUMN,
    /// holder:mrz=COLUMN, person:mrz=COLUMN.
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

    /// The table at `input`, copied if it is standard input, and its mapping.
    pub(crate) fn input(&self, input: PathBuf, quiet: bool) -> Outcome<(TableInput, Mapping)> {
        let table = self.source(input, Vec::new())?;
        let mapping = table.mapping()?;
        let bar = Progress::new("copying", 0, "bytes", quiet);
        let (format, scratch) = (table.format(&mapping), std::env::temp_dir());
        let input = TableInput::named(&table.input, format, &scratch, |bytes| bar.set(bytes));
        bar.finish();
        Ok((input.map_err(AgencyError::from)?, mapping))
    }
}

/// What of a table gives no elements, or not all, for people.
pub(crate) fn left_out(empty: u64, rejected: u64, cut: u64) -> String {
    format!("{empty} keys empty, {rejected} rejected, {cut} cut short")
}
