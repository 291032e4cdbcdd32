//! Arguments, logging, command, exit code; nothing else.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{Write, stdout};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use flawd::commands::cli::{Cli, Command};
use flawd::commands::failure::Failure;
use flawd::exit_code::Kind;
use flawd::messages::lines;
use flawd::pictures::decode;
use flawd::{commands, logging};
use signal_hook::consts::{SIGPIPE, SIGXFSZ};

fn main() -> ! {
    keep_to_ourselves();
    exit_with_bug_code_on_panic();
    outlive_the_limit_of_file_sizes();
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(answer) => leave(print_clap_answer(&answer)),
    };
    if let Err(error) = logging::init() {
        let kind = Kind::of(&error, Kind::Config);
        leave_with(&Failure::new(kind, error));
    }
    decode::set_max_megapixels(cli.max_megapixels);
    // These also use sockets, whose other end may close at any time.
    let has_sockets = matches!(
        cli.command,
        Command::Run(_) | Command::Demo(_) | Command::Bench(_)
    );
    if !has_sockets {
        end_with_the_reader();
    }
    let outcome = match cli.command {
        Command::Train(args) => commands::train::run(args),
        Command::Calibrate(args) => commands::calibrate::run(args),
        Command::Evaluate(args) => commands::evaluate::run(args),
        Command::Ablate(args) => commands::ablate::run(args),
        Command::Predict(args) => commands::predict::run(args),
        Command::Run(args) => commands::run::run(args),
        Command::Check(args) => commands::check::run(args),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::Bench(args) => commands::bench::run(args),
        Command::Runtime(args) => commands::runtime::run(args),
        Command::Demo(args) => commands::demo::run(args),
        Command::Model(args) => commands::model::run(args),
        Command::Backbone(args) => commands::backbone::run(args),
        Command::Cache(args) => commands::cache::run(args),
        Command::Generate(args) => commands::generate::run(&args, Cli::definition()),
    };
    match outcome {
        Ok(()) => leave(0),
        Err(failure) => leave_with(&failure),
    }
}

/// Reports the failure and ends the process with its exit code.
fn leave_with(failure: &Failure) -> ! {
    let text = format!("error: {:#}\n", failure.error);
    logging::say_last(&lines(&text));
    leave(failure.kind.code())
}

/// Ends the process immediately. The C library's `exit` would first destroy the global objects of
/// ONNX Runtime, and a daemon that is stopped while a thread is still loading a model would crash
/// in them: that thread is not waited for, because building an engine takes minutes.
fn leave(code: u8) -> ! {
    logging::say_last("");
    // The reader may be gone.
    stdout().flush().ok();
    signal_hook::low_level::exit(code.into())
}

/// Makes a command whose output is no longer read (`flawd predict … | head`) end as others do, with
/// the shell's exit code for SIGPIPE. Rust ignores that signal, and would panic at the next line.
fn end_with_the_reader() {
    let always = Arc::new(AtomicBool::new(true));
    // If the handler cannot be installed, the signal stays ignored.
    signal_hook::flag::register_conditional_shutdown(SIGPIPE, 128 + SIGPIPE, always).ok();
}

/// Makes a write beyond the limit of file sizes (`ulimit -f`, `LimitFSIZE=`) an error, which is
/// reported like that of a full disk. The signal that comes with it would end the process without a
/// word; that it is handled is enough.
fn outlive_the_limit_of_file_sizes() {
    // If the handler cannot be installed, the signal still ends the process.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).ok();
}

/// Microsoft's builds of ONNX Runtime report usage to a Microsoft server from the moment they are
/// loaded, unless this variable is set. The library's own switch comes too late: by then an
/// identifier is already on disk.
#[expect(
    clippy::disallowed_methods,
    reason = "no other thread can read the environment yet"
)]
fn keep_to_ourselves() {
    // SAFETY: this is the first statement of the program, so no other thread exists yet that could
    // read the environment.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}

/// Prints clap's answer: help and version are a success, everything else is wrong usage.
fn print_clap_answer(answer: &clap::Error) -> u8 {
    let wrong_usage = answer.use_stderr();
    // If even the terminal is gone, there is nowhere left to report to.
    answer.print().ok();
    if wrong_usage { Kind::Usage.code() } else { 0 }
}

/// Makes a panic in any thread, which is a bug, end the process: a daemon with a dead stage must
/// not continue to look alive. The panic is reported after the pending log lines, and not by the
/// default hook, which would wait for the reader of standard error.
fn exit_with_bug_code_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("without a name");
        let backtrace = Backtrace::capture();
        let trace = match backtrace.status() {
            BacktraceStatus::Captured => format!("{backtrace}\n"),
            _ => "RUST_BACKTRACE=1 shows the way there\n".to_owned(),
        };
        logging::say_last(&format!("thread '{name}' {panic}\n{trace}"));
        leave(Kind::Bug.code());
    }));
}
