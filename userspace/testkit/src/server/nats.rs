//! NATS with JetStream.

use super::{Certificates, PASSWORD, START_DEADLINE, free_port};
use crate::{Process, wait_for};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

pub(super) const PROGRAM: &str = "/usr/sbin/nats-server";

/// A NATS server with JetStream and the user `edgelore` with [`PASSWORD`].
#[derive(Debug)]
pub struct NatsServer {
    process: Option<Process>,
    directory: TempDir,
    program: PathBuf,
    port: u16,
}

impl NatsServer {
    /// Starts Debian's.
    ///
    /// # Errors
    /// When it is not installed or does not answer in time.
    pub fn start() -> Result<Self> {
        Self::begin(Path::new(PROGRAM), &format!("authorization {{ {} }}\n", user()), "")
    }

    /// Starts Debian's with other users than `edgelore`: a block `authorization` or `accounts` in the
    /// server's own words.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_users(users: &str) -> Result<Self> {
        Self::begin(Path::new(PROGRAM), users, "")
    }

    /// Starts the newer release that `cargo xtask setup` brings, which can sync before it
    /// acknowledges, and does.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_newer() -> Result<Self> {
        let program = super::nats_newer().context("the newer NATS server is not installed")?;
        let users = format!("authorization {{ {} }}\n", user());
        Self::begin(&program, &users, ", sync_interval: always")
    }

    /// Starts Debian's with TLS for clients with a certificate of the same authority.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_tls(certificates: &Certificates) -> Result<Self> {
        let tls = format!(
            "authorization {{ {} }}\ntls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
            user(),
            certificates.server_cert(),
            certificates.server_key(),
            certificates.authority()
        );
        Self::begin(Path::new(PROGRAM), &tls, "")
    }

    /// Starts three of the newer release that are one cluster, and are named `0`, `1` and `2`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_cluster() -> Result<Vec<Self>> {
        let program = super::nats_newer().context("the newer NATS server is not installed")?;
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect::<Result<_>>()?;
        let routes = ports.iter().map(|port| format!("\"nats-route://127.0.0.1:{port}\""));
        let routes: Vec<String> = routes.collect();
        let block = |(name, port)| {
            let routes = routes.join(", ");
            let listen = format!("cluster {{ name: edgelore, listen: \"127.0.0.1:{port}\"");
            let user = user();
            format!(
                "server_name: \"{name}\"\n{listen}, routes: [{routes}] }}\nauthorization {{ {user} }}\n"
            )
        };
        ports.iter().enumerate().map(|one| Self::begin(&program, &block(one), "")).collect()
    }

    fn begin(program: &Path, blocks: &str, jetstream: &str) -> Result<Self> {
        let directory = tempfile::tempdir().context("create a directory for NATS")?;
        let port = free_port()?;
        let data = directory.path().join("data");
        let config = format!(
            "host: 127.0.0.1\nport: {port}\njetstream {{ store_dir: {data:?}{jetstream} }}\n{blocks}"
        );
        fs::write(directory.path().join("nats.conf"), config)
            .context("write NATS' configuration")?;
        let mut server = Self { process: None, directory, program: program.to_owned(), port };
        server.start_again()?;
        Ok(server)
    }

    /// Starts it on the data that it left, where it was.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.directory.path().join("nats.conf"));
        let log = self.directory.path().join("log");
        let mut process = Process::spawn("nats-server", &mut command, &log)?;
        let port = self.port;
        // It listens only after it has read its data.
        wait_for(START_DEADLINE, "NATS to answer", || {
            let address = (Ipv4Addr::LOCALHOST, port).into();
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
                || process.exited().is_some()
        })?;
        ensure!(process.exited().is_none(), "NATS ended: {}", process.log_tail());
        self.process = Some(process);
        Ok(())
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("NATS does not run")?;
        process.kill()?;
        Ok(())
    }

    /// The port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn user() -> String {
    format!("user: edgelore, password: {PASSWORD:?}")
}
