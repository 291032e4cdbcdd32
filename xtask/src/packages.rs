//! Debian packages: which are needed, which are missing, how to install them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::process::Step;

/// To build: the camera bindings are generated from the kernel's header through libclang.
pub(crate) const BUILD: &[&str] = &["libclang-dev"];

/// To build and to test: the tests start their own brokers from the mosquitto package, and speak
/// TLS 1.2 with openssl.
pub(crate) const ALL: &[&str] = &["libclang-dev", "mosquitto", "mosquitto-clients", "openssl"];

/// To build and to test the source `gstreamer`: its libraries, the elements in its tests, and
/// cameras for them. The tests' brokers are as above.
pub(crate) const GSTREAMER: &[&str] = &[
    "libclang-dev",
    "mosquitto",
    "mosquitto-clients",
    "libgstreamer1.0-dev",
    "libgstreamer-plugins-base1.0-dev",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-plugins-ugly",
    "gstreamer1.0-rtsp",
    "gir1.2-gst-rtsp-server-1.0",
    "libaravis-0.8-0",
    "python3-gi",
];

/// To make packages: `readelf` and `strip`, and dpkg's tool for what they contain.
pub(crate) const PACKAGE: &[&str] = &["binutils", "dpkg-dev"];

/// To test packages: a clean Debian root that boots with systemd.
pub(crate) const PACKAGE_TEST: &[&str] = &["mmdebstrap", "systemd-container", "gcc", "libc6-dev"];

/// To test packages in an emulated machine: its disk, its processor, and a broker outside of it.
pub(crate) const VM_TEST: &[&str] = &[
    "mmdebstrap",
    "e2fsprogs",
    "qemu-system-x86",
    "qemu-utils",
    "seabios",
    "mosquitto",
    "mosquitto-clients",
];

/// To build for arm64: the headers of its C library and kernel, and its `strip`.
pub(crate) const ARM64: &[&str] = &[
    "libclang-dev",
    "libc6-dev-arm64-cross",
    "binutils-aarch64-linux-gnu",
];

/// To run programs for arm64 here: an emulator, and the libraries that ONNX Runtime needs.
pub(crate) const ARM64_TEST: &[&str] = &[
    "qemu-user-static",
    "libstdc++6-arm64-cross",
    "libgcc-s1-arm64-cross",
    "mosquitto",
    "mosquitto-clients",
];

/// Installs what is missing of these packages.
pub(crate) fn install(packages: &[&str]) -> Result<(), String> {
    if Step::new("dpkg-query", &["--version"]).answer().is_none() {
        return Err(format!(
            "this is not Debian (there is no dpkg-query), so nothing can be installed here. Needed \
             are libclang for the build, and the programs mosquitto, mosquitto_pub and \
             mosquitto_sub for the tests. With them, and ONNX Runtime's library named by \
             FLAWD_ONNXRUNTIME, `cargo test --workspace` runs without this program. The Debian \
             packages are: {}",
            packages.join(" ")
        ));
    }
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        return Err(format!(
            "Debian packages are missing, and installing them needs root: apt-get install \
             --no-install-recommends {}",
            missing.join(" ")
        ));
    }
    let update = || apt(&["update"]);
    let install = || {
        apt(&["install", "--yes", "--no-install-recommends"]
            .iter()
            .chain(&missing)
            .copied()
            .collect::<Vec<_>>())
    };
    update().map_err(|error| format!("{error}; is there a network?"))?;
    if missing.contains(&"mosquitto") {
        let _no_service = ServicesStayDown::begin()?;
        install()?;
        // The package also enables its service for the next boot.
        if Path::new("/run/systemd/system").exists() {
            Step::new("systemctl", &["disable", "--now", "mosquitto.service"]).run()?;
        }
        Ok(())
    } else {
        install()
    }
}

/// Returns whether this program may change the system.
pub(crate) fn is_root() -> bool {
    Step::new("id", &["--user"]).answer().as_deref() == Some("0")
}

fn apt(arguments: &[&str]) -> Result<(), String> {
    Step::new("apt-get", &["--quiet"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
}

fn is_installed(package: &str) -> bool {
    Step::new(
        "dpkg-query",
        &["--show", "--showformat=${db:Status-Status}", package],
    )
    .answer()
    .is_some_and(|status| status == "installed")
}

/// While this lives, Debian's maintainer scripts start no service: the tests need the broker's
/// program, not a broker on port 1883.
struct ServicesStayDown(Option<&'static Path>);

impl ServicesStayDown {
    fn begin() -> Result<Self, String> {
        let policy = Path::new("/usr/sbin/policy-rc.d");
        if policy.exists() {
            // A container image or an administrator has decided already.
            return Ok(Self(None));
        }
        let script = "#!/bin/sh\n# Put here for one apt-get run by `cargo xtask`.\nexit 101\n";
        fs::write(policy, script)
            .and_then(|()| fs::set_permissions(policy, fs::Permissions::from_mode(0o755)))
            .map_err(|error| format!("cannot write {}: {error}", policy.display()))?;
        Ok(Self(Some(policy)))
    }
}

impl Drop for ServicesStayDown {
    fn drop(&mut self) {
        if let Some(policy) = self.0
            && let Err(error) = fs::remove_file(policy)
        {
            eprintln!("xtask: remove {} by hand: {error}", policy.display());
        }
    }
}
