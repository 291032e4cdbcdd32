//! `[mqtt.tls]`: from the files that it names to what a connection needs, so that a wrong file is
//! found before anything runs.
//!
//! Trust is explicit: `ca` says which certificates may stand behind the broker's, and nothing
//! else counts, not even the system's. Whoever wants those names their file.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use rustls::{
    ClientConfig, Error, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tracing::warn;
use webpki::{EndEntityCert, KeyUsage};

use super::{ConfigError, Document, Tls, files};

/// A certificate that ends sooner than this is worth a warning.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How a connection is encrypted, and what this end shows of itself.
#[derive(Clone)]
pub struct TlsSettings {
    config: Arc<ClientConfig>,
    /// What may stand behind the broker's certificate.
    authorities: Vec<CertificateDer<'static>>,
    /// This end's certificate and those behind it, or none.
    chain: Vec<CertificateDer<'static>>,
}

/// Equal if the certificates are; another key comes with another certificate.
impl PartialEq for TlsSettings {
    fn eq(&self, other: &Self) -> bool {
        self.authorities == other.authorities && self.chain == other.chain
    }
}

impl TlsSettings {
    /// For the client library.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Whether this end can show a certificate of its own.
    pub fn has_certificate(&self) -> bool {
        !self.chain.is_empty()
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is inside holds the private key.
        f.debug_struct("TlsSettings")
            .field("has_certificate", &self.has_certificate())
            .finish_non_exhaustive()
    }
}

/// This end's certificates, its own first, and the key; each with where it came from.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    chain_path: PathBuf,
    key: PrivateKeyDer<'static>,
    key_path: PathBuf,
    /// The configuration's key that named `key_path`.
    key_key: &'static str,
}

impl Tls {
    /// Reads the files; `host` is what the broker's certificate has to be for.
    pub(super) fn validate(
        &self,
        host: &str,
        document: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<TlsSettings, ConfigError> {
        if ServerName::try_from(host).is_err() {
            return Err(document.value_error(
                "mqtt.host",
                format!(
                    "`{host}` is neither a DNS name nor an address, so no certificate can be for it"
                ),
            ));
        }
        let (roots, authorities) = self.roots(document)?;
        let identity = self.identity(document, variables)?;
        let chain = identity
            .as_ref()
            .map(|identity| identity.chain.clone())
            .unwrap_or_default();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| document.value_error("mqtt.tls", error.to_string()))?
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let Identity {
                    chain,
                    chain_path,
                    key,
                    key_path,
                    key_key,
                } = identity;
                warn_about_dates(&chain_path, &chain);
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| match error {
                        Error::InconsistentKeys(_) => document.value_error(
                            key_key,
                            format!(
                                "{} is not the key of the first certificate in {}",
                                key_path.display(),
                                chain_path.display()
                            ),
                        ),
                        // The key's parser speaks of kinds of keys, never of what is in one.
                        Error::General(problem) => document
                            .value_error(key_key, format!("{}: {problem}", key_path.display())),
                        other => document.value_error(
                            "mqtt.tls.certificate",
                            format!("{}: {other}", chain_path.display()),
                        ),
                    })?
            }
        };
        Ok(TlsSettings {
            config: Arc::new(config),
            authorities,
            chain,
        })
    }

    fn roots(
        &self,
        document: &Document,
    ) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), ConfigError> {
        const KEY: &str = "mqtt.tls.ca";
        let path = self.ca.as_deref().ok_or_else(|| {
            document.value_error(
                KEY,
                "is missing: a PEM file with the certificate of the authority that has signed \
                 the broker's; for the authorities that the system trusts, \
                 \"/etc/ssl/certs/ca-certificates.crt\"",
            )
        })?;
        let path = document.path(KEY, path)?;
        let authorities = certificates(&path, KEY, document)?;
        let mut roots = RootCertStore::empty();
        let (usable, unusable) = roots.add_parsable_certificates(authorities.iter().cloned());
        if usable == 0 {
            return Err(document.value_error(
                KEY,
                format!("{}: no certificate in it can be used", path.display()),
            ));
        }
        if unusable > 0 {
            warn!(
                path = %path.display(),
                usable,
                unusable,
                "Certificates that cannot be used are left out"
            );
        }
        Ok((roots, authorities))
    }

    fn identity(
        &self,
        document: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<Option<Identity>, ConfigError> {
        const CERTIFICATE: &str = "mqtt.tls.certificate";
        const KEY: &str = "mqtt.tls.key";
        const CREDENTIAL: &str = "mqtt.tls.key_credential";
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
            (Some(path), Some((key_key, key_path))) => {
                let chain_path = document.path(CERTIFICATE, path)?;
                Ok(Some(Identity {
                    chain: certificates(&chain_path, CERTIFICATE, document)?,
                    chain_path,
                    key: private_key(&key_path, key_key, document)?,
                    key_path,
                    key_key,
                }))
            }
        }
    }
}

fn read(path: &Path, key: &str, document: &Document) -> Result<Vec<u8>, ConfigError> {
    files::read(path).map_err(|source| document.file_error(key, path, source))
}

/// The certificates in a file, at least one.
fn certificates(
    path: &Path,
    key: &str,
    document: &Document,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let text = read(path, key, document)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| document.value_error(key, format!("{}: {error}", path.display())))?;
    if certificates.is_empty() {
        return Err(document.value_error(
            key,
            format!(
                "{} holds no certificate; it has to be PEM, with a line -----BEGIN \
                 CERTIFICATE----- (DER is made PEM by: openssl x509 -inform der)",
                path.display()
            ),
        ));
    }
    Ok(certificates)
}

/// The private key in a file. No error quotes anything of it.
fn private_key(
    path: &Path,
    key: &str,
    document: &Document,
) -> Result<PrivateKeyDer<'static>, ConfigError> {
    let text = read(path, key, document)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let is_encrypted = String::from_utf8_lossy(&text).contains("ENCRYPTED");
        let problem = if is_encrypted {
            "the key is encrypted, and nobody is there to enter the password; decrypt it with \
             openssl pkey, and keep it where only flawd can read it"
        } else {
            "holds no private key; it has to be PEM, with a line -----BEGIN PRIVATE KEY----- \
             (or RSA or EC PRIVATE KEY)"
        };
        document.value_error(key, format!("{}: {problem}", path.display()))
    })
}

/// Says what a broker will have against this end's certificate. The broker's clock decides, so
/// it is no error here.
fn warn_about_dates(path: &Path, chain: &[CertificateDer<'static>]) {
    let Some(certificate) = chain.first() else {
        return;
    };
    let now = UnixTime::now();
    let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + SOON);
    if let Some(objection) = objection(certificate, now).or_else(|| objection(certificate, soon)) {
        warn!(path = %path.display(), "The client certificate {objection}");
    }
}

/// What speaks against showing this certificate to a broker at that time.
fn objection(certificate: &CertificateDer<'_>, time: UnixTime) -> Option<String> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    // Its authority is the broker's affair. Without one, what stands in the certificate itself is
    // looked at first, and then the authority is missed.
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

/// A date for people.
pub(crate) fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "some day".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests;
