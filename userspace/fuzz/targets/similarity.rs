//! Any text as a similarity definition: it is refused at one of its lines, or measures as a metric.
#![no_main]

use edgelore_model::{Query, Situation};
use edgelore_pipeline::fingerprint::{Address, Cell, Grain, Space};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Space::parse(text) {
        Ok(space) => measure(&space, text),
        Err(error) => {
            assert!((1..=text.matches('\n').count() + 1).contains(&error.line), "{error}");
            assert!(!error.reason.is_empty());
        }
    }
});

fn measure(space: &Space, text: &str) {
    // Words of the file are terms, often enough.
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
    let mut next = || words.next().unwrap_or("none").to_owned();
    let [a, b, c] = [0u64, 1_000, u64::MAX].map(|value| Situation {
        topology_class: next(),
        protocol: next(),
        event_type: next(),
        severity: value,
        affected_prefixes: value / 3,
        node_count: value.rotate_left(7),
    });
    let distance = space.distance(&a, &b);
    assert_eq!(distance, space.distance(&b, &a));
    assert!(space.distance(&a, &c) <= distance + space.distance(&b, &c));
    assert!(space.distance(&a, &c) <= space.diameter());
    let shared = Address::of(space, &a).common_prefix(Address::of(space, &b));
    // But for words that no taxonomy holds and whose codes are equal.
    assert!(distance <= space.farthest(shared.min(15)));
    assert_eq!(space.embed(&a).len(), space.dimensions());
    let parts = space.explain(&Query::from(&a), &Query::from(&b));
    assert_eq!(parts.iter().map(|part| part.distance).sum::<u32>(), distance);
    if let Ok(cells) = space.cells_near(&Query::from(&a), distance, Grain::Coarse, 4_096) {
        let filed = Cell::filed(space, &b, Grain::Coarse);
        assert!(cells.iter().any(|near| near.cell == filed), "{filed}");
    }
}
