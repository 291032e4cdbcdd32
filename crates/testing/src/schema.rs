//! The published schemas, and the part of a JSON Schema validator that they need.
//!
//! An unknown keyword is a panic, so that none goes unchecked. A whole validator would take longer
//! to build than all of this crate.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The published schemas: title of the file and text.
const PUBLISHED: [(&str, &str); 7] = [
    (
        "verdict",
        include_str!("../../../docs/schema/verdict.schema.json"),
    ),
    (
        "record",
        include_str!("../../../docs/schema/record.schema.json"),
    ),
    (
        "disagreement",
        include_str!("../../../docs/schema/disagreement.schema.json"),
    ),
    (
        "state",
        include_str!("../../../docs/schema/state.schema.json"),
    ),
    (
        "heartbeat",
        include_str!("../../../docs/schema/heartbeat.schema.json"),
    ),
    (
        "selftest",
        include_str!("../../../docs/schema/selftest.schema.json"),
    ),
    (
        "trigger",
        include_str!("../../../docs/schema/trigger.schema.json"),
    ),
];

/// A published schema.
pub struct Schema(Value);

impl Schema {
    /// Returns the schema in `docs/schema/<name>.schema.json`.
    pub fn published(name: &str) -> Self {
        let (_, text) = (PUBLISHED.iter())
            .find(|(known, _)| *known == name)
            .unwrap_or_else(|| panic!("no schema {name}"));
        let schema: Value = serde_json::from_str(text).expect("the schema is JSON");
        let id = format!("urn:flawd:schema:{name}:1");
        assert_eq!(schema["$id"], id.as_str(), "a schema is named as its file");
        Self(schema)
    }

    /// Returns the schema with this identifier.
    fn referenced(id: &Value) -> Value {
        let name = id.as_str().and_then(|id| id.split(':').nth(3));
        Self::published(name.expect("a schema of ours")).0
    }

    /// Checks that the payload matches the schema, and has no field that it does not describe.
    pub fn check(&self, payload: &Value) -> Result<(), String> {
        check(&self.0, payload)?;
        undescribed(&self.0, payload)
    }
}

fn members(schema: &Value) -> &Map<String, Value> {
    schema.as_object().expect("an object")
}

/// Checks the part of JSON Schema 2020-12 that the published schemas use.
fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let keywords = match schema {
        Value::Bool(true) => return Ok(()),
        Value::Bool(false) => return Err("not allowed here".to_owned()),
        other => members(other),
    };
    for (keyword, argument) in keywords {
        let number = || argument.as_f64().expect("a number");
        let is = |holds: fn(f64, f64) -> bool| value.as_f64().is_some_and(|it| holds(it, number()));
        let at_least = |length: Option<usize>| length.map(|it| it as f64) >= argument.as_f64();
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "then" | "else" => true,
            "format" => match argument.as_str().expect("a string") {
                "date-time" => {
                    (value.as_str()).is_none_or(|text| text.parse::<jiff::Timestamp>().is_ok())
                }
                "uri-reference" => true,
                other => panic!("format {other}"),
            },
            "$ref" => {
                check(&Schema::referenced(argument), value)?;
                true
            }
            "type" => match argument.as_str().expect("one type") {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_u64() || value.is_i64(),
                "number" => value.is_number(),
                other => panic!("type {other}"),
            },
            "enum" => argument.as_array().expect("a list").contains(value),
            "const" => argument == value,
            "minLength" => at_least(value.as_str().map(str::len)),
            "maxLength" => {
                let length = value.as_str().map(|it| it.chars().count() as f64);
                length.is_some_and(|length| length <= number())
            }
            "minItems" => at_least(value.as_array().map(Vec::len)),
            "pattern" => {
                let text = value.as_str().unwrap_or_default();
                match argument.as_str().expect("a string") {
                    "Z$" => text.ends_with('Z'),
                    RFC_3339 => is_rfc_3339(text),
                    "^sha256:[0-9a-f]{64}$" => text.strip_prefix("sha256:").is_some_and(|hex| {
                        hex.len() == 64
                            && hex
                                .bytes()
                                .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
                    }),
                    other => panic!("pattern {other}"),
                }
            }
            "minimum" => is(|value, limit| value >= limit),
            "maximum" => is(|value, limit| value <= limit),
            "exclusiveMinimum" => is(|value, limit| value > limit),
            "exclusiveMaximum" => is(|value, limit| value < limit),
            "required" => (argument.as_array().expect("a list").iter())
                .all(|name| value.get(name.as_str().expect("a name")).is_some()),
            "properties" => {
                for (name, schema) in members(argument) {
                    if let Some(value) = value.get(name) {
                        check(schema, value).map_err(|why| format!("{name}: {why}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = keywords.get("properties").map(members);
                // Keywords about objects accept every other value; `type` is a separate keyword.
                for (name, value) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(name)) {
                        check(argument, value).map_err(|why| format!("{name}: {why}"))?;
                    }
                }
                true
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(argument, item)?;
                }
                true
            }
            "if" => {
                let branch = if check(argument, value).is_ok() {
                    "then"
                } else {
                    "else"
                };
                check(&keywords[branch], value)?;
                true
            }
            other => panic!("keyword {other}"),
        };
        if !holds {
            return Err(format!("{keyword} {argument} does not hold for {value}"));
        }
    }
    Ok(())
}

/// What RFC 3339 calls a date-time, to the nanosecond.
const RFC_3339: &str =
    r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})$";

fn is_rfc_3339(text: &str) -> bool {
    let digits: String = text
        .chars()
        .map(|it| {
            if it.is_ascii_digit() {
                '0'
            } else {
                it.to_ascii_lowercase()
            }
        })
        .collect();
    let Some(rest) = digits.strip_prefix("0000-00-00t00:00:00") else {
        return false;
    };
    let offset = rest.trim_start_matches(['.', '0']);
    let fraction = &rest[..rest.len() - offset.len()];
    let is_fraction = fraction.is_empty()
        || (fraction.starts_with('.')
            && fraction.rfind('.') == Some(0)
            && (2..=10).contains(&fraction.len()));
    is_fraction && ["z", "+00:00", "-00:00"].contains(&offset)
}

/// Checks that the schema describes every field. Subscribers ignore what they do not know, so a
/// validator would let an undescribed field pass.
fn undescribed(schema: &Value, value: &Value) -> Result<(), String> {
    match value {
        Value::Object(fields) => {
            let mut known = Map::new();
            if let Some(id) = schema.get("$ref") {
                known.extend(members(&Schema::referenced(id)["properties"]).clone());
            }
            known.extend(
                schema
                    .get("properties")
                    .map(members)
                    .cloned()
                    .unwrap_or_default(),
            );
            for (name, value) in fields {
                let described = known.get(name).or(schema.get("additionalProperties"));
                let described = described.ok_or(format!("{name} is not described"))?;
                undescribed(described, value).map_err(|why| format!("{name}: {why}"))?;
            }
            Ok(())
        }
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| undescribed(&schema["items"], item)),
        _ => Ok(()),
    }
}

/// Returns the paths of all fields that a schema describes, for example `model.name`.
pub fn described(schema: &Schema) -> BTreeSet<String> {
    fn walk(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        if let Some(id) = schema.get("$ref") {
            walk(&Schema::referenced(id), path, found);
        }
        for (name, schema) in schema.get("properties").map(members).into_iter().flatten() {
            let path = format!("{path}.{name}");
            found.insert(path.trim_start_matches('.').to_owned());
            walk(schema, &path, found);
        }
        for keyword in ["items", "additionalProperties"] {
            if let Some(schema) = schema.get(keyword) {
                walk(schema, path, found);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&schema.0, "", &mut found);
    found
}

/// Returns the paths of all fields that a payload has, as in [`described`]; `schema` says which
/// objects have user-defined names in them.
pub fn present(schema: &Schema, payload: &Value) -> BTreeSet<String> {
    fn walk(schema: &Value, value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                let target = schema.get("$ref").map(Schema::referenced);
                for (name, value) in fields {
                    let own = schema.get("properties").and_then(|it| it.get(name));
                    let target = target.as_ref().and_then(|it| it["properties"].get(name));
                    match own.or(target) {
                        Some(schema) => {
                            let path = format!("{path}.{name}");
                            found.insert(path.trim_start_matches('.').to_owned());
                            walk(schema, value, &path, found);
                        }
                        None => walk(&schema["additionalProperties"], value, path, found),
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    walk(&schema["items"], item, path, found);
                }
            }
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk(&schema.0, payload, "", &mut found);
    found
}
