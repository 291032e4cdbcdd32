//! As much of a JSON Schema validator as the published schemas need, for tests.

use serde_json::Value;

use crate::digest::Digest;

/// A published schema and what it says about payloads.
pub(super) struct Schema(Value);

impl Schema {
    pub(super) fn open(text: &str) -> Self {
        Self(serde_json::from_str(text).expect("the schema is JSON"))
    }

    pub(super) fn id(&self) -> &str {
        self.0["$id"].as_str().expect("it has an id")
    }

    pub(super) fn accepts(&self, payload: &[u8]) {
        let payload = serde_json::from_slice(payload).expect("JSON");
        if let Err(complaint) = check(&self.0, &payload) {
            panic!("{complaint} in {payload}");
        }
    }

    /// Refuses the payload once `field` is `value`; null takes the field away.
    pub(super) fn refuses(&self, payload: &[u8], field: &str, value: Value) {
        let mut payload: Value = serde_json::from_slice(payload).expect("JSON");
        let fields = payload.as_object_mut().expect("an object");
        if value.is_null() {
            assert!(fields.remove(field).is_some(), "{field} is not there");
        } else {
            fields.insert(field.to_owned(), value);
        }
        assert!(check(&self.0, &payload).is_err(), "{field}: {payload}");
    }
}

/// As much of JSON Schema 2020-12 as the published schemas use; another keyword is a panic,
/// so that none goes unchecked. A whole validator would take longer to build than all of
/// this crate.
fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let keywords = match schema {
        Value::Bool(true) => return Ok(()),
        Value::Bool(false) => return Err("not allowed here".to_owned()),
        other => other
            .as_object()
            .expect("a schema is an object or a boolean"),
    };
    let members = |schema: &Value| schema.as_object().expect("an object").clone();
    for (keyword, argument) in keywords {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "format" | "then" | "else" => true,
            "type" => match argument.as_str().expect("one type") {
                "object" => value.is_object(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "array" => value.is_array(),
                "integer" => value.is_u64() || value.is_i64(),
                "number" => value.is_number(),
                other => panic!("type {other}"),
            },
            "enum" => argument.as_array().expect("a list").contains(value),
            "const" => argument == value,
            "minLength" => value.as_str().map(str::len) >= argument.as_u64().map(|n| n as usize),
            "pattern" => match argument.as_str().expect("a string") {
                "Z$" => value.as_str().is_some_and(|text| text.ends_with('Z')),
                "^sha256:[0-9a-f]{64}$" => value
                    .as_str()
                    .is_some_and(|text| text.parse::<Digest>().is_ok()),
                other => panic!("pattern {other}"),
            },
            "minimum" => value.as_f64() >= argument.as_f64(),
            "maximum" => value.as_f64() <= argument.as_f64(),
            "exclusiveMinimum" => value.as_f64() > argument.as_f64(),
            "required" => {
                let names = argument.as_array().expect("a list");
                names
                    .iter()
                    .all(|name| value.get(name.as_str().expect("a name")).is_some())
            }
            "properties" => {
                for (name, schema) in members(argument) {
                    if let Some(value) = value.get(&name) {
                        check(&schema, value).map_err(|why| format!("{name}: {why}"))?;
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
            // Only beside no `properties`, so it is about every member.
            "additionalProperties" => {
                for (name, value) in members(value) {
                    check(argument, &value).map_err(|why| format!("{name}: {why}"))?;
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
