//! `edgelore replay`: the incidents in captures and dumps.

use crate::output;
use anyhow::{Context, Result};
use clap::Args;
use edgelore_model::Summary;
use edgelore_node::engine::Output;
use edgelore_node::replay::replay;
use edgelore_node::view::IncidentView;
use edgelore_pipeline::detect::{DetectConfig, Finding};
use edgelore_pipeline::distil::{Distilled, Distiller, Site};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::mpsc;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// pcap, pcapng or MRT, plain or compressed; several files are one history.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Decoding threads; the result does not depend on it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,
    /// A convergence has ended when routing stood still for this long, in ms.
    #[arg(long, default_value_t = DetectConfig::default().quiet_ms)]
    quiet_ms: u32,
    /// The network's shape, for the outcomes.
    #[arg(long, default_value = "hub_spoke")]
    topology_class: String,
    /// Routers in the network, for the outcomes.
    #[arg(long, default_value_t = 1)]
    nodes: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    incidents: Vec<IncidentView>,
    outcomes: Vec<Distilled>,
    summary: Summary,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let detect = DetectConfig { quiet_ms: arguments.quiet_ms, ..DetectConfig::default() };
    let site =
        Site { topology_class: arguments.topology_class.clone(), node_count: arguments.nodes };
    let mut distiller = Distiller::new(site, detect.method());
    let (found, findings) = mpsc::channel::<Finding>();
    let (totals, read) =
        replay(&arguments.files, arguments.workers.into(), detect, move |output| {
            if let Output::Finding(finding) = output {
                // The receiver outlives the replay.
                let _ = found.send(finding);
            }
        });
    let findings: Vec<Finding> = findings.into_iter().collect();
    let outcomes: Vec<Distilled> = findings.iter().flat_map(|f| distiller.closed(f)).collect();
    let incidents = findings.iter().map(|f| IncidentView::from(&f.incident)).collect();
    print(arguments.json, &Report { incidents, outcomes, summary: totals.summary })?;
    if totals.overflows > 0 {
        eprintln!("edgelore: {} facts did not fit into the detector's tables", totals.overflows);
    }
    read.context("what came before was replayed")
}

fn print(json: bool, report: &Report) -> Result<()> {
    if json {
        return output::json(report);
    }
    report.incidents.iter().try_for_each(output::incident)?;
    for distilled in &report.outcomes {
        let outcome = &distilled.outcome;
        output::line(&format!(
            "outcome: {} brought {} ms from {} ms",
            outcome.resolution.pattern, outcome.convergence_delta_ms, outcome.situation.severity
        ))?;
    }
    let summary = &report.summary;
    output::line(&format!(
        "{} incidents, {} outcomes; {} UPDATEs on {} streams, {} gaps, {} undecodable",
        report.incidents.len(),
        report.outcomes.len(),
        summary.bgp.update,
        summary.streams,
        summary.gaps,
        summary.undecodable
    ))
}
