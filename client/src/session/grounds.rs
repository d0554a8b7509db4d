//! Why it is asked, and on whose word.

use serde::Serialize;
use tallystick_agency::{
    exit::{Failure, Outcome},
    home::Home,
};
use tallystick_protocol::{
    session::claim_commitment,
    statements::{Hex, Legal, Line, Persons, SessionClass},
};
use zeroize::Zeroizing;

use crate::error::bug;

/// The grounds of a request, as a person states them. Case and persons enter the record as salted
/// commitments only.
#[derive(Debug, Default, Clone)]
pub struct Grounds {
    /// Class of the session.
    pub class: Option<SessionClass>,
    /// Purpose.
    pub purpose: Option<Line>,
    /// Legal basis.
    pub legal_basis: Option<Line>,
    /// Category of offence.
    pub offence_category: Option<Line>,
    /// Category of person.
    pub subject_category: Option<Line>,
    /// Reference of the impact assessment.
    pub dpia: Option<Line>,
    /// Handling code.
    pub handling_code: Option<Line>,
    /// Source code.
    pub source_code: Option<Line>,
    /// Case reference.
    pub case: Option<String>,
    /// Who runs it.
    pub runner: Option<String>,
    /// Who ordered it.
    pub orderer: Option<String>,
    /// Who approved it.
    pub approver: Option<String>,
}

/// Grounds as a request carries them.
pub(super) struct Signed {
    pub(super) legal: Legal,
    pub(super) persons: Option<Persons>,
    /// What the commitments stand for, with their salts, sealed: kept beside the record for the own
    /// supervisor.
    pub(super) claims: Option<Vec<u8>>,
}

impl Grounds {
    /// One text for one set of grounds, to tell a session from another. Secret as they are.
    pub(crate) fn as_text(&self) -> Outcome<Zeroizing<Vec<u8>>> {
        let grounds = (
            (self.class, &self.purpose, &self.legal_basis),
            (&self.offence_category, &self.subject_category),
            (&self.dpia, &self.handling_code, &self.source_code),
            (&self.case, &self.runner),
            (&self.orderer, &self.approver),
        );
        json(&grounds)
    }

    /// The grounds for the record.
    pub(super) fn sign(&self, home: &Home, session: &Hex<16>) -> Outcome<Signed> {
        self.check()?;
        let mut kept = serde_json::Map::new();
        let mut commit = |kind: &str, text: &Option<String>| {
            text.as_ref().map(|text| {
                let salt: [u8; 32] = rand::random();
                let entry = serde_json::json!({"text": text, "salt": Hex(salt).to_string()});
                kept.insert(kind.to_owned(), entry);
                claim_commitment(kind, &salt, text)
            })
        };
        let unstated = || "not stated".parse::<Line>().map_err(|_| bug("a line"));
        let legal = Legal {
            class: self.class.unwrap_or(SessionClass::NotStated),
            purpose: self.purpose.clone().map_or_else(unstated, Ok)?,
            legal_basis: self.legal_basis.clone(),
            offence_category: self.offence_category.clone(),
            subject_category: self.subject_category.clone(),
            case: commit("case", &self.case),
            dpia: self.dpia.clone(),
            handling_code: self.handling_code.clone(),
            source_code: self.source_code.clone(),
        };
        let (orderer, approver) = (
            commit("orderer", &self.orderer),
            commit("approver", &self.approver),
        );
        let persons = commit("runner", &self.runner).map(|runner| Persons {
            runner,
            orderer,
            approver,
        });
        let claims = match kept.is_empty() {
            true => None,
            false => {
                let text = Zeroizing::new(serde_json::Value::Object(kept).to_string());
                let place = format!("claims/{session}");
                Some(home.keys().seal_blob(&place, text.as_bytes())?)
            }
        };
        Ok(Signed {
            legal,
            persons,
            claims,
        })
    }

    /// Whether they can be signed.
    ///
    /// # Errors
    /// Bad usage: one person in two roles that exclude each other, or a role without its runner.
    pub(crate) fn check(&self) -> Outcome<()> {
        if self.approver.is_some() && self.approver == self.runner {
            return Err(Failure::usage(
                "usage",
                "--approver and --runner are the same person",
                "who approves must be somebody else (four eyes)",
            ));
        }
        if self.runner.is_none() && (self.orderer.is_some() || self.approver.is_some()) {
            return Err(Failure::usage(
                "usage",
                "--orderer and --approver need --runner",
                "state who runs it with --runner ID",
            ));
        }
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Outcome<Zeroizing<Vec<u8>>> {
    let text = serde_json::to_vec(value).map_err(|e| bug(e.to_string()))?;
    Ok(Zeroizing::new(text))
}
