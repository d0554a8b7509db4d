//! What a peer's status and the client's own troubles mean for the person who typed the command.

use tallystick_agency::{
    AgencyError,
    exit::{Exit, Failure},
    tls,
};
use tallystick_protocol::statements::{Line, Name};
use tonic::{Code, Status};

/// A peer's status: its message starts with a stable code (`code: text`).
pub(crate) fn from_status(status: &Status, what_was_charged: &str) -> Failure {
    if let Some(source) = std::error::Error::source(status) {
        // Our own refusal of the peer's certificate, or its refusal of ours, hides in the transport.
        let error = tls::classify(source);
        if !matches!(error, AgencyError::Network(_)) {
            return error.into();
        }
    }
    // The peer chooses these words: they are shown only if they cannot deceive.
    let message = status.message();
    let (code, text) = message.split_once(": ").unwrap_or(("network", message));
    let code = if code.parse::<Name>().is_ok() {
        code
    } else {
        "network"
    };
    let text = if text == "http2 error" {
        "what it says is no HTTP/2; it may be no node at all"
    } else if text.parse::<Line>().is_ok() {
        text
    } else {
        "it gave no reason"
    };
    let (exit, next) = match status.code() {
        Code::InvalidArgument => (
            Exit::PeerFault,
            "the peer says that our bytes break the protocol; compare versions with `--version`",
        ),
        Code::PermissionDenied | Code::ResourceExhausted => (
            Exit::Refused,
            "ask the peer what its policy allows; see `tally collections --peer`",
        ),
        Code::NotFound => (
            Exit::Refused,
            "see `tally collections --peer` for what it offers",
        ),
        Code::OutOfRange | Code::Unimplemented => (
            Exit::PeerFault,
            "the peer speaks something else; check its address and version",
        ),
        Code::Internal => (
            Exit::Network,
            "tell the peer's operator, whose log says more; then run the same command again",
        ),
        _ => (
            Exit::Network,
            "run the same command again to go on where it stopped",
        ),
    };
    let what = match what_was_charged {
        "" => format!("the peer ended it: {text}"),
        charged => format!("the peer ended it: {text} ({charged})"),
    };
    Failure::new(exit, code, what, next)
}

/// A failure to write what a closed session found: what it means for the charge.
pub(crate) fn after_the_charge(failure: Failure) -> Failure {
    if failure.code != "table-changed" {
        return failure;
    }
    Failure {
        next: "what was sent stays charged: with the table as it was, the same command writes the \
               matches without asking again; as it is now it is another session"
            .to_owned(),
        ..failure
    }
}

/// A fault of this program.
pub(crate) fn bug(what: impl Into<String>) -> Failure {
    Failure::new(
        Exit::Bug,
        "bug",
        what,
        "please report it with the command that was typed",
    )
}
