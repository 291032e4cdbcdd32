//! Environment variables: which of them are ours, and which were meant to be.

use std::collections::BTreeMap;

use flawd_onnx::LIBRARY_VARIABLE;
use tracing::warn;

use super::{Config, ConfigError};
use crate::logging::FILTER_VARIABLE;
use crate::messages;

/// Variables `FLAWD__SECTION__KEY` take precedence over the file's keys.
pub const ENVIRONMENT_PREFIX: &str = "FLAWD";

/// Separates the levels of a key in a variable's name.
pub(crate) const SEPARATOR: &str = "__";

/// Reads the environment of this process. Variables that are not UTF-8 are ignored, except for
/// ours.
///
/// # Errors
/// [`ConfigError::Environment`].
pub(crate) fn of_the_process() -> Result<BTreeMap<String, String>, ConfigError> {
    let mut variables = BTreeMap::new();
    for (name, value) in std::env::vars_os() {
        let shown = name.to_string_lossy().into_owned();
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => {
                variables.insert(name, value);
            }
            _ if shown.starts_with(ENVIRONMENT_PREFIX) => {
                return Err(refused(&shown, "is not UTF-8".to_owned()));
            }
            _ => {}
        }
    }
    Ok(variables)
}

/// Refuses variables that look like ours and would have no effect, or another one than intended.
///
/// # Errors
/// [`ConfigError::Environment`].
pub(crate) fn check(
    from_file: &Config,
    variables: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    let mut paths = BTreeMap::new();
    for name in variables.keys() {
        let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else {
            check_upper_case(name)?;
            continue;
        };
        if let Some(path) = rest.strip_prefix(SEPARATOR) {
            // They are read regardless of case.
            let path = path.to_lowercase();
            check_case(name, &path, from_file)?;
            if let Some(other) = paths.insert(path, name) {
                return Err(refused(name, format!("{other} says the same key")));
            }
        } else if let Some(rest) = rest.strip_prefix('_') {
            check_foreign(name, rest, variables)?;
        }
    }
    Ok(())
}

/// Checks a variable that does not begin with our prefix: it has no effect, even if only the case
/// is wrong.
fn check_upper_case(name: &str) -> Result<(), ConfigError> {
    let meant = name.to_uppercase();
    let ours = format!("{ENVIRONMENT_PREFIX}{SEPARATOR}");
    if !meant.starts_with(&ours) {
        return Ok(());
    }
    let problem = format!("is none of flawd's; did you mean {meant}?");
    Err(refused(name, problem))
}

/// Checks that a variable for a number is one: the parser takes words such as `yes` and `off` for 1
/// and 0, as they are meant for switches. `config` is what it has made of the variable.
///
/// # Errors
/// [`ConfigError::Environment`], without the value.
pub(crate) fn check_number(config: &Config, name: &str, value: &str) -> Result<(), ConfigError> {
    let tree = serde_json::to_value(config).unwrap_or_default();
    let key = key_of(name).unwrap_or_default();
    let set = (key.split('.')).try_fold(&tree, |tree, level| tree.get(level));
    let is_number = set.is_some_and(serde_json::Value::is_number);
    if is_number && value.parse::<f64>().is_err() {
        return Err(refused(name, "is not a number".to_owned()));
    }
    Ok(())
}

/// Returns the variables that set keys, by key.
pub(crate) fn by_key(variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let names = variables.keys();
    names
        .filter_map(|name| Some((key_of(name)?, name.clone())))
        .collect()
}

/// Returns the key that a variable sets, such as `mqtt.port`, if it sets one.
fn key_of(name: &str) -> Option<String> {
    let levels = name
        .strip_prefix(ENVIRONMENT_PREFIX)?
        .strip_prefix(SEPARATOR)?;
    Some(levels.to_lowercase().replace(SEPARATOR, "."))
}

/// Checks the case of a free name, such as a camera's. A variable's name is lower case, so it would
/// create a second entry beside that of the file.
fn check_case(variable: &str, path: &str, from_file: &Config) -> Result<(), ConfigError> {
    let mut levels = path.split(SEPARATOR);
    let (Some("camera"), Some(camera)) = (levels.next(), levels.next()) else {
        return Ok(());
    };
    let hidden = same_but_for_case(camera, from_file.camera.keys()).map(|it| ("camera", it));
    let hidden = hidden.or_else(|| {
        let recipes = &from_file.camera.get(camera)?.recipe;
        match (levels.next(), levels.next()) {
            (Some("recipe"), Some(recipe)) => {
                same_but_for_case(recipe, recipes.keys()).map(|it| ("recipe", it))
            }
            _ => None,
        }
    });
    match hidden {
        None => Ok(()),
        Some((what, name)) => Err(refused(
            variable,
            format!(
                "would make a second {what} beside `{name}`, because variables reach names in \
                 lower case only; set the key in the file, or write the {what}'s name in lower case"
            ),
        )),
    }
}

/// Returns the name that equals this one except for case, if this one is absent.
fn same_but_for_case<'a>(
    lower: &str,
    mut names: impl Iterator<Item = &'a String> + Clone,
) -> Option<&'a str> {
    if names.clone().any(|name| name == lower) {
        return None;
    }
    let found = names.find(|name| name.to_lowercase() == lower)?;
    Some(found)
}

/// Checks a variable with our prefix that has no key in it, or belongs to another program.
fn check_foreign(
    name: &str,
    rest: &str,
    variables: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    let ours = [FILTER_VARIABLE, LIBRARY_VARIABLE];
    if ours.contains(&name) || is_kubernetes(name, variables) {
        return Ok(());
    }
    let key = rest.split_once('_').filter(|(section, _)| {
        let sections = serde_json::to_value(Config::default()).unwrap_or_default();
        sections.get(section.to_lowercase()).is_some()
    });
    let meant = match key {
        Some((section, key)) => {
            let key = key.trim_start_matches('_');
            Some(format!(
                "{ENVIRONMENT_PREFIX}{SEPARATOR}{section}{SEPARATOR}{key}"
            ))
        }
        None => messages::nearest(name, ours).map(str::to_owned),
    };
    match meant {
        Some(meant) => Err(refused(
            name,
            format!("is none of flawd's; did you mean {meant}?"),
        )),
        None => {
            warn!(
                variable = name,
                "A variable is called like flawd's and does nothing"
            );
            Ok(())
        }
    }
}

/// Returns whether this comes from a Kubernetes service: each has its address in variables of every
/// container beside it, and one named `flawd` has them under our prefix.
fn is_kubernetes(name: &str, variables: &BTreeMap<String, String>) -> bool {
    let mut services = variables
        .keys()
        .filter_map(|name| name.strip_suffix("_SERVICE_HOST"));
    services.any(|service| {
        name.strip_prefix(service)
            .is_some_and(|it| it.starts_with("_SERVICE_") || it.starts_with("_PORT"))
    })
}

fn refused(variable: &str, problem: String) -> ConfigError {
    ConfigError::Environment {
        variable: variable.to_owned(),
        problem,
    }
}
