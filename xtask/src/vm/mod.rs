//! `cargo xtask vm-test`: the package in an emulated machine that has what a container does not: its
//! own kernel, a V4L2 camera that can be unplugged and made to fail, devices that a service must not
//! open, and a power that can be cut. What happens in there is in `tests/vm`.
//!
//! ```text
//! target/vm/image-<digest>/    Debian with its kernel, booted once; made again if one of its parts changes
//! target/vm/bundle-<digest>/   a tiny bundle, trained by the package's own program
//! target/vm/share/             what the machine sees as /host
//! target/vm/console.log        what its kernel says
//! ```

mod image;
mod machine;
mod power_cut;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::files::{self, at};
use crate::{package, packages};
use image::Image;
use machine::Machine;

/// The cases, in the order in which they run. Each is a script in `tests/vm/case`, but for the last,
/// which cannot be run from inside.
const CASES: &[&str] = &["frames", "faults", "devices", "clock", "link", POWER_CUT];

const POWER_CUT: &str = "power-cut";

/// A case takes a minute or two on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_secs(900);

/// What to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The package; the one for this machine that was made last if there is none.
    package: Option<PathBuf>,
    /// The names of the cases; all of them if there is none.
    cases: Vec<String>,
}

impl Wanted {
    /// Reads the arguments; `None` if they are wrong.
    pub(crate) fn parse(arguments: &[String]) -> Option<Self> {
        let mut wanted = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--package" => wanted.package = Some(arguments.next()?.into()),
                case if CASES.contains(&case) => wanted.cases.push(case.to_owned()),
                _ => return None,
            }
        }
        Some(wanted)
    }
}

/// Runs the cases one after the other, each on a machine that starts from the same moment, and
/// reports which have failed.
pub(crate) fn run(root: &Path, wanted: &Wanted) -> Result<(), String> {
    if std::env::consts::ARCH != "x86_64" {
        return Err("the emulated machine is an x86-64 one, and so has to be this one".to_owned());
    }
    if !packages::is_root() {
        return Err("a Debian root is made as root: run it as root".to_owned());
    }
    packages::install(packages::VM_TEST)?;
    let begun = Instant::now();
    let package = match &wanted.package {
        Some(file) => file.clone(),
        None => package::newest(root)?,
    };
    let folder = root.join("target/vm");
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    let image = Image::prepare(root, &folder, &package)?;
    eprintln!("==> ready after {:.0} s", begun.elapsed().as_secs_f64());

    let named =
        |case: &&&str| wanted.cases.is_empty() || wanted.cases.iter().any(|it| it == **case);
    let mut failed = Vec::new();
    for case in CASES.iter().filter(named) {
        println!("==> {case}");
        let begun = Instant::now();
        let outcome = match *case {
            POWER_CUT => power_cut::run(&image, &folder),
            case => in_the_machine(&image, case),
        };
        let seconds = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("    ok in {seconds:.0} s"),
            Err(error) => {
                println!("    FAILED after {seconds:.0} s: {error}");
                failed.push(*case);
            }
        }
    }
    if !failed.is_empty() {
        return Err(format!("failed: {}", failed.join(", ")));
    }
    println!(
        "vm-test: ok in {:.1} min",
        begun.elapsed().as_secs_f64() / 60.0
    );
    Ok(())
}

/// Runs the script of a case in the machine, with the package installed.
fn in_the_machine(image: &Image, case: &str) -> Result<(), String> {
    let mut machine = Machine::restore(image, image::INSTALLED)?;
    machine.mount_host()?;
    let command = format!("python3 /host/case/{case}.py");
    match machine.run(&command, PATIENCE, |line| println!("    {line}"))? {
        0 => Ok(()),
        code => Err(format!("`{command}` ends with {code}; {}", image.console())),
    }
}

/// Copies the files of a folder.
fn copy_folder(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(at(to))?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let path = entry.map_err(at(from))?.path();
        let copy = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy_folder(&path, &copy)?;
        } else {
            files::copy(&path, &copy)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_known_by_their_names_and_each_but_the_last_has_a_script() {
        let parse = |arguments: &str| {
            let arguments: Vec<_> = arguments.split_whitespace().map(str::to_owned).collect();
            Wanted::parse(&arguments)
        };
        assert_eq!(parse(""), Some(Wanted::default()));
        let both = parse("--package a.deb frames power-cut").expect("it is right");
        assert_eq!(both.cases, ["frames", "power-cut"]);
        assert_eq!(both.package, Some("a.deb".into()));
        for wrong in ["--package", "frame", "frames.py"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vm/case");
        for case in CASES.iter().filter(|&&case| case != POWER_CUT) {
            assert!(scripts.join(format!("{case}.py")).exists(), "{case}");
        }
    }
}
