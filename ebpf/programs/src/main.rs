//! The BPF programs: thin shells around `edgelore-headers` that look at every packet, count it,
//! and send control-plane changes to userspace.
//!
//! They never drop, redirect or alter a packet: XDP always passes, tcx always continues with the
//! next program. Everything here runs in the kernel under its verifier.
//!
//! ```text
//! xdp.rs ─┬─ first look ─► count
//!         └─► the whole walk ─► control.rs: count / withhold ─► record ─► EVENTS
//! tc.rs ──── likewise           hello.rs: hellos    outline.rs: delta headers
//! ```
#![no_std]
#![no_main]
// The target has the instruction for atomic addition, and `core` no function that makes it.
#![feature(asm_experimental_arch)]

mod classify;
mod control;
mod hello;
mod maps;
mod outline;
mod tc;
mod xdp;

/// Userspace refuses an object whose version is not its own.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata.abi")]
static EDGELORE_ABI: u32 = edgelore_events::ABI_VERSION;

/// The licence that the kernel asks for before it lends its GPL-only helpers.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects a program from which this can be reached, so it never runs.
    loop {}
}
