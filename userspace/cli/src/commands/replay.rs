//! `edgelore replay`: the incidents in captures and dumps.

use super::incidents::FormArguments;
use crate::output;
use anyhow::{Context, Result};
use clap::Args;
use edgelore_model::Summary;
use edgelore_node::engine::Output;
use edgelore_node::pace::{Pace, SystemTimer};
use edgelore_node::replay::{Progress, Replay, Replayed};
use edgelore_node::site::{self, Siting};
use edgelore_node::view::{IncidentView, identify};
use edgelore_pipeline::detect::{ConvergenceConfig, DetectConfig, Detected, Finding};
use edgelore_pipeline::distil::{Distilled, Distiller, Verdict};
use edgelore_pipeline::explain::{Account, Told};
use edgelore_pipeline::topology::{SiteInference, SiteTracker, TopologyConfig};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// pcap, pcapng or MRT, plain or compressed (gz, bz2, xz, zst); several files are one history.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Decoding threads; the result does not depend on it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,
    /// A convergence has ended when routing stood still for this long, in ms.
    #[arg(long, default_value_t = ConvergenceConfig::default().quiet_ms)]
    quiet_ms: u32,
    /// The network's shape, for the outcomes; what the files show of it by default.
    #[arg(long)]
    topology_class: Option<String>,
    /// Routers in the network, for the outcomes; as many as are heard of by default.
    #[arg(long)]
    nodes: Option<u64>,
    /// `wire` for the pace of the capture, a multiple of it such as `10x` or `0.5x`, or `max`. The
    /// result does not depend on it; a hole of more than a minute's wait is cut to a minute.
    #[arg(long, default_value = "max")]
    pace: Pace,
    /// Tell one incident instead: its id, the beginning of it, or `latest`.
    #[arg(long, value_name = "INCIDENT")]
    explain: Option<String>,
    #[command(flatten)]
    form: FormArguments,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    incidents: Vec<IncidentView>,
    outcomes: Vec<Distilled>,
    site: SiteInference,
    summary: Summary,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let convergence =
        ConvergenceConfig { quiet_ms: arguments.quiet_ms, ..ConvergenceConfig::default() };
    let detect = DetectConfig { convergence, ..DetectConfig::default() };
    let siting = Siting::said(arguments.topology_class.clone(), arguments.nodes);
    let mut history = History::new(Distiller::new(siting.site(None), detect.method()));
    let tracker = Arc::new(Mutex::new(SiteTracker::new(TopologyConfig::default())));
    let heard = Arc::clone(&tracker);
    let (found, history_at_end) = mpsc::channel();
    let stop = stop_on_interrupt()?;
    let workers = arguments.workers.into();
    let replay = Replay { workers, detect, pace: arguments.pace, stop: &stop };
    let bar = Bar::new();
    let timer = SystemTimer::default();
    let replayed = replay.run(
        &arguments.files,
        timer,
        |now| bar.show(now),
        move |output| {
            if let Output::Observation(observation) = &output {
                site::hear(&heard, observation);
            }
            if let Some(told) = history.take(output) {
                // The receiver outlives the replay.
                let _ = found.send(told);
            }
        },
    );
    bar.clear();
    let (mut findings, mut outcomes) = (Vec::new(), Vec::<Distilled>::new());
    for (finding, distilled) in history_at_end {
        findings.extend(finding);
        outcomes.extend(distilled);
    }
    let inferred = tracker.lock().unwrap_or_else(PoisonError::into_inner).infer();
    let site = siting.site(Some(&inferred));
    for distilled in &mut outcomes {
        let situation = &mut distilled.outcome.situation;
        situation.topology_class.clone_from(&site.topology_class);
        situation.node_count = site.node_count;
    }
    if let Some(named) = &arguments.explain {
        explain(named, arguments, &findings, &outcomes)?;
        return finish(replayed);
    }
    let incidents = findings.iter().map(|f| IncidentView::from(&f.incident)).collect();
    let report = Report { incidents, outcomes, site: inferred, summary: replayed.totals.summary };
    print(arguments.json, &report)?;
    finish(replayed)
}

/// Says what the replay stepped over or left out.
fn finish(replayed: Replayed) -> Result<()> {
    let Replayed { totals, damages, whole, read } = replayed;
    damages.iter().for_each(output::damage);
    if totals.overflows > 0 {
        eprintln!("edgelore: {} facts did not fit into the detector's tables", totals.overflows);
    }
    if !whole {
        eprintln!("edgelore: interrupted; what came before was replayed");
    }
    read.context("what came before was replayed")
}

/// One incident of the replay, told.
fn explain(
    named: &str,
    arguments: &Arguments,
    findings: &[Finding],
    outcomes: &[Distilled],
) -> Result<()> {
    let known: Vec<_> = findings.iter().map(|finding| finding.incident.id).collect();
    let id = identify(named, &known)?;
    let finding = findings.iter().rfind(|finding| finding.incident.id == id);
    let finding = finding.context("the incident is one of those found")?;
    let mut told: Vec<Told> = Vec::new();
    for distilled in outcomes.iter().filter(|one| one.incidents.contains(&id)) {
        told.retain(|one| one.distilled.change != distilled.change);
        told.push(Told { packet_id: None, distilled: distilled.clone() });
    }
    let prefixes_max = arguments.form.prefixes_max();
    let account = Account::new(&finding.incident, &finding.settings, told, prefixes_max);
    let text = arguments.form.tell(&account)?;
    if arguments.json { output::json(&account) } else { output::line(text.trim_end()) }
}

/// Distillation along the replay, in the time of the capture.
struct History {
    distiller: Distiller,
}

/// An incident that closed, and the outcomes that a step of time or the incident completed.
type Step = (Option<Finding>, Vec<Distilled>);

impl History {
    const fn new(distiller: Distiller) -> Self {
        Self { distiller }
    }

    fn take(&mut self, output: Output<'_>) -> Option<Step> {
        let (finding, distilled) = match output {
            Output::Observation(observation) => (None, self.distiller.advance(observation.at)),
            Output::Detected(Detected::Opened(opened)) => {
                self.distiller.opened(&opened);
                return None;
            }
            Output::Detected(Detected::Joined(joined)) => {
                self.distiller.joined(&joined);
                return None;
            }
            Output::Detected(Detected::Settled(settled)) => {
                self.distiller.settled(&settled);
                return None;
            }
            Output::Detected(Detected::Closed(finding)) => {
                let distilled = self.distiller.closed(&finding);
                (Some(*finding), distilled)
            }
        };
        (finding.is_some() || !distilled.is_empty()).then_some((finding, distilled))
    }
}

/// A flag that Ctrl-C and SIGTERM set. A second one ends the process at once.
fn stop_on_interrupt() -> Result<Arc<AtomicBool>> {
    const INTERRUPTED: i32 = 130;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .context("catching signals")?;
    }
    Ok(stop)
}

/// How far the replay is, on a terminal only.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::hidden();
        // Where standard error is no terminal, this target draws nothing.
        bar.set_draw_target(ProgressDrawTarget::stderr());
        let template = "{bytes:>11} of {total_bytes:<11} {wide_bar} {percent:>3} %  {msg}";
        let style = ProgressStyle::with_template(template).expect("the template is valid");
        bar.set_style(style);
        Self(bar)
    }

    fn show(&self, now: &Progress) {
        self.0.set_length(now.bytes.length);
        self.0.set_position(now.bytes.read);
        if !self.0.is_hidden() {
            let at = now.at.map_or_else(String::new, |at| format!("{at}  "));
            self.0.set_message(format!("{at}{} incidents", now.incidents));
        }
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}

fn print(json: bool, report: &Report) -> Result<()> {
    if json {
        return output::json(report);
    }
    report.incidents.iter().try_for_each(output::incident)?;
    for distilled in &report.outcomes {
        let outcome = &distilled.outcome;
        output::line(&format!(
            "outcome: {} {}: from {} to {}",
            outcome.resolution.pattern,
            Verdict::from(outcome).term(),
            output::value(outcome.before),
            output::value(outcome.after),
        ))?;
    }
    if let Some(class) = &report.site.topology {
        let evidence = class.evidence.join("; ");
        let sure = class.confidence_permille;
        output::line(&format!("looks like {} ({sure} of 1000): {evidence}", class.class))?;
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
