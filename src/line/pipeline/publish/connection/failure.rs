//! Why a connection ended or was never established, in one sentence that an operator can act on.
//! The libraries' TLS errors name their own internals; what matters is which file or key to check.

use std::error::Error;
use std::fmt::Write;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error as RustlsError, OtherError};

use super::decode::{Malformed, OtherServer};
use crate::line::config::{self, FileError, MqttSettings};
use crate::messages::with_causes;

/// Where to find out how certificates are made.
const RECIPE: &str = "docs/mqtt.md has the commands";

/// Why there is no connection, or no longer one, as an operator reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionLost {
    /// The broker refused or closed it, or it broke: what happened, and what to check.
    #[error("{0}")]
    Explained(String),
    /// The attempt has not ended in time.
    #[error("no answer")]
    NoAnswer,
    /// Subscriptions could not be handed over.
    #[error("the client does not take a subscription")]
    NotSubscribed,
    /// The broker is connected and acknowledges nothing.
    #[error(
        "the broker acknowledges nothing; the connection was cut, so that nothing arrives late"
    )]
    Stalled,
}

/// What ended a connection, or kept it from being established.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The broker refused the connection.
    Refused(String),
    /// The system cannot resolve the broker's name.
    LookUp(io::Error),
    /// The connection was not yet established, or TLS not yet negotiated.
    Handshake(io::Error),
    /// The connection broke.
    Broken(io::Error),
    /// The broker closed it without giving a reason.
    Closed,
    /// The first bytes are not a broker's.
    NotABroker(OtherServer),
    /// What arrived is not MQTT, or not the expected packet.
    Garbled(String),
    /// Anything else, as text.
    Other(String),
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::Other(with_causes(&error))
    }
}

impl Failure {
    /// Creates the failure for something that has not arrived within its limit.
    pub(crate) fn late(what: &str, limit: Duration) -> Self {
        Self::Other(format!("{what} within {limit:?}"))
    }

    /// Returns whether the other end has given a reason, which the mere end of a connection is not.
    pub(crate) fn is_reason(&self) -> bool {
        match self {
            Self::Closed => false,
            Self::Broken(error) => rustls_error(error).is_some(),
            _ => true,
        }
    }

    /// Returns the explanation; `accepted` is whether the broker had accepted the connection
    /// before.
    pub(crate) fn explain(self, settings: &MqttSettings, accepted: bool) -> String {
        let port = settings.port;
        let is_first = !accepted;
        match (self, &settings.tls) {
            (Self::Refused(reason), _) => format!("refused: {reason}"),
            (Self::Other(problem), _) => problem,
            (Self::LookUp(error), _) => {
                format!("cannot find the address of `{}`: {error}", settings.host)
            }
            (Self::Handshake(error) | Self::Broken(error), _) if rustls_error(&error).is_some() => {
                explain_tls(&error, settings)
            }
            (Self::Handshake(error), Some(_)) if is_end(&error) => format!(
                "the broker ended the connection while TLS was being agreed upon; does it speak \
                 TLS on port {port}?"
            ),
            (Self::Broken(error), tls) if is_first && is_end(&error) => {
                closed_at_first(port, tls.as_ref())
            }
            (Self::Closed, tls) if is_first => closed_at_first(port, tls.as_ref()),
            (Self::Closed, _) => "the broker closed the connection".to_owned(),
            (Self::NotABroker(OtherServer::Web), _) => format!(
                "a web server (HTTP) answers on port {port}; a broker's port for WebSocket is not \
                 its port for MQTT, which mqtt.port has to name"
            ),
            (Self::NotABroker(OtherServer::Ssh), _) => {
                format!("an SSH server answers on port {port}; see mqtt.port")
            }
            (Self::NotABroker(OtherServer::Unknown), Some(_)) => {
                format!("the answer is not MQTT; see mqtt.port, which is {port}")
            }
            (Self::NotABroker(OtherServer::Unknown), None) => not_mqtt(port),
            (Self::Garbled(_), None) if is_first => not_mqtt(port),
            (Self::Garbled(problem), _) => format!("what the broker sent is not MQTT: {problem}"),
            (Self::Handshake(error) | Self::Broken(error), _) => error.to_string(),
        }
    }
}

impl From<Malformed> for Failure {
    fn from(problem: Malformed) -> Self {
        Self::Garbled(problem.to_string())
    }
}

/// Explains that the broker closed the connection instead of answering. A broker that answers gives
/// a reason, so it did not get as far as MQTT.
fn closed_at_first(port: u16, tls: Option<&config::TlsSettings>) -> String {
    let guess = match tls {
        None => format!("does it want TLS on port {port} (section [mqtt.tls])?"),
        Some(tls) if tls.has_certificate() => {
            "it may not accept the client certificate (mqtt.tls.certificate)".to_owned()
        }
        Some(_) => "it may require a client certificate (mqtt.tls.certificate)".to_owned(),
    };
    format!("the broker closed the connection without an answer; {guess}")
}

fn not_mqtt(port: u16) -> String {
    format!("the answer is not MQTT; does the broker want TLS on port {port} (section [mqtt.tls])?")
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

fn rustls_error(error: &io::Error) -> Option<&RustlsError> {
    error.get_ref()?.downcast_ref()
}

fn explain_tls(error: &io::Error, settings: &MqttSettings) -> String {
    let host = &settings.host;
    match rustls_error(error) {
        Some(RustlsError::InvalidCertificate(problem)) => explain_certificate(problem, host),
        Some(RustlsError::AlertReceived(alert)) => explain_alert(*alert, settings),
        Some(RustlsError::InvalidMessage(_)) => format!(
            "the answer is not TLS; does the broker speak TLS on port {}?",
            settings.port
        ),
        Some(RustlsError::PeerIncompatible(problem)) => format!(
            "this client and the broker have no kind of TLS in common ({problem:?}); 1.2 and 1.3 \
             are spoken here"
        ),
        _ => chain(error),
    }
}

/// Explains what is wrong with the broker's certificate.
fn explain_certificate(problem: &CertificateError, host: &str) -> String {
    match problem {
        // An invalid signature: another authority has the same name as ours.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the broker's certificate is not signed by an authority in mqtt.tls.ca".to_owned()
        }
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "the broker's certificate expired on {}, or this machine's clock is wrong",
            config::date(*not_after)
        ),
        CertificateError::Expired => {
            "the broker's certificate has expired, or this machine's clock is wrong".to_owned()
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the broker's certificate is not valid before {}, or this machine's clock is wrong",
            config::date(*not_before)
        ),
        CertificateError::NotValidYet => {
            "the broker's certificate is not valid yet, or this machine's clock is wrong".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            format!(
                "the broker's certificate has no subjectAltName, and a common name does not \
                 count; it has to be for mqtt.host, `{host}` ({RECIPE})"
            )
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let names = names.join(", ");
            format!("the broker's certificate is for {names}, and mqtt.host is `{host}`")
        }
        CertificateError::NotValidForName => {
            format!("the broker's certificate is for another name than mqtt.host, `{host}`")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the broker's certificate is not meant for servers (extended key usage)".to_owned()
        }
        CertificateError::BadEncoding => {
            "the broker's certificate cannot be read; it may be damaged".to_owned()
        }
        CertificateError::Other(OtherError(cause)) => explain_kind(cause.as_ref()),
        other => format!("the broker's certificate cannot be trusted: {other}"),
    }
}

/// Explains certificates of a kind that no server may present.
fn explain_kind(cause: &(dyn Error + Send + Sync + 'static)) -> String {
    match cause.downcast_ref() {
        Some(webpki::Error::CaUsedAsEndEntity) => format!(
            "the broker shows an authority's certificate as its own, such as `openssl req -x509` \
             makes; it needs one that an authority has signed ({RECIPE})"
        ),
        Some(webpki::Error::UnsupportedCertVersion) => format!(
            "the broker's certificate is of X.509 version 1, which has no place for the name of a \
             server; it has to be of version 3, with a subjectAltName ({RECIPE})"
        ),
        _ => format!(
            "the broker's certificate cannot be trusted: {}",
            chain(cause)
        ),
    }
}

/// Strips the kind of name around a name, as in `DnsName("broker")`.
fn bare(name: &str) -> &str {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// Explains the broker's objection to this end.
fn explain_alert(alert: AlertDescription, settings: &MqttSettings) -> String {
    let shows_one = settings
        .tls
        .as_ref()
        .is_some_and(config::TlsSettings::has_certificate);
    let problem = match alert {
        AlertDescription::CertificateRequired => "it requires one",
        // Before TLS 1.3 there is no alert for a missing certificate.
        AlertDescription::HandshakeFailure if !shows_one => "it may require one",
        AlertDescription::UnknownCA => "it does not know the authority that has signed it",
        AlertDescription::CertificateExpired => "it has expired, or the broker's clock is wrong",
        AlertDescription::CertificateRevoked => "it has been revoked",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => "it cannot be used",
        other => return format!("the broker ended the agreement on TLS: {other:?}"),
    };
    format!("the broker does not accept the client certificate (mqtt.tls.certificate): {problem}")
}

/// Formats an error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        write!(text, ": {error}").ok();
        cause = error.source();
    }
    text
}
