//! Reads certificates and keys from the operator's files, and describes other files. Errors quote
//! nothing from a file but the names of what is in it.

use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::line::config::{FileError, files};

/// Reads the certificates in a file, at least one.
pub(crate) fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read(key, path)?;
    let unusable = |problem: String| FileError::unusable(key, path, problem);
    let found = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| {
            let damage = damage(&error).unwrap_or("it cannot be read as PEM");
            unusable(format!("holds no certificate that can be read; {damage}"))
        })?;
    if !found.is_empty() {
        return Ok(found);
    }
    let way_out = match binary(&bytes) {
        Some(Binary::Pkcs12) => pkcs12(path),
        Some(Binary::Other) => format!(
            "it is DER and has to be PEM: openssl x509 -inform der -in {0} -out {0}.pem",
            path.display()
        ),
        None => format!(
            "it has to be PEM, with a line -----BEGIN CERTIFICATE-----{}",
            contents(&bytes)
        ),
    };
    Err(unusable(format!("holds no certificate; {way_out}")))
}

/// Reads the private key in a file.
pub(crate) fn private_key(
    key: &'static str,
    path: &Path,
) -> Result<PrivateKeyDer<'static>, FileError> {
    let bytes = read(key, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let is_encrypted = String::from_utf8_lossy(&bytes).contains("ENCRYPTED");
        let problem = match (binary(&bytes), damage(&error)) {
            _ if is_encrypted => {
                "the key is encrypted, and the password cannot be entered here; decrypt it with \
                 openssl pkey, and keep it where only flawd can read it"
                    .to_owned()
            }
            (Some(Binary::Pkcs12), _) => format!("holds no private key; {}", pkcs12(path)),
            (Some(Binary::Other), _) => format!(
                "holds no private key that can be read; if it is DER, make it PEM: openssl pkey \
                 -inform der -in {0} -out {0}.pem",
                path.display()
            ),
            (None, Some(damage)) => format!("holds no private key that can be read; {damage}"),
            (None, None) => format!(
                "holds no private key; it has to be PEM, with a line -----BEGIN PRIVATE KEY----- \
                 (or RSA or EC PRIVATE KEY){}",
                contents(&bytes)
            ),
        };
        FileError::unusable(key, path, problem)
    })
}

/// Reads a file; a folder of certificates, which other programs accept, is named as one.
fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    if path.is_dir() {
        let problem = "is a folder, and has to be one file; several certificates are put into one \
                       with cat, and /etc/ssl/certs/ca-certificates.crt has those that the system \
                       trusts";
        return Err(FileError::unusable(key, path, problem));
    }
    files::read(key, path)
}

/// Describes what is wrong with a section, if there is one. The library's own text would quote it,
/// and it may be a private key.
fn damage(error: &PemError) -> Option<&'static str> {
    match error {
        PemError::MissingSectionEnd { .. } => Some(
            "its section has no line -----END …-----: the file was cut off, or has lost its line \
             breaks",
        ),
        PemError::IllegalSectionStart { .. } => Some(
            "a line -----BEGIN …----- does not end with five hyphens: it is damaged, or the \
                 file has lost its line breaks",
        ),
        PemError::Base64Decode(_) => {
            Some("its section is damaged: between the first line and the last is only Base64")
        }
        _ => None,
    }
}

/// A format that is not text.
enum Binary {
    /// Certificate and key in one file, as browsers and Windows export them.
    Pkcs12,
    Other,
}

/// Identifies a DER file by its first bytes: a sequence, and in PKCS#12 the version 3 in it (RFC
/// 7292, 4).
fn binary(bytes: &[u8]) -> Option<Binary> {
    let (0x30, rest) = (*bytes.first()?, bytes.get(1..)?) else {
        return None;
    };
    // The length is one byte, or the first byte gives the length of the length.
    let length = *rest.first()?;
    let skipped = if usize::from(length) + 1 == rest.len() {
        1
    } else if (0x81..=0x84).contains(&length) {
        1 + usize::from(length - 0x80)
    } else {
        return None;
    };
    let content = rest.get(skipped..)?;
    Some(if content.starts_with(&[0x02, 0x01, 0x03]) {
        Binary::Pkcs12
    } else {
        Binary::Other
    })
}

fn pkcs12(path: &Path) -> String {
    format!(
        "it is PKCS#12 and has to be PEM: openssl pkcs12 -in {0} -out {0}.pem -nodes",
        path.display()
    )
}

/// Describes what a PEM file contains instead, if anything.
fn contents(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let found: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .collect();
    if found.is_empty() {
        String::new()
    } else {
        format!("; in it is: {}", found.join(", "))
    }
}
