//! PostgreSQL.

use super::{Certificates, PASSWORD, START_DEADLINE, free_port};
use crate::{Process, wait_for};
use anyhow::{Context, Result, ensure};
use nix::unistd::{User, chown, geteuid};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Where Debian and its derivatives keep releases of PostgreSQL.
const RELEASES: &str = "/usr/lib/postgresql";
/// Users that may own the data when this is root, which PostgreSQL refuses to run as.
const OWNERS: [&str; 2] = ["postgres", "nobody"];

/// The programs of the newest release that is installed.
pub(super) fn programs() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(RELEASES)
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let release = path.file_name()?.to_str()?.parse().ok()?;
            let programs = path.join("bin");
            programs.join("initdb").exists().then_some((release, programs))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, programs)| programs)
}

/// A PostgreSQL server with the superuser `edgelore` and [`PASSWORD`].
#[derive(Debug)]
pub struct PostgresServer {
    process: Option<Process>,
    directory: TempDir,
    programs: PathBuf,
    owner: Option<User>,
    port: u16,
}

impl PostgresServer {
    /// Makes a cluster and starts it.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not answer in time.
    pub fn start() -> Result<Self> {
        Self::begin(programs(), None)
    }

    /// The release with pgvector that `cargo xtask setup` brings.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_pgvector() -> Result<Self> {
        Self::begin(super::pgvector_programs(), None)
    }

    /// The same, with TLS.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_tls(certificates: &Certificates) -> Result<Self> {
        Self::begin(programs(), Some(certificates))
    }

    fn begin(programs: Option<PathBuf>, certificates: Option<&Certificates>) -> Result<Self> {
        let programs = programs.context("this PostgreSQL is not installed")?;
        let directory = tempfile::tempdir().context("create a directory for PostgreSQL")?;
        let mut server =
            Self { process: None, directory, programs, owner: owner()?, port: free_port()? };
        server.own(server.directory.path())?;
        server.initialise()?;
        if let Some(certificates) = certificates {
            server.install(certificates)?;
        }
        server.start_again()?;
        Ok(server)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn own(&self, path: &Path) -> Result<()> {
        let Some(owner) = &self.owner else { return Ok(()) };
        chown(path, Some(owner.uid), Some(owner.gid))
            .with_context(|| format!("give {} to {}", path.display(), owner.name))
    }

    /// A program of PostgreSQL's, as a user that it accepts.
    fn command(&self, program: &str) -> Command {
        let path = self.programs.join(program);
        let mut command = match &self.owner {
            None => Command::new(path),
            Some(owner) => {
                let mut command = Command::new("setpriv");
                command.args([
                    "--reuid",
                    &owner.uid.to_string(),
                    "--regid",
                    &owner.gid.to_string(),
                ]);
                command.args(["--clear-groups", "--"]).arg(path);
                command
            }
        };
        command.current_dir(self.directory.path());
        command
    }

    fn initialise(&self) -> Result<()> {
        let password = self.directory.path().join("password");
        fs::write(&password, PASSWORD).context("write the password")?;
        self.own(&password)?;
        let mut command = self.command("initdb");
        command
            .args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"])
            .arg("--username=edgelore")
            .arg("--pwfile")
            .arg(&password)
            .arg("--pgdata")
            .arg(self.data());
        let output = command.output().context("start initdb")?;
        ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn install(&self, certificates: &Certificates) -> Result<()> {
        for (name, from) in
            [("server.crt", certificates.server_cert()), ("server.key", certificates.server_key())]
        {
            let to = self.data().join(name);
            fs::copy(from, &to).with_context(|| format!("copy {name}"))?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600))
                .with_context(|| format!("protect {name}"))?;
            self.own(&to)?;
        }
        let config = self.data().join("postgresql.auto.conf");
        fs::write(&config, "ssl = on\n").context("turn TLS on")?;
        self.own(&config)
    }

    /// Starts it on the data that it left, where it was.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again(&mut self) -> Result<()> {
        let log = self.directory.path().join("log");
        let port = self.port.to_string();
        wait_for(START_DEADLINE, "PostgreSQL to answer", || {
            if self.process.as_mut().is_none_or(|process| process.exited().is_some()) {
                // After a kill its children may hold the data for a moment.
                let mut command = self.command("postgres");
                command.arg("-D").arg(self.data()).args(["-h", "127.0.0.1", "-p", &port, "-k", ""]);
                self.process = Process::spawn("postgres", &mut command, &log).ok();
            }
            let mut ready = self.command("pg_isready");
            ready.args(["--quiet", "--host=127.0.0.1", "--port", &port]);
            ready.status().is_ok_and(|status| status.success())
        })
        .with_context(|| fs::read_to_string(&log).unwrap_or_default())
    }

    /// Kills its first process (SIGKILL); the others follow it by themselves.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("PostgreSQL does not run")?;
        process.kill()?;
        Ok(())
    }

    /// The port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Who owns the data: nobody else than this user, unless that is root.
fn owner() -> Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in OWNERS {
        if let Some(user) = User::from_name(name).context("look a user up")? {
            return Ok(Some(user));
        }
    }
    anyhow::bail!("PostgreSQL does not run as root, and there is neither of {OWNERS:?}")
}
