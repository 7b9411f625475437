//! FRR daemons in a network namespace, without systemd.
//!
//! Invariant: the daemons are children of this process, keep all their state in one temporary
//! directory, and end with the guard.

use crate::{Injection, NetNs, Process, scratch, wait_for};
use anyhow::{Context, Result, ensure};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const FRR_LIBRARY: &str = "/usr/lib/frr";
const VTYSH: &str = "/usr/bin/vtysh";
const START_DEADLINE: Duration = Duration::from_secs(20);

/// A daemon of FRR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrrDaemon {
    /// The kernel's routing table; must be there when the others register their routes.
    Zebra,
    /// BFD.
    Bfdd,
    /// BGP.
    Bgpd,
    /// OSPFv2.
    Ospfd,
    /// OSPFv3.
    Ospf6d,
    /// IS-IS.
    Isisd,
    /// LDP.
    Ldpd,
}

impl FrrDaemon {
    /// All of them, in an order in which they can be started.
    pub const ALL: [Self; 7] =
        [Self::Zebra, Self::Bfdd, Self::Bgpd, Self::Ospfd, Self::Ospf6d, Self::Isisd, Self::Ldpd];

    const fn name(self) -> &'static str {
        match self {
            Self::Zebra => "zebra",
            Self::Bfdd => "bfdd",
            Self::Bgpd => "bgpd",
            Self::Ospfd => "ospfd",
            Self::Ospf6d => "ospf6d",
            Self::Isisd => "isisd",
            Self::Ldpd => "ldpd",
        }
    }
}

/// Which of the FRR programs that the laboratory uses are not installed.
#[must_use]
pub fn frr_missing() -> Vec<PathBuf> {
    FrrDaemon::ALL
        .iter()
        .map(|daemon| Path::new(FRR_LIBRARY).join(daemon.name()))
        .chain([PathBuf::from(VTYSH)])
        .filter(|path| !path.exists())
        .collect()
}

/// The FRR daemons of one router.
#[derive(Debug)]
pub struct Frr {
    // Dropped in order: the daemons before the directory that they write to.
    daemons: Vec<Process>,
    /// Sockets, pid files, logs and configuration.
    directory: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Frr {
    /// Starts zebra, bfdd and bgpd inside `namespace` and loads `config`, in `vtysh` syntax.
    ///
    /// # Errors
    /// When a daemon does not come up or refuses a line of the configuration.
    pub fn start(namespace: &NetNs, config: &str) -> Result<Self> {
        let daemons = [FrrDaemon::Zebra, FrrDaemon::Bfdd, FrrDaemon::Bgpd];
        Self::start_daemons(namespace, &daemons, config)
    }

    /// Starts `daemons`, zebra first, and loads `config`.
    ///
    /// # Errors
    /// As [`Frr::start`].
    pub fn start_daemons(namespace: &NetNs, daemons: &[FrrDaemon], config: &str) -> Result<Self> {
        Self::start_modules(namespace, daemons, config, &[])
    }

    /// Starts zebra and a bgpd that loads these modules, such as `bmp`, and loads `config`.
    ///
    /// # Errors
    /// As [`Frr::start`].
    pub fn start_with(namespace: &NetNs, config: &str, bgpd_modules: &[&str]) -> Result<Self> {
        let daemons = [FrrDaemon::Zebra, FrrDaemon::Bfdd, FrrDaemon::Bgpd];
        Self::start_modules(namespace, &daemons, config, bgpd_modules)
    }

    fn start_modules(
        namespace: &NetNs,
        daemons: &[FrrDaemon],
        config: &str,
        bgpd_modules: &[&str],
    ) -> Result<Self> {
        let scratch = scratch("frr")?;
        let directory = scratch.path().join("run");
        give_to_frr(scratch.path(), &directory)?;
        let mut router = Self { daemons: Vec::new(), directory, _scratch: scratch };
        for &daemon in daemons {
            let modules = if daemon == FrrDaemon::Bgpd { bgpd_modules } else { &[] };
            router.start_daemon(namespace, daemon, modules)?;
        }
        router.configure(config)?;
        Ok(router)
    }

    fn start_daemon(
        &mut self,
        namespace: &NetNs,
        daemon: FrrDaemon,
        modules: &[&str],
    ) -> Result<()> {
        let (directory, with_control) = (&self.directory, daemon == FrrDaemon::Ldpd);
        let daemon = daemon.name();
        let file = |suffix: &str| directory.join(format!("{daemon}.{suffix}"));
        std::fs::write(file("conf"), "").context("write an empty configuration")?;
        let mut command = namespace.command(&format!("{FRR_LIBRARY}/{daemon}"));
        command.args(["-u", "frr", "-g", "frr", "-A", "127.0.0.1", "-P", "0", "--vty_socket"]);
        command.arg(directory).arg("-z").arg(directory.join("zserv.api"));
        command.arg("-i").arg(file("pid")).arg("-f").arg(file("conf"));
        if with_control {
            command.arg("--ctl_socket").arg(directory);
        }
        command.args(modules.iter().flat_map(|module| ["-M", module]));
        let mut process = Process::spawn(daemon, &mut command, &file("log"))?;
        let socket = file("vty");
        let mut ended = None;
        wait_for(START_DEADLINE, &format!("start of {daemon}"), || {
            ended = process.exited();
            ended.is_some() || socket.exists()
        })?;
        ensure!(ended.is_none(), "{daemon} ended at once: {}", process.log_tail());
        self.daemons.push(process);
        Ok(())
    }

    /// Loads configuration lines into the running daemons.
    ///
    /// # Errors
    /// When a line is refused, with what vtysh said.
    pub fn configure(&self, config: &str) -> Result<()> {
        let file = self.directory.join("load.conf");
        std::fs::write(&file, config).context("write the configuration")?;
        let output = self.vtysh().arg("-f").arg(&file).output().context("start vtysh")?;
        ensure!(
            output.status.success(),
            "FRR refused the configuration: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// What a `show … json` command prints.
    ///
    /// # Errors
    /// When vtysh fails or prints something else.
    pub fn show(&self, command: &str) -> Result<serde_json::Value> {
        let output = self.vtysh().args(["-c", command]).output().context("start vtysh")?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("read the answer to `{command}`"))
    }

    /// What a `show` command without a JSON form prints.
    ///
    /// # Errors
    /// When vtysh fails.
    pub fn show_text(&self, command: &str) -> Result<String> {
        let output = self.vtysh().args(["-c", command]).output().context("start vtysh")?;
        ensure!(output.status.success(), "vtysh refused `{command}`");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Ends the daemons in good order, zebra last.
    ///
    /// # Errors
    /// When one cannot be signalled or waited for.
    pub fn stop(&mut self) -> Result<()> {
        while let Some(mut daemon) = self.daemons.pop() {
            daemon.stop()?;
        }
        Ok(())
    }

    /// Kills a daemon as a crash would (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, daemon: FrrDaemon) -> Result<Injection> {
        let name = daemon.name();
        let running = self.daemons.iter_mut().find(|process| process.name() == name);
        running.with_context(|| format!("find a running {name}"))?.kill()
    }

    /// The directory of the daemons' sockets, as `vtysh --vty_socket` takes it.
    #[must_use]
    pub fn sockets(&self) -> &Path {
        &self.directory
    }

    /// The session with `peer` is Established (RFC 4271, 8.2.2).
    #[must_use]
    pub fn established(&self, peer: &str) -> bool {
        self.show("show bgp ipv4 unicast summary json")
            .is_ok_and(|summary| summary["peers"][peer]["state"] == "Established")
    }

    /// The BFD session with `peer` is Up (RFC 5880, 6.2) and has its own, not the slow initial,
    /// detection time on both sides.
    #[must_use]
    pub fn bfd_up(&self, peer: &str, interval_ms: u64) -> bool {
        self.show("show bfd peers json").is_ok_and(|peers| {
            peers.as_array().into_iter().flatten().any(|session| {
                session["peer"] == peer
                    && session["status"] == "up"
                    && session["remote-transmit-interval"] == interval_ms
                    && session["transmit-interval"] == interval_ms
            })
        })
    }

    fn vtysh(&self) -> Command {
        let mut command = Command::new(VTYSH);
        command.arg("--vty_socket").arg(&self.directory);
        command
    }
}

/// The daemons drop root before they create their sockets.
fn give_to_frr(scratch: &Path, directory: &Path) -> Result<()> {
    let user = nix::unistd::User::from_name("frr")
        .context("look up the user frr")?
        .context("there is no user frr: FRR is not installed")?;
    let readable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(scratch, readable)
        .and_then(|()| std::fs::create_dir(directory))
        .context("create a directory that FRR can reach")?;
    nix::unistd::chown(directory, Some(user.uid), Some(user.gid))
        .context("give the directory to the user frr")
}
