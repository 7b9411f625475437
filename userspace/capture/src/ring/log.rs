//! Owns the way of the programs' own messages into `tracing`. Never decides what is worth saying.

use aya::Ebpf;
use aya_log::EbpfLogger;
use std::os::fd::{AsFd, BorrowedFd};

/// Hands messages on at the level that the program gave them.
pub(super) struct Forward;

impl log::Log for Forward {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let (message, at) = (record.args(), record.module_path().unwrap_or_default());
        match record.level() {
            log::Level::Error => tracing::error!(target: "edgelore::kernel", at, "{message}"),
            log::Level::Warn => tracing::warn!(target: "edgelore::kernel", at, "{message}"),
            log::Level::Info => tracing::info!(target: "edgelore::kernel", at, "{message}"),
            log::Level::Debug => tracing::debug!(target: "edgelore::kernel", at, "{message}"),
            log::Level::Trace => tracing::trace!(target: "edgelore::kernel", at, "{message}"),
        }
    }

    fn flush(&self) {}
}

/// The reader of the programs' messages.
pub(super) struct KernelLog(EbpfLogger<Forward>);

impl KernelLog {
    /// `None` when the object says nothing or its log cannot be read: a ring works without.
    pub(super) fn open(ebpf: &mut Ebpf) -> Option<Self> {
        EbpfLogger::init_with_logger(ebpf, Forward)
            .inspect_err(|error| tracing::warn!(%error, "kernel-side messages will not be shown"))
            .ok()
            .map(Self)
    }

    /// Passes on what has arrived.
    pub(super) fn flush(&mut self) {
        self.0.flush();
    }
}

impl AsFd for KernelLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
