//! What is known of the network now: what every detector judges by.

use super::fib::FibTable;
use super::life::Life;
use super::sessions::Sessions;
use super::settings::SettingsBook;
use super::{Bounds, Settings};
use edgelore_model::Scope;

/// What is known of the network now.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) sessions: Sessions,
    pub(super) life: Life,
    pub(super) fib: FibTable,
    pub(super) book: SettingsBook,
}

impl Known {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            sessions: Sessions::new(bounds.sessions_max),
            life: Life::new(bounds.links_max),
            fib: FibTable::new(bounds.fib_routes_max),
            book: SettingsBook::new(bounds),
        }
    }

    pub(super) const fn overflows(&self) -> u64 {
        self.sessions.overflows + self.life.overflows + self.fib.overflows + self.book.overflows
    }

    /// What is set where `scope` is.
    pub(super) fn settings_of(&self, scope: &Scope) -> Settings {
        self.book.of(scope, &self.sessions)
    }
}
