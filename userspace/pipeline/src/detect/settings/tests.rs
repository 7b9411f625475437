//! The book of settings, observation by observation.

use super::followed::{FOLLOWED_MAX, SETTLE};
use super::*;
use crate::detect::sessions::Sessions;
use crate::detect::{Bounds, Detected};
use edgelore_model::{
    BfdChange, BfdState, FibAction, FibChange, IgpProtocol, LinkChange, LinkStateAction,
    LinkStateChange, NextHop, Observation, Observed, OpenCapabilities, QueueSample, TopologyEdge,
};
use std::net::IpAddr;

const SECOND: i64 = 1_000_000_000;

struct Book {
    book: SettingsBook,
    sessions: Sessions,
    told: Vec<Detected>,
}

fn ends() -> (IpAddr, IpAddr) {
    ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap())
}

fn session() -> SessionKey {
    SessionKey::between(ends().0, ends().1)
}

impl Book {
    fn new() -> Self {
        let bounds = Bounds::default();
        let mut sessions = Sessions::new(bounds.sessions_max);
        sessions.opened(session(), 7, ends().0, 90, OpenCapabilities::default());
        Self { book: SettingsBook::new(bounds), sessions, told: Vec::new() }
    }

    fn see(&mut self, second: i64, what: Observed) {
        let at = Timestamp(second * SECOND);
        self.book.advance(at, &self.sessions, &mut self.told);
        self.book.observe(&Observation { at, link: 7, what });
    }

    fn of(&self, scope: Scope) -> Settings {
        self.book.of(&scope, &self.sessions)
    }

    fn settled(&self) -> Vec<(i64, SessionSettings)> {
        let one = |told: &Detected| match told {
            Detected::Settled(settled) => {
                (settled.at.0 / SECOND, settled.settings.sessions[0].1.clone())
            }
            other => panic!("{other:?}"),
        };
        self.told.iter().map(one).collect()
    }
}

fn bfd(speaker: IpAddr, state: BfdState, detect_multiplier: u8) -> Observed {
    Observed::Bfd(BfdChange {
        session: session(),
        speaker,
        state,
        diagnostic: 0,
        detect_multiplier,
        desired_min_tx_us: 300_000,
        required_min_rx_us: 300_000,
    })
}

fn open(hold_time_s: u16) -> Observed {
    let capabilities = OpenCapabilities { asn: 65_001, restarting: true, ..Default::default() };
    Observed::Open { session: session(), speaker: ends().0, hold_time_s, capabilities }
}

#[test]
fn a_change_is_told_once_it_has_stood() {
    let mut book = Book::new();
    let (a, b) = ends();
    book.see(1, bfd(a, BfdState::Up, 5));
    book.see(1, bfd(b, BfdState::Up, 5));
    let scope = Scope::Session(session());
    let before = book.of(scope);
    book.book.follow(&scope, &before);
    book.see(20, Observed::Tick);
    assert!(book.told.is_empty(), "nothing changed");
    book.see(30, bfd(a, BfdState::Up, 3));
    book.see(32, bfd(b, BfdState::Up, 3));
    book.see(39, Observed::Tick);
    assert!(book.told.is_empty(), "it must stand");
    book.see(60, Observed::Tick);
    let settled = book.settled();
    assert_eq!(settled.len(), 1);
    assert_eq!(settled[0].0, 32);
    assert!(settled[0].1.bfd.values().all(|timers| timers.detect_multiplier == 3));
}

#[test]
fn a_reset_in_between_makes_nothing_vanish() {
    let mut book = Book::new();
    let (a, _) = ends();
    book.see(1, open(90));
    book.see(1, bfd(a, BfdState::Up, 3));
    let scope = Scope::Session(session());
    let before = book.of(scope);
    book.book.follow(&scope, &before);
    book.see(10, bfd(a, BfdState::Down, 3));
    book.see(30, open(90));
    book.see(31, bfd(a, BfdState::Init, 3));
    book.see(32, bfd(a, BfdState::Up, 3));
    book.see(90, Observed::Tick);
    assert!(book.told.is_empty());
    assert_eq!(book.of(scope), before);
}

#[test]
fn switching_bfd_off_is_a_change() {
    let mut book = Book::new();
    let (a, _) = ends();
    book.see(1, bfd(a, BfdState::Up, 3));
    let scope = Scope::Session(session());
    book.book.follow(&scope, &book.of(scope));
    book.see(10, bfd(a, BfdState::AdminDown, 3));
    book.see(60, Observed::Tick);
    assert!(book.settled()[0].1.bfd.is_empty());
}

#[test]
fn the_result_depends_on_times_not_on_ticks() {
    let run = |ticks: bool| {
        let mut book = Book::new();
        book.see(1, open(90));
        let scope = Scope::Session(session());
        book.book.follow(&scope, &book.of(scope));
        for second in 2..100 {
            match second {
                20 => book.see(second, open(30)),
                23 => book.see(second, open(9)),
                50 => book.see(second, open(3)),
                _ if ticks => book.see(second, Observed::Tick),
                _ => {}
            }
        }
        book.see(100, Observed::Tick);
        book.told
    };
    assert_eq!(run(true), run(false));
    assert_eq!(run(true).len(), 2);
}

#[test]
fn neither_as_number_nor_restart_state_is_a_setting() {
    let mut book = Book::new();
    book.see(1, open(90));
    let kept = &book.of(Scope::Session(session())).sessions[0].1.capabilities[&ends().0];
    assert_eq!((kept.asn, kept.restarting), (0, false));
}

fn queue(handle: u32, qdisc: &str, limit: u32, present: bool) -> Observed {
    let (qdisc, parent) = (qdisc.to_owned(), u32::MAX);
    Observed::Queue(QueueSample { qdisc, handle, parent, present, limit, ..Default::default() })
}

#[test]
fn a_queue_that_is_gone_stays_set_until_another_takes_its_place() {
    let mut book = Book::new();
    let kinds = |book: &Book| -> Vec<String> {
        let links = book.of(Scope::Link(Link(7))).links;
        links[0].1.queues.iter().map(|queue| format!("{} {}", queue.qdisc, queue.limit)).collect()
    };
    book.see(1, queue(0x8001_0000, "pfifo", 1000, true));
    book.see(2, queue(0x8001_0000, "pfifo", 1000, false));
    assert_eq!(kinds(&book), ["pfifo 1000"]);
    book.see(3, queue(0x8002_0000, "fq_codel", 10_240, true));
    assert_eq!(kinds(&book), ["fq_codel 10240"]);
    // The new one may be announced before the old one's removal.
    book.see(4, queue(0x8003_0000, "pfifo", 100, true));
    book.see(4, queue(0x8002_0000, "fq_codel", 10_240, false));
    assert_eq!(kinds(&book), ["pfifo 100"]);
    let present = LinkChange { present: true, mtu: 9000, ..LinkChange::default() };
    book.see(5, Observed::Link(present.clone()));
    book.see(6, Observed::Link(LinkChange { present: false, mtu: 0, ..present }));
    assert_eq!(book.of(Scope::Session(session())).links[0].1.mtu, 9000);
}

fn route(host: u8, legs: &[IpAddr]) -> Observed {
    Observed::Fib(FibChange {
        prefix: Prefix::new(IpAddr::from([198, 18, host, 0]), 24).unwrap(),
        table: 254,
        action: if legs.is_empty() { FibAction::Deleted } else { FibAction::Set },
        next_hops: legs.iter().map(|via| NextHop { via: Some(*via), link: 7 }).collect(),
        not_before: Timestamp(0),
    })
}

#[test]
fn several_next_hops_count_once_they_stand_and_a_lost_leg_is_no_setting() {
    let mut book = Book::new();
    let (a, b) = ends();
    let width = |book: &Book| book.of(Scope::Session(session())).sessions[0].1.paths;
    book.see(1, route(1, &[a]));
    book.see(20, route(1, &[a, b]));
    assert_eq!(width(&book), 0);
    book.see(30, Observed::Tick);
    assert_eq!(width(&book), 2);
    book.see(31, route(1, &[b]));
    book.see(60, route(1, &[]));
    book.see(90, Observed::Tick);
    assert_eq!(width(&book), 2);
}

fn advertisement(edges: &[(u32, u32)], overload: bool) -> Observed {
    Observed::LinkState(LinkStateChange {
        area: IgpArea { protocol: IgpProtocol::OspfV2, instance: 0, area: 0 },
        origin: NodeId::ospf(1),
        id: (1, 1),
        sequence: 1,
        age: Span(0),
        action: LinkStateAction::Changed,
        overload,
        neighbours: edges
            .iter()
            .map(|(to, cost)| TopologyEdge { to: NodeId::ospf(*to), cost: *cost })
            .collect(),
        prefixes: Vec::new(),
        grace: None,
    })
}

#[test]
fn an_edge_that_is_down_keeps_its_cost() {
    let area = IgpArea { protocol: IgpProtocol::OspfV2, instance: 0, area: 0 };
    let scope = Scope::Router(area, NodeId::ospf(1));
    let mut book = Book::new();
    let costs = |book: &Book| -> Vec<Vec<u32>> {
        book.of(scope).routers[0].2.edges.iter().map(|edge| edge.costs.clone()).collect()
    };
    book.see(1, advertisement(&[(2, 10), (3, 20)], false));
    book.see(2, advertisement(&[(3, 20)], false));
    assert_eq!(costs(&book), [[10], [20]]);
    book.see(3, advertisement(&[(2, 65_535), (3, 65_535)], true));
    assert_eq!(costs(&book), [[10], [20]]);
    assert!(book.of(scope).routers[0].2.overload);
    book.see(4, advertisement(&[(2, 50), (3, 20)], false));
    assert_eq!(costs(&book), [[50], [20]]);
}

#[test]
fn followed_scopes_are_bounded() {
    let mut book = Book::new();
    for link in 0..FOLLOWED_MAX as u32 + 10 {
        book.book.follow(&Scope::Link(Link(link)), &Settings::default());
    }
    book.see(1, Observed::Tick);
    let at = Timestamp(0) + SETTLE;
    book.book.advance(at, &book.sessions, &mut book.told);
    assert!(book.told.is_empty());
}
