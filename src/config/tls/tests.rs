//! What is found in the files of `[mqtt.tls]`, and what is said of those that cannot be used.

use std::{collections::BTreeMap, fs};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;

use super::*;
use crate::{
    config::{MqttSettings, ValidConfig},
    failure::with_causes,
};

/// A folder with an authority, a client's certificate and key, and wrong things beside them.
struct Files {
    folder: TempDir,
    variables: BTreeMap<String, String>,
}

fn signed(params: CertificateParams) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap(), key)
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Files {
    fn new() -> Self {
        let files = Self {
            folder: TempDir::new().unwrap(),
            variables: BTreeMap::from([("HOME".to_owned(), "/home/line".to_owned())]),
        };
        let (ca, _) = signed(authority());
        let (client, key) = signed(CertificateParams::new([]).unwrap());
        files.write("ca.pem", &ca.pem());
        files.write("client.pem", &client.pem());
        files.write("client.key", &key.serialize_pem());
        files.write("other.key", &KeyPair::generate().unwrap().serialize_pem());
        files.write("notes.txt", "no certificate, and no key either");
        files
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Validates a configuration with these lines under `[mqtt]`, up to and with `[mqtt.tls]`.
    fn validate(&self, mqtt: &str) -> Result<MqttSettings, ConfigError> {
        let text = format!(
            "[station]\nname = \"press-3\"\n[inference]\nbundle = \"bundle\"\n\
             [camera.top.synthetic]\n[mqtt]\n{mqtt}"
        );
        let document = Document::new(self.folder.path().join("flawd.toml"), text);
        ValidConfig::parse(&document, &self.variables).map(|config| config.mqtt)
    }

    /// What is said about it, without the folder's name.
    fn refused(&self, mqtt: &str) -> String {
        let problem = with_causes(&self.validate(mqtt).unwrap_err());
        problem.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn tls(lines: &str) -> String {
    format!("[mqtt.tls]\nca = \"ca.pem\"\n{lines}")
}

#[test]
fn with_an_authority_the_port_is_the_one_for_tls_unless_another_is_given() {
    let files = Files::new();
    let mqtt = files.validate(&tls("")).unwrap();
    assert_eq!(mqtt.port, 8883);
    assert!(!mqtt.tls.unwrap().has_certificate());
    let mqtt = files
        .validate(&format!("port = 1884\n{}", tls("")))
        .unwrap();
    assert_eq!(mqtt.port, 1884);
    let mqtt = files.validate("").unwrap();
    assert_eq!(mqtt.port, 1883);
    assert!(mqtt.tls.is_none());
}

#[test]
fn a_certificate_with_its_key_is_taken_and_nothing_of_the_key_is_shown() {
    let files = Files::new();
    let mqtt = files
        .validate(&tls("certificate = \"client.pem\"\nkey = \"client.key\"\n"))
        .unwrap();
    let shown = format!("{mqtt:?}");
    assert!(mqtt.tls.unwrap().has_certificate());
    assert!(
        shown.contains("TlsSettings { has_certificate: true, .. }"),
        "{shown}"
    );
}

#[test]
fn the_key_may_be_a_credential() {
    let mut files = Files::new();
    let folder = files.folder.path().display().to_string();
    files
        .variables
        .insert("CREDENTIALS_DIRECTORY".to_owned(), folder);
    let lines = tls("certificate = \"client.pem\"\nkey_credential = \"client.key\"\n");
    assert!(files.validate(&lines).is_ok());
    let problem = files.refused(&lines.replace("client.key", "gone.key"));
    assert!(
        problem.contains("mqtt.tls.key_credential: cannot read gone.key"),
        "{problem}"
    );
}

#[test]
fn a_certificate_that_was_renewed_makes_other_settings() {
    let files = Files::new();
    let lines = tls("certificate = \"client.pem\"\nkey = \"client.key\"\n");
    let before = files.validate(&lines).unwrap();
    assert!(before == files.validate(&lines).unwrap());
    let (client, key) = signed(CertificateParams::new([]).unwrap());
    files.write("client.pem", &client.pem());
    files.write("client.key", &key.serialize_pem());
    assert!(before != files.validate(&lines).unwrap());
}

#[test]
fn each_wrong_file_is_named_with_its_key_its_line_and_the_way_out() {
    let files = Files::new();
    files.write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    for (lines, said) in [
        (
            "[mqtt.tls]\n".to_owned(),
            "flawd.toml:7: mqtt.tls.ca: is missing: a PEM file with the certificate",
        ),
        (
            "[mqtt.tls]\nca = \"gone.pem\"\n".to_owned(),
            "flawd.toml:8: mqtt.tls.ca: cannot read gone.pem: No such file or directory",
        ),
        (
            "[mqtt.tls]\nca = \"notes.txt\"\n".to_owned(),
            "mqtt.tls.ca: notes.txt holds no certificate; it has to be PEM",
        ),
        (
            tls("certificate = \"client.pem\"\n"),
            "mqtt.tls.key: is missing, although a certificate is given",
        ),
        (
            tls("key = \"client.key\"\n"),
            "mqtt.tls.certificate: is missing, although a key is given",
        ),
        (
            tls("certificate = \"client.pem\"\nkey = \"client.key\"\nkey_credential = \"key\"\n"),
            "mqtt.tls.key: the key is given twice; keep one of key and key_credential",
        ),
        (
            tls("certificate = \"client.pem\"\nkey = \"other.key\"\n"),
            "flawd.toml:10: mqtt.tls.key: other.key is not the key of the first certificate in \
             client.pem",
        ),
        (
            tls("certificate = \"client.pem\"\nkey = \"notes.txt\"\n"),
            "mqtt.tls.key: notes.txt: holds no private key",
        ),
        (
            tls("certificate = \"client.pem\"\nkey = \"encrypted.key\"\n"),
            "mqtt.tls.key: encrypted.key: the key is encrypted",
        ),
        (
            tls("certificate = \"client.pem\"\nkey_credential = \"mqtt-key\"\n"),
            "mqtt.tls.key_credential: there is no $CREDENTIALS_DIRECTORY",
        ),
        (
            "[mqtt.tls]\nca_file = \"ca.pem\"\n".to_owned(),
            "flawd.toml:8:1: unknown key `ca_file`",
        ),
    ] {
        let problem = files.refused(&lines);
        assert!(problem.contains(said), "`{said}` not in: {problem}");
    }
}

fn objection_to(change: impl FnOnce(&mut CertificateParams)) -> Option<String> {
    let mut params = CertificateParams::new([]).unwrap();
    change(&mut params);
    let (certificate, _) = signed(params);
    objection(certificate.der(), UnixTime::now())
}

#[test]
fn a_client_certificate_that_no_broker_would_take_is_objected_to() {
    assert_eq!(objection_to(|_| ()), None);
    let expired = objection_to(|params| params.not_after = date_time_ymd(2001, 2, 3));
    assert_eq!(expired.unwrap(), "expired on 2001-02-03T00:00:00Z");
    let early = objection_to(|params| params.not_before = date_time_ymd(3001, 2, 3));
    assert!(
        early
            .as_ref()
            .is_some_and(|text| text.starts_with("is not valid before 3001-02-03T00:00:00Z")),
        "{early:?}"
    );
    let server = objection_to(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert!(server.is_some_and(|text| text.contains("not meant for clients")));
}

#[test]
fn a_client_certificate_that_ends_soon_is_objected_to_in_time() {
    let (certificate, _) = signed({
        let mut params = CertificateParams::new([]).unwrap();
        params.not_after = date_time_ymd(2101, 2, 3);
        params
    });
    let at = |date: &str| {
        let seconds = date.parse::<Timestamp>().unwrap().as_second();
        UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap()))
    };
    assert_eq!(
        objection(certificate.der(), at("2101-02-02T00:00:00Z")),
        None
    );
    assert_eq!(
        objection(certificate.der(), at("2101-02-04T00:00:00Z")).unwrap(),
        "expires soon, on 2101-02-03T00:00:00Z"
    );
}
