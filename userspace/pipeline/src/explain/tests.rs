//! The account of a known incident word for word, and that nothing hostile gets through.
//!
//! The golden files are rewritten by `EDGELORE_BLESS=1 cargo test -p edgelore-pipeline explain`.

use super::*;
use crate::detect::{BfdTimers, SessionSettings};
use crate::distil::{ChangeId, Compared, Figures};
use edgelore_model::{
    EventType, IncidentId, Known, Link, Measured, Outcome, Progress, Protocol, Resolution,
    RuledOut, Scope, SessionKey, Situation, Trigger, TriggerKind,
};
use proptest::prelude::*;
use std::path::Path;

fn session() -> SessionKey {
    SessionKey::between("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap())
}

/// A time this many ms after an afternoon's failure.
fn ms(ms: i64) -> Timestamp {
    Timestamp::from_secs_nanos(1_795_000_000, 123_000_000) + Span::from_millis(ms)
}

fn within(earliest: i64, estimate: i64, latest: i64) -> Interval {
    Interval { earliest: ms(earliest), estimate: ms(estimate), latest: ms(latest) }
}

fn settings() -> Settings {
    let timers =
        BfdTimers { detect_multiplier: 3, desired_min_tx_us: 300_000, required_min_rx_us: 300_000 };
    let (low, high) = session().addresses();
    let mut settings = SessionSettings::default();
    for end in [low, high] {
        settings.hold_time_s.insert(end, 9);
        settings.bfd.insert(end, timers);
    }
    let mut all = Settings::default();
    all.sessions.push((session(), settings));
    all
}

fn convergence() -> Incident {
    let on = Scope::Session(session());
    Incident {
        id: IncidentId(0x53c1_a0f2_9e7b_1d44),
        event: EventType::Convergence,
        protocol: Protocol::Bgp,
        scope: on,
        chain: vec![
            Trigger { at: ms(912), kind: TriggerKind::BfdDown, on },
            Trigger { at: ms(940), kind: TriggerKind::Notification(6, 10), on },
            Trigger { at: ms(1_870), kind: TriggerKind::LinkDown, on: Scope::Link(Link(7)) },
        ],
        start: within(-38, 0, 24),
        end: Some(within(2_590, 2_600, 2_612)),
        prefixes: (0..8).map(|i| format!("198.51.{i}.0/24").parse().unwrap()).collect(),
        severity: 2_600,
        gaps: false,
        maintenance: false,
        measured: Measured {
            explored: Some(1_204),
            blackholed: Some(8_200),
            blackholed_ms_median: Some(1_310),
            blackholed_ms_max: Some(2_588),
            fib_ms: Some(1_655),
            ..Measured::default()
        },
        progress: [
            (945, 12),
            (1_100, 900),
            (1_400, 2_100),
            (1_800, 4_800),
            (2_200, 7_700),
            (2_600, 8_200),
        ]
        .map(|(at, value)| Progress { at: ms(at), value })
        .to_vec(),
        ruled_out: vec![RuledOut::Congestion, RuledOut::AdministrativeShutdown],
    }
}

fn told(pattern: &str, step: &str, evidence: &str) -> Told {
    let outcome = Outcome {
        situation: Situation {
            topology_class: "dual_homed".into(),
            protocol: "bgp".into(),
            event_type: "convergence".into(),
            severity: 8_410,
            affected_prefixes: 8_200,
            node_count: 3,
        },
        resolution: Resolution {
            pattern: pattern.into(),
            steps: vec![step.into()],
            known: Known::Measured,
        },
        before: Some(8_410),
        after: Some(2_600),
        convergence_delta_ms: 5_810,
        sample_size: 1,
        created: ms(8_000),
        expires: ms(9_000),
        method: [1; 8],
        parents: Vec::new(),
        supersedes: None,
        revokes: None,
    };
    let figures = |count, median| Figures {
        count,
        lower_quartile: median - 100,
        median,
        upper_quartile: median + 100,
    };
    Told {
        packet_id: Some("ab".repeat(32)),
        distilled: Distilled {
            outcome,
            incidents: vec![IncidentId(1), IncidentId(2), IncidentId(3)],
            change: ChangeId { incident: IncidentId(2), pattern: pattern.into() },
            changed_before: ms(-1_000),
            compared: Compared { before: figures(2, 8_410), after: figures(1, 2_600), spread: 420 },
            silent_ms: None,
            regression: false,
            evidence: vec![evidence.into()],
        },
    }
}

fn account() -> Account {
    let outcome = told("bfd_tuning", "Enabled BFD on the session's both ends", "on the wire: BFD");
    let mut account = Account::new(&convergence(), &settings(), vec![outcome], 3);
    account.prefixes = 8_200;
    account
}

fn degenerate() -> Account {
    let mut incident = convergence();
    incident.event = EventType::Saturation;
    incident.scope = Scope::Queue(Link(3), 0x8001_0000);
    incident.protocol = Protocol::Link;
    incident.chain.clear();
    incident.progress.clear();
    incident.prefixes.clear();
    incident.ruled_out.clear();
    incident.measured = Measured { drops: Some(36_000), ..Measured::default() };
    incident.start = within(0, 0, 0);
    incident.end = None;
    incident.gaps = true;
    incident.maintenance = true;
    Account::new(&incident, &Settings::default(), Vec::new(), 10)
}

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/explain/golden").join(name);
    if std::env::var_os("EDGELORE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file");
    assert_eq!(text, expected, "{name}");
}

#[test]
fn a_convergence_is_told_word_for_word() {
    golden("convergence.txt", &text(&account(), TextOptions::default()));
    golden("convergence-ascii.txt", &text(&account(), TextOptions { width: 60, ascii: true }));
    golden("convergence.svg", &svg(&account()));
}

#[test]
fn what_was_not_seen_is_told_as_not_seen() {
    golden("endless.txt", &text(&degenerate(), TextOptions::default()));
    let image = svg(&degenerate());
    roxmltree::Document::parse(&image).unwrap();
    assert!(image.contains("cannot be seen from here") && image.contains("not recorded"));
}

#[test]
fn an_account_survives_the_way_through_json() {
    let text = serde_json::to_string(&account()).unwrap();
    assert_eq!(serde_json::from_str::<Account>(&text).unwrap(), account());
}

#[test]
fn hostile_words_stay_words() {
    let hostile = "</text><script>alert(1)</script>\u{1b}[2J\u{0}&amp;\"'\u{ffff}]]>\r\n";
    let mut account = account();
    account.outcomes = vec![told(hostile, hostile, hostile)];
    account.outcomes[0].packet_id = Some(hostile.into());
    let image = svg(&account);
    let document = roxmltree::Document::parse(&image).expect("well-formed XML");
    assert!(document.descendants().all(|node| !node.has_tag_name("script")));
    assert!(!image.contains("href"), "nothing outside is referred to");
    let text = text(&account, TextOptions::default());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

fn times() -> impl Strategy<Value = Timestamp> {
    prop_oneof![any::<i64>(), -5_000i64..5_000, Just(i64::MAX), Just(i64::MIN)].prop_map(Timestamp)
}

fn interval() -> impl Strategy<Value = Interval> {
    (times(), times(), times()).prop_map(|(a, b, c)| {
        let mut all = [a, b, c];
        all.sort_unstable();
        Interval { earliest: all[0], estimate: all[1], latest: all[2] }
    })
}

proptest! {
    #[test]
    fn whatever_an_incident_contains_it_can_be_told(
        start in interval(),
        end in proptest::option::of(interval()),
        triggers in proptest::collection::vec((times(), any::<u8>(), any::<u8>()), 0..40),
        progress in proptest::collection::vec((times(), any::<u64>()), 0..64),
        width in any::<u16>(),
        ascii in any::<bool>(),
    ) {
        let mut incident = convergence();
        (incident.start, incident.end) = (start, end);
        incident.chain = triggers
            .into_iter()
            .map(|(at, code, subcode)| Trigger {
                at,
                kind: TriggerKind::Notification(code, subcode),
                on: Scope::Link(Link(code.into())),
            })
            .collect();
        incident.progress =
            progress.into_iter().map(|(at, value)| Progress { at, value }).collect();
        let account = Account::new(&incident, &settings(), Vec::new(), 2);
        let told = text(&account, TextOptions { width, ascii });
        prop_assert!(!ascii || told.is_ascii());
        let timeline = told.lines().skip_while(|line| !line.starts_with("Timeline"));
        let columns = usize::from(width.clamp(40, 400)).max(42);
        for line in timeline.skip(1).take_while(|line| !line.is_empty()) {
            prop_assert!(line.chars().count() <= columns + 12, "{}", line);
        }
        let image = svg(&account);
        prop_assert!(roxmltree::Document::parse(&image).is_ok());
    }
}
