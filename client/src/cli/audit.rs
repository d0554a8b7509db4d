//! `tally audit`: records checked and shown, offline. Needs no home.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use tallystick_agency::{
    exit::{Exit, Failure, Outcome},
    report,
};
use tallystick_protocol::{
    statements::{Grant, ReceiverClosing, Refusal, Request, SenderClosing},
    verify::{Check, Claims, Trust},
};

use super::{Context, PROGRAM};
use crate::audit::{self, Audited, TrustFile};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check records: framing, signatures, order, counts, proofs, closings; and whether copies agree
    Verify(VerifyArgs),
    /// Show what the statements of a record say
    Show(ShowArgs),
    /// Make a trust file, on stdout, from peer files; their fingerprints, on stderr, are for you to
    /// compare with what the agencies tell you by another channel
    Trust(TrustArgs),
}

/// What to verify.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Records; several are compared as copies of one session
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Keys that somebody vouches for
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
}

/// What to show.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The record
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Whom to vouch for.
#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// Peer files, as `tallyd peer export` writes them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Verified {
    verified: bool,
    agree: Option<bool>,
    records: Vec<Record>,
}

#[derive(Serialize)]
struct Record {
    path: PathBuf,
    session: Option<String>,
    status: &'static str,
    signers: &'static str,
    checks: Vec<CheckRow>,
}

#[derive(Serialize)]
struct CheckRow {
    name: &'static str,
    verdict: &'static str,
    at: Option<u64>,
    detail: String,
}

impl From<&Check> for CheckRow {
    fn from(check: &Check) -> Self {
        Self {
            name: check.name,
            verdict: check.verdict.name(),
            at: check.at,
            detail: check.detail.clone(),
        }
    }
}

impl From<&Audited> for Record {
    fn from(audited: &Audited) -> Self {
        let report = &audited.report;
        Self {
            path: audited.path.clone(),
            session: report.claims.session.map(|session| session.to_string()),
            status: report.claims.summary().name(),
            signers: report.signers.name(),
            checks: report.checks.iter().map(CheckRow::from).collect(),
        }
    }
}

impl report::Report for Verified {
    const COMMAND: &'static str = "audit-verify";

    fn text(&self) -> String {
        let mut text = String::new();
        for record in &self.records {
            let session = record.session.as_deref().unwrap_or("unknown");
            text += &format!("{}\n", record.path.display());
            text += &format!("session {session}, {}\n", record.status);
            let row = |check: &CheckRow| {
                let at = check.at.map_or(String::new(), |at| format!("frame {at}: "));
                vec![
                    check.name.to_owned(),
                    check.verdict.to_owned(),
                    format!("{at}{}", check.detail),
                ]
            };
            text += &super::list(
                &["check", "verdict", "detail"],
                record.checks.iter().map(row),
            );
            text += "\n\n";
        }
        text += match self.agree {
            Some(true) => "the copies agree\n",
            Some(false) => "THE COPIES DO NOT AGREE\n",
            None if self.records.len() > 1 => {
                "whether the copies agree cannot be told: the session was aborted\n"
            }
            None => "",
        };
        text += if self.verified {
            "verified"
        } else {
            "NOT VERIFIED"
        };
        text
    }
}

pub(crate) fn run(context: &Context, command: &AuditCommand) -> Outcome<Exit> {
    match command {
        AuditCommand::Verify(args) => verify(context, args),
        AuditCommand::Show(args) => show(context, args),
        AuditCommand::Trust(args) => trust(args),
    }
}

fn verify(context: &Context, args: &VerifyArgs) -> Outcome<Exit> {
    let trust: Option<Trust> = args.trust.as_deref().map(TrustFile::read).transpose()?;
    let audited: Vec<Audited> = args
        .files
        .iter()
        .map(|file| audit::verify(file, trust.clone(), context.quiet))
        .collect::<Outcome<_>>()?;
    let agree = audit::agree(&audited);
    let verified = audited.iter().all(|a| a.report.verified) && agree != Some(false);
    if trust.is_none() && !context.quiet {
        eprintln!(
            "warning: signatures were checked with the keys in the records; nobody vouched for \
             those keys (--trust FILE)"
        );
    }
    let records = audited.iter().map(Record::from).collect();
    report::print(
        PROGRAM,
        context.json,
        &Verified {
            verified,
            agree,
            records,
        },
    )?;
    Ok(if verified {
        Exit::Done
    } else {
        Exit::Verification
    })
}

/// The result is the trust file itself, so it is JSON in any case.
fn trust(args: &TrustArgs) -> Outcome<Exit> {
    let mut agencies = Vec::new();
    for file in &args.files {
        let (agency, fingerprint) = audit::manifest_key(file)?;
        eprintln!("{}\n{}", agency.agency, report::grouped(&fingerprint));
        agencies.push(agency);
    }
    let mut text = TrustFile::of(agencies).to_text()?;
    text.push('\n');
    report::write_stdout(text.as_bytes())?;
    Ok(Exit::Done)
}

/// The statements of a record, as they stand in it.
#[derive(Serialize)]
struct Shown {
    verified: bool,
    status: &'static str,
    session: Option<String>,
    request: Option<Request>,
    grant: Option<Grant>,
    refusal: Option<Refusal>,
    receiver_closing: Option<ReceiverClosing>,
    sender_closing: Option<SenderClosing>,
    chunks: u64,
    elements: u64,
    bytes: u64,
}

fn show(context: &Context, args: &ShowArgs) -> Outcome<Exit> {
    let Audited { report, .. } = audit::verify(&args.file, None, context.quiet)?;
    let verified = report.verified;
    if report.claims.session.is_none() {
        return Err(Failure::new(
            Exit::Verification,
            "no-record",
            format!("{} is not a session record", args.file.display()),
            "records lie in `records` of a home and end in .tally",
        ));
    }
    if !verified {
        eprintln!("warning: this record does not verify; see `tally audit verify`");
    }
    let status = report.claims.summary().name();
    let Claims {
        session,
        request,
        grant,
        refusal,
        receiver_closing,
        sender_closing,
        ..
    } = report.claims;
    let shown = Shown {
        verified,
        status,
        session: session.map(|session| session.to_string()),
        request: request.map(|(_, request)| request),
        grant: grant.map(|(_, grant)| grant),
        refusal,
        receiver_closing: receiver_closing.map(|(_, closing)| closing),
        sender_closing: sender_closing.map(|(_, closing)| closing),
        chunks: report.claims.chunks,
        elements: report.claims.elements,
        bytes: report.claims.bytes,
    };
    context.print(PROGRAM, &shown)?;
    Ok(if verified {
        Exit::Done
    } else {
        Exit::Verification
    })
}

/// Grounds that were stated. Case and persons are salted commitments: what stands behind them is
/// kept, sealed, by the side that asked.
fn grounds(request: &Request) -> Vec<(&'static str, String)> {
    let legal = &request.legal;
    let lines = [
        ("legal basis", &legal.legal_basis),
        ("offence", &legal.offence_category),
        ("subject", &legal.subject_category),
        ("impact assessment", &legal.dpia),
        ("handling code", &legal.handling_code),
        ("source code", &legal.source_code),
    ];
    let persons = request.persons.as_ref();
    let commitments = [
        ("case, committed", legal.case),
        ("runner, committed", persons.map(|p| p.runner)),
        ("orderer, committed", persons.and_then(|p| p.orderer)),
        ("approver, committed", persons.and_then(|p| p.approver)),
    ];
    let lines = lines
        .into_iter()
        .filter_map(|(name, line)| Some((name, line.as_ref()?.to_string())));
    let commitments = commitments
        .into_iter()
        .filter_map(|(name, hash)| Some((name, hash?.to_string())));
    lines.chain(commitments).collect()
}

impl report::Report for Shown {
    const COMMAND: &'static str = "audit-show";

    fn text(&self) -> String {
        let time = |ms: u64| report::moment(ms.cast_signed());
        let mut rows: Vec<(&str, String)> = vec![
            (
                "record",
                match self.verified {
                    true => "whole; signatures checked with the keys in it, as `audit verify` without --trust",
                    false => "DOES NOT VERIFY",
                }
                .to_owned(),
            ),
            ("session", self.session.clone().unwrap_or_default()),
            ("status", self.status.to_owned()),
        ];
        if let Some(request) = &self.request {
            let state = request.receiver.state.as_ref();
            let state = state.map_or(String::new(), |state| format!(" ({state})"));
            let asked = request.queries.iter().map(|query| {
                format!(
                    "{} {}, of about {} records",
                    query.elements, query.type_name, query.records
                )
            });
            rows.extend([
                (
                    "receiver",
                    format!("{}{state}, {}", request.receiver.agency, request.build),
                ),
                ("sender", request.sender.agency.to_string()),
                ("collection", request.collection.to_string()),
                ("mode", request.mode.name().to_owned()),
                ("profile", request.profile.id.to_string()),
                ("class", request.legal.class.name().to_owned()),
                ("purpose", request.legal.purpose.to_string()),
                ("asked, padded", asked.collect::<Vec<_>>().join("; ")),
                ("requested", time(request.issued_ms.get())),
            ]);
            rows.extend(grounds(request));
        }
        if let Some(grant) = &self.grant {
            rows.extend([
                ("granted", time(grant.granted_ms.get())),
                ("epoch", grant.epoch.to_string()),
                (
                    "snapshot",
                    format!(
                        "{}, {} tags",
                        grant.snapshot.digest, grant.snapshot.elements
                    ),
                ),
            ]);
        }
        if let Some(refusal) = &self.refusal {
            rows.push((
                "refused",
                format!(
                    "{}: {}",
                    time(refusal.refused_ms.get()),
                    refusal.code.name()
                ),
            ));
        }
        rows.push((
            "evaluated",
            format!(
                "{} elements in {} chunks, {} bytes",
                self.elements, self.chunks, self.bytes
            ),
        ));
        if let Some(closing) = &self.receiver_closing {
            let outcome = match closing.outcome.as_ref().map(|outcome| outcome.matches) {
                Some(Some(matches)) => format!("{matches} matched (the receiver's claim)"),
                Some(None) => "committed to, not shown".to_owned(),
                None => "none".to_owned(),
            };
            rows.extend([
                ("match count", outcome),
                ("receiver closed", time(closing.closed_ms.get())),
            ]);
        }
        if let Some(closing) = &self.sender_closing {
            for charge in &closing.charged {
                rows.push((
                    "charged",
                    format!(
                        "{} {}, budget {} before, {} after",
                        charge.elements, charge.type_name, charge.quota_before, charge.quota_after
                    ),
                ));
            }
            rows.push(("sender closed", time(closing.closed_ms.get())));
        }
        super::facts(rows)
    }
}
