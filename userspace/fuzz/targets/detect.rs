//! Any bytes as a stream of observations through the detector, with room and without.
#![no_main]

#[path = "../../pipeline/tests/hostile/judge.rs"]
mod judge;
#[path = "../../pipeline/tests/hostile/stream.rs"]
mod stream;

use edgelore_pipeline::detect::DetectConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let observations = stream::observations(bytes);
    judge::run(&DetectConfig::default(), &observations);
    judge::run(&judge::tiny(), &observations);
});
