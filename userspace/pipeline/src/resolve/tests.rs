//! What changed, from settings to sentences.

use super::*;
use crate::detect::BfdTimers;
use crate::detect::{
    EdgeCosts, LinkSettings, QueueSettings, RouterSettings, SessionSettings, Settings,
};
use edgelore_model::{
    Adjacency, IgpArea, IgpProtocol, Link, NodeId, OpenCapabilities, SessionKey, Span, Timestamp,
};
use std::net::IpAddr;

fn ends() -> (IpAddr, IpAddr) {
    ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap())
}

fn scope() -> Scope {
    Scope::Session(SessionKey::between(ends().0, ends().1))
}

fn settings(hold_s: u16, bfd: Option<(u8, u32)>) -> Settings {
    let (a, b) = ends();
    let mut settings = SessionSettings::default();
    for end in [a, b] {
        settings.hold_time_s.insert(end, hold_s);
        if let Some((detect_multiplier, interval_us)) = bfd {
            settings.bfd.insert(
                end,
                BfdTimers {
                    detect_multiplier,
                    desired_min_tx_us: interval_us,
                    required_min_rx_us: interval_us,
                },
            );
        }
    }
    Settings { sessions: vec![(SessionKey::between(a, b), settings)], ..Settings::default() }
}

#[test]
fn names_what_changed_between_two_incidents() {
    let slow = settings(9, None);
    for (name, after, patterns) in [
        ("nothing", settings(9, None), vec![]),
        ("bfd enabled", settings(9, Some((3, 300_000))), vec![BFD_TUNING]),
        ("hold time", settings(3, None), vec![HOLD_TIMER_TUNING]),
        ("both", settings(3, Some((3, 50_000))), vec![BFD_TUNING, HOLD_TIMER_TUNING]),
    ] {
        let found = between(scope(), &slow, &after);
        let found: Vec<&str> = found.iter().map(|(pattern, _)| pattern.as_str()).collect();
        assert_eq!(found, patterns, "{name}");
    }
}

#[test]
fn a_smaller_multiplier_is_bfd_tuning_with_both_detection_times() {
    let (before, after) = (settings(9, Some((5, 300_000))), settings(9, Some((3, 300_000))));
    let found = between(scope(), &before, &after);
    assert_eq!(found[0].1[1], "Detection time went from 1500 ms to 900 ms");
}

#[test]
fn bfd_at_one_end_protects_nothing() {
    let mut half = settings(9, Some((3, 300_000)));
    half.sessions[0].1.bfd.pop_first();
    assert!(between(scope(), &settings(9, None), &half).is_empty());
}

fn between(scope: Scope, before: &Settings, after: &Settings) -> Vec<(String, Vec<String>)> {
    let changes = changes_between(&scope, before, after, Interval::exactly(Timestamp(1)));
    let told = |c: Change| {
        assert_eq!(c.on, Some(scope));
        (c.resolution.pattern, c.resolution.steps)
    };
    changes.into_iter().map(told).collect()
}

fn capable(capabilities: OpenCapabilities) -> Settings {
    let mut settings = settings(90, None);
    let (a, b) = ends();
    settings.sessions[0].1.capabilities = [(a, capabilities), (b, capabilities)].into();
    settings
}

#[test]
fn capabilities_are_told_by_what_they_are_for() {
    let on = scope();
    let plain = OpenCapabilities { families: 1, ..OpenCapabilities::default() };
    let helper = OpenCapabilities { graceful_restart_s: Some(120), ..plain };
    let restarts = OpenCapabilities { graceful_restart_families: 1, ..helper };
    for (before, after, pattern, step) in [
        (
            helper,
            restarts,
            GRACEFUL_RESTART,
            "Enabled BGP graceful restart with a restart time of 120 s",
        ),
        (restarts, plain, GRACEFUL_RESTART, "Disabled BGP graceful restart"),
        (
            restarts,
            OpenCapabilities { graceful_restart_s: Some(60), ..restarts },
            GRACEFUL_RESTART,
            "Changed the graceful restart time from 120 s to 60 s",
        ),
        (
            plain,
            OpenCapabilities { add_path: true, add_path_send: 1, ..plain },
            ADD_PATH,
            "Enabled several paths for a prefix (add-path)",
        ),
        (
            plain,
            OpenCapabilities { extended_messages: true, ..plain },
            CAPABILITY_CHANGE,
            "Enabled extended messages",
        ),
    ] {
        let found = between(on, &capable(before), &capable(after));
        assert_eq!(found, [(pattern.to_owned(), vec![step.to_owned()])]);
    }
    assert!(between(on, &capable(plain), &capable(helper)).is_empty(), "a helper keeps nothing");
}

#[test]
fn what_was_not_known_before_is_no_change() {
    let full = capable(OpenCapabilities { graceful_restart_s: Some(9), ..Default::default() });
    let on = scope();
    assert!(between(on, &Settings::default(), &full).is_empty());
    assert!(between(on, &full, &Settings::default()).is_empty());
}

fn link(mtu: u32, queues: &[(&str, u32)], paths: u16) -> Settings {
    let queue = |(qdisc, limit): &(&str, u32)| QueueSettings {
        root: true,
        qdisc: (*qdisc).to_owned(),
        limit: *limit,
    };
    let queues = queues.iter().map(queue).collect();
    let links = vec![(Link(7), LinkSettings { mtu, queues, paths })];
    Settings { links, ..Settings::default() }
}

#[test]
fn links_are_compared_by_mtu_queue_and_paths() {
    let before = link(1500, &[("pfifo", 1000)], 0);
    for (name, after, expected) in [
        ("nothing", before.clone(), None),
        (
            "mtu",
            link(9000, &[("pfifo", 1000)], 0),
            Some((MTU_CHANGE, "Changed a link's MTU from 1500 to 9000 octets")),
        ),
        (
            "kind",
            link(1500, &[("fq_codel", 10240)], 0),
            Some((QOS_SHAPING, "Replaced a link's queue of kind pfifo by one of fq_codel")),
        ),
        (
            "limit",
            link(1500, &[("pfifo", 100)], 0),
            Some((QOS_SHAPING, "Changed the limit of a pfifo queue from 1000 to 100")),
        ),
        (
            "paths",
            link(1500, &[("pfifo", 1000)], 2),
            Some((ECMP_REBALANCE, "Spread routes over up to 2 next hops instead of 1")),
        ),
        ("queues that are not known", link(1500, &[], 0), None),
    ] {
        let expected: Vec<_> =
            expected.into_iter().map(|(p, s)| (p.to_owned(), vec![s.to_owned()])).collect();
        assert_eq!(between(Scope::Link(Link(7)), &before, &after), expected, "{name}");
    }
}

#[test]
fn adjacencies_are_compared_by_intervals_and_costs() {
    let area = IgpArea { protocol: IgpProtocol::OspfV2, instance: 0, area: 0 };
    let (a, b) = (NodeId::ospf(1), NodeId::ospf(2));
    let scope = Scope::Adjacency(Adjacency::between(area, a, b));
    let of = |dead_s: i64, costs: &[u32], overload| {
        let edges = vec![EdgeCosts { to: b, advertisement: (1, 1), costs: costs.to_vec() }];
        let dead = Span::from_millis(dead_s * 1_000);
        let intervals = vec![(Link(3), Span::from_millis(1_000), dead)];
        let router = RouterSettings { intervals, edges, overload, ..RouterSettings::default() };
        Settings { routers: vec![(area, a, router)], ..Settings::default() }
    };
    let before = of(40, &[10], false);
    for (after, pattern, step) in [
        (of(4, &[10], false), IGP_TIMER_TUNING, "Changed the OSPF dead interval from 40 s to 4 s"),
        (of(40, &[50], false), COST_CHANGE, "Changed the OSPF cost of a link from 10 to 50"),
        (of(40, &[10], true), COST_CHANGE, "Told the others to route around a router"),
    ] {
        let expected = [(pattern.to_owned(), vec![step.to_owned()])];
        assert_eq!(between(scope, &before, &after), expected);
    }
    assert!(between(scope, &before, &of(40, &[10, 20], false)).is_empty(), "a parallel edge came");
}

#[test]
fn a_prefix_limit_resolves_other_incidents_than_its_own() {
    let before = settings(90, None);
    let mut after = before.clone();
    after.sessions[0].1.prefix_limits.insert(ends().0);
    assert!(between(scope(), &before, &after).is_empty());
    let found = between(Scope::Link(Link(1)), &before, &after);
    assert_eq!(found[0].0, MAX_PREFIX);
}

#[test]
fn the_operators_word_is_checked() {
    let at = Interval::exactly(Timestamp(5));
    let change = declared("dampening", &["Enabled dampening ".to_owned()], at, None).unwrap();
    assert_eq!(change.resolution.steps, ["Enabled dampening"]);
    assert_eq!(change.resolution.known, Known::Declared);
    let many = vec!["a".to_owned(); STEPS_MAX + 1];
    let backwards = Interval { earliest: Timestamp(2), ..Interval::exactly(Timestamp(1)) };
    for (pattern, steps, at, error) in [
        ("Dampening", vec![], at, WordError::Pattern("Dampening".to_owned())),
        ("", vec![], at, WordError::Pattern(String::new())),
        ("4bfd", vec![], at, WordError::Pattern("4bfd".to_owned())),
        ("a", many, at, WordError::Steps(STEPS_MAX + 1)),
        ("a", vec!["b".to_owned(), " ".to_owned()], at, WordError::Step(2)),
        ("a", vec!["b\nc".to_owned()], at, WordError::Step(1)),
        ("a", vec!["x".repeat(STEP_BYTES_MAX + 1)], at, WordError::Step(1)),
        ("a", vec![], backwards, WordError::Time),
    ] {
        assert_eq!(declared(pattern, &steps, at, None), Err(error));
    }
}
