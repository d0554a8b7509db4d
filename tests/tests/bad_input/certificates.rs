//! Who shows which certificate.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{CertificateSigningRequestParams, Issuer, KeyPair, date_time_ymd};
use tallystick_agency::{
    fs::{OWNER_FILE, atomic_write},
    tls,
};
use tallystick_tests::place::Place;

use crate::{Stage, refused, wait_for, wire::skewed};

const TELEPHONE: &str = "speak to the peer by telephone";

/// Gives a home another certificate for its own key, from its own authority, whose time is over in
/// so many seconds, or was over so many ago.
fn ends_in(place: &Place, name: &str, seconds: i64) {
    let home = place.home(name);
    let read = |path| fs::read_to_string(path).unwrap();
    let key = home.keys().open_secret("dev-ca").unwrap();
    let key = KeyPair::try_from(&key[..]).unwrap();
    let authority = Issuer::from_ca_cert_pem(&read(home.authority_file()), key).unwrap();
    let request = CertificateSigningRequestParams::from_pem(&read(home.request_file()));
    let mut request = request.unwrap();
    // There is no word for now in rcgen.
    let start = date_time_ymd(2020, 1, 1);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let since = now.checked_add_signed(seconds).unwrap() - 1_577_836_800;
    request.params.not_before = start;
    request.params.not_after = start + Duration::from_secs(since);
    let certificate = request.signed_by(&authority).unwrap();
    show(place, name, &certificate.pem());
}

/// What a home shows from now on.
fn show(place: &Place, name: &str, certificate: &str) {
    let file = place.home(name).certificate_file();
    atomic_write(&file, certificate.as_bytes(), OWNER_FILE).unwrap();
}

/// A home's own key, certified by an authority of this name that nobody has pinned.
fn from_another_authority(place: &Place, name: &str, authority: &str) {
    let request = fs::read_to_string(place.home(name).request_file()).unwrap();
    let key = tls::generate_key().unwrap();
    let authority = tls::dev_ca(authority, &key).unwrap();
    show(
        place,
        name,
        &tls::dev_ca_sign(&authority, &key, &request).unwrap(),
    );
}

/// Another key for a home, certified by its own authority: right authority, not on the list.
fn another_key(place: &Place, name: &str) {
    let home = place.home(name);
    let key = tls::generate_key().unwrap();
    let request = tls::signing_request(name, None, &key).unwrap();
    let authority = fs::read_to_string(home.authority_file()).unwrap();
    let authority_key = home.keys().open_secret("dev-ca").unwrap();
    home.keys().seal_secret("tls", &key).unwrap();
    show(
        place,
        name,
        &tls::dev_ca_sign(&authority, &authority_key, &request).unwrap(),
    );
}

/// The holder logs that, once the refused one has gone.
fn logged(stage: &Stage, what: &str) {
    wait_for(what, || stage.serving.log().contains(what).then_some(()));
}

#[test]
fn an_own_certificate_that_has_expired_is_noticed_before_anybody_is_asked() {
    let stage = Stage::new();
    stage.spoiled("h");
    ends_in(&stage.place, "h", -60);
    let says = [
        "h/tls/node.crt",
        "ended on",
        "have",
        "node.csr signed again",
        "tallyd peer export",
    ];
    stage.refused(&stage.ask_as("h"), 2, "certificate", &says);
    stage.refused("tallyd serve --home h", 2, "certificate", &says);
    assert!(!stage.serving.log().contains("connection refused"));
    ends_in(&stage.place, "h", 3600);
    stage.good_as("h");
}

#[test]
fn a_peer_whose_certificate_has_expired_is_refused() {
    let stage = Stage::configured(|place| ends_in(place, "holder", 3600));
    stage.good();
    // Two hours later, by the asker's clock.
    let Some(ended) = skewed(&stage, "asker", 7_200_000) else {
        return;
    };
    let says = [
        "holder",
        "has expired or is not valid yet",
        "look at this machine's clock",
    ];
    crate::judged(&ended, "expired", 3, "expired-certificate", &says);
    stage.good();
}

#[test]
fn an_asker_whose_certificate_has_expired_is_refused_and_told_why() {
    let stage = Stage::new();
    stage.spoiled("h");
    ends_in(&stage.place, "h", -100);
    // By its own clock, which is slow, all is well.
    let before = stage.state();
    let Some(ended) = skewed(&stage, "h", -200_000) else {
        return;
    };
    let says = [
        "the peer refused our certificate",
        "it says: expired",
        "tallyd check",
    ];
    crate::judged(&ended, "expired", 3, "refused-by-peer", &says);
    assert_eq!(stage.state(), before);
    logged(&stage, "\"expired-certificate\"");
    stage.good();
}

#[test]
fn an_unknown_certificate_is_refused_on_both_sides() {
    let stage = Stage::new();
    // Knows the holder, and is not known to it.
    stage.place.init("stranger");
    stage.place.introduce("stranger", "holder");
    let before = stage.state();
    let says = ["refused our certificate", "it says: unknown", "manifest"];
    refused(
        &stage.place,
        &stage.ask_as("stranger"),
        3,
        "refused-by-peer",
        &says,
    );
    logged(&stage, "\"unknown-certificate\"");
    // Somebody else's node where the holder should be.
    let other = stage.place.serve("stranger");
    let address = other.address.to_string();
    let line = crate::ask("asker", &address);
    let says = [&address[..], "pinned certificate of holder", TELEPHONE];
    refused(&stage.place, &line, 3, "unknown-certificate", &says);
    assert_eq!(stage.state(), before);
    stage.good();
}

#[test]
fn a_wrong_authority_is_refused_on_both_sides() {
    let stage = Stage::new();
    stage.spoiled("h");
    // Of another name, and of the name that is pinned.
    for authority in ["other", "asker"] {
        from_another_authority(&stage.place, "h", authority);
        let says = [
            "refused our certificate",
            "it says: wrong authority",
            "tallyd check",
        ];
        stage.refused(&stage.ask_as("h"), 3, "refused-by-peer", &says);
    }
    logged(&stage, "\"wrong-ca\"");
    assert!(!stage.serving.log().contains("\"unknown-certificate\""));
    stage.good();
    drop(stage);
    for authority in ["other", "holder"] {
        let stage = Stage::configured(|place| from_another_authority(place, "holder", authority));
        let says = ["not from its pinned authority", TELEPHONE];
        stage.refused(&stage.ask(), 3, "wrong-ca", &says);
    }
}

#[test]
fn a_right_authority_does_not_put_anybody_on_the_list() {
    let stage = Stage::new();
    stage.spoiled("h");
    another_key(&stage.place, "h");
    let says = ["refused our certificate", "not on its list"];
    stage.refused(&stage.ask_as("h"), 3, "refused-by-peer", &says);
    logged(&stage, "\"not-on-list\"");
    stage.good();

    let stage = Stage::configured(|place| another_key(place, "holder"));
    let says = ["not on the list", TELEPHONE];
    refused(&stage.place, &stage.ask(), 3, "not-on-list", &says);
    assert_eq!(stage.place.read("hits.csv"), crate::BEFORE);
}

/// A certificate for another key than the home's.
#[test]
fn a_certificate_of_another_key_is_refused() {
    let stage = Stage::new();
    stage.spoiled("h");
    let holders = fs::read_to_string(stage.place.home("holder").certificate_file()).unwrap();
    let own = fs::read_to_string(stage.place.home("h").certificate_file()).unwrap();
    let says = ["node.crt", "not for this node's key", "node.csr signed"];
    for (text, says) in [
        (holders.as_str(), &says[..]),
        ("", &["node.crt", "holds no certificate"]),
        (
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            &["node.crt", "not PEM"],
        ),
    ] {
        show(&stage.place, "h", text);
        stage.refused(&stage.ask_as("h"), 2, "certificate", says);
        stage.refused("tallyd serve --home h", 2, "certificate", says);
    }
    fs::remove_file(stage.place.home("h").certificate_file()).unwrap();
    let says = ["node.crt", "is not there", "have your CA sign"];
    stage.refused(&stage.ask_as("h"), 2, "certificate", &says);
    show(&stage.place, "h", &own);
    stage.good_as("h");
}
