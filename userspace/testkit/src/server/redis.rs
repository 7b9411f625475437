//! Redis.

use super::{Certificates, PASSWORD, START_DEADLINE, free_port};
use crate::{Process, wait_for};
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

pub(super) const PROGRAM: &str = "/usr/bin/redis-server";

/// A Redis server that syncs every write and asks for [`PASSWORD`].
#[derive(Debug)]
pub struct RedisServer {
    process: Option<Process>,
    directory: TempDir,
    port: u16,
    tls_port: Option<u16>,
    options: Vec<String>,
}

impl RedisServer {
    /// Starts one, with further options of its command line.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn start(options: &[&str]) -> Result<Self> {
        Self::begin(options.iter().map(|&option| option.to_owned()).collect(), None)
    }

    /// Starts one that speaks TLS too, and takes only clients with a certificate of the same
    /// authority there.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_tls(certificates: &Certificates) -> Result<Self> {
        let tls_port = free_port()?;
        let mut options = vec!["--tls-port".to_owned(), tls_port.to_string()];
        for (option, path) in [
            ("--tls-cert-file", certificates.server_cert()),
            ("--tls-key-file", certificates.server_key()),
            ("--tls-ca-cert-file", certificates.authority()),
        ] {
            options.extend([option.to_owned(), path.display().to_string()]);
        }
        Self::begin(options, Some(tls_port))
    }

    fn begin(options: Vec<String>, tls_port: Option<u16>) -> Result<Self> {
        let directory = tempfile::tempdir().context("create a directory for Redis")?;
        let mut server = Self { process: None, directory, port: free_port()?, tls_port, options };
        server.start_again()?;
        Ok(server)
    }

    /// Starts it on the data that it left, where it was.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again(&mut self) -> Result<()> {
        let mut command = Command::new(PROGRAM);
        command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--requirepass", PASSWORD])
            .arg("--dir")
            .arg(self.directory.path())
            .args(&self.options);
        let log = self.directory.path().join("log");
        let mut process = Process::spawn("redis-server", &mut command, &log)?;
        let port = self.port;
        wait_for(START_DEADLINE, "Redis to answer", || {
            answers(port) || process.exited().is_some()
        })?;
        anyhow::ensure!(process.exited().is_none(), "Redis ended: {}", process.log_tail());
        self.process = Some(process);
        Ok(())
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("Redis does not run")?;
        process.kill()?;
        Ok(())
    }

    /// The port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port for TLS on loopback, if it has one.
    #[must_use]
    pub fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }
}

/// It has read its data: an answer other than that it is loading.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(format!("AUTH {PASSWORD}\r\nPING\r\n").as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"+PONG\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            answer.extend(byte);
        }
        Ok(answer)
    };
    ask().is_ok()
}
