//! `flawd runtime`: a library is installed whole or not at all, beside the others, and is then the one
//! that every command uses. Where pip is needed, it is a script: the tests have no network.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Finished, bundle, flawd_in};

/// A user with a home folder, and with no program but those given.
struct User {
    folder: TempDir,
}

impl User {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        fs::create_dir(folder.path().join("bin")).expect("writable");
        Self { folder }
    }

    /// Gives the user a pip that answers `--version`, and otherwise runs `script`.
    fn with_pip(self, script: &str) -> Self {
        let path = self.folder.path().join("bin/pip");
        let script = format!("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\n{script}\n");
        fs::write(&path, script).expect("writable");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("its own file");
        self
    }

    fn store(&self) -> PathBuf {
        self.folder
            .path()
            .join("home/.local/share/flawd/onnxruntime")
    }

    fn environment(&self, command: &mut Command) {
        command
            .env_clear()
            .env("HOME", self.folder.path().join("home"))
            .env("PATH", self.folder.path().join("bin"));
    }

    fn flawd<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Finished {
        flawd_in(arguments, |command| self.environment(command))
    }

    fn install(&self, source: impl AsRef<OsStr>) -> Finished {
        self.flawd(arguments!["runtime", "install", source.as_ref()])
    }

    /// The names in the folder of the libraries, without the lock.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.store()).into_iter().flatten();
        let names = entries.map(|entry| entry.expect("listed").file_name());
        let names = names.map(|name| name.into_string().expect("it is text"));
        let mut names: Vec<_> = names.filter(|name| name != ".lock").collect();
        names.sort();
        names
    }

    fn selected(&self) -> String {
        let link = fs::read_link(self.store().join("selected")).expect("one is selected");
        link.into_os_string().into_string().expect("it is text")
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).expect("writable");
        path
    }
}

/// The library of this folder of the checkout; `None`, said, where it is not there.
fn library(folder: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".runtime")
        .join(folder);
    let files = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut files = files.map(|entry| entry.path());
    let is_library = |path: &PathBuf| path.to_string_lossy().contains("/libonnxruntime.so");
    let found = files.find(is_library);
    if found.is_none() {
        println!(
            "absent: {}, which `cargo xtask test` fetches",
            folder.display()
        );
    }
    found
}

/// A header of a library for a machine, by its number in elf(5).
fn header(machine: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\0\0".to_vec();
    bytes[18] = machine;
    bytes
}

#[test]
fn what_is_installed_is_what_every_command_uses_and_a_second_one_removes_nothing() {
    let (Some(first), Some(second)) = (library("onnxruntime"), library("openvino")) else {
        return;
    };
    let user = User::new();
    let installed = user.install(&first).succeeded();
    for part in ["installed", "selected", "providers     cpu", "--into"] {
        assert!(installed.stdout.contains(part), "{}", installed.stdout);
    }
    let name = user.selected();
    assert_eq!(user.names(), [&name, "selected"]);
    let verify = arguments!["model", "verify", bundle()];
    user.flawd(&verify).prints("ok on cpu");
    let doctor = user.flawd(["doctor", "-c", "/nowhere.toml"]).stdout;
    for part in [
        "selected by `flawd runtime install`",
        &*name,
        "installed from",
    ] {
        assert!(doctor.contains(part), "`{part}` is not in:\n{doctor}");
    }

    user.install(&second).succeeded();
    let other = user.selected();
    assert_ne!(other, name);
    let listed = user.flawd(["runtime", "list"]).succeeded().stdout;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let line = listed.lines().find(|line| line.contains("selected"));
    assert!(
        line.is_some_and(|line| line.starts_with(&other)),
        "{listed}"
    );
    // And back, with nothing copied.
    user.install(&first).prints("was there");
    assert_eq!(user.selected(), name);

    // What the user names takes precedence, and is not replaced by what is installed.
    let said = ["/nowhere", "named by FLAWD_ONNXRUNTIME"];
    flawd_in(&verify, |command| {
        user.environment(command);
        command.env("FLAWD_ONNXRUNTIME", "/nowhere");
    })
    .failed(78, &said);
    // What was selected and is gone is an error, although there is one near the program.
    fs::remove_dir_all(user.store().join(&name)).expect("it is there");
    user.flawd(&verify)
        .failed(78, &["selected", "`flawd runtime install`"]);
    user.flawd(["runtime", "list"]).failed(78, &["is gone"]);
}

/// A wheel of someone's own: what is not a library is left in it, and files that are alike are linked.
#[test]
fn a_wheel_is_installed_without_what_python_needs() {
    const PACK: &str = "import sys, zipfile\n\
        out, library = sys.argv[1:]\n\
        name = library.split('/')[-1]\n\
        with zipfile.ZipFile(out, 'w') as wheel:\n\
        \x20   wheel.write(library, 'onnxruntime/capi/' + name)\n\
        \x20   wheel.writestr('onnxruntime/capi/libone.so', 'same')\n\
        \x20   wheel.writestr('onnxruntime/capi/libone.so.1', 'same')\n\
        \x20   wheel.writestr('onnxruntime/capi/_pybind.so', 'python')\n\
        \x20   wheel.writestr('onnxruntime/__init__.py', 'raise SystemExit')\n\
        \x20   wheel.writestr('onnxruntime/LICENSE', 'MIT')\n";
    let Some(library) = library("onnxruntime") else {
        return;
    };
    let user = User::new();
    let wheel = user
        .folder
        .path()
        .join("onnxruntime-9-cp311-cp311-linux.whl");
    let packed = Command::new("python3")
        .args(["-c", PACK])
        .args([&wheel, &library])
        .status();
    assert!(packed.expect("Python runs").success());
    user.install(&wheel).prints("providers     cpu");
    let folder = user.store().join(user.selected());
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("it is there")
        .map(|entry| {
            entry
                .expect("listed")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    let name = library
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert_eq!(
        names,
        ["LICENSE", "libone.so", "libone.so.1", &name, "runtime.toml"]
    );
    let inode = |name: &str| fs::metadata(folder.join(name)).expect("it is there").ino();
    assert_eq!(inode("libone.so"), inode("libone.so.1"));
}

#[test]
fn a_library_that_was_damaged_is_installed_again() {
    let Some(library) = library("onnxruntime") else {
        return;
    };
    let user = User::new();
    user.install(&library).succeeded();
    let folder = user.store().join(user.selected());
    let name = library.file_name().expect("it has a name");
    fs::write(folder.join(name), "damaged").expect("writable");
    user.install(&library).prints("installed");
    let read = |path: PathBuf| fs::read(path).expect("it is there");
    assert!(read(folder.join(name)) == read(library.clone()));
    assert_eq!(user.names(), [user.selected(), "selected".to_owned()]);
}

#[test]
fn two_that_install_at_once_both_succeed() {
    let Some(library) = library("onnxruntime") else {
        return;
    };
    let user = User::new();
    let children = [(); 3].map(|()| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flawd"));
        command.args(["runtime", "install"]).arg(&library);
        user.environment(&mut command);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the binary was built")
    });
    let mut new = 0;
    for child in children {
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        new += usize::from(text.contains("installed  "));
    }
    assert_eq!(new, 1, "one does the work");
    assert_eq!(user.names(), [user.selected(), "selected".to_owned()]);
}

#[test]
fn a_file_that_is_not_the_library_of_this_machine_is_refused_and_nothing_is_installed() {
    let user = User::new();
    let (machine, other) = match std::env::consts::ARCH {
        "aarch64" => (183, 62),
        _ => (62, 183),
    };
    // The end of an archive without files.
    let empty = [&b"PK\x05\x06"[..], &[0; 18]].concat();
    for (name, bytes, said) in [
        (
            "text.so",
            &b"no library at all, only a text"[..],
            "is not, and does not hold",
        ),
        ("short.so", b"\x7fELF", "is not, and does not hold"),
        ("other.so", &header(other), "and this machine is"),
        ("cut.so", &header(machine), "does not work on this machine"),
        ("empty.whl", &empty, "is not, and does not hold"),
        ("text.whl", b"no archive", "is not a wheel, or is damaged"),
    ] {
        let path = user.file(name, bytes);
        let said = [said, name];
        user.install(&path).failed(78, &said);
        assert!(user.names().is_empty(), "{name}: {:?}", user.names());
    }
    user.install("/nowhere.so")
        .failed(78, &["cannot read /nowhere.so"]);
    user.install(user.folder.path())
        .failed(78, &["cannot read"]);
}

#[test]
fn a_digest_that_is_stated_or_published_has_to_be_that_of_the_file() {
    let user = User::new();
    let wheel = "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_x86_64.whl";
    if std::env::consts::ARCH == "x86_64" {
        let path = user.file(wheel, b"another");
        let said = ["5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d is expected"];
        user.install(&path).failed(78, &said);
    }
    let path = user.file("libonnxruntime.so", b"a library");
    let digest = "00".repeat(32);
    let install = arguments!["runtime", "install", &path, "--sha256", &digest];
    user.flawd(&install)
        .failed(78, &[&format!("sha256:{digest} is expected")]);
    let install = arguments!["runtime", "install", &path, "--sha256", "12"];
    user.flawd(&install).failed(64, &["`12` is not a SHA-256"]);
    let install = arguments!["runtime", "install", "cpu", "--sha256", &digest];
    user.flawd(&install)
        .failed(64, &["--sha256 goes with PATH only"]);
    assert!(user.names().is_empty());
}

#[test]
fn without_pip_or_network_the_way_out_is_said_and_nothing_is_installed() {
    let user = User::new();
    let said = [
        "there is no pip",
        "run `pip download --no-deps --only-binary :all: --implementation cp",
        "onnxruntime==1.32.0`",
        "`flawd runtime install` with its path",
    ];
    user.install("cpu").failed(78, &said);
    let user = user.with_pip("echo 'ERROR: No matching distribution' >&2; exit 1");
    let said = [
        "fetching onnxruntime==1.32.0",
        "pip says: No matching distribution",
    ];
    user.install("cpu").failed(69, &said);
    let user = user.with_pip("exit 0");
    user.install("cpu")
        .failed(78, &["has not written onnxruntime-1.32.0"]);
    assert!(user.names().is_empty(), "{:?}", user.names());
}

#[test]
fn what_pip_delivers_is_used_only_if_it_is_the_published_file() {
    let user = User::new();
    let asked = user.folder.path().join("asked");
    let script = format!(
        "echo \"$@\" > {}; for machine in x86_64 aarch64; do \
         echo other > onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_$machine.whl; done",
        asked.display()
    );
    let user = user.with_pip(&script);
    let said = ["another file than the published one", "pip config list"];
    user.install("cpu").failed(78, &said);
    assert!(user.names().is_empty(), "{:?}", user.names());
    let asked = fs::read_to_string(asked).expect("pip was called");
    let machine = std::env::consts::ARCH;
    assert_eq!(
        asked.trim(),
        format!(
            "download --no-deps --only-binary :all: --implementation cp --python-version 3.11 --abi \
             cp311 --platform manylinux_2_28_{machine} --no-input --disable-pip-version-check \
             --dest . onnxruntime==1.32.0"
        )
    );
}

#[test]
fn an_installation_that_is_killed_leaves_nothing_behind_once_the_next_one_ran() {
    let Some(library) = library("onnxruntime") else {
        return;
    };
    let user = User::new();
    let fifo = user.folder.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo runs").success());
    let user = user.with_pip(&format!(
        "echo half > half.whl; read line < {}",
        fifo.display()
    ));
    let mut command = Command::new(env!("CARGO_BIN_EXE_flawd"));
    command.args(["runtime", "install", "cpu"]);
    user.environment(&mut command);
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    // Waits until pip has written its half.
    let pip = File::options()
        .write(true)
        .open(&fifo)
        .expect("pip opens it");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    drop(pip);
    let said = BufReader::new(child.stderr.take().expect("it is piped"))
        .lines()
        .next();
    assert!(said.is_some_and(|line| line.expect("text").contains("fetching")));
    let names = user.names();
    assert!(
        names.iter().all(|name| name.starts_with(".flawd-new-")),
        "{names:?}"
    );
    assert_eq!(names.len(), 1);

    user.install(&library).succeeded();
    assert_eq!(user.names(), [user.selected(), "selected".to_owned()]);
}

/// On a file system of 4 MiB, if one may be mounted.
#[test]
fn on_a_full_disk_nothing_is_installed_and_a_later_attempt_may_succeed() {
    let Some(library) = library("onnxruntime") else {
        return;
    };
    let user = User::new();
    let store = user.folder.path().join("small");
    fs::create_dir(&store).expect("writable");
    let script = "mount -t tmpfs -o size=4m none \"$0\" || exit 99
        \"$1\" runtime install \"$2\" --into \"$0\" && exit 98
        code=$?
        ls -A \"$0\"
        exit $code";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .args([store.as_os_str(), env!("CARGO_BIN_EXE_flawd").as_ref()])
        .arg(&library)
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(1 | 99) if !said.contains("cannot copy") => {
            println!("absent: neither root nor a user namespace to mount in: {said}");
        }
        code => {
            assert_eq!(code, Some(69), "{said}");
            assert!(said.contains("No space left on device"), "{said}");
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), ".lock");
        }
    }
}
