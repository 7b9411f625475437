//! Plays a scenario and writes down what really happened.
//!
//! The truth's witnesses are the clock before and after each deed, the gateway's own route
//! notifications ([`FibMonitor`](super::FibMonitor)), the packets that users lost, and `tc` for
//! queues. Users' packets must have been lost for as long as the table says.
//!
//! Invariant: every step returns only after routing has stood still for longer than a convergence
//! needs to count as over, so that incidents never run into each other.

use super::flood::{self, Flood};
use super::ground::{Ground, Routing};
use super::scenarios::{self, Fault, Scenario, Step};
use super::stream::agree;
use super::truth::{Happened, Moved, Resolved, ScenarioTruth, Sight, Viewpoint};
use super::words::{self, Role};
use crate::speaker::table;
use crate::{FrrDaemon, Injection, NetNs, now, pause, set_link, wait_for, wait_for_some};
use anyhow::{Context, Result, ensure};
use edgelore_model::{EventType, Interval, Prefix, Protocol, Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Longer than the default after which a convergence is over, and all that comes after.
const QUIET: Duration = Duration::from_millis(6_500);
/// A notification of the kernel was read within this, after what it tells.
const READ_WITHIN: Span = Span::from_millis(5);
/// A daemon's reaction beyond its timers.
const SLACK: Duration = Duration::from_secs(30);
/// How far the lost packets and the table may disagree, beside a fiftieth.
const WITNESSES_APART_MAX: Span = Span::from_millis(200);
/// Interruptions that BFD 300 ms × 3 tolerates, and the time between two.
const BLIP: Duration = Duration::from_millis(450);
const BLIPS_APART: Duration = Duration::from_millis(1_500);
/// How long benign changes are apart.
const CHURN_APART: Duration = Duration::from_millis(1_000);

/// Plays all steps of a scenario on a ground that has been started.
///
/// # Errors
/// When a step does not do what it promises, or a witness fails.
pub fn play(scenario: &Scenario, ground: &mut Ground) -> Result<ScenarioTruth> {
    let mut play =
        Play { ground, incidents: Vec::new(), failed: None, damped: false, before: Table::new() };
    play.quiet(now())?;
    let since = now();
    for (number, step) in scenario.steps.iter().enumerate() {
        play.step(*step).with_context(|| format!("step {}, {step:?}", number + 1))?;
    }
    let resolutions = scenario.resolutions.iter();
    Ok(ScenarioTruth {
        scenario: scenario.name.to_owned(),
        about: scenario.about.to_owned(),
        since,
        incidents: play.incidents,
        resolutions: resolutions
            .map(|pattern| Resolved {
                pattern: (*pattern).to_owned(),
                seen: vec![Viewpoint::Router],
            })
            .collect(),
    })
}

struct Play<'a> {
    ground: &'a mut Ground,
    incidents: Vec<Happened>,
    /// What has not been repaired.
    failed: Option<Fault>,
    /// The gateway damps routes.
    damped: bool,
    /// The gateway's table before the present step.
    before: Table,
}

/// Where each destination leads, as `ip` writes it.
type Table = BTreeMap<Prefix, String>;

/// An incident whose end is not yet known.
struct Begun {
    what: String,
    event: EventType,
    protocols: Vec<Protocol>,
    start: Interval,
    sights: BTreeMap<Viewpoint, Sight>,
    elsewhere: Vec<Prefix>,
}

impl Play<'_> {
    fn step(&mut self, step: Step) -> Result<()> {
        self.before = table_of(&self.ground.gw)?;
        match step {
            Step::Fail(fault) => self.fail(fault),
            Step::Repair => self.repair(),
            Step::Protect(bfd) => {
                self.ground.protect(bfd)?;
                self.quiet(now())
            }
            Step::HoldTime(hold_s) => self.configure(&words::hold_time(Role::Gateway, hold_s)).and(
                self.ground
                    .routers()?
                    .primary_frr()?
                    .configure(&words::hold_time(Role::Primary, hold_s)),
            ),
            Step::IgpTimers(hello_s, dead_s) => self.igp_timers(hello_s, dead_s),
            Step::Multipath => self.multipath(),
            Step::Dampen => {
                self.configure(&words::dampening())?;
                self.damped = true;
                self.quiet(now())
            }
            Step::Cost(cost) => self.cost(cost),
            Step::Withdraw => self.withdraw(&self.ground.prefixes(), &[words::SECONDARY]),
            Step::Announce => self.announce(&self.ground.prefixes()),
            Step::Transfer(count) => self.announce(&table(count)),
            Step::Untransfer(count) => self.withdraw(&table(count), &[]),
            Step::Flap { prefixes, cycles, period_ms } => {
                self.flap(prefixes, cycles, Duration::from_millis(period_ms))
            }
            Step::Churn => self.churn(),
            Step::Still(seconds) => pause(Duration::from_secs(seconds), "the flap's end"),
            Step::Flood(seconds) => self.flood(Duration::from_secs(seconds)),
            Step::Blips(count) => self.blips(count),
        }
    }

    fn fail(&mut self, fault: Fault) -> Result<()> {
        let (routing, bfd) = (self.ground.routing(), self.ground.bfd().is_some());
        let injected = self.inject(fault)?;
        self.failed = Some(fault);
        let begun = Begun {
            what: format!("{fault:?}").to_lowercase(),
            event: EventType::Convergence,
            protocols: scenarios::protocols(fault, routing, bfd),
            start: Interval::between(injected.before, injected.after),
            sights: scenarios::sights_of(fault, routing, bfd),
            // What the session had brought to the primary is gone there.
            elsewhere: if routing.is_bgp() { vec![words::lan()] } else { Vec::new() },
        };
        if matches!(routing, Routing::Ldp | Routing::Nothing) {
            return self.unmoved(begun);
        }
        let destinations = words::destinations(routing);
        if fault == Fault::Reset {
            self.await_change(injected.before)?;
            self.quiet(injected.before)?;
            self.await_route(&destinations, words::PRIMARY)?;
            self.failed = None;
        } else {
            self.await_route(&destinations, words::SECONDARY)?;
            self.quiet(injected.before)?;
        }
        self.over(begun, injected, fault == Fault::Reset)?;
        if fault == Fault::Silent { self.witness() } else { Ok(()) }
    }

    /// Does what the fault is, and says when.
    fn inject(&mut self, fault: Fault) -> Result<Injection> {
        let ground = &mut *self.ground;
        match fault {
            Fault::Near => set_link(&ground.gw, "prim0", false),
            Fault::Far => set_link(&ground.prim, "gw0", false),
            Fault::Silent => set_link(&ground.dark, "br0", false),
            Fault::Reset => {
                let before = now();
                let gateway = words::GATEWAY_PRIMARY;
                let primary = ground.routers()?.primary_frr()?;
                primary.show_text(&format!("clear bgp {gateway}"))?;
                Ok(Injection { before, after: now() })
            }
            Fault::Kill => {
                let ldp = ground.routing() == Routing::Ldp;
                let daemon = if ldp { FrrDaemon::Ldpd } else { FrrDaemon::Bgpd };
                ground.routers_mut()?.primary_frr_mut()?.kill(daemon)
            }
        }
    }

    fn repair(&mut self) -> Result<()> {
        let ground = &*self.ground;
        match self.failed.take().context("nothing has failed")? {
            Fault::Near => set_link(&ground.gw, "prim0", true)?,
            Fault::Far => set_link(&ground.prim, "gw0", true)?,
            Fault::Silent => set_link(&ground.dark, "br0", true)?,
            fault @ (Fault::Reset | Fault::Kill) => {
                anyhow::bail!("{fault:?} cannot be repaired")
            }
        };
        ground.await_normal()?;
        self.quiet(now())
    }

    /// At both ends within the old dead interval, so that nothing is lost.
    fn igp_timers(&mut self, hello_s: u16, dead_s: u16) -> Result<()> {
        let before = now();
        self.configure(&words::igp_timers(Role::Gateway, hello_s, dead_s))?;
        let primary = self.ground.routers()?.primary_frr()?;
        primary.configure(&words::igp_timers(Role::Primary, hello_s, dead_s))?;
        self.quiet(now())?;
        let moved = self.ground.routers()?.fib.changes_since(before)?;
        ensure!(moved.is_empty(), "the change of intervals cost the adjacency");
        Ok(())
    }

    fn multipath(&mut self) -> Result<()> {
        let routers = self.ground.routers()?;
        routers.gateway.configure(&words::multipath())?;
        routers.secondary.configure(&words::no_longer_paths())?;
        let destinations = words::destinations(self.ground.routing());
        wait_for(SLACK, "routes over both neighbours", || {
            let both = [words::PRIMARY, words::SECONDARY];
            routers.fib.all_point_to(&destinations, &both).unwrap_or(false)
        })?;
        self.quiet(now())
    }

    fn cost(&mut self, cost: u32) -> Result<()> {
        let routing = self.ground.routing();
        let before = now();
        self.configure(&words::cost(routing, cost))?;
        let injected = Injection { before, after: now() };
        self.await_route(&words::destinations(routing), words::SECONDARY)?;
        self.quiet(before)?;
        let begun = Begun {
            what: "cost".to_owned(),
            event: EventType::Convergence,
            protocols: scenarios::protocols(Fault::Silent, routing, false),
            start: Interval::between(before, injected.after),
            sights: scenarios::sights_of_cost(),
            elsewhere: Vec::new(),
        };
        self.over(begun, injected, true)
    }

    /// The primary withdraws; afterwards the prefixes point to `via`, or nowhere.
    fn withdraw(&mut self, prefixes: &[Prefix], via: &[Ipv4Addr]) -> Result<()> {
        let destinations = destinations_of(prefixes);
        let before = now();
        self.ground.routers_mut()?.move_prefixes(prefixes, false)?;
        let injected = Injection { before, after: now() };
        let fib = &self.ground.routers()?.fib;
        wait_for(SLACK, "the withdrawal in the table", || {
            fib.all_point_to(&destinations, via).unwrap_or(false)
        })?;
        self.quiet(before)?;
        let begun = Begun {
            what: "withdrawal".to_owned(),
            event: EventType::Convergence,
            protocols: vec![Protocol::Bgp],
            start: Interval::between(before, injected.after),
            sights: scenarios::sights_of_updates(self.damped),
            elsewhere: Vec::new(),
        };
        self.over(begun, injected, true)
    }

    fn announce(&mut self, prefixes: &[Prefix]) -> Result<()> {
        self.ground.routers_mut()?.move_prefixes(prefixes, true)?;
        self.await_route(&destinations_of(prefixes), words::PRIMARY)?;
        self.quiet(now())
    }

    /// Withdraws and announces; the last announcement is the last transition.
    fn flap(&mut self, count: usize, cycles: u32, period: Duration) -> Result<()> {
        let prefixes = self.ground.prefixes();
        let flapping = &prefixes[..count.min(prefixes.len())];
        let begin = now();
        let mut last = begin;
        for _ in 0..cycles {
            for announce in [false, true] {
                last = now();
                self.ground.routers_mut()?.move_prefixes(flapping, announce)?;
                pause(period / 2, "the next transition")?;
            }
        }
        let done = now();
        let moved = self.ground.routers()?.fib.changes_since(begin)?;
        let first = moved.first().context("nothing flapped")?.0;
        let begun = Begun {
            what: format!("flap of {} prefixes", flapping.len()),
            event: EventType::Flap,
            protocols: vec![Protocol::Bgp],
            start: Interval::between(begin, first),
            sights: scenarios::sights_of_updates(self.damped),
            elsewhere: Vec::new(),
        };
        let end = Interval::between(last, done);
        match self.incidents.last_mut() {
            Some(same) if same.event == EventType::Flap && goes_on(same, cycles, begin) => {
                same.end = Some(end);
            }
            _ => self.incidents.push(begun.ended(Some(end), flapping)),
        }
        self.quiet(done)
    }

    fn churn(&mut self) -> Result<()> {
        if self.ground.routing().is_bgp() {
            self.churn_bgp()?;
        } else {
            for last in 200..208u8 {
                self.ground.prim.ip(&format!("addr add 198.19.255.{last}/32 dev lo"))?;
                pause(CHURN_APART, "the next prefix")?;
            }
        }
        self.quiet(now())
    }

    /// New prefixes one by one, two of them taken back, refreshes, a neighbour that is not there.
    fn churn_bgp(&mut self) -> Result<()> {
        let extra = words::extra(5);
        for prefix in &extra {
            self.ground.routers_mut()?.move_prefixes(&[*prefix], true)?;
            pause(CHURN_APART, "the next prefix")?;
        }
        for prefix in &extra[..2] {
            self.ground.routers_mut()?.move_prefixes(&[*prefix], false)?;
            pause(CHURN_APART, "the next prefix")?;
        }
        let gateway = &self.ground.routers()?.gateway;
        for neighbour in [words::PRIMARY, words::SECONDARY] {
            for way in ["in", "out"] {
                gateway.show_text(&format!("clear bgp {neighbour} soft {way}"))?;
                pause(CHURN_APART, "the next refresh")?;
            }
        }
        gateway.configure(&words::absent_neighbour())?;
        pause(CHURN_APART, "the new neighbour")
    }

    fn flood(&mut self, lasting: Duration) -> Result<()> {
        let ground = &*self.ground;
        flood::shape(&ground.gw, "lan0")?;
        self.quiet(now())?;
        let begin = now();
        let to = (&ground.lan, words::LAN.into());
        let running = Flood::start(&ground.prim, to)?;
        let full = wait_for_some(SLACK, "a full queue", || {
            flood::backlog(&ground.gw, "lan0")
                .ok()
                .filter(|(.., bytes)| *bytes >= flood::FULL_BYTES)
        })?;
        pause(lasting, "the flood")?;
        let still = now();
        drop(running);
        let empty = wait_for_some(SLACK, "an empty queue", || {
            flood::backlog(&ground.gw, "lan0").ok().filter(|(.., bytes)| *bytes < 3_000)
        })?;
        let begun = Begun {
            what: "flood".to_owned(),
            event: EventType::Saturation,
            protocols: vec![Protocol::Link],
            start: Interval::between(begin, full.1),
            sights: scenarios::sights_of_queue(),
            elsewhere: Vec::new(),
        };
        self.incidents.push(begun.ended(Some(Interval::between(still, empty.1)), &[]));
        self.quiet(now())
    }

    fn blips(&mut self, count: u32) -> Result<()> {
        let ground = &*self.ground;
        let begin = now();
        let mut last = begin;
        for _ in 0..count {
            last = set_link(&ground.dark, "br0", false)?.before;
            pause(BLIP, "the end of an interruption")?;
            set_link(&ground.dark, "br0", true)?;
            pause(BLIPS_APART, "the next interruption")?;
        }
        let moved = ground.routers()?.fib.changes_since(begin)?;
        ensure!(moved.is_empty(), "the interruptions were too long: routes moved");
        let first = Interval::between(begin, begin + Span::from_millis(2_000));
        let begun = Begun {
            what: "interruptions".to_owned(),
            event: EventType::Degradation,
            protocols: vec![Protocol::Bfd, Protocol::Bgp],
            start: first,
            sights: scenarios::sights_of_loss(),
            elsewhere: Vec::new(),
        };
        self.incidents.push(begun.ended(Some(Interval::between(last, now())), &[]));
        self.quiet(now())
    }

    fn configure(&self, text: &str) -> Result<()> {
        self.ground.routers()?.gateway.configure(text)
    }

    fn await_route(&self, destinations: &[(Ipv4Addr, u8)], via: Ipv4Addr) -> Result<()> {
        let hold = match self.ground.routing() {
            Routing::Bgp { hold_s, .. } | Routing::Bird { hold_s, .. } => hold_s,
            _ => 10,
        };
        let deadline = Duration::from_secs(hold.into()) + SLACK;
        let fib = &self.ground.routers()?.fib;
        wait_for(deadline, &format!("every route through {via}"), || {
            fib.all_point_to(destinations, &[via]).unwrap_or(false)
        })
    }

    fn await_change(&self, since: Timestamp) -> Result<()> {
        let fib = &self.ground.routers()?.fib;
        wait_for(SLACK, "a change of the table", || {
            fib.changes_since(since).is_ok_and(|changes| !changes.is_empty())
        })
    }

    /// Waits until nothing has moved since `since`, or since the last change after it.
    fn quiet(&self, since: Timestamp) -> Result<()> {
        let fib = &self.ground.routers()?.fib;
        let quiet = Span(i64::try_from(QUIET.as_nanos()).unwrap_or(i64::MAX));
        wait_for(SLACK + QUIET, "routing to stand still", || {
            fib.changes_since(since).is_ok_and(|changes| {
                let last = changes.last().map_or(since, |(at, _)| *at);
                now() - last >= quiet
            })
        })
    }

    /// An incident that moves nothing.
    fn unmoved(&mut self, begun: Begun) -> Result<()> {
        let at = begun.start.latest;
        self.incidents.push(begun.ended(None, &[]));
        // Whatever the protocol's timers are, they have expired by then.
        pause(Duration::from_secs(10), "the timers")?;
        self.quiet(at)
    }

    /// An incident that is over: what moved, and when the last of it did.
    fn over(&mut self, mut begun: Begun, injected: Injection, commanded: bool) -> Result<()> {
        let changes = self.ground.routers()?.fib.changes_since(injected.before)?;
        let first = changes.first().context("nothing moved")?.0;
        let last = changes.last().context("nothing moved")?.0;
        if commanded {
            // A daemon may answer before it does what it was told, and not after something moved.
            begun.start = Interval::between(injected.before, first);
        }
        let told: Vec<(Ipv4Addr, u8)> = changes.iter().map(|(_, prefix)| *prefix).collect();
        let mut moved: BTreeSet<Prefix> = words::prefixes(&told).into_iter().collect();
        // The kernel does not tell everything: what a link takes along vanishes without a word.
        let after = table_of(&self.ground.gw)?;
        let leads = |table: &Table, prefix: &Prefix| table.get(prefix).cloned();
        let known = self.before.keys().chain(after.keys());
        moved.extend(known.filter(|p| leads(&self.before, p) != leads(&after, p)));
        let moved: Vec<Prefix> = moved.into_iter().collect();
        let end = Interval { earliest: last - READ_WITHIN, estimate: last, latest: last };
        let mut happened = begun.ended(Some(end), &moved);
        if self.ground.routing().is_bgp() {
            let kernels =
                |p: &&Prefix| leads(&self.before, p).is_some_and(|leads| is_kernels(&leads));
            happened.unannounced = moved.iter().filter(kernels).copied().collect();
        }
        self.incidents.push(happened);
        Ok(())
    }

    /// Users lost packets for as long as the table says.
    fn witness(&self) -> Result<()> {
        let routers = self.ground.routers()?;
        let (Some(stream), Some(last)) = (routers.stream(), self.incidents.last()) else {
            return Ok(());
        };
        let Some(end) = last.end else { return Ok(()) };
        let outage = stream.outage(last.start.earliest)?;
        let lasted = end.estimate - last.start.estimate;
        agree(outage, lasted, Span(WITNESSES_APART_MAX.0.max(lasted.0 / 50)))
    }
}

impl Begun {
    fn ended(self, end: Option<Interval>, moved: &[Prefix]) -> Happened {
        let Self { what, event, protocols, start, sights, elsewhere } = self;
        let prefixes = Moved::of(moved);
        let (heard, unannounced) = (BTreeMap::new(), Vec::new());
        Happened {
            what,
            event,
            protocols,
            start,
            end,
            prefixes,
            elsewhere,
            unannounced,
            heard,
            sights,
        }
    }
}

/// What flaps again at `at` is still the same flap: its losses weigh 1,000 each, half of that is
/// forgotten in a quarter of an hour, and it is over when less than 3,000 are left.
fn goes_on(flap: &Happened, losses: u32, at: Timestamp) -> bool {
    const HALF_LIFE_MS: f64 = 900_000.0;
    let Some(end) = flap.end else { return false };
    let pause_ms = (at - end.latest).millis() as f64;
    f64::from(losses) * 1_000.0 * 0.5_f64.powf(pause_ms / HALF_LIFE_MS) >= 3_000.0
}

/// The main table for IPv4.
fn table_of(namespace: &NetNs) -> Result<Table> {
    let output = namespace
        .command("ip")
        .args(["-4", "-o", "route", "show", "table", "main"])
        .output()
        .context("start ip")?;
    ensure!(output.status.success(), "ip cannot show the table");
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(route_of).collect())
}

/// The kernel made the route itself, for an address on a link.
fn is_kernels(leads: &str) -> bool {
    leads.split_whitespace().skip_while(|word| *word != "proto").nth(1) == Some("kernel")
}

/// One line: a destination, with its length unless it is one address, and where it leads.
fn route_of(line: &str) -> Option<(Prefix, String)> {
    let (destination, leads) = line.trim().split_once(' ')?;
    let whole = |address: std::net::IpAddr| Prefix::new(address, 32).ok();
    let prefix = match destination.parse() {
        Ok(address) => whole(address)?,
        Err(_) => destination.parse().ok()?,
    };
    // The object that a route leads by may be another with the same legs.
    let words = leads.split_whitespace().filter(|word| !word.starts_with("nhid"));
    let legs = words.skip_while(|word| word.bytes().all(|b| b.is_ascii_digit()));
    Some((prefix, legs.collect::<Vec<_>>().join(" ")))
}

fn destinations_of(prefixes: &[Prefix]) -> Vec<(Ipv4Addr, u8)> {
    prefixes
        .iter()
        .filter_map(|prefix| match prefix.address() {
            std::net::IpAddr::V4(address) => Some((address, prefix.length())),
            std::net::IpAddr::V6(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flap_goes_on_while_its_penalty_is_not_forgotten() {
        let begun = Begun {
            what: String::new(),
            event: EventType::Flap,
            protocols: vec![Protocol::Bgp],
            start: Interval::exactly(Timestamp(0)),
            sights: BTreeMap::new(),
            elsewhere: Vec::new(),
        };
        let flap = begun.ended(Some(Interval::exactly(Timestamp(0))), &[]);
        for (losses, minutes, expected) in
            [(6, 1, true), (6, 14, true), (6, 16, false), (3, 1, false)]
        {
            let at = Timestamp(0) + Span::from_millis(minutes * 60_000);
            assert_eq!(goes_on(&flap, losses, at), expected, "{losses} losses, {minutes} min");
        }
    }

    #[test]
    fn routes_are_read_by_where_they_lead() {
        for (line, prefix, leads) in [
            ("198.18.0.0/24 nhid 10 via 192.0.2.2 dev prim0 proto bgp ", "198.18.0.0/24", "via"),
            ("198.18.0.1 nhid 9 via 192.0.2.2 dev prim0", "198.18.0.1/32", "via"),
            ("192.0.2.0/28 dev prim0 proto kernel scope link", "192.0.2.0/28", "dev"),
        ] {
            let (found, legs) = route_of(line).unwrap();
            assert_eq!(is_kernels(&legs), leads == "dev");
            assert_eq!(found, prefix.parse().unwrap());
            assert!(legs.starts_with(leads), "{legs}");
        }
        assert_eq!(route_of("default via 192.0.2.33 dev gw0"), None);
    }
}
