//! Opening packets that come from a server again and again.
//!
//! A packet's id is the hash of its bytes, so bytes whose id was verified here are verified. What is new is
//! verified together, which takes less than one by one.
//!
//! **Invariant:** no packet is opened whose bytes this process has not verified.

use std::collections::HashSet;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use edgelore_pipeline::packet::{self, Opened, PacketError, PacketId};

/// Ids that are remembered at least; at most twice as many.
const VERIFIED: usize = 16_384;

/// Opens packets, and remembers which it has verified lately.
#[derive(Debug, Default)]
pub(crate) struct Opener(Mutex<Verified>);

/// The ids of verified packets: when the young ones are many they are the old ones, and those go.
#[derive(Debug, Default)]
struct Verified {
    young: HashSet<PacketId>,
    old: HashSet<PacketId>,
}

impl Verified {
    fn has(&self, id: &PacketId) -> bool {
        self.young.contains(id) || self.old.contains(id)
    }

    fn add(&mut self, id: PacketId) {
        if self.young.len() >= VERIFIED {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(id);
    }
}

impl Opener {
    fn verified(&self) -> MutexGuard<'_, Verified> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`packet::open`] each of them, in their order.
    pub(crate) fn open_all(&self, packets: &[&[u8]]) -> Vec<Result<Opened, PacketError>> {
        let ids: Vec<PacketId> = packets.iter().map(|bytes| packet::id(bytes)).collect();
        let known: Vec<bool> = {
            let verified = self.verified();
            ids.iter().map(|id| verified.has(id)).collect()
        };
        let new = packets.iter().zip(&known).filter(|(_, known)| !**known);
        let new: Vec<&[u8]> = new.map(|(bytes, _)| *bytes).collect();
        let mut opened = packet::open_batch(&new).into_iter();
        let mut verified = self.verified();
        let open = |((bytes, id), known): ((&&[u8], &PacketId), &bool)| {
            if *known {
                return packet::reopen(bytes, id);
            }
            let new = opened.next().unwrap_or_else(|| packet::open(bytes));
            new.inspect(|opened| verified.add(opened.id))
        };
        packets.iter().zip(&ids).zip(&known).map(open).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::{key, outcome, sealed};

    #[test]
    fn the_verdicts_are_those_of_opening_whatever_is_known() {
        let good = [1, 2, 3].map(|number| sealed(&outcome(), &key(number)).bytes);
        let mut forged = good[0].clone();
        forged[200] ^= 1;
        let packets = [&good[0], &forged, &good[1], &good[0], &b"no packet".to_vec(), &good[2]];
        let packets = packets.map(Vec::as_slice);
        let plainly: Vec<_> = packets.iter().map(|bytes| packet::open(bytes)).collect();
        assert_eq!(plainly.iter().filter(|opened| opened.is_ok()).count(), 4);
        let opener = Opener::default();
        for _ in 0..3 {
            assert_eq!(opener.open_all(&packets), plainly);
            let singly: Vec<_> =
                packets.iter().flat_map(|bytes| opener.open_all(&[bytes])).collect();
            assert_eq!(singly, plainly);
        }
        assert_eq!(opener.verified().young.len(), 3, "the genuine ones alone");
    }

    #[test]
    fn as_many_are_remembered_as_are_said() {
        let mut verified = Verified::default();
        let id = |number: usize| {
            let mut id = PacketId::default();
            id[..8].copy_from_slice(&number.to_be_bytes());
            id
        };
        for number in 0..5 * VERIFIED {
            verified.add(id(number));
            assert!(verified.young.len() + verified.old.len() <= 2 * VERIFIED);
        }
        assert!((4 * VERIFIED..5 * VERIFIED).all(|number| verified.has(&id(number))));
        assert!(!verified.has(&id(0)));
    }
}
