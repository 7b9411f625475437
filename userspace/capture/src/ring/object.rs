//! Owns the embedded BPF object: finding, loading and checking it. Never attaches anything.

use super::RingError;
use super::buffer::RingBuffer;
use super::counters::CounterMaps;
use aya::maps::{Array, Map, MapData};
use aya::programs::{Program as AyaProgram, ProgramError, SchedClassifier, TestRun as _};
use aya::programs::{TestRunOptions, TestRunResult, Xdp};
use aya::{Ebpf, EbpfLoader};
use edgelore_events::{ABI_SECTION, ABI_VERSION, names};
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Smallest ring in bytes: it must hold a segment of 64 KiB with its headers.
pub(super) const RING_BYTES_MIN: u32 = 128 << 10;
/// Largest ring in bytes.
pub(super) const RING_BYTES_MAX: u32 = 1 << 30;

#[cfg(bpf_object)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/edgelore.bpf.o"));
#[cfg(not(bpf_object))]
static OBJECT: &[u8] = &[];

/// Whether this binary carries the BPF object.
#[must_use]
pub const fn object_embedded() -> bool {
    cfg!(bpf_object)
}

/// A program of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// What comes in, before the stack.
    Xdp,
    /// What comes in, where XDP cannot be had.
    TcxIngress,
    /// What the gateway sends.
    TcxEgress,
    /// Counts by kind and nothing else, for cards that run it themselves.
    Classify,
    /// Nothing: the floor that benches subtract.
    Empty,
    /// Fills the ring with made-up records, for benches.
    Fill,
}

impl Program {
    /// Its name in the object.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => names::XDP,
            Self::TcxIngress => names::TCX_INGRESS,
            Self::TcxEgress => names::TCX_EGRESS,
            Self::Classify => names::CLASSIFY,
            Self::Empty => names::EMPTY,
            Self::Fill => names::FILL,
        }
    }

    /// Those that are loaded with the object. The others are loaded when they are wanted: the
    /// kernel takes a good part of a second to verify them.
    const ALWAYS: [Self; 3] = [Self::Xdp, Self::TcxIngress, Self::TcxEgress];
}

/// The loaded object: maps and programs in the kernel, nothing attached.
pub(super) struct Object {
    pub(super) ebpf: Ebpf,
    pub(super) events: RingBuffer,
    pub(super) counters: CounterMaps,
}

impl Object {
    /// Loads the object with a ring of `ring_bytes`, compares versions and loads the programs that
    /// watch interfaces.
    pub(super) fn load(ring_bytes: u32) -> Result<Self, RingError> {
        if !ring_bytes.is_power_of_two() || !(RING_BYTES_MIN..=RING_BYTES_MAX).contains(&ring_bytes)
        {
            return Err(RingError::RingBytes(ring_bytes));
        }
        Self::load_with(EbpfLoader::new().map_max_entries(names::EVENTS, ring_bytes))
    }

    fn load_with(loader: &mut EbpfLoader<'_>) -> Result<Self, RingError> {
        if !object_embedded() {
            return Err(RingError::NoObject);
        }
        let mut ebpf = loader.load(OBJECT).map_err(|error| RingError::Load(Box::new(error)))?;
        compare_abi(&ebpf)?;
        let Some(Map::RingBuf(events)) = ebpf.take_map(names::EVENTS) else {
            return Err(RingError::Missing(names::EVENTS));
        };
        let events = RingBuffer::open(events)?;
        let counters = CounterMaps::take(&mut ebpf)?;
        let mut object = Self { ebpf, events, counters };
        for program in Program::ALWAYS {
            object.load_program(program)?;
        }
        Ok(object)
    }

    /// Loads a program that is not loaded yet.
    pub(super) fn load_program(&mut self, program: Program) -> Result<(), RingError> {
        let loaded = match self.ebpf.program_mut(program.name()) {
            Some(loaded) if loaded.fd().is_ok() => Ok(()),
            Some(AyaProgram::Xdp(xdp)) => xdp.load(),
            Some(AyaProgram::SchedClassifier(classifier)) => classifier.load(),
            _ => return Err(RingError::Missing(program.name())),
        };
        loaded.map_err(|source| failed("load", program, source))
    }

    /// An XDP program, to attach it.
    pub(super) fn xdp(&mut self, program: Program) -> Result<&mut Xdp, RingError> {
        match self.ebpf.program_mut(program.name()) {
            Some(AyaProgram::Xdp(xdp)) => Ok(xdp),
            _ => Err(RingError::Missing(program.name())),
        }
    }

    /// A tcx program, to attach it.
    pub(super) fn classifier(
        &mut self,
        program: Program,
    ) -> Result<&mut SchedClassifier, RingError> {
        match self.ebpf.program_mut(program.name()) {
            Some(AyaProgram::SchedClassifier(classifier)) => Ok(classifier),
            _ => Err(RingError::Missing(program.name())),
        }
    }

    /// Runs a program on a made-up frame through `BPF_PROG_TEST_RUN`, without any interface.
    /// `output` receives the frame as the program left it.
    pub(super) fn run(
        &self,
        program: Program,
        frame: &[u8],
        output: Option<&mut [u8]>,
        repeat: u32,
    ) -> Result<TestRunResult, RingError> {
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: output,
            repeat,
            ..TestRunOptions::default()
        };
        let result = match self.ebpf.program(program.name()) {
            Some(AyaProgram::Xdp(xdp)) => xdp.test_run(options),
            Some(AyaProgram::SchedClassifier(classifier)) => classifier.test_run(options),
            _ => return Err(RingError::Missing(program.name())),
        };
        result.map_err(|source| failed("run", program, source))
    }

    /// This thread's CPU time for `repeat` runs on `frame`. The kernel's own figure is whole
    /// nanoseconds a run, too coarse for programs of a few nanoseconds, and wall time would count
    /// what other processes do meanwhile.
    pub(super) fn time(
        &self,
        program: Program,
        frame: &[u8],
        repeat: u32,
    ) -> Result<Duration, RingError> {
        let start = thread_cpu_time();
        self.run(program, frame, None, repeat)?;
        Ok(thread_cpu_time().saturating_sub(start))
    }
}

fn thread_cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("Linux always has the thread's CPU clock")
        .into()
}

fn failed(action: &'static str, program: Program, source: ProgramError) -> RingError {
    RingError::Program { action, program: program.name(), source: Box::new(source) }
}

fn compare_abi(ebpf: &Ebpf) -> Result<(), RingError> {
    let map_error = |source| RingError::Map { map: ABI_SECTION, source: Box::new(source) };
    let section = ebpf.map(ABI_SECTION).ok_or(RingError::Missing(ABI_SECTION))?;
    let section: Array<&MapData, u32> = section.try_into().map_err(map_error)?;
    match section.get(&0, 0).map_err(map_error)? {
        ABI_VERSION => Ok(()),
        found => Err(RingError::Abi { found, expected: ABI_VERSION }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_object_says_what_to_do() {
        if object_embedded() {
            return;
        }
        let error = Object::load(RING_BYTES_MIN).err().unwrap().to_string();
        assert!(error.contains("cargo xtask build"), "{error}");
    }

    #[test]
    fn an_impossible_ring_is_refused() {
        for bytes in [0, 12345, RING_BYTES_MIN / 2, RING_BYTES_MAX * 2, u32::MAX] {
            assert!(
                matches!(Object::load(bytes), Err(RingError::RingBytes(refused)) if refused == bytes)
            );
        }
    }

    #[test]
    fn live_an_object_of_another_version_is_refused() {
        if !edgelore_testkit::live("live_an_object_of_another_version_is_refused") {
            return;
        }
        let foreign = ABI_VERSION + 41;
        let mut loader = EbpfLoader::new();
        let loaded = Object::load_with(loader.override_global("EDGELORE_ABI", &foreign, true));
        assert!(
            matches!(loaded, Err(RingError::Abi { found, .. }) if found == foreign),
            "{:?}",
            loaded.err()
        );
    }
}
