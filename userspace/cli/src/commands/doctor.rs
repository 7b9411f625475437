//! `edgelore doctor`: what stands between this machine and a node that works.

use super::block_on;
use crate::output;
use anyhow::{Result, bail};
use clap::Args;
use edgelore_node::doctor::{self, Examination, Finding, Severity};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(long, default_value = "/etc/edgelore.toml")]
    config: PathBuf,
    /// Also attach the programs to the configured interfaces, for a moment.
    #[arg(long)]
    attach: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (config, attach) = (arguments.config.clone(), arguments.attach);
    let examination = Examination { config, attach };
    let facts = block_on(async { Ok(doctor::gather(&examination).await) })?;
    let findings = doctor::judge(&facts);
    if arguments.json {
        output::json(&findings)?;
    } else {
        table(&findings)?;
    }
    match findings.iter().filter(|finding| finding.severity == Severity::Problem).count() {
        0 => Ok(()),
        1 => bail!("1 problem found"),
        count => bail!("{count} problems found"),
    }
}

/// One finding a line, what to do about it below.
fn table(findings: &[Finding]) -> Result<()> {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    for Finding { severity, check, found, advice } in findings {
        let severity = match severity {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Problem => "PROBLEM",
        };
        output::line(&format!("{severity:<7}  {check:<width$}  {found}"))?;
        if !advice.is_empty() {
            output::line(&format!("{:<7}  {:<width$}  → {advice}", "", ""))?;
        }
    }
    Ok(())
}
