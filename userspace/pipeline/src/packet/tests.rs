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
    sign::sign(&bytes, &key())
}

/// Seals the example, changes its payload and signs it again, as another implementation could.
fn forged_bytes(change: impl FnOnce(&mut Vec<(Value, Value)>)) -> Vec<u8> {
    let mut value = payload(&sealed(&singapore()).bytes);
    change(value.as_map_mut().unwrap());
    resign(&value)
}

fn forged(change: impl FnOnce(&mut Vec<(Value, Value)>)) -> Result<Opened, PacketError> {
    open(&forged_bytes(change))
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

/// The example, the smallest packet, the longest one, and one of a later minor version.
fn samples() -> Vec<Vec<u8>> {
    let mut small = singapore();
    let situation = &mut small.situation;
    for word in
        [&mut situation.topology_class, &mut situation.protocol, &mut small.resolution.pattern]
    {
        word.clear();
    }
    small.resolution.steps.clear();
    let mut long = singapore();
    long.resolution.steps.push("環".repeat(200));
    long.parents = vec![[1; 32]];
    let later = forged_bytes(added(22, Value::Array(vec!["later".into(), 0.5.into()])));
    vec![sealed(&singapore()).bytes, sealed(&small).bytes, sealed(&long).bytes, later]
}

#[test]
fn every_changed_bit_is_refused() {
    for bytes in samples() {
        assert!(open(&bytes).is_ok());
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&changed).is_err(), "bit {bit} of {}", hex::encode(&bytes));
        }
    }
}

#[test]
fn what_is_no_packet_is_refused() {
    let bytes = sealed(&singapore()).bytes;
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

/// What a later minor version could add, in the order of encoded keys.
fn added(key: i64, value: Value) -> impl FnOnce(&mut Vec<(Value, Value)>) {
    move |map| map.push((key.into(), value))
}

#[test]
fn keys_of_later_versions_are_ignored_and_kept_byte_for_byte() {
    let nested = Value::Map(vec![(1.into(), 0.5.into()), ("a".into(), Value::Null)]);
    for value in [Value::Array(vec![1.into()]), nested, Value::Tag(1, Box::new(7.into()))] {
        for key in [22, 23, 24, 1_000, i64::MAX] {
            let mut payload = payload(&sealed(&singapore()).bytes);
            added(key, value.clone())(payload.as_map_mut().unwrap());
            let bytes = resign(&payload);
            let opened = open(&bytes).unwrap();
            assert_eq!((&opened.outcome, &opened.bytes), (&singapore(), &bytes));
            assert_eq!(opened.id, hash(&bytes));
        }
    }
}

#[test]
fn what_later_versions_add_has_one_form_too() {
    let unsorted = Value::Map(vec![("a".into(), 0.into()), (1.into(), 0.into())]);
    assert_eq!(forged(added(22, unsorted)).unwrap_err(), PacketError::NotDeterministic);
    let base = {
        let mut bytes = Vec::new();
        let mut value = payload(&sealed(&singapore()).bytes);
        added(22, 0.into())(value.as_map_mut().unwrap());
        ciborium::into_writer(&value, &mut bytes).unwrap();
        bytes
    };
    // The same zero in more bytes, and 0.5 in more than the three it needs; and the key 22 so.
    for longer in [&[0x16, 0x18, 0x00][..], &[0x16, 0xfa, 0x3f, 0, 0, 0], &[0x18, 0x16, 0x00]] {
        let bytes = [&base[..base.len() - 2], longer].concat();
        let error = open(&sign::sign(&bytes, &key())).unwrap_err();
        assert_eq!(error, PacketError::NotDeterministic, "{longer:02x?}");
    }
}

#[test]
fn critical_keys_are_refused_by_who_does_not_know_them() {
    for key in [-1, -2, -500, i64::MIN] {
        let error = forged(added(key, 0.into())).unwrap_err();
        assert_eq!(error, PacketError::Critical(key.into()));
        let error = forged(|map| {
            set(0, 2.into())(map);
            added(key, 0.into())(map);
        });
        assert_eq!(error.unwrap_err(), PacketError::Version(2), "keys are the version's");
    }
}

/// The independent implementation of COSE reads what is sealed, and builds the same.
#[test]
fn a_cose_library_reads_and_builds_the_same_bytes() {
    use coset::{CoseSign1, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable, iana};
    let packet = sealed(&singapore());
    let parsed = CoseSign1::from_tagged_slice(&packet.bytes).unwrap();
    parsed
        .verify_signature(&[], |signature, message| {
            let key = ed25519_dalek::VerifyingKey::from_bytes(&key().public()).unwrap();
            key.verify_strict(message, &ed25519_dalek::Signature::from_slice(signature).unwrap())
        })
        .unwrap();
    let header = HeaderBuilder::new()
        .algorithm(iana::Algorithm::EdDSA)
        .key_id(key().public().to_vec())
        .build();
    let built = CoseSign1Builder::new()
        .protected(header)
        .payload(parsed.payload.unwrap())
        .create_signature(&[], |message| key().sign(message).to_vec())
        .build();
    assert_eq!(built.to_tagged_vec().unwrap(), packet.bytes);
}

#[test]
fn other_envelopes_of_the_same_are_refused() {
    let bytes = sealed(&singapore()).bytes;
    let changed = |at: usize, from: &[u8], to: &[u8]| {
        assert_eq!(&bytes[at..at + from.len()], from, "at {at}");
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    };
    for (at, from, to) in [
        (0, &[0xd2][..], &[][..]),                     // no tag
        (0, &[0xd2], &[0xd8, 0x12]),                   // a longer tag
        (1, &[0x84], &[0x98, 0x04]),                   // a longer head
        (1, &[0x84], &[0x9f]),                         // an indefinite array
        (2, &[0x58, 0x26], &[0x59, 0x00, 0x26]),       // a longer head
        (4, &[0xa2, 0x01, 0x27], &[0xa2, 0x01, 0x26]), // another algorithm
        (42, &[0xa0], &[0xa1, 0x01, 0x27]),            // an unprotected header
        (42, &[0xa0], &[0xb8, 0x00]),                  // a longer head
    ] {
        let refused = open(&changed(at, from, to)).unwrap_err();
        let framing = matches!(refused, PacketError::Envelope(_) | PacketError::Headers);
        assert!(framing, "{at} {to:02x?}: {refused}");
    }
}

#[test]
fn a_batch_gives_each_packet_the_verdict_that_it_has_alone() {
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for n in 0..BATCH_PACKETS as u32 + 40 {
        let mut outcome = singapore();
        outcome.sample_size = n;
        let key = SigningKey::from_seed(&mut [n as u8 % 50; 32]);
        packets.push(seal(&outcome, &key, &Space::default_definition()).unwrap().bytes);
    }
    let judge = |packets: &[Vec<u8>]| {
        let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        let batch = open_batch(&slices);
        let single: Vec<_> = packets.iter().map(|bytes| open(bytes)).collect();
        assert_eq!(batch, single);
        batch.iter().filter(|verdict| verdict.is_err()).count()
    };
    assert_eq!(judge(&[]), 0);
    assert_eq!(judge(&packets), 0);
    packets[3][60] ^= 1;
    packets[7].truncate(100);
    packets[9].clear();
    packets[11] = vec![0; 600];
    packets[BATCH_PACKETS + 5][510 - 100] ^= 1;
    let last = packets[20].len() - 1;
    packets[20][last] ^= 0x80;
    assert_eq!(judge(&packets), 6);
}

#[test]
fn an_inspection_accounts_for_every_byte() {
    let mut outcome = singapore();
    outcome.parents = vec![[1; 32], [2; 32]];
    outcome.supersedes = Some([3; 32]);
    let packet = sealed(&outcome);
    let seen = inspect(&packet.bytes).unwrap();
    assert_eq!(seen.bytes, packet.bytes.len());
    assert_eq!(seen.left, PACKET_BYTES_MAX - seen.bytes);
    assert_eq!(seen.parts.iter().map(|part| part.bytes).sum::<usize>(), seen.bytes);
    let part = |name: &str| seen.parts.iter().find(|part| part.name == name).unwrap();
    assert_eq!(part("topology_class").value, "spine_leaf");
    assert_eq!((part("topology_class").key, part("topology_class").bytes), (Some(2), 12));
    assert_eq!(part("steps").value.as_array().unwrap().len(), 4);
    assert_eq!(part("supersedes").bytes, 35);
    assert_eq!((part("key").bytes, part("signature").bytes), (32, 64));
    // What does not verify can be looked at, what has no frame cannot.
    let mut changed = packet.bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(inspect(&changed).is_ok() && open(&changed).is_err());
    assert!(inspect(&packet.bytes[1..]).is_err());
    let odd = forged_bytes(|map| {
        added(22, Value::Bytes(vec![7]))(map);
        added(-1, 0.into())(map);
    });
    let seen = inspect(&odd).unwrap();
    let named: Vec<_> = seen.parts.iter().map(|part| (part.name, part.key)).collect();
    assert!(named.contains(&("unknown", Some(22))) && named.contains(&("critical", Some(-1))));
}

#[test]
fn indefinite_lengths_are_refused() {
    let mut bytes = Vec::new();
    ciborium::into_writer(&payload(&sealed(&singapore()).bytes), &mut bytes).unwrap();
    assert_eq!(bytes[0], 0xb2, "a map of eighteen entries");
    bytes[0] = 0xbf;
    bytes.push(0xff);
    assert_eq!(open(&sign::sign(&bytes, &key())).unwrap_err(), PacketError::NotDeterministic);
}

/// Whether a payload is what the schema says.
fn valid(payload: &Value) -> bool {
    let mut bytes = Vec::new();
    ciborium::into_writer(payload, &mut bytes).unwrap();
    cddl_cat::validate_cbor_bytes("outcome", CDDL, &bytes).is_ok()
}

#[test]
fn the_schema_accepts_what_is_sealed_and_refuses_other_payloads() {
    let mut outcome = singapore();
    assert!(valid(&payload(&sealed(&outcome).bytes)));
    outcome.parents = vec![[1; 32], [2; 32]];
    outcome.supersedes = Some([3; 32]);
    outcome.revokes = Some([4; 32]);
    outcome.resolution.steps.push("x".repeat(600));
    let value = payload(&sealed(&outcome).bytes);
    assert!(valid(&value));
    for (key, allowed) in [(22, true), (1_000, true), (-1, false), (-1_000, false)] {
        let mut changed = value.clone();
        added(key, Value::Null)(changed.as_map_mut().unwrap());
        assert_eq!(valid(&changed), allowed, "key {key}");
    }
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

/// Any text: short, long, of many bytes a character.
fn texts(long: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => ".{0,40}",
        1 => ".{0,300}",
        1 => (any::<char>(), 0..long).prop_map(|(character, count)| {
            std::iter::repeat_n(character, count).collect()
        }),
    ]
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let id = || proptest::option::of(any::<[u8; 32]>());
    let steps = prop_oneof![
        4 => proptest::collection::vec(texts(700), 0..6),
        1 => proptest::collection::vec(".{0,3}", 0..600),
    ];
    let terms = (texts(60), texts(20), texts(20), texts(60));
    let severities = || proptest::option::of(0..=SEVERITY_MS_MAX);
    let counts = (any::<u64>(), any::<u64>(), any::<u32>(), 0..=SEVERITY_MS_MAX);
    let times = (0..=i64::MAX / 1_000_000_000 - LIFETIME_SECS_MAX, 0..=LIFETIME_SECS_MAX);
    let ids = (proptest::collection::vec(any::<[u8; 32]>(), 0..6), id(), id());
    (terms, severities(), severities(), counts, times, steps, ids).prop_map(
        |(terms, before, after, counts, times, steps, (parents, supersedes, revokes))| {
            let (topology_class, protocol, event_type, pattern) = terms;
            let (affected_prefixes, node_count, sample_size, severity) = counts;
            let delta = before.unwrap_or(0) as i64 - after.unwrap_or(0) as i64;
            Outcome {
                situation: Situation {
                    topology_class,
                    protocol,
                    event_type,
                    severity,
                    affected_prefixes,
                    node_count,
                },
                resolution: Resolution { pattern, steps, known: Known::Observed },
                before,
                after,
                convergence_delta_ms: delta,
                sample_size,
                created: Timestamp::from_secs_nanos(times.0, 999_999_999),
                expires: Timestamp::from_secs_nanos(times.0 + times.1, 0),
                method: *b"detector",
                parents,
                supersedes,
                revokes,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_outcome_makes_a_packet_within_the_bound(outcome in outcomes()) {
        let packet = match seal(&outcome, &key(), &Space::default_definition()) {
            Ok(packet) => packet,
            // Scrubbing may have changed their length, either way.
            Err(error) => {
                let bounds = matches!(error, PacketError::Terms(n) if n > TERMS_BYTES_MAX)
                    || matches!(error, PacketError::Impossible(_));
                prop_assert!(bounds, "{error}");
                return Ok(());
            }
        };
        prop_assert!(packet.bytes.len() <= PACKET_BYTES_MAX);
        prop_assert_eq!(inspect(&packet.bytes).unwrap().bytes, packet.bytes.len());
        prop_assert!(valid(&payload(&packet.bytes)), "the schema");
        let opened = open(&packet.bytes).unwrap();
        prop_assert_eq!(&opened.outcome, &packet.outcome);
        prop_assert_eq!(opened.truncated, packet.truncated);
        let again = sealed(&opened.outcome);
        prop_assert_eq!(&again.outcome, &opened.outcome);
        prop_assert!(packet.truncated || again.bytes == packet.bytes);
        // What was cut was cut at a character, as late as can be.
        let (steps, whole) = (&packet.outcome.resolution.steps, &outcome.resolution.steps);
        prop_assert!(packet.truncated || steps.len() == whole.len());
        if packet.truncated && packet.outcome.parents.len() < 2 {
            prop_assert!(packet.bytes.len() > PACKET_BYTES_MAX - 8, "{}", packet.bytes.len());
        }
    }

    #[test]
    fn opening_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..520)) {
        prop_assert!(open(&bytes).is_err());
    }

    #[test]
    fn signed_nonsense_never_panics(payload in proptest::collection::vec(any::<u8>(), 0..380)) {
        prop_assert!(open(&sign::sign(&payload, &key())).is_err());
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
