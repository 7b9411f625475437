//! Cuts the bytes of one direction of a connection into BGP messages.
//!
//! Whole messages are handed out from where they lie; only the start of one that is not all
//! there yet is copied.
//!
//! **Invariant:** what is kept is shorter than the longest message.

use crate::decode::bgp::{self, EXTENDED_LEN_MAX, HEADER_LEN, MARKER_LEN};

/// Bytes that are looked at together while searching for a message across segments.
const SEARCH_LEN: usize = 256;
/// A buffer that grew past this is given back once it is empty, in bytes.
const KEPT_CAPACITY: usize = 16 * 1024;

/// What the bytes are.
pub(super) enum Framed<'a> {
    /// A whole message, marker included.
    Message(&'a [u8]),
    /// No message where one should start; goes on at the next plausible one.
    Lost,
}

#[derive(Debug, Default)]
pub(super) struct Framer {
    tail: Vec<u8>,
    searching: bool,
}

impl Framer {
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
        match self.tail.get(MARKER_LEN..HEADER_LEN) {
            _ if self.searching => SEARCH_LEN,
            Some(&[high, low, _]) => usize::from(u16::from_be_bytes([high, low])),
            _ => HEADER_LEN,
        }
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
            match bgp::frame(&bytes[at..]) {
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
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] != 0xff {
                at += 1;
                continue;
            }
            match bgp::plausible_start(&bytes[at..]) {
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

const _: () = assert!(SEARCH_LEN < EXTENDED_LEN_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (HEADER_LEN + body.len()) as u16;
        [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
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
        let expected = vec![message(2, &[0; 4]), message(4, &[]), message(2, &[7; 300])];
        let bytes = expected.concat();
        for step in 1..=bytes.len() {
            let mut framer = Framer::default();
            assert_eq!(run(&mut framer, &bytes, step), (expected.clone(), 0), "cut every {step}");
            assert!(framer.at_boundary());
        }
    }

    #[test]
    fn a_search_ends_at_the_next_message_whatever_the_cuts() {
        let garbage = [&[0u8, 0xff, 3][..], &[0xff; 7], &[9; 400], &[0xff; 3]].concat();
        let expected = vec![message(4, &[]), message(2, &[0; 4])];
        let bytes = [garbage, expected.concat()].concat();
        for step in 1..=bytes.len() {
            let mut framer = Framer::default();
            framer.search();
            assert_eq!(run(&mut framer, &bytes, step), (expected.clone(), 0), "cut every {step}");
        }
    }

    #[test]
    fn a_broken_marker_is_one_loss() {
        let bytes = [message(4, &[]), vec![0; 50], message(4, &[])].concat();
        let (messages, lost) = run(&mut Framer::default(), &bytes, 11);
        assert_eq!((messages.len(), lost), (2, 1));
    }
}
