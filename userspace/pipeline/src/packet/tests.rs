//! Size, form, privacy and refusals of packets, and the schema.

use super::*;
use ciborium::Value;
use edgelore_model::{Known, Resolution, Situation, Timestamp};
use proptest::prelude::*;

const CREATED: Timestamp = Timestamp(1_795_000_000_000_000_000);

pub(super) fn key() -> SigningKey {
    SigningKey::from_seed(&mut [7; 32])
}

pub(super) fn singapore() -> Outcome {
    Outcome {
        situation: Situation {
            topology_class: "spine_leaf".into(),
            protocol: "bgp".into(),
            event_type: "convergence".into(),
            severity: 358_000,
            affected_prefixes: 8_200,
            node_count: 96,
        },
        resolution: Resolution {
            pattern: "bfd_tuning".into(),
            steps: [
                "Identified BFD hello interval mismatch on spine-leaf links",
                "Reduced BFD multiplier from 5 to 3 across fabric",
                "Verified convergence improvement to 18 seconds",
                "Deployed dampening profile to border routers",
            ]
            .map(str::to_owned)
            .to_vec(),
            known: Known::Measured,
        },
        before: Some(358_000),
        after: Some(18_000),
        convergence_delta_ms: 340_000,
        sample_size: 3,
        created: CREATED,
        expires: Timestamp(CREATED.0 + 90 * 86_400_000_000_000),
        method: *b"detector",
        parents: Vec::new(),
        supersedes: None,
        revokes: None,
    }
}

pub(super) fn sealed(outcome: &Outcome) -> Sealed {
    seal(outcome, &key(), &Space::default_definition()).unwrap()
}

/// The payload of a packet as a value.
fn payload(bytes: &[u8]) -> Value {
    let Value::Tag(18, inner) = ciborium::from_reader(bytes).unwrap() else { panic!("no tag") };
    let parts = inner.into_array().unwrap();
    ciborium::from_reader(parts[2].as_bytes().unwrap().as_slice()).unwrap()
}

fn resign(payload: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(payload, &mut bytes).unwrap();
    sign::sign(bytes, &key())
}

/// Seals the example, changes its payload and signs it again, as another implementation could.
fn forged(change: impl FnOnce(&mut Vec<(Value, Value)>)) -> Result<Opened, PacketError> {
    let mut value = payload(&sealed(&singapore()).bytes);
    change(value.as_map_mut().unwrap());
    open(&resign(&value))
}

fn set(key: i64, value: Value) -> impl FnOnce(&mut Vec<(Value, Value)>) {
    move |map| {
        let entry = map.iter_mut().find(|(k, _)| *k == Value::from(key)).unwrap();
        entry.1 = value;
    }
}

#[test]
fn the_four_step_example_fits_uncut() {
    let plain = sealed(&singapore());
    let mut outcome = singapore();
    outcome.parents = vec![[1; 32]];
    outcome.supersedes = Some([2; 32]);
    let full = sealed(&outcome);
    assert!(!plain.truncated && !full.truncated);
    assert_eq!((plain.bytes.len(), full.bytes.len()), (428, 499));
    assert_eq!(full.outcome, outcome);
}

#[test]
fn a_packet_opens_to_what_was_sealed() {
    let packet = sealed(&singapore());
    let opened = open(&packet.bytes).unwrap();
    assert_eq!(opened.outcome, singapore());
    assert_eq!((opened.key, opened.publisher), (key().public(), key().publisher()));
    assert_eq!(opened.space, Space::default_definition().short_id());
    assert_eq!((opened.id, &opened.bytes), (packet.id, &packet.bytes));
}

#[test]
fn counts_leave_with_two_significant_digits() {
    for (value, expected) in [
        (0, 0),
        (9, 9),
        (99, 99),
        (100, 100),
        (994, 990),
        (995, 1_000),
        (8_249, 8_200),
        (8_250, 8_300),
        (u64::MAX, 18_000_000_000_000_000_000),
    ] {
        assert_eq!(round_two(value), expected, "{value}");
    }
    let mut outcome = singapore();
    outcome.situation.affected_prefixes = 8_249;
    assert_eq!(sealed(&outcome).outcome.situation.affected_prefixes, 8_200);
    let privacy = Privacy::with(Counts::Exact);
    let exact = seal_with(&outcome, &key(), &Space::default_definition(), &privacy).unwrap();
    assert_eq!(open(&exact.bytes).unwrap().outcome.situation.affected_prefixes, 8_249);
}

#[test]
fn long_steps_are_cut_at_a_character() {
    let mut outcome = singapore();
    outcome.resolution.steps = vec!["環".repeat(200), "second".into()];
    let packet = sealed(&outcome);
    assert!(packet.truncated && packet.bytes.len() > PACKET_BYTES_MAX - 4);
    let steps = open(&packet.bytes).unwrap().outcome.resolution.steps;
    assert_eq!(steps.len(), 1);
    assert!(outcome.resolution.steps[0].starts_with(&steps[0]));
}

#[test]
fn the_longest_fields_leave_a_valid_packet() {
    let mut outcome = singapore();
    outcome.situation.topology_class = "t".repeat(TERMS_BYTES_MAX - 3);
    outcome.situation.protocol = "p".into();
    outcome.situation.event_type = "e".into();
    outcome.resolution.pattern = "r".into();
    outcome.situation.severity = SEVERITY_MS_MAX;
    outcome.before = Some(SEVERITY_MS_MAX);
    outcome.after = Some(SEVERITY_MS_MAX);
    outcome.convergence_delta_ms = 0;
    outcome.situation.affected_prefixes = u64::MAX;
    outcome.situation.node_count = u64::MAX;
    outcome.sample_size = u32::MAX;
    outcome.parents = (0..9).map(|n| [n; 32]).collect();
    outcome.supersedes = Some([8; 32]);
    outcome.revokes = Some([9; 32]);
    let packet = sealed(&outcome);
    assert_eq!(packet.outcome.parents, [[0; 32]]);
    assert_eq!(open(&packet.bytes).unwrap().outcome, packet.outcome);
    outcome.situation.protocol = "pp".into();
    let refused = seal(&outcome, &key(), &Space::default_definition()).unwrap_err();
    assert_eq!(refused, PacketError::Terms(TERMS_BYTES_MAX + 1));
}

#[test]
fn every_changed_byte_is_refused() {
    let bytes = sealed(&singapore()).bytes;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert!(open(&changed).is_err(), "bit {bit} of byte {at}");
        }
    }
    assert!(open(&bytes[..bytes.len() - 1]).is_err());
    assert!(open(&[bytes.as_slice(), &[0]].concat()).is_err());
    assert_eq!(open(&[0; 513]).unwrap_err(), PacketError::Oversized(513));
    assert!(matches!(open(&[]), Err(PacketError::Envelope(_))));
}

/// Changes a payload's entries.
type Change = Box<dyn FnOnce(&mut Vec<(Value, Value)>)>;

#[test]
fn impossible_values_are_refused_though_signed() {
    let impossible = |change: Change, text: &str| {
        let error = forged(change).unwrap_err();
        assert!(error.to_string().contains(text), "{text}: {error}");
    };
    impossible(Box::new(set(15, (-1).into())), "field 15");
    impossible(Box::new(set(16, 1.into())), "expires before it was created");
    impossible(Box::new(set(16, 1_900_000_000_i64.into())), "more than a year");
    impossible(Box::new(set(5, (SEVERITY_MS_MAX + 1).into())), "severity beyond");
    impossible(Box::new(set(13, 339_999.into())), "differs from before minus after");
    impossible(Box::new(set(0, 2.into())), "version 2 is unknown");
    impossible(Box::new(set(10, 3.into())), "field 10");
    impossible(Box::new(set(9, Value::Array(vec![1.into()]))), "field 9");
    impossible(Box::new(set(1, Value::Bytes(vec![0; 7]))), "field 1");
    impossible(Box::new(set(14, (1u64 << 32).into())), "field 14");
    impossible(Box::new(|map| map.retain(|(k, _)| *k != Value::from(6))), "field 6: is missing");
    impossible(Box::new(|map| map.swap(0, 1)), "not deterministic");
    impossible(Box::new(|map| map.push((17.into(), 0.into()))), "not deterministic");
    impossible(Box::new(|map| map.push(("text".into(), 0.into()))), "key is not an integer");
}

#[test]
fn unknown_keys_are_ignored() {
    let opened = forged(|map| map.push((100.into(), Value::Array(vec![1.into()])))).unwrap();
    assert_eq!(opened.outcome, singapore());
}

#[test]
fn indefinite_lengths_are_refused() {
    let mut bytes = Vec::new();
    ciborium::into_writer(&payload(&sealed(&singapore()).bytes), &mut bytes).unwrap();
    assert_eq!(bytes[0], 0xb2, "a map of eighteen entries");
    bytes[0] = 0xbf;
    bytes.push(0xff);
    assert_eq!(open(&sign::sign(bytes, &key())).unwrap_err(), PacketError::NotDeterministic);
}

#[test]
fn the_schema_accepts_what_is_sealed_and_refuses_other_payloads() {
    let valid = |value: &Value| {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        cddl_cat::validate_cbor_bytes("outcome", CDDL, &bytes).is_ok()
    };
    let mut outcome = singapore();
    assert!(valid(&payload(&sealed(&outcome).bytes)));
    outcome.parents = vec![[1; 32], [2; 32]];
    outcome.supersedes = Some([3; 32]);
    outcome.revokes = Some([4; 32]);
    outcome.resolution.steps.push("x".repeat(600));
    let value = payload(&sealed(&outcome).bytes);
    assert!(valid(&value));
    for (key, wrong) in [(0, Value::from(2)), (5, "x".into()), (10, 3.into()), (21, false.into())] {
        let mut changed = value.clone();
        set(key, wrong)(changed.as_map_mut().unwrap());
        assert!(!valid(&changed), "key {key}");
    }
}

#[test]
fn a_key_never_prints_its_secret() {
    assert_eq!(format!("{:?}", key()), "SigningKey { .. }");
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let id = || proptest::option::of(any::<[u8; 32]>());
    let steps = proptest::collection::vec(".{0,300}", 0..6);
    let terms = (".{0,12}", ".{0,8}", ".{0,8}", ".{0,12}");
    let numbers = (0..=1_000_000u64, 0..=1_000_000u64, any::<u64>(), any::<u64>(), any::<u32>());
    let parents = proptest::collection::vec(any::<[u8; 32]>(), 0..6);
    (terms, numbers, steps, parents, id(), id()).prop_map(
        |((topology, protocol, event, pattern), numbers, steps, parents, supersedes, revokes)| {
            let (before, after, prefixes, nodes, sample_size) = numbers;
            let mut outcome = singapore();
            outcome.situation = Situation {
                topology_class: topology,
                protocol,
                event_type: event,
                severity: before,
                affected_prefixes: prefixes,
                node_count: nodes,
            };
            outcome.resolution.pattern = pattern;
            outcome.resolution.steps = steps;
            (outcome.before, outcome.after) = (Some(before), Some(after));
            outcome.convergence_delta_ms = before as i64 - after as i64;
            Outcome { sample_size, parents, supersedes, revokes, ..outcome }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_outcome_makes_a_packet_within_the_bound(outcome in outcomes()) {
        let packet = sealed(&outcome);
        prop_assert!(packet.bytes.len() <= PACKET_BYTES_MAX);
        let opened = open(&packet.bytes).unwrap();
        prop_assert_eq!(&opened.outcome, &packet.outcome);
        prop_assert_eq!(opened.truncated, packet.truncated);
        let again = sealed(&opened.outcome);
        prop_assert_eq!(again.outcome, opened.outcome);
    }

    #[test]
    fn opening_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..520)) {
        prop_assert!(open(&bytes).is_err());
    }

    #[test]
    fn signed_nonsense_never_panics(payload in proptest::collection::vec(any::<u8>(), 0..380)) {
        prop_assert!(open(&sign::sign(payload, &key())).is_err());
    }

    #[test]
    fn identifiers_never_appear_in_the_bytes(address: [u8; 4], number in 1_000u32.., host in "[a-z]{4,8}") {
        let address = std::net::Ipv4Addr::from(address).to_string();
        let (asn, host) = (format!("AS{number}"), format!("{host}.example.net"));
        let mut outcome = singapore();
        outcome.resolution.steps = vec![
            format!("Told {host} ({address}/24) to accept {asn}"),
            format!("neighbor {address} remote-as {number}"),
        ];
        outcome.situation.topology_class = address.clone();
        let bytes = sealed(&outcome).bytes;
        for secret in [address, asn, host, number.to_string()] {
            prop_assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
}
