//! The judgement: standings, lineage, withdrawals, time.

use super::book::Entry;
use super::*;
use edgelore_model::{Known, Outcome, Resolution, Situation};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::statement::{self, Statement};
use edgelore_pipeline::packet::{SigningKey, seal};

const START: Timestamp = Timestamp::from_secs_nanos(1_800_000_000, 0);

pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&mut [number; 32])
}

pub(crate) fn outcome() -> Outcome {
    Outcome {
        situation: Situation {
            topology_class: "spine_leaf".into(),
            protocol: "bgp".into(),
            event_type: "convergence".into(),
            severity: 8_000,
            affected_prefixes: 200,
            node_count: 96,
        },
        resolution: Resolution {
            pattern: "bfd_tuning".into(),
            steps: Vec::new(),
            known: Known::Measured,
        },
        before: Some(8_000),
        after: Some(800),
        convergence_delta_ms: 7_200,
        sample_size: 3,
        created: START,
        expires: START + DAY,
        method: [7; 8],
        parents: Vec::new(),
        supersedes: None,
        revokes: None,
    }
}

fn opened(outcome: &Outcome, by: u8) -> Opened {
    let sealed = seal(outcome, &key(by), &Space::default_definition()).unwrap();
    packet::open(&sealed.bytes).unwrap()
}

fn trust(config: TrustConfig) -> (tempfile::TempDir, Arc<Trust>) {
    let directory = tempfile::tempdir().unwrap();
    let trust = Trust::open(directory.path(), config, Arc::new(|| START)).unwrap();
    (directory, trust)
}

fn say(directory: &Path, by: u8, standing: Standing) {
    let entry = Entry::new(standing, START);
    Book::change(directory, |book| book.set(key(by).publisher(), entry)).unwrap();
}

fn learn(trust: &Trust, bytes: &[u8]) {
    let statement: Statement = statement::open(bytes).unwrap();
    lock(&trust.memory).learn([&statement]);
}

#[test]
fn the_book_decides_and_holds_without_a_restart() {
    let (directory, trust) = trust(TrustConfig::default());
    let packet = opened(&outcome(), 1);
    assert_eq!(trust.judge(&packet), Ok(()), "an unknown publisher is visible");
    say(directory.path(), 1, Standing::Blocked);
    assert_eq!(trust.judge(&packet), Err(Refusal::Blocked));
    assert_eq!(trust.judge(&opened(&outcome(), 2)), Ok(()));
    Book::change(directory.path(), |book| Ok(book.forget(&key(1).publisher()))).unwrap();
    assert_eq!(trust.judge(&packet), Ok(()));
}

#[test]
fn an_allow_list_takes_who_is_on_it() {
    let (directory, trust) = trust(TrustConfig { only_known: true, ..TrustConfig::default() });
    say(directory.path(), 1, Standing::Allowed);
    say(directory.path(), 2, Standing::Pinned);
    say(directory.path(), 3, Standing::Blocked);
    let judged: Vec<_> = (1..=4).map(|by| trust.judge(&opened(&outcome(), by))).collect();
    let expected = [Ok(()), Ok(()), Err(Refusal::Blocked), Err(Refusal::NotAllowed)];
    assert_eq!(judged, expected);
}

#[test]
fn a_key_that_succeeds_a_blocked_one_is_blocked_and_nobody_elses() {
    let (directory, trust) = trust(TrustConfig::default());
    say(directory.path(), 1, Standing::Blocked);
    say(directory.path(), 9, Standing::Pinned);
    assert_eq!(trust.judge(&opened(&outcome(), 2)), Ok(()));
    learn(&trust, &statement::succession(&key(1), &key(2), START));
    learn(&trust, &statement::succession(&key(2), &key(3), START));
    for by in 1..=3 {
        assert_eq!(trust.judge(&opened(&outcome(), by)), Err(Refusal::Blocked), "{by}");
    }
    assert_eq!(trust.judge(&opened(&outcome(), 9)), Ok(()));
    // A later key that is blocked blocks what its owner published before.
    let (directory, trust) = self::trust(TrustConfig::default());
    say(directory.path(), 2, Standing::Blocked);
    learn(&trust, &statement::succession(&key(1), &key(2), START));
    assert_eq!(trust.judge(&opened(&outcome(), 1)), Err(Refusal::Blocked));
}

#[test]
fn revoked_keys_and_withdrawn_packets_are_remembered() {
    let (_directory, trust) = trust(TrustConfig::default());
    let packet = opened(&outcome(), 1);
    let by_other = opened(&Outcome { revokes: Some(packet.id), ..outcome() }, 2);
    let newer = opened(&Outcome { supersedes: Some(packet.id), ..outcome() }, 1);
    trust.hear([&by_other]);
    assert_eq!(trust.judge(&packet), Ok(()), "a stranger takes nothing back");
    trust.hear([&newer]);
    assert_eq!(trust.judge(&packet), Err(Refusal::Withdrawn));
    assert_eq!(trust.judge(&newer), Ok(()));
    learn(&trust, &statement::revocation(&key(1), START));
    assert_eq!(trust.judge(&newer), Err(Refusal::Revoked));
}

#[test]
fn the_replay_window_has_two_ends() {
    let (_directory, trust) =
        trust(TrustConfig { replay_window_days: 2, ..TrustConfig::default() });
    let at = |days: i64, more_ms: i64| {
        let created = START + Span(DAY.0 * days) + Span::from_millis(more_ms);
        opened(&Outcome { created, expires: START + Span(30 * DAY.0), ..outcome() }, 1)
    };
    assert_eq!(trust.judge(&at(-2, 0)), Ok(()));
    assert_eq!(trust.judge(&at(-2, -1_000)), Err(Refusal::Stale));
    assert_eq!(trust.judge(&at(1, 0)), Ok(()));
    assert_eq!(trust.judge(&at(1, 1_000)), Err(Refusal::Future));
    let over = Outcome { created: START - DAY, expires: START, ..outcome() };
    assert_eq!(trust.judge(&opened(&over, 1)), Err(Refusal::Expired));
}

#[test]
fn those_that_anybody_can_make_take_no_share_of_those_in_the_book() {
    let hourly = NonZeroU32::new(3).unwrap();
    let config = TrustConfig { publisher_hourly_max: hourly, ..TrustConfig::default() };
    let (directory, trust) = trust(config);
    say(directory.path(), 1, Standing::Pinned);
    let known = key(1).publisher();
    for number in 0..20_000_u32 {
        let mut stranger = [9; 32];
        stranger[..4].copy_from_slice(&number.to_be_bytes());
        trust.wait(&stranger);
    }
    assert!(trust.wait(&[8; 32]).is_some(), "strangers share what is left");
    let waits: Vec<bool> = (0..4).map(|_| trust.wait(&known).is_some()).collect();
    assert_eq!(waits, [false, false, false, true]);
}

#[test]
fn the_policy_of_ranking_is_the_books() {
    let (directory, trust) = trust(TrustConfig::default());
    say(directory.path(), 1, Standing::Allowed);
    let entry = Entry { group: Some("singapore".into()), ..Entry::new(Standing::Pinned, START) };
    Book::change(directory.path(), |book| book.set(key(2).publisher(), entry)).unwrap();
    let policy = trust.policy();
    assert_eq!((policy.corroboration_min, policy.now), (2, Some(START)));
    assert_eq!(policy.pinned, [key(2).publisher()]);
    assert_eq!(policy.groups[&key(2).publisher()], "singapore");
}

#[test]
fn what_was_withdrawn_or_revoked_stays_so_after_a_restart() {
    let (directory, before) = trust(TrustConfig::default());
    let reopened =
        || Trust::open(directory.path(), TrustConfig::default(), Arc::new(|| START)).unwrap();
    let (replaced, other) = (opened(&outcome(), 1), opened(&outcome(), 2));
    let taken_back = Outcome { sample_size: 9, ..outcome() };
    let taken_back = opened(&taken_back, 1);
    let supersedes = Some(replaced.id);
    let newer = opened(&Outcome { supersedes, revokes: Some(taken_back.id), ..outcome() }, 1);
    before.accept(&newer, "query");
    learn(&before, &statement::revocation(&key(3), START));
    learn(&before, &statement::succession(&key(4), &key(1), START));
    drop(before);
    let withdrawn = [&replaced, &taken_back].map(|packet| packet.clone());
    for restart in 1..=2 {
        let trust = reopened();
        for packet in &withdrawn {
            assert_eq!(trust.judge(packet), Err(Refusal::Withdrawn), "restart {restart}");
        }
        assert_eq!(trust.judge(&opened(&outcome(), 3)), Err(Refusal::Revoked));
        // Keys that are one publisher's stay so: it is blocked under all of them.
        say(directory.path(), 4, Standing::Blocked);
        assert_eq!(trust.judge(&newer), Err(Refusal::Blocked));
        say(directory.path(), 4, Standing::Pinned);
        assert_eq!((trust.judge(&newer), trust.judge(&other)), (Ok(()), Ok(())));
    }
    // What nobody could have signed is not believed, and costs nothing else.
    let path = directory.path().join("withdrawn.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let last = text.rfind("\"]").expect("there are statements");
    let flipped = if &text[last - 1..last] == "0" { "1" } else { "0" };
    std::fs::write(&path, [&text[..last - 1], flipped, &text[last..]].concat()).unwrap();
    let trust = reopened();
    assert_eq!(trust.judge(&replaced), Err(Refusal::Withdrawn));
    drop(trust);
    std::fs::write(&path, "{").unwrap();
    assert_eq!(reopened().judge(&replaced), Ok(()), "a damaged file begins anew");
}
