//! Which tests take longest.
//!
//! cargo is told to run every test program through this one, which asks the program for the time of
//! each test. That report is an unstable option of the test harness, so it is allowed for that
//! process only: nothing is compiled differently, and nothing is built again.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use crate::files::at;
use crate::process::{Step, this_program};

/// The argument with which cargo calls this program, before the test program and its arguments.
const RUN: &str = "run-tests";

/// Names the folder for the times.
const TIMES: &str = "XTASK_TIMES";

/// Names the number of tests that run at a time, for the test harness.
const THREADS: &str = "RUST_TEST_THREADS";

/// The test program whose tests mostly wait for other processes, so that more of them than there
/// are cores run at a time.
const WAITS: &str = "daemon";

/// How many tests are listed.
const LISTED: usize = 20;

/// Runs tests through this program, then reports which took longest.
pub(crate) fn test(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let this = this_program()?;
    let times = root.join("target/xtask-times");
    // It may not be there.
    fs::remove_dir_all(&times).ok();
    fs::create_dir_all(&times).map_err(at(&times))?;
    let runner = format!(
        "target.'cfg(all())'.runner=[{:?}, {RUN:?}]",
        this.to_string_lossy()
    );
    Step::new("cargo", &["--config", &runner])
        .args(arguments)
        .inside(root)
        .env(TIMES, &times.to_string_lossy())
        .run()?;
    say(&times).map_err(at(&times))
}

fn say(times: &Path) -> io::Result<()> {
    let mut all = Vec::new();
    for file in fs::read_dir(times)? {
        for line in fs::read_to_string(file?.path())?.lines() {
            if let Some((seconds, name)) = line.split_once(' ')
                && let Ok(seconds) = seconds.parse::<f64>()
            {
                all.push((seconds, name.to_owned()));
            }
        }
    }
    all.sort_by(|one, other| other.0.total_cmp(&one.0));
    eprintln!("the slowest of {} tests, in seconds:", all.len());
    for (seconds, name) in all.iter().take(LISTED) {
        eprintln!("{seconds:8.1}  {name}");
    }
    Ok(())
}

/// Runs a test program if cargo calls this one for it; otherwise `None`.
pub(crate) fn run(arguments: &[String]) -> Option<ExitCode> {
    let [command, program, rest @ ..] = arguments else {
        return None;
    };
    if command != RUN {
        return None;
    }
    Some(match timed(Path::new(program), rest) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("xtask: cannot run {program}: {error}");
            ExitCode::FAILURE
        }
    })
}

fn timed(program: &Path, arguments: &[String]) -> io::Result<u8> {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped());
    // Programs of doc tests lie elsewhere, and may have no harness.
    if program
        .parent()
        .is_some_and(|folder| folder.ends_with("deps"))
    {
        command.args(["-Zunstable-options", "--report-time"]);
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    if short(program) == WAITS && env::var_os(THREADS).is_none() {
        let cores = thread::available_parallelism()?.get();
        command.env(THREADS, (2 * cores).to_string());
    }
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut times = String::new();
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        io::stdout().write_all(&line)?;
        if let Some((name, seconds)) = time_of(&String::from_utf8_lossy(&line)) {
            times += &format!("{seconds} {}::{name}\n", short(program));
        }
        line.clear();
    }
    let status = child.wait()?;
    if let Some(folder) = env::var_os(TIMES) {
        fs::write(PathBuf::from(folder).join(child.id().to_string()), times)?;
    }
    Ok(status.code().map_or(1, |code| code as u8))
}

/// The name and the seconds in a line such as `test a::b ... ok <0.123s>`.
fn time_of(line: &str) -> Option<(&str, f64)> {
    let (name, outcome) = line.trim_end().strip_prefix("test ")?.split_once(" ... ")?;
    let (_, time) = outcome.rsplit_once('<')?;
    let seconds = time.strip_suffix("s>")?.parse().ok()?;
    Some((name, seconds))
}

/// The name of a test program without the digest after it.
fn short(program: &Path) -> String {
    let name = program.file_stem().unwrap_or_default().to_string_lossy();
    name.rsplit_once('-')
        .map_or(&*name, |(name, _)| name)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_test_is_found_in_its_line() {
        assert_eq!(
            time_of("test stall::a_test ... ok <12.345s>\n"),
            Some(("stall::a_test", 12.345))
        );
        assert_eq!(time_of("test a ... FAILED <0.001s>"), Some(("a", 0.001)));
        assert_eq!(time_of("test a ... ignored"), None);
        assert_eq!(time_of("running 3 tests"), None);
        assert_eq!(short(Path::new("target/debug/deps/daemon-4f19")), "daemon");
    }
}
