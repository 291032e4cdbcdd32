//! The connection to the broker under TLS: which clients get in, which do not, and what is
//! reported.
//!
//! ```text
//! flawd run ─TLS─► mosquitto ◄─plain─ mosquitto_sub
//!   ca.pem            broker.pem, signed by ca.pem, for 127.0.0.1
//!   client.pem        cafile ca.pem
//! ```

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use flawd_testing::broker::{Broker, free_port};
use flawd_testing::process::Process;
use rcgen::KeyPair;

use crate::pki::{PASSWORD, Pki, WRONG_PASSWORD, end};
use crate::station::{Station, errors};

/// A listener without TLS for watching, with its port.
fn plain_listener() -> (u16, String) {
    let port = free_port();
    (
        port,
        format!("allow_anonymous true\nlistener {port} 127.0.0.1\n"),
    )
}

/// Admits only `line`, with [`PASSWORD`].
fn accounts(pki: &Pki) -> String {
    let path = pki.path("accounts");
    set_password(&path, PASSWORD);
    format!("allow_anonymous false\npassword_file {}\n", path.display())
}

/// Writes a file of accounts in which `line` has this password.
fn set_password(accounts: &Path, password: &str) {
    let status = Command::new("mosquitto_passwd")
        .args(["-c", "-b"])
        .arg(accounts)
        .args(["line", password])
        .status()
        .unwrap();
    assert!(status.success());
}

/// `flawd run` with everything that it and its libraries have to say.
fn run_with_every_line(station: &Station, credentials: Option<&Pki>) -> Process {
    let mut command = station.command("run");
    command.env("FLAWD_LOG", "trace").env("RUST_LOG", "trace");
    if let Some(pki) = credentials {
        command.env("CREDENTIALS_DIRECTORY", pki.folder.path());
    }
    Process::spawn(&mut command, "flawd", Stdio::null(), Stdio::piped())
}

#[test]
fn verdicts_arrive_under_tls_with_both_versions() {
    let pki = Pki::new();
    let (port, listener) = plain_listener();
    let broker = pki.broker("broker", &listener);
    let subscriber = broker.subscribe_on(port);
    for version in ["5", "3.1.1"] {
        let station = pki.station(broker.port, &format!("version = \"{version}\""), "");
        let mut daemon = station.run();
        subscriber.until("a verdict", |message| message.kind() == "verdict");
        daemon.terminate();
        subscriber.until_status("stopped");
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    }
}

#[test]
fn a_client_certificate_and_its_key_as_a_credential_open_a_broker_that_wants_them() {
    let pki = Pki::new();
    let (port, listener) = plain_listener();
    let broker = pki.broker("broker", &format!("require_certificate true\n{listener}"));
    let subscriber = broker.subscribe_on(port);
    for version in ["5", "3.1.1"] {
        let tls = format!(
            "certificate = \"{}\"\nkey_credential = \"client.key\"\n",
            pki.path("client.pem").display()
        );
        let station = pki.station(broker.port, &format!("version = \"{version}\""), &tls);
        let mut daemon = run_with_every_line(&station, Some(&pki));
        subscriber.until("a verdict", |message| message.kind() == "verdict");
        daemon.terminate();
        // Or the next round would take what is left of this one for its own.
        subscriber.until_status("stopped");
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
        pki.assert_silent_about_secrets(&daemon.seen());
    }
}

/// With a broker that is required, the start ends with 69 and one sentence that says all of this.
fn assert_refused(pki: &Pki, port: u16, mqtt: &str, tls: &str, said: &[&str]) {
    for version in ["5", "3.1.1"] {
        let mqtt = format!("version = \"{version}\"\nrequired_at_start = true\n{mqtt}");
        let station = pki.station(port, &mqtt, tls);
        fs::write(station.folder().join("password"), WRONG_PASSWORD).unwrap();
        let mut daemon = run_with_every_line(&station, None);
        assert_eq!(daemon.wait().code(), Some(69), "{}", daemon.seen());
        let seen = daemon.seen();
        let last = seen.lines().last().unwrap_or_default();
        for text in said {
            assert!(
                last.starts_with("error: the broker 127.0.0.1:") && last.contains(text),
                "{version}: `{text}` not in the last line: {seen}"
            );
        }
        pki.assert_silent_about_secrets(&seen);
    }
}

#[test]
fn a_wrong_password_is_called_so_and_not_shown() {
    let pki = Pki::new();
    let broker = pki.broker("broker", &accounts(&pki));
    assert_refused(
        &pki,
        broker.port,
        "username = \"line\"\npassword_file = \"password\"",
        "",
        &["refused: not authorized; check user name and password"],
    );
}

#[test]
fn the_right_password_gets_in_and_is_not_shown() {
    let pki = Pki::new();
    let broker = pki.broker("broker", &accounts(&pki));
    for version in ["5", "3.1.1"] {
        let station = pki.station(
            broker.port,
            &format!("version = \"{version}\"\nusername = \"line\"\npassword_file = \"password\""),
            "",
        );
        fs::write(station.folder().join("password"), PASSWORD).unwrap();
        let mut daemon = run_with_every_line(&station, None);
        daemon.wait_for_line("the connection", |line| {
            line.contains("Connected to the broker")
        });
        daemon.terminate();
        assert_eq!(daemon.wait().code(), Some(0));
        pki.assert_silent_about_secrets(&daemon.seen());
    }
}

#[test]
fn a_password_and_a_certificate_that_are_renewed_are_used_by_the_next_connection() {
    let pki = Pki::new();
    let mut broker = pki.broker("broker", &accounts(&pki));
    let station = pki.station(
        broker.port,
        "username = \"line\"\npassword_file = \"password\"",
        "certificate = \"own.pem\"\nkey = \"own.key\"\n",
    );
    let own = |name: &str| {
        for ending in ["pem", "key"] {
            let file = station.folder().join(format!("own.{ending}"));
            fs::copy(pki.path(&format!("{name}.{ending}")), file).unwrap();
        }
    };
    own("client");
    let password = station.folder().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let mut daemon = run_with_every_line(&station, None);
    daemon.wait_for_line("the connection", |line| line.contains("Connected to the"));
    daemon.wait_for_line("ready", |line| line.contains("Ready cameras=1"));

    own("stranger");
    fs::write(&password, WRONG_PASSWORD).unwrap();
    daemon.signal("HUP");
    let lines = daemon.lines_until("the end of the reload", |line| {
        line.contains("Model in use")
    });
    for file in ["own.pem", "own.key", "password"] {
        let path = station.folder().join(file).display().to_string();
        let is_said = |line: &String| line.contains("has changed") && line.contains(&path);
        assert_eq!(
            lines.iter().filter(|line| is_said(line)).count(),
            1,
            "{file}"
        );
    }
    assert!(!lines.iter().any(|line| line.contains("restart")));

    broker.stop();
    set_password(&pki.path("accounts"), WRONG_PASSWORD);
    broker.start_again();
    daemon.wait_for_line("the connection", |line| line.contains("Connected to the"));
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0));
    pki.assert_silent_about_secrets(&daemon.seen());
}

#[test]
fn a_broker_whose_certificate_has_expired_is_not_trusted() {
    let pki = Pki::new();
    let broker = pki.broker("expired", "allow_anonymous true\n");
    let said = ["certificate expired on 2001-02-03T00:00:00Z", "clock"];
    assert_refused(&pki, broker.port, "", "", &said);
}

#[test]
fn a_broker_whose_certificate_is_from_a_stranger_is_not_trusted() {
    let pki = Pki::new();
    let broker = pki.broker("stranger", "allow_anonymous true\n");
    let said = ["is not signed by an authority in mqtt.tls.ca"];
    assert_refused(&pki, broker.port, "", "", &said);
}

#[test]
fn a_broker_whose_certificate_is_for_another_name_is_not_trusted() {
    let pki = Pki::new();
    let broker = pki.broker("elsewhere", "allow_anonymous true\n");
    let said = ["is for broker.plant.example, and mqtt.host is `127.0.0.1`"];
    assert_refused(&pki, broker.port, "", "", &said);
}

/// Runs commands as they stand in recipes, in the folder of the other certificates.
fn shell(pki: &Pki, commands: &str) {
    let output = Command::new("sh")
        .args(["-eu", "-c", commands])
        .current_dir(pki.folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", errors(&output));
}

/// The last commands of mosquitto-tls(7), and what `openssl req -x509` makes of a broker.
#[test]
fn certificates_by_the_usual_recipes_are_refused_in_words_that_help() {
    let pki = Pki::new();
    let key = "openssl req -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1";
    shell(
        &pki,
        &format!(
            "{key} -x509 -keyout ca.key -out ca.pem -subj /CN=plant\n\
             cp ca.pem self.pem; cp ca.key self.key\n\
             {key} -keyout old.key -out old.csr -subj /CN=127.0.0.1\n\
             openssl x509 -req -in old.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out old.pem\n\
             echo basicConstraints=CA:FALSE > plain.ext\n\
             openssl x509 -req -in old.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out plain.pem \
             -extfile plain.ext\n\
             cp old.key plain.key\n"
        ),
    );
    for (certificate, said) in [
        ("self", "shows an authority's certificate as its own"),
        ("old", "is of X.509 version 1"),
        (
            "plain",
            "has no subjectAltName, and a common name does not count",
        ),
    ] {
        let broker = pki.broker(certificate, "allow_anonymous true\n");
        assert_refused(&pki, broker.port, "", "", &[said, "docs/mqtt.md"]);
    }
}

/// The broker's own certificate stands for itself if it was not made as an authority's.
#[test]
fn a_brokers_own_certificate_is_authority_enough_for_itself_alone() {
    let pki = Pki::new();
    let key = KeyPair::generate().unwrap();
    let own = end("broker").self_signed(&key).unwrap();
    fs::write(pki.path("own.pem"), own.pem()).unwrap();
    fs::write(pki.path("own.key"), key.serialize_pem()).unwrap();
    fs::write(pki.path("ca.pem"), own.pem()).unwrap();
    let broker = pki.broker("own", "allow_anonymous true\n");
    let station = pki.station(broker.port, "", "");
    let mut daemon = station.run();
    daemon.wait_for_line("the connection", |line| {
        line.contains("Connected to the broker")
    });
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0));
}

/// The block of commands in the documentation, for a broker on this machine.
#[test]
fn the_documented_commands_make_certificates_that_work() {
    let pki = Pki::new();
    let document = include_str!("../../docs/mqtt.md");
    let block = |before: &str, end: &str| {
        let (_, rest) = document.split_once(before).unwrap();
        rest.split_once(end).unwrap().0.to_owned()
    };
    let commands = block("```sh\n# certificates\n", "```");
    assert!(commands.contains("broker.plant.example"), "{commands}");
    shell(&pki, &commands.replace("broker.plant.example", "localhost"));
    let port = free_port();
    let broker = Broker::start_with(&format!(
        "allow_anonymous true\nlistener {port} localhost\nrequire_certificate true\n\
         cafile {0}/plant-ca.pem\ncertfile {0}/broker.pem\nkeyfile {0}/broker.key\n",
        pki.folder.path().display()
    ));
    let station = Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\n\
         [camera.top.synthetic]\nsize = \"96x96\"\n\
         [mqtt]\nhost = \"localhost\"\nport = {port}\n\
         [mqtt.tls]\nca = \"{0}/plant-ca.pem\"\ncertificate = \"{0}/press-3.pem\"\n\
         key = \"{0}/press-3.key\"\n",
        pki.folder.path().display()
    ));
    let subscriber = broker.subscribe();
    let mut daemon = station.run();
    subscriber.until("a verdict", |message| message.kind() == "verdict");
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_broker_that_wants_a_certificate_says_so_when_there_is_none_or_a_strangers() {
    let pki = Pki::new();
    let lines = "allow_anonymous true\nrequire_certificate true\n";
    let broker = pki.broker("broker", lines);
    assert_wants_certificate(&pki, broker.port, "requires one");
}

/// TLS 1.2 has other words for it, earlier. mosquitto cannot be kept to it, OpenSSL's server can.
#[test]
fn a_server_that_wants_a_certificate_by_tls_1_2_is_understood_as_well() {
    let pki = Pki::new();
    let port = free_port();
    let mut command = Command::new("openssl");
    command
        .args(["s_server", "-tls1_2", "-www"])
        .args(["-accept", &format!("127.0.0.1:{port}")])
        .arg("-cert")
        .arg(pki.path("broker.pem"))
        .arg("-key")
        .arg(pki.path("broker.key"))
        .arg("-CAfile")
        .arg(pki.path("ca.pem"))
        .args(["-Verify", "1", "-verify_return_error"]);
    let server = Process::spawn(&mut command, "openssl", Stdio::piped(), Stdio::null());
    server.wait_for_line("it listens", |line| line == "ACCEPT");
    assert_wants_certificate(&pki, port, "may require one");
}

fn assert_wants_certificate(pki: &Pki, port: u16, said_without: &str) {
    let what = "does not accept the client certificate";
    assert_refused(pki, port, "", "", &[what, said_without]);
    let stranger = pki.identity("stranger");
    let unknown = "does not know the authority that has signed it";
    assert_refused(pki, port, "", &stranger, &[what, unknown]);
}

#[test]
fn tls_to_a_broker_without_it_and_the_other_way_round_are_both_called_so() {
    let pki = Pki::new();
    let plain = Broker::start();
    assert_refused(&pki, plain.port, "", "", &["speak TLS on port"]);

    let encrypted = pki.broker("broker", "allow_anonymous true\n");
    for version in ["5", "3.1.1"] {
        let station = Station::new(&format!(
            "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\n\
             [camera.top.synthetic]\nsize = \"96x96\"\n\
             [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nversion = \"{version}\"\n\
             required_at_start = true\n",
            encrypted.port
        ));
        let output = station.output("run");
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(69), "{errors}");
        assert!(errors.contains("want TLS on port"), "{version}: {errors}");
    }
}

#[test]
fn without_a_broker_that_can_be_trusted_inspection_goes_on_and_the_cause_is_said() {
    let pki = Pki::new();
    let broker = pki.broker("stranger", "allow_anonymous true\n");
    let station = pki.station(broker.port, "", "");
    let mut daemon = station.run();
    daemon.wait_for_line("the cause", |line| {
        line.contains("Cannot connect to the broker")
            && line.contains("is not signed by an authority in mqtt.tls.ca")
    });
    daemon.wait_for_line("a verdict", |line| line.contains(" Verdict "));
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_key_that_does_not_fit_ends_check_and_run_with_78_and_is_not_shown() {
    let pki = Pki::new();
    let tls = pki.identity("client").replace("client.key", "stranger.key");
    let station = pki.station(1, "", &tls);
    for verb in ["check", "run"] {
        let output = station.output(verb);
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(78), "{verb}: {errors}");
        assert!(
            errors.contains("mqtt.tls.key") && errors.contains("stranger.key: is not the key of"),
            "{verb}: {errors}"
        );
        pki.assert_silent_about_secrets(&errors);
    }
}

#[test]
fn a_check_takes_good_files_and_warns_of_a_certificate_that_has_expired() {
    let pki = Pki::new();
    let station = pki.station(1, "", &pki.identity("client"));
    let output = station.output("check");
    assert!(output.status.success(), "{}", errors(&output));
    assert!(!errors(&output).contains("expired"), "{}", errors(&output));

    let station = pki.station(1, "", &pki.identity("expired"));
    let output = station.output("check");
    assert!(output.status.success(), "{}", errors(&output));
    let said = errors(&output);
    assert!(
        said.contains("The client certificate expired on 2001-02-03T00:00:00Z"),
        "{said}"
    );
}
