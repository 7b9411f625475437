//! End to end: a file through reader, decoders and detector to incidents, by the engine that runs
//! live; and how long one observation takes in the detector.

use crate::inputs::{self, DATA_VARIABLE, FULL_TABLE};
use crate::measure::{Contender, Effort, PERCENTILES, interleave, latencies, percentiles_us};
use crate::report::{Section, grouped};
use anyhow::{Result, ensure};
use edgelore_capture::file::FileSource;
use edgelore_model::{Batch, Observation, Observed};
use edgelore_node::engine::Output;
use edgelore_node::replay::replay;
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use edgelore_pipeline::detect::{DetectConfig, Detected, Detector};
use hdrhistogram::Histogram;
use std::cell::Cell;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Five minutes of a route collector with 49 feeding peers.
const COLLECTOR: &str = "mrt/rrc01.updates.20100827.0840.gz";
const WORKERS: [usize; 2] = [1, 2];

/// Files that are replayed for one row, an engine for each.
struct Input {
    name: String,
    files: Vec<PathBuf>,
}

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let inputs = gather()?;
    Ok(vec![throughput(&inputs, effort)?, latency(&inputs)?])
}

fn gather() -> Result<Vec<Input>> {
    let files = inputs::committed_captures()?;
    let name = format!("the repository's {} captures", files.len());
    let mut gathered = vec![Input { name, files }];
    for (name, file) in [("route collector, 5 minutes", COLLECTOR), ("full table", FULL_TABLE)] {
        let found = inputs::data(file);
        gathered.extend(found.map(|path| Input { name: name.to_owned(), files: vec![path] }));
    }
    Ok(gathered)
}

/// What a replay brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Yield {
    deltas: u64,
    prefixes: u64,
    incidents: u64,
    /// Files that could not be read to their end.
    broken: u64,
}

fn throughput(inputs: &[Input], effort: Effort) -> Result<Section> {
    let columns = [
        "input",
        "workers",
        "wall ms",
        "min",
        "max",
        "M deltas/s",
        "M prefixes/s",
        "× 1 worker",
        "deltas",
        "incidents",
    ];
    let mut section = Section::new("File to incidents", &columns);
    section.note(
        "Opening, decompressing, reassembling, decoding and detecting, threads started anew each \
         time. A delta is what one UPDATE moved.",
    );
    if inputs.len() == 1 {
        section.note(format!("{DATA_VARIABLE} names no folder with the longer inputs."));
    }
    for input in inputs {
        rows(&mut section, input, effort)?;
    }
    Ok(section)
}

fn rows(section: &mut Section, input: &Input, effort: Effort) -> Result<()> {
    let yields: [Cell<Yield>; WORKERS.len()] = Default::default();
    let contenders = WORKERS.into_iter().zip(&yields).map(|(workers, last)| {
        Contender::timed(workers.to_string(), move || {
            last.set(replay_all(&input.files, workers));
            Ok(last.get().deltas)
        })
    });
    let all = interleave(effort.pick(7, 3), contenders.collect())?;
    let brought = yields[0].get();
    ensure!(yields.iter().all(|other| other.get() == brought), "workers change the result");
    for series in &all {
        let wall_ms = |ns: f64| format!("{:.1}", ns * series.units as f64 / 1e6);
        let (fast, slow) = series.ns_range();
        let prefixes_each = brought.prefixes as f64 / brought.deltas.max(1) as f64;
        section.row([
            input.name.clone(),
            series.name.clone(),
            wall_ms(series.ns()),
            wall_ms(fast),
            wall_ms(slow),
            format!("{:.3}", series.per_second() / 1e6),
            format!("{:.3}", series.per_second() * prefixes_each / 1e6),
            format!("{:.2}", series.speedup_over(&all[0])),
            grouped(brought.deltas),
            grouped(brought.incidents),
        ]);
    }
    if brought.broken > 0 {
        section.note(format!("{}: {} end within a record.", input.name, brought.broken));
    }
    Ok(())
}

/// Each file by itself; what one that is broken held before its fault counts.
fn replay_all(files: &[PathBuf], workers: usize) -> Yield {
    let counts: Arc<[AtomicU64; 3]> = Arc::default();
    let mut broken = 0;
    for file in files {
        let counts = Arc::clone(&counts);
        let (_, read) = replay(&[file], workers, DetectConfig::default(), move |output| {
            let add = |at: usize, n: usize| counts[at].fetch_add(n as u64, Ordering::Relaxed);
            match output {
                Output::Observation(Observation { what: Observed::Routes(delta), .. }) => {
                    add(0, 1);
                    add(1, delta.withdrawn.len() + delta.announced.len());
                }
                Output::Observation(_) => {}
                Output::Detected(Detected::Closed(finding)) => {
                    black_box(finding);
                    add(2, 1);
                }
                Output::Detected(_) => {}
            }
        });
        broken += u64::from(read.is_err());
    }
    let [deltas, prefixes, incidents] = [0, 1, 2].map(|at| counts[at].load(Ordering::Relaxed));
    Yield { deltas, prefixes, incidents, broken }
}

fn latency(inputs: &[Input]) -> Result<Section> {
    let columns: Vec<&str> = ["input", "observations"].into_iter().chain(PERCENTILES).collect();
    let mut section = Section::new("Detector: one observation", &columns);
    let reading = clock_reading();
    section.note(format!(
        "Each observation alone, on one thread. Reading the clock takes {} ns (p50) of it.",
        reading.value_at_quantile(0.5),
    ));
    for input in inputs {
        let mut histogram = latencies();
        for file in &input.files {
            observe_all(&observations(file), &mut histogram);
        }
        let cells = [input.name.clone(), grouped(histogram.len())];
        section.row(cells.into_iter().chain(percentiles_us(&histogram)));
    }
    Ok(section)
}

/// What two readings of the clock lie apart, ns.
fn clock_reading() -> Histogram<u64> {
    let mut histogram = latencies();
    for _ in 0..100_000 {
        let start = Instant::now();
        histogram.saturating_record(start.elapsed().as_nanos() as u64);
    }
    histogram
}

/// A file decoded up to its end or its fault.
fn observations(file: &PathBuf) -> Vec<Observation> {
    let mut all = Vec::new();
    let Ok(mut source) = FileSource::open(file) else { return all };
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut batch = Batch::default();
    let mut more = true;
    while more {
        more = source.next_batch(&mut batch).unwrap_or(false);
        decoder.decode(&batch, &mut |_, observation| all.push(observation));
    }
    decoder.finish(&mut |_, observation| all.push(observation));
    all
}

fn observe_all(observations: &[Observation], histogram: &mut Histogram<u64>) {
    let mut detector = Detector::new(DetectConfig::default());
    let mut closed = Vec::new();
    for observation in observations {
        let start = Instant::now();
        detector.observe(observation, &mut closed);
        histogram.saturating_record(start.elapsed().as_nanos() as u64);
        black_box(&closed);
        closed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_s_captures_give_the_same_with_one_worker_and_two() {
        let files = inputs::committed_captures().unwrap();
        let one = replay_all(&files, 1);
        assert!(one.deltas > 0 && one.prefixes > one.deltas, "{one:?}");
        assert_eq!(replay_all(&files, 2), one);
    }
}
