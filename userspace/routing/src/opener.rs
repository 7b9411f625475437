//! Opening packets that come from a server again and again.
//!
//! A packet's id is the hash of its bytes, so bytes whose id was opened here were verified, and say what they
//! said then. What is new is verified together, which takes less than one by one.
//!
//! **Invariant:** no packet is given whose bytes this process has not verified.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgelore_pipeline::packet::{self, Opened, PacketError, PacketId};

/// Packets that are remembered at least, those asked for last; at most twice as many, of which each
/// takes up to 2 KiB.
const OPENED: usize = 2_048;

/// Opens packets, and remembers those that it opened lately.
#[derive(Debug, Default)]
pub(crate) struct Opener(Mutex<Known>);

/// Packets by id: when the young ones are many they are the old ones, and those go.
#[derive(Debug, Default)]
struct Known {
    young: HashMap<PacketId, Arc<Opened>>,
    old: HashMap<PacketId, Arc<Opened>>,
}

impl Known {
    fn get(&mut self, id: &PacketId) -> Option<Arc<Opened>> {
        if let Some(opened) = self.young.get(id) {
            return Some(Arc::clone(opened));
        }
        let opened = self.old.remove(id)?;
        self.add(Arc::clone(&opened));
        Some(opened)
    }

    fn add(&mut self, opened: Arc<Opened>) {
        if self.young.len() >= OPENED {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(opened.id, opened);
    }
}

impl Opener {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`packet::open`] each of them, in their order.
    pub(crate) fn open_all(&self, packets: &[&[u8]]) -> Vec<Result<Arc<Opened>, PacketError>> {
        let ids = packet::ids(packets);
        let known: Vec<Option<Arc<Opened>>> = {
            let mut known = self.known();
            ids.iter().map(|id| known.get(id)).collect()
        };
        let new = packets.iter().zip(&known).filter(|(_, known)| known.is_none());
        let new: Vec<&[u8]> = new.map(|(bytes, _)| *bytes).collect();
        let mut opened = packet::open_batch(&new).into_iter();
        let mut remembered = self.known();
        let open = |(bytes, known): (&&[u8], Option<Arc<Opened>>)| {
            if let Some(known) = known {
                return Ok(known);
            }
            let new = Arc::new(opened.next().unwrap_or_else(|| packet::open(bytes))?);
            remembered.add(Arc::clone(&new));
            Ok(new)
        };
        packets.iter().zip(known).map(open).collect()
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
        let open = |bytes: &&[u8]| packet::open(bytes).map(Arc::new);
        let plainly: Vec<_> = packets.iter().map(open).collect();
        assert_eq!(plainly.iter().filter(|opened| opened.is_ok()).count(), 4);
        let opener = Opener::default();
        for _ in 0..3 {
            assert_eq!(opener.open_all(&packets), plainly);
            let singly: Vec<_> =
                packets.iter().flat_map(|bytes| opener.open_all(&[bytes])).collect();
            assert_eq!(singly, plainly);
        }
        assert_eq!(opener.known().young.len(), 3, "the genuine ones alone");
    }

    #[test]
    fn those_asked_for_last_are_remembered_and_no_more_than_is_said() {
        let mut known = Known::default();
        let opened = packet::open(&sealed(&outcome(), &key(1)).bytes).unwrap();
        let id = |number: usize| {
            let mut id = PacketId::default();
            id[..8].copy_from_slice(&number.to_be_bytes());
            id
        };
        for number in 0..5 * OPENED {
            known.add(Arc::new(Opened { id: id(number), ..opened.clone() }));
            assert!(known.get(&id(0)).is_some(), "it is asked for again and again");
            assert!(known.young.len() + known.old.len() <= 2 * OPENED);
        }
        assert!((4 * OPENED..5 * OPENED).all(|number| {
            known.young.contains_key(&id(number)) || known.old.contains_key(&id(number))
        }));
        assert!(known.get(&id(1)).is_none());
    }
}
