//! Which lines are logged: turns the operator's setting into a filter, or into an error.
//!
//! The filter library takes any bare word for the name of a target, and then passes nothing else:
//! `warning` would turn the log off, errors included. So every directive is checked here first, and
//! a word that is not a level is an error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::messages::nearest;

/// The levels by name; numbers are accepted as well.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Other targets that log lines. Another name may be right, but one that is close to these is a
/// typo.
const TARGETS: [&str; 4] = ["flawd", "ort", "hyper", "tokio"];

/// Returns the filter described by `text`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(text: &str) -> Result<EnvFilter, String> {
    let mut general = None;
    let mut directives = Vec::new();
    for directive in text.split(',').map(str::trim) {
        // A span's name has its own syntax, which the library checks.
        if directive.contains('[') {
            directives.push(directive.to_owned());
            continue;
        }
        match directive.split_once('=') {
            None => general = Some(level(directive).map_err(|it| bare(directive, it))?),
            Some((target, level_name)) => {
                let (target, level_name) = (target.trim(), level_name.trim());
                check_target(target)?;
                directives.push(format!("{target}={}", level(level_name)?));
            }
        }
    }
    // A filter that only names targets must not turn off the errors of all others.
    let general = general.unwrap_or(LevelFilter::ERROR);
    // ONNX Runtime's binding logs about itself at level INFO, at every start, which is only useful
    // for debugging it. The operator's setting for `ort` comes later and takes precedence.
    let quiet = general.min(LevelFilter::WARN);
    directives.insert(0, format!("{general},ort={quiet}"));
    EnvFilter::try_new(directives.join(",")).map_err(|error| error.to_string())
}

/// Returns the level of this name.
fn level(name: &str) -> Result<LevelFilter, String> {
    match name.parse() {
        Ok(level) if !name.is_empty() => Ok(level),
        _ => Err(match likely_level(&name.to_lowercase()) {
            Some(level) => format!("`{name}` is not a level; did you mean `{level}`?"),
            None => format!("`{name}` is not a level; there are {}", LEVELS.join(", ")),
        }),
    }
}

/// Returns the level that was probably meant: a typo, or a longer or shorter form of its name.
fn likely_level(name: &str) -> Option<&'static str> {
    let is_form =
        |level: &&str| !name.is_empty() && (name.starts_with(*level) || level.starts_with(name));
    let form = LEVELS.into_iter().find(is_form);
    form.or_else(|| nearest(name, LEVELS))
}

/// Returns the error for a word without a level, which is a target's name if it is not a level.
fn bare(word: &str, objection: String) -> String {
    let is_target = word.contains("::") || TARGETS.contains(&word);
    if is_target {
        format!("`{word}` needs a level, for example `{word}=debug`")
    } else {
        objection
    }
}

fn check_target(target: &str) -> Result<(), String> {
    let root = target.split("::").next().unwrap_or_default();
    if root.is_empty() {
        return Err("a level without a target in front of its `=`".to_owned());
    }
    // The workspace's own crates have names that start with flawd_.
    if TARGETS.contains(&root) || root.starts_with("flawd_") {
        return Ok(());
    }
    match nearest(root, TARGETS) {
        Some(name) => Err(format!(
            "`{root}` has no lines in the log; did you mean `{name}`?"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Returns whether an error and a line of level DEBUG of each of two targets pass.
    fn passing(text: &str) -> [bool; 4] {
        let subscriber = Registry::default().with(parse(text).unwrap());
        tracing::subscriber::with_default(subscriber, || {
            [
                tracing::enabled!(target: "flawd::daemon", tracing::Level::ERROR),
                tracing::enabled!(target: "flawd::daemon", tracing::Level::DEBUG),
                tracing::enabled!(target: "ort", tracing::Level::ERROR),
                tracing::enabled!(target: "ort", tracing::Level::DEBUG),
            ]
        })
    }

    #[test]
    fn a_filter_lets_pass_what_it_says() {
        let cases = [
            ("info", [true, false, true, false]),
            ("DEBUG", [true, true, true, false]),
            ("4", [true, true, true, false]),
            ("off", [false, false, false, false]),
            ("error", [true, false, true, false]),
            ("info,ort=debug", [true, false, true, true]),
            ("warn, flawd = debug", [true, true, true, false]),
            ("flawd::daemon=debug", [true, true, true, false]),
            ("flawd=off", [false, false, true, false]),
        ];
        for (text, expected) in cases {
            assert_eq!(passing(text), expected, "{text}");
        }
    }

    #[test]
    fn a_word_that_is_no_level_turns_nothing_off_and_the_level_that_was_meant_is_named() {
        let cases = [
            ("warning", "did you mean `warn`?"),
            ("Warning", "did you mean `warn`?"),
            ("err", "did you mean `error`?"),
            ("inof", "did you mean `info`?"),
            ("verbose", "there are off, error, warn, info, debug, trace"),
            ("", "`` is not a level"),
            ("info,", "`` is not a level"),
            ("flawd", "`flawd` needs a level, for example `flawd=debug`"),
            ("flawd::pipeline", "needs a level"),
            ("flawd=inof", "did you mean `info`?"),
            ("flawd=", "`` is not a level"),
            ("flawd=loud", "`loud` is not a level; there are"),
            ("info,flwad=debug", "did you mean `flawd`?"),
            ("=debug", "without a target"),
        ];
        for (text, said) in cases {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(said), "{text}: {problem}");
        }
        assert!(parse("info,[span{field=1=debug").is_err());
    }
}
