//! `cargo xtask package-test`: a package in a clean Debian 12 that boots with systemd, in a
//! container. What happens in there is in `packaging/test/clean-root.sh`.
//!
//! ```text
//! target/package/root    Debian, made once; nothing is ever written into it
//! target/package/host    what the container is given, and its log
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Architecture, Wanted, packages_in};
use crate::files::{self, at};
use crate::onnxruntime::LIBRARY;
use crate::packages;
use crate::process::Step;

/// The release of the clean root.
const SUITE: &str = "bookworm";

/// What a Debian that boots has beside its essential packages, and the libraries that the package
/// depends on, so that the container needs no network.
const INCLUDED: &str = "systemd,systemd-sysv,udev,dbus,libstdc++6,libgcc-s1";

/// Runs the test with this package, or the one for this machine that was made last.
pub(crate) fn test(root: &Path, package: Option<&Path>) -> Result<(), String> {
    if !packages::is_root() {
        return Err("a container that boots takes root: run it as root".to_owned());
    }
    packages::install(packages::PACKAGE_TEST)?;
    let package = match package {
        Some(file) => file.to_owned(),
        None => newest(root)?,
    };
    let folder = root.join("target/package");
    let host = folder.join("host");
    files::empty(&host)?;
    let debian = clean_root(&folder)?;
    files::copy(&package, &host.join("new.deb"))?;
    version_before(&package, &host)?;
    files::copy(
        &root.join("packaging/test/clean-root.sh"),
        &host.join("clean-root.sh"),
    )?;
    Step::new("cc", &["-shared", "-fPIC", "-O1", "-o"])
        .args(&[host.join("hang.so").to_string_lossy()])
        .args(&[format!("-DLIBRARY=\"{LIBRARY}\"")])
        .args(&[root.join("packaging/test/hang.c").to_string_lossy()])
        .run()?;
    boot(&debian, &host)
}

/// Returns the package for this machine in `target/package`, which is made if there is none.
pub(crate) fn newest(root: &Path) -> Result<PathBuf, String> {
    let native = Architecture::native().ok_or("there are no packages for this machine")?;
    let ending = format!("_{}.deb", native.debian());
    let folder = root.join("target/package");
    let made = || Ok::<_, String>(packages_in(&folder, &ending)?.pop());
    if !folder.exists() || made()?.is_none() {
        let wanted = Wanted {
            architectures: vec![native],
            program: None,
        };
        super::run(root, &wanted)?;
    }
    made()?.ok_or_else(|| "no package was made".to_owned())
}

/// Makes the clean root unless it is there.
fn clean_root(folder: &Path) -> Result<PathBuf, String> {
    let debian = folder.join("root");
    if debian.join("etc/debian_version").exists() {
        return Ok(debian);
    }
    let new = folder.join("root-new");
    debian_root(&new, INCLUDED, &[])?;
    fs::rename(&new, &debian).map_err(at(&debian))?;
    Ok(debian)
}

/// Makes a Debian root with these packages, from this machine's package sources where they fit.
/// `options` are mmdebstrap's.
pub(crate) fn debian_root(new: &Path, included: &str, options: &[&str]) -> Result<(), String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let fits = release.contains(&format!("VERSION_CODENAME={SUITE}"));
    let sources = [
        "/etc/apt/sources.list.d/debian.sources",
        "/etc/apt/sources.list",
    ];
    let sources = sources
        .into_iter()
        .filter(|file| fits && fs::metadata(file).is_ok_and(|it| it.len() > 0))
        .take(1);
    files::remove(new)?;
    Step::new("mmdebstrap", &["--variant=minbase", "--mode=root"])
        .args(&["--format=directory", "--dpkgopt=force-unsafe-io"])
        .args(&[format!("--include={included}")])
        .args(options)
        .args(&[SUITE, &new.to_string_lossy()])
        .args(&sources.collect::<Vec<_>>())
        .run()
        .map_err(|error| format!("{error}; is there a network?"))
}

/// Writes `old.deb`: the same package under the version before, with another configuration.
fn version_before(package: &Path, host: &Path) -> Result<(), String> {
    let unpacked = host.join("old");
    let path = unpacked.to_string_lossy();
    Step::new(
        "dpkg-deb",
        &["--raw-extract", &package.to_string_lossy(), &path],
    )
    .run()?;
    let control = unpacked.join("DEBIAN/control");
    edit(&control, |text| {
        let lines = text.lines().map(|line| {
            let is_version = line.starts_with("Version: ");
            format!("{line}{}\n", if is_version { "~before" } else { "" })
        });
        lines.collect()
    })?;
    edit(&unpacked.join("etc/flawd/flawd.toml"), |text| {
        format!("# The version before.\n{text}")
    })?;
    let old = host.join("old.deb");
    Step::new("dpkg-deb", &["--build", "-Zgzip", "-z1", &path])
        .args(&[old.to_string_lossy()])
        .silent()
        .run()?;
    files::remove(&unpacked)
}

fn edit(file: &Path, change: impl FnOnce(String) -> String) -> Result<(), String> {
    files::write(file, &change(files::read(file)?))
}

/// Boots the root with nothing written into it, and runs the script in it.
fn boot(debian: &Path, host: &Path) -> Result<(), String> {
    let unit = "[Unit]\nAfter=multi-user.target\n\
                [Service]\nType=oneshot\n\
                ExecStart=/bin/sh -c '/host/clean-root.sh >/host/log 2>&1 && touch /host/passed'\n\
                ExecStopPost=systemctl --no-block poweroff\n";
    let unit_file = host.join("package-test.service");
    files::write(&unit_file, unit)?;
    let script = host.join("clean-root.sh");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(at(&script))?;
    let mounts = [
        format!("--bind={}:/host", host.display()),
        format!(
            "--bind-ro={}:/etc/systemd/system/package-test.service",
            unit_file.display()
        ),
    ];
    let booted = Step::new(
        "systemd-nspawn",
        &["--quiet", "--register=no", "--keep-unit"],
    )
    .args(&["--volatile=overlay", "--private-network", "--directory"])
    .args(&[debian.to_string_lossy()])
    .args(&mounts)
    .args(&["--boot", "--console=pipe"])
    .args(&[
        "systemd.unit=multi-user.target",
        "systemd.wants=package-test.service",
    ])
    .args(&["systemd.mask=systemd-remount-fs.service"])
    .silent()
    .run();
    let log = fs::read_to_string(host.join("log")).unwrap_or_default();
    print!("{log}");
    booted?;
    if host.join("passed").exists() {
        return Ok(());
    }
    Err("the package does not do what it has to; the log is above".to_owned())
}
