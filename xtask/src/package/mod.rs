//! `cargo xtask package`: the Debian packages. What goes into them is in Cargo.toml, under
//! `package.metadata.deb`; here everything that is built, fetched or generated is put in its place.
//!
//! ```text
//! target/package/stage/         one architecture at a time, for cargo-deb
//! target/package/flawd_*.deb    the packages
//! ```

mod clean_root;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::at;
use crate::process::Step;
use crate::{arm64, packages, setup};

pub(crate) use clean_root::{debian_root, newest, test};

/// An architecture that packages are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// Returns the one of this machine.
    fn native() -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|it| it.name() == std::env::consts::ARCH)
    }

    /// Returns its name in Rust.
    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Returns its name in Debian.
    fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Returns the target for which rustc builds.
    fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }
}

/// What to package.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    architectures: Vec<Architecture>,
    /// A program that is built already.
    program: Option<PathBuf>,
}

impl Wanted {
    /// Reads the arguments; `None` if they are wrong.
    pub(crate) fn parse(arguments: &[String]) -> Option<Self> {
        let mut wanted = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let value = arguments.next()?;
            match argument.as_str() {
                "--arch" => {
                    let named = |it: &Architecture| it.debian() == value;
                    wanted
                        .architectures
                        .push(Architecture::ALL.into_iter().find(named)?);
                }
                "--program" => wanted.program = Some(value.into()),
                _ => return None,
            }
        }
        let is_clear = wanted.program.is_none() || wanted.architectures.len() < 2;
        is_clear.then_some(wanted)
    }
}

/// Makes the packages, and prints their paths.
pub(crate) fn run(root: &Path, wanted: &Wanted) -> Result<(), String> {
    setup(root, packages::BUILD)?;
    packages::install(packages::PACKAGE)?;
    need_cargo_deb()?;
    let native = Architecture::native()
        .ok_or_else(|| format!("there are no packages for {}", std::env::consts::ARCH))?;
    let architectures = match (&wanted.architectures[..], &wanted.program) {
        ([], Some(_)) => vec![native],
        ([], None) if native == Architecture::Amd64 => Architecture::ALL.to_vec(),
        ([], None) => vec![native],
        (named, _) => named.to_vec(),
    };
    if native == Architecture::Arm64 && architectures.contains(&Architecture::Amd64) {
        return Err("packages for amd64 are made on amd64".to_owned());
    }
    // Pages, completions and the backbone are the same for all, and need a program that runs here.
    let local = match &wanted.program {
        Some(program) if architectures == [native] => program.clone(),
        _ if architectures == [Architecture::Arm64] && native != Architecture::Arm64 => {
            build(root, "dev")?
        }
        _ => build(root, "release")?,
    };
    let mut made = Vec::new();
    for architecture in architectures {
        let program = match &wanted.program {
            Some(program) => program.clone(),
            None if architecture == native => local.clone(),
            None => arm64::build(root)?,
        };
        stage::fill(root, architecture, &program, &local)?;
        made.push(pack(root, architecture)?);
    }
    for package in made {
        println!("{}", package.display());
    }
    Ok(())
}

/// Builds the program for this machine, and returns its path.
pub(crate) fn build(root: &Path, profile: &str) -> Result<PathBuf, String> {
    // In debug, with the features that tests have built it with.
    let selection: &[&str] = match profile {
        "dev" => &["--workspace", "--bin", "flawd"],
        _ => &["--package", "flawd"],
    };
    Step::new("cargo", &["build", "--locked", "--profile", profile])
        .args(selection)
        .inside(root)
        .run()?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(root.join("target").join(folder).join("flawd"))
}

/// Makes the package of what is on the stage, and returns its path.
fn pack(root: &Path, architecture: Architecture) -> Result<PathBuf, String> {
    let folder = root.join("target/package");
    let ending = format!("_{}.deb", architecture.debian());
    for old in packages_in(&folder, &ending)? {
        fs::remove_file(&old).map_err(at(&old))?;
    }
    Step::new("cargo", &["deb", "--no-build", "--no-strip", "--quiet"])
        .args(&["--target", &architecture.target(), "--output"])
        .args(&[folder.to_string_lossy()])
        .inside(root)
        .run()?;
    match &packages_in(&folder, &ending)?[..] {
        [package] => Ok(package.clone()),
        other => Err(format!("cargo-deb made {} packages, not one", other.len())),
    }
}

fn packages_in(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    Ok(entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect())
}

fn need_cargo_deb() -> Result<(), String> {
    if Step::new("cargo", &["deb", "--version"]).answer().is_some() {
        return Ok(());
    }
    Step::new("cargo", &["install", "--locked", "cargo-deb@3.8.0"])
        .run()
        .map_err(|error| format!("{error}; cargo-deb is needed to make packages"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &str) -> Option<Wanted> {
        let arguments: Vec<_> = arguments.split_whitespace().map(str::to_owned).collect();
        Wanted::parse(&arguments)
    }

    #[test]
    fn a_program_is_for_one_architecture_and_nothing_unknown_is_taken() {
        assert_eq!(parsed(""), Some(Wanted::default()));
        let both = parsed("--arch arm64 --arch amd64").expect("it is right");
        assert_eq!(
            both.architectures,
            [Architecture::Arm64, Architecture::Amd64]
        );
        assert!(parsed("--arch arm64 --program a").is_some());
        for wrong in [
            "--arch",
            "--arch riscv64",
            "--arch amd64 --arch arm64 --program a",
            "x y",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
