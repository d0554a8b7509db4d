//! `tally collections`: what a peer offers.

use clap::Args;
use serde::Serialize;
use tallystick_agency::{
    exit::{Exit, Outcome},
    report::{self, Report},
};
use tallystick_protocol::statements::CatalogueEntry;

use super::{Context, PROGRAM, block_on};
use crate::collections;

/// Whom to ask.
#[derive(Debug, Args)]
pub(crate) struct CollectionsArgs {
    /// The peer, as `tallyd peer list` names it
    #[arg(long, value_name = "NAME")]
    peer: String,
    /// Address of the peer, instead of the one in its manifest
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
}

#[derive(Serialize)]
struct Offers {
    peer: String,
    collections: Vec<CatalogueEntry>,
}

impl Report for Offers {
    const COMMAND: &'static str = "collections";

    fn text(&self) -> String {
        if self.collections.is_empty() {
            return format!("{} offers this agency no collection", self.peer);
        }
        let row = |entry: &CatalogueEntry| {
            let keys = entry.keys.iter().zip(&entry.quota_left);
            let types: Vec<String> = keys
                .map(|(key, left)| format!("{} ({left} left)", key.type_name))
                .collect();
            let labels: Vec<String> = entry
                .label_columns
                .iter()
                .map(ToString::to_string)
                .collect();
            vec![
                entry.collection.to_string(),
                types.join(", "),
                entry.profile.id.to_string(),
                entry.elements.to_string(),
                labels.join(", "),
                entry.epoch.to_string(),
                report::moment(entry.published_ms.get().cast_signed()),
                report::kind_of_list(entry.kind, entry.covers.as_ref()),
            ]
        };
        super::list(
            &[
                "collection",
                "types (budget)",
                "profile",
                "elements, padded",
                "labels",
                "epoch",
                "published",
                "kind",
            ],
            self.collections.iter().map(row),
        )
    }
}

pub(crate) fn run(context: &Context, args: &CollectionsArgs) -> Outcome<Exit> {
    let home = context.open_home()?;
    let catalogue = block_on(collections::ask(&home, &args.peer, args.address.as_deref()))?;
    let offers = Offers {
        peer: args.peer.clone(),
        collections: catalogue.collections,
    };
    context.print(PROGRAM, &offers)?;
    Ok(Exit::Done)
}
