//! One router's connection: its bytes cut into messages by their common header (RFC 7854 §4.1).
//!
//! ```text
//! version 3, 1 | length of all, 4 | type, 1 | …
//! ```
//!
//! **Invariant:** a message is handed over once and whole; after the first octet that cannot
//! belong to one, nothing more is read.

use super::{READ_LEN, RouterFigures};
use edgelore_model::{Batch, BmpMessage, Signal, SignalKind, Timestamp};
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};

/// The longest message that is taken, in octets: a BGP message has at most 65,535 (RFC 8654), and
/// no BMP message has reason to carry more than a few of those. A length past this is garbage, and
/// waiting for it would cost memory.
pub const MESSAGE_LEN_MAX: usize = 1 << 20;

const VERSION: u8 = 3;
const HEADER_LEN: usize = 6;
/// A buffer that grew past this is given back once it is empty, in octets.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum End {
    /// The router closed it.
    Closed,
    /// It was reset, or the router does not answer any more.
    Broken(io::Error),
    /// What came is no BMP.
    NoBmp(NoBmp),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed in the middle of a message"),
            Self::Broken(error) => write!(f, "{error}"),
            Self::NoBmp(error) => write!(f, "{error}"),
        }
    }
}

/// Octets that start no BMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoBmp {
    #[error("BMP version {0} is not 3")]
    Version(u8),
    #[error("BMP message length {0} is out of bounds")]
    Length(u32),
}

/// Length of the message that starts at `bytes[0]`; `None` while its header is not all there.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, NoBmp> {
    let Some(&version) = bytes.first() else { return Ok(None) };
    if version != VERSION {
        return Err(NoBmp::Version(version));
    }
    let &[_, a, b, c, d, ..] = bytes else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]);
    match length as usize {
        whole @ HEADER_LEN..=MESSAGE_LEN_MAX => Ok(Some(whole)),
        _ => Err(NoBmp::Length(length)),
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    router: SocketAddr,
    /// The start of a message that is not all there yet.
    tail: Vec<u8>,
    messages: u64,
    bytes: u64,
    ended: bool,
}

impl Connection {
    pub(super) const fn new(stream: TcpStream, router: SocketAddr) -> Self {
        Self { stream, router, tail: Vec::new(), messages: 0, bytes: 0, ended: false }
    }

    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) const fn ended(&self) -> bool {
        self.ended
    }

    pub(super) fn figures(&self) -> RouterFigures {
        let Self { router, messages, bytes, .. } = *self;
        RouterFigures { router, messages, bytes, waiting: self.tail.len() as u64 }
    }

    /// Takes what has come, up to the length of `scratch`, and appends the messages that are
    /// whole now. Says why if the connection is over.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        at: Timestamp,
        batch: &mut Batch,
    ) -> Option<End> {
        let end = match self.stream.read(scratch) {
            Ok(0) => Some(End::Closed),
            Ok(read) => self.push(&scratch[..read], at, batch).err().map(End::NoBmp),
            Err(error) if retry(&error) => None,
            Err(error) => Some(End::Broken(error)),
        };
        self.ended = end.is_some();
        end
    }

    /// Cuts the next bytes of the stream.
    fn push(&mut self, mut bytes: &[u8], at: Timestamp, batch: &mut Batch) -> Result<(), NoBmp> {
        while !self.tail.is_empty() && !bytes.is_empty() {
            let wanted = length(&self.tail)?.unwrap_or(HEADER_LEN);
            let lacking = wanted.saturating_sub(self.tail.len()).max(1);
            let (now, later) = bytes.split_at(lacking.min(bytes.len()));
            self.tail.extend_from_slice(now);
            bytes = later;
            let tail = std::mem::take(&mut self.tail);
            let taken = self.take(&tail, at, batch)?;
            self.tail = tail;
            self.tail.drain(..taken);
        }
        let taken = self.take(bytes, at, batch)?;
        self.tail.extend_from_slice(&bytes[taken..]);
        if self.tail.is_empty() && self.tail.capacity() > KEPT_CAPACITY {
            self.tail = Vec::new();
        }
        Ok(())
    }

    /// Appends the whole messages that `bytes` begin with and says how long they are together.
    fn take(&mut self, bytes: &[u8], at: Timestamp, batch: &mut Batch) -> Result<usize, NoBmp> {
        let mut taken = 0;
        while let Some(length) = length(&bytes[taken..])? {
            let Some(message) = bytes.get(taken..taken + length) else { break };
            let payload = batch.append(message);
            let kind = SignalKind::Bmp(BmpMessage { router: self.router, payload });
            batch.signals.push(Signal { at, link: 0, kind });
            self.messages += 1;
            self.bytes += length as u64;
            taken += length;
        }
        Ok(taken)
    }
}

fn retry(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

const _: () = assert!(READ_LEN + MESSAGE_LEN_MAX <= u32::MAX as usize);
