//! What goes into a package and is not a file of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use super::Architecture;
use crate::files::{self, at};
use crate::onnxruntime::{self, LIBRARY, NOTICES};
use crate::process::Step;

/// The newest C library that a package may need, which `depends` in Cargo.toml names: that of
/// Ubuntu 22.04, on which JetPack 6 is built.
const NEWEST_GLIBC: [u32; 2] = [2, 35];

/// Fills `target/package/stage` with the program of an architecture, and what the program of this
/// machine makes.
pub(super) fn fill(
    root: &Path,
    architecture: Architecture,
    program: &Path,
    local: &Path,
) -> Result<(), String> {
    let runtime = onnxruntime::with_notices(root, architecture.name())?;
    for file in [program, &runtime.join(LIBRARY)] {
        check_glibc(file, architecture)?;
    }
    let stage = Stage::empty(root)?;
    stage.copy(program, "flawd")?;
    // Function names stay, for the messages of a panic; lines make up most of the file.
    let strip = if Architecture::native() == Some(architecture) {
        "strip".to_owned()
    } else {
        format!("{}-linux-gnu-strip", architecture.name())
    };
    let staged = stage.path("flawd")?;
    Step::new(&strip, &["--strip-debug", &staged.to_string_lossy()]).run()?;
    stage.copy(&runtime.join(LIBRARY), &format!("lib/{LIBRARY}"))?;
    for notice in NOTICES {
        stage.copy(&runtime.join(notice), &format!("notices/{notice}"))?;
    }
    let local = local.to_string_lossy();
    for (shell, name) in [
        ("bash", "flawd.bash"),
        ("zsh", "_flawd"),
        ("fish", "flawd.fish"),
    ] {
        let text = Step::new(&local, &["generate", shell])
            .answer()
            .ok_or_else(|| format!("`{local} generate {shell}` fails"))?;
        files::write(&stage.path(name)?, &(text + "\n"))?;
    }
    let first_page = stage.path("man/flawd.1")?;
    let pages = first_page.parent().expect("the page is in a folder");
    Step::new(&local, &["generate", "man", &pages.to_string_lossy()]).run()?;
    // Kept from one run to the next; the network is needed once.
    let backbone = stage.path("backbones/efficientnet-lite0.onnx")?;
    Step::new(&local, &["backbone", "fetch", "lite0", "--out"])
        .args(&[backbone.to_string_lossy()])
        .silent()
        .run()
        .map_err(|error| format!("{error}; the package contains the default backbone"))
}

/// The folder from which cargo-deb takes files.
struct Stage(PathBuf);

impl Stage {
    fn empty(root: &Path) -> Result<Self, String> {
        let folder = root.join("target/package/stage");
        files::empty(&folder)?;
        Ok(Self(folder))
    }

    /// Returns the path of a file on the stage, whose folder exists then.
    fn path(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.0.join(name);
        let folder = path.parent().expect("a file is in a folder");
        fs::create_dir_all(folder).map_err(at(folder))?;
        Ok(path)
    }

    fn copy(&self, file: &Path, name: &str) -> Result<(), String> {
        files::copy(file, &self.path(name)?)
    }
}

/// Refuses a program that is not of this architecture, or needs a newer C library than the package
/// says.
fn check_glibc(program: &Path, architecture: Architecture) -> Result<(), String> {
    let path = program.to_string_lossy();
    let read = |option: &str| {
        Step::new("readelf", &["--wide", option, &path])
            .answer()
            .ok_or_else(|| format!("readelf cannot read {path}; it is in Debian's binutils"))
    };
    let machine = match architecture {
        Architecture::Amd64 => "X86-64",
        Architecture::Arm64 => "AArch64",
    };
    if !read("--file-header")?.contains(machine) {
        return Err(format!(
            "{path} is not a program for {}",
            architecture.debian()
        ));
    }
    let newest = newest_glibc(&read("--version-info")?);
    if newest > NEWEST_GLIBC {
        let [major, minor] = newest;
        let [_, limit] = NEWEST_GLIBC;
        return Err(format!(
            "{path} needs glibc {major}.{minor}, and a package may need {major}.{limit} at most: \
             build it on Debian 12 or on Ubuntu 22.04"
        ));
    }
    Ok(())
}

/// Returns the newest version of glibc among these symbol versions.
fn newest_glibc(versions: &str) -> [u32; 2] {
    let numbers = versions.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit());
        let (major, minor) = rest[..end.unwrap_or(rest.len())].split_once('.')?;
        let minor = minor.split('.').next()?;
        Some([major.parse().ok()?, minor.parse().ok()?])
    });
    numbers.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_c_library_is_the_largest_number_and_not_the_last_word() {
        let said =
            "Name: GLIBC_2.9  Flags\n Name: GLIBC_2.34\n GLIBC_2.2.5 GLIBC_PRIVATE GCC_4.2.0";
        assert_eq!(newest_glibc(said), [2, 34]);
        assert_eq!(newest_glibc("GCC_3.0"), [0, 0]);
    }

    #[test]
    fn the_package_depends_on_the_c_library_that_programs_are_checked_for() {
        let manifest = include_str!("../../../Cargo.toml");
        let [major, minor] = NEWEST_GLIBC;
        assert!(manifest.contains(&format!("libc6 (>= {major}.{minor})")));
    }
}
