//! One run of the daemon against a real broker, from the first image of a folder to the last record.

use std::fs;
use std::path::Path;

use super::emulator::Machine;
use crate::broker::Broker;
use crate::files;

/// Judges the images of a folder with a bundle, and returns the record of each, as JSON.
pub(super) fn inspect(
    machine: &Machine,
    broker: &Broker,
    folder: &Path,
    bundle: &str,
    images: &str,
) -> Result<String, String> {
    let name = machine.name();
    let state = folder.join(format!("state-{name}"));
    let configuration = folder.join(format!("flawd-{name}.toml"));
    let text = format!(
        "[station]\nname = \"{name}\"\nstate = {state:?}\n\
         [inference]\nbundle = {bundle:?}\n\
         [camera.top.folder]\npath = {images:?}\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        broker.port()
    );
    files::write(&configuration, &text)?;
    let topic = format!("flawd/{name}/top/record");
    broker.subscribe(name, &topic)?;
    machine
        .flawd(&["run", "-c", &configuration.to_string_lossy()])
        .run()?;
    let count = fs::read_dir(images)
        .map_err(|error| format!("{images}: {error}"))?
        .count();
    broker.arrived(name, &topic, count)
}
