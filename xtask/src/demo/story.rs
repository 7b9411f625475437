//! The story: Singapore learns, Denver profits.
//!
//! Invariant: faults are injected one after the other, and every step waits for what it promises.

use super::hub::Hub;
use super::node::{Incident, Node, Published};
use super::progress::Progress;
use super::table::{Delivery, Failure, Measured, Report};
use anyhow::{Context, Result, ensure};
use edgelore_model::{Advice, Span};
use edgelore_testkit::lab::{BFD_INTERVAL_MS, BFD_MULTIPLIER, Network, Site};
use edgelore_testkit::now;
use std::path::Path;

const SINGAPORE: &str = "singapore";
const DENVER: &str = "denver";

/// Failures in each network.
const FAILURES: usize = 2;
/// A hold time of 9 s runs from the last keepalive, which is at most 3 s old; some slack.
const HOLD_TIMER_MS: (i64, i64) = (5_900, 9_700);
/// Three intervals of 300 ms, jittered by up to a quarter, and the routes' installation.
const BFD_MS: (i64, i64) = (500, 1_200);

/// What the story is played with.
#[derive(Debug)]
pub(crate) struct Story<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) prefixes: u16,
    pub(crate) binary: &'a Path,
}

/// The stage: two networks, a node on each gateway, a store between them.
struct Stage {
    // Dropped in order: what runs before where it runs.
    singapore_node: Node,
    denver_node: Node,
    _hub: Hub,
    singapore: Network,
    denver: Network,
}

impl Story<'_> {
    /// The whole story.
    pub(crate) fn play(&self) -> Result<Report> {
        let progress = Progress::new();
        let mut stage = self.set_up(&progress)?;
        let mut report = Report::default();
        let learned = self.singapore(&mut stage, &mut report, &progress)?;
        self.denver(&mut stage, &learned, &mut report, &progress)?;
        let nodes = [("Singapore", &stage.singapore_node), ("Denver", &stage.denver_node)];
        for (network, node) in nodes {
            report.incidents.push((network, node.incidents()?.len(), FAILURES));
        }
        progress.doing("taking everything down");
        Ok(report)
    }

    /// One network without Edgelore: the truth alone.
    pub(crate) fn play_truth(&self) -> Result<Report> {
        let progress = Progress::new();
        progress.doing("building Singapore's network");
        let mut singapore = Network::build(self.site(SINGAPORE, 1))?;
        singapore.start_routing()?;
        let slow =
            self.fail("Singapore, hold time 9 s", &singapore, None, HOLD_TIMER_MS, &progress)?;
        singapore.repair_primary()?;
        singapore.tune_bfd(BFD_INTERVAL_MS, BFD_MULTIPLIER)?;
        let fast = self.fail("Singapore, BFD 300 ms × 3", &singapore, None, BFD_MS, &progress)?;
        Ok(Report { failures: vec![slow.0, fast.0], ..Report::default() })
    }

    fn set_up(&self, progress: &Progress) -> Result<Stage> {
        progress.doing("building the networks of Singapore and Denver");
        let singapore = Network::build(self.site(SINGAPORE, 1))?;
        let denver = Network::build(self.site(DENVER, 2))?;
        let hub = Hub::start(self.binary, self.directory, &[&singapore, &denver])?;
        progress.doing("starting Edgelore on both gateways");
        let node = |network| Node::start(self.binary, self.directory, network, &hub);
        let singapore_node = node(&singapore).context("Edgelore in Singapore")?;
        let denver_node = node(&denver).context("Edgelore in Denver")?;
        let mut stage = Stage { singapore_node, denver_node, _hub: hub, singapore, denver };
        progress.doing("starting FRR in six routers, and waiting for routes and packets");
        std::thread::scope(|scope| {
            let denver = scope.spawn(|| stage.denver.start_routing());
            let singapore = stage.singapore.start_routing();
            let denver = denver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            singapore.context("routing in Singapore").and(denver.context("routing in Denver"))
        })?;
        progress.done(&format!(
            "two networks stand: {} prefixes from each of two neighbours, packets flow",
            self.prefixes
        ));
        Ok(stage)
    }

    /// Slow, tuned, fast: the outcome that the rest is about.
    fn singapore(
        &self,
        stage: &mut Stage,
        report: &mut Report,
        progress: &Progress,
    ) -> Result<Published> {
        let (network, node) = (&stage.singapore, &mut stage.singapore_node);
        let name = "Singapore, hold time 9 s";
        let (slow, _) = self.fail(name, network, Some(node), HOLD_TIMER_MS, progress)?;
        report.failures.push(slow);
        progress.doing("repairing Singapore's primary, then tuning BFD on its session");
        network.repair_primary()?;
        network.tune_bfd(BFD_INTERVAL_MS, BFD_MULTIPLIER)?;
        progress.done("Singapore's engineer let BFD watch the session: 300 ms, three misses");
        let name = "Singapore, BFD 300 ms × 3";
        let (fast, incident) = self.fail(name, network, Some(node), BFD_MS, progress)?;
        report.failures.push(fast);
        let incident = incident.context("Edgelore was asked about the failure")?;
        progress.doing("waiting for Singapore's outcome in Denver's query");
        let (outcome, delivery) =
            deliver(&incident, (node, "Singapore"), (&mut stage.denver_node, "Denver"), None)?;
        announce(progress, &delivery);
        report.deliveries.push(delivery);
        Ok(outcome)
    }

    /// Slow, advised, fast: the loop closes.
    fn denver(
        &self,
        stage: &mut Stage,
        learned: &Published,
        report: &mut Report,
        progress: &Progress,
    ) -> Result<()> {
        let (network, node) = (&stage.denver, &mut stage.denver_node);
        let name = "Denver, hold time 9 s";
        let (slow, incident) = self.fail(name, network, Some(node), HOLD_TIMER_MS, progress)?;
        report.failures.push(slow);
        let incident = incident.context("Edgelore was asked about the failure")?;
        node.pin_publisher_of(&learned.packet_id, "singapore").context("pin Singapore's key")?;
        progress.done("Denver's engineer pinned Singapore's key: its outcomes vote here");
        let advice = node.advise(&incident.id).context("ask for advice")?;
        show_advice(progress, &advice);
        let (interval_ms, multiplier) = bfd_advised(&advice)?;
        report.advice = Some((advice, learned.packet_id.clone()));
        progress.doing("repairing Denver's primary, then doing what the advice says");
        network.repair_primary()?;
        network.tune_bfd(interval_ms, multiplier)?;
        progress.done("Denver's engineer applied the first advice");
        let name = "Denver, advice applied";
        let (fast, incident) = self.fail(name, network, Some(node), BFD_MS, progress)?;
        report.failures.push(fast);
        let incident = incident.context("Edgelore was asked about the failure")?;
        progress.doing("waiting for Denver's outcome in Singapore's query");
        let parent = Some(learned.packet_id.clone());
        let reader = (&mut stage.singapore_node, "Singapore");
        let (_, delivery) = deliver(&incident, (node, "Denver"), reader, parent)?;
        announce(progress, &delivery);
        report.deliveries.push(delivery);
        Ok(())
    }

    /// Injects the fault, learns the truth, and asks Edgelore what it saw.
    fn fail(
        &self,
        name: &'static str,
        network: &Network,
        node: Option<&mut Node>,
        plausible_ms: (i64, i64),
        progress: &Progress,
    ) -> Result<(Failure, Option<Incident>)> {
        progress.doing(&format!("{name}: the primary fails beyond the switch"));
        let truth = network.fail_primary().context(name)?;
        let incident =
            node.map(|node| node.incident(truth.injected.before)).transpose().context(name)?;
        let measured = incident.as_ref().map(|incident| Measured {
            duration: incident.duration_ms,
            prefixes: incident.prefixes,
        });
        let prefixes = u64::from(self.prefixes);
        let failure = Failure { name, truth, measured, prefixes, plausible_ms };
        progress.done(&format!(
            "{name}: the FIB had the other route after {} ms{}",
            truth.duration().1.millis(),
            said(incident.as_ref())
        ));
        Ok((failure, incident))
    }

    fn site(&self, name: &str, index: u8) -> Site {
        Site { prefixes: self.prefixes, ..Site::new(name, index) }
    }
}

fn said(incident: Option<&Incident>) -> String {
    match incident.map(|incident| incident.duration_ms) {
        Some(Some(duration)) => format!(", Edgelore says {} ms", duration.estimate),
        Some(None) => ", Edgelore did not see the end".to_owned(),
        None => String::new(),
    }
}

/// Follows an outcome from the node that distilled it to the one that finds it.
fn deliver(
    incident: &Incident,
    (node, from): (&mut Node, &'static str),
    (reader, to): (&mut Node, &'static str),
    parent_expected: Option<String>,
) -> Result<(Published, Delivery)> {
    let outcome = node.outcome(&incident.id).with_context(|| format!("outcome of {from}"))?;
    reader.sees(&outcome.packet_id).with_context(|| format!("query from {to}"))?;
    let took: Span = now() - outcome.outcome.created;
    let delivery = Delivery {
        from,
        to,
        packet_id: outcome.packet_id.clone(),
        outcome_hash: outcome.outcome_hash.clone(),
        packet_bytes: outcome.packet_bytes,
        outcome: outcome.outcome.clone(),
        parents: outcome.parents.clone(),
        took,
        parent_expected,
    };
    Ok((outcome, delivery))
}

fn announce(progress: &Progress, delivery: &Delivery) {
    progress.done(&format!(
        "{}: `{}` brought {} ms; signed, {} bytes, found by {} after {} ms",
        delivery.from,
        delivery.outcome.resolution.pattern,
        delivery.outcome.convergence_delta_ms,
        delivery.packet_bytes,
        delivery.to,
        delivery.took.millis()
    ));
}

/// The BFD timers that the first advice names, as an engineer reads them: interval in ms and
/// multiplier.
fn bfd_advised(advice: &[Advice]) -> Result<(u64, u64)> {
    let first = advice.first().context("Denver got no advice")?;
    ensure!(first.pattern == "bfd_tuning", "the first advice is {}, not BFD", first.pattern);
    let after = |text: &str| {
        let step =
            first.steps.iter().find_map(|step| step.split_once(text).map(|(_, rest)| rest))?;
        let digits = step.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u64>().ok()
    };
    let interval_ms = after("transmit interval ").context("the advice names no interval")?;
    let multiplier = after("multiplier ").context("the advice names no multiplier")?;
    Ok((interval_ms, multiplier))
}

fn show_advice(progress: &Progress, advice: &[Advice]) {
    progress.done(&format!("Denver asked the swarm and got {} advice:", advice.len()));
    for (rank, one) in advice.iter().enumerate() {
        progress.done(&format!(
            "  {}. {}: {} % faster, {} ms at the median, {} votes, {} contradictions",
            rank + 1,
            one.pattern,
            one.improvement_permille / 10,
            one.convergence_delta_ms,
            one.votes,
            one.contradictions
        ));
        for step in &one.steps {
            progress.done(&format!("       step: {step}"));
        }
        for evidence in &one.evidence {
            let value = |v: Option<u64>| v.map_or_else(|| "?".to_owned(), |v| v.to_string());
            progress.done(&format!(
                "       evidence {}…: {} ms before, {} ms after, distance {}.{:03}",
                evidence.packet.get(..12).unwrap_or(&evidence.packet),
                value(evidence.before),
                value(evidence.after),
                evidence.distance / 1000,
                evidence.distance % 1000
            ));
        }
    }
}
