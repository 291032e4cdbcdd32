//! The certificates of a plant and of strangers, and stations and brokers that use them.

use std::fs;
use std::path::PathBuf;

use flawd_testing::broker::Broker;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;

use crate::station::Station;

/// The password that opens the broker of a test.
pub(crate) const PASSWORD: &str = "correct-horse";
/// Another one.
pub(crate) const WRONG_PASSWORD: &str = "battery-staple";

/// Every certificate and key that a test may want, made again.
pub(crate) struct Pki {
    pub(crate) folder: TempDir,
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = named(name);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// A certificate for 127.0.0.1.
pub(crate) fn end(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name = named(name);
    params
}

impl Pki {
    pub(crate) fn new() -> Self {
        let pki = Self {
            folder: TempDir::new().unwrap(),
        };
        let (ca, plant) = authority("plant");
        let (stranger, stranger_issuer) = authority("stranger");
        fs::write(pki.path("ca.pem"), ca).unwrap();
        fs::write(pki.path("stranger-ca.pem"), stranger).unwrap();
        pki.issue("broker", end("broker"), &plant);
        pki.issue("client", end("line"), &plant);
        pki.issue("stranger", end("line"), &stranger_issuer);
        let mut expired = end("broker");
        expired.not_after = date_time_ymd(2001, 2, 3);
        pki.issue("expired", expired, &plant);
        let mut elsewhere = CertificateParams::new(["broker.plant.example".to_owned()]).unwrap();
        elsewhere.distinguished_name = named("elsewhere");
        pki.issue("elsewhere", elsewhere, &plant);
        pki
    }

    fn issue(&self, name: &str, params: CertificateParams, issuer: &Issuer<'_, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A broker that shows this certificate, with these lines behind.
    pub(crate) fn broker(&self, certificate: &str, lines: &str) -> Broker {
        Broker::start_with(&format!(
            "certfile {}\nkeyfile {}\ncafile {}\n{lines}",
            self.path(&format!("{certificate}.pem")).display(),
            self.path(&format!("{certificate}.key")).display(),
            self.path("ca.pem").display(),
        ))
    }

    /// A station with these lines in `[mqtt]`, and these in `[mqtt.tls]` behind the authority.
    pub(crate) fn station(&self, port: u16, mqtt: &str, tls: &str) -> Station {
        Station::new(&format!(
            "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\n\
             [camera.top.synthetic]\nrate = 20.0\nsize = \"96x96\"\n\
             [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\nreconnect_max = \"1s\"\n{mqtt}\n\
             [mqtt.tls]\nca = \"{}\"\n{tls}",
            self.path("ca.pem").display()
        ))
    }

    /// The keys that name this certificate.
    pub(crate) fn identity(&self, name: &str) -> String {
        format!(
            "certificate = \"{}\"\nkey = \"{}\"\n",
            self.path(&format!("{name}.pem")).display(),
            self.path(&format!("{name}.key")).display()
        )
    }

    /// Nothing that only the owner may know is in `said`.
    pub(crate) fn assert_silent_about_secrets(&self, said: &str) {
        for password in [PASSWORD, WRONG_PASSWORD] {
            assert!(!said.contains(password), "{said}");
        }
        for key in ["client.key", "stranger.key"] {
            let key = fs::read_to_string(self.path(key)).unwrap();
            let lines = key.lines().filter(|line| !line.starts_with("-----"));
            for line in lines {
                assert!(line.len() > 20 && !said.contains(line), "{said}");
            }
        }
    }
}
