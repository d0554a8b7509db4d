//! Flags that say on which grounds something is asked.

use clap::Args;
use serde::Deserialize;
use tallystick_protocol::statements::{Line, SessionClass};

use crate::run::Grounds;

/// Grounds for the record. Case and persons enter it as salted commitments only.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[command(next_help_heading = "Grounds, for the record")]
#[serde(deny_unknown_fields, default)]
pub(super) struct GroundsArgs {
    /// individual-case or standing-cross-check; that of a desk is border-desk
    #[arg(long)]
    class: Option<SessionClass>,
    /// Purpose of the request
    #[arg(long)]
    purpose: Option<Line>,
    /// Law that allows it
    #[arg(long)]
    legal_basis: Option<Line>,
    /// Category of the offence
    #[arg(long)]
    offence_category: Option<Line>,
    /// suspect, convicted, victim, missing, remains
    #[arg(long)]
    subject_category: Option<Line>,
    /// Reference of the data protection impact assessment
    #[arg(long)]
    dpia: Option<Line>,
    /// Handling code
    #[arg(long)]
    handling_code: Option<Line>,
    /// Source and accuracy code
    #[arg(long)]
    source_code: Option<Line>,
    /// Case reference; the record shows a salted commitment
    #[arg(long)]
    case: Option<String>,
    /// Id of who runs it; the record shows a salted commitment
    #[arg(long)]
    runner: Option<String>,
    /// Id of who ordered it; the record shows a salted commitment
    #[arg(long)]
    orderer: Option<String>,
    /// Id of who approved it; the record shows a salted commitment
    #[arg(long)]
    approver: Option<String>,
}

impl GroundsArgs {
    /// What they say.
    pub(super) fn grounds(&self) -> Grounds {
        Grounds {
            class: self.class,
            purpose: self.purpose.clone(),
            legal_basis: self.legal_basis.clone(),
            offence_category: self.offence_category.clone(),
            subject_category: self.subject_category.clone(),
            dpia: self.dpia.clone(),
            handling_code: self.handling_code.clone(),
            source_code: self.source_code.clone(),
            case: self.case.clone(),
            runner: self.runner.clone(),
            orderer: self.orderer.clone(),
            approver: self.approver.clone(),
        }
    }

    /// The same; what is not said here is as `other` says.
    pub(super) fn or(&self, other: Self) -> Self {
        let own = self.clone();
        Self {
            class: own.class.or(other.class),
            purpose: own.purpose.or(other.purpose),
            legal_basis: own.legal_basis.or(other.legal_basis),
            offence_category: own.offence_category.or(other.offence_category),
            subject_category: own.subject_category.or(other.subject_category),
            dpia: own.dpia.or(other.dpia),
            handling_code: own.handling_code.or(other.handling_code),
            source_code: own.source_code.or(other.source_code),
            case: own.case.or(other.case),
            runner: own.runner.or(other.runner),
            orderer: own.orderer.or(other.orderer),
            approver: own.approver.or(other.approver),
        }
    }
}
