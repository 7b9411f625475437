//! OpenBGPD: routes come and go through bgpctl.
//!
//! Its unprivileged processes confine themselves to [`CHROOT`], a directory fixed when Debian built
//! it, that normally appears with the service. It is made here where it is missing, and stays empty.

use super::{HOPS, Identity, RETRY_S, START_DEADLINE, Speaker, ask, end, write};
use crate::{NetNs, Process, scratch, wait_for};
use anyhow::{Context, Result, ensure};
use edgelore_model::Prefix;
use std::path::{Path, PathBuf};
use std::process::Command;

const BGPD: &str = "/usr/sbin/bgpd";
const BGPCTL: &str = "/usr/sbin/bgpctl";
pub(super) const PROGRAMS: [&str; 2] = [BGPD, BGPCTL];
/// Where its unprivileged processes are confined.
const CHROOT: &str = "/run/openbgpd";

/// A running OpenBGPD.
#[derive(Debug)]
pub struct OpenBgpd {
    process: Process,
    socket: PathBuf,
    _scratch: tempfile::TempDir,
}

impl OpenBgpd {
    /// Starts OpenBGPD inside `namespace`. It installs nothing into the kernel's table.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(namespace: &NetNs, identity: &Identity) -> Result<Self> {
        let scratch = scratch("openbgpd")?;
        std::fs::create_dir_all(CHROOT).with_context(|| format!("make {CHROOT}"))?;
        let (socket, file) = (scratch.path().join("socket"), scratch.path().join("bgpd.conf"));
        write(&file, &configuration(identity, &socket))?;
        let mut command = namespace.command(BGPD);
        command.arg("-d").arg("-f").arg(&file);
        let process = Process::spawn("openbgpd", &mut command, &scratch.path().join("log"))?;
        let mut bgpd = Self { process, socket, _scratch: scratch };
        let mut ended = None;
        wait_for(START_DEADLINE, "start of openbgpd", || {
            ended = bgpd.process.exited();
            ended.is_some() || ask(bgpd.control().args(["show", "summary", "terse"])).is_ok()
        })?;
        ensure!(ended.is_none(), "openbgpd ended at once: {}", bgpd.process.log_tail());
        Ok(bgpd)
    }

    fn control(&self) -> Command {
        let mut command = Command::new(BGPCTL);
        command.arg("-s").arg(&self.socket);
        command
    }

    fn network(&self, verb: &str, prefixes: &[Prefix]) -> Result<()> {
        prefixes.iter().try_for_each(|prefix| {
            let mut control = self.control();
            ask(control.args(["network", verb]).arg(prefix.to_string())).map(drop)
        })
    }
}

impl Speaker for OpenBgpd {
    fn announce(&mut self, prefixes: &[Prefix]) -> Result<()> {
        self.network("add", prefixes)
    }

    fn withdraw(&mut self, prefixes: &[Prefix]) -> Result<()> {
        self.network("delete", prefixes)
    }

    fn stop(&mut self) -> Result<()> {
        end(&mut self.process, "openbgpd")
    }
}

pub(super) fn configuration(identity: &Identity, socket: &Path) -> String {
    let mut text = format!(
        "AS {}\nrouter-id {}\nfib-update no\nconnect-retry {RETRY_S}\nsocket \"{}\"\n",
        identity.asn,
        identity.router_id,
        socket.display()
    );
    for neighbour in &identity.neighbours {
        text += &format!("listen on {}\n", neighbour.local);
    }
    for neighbour in &identity.neighbours {
        let passive = if neighbour.passive { " passive\n" } else { "" };
        text += &format!(
            "neighbor {} {{\n remote-as {}\n local-address {}\n multihop {HOPS}\n holdtime {}\n\
             {passive}}}\n",
            neighbour.remote, neighbour.asn, neighbour.local, neighbour.hold_time_s
        );
    }
    text + "allow from any\nallow to any\n"
}
