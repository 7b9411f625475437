//! What is known of the network now: what every detector judges by.

use super::adjacency::Adjacencies;
use super::fib::FibTable;
use super::ldp::LdpSessions;
use super::life::Life;
use super::sessions::Sessions;
use super::settings::SettingsBook;
use super::{Bounds, FlapConfig, Settings};
use crate::rib::{Rib, RibConfig, Verdict};
use edgelore_model::{RouteDelta, Scope, Timestamp};

/// What is known of the network now.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) sessions: Sessions,
    pub(super) life: Life,
    pub(super) fib: FibTable,
    pub(super) adjacencies: Adjacencies,
    pub(super) ldp: LdpSessions,
    pub(super) book: SettingsBook,
    /// What every speaker announces now. A session's routes stay in it until those who judge its
    /// loss have read them.
    pub(super) rib: Rib,
}

impl Known {
    pub(super) fn new(bounds: Bounds, flap: &FlapConfig) -> Self {
        let rib = RibConfig {
            sources_max: bounds.sessions_max,
            quiet: flap.quiet(),
            penalties: flap.penalties(),
            ..RibConfig::default()
        };
        Self {
            sessions: Sessions::new(bounds.sessions_max),
            life: Life::new(bounds.links_max),
            fib: FibTable::new(bounds.fib_routes_max),
            adjacencies: Adjacencies::default(),
            ldp: LdpSessions::new(bounds.sessions_max),
            book: SettingsBook::new(bounds),
            rib: Rib::new(rib),
        }
    }

    pub(super) const fn overflows(&self) -> u64 {
        let rib = self.rib.overflow();
        let routes = rib.prefixes + rib.deltas + rib.displaced;
        let tables = self.sessions.overflows + self.life.overflows + self.fib.overflows;
        let protocols = self.adjacencies.overflows + self.ldp.overflows;
        tables + protocols + self.book.overflows + routes
    }

    /// What became of the prefixes of a delta, withdrawn ones first, instead of what `verdicts` held.
    pub(super) fn routes_moved(
        &mut self,
        delta: &RouteDelta,
        at: Timestamp,
        verdicts: &mut Vec<Verdict>,
    ) {
        verdicts.clear();
        self.rib.apply(delta, at, verdicts);
    }

    /// What is set where `scope` is.
    pub(super) fn settings_of(&self, scope: &Scope) -> Settings {
        self.book.of(scope, &self.sessions)
    }
}
