//! The signed request of a session.

use tallystick_agency::{
    build, clock,
    collections::profile_reference,
    exit::{Failure, Outcome},
    peers::{int, own_reference, reference},
    store::Peer,
};
use tallystick_protocol::{
    identifiers::Profile,
    statements::{Hex, Line, Mode, PROTOCOL, Query, Receiver, Request, SUITE},
};

use super::{Asker, Grounds};

/// What is asked of a collection.
pub(crate) struct Intent<'a> {
    /// What makes a session the same when it is begun again, see [`Asker::taken`].
    pub(crate) digest: [u8; 32],
    /// The grounds.
    pub(crate) grounds: &'a Grounds,
    /// The profile of its elements.
    pub(crate) profile: &'a Profile,
    /// One entry a type, types ascending.
    pub(crate) queries: Vec<Query>,
    /// How long the request lives.
    pub(crate) lifetime_seconds: u32,
}

impl Asker<'_> {
    /// The request, before it is signed, and the sealed claims behind its commitments.
    pub(super) async fn request(
        &self,
        ask: &Intent<'_>,
        peer: &Peer,
        session: Hex<16>,
    ) -> Outcome<(Request, Option<Vec<u8>>)> {
        let me = own_reference(self.home)?;
        let now = clock::now_ms();
        let state = self.home.config().state.as_deref();
        let state = state.map(str::parse::<Line>).transpose();
        let grounds = ask.grounds.sign(self.home, &session)?;
        let previous = self.store.last_record(&peer.name).await?;
        let request = Request {
            protocol: PROTOCOL.to_owned(),
            suite: SUITE.to_owned(),
            session,
            build: build::line()?,
            receiver: Receiver {
                agency: me.agency,
                state: state.map_err(|why| Failure::usage("config", why, "see node.toml"))?,
                signing_key: me.signing_key,
                tls_spki: Hex(self.home.tls_identity()?.spki_sha256()?),
            },
            sender: reference(peer)?,
            collection: self.collection.clone(),
            mode: Mode::Elements,
            profile: profile_reference(ask.profile)?,
            legal: grounds.legal,
            persons: grounds.persons,
            queries: ask.queries.clone(),
            set_commitment: None,
            authorisation: None,
            // Filled in where the request is signed.
            nonce_commitment: Hex([0; 32]),
            previous: previous.map(|record| Hex(record.digest)),
            issued_ms: int(now)?,
            expires_ms: int(now + i64::from(ask.lifetime_seconds) * 1000)?,
        };
        Ok((request, grounds.claims))
    }
}
