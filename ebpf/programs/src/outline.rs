//! Owns the delta headers of records: which one a packet gets, and its form there.

use crate::control::Loaded;
use crate::maps::Scratch;
use edgelore_events::{BgpDelta, IsisDelta, LdpDelta, OspfDelta, flag, kind};
use edgelore_headers::{bgp_delta, isis_delta, ldp_delta, ospf_delta};

/// Adds the delta header of what begins the payload, if something does. That of BFD is there
/// already: it was compared with the last.
#[inline(always)]
pub(crate) fn outline(scratch: &mut Scratch) {
    let len = scratch.header.payload_len as usize;
    let loaded = Loaded { payload: &scratch.payload, len };
    let header = &mut scratch.header;
    match header.kind {
        kind::BGP => {
            let Some(delta) = bgp_delta(&loaded, 0) else { return };
            if delta.lengths_known {
                header.flags |= flag::BGP_LENGTHS;
            }
            header.set_delta(BgpDelta {
                message_len: delta.message_len,
                withdrawn_len: delta.withdrawn_len,
                attributes_len: delta.attributes_len,
                nlri_len: delta.nlri_len,
                message_type: delta.message_type,
                notification_code: delta.notification_code,
                notification_subcode: delta.notification_subcode,
                reserved: [0; 13],
            });
        }
        kind::OSPF => {
            let Some(delta) = ospf_delta(&loaded, 0) else { return };
            header.set_delta(OspfDelta {
                version: delta.version,
                packet_type: delta.packet_type,
                max_age: u8::from(delta.max_age),
                reserved: 0,
                router_id: delta.router_id,
                dead_interval_s: delta.dead_interval_s,
                lsa_count: delta.lsa_count,
                hello_interval_s: delta.hello_interval_s,
                lsa_age_s: delta.lsa_age_s,
                lsa_type: delta.lsa_type,
                reserved_end: 0,
            });
        }
        kind::ISIS => {
            let Some(delta) = isis_delta(&loaded, 0) else { return };
            header.set_delta(IsisDelta {
                pdu_type: delta.pdu_type,
                overload: u8::from(delta.overload),
                holding_time_s: delta.holding_time_s,
                remaining_lifetime_s: delta.remaining_lifetime_s,
                reserved: 0,
                id: delta.id,
                sequence: delta.sequence,
                reserved_end: 0,
            });
        }
        kind::LDP | kind::LDP_HELLO => {
            let Some(delta) = ldp_delta(&loaded, 0) else { return };
            header.set_delta(LdpDelta {
                pdu_len: delta.pdu_len,
                message_type: delta.message_type,
                message_len: delta.message_len,
                reserved: 0,
                lsr_id: delta.lsr_id,
                reserved_end: [0; 3],
            });
        }
        _ => {}
    }
}
