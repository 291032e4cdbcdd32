//! `flawd doctor`: prints what a bug report needs.

use super::args::runtime::ConfigArgs;
use super::failure::Outcome;
use crate::line::doctor::{self, DoctorReport};

/// Arguments of `flawd doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Examines and prints. Anything broken is part of the report, not a failure of the command.
///
/// # Errors
/// Only if the report cannot be written as JSON, which does not happen.
pub fn run(args: DoctorArgs) -> Outcome {
    let report = doctor::examine(&args.config.config);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

fn print(report: &DoctorReport) {
    for section in &report.sections {
        println!("{}", section.name);
        let subjects = section.findings.iter().map(|it| it.subject.chars().count());
        let width = subjects.max().unwrap_or_default().max(15);
        for finding in &section.findings {
            let mark = if finding.broken { '!' } else { ' ' };
            let mut lines = finding.text.lines();
            let first = lines.next().unwrap_or_default();
            println!("{mark} {:<width$} {first}", finding.subject);
            for line in lines {
                println!("{}", format!("{:1$}{line}", "", width + 3).trim_end());
            }
        }
        println!();
    }
    match report.broken() {
        0 => println!("Nothing is broken. Passwords are masked; read it before you publish it."),
        n => println!(
            "Lines with ! are broken: {n}. Passwords are masked; read it before you publish it."
        ),
    }
}
