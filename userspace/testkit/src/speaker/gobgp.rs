//! GoBGP: routes come and go through its command line client.

use super::{HOPS, Identity, RETRY_S, START_DEADLINE, Speaker, ask, end, family, write};
use crate::{NetNs, Process, scratch, wait_for};
use anyhow::{Result, ensure};
use edgelore_model::Prefix;
use std::path::PathBuf;
use std::process::Command;

const GOBGPD: &str = "/usr/bin/gobgpd";
const GOBGP: &str = "/usr/bin/gobgp";
pub(super) const PROGRAMS: [&str; 2] = [GOBGPD, GOBGP];
/// Inside the namespace: every GoBGP has its own loopback.
const API: &str = "127.0.0.1:50051";

/// A running gobgpd.
#[derive(Debug)]
pub struct GoBgp {
    process: Process,
    namespace: PathBuf,
    _scratch: tempfile::TempDir,
}

impl GoBgp {
    /// Starts gobgpd inside `namespace`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(namespace: &NetNs, identity: &Identity) -> Result<Self> {
        let scratch = scratch("gobgp")?;
        let file = scratch.path().join("gobgp.toml");
        write(&file, &configuration(identity))?;
        let mut command = namespace.command(GOBGPD);
        command.args(["-t", "toml", "--pprof-disable", "--api-hosts", API, "-f"]).arg(&file);
        let process = Process::spawn("gobgpd", &mut command, &scratch.path().join("log"))?;
        let mut gobgp = Self { process, namespace: namespace.path(), _scratch: scratch };
        let mut ended = None;
        wait_for(START_DEADLINE, "start of gobgpd", || {
            ended = gobgp.process.exited();
            ended.is_some() || ask(gobgp.client().arg("global")).is_ok()
        })?;
        ensure!(ended.is_none(), "gobgpd ended at once: {}", gobgp.process.log_tail());
        Ok(gobgp)
    }

    fn client(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace.display())).arg(GOBGP);
        command
    }

    fn change(&self, verb: &str, prefixes: &[Prefix]) -> Result<()> {
        prefixes.iter().try_for_each(|prefix| {
            let mut client = self.client();
            client.args(["global", "rib", verb]).arg(prefix.to_string());
            ask(client.args(["-a", family(prefix.address())])).map(drop)
        })
    }
}

impl Speaker for GoBgp {
    fn announce(&mut self, prefixes: &[Prefix]) -> Result<()> {
        self.change("add", prefixes)
    }

    fn withdraw(&mut self, prefixes: &[Prefix]) -> Result<()> {
        self.change("del", prefixes)
    }

    fn stop(&mut self) -> Result<()> {
        end(&mut self.process, "gobgpd")
    }
}

pub(super) fn configuration(identity: &Identity) -> String {
    let mut text =
        format!("[global.config]\nas = {}\nrouter-id = \"{}\"\n", identity.asn, identity.router_id);
    for neighbour in &identity.neighbours {
        let keepalive_s = neighbour.hold_time_s / 3;
        text += &format!(
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {}\n\
             [neighbors.transport.config]\nlocal-address = \"{}\"\npassive-mode = {}\n\
             [neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = {HOPS}\n\
             [neighbors.timers.config]\nhold-time = {}\nkeepalive-interval = {keepalive_s}\n\
             connect-retry = {RETRY_S}\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{}-unicast\"\n",
            neighbour.remote,
            neighbour.asn,
            neighbour.local,
            neighbour.passive,
            neighbour.hold_time_s,
            family(neighbour.remote),
        );
    }
    text
}
