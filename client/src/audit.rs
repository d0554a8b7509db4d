//! Auditing records offline: streaming, in memory bounded by a few chunks, proofs on all cores.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tallystick_agency::{
    AgencyError,
    exit::{Exit, Failure, Outcome},
};
use tallystick_protocol::{
    frame::{Frame, FrameReader, HEADER_BYTES, MAX_STATEMENT_BYTES, ReadError},
    group,
    signing::VerifyKey,
    statements::{Hex, Manifest, Name, open_as_named},
    verify::{ProofJob, RecordVerifier, Report, Trust},
};

use crate::{error::bug, progress::Progress};

/// The agencies that somebody vouches for: what `--trust` reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustFile {
    /// `tally.trust/1`.
    pub schema: String,
    /// Agencies and their statement keys.
    pub agencies: Vec<TrustedAgency>,
}

/// One agency's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedAgency {
    /// Name.
    pub agency: Name,
    /// Ed25519 public key of its statements.
    pub signing_key: Hex<32>,
}

/// Schema of a trust file.
pub const TRUST_SCHEMA: &str = "tally.trust/1";

/// The most bytes of a peer file.
const MAX_PEER_FILE_BYTES: u64 = (MAX_STATEMENT_BYTES + HEADER_BYTES) as u64;

/// The name and key in a peer file, and the fingerprint that vouches for them once somebody has
/// compared it.
///
/// # Errors
/// A usage failure naming the file; a verification failure if its signature does not hold.
pub fn manifest_key(path: &Path) -> Outcome<(TrustedAgency, String)> {
    let unreadable = |source| AgencyError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_PEER_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    let manifest: Result<Manifest, _> =
        Frame::from_bytes(bytes).and_then(|frame| open_as_named(&frame));
    let manifest = manifest.map_err(|error| {
        let what = format!("{}: {error}", path.display());
        Failure::new(
            Exit::Verification,
            error.code(),
            what,
            "ask for the peer file again",
        )
    })?;
    let fingerprint = VerifyKey::from(manifest.signing_key).key_id();
    let agency = TrustedAgency {
        agency: manifest.agency,
        signing_key: manifest.signing_key,
    };
    Ok((agency, fingerprint))
}

impl TrustFile {
    /// A trust file of these agencies.
    #[must_use]
    pub fn of(agencies: Vec<TrustedAgency>) -> Self {
        Self {
            schema: TRUST_SCHEMA.to_owned(),
            agencies,
        }
    }

    /// The text of the file.
    ///
    /// # Errors
    /// `Bug` only.
    pub fn to_text(&self) -> Outcome<String> {
        serde_json::to_string_pretty(self).map_err(|e| bug(e.to_string()))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A usage failure naming the file.
    pub fn read(path: &Path) -> Outcome<Trust> {
        let bad = |why: String| {
            Failure::usage(
                "trust-file",
                format!("{}: {why}", path.display()),
                "a trust file is {\"schema\":\"tally.trust/1\",\"agencies\":[{\"agency\":NAME,\
                 \"signing_key\":HEX}]}",
            )
        };
        let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
        let file: Self = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if file.schema != TRUST_SCHEMA {
            return Err(bad(format!("schema is not {TRUST_SCHEMA}")));
        }
        let mut trust = Trust::default();
        for agency in file.agencies {
            trust.add(agency.agency, agency.signing_key.into());
        }
        Ok(trust)
    }
}

/// One record and what was found.
#[derive(Debug)]
pub struct Audited {
    /// Its file.
    pub path: PathBuf,
    /// The report.
    pub report: Report,
}

/// Proofs handed out before they are waited for: bounds memory.
const PROOFS_AT_ONCE: usize = 8;

/// Verifies one record.
///
/// # Errors
/// A usage failure if the file cannot be read; a record that does not verify is a report.
pub fn verify(path: &Path, trust: Option<Trust>, quiet: bool) -> Outcome<Audited> {
    let unreadable = |source| AgencyError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_or(0, |meta| meta.len());
    let bar = Progress::new("verifying", size, "bytes", quiet);
    let mut reader = FrameReader::new(BufReader::with_capacity(1 << 20, file));
    let mut verifier = RecordVerifier::new(group::best(), trust);
    let mut jobs: Vec<ProofJob> = Vec::new();
    let report = loop {
        let frame = match reader.next_frame() {
            Ok(frame) => frame,
            Err(ReadError::Frame(error)) => break verifier.fail_framing(error),
            Err(ReadError::Io(error)) => return Err(unreadable(error).into()),
        };
        let ended = frame.is_none();
        if let Some(frame) = frame {
            match verifier.push(frame) {
                Ok(job) => jobs.extend(job),
                Err(failure) => break verifier.fail(&failure),
            }
        }
        if ended || jobs.len() == PROOFS_AT_ONCE {
            let proven: Result<Vec<_>, _> = std::mem::take(&mut jobs)
                .into_par_iter()
                .map(ProofJob::run)
                .collect();
            match proven {
                Ok(proven) => proven
                    .into_iter()
                    .for_each(|proven| verifier.settle(proven)),
                Err(failure) => break verifier.fail(&failure),
            }
            bar.set(reader.offset());
        }
        if ended {
            break verifier.finish();
        }
    };
    bar.finish();
    Ok(Audited {
        path: path.to_owned(),
        report,
    })
}

/// Whether copies agree: `None` for one record, or where it cannot be told.
#[must_use]
pub fn agree(records: &[Audited]) -> Option<bool> {
    let (first, rest) = records.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let answers: Vec<Option<bool>> = rest
        .iter()
        .map(|other| first.report.claims.agrees_with(&other.report.claims))
        .collect();
    if answers.contains(&Some(false)) {
        return Some(false);
    }
    answers
        .iter()
        .all(|answer| *answer == Some(true))
        .then_some(true)
}
