//! The text of a GStreamer pipeline, which may hold the password of a camera.
//!
//! ```text
//! rtspsrc location=rtsp://ann:pass@10.0.0.7/main user-pw=pass    as written
//! rtspsrc location=rtsp://***@10.0.0.7/main user-pw=***          as shown
//! ```
//! Whatever is printed of it goes through [`PipelineText::shown`], and what GStreamer says of it
//! through [`PipelineText::scrub`].

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize, Serializer};

/// A pipeline's text. Its `Debug` and `Serialize` hide what may be a secret; only
/// [`PipelineText::reveal`] returns it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct PipelineText(String);

const MASK: &str = "***";

impl PipelineText {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself, for the one place that builds a pipeline from it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the text without passwords: those in addresses, with the user's name, and those in
    /// properties. Of an address that has parameters, only the host is shown.
    pub fn shown(&self) -> String {
        hide(&self.0)
    }

    /// Hides this text's secrets in another text, and those of every address in it.
    pub fn scrub(&self, text: &str) -> String {
        let mut secrets = self.secrets();
        // A secret may be part of a longer one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let hidden = secrets
            .iter()
            .fold(text.to_owned(), |text, secret| text.replace(secret, MASK));
        hide(&hidden)
    }

    /// Returns everything that must not be shown, as written and as GStreamer's elements read it.
    fn secrets(&self) -> Vec<String> {
        let text = |span| &self.0[span];
        let users = users(&self.0).into_iter().map(text);
        let users = users
            .filter_map(|user| Some([user, user.split_once(':')?.1]))
            .flatten();
        let values = values(&self.0).into_iter().map(text);
        let values = values.map(|value| value.trim_matches(['"', '\'']));
        let written: Vec<_> = users
            .chain(values)
            .chain(parameters(&self.0).into_iter().map(text))
            .collect();
        let read = |secret: &&str| [decoded(secret), secret.replace('\\', "")];
        let read = written.iter().flat_map(read);
        let mut secrets: Vec<_> = written
            .iter()
            .map(|&it| it.to_owned())
            .chain(read)
            .collect();
        secrets.retain(|secret| !secret.is_empty());
        secrets
    }

    /// Returns whether it holds a password, as far as can be told from the text.
    pub fn has_password(&self) -> bool {
        let in_address = users(&self.0)
            .into_iter()
            .any(|span| self.0[span].contains(':'));
        in_address || !values(&self.0).is_empty()
    }
}

impl fmt::Debug for PipelineText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown(), f)
    }
}

impl Serialize for PipelineText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

/// Hides secrets in any text.
pub(crate) fn hide(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut end = 0;
    for span in spans(text) {
        if span.start >= end {
            shown.push_str(&text[end..span.start]);
            shown.push_str(MASK);
        }
        end = end.max(span.end);
    }
    shown.push_str(&text[end..]);
    shown
}

/// Returns where secrets are, in the order of the text.
fn spans(text: &str) -> Vec<Range<usize>> {
    let mut spans = [users(text), parameters(text), values(text)].concat();
    spans.retain(|span| !span.is_empty());
    spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
    spans
}

/// Returns where addresses are: each from the end of its `://` on.
fn addresses(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("://").map(|(colon, slashes)| {
        let start = colon + slashes.len();
        let is_scheme = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
        let before = text[..colon].trim_end_matches(is_scheme);
        // In quotes, a space is part of it.
        let quote = before.chars().next_back().filter(|it| "\"'".contains(*it));
        let is_end = |letter: char| match quote {
            Some(quote) => letter == quote,
            None => letter.is_whitespace() || "\"'".contains(letter),
        };
        let length = text[start..].find(is_end);
        start..length.map_or(text.len(), |length| start + length)
    })
}

/// Returns where users and passwords of addresses are. A password may hold any letter, even an `@`.
fn users(text: &str) -> Vec<Range<usize>> {
    let user = |address: Range<usize>| {
        let length = text[address.clone()].rfind('@')?;
        Some(address.start..address.start + length)
    };
    addresses(text).filter_map(user).collect()
}

/// Returns where paths of addresses are that have parameters in them, as those of some cameras have
/// with user and password: `/user=admin&password=…`.
fn parameters(text: &str) -> Vec<Range<usize>> {
    let parameters = |address: Range<usize>| {
        let user = text[address.clone()].rfind('@').map_or(0, |at| at + 1);
        let host = address.start + user;
        let path = host + text[host..address.end].find(['/', '?', ';'])? + 1;
        let has_some = text[path - 1..address.end].contains(['?', '=', '&', ';']);
        has_some.then_some(path..address.end)
    };
    addresses(text).filter_map(parameters).collect()
}

/// Returns where values are whose name says that they are secrets: `user-pw=…`, `password="…"`.
fn values(text: &str) -> Vec<Range<usize>> {
    let value = |(equals, _): (usize, &str)| {
        let before = text[..equals].trim_end();
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        let name = &before[before.trim_end_matches(is_name).len()..];
        if !is_secret(name) {
            return None;
        }
        let after = text[equals + 1..].trim_start();
        let start = text.len() - after.len();
        let typed = after.strip_prefix('(').and_then(|it| it.split_once(')'));
        let after = typed.map_or(after, |(_, value)| value.trim_start());
        let quote = after.chars().next().filter(|it| "\"'".contains(*it));
        let length = match quote {
            Some(quote) => end_of_quote(after, quote),
            None => after.find(|it: char| it.is_whitespace() || "&\"',;".contains(it)),
        };
        let skipped = text.len() - after.len() - start;
        Some(start..length.map_or(text.len(), |length| start + skipped + length))
    };
    text.match_indices('=').filter_map(value).collect()
}

/// Returns the length of a quoted text with its quotes; a backslash protects what follows it.
fn end_of_quote(text: &str, quote: char) -> Option<usize> {
    let mut is_protected = false;
    for (place, letter) in text.char_indices().skip(1) {
        match letter {
            _ if is_protected => is_protected = false,
            '\\' => is_protected = true,
            _ if letter == quote => return Some(place + letter.len_utf8()),
            _ => {}
        }
    }
    None
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let within = [
        "passw",
        "passphrase",
        "secret",
        "token",
        "credential",
        "cookie",
    ];
    let whole = ["key", "pass", "extra-headers", "authorization"];
    let ends = [
        "pw", "pwd", "-pass", "_pass", "api-key", "api_key", "apikey",
    ];
    within.iter().any(|it| name.contains(it))
        || whole.contains(&name.as_str())
        || ends.iter().any(|it| name.ends_with(it))
}

/// Replaces `%40` and the like: GStreamer's elements decode a password before they use it.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = (*first == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_may_be_a_secret_is_hidden_and_the_rest_shown() {
        for (text, shown) in [
            (
                "videotestsrc is-live=true ! video/x-raw,format=RGB",
                "videotestsrc is-live=true ! video/x-raw,format=RGB",
            ),
            (
                "rtspsrc location=rtsp://ann:p@ss@10.0.0.7:554/main latency=0 ! decodebin",
                "rtspsrc location=rtsp://***@10.0.0.7:554/main latency=0 ! decodebin",
            ),
            (
                "rtspsrc location=\"rtsp://ann:my pass/word@cam/a\" ! decodebin",
                "rtspsrc location=\"rtsp://***@cam/a\" ! decodebin",
            ),
            (
                "souphttpsrc location=http://cam/video?user=a&pwd=b ! multipartdemux",
                "souphttpsrc location=http://cam/*** ! multipartdemux",
            ),
            (
                "rtspsrc location=rtsp://cam/user=admin_password=x_channel=1 ! decodebin",
                "rtspsrc location=rtsp://cam/*** ! decodebin",
            ),
            (
                "rtspsrc user-id=ann user-pw = \"my \\\"pass\" latency=0",
                "rtspsrc user-id=ann user-pw = *** latency=0",
            ),
            (
                "srtsrc passphrase=(string)'a b' ! tsdemux",
                "srtsrc passphrase=*** ! tsdemux",
            ),
            (
                "location=rtsp://u:p@a/ location=http://v:q@b/",
                "location=rtsp://***@a/ location=http://***@b/",
            ),
        ] {
            assert_eq!(hide(text), shown);
        }
    }

    #[test]
    fn neither_debug_nor_serde_shows_a_password() {
        let text = PipelineText::new("rtspsrc location=rtsp://ann:hunter2@cam/");
        let shown = [format!("{text:?}"), serde_json::to_string(&text).unwrap()];
        for shown in shown {
            assert!(
                !shown.contains("hunter2") && shown.contains("***@cam"),
                "{shown}"
            );
        }
    }

    #[test]
    fn what_gstreamer_says_of_a_pipeline_shows_no_secret_of_it() {
        let text = PipelineText::new("rtspsrc location=rtsp://ann:hun%20ter@cam/ user-pw=\"s3\"");
        for said in [
            "no answer from rtsp://ann:hun%20ter@cam/",
            "user ann with password hun ter refused",
            "rtspsrc0: channel of ann",
            "hun%20ter",
            "the value s3 is refused",
            "redirected to http://other:word@cam/",
        ] {
            let shown = text.scrub(said);
            let is_shown = ["hun", "ter@", "s3", "word@"]
                .iter()
                .any(|secret| shown.contains(secret));
            assert!(!is_shown, "{shown}");
        }
    }

    #[test]
    fn a_password_is_told_from_other_parameters() {
        for (text, has_one) in [
            ("rtspsrc location=rtsp://cam/main", false),
            ("rtspsrc location=rtsp://ann@cam/main", false),
            (
                "rtspsrc location=rtsp://cam/live?channel=1&subtype=0",
                false,
            ),
            ("rtspsrc location=rtsp://ann:x@cam/main", true),
            (
                "rtspsrc location=rtsp://cam/main user-id=ann user-pw=x",
                true,
            ),
            ("souphttpsrc location=http://cam/v?user=ann&pwd=x", true),
        ] {
            assert_eq!(PipelineText::new(text).has_password(), has_one, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_panic(text in "[ -~é@:/?=&\"'\\\\%]{0,60}", said in ".{0,40}") {
            let text = PipelineText::new(text);
            text.scrub(&said);
            text.has_password();
            prop_assert_eq!(hide(&text.shown()), text.shown());
        }

        #[test]
        fn no_password_of_an_address_is_shown(
            user in "[a-z]{1,8}",
            password in "[A-Z0-9@:/?&=%]{4,12}",
            host in "[a-z]{3,8}",
        ) {
            let url = format!("rtspsrc location=rtsp://{user}:{password}@{host}/main ! decodebin");
            let shown = PipelineText::new(&url).shown();
            prop_assert!(!shown.contains(&password), "{}", shown);
            prop_assert!(shown.contains(&host) && shown.ends_with(" ! decodebin"), "{}", shown);
        }
    }
}
