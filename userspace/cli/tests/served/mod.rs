//! The real `edgelore serve` process, for the tests that need one.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A running server; killed when the test ends.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// `http://` and where it listens, also when it speaks TLS.
    pub(crate) url: String,
}

impl Server {
    /// Starts it, on a free port of loopback unless the arguments say where, and reads from its log
    /// which.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let listen: &[&str] =
            if arguments.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
        let mut child = Command::new(env!("CARGO_BIN_EXE_edgelore"))
            .arg("serve")
            .args(listen)
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("address=") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the server ended");
        }
        let address = line.split("address=").nth(1).unwrap();
        let url = format!("http://{}", address.split_whitespace().next().unwrap());
        // Its log goes on being read, or it would wait for us.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed by then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
