//! The published schemas, and the validator that holds payloads to them.
//!
//! ```text
//! payload ──► boon: is it valid? ──► is every field of it described?
//! ```
//! Schemas allow fields that they do not know, because subscribers ignore those; a test of what is
//! sent must not.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use boon::{Compiler, SchemaIndex, Schemas};
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

/// The keywords that the schemas use. JSON Schema ignores those that it does not know, so a
/// misspelt one would check nothing.
const KEYWORDS: [&str; 24] = [
    "$id",
    "$ref",
    "$schema",
    "additionalProperties",
    "const",
    "description",
    "else",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maximum",
    "maxLength",
    "minimum",
    "minItems",
    "minLength",
    "pattern",
    "properties",
    "required",
    "then",
    "title",
    "type",
];

/// All published schemas, compiled.
static COMPILED: LazyLock<Compiled> = LazyLock::new(Compiled::new);

struct Compiled {
    schemas: Schemas,
    /// Text and place of each, in the order of [`PUBLISHED`].
    published: Vec<(Value, SchemaIndex)>,
}

impl Compiled {
    fn new() -> Self {
        let mut compiler = Compiler::new();
        compiler.enable_format_assertions();
        let texts = PUBLISHED.map(|(name, text)| {
            let schema: Value = serde_json::from_str(text).expect("a schema is JSON");
            let id = format!("urn:flawd:schema:{name}:1");
            assert_eq!(schema["$id"], id.as_str(), "a schema is named as its file");
            only_known_keywords(&schema);
            (compiler.add_resource(&id, schema.clone())).expect("an identifier is a URN");
            (id, schema)
        });
        let mut schemas = Schemas::new();
        let published = texts.map(|(id, text)| {
            let index = compiler.compile(&id, &mut schemas);
            (
                text,
                index.unwrap_or_else(|error| panic!("{id}: {error:#}")),
            )
        });
        Self {
            schemas,
            published: published.into(),
        }
    }
}

/// A published schema.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    text: &'static Value,
    index: SchemaIndex,
}

impl Schema {
    /// Returns the schema in `docs/schema/<name>.schema.json`.
    ///
    /// # Panics
    /// If there is none, or one of them is not a schema.
    pub fn published(name: &str) -> Self {
        let place = PUBLISHED.iter().position(|(known, _)| *known == name);
        let place = place.unwrap_or_else(|| panic!("no schema {name}"));
        let (text, index) = &COMPILED.published[place];
        Self {
            text,
            index: *index,
        }
    }

    /// Returns the text of the schema with this identifier.
    fn referenced(id: &Value) -> &'static Value {
        let name = id.as_str().and_then(|id| id.split(':').nth(3));
        Self::published(name.expect("a schema of ours")).text
    }

    /// Checks that the payload matches the schema, and has no field that it does not describe.
    ///
    /// # Errors
    /// What does not match, or the first field that is not described.
    pub fn check(&self, payload: &Value) -> Result<(), String> {
        let valid = COMPILED.schemas.validate(payload, self.index);
        valid.map_err(|error| format!("{error:#}"))?;
        undescribed(self.text, payload)
    }
}

fn members(schema: &Value) -> &Map<String, Value> {
    schema.as_object().expect("an object")
}

/// Checks the keywords of a schema, and of those in it.
fn only_known_keywords(schema: &Value) {
    // `true` and `false` are schemas too.
    for (keyword, argument) in schema.as_object().into_iter().flatten() {
        assert!(KEYWORDS.contains(&&**keyword), "unknown keyword {keyword}");
        match keyword.as_str() {
            "properties" => members(argument).values().for_each(only_known_keywords),
            "additionalProperties" | "else" | "if" | "items" | "then" => {
                only_known_keywords(argument);
            }
            _ => {}
        }
    }
}

/// Checks that the schema describes every field.
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
            walk(Schema::referenced(id), path, found);
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
    walk(schema.text, "", &mut found);
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
                    let target = target.and_then(|it| it["properties"].get(name));
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
    walk(schema.text, payload, "", &mut found);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_schema_forbids_and_what_it_does_not_know_are_refused() {
        let schema = Schema::published("trigger");
        assert_eq!(schema.check(&json!({ "part_id": "a" })), Ok(()));
        for payload in [
            json!({ "part_id": 11 }),
            json!({ "batch": 3 }),
            json!({ "sent_at": "2026-02-30T12:00:00Z" }),
            json!({ "sent_at": "2026-02-28 12:00:00Z" }),
        ] {
            assert!(schema.check(&payload).is_err(), "{payload}");
        }
        let beat = json!({ "seq": 1, "age_ms": 0.5 });
        let mut heartbeat = json!({ "cameras": { "top": beat }, "time": "2026-03-01T12:00:00Z" });
        let schema = Schema::published("heartbeat");
        assert_eq!(schema.check(&heartbeat), Ok(()));
        heartbeat["cameras"]["top"]["mood"] = "good".into();
        let problem = schema.check(&heartbeat).unwrap_err();
        assert!(problem.contains("mood is not described"), "{problem}");
    }

    #[test]
    #[should_panic(expected = "unknown keyword minLenght")]
    fn a_misspelt_keyword_is_found() {
        only_known_keywords(&json!({ "properties": { "a": { "minLenght": 1 } } }));
    }
}
