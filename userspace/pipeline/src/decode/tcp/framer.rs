//! Cuts the bytes of one direction of a connection into the messages of its protocol.
//!
//! Whole messages are handed out from where they lie; only the start of one that is not all
//! there yet is copied.
//!
//! **Invariant:** what is kept is shorter than the longest message.

use super::framing;
use edgelore_model::StreamProtocol;

/// Bytes that are looked at together while searching for a message across segments.
const SEARCH_LEN: usize = 256;
/// A buffer that grew past this is given back once it is empty, in bytes.
const KEPT_CAPACITY: usize = 16 * 1024;

/// What the bytes are.
pub(super) enum Framed<'a> {
    /// A whole message, header included.
    Message(&'a [u8]),
    /// No message where one should start; goes on at the next plausible one.
    Lost,
}

#[derive(Debug)]
pub(super) struct Framer {
    protocol: StreamProtocol,
    tail: Vec<u8>,
    searching: bool,
}

impl Framer {
    /// Expects a message of `protocol` at the first byte.
    pub(super) const fn new(protocol: StreamProtocol) -> Self {
        Self { protocol, tail: Vec::new(), searching: false }
    }

    pub(super) const fn protocol(&self) -> StreamProtocol {
        self.protocol
    }

    /// Forgets what it has and looks for the next plausible message.
    pub(super) fn search(&mut self) {
        self.tail.clear();
        self.searching = true;
    }

    /// Every byte so far belongs to a message that was handed out.
    pub(super) fn at_boundary(&self) -> bool {
        self.tail.is_empty() && !self.searching
    }

    /// Bytes kept.
    pub(super) fn held(&self) -> usize {
        self.tail.len()
    }

    /// Bytes of a message that has started are kept.
    pub(super) fn mid_message(&self) -> bool {
        !self.searching && !self.tail.is_empty()
    }

    /// Takes the next bytes of the stream.
    pub(super) fn push(&mut self, bytes: &[u8], deliver: &mut impl FnMut(Framed<'_>)) {
        let rest = self.complete(bytes, deliver);
        let consumed = self.take(rest, deliver);
        self.tail.extend_from_slice(&rest[consumed..]);
        if self.tail.is_empty() && self.tail.capacity() > KEPT_CAPACITY {
            self.tail = Vec::new();
        }
    }

    /// Adds to the kept start of a message what it lacks, until nothing is kept or nothing is left.
    fn complete<'b>(
        &mut self,
        mut bytes: &'b [u8],
        deliver: &mut impl FnMut(Framed<'_>),
    ) -> &'b [u8] {
        while !self.tail.is_empty() && !bytes.is_empty() {
            let lacking = self.wanted().saturating_sub(self.tail.len()).max(1);
            let (now, later) = bytes.split_at(lacking.min(bytes.len()));
            bytes = later;
            let mut tail = std::mem::take(&mut self.tail);
            tail.extend_from_slice(now);
            let consumed = self.take(&tail, deliver);
            tail.drain(..consumed);
            self.tail = tail;
        }
        bytes
    }

    /// How long the kept bytes must get before they can be read.
    fn wanted(&self) -> usize {
        if self.searching { SEARCH_LEN } else { framing::wanted(self.protocol, &self.tail) }
    }

    /// Hands out the messages of `bytes` and says how many bytes that were.
    fn take(&mut self, bytes: &[u8], deliver: &mut impl FnMut(Framed<'_>)) -> usize {
        let mut at = 0;
        loop {
            if self.searching {
                at += self.find(&bytes[at..]);
                if self.searching {
                    return at;
                }
            }
            match framing::frame(self.protocol, &bytes[at..]) {
                Ok(Some(length)) => {
                    deliver(Framed::Message(&bytes[at..at + length]));
                    at += length;
                }
                Ok(None) => return at,
                Err(_) => {
                    deliver(Framed::Lost);
                    self.searching = true;
                    at += 1;
                }
            }
        }
    }

    /// How many bytes to pass over: to the next plausible message (the search is over), or to
    /// what may become one with more bytes.
    fn find(&mut self, bytes: &[u8]) -> usize {
        let first = framing::first_octet(self.protocol);
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] != first {
                at += 1;
                continue;
            }
            match framing::plausible_start(self.protocol, &bytes[at..]) {
                Some(true) => {
                    self.searching = false;
                    return at;
                }
                Some(false) => at += 1,
                None => return at,
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bgp(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (19 + body.len()) as u16;
        [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
    }

    fn ldp(kind: u16, body: &[u8]) -> Vec<u8> {
        let message = (4 + body.len()) as u16;
        let pdu = 10 + message;
        let mut bytes = [&[0, 1][..], &pdu.to_be_bytes(), &[10, 0, 0, 1, 0, 0]].concat();
        bytes.extend(kind.to_be_bytes().iter().chain(&message.to_be_bytes()).chain(&[0; 4]));
        bytes.extend(body);
        bytes
    }

    fn bmp(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (6 + body.len()) as u32;
        [&[3][..], &length.to_be_bytes(), &[kind], body].concat()
    }

    fn cases() -> [(StreamProtocol, Vec<Vec<u8>>, Vec<u8>); 3] {
        [
            (
                StreamProtocol::Bgp,
                vec![bgp(2, &[0; 4]), bgp(4, &[]), bgp(2, &[7; 300])],
                [&[0u8, 0xff, 3][..], &[0xff; 7], &[9; 400], &[0xff; 3]].concat(),
            ),
            (
                StreamProtocol::Ldp,
                vec![ldp(0x0201, &[]), ldp(0x0300, &[7; 40]), ldp(0x0400, &[5; 300])],
                [&[0u8, 1, 0][..], &[0; 9], &[0, 1, 0, 99, 1], &[9; 400], &[0, 1, 9]].concat(),
            ),
            (
                StreamProtocol::Bmp,
                vec![bmp(4, &[0, 2, 0, 1, 65]), bmp(0, &[0; 90]), bmp(1, &[0; 300])],
                [&[3u8, 0, 0][..], &[3; 9], &[9; 400], &[3, 0, 0, 0, 9, 0]].concat(),
            ),
        ]
    }

    fn run(framer: &mut Framer, bytes: &[u8], step: usize) -> (Vec<Vec<u8>>, usize) {
        let (mut messages, mut lost) = (Vec::new(), 0);
        for part in bytes.chunks(step) {
            framer.push(part, &mut |framed| match framed {
                Framed::Message(m) => messages.push(m.to_vec()),
                Framed::Lost => lost += 1,
            });
        }
        (messages, lost)
    }

    #[test]
    fn messages_come_out_whatever_the_cuts() {
        for (protocol, expected, _) in cases() {
            let bytes = expected.concat();
            for step in 1..=bytes.len() {
                let mut framer = Framer::new(protocol);
                let got = run(&mut framer, &bytes, step);
                assert_eq!(got, (expected.clone(), 0), "{protocol:?} cut every {step}");
                assert!(framer.at_boundary());
            }
        }
    }

    #[test]
    fn a_search_ends_at_the_next_message_whatever_the_cuts() {
        for (protocol, expected, garbage) in cases() {
            let bytes = [garbage, expected.concat()].concat();
            for step in 1..=bytes.len() {
                let mut framer = Framer::new(protocol);
                framer.search();
                let got = run(&mut framer, &bytes, step);
                assert_eq!(got, (expected.clone(), 0), "{protocol:?} cut every {step}");
            }
        }
    }

    #[test]
    fn a_broken_header_is_one_loss() {
        for (protocol, messages, _) in cases() {
            let bytes = [messages[0].clone(), vec![0x55; 50], messages[1].clone()].concat();
            let (read, lost) = run(&mut Framer::new(protocol), &bytes, 11);
            assert_eq!((read.len(), lost), (2, 1), "{protocol:?}");
        }
    }
}
