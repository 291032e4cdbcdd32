//! `flawd model engine`: builds engines for this machine ahead of time, and removes those that are no
//! longer of use.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow};
use clap::Args;
use flawd_onnx::{Provider, Runtime, SessionOptions, TensorRtOptions};

use crate::bundle::Bundle;
use crate::commands::failure::{Failure, Outcome};
use crate::commands::progress::{Elapsed, minutes};
use crate::files::cache;
use crate::line::config::ValidConfig;
use crate::line::engine::{EngineKey, Engines, Machine, open_scorer};

/// Arguments of `flawd model engine`.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// Bundle; defaults to every bundle of the configuration
    bundle: Option<PathBuf>,
    /// Take settings and bundles from the daemon's configuration
    #[arg(short, long, value_name = "FILE", conflicts_with_all = SETTINGS)]
    config: Option<PathBuf>,
    /// Remove engines that are no longer of use: those for other software, another GPU or other
    /// settings, and, with --config alone, those of models that no camera uses
    #[arg(long)]
    prune: bool,
    /// Folder for engines; defaults to the daemon's default
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Compute in full precision
    #[arg(long)]
    no_fp16: bool,
    /// Limit of the scratch memory for building and running
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    memory_limit: Option<u32>,
    /// GPU to use, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    device: u32,
    /// Execution providers in order of preference, including tensorrt or openvino
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        default_value = "tensorrt"
    )]
    provider: Vec<Provider>,
    /// ONNX Runtime's shared library; found automatically if unset
    #[arg(long, value_name = "FILE", env = "FLAWD_ONNXRUNTIME")]
    onnxruntime: Option<PathBuf>,
}

/// Arguments that the configuration provides as well.
const SETTINGS: [&str; 5] = ["cache", "no_fp16", "memory_limit", "device", "provider"];

/// What to build, and how.
struct Plan {
    bundles: Vec<PathBuf>,
    options: SessionOptions,
    engines: PathBuf,
    onnxruntime: Option<PathBuf>,
    /// Whether the daemon uses no bundles other than `bundles`.
    is_complete: bool,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the configuration, a bundle or the provider, with its exit code.
pub(crate) fn run(args: EngineArgs) -> Outcome {
    if args.bundle.is_none() && args.config.is_none() {
        return Err(Failure::usage(anyhow!(
            "of which bundle? Name one, or the daemon's configuration with --config"
        )));
    }
    let has_openvino = (args.provider.iter()).any(|it| matches!(it, Provider::OpenVino(_)));
    if has_openvino && (args.no_fp16 || args.memory_limit.is_some() || args.device != 0) {
        return Err(Failure::usage(anyhow!(
            "--no-fp16, --memory-limit and --device are not for openvino: its settings are those of \
             the daemon's configuration, given with --config"
        )));
    }
    let prune = args.prune;
    let plan = args.plan().map_err(Failure::config)?;
    if !plan.options.providers.iter().any(Provider::keeps_engines) {
        return Err(Failure::config(anyhow!(
            "the providers list neither `tensorrt` nor `openvino`, so there are no engines to build"
        )));
    }
    let runtime =
        crate::packages::runtime::load(plan.onnxruntime.as_deref()).map_err(Failure::config)?;
    let engines = Engines::new(&plan.engines, Machine::read(&runtime));
    let mut wanted: Vec<(EngineKey, Bundle)> = Vec::new();
    for path in &plan.bundles {
        let bundle = Bundle::open(path).map_err(Failure::config)?;
        let key = engines.key(bundle.manifest().model.digest, &plan.options);
        let key = key.filter(|key| wanted.iter().all(|(known, _)| known != key));
        wanted.extend(key.map(|key| (key, bundle)));
    }
    // Before a build, which needs space.
    let keys: Vec<_> = wanted.iter().map(|(key, _)| key.clone()).collect();
    show_stale(&engines, &keys, plan.is_complete, prune)?;
    for (key, bundle) in &wanted {
        build(bundle, key, &plan.options, &engines, &runtime)?;
    }
    Ok(())
}

impl EngineArgs {
    fn plan(self) -> anyhow::Result<Plan> {
        match &self.config {
            Some(path) => {
                let config = ValidConfig::load(path)?;
                let inference = config.inference;
                let cameras = config.cameras.into_iter().map(|camera| camera.models);
                let all = cameras.flat_map(|models| {
                    let one = [models.bundle].into_iter().chain(models.shadow);
                    one.chain(models.recipes.into_values())
                });
                Ok(Plan {
                    is_complete: self.bundle.is_none(),
                    bundles: self
                        .bundle
                        .map_or_else(|| all.collect(), |bundle| vec![bundle]),
                    options: inference.session,
                    engines: inference.engines.with_context(|| {
                        format!(
                            "{}: neither `tensorrt` nor `openvino` in inference.providers",
                            path.display()
                        )
                    })?,
                    // As the daemon does, so that the engine is the one the daemon uses.
                    onnxruntime: inference.onnxruntime.or(self.onnxruntime),
                })
            }
            None => Ok(Plan {
                engines: match &self.cache {
                    Some(folder) => folder.clone(),
                    None => cache::engines().ok_or_else(|| {
                        anyhow!("no home folder to keep engines in: give --cache DIR")
                    })?,
                },
                options: self.session_options(),
                bundles: self.bundle.into_iter().collect(),
                onnxruntime: self.onnxruntime,
                is_complete: false,
            }),
        }
    }

    fn session_options(&self) -> SessionOptions {
        let mut providers = self.provider.clone();
        for provider in &mut providers {
            match provider {
                Provider::TensorRt(options) => {
                    *options = TensorRtOptions {
                        device: self.device,
                        fp16: !self.no_fp16,
                        workspace_limit: self.memory_limit.map(|limit| (limit as usize) << 20),
                        ..TensorRtOptions::default()
                    }
                }
                Provider::Cuda(options) => options.device = self.device,
                // Their settings are those of the configuration.
                Provider::Cpu | Provider::OpenVino(_) | Provider::Plugin(_) => (),
            }
        }
        SessionOptions {
            providers,
            intra_threads: 0,
        }
    }
}

/// Builds the engine of a bundle, or loads the existing one, and verifies it.
fn build(
    bundle: &Bundle,
    key: &EngineKey,
    options: &SessionOptions,
    engines: &Engines,
    runtime: &Runtime,
) -> Outcome {
    let manifest = bundle.manifest();
    println!("bundle        {} {}", manifest.name, manifest.version);
    println!("model         {}", key.model());
    for (name, value) in key.machine() {
        println!("{name:<13} {value}");
    }
    let begun = Instant::now();
    let mut elapsed = None;
    let mut was_built = false;
    let opened = open_scorer(bundle, runtime.with(options), Some(engines), &mut || {
        was_built = true;
        let provider = key.provider();
        let what = format!("Building the engine; {provider} does not say how far it is");
        elapsed = Some(Elapsed::start(what));
    });
    drop(elapsed);
    let mut scorer = opened.map_err(Failure::config)?;
    let took = minutes(begun.elapsed());
    match was_built {
        true => println!("engine        built in {took}"),
        false => println!("engine        was there; loaded in {took}"),
    }
    println!(
        "              {}",
        engines.folder().join(key.folder_name()).display()
    );
    for golden in scorer.self_test(bundle).map_err(Failure::config)? {
        println!("golden        {golden}");
    }
    Ok(())
}

/// Lists the engines that are no longer of use, and removes them if requested.
fn show_stale(
    engines: &Engines,
    wanted: &[EngineKey],
    others_are_stale: bool,
    prune: bool,
) -> Outcome {
    let folder = engines.folder();
    let kept = engines
        .list()
        .with_context(|| format!("cannot list {}", folder.display()))?;
    for kept in kept {
        let Some(reason) = engines.why_stale(&kept, wanted, others_are_stale) else {
            continue;
        };
        if prune {
            kept.remove()
                .with_context(|| format!("cannot remove {}", kept.folder.display()))?;
        }
        println!(
            "{}  {}, {} MiB: {reason}",
            if prune {
                "removed     "
            } else {
                "of no use   "
            },
            name(&kept.folder),
            kept.bytes.div_ceil(1 << 20)
        );
    }
    Ok(())
}

fn name(folder: &Path) -> std::borrow::Cow<'_, str> {
    folder.file_name().unwrap_or_default().to_string_lossy()
}
