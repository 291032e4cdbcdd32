//! `flawd check`: validates configuration and bundle without touching hardware.

use super::args::runtime::ConfigArgs;
use super::failure::{Failure, Outcome};
use crate::line::config::SourceSettings;
use crate::line::daemon::Daemon;

/// Runs the first steps of `flawd run`, and prints what it found.
///
/// # Errors
/// Those of `flawd run`, with the same exit code.
pub fn run(args: ConfigArgs) -> Outcome {
    let daemon =
        Daemon::prepare(&args.config).map_err(|error| Failure::new(error.kind(), error))?;
    let config = daemon.config();
    println!("station       {}", config.station);
    for (folder, bundle) in daemon.bundles() {
        let manifest = bundle.manifest();
        println!(
            "bundle        {} {}, {}",
            manifest.name, manifest.version, manifest.model.digest
        );
        println!("              in {}", folder.display());
        println!("              {}", manifest.calibration.promise());
    }
    println!("onnxruntime   {}", daemon.runtime().library().display());
    for camera in &config.cameras {
        let source = match &camera.source {
            SourceSettings::Folder { path, .. } => format!("folder {}", path.display()),
            SourceSettings::Synthetic { seed, .. } => format!("synthetic, seed {seed}"),
            SourceSettings::V4l2 { device, .. } => format!("v4l2 {}", device.display()),
            SourceSettings::Gstreamer { pipeline, .. } => format!("gstreamer {}", pipeline.shown()),
        };
        println!("camera        {}: {source}", camera.name);
    }
    for (use_of_line, line) in config.lines() {
        println!("GPIO          {use_of_line}: {line}");
    }
    println!(
        "broker        {}:{}, topics under {}",
        config.mqtt.host, config.mqtt.port, config.mqtt.root
    );
    println!("ok; cameras, GPIO lines, broker and accelerator were not touched");
    Ok(())
}
