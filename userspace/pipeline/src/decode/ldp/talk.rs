//! What the PDUs of one connection mean: counts, label moves, the state of the session.
//!
//! A session is **up** from the moment the second of the two Initialization messages is seen:
//! both ends agreed to talk; a refusal follows as a fatal Notification. (Operational proper needs
//! the KeepAlives, which the kernel withholds live where they stand alone; this rule gives the
//! same observations live and from a file.) A connection found in its middle is presumed to be
//! up until it ends.
//!
//! **Invariant:** downs and ups of a connection alternate; an end is reported once.

use super::{Fec, Message, Pdu, Status, keepalive_time_s, message_type};
use crate::decode::talk::{Scene, Speaker};
use edgelore_model::{DownCause, LdpChange, LdpCounts, Observation, Observed, Prefix, SessionKey};
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing was seen that tells.
    #[default]
    Unknown,
    Up,
    Down,
}

/// What is remembered of a conversation between two LDP speakers.
#[derive(Debug, Default)]
pub(in crate::decode) struct LdpTalk {
    /// Neither a SYN nor an Initialization of it was seen.
    pub(in crate::decode) found_midway: bool,
    state: State,
    /// The keepalive times that both sides proposed, in seconds.
    keepalive_s: [Option<u16>; 2],
}

impl LdpTalk {
    /// What both ends hold to, in seconds; `None` while an Initialization was not seen.
    pub(in crate::decode) fn keepalive_s(&self) -> Option<u16> {
        Some(self.keepalive_s[0]?.min(self.keepalive_s[1]?))
    }
}

/// Counts a message by its type; false when nobody defined the type.
pub(in crate::decode) fn count(counts: &mut LdpCounts, kind: u16) -> bool {
    let count = match kind {
        message_type::NOTIFICATION => &mut counts.notification,
        message_type::HELLO => &mut counts.hello,
        message_type::INITIALIZATION => &mut counts.initialization,
        message_type::KEEPALIVE => &mut counts.keepalive,
        message_type::ADDRESS => &mut counts.address,
        message_type::ADDRESS_WITHDRAW => &mut counts.address_withdraw,
        message_type::LABEL_MAPPING => &mut counts.label_mapping,
        message_type::LABEL_REQUEST => &mut counts.label_request,
        message_type::LABEL_WITHDRAW => &mut counts.label_withdraw,
        message_type::LABEL_RELEASE => &mut counts.label_release,
        message_type::LABEL_ABORT_REQUEST => &mut counts.label_abort_request,
        message_type::CAPABILITY | message_type::PRIVATE..=message_type::PRIVATE_LAST => {
            return true;
        }
        _ => return false,
    };
    *count += 1;
    true
}

impl<E: FnMut(usize, Observation)> Scene<'_, E> {
    /// Reads one PDU.
    pub(in crate::decode) fn ldp_pdu(
        &mut self,
        talk: &mut LdpTalk,
        speaker: Speaker,
        bytes: &[u8],
    ) {
        let Ok(pdu) = Pdu::parse(bytes) else { return self.undecodable() };
        for message in pdu.messages() {
            match message {
                Ok(message) => self.ldp_message(talk, speaker, &message),
                Err(_) => self.undecodable(),
            }
        }
    }

    fn ldp_message(&mut self, talk: &mut LdpTalk, speaker: Speaker, message: &Message<'_>) {
        if !count(&mut self.summary.ldp, message.kind) && !message.ignorable {
            self.undecodable();
        }
        match message.kind {
            message_type::INITIALIZATION => self.ldp_initialization(talk, speaker, message),
            message_type::NOTIFICATION => self.ldp_notification(talk, speaker, message),
            message_type::LABEL_MAPPING | message_type::LABEL_WITHDRAW => {
                talk.presume_up();
                self.ldp_labels(speaker, message);
            }
            message_type::ADDRESS..=message_type::LABEL_ABORT_REQUEST => talk.presume_up(),
            _ => {}
        }
    }

    fn ldp_initialization(&mut self, talk: &mut LdpTalk, speaker: Speaker, message: &Message<'_>) {
        let Ok(proposed) = keepalive_time_s(message) else { return self.undecodable() };
        if talk.keepalive_s[speaker.side].is_some() {
            // A speaker that begins anew on the same connection: its peer has to answer again.
            self.ldp_ended(talk, DownCause::Replaced);
        }
        talk.found_midway = false;
        talk.keepalive_s[speaker.side] = Some(proposed);
        if let [Some(a), Some(b)] = talk.keepalive_s
            && talk.state != State::Up
        {
            talk.state = State::Up;
            let (session, keepalive_time_s) = (self.session, a.min(b));
            self.observe_ldp(LdpChange::SessionUp { session, keepalive_time_s });
        }
    }

    fn ldp_notification(&mut self, talk: &mut LdpTalk, speaker: Speaker, message: &Message<'_>) {
        let Ok(Status { fatal, code }) = Status::parse(message) else {
            return self.undecodable();
        };
        let (session, status) = (self.session, code);
        let speaker = speaker.address;
        self.observe_ldp(LdpChange::Notification { session, speaker, status, fatal });
        if fatal {
            self.ldp_ended(talk, DownCause::Notification);
        }
    }

    fn ldp_labels(&mut self, speaker: Speaker, message: &Message<'_>) {
        let Ok(Fec { prefixes, all }) = Fec::parse(message) else { return self.undecodable() };
        if prefixes.is_empty() && !all {
            return;
        }
        let (session, speaker) = (self.session, speaker.address);
        let change = if message.kind == message_type::LABEL_MAPPING {
            labels(session, speaker, prefixes, Vec::new(), false)
        } else {
            labels(session, speaker, Vec::new(), prefixes, all)
        };
        self.observe_ldp(change);
    }

    /// The connection or its session ended.
    pub(in crate::decode) fn ldp_ended(&mut self, talk: &mut LdpTalk, cause: DownCause) {
        let was_up = match talk.state {
            State::Up => true,
            State::Unknown => talk.found_midway,
            State::Down => false,
        };
        *talk = LdpTalk { state: State::Down, ..LdpTalk::default() };
        if was_up {
            let session = self.session;
            self.observe_ldp(LdpChange::SessionDown { session, cause });
        }
    }

    fn observe_ldp(&mut self, change: LdpChange) {
        self.observe(Observed::Ldp(change));
    }
}

impl LdpTalk {
    /// Only an established session carries such messages.
    fn presume_up(&mut self) {
        if self.state == State::Unknown {
            self.state = State::Up;
        }
    }
}

const fn labels(
    session: SessionKey,
    speaker: IpAddr,
    mapped: Vec<Prefix>,
    withdrawn: Vec<Prefix>,
    withdrawn_all: bool,
) -> LdpChange {
    LdpChange::Labels { session, speaker, mapped, withdrawn, withdrawn_all }
}
