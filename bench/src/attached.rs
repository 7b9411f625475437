//! The program that does nothing, attached to interfaces: what any XDP program costs the traffic.
//!
//! **Invariant:** it is a program that this process loaded, and it is attached no longer than wanted.

use anyhow::{Context as _, Result};
use aya::programs::{ProgramInfo, Xdp, XdpMode, loaded_programs};
use aya_obj::programs::XdpAttachType;
use edgelore_capture::ring::Program;
use edgelore_testkit::NetNs;
use std::collections::BTreeSet;

/// The loaded program.
pub(crate) struct Empty(Xdp);

impl Empty {
    /// Loads it.
    pub(crate) fn load() -> Result<Self> {
        let ring = crate::ring::open()?;
        let info = own(Program::Empty.name())?;
        let (name, hook) = (Program::Empty.name().into(), XdpAttachType::Interface);
        let program = Xdp::from_program_info(info, name, hook).context("open the program")?;
        // The program lives on by the handle just opened.
        drop(ring);
        Ok(Self(program))
    }

    /// Runs `during` while the program is attached, natively, to what comes in on `interfaces` of
    /// `namespace`.
    pub(crate) fn attached<T>(
        &mut self,
        namespace: &NetNs,
        interfaces: &[String],
        during: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let Self(program) = self;
        let mut links = Vec::new();
        namespace.run(|| {
            for interface in interfaces {
                let link = program.attach(interface, XdpMode::Driver);
                links.push(link.with_context(|| format!("attach the program to {interface}"))?);
            }
            Ok(())
        })?;
        let done = during();
        for link in links {
            program.detach(link).context("detach the empty program")?;
        }
        done
    }
}

/// The program of that name which this process has loaded.
fn own(name: &str) -> Result<ProgramInfo> {
    let ids = own_ids()?;
    let mut programs = loaded_programs().filter_map(Result::ok);
    let found = programs.find(|info| info.name_as_str() == Some(name) && ids.contains(&info.id()));
    found.with_context(|| format!("find the program {name} among those of this process"))
}

/// The kernel's ids of the programs that this process holds open.
fn own_ids() -> Result<BTreeSet<u32>> {
    let entries = std::fs::read_dir("/proc/self/fdinfo").context("list the open files")?;
    let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    let id = |text: String| {
        text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
    };
    Ok(texts.filter_map(id).collect())
}
