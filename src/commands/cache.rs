//! `flawd cache`: shows and clears what is kept to save repeated work.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use anyhow::{Context, anyhow};
use bytesize::ByteSize;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::args::features;
use super::failure::{Failure, Outcome};
use crate::files::cache::{CachedFile, Contents, InUse, Kind, contents};

/// Arguments of `flawd cache`.
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// Cache folder; defaults to the user's
    #[arg(long, value_name = "DIR", global = true)]
    cache: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<CacheCommand>,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Show where the cache is and what it holds (the default)
    List,
    /// Remove features, unfinished trainings, finished variants and packages. They are made or
    /// fetched again when needed; engines are kept
    Clear {
        /// Only remove what was not used for this many days
        #[arg(long, value_name = "DAYS")]
        older_than: Option<u16>,
    },
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(args: CacheArgs) -> Outcome {
    let cache = features::cache_folder(args.cache).map_err(Failure::usage)?;
    match args.command.unwrap_or(CacheCommand::List) {
        CacheCommand::List => list(&cache),
        CacheCommand::Clear { older_than } => clear(&cache, older_than),
    }
}

fn list(cache: &Path) -> Outcome {
    println!("{:<10} {}", "folder", cache.display());
    for kind in Kind::ALL {
        let Contents { files, foreign } =
            contents(cache, kind).with_context(|| unlistable(cache, kind))?;
        println!("{:<10} {}", kind.folder(), summary(&files));
        print_foreign(foreign, "are not counted");
        if kind == Kind::Runs {
            for file in &files {
                let name = file.path.file_name().unwrap_or_default();
                println!(
                    "{:<10}   {} {}, {}",
                    "",
                    name.display(),
                    ByteSize(file.bytes),
                    day(file.used)
                );
            }
        }
    }
    Ok(())
}

fn clear(cache: &Path, older_than: Option<u16>) -> Outcome {
    if !cache.is_dir() {
        println!("{} is not there", cache.display());
        return Ok(());
    }
    let alone = InUse::alone(cache).with_context(|| format!("cannot lock {}", cache.display()))?;
    let Some(_alone) = alone else {
        return Err(Failure::from(anyhow!(
            "{} is in use by a training, an ablation, a comparison or a fetch: wait for its end",
            cache.display()
        )));
    };
    let age = older_than.map(|days| Duration::from_secs(u64::from(days) * 24 * 3600));
    let now = SystemTime::now();
    // A file dated in the future, because the clock was set back, is not old.
    let is_old = |file: &CachedFile| {
        age.is_none_or(|age| now.duration_since(file.used).is_ok_and(|since| since > age))
    };
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_cleared()) {
        let Contents { mut files, foreign } =
            contents(cache, kind).with_context(|| unlistable(cache, kind))?;
        files.retain(is_old);
        for file in &files {
            match fs::remove_file(&file.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => {
                    removed.with_context(|| format!("cannot remove {}", file.path.display()))?;
                }
            }
        }
        println!("{:<10} {} removed", kind.folder(), summary(&files));
        print_foreign(foreign, "are left");
    }
    Ok(())
}

/// Prints how many files were found whose names are not those that flawd gives.
fn print_foreign(foreign: usize, outcome: &str) {
    if foreign > 0 {
        println!(
            "{:<10}   {foreign} more, which flawd has not written, {outcome}",
            ""
        );
    }
}

/// Returns for example `12 files, 1.2 GiB, last used 2026-11-27`.
fn summary(files: &[CachedFile]) -> String {
    let bytes = files.iter().map(|file| file.bytes).sum();
    let last = files.iter().map(|file| file.used).max();
    let last = last.map_or_else(String::new, |last| format!(", last used {}", day(last)));
    format!("{} files, {}{last}", files.len(), ByteSize(bytes))
}

/// Returns the day in UTC, such as `2026-11-27`.
fn day(time: SystemTime) -> String {
    match Timestamp::try_from(time) {
        Ok(time) => time.to_string().chars().take_while(|&c| c != 'T').collect(),
        Err(_) => "at an unknown time".to_owned(),
    }
}

fn unlistable(cache: &Path, kind: Kind) -> String {
    format!("cannot list {}", cache.join(kind.folder()).display())
}

/// Returns what a command that fills the cache prints about it at the end.
pub(crate) fn size_note(cache: &Path) -> io::Result<String> {
    let mut bytes = 0;
    for kind in Kind::ALL {
        bytes += contents(cache, kind)?
            .files
            .iter()
            .map(|file| file.bytes)
            .sum::<u64>();
    }
    Ok(format!(
        "{} in {}; `flawd cache` lists and clears it",
        ByteSize(bytes),
        cache.display()
    ))
}
