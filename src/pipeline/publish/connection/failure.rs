//! Why a connection ended or never came about, in one sentence that an operator can act on. What
//! the libraries say of TLS names their own parts; what matters is which file or key to look at.

use std::{error::Error, fmt::Write, io};

use rumqttc::TlsError;
use rustls::{AlertDescription, CertificateError, Error as RustlsError};

use crate::config::{self, MqttSettings};

/// What an event loop ends with.
#[derive(Debug)]
pub(super) enum Failure {
    /// The broker said no.
    Refused(&'static str),
    /// The connection was not made yet, or TLS not agreed upon.
    Handshake(io::Error),
    /// The connection broke.
    Broken(io::Error),
    /// The broker closed it without a word.
    Closed,
    /// What came is no MQTT, or not what should have come.
    Garbled(String),
    /// Anything else, in words.
    Other(String),
}

impl Failure {
    pub(super) fn tls(error: TlsError) -> Self {
        match error {
            TlsError::Io(error) => Self::Handshake(error),
            other => Self::Other(other.to_string()),
        }
    }

    /// In words; `accepted` is whether the broker had accepted the connection before.
    pub(super) fn explain(self, settings: &MqttSettings, accepted: bool) -> String {
        let port = settings.port;
        let is_first = !accepted;
        match (self, &settings.tls) {
            (Self::Refused(reason), _) => format!("refused: {reason}"),
            (Self::Other(problem), _) => problem,
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
            (Self::Garbled(_), None) if is_first => format!(
                "what came back is no MQTT; does the broker want TLS on port {port} (section \
                 [mqtt.tls])?"
            ),
            (Self::Garbled(problem), _) => format!("what the broker sent is no MQTT: {problem}"),
            (Self::Handshake(error) | Self::Broken(error), _) => error.to_string(),
        }
    }
}

/// The broker closed the connection instead of answering, and a broker that answers gives a
/// reason. So it did not get as far as MQTT.
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
            "what came back is no TLS; does the broker speak TLS on port {}?",
            settings.port
        ),
        Some(RustlsError::PeerIncompatible(problem)) => format!(
            "this client and the broker have no kind of TLS in common ({problem:?}); 1.2 and 1.3 \
             are spoken here"
        ),
        _ => chain(error),
    }
}

/// What is wrong with the broker's certificate.
fn explain_certificate(problem: &CertificateError, host: &str) -> String {
    match problem {
        // A signature that does not fit: another authority has the name of ours.
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
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = if presented.is_empty() {
                "no name at all".to_owned()
            } else {
                let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
                names.join(", ")
            };
            format!("the broker's certificate is for {names}, and mqtt.host is `{host}`")
        }
        CertificateError::NotValidForName => {
            format!("the broker's certificate is for another name than mqtt.host, `{host}`")
        }
        other => format!("the broker's certificate cannot be trusted: {other}"),
    }
}

/// A name without the kind of name that stands around it, as in `DnsName("broker")`.
fn bare(name: &str) -> &str {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// What the broker has against this end.
fn explain_alert(alert: AlertDescription, settings: &MqttSettings) -> String {
    let shows_one = settings
        .tls
        .as_ref()
        .is_some_and(config::TlsSettings::has_certificate);
    let problem = match alert {
        AlertDescription::CertificateRequired => "it requires one",
        // Before TLS 1.3 there is no word for a certificate that is missing.
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

/// An error with its causes.
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
