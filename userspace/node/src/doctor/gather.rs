//! Asks the machine: /proc, rtnetlink, the kernel's verifier, the node that runs.
//!
//! **Invariant:** no question that fails keeps the others from being asked.

use super::{Examination, Facts, Interface, Tracepoints};
use crate::config::{Config, ConfigError};
use crate::control::Control;
use crate::egress::{Egress, OnlyThere};
use crate::keys;
use crate::watcher::Hooks;
use edgelore_capture::Clock;
use edgelore_capture::netlink::{Device, FibConfig, FibSource};
use edgelore_capture::ring::{self, Ring, RingConfig, Watch};
use edgelore_capture::trace::{self, Origin, TraceConfig, TraceSource};
use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel shows its types.
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";
/// Made and removed to see whether the data directory can be written.
const PROBE_FILE: &str = ".doctor";

/// Asks everything. The answers are those of this thread's network namespace.
pub async fn gather(examination: &Examination) -> Facts {
    let loaded = Config::load(&examination.config);
    let valid = loaded.as_ref().map(drop).map_err(ConfigError::to_string);
    let config = loaded.unwrap_or_default();
    let clock = Clock::new();
    let names = selected(&config);
    let key = config.publish.key.clone().unwrap_or_else(|| config.node.data_dir.join("key"));
    Facts {
        kernel: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
        btf: Path::new(KERNEL_TYPES).exists(),
        capabilities: capabilities(),
        unprivileged_bpf_disabled: line("/proc/sys/kernel/unprivileged_bpf_disabled")
            .and_then(|text| text.parse().ok()),
        objects_embedded: ring::object_embedded() && trace::object_embedded(),
        config: valid,
        programs: programs(&config, clock),
        interfaces: names.iter().map(|name| interface(name)).collect(),
        routers: config.capture.bmp.is_some(),
        egress: config.capture.egress,
        attached: examination.attach.then(|| attach(&config, &names, clock)),
        tracepoints: config.capture.tracepoints.then(|| tracepoints(clock)),
        ring_bytes: config.capture.ring_bytes.into(),
        memory_bytes: memory(),
        data_dir: writable(&config.node.data_dir),
        key: key.exists().then(|| keys::load(&key).map(drop).map_err(|error| chain(&error))),
        fib: FibSource::open(FibConfig {
            clock,
            tables: config.capture.fib_tables.clone(),
            ..FibConfig::default()
        })
        .map(drop)
        .map_err(|error| chain(&error)),
        // A glob that is none is a finding of the configuration.
        only_there: OnlyThere::beside(config.capture.selection().unwrap_or_default()),
        node: node(&config.node.data_dir).await,
    }
}

/// Loads the programs and lets them test themselves, without any interface.
fn programs(config: &Config, clock: Clock) -> Result<(), String> {
    let ring = RingConfig { watch: Vec::new(), ring_bytes: config.capture.ring_bytes };
    Ring::open(&ring, clock).map(drop).map_err(|error| chain(&error))
}

/// Attaches the programs as the node would, says how, and detaches them.
fn attach(config: &Config, names: &[String], clock: Clock) -> Result<Vec<String>, String> {
    let Hooks { xdp, egress } = config.capture.hooks();
    // It may have to be watched before long.
    let egress = egress != Egress::Never;
    let watch = names.iter().map(|name| Watch { xdp, egress, ..Watch::both(name) }).collect();
    let ring = RingConfig { watch, ring_bytes: config.capture.ring_bytes };
    let ring = Ring::open(&ring, clock).map_err(|error| chain(&error))?;
    let describe = |attachment: &ring::Attachment| {
        let mode = format!("{} {:?}", attachment.interface, attachment.mode);
        if attachment.fallback.is_empty() {
            return mode;
        }
        format!("{mode} ({})", attachment.fallback.trim_end_matches("; "))
    };
    Ok(ring.attachments().iter().map(describe).collect())
}

/// The interfaces that the node would watch now, and those named in full that are not there.
fn selected(config: &Config) -> Vec<String> {
    // A glob that is none is a finding of the configuration.
    let Ok(selection) = config.capture.selection() else { return Vec::new() };
    let present = ring::interfaces().unwrap_or_default().into_iter().map(|(_, name)| name);
    let wanted = present.filter(|name| selection.wants(name));
    let names: BTreeSet<String> = wanted.chain(selection.names().map(str::to_owned)).collect();
    names.into_iter().collect()
}

fn interface(name: &str) -> Interface {
    Interface { name: name.to_owned(), device: Device::find(name).map_err(|error| chain(&error)) }
}

/// Attaches the tracepoints for a moment: they belong to no interface and change nothing.
fn tracepoints(clock: Clock) -> Result<Tracepoints, String> {
    let source =
        TraceSource::open(&TraceConfig::new(clock, Vec::new())).map_err(|error| chain(&error))?;
    Ok(Tracepoints {
        attached: source.attached().iter().map(|point| point.name().to_owned()).collect(),
        missing: source
            .missing()
            .iter()
            .map(|missing| (missing.name.to_owned(), missing.why.clone()))
            .collect(),
        tracefs: match source.tracefs() {
            Some(Origin::Mounted(path)) => format!("tracefs at {}", path.display()),
            Some(Origin::Private) => "tracefs mounted privately".to_owned(),
            None => "no tracefs".to_owned(),
        },
    })
}

/// `CapEff` of this process.
fn capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(held.trim(), 16).ok()
}

/// `MemAvailable`, in bytes.
fn memory() -> Option<u64> {
    let figures = fs::read_to_string("/proc/meminfo").ok()?;
    let available = figures.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = available.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Writes and removes a file in the directory, or in the nearest one above it that exists, where
/// the node would make it.
fn writable(directory: &Path) -> Result<(), String> {
    let existing = directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let probe: PathBuf = existing.join(format!("{PROBE_FILE}.{}", std::process::id()));
    let written = fs::OpenOptions::new().write(true).create_new(true).open(&probe).map(drop);
    written
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| format!("write to {}: {error}", existing.display()))
}

async fn node(data_dir: &Path) -> Option<Result<crate::status::Status, String>> {
    let control = Control::connect(data_dir).ok()?;
    Some(control.status().await.map_err(|error| chain(&error)))
}

fn line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// An error with its causes, on one line; a verifier's log is cut.
fn chain(error: &dyn Error) -> String {
    const CHARACTERS_MAX: usize = 300;
    let text = edgelore_capture::reason(error);
    text.lines().next().unwrap_or_default().chars().take(CHARACTERS_MAX).collect()
}
