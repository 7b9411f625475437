//! What the wire and the kernel show to have been changed: settings before against settings after.
//!
//! **Invariant:** only what is known on both sides is compared: a setting that was not seen is no
//! change, except that BFD which both ends run now and neither ran before was switched on.

use super::{
    ADD_PATH, BFD_TUNING, CAPABILITY_CHANGE, COST_CHANGE, Change, ECMP_REBALANCE, GRACEFUL_RESTART,
    HOLD_TIMER_TUNING, IGP_TIMER_TUNING, MAX_PREFIX, MTU_CHANGE, QOS_SHAPING, Reach,
};
use crate::detect::{EdgeCosts, LinkSettings, RouterSettings, SessionSettings, Settings};
use edgelore_model::{
    IgpArea, IgpProtocol, Interval, Known, OpenCapabilities, Resolution, Scope, Span,
};
use std::collections::BTreeMap;

/// Sentences of one pattern at most: several sessions of a link say the same.
const STEPS_MAX: usize = 8;

/// Steps by pattern.
#[derive(Debug, Default)]
struct Steps(BTreeMap<&'static str, Vec<String>>);

impl Steps {
    fn add(&mut self, pattern: &'static str, step: String) {
        let steps = self.0.entry(pattern).or_default();
        if steps.len() < STEPS_MAX && !steps.contains(&step) {
            steps.push(step);
        }
    }
}

/// What changed on the wire and in the kernel for `scope` from `before` to `after`, at some time
/// within `at`; one change per pattern, in the order of the patterns' names.
#[must_use]
pub fn changes_between(
    scope: &Scope,
    before: &Settings,
    after: &Settings,
    at: Interval,
) -> Vec<Change> {
    let mut steps = Steps::default();
    for (key, is) in &after.sessions {
        if let Some((_, was)) = before.sessions.iter().find(|(known, _)| known == key) {
            session(was, is, &mut steps);
            // A session's own incidents are what its limit did, not what the limit resolved.
            if !matches!(scope, Scope::Session(_))
                && !is.prefix_limits.is_subset(&was.prefix_limits)
            {
                steps.add(
                    MAX_PREFIX,
                    "A limit on the number of prefixes ended a session".to_owned(),
                );
            }
        }
    }
    for (link, is) in &after.links {
        if let Some((_, was)) = before.links.iter().find(|(known, _)| known == link) {
            link_changes(was, is, &mut steps);
        }
    }
    for (area, router, is) in &after.routers {
        let known = |(of, known, _): &&(IgpArea, _, _)| of == area && known == router;
        if let Some((_, _, was)) = before.routers.iter().find(known) {
            router_changes(*area, was, is, &mut steps);
        }
    }
    steps.0.into_iter().map(|(pattern, steps)| change(*scope, at, pattern, steps)).collect()
}

fn change(scope: Scope, at: Interval, pattern: &str, steps: Vec<String>) -> Change {
    let inferred = [ECMP_REBALANCE, MAX_PREFIX].contains(&pattern);
    let known = if inferred { Known::Observed } else { Known::Measured };
    let seen = match pattern {
        ECMP_REBALANCE | QOS_SHAPING | MTU_CHANGE => "in the kernel",
        _ => "on the wire",
    };
    let evidence = format!("{seen}, {scope}: {}", steps.join("; "));
    let resolution = Resolution { pattern: pattern.to_owned(), steps, known };
    Change { at, on: Some(scope), reach: Reach::default(), resolution, evidence }
}

fn session(was: &SessionSettings, is: &SessionSettings, steps: &mut Steps) {
    bfd_tuning(was, is, steps);
    if let (Some(was_s), Some(is_s)) = (was.hold_time_s(), is.hold_time_s())
        && was_s != is_s
    {
        let step = format!("Changed the BGP hold time from {was_s} s to {is_s} s");
        steps.add(HOLD_TIMER_TUNING, step);
    }
    if let (Some(was_s), Some(is_s)) = (was.keepalive_time_s, is.keepalive_time_s)
        && was_s != is_s
    {
        let step = format!("Changed the LDP keepalive time from {was_s} s to {is_s} s");
        steps.add(HOLD_TIMER_TUNING, step);
    }
    for (end, is_s) in &is.hello_hold_time_s {
        if let Some(was_s) = was.hello_hold_time_s.get(end).filter(|was_s| *was_s != is_s) {
            let text = |s: u16| if s == 0 { "its default".to_owned() } else { format!("{s} s") };
            let (was, is) = (text(*was_s), text(*is_s));
            steps.add(
                IGP_TIMER_TUNING,
                format!("Changed the LDP hello hold time from {was} to {is}"),
            );
        }
    }
    for (end, is) in &is.capabilities {
        if let Some(was) = was.capabilities.get(end) {
            graceful_restart(was, is, steps);
            capabilities(was, is, steps);
        }
    }
    paths(was.paths, is.paths, steps);
}

fn bfd_tuning(was: &SessionSettings, is: &SessionSettings, steps: &mut Steps) {
    match (was.bfd_detection_us(), is.bfd_detection_us()) {
        (None, Some(_)) if was.bfd.is_empty() => {
            steps.add(BFD_TUNING, "Enabled BFD on the session's both ends".to_owned());
            steps.add(BFD_TUNING, format!("Set {}", bfd_text(is)));
        }
        (Some(_), None) => steps.add(BFD_TUNING, "Disabled BFD on the session".to_owned()),
        (Some(was_us), Some(is_us)) if was_us != is_us => {
            steps
                .add(BFD_TUNING, format!("Changed BFD from {} to {}", bfd_text(was), bfd_text(is)));
            let (was, is) = (time_text(was_us.0), time_text(is_us.0));
            steps.add(BFD_TUNING, format!("Detection time went from {was} to {is}"));
        }
        _ => {}
    }
}

/// The slower end's settings as an engineer would say them.
fn bfd_text(settings: &SessionSettings) -> String {
    let slowest = settings.bfd.values().max_by_key(|t| {
        (u64::from(t.desired_min_tx_us) * u64::from(t.detect_multiplier), t.required_min_rx_us)
    });
    slowest.map_or_else(String::new, |timers| {
        format!(
            "BFD transmit interval {}, receive interval {}, multiplier {}",
            time_text(u64::from(timers.desired_min_tx_us)),
            time_text(u64::from(timers.required_min_rx_us)),
            timers.detect_multiplier
        )
    })
}

fn time_text(us: u64) -> String {
    if us.is_multiple_of(1_000) { format!("{} ms", us / 1_000) } else { format!("{us} µs") }
}

fn graceful_restart(was: &OpenCapabilities, is: &OpenCapabilities, steps: &mut Steps) {
    // Without families it helps others to restart and does not keep its own routes.
    let time =
        |c: &OpenCapabilities| c.graceful_restart_s.filter(|_| c.graceful_restart_families > 0);
    match (time(was), time(is)) {
        (None, Some(s)) => {
            let step = format!("Enabled BGP graceful restart with a restart time of {s} s");
            steps.add(GRACEFUL_RESTART, step);
        }
        (Some(_), None) => {
            steps.add(GRACEFUL_RESTART, "Disabled BGP graceful restart".to_owned());
        }
        (Some(was), Some(is)) if was != is => {
            let step = format!("Changed the graceful restart time from {was} s to {is} s");
            steps.add(GRACEFUL_RESTART, step);
        }
        _ => {}
    }
    for (name, was, is) in [
        ("graceful restart for notifications", was.graceful_notification, is.graceful_notification),
        (
            "long-lived graceful restart",
            was.long_lived_graceful_restart,
            is.long_lived_graceful_restart,
        ),
    ] {
        if was != is {
            let verb = if is { "Enabled" } else { "Disabled" };
            steps.add(GRACEFUL_RESTART, format!("{verb} {name}"));
        }
    }
}

fn capabilities(was: &OpenCapabilities, is: &OpenCapabilities, steps: &mut Steps) {
    let add_path = |c: &OpenCapabilities| (c.add_path, c.add_path_send, c.add_path_receive);
    if add_path(was) != add_path(is) {
        let step = match (was.add_path, is.add_path) {
            (false, true) => "Enabled several paths for a prefix (add-path)",
            (true, false) => "Disabled several paths for a prefix (add-path)",
            _ => "Changed for how many families several paths are sent or taken (add-path)",
        };
        steps.add(ADD_PATH, step.to_owned());
    }
    if was.families != is.families {
        let step = format!(
            "Changed the number of address families of a session from {} to {}",
            was.families, is.families
        );
        steps.add(CAPABILITY_CHANGE, step);
    }
    for (name, was, is) in [
        ("four-octet AS numbers", was.four_octet_as, is.four_octet_as),
        ("extended messages", was.extended_messages, is.extended_messages),
        ("extended next hops", was.extended_next_hop, is.extended_next_hop),
        ("route refresh", was.route_refresh, is.route_refresh),
        ("enhanced route refresh", was.enhanced_route_refresh, is.enhanced_route_refresh),
        ("BGP roles", was.role.is_some(), is.role.is_some()),
    ] {
        if was != is {
            let verb = if is { "Enabled" } else { "Disabled" };
            steps.add(CAPABILITY_CHANGE, format!("{verb} {name}"));
        }
    }
}

/// The width only grows, see [`crate::detect::SessionSettings::paths`].
fn paths(was: u16, is: u16, steps: &mut Steps) {
    if was < is {
        let from = if was == 0 { 1 } else { was };
        let step = format!("Spread routes over up to {is} next hops instead of {from}");
        steps.add(ECMP_REBALANCE, step);
    }
}

fn link_changes(was: &LinkSettings, is: &LinkSettings, steps: &mut Steps) {
    if was.mtu != is.mtu && was.mtu != 0 && is.mtu != 0 {
        let step = format!("Changed a link's MTU from {} to {} octets", was.mtu, is.mtu);
        steps.add(MTU_CHANGE, step);
    }
    if !was.queues.is_empty() && !is.queues.is_empty() && was.queues != is.queues {
        queue_changes(was, is, steps);
    }
    paths(was.paths, is.paths, steps);
}

fn queue_changes(was: &LinkSettings, is: &LinkSettings, steps: &mut Steps) {
    let root = |link: &LinkSettings| link.queues.iter().find(|queue| queue.root).cloned();
    match (root(was), root(is)) {
        (Some(was), Some(is)) if was.qdisc != is.qdisc => {
            let (was, is) = (kind_text(&was.qdisc), kind_text(&is.qdisc));
            steps.add(QOS_SHAPING, format!("Replaced a link's queue of kind {was} by one of {is}"));
        }
        (Some(was), Some(is)) if was.limit != is.limit => {
            let (kind, was, is) = (kind_text(&is.qdisc), was.limit, is.limit);
            steps.add(
                QOS_SHAPING,
                format!("Changed the limit of a {kind} queue from {was} to {is}"),
            );
        }
        _ => steps.add(QOS_SHAPING, "Changed the queues of a link's classes".to_owned()),
    }
}

/// A queue's kind; a kernel module may be called anything, so only short plain words are told.
fn kind_text(kind: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit();
    if kind.len() <= 16 && !kind.is_empty() && kind.bytes().all(plain) { kind } else { "another" }
}

fn router_changes(area: IgpArea, was: &RouterSettings, is: &RouterSettings, steps: &mut Steps) {
    let protocol = match area.protocol {
        IgpProtocol::OspfV2 => "OSPF",
        IgpProtocol::OspfV3 => "OSPFv3",
        IgpProtocol::IsisLevel1 | IgpProtocol::IsisLevel2 => "IS-IS",
    };
    for (link, hello, dead) in &is.intervals {
        let Some((_, was_hello, was_dead)) = was.intervals.iter().find(|(of, ..)| of == link)
        else {
            continue;
        };
        interval(&format!("{protocol} hello interval"), *was_hello, *hello, steps);
        interval(&format!("{protocol} dead interval"), *was_dead, *dead, steps);
    }
    for edge in &is.edges {
        let same =
            |known: &&EdgeCosts| known.to == edge.to && known.advertisement == edge.advertisement;
        if let Some(known) = was.edges.iter().find(same) {
            costs(protocol, &known.costs, &edge.costs, steps);
        }
    }
    let prefixes: BTreeMap<_, _> = was.prefixes.iter().copied().collect();
    for (prefix, cost) in &is.prefixes {
        if let Some(known) = prefixes.get(prefix).filter(|known| *known != cost) {
            let step = format!("Changed the {protocol} cost of a prefix from {known} to {cost}");
            steps.add(COST_CHANGE, step);
        }
    }
    if was.overload != is.overload {
        let step = if is.overload {
            "Told the others to route around a router"
        } else {
            "Let the others route through a router again"
        };
        steps.add(COST_CHANGE, step.to_owned());
    }
}

fn interval(name: &str, was: Span, is: Span, steps: &mut Steps) {
    if was != is && was.0 > 0 && is.0 > 0 {
        let (was, is) = (span_text(was), span_text(is));
        steps.add(IGP_TIMER_TUNING, format!("Changed the {name} from {was} to {is}"));
    }
}

fn span_text(span: Span) -> String {
    let ms = span.millis();
    if ms % 1_000 == 0 { format!("{} s", ms / 1_000) } else { format!("{ms} ms") }
}

/// Of parallel edges, only as many as before can be told from each other.
fn costs(protocol: &str, was: &[u32], is: &[u32], steps: &mut Steps) {
    if was.len() != is.len() {
        return;
    }
    for (was, is) in was.iter().zip(is).filter(|(was, is)| was != is) {
        steps.add(COST_CHANGE, format!("Changed the {protocol} cost of a link from {was} to {is}"));
    }
}
