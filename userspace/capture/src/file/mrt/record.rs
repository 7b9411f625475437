//! The body of an MRT record (RFC 6396 §4.4, RFC 8050 §3, and the deprecated type 5).
//!
//! ```text
//! BGP4MP:  peer AS (2 or 4) | local AS (2 or 4) | interface (2) | AFI (2) | peer | local |
//!          BGP message, or old state (2) | new state (2)
//! BGP (5): peer AS (2) | peer (4) | local AS (2) | local (4) | BGP message without header
//! ```

use edgelore_model::{Batch, PeerState, SessionKey, Signal, SignalKind, Timestamp, WholeMessage};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Type 5, deprecated: BGP with one subtype per message type.
pub(super) const BGP: u16 = 5;
/// Type 12.
pub(super) const TABLE_DUMP: u16 = 12;
/// Type 13.
pub(super) const TABLE_DUMP_V2: u16 = 13;
/// Type 16.
pub(super) const BGP4MP: u16 = 16;
/// Type 17: with microseconds.
pub(super) const BGP4MP_ET: u16 = 17;

const AFI_IPV4: u16 = 1;
const AFI_IPV6: u16 = 2;
const BGP_HEADER_LEN: usize = 19;

/// The body contradicts its header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// One record that says something of a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    at: Timestamp,
    what: What<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum What<'a> {
    Message {
        peer: IpAddr,
        local: IpAddr,
        sent: bool,
        as4: bool,
        add_path: bool,
        message: Message<'a>,
    },
    State {
        peer: IpAddr,
        local: IpAddr,
        old: u16,
        new: u16,
    },
}

#[derive(Debug, PartialEq, Eq)]
enum Message<'a> {
    Whole(&'a [u8]),
    /// Type and body; the old format leaves the header out.
    Bare(u8, &'a [u8]),
}

impl<'a> Record<'a> {
    /// Reads a record's body; `None` for what is stepped over.
    pub(super) fn read(
        seconds: u32,
        kind: u16,
        subtype: u16,
        body: &'a [u8],
    ) -> Result<Option<Self>, Malformed> {
        let mut body = Body(body);
        let mut nanos = 0;
        if kind == BGP4MP_ET {
            nanos = body.u32()?.min(999_999) * 1000;
        }
        let at = Timestamp::from_secs_nanos(i64::from(seconds), nanos);
        let what = match kind {
            BGP => body.old(subtype)?,
            BGP4MP | BGP4MP_ET => body.bgp4mp(subtype)?,
            _ => None,
        };
        Ok(what.map(|what| Self { at, what }))
    }

    /// The collector's peer, and the collector's own address.
    pub(super) fn ends(&mut self) -> (IpAddr, &mut IpAddr) {
        match &mut self.what {
            What::Message { peer, local, .. } | What::State { peer, local, .. } => (*peer, local),
        }
    }

    /// Puts it into a batch.
    pub(super) fn into_signal(self, batch: &mut Batch) {
        let kind = match self.what {
            What::State { peer, local, old, new } => {
                let session = SessionKey::between(peer, local);
                SignalKind::Peer(PeerState { session, peer, old, new })
            }
            What::Message { peer, local, sent, as4, add_path, message } => {
                let (speaker, listener) = if sent { (local, peer) } else { (peer, local) };
                let payload = match message {
                    Message::Whole(bytes) => batch.append(bytes),
                    Message::Bare(kind, body) => {
                        let length = (BGP_HEADER_LEN + body.len()) as u16;
                        let mut payload = batch.append(&[0xff; 16]);
                        batch.append(&length.to_be_bytes());
                        batch.append(&[kind]);
                        batch.append(body);
                        payload.len = u32::from(length);
                        payload
                    }
                };
                SignalKind::Message(WholeMessage { speaker, listener, as4, add_path, payload })
            }
        };
        batch.signals.push(Signal { at: self.at, link: 0, kind });
    }
}

/// What is left of a body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn octets<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.octets().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.octets().map(u32::from_be_bytes)
    }

    fn address(&mut self, afi: u16) -> Result<IpAddr, Malformed> {
        match afi {
            AFI_IPV4 => Ok(Ipv4Addr::from(self.octets::<4>()?).into()),
            AFI_IPV6 => Ok(Ipv6Addr::from(self.octets::<16>()?).into()),
            _ => Err(Malformed),
        }
    }

    fn bgp4mp(&mut self, subtype: u16) -> Result<Option<What<'a>>, Malformed> {
        // 0 and 5 states; 1, 4 messages; 6, 7 sent by the collector; 8 to 11 with path ids.
        let as4 = match subtype {
            0 | 1 | 6 | 8 | 10 => false,
            4 | 5 | 7 | 9 | 11 => true,
            _ => return Ok(None),
        };
        self.take(if as4 { 8 } else { 4 })?;
        self.u16()?;
        let afi = self.u16()?;
        let (peer, local) = (self.address(afi)?, self.address(afi)?);
        Ok(Some(if matches!(subtype, 0 | 5) {
            What::State { peer, local, old: self.u16()?, new: self.u16()? }
        } else {
            let sent = matches!(subtype, 6 | 7 | 10 | 11);
            let message = Message::Whole(self.0);
            What::Message { peer, local, sent, as4, add_path: subtype >= 8, message }
        }))
    }

    fn old(&mut self, subtype: u16) -> Result<Option<What<'a>>, Malformed> {
        // Subtypes 0 (none), 2 (preferences) and 4 (synchronisation) say nothing of routes.
        let kind = match subtype {
            1 => 2,
            3 => 0,
            5 => 1,
            6 => 3,
            7 => 4,
            _ => return Ok(None),
        };
        self.u16()?;
        let peer = self.address(AFI_IPV4)?;
        if subtype == 3 {
            // The record does not name the collector.
            let local = Ipv4Addr::UNSPECIFIED.into();
            return Ok(Some(What::State { peer, local, old: self.u16()?, new: self.u16()? }));
        }
        self.u16()?;
        let local = self.address(AFI_IPV4)?;
        let message = Message::Bare(kind, self.0);
        Ok(Some(What::Message { peer, local, sent: false, as4: false, add_path: false, message }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn messages_know_their_speaker() {
        let body = |message: &[u8]| {
            [
                &[0, 0, 0xfd, 0xe8, 0, 0, 0xfd, 0xe9, 0, 0, 0, 1][..],
                &[192, 0, 2, 1],
                &[192, 0, 2, 2],
                message,
            ]
            .concat()
        };
        for (subtype, speaker, add_path) in
            [(4, "192.0.2.1", false), (7, "192.0.2.2", false), (9, "192.0.2.1", true)]
        {
            let body = body(&[1, 2, 3]);
            let record = Record::read(7, BGP4MP, subtype, &body).unwrap().unwrap();
            let mut batch = Batch::default();
            record.into_signal(&mut batch);
            let SignalKind::Message(message) = &batch.signals[0].kind else { panic!("no message") };
            assert_eq!(
                (message.speaker, message.as4, message.add_path),
                (ip(speaker), true, add_path)
            );
            assert_eq!(batch.payload(message.payload), [1, 2, 3]);
        }
        assert_eq!(Record::read(7, BGP4MP, 4, &body(&[])[..15]), Err(Malformed));
    }

    #[test]
    fn microseconds_count() {
        let body =
            [&500_000u32.to_be_bytes()[..], &[0; 6], &[0, 1], &[0; 8], &[0, 6, 0, 1]].concat();
        let record = Record::read(1, BGP4MP_ET, 0, &body).unwrap().unwrap();
        assert_eq!(record.at, Timestamp::from_secs_nanos(1, 500_000_000));
        assert!(matches!(record.what, What::State { old: 6, new: 1, .. }));
    }

    #[test]
    fn the_old_format_gets_its_header_back() {
        let body =
            [&[0x0d, 5, 193, 0, 0, 56, 0xff, 0xfd, 193, 0, 0, 1][..], &[0, 0, 0, 0]].concat();
        let record = Record::read(1, BGP, 1, &body).unwrap().unwrap();
        let mut batch = Batch::default();
        record.into_signal(&mut batch);
        let SignalKind::Message(message) = &batch.signals[0].kind else { panic!("no message") };
        let bytes = batch.payload(message.payload);
        assert_eq!(bytes[16..], [0, 23, 2, 0, 0, 0, 0]);
        assert_eq!(Record::read(1, TABLE_DUMP, 1, &body), Ok(None));
    }
}
