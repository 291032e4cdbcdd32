//! `flawd runtime`: installs ONNX Runtime's library, and shows which are installed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use flawd_core::digest::Digest;
use flawd_onnx::{LIBRARY_VARIABLE, Runtime, RuntimeError};

use super::failure::{Failure, Outcome};
use super::progress::Elapsed;
use crate::packages::runtime::{
    Build, InstallError, Installed, SELECTED, Source, Step, Store, default_folder,
};

/// Arguments of `flawd runtime`.
#[derive(Debug, Args)]
pub struct RuntimeCommandArgs {
    #[command(subcommand)]
    command: RuntimeCommand,
}

#[derive(Debug, Subcommand)]
enum RuntimeCommand {
    /// Install a library and use it from now on; those installed before stay
    Install(InstallArgs),
    /// List the installed libraries
    List {
        /// Folder of the libraries; defaults to flawd's folder of the user's data
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
}

/// Arguments of `flawd runtime install`.
#[derive(Debug, Args)]
struct InstallArgs {
    /// Build to fetch with pip, cpu, openvino or cuda; or the path of libonnxruntime.so or of a wheel
    /// of onnxruntime
    #[arg(value_name = "BUILD|PATH")]
    source: Source,
    /// Expected SHA-256 of the file at PATH; those of known wheels are known
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    sha256: Option<Digest>,
    /// Folder for the libraries; defaults to flawd's folder of the user's data, in which every command
    /// looks
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Why the library cannot be had, or does not work here, with its exit code.
pub fn run(args: RuntimeCommandArgs) -> Outcome {
    match args.command {
        RuntimeCommand::Install(args) => install(args),
        RuntimeCommand::List { into } => list(&store(into)?),
    }
}

fn store(into: Option<PathBuf>) -> Result<Store, Failure> {
    let folder = match into {
        Some(folder) => std::path::absolute(folder)?,
        None => default_folder()
            .context("no home folder to keep the library in: give --into DIR")
            .map_err(Failure::usage)?,
    };
    Ok(Store::new(folder))
}

fn install(args: InstallArgs) -> Outcome {
    if args.sha256.is_some() && matches!(args.source, Source::Known(_)) {
        return Err(Failure::usage(anyhow::anyhow!(
            "--sha256 goes with PATH only: the digests of published builds are known"
        )));
    }
    let store = store(args.into)?;
    let mut loaded = None;
    let prove = |folder: &Path| -> Result<(), RuntimeError> {
        loaded = Some(Runtime::load(Some(folder))?);
        Ok(())
    };
    let mut elapsed = None;
    let installed = store.install(&args.source, args.sha256, prove, |step| {
        elapsed = None;
        match step {
            Step::Waiting => eprintln!("waiting for another flawd that is installing"),
            Step::Fetching(build) => {
                let what = format!(
                    "fetching {} with pip, {} MB",
                    build.wheel.requirement(),
                    build.megabytes
                );
                eprintln!("{what}");
                elapsed = Some(Elapsed::start(what));
            }
            Step::Unpacking => {}
        }
    });
    drop(elapsed);
    let installed = installed.map_err(failure)?;
    show(&installed, &args.source);
    if let Some(runtime) = loaded {
        println!("providers     {}", runtime.providers().join(", "));
    }
    println!("{}", next_step(&store));
    Ok(())
}

/// Prints what is where, and what else it takes.
fn show(installed: &Installed, source: &Source) {
    let what = match installed.is_new {
        true => "installed    ",
        false => "was there    ",
    };
    let record = &installed.record;
    println!("{what} {}, {}", record.source, record.digest);
    println!("folder        {}", installed.folder.display());
    for name in record.files.keys() {
        println!("              {name}");
    }
    let mut known = Build::all();
    let build = known.find(|build| build.folder_name() == installed.name);
    if let Some(needs) = build.and_then(|build| build.needs) {
        println!("it also takes {needs}");
    }
    if let Source::Known(kind) = source
        && kind.name() != "cpu"
    {
        println!("to use it     inference.providers = [\"{kind}\"], or --provider {kind}");
    }
}

/// Says who uses the library from now on, and what names another one.
fn next_step(store: &Store) -> String {
    let link = store.folder().join(SELECTED);
    let is_default = default_folder().is_some_and(|folder| folder == store.folder());
    let by_name = format!(
        "set {LIBRARY_VARIABLE}={0}, or inference.onnxruntime = \"{0}\" in the configuration",
        link.display()
    );
    let named = std::env::var_os(LIBRARY_VARIABLE).filter(|named| !named.is_empty());
    match (is_default, named) {
        (true, None) => {
            "selected      flawd uses it for this user, unless another one is named. For a \
                         service, install with --into DIR, in a folder that it can read"
                .to_owned()
        }
        (true, Some(named)) => format!(
            "selected      {LIBRARY_VARIABLE} names {} here, which takes precedence: unset it",
            Path::new(&named).display()
        ),
        (false, _) => format!("selected      flawd does not look in this folder: {by_name}"),
    }
}

fn list(store: &Store) -> Outcome {
    let selected = store.selected();
    let installed = store.list().map_err(failure)?;
    if installed.is_empty() {
        println!("none in {}", store.folder().display());
    }
    let mut is_found = false;
    for Installed { name, record, .. } in installed {
        let is_selected = selected.as_ref() == Some(&name);
        is_found |= is_selected;
        let mark = if is_selected { "selected" } else { "" };
        println!("{name:<20}  {mark:<8}  {}", record.source);
    }
    match selected {
        Some(name) if !is_found => Err(Failure::config(anyhow::anyhow!(
            "the selected library is gone: {} leads to {name}. Install one again, or remove the link",
            store.folder().join(SELECTED).display()
        ))),
        _ => Ok(()),
    }
}

/// Returns the failure with the exit code that fits its cause: without a network, a later attempt
/// may succeed.
fn failure(error: InstallError) -> Failure {
    match &error {
        InstallError::Fetch(cause) if cause.may_pass() => Failure::unavailable(error),
        _ => Failure::config(error),
    }
}

/// Parses a digest with or without `sha256:`.
fn digest(text: &str) -> Result<Digest, String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text).to_lowercase();
    let parsed = format!("sha256:{digits}").parse();
    parsed.map_err(|_| format!("`{text}` is not a SHA-256: 64 hexadecimal digits are expected"))
}
