//! Any bytes as the messages of a monitored router, cut where they say.
#![no_main]

use edgelore_model::{Batch, BmpMessage, Signal, SignalKind, Timestamp};
use edgelore_pipeline::decode::{DecodeConfig, Decoder, bmp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut batch = Batch::default();
    let mut rest = bytes;
    loop {
        let length = bmp::frame(rest).ok().flatten();
        let (message, next) = rest.split_at(length.unwrap_or(rest.len()));
        let payload = batch.append(message);
        let router = ([10, 0, 0, 8], 40_000).into();
        let kind = SignalKind::Bmp(BmpMessage { router, payload });
        batch.signals.push(Signal { at: Timestamp(0), link: 0, kind });
        if length.is_none() {
            break;
        }
        rest = next;
    }
    let mut decoder = Decoder::new(DecodeConfig::default());
    decoder.decode(&batch, &mut |_, _| {});
    decoder.finish(&mut |_, _| {});
});
