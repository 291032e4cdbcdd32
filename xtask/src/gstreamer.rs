//! The camera source `gstreamer`, which `cargo xtask test` does not build: it takes GStreamer's
//! libraries, and cameras on the loopback address.

use std::path::{Path, PathBuf};

use crate::files::at;
use crate::process::Step;

/// The feature, as the whole workspace has it: with that, other crates are built once.
const FEATURE: [&str; 3] = ["--workspace", "--features", "flawd/gstreamer"];

/// Builds the source with its lints, and runs its tests.
pub(crate) fn test(root: &Path) -> Result<(), String> {
    let camera = fake_camera(root)?;
    Step::new("cargo", &["clippy", "--all-targets"])
        .args(&FEATURE)
        .args(&["--", "--deny", "warnings"])
        .inside(root)
        .run()?;
    Step::new("cargo", &["test", "--lib"])
        .args(&FEATURE)
        .args(&["gstreamer"])
        .inside(root)
        .run()?;
    // The GigE Vision camera has the one port of its standard, so one test at a time.
    Step::new("cargo", &["test", "--test", "gstreamer"])
        .args(&FEATURE)
        .args(&["--", "--test-threads", "1"])
        .inside(root)
        .env("FLAWD_TEST_ARAVIS_CAMERA", &camera.display().to_string())
        .run()
}

/// Unpacks Aravis' GigE Vision camera. Its package also has a graphical viewer, which would install
/// a desktop's libraries.
fn fake_camera(root: &Path) -> Result<PathBuf, String> {
    const PACKAGE: &str = "aravis-tools";
    let folder = root.join("target/gstreamer");
    let camera = folder.join("usr/bin/arv-fake-gv-camera-0.8");
    if camera.exists() {
        return Ok(camera);
    }
    std::fs::create_dir_all(&folder).map_err(at(&folder))?;
    Step::new("apt-get", &["download", PACKAGE])
        .inside(&folder)
        .run()?;
    let files = std::fs::read_dir(&folder).map_err(at(&folder))?;
    let package = files
        .flatten()
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|it| it == "deb"))
        .ok_or("apt-get has downloaded no package")?;
    Step::new("dpkg", &["--extract", &package.display().to_string()])
        .args(&[&folder.display().to_string()])
        .run()?;
    Ok(camera)
}
