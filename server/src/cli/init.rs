//! `tallyd init`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use serde::Serialize;
use tallystick_agency::{
    exit::{Failure, Outcome},
    home::{Home, InitOptions},
    peers,
};
use tallystick_protocol::signing::VerifyKey;

use super::{block_on, print};
use tallystick_agency::command::Context;
use tallystick_agency::report::{Report, facts, grouped, or_dash};

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Folder to make; it must be new or empty
    dir: PathBuf,
    /// Name of the agency, as its peers know it: a-z, 0-9 and hyphen
    #[arg(long)]
    name: String,
    /// Make a development CA that signs the certificate: for trying out, not for real data
    #[arg(long)]
    dev_ca: bool,
    /// State of the agency, three capital letters as in travel documents
    #[arg(long, value_name = "XXX")]
    state: Option<String>,
    /// Where to listen [default: 0.0.0.0:7443]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address under which peers reach this node
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
}

#[derive(Debug, Serialize)]
struct Made {
    home: String,
    name: String,
    state: Option<String>,
    fingerprint: String,
    listen_address: String,
    advertise_address: Option<String>,
    /// `development` or `requested`.
    certificate: &'static str,
    request: String,
    passphrase_file: Option<String>,
}

impl Report for Made {
    const COMMAND: &'static str = "init";

    fn text(&self) -> String {
        let certificate = match self.certificate {
            "development" => "signed by a development CA, not for real data".to_owned(),
            _ => format!("to be signed: {}", self.request),
        };
        facts([
            ("home", self.home.clone()),
            ("name", self.name.clone()),
            ("state", or_dash(self.state.as_deref())),
            ("fingerprint", grouped(&self.fingerprint)),
            ("listens on", self.listen_address.clone()),
            ("reached at", or_dash(self.advertise_address.as_deref())),
            ("certificate", certificate),
            ("passphrase", or_dash(self.passphrase_file.as_deref())),
        ])
        .trim_fmt()
    }
}

pub(super) fn run(context: &Context, args: &InitArgs) -> Outcome<()> {
    let options = InitOptions {
        name: args.name.clone(),
        state: args.state.clone(),
        passphrase: context.passphrase().resolve(None, true)?,
        dev_ca: args.dev_ca,
        listen_address: args.listen,
        advertise_address: args.advertise.clone(),
    };
    // The result and the hints must hold in other working directories too.
    let dir = std::path::absolute(&args.dir).map_err(|e| {
        let what = format!("cannot find {}: {e}", args.dir.display());
        Failure::usage("io", what, "check the path")
    })?;
    let home = block_on(context, async { Ok(Home::init(&dir, options).await?) })?;
    let config = home.config();
    let made = Made {
        home: home.dir().display().to_string(),
        name: config.name.clone(),
        state: config.state.clone(),
        fingerprint: VerifyKey(peers::own_reference(&home)?.signing_key.0).key_id(),
        listen_address: config.listen_address.to_string(),
        advertise_address: config.advertise_address.clone(),
        certificate: if args.dev_ca {
            "development"
        } else {
            "requested"
        },
        request: home.request_file().display().to_string(),
        passphrase_file: config
            .passphrase_file
            .as_ref()
            .map(|file| home.dir().join(file).display().to_string()),
    };
    print(context, &made)?;
    if let Some(file) = home.generated_passphrase_file() {
        context.hint("warning: no passphrase was given, so one was generated");
        context.hint(
            "warning: keys and passphrase lie on one disk: whoever copies the home has the keys",
        );
        context.hint(&format!(
            "warning: move {} elsewhere and set passphrase_file in node.toml",
            file.display()
        ));
    }
    context.hint("next:");
    if !args.dev_ca {
        context.hint(&format!(
            "  have your CA sign {}; put the certificate into {} and the CA's into {}",
            made.request,
            home.certificate_file().display(),
            home.authority_file().display()
        ));
    }
    if args.advertise.is_none() {
        context.hint("  set advertise_address in node.toml, so that peers find this node");
    }
    context.hint(&format!("  export TALLY_HOME={}", shell_word(&made.home)));
    context.hint("  tallyd peer export FILE     give the file to a peer");
    context.hint("  tallyd peer add FILE        take in the peer's file");
    Ok(())
}

/// A path as a POSIX shell takes it.
fn shell_word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    match text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(shell_word("/srv/tally-1"), "/srv/tally-1");
        assert_eq!(shell_word("/a b/it's"), "'/a b/it'\\''s'");
    }
}
