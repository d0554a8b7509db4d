//! What a peer offers this agency.

use tallystick_agency::{AgencyError, exit::Outcome, home::Home, peers::own_reference};
use tallystick_protocol::{
    error::Error,
    frame::Frame,
    signing::VerifyKey,
    statements::{Catalogue, open},
};
use tallystick_wire::CatalogueRequest;

use crate::connect::{Connected, NOTHING, connect};

/// Asks a peer for its signed catalogue.
///
/// # Errors
/// A failure with its exit code.
pub async fn ask(home: &Home, peer: &str, address: Option<&str>) -> Outcome<Catalogue> {
    let store = home.store().await?;
    let mut connected = connect(home, &store, peer, address).await?;
    catalogue(home, &mut connected).await
}

/// Fetches and checks the catalogue over a connection that stands.
pub(crate) async fn catalogue(home: &Home, connected: &mut Connected) -> Outcome<Catalogue> {
    let trouble = connected.trouble.clone();
    let asking = async {
        let answer = connected.client.catalogue(CatalogueRequest {}).await;
        answer.map_err(|status| trouble.failure(&status, NOTHING))
    };
    let envelope = connected.patience.wait(NOTHING, asking).await?.into_inner();
    let frame = Frame::try_from(envelope).map_err(AgencyError::from)?;
    let key = VerifyKey(connected.peer.signing_key);
    let catalogue: Catalogue = open(&frame, &key).map_err(AgencyError::from)?;
    let to_us = catalogue.receiver == own_reference(home)?;
    if !to_us || catalogue.sender.agency.as_str() != connected.peer.name {
        let error = Error::Mismatch {
            what: "catalogue",
            field: "receiver or sender",
        };
        return Err(AgencyError::from(error).into());
    }
    Ok(catalogue)
}
