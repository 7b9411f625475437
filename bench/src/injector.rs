//! A second handle on an XDP program of an open ring, so that one thread can feed the ring while
//! another reads it.
//!
//! **Invariant:** never touches a program that another process loaded: the program must use the
//! very map that the ring reads.

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData, RingBuf};
use aya::programs::{ProgramInfo, TestRun as _, TestRunOptions, Xdp, loaded_programs};
use aya_obj::programs::XdpAttachType;
use edgelore_capture::ring::{Program, Ring};
use std::os::fd::{AsFd as _, AsRawFd as _};

/// Runs the program on made-up frames.
pub(crate) struct Injector(Xdp);

/// A second handle on the ring buffer itself, for a reader that is not ours.
///
/// # Errors
/// When the kernel does not give the map out.
pub(crate) fn second_reader(ring: &Ring) -> Result<RingBuf<MapData>> {
    let map = MapData::from_id(map_id(ring)?).context("open the ring by its id")?;
    RingBuf::try_from(Map::RingBuf(map)).context("map the ring")
}

impl Injector {
    /// The injector of `ring` through the program that watches ingress.
    pub(crate) fn of(ring: &Ring) -> Result<Self> {
        Self::through(Program::Xdp, ring)
    }

    /// The injector of `ring` through one of its XDP programs.
    pub(crate) fn through(program: Program, ring: &Ring) -> Result<Self> {
        let map = map_id(ring)?;
        for info in loaded_programs() {
            // A program of another process may vanish between being listed and being opened.
            let Ok(info) = info else { continue };
            if is_ours(&info, program, map) {
                let (name, hook) = (program.name().into(), XdpAttachType::Interface);
                let program = Xdp::from_program_info(info, name, hook);
                return Ok(Self(program.context("open the XDP program by its id")?));
            }
        }
        bail!("program {} of the ring is not listed by the kernel", program.name());
    }

    /// Runs the program `repeat` times on `frame`.
    pub(crate) fn inject(&self, frame: &[u8], repeat: u32) -> Result<()> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        self.0.test_run(options).context("run the XDP program")?;
        Ok(())
    }
}

fn is_ours(info: &ProgramInfo, program: Program, map: u32) -> bool {
    info.name_as_str() == Some(program.name())
        && matches!(info.map_ids(), Ok(Some(ids)) if ids.contains(&map))
}

/// The kernel's id of the map that the ring reads.
fn map_id(ring: &Ring) -> Result<u32> {
    let path = format!("/proc/self/fdinfo/{}", ring.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let id = text.lines().find_map(|line| line.strip_prefix("map_id:"));
    let id = id.with_context(|| format!("find map_id in {path}"))?;
    id.trim().parse().with_context(|| format!("read map_id in {path}"))
}
