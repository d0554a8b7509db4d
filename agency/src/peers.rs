//! Peers: the own manifest goes out, theirs come in and are pinned.

use ed25519_dalek::SigningKey as LogKey;
use tallystick_protocol::{
    frame::{Frame, MAX_STATEMENT_BYTES},
    signing::VerifyKey,
    statements::{
        Hex, Int, Line, Manifest, Name, SenderReference, Statement, TlsIdentity as TlsMember,
        open_as_named, sign,
    },
};

use crate::{
    error::{AgencyError, Result},
    home::Home,
    store::Peer,
    tls,
};

/// How long a manifest may be used, if the certificate does not end before.
const MANIFEST_LIFETIME_MS: i64 = 365 * 24 * 3600 * 1000;

/// The own name, as statements carry it.
///
/// # Errors
/// `Usage` if the configuration's name is none.
pub fn own_name(home: &Home) -> Result<Name> {
    home.config()
        .name
        .parse()
        .map_err(|why: &str| AgencyError::Usage(why.to_owned()))
}

/// The own name and signing key, as requests and grants refer to them.
///
/// # Errors
/// Those of opening the key.
pub fn own_reference(home: &Home) -> Result<SenderReference> {
    let key = home.signing_key()?;
    Ok(SenderReference {
        agency: own_name(home)?,
        signing_key: Hex(key.verifying_key().to_bytes()),
    })
}

/// What a peer is called in statements.
///
/// # Errors
/// `Bug` if the store holds a name that is none.
pub fn reference(peer: &Peer) -> Result<SenderReference> {
    Ok(SenderReference {
        agency: peer
            .name
            .parse()
            .map_err(|_| AgencyError::Bug("a stored peer has an invalid name".to_owned()))?,
        signing_key: Hex(peer.signing_key),
    })
}

/// The own manifest, signed: what `peer export` writes.
///
/// # Errors
/// `Certificate` while the national CA has not signed yet.
pub fn export(home: &Home, now_ms: i64) -> Result<Frame> {
    let config = home.config();
    let text = |text: &str| -> Result<Line> {
        text.parse()
            .map_err(|why: &str| AgencyError::Usage(why.to_owned()))
    };
    let identity = home.tls_identity()?;
    let expires = tls::certificate_expires_ms(identity.leaf())?.min(now_ms + MANIFEST_LIFETIME_MS);
    let authority = crate::fs::read_text(&home.authority_file())?;
    let log_key: LogKey = home.log_key()?;
    let key = home.signing_key()?;
    let manifest = Manifest {
        agency: own_name(home)?,
        state: config.state.as_deref().map(text).transpose()?,
        signing_key: Hex(key.verifying_key().to_bytes()),
        log_key: Hex(log_key.verifying_key().to_bytes()),
        tls: TlsMember {
            authority: authority
                .parse()
                .map_err(|why: &str| AgencyError::Usage(format!("tls/ca.crt: {why}")))?,
            spki: vec![Hex(identity.spki_sha256()?)],
        },
        witness_key: None,
        officer_keys: None,
        annex_key: None,
        address: config.advertise_address.as_deref().map(text).transpose()?,
        issued_ms: int(now_ms)?,
        expires_ms: int(expires)?,
    };
    Ok(sign(&manifest, &key.into())?)
}

/// A peer's manifest, checked and ready to be pinned.
#[derive(Debug)]
pub struct Import {
    /// What goes into the store.
    pub peer: Peer,
    /// What both people read to each other: SHA-256 of the signing key.
    pub fingerprint: String,
}

/// Checks the bytes of a peer file. Its signature proves that it is whole, not whose it is: the
/// fingerprint must be compared out of band.
///
/// # Errors
/// `Peer` for bytes that are no manifest; `Usage` for the own one or one that has ended.
pub fn import(home: &Home, bytes: Vec<u8>, now_ms: i64) -> Result<Import> {
    if bytes.len() > MAX_STATEMENT_BYTES + 16 {
        return Err(AgencyError::Usage(
            "a peer file is smaller than 64 KiB".to_owned(),
        ));
    }
    let manifest: Manifest = open_as_named(&Frame::from_bytes(bytes.clone())?)?;
    if manifest.agency == own_name(home)?
        || manifest.author() == own_reference(home)?.signing_key.into()
    {
        return Err(AgencyError::Usage(
            "this is this agency's own name or key; a peer is another agency".to_owned(),
        ));
    }
    let expires_ms = i64::try_from(manifest.expires_ms.get()).unwrap_or(i64::MAX);
    if expires_ms <= now_ms {
        return Err(AgencyError::Usage(
            "this manifest has ended; ask the peer for a new one (`tallyd peer export`)".to_owned(),
        ));
    }
    let authorities = tls::parse_certificates(manifest.tls.authority.as_str(), "peer's authority")?;
    let peer = Peer {
        name: manifest.agency.to_string(),
        manifest: bytes,
        signing_key: manifest.signing_key.0,
        tls_pins: manifest.tls.spki.iter().map(|spki| spki.0).collect(),
        authorities: authorities.iter().map(|der| der.to_vec()).collect(),
        address: manifest.address.as_ref().map(ToString::to_string),
        added_ms: now_ms,
        expires_ms,
        revoked_ms: None,
    };
    Ok(Import {
        peer,
        fingerprint: VerifyKey(manifest.signing_key.0).key_id(),
    })
}

/// A time as statements write it.
///
/// # Errors
/// `Bug` before 1970.
pub fn int(ms: i64) -> Result<Int> {
    let ms = u64::try_from(ms).map_err(|_| AgencyError::Bug("a time before 1970".to_owned()))?;
    Ok(Int::new(ms)?)
}
