//! What one who hears of statements from peers asks of the store.
//!
//! Keys are free, so anybody can make any number of statements. What a statement may claim goes by its
//! key and the successor's ([`Claim`]), not by those further on, which whoever has one key makes by the
//! thousand: a stranger's finds room only while [`STRANGERS_MAX`] are kept; any other up to the bound
//! of all, and then displaces what claims less.
//!
//! Owns which statements came from peers, and what makes room for which. Never displaces what a user of
//! this node declared.
//!
//! **Invariant:** a statement is displaced only for one that claims more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use edgelore_model::Situation;
use edgelore_pipeline::packet::statement::{Said, Statement};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::beside::{Beside, STATEMENTS};
use super::index::Change;
use super::sums::{Sum, Sums, part, parts_of};
use super::{Embedded, Shared, blocking};
use crate::PacketId;
use crate::backend::{BackendError, Stored};
use crate::beside::{STATEMENTS_MAX, keys};

/// Statements beside which none is kept whose keys nobody here knows.
const STRANGERS_MAX: usize = 16_384;
/// Statements that make room at once, and how many are looked at for them.
const DISPLACED_AT_ONCE: usize = 256;
const LOOKED_AT_MAX: usize = 4_096;
const HEARD: TableDefinition<'static, &'static [u8], ()> = TableDefinition::new("heard");

/// Whether somebody here asked about a publisher lately.
pub(crate) type Asked = Arc<dyn Fn(&[u8; 32]) -> bool + Send + Sync>;

/// On what a statement's claim to room rests; each displaces those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// Nobody here has to do with its keys.
    Strange,
    /// A packet of one of them is here.
    Published,
    /// Somebody here asked about one of them.
    Asked,
    /// A user of this node declares it.
    Declared,
}

/// What a statement about a publisher may claim.
type Claims<'c> = &'c dyn Fn(&[u8; 32]) -> Claim;

fn claim(statement: &Statement, claims: Claims<'_>) -> Claim {
    keys(statement).map(|key| claims(&key)).max().unwrap_or(Claim::Strange)
}

/// How many statements find room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// While so many are kept, one of keys that nobody here knows.
    pub(crate) strangers: usize,
    /// In all.
    pub(crate) all: usize,
}

/// Statements that peers told of.
#[derive(Debug)]
pub(super) struct Heard {
    ids: BTreeSet<PacketId>,
    sums: Sums,
    /// Where the next look for what makes room begins.
    looked: Option<PacketId>,
    room: Room,
}

impl Heard {
    pub(super) fn read(database: &Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(HEARD)?;
        transaction.commit()?;
        let mut ids = BTreeSet::new();
        for entry in database.begin_read()?.open_table(HEARD)?.iter()? {
            ids.extend(PacketId::try_from(entry?.0.value()));
        }
        let room = Room { strangers: STRANGERS_MAX, all: STATEMENTS_MAX };
        Ok(Self { ids, sums: Sums::default(), looked: None, room })
    }

    /// These have come or gone. To be said afterwards: a sum made in between is of what was before.
    pub(super) fn touch(&mut self, ids: &[PacketId]) {
        ids.iter().for_each(|id| self.sums.touch(id));
    }

    /// The next of them, in turn.
    fn look(&mut self) -> Vec<PacketId> {
        let from = self.looked.unwrap_or_default();
        let looked = self.ids.range(from..).chain(self.ids.range(..from));
        let looked: Vec<PacketId> = looked.take(LOOKED_AT_MAX).copied().collect();
        self.looked = looked.last().copied();
        looked
    }
}

impl Beside {
    pub(super) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in, in one transaction, those of the statements for which there is room; gives of each
    /// whether it was new.
    fn adopt(
        &self,
        statements: Vec<Statement>,
        claims: Claims<'_>,
        learn: &dyn Fn(Change<'_>),
    ) -> Result<Vec<Result<bool, BackendError>>, BackendError> {
        let _turn = self.turn();
        self.make_room_for(&statements, claims, learn)?;
        let room = self.heard().room;
        let (mut new, mut verdicts) = (Vec::new(), Vec::new());
        for statement in statements {
            let is_strange = claim(&statement, claims) == Claim::Strange;
            let room = if is_strange { room.strangers } else { room.all };
            let lacks = self.memory().lacks_beside(&statement, &new, room);
            if lacks == Ok(true) {
                new.push(statement);
            }
            verdicts.push(lacks);
        }
        if !new.is_empty() {
            self.write(|transaction| {
                let mut statements = transaction.open_table(STATEMENTS)?;
                let mut heard = transaction.open_table(HEARD)?;
                for statement in &new {
                    statements.insert(statement.id.as_slice(), statement.bytes.as_slice())?;
                    heard.insert(statement.id.as_slice(), ())?;
                }
                Ok(())
            })?;
            self.heard().ids.extend(new.iter().map(|statement| statement.id));
            self.remember(new, learn);
        }
        Ok(verdicts)
    }

    /// Makes room for those of some statements that say something new and claim most.
    fn make_room_for(
        &self,
        statements: &[Statement],
        claims: Claims<'_>,
        learn: &dyn Fn(Change<'_>),
    ) -> Result<(), BackendError> {
        let mut wanted: Vec<Statement> = Vec::new();
        for statement in statements {
            if self.memory().lacks_beside(statement, &wanted, usize::MAX) == Ok(true) {
                wanted.push(statement.clone());
            }
        }
        let claimed: Vec<Claim> = wanted.iter().map(|one| claim(one, claims)).collect();
        let most = claimed.iter().max().copied().unwrap_or(Claim::Strange);
        let coming = claimed.iter().filter(|claim| **claim == most).count();
        self.make_room(coming, most, claims, learn)
    }

    /// When there is no room for so many more that claim so much, drops some that claim less: those that
    /// claim least first, and of strangers' many at once.
    fn make_room(
        &self,
        coming: usize,
        most: Claim,
        claims: Claims<'_>,
        learn: &dyn Fn(Change<'_>),
    ) -> Result<(), BackendError> {
        let room = self.heard().room.all;
        if most == Claim::Strange || self.memory().len() + coming <= room {
            return Ok(());
        }
        let looked = self.heard().look();
        let claiming = |id: PacketId| {
            let statement = self.memory().statement(&id).cloned();
            (statement.map_or(Claim::Strange, |statement| claim(&statement, claims)), id)
        };
        let mut less: Vec<(Claim, PacketId)> =
            looked.into_iter().map(claiming).filter(|(other, _)| *other < most).collect();
        if less.is_empty() {
            return Ok(());
        }
        less.sort_unstable();
        let strange = less.partition_point(|(other, _)| *other == Claim::Strange);
        less.truncate(strange.min(DISPLACED_AT_ONCE).max(coming));
        let gone: Vec<PacketId> = less.into_iter().map(|(_, id)| id).collect();
        self.write(|transaction| {
            let mut statements = transaction.open_table(STATEMENTS)?;
            let mut heard = transaction.open_table(HEARD)?;
            for id in &gone {
                statements.remove(id.as_slice())?;
                heard.remove(id.as_slice())?;
            }
            Ok(())
        })?;
        self.memory_mut().remove_statements(&gone);
        learn(Change::All(self.lineage()));
        let mut heard = self.heard();
        for id in &gone {
            heard.ids.remove(id);
        }
        heard.touch(&gone);
        Ok(())
    }

    /// A user of this node says so too: it is never displaced.
    fn own(&self, id: &PacketId) -> Result<(), BackendError> {
        let _turn = self.turn();
        if self.heard().ids.contains(id) {
            self.write(|transaction| {
                transaction.open_table(HEARD)?.remove(id.as_slice())?;
                Ok(())
            })?;
            self.heard().ids.remove(id);
        }
        Ok(())
    }
}

/// What a publisher's statements may claim here.
fn claims(shared: &Shared, asked: &Asked) -> impl Fn(&[u8; 32]) -> Claim {
    move |publisher| match asked(publisher) {
        true => Claim::Asked,
        false if shared.index().publishes(publisher) => Claim::Published,
        false => Claim::Strange,
    }
}

impl Embedded {
    /// Keeps what a user of this node says of a key.
    pub(crate) async fn declare_own(
        &self,
        statement: Statement,
        asked: Asked,
    ) -> Result<Stored, BackendError> {
        blocking(&self.shared, move |shared| {
            let learn = |change: Change<'_>| shared.index_mut().learn(change);
            {
                let _turn = shared.beside.turn();
                let is_new = shared.beside.memory().lacks_beside(&statement, &[], usize::MAX);
                if is_new == Ok(true) {
                    let claims = claims(shared, &asked);
                    shared.beside.make_room(1, Claim::Declared, &claims, &learn)?;
                }
            }
            let stored = shared.beside.declare(&statement.bytes, learn)?;
            shared.beside.own(&stored.id)?;
            Ok(stored)
        })
        .await
    }

    /// Keeps what peers told of keys, as far as there is room; gives of each whether it was new.
    pub(crate) async fn adopt(
        &self,
        statements: Vec<Statement>,
        asked: Asked,
    ) -> Result<Vec<Result<bool, BackendError>>, BackendError> {
        blocking(&self.shared, move |shared| {
            let learn = |change: Change<'_>| shared.index_mut().learn(change);
            shared.beside.adopt(statements, &claims(shared, &asked), &learn)
        })
        .await
    }

    /// How many statements are kept.
    pub(crate) fn statements_kept(&self) -> usize {
        self.shared.beside.memory().len()
    }

    pub(crate) fn has_statement(&self, id: &PacketId) -> bool {
        self.shared.beside.memory().statement(id).is_some()
    }

    /// The bytes of those of the statements that are here.
    pub(crate) fn statement_bytes(&self, ids: &[PacketId]) -> Vec<Vec<u8>> {
        let memory = self.shared.beside.memory();
        ids.iter().filter_map(|id| Some(memory.statement(id)?.bytes.clone())).collect()
    }

    /// The statements about some publishers, at most so many: revocations first.
    pub(crate) fn statements_about(&self, publishers: &[[u8; 32]], count: usize) -> Vec<PacketId> {
        let mut about = self.shared.beside.about(publishers);
        about.sort_by_key(|statement| (statement.said != Said::Revoked, statement.id));
        about.into_iter().take(count).map(|statement| statement.id).collect()
    }

    /// The sums of what is here.
    pub(crate) fn sums(&self) -> Vec<Sum> {
        self.sums_of(parts_of(self.statements_kept()))
    }

    fn sums_of(&self, parts: usize) -> Vec<Sum> {
        let memory = self.shared.beside.memory();
        self.shared.beside.heard().sums.of(&memory, parts)
    }

    /// Ids after one, in order and at most so many, of those parts in which these sums, of valid parts,
    /// differ from what is here.
    pub(crate) fn differing(
        &self,
        sums: &[Sum],
        after: Option<PacketId>,
        count: usize,
    ) -> Vec<PacketId> {
        let own = self.sums_of(sums.len());
        let memory = self.shared.beside.memory();
        let differ = |id: &&PacketId| {
            let part = part(id, sums.len());
            own[part] != sums[part]
        };
        memory.ids_after(after).filter(differ).take(count).copied().collect()
    }

    /// Where the latest packets of some publishers lie, of at most so many packets.
    pub(crate) async fn places_of(
        &self,
        publishers: Vec<[u8; 32]>,
        count: usize,
    ) -> Result<Vec<Situation>, BackendError> {
        blocking(&self.shared, move |shared| {
            let sequences = shared.index().latest_of(&publishers, count);
            let mut places = BTreeMap::new();
            for sequence in sequences {
                for (at, record) in shared.disk.records_after(sequence - 1, 1)? {
                    places.extend(record.map(|record| (at, record.situation)));
                }
            }
            Ok(places.into_values().collect())
        })
        .await
    }

    /// The keys whose word takes back what this one published.
    pub(crate) fn heirs(&self, publisher: &[u8; 32]) -> BTreeSet<[u8; 32]> {
        self.shared.index().lineage().heirs(publisher)
    }

    /// Lets a test have less room.
    #[cfg(test)]
    pub(crate) fn set_room(&self, room: Room) {
        self.shared.beside.heard().room = room;
    }
}
