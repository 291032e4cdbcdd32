//! The disk that machines start from: Debian with its kernel, booted once, and the package installed
//! in it. Each is a snapshot, from which a machine goes on in seconds, and each is made again if
//! what it is made of changes.

use std::fs;
use std::path::{Path, PathBuf};

use super::copy_folder;
use super::machine::{HARDWARE, KERNEL_OPTIONS, Machine, QEMU};
use crate::files::{self, at, sha256};
use crate::package::debian_root;
use crate::process::Step;

/// The machine, booted and with nothing installed.
const BOOTED: &str = "booted";

/// The machine with the package and its bundle.
pub(super) const INSTALLED: &str = "installed";

/// What the machine has beside Debian's essential packages: systemd, the kernel with its modules
/// (the flavour for clouds has no cameras), what the package depends on, and what the cases use.
const INCLUDED: &str = "systemd,systemd-sysv,udev,dbus,kmod,iproute2,procps,initramfs-tools,zstd,\
                        linux-image-amd64,libstdc++6,libgcc-s1,v4l-utils,mosquitto,\
                        mosquitto-clients,python3";

/// Only what the machine needs to find its disk.
const INITRD: &str = "mkdir -p \"$1/etc/initramfs-tools/conf.d\"; \
                      printf 'MODULES=list\\nCOMPRESS=zstd\\n' >\"$1/etc/initramfs-tools/conf.d/vm\"; \
                      printf 'virtio_pci\\nvirtio_blk\\next4\\ncrc32c_generic\\n' \
                      >\"$1/etc/initramfs-tools/modules\"";

/// Settings of a training that takes seconds.
const TINY: &[&str] = &[
    "--size",
    "64x64",
    "--feature",
    "features_s16",
    "--kernels",
    "3,3",
    "--epochs",
    "6",
    "--hidden",
    "16",
    "--false-reject-rate",
    "0.1",
];

/// The disk with its snapshots, and what belongs to it.
pub(super) struct Image {
    folder: PathBuf,
    share: PathBuf,
}

impl Image {
    /// Makes what is missing, and fills the shared folder.
    pub(super) fn prepare(root: &Path, folder: &Path, package: &Path) -> Result<Self, String> {
        let scripts = root.join("tests/vm");
        let image = Self {
            folder: made_once(folder, "image", &recipe(&scripts)?, |new| {
                fill(folder, new, &scripts)
            })?,
            share: folder.join("share"),
        };
        let digest = sha256(package)?;
        let bundle = made_once(folder, "bundle", &digest, |new| train(new, package))?;
        files::empty(&image.share)?;
        copy_folder(&scripts.join("case"), &image.share.join("case"))?;
        copy_folder(&bundle.join("bundle"), &image.share.join("bundle"))?;
        files::copy(package, &image.share.join("flawd.deb"))?;
        let marker = image.folder.join("installed");
        if fs::read_to_string(&marker).is_ok_and(|it| it == digest) {
            return Ok(image);
        }
        fs::remove_file(&marker).ok();
        image.install()?;
        files::write(&marker, &digest)?;
        Ok(image)
    }

    /// Installs the package where a kernel, systemd and udev run, and keeps that moment.
    fn install(&self) -> Result<(), String> {
        eprintln!("==> installing the package in the machine");
        let mut machine = Machine::restore(self, BOOTED)?;
        machine.mount_host()?;
        machine.must("DEBIAN_FRONTEND=noninteractive dpkg --install /host/flawd.deb")?;
        machine.must(
            "cp --recursive /host/bundle /var/lib/flawd/bundle && \
             chown --recursive flawd:flawd /var/lib/flawd && umount /host",
        )?;
        machine.save(INSTALLED)
    }

    pub(super) fn disk(&self) -> PathBuf {
        self.folder.join("disk.qcow2")
    }

    pub(super) fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    pub(super) fn initrd(&self) -> PathBuf {
        self.folder.join("initrd")
    }

    /// Returns the folder that the machine can mount.
    pub(super) fn share(&self) -> &Path {
        &self.share
    }

    pub(super) fn console_log(&self) -> PathBuf {
        self.share.with_file_name("console.log")
    }

    /// Returns where to read what the kernel said.
    pub(super) fn console(&self) -> String {
        format!(
            "the kernel's messages are in {}",
            self.console_log().display()
        )
    }
}

/// Returns what the image is made of: any change of it takes another image.
fn recipe(scripts: &Path) -> Result<String, String> {
    let kernel = Step::new("apt-cache", &["policy", "linux-image-amd64"])
        .answer()
        .and_then(|text| {
            text.lines()
                .find(|it| it.contains("Candidate:"))
                .map(str::to_owned)
        })
        .ok_or("apt-cache does not know linux-image-amd64: run apt-get update")?;
    let guest = files::read(&scripts.join("guest.sh"))?;
    let emulator = Step::new(QEMU, &["--version"])
        .answer()
        .ok_or_else(|| format!("`{QEMU} --version` fails"))?;
    let hardware = HARDWARE.join(" ");
    Ok([
        INCLUDED,
        INITRD,
        &kernel,
        &emulator,
        &hardware,
        KERNEL_OPTIONS,
        &guest,
    ]
    .join("\n"))
}

/// Returns the folder `NAME-DIGEST`, which `fill` fills if it is not there; one of another digest is
/// removed then.
fn made_once(
    folder: &Path,
    name: &str,
    recipe: &str,
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let new = folder.join(format!("{name}.new"));
    files::empty(&new)?;
    let written = new.join("recipe");
    files::write(&written, recipe)?;
    let digest = sha256(&written)?;
    let made = folder.join(format!("{name}-{}", &digest[..16]));
    if made.exists() {
        files::remove(&new)?;
        return Ok(made);
    }
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let prefix = format!("{name}-");
        if path
            .file_name()
            .is_some_and(|it| it.to_string_lossy().starts_with(&prefix))
        {
            files::remove(&path)?;
        }
    }
    fill(&new)?;
    fs::rename(&new, &made).map_err(at(&made))?;
    Ok(made)
}

/// Makes the root, its disk, and the snapshot of the booted machine.
fn fill(folder: &Path, new: &Path, scripts: &Path) -> Result<(), String> {
    let guest = format!(
        "cp '{}' \"$1/tmp/guest.sh\" && chroot \"$1\" sh /tmp/guest.sh && rm \"$1/tmp/guest.sh\"",
        scripts.join("guest.sh").display()
    );
    let debian = folder.join("root.new");
    debian_root(
        &debian,
        INCLUDED,
        &[
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            &format!("--essential-hook={INITRD}"),
            &format!("--customize-hook={guest}"),
        ],
    )?;
    let image = Image {
        folder: new.to_owned(),
        share: folder.join("share"),
    };
    fs::create_dir_all(&image.share).map_err(at(&image.share))?;
    let boot = debian.join("boot");
    for entry in fs::read_dir(&boot).map_err(at(&boot))? {
        let path = entry.map_err(at(&boot))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("vmlinuz-") {
            files::copy(&path, &image.kernel())?;
        } else if name.starts_with("initrd.img-") {
            files::copy(&path, &image.initrd())?;
        }
    }
    let raw = new.join("disk.img").to_string_lossy().into_owned();
    Step::new("truncate", &["--size=3G", &raw]).run()?;
    Step::new("mke2fs", &["-q", "-t", "ext4", "-L", "root", "-d"])
        .args(&[debian.to_string_lossy()])
        .args(&[&raw])
        .run()?;
    Step::new("qemu-img", &["convert", "-O", "qcow2", &raw])
        .args(&[image.disk().to_string_lossy()])
        .run()?;
    fs::remove_file(&raw).map_err(at(Path::new(&raw)))?;
    files::remove(&debian)?;
    eprintln!("==> booting the machine");
    let mut machine = Machine::boot(&image, &image.disk())?;
    machine.must("systemctl is-system-running --wait && test -c /dev/video0")?;
    machine.save(BOOTED)
}

/// Trains a bundle with the program in the package.
fn train(new: &Path, package: &Path) -> Result<(), String> {
    let path = |name: &str| new.join(name).to_string_lossy().into_owned();
    let unpacked = path("unpacked");
    Step::new(
        "dpkg-deb",
        &["--extract", &package.to_string_lossy(), &unpacked],
    )
    .run()?;
    let program = format!("{unpacked}/usr/bin/flawd");
    let (parts, filters, cache) = (path("parts"), path("filters.onnx"), path("cache"));
    Step::new(&program, &["demo", "--write", &parts])
        .silent()
        .run()?;
    Step::new(&program, &["backbone", "filter-bank", "--out", &filters])
        .silent()
        .run()?;
    Step::new(
        &program,
        &["train", &parts, "--backbone", &filters, "--cache", &cache],
    )
    .args(TINY)
    .args(&["--out", &path("bundle")])
    .silent()
    .run()?;
    for rest in [unpacked, parts, cache] {
        files::remove(Path::new(&rest))?;
    }
    Ok(())
}
