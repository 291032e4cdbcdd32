//! `flawd model inspect`: what a manifest says, one line per fact.

use std::path::Path;

use flawd_core::light::LightNormalisation;
use flawd_core::manifest::Manifest;

use crate::bundle::Bundle;
use crate::commands::failure::{Failure, Outcome};

/// A label and what it labels.
type Fact = (&'static str, String);

/// Prints the manifest of a bundle, once all of its files are verified.
pub(crate) fn run(bundle: &Path) -> Outcome {
    let bundle = Bundle::open(bundle).map_err(Failure::config)?;
    let manifest = bundle.manifest();
    let rows = [
        model(manifest),
        origin(manifest),
        calibration(manifest),
        measured(manifest),
    ];
    for (label, text) in rows.into_iter().flatten() {
        println!("{label:<13} {text}");
    }
    Ok(())
}

/// What the model is.
fn model(manifest: &Manifest) -> Vec<Fact> {
    let Manifest {
        model,
        backbone,
        flow,
        ..
    } = manifest;
    let mut rows = vec![
        ("bundle", format!("{} {}", manifest.name, manifest.version)),
        ("created", manifest.created.to_string()),
        ("model", model.digest.to_string()),
        ("input", format!("{} (height x width)", model.input)),
    ];
    if let Some(depth) = model.depth {
        rows.push(("depth", format!("{depth}, of files that do not say it")));
    }
    if let Some(light) = model.light {
        let LightNormalisation { reference, limit } = light;
        let text = format!("brought to a level of {reference:.1}, by a factor of {limit} at most");
        rows.push(("light", text));
    }
    let outputs = backbone.outputs.join(" + ");
    rows.extend([
        ("score", model.score.to_string()),
        ("map", model.map.to_string()),
        (
            "backbone",
            format!("{}, {outputs}, {}", backbone.file, backbone.digest),
        ),
        (
            "flow",
            format!(
                "{} channels, {} hidden, kernels {:?}, {} parameters",
                flow.channels,
                flow.hidden,
                flow.kernels,
                flow.layout().len
            ),
        ),
    ]);
    rows
}

/// Where the flow comes from: a training, or a published checkpoint.
fn origin(manifest: &Manifest) -> Vec<Fact> {
    let mut rows = Vec::new();
    if let Some(training) = &manifest.training {
        let how = format!(
            "{} images, {} epochs, seed {}, transform {}, final loss {:.4}",
            training.images,
            training.epochs,
            training.seed,
            training.transform,
            training.final_loss
        );
        rows.extend([("training", how), ("data", training.data.to_string())]);
    }
    if let Some(import) = &manifest.import {
        let what = format!(
            "{} of {}, {}; images and settings of the training unknown",
            import.file, import.implementation, import.digest
        );
        rows.push(("imported", what));
        let unused = import.post_processor.iter();
        rows.extend(unused.map(|(name, value)| ("not used", format!("{name} = {value}"))));
    }
    if let Some(conversion) = &manifest.conversion {
        let text = format!(
            "to {} precision, from {}; scores of {} pictures differ by {:.4} % at most",
            conversion.precision,
            conversion.of,
            conversion.pictures,
            100.0 * conversion.largest_difference
        );
        rows.push(("converted", text));
    }
    rows
}

/// What the bundle promises, and from which pictures.
fn calibration(manifest: &Manifest) -> Vec<Fact> {
    let calibration = &manifest.calibration;
    let mut rows = vec![
        ("threshold", calibration.threshold().to_string()),
        ("calibration", calibration.method().to_string()),
        ("promise", calibration.promise()),
    ];
    if let Some(pixel) = &manifest.pixel {
        let (threshold, promise) = (pixel.threshold(), pixel.promise());
        rows.push(("regions", format!("above {threshold}; {promise}")));
    }
    let selection = &manifest.selection;
    let excluded = selection.excluded.iter();
    rows.extend(excluded.map(|name| ("left out", format!("{name}, by hand"))));
    let accepted = selection.accepted.iter();
    rows.extend(accepted.map(|picture| ("accepted", format!("by hand: {picture}"))));
    if let Some(quality) = &manifest.quality {
        let limits = &quality.limits;
        let text = format!(
            "mean luma {:.1} to {:.1}, sharpness from {:.2}; from {} good images",
            limits.brightness_min, limits.brightness_max, limits.sharpness_min, quality.n
        );
        rows.push(("pictures", text));
        if let Some(noise) = limits.noise_max {
            rows.push(("pictures", format!("noise up to {noise:.1} grey levels")));
        }
        if quality.pictures.is_none() {
            let text = "no cause of drift is named; `flawd calibrate` adds what is needed";
            rows.push(("drift", text.to_owned()));
        }
    }
    rows
}

/// How well it found defects, if that was recorded, and how it is verified.
fn measured(manifest: &Manifest) -> Vec<Fact> {
    let mut rows = Vec::new();
    if let Some(metrics) = &manifest.metrics {
        let text = format!(
            "image AUROC {:.4}, AP {:.4}, F1-max {:.4} on {} good and {} defect images; false \
             rejects {:.1} %, escapes {:.1} %",
            metrics.image_auroc,
            metrics.image_ap,
            metrics.f1_max,
            metrics.good,
            metrics.defect,
            100.0 * metrics.false_reject_rate,
            100.0 * metrics.escape_rate
        );
        rows.push(("metrics", text));
    }
    rows.push(("golden", format!("{} inputs", manifest.golden.len())));
    rows
}
