//! Whose change it is: the incident that a change of the kernel's table or a route belongs to.
//!
//! **Invariant:** what nobody claims belongs to nobody, and is kept for the look back.

use super::open::Open;
use super::recent::{Change, ChangeSource};
use super::{Convergences, Route};
use crate::detect::known::Known;
use edgelore_model::{Prefix, Rib, RouteDelta, SessionKey};
use std::net::IpAddr;

impl Convergences {
    /// The incident that a change of the kernel's table belongs to: the one whose session or link
    /// the prefix used; else one that moved the prefix already; else one of an interior protocol
    /// that advertises the prefix; else, when no known session claims the former next hop or an
    /// interior protocol may have moved what it is resolved over, the latest.
    pub(super) fn owner_of(&self, change: &Change, known: &Known) -> Option<usize> {
        let ChangeSource::Fib { via, links, .. } = &change.source else { return None };
        let told_first = |fits: &dyn Fn(&Open) -> bool| {
            let told = self.open.iter().position(|open| open.told && fits(open));
            told.or_else(|| self.open.iter().position(fits))
        };
        let again = |open: &Open| open.fib.prefixes.contains(&change.prefix);
        let direct = told_first(&|open| open.fib_left(change));
        let known_owner = direct
            .or_else(|| self.open.iter().position(again))
            .or_else(|| told_first(&|open| is_interior(open, change, known)));
        if known_owner.is_some() || (via.is_empty() && links.is_empty()) {
            return known_owner;
        }
        let claimed = via.iter().any(|gateway| known.sessions.with(*gateway).is_some());
        let fits = |open: &Open| open.told && !open.is_burst() && (!claimed || open.is_interior());
        self.open.iter().rposition(fits)
    }

    /// The incidents that routes of this delta may belong to: a burst takes what its own session
    /// says; a loss also what others say of its routes.
    pub(super) fn owners_of(&self, delta: &RouteDelta) -> Vec<usize> {
        let own = |open: &Open| open.concern.sessions.contains(&delta.session);
        let mut owners: Vec<usize> = (0..self.open.len())
            .filter(|&place| own(&self.open[place]) || !self.open[place].is_burst())
            .collect();
        owners.sort_by_key(|&place| !own(&self.open[place]));
        owners
    }

    /// An incident takes what it has moved already; what the speaker of its burst goes on
    /// withdrawing; and what a router that lost a session tells others of that session's routes, or
    /// whatever it tells them where those were not seen.
    pub(super) fn claims(
        &self,
        place: usize,
        prefix: Prefix,
        route: &Route,
        transfer: bool,
    ) -> bool {
        let open = &self.open[place];
        let own = open.concern.sessions.contains(&route.session);
        if open.late && own && transfer {
            return false;
        }
        // Who restarts gracefully says what it had said before.
        if open.retained && !open.told && own && !route.became.lost() {
            return false;
        }
        if open.moved(prefix) || (own && open.had(prefix)) {
            return true;
        }
        if transfer || !open.told {
            return false;
        }
        if own {
            return route.became.lost();
        }
        let tells = |session: &SessionKey| session.other(route.speaker).is_some();
        if open.concern.sessions.iter().any(tells) {
            return open.had(prefix) || open.lost_routes.is_empty();
        }
        open.is_interior() && route.became.lost()
    }
}

/// The change is of a prefix that an interior protocol advertises or has just taken back, and the
/// incident is of such a protocol.
pub(super) fn is_interior(open: &Open, change: &Change, known: &Known) -> bool {
    let ChangeSource::Fib { links, .. } = &change.source else { return false };
    open.is_interior()
        && !links.is_empty()
        && (open.taken_back.contains(&change.prefix)
            || known.adjacencies.advertised(change.prefix).is_some())
}

/// The speaker announces the prefix now.
pub(super) fn announces(source: (SessionKey, IpAddr, Rib), prefix: Prefix, known: &Known) -> bool {
    known.rib.route(source, prefix, 0).is_some_and(|route| route.announced)
}

/// Nobody else announces what was announced on a session, as far as everybody is known.
pub(super) fn alone(prefix: Prefix, lost: SessionKey, known: &Known) -> bool {
    let Some(speakers) = known.sessions.speakers() else { return false };
    let mut others = speakers.filter(|&(session, ..)| session != lost);
    !others.any(|source| announces(source, prefix, known))
}
