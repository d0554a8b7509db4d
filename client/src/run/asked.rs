//! What a run asks, and what makes it the same run when it is started again.

use tallystick_agency::AgencyError;
use tallystick_agency::{collections::rule_names, exit::Outcome};
use tallystick_protocol::{
    identifiers::padded_size,
    statements::{Int, Query},
};
use tallystick_tables::KeySpec;
use zeroize::Zeroizing;

use super::Runner;
use crate::{input::Plan, session::Intent};

/// Name of the secret that inputs are digested under: a digest without it would let whoever copies
/// the database try identifiers against it.
const INPUT_SECRET: &str = "run-input";

/// A key as a run is known by it: no two keys have one text. What `--key` shows will not do, since a
/// mapping file may name columns with commas in them.
fn as_read(key: &KeySpec) -> String {
    format!("{key:?}")
}

impl Runner<'_> {
    /// What makes a run the same run when it is started again: the table, how it is read, and the
    /// grounds, which stand in the signed request.
    pub(super) fn input_digest(&self, plan: &Plan) -> Outcome<[u8; 32]> {
        let mut input = Zeroizing::new(plan.digest.sha256.to_vec());
        input.extend_from_slice(plan.source.read_as().as_bytes());
        input.push(0);
        input.extend_from_slice(&self.options.mapping.profile().tables_hash());
        for key in self.options.mapping.keys() {
            input.extend_from_slice(as_read(key).as_bytes());
            input.push(0);
        }
        input.extend_from_slice(&self.options.grounds.as_text()?);
        Ok(self.asker.home.keys().keyed_digest(INPUT_SECRET, &input)?)
    }

    /// What is asked: every type of the table, padded.
    pub(super) fn ask(&self, plan: &Plan, digest: [u8; 32]) -> Outcome<Intent<'_>> {
        let profile = self.options.mapping.profile();
        let padded = plan.padded();
        let mut queries = Vec::with_capacity(padded.len());
        for (type_name, elements) in &padded {
            queries.push(Query {
                type_name: type_name.clone(),
                rules: rule_names(profile, type_name)?,
                // Padded as well: the true number of records is not the peer's business.
                records: Int::new(padded_size(plan.tally.rows)).map_err(AgencyError::from)?,
                elements: Int::new(*elements).map_err(AgencyError::from)?,
                flights: None,
            });
        }
        Ok(Intent {
            digest,
            grounds: &self.options.grounds,
            profile,
            queries,
            lifetime_seconds: self.asker.home.config().policy.request_lifetime_seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tallystick_tables::Mapping;

    use super::*;

    #[test]
    fn keys_that_are_shown_alike_make_two_runs() {
        let [one, other] = [("a,b", "c"), ("a", "b,c")].map(|(number, state)| {
            let text = format!(
                "[[key]]\ntype = \"document\"\nnumber = \"{number}\"\nstate = \"{state}\"\n"
            );
            let mapping = Mapping::from_toml(&text, Path::new("a.mapping.toml"));
            mapping.map(|mapping| mapping.keys()[0].clone()).ok()
        });
        let texts = |key: &Option<KeySpec>| key.as_ref().map(|key| (key.to_string(), as_read(key)));
        let (one, other) = (texts(&one), texts(&other));
        assert!(one.is_some());
        assert_eq!(
            one.as_ref().map(|(shown, _)| shown),
            other.as_ref().map(|(shown, _)| shown)
        );
        assert_ne!(one, other);
    }
}
