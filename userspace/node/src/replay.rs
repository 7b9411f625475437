//! Replay: a capture or dump through the same engine that runs live.

use crate::engine::{Engine, Output, Totals};
use edgelore_capture::file::{FileError, FileSource};
use edgelore_model::Batch;
use edgelore_pipeline::decode::DecodeConfig;
use edgelore_pipeline::detect::DetectConfig;
use std::path::Path;

/// Reads `files` one after the other as one history and hands what is found to `output`.
///
/// # Errors
/// When a file cannot be opened or read on; everything before the fault was delivered, and the
/// totals of it come with the error.
pub fn replay(
    files: &[impl AsRef<Path>],
    workers: usize,
    detect: DetectConfig,
    output: impl FnMut(Output<'_>) + Send + 'static,
) -> (Totals, Result<(), FileError>) {
    let mut engine = Engine::start(workers, &DecodeConfig::default(), detect, output);
    let read = files.iter().try_for_each(|file| submit_all(file.as_ref(), &mut engine));
    (engine.finish(), read)
}

fn submit_all(file: &Path, engine: &mut Engine) -> Result<(), FileError> {
    let mut source = FileSource::open(file)?;
    loop {
        let mut batch = Batch::default();
        let more = source.next_batch(&mut batch)?;
        if !batch.signals.is_empty() && !engine.submit(batch) {
            return Ok(());
        }
        if !more {
            return Ok(());
        }
    }
}
