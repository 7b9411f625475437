//! Hostile streams: clocks that jump, states that contradict each other, tables that are full.

mod judge;
mod stream;

use edgelore_pipeline::detect::DetectConfig;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_is_told_the_findings_hold(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let observations = stream::observations(&bytes);
        judge::run(&DetectConfig::default(), &observations);
    }

    #[test]
    fn full_tables_change_no_promise(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let observations = stream::observations(&bytes);
        judge::run(&judge::tiny(), &observations);
    }

    #[test]
    fn the_same_stream_gives_the_same_findings(
        bytes in proptest::collection::vec(any::<u8>(), 0..2_000)
    ) {
        let observations = stream::observations(&bytes);
        for config in [DetectConfig::default(), judge::tiny()] {
            let (one, other) = (judge::run(&config, &observations), judge::run(&config, &observations));
            prop_assert_eq!(one, other);
        }
    }
}
