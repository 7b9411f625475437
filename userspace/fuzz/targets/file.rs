//! Any bytes as a capture file, whichever kind it claims to be, through the decoder. The captures
//! among the fixtures are its seeds, so every protocol is reached the way its packets come.
#![no_main]

use edgelore_capture::file::FileSource;
use edgelore_model::Batch;
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use libfuzzer_sys::fuzz_target;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::LazyLock;

/// A file without a name, in memory.
static FILE: LazyLock<File> =
    LazyLock::new(|| tempfile::tempfile_in("/dev/shm").expect("there is memory for a file"));

fuzz_target!(|bytes: &[u8]| {
    let mut file = &*FILE;
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(bytes))
        .expect("memory can be written");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let Ok(mut source) = FileSource::open(path) else { return };
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut batch = Batch::default();
    while let Ok(true) = source.next_batch(&mut batch) {
        decoder.decode(&batch, &mut |_, _| {});
        batch.clear();
    }
    decoder.decode(&batch, &mut |_, _| {});
    decoder.finish(&mut |_, _| {});
});
