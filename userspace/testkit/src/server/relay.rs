//! A relay between a client and a server: the network that a test can hold up.
//!
//! **Invariant:** what a connection's side sent arrives in order; holding delays and loses nothing.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// Whether bytes pass.
#[derive(Debug, Default)]
struct Gate {
    held: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set(&self, held: bool) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(held, |held| *held));
    }
}

/// Passes connections on to a port of loopback until it is dropped.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    gate: Arc<Gate>,
}

impl Relay {
    /// Listens on a free port for connections to `server`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn to(server: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        let port = listener.local_addr().context("read the relay's port")?.port();
        let gate = Arc::new(Gate::default());
        let weak = Arc::downgrade(&gate);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Some(gate)) = (client, weak.upgrade()) else { return };
                // A server that is down closes the connection, as it would without the relay.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) {
                    join(&client, &server, &gate);
                }
            }
        });
        Ok(Self { port, gate })
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing passes; connections stay open.
    pub fn hold(&self) {
        self.gate.set(true);
    }

    /// What was held up passes, and whatever follows.
    pub fn release(&self) {
        self.gate.set(false);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.gate.set(false);
        // Wakes the listener, which then sees that nobody holds the gate.
        self.gate = Arc::default();
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn join(client: &TcpStream, server: &TcpStream, gate: &Arc<Gate>) {
    for (from, to) in [(client, server), (server, client)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let gate = Arc::clone(gate);
        thread::spawn(move || copy(from, to, &gate));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        gate.pass();
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_arrives_when_it_is_released() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Relay::to(server.local_addr().unwrap().port()).unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).unwrap();
        let (mut accepted, _) = server.accept().unwrap();
        relay.hold();
        client.write_all(b"later").unwrap();
        accepted.set_nonblocking(true).unwrap();
        let mut bytes = [0; 5];
        assert!(accepted.read(&mut bytes).is_err(), "nothing passes while it is held");
        accepted.set_nonblocking(false).unwrap();
        relay.release();
        accepted.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"later");
        drop(accepted);
        assert_eq!(client.read(&mut bytes).unwrap(), 0, "an end is passed on too");
    }
}
