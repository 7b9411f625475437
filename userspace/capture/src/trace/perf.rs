//! Owns the attachment of a program to a tracepoint, a perf event that the program is set on, and what the
//! kernel says of the program then.
//!
//! An attachment is made from the tracepoint's number alone, so that it works with a tracefs that is mounted
//! nowhere. The kernel detaches the program when the descriptor is closed.

use super::tracefs::descriptor;
use nix::libc;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `struct perf_event_attr` as far as a tracepoint needs it (`PERF_ATTR_SIZE_VER0`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
}

const _: () = assert!(size_of::<Attributes>() == 64);

const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: libc::c_long = 8;
/// `PERF_EVENT_IOC_ENABLE`.
const ENABLE: libc::c_ulong = 0x2400;
/// `PERF_EVENT_IOC_SET_BPF`.
const SET_PROGRAM: libc::c_ulong = 0x4004_2408;
const EVERY_PROCESS: libc::c_long = -1;
/// The event is opened for one CPU; a program on a tracepoint runs on all of them.
const CPU: libc::c_long = 0;
const NO_GROUP: libc::c_long = -1;

/// Sets `program` on the tracepoint with this number; it runs until the descriptor is closed.
pub(super) fn attach(program: BorrowedFd<'_>, tracepoint: u64) -> io::Result<OwnedFd> {
    let attributes = Attributes {
        kind: PERF_TYPE_TRACEPOINT,
        size: size_of::<Attributes>() as u32,
        config: tracepoint,
        ..Attributes::default()
    };
    // SAFETY: the attributes are valid for reading the size that they state.
    let event = descriptor(unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            EVERY_PROCESS,
            CPU,
            NO_GROUP,
            PERF_FLAG_FD_CLOEXEC,
        )
    })?;
    control(&event, SET_PROGRAM, program.as_raw_fd())?;
    control(&event, ENABLE, 0)?;
    Ok(event)
}

fn control(event: &OwnedFd, request: libc::c_ulong, argument: i32) -> io::Result<()> {
    // SAFETY: both requests take a number, and the descriptor is open.
    match unsafe { libc::ioctl(event.as_raw_fd(), request as _, argument) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How often the kernel did not run a program because another one was at work on that CPU; 0 where
/// the kernel does not say.
pub(super) fn skipped(program: BorrowedFd<'_>) -> io::Result<u64> {
    let said = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd()))?;
    let counts = said.lines().filter_map(|line| line.strip_prefix("recursion_misses:"));
    Ok(counts.filter_map(|count| count.trim().parse::<u64>().ok()).sum())
}
