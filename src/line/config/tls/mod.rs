//! `[mqtt.tls]`: from the files that it names to what a connection needs.
//!
//! The files are read at the start, so that an invalid one is found before anything runs, and again
//! at each connection, so that a renewed certificate is used from the next one on.
//!
//! Trust is explicit: `ca` lists the authorities that may have issued the broker's certificate, and
//! nothing else counts, not even the system's. To include those, name their file.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, Error, RootCertStore};
use tracing::warn;
use webpki::{EndEntityCert, KeyUsage};

use super::{ConfigError, Document, FileError, Tls};

mod pem;

const CA: &str = "mqtt.tls.ca";
const CERTIFICATE: &str = "mqtt.tls.certificate";
const KEY: &str = "mqtt.tls.key";
const CREDENTIAL: &str = "mqtt.tls.key_credential";

/// A certificate that expires sooner than this causes a warning.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How a connection is encrypted, and what this end presents: the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    ca: PathBuf,
    identity: Option<Identity>,
}

/// The files of this end's certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    /// The configuration's key that named `key`.
    key_key: &'static str,
}

impl TlsSettings {
    /// Returns whether this end can present a certificate.
    pub fn has_certificate(&self) -> bool {
        self.identity.is_some()
    }

    /// Returns the files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let identity = self.identity.iter();
        let own = identity.flat_map(|it| [&*it.certificate, &*it.key]);
        std::iter::once(&*self.ca).chain(own)
    }

    /// Reads the files into what the client library needs.
    ///
    /// # Errors
    /// [`FileError`] for a file that cannot be read or used.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, FileError> {
        let (roots, _) = self.roots()?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has what the versions need")
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = (identity.chain()?, identity.key()?);
                builder
                    .with_client_auth_cert(chain.clone(), key.clone_key())
                    .map_err(|error| identity.objection(&error, &chain, &key))?
            }
        };
        Ok(Arc::new(config))
    }

    /// Reads the authorities; also returns how many certificates in their file cannot be used.
    fn roots(&self) -> Result<(RootCertStore, usize), FileError> {
        let mut roots = RootCertStore::empty();
        let mut unusable = Vec::new();
        for certificate in pem::certificates(CA, &self.ca)? {
            if let Err(error) = roots.add(certificate) {
                unusable.push(error);
            }
        }
        match unusable.first() {
            Some(error) if roots.is_empty() => {
                let problem = format!("no certificate in it can be used: {error}");
                Err(FileError::unusable(CA, &self.ca, problem))
            }
            _ => Ok((roots, unusable.len())),
        }
    }

    /// Warns about what does not prevent a connection here but may do so elsewhere.
    fn warn(&self) -> Result<(), FileError> {
        let (roots, unusable) = self.roots()?;
        if unusable > 0 {
            warn!(
                path = %self.ca.display(),
                usable = roots.len(),
                unusable,
                "Certificates that cannot be used are left out"
            );
        }
        let Some(identity) = &self.identity else {
            return Ok(());
        };
        let chain = identity.chain()?;
        let path = identity.certificate.display();
        let now = UnixTime::now();
        let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + SOON);
        let objection =
            |certificate| objection(certificate, now).or_else(|| objection(certificate, soon));
        // The broker's clock decides, so it is not an error here.
        if let Some(objection) = chain.first().and_then(objection) {
            warn!(%path, "The client certificate {objection}");
        }
        if let Some(number) = first_gap(&chain) {
            warn!(
                %path,
                number,
                "The certificates do not follow each other: each has to be signed by the next"
            );
        }
        Ok(())
    }
}

impl Identity {
    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, FileError> {
        pem::certificates(CERTIFICATE, &self.certificate)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, FileError> {
        pem::private_key(self.key_key, &self.key)
    }

    /// Translates the library's objection to certificates and key into a message that says how to
    /// fix it.
    fn objection(
        &self,
        error: &Error,
        chain: &[CertificateDer<'static>],
        key: &PrivateKeyDer<'static>,
    ) -> FileError {
        let is_of_version_1 = |it: &CertificateDer<'_>| {
            let parsed = EndEntityCert::try_from(it);
            matches!(parsed, Err(webpki::Error::UnsupportedCertVersion))
        };
        if chain.first().is_some_and(is_of_version_1) {
            let problem = "is a certificate of X.509 version 1, which is not taken; have it signed \
                           again with extensions, as with `openssl x509 -req … -extfile FILE`, \
                           where FILE holds the line extendedKeyUsage=clientAuth";
            return FileError::unusable(CERTIFICATE, &self.certificate, problem);
        }
        match error {
            Error::InconsistentKeys(_) => match chain.iter().position(|it| belongs_to(key, it)) {
                Some(position) => FileError::unusable(
                    CERTIFICATE,
                    &self.certificate,
                    format!(
                        "the certificates are in the wrong order: the one that belongs to {} is \
                         number {} and has to come first, each of the others behind the one that \
                         it has signed",
                        self.key.display(),
                        position + 1
                    ),
                ),
                None => FileError::unusable(
                    self.key_key,
                    &self.key,
                    format!(
                        "is not the key of the first certificate in {}",
                        self.certificate.display()
                    ),
                ),
            },
            // The key's parser mentions kinds of keys, never a key's content.
            Error::General(problem) => FileError::unusable(
                self.key_key,
                &self.key,
                format!(
                    "{problem}; a key may be ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits or \
                     more"
                ),
            ),
            other => FileError::unusable(CERTIFICATE, &self.certificate, other.to_string()),
        }
    }
}

fn belongs_to(key: &PrivateKeyDer<'static>, certificate: &CertificateDer<'static>) -> bool {
    let signing = ring::sign::any_supported_type(key).ok();
    signing.is_some_and(|signing| {
        let pair = CertifiedKey::new(vec![certificate.clone()], signing);
        pair.keys_match().is_ok()
    })
}

/// Returns the number, from 1, of the first certificate that is not followed by its issuer's.
fn first_gap(chain: &[CertificateDer<'static>]) -> Option<usize> {
    let follows = |pair: &[CertificateDer<'static>]| {
        let [this, next] = pair else { return true };
        match (EndEntityCert::try_from(this), EndEntityCert::try_from(next)) {
            (Ok(this), Ok(next)) => this.issuer() == next.subject(),
            // What cannot be read is not judged.
            _ => true,
        }
    };
    let gap = chain.windows(2).position(|pair| !follows(pair))?;
    Some(gap + 1)
}

impl Tls {
    /// Reads the files once; `host` is the name that the broker's certificate must be valid for.
    pub(crate) fn validate(
        &self,
        host: &str,
        document: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<TlsSettings, ConfigError> {
        if server_name(host).is_err() {
            return Err(document.value_error(
                "mqtt.host",
                format!(
                    "`{host}` is neither a DNS name nor an address, so no certificate can be for it"
                ),
            ));
        }
        let ca = self.ca.as_deref().ok_or_else(|| {
            document.value_error(
                CA,
                "is missing: a PEM file with the certificate of the authority that has signed \
                 the broker's; for the authorities that the system trusts, \
                 \"/etc/ssl/certs/ca-certificates.crt\"",
            )
        })?;
        let settings = TlsSettings {
            ca: document.path(CA, ca)?,
            identity: self.identity(document, variables)?,
        };
        let read = settings.client_config().and_then(|_| settings.warn());
        read.map_err(|error| document.refuse(error))?;
        Ok(settings)
    }

    fn identity(
        &self,
        document: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<Option<Identity>, ConfigError> {
        let key = match (&self.key, &self.key_credential) {
            (None, None) => None,
            (Some(path), None) => Some((KEY, document.path(KEY, path)?)),
            (None, Some(name)) => Some((
                CREDENTIAL,
                document.credential(CREDENTIAL, name, variables)?,
            )),
            (Some(_), Some(_)) => {
                return Err(document.value_error(
                    KEY,
                    "the key is given twice; keep one of key and key_credential",
                ));
            }
        };
        match (&self.certificate, key) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(document.value_error(
                KEY,
                "is missing, although a certificate is given; name a file with `key`, or a \
                 systemd credential with `key_credential`",
            )),
            (None, Some(_)) => {
                Err(document.value_error(CERTIFICATE, "is missing, although a key is given"))
            }
            (Some(path), Some((key_key, key))) => Ok(Some(Identity {
                certificate: document.path(CERTIFICATE, path)?,
                key,
                key_key,
            })),
        }
    }
}

/// Returns what is wrong with presenting this certificate to a broker at that time, if anything.
fn objection(certificate: &CertificateDer<'_>, time: UnixTime) -> Option<String> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    // The broker checks the authority. Without one, the certificate itself is checked first, and
    // only then is the missing authority reported.
    let verdict = certificate.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &[],
        &[],
        time,
        KeyUsage::client_auth(),
        None,
        None,
    );
    match verdict.err()? {
        webpki::Error::CertExpired { not_after, .. } => {
            let word = if not_after.as_secs() < UnixTime::now().as_secs() {
                "expired"
            } else {
                "expires soon,"
            };
            Some(format!("{word} on {}", date(not_after)))
        }
        webpki::Error::CertNotValidYet { not_before, .. } => Some(format!(
            "is not valid before {}; is the clock right?",
            date(not_before)
        )),
        webpki::Error::RequiredEkuNotFoundContext(_) => {
            Some("is not meant for clients (extended key usage)".to_owned())
        }
        _ => None,
    }
}

/// Returns the name that the broker's certificate must be valid for: `host`, but no certificate
/// names the interface of an address such as `fe80::1%eth0`.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    let name = match host.split_once('%') {
        Some((address, _)) if address.parse::<Ipv6Addr>().is_ok() => address,
        _ => host,
    };
    ServerName::try_from(name.to_owned())
}

/// Formats a human-readable date.
pub(crate) fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "some day".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests;
