//! `cargo xtask test`: every check that a change must pass before it reaches the main branch.

use std::path::Path;
use std::time::Instant;

use crate::process::Step;
use crate::{fuzz, onnxruntime, packages, setup, slowest};

/// Runs all checks, cheapest first, and stops at the first that fails.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let start = Instant::now();
    setup(root, packages::ALL)?;
    onnxruntime::install_openvino(root)?;
    need_components(root)?;
    let cargo = |arguments: &[&str]| Step::new("cargo", arguments).inside(root);

    cargo(&["fmt", "--all", "--check"]).run()?;
    let has_typos = Step::new("typos", &["--version"]).answer().is_some();
    if has_typos {
        Step::new("typos", &[]).inside(root).run()?;
    }
    let has_deny = cargo(&["deny", "--version"]).answer().is_some();
    if has_deny {
        cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"]).run()?;
    }
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ])
    .run()?;
    slowest::test(root, &["test", "--workspace", "--locked"])?;
    fuzz::run(root, &fuzz::Wanted::smoke())?;
    cargo(&[
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
    ])
    .env("RUSTDOCFLAGS", "-Dwarnings")
    .run()?;

    if !has_typos {
        eprintln!("not checked: spelling, because typos is not installed");
    }
    if !has_deny {
        eprintln!("not checked: deny.toml, because cargo-deny is not installed");
    }
    eprintln!(
        "xtask test: ok in {:.1} min",
        start.elapsed().as_secs_f64() / 60.0
    );
    Ok(())
}

/// rustfmt and clippy are not part of rustup's minimal profile.
fn need_components(root: &Path) -> Result<(), String> {
    for component in ["fmt", "clippy"] {
        if Step::new("cargo", &[component, "--version"])
            .inside(root)
            .answer()
            .is_some()
        {
            continue;
        }
        Step::new("rustup", &["component", "add", "rustfmt", "clippy"])
            .inside(root)
            .run()
            .map_err(|error| {
                format!("{error}. `cargo {component}` is missing; install it and try again")
            })?;
    }
    Ok(())
}
