//! The scenarios: what is spoken, what is done, and what can be seen of it from where.
//!
//! Invariant: what a viewpoint sees follows from where it stands and from what passes it, never from
//! what Edgelore happens to find.

use super::ground::{Protection, Routing};
use super::truth::{Finding, Sight, Viewpoint};
use edgelore_model::Protocol;
use std::collections::BTreeMap;

/// How something fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The gateway's own link to the primary goes down; the bridge loses carrier.
    Near,
    /// The primary's own link goes down; only the primary notices at once.
    Far,
    /// What connects the two stops forwarding; nobody notices at once.
    Silent,
    /// The primary's operator resets the session; it comes back by itself.
    Reset,
    /// The primary's routing daemon is killed.
    Kill,
}

/// One thing that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something fails.
    Fail(Fault),
    /// What failed is made whole again; no incident.
    Repair,
    /// BFD is put on the session with the primary.
    Protect(Protection),
    /// Both ends of the session with the primary are given this hold time, s; it counts once the
    /// session has been reset.
    HoldTime(u16),
    /// Both ends of the way to the primary are given these OSPF hello and dead intervals, s.
    IgpTimers(u16, u16),
    /// The gateway may use both neighbours at once, and does, since the secondary stops to
    /// lengthen its paths.
    Multipath,
    /// The gateway damps routes that flap.
    Dampen,
    /// The gateway's cost towards the primary becomes this, so that everything moves.
    Cost(u32),
    /// The primary withdraws every prefix at once.
    Withdraw,
    /// The primary announces every prefix again; no incident.
    Announce,
    /// The primary announces so many prefixes more, which the secondary does not have; no incident.
    Transfer(u32),
    /// The primary withdraws them.
    Untransfer(u32),
    /// The first prefixes are withdrawn and announced again and again.
    Flap {
        /// So many of them.
        prefixes: usize,
        /// So often.
        cycles: u32,
        /// From one withdrawal to the next, ms.
        period_ms: u64,
    },
    /// What every network does all day; no incident.
    Churn,
    /// Nothing, for so many seconds.
    Still(u64),
    /// Users send more to the host than its link takes, for so many seconds.
    Flood(u64),
    /// The way to the primary is interrupted so often, each time for less than BFD tolerates.
    Blips(u32),
}

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, part of file names.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// What is spoken.
    pub routing: Routing,
    /// BFD from the beginning.
    pub bfd: Option<Protection>,
    /// What is done, in order.
    pub steps: &'static [Step],
    /// Changes that are to be noticed between incidents. An outcome compares two incidents whose
    /// ends were seen, and only the router sees those.
    pub resolutions: &'static [&'static str],
    /// It takes minutes, so that it runs only when it is asked for.
    pub slow: bool,
}

const BGP: Routing = Routing::Bgp { hold_s: 9, prefixes: 200 };
const BIRD: Routing = Routing::Bird { hold_s: 9, prefixes: 200 };
const OSPF: Routing = Routing::Ospf { hello_s: 1, dead_s: 4 };
const ISIS: Routing = Routing::Isis { hello_s: 1, multiplier: 3 };
const BFD_300: Protection = Protection { interval_ms: 300, multiplier: 3 };
const BFD_50: Protection = Protection { interval_ms: 50, multiplier: 3 };

const fn scenario(
    name: &'static str,
    about: &'static str,
    routing: Routing,
    steps: &'static [Step],
) -> Scenario {
    Scenario { name, about, routing, bfd: None, steps, resolutions: &[], slow: false }
}

const fn with_bfd(scenario: Scenario, bfd: Protection) -> Scenario {
    Scenario { bfd: Some(bfd), ..scenario }
}

const fn resolved(scenario: Scenario, resolutions: &'static [&'static str]) -> Scenario {
    Scenario { resolutions, ..scenario }
}

use Fault::{Far, Kill, Near, Reset, Silent};
use Step::Fail;

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    scenario("bgp-silent", "BGP, hold time 9 s: the way falls silent", BGP, &[Fail(Silent)]),
    scenario(
        "bgp-silent-hold3",
        "BGP, hold time 3 s: the way falls silent",
        Routing::Bgp { hold_s: 3, prefixes: 200 },
        &[Fail(Silent)],
    ),
    Scenario {
        slow: true,
        ..scenario(
            "bgp-silent-hold180",
            "BGP, hold time 180 s: the way falls silent",
            Routing::Bgp { hold_s: 180, prefixes: 200 },
            &[Fail(Silent)],
        )
    },
    scenario("bgp-far", "BGP, hold time 9 s: the far link goes down", BGP, &[Fail(Far)]),
    scenario("bgp-near", "BGP, hold time 9 s: the gateway's link goes down", BGP, &[Fail(Near)]),
    with_bfd(
        scenario("bgp-bfd300-silent", "BGP with BFD 300 ms × 3: silence", BGP, &[Fail(Silent)]),
        BFD_300,
    ),
    with_bfd(
        scenario("bgp-bfd50-silent", "BGP with BFD 50 ms × 3: silence", BGP, &[Fail(Silent)]),
        BFD_50,
    ),
    with_bfd(
        scenario(
            "bgp-bfd300-near",
            "BGP with BFD: the gateway's link goes down",
            BGP,
            &[Fail(Near)],
        ),
        BFD_300,
    ),
    scenario("bgp-reset", "BGP: the session is reset", BGP, &[Fail(Reset)]),
    scenario("bgp-kill", "BGP: the neighbour's daemon is killed", BGP, &[Fail(Kill)]),
    resolved(
        scenario(
            "bgp-bfd-tuning",
            "silence, then BFD 300 ms × 3 is put on the session, then silence again",
            BGP,
            &[Fail(Silent), Step::Repair, Step::Protect(BFD_300), Fail(Silent)],
        ),
        &["bfd_tuning"],
    ),
    resolved(
        scenario(
            "bgp-hold-tuning",
            "silence, then the hold time is cut from 9 s to 3 s by a reset, then silence again",
            BGP,
            &[Fail(Silent), Step::Repair, Step::HoldTime(3), Fail(Reset), Fail(Silent)],
        ),
        &["hold_timer_tuning"],
    ),
    resolved(
        scenario(
            "bgp-ecmp",
            "silence, then routes over both neighbours, then silence again",
            Routing::Bgp { hold_s: 3, prefixes: 200 },
            &[Fail(Silent), Step::Repair, Step::Multipath, Fail(Silent)],
        ),
        &["ecmp_rebalance"],
    ),
    scenario(
        "bgp-withdrawal",
        "the primary withdraws 200 prefixes and announces them again",
        BIRD,
        &[Step::Withdraw, Step::Announce],
    ),
    scenario(
        "bgp-table",
        "20,000 prefixes are transferred, which is no incident, and withdrawn",
        BIRD,
        &[Step::Transfer(20_000), Step::Untransfer(20_000)],
    ),
    scenario(
        "bgp-flap",
        "60 prefixes flap six times, a second apart",
        BIRD,
        &[Step::Flap { prefixes: 60, cycles: 6, period_ms: 1_000 }],
    ),
    scenario(
        "bgp-dampening",
        "prefixes flap, then after a pause again, damped by the gateway by now: one flap",
        BIRD,
        &[
            Step::Flap { prefixes: 60, cycles: 6, period_ms: 1_000 },
            Step::Still(65),
            Step::Dampen,
            Step::Flap { prefixes: 60, cycles: 6, period_ms: 1_000 },
        ],
    ),
    scenario("ospf-silent", "OSPF 1/4 s: the way falls silent", OSPF, &[Fail(Silent)]),
    scenario(
        "ospf-silent-slow",
        "OSPF 2/8 s: the way falls silent",
        Routing::Ospf { hello_s: 2, dead_s: 8 },
        &[Fail(Silent)],
    ),
    resolved(
        scenario(
            "ospf-timer-tuning",
            "OSPF 2/8 s: silence, then the intervals become 1/4 s, then silence again",
            Routing::Ospf { hello_s: 2, dead_s: 8 },
            &[Fail(Silent), Step::Repair, Step::IgpTimers(1, 4), Fail(Silent)],
        ),
        &["igp_timer_tuning"],
    ),
    scenario("ospf-near", "OSPF 1/4 s: the gateway's link goes down", OSPF, &[Fail(Near)]),
    with_bfd(
        scenario(
            "ospf-bfd-silent",
            "OSPF 1/4 s with BFD 300 ms × 3: silence",
            OSPF,
            &[Fail(Silent)],
        ),
        BFD_300,
    ),
    scenario(
        "ospf-cost",
        "OSPF: the cost of the preferred way is raised",
        OSPF,
        &[Step::Cost(500)],
    ),
    scenario("isis-silent", "IS-IS 1 s × 3: the way falls silent", ISIS, &[Fail(Silent)]),
    scenario("isis-near", "IS-IS 1 s × 3: the gateway's link goes down", ISIS, &[Fail(Near)]),
    scenario(
        "isis-cost",
        "IS-IS: the cost of the preferred way is raised",
        ISIS,
        &[Step::Cost(500)],
    ),
    with_bfd(
        scenario("bfd-silent", "BFD alone, 300 ms × 3: silence", Routing::Nothing, &[Fail(Silent)]),
        BFD_300,
    ),
    scenario("ldp-kill", "LDP: the neighbour's daemon is killed", Routing::Ldp, &[Fail(Kill)]),
    scenario("saturation", "users send more than a shaped link takes", BGP, &[Step::Flood(6)]),
    with_bfd(
        scenario(
            "bfd-degraded",
            "the way is interrupted for less than BFD 300 ms × 3 tolerates, eight times",
            BGP,
            &[Step::Blips(8)],
        ),
        BFD_300,
    ),
    scenario(
        "quiet-bgp",
        "control: announcements, refreshes, a new neighbour",
        BIRD,
        &[Step::Churn],
    ),
    scenario("quiet-ospf", "control: new prefixes one by one", OSPF, &[Step::Churn]),
    scenario("quiet-isis", "control: new prefixes one by one", ISIS, &[Step::Churn]),
];

const REQUIRED: Sight = Sight { finding: Finding::Required, end: false, prefixes: false };
const OPTIONAL: Sight = Sight { finding: Finding::Optional, end: false, prefixes: false };
const WHOLE: Sight = Sight { finding: Finding::Required, end: true, prefixes: true };

/// What is seen of a failure that moves routes.
pub(super) fn sights_of(fault: Fault, routing: Routing, bfd: bool) -> BTreeMap<Viewpoint, Sight> {
    // A BGP speaker that cannot reach its neighbour can tell it nothing, so that a passer-by has
    // nothing but the silence; BFD and hellos go on and say that nothing is heard.
    let told = if routing.is_bgp() && !bfd { OPTIONAL } else { REQUIRED };
    let (bridge, router_replay, bridge_replay) = match fault {
        // The bridge loses carrier; its capture has no more than packets.
        Fault::Near => (REQUIRED, OPTIONAL, OPTIONAL),
        Fault::Far | Fault::Silent => (told, told, told),
        Fault::Reset | Fault::Kill => (REQUIRED, REQUIRED, REQUIRED),
    };
    let moves = !matches!(routing, Routing::Ldp | Routing::Nothing);
    let mut sights = BTreeMap::from([
        (Viewpoint::Router, if moves { WHOLE } else { REQUIRED }),
        (Viewpoint::Bridge, bridge),
        (Viewpoint::RouterReplay, router_replay),
        (Viewpoint::BridgeReplay, bridge_replay),
    ]);
    if routing.is_bgp() {
        sights.extend([(Viewpoint::Bmp, REQUIRED), (Viewpoint::BmpReplay, REQUIRED)]);
    }
    sights
}

/// What is seen of prefixes that are withdrawn or flap: all of it, everywhere. But FRR does not
/// report over BMP that a route was withdrawn which it damps, so that what is damped from the
/// beginning may be missed there; of what began before, the rest.
pub(super) fn sights_of_updates(damped: bool) -> BTreeMap<Viewpoint, Sight> {
    let mut sights = BTreeMap::from(Viewpoint::ALL.map(|viewpoint| (viewpoint, WHOLE)));
    if damped {
        sights.extend([(Viewpoint::Bmp, OPTIONAL), (Viewpoint::BmpReplay, OPTIONAL)]);
    }
    sights
}

/// What is seen of a change of cost. An advertisement says it to everybody; but most such changes
/// move nothing, and whether one did is up to what others calculate. That is said by nobody and shows
/// in the kernel's table alone.
pub(super) fn sights_of_cost() -> BTreeMap<Viewpoint, Sight> {
    BTreeMap::from([
        (Viewpoint::Router, WHOLE),
        (Viewpoint::Bridge, OPTIONAL),
        (Viewpoint::RouterReplay, OPTIONAL),
        (Viewpoint::BridgeReplay, OPTIONAL),
    ])
}

/// What is seen of a queue: it is in the router alone.
pub(super) fn sights_of_queue() -> BTreeMap<Viewpoint, Sight> {
    BTreeMap::from([(Viewpoint::Router, Sight { end: true, ..REQUIRED })])
}

/// What is seen of lost packets: whoever hears them.
pub(super) fn sights_of_loss() -> BTreeMap<Viewpoint, Sight> {
    BTreeMap::from([
        (Viewpoint::Router, REQUIRED),
        (Viewpoint::Bridge, REQUIRED),
        (Viewpoint::RouterReplay, REQUIRED),
        (Viewpoint::BridgeReplay, REQUIRED),
    ])
}

/// The protocols that an incident may be called by.
pub(super) fn protocols(fault: Fault, routing: Routing, bfd: bool) -> Vec<Protocol> {
    let mut protocols = vec![match routing {
        Routing::Bgp { .. } | Routing::Bird { .. } => Protocol::Bgp,
        Routing::Ospf { .. } => Protocol::Ospf,
        Routing::Isis { .. } => Protocol::Isis,
        Routing::Ldp => Protocol::Ldp,
        Routing::Nothing => Protocol::Bfd,
    }];
    // A bridge may have nothing but its own link, and a passer-by nothing but BFD.
    if fault == Fault::Near {
        protocols.push(Protocol::Link);
    }
    if bfd {
        protocols.push(Protocol::Bfd);
    }
    protocols
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_distinct_and_fit_into_file_names() {
        let names: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(names.iter().all(|name| name.chars().all(plain)), "{names:?}");
    }

    #[test]
    fn whoever_has_the_table_sees_the_whole() {
        for fault in [Near, Far, Silent, Reset, Kill] {
            let sights = sights_of(fault, BGP, false);
            assert_eq!(sights[&Viewpoint::Router], WHOLE, "{fault:?}");
            assert_eq!(sights.len(), 6, "{fault:?}");
        }
        assert_eq!(sights_of(Silent, BGP, false)[&Viewpoint::Bridge], OPTIONAL);
        assert_eq!(sights_of(Silent, BGP, true)[&Viewpoint::Bridge], REQUIRED);
        assert!(!sights_of(Silent, OSPF, false).contains_key(&Viewpoint::Bmp));
    }
}
