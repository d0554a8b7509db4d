//! `tallyd certificate`: the own certificate is renewed, asked for, and put in its place.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;
use tallystick_agency::{
    exit::{Failure, Outcome},
    fs::{OWNER_FILE, atomic_write, read_text},
    home::Home,
    keystore::DEV_CA_KEY,
    tls::{self, TlsIdentity},
};

use super::{block_on, check_certificate::usable, print};
use tallystick_agency::command::Context;
use tallystick_agency::report::{Report, facts, moment};

#[derive(Debug, Subcommand)]
pub(super) enum CertificateCommand {
    /// Have the development CA sign anew, for homes that were made with --dev-ca
    Renew,
    /// Write the request anew, for the name and address in node.toml; the key stays
    Request,
    /// Put a certificate that your CA has signed in its place, once it is checked
    Install {
        /// The certificate, PEM; further ones that lead to the authority may follow it
        file: PathBuf,
        /// The CA's certificates, PEM [default: those that are there]
        #[arg(long, value_name = "FILE")]
        authority: Option<PathBuf>,
    },
}

pub(super) fn run(context: &Context, command: &CertificateCommand) -> Outcome<()> {
    let home = context.open_home()?;
    match command {
        CertificateCommand::Renew => renew(context, &home),
        CertificateCommand::Request => request(context, &home),
        CertificateCommand::Install { file, authority } => {
            install(context, &home, file, authority.as_deref())
        }
    }
}

#[derive(Debug, Serialize)]
struct Installed {
    certificate: String,
    expires_ms: i64,
}

impl Report for Installed {
    const COMMAND: &'static str = "certificate";

    fn text(&self) -> String {
        facts([
            ("certificate", self.certificate.clone()),
            ("ends", moment(self.expires_ms)),
        ])
        .trim_fmt()
    }
}

fn renew(context: &Context, home: &Home) -> Outcome<()> {
    if !home.keys().is_present(DEV_CA_KEY)? {
        return Err(Failure::usage(
            "no-development-ca",
            "this home has no development CA",
            "have tls/node.csr signed by your CA, then `tallyd certificate install FILE`",
        ));
    }
    home.renew_dev_certificate()?;
    installed(context, home)
}

fn request(context: &Context, home: &Home) -> Outcome<()> {
    home.renew_request()?;
    print(
        context,
        &Requested {
            request: home.request_file().display().to_string(),
        },
    )?;
    context.hint("next: have it signed by your CA, then `tallyd certificate install FILE`");
    Ok(())
}

#[derive(Debug, Serialize)]
struct Requested {
    request: String,
}

impl Report for Requested {
    const COMMAND: &'static str = "certificate-request";

    fn text(&self) -> String {
        facts([("request", self.request.clone())]).trim_fmt()
    }
}

/// Nothing is put in its place that does not work as a whole: certificate, own key, authority.
fn install(context: &Context, home: &Home, file: &Path, authority: Option<&Path>) -> Outcome<()> {
    let chain = tls::read_certificates(file)?;
    let identity = TlsIdentity::new(chain, home.tls_key()?)?;
    let authority_file = home.authority_file();
    let authority = authority.unwrap_or(&authority_file);
    let authorities = tls::read_certificates(authority)?;
    block_on(context, async {
        let checked = usable(home, &identity, &authorities).await;
        checked.map_err(|why| {
            let why = Failure::from(why);
            let what = format!("{}: {}", file.display(), why.what);
            let next = "nothing was changed; ask your CA for a certificate of tls/node.csr that is \
                        for server and client, and name its authority by --authority";
            Failure::new(why.exit, &why.code, what, next)
        })
    })?;
    // The authority first: an old certificate under both is the smaller harm after a crash.
    if authority != authority_file {
        atomic_write(
            &authority_file,
            read_text(authority)?.as_bytes(),
            OWNER_FILE,
        )?;
    }
    let text = read_text(file)?;
    atomic_write(&home.certificate_file(), text.as_bytes(), OWNER_FILE)?;
    installed(context, home)
}

fn installed(context: &Context, home: &Home) -> Outcome<()> {
    let identity = home.tls_identity()?;
    print(
        context,
        &Installed {
            certificate: home.certificate_file().display().to_string(),
            expires_ms: tls::certificate_expires_ms(identity.leaf())?,
        },
    )?;
    context.hint("next: start `tallyd serve` again, which still shows the old one;");
    context.hint("  then `tallyd peer export FILE`, and give the file to every peer");
    Ok(())
}
