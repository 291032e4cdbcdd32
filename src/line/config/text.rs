//! Texts that the operator writes: what no broker, resolver or file system accepts is found here,
//! and not at the first attempt to connect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use flawd_core::event::LONGEST_NAME;

use super::{ConfigError, Document};

/// MQTT cannot encode a longer text.
const LONGEST_TEXT: usize = u16::MAX as usize;

/// Maximum levels of `mqtt.root`, which leaves room for all levels below it.
const MOST_LEVELS: usize = 32;

/// Longest name in the domain name system, and longest label in one (RFC 1035, 2.3.4).
const LONGEST_HOST: usize = 253;
const LONGEST_LABEL: usize = 63;

impl Document {
    /// Checks that MQTT can encode a text, and that it is plausible.
    pub(crate) fn check_text(&self, key: &str, text: &str) -> Result<(), ConfigError> {
        let problem = if text.is_empty() {
            "is empty"
        } else if text.len() > LONGEST_TEXT {
            "has more than 65,535 bytes, and MQTT can write no more"
        } else if text.chars().any(char::is_control) {
            "holds a control character, such as a line break"
        } else if text.trim() != text {
            "begins or ends with a space"
        } else {
            return Ok(());
        };
        Err(self.value_error(key, problem))
    }

    /// Checks a name that becomes a level of MQTT topics and a part of environment variables.
    pub(crate) fn check_topic_level(&self, key: &str, name: &str) -> Result<(), ConfigError> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        if name.len() > LONGEST_NAME {
            let problem = format!("has more than {LONGEST_NAME} letters");
            return Err(self.value_error(key, problem));
        }
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(self.value_error(
                key,
                format!("`{name}` must consist of letters, digits, - and _"),
            ));
        }
        Ok(())
    }

    /// Checks the first levels of every topic.
    pub(crate) fn check_root(&self, key: &str, root: &str) -> Result<(), ConfigError> {
        for level in root.split('/') {
            self.check_topic_level(key, level)?;
        }
        if root.split('/').count() > MOST_LEVELS {
            let problem = format!("has more than {MOST_LEVELS} levels");
            return Err(self.value_error(key, problem));
        }
        Ok(())
    }

    /// Checks that a resolver accepts a name or address.
    pub(crate) fn check_host(&self, key: &str, host: &str) -> Result<(), ConfigError> {
        match host_problem(host) {
            None => Ok(()),
            Some(problem) => Err(self.value_error(key, problem)),
        }
    }

    /// Resolves the path that `key` names; a relative one starts at the configuration file's
    /// folder.
    pub(crate) fn path(&self, key: &str, path: &Path) -> Result<PathBuf, ConfigError> {
        let text = path.as_os_str().as_encoded_bytes();
        if text.is_empty() {
            return Err(self.value_error(key, "is empty; it has to name a file or folder"));
        }
        if text.contains(&0) {
            return Err(self.value_error(key, "holds a NUL, which no path can"));
        }
        Ok(self.folder().join(path))
    }

    /// As [`Self::path`], if there is one.
    pub(crate) fn optional_path(
        &self,
        key: &str,
        path: Option<&Path>,
    ) -> Result<Option<PathBuf>, ConfigError> {
        path.map(|path| self.path(key, path)).transpose()
    }
}

/// Returns what makes a broker's name unusable, if anything.
fn host_problem(host: &str) -> Option<String> {
    if host.is_empty() {
        return Some("is empty; it is the broker's name or address".to_owned());
    }
    let is_foreign = |letter: char| letter.is_control() || letter.is_whitespace();
    if host.chars().any(is_foreign) {
        return Some("holds a space or a control character".to_owned());
    }
    if host.len() > LONGEST_HOST {
        return Some(format!(
            "has {} bytes, and no name has more than {LONGEST_HOST}",
            host.len()
        ));
    }
    if let Some((scheme, rest)) = host.split_once("://") {
        let name = rest.split(['/', ':', '?']).next().unwrap_or_default();
        let tls = ["mqtts", "ssl", "tls", "wss"].contains(&scheme.to_ascii_lowercase().as_str());
        let section = if tls {
            ", and the section [mqtt.tls] for encryption"
        } else {
            ""
        };
        return Some(format!(
            "`{host}` is a URL; write the name alone, host = \"{name}\", with the key `port` for \
             its port{section}"
        ));
    }
    if host.parse::<IpAddr>().is_ok() || is_scoped(host) {
        return None;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|it| it.split(']').next()) {
        return Some(format!(
            "`{host}`: write the address without brackets, host = \"{address}\""
        ));
    }
    if let Some((name, port)) = host.split_once(':')
        && port.chars().all(|digit| digit.is_ascii_digit())
    {
        return Some(format!(
            "`{host}` has the port in it; write host = \"{name}\" and port = {port}"
        ));
    }
    name_problem(host)
}

/// Returns whether this is an address with its interface, such as `fe80::1%eth0`.
fn is_scoped(host: &str) -> bool {
    let address = host.split_once('%').map(|(address, _)| address);
    address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// Returns what makes a name that is not an address unusable, if anything.
fn name_problem(host: &str) -> Option<String> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    let is_label = |label: &str| {
        !label.is_empty() && label.len() <= LONGEST_LABEL && label.chars().all(is_plain)
    };
    if !name.is_ascii() {
        return Some(format!(
            "`{host}` has letters that no name has on the wire; write its form with `xn--`"
        ));
    }
    if !name.split('.').all(is_label) {
        return Some(format!("`{host}` is neither a name nor an address"));
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.chars().all(|digit| digit.is_ascii_digit());
    // Resolvers read `10.1` as 10.0.0.1, and `1883` as 0.0.7.91.
    if is_number && name.parse::<Ipv4Addr>().is_err() {
        return Some(format!("`{host}` is not an address"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_hosts() {
        for host in [
            "localhost",
            "broker",
            "broker.factory.example.",
            "mosquitto_1",
            "xn--mller-kva.example",
            "10.0.0.7",
            "::1",
            "2001:db8::7",
            "fe80::1%eth0",
            "3com.example",
        ] {
            assert_eq!(host_problem(host), None, "{host}");
        }
    }

    #[test]
    fn what_no_resolver_takes_is_no_host_and_what_was_meant_is_said() {
        let long_label = "a".repeat(64);
        let long_name = "a.".repeat(130);
        let cases = [
            ("", "is empty"),
            ("mqtt://broker:1883", "host = \"broker\""),
            ("mqtts://broker/", "[mqtt.tls]"),
            ("tcp://10.0.0.7:1883", "host = \"10.0.0.7\""),
            ("broker:1883", "host = \"broker\" and port = 1883"),
            ("[::1]", "host = \"::1\""),
            ("[::1]:1883", "host = \"::1\""),
            ("broker ", "space"),
            ("bro ker", "space"),
            ("broker\n", "control character"),
            ("bro\0ker", "control character"),
            ("\u{feff}broker", "letters"),
            ("müller.example", "xn--"),
            ("user@broker", "neither a name nor an address"),
            ("a,b", "neither"),
            ("broker/mqtt", "neither"),
            (".", "neither"),
            ("a..b", "neither"),
            (&long_label, "neither"),
            (&long_name, "253"),
            ("1883", "not an address"),
            ("300.1.1.1", "not an address"),
            ("10.1", "not an address"),
        ];
        for (host, said) in cases {
            let problem = host_problem(host).unwrap_or_else(|| panic!("{host} passes"));
            assert!(problem.contains(said), "{host}: {problem}");
        }
    }
}
