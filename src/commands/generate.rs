//! `flawd generate`: writes manual pages and completions from the definition of the command line.
//!
//! For packagers; hidden from the help.

use std::io::stdout;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::failure::{Failure, Outcome};

/// Arguments of `flawd generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// What to write: completions go to standard output, manual pages into a folder
    what: What,
    /// Folder for manual pages, which must exist
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// flawd.1 and a page for each command
    Man,
    /// Completions for Bash
    Bash,
    /// Completions for Elvish
    Elvish,
    /// Completions for Fish
    Fish,
    /// Completions for PowerShell
    Powershell,
    /// Completions for Zsh
    Zsh,
}

/// Runs the command on the definition of the whole command line.
///
/// # Errors
/// If no folder is given for the pages, or they cannot be written.
pub fn run(args: &GenerateArgs, mut command: clap::Command) -> Outcome {
    let shell = match args.what {
        What::Man => return pages(command, args.folder.as_deref()),
        What::Bash => Shell::Bash,
        What::Elvish => Shell::Elvish,
        What::Fish => Shell::Fish,
        What::Powershell => Shell::PowerShell,
        What::Zsh => Shell::Zsh,
    };
    clap_complete::generate(shell, &mut command, "flawd", &mut stdout());
    Ok(())
}

fn pages(command: clap::Command, folder: Option<&Path>) -> Outcome {
    let folder =
        folder.ok_or_else(|| Failure::usage(anyhow!("name the folder for the manual pages")))?;
    clap_mangen::generate_to(command, folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    Ok(())
}
