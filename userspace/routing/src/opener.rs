//! Opening packets that come from a server again and again.
//!
//! Bytes that were opened here were verified, and say what they said then. What is new is verified together,
//! which takes less than one by one; of what was verified and is remembered by its id alone, the content is
//! read again.
//!
//! **Invariant:** no packet is given whose bytes this process has not verified.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use edgelore_kernels::memory::prefetch_whole;
use edgelore_pipeline::fingerprint::{Aim, Point, Space};
use edgelore_pipeline::packet::{self, Opened, PacketError, PacketId};

/// Packets that are remembered at least, those asked for last; at most twice as many, of which each
/// takes up to 2 KiB.
const OPENED: usize = 4_096;
/// Packets of which it is remembered at least that they were verified; at most twice as many, of which
/// each takes up to 66 bytes.
const VERIFIED: usize = 32_768;

/// Opens packets, and remembers those that it opened lately.
#[derive(Debug)]
pub(crate) struct Opener {
    space: Space,
    known: Mutex<Known>,
}

/// A packet, and where it lies in the opener's space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) opened: Arc<Opened>,
    point: Arc<Point>,
}

impl Deref for Placed {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        &self.opened
    }
}

impl Placed {
    /// Milli-units from a query, if it is within the radius and of the pattern that is asked for.
    pub(crate) fn within(
        &self,
        space: &Space,
        aim: &Aim,
        radius: u32,
        pattern: Option<&str>,
    ) -> Option<u32> {
        let distance = space.reach(aim, &self.point);
        let asked = pattern.is_none_or(|pattern| pattern == self.outcome.resolution.pattern);
        (distance <= radius && asked).then_some(distance)
    }
}

#[derive(Debug)]
struct Known {
    opened: Lately<Tail, Placed>,
    verified: Lately<PacketId, ()>,
}

impl Known {
    /// The packets that these bytes are, those of them that were opened lately.
    fn opened(&mut self, packets: &[&[u8]]) -> Vec<Option<Placed>> {
        let tails = packets.iter().map(|bytes| tail(bytes));
        tails.clone().for_each(|tail| self.opened.renew(&tail));
        // They lie all over memory, which is asked for all of them before the first is looked at.
        let known: Vec<Option<&Placed>> = tails.map(|tail| self.opened.get(&tail)).collect();
        for placed in known.iter().flatten() {
            prefetch_whole(&*placed.opened);
            prefetch_whole(&*placed.point);
        }
        for placed in known.iter().flatten() {
            prefetch_whole(&placed.bytes[..]);
        }
        let known = known.into_iter().zip(packets);
        known.map(|(placed, bytes)| placed.filter(|one| one.bytes == *bytes).cloned()).collect()
    }
}

/// The end of a packet: the upper half of its signature's scalar, which nobody can choose. Packets that share it
/// take each other's place, and are only opened more often.
type Tail = [u8; 16];

fn tail(bytes: &[u8]) -> Tail {
    bytes.last_chunk().copied().unwrap_or_default()
}

/// What was asked for last: when the young ones are many they are the old ones, and those go.
#[derive(Debug)]
struct Lately<K, V> {
    bound: usize,
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
}

impl<K: Copy + Eq + Hash, V> Lately<K, V> {
    fn new(bound: usize) -> Self {
        Self { bound, young: HashMap::default(), old: HashMap::default() }
    }

    /// It is asked for now.
    fn renew(&mut self, key: &K) {
        if !self.young.contains_key(key)
            && let Some(one) = self.old.remove(key)
        {
            self.add(*key, one);
        }
    }

    /// It, if it was renewed lately.
    fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key)
    }

    fn add(&mut self, key: K, one: V) {
        if self.young.len() >= self.bound {
            mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, one);
    }
}

impl Opener {
    pub(crate) fn new(space: Space) -> Self {
        let known = Known { opened: Lately::new(OPENED), verified: Lately::new(VERIFIED) };
        Self { space, known: Mutex::new(known) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`packet::open`] each of them, in their order.
    pub(crate) fn open_all(
        &self,
        packets: &[&[u8]],
    ) -> impl Iterator<Item = Result<Placed, PacketError>> + use<> {
        let known = self.known().opened(packets);
        let unknown = packets.iter().zip(&known).filter(|(_, known)| known.is_none());
        let unknown: Vec<&[u8]> = unknown.map(|(bytes, _)| *bytes).collect();
        let mut opened = self.open_unknown(&unknown).into_iter();
        known.into_iter().map(move |known| match known {
            Some(known) => Ok(known),
            None => opened.next().expect("all that are unknown were opened"),
        })
    }

    fn open_unknown(&self, packets: &[&[u8]]) -> Vec<Result<Placed, PacketError>> {
        if packets.is_empty() {
            return Vec::new();
        }
        let ids = packet::ids(packets);
        let verified: Vec<bool> = {
            let mut known = self.known();
            ids.iter().for_each(|id| known.verified.renew(id));
            ids.iter().map(|id| known.verified.get(id).is_some()).collect()
        };
        let new = packets.iter().zip(&verified).filter(|(_, verified)| !**verified);
        let new: Vec<&[u8]> = new.map(|(bytes, _)| *bytes).collect();
        let mut opened = packet::open_batch(&new).into_iter();
        let each = packets.iter().zip(&ids).zip(verified).map(|((bytes, id), verified)| {
            let opened = match verified {
                true => packet::reopen(bytes, id),
                false => opened.next().expect("all that are new were opened"),
            };
            opened.map(|opened| self.placed(opened))
        });
        let placed: Vec<Result<Placed, PacketError>> = each.collect();
        let mut known = self.known();
        for one in placed.iter().flatten() {
            known.verified.add(one.id, ());
            known.opened.add(tail(&one.bytes), one.clone());
        }
        placed
    }

    fn placed(&self, opened: Opened) -> Placed {
        let point = self.space.locate(&opened.outcome.situation);
        Placed { opened: Arc::new(opened), point: Arc::new(point) }
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
        let opener = Opener::new(Space::default_definition());
        let open = |bytes: &&[u8]| packet::open(bytes).map(|opened| opener.placed(opened));
        let plainly: Vec<_> = packets.iter().map(open).collect();
        assert_eq!(plainly.iter().filter(|opened| opened.is_ok()).count(), 4);
        for round in 0..4 {
            assert_eq!(opener.open_all(&packets).collect::<Vec<_>>(), plainly);
            let singly: Vec<_> =
                packets.iter().flat_map(|bytes| opener.open_all(&[bytes])).collect();
            assert_eq!(singly, plainly);
            let mut known = opener.known();
            assert_eq!(known.opened.young.len(), 3, "the genuine ones alone");
            assert_eq!(known.verified.young.len(), 3, "the genuine ones alone");
            if round == 1 {
                // That they were verified is still known.
                known.opened = Lately::new(OPENED);
            }
        }
    }

    #[test]
    fn those_asked_for_last_are_remembered_and_no_more_than_is_said() {
        let mut known = Lately::new(OPENED);
        let id = |number: usize| {
            let mut id = PacketId::default();
            id[..8].copy_from_slice(&number.to_be_bytes());
            id
        };
        for number in 0..5 * OPENED {
            known.add(id(number), number);
            known.renew(&id(0));
            assert_eq!(known.get(&id(0)), Some(&0), "it is asked for again and again");
            assert!(known.young.len() + known.old.len() <= 2 * OPENED);
        }
        assert!((4 * OPENED..5 * OPENED).all(|number| {
            known.young.contains_key(&id(number)) || known.old.contains_key(&id(number))
        }));
        known.renew(&id(1));
        assert!(known.get(&id(1)).is_none());
    }
}
