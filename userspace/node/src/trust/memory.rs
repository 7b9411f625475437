//! What packets and statements have said that concerns other packets.
//!
//! A store may keep a packet that another store, or a subscription, has shown to be withdrawn; this
//! remembers. Owns who withdrew what, which keys are one publisher's, and which packets were seen.
//!
//! Withdrawals and statements outlive the process in `withdrawn.json`, written anew a few seconds after
//! one was learned; a crash costs what was learned since from answers of other machines' stores, which say
//! it again. What this machine's own stores acknowledged or received, they withhold by themselves. Which
//! packets were seen begins anew.
//!
//! **Invariant:** only what was verified is remembered; each table has its bound, in memory and on
//! disk, and the oldest go. What publishers in the trust book withdrew has room apart from what others
//! did: keys are free, so anybody could fill any table.

use super::book::{BookError, PublisherId, recall, replace};
use edgelore_pipeline::packet::lineage::Lineage;
use edgelore_pipeline::packet::statement::{self, Statement};
use edgelore_pipeline::packet::{Opened, PacketId};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::path::Path;

const FILE: &str = "withdrawn.json";

/// Packets that are remembered as seen.
pub(super) const PACKETS_MAX: usize = 16_384;
/// Withdrawals that are remembered of publishers in the book, and as many of others.
const WITHDRAWALS_MAX: usize = 32_768;
/// Statements that are remembered.
const STATEMENTS_MAX: usize = 16_384;

/// A set that forgets what came first.
#[derive(Debug)]
struct Recent<T> {
    held: HashSet<T>,
    order: VecDeque<T>,
    most: usize,
    /// How many went for want of room.
    forgotten: u64,
}

impl<T: Hash + Eq + Copy> Recent<T> {
    fn new(most: usize) -> Self {
        Self { held: HashSet::new(), order: VecDeque::new(), most, forgotten: 0 }
    }

    /// Whether it is new.
    fn insert(&mut self, one: T) -> bool {
        if !self.held.insert(one) {
            return false;
        }
        self.order.push_back(one);
        if self.order.len() > self.most
            && let Some(first) = self.order.pop_front()
        {
            self.held.remove(&first);
            self.forgotten += 1;
        }
        true
    }
}

/// What is remembered.
#[derive(Debug)]
pub(super) struct Memory {
    packets: Recent<PacketId>,
    /// Of publishers in the book.
    known: Recent<(PublisherId, PacketId)>,
    /// Of those that are not.
    others: Recent<(PublisherId, PacketId)>,
    statements: Recent<PacketId>,
    lineage: Lineage,
    /// Statements in the lineage, so that it can be made anew without the oldest.
    said: HashMap<PacketId, Statement>,
    /// Something was learned that is not on disk.
    unwritten: bool,
}

/// What outlives the process, oldest first, hexadecimal.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Written {
    /// Who of those in the book withdrew, and then what: 64 digits each.
    known: Vec<String>,
    /// Likewise, of others.
    others: Vec<String>,
    /// Statements' exact bytes.
    statements: Vec<String>,
}

impl Written {
    /// Writes it all down.
    pub(super) fn write(&self, directory: &Path) -> Result<(), BookError> {
        let bytes = serde_json::to_vec(self).expect("what is remembered can be written as JSON");
        replace(&directory.join(FILE), &bytes)
    }
}

/// Who withdrew what; `None` for what is no pair of ids.
fn withdrawal(text: &str) -> Option<(PublisherId, PacketId)> {
    let bytes: [u8; 64] = hex::decode(text).ok()?.try_into().ok()?;
    let (publisher, packet) = bytes.split_at(32);
    Some((publisher.try_into().ok()?, packet.try_into().ok()?))
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            packets: Recent::new(PACKETS_MAX),
            known: Recent::new(WITHDRAWALS_MAX),
            others: Recent::new(WITHDRAWALS_MAX),
            statements: Recent::new(STATEMENTS_MAX),
            lineage: Lineage::default(),
            said: HashMap::new(),
            unwritten: false,
        }
    }

    /// What is remembered in a directory; statements are verified again.
    pub(super) fn read(directory: &Path) -> Self {
        let written: Written = recall(&directory.join(FILE));
        let mut memory = Self::new();
        for (table, texts) in
            [(&mut memory.known, &written.known), (&mut memory.others, &written.others)]
        {
            for one in texts.iter().filter_map(|text| withdrawal(text)) {
                table.insert(one);
            }
        }
        let statements = written.statements.iter().filter_map(|text| hex::decode(text).ok());
        let opened: Vec<_> = statements.filter_map(|bytes| statement::open(&bytes).ok()).collect();
        memory.learn(&opened);
        Self { unwritten: false, ..memory }
    }

    /// What has to be written, when something was learned since the last time.
    pub(super) fn take_unwritten(&mut self) -> Option<Written> {
        if !std::mem::take(&mut self.unwritten) {
            return None;
        }
        let texts = |table: &Recent<(PublisherId, PacketId)>| {
            table.order.iter().map(|(by, what)| hex::encode([*by, *what].concat())).collect()
        };
        let statements = self.statements.order.iter().filter_map(|id| self.said.get(id));
        Some(Written {
            known: texts(&self.known),
            others: texts(&self.others),
            statements: statements.map(|statement| hex::encode(&statement.bytes)).collect(),
        })
    }

    /// What was to be written is not on disk.
    pub(super) const fn not_written(&mut self) {
        self.unwritten = true;
    }

    /// Withdrawals that were forgotten for want of room since the start.
    pub(super) const fn forgotten(&self) -> u64 {
        self.known.forgotten + self.others.forgotten
    }

    /// Which keys are one publisher's.
    pub(super) const fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Notes a packet; whether it had not been seen.
    pub(super) fn saw(&mut self, id: &PacketId) -> bool {
        self.packets.insert(*id)
    }

    pub(super) fn knows(&self, id: &PacketId) -> bool {
        self.packets.held.contains(id)
    }

    /// Notes what a packet of a publisher withdraws that is in the book, or is not.
    pub(super) fn hear(&mut self, packet: &Opened, known: bool) {
        let table = if known { &mut self.known } else { &mut self.others };
        for target in [packet.outcome.supersedes, packet.outcome.revokes].into_iter().flatten() {
            self.unwritten |= table.insert((packet.publisher, target));
        }
    }

    /// Notes what publishers say of their keys.
    pub(super) fn learn<'s>(&mut self, statements: impl IntoIterator<Item = &'s Statement>) {
        for statement in statements {
            if self.statements.insert(statement.id) {
                self.lineage.add(statement);
                self.said.insert(statement.id, statement.clone());
                self.unwritten = true;
            }
        }
        if self.said.len() > STATEMENTS_MAX {
            let held = &self.statements.held;
            self.said.retain(|id, _| held.contains(id));
            self.lineage = Lineage::of(self.said.values());
        }
    }

    /// Whether a packet's own publisher, under this key or a later one, has withdrawn it.
    pub(super) fn is_withdrawn(&self, packet: &Opened) -> bool {
        let by = |publisher| {
            [&self.known, &self.others]
                .iter()
                .any(|table| table.held.contains(&(publisher, packet.id)))
        };
        by(packet.publisher)
            || (!self.lineage.is_empty()
                && self.lineage.heirs(&packet.publisher).into_iter().any(by))
    }

    /// All keys that are known to be of whoever publishes under this one, this one first.
    pub(super) fn keys_of(&self, publisher: &PublisherId) -> Vec<PublisherId> {
        let mut keys = vec![*publisher];
        if !self.lineage.is_empty() {
            let heirs = self.lineage.heirs(&self.lineage.origin(publisher));
            keys.extend(heirs.into_iter().filter(|key| key != publisher));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let mut recent = Recent::new(2);
        assert!(recent.insert(1) && recent.insert(2) && !recent.insert(1));
        assert!(recent.insert(3) && recent.insert(1), "one was forgotten");
        assert_eq!((recent.held.len(), recent.order.len()), (2, 2));
    }

    fn number(number: usize) -> [u8; 32] {
        let mut id = [0; 32];
        id[24..].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn what_outlives_the_process_is_bounded_and_the_latest() {
        const MORE: usize = 100;
        let directory = tempfile::tempdir().unwrap();
        let mut memory = Memory::new();
        memory.unwritten = memory.known.insert(([6; 32], number(0)));
        for what in 0..WITHDRAWALS_MAX + MORE {
            memory.others.insert(([7; 32], number(what)));
        }
        assert_eq!(memory.forgotten(), MORE as u64);
        let written = memory.take_unwritten().expect("something was learned");
        assert!(memory.take_unwritten().is_none(), "nothing since");
        written.write(directory.path()).unwrap();
        let bytes = std::fs::metadata(directory.path().join(FILE)).unwrap().len();
        assert!(bytes < 132 * WITHDRAWALS_MAX as u64, "{bytes}");
        let mut again = Memory::read(directory.path());
        assert_eq!(again.others.order, memory.others.order);
        assert_eq!(again.others.order[0], ([7; 32], number(MORE)), "the oldest went");
        assert_eq!(again.known.order, [([6; 32], number(0))], "those in the book have room apart");
        // Nor does a file that is longer, or in part no pairs of ids, fill more.
        let mut longer = Written { others: vec!["zz".into(), "00".into()], ..written };
        let all =
            (0..2 * WITHDRAWALS_MAX).map(|what| hex::encode([[8; 32], number(what)].concat()));
        longer.others.extend(all);
        longer.write(directory.path()).unwrap();
        again = Memory::read(directory.path());
        assert_eq!((again.others.order.len(), again.known.order.len()), (WITHDRAWALS_MAX, 1));
        assert_eq!(again.others.order[0], ([8; 32], number(WITHDRAWALS_MAX)));
    }
}
