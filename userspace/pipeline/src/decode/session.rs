//! Which sessions are up, told from their connections' messages and ends.
//!
//! A session is **up** from the moment the second of the two OPENs of a connection is seen: both
//! ends agreed to talk; a refusal follows as a NOTIFICATION. (Established proper needs the
//! KEEPALIVEs, which the kernel withholds live; this rule gives the same observations live and
//! from a file.) A session whose OPENs were not seen counts as up from its first UPDATE on, and
//! says so only if it was known to be down or an OPEN of it was seen. A connection found in its
//! middle is presumed to be up until it ends.
//!
//! Two routers may open two connections at once (RFC 4271 §6.8). The one that carries the session
//! is the first; the second takes over when the first ends or when it carries an UPDATE, and if
//! the first had carried UPDATEs by then, the session went down and came up again. A first that had
//! carried none and says that it lost the collision leaves the session to the second. A connection that
//! has been taken over from is heard no more, for what it could not deliver while the way was dead it
//! sends again when the session is back on another.
//!
//! **Invariant:** downs and ups of a session alternate; an end is reported once.

use super::table::Table;
use edgelore_model::{DownCause, PeerState, SessionKey};

/// A TCP connection, or the records of a session; a new connection on the same ports is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionId(pub(super) u64);

impl ConnectionId {
    /// Stands for the records of a collector, which do not tell connections apart.
    pub(super) const RECORDED: Self = Self(0);
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing was seen that tells.
    #[default]
    Unknown,
    Up,
    Down,
}

/// What changed: first the end, then the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) down: Option<DownCause>,
    pub(super) up: bool,
}

impl Transition {
    const NONE: Self = Self { down: None, up: false };
    const UP: Self = Self { down: None, up: true };

    const fn down(cause: DownCause) -> Self {
        Self { down: Some(cause), up: false }
    }

    const fn again(cause: DownCause) -> Self {
        Self { down: Some(cause), up: true }
    }
}

#[derive(Debug, Default)]
struct Track {
    state: State,
    /// The connection that carries the session.
    carrier: Option<ConnectionId>,
    /// The carrier has carried UPDATEs.
    used: bool,
    /// A second connection whose OPENs were exchanged.
    challenger: Option<ConnectionId>,
    /// The last connection that carried the session and does so no more, as far as its end was not
    /// seen: what is sent again on it is no news.
    former: Option<ConnectionId>,
}

pub(super) struct Sessions {
    tracks: Table<SessionKey, Track>,
}

impl Sessions {
    pub(super) fn new(max: usize) -> Self {
        Self { tracks: Table::new(max) }
    }

    /// Sessions forgotten because there were too many.
    pub(super) const fn evicted(&self) -> u64 {
        self.tracks.evicted()
    }

    fn track(&mut self, session: SessionKey) -> &mut Track {
        self.tracks.get_or_insert(session, Track::default)
    }

    /// Both OPENs of a connection were seen.
    pub(super) fn opened(&mut self, session: SessionKey, id: ConnectionId) -> Transition {
        let track = self.track(session);
        match (track.state, track.carrier) {
            (State::Up, Some(carrier)) if carrier != id => {
                track.challenger = Some(id);
                Transition::NONE
            }
            (State::Up, _) => {
                track.carrier = Some(id);
                Transition::NONE
            }
            _ => track.carried_by(id, false, Transition::UP),
        }
    }

    /// An OPEN came on a connection that had exchanged its OPENs, or UPDATEs, before.
    pub(super) fn reopened(&mut self, session: SessionKey, id: ConnectionId) -> Transition {
        let track = self.track(session);
        if track.state == State::Up && track.carrier == Some(id) {
            track.end(DownCause::Replaced)
        } else {
            Transition::NONE
        }
    }

    /// An UPDATE came on a connection that has not ended; `opens` when an OPEN of it was seen.
    pub(super) fn updated(
        &mut self,
        session: SessionKey,
        id: ConnectionId,
        opens: bool,
    ) -> Transition {
        let track = self.track(session);
        match track.state {
            State::Up if track.former == Some(id) => Transition::NONE,
            State::Up if track.carrier.is_none_or(|carrier| carrier == id) => {
                track.carried_by(id, true, Transition::NONE)
            }
            State::Up if track.used && (opens || track.challenger == Some(id)) => {
                track.carried_by(id, true, Transition::again(DownCause::Replaced))
            }
            State::Up | State::Unknown if !opens => track.carried_by(id, true, Transition::NONE),
            State::Up => track.carried_by(id, true, Transition::NONE),
            State::Unknown | State::Down => track.carried_by(id, true, Transition::UP),
        }
    }

    /// A connection ended; `presumed` when it was found in its middle.
    pub(super) fn ended(
        &mut self,
        session: SessionKey,
        id: ConnectionId,
        cause: DownCause,
        presumed: bool,
    ) -> Transition {
        let track = self.track(session);
        match track.state {
            State::Up if track.former == Some(id) => Transition::NONE,
            State::Up if track.challenger == Some(id) => {
                track.challenger = None;
                Transition::NONE
            }
            State::Up if track.carrier.is_none_or(|carrier| carrier == id) => {
                match (track.challenger, track.used) {
                    (None, _) => track.end(cause),
                    (Some(next), true) => track.carried_by(next, false, Transition::again(cause)),
                    (Some(next), false) => track.carried_by(next, false, Transition::NONE),
                }
            }
            State::Unknown if presumed => track.end(cause),
            _ => Transition::NONE,
        }
    }

    /// What a connection says of the session's end counts: no other one carries the session.
    pub(super) fn speaks_for(&mut self, session: SessionKey, id: ConnectionId) -> bool {
        let track = self.track(session);
        let carries = track.carrier.is_none_or(|carrier| carrier == id);
        track.state != State::Up || (carries && track.former != Some(id))
    }

    /// A connection lost a collision (RFC 4271 §6.8): nothing ends with one that had not carried
    /// UPDATEs. The session is the other connection's, even if its second OPEN is still to come.
    pub(super) fn collided(&mut self, session: SessionKey, id: ConnectionId) {
        let track = self.track(session);
        if track.carrier == Some(id) && !track.used && track.challenger.is_none() {
            (track.carrier, track.former) = (None, Some(id));
        }
    }

    /// A collector recorded a state change (RFC 6396 §4.4.1: 1 Idle, 2 Connect, 3 Active,
    /// 6 Established; Quagga adds 7 Clearing and 8 Deleted).
    pub(super) fn recorded(&mut self, peer: &PeerState) -> Transition {
        const ESTABLISHED: u16 = 6;
        let track = self.track(peer.session);
        let left = peer.old == ESTABLISHED || (peer.new != peer.old && (1..=3).contains(&peer.new));
        match track.state {
            State::Unknown | State::Down if peer.new == ESTABLISHED => {
                track.carried_by(ConnectionId::RECORDED, false, Transition::UP)
            }
            _ if peer.new == ESTABLISHED => Transition::NONE,
            State::Up if left => track.end(DownCause::Recorded),
            State::Unknown if peer.old == ESTABLISHED => track.end(DownCause::Recorded),
            _ => Transition::NONE,
        }
    }

    /// A connection is no longer followed: any other may be it from now on.
    pub(super) fn forget(&mut self, session: SessionKey, id: ConnectionId) {
        let track = self.track(session);
        track.carrier = track.carrier.filter(|&carrier| carrier != id);
        track.challenger = track.challenger.filter(|&challenger| challenger != id);
    }
}

impl Track {
    fn end(&mut self, cause: DownCause) -> Transition {
        *self = Self { state: State::Down, ..Self::default() };
        Transition::down(cause)
    }

    fn carried_by(&mut self, id: ConnectionId, used: bool, transition: Transition) -> Transition {
        let challenger = self.challenger.filter(|&challenger| challenger != id);
        let former = self.carrier.filter(|&carrier| carrier != id).or(self.former);
        *self = Self { state: State::Up, carrier: Some(id), used, challenger, former };
        transition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnectionId = ConnectionId(1);
    const B: ConnectionId = ConnectionId(2);

    fn key() -> SessionKey {
        SessionKey::between("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap())
    }

    fn peer(old: u16, new: u16) -> PeerState {
        PeerState { session: key(), peer: key().addresses().0, old, new }
    }

    #[test]
    fn an_end_is_reported_once() {
        let mut sessions = Sessions::new(4);
        assert_eq!(sessions.opened(key(), A), Transition::UP);
        assert_eq!(sessions.updated(key(), A, true), Transition::NONE);
        assert_eq!(
            sessions.ended(key(), A, DownCause::Notification, false),
            Transition::down(DownCause::Notification)
        );
        assert_eq!(sessions.ended(key(), A, DownCause::Closed, false), Transition::NONE);
        assert_eq!(sessions.opened(key(), B), Transition::UP);
    }

    #[test]
    fn the_loser_of_a_collision_ends_nothing() {
        for (loser, winner) in [(A, B), (B, A)] {
            let mut sessions = Sessions::new(4);
            sessions.opened(key(), A);
            assert_eq!(sessions.opened(key(), B), Transition::NONE);
            let ended = sessions.ended(key(), loser, DownCause::Notification, false);
            assert_eq!(ended, Transition::NONE);
            assert_eq!(sessions.updated(key(), winner, true), Transition::NONE);
            assert_eq!(
                sessions.ended(key(), winner, DownCause::Reset, false),
                Transition::down(DownCause::Reset)
            );
        }
    }

    #[test]
    fn the_winner_of_a_collision_may_open_after_the_loser_has_gone() {
        let mut sessions = Sessions::new(4);
        assert_eq!(sessions.opened(key(), A), Transition::UP);
        sessions.collided(key(), A);
        for cause in [DownCause::Notification, DownCause::Closed] {
            assert_eq!(sessions.ended(key(), A, cause, false), Transition::NONE);
        }
        assert_eq!(sessions.opened(key(), B), Transition::NONE);
        assert_eq!(
            sessions.ended(key(), B, DownCause::Reset, false),
            Transition::down(DownCause::Reset)
        );
        // One that had carried UPDATEs was the session.
        sessions.opened(key(), A);
        sessions.updated(key(), A, true);
        sessions.collided(key(), A);
        let down = Transition::down(DownCause::Notification);
        assert_eq!(sessions.ended(key(), A, DownCause::Notification, false), down);
    }

    #[test]
    fn a_new_connection_replaces_a_silent_one() {
        let mut sessions = Sessions::new(4);
        sessions.opened(key(), A);
        sessions.updated(key(), A, true);
        sessions.opened(key(), B);
        assert_eq!(sessions.updated(key(), B, true), Transition::again(DownCause::Replaced));
        assert_eq!(sessions.updated(key(), B, true), Transition::NONE);
    }

    #[test]
    fn what_a_dead_connection_sends_again_is_no_news() {
        let mut sessions = Sessions::new(4);
        for id in [A, B] {
            sessions.opened(key(), id);
            assert!(sessions.speaks_for(key(), A) && !sessions.speaks_for(key(), B));
            sessions.updated(key(), id, true);
        }
        assert!(sessions.speaks_for(key(), B) && !sessions.speaks_for(key(), A));
        assert_eq!(sessions.updated(key(), A, true), Transition::NONE);
        assert_eq!(sessions.ended(key(), A, DownCause::Notification, false), Transition::NONE);
        let down = Transition::down(DownCause::Reset);
        assert_eq!(sessions.ended(key(), B, DownCause::Reset, false), down);
        assert!(sessions.speaks_for(key(), A));
    }

    #[test]
    fn a_connection_found_in_its_middle_is_presumed_up() {
        let mut sessions = Sessions::new(4);
        assert_eq!(
            sessions.ended(key(), A, DownCause::Reset, true),
            Transition::down(DownCause::Reset)
        );
        let mut sessions = Sessions::new(4);
        assert_eq!(sessions.ended(key(), A, DownCause::Reset, false), Transition::NONE);
        assert_eq!(sessions.updated(key(), A, false), Transition::NONE);
        assert_eq!(
            sessions.ended(key(), A, DownCause::Closed, true),
            Transition::down(DownCause::Closed)
        );
        assert_eq!(sessions.updated(key(), B, false), Transition::UP);
    }

    #[test]
    fn recorded_states_count() {
        let mut sessions = Sessions::new(4);
        assert_eq!(sessions.recorded(&peer(1, 3)), Transition::NONE);
        assert_eq!(sessions.recorded(&peer(6, 1)), Transition::down(DownCause::Recorded));
        assert_eq!(sessions.recorded(&peer(1, 3)), Transition::NONE);
        assert_eq!(sessions.recorded(&peer(5, 6)), Transition::UP);
        assert_eq!(sessions.recorded(&peer(6, 7)), Transition::down(DownCause::Recorded));
        assert_eq!(sessions.recorded(&peer(7, 1)), Transition::NONE);
        sessions.opened(key(), ConnectionId::RECORDED);
        assert_eq!(sessions.recorded(&peer(4, 5)), Transition::NONE);
        assert_eq!(sessions.recorded(&peer(5, 6)), Transition::NONE);
    }
}
