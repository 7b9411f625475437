//! One scenario: built, recorded, watched, played, and judged.
//!
//! Invariant: recorders and nodes stand before anything speaks; nothing that Edgelore says reaches
//! the truth.

use super::node::{self, Node, Said};
use anyhow::{Context, Result};
use edgelore_testkit::lab::{
    Ground, Judgement, Recorder, Scenario, ScenarioTruth, Step, Viewpoint, Ways, judge, play,
    routes_heard,
};
use edgelore_testkit::pause;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// After this long routing has stood still and a convergence is told.
const CONVERGENCE_TOLD: Duration = Duration::from_secs(3);

/// Plays scenarios in a directory.
#[derive(Debug)]
pub(super) struct Runner<'a> {
    /// Edgelore; without it there is no more than captures and truth.
    pub(super) binary: Option<PathBuf>,
    pub(super) directory: &'a Path,
}

/// What became of a scenario.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) scenario: &'static str,
    pub(super) judgements: Vec<(Viewpoint, Judgement)>,
    /// Why it could not be played to the end.
    pub(super) failure: Option<String>,
}

impl Played {
    pub(super) fn failed(scenario: &'static str, why: String) -> Self {
        Self { scenario, judgements: Vec::new(), failure: Some(why) }
    }

    /// Everything that is wrong, in words.
    pub(super) fn problems(&self) -> Vec<String> {
        let of_viewpoints = self.judgements.iter().flat_map(|(viewpoint, judgement)| {
            let name = viewpoint.name();
            judgement.problems().into_iter().map(move |problem| format!("{name}: {problem}"))
        });
        self.failure.clone().into_iter().chain(of_viewpoints).collect()
    }
}

/// Roughly how long a scenario takes, s.
pub(super) fn duration_estimate(scenario: &Scenario) -> u64 {
    let still = |step: &Step| match step {
        Step::Still(seconds) | Step::Flood(seconds) => *seconds,
        _ => 15,
    };
    scenario.steps.iter().map(still).sum::<u64>() + if scenario.slow { 180 } else { 0 }
}

impl Runner<'_> {
    /// The whole of it.
    pub(super) fn play(&self, scenario: &'static Scenario) -> Result<Played> {
        let directory = self.directory.join(scenario.name);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("create {}", directory.display()))?;
        let mut ground = Ground::build(scenario.name, scenario.routing, scenario.bfd)?;
        let recorders = record(&ground, &directory)?;
        let nodes = self.nodes(&ground, &directory)?;
        ground.start()?;
        let mut truth = play(scenario, &mut ground)?;
        let live = listen(nodes)?;
        for (viewpoint, recorder) in recorders {
            recorder.finish()?;
            truth.hear(viewpoint, &routes_heard(&capture(&directory, viewpoint))?);
        }
        truth.write(&directory.join("truth.json"))?;
        drop(ground);
        let mut played = self.judge_captures(scenario, &directory, &truth)?;
        let of_live =
            live.iter().map(|(viewpoint, said)| (*viewpoint, judged(&truth, *viewpoint, said)));
        played.judgements.splice(0..0, of_live);
        Ok(played)
    }

    /// Captures and truth of this scenario are there.
    pub(super) fn is_recorded(&self, scenario: &Scenario) -> bool {
        self.directory.join(scenario.name).join("truth.json").exists()
    }

    /// Judges what was recorded before.
    pub(super) fn evaluate(&self, scenario: &'static Scenario) -> Result<Played> {
        let directory = self.directory.join(scenario.name);
        let truth = ScenarioTruth::read(&directory.join("truth.json"))?;
        self.judge_captures(scenario, &directory, &truth)
    }

    fn nodes(&self, ground: &Ground, directory: &Path) -> Result<Vec<(Viewpoint, Node)>> {
        let Some(binary) = &self.binary else { return Ok(Vec::new()) };
        viewpoints(ground)
            .map(|viewpoint| Ok((viewpoint, Node::start(binary, directory, ground, viewpoint)?)))
            .collect()
    }

    fn judge_captures(
        &self,
        scenario: &'static Scenario,
        directory: &Path,
        truth: &ScenarioTruth,
    ) -> Result<Played> {
        let mut judgements = Vec::new();
        for viewpoint in Viewpoint::LIVE {
            let capture = capture(directory, viewpoint);
            let Some(binary) = self.binary.as_ref().filter(|_| capture.exists()) else { continue };
            let said = node::replay(binary, &capture)
                .with_context(|| format!("replay {}", capture.display()))?;
            let viewpoint = viewpoint.replay();
            judgements.push((viewpoint, judged(truth, viewpoint, &said)));
        }
        Ok(Played { scenario: scenario.name, judgements, failure: None })
    }
}

fn judged(truth: &ScenarioTruth, viewpoint: Viewpoint, said: &Said) -> Judgement {
    judge(truth, viewpoint, &said.incidents, &said.noticed)
}

/// Nothing is reported over BMP where no BGP is spoken.
fn viewpoints(ground: &Ground) -> impl Iterator<Item = Viewpoint> + use<> {
    let bgp = ground.routing().is_bgp();
    Viewpoint::LIVE.into_iter().filter(move |viewpoint| bgp || *viewpoint != Viewpoint::Bmp)
}

fn capture(directory: &Path, viewpoint: Viewpoint) -> PathBuf {
    directory.join(format!("{}.pcapng", viewpoint.name()))
}

fn record(ground: &Ground, directory: &Path) -> Result<Vec<(Viewpoint, Recorder)>> {
    viewpoints(ground)
        .map(|viewpoint| {
            let ((namespace, interfaces), ways) = match viewpoint {
                Viewpoint::Bridge => (ground.bridge(), Ways::Incoming),
                Viewpoint::Bmp => (ground.collector(), Ways::Both),
                _ => (ground.router(), Ways::Both),
            };
            let file = capture(directory, viewpoint);
            Ok((viewpoint, Recorder::start(namespace, interfaces, ways, &file)?))
        })
        .collect()
}

/// What the nodes say at their end, the quiet after a convergence having passed.
fn listen(nodes: Vec<(Viewpoint, Node)>) -> Result<Vec<(Viewpoint, Said)>> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    pause(CONVERGENCE_TOLD, "the nodes' last words")?;
    let listen = |(viewpoint, node): (Viewpoint, Node)| {
        let said = node.last_words();
        Ok((viewpoint, said.with_context(|| format!("the {}'s last words", viewpoint.name()))?))
    };
    nodes.into_iter().map(listen).collect()
}
