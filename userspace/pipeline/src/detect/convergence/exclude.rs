//! What did not cause a convergence, as far as there is evidence.
//!
//! **Invariant:** nothing is ruled out for want of evidence: what was not watched stays possible.

use super::open::Open;
use crate::detect::known::Known;
use crate::detect::sessions::Session;
use edgelore_model::{RuledOut, Span, TriggerKind};

/// What a queue dropped this long before may have starved a session.
const CONGESTION: Span = Span::from_millis(10_000);
/// Cease (RFC 4486), with the subcodes by which an operator ends a session.
const CEASE: u8 = 6;
const BY_THE_OPERATOR: [u8; 3] = [2, 3, 4];

/// What a sign knows of causes when it is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// Packets went on coming in on the link.
    pub(super) heard: bool,
    /// The failure said what it was, and that was no operator; or an operator was it.
    pub(super) by_operator: Option<bool>,
}

impl Evidence {
    /// What a session's end says of its cause.
    pub(super) fn of_session(kind: TriggerKind, heard: bool) -> Self {
        let by_operator = match kind {
            TriggerKind::Notification(CEASE, subcode) => Some(BY_THE_OPERATOR.contains(&subcode)),
            TriggerKind::Notification(..) | TriggerKind::BfdDown | TriggerKind::NextHopLost => {
                Some(false)
            }
            _ => None,
        };
        Self { heard, by_operator }
    }

    /// An operator's hand, once seen, is not ruled out by what followed from it.
    pub(super) fn join(&mut self, other: &Self) {
        self.heard &= other.heard;
        self.by_operator = match (self.by_operator, other.by_operator) {
            (Some(a), Some(b)) => Some(a || b),
            (a, b) => a.or(b),
        };
    }
}

/// What an incident that closes now was not caused by, sorted.
pub(super) fn ruled_out(open: &Open, known: &Known) -> Vec<RuledOut> {
    let had = |kind: TriggerKind| open.chain.iter().any(|trigger| trigger.kind == kind);
    let links = &open.concern.links;
    let watched = !links.is_empty();
    let bfd_up = open
        .concern
        .sessions
        .iter()
        .any(|&key| known.sessions.get(key).is_some_and(Session::bfd_is_up));
    let calm = |&link: &u32| known.life.drops_nothing(link, open.start.earliest - CONGESTION);
    let findings = [
        (
            RuledOut::LinkDown,
            watched
                && !had(TriggerKind::LinkDown)
                && links.iter().all(|&link| known.life.is_up(link)),
        ),
        (RuledOut::Silence, watched && open.evidence.heard),
        (RuledOut::BfdDown, bfd_up && !had(TriggerKind::BfdDown)),
        (RuledOut::Congestion, watched && links.iter().all(calm)),
        (RuledOut::AdministrativeShutdown, open.evidence.by_operator == Some(false)),
    ];
    findings.into_iter().filter(|(_, holds)| *holds).map(|(one, _)| one).collect()
}
