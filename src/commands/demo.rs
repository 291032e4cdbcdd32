//! `flawd demo`: the whole workflow without any hardware.
//!
//! ```text
//! synthetic line ─ good parts ─► train ─► bundle ─┐
//!       └─ unseen parts ─► flawd run (a child) ◄──┘ ─ MQTT ─► broker ─► subscriber ─► table
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use flawd_core::event::VerdictData;
use flawd_core::verdict::Verdict;
use flawd_onnx::Execution;

use super::args::runtime::RuntimeArgs;
use super::failure::{Failure, Outcome};
use crate::bundle::Bundle;
use crate::bundle::scorer::Scorer;
use crate::demo::{
    DaemonProcess, EmbeddedBroker, GOOD_PARTS, Promise, SIZE, STATION, Scenario, Sighting,
    Subscriber, Tally,
};
use crate::lab::training::{TrainingProgress, train};
use crate::line::config::Inference;
use crate::logging::{self, Log};
use crate::pictures::heatmap::save_overlay;
use crate::synthetic::SyntheticLine;
use crate::synthetic::dataset::{DatasetOptions, write_dataset};

/// The generated configuration.
const CONFIG_FILE: &str = "flawd.toml";

/// A folder with this file belongs to a demo and may be overwritten. No other program or person
/// creates such a file, as they do a `flawd.toml`.
const MARK: &str = ".flawd-demo";

/// Folder of the overlays in the output folder.
const HEATMAPS: &str = "heatmaps";

/// Longest silence on the connection before the demo gives up.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// How long verdicts may be in transit after the daemon has ended.
const LAST_VERDICT_LIMIT: Duration = Duration::from_secs(5);

/// How often the daemon is checked while nothing arrives.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Arguments of `flawd demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for everything that the demo creates
    #[arg(long, value_name = "DIR", default_value = "flawd-demo")]
    out: PathBuf,
    /// Seed for the parts and the training
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Parts on the line
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    parts: u64,
    /// Parts per second
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    rate: f64,
    /// Training passes over the good parts
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Only write a data set of synthetic parts in the MVTec AD layout, then stop
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "parts", "rate", "epochs"])]
    write: Option<PathBuf>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(args: DemoArgs) -> Outcome {
    if let Some(folder) = &args.write {
        return write_only(folder, args.seed);
    }
    let start = Instant::now();
    // The log of the broker and the training is of no interest here; the daemon has its own log
    // file.
    logging::configure(&Log {
        level: "error".to_owned(),
        ..Log::default()
    });
    let runtime = crate::packages::runtime::load(args.runtime.onnxruntime.as_deref())
        .map_err(Failure::config)?;
    prepare(&args.out)?;

    let scenario = Scenario {
        out: args.out,
        seed: args.seed,
        parts: args.parts,
        rate: args.rate,
        epochs: args.epochs as usize,
    };
    println!(
        "1. {GOOD_PARTS} good parts of a synthetic line → {}",
        scenario.images().display()
    );
    write_dataset(&scenario.images(), &scenario.good_parts())?;

    println!("2. Training on them, on features of flawd's own filter bank");
    let options = args.runtime.session_options();
    let training = scenario.training();
    let summary = train(&training, runtime.with(&options), &mut |progress| {
        show(&progress);
        Ok(())
    })?;
    let calibration = summary.calibration;
    println!("   promise: {}", calibration.promise());

    let tally = watch_line(&scenario, inference(&args.runtime))?;
    let overlays = draw_overlays(&scenario, runtime.with(&options), &tally)?;
    let report = tally.report();
    println!("\n{report}");
    println!(
        "  heatmaps           {overlays:>6} in {}",
        scenario.out.join(HEATMAPS).display()
    );
    println!(
        "  took               {:>6.0} s",
        start.elapsed().as_secs_f64()
    );
    let failures = report.failures(Promise::from(&calibration));
    if failures.is_empty() {
        return Ok(());
    }
    Err(anyhow::anyhow!("the demo failed: {}", failures.join("; ")).into())
}

/// `--write`: writes a data set for trying the other commands.
fn write_only(folder: &Path, seed: u64) -> Outcome {
    let options = DatasetOptions {
        size: SIZE,
        seed,
        // One fifth of them, which `flawd train` holds out, is enough for its default promise.
        train_good: 500,
        test_good: 100,
        test_each_defect: 20,
    };
    write_dataset(folder, &options)?;
    println!("{}: a data set in the MVTec AD layout", folder.display());
    Ok(())
}

/// Creates the output folder, unless it holds something other than a demo.
fn prepare(out: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut entries =
        fs::read_dir(out).with_context(|| format!("cannot read {}", out.display()))?;
    let mark = out.join(MARK);
    if entries.next().is_some() && !mark.exists() {
        bail!(
            "{} holds other things; give an empty folder with --out, or that of an earlier demo, \
             which has a file {MARK}",
            out.display()
        );
    }
    fs::write(
        &mark,
        "Made by `flawd demo`, which writes over this folder.\n",
    )
    .with_context(|| format!("cannot write {}", mark.display()))
}

fn show(progress: &TrainingProgress) {
    match progress {
        TrainingProgress::Split {
            training,
            held_out,
            parameters,
        } => println!(
            "   {training} parts train {parameters} parameters, {held_out} calibrate and never train"
        ),
        TrainingProgress::Epoch { report, of, left }
            if report.epoch % 5 == 0 || report.epoch == *of =>
        {
            println!(
                "   epoch {:>3} of {of}  loss {:>7.3}  {:>3} s left",
                report.epoch,
                report.loss,
                left.as_secs()
            );
        }
        _ => {}
    }
}

/// Starts broker and daemon and prints the verdicts as they arrive.
fn watch_line(scenario: &Scenario, inference: Inference) -> anyhow::Result<Tally> {
    let broker = EmbeddedBroker::start().context("cannot start the embedded broker")?;
    println!("3. An MQTT broker on {}", broker.address());
    let config = scenario.out.join(CONFIG_FILE);
    let text = toml::to_string(&scenario.config(inference, broker.address()))
        .context("cannot write the configuration as TOML")?;
    fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;

    let mut subscriber = Subscriber::connect(broker.address(), &format!("flawd/{STATION}"))?;
    let log = scenario.out.join("daemon.log");
    let mut daemon = DaemonProcess::start(&config, &log)?;
    println!(
        "4. flawd run -c {} (process {}) watches {} unseen parts; a subscriber sees:",
        config.display(),
        daemon.id(),
        scenario.parts
    );
    let line = SyntheticLine::new(scenario.line())?;
    let mut tally = Tally::new(line, scenario.parts);
    let mut last_seen = Instant::now();
    while !tally.is_complete() {
        if let Some(data) = subscriber.next_verdict(LOOK_INTERVAL)? {
            let sighting = Sighting::try_from(&data)?;
            println!("{}", describe(&data, &tally, &sighting));
            tally.add(sighting);
            last_seen = Instant::now();
        } else {
            let limit = if daemon.has_ended()? {
                LAST_VERDICT_LIMIT
            } else {
                SILENCE_LIMIT
            };
            if last_seen.elapsed() > limit {
                break;
            }
        }
    }
    if tally.is_complete() || daemon.has_ended()? {
        daemon.wait()?;
        return Ok(tally);
    }
    bail!(
        "no verdict for {SILENCE_LIMIT:?}; the daemon's log is {}",
        log.display()
    )
}

/// Draws overlays that show where parts are unusual: one detected part per kind of defect, and the
/// first good part.
fn draw_overlays(
    scenario: &Scenario,
    execution: Execution,
    tally: &Tally,
) -> anyhow::Result<usize> {
    let bundle = Bundle::open(&scenario.bundle())?;
    let mut scorer = Scorer::open(&bundle, execution)?;
    let examples = tally.examples();
    for &(index, truth) in &examples {
        let part = tally.line().part(index);
        let map = scorer.score(&part.image)?.anomaly_map;
        let name = truth.map_or("good", |kind| kind.name());
        let file = format!("{name}-{index:06}.png");
        let path = scenario.out.join(HEATMAPS).join(file);
        let threshold = bundle.calibration().threshold();
        save_overlay(&path, &part.image, scorer.geometry(), &map, threshold)?;
    }
    Ok(examples.len())
}

/// Returns how the daemon runs the model: as the training did.
fn inference(args: &RuntimeArgs) -> Inference {
    Inference {
        onnxruntime: args.onnxruntime.as_deref().map(absolute),
        providers: args.provider.iter().map(ToString::to_string).collect(),
        threads: args.threads,
        ..Inference::default()
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Returns a line for one verdict, with the truth beside it.
fn describe(data: &VerdictData, tally: &Tally, sighting: &Sighting) -> String {
    let truth = tally.truth(sighting.index);
    let truth_text = truth.map_or_else(|| "good part".to_owned(), |kind| kind.to_string());
    let mark = match (data.verdict, truth) {
        (Verdict::Ng, None) => "  false reject",
        (Verdict::Ok, Some(_)) => "  escaped",
        (Verdict::NoDecision(_), _) => "  undecided",
        (Verdict::Ok, None) | (Verdict::Ng, Some(_)) => "",
    };
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    format!(
        "   {:>5}  {:<4} score {:>8}  p {:>6}  {:>5.0} ms   {truth_text}{mark}",
        data.seq,
        data.verdict,
        number(data.score.map(f64::from)),
        number(data.p_value),
        data.latency_ms.total
    )
}
