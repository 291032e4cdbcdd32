//! What the tests share: pictures of a synthetic line, and a real bundle that `flawd train` made
//! of them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use flawd::synthetic::dataset::{DatasetOptions, write_dataset};
use flawd_core::image::Size;
use flawd_onnx::Runtime;
use flawd_onnx::filter_bank::filter_bank;
use flawd_testing::bundles::{Bundles, Trained};
use flawd_testing::cache::Kept;
use flawd_testing::files::copy_folder;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use serde_json::Value;
use tempfile::TempDir;

use crate::arguments;

/// Good parts in `test/good` of [`data`].
pub(crate) const TEST_GOOD: usize = 12;

/// Parts of each kind of defect in [`data`].
pub(crate) const TEST_EACH_DEFECT: usize = 2;

/// What a finished command left behind.
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// The command ended well.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// Checks that the command ended with this code, and printed all of these.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, said: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self.said(said)
    }

    /// It succeeded, and this is on standard output.
    #[track_caller]
    pub(crate) fn prints(self, part: &str) -> Self {
        let finished = self.succeeded();
        assert!(
            finished.stdout.contains(part),
            "`{part}` is not in:\n{}",
            finished.stdout
        );
        finished
    }

    /// Standard error holds all of these.
    #[track_caller]
    pub(crate) fn said(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "`{part}` is not in:\n{}",
                self.stderr
            );
        }
        self
    }
}

/// In place of the user's and of all users' data, in which a fetched network would be used.
const NO_DATA: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/no data");

/// Runs `flawd` with these arguments, in an empty environment but for what it needs.
pub(crate) fn flawd<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Finished {
    flawd_in(arguments, |_| {})
}

/// Runs `flawd` with these arguments, in the surroundings that `prepare` makes.
pub(crate) fn flawd_in<A: AsRef<std::ffi::OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    prepare: impl FnOnce(&mut Command),
) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flawd"));
    command.args(arguments);
    for variable in ["XDG_DATA_HOME", "XDG_DATA_DIRS"] {
        command.env(variable, NO_DATA);
    }
    prepare(&mut command);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the binary was built");
    let text = |bytes| String::from_utf8(bytes).expect("flawd prints UTF-8");
    Finished {
        code: status.code().expect("it was not killed"),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// A command that runs, and what it says on standard error.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<File>>,
}

impl Running {
    /// Starts `flawd` with these arguments. It waits until what it says is read, so it is never more
    /// than two lines ahead of the test, however long that is held up.
    pub(crate) fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        // Holds only what is written at once.
        let flags = PipeFlags::DIRECT | PipeFlags::CLOEXEC;
        let (reader, writer) = pipe_with(flags).expect("a pipe");
        fcntl_setpipe_size(&writer, 4096).expect("a page is allowed");
        let child = Command::new(env!("CARGO_BIN_EXE_flawd"))
            .args(arguments)
            .env("XDG_DATA_HOME", NO_DATA)
            .env("XDG_DATA_DIRS", NO_DATA)
            .stdout(Stdio::null())
            .stderr(writer)
            .spawn()
            .expect("the binary was built");
        let lines = BufReader::new(File::from(reader)).lines();
        Self { child, lines }
    }

    /// What it says from here on, as it comes.
    pub(crate) fn lines(&mut self) -> impl Iterator<Item = String> {
        self.lines.by_ref().map_while(Result::ok)
    }

    /// Waits for a line that begins so.
    #[track_caller]
    pub(crate) fn says(&mut self, start: &str) {
        assert!(self.lines().any(|line| line.starts_with(start)), "{start}");
    }

    /// The most memory that it has had so far, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.expect("Linux says it").parse().expect("a number")
    }

    /// Interrupts it as a terminal does; it ends, and says how to resume.
    #[track_caller]
    pub(crate) fn interrupt(mut self) {
        let interrupt = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        assert!(interrupt.expect("kill is there").success());
        let said: Vec<String> = self.lines().collect();
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(1), "{said:?}");
        assert!(
            said.iter()
                .any(|line| line.contains("same command again to go on")),
            "{said:?}"
        );
    }

    /// Waits for its successful end; returns what it printed until then.
    #[track_caller]
    pub(crate) fn succeeds(mut self) -> Vec<String> {
        let said: Vec<String> = self.lines().collect();
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{said:?}");
        said
    }

    /// Ends it without warning.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

/// A folder with this number of good parts in `data/train/good`, and the filter bank as
/// `filters.onnx`.
pub(crate) fn good_parts(size: Size, seed: u64, images: u64) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("filters.onnx"), filter_bank()).expect("writable");
    let options = DatasetOptions {
        size,
        seed,
        train_good: images,
        test_good: 0,
        test_each_defect: 0,
    };
    write_dataset(&folder.path().join("data"), &options).expect("writable");
    folder
}

/// The beginning of `flawd train` in a folder of [`good_parts`], with a cache of this name there.
pub(crate) fn training(folder: &Path, cache: &str) -> Vec<OsString> {
    Vec::from(arguments![
        "train",
        folder.join("data/train/good"),
        "--backbone",
        folder.join("filters.onnx"),
        "--cache",
        folder.join(cache),
    ])
}

/// The pictures, and what trains bundles on them.
fn made() -> &'static (Bundles, Kept) {
    static MADE: OnceLock<(Bundles, Kept)> = OnceLock::new();
    MADE.get_or_init(|| {
        let runtime = Runtime::load(None).expect("ONNX Runtime is installed");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
        let program = Path::new(env!("CARGO_BIN_EXE_flawd"));
        let bundles = Bundles::new(folder, program, runtime.library());
        let options = DatasetOptions {
            size: Size::new(96, 128),
            seed: 11,
            train_good: 50,
            test_good: TEST_GOOD as u64,
            test_each_defect: TEST_EACH_DEFECT as u64,
        };
        let data = bundles.pictures("data", &format!("{options:?}"), |folder| {
            write_dataset(folder, &options).expect("it can be written");
        });
        (bundles, data)
    })
}

/// A folder in the layout of MVTec AD; not to be changed.
pub(crate) fn data() -> &'static Path {
    made().1.path()
}

/// A bundle trained on [`data`]; not to be changed.
pub(crate) fn bundle() -> &'static Path {
    trained().path()
}

/// The backbone that [`bundle`] was trained with; not to be changed.
pub(crate) fn backbone() -> PathBuf {
    trained().backbone()
}

fn trained() -> &'static Trained {
    static BUNDLE: OnceLock<Trained> = OnceLock::new();
    BUNDLE.get_or_init(|| {
        let (bundles, data) = made();
        let settings = "--feature features_s32 --size 128x128 --epochs 4 --hidden 8";
        bundles.train("bundle", data, &filter_bank(), settings)
    })
}

/// A copy of [`bundle`] in its own folder.
pub(crate) fn copy_of_bundle() -> TempDir {
    let copy = TempDir::new().expect("a temporary folder");
    copy_folder(bundle(), copy.path());
    copy
}

/// Reads a JSON file.
pub(crate) fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("it was written");
    serde_json::from_str(&text).expect("it is JSON")
}

/// The arguments of a command line: words and paths.
#[macro_export]
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => {
        [$(::std::ffi::OsString::from($argument)),*]
    };
}
