//! LDP (RFC 5036): sessions and label bindings.

use crate::{Prefix, SessionKey};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What an LDP speaker changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LdpChange {
    /// A hello whose hold time or transport address differs from the last, or the first one.
    Hello {
        /// Who sent it.
        speaker: IpAddr,
        /// Hold time in seconds; 0 stands for the default (15 s link, 45 s targeted).
        hold_time_s: u16,
        /// A targeted hello.
        targeted: bool,
        /// Where its sessions end; `None` stands for `speaker` (RFC 5036 §3.5.2).
        transport_address: Option<IpAddr>,
    },
    /// Both ends initialised the session. (Operational proper needs the KeepAlives, which the
    /// kernel withholds live where they stand alone.)
    SessionUp {
        /// The session.
        session: SessionKey,
        /// The smaller of the keepalive times that both propose, in seconds.
        keepalive_time_s: u16,
    },
    /// The session ended.
    SessionDown {
        /// The session.
        session: SessionKey,
        /// How one knows.
        cause: crate::DownCause,
    },
    /// A notification (RFC 5036 §3.5.1).
    Notification {
        /// The session.
        session: SessionKey,
        /// Who sent it.
        speaker: IpAddr,
        /// The status code's data, without the E and F bits.
        status: u32,
        /// The E bit: the session ends.
        fatal: bool,
    },
    /// Labels as one message moved them.
    Labels {
        /// The session.
        session: SessionKey,
        /// Who sent it.
        speaker: IpAddr,
        /// Prefixes mapped to a label.
        mapped: Vec<Prefix>,
        /// Prefixes whose label was withdrawn.
        withdrawn: Vec<Prefix>,
        /// A wildcard FEC was withdrawn: every label of this speaker, or every one for the
        /// prefixes of an address family (RFC 5918).
        withdrawn_all: bool,
    },
}
