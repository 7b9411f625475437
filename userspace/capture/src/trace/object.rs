//! Owns the embedded tracepoint object: filling in the layout, loading, attaching.
//!
//! **Invariant:** programs are loaded and attached one by one; one that is refused is listed, and
//! the others go on.

use super::error::{Missing, TraceError};
use super::layout::{Tracepoint, namespace};
use super::perf;
use super::tracefs::{Origin, Tracefs};
use crate::reason;
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, RingBuf};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use edgelore_events::trace::{Connection, Counts, Layout, QueueCounts, names};
use edgelore_events::{ABI_SECTION, ABI_VERSION};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

#[cfg(bpf_trace_object)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracepoints.bpf.o"));
#[cfg(not(bpf_trace_object))]
static OBJECT: &[u8] = &[];

/// Whether this binary carries the tracepoints' BPF object.
#[must_use]
pub const fn object_embedded() -> bool {
    cfg!(bpf_trace_object)
}

/// A [`Connection`] as the bytes of a map's key.
pub(super) type ConnectionKey = [u8; size_of::<Connection>()];

/// The loaded object with everything that could be attached.
pub(super) struct Object {
    /// Keeps the programs loaded.
    ebpf: Ebpf,
    /// Keeps the programs attached.
    _events: Vec<OwnedFd>,
    pub(super) counts: PerCpuArray<MapData, Counts>,
    pub(super) queues: PerCpuHashMap<MapData, u32, QueueCounts>,
    pub(super) retransmits: PerCpuHashMap<MapData, ConnectionKey, u64>,
    pub(super) records: RingBuf<MapData>,
    pub(super) attached: Vec<Tracepoint>,
    pub(super) missing: Vec<Missing>,
    /// The kernel's names of drop reasons.
    pub(super) reasons: BTreeMap<u32, String>,
    /// Which tracefs was read; `None` when none could be had.
    pub(super) tracefs: Option<Origin>,
}

/// What tracefs says.
#[derive(Default)]
struct Surveyed {
    layout: Layout,
    reasons: BTreeMap<u32, String>,
    /// The usable tracepoints with their numbers.
    usable: Vec<(Tracepoint, u64)>,
    missing: Vec<Missing>,
    tracefs: Option<Origin>,
}

impl Object {
    /// Loads what this kernel can have, and attaches it; in this thread's network namespace.
    pub(super) fn open() -> Result<Self, TraceError> {
        if !object_embedded() {
            return Err(TraceError::NoObject);
        }
        let Surveyed { layout, reasons, usable, mut missing, tracefs } = survey();
        let layout = bytemuck::bytes_of(&layout);
        let mut ebpf = EbpfLoader::new()
            .override_global(names::LAYOUT, layout, true)
            .load(OBJECT)
            .map_err(|error| TraceError::Load(Box::new(error)))?;
        compare_abi(&ebpf)?;
        let (mut events, mut attached) = (Vec::new(), Vec::new());
        for (tracepoint, number) in usable {
            match attach(&mut ebpf, tracepoint, number) {
                Ok(event) => {
                    events.push(event);
                    attached.push(tracepoint);
                }
                Err(why) => missing.push(Missing { name: tracepoint.name(), why }),
            }
        }
        Ok(Self {
            counts: take(&mut ebpf, names::COUNTS)?,
            queues: take(&mut ebpf, names::QUEUES)?,
            retransmits: take(&mut ebpf, names::RETRANSMITS)?,
            records: take(&mut ebpf, names::RECORDS)?,
            ebpf,
            _events: events,
            attached,
            missing,
            reasons,
            tracefs,
        })
    }

    /// How often the kernel did not run a program because another one was at work on that CPU.
    pub(super) fn skipped(&self) -> io::Result<u64> {
        let loaded = self.ebpf.programs().filter_map(|(_, program)| program.fd().ok());
        loaded.map(|program| perf::skipped(program.as_fd())).sum()
    }
}

/// Reads every tracepoint's format. Tracefs is closed again: numbers and offsets stay as they are.
fn survey() -> Surveyed {
    let mut found = Surveyed::default();
    match namespace() {
        Ok(namespace) => found.layout.namespace = namespace,
        Err(why) => found.missing.push(Missing { name: "network namespace filter", why }),
    }
    let tracefs = match Tracefs::open() {
        Ok(tracefs) => tracefs,
        Err(error) => {
            let why = format!("no tracefs can be read, and none can be mounted: {error}");
            let all = Tracepoint::ALL.into_iter();
            found.missing.extend(all.map(|t| Missing { name: t.name(), why: why.clone() }));
            return found;
        }
    };
    found.tracefs = Some(tracefs.origin().clone());
    for tracepoint in Tracepoint::ALL {
        if let Err(why) = found.add(&tracefs, tracepoint) {
            found.missing.push(Missing { name: tracepoint.name(), why });
        }
    }
    found
}

impl Surveyed {
    fn add(&mut self, tracefs: &Tracefs, tracepoint: Tracepoint) -> Result<(), String> {
        let (category, event) = tracepoint.path();
        let (number, format) =
            tracefs.describe(category, event).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => "this kernel has no such tracepoint".to_owned(),
                _ => format!("its format cannot be read: {error}"),
            })?;
        tracepoint.fill(&format, &mut self.layout).map_err(|error| error.to_string())?;
        if tracepoint == Tracepoint::Drop {
            self.reasons = format.symbols("reason");
        }
        self.usable.push((tracepoint, number));
        Ok(())
    }
}

fn attach(ebpf: &mut Ebpf, tracepoint: Tracepoint, number: u64) -> Result<OwnedFd, String> {
    let Some(Program::TracePoint(program)) = ebpf.program_mut(tracepoint.program()) else {
        return Err(format!("the eBPF object has no program {}", tracepoint.program()));
    };
    program.load().map_err(|error| match error {
        // Without the verifier's log, which may take pages.
        ProgramError::LoadError { io_error, .. } => format!("load its program: {io_error}"),
        other => format!("load its program: {}", reason(&other)),
    })?;
    let descriptor = program.fd().map_err(|error| reason(&error))?;
    perf::attach(descriptor.as_fd(), number).map_err(|error| format!("attach: {error}"))
}

fn compare_abi(ebpf: &Ebpf) -> Result<(), TraceError> {
    let map_error = |source| TraceError::Map { map: ABI_SECTION, source: Box::new(source) };
    let section = ebpf.map(ABI_SECTION).ok_or(TraceError::Missing(ABI_SECTION))?;
    let section: Array<&MapData, u32> = section.try_into().map_err(map_error)?;
    match section.get(&0, 0).map_err(map_error)? {
        ABI_VERSION => Ok(()),
        found => Err(TraceError::Abi { found, expected: ABI_VERSION }),
    }
}

fn take<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    map: &'static str,
) -> Result<M, TraceError> {
    let taken = ebpf.take_map(map).ok_or(TraceError::Missing(map))?;
    M::try_from(taken).map_err(|source| TraceError::Map { map, source: Box::new(source) })
}
