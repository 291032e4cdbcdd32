//! What is found in the files of `[mqtt.tls]`, and the errors for those that cannot be used.

use std::collections::BTreeMap;
use std::fs;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use super::*;
use crate::line::config::{MqttSettings, ValidConfig};
use crate::messages::with_causes;

/// A folder with an authority, a client's certificate and key, and invalid files beside them.
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

    /// Returns the error message, without the folder's name.
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
    let key = fs::read_to_string(files.folder.path().join("client.key")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    assert!(!shown.contains(secret), "{shown}");
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
fn a_certificate_that_was_renewed_is_used_and_makes_no_other_settings() {
    let files = Files::new();
    let lines = tls("certificate = \"client.pem\"\nkey = \"client.key\"\n");
    let before = files.validate(&lines).unwrap();
    let digests = before.digests();
    let (client, key) = signed(CertificateParams::new([]).unwrap());
    files.write("client.pem", &client.pem());
    let settings = before.tls.as_ref().unwrap();
    let wrong = settings.client_config().unwrap_err().to_string();
    assert!(wrong.contains("client.key: is not the key of"), "{wrong}");
    files.write("client.key", &key.serialize_pem());
    assert!(settings.client_config().is_ok());
    let after = files.validate(&lines).unwrap();
    assert_eq!(before, after);
    let now = after.digests();
    let changed = now
        .iter()
        .filter(|(path, digest)| digests[*path] != **digest);
    let names: Vec<_> = changed
        .map(|(path, _)| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names, ["client.key", "client.pem"]);
}

/// Creates a chain of three certificates, the end entity's first, and its key.
fn chain() -> ([String; 3], String) {
    let named = |name: &str, is_authority: bool| {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params
    };
    let [root_key, middle_key, end_key] = [(); 3].map(|()| KeyPair::generate().unwrap());
    let root_params = named("root", true);
    let root_pem = root_params.self_signed(&root_key).unwrap().pem();
    let root = Issuer::new(root_params, root_key);
    let middle_params = named("middle", true);
    let middle_pem = middle_params.signed_by(&middle_key, &root).unwrap().pem();
    let middle = Issuer::new(middle_params, middle_key);
    let end = named("end", false).signed_by(&end_key, &middle).unwrap();
    ([end.pem(), middle_pem, root_pem], end_key.serialize_pem())
}

#[test]
fn a_chain_in_the_wrong_order_is_called_so() {
    let files = Files::new();
    let ([end, middle, root], key) = chain();
    files.write("chain.key", &key);
    let lines = tls("certificate = \"chain.pem\"\nkey = \"chain.key\"\n");
    files.write("chain.pem", &format!("{end}{middle}{root}"));
    assert!(files.validate(&lines).is_ok());
    files.write("chain.pem", &format!("{root}{middle}{end}"));
    let problem = files.refused(&lines);
    let said = "mqtt.tls.certificate: chain.pem: the certificates are in the wrong order: the one \
                that belongs to chain.key is number 3";
    assert!(problem.contains(said), "{problem}");
    let ders = |pems: [&String; 3]| {
        let der = |pem: &String| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        pems.map(der)
    };
    assert_eq!(first_gap(&ders([&end, &middle, &root])), None);
    assert_eq!(first_gap(&ders([&end, &root, &middle])), Some(1));
}

/// Runs `openssl` with these arguments in the folder of the files; returns `false`, and says so, if
/// it is not installed.
fn openssl(files: &Files, arguments: &str) -> bool {
    let mut command = std::process::Command::new("openssl");
    let folder = files.folder.path();
    match command
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
    {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            true
        }
        Err(_) => {
            println!("not run: openssl is not installed");
            false
        }
    }
}

#[test]
fn files_of_another_form_are_called_by_it_with_the_way_out() {
    let files = Files::new();
    for arguments in [
        "x509 -in ca.pem -outform der -out ca.der",
        "pkey -in client.key -outform der -out client.der",
        "pkcs12 -export -in client.pem -inkey client.key -out client.p12 -passout pass:a",
        "req -new -key client.key -subj /CN=line -out client.csr",
        "x509 -req -in client.csr -signkey client.key -out one.pem",
        "pkey -in client.key -pubout -out public.pem",
    ] {
        if !openssl(&files, arguments) {
            return;
        }
    }
    let identity = |certificate: &str, key: &str| {
        tls(&format!(
            "certificate = \"{certificate}\"\nkey = \"{key}\"\n"
        ))
    };
    let mut cases = vec![
        (
            "[mqtt.tls]\nca = \"ca.der\"\n".to_owned(),
            "it is DER and has to be PEM: openssl x509",
        ),
        (
            identity("client.p12", "client.key"),
            "it is PKCS#12 and has to be PEM",
        ),
        (
            identity("client.csr", "client.key"),
            "in it is: CERTIFICATE REQUEST",
        ),
        (identity("client.pem", "client.p12"), "openssl pkcs12"),
        (
            identity("client.pem", "client.der"),
            "if it is DER, make it PEM: openssl pkey",
        ),
        (identity("client.pem", "public.pem"), "in it is: PUBLIC KEY"),
    ];
    let one = CertificateDer::from_pem_file(files.folder.path().join("one.pem")).unwrap();
    // Later versions of openssl write version 3 anyway.
    if EndEntityCert::try_from(&one).is_err() {
        cases.push((identity("one.pem", "client.key"), "X.509 version 1"));
    }
    for (lines, said) in cases {
        let problem = files.refused(&lines);
        assert!(problem.contains(said), "`{said}` not in: {problem}");
    }
}

#[test]
fn a_byte_order_mark_makes_no_file_unusable() {
    let files = Files::new();
    for name in ["ca.pem", "client.pem", "client.key"] {
        let text = fs::read_to_string(files.folder.path().join(name)).unwrap();
        files.write(name, &format!("\u{feff}{text}"));
    }
    let lines = tls("certificate = \"client.pem\"\nkey = \"client.key\"\n");
    let mqtt = files.validate(&lines).unwrap();
    assert!(mqtt.tls.unwrap().has_certificate());
}

/// What happened to a file, how it changes the text, and a part of the error.
type Damage = (&'static str, fn(&str) -> String, &'static str);

/// As after a copy through a variable, a form or a chat.
#[test]
fn a_damaged_file_is_called_so_and_nothing_of_it_is_shown() {
    let files = Files::new();
    let read = |name: &str| fs::read_to_string(files.folder.path().join(name)).unwrap();
    let (certificate, key) = (read("client.pem"), read("client.key"));
    let damages: [Damage; 6] = [
        ("cut", |text| text[..text.len() / 2].to_owned(), "-----END"),
        ("joined", |text| text.replace('\n', " "), "line breaks"),
        ("escaped", |text| text.replace('\n', "\\n"), "line breaks"),
        (
            "begin",
            |text| text.replacen("-----\n", "----\n", 1),
            "-----BEGIN",
        ),
        ("letters", |text| text.replacen('\n', "\n!!!!", 1), "Base64"),
        (
            "indented",
            |text| format!(" {}", text.replace('\n', "\n ")),
            "PEM",
        ),
    ];
    for (damage, change, said) in damages {
        files.write("damaged.pem", &change(&certificate));
        files.write("damaged.key", &change(&key));
        for lines in [
            "[mqtt.tls]\nca = \"damaged.pem\"\n".to_owned(),
            // The key where a certificate belongs.
            "[mqtt.tls]\nca = \"damaged.key\"\n".to_owned(),
            tls("certificate = \"damaged.pem\"\nkey = \"client.key\"\n"),
            tls("certificate = \"client.pem\"\nkey = \"damaged.key\"\n"),
        ] {
            let problem = files.refused(&lines);
            assert!(problem.contains(": damaged."), "{damage}: {problem}");
            assert!(problem.contains(said), "{damage}: {problem}");
            assert!(problem.len() < 300, "{damage}: {problem}");
            assert!(!problem.contains("MII"), "{damage}: {problem}");
        }
    }
}

#[test]
fn a_folder_in_place_of_a_certificate_is_called_one() {
    let files = Files::new();
    fs::create_dir(files.folder.path().join("certs")).unwrap();
    for lines in [
        "[mqtt.tls]\nca = \"certs\"\n".to_owned(),
        tls("certificate = \"certs\"\nkey = \"client.key\"\n"),
        tls("certificate = \"client.pem\"\nkey = \"certs\"\n"),
    ] {
        let problem = files.refused(&lines);
        let said = "certs: is a folder, and has to be one file";
        assert!(problem.contains(said), "{problem}");
    }
}

#[test]
fn an_address_with_its_interface_is_taken() {
    let files = Files::new();
    let mqtt = files.validate(&format!("host = \"fe80::1%eth0\"\n{}", tls("")));
    assert!(mqtt.is_ok(), "{mqtt:?}");
}

#[test]
fn a_key_of_another_kind_is_refused_with_those_that_are_taken() {
    let files = Files::new();
    if !openssl(
        &files,
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out p521.key",
    ) {
        return;
    }
    let lines = tls("certificate = \"client.pem\"\nkey = \"p521.key\"\n");
    let problem = files.refused(&lines);
    assert!(problem.contains("P-256"), "{problem}");
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
            "mqtt.tls.ca: notes.txt: holds no certificate; it has to be PEM",
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
            "flawd.toml:10: mqtt.tls.key: other.key: is not the key of the first certificate in \
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
