//! What flawd writes as JSON, as far as tables and comparisons need it: valid, and of text only the
//! escapes that occur in it.

use std::iter::Peekable;
use std::str::Chars;

/// A value.
#[derive(Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Parses a whole text.
    ///
    /// # Errors
    /// If it is not JSON.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.chars().peekable();
        value(&mut rest).ok_or_else(|| "this is not JSON".to_owned())
    }

    /// Returns the value of a key of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// Returns the number of a key; `None` if it is null or absent.
    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        match self.get(key) {
            Some(Self::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// Returns the text of a key.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Self::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Returns the list of a key; empty if it is absent.
    pub(crate) fn list(&self, key: &str) -> &[Self] {
        match self.get(key) {
            Some(Self::List(list)) => list,
            _ => &[],
        }
    }
}

type Rest<'a> = Peekable<Chars<'a>>;

fn next_mark(rest: &mut Rest<'_>) -> Option<char> {
    while rest
        .next_if(|letter| letter.is_ascii_whitespace())
        .is_some()
    {}
    rest.next()
}

fn value(rest: &mut Rest<'_>) -> Option<Json> {
    match next_mark(rest)? {
        '{' => items(rest, '}', |rest| {
            let key = match value(rest)? {
                Json::Text(key) => key,
                _ => return None,
            };
            (next_mark(rest)? == ':')
                .then(|| value(rest))?
                .map(|value| (key, value))
        })
        .map(Json::Object),
        '[' => items(rest, ']', value).map(Json::List),
        '"' => text(rest).map(Json::Text),
        first => {
            let mut word = first.to_string();
            while let Some(letter) =
                rest.next_if(|it| it.is_ascii_alphanumeric() || "+-.".contains(*it))
            {
                word.push(letter);
            }
            match word.as_str() {
                "null" => Some(Json::Null),
                "true" => Some(Json::Bool(true)),
                "false" => Some(Json::Bool(false)),
                number => number.parse().ok().map(Json::Number),
            }
        }
    }
}

/// Reads the items of a list or an object up to its `end`.
fn items<T>(
    rest: &mut Rest<'_>,
    end: char,
    item: impl Fn(&mut Rest<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let mut items = Vec::new();
    let mut ahead = rest.clone();
    if next_mark(&mut ahead)? == end {
        *rest = ahead;
        return Some(items);
    }
    loop {
        items.push(item(rest)?);
        match next_mark(rest)? {
            ',' => {}
            mark => return (mark == end).then_some(items),
        }
    }
}

fn text(rest: &mut Rest<'_>) -> Option<String> {
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => match rest.next()? {
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                'u' => {
                    let digits: String = rest.take(4).collect();
                    text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                letter => text.push(letter),
            },
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let text =
            r#"{ "a": [1, -2.5e-3, {}, []], "b": {"c": null, "d": true}, "e": "x\"\u00e4\\" }"#;
        let json = Json::parse(text).unwrap();
        assert_eq!(json.list("a")[1], Json::Number(-0.0025));
        assert_eq!(
            json.list("a")[2..],
            [Json::Object(Vec::new()), Json::List(Vec::new())]
        );
        let inner = json.get("b").unwrap();
        assert_eq!(inner.number("c"), None);
        assert_eq!(inner.get("d"), Some(&Json::Bool(true)));
        assert_eq!(json.text("e"), Some("x\"ä\\"));
        for wrong in ["", "{", "[1 2]", "{1: 2}", "nothing", "\"open"] {
            assert!(Json::parse(wrong).is_err(), "{wrong}");
        }
    }
}
