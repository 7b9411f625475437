//! Eras of a class: what counts, what begins a new one, what an outcome says.

use super::*;
use crate::detect::{BfdTimers, SessionSettings, Settings};
use crate::resolve::Reach;
use edgelore_model::{Known, Resolution, SessionKey};
use proptest::prelude::*;

fn session() -> SessionKey {
    SessionKey::between("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap())
}

fn settings(bfd: bool) -> Settings {
    let mut settings = SessionSettings::default();
    let (a, b) = session().addresses();
    for end in [a, b] {
        settings.hold_time_s.insert(end, 9);
        if bfd {
            let timers = BfdTimers {
                detect_multiplier: 3,
                desired_min_tx_us: 300_000,
                required_min_rx_us: 300_000,
            };
            settings.bfd.insert(end, timers);
        }
    }
    Settings { sessions: vec![(session(), settings)], ..Settings::default() }
}

fn finding(id: u64, at_s: i64, severity: u64, settings: Settings) -> Finding {
    let at = Timestamp::from_secs_nanos(at_s, 0);
    Finding {
        incident: Incident {
            id: IncidentId(id),
            event: EventType::Convergence,
            protocol: Protocol::Bgp,
            scope: Scope::Session(session()),
            chain: Vec::new(),
            start: Interval::exactly(at),
            end: Some(Interval::exactly(at + Span::from_millis(severity as i64))),
            prefixes: vec!["198.51.100.0/24".parse().unwrap()],
            severity,
            gaps: false,
            maintenance: false,
            measured: edgelore_model::Measured::default(),
            progress: Vec::new(),
            ruled_out: Vec::new(),
        },
        settings,
    }
}

fn distiller() -> Distiller {
    Distiller::new(Site { topology_class: "spine_leaf".into(), node_count: 96 }, [7; 8])
}

/// A flap of a minute at this many seconds.
fn flap(id: u64, at_s: i64) -> Finding {
    let mut finding = finding(id, at_s, 360, settings(false));
    finding.incident.event = EventType::Flap;
    finding.incident.end = Some(Interval::exactly(second(at_s + 60)));
    finding
}

const fn second(at_s: i64) -> Timestamp {
    Timestamp::from_secs_nanos(at_s, 0)
}

fn told(at_s: i64, pattern: &str) -> Change {
    Change {
        at: Interval::exactly(second(at_s)),
        on: None,
        reach: Reach::default(),
        resolution: Resolution {
            pattern: pattern.into(),
            steps: vec![format!("Did {pattern}")],
            known: Known::Declared,
        },
        evidence: "the operator's word".into(),
    }
}

/// Lets time pass in steps that count as watched.
fn watch(distiller: &mut Distiller, from_s: i64, to_s: i64) -> Vec<Distilled> {
    (from_s..=to_s).step_by(600).flat_map(|at| distiller.advance(second(at))).collect()
}

#[test]
fn a_change_between_two_incidents_is_an_outcome() {
    let mut distiller = distiller();
    assert!(distiller.closed(&finding(1, 100, 8_000, settings(false))).is_empty());
    let found = distiller.closed(&finding(2, 200, 800, settings(true)));
    assert_eq!(found.len(), 1);
    let outcome = &found[0].outcome;
    assert_eq!(outcome.resolution.pattern, "bfd_tuning");
    assert_eq!(outcome.resolution.known, Known::Measured);
    assert_eq!((outcome.before, outcome.after), (Some(8_000), Some(800)));
    assert_eq!(outcome.convergence_delta_ms, 7_200);
    assert_eq!(outcome.situation.severity, 8_000);
    assert_eq!(found[0].incidents, [IncidentId(1), IncidentId(2)]);
}

#[test]
fn without_a_change_there_is_no_outcome() {
    let mut distiller = distiller();
    for id in 1..5 {
        assert!(distiller.closed(&finding(id, id as i64 * 100, 8_000, settings(false))).is_empty());
    }
}

#[test]
fn further_incidents_refine_the_same_change() {
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    let first = distiller.closed(&finding(2, 200, 800, settings(true)));
    let second = distiller.closed(&finding(3, 300, 700, settings(true)));
    assert_eq!(first[0].change, second[0].change);
    assert_eq!(second[0].outcome.sample_size, 2);
    assert_eq!(second[0].outcome.after, Some(700), "the lower median of two");
}

#[test]
fn a_declared_resolution_counts_for_the_next_incident_only() {
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    distiller.changed(&told(150, "dampening"));
    let found = distiller.closed(&finding(2, 200, 9_000, settings(false)));
    assert_eq!(found[0].outcome.resolution.pattern, "dampening");
    assert_eq!(
        found[0].outcome.convergence_delta_ms, -1_000,
        "it got worse, and the outcome says so"
    );
    let further = distiller.closed(&finding(3, 300, 9_000, settings(false)));
    assert_eq!(further[0].change, found[0].change);
    assert_eq!(further[0].outcome.sample_size, 2);
}

#[test]
fn several_changes_share_the_credit() {
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    distiller.changed(&told(150, "ecmp_rebalance"));
    let found = distiller.closed(&finding(2, 200, 800, settings(true)));
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[0].outcome.resolution.steps.last().unwrap(),
        "Changed together with: ecmp_rebalance"
    );
    assert_eq!(found[0].outcome.resolution.known, Known::Observed, "no effect is its own alone");
}

#[test]
fn one_change_known_twice_is_one_resolution_with_the_better_word() {
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    distiller.changed(&told(150, "bfd_tuning"));
    let found = distiller.closed(&finding(2, 200, 800, settings(true)));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].outcome.resolution.known, Known::Measured);
    assert_eq!(found[0].evidence.len(), 2);
}

#[test]
fn incidents_with_gaps_without_an_end_or_in_maintenance_do_not_count() {
    let mut distiller = distiller();
    let mut gappy = finding(1, 100, 8_000, settings(false));
    gappy.incident.gaps = true;
    distiller.closed(&gappy);
    let mut endless = finding(2, 150, 8_000, settings(false));
    endless.incident.end = None;
    distiller.closed(&endless);
    let mut planned = finding(4, 160, 8_000, settings(false));
    planned.incident.maintenance = true;
    distiller.closed(&planned);
    assert!(distiller.closed(&finding(3, 200, 800, settings(true))).is_empty());
}

#[test]
fn a_difference_within_the_spread_is_a_failure() {
    let mut distiller = distiller();
    for (id, severity) in [(1, 7_000), (2, 8_000), (3, 9_000)] {
        distiller.closed(&finding(id, id as i64 * 100, severity, settings(false)));
    }
    distiller.changed(&told(350, "dampening"));
    let found = distiller.closed(&finding(4, 400, 7_200, settings(false)));
    let outcome = &found[0].outcome;
    assert_eq!((outcome.before, outcome.after), (Some(8_000), Some(8_000)));
    assert_eq!(Verdict::from(outcome), Verdict::Failed);
    let Compared { before, after, spread } = found[0].compared;
    assert_eq!((before.median, after.median, spread), (8_000, 7_200, 1_483));
    assert_eq!((before.lower_quartile, before.upper_quartile), (7_000, 9_000));
}

#[test]
fn what_gets_worse_by_more_than_the_spread_is_worse() {
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 800, settings(true)));
    let found = distiller.closed(&finding(2, 200, 8_000, settings(false)));
    assert_eq!(Verdict::from(&found[0].outcome), Verdict::Worse);
    assert_eq!(found[0].outcome.convergence_delta_ms, -7_200);
}

#[test]
fn the_doubt_of_a_measurement_is_part_of_the_spread() {
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    let mut vague = finding(2, 200, 7_000, settings(true));
    let start = &mut vague.incident.start;
    (start.earliest, start.latest) = (second(198), second(202));
    let found = distiller.closed(&vague);
    assert_eq!(found[0].compared.spread, 2_000);
    assert_eq!(Verdict::from(&found[0].outcome), Verdict::Failed);
}

#[test]
fn an_outcome_waits_for_its_probation() {
    let config = DistilConfig { probation_incidents: 3, ..DistilConfig::default() };
    let mut distiller = distiller().with(config);
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    assert!(distiller.closed(&finding(2, 200, 800, settings(true))).is_empty());
    assert!(distiller.closed(&finding(3, 300, 800, settings(true))).is_empty());
    let found = distiller.closed(&finding(4, 400, 800, settings(true)));
    assert_eq!(found[0].outcome.sample_size, 3);
}

#[test]
fn many_incidents_of_an_era_speak_at_each_doubling() {
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    let spoke: Vec<u32> = (2..40)
        .flat_map(|id| distiller.closed(&finding(id, id as i64 * 100, 800, settings(true))))
        .map(|distilled| distilled.outcome.sample_size)
        .collect();
    assert_eq!(spoke, [1, 2, 3, 4, 8, 16, 32]);
}

#[test]
fn what_comes_back_at_the_old_severity_replaces_the_outcome() {
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    let mut last = Vec::new();
    for id in 2..=5 {
        last = distiller.closed(&finding(id, id as i64 * 100, 800, settings(true)));
    }
    assert_eq!(Verdict::from(&last[0].outcome), Verdict::Helped);
    assert!(distiller.closed(&finding(6, 600, 8_100, settings(true))).is_empty(), "one is chance");
    let found = distiller.closed(&finding(7, 700, 7_900, settings(true)));
    assert!(found[0].regression);
    assert_eq!(found[0].change, last[0].change);
    assert_eq!(Verdict::from(&found[0].outcome), Verdict::Failed);
    assert_eq!(found[0].outcome.sample_size, 2, "the good ones were another state");
}

#[test]
fn settings_that_went_back_before_any_incident_changed_nothing() {
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    let scope = Scope::Session(session());
    distiller.settled(&Settled { at: second(120), scope, settings: settings(true) });
    distiller.settled(&Settled { at: second(140), scope, settings: settings(false) });
    assert!(distiller.closed(&finding(2, 200, 8_000, settings(false))).is_empty());
    let found = distiller.closed(&finding(3, 300, 800, settings(true)));
    assert_eq!(found[0].compared.before.count, 2);
}

#[test]
fn settings_that_went_back_after_an_incident_are_a_change() {
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    distiller.closed(&finding(2, 200, 800, settings(true)));
    let back = distiller.closed(&finding(3, 300, 8_000, settings(false)));
    assert_eq!(back[0].outcome.resolution.steps, ["Disabled BFD on the session"]);
    assert_eq!(Verdict::from(&back[0].outcome), Verdict::Worse);
}

#[test]
fn settled_settings_date_the_change() {
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    let scope = Scope::Session(session());
    distiller.settled(&Settled { at: second(150), scope, settings: settings(true) });
    // It began before the change, and was long: it closes after the change was told.
    assert!(distiller.closed(&finding(2, 140, 8_200, settings(false))).is_empty());
    let found = distiller.closed(&finding(3, 200, 800, settings(true)));
    assert_eq!(found[0].changed_before, second(150));
    assert_eq!(found[0].incidents, [1, 2, 3].map(IncidentId));
}

#[test]
fn what_has_not_come_back_is_an_outcome_after_its_probation() {
    let mut distiller = distiller();
    distiller.advance(second(0));
    for id in 1..=4 {
        distiller.closed(&flap(id, id as i64 * 1_000));
    }
    watch(&mut distiller, 4_100, 4_500);
    distiller.changed(&told(4_500, "dampening"));
    // Spaced by 1,000 s, five would have come within 5,000 s.
    assert!(watch(&mut distiller, 4_600, 9_099).is_empty());
    assert!(distiller.advance(second(9_099)).is_empty());
    let found = distiller.advance(second(9_700));
    assert_eq!(found.len(), 1);
    let outcome = &found[0].outcome;
    assert_eq!((outcome.before, outcome.after, outcome.sample_size), (Some(360), Some(0), 5));
    assert_eq!(outcome.created, second(4_100 + 5_000), "not when somebody asked");
    assert_eq!(found[0].silent_ms, Some(5_000_000));
    let more = watch(&mut distiller, 9_800, 60_000);
    let missed: Vec<u32> = more.iter().map(|one| one.outcome.sample_size).collect();
    assert_eq!(missed, [10, 20], "more silence founds it better, up to a point");
    let back = distiller.closed(&flap(9, 61_000));
    assert!(back[0].regression);
    assert_eq!(back[0].change, found[0].change);
    assert_eq!(Verdict::from(&back[0].outcome), Verdict::Failed);
}

/// Four flaps, a change, and then whatever `then` does; gives what silence proves after it.
fn after_flaps(then: impl FnOnce(&mut Distiller)) -> Vec<Distilled> {
    let mut distiller = distiller();
    distiller.advance(second(0));
    for id in 1..=4 {
        distiller.closed(&flap(id, id as i64 * 1_000));
    }
    distiller.changed(&told(4_500, "dampening"));
    then(&mut distiller);
    watch(&mut distiller, 4_600, 20_000)
}

#[test]
fn silence_proves_nothing_when_it_was_not_one() {
    assert!(!after_flaps(|_| ()).is_empty());
    let opened = Opened {
        event: EventType::Flap,
        protocol: Protocol::Bgp,
        scope: Scope::Session(session()),
        at: second(4_600),
    };
    let under_way = after_flaps(|distiller| assert!(distiller.opened(&opened)));
    assert!(under_way.is_empty(), "one is under way");
    let gappy = after_flaps(|distiller| {
        let mut flap = flap(5, 4_550);
        flap.incident.gaps = true;
        distiller.closed(&flap);
    });
    assert!(gappy.is_empty(), "one came back and could not be measured");
    let measured_otherwise = after_flaps(|distiller| distiller.set_method([8; 8]));
    assert!(measured_otherwise.is_empty(), "another detector may not see it");
}

#[test]
fn time_that_was_not_watched_is_no_silence() {
    let mut unwatched = distiller();
    unwatched.advance(second(0));
    for id in 1..=4 {
        unwatched.closed(&flap(id, id as i64 * 1_000));
    }
    unwatched.changed(&told(4_500, "dampening"));
    assert!(unwatched.advance(second(400_000)).is_empty(), "a hole");
    unwatched.started(second(500_000));
    assert!(unwatched.advance(second(500_600)).is_empty());
    assert_eq!(watch(&mut unwatched, 501_000, 506_000).len(), 1);
}

#[test]
fn what_had_ceased_before_the_change_is_not_to_its_credit() {
    let mut distiller = distiller();
    distiller.advance(second(0));
    for id in 1..=4 {
        distiller.closed(&flap(id, id as i64 * 1_000));
    }
    watch(&mut distiller, 4_100, 10_000);
    distiller.changed(&told(10_000, "dampening"));
    assert!(watch(&mut distiller, 10_100, 90_000).is_empty());
}

#[test]
fn convergences_must_recur() {
    let mut distiller = distiller();
    distiller.advance(second(0));
    for id in 1..=4 {
        distiller.closed(&finding(id, id as i64 * 1_000, 8_000, settings(false)));
    }
    distiller.changed(&told(4_500, "link_repair"));
    assert!(watch(&mut distiller, 4_600, 90_000).is_empty());
}

#[test]
fn incidents_measured_by_different_methods_are_not_compared() {
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    distiller.set_method([8; 8]);
    assert!(distiller.closed(&finding(2, 200, 800, settings(true))).is_empty());
    let found = distiller.closed(&finding(3, 300, 8_000, settings(false)));
    assert_eq!(found[0].outcome.method, [8; 8]);
    assert_eq!(found[0].incidents, [2, 3].map(IncidentId));
}

#[test]
fn a_change_elsewhere_does_not_concern_a_class() {
    let other = SessionKey::between("192.0.2.1".parse().unwrap(), "192.0.2.9".parse().unwrap());
    let mut distiller = distiller();
    distiller.closed(&finding(1, 100, 8_000, settings(false)));
    distiller.changed(&Change { on: Some(Scope::Session(other)), ..told(150, "max_prefix") });
    assert!(distiller.closed(&finding(2, 200, 800, settings(false))).is_empty());
    let here = Some(Scope::Session(session()));
    distiller.changed(&Change { on: here, ..told(250, "max_prefix") });
    assert_eq!(distiller.closed(&finding(3, 300, 100, settings(false))).len(), 1);
}

#[test]
fn a_change_that_cannot_act_on_a_class_is_not_tried_by_it() {
    let bgp_flaps = Reach::new(vec![EventType::Flap], vec![Protocol::Bgp]);
    for (reach, outcomes) in [(bgp_flaps, 0), (Reach::default(), 1)] {
        let mut distiller = distiller();
        distiller.closed(&finding(1, 100, 8_000, settings(false)));
        distiller.changed(&Change { reach, ..told(150, "dampening") });
        let found = distiller.closed(&finding(2, 200, 800, settings(false)));
        assert_eq!(found.len(), outcomes, "a convergence");
    }
}

#[test]
fn an_incident_that_joins_another_is_not_waited_for() {
    let opened = Opened {
        event: EventType::Flap,
        protocol: Protocol::Bgp,
        scope: Scope::Session(session()),
        at: second(4_600),
    };
    let into = Scope::Link(edgelore_model::Link(7));
    let Opened { event, scope, at, .. } = opened;
    for (joins, given) in [(false, false), (true, true)] {
        let found = after_flaps(|distiller| {
            assert!(distiller.opened(&opened));
            if joins {
                assert!(distiller.joined(&Joined { event, scope, into, at }));
            }
        });
        assert_eq!(!found.is_empty(), given, "joins: {joins}");
    }
}

#[test]
fn classes_are_bounded_and_the_one_heard_of_least_recently_goes() {
    let mut distiller = distiller();
    let class = |number: u64| {
        let mut finding = finding(number, number as i64, 8_000, settings(false));
        finding.incident.scope = Scope::Link(edgelore_model::Link(number as u32));
        finding
    };
    for number in 0..CLASSES_MAX as u64 {
        distiller.closed(&class(number));
    }
    distiller.closed(&Finding {
        incident: Incident { id: IncidentId(1 << 40), ..class(0).incident },
        ..class(0)
    });
    distiller.closed(&class(CLASSES_MAX as u64));
    assert_eq!((distiller.classes.len(), distiller.overflows()), (CLASSES_MAX, 1));
    let key = |number: u32| {
        (EventType::Convergence, Protocol::Bgp, Scope::Link(edgelore_model::Link(number)))
    };
    assert!(distiller.classes.contains_key(&key(0)) && !distiller.classes.contains_key(&key(1)));
}

/// Incidents and changes with times of their own, in seconds.
#[derive(Clone, Debug)]
enum Event {
    Incident { at: i64, severity: u64 },
    Change { at: i64, pattern: u8 },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0i64..100, 0u64..50).prop_map(|(at, severity)| Event::Incident {
            at: at * 20 + 1,
            severity: severity * 200
        }),
        (0i64..100, 0u8..3).prop_map(|(at, pattern)| Event::Change { at: at * 20 + 11, pattern }),
    ]
}

fn feed(events: &[Event]) -> (Distiller, Vec<Distilled>) {
    // A relapse makes an era forget, and when it is judged depends on what is known by then.
    let config = DistilConfig { regression_incidents: 1_000, ..DistilConfig::default() };
    let mut distiller = distiller().with(config);
    let mut all = Vec::new();
    for event in events {
        match event {
            Event::Incident { at, severity } => {
                all.extend(distiller.closed(&finding(*at as u64, *at, *severity, settings(false))));
            }
            Event::Change { at, pattern } => {
                distiller.changed(&told(
                    *at,
                    ["dampening", "max_prefix", "cost_change"][*pattern as usize],
                ));
            }
        }
    }
    (distiller, all)
}

/// What the class compares in the end.
fn compared(distiller: &Distiller) -> Option<(Vec<IncidentId>, Vec<IncidentId>, Vec<String>)> {
    let class = distiller.classes.values().next()?;
    let trial = class.trial.as_ref()?;
    let patterns = trial.resolutions().into_iter().map(|(resolution, _)| resolution.pattern);
    Some((trial.before.ids().collect(), class.era.ids().collect(), patterns.collect()))
}

proptest! {
    #[test]
    fn when_changes_are_told_does_not_matter(
        events in proptest::collection::vec(event(), 1..30),
        turns in proptest::collection::vec(0usize..30, 8),
    ) {
        let mut incidents: Vec<Event> = Vec::new();
        let mut changes: Vec<Event> = Vec::new();
        for one in events {
            match one {
                Event::Incident { .. } => incidents.push(one),
                Event::Change { .. } => changes.push(one),
            }
        }
        incidents.sort_by_key(|one| if let Event::Incident { at, .. } = one { *at } else { 0 });
        changes.truncate(8);
        // In time order: each change told before the first incident after it is closed.
        let mut ordered = [incidents.clone(), changes.clone()].concat();
        ordered.sort_by_key(|one| match one {
            Event::Incident { at, .. } | Event::Change { at, .. } => *at,
        });
        let mut told_late = incidents;
        for (change, turn) in changes.into_iter().zip(turns) {
            let place = turn % (told_late.len() + 1);
            told_late.insert(place, change);
        }
        prop_assert_eq!(compared(&feed(&ordered).0), compared(&feed(&told_late).0));
    }

    #[test]
    fn outcomes_say_what_was_compared(events in proptest::collection::vec(event(), 1..60)) {
        for distilled in feed(&events).1 {
            let Compared { before, after, spread } = distilled.compared;
            let outcome = &distilled.outcome;
            prop_assert_eq!(outcome.before, Some(before.median));
            let apart = before.median.abs_diff(after.median) > spread;
            prop_assert_eq!(outcome.after, Some(if apart { after.median } else { before.median }));
            let delta = before.median as i64 - outcome.after.unwrap() as i64;
            prop_assert_eq!(outcome.convergence_delta_ms, delta);
            prop_assert!(outcome.sample_size >= 1 && before.count >= 1);
            prop_assert!(before.lower_quartile <= before.median);
            prop_assert!(before.median <= before.upper_quartile);
        }
    }

    #[test]
    fn how_often_somebody_asks_does_not_matter(steps in proptest::collection::vec(1i64..3_000, 30)) {
        let asked = |steps: &[i64]| {
            let mut at = 4_600;
            after_flaps(|distiller| {
                let mut found = Vec::new();
                for step in steps {
                    at += step;
                    found.extend(distiller.advance(second(at)));
                }
                for step in (at..40_000).step_by(600) {
                    found.extend(distiller.advance(second(step)));
                }
                let sizes: Vec<(u32, Timestamp)> =
                    found.iter().map(|one| (one.outcome.sample_size, one.outcome.created)).collect();
                let due = |seconds: i64| second(4_060 + seconds);
                assert_eq!(sizes, [(5, due(5_000)), (10, due(10_000)), (20, due(20_000))]);
            })
        };
        prop_assert!(asked(&steps).is_empty());
    }
}
