//! `tallyd passphrase`: the home's master key is sealed under other words.

use std::{io::IsTerminal, path::PathBuf};

use clap::Args;
use serde::Serialize;
use tallystick_agency::{
    config::{FILE_NAME, NodeConfig},
    exit::{Failure, Outcome},
    home::Home,
    keys::{Passphrase, prompt_new},
};

use super::print;
use tallystick_agency::command::Context;
use tallystick_agency::report::{Report, facts};

#[derive(Debug, Args)]
pub(super) struct PassphraseArgs {
    /// File whose first line is the new passphrase [default: ask at the terminal]
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Changed {
    home: String,
}

impl Report for Changed {
    const COMMAND: &'static str = "passphrase";

    fn text(&self) -> String {
        facts([("passphrase changed", self.home.clone())]).trim_fmt()
    }
}

pub(super) fn run(context: &Context, args: &PassphraseArgs) -> Outcome<()> {
    let dir = context.home_dir()?;
    let new = match &args.new_passphrase_file {
        Some(file) => Passphrase::from_file(file)?,
        None if std::io::stdin().is_terminal() => prompt_new()?,
        None => {
            return Err(Failure::usage(
                "no-new-passphrase",
                "there is no new passphrase",
                "give --new-passphrase-file FILE, or start from a terminal",
            ));
        }
    };
    Home::change_passphrase(dir, &context.passphrase(), &new)?;
    print(
        context,
        &Changed {
            home: dir.display().to_string(),
        },
    )?;
    if let Some(file) = NodeConfig::load(&dir.join(FILE_NAME))?.passphrase_file {
        context.hint(&format!(
            "next: node.toml names {}: put the new passphrase there",
            dir.join(file).display()
        ));
    }
    context.hint("a node that runs goes on; its next start needs the new passphrase");
    context.hint("old backups still open with the old one: destroy them if it is known to others");
    Ok(())
}
