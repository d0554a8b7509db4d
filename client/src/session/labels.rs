//! Labels opened where they lie.

use std::sync::Arc;

use tallystick_agency::{AgencyError, exit::Outcome};
use tallystick_protocol::snapshot::{LabelContext, LabelKey};
use tallystick_tables::LabelRecords;

use crate::snapshots::{CachedSnapshot, TagPlace};

/// Names of the columns that a hit hands over.
pub(crate) fn label_columns(snapshot: &CachedSnapshot) -> Vec<String> {
    let columns = &snapshot.verified().preamble().label_columns;
    columns.iter().map(ToString::to_string).collect()
}

/// Opens the labels of a snapshot.
#[derive(Clone)]
pub(crate) struct LabelOpener {
    snapshot: Arc<CachedSnapshot>,
    context: LabelContext,
    columns: usize,
}

impl LabelOpener {
    pub(crate) fn new(snapshot: Arc<CachedSnapshot>) -> Self {
        let preamble = snapshot.verified().preamble();
        let context = LabelContext::new(&preamble.collection, preamble.epoch.get());
        let columns = preamble.label_columns.len();
        Self {
            snapshot,
            context,
            columns,
        }
    }

    /// How many columns a label has.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The records behind a hit, none where the collection has no labels; `None` for a label that
    /// does not open or holds something else than its header says. `material` are bytes 32 to 63 of
    /// the element's output, empty where there are no labels.
    pub(crate) fn open(
        &self,
        place: TagPlace,
        material: &[u8],
    ) -> Outcome<Option<Vec<Vec<String>>>> {
        if material.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let key = LabelKey::from_material(material, &self.context);
        let key = key.map_err(AgencyError::from)?;
        let (tag, sealed) = self.snapshot.entry(place)?;
        let Ok(label) = key.open(&sealed, &self.context, &tag) else {
            return Ok(None);
        };
        let records = LabelRecords::decode(&label, self.columns).ok();
        Ok(records.map(|records| records.records().to_vec()))
    }
}
