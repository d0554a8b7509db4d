//! `tally datagen`: synthetic tables. Needs no home.

use std::path::PathBuf;

use clap::{Args, value_parser};
use serde::Serialize;
use tallystick_agency::{
    exit::{Exit, Failure, Outcome},
    report::Report,
};

use super::{Context, PROGRAM, facts};
use crate::{
    datagen::{
        self, DatagenError,
        desk::{self, DeskSizes, DeskSummary},
    },
    try_out::SAMPLE_KEY,
};

/// What `datagen` makes.
#[derive(Debug, Args)]
pub(crate) struct DatagenArgs {
    /// Folder for the tables: ours.csv, theirs.csv and truth.csv, or those of --desk
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Rows of ours.csv
    #[arg(long, value_name = "N", required_unless_present = "desk")]
    ours: Option<u64>,
    /// Rows of theirs.csv
    #[arg(long, value_name = "N", required_unless_present = "desk")]
    theirs: Option<u64>,
    /// Documents that stand in both
    #[arg(long, value_name = "N", required_unless_present = "desk")]
    overlap: Option<u64>,
    /// Instead: a register of N issued documents, reported documents, a watchlist, and documents that are
    /// presented, each with its true class
    #[arg(long, value_name = "N", conflicts_with_all = ["ours", "theirs", "overlap"])]
    desk: Option<u64>,
    /// Presented documents of each class; 100 of a register that is large enough
    #[arg(long, value_name = "N", requires = "desk", value_parser = value_parser!(u64).range(1..=100_000))]
    each: Option<u64>,
    /// The same seed gives the same bytes
    #[arg(long, value_name = "N")]
    seed: u64,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

/// Two lists with a known overlap.
#[derive(Serialize)]
struct Made {
    ours: PathBuf,
    theirs: PathBuf,
    truth: PathBuf,
    key: &'static str,
}

impl Report for Made {
    const COMMAND: &'static str = "datagen";

    fn text(&self) -> String {
        facts([
            ("ours", self.ours.display().to_string()),
            ("theirs", self.theirs.display().to_string()),
            ("truth", self.truth.display().to_string()),
            ("key", self.key.to_owned()),
        ])
    }
}

/// Lists of a desk, and what is presented at it.
#[derive(Serialize)]
#[serde(transparent)]
struct MadeDesk(DeskSummary);

impl Report for MadeDesk {
    const COMMAND: &'static str = "datagen-desk";

    fn text(&self) -> String {
        let table = |table: &desk::Table| match &table.mapping {
            Some(mapping) => format!(
                "{}, {} rows; --mapping {}",
                table.file.display(),
                table.rows,
                mapping.display()
            ),
            None => format!("{}, {} rows", table.file.display(), table.rows),
        };
        facts([
            ("register", table(&self.0.register)),
            ("covers", self.0.state.to_owned()),
            ("stolen", table(&self.0.stolen)),
            ("watchlist", table(&self.0.watchlist)),
            ("presented", table(&self.0.presented)),
            ("as lines", self.0.lines.display().to_string()),
        ])
    }
}

pub(crate) fn run(context: &Context, args: &DatagenArgs) -> Outcome<Exit> {
    let refused = |error: DatagenError| Failure::usage(error.code(), error.to_string(), "");
    let (dir, seed, force) = (&args.dir, args.seed, args.force);
    if let Some(documents) = args.desk {
        let sizes = DeskSizes {
            documents,
            each: args.each,
            seed,
        };
        let made = desk::generate(dir, sizes, force).map_err(refused)?;
        context.print(PROGRAM, &MadeDesk(made))?;
        return Ok(Exit::Done);
    }
    // The command line has all three, or none.
    let [ours, theirs, overlap] =
        [args.ours, args.theirs, args.overlap].map(Option::unwrap_or_default);
    let made = datagen::generate(dir, ours, theirs, overlap, seed, force).map_err(refused)?;
    let made = Made {
        ours: made.ours,
        theirs: made.theirs,
        truth: made.truth,
        key: SAMPLE_KEY,
    };
    context.print(PROGRAM, &made)?;
    Ok(Exit::Done)
}
