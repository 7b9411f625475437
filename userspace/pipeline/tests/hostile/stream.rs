//! Any bytes as a stream of observations: well formed each, contradictory together.
//!
//! Shared by the property tests and the fuzz target. A handful of addresses, links, prefixes and
//! routers stand for all of them, so that what is told of one thing meets what was told before.
//!
//! **Invariant:** the same bytes give the same stream; every kind of observation can come out.

use edgelore_model::{
    BfdChange, BfdState, CounterSample, DownCause, FaultHandling, FibAction, FibChange,
    HelloChange, IgpArea, IgpProtocol, KernelEvent, LdpChange, LinkChange, LinkStateAction,
    LinkStateChange, LossReason, NeighbourChange, NeighbourState, NextHop, NodeId, Observation,
    Observed, OpenCapabilities, OperState, PathSummary, PeerStatistics, Prefix, QueueSample, Rib,
    RouteDelta, RouterChange, SessionKey, Span, TcpState, Timestamp, TopologyEdge, TopologyPrefix,
};
use std::net::{IpAddr, SocketAddr};

const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;
const HOUR: i64 = 3_600 * SECOND;

/// The stream that these bytes stand for: about one observation for eight of them.
pub(crate) fn observations(bytes: &[u8]) -> Vec<Observation> {
    let mut choices = Choices(bytes);
    let mut now = Timestamp(1_700_000_000 * SECOND);
    let mut all = Vec::new();
    while !choices.0.is_empty() {
        now = choices.time(now);
        let link = choices.link();
        all.push(Observation { at: now, link, what: choices.what(now) });
    }
    all
}

/// Choices, one after the other; zeros when the bytes are used up.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    /// Small numbers mostly, and the largest.
    fn number(&mut self) -> u32 {
        match self.byte() {
            255 => u32::MAX,
            254 => u32::MAX / 2,
            byte @ 240.. => 1 << (byte - 226),
            byte => byte.into(),
        }
    }

    /// Time goes on by milliseconds and seconds mostly; it stands, jumps hours, and goes back.
    fn time(&mut self, now: Timestamp) -> Timestamp {
        let byte = self.byte();
        let step = i64::from(byte & 0x1f);
        match byte >> 5 {
            0 => now,
            1 | 2 => now + Span(step * MS),
            3 => now + Span(step * 100 * MS),
            4 => now + Span(step * SECOND),
            5 => now - Span(step * MS),
            6 => now + Span(step * HOUR),
            _ if step == 31 => Timestamp(i64::MAX),
            _ if step == 30 => Timestamp(i64::MIN),
            _ => now - Span(step * HOUR),
        }
    }

    fn link(&mut self) -> u32 {
        self.one(&[0, 1, 2, 3, u32::MAX])
    }

    fn address(&mut self) -> IpAddr {
        let byte = self.byte();
        match byte % 8 {
            host @ 0..6 => IpAddr::from([192, 0, 2, host]),
            host => IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, u16::from(host)]),
        }
    }

    /// A session and one of its ends.
    fn session(&mut self) -> (SessionKey, IpAddr) {
        let (one, other) = (self.address(), self.address());
        let instance = u64::from(one.is_ipv6() && self.flag());
        (SessionKey::within(one, other, instance), one)
    }

    fn prefix(&mut self) -> Prefix {
        let byte = self.byte();
        let address = if byte & 0x80 == 0 {
            IpAddr::from([10, byte & 0x0f, 0, 0])
        } else {
            IpAddr::from([0x2001, 0xdb8, u16::from(byte & 0x0f), 0, 0, 0, 0, 0])
        };
        let length = [16, 24, 32, 0][usize::from(byte >> 4 & 3)];
        Prefix::new(address, length).expect("the length is one of IPv4's")
    }

    /// A few prefixes, or many in a row.
    fn prefixes(&mut self) -> Vec<Prefix> {
        match self.byte() {
            count @ 0..192 => (0..count % 4).map(|_| self.prefix()).collect(),
            count => (0..=u8::MAX)
                .take(usize::from(count))
                .map(|third| Prefix::new(IpAddr::from([172, 16, third, 0]), 24))
                .map(|prefix| prefix.expect("24 bits are not too many"))
                .collect(),
        }
    }

    fn cause(&mut self) -> DownCause {
        self.one(&[
            DownCause::Notification,
            DownCause::Reset,
            DownCause::Forgotten,
            DownCause::Expired,
            DownCause::Closed,
            DownCause::Replaced,
            DownCause::Recorded,
        ])
    }

    fn hops(&mut self) -> Vec<NextHop> {
        (0..self.byte() % 4)
            .map(|_| NextHop { via: self.flag().then(|| self.address()), link: self.link() })
            .collect()
    }

    fn area(&mut self) -> IgpArea {
        let protocol = self.one(&[
            IgpProtocol::OspfV2,
            IgpProtocol::OspfV3,
            IgpProtocol::IsisLevel1,
            IgpProtocol::IsisLevel2,
        ]);
        IgpArea { protocol, instance: 0, area: u32::from(self.flag()) }
    }

    fn node(&mut self) -> NodeId {
        let byte = self.byte();
        NodeId::ospf(u32::from(byte % 6)).with_pseudonode(u32::from(byte >= 240))
    }

    fn what(&mut self, now: Timestamp) -> Observed {
        match self.byte() % 24 {
            0 | 1 => self.routes(),
            2 | 3 => self.fib(now),
            4 => self.open(),
            5 => Observed::SessionUp { session: self.session().0 },
            6 => Observed::SessionDown { session: self.session().0, cause: self.cause() },
            7 => self.notification(),
            8 | 9 => self.bfd(),
            10 => self.link_change(),
            11 | 12 => self.counters(),
            13 => self.queue(),
            14 => self.kernel(),
            15 => self.hello(),
            16 | 17 => self.link_state(),
            18 => self.ldp(),
            19 => self.monitored(),
            20 => self.neighbour(),
            21 => self.missing(),
            22 => self.message(),
            _ => Observed::Tick,
        }
    }

    fn routes(&mut self) -> Observed {
        let (session, speaker) = self.session();
        let (withdrawn, announced) = (self.prefixes(), self.prefixes());
        let path = PathSummary {
            length: self.byte().into(),
            attributes_hash: self.byte().into(),
            ..PathSummary::default()
        };
        let rib = self.one(&[Rib::Wire, Rib::InPre, Rib::InPost, Rib::OutPost, Rib::Local]);
        Observed::Routes(RouteDelta {
            session,
            speaker,
            rib,
            withdrawn_path_ids: Vec::new(),
            announced_path_ids: Vec::new(),
            path: (!announced.is_empty()).then_some(path),
            withdrawn,
            announced,
        })
    }

    fn fib(&mut self, now: Timestamp) -> Observed {
        let action = self.one(&[FibAction::Set, FibAction::Deleted, FibAction::Present]);
        let next_hops = if action == FibAction::Deleted { Vec::new() } else { self.hops() };
        let before = Span(i64::from(self.number()) * MS);
        let not_before = if self.flag() { now - before } else { now + before };
        Observed::Fib(FibChange {
            prefix: self.prefix(),
            table: self.one(&[254, 255]),
            action,
            next_hops,
            not_before,
        })
    }

    fn open(&mut self) -> Observed {
        let (session, speaker) = self.session();
        let hold_time_s = self.one(&[0, 3, 9, 90, 180, u16::MAX]);
        let capabilities = OpenCapabilities {
            asn: self.number(),
            graceful_restart_s: self.flag().then_some(120),
            ..OpenCapabilities::default()
        };
        Observed::Open { session, speaker, hold_time_s, capabilities }
    }

    fn notification(&mut self) -> Observed {
        let (session, speaker) = self.session();
        let (code, subcode) = self.one(&[(4, 0), (6, 2), (6, 7), (6, 9), (2, 2), (255, 255)]);
        let hard_reset = self.flag();
        Observed::Notification { session, speaker, code, subcode, hard_reset, communication: None }
    }

    fn bfd(&mut self) -> Observed {
        let (session, speaker) = self.session();
        let state = self.one(&[BfdState::AdminDown, BfdState::Down, BfdState::Init, BfdState::Up]);
        Observed::Bfd(BfdChange {
            session,
            speaker,
            state,
            diagnostic: self.byte() % 32,
            detect_multiplier: self.byte(),
            desired_min_tx_us: self.number(),
            required_min_rx_us: self.number(),
        })
    }

    fn link_change(&mut self) -> Observed {
        let (present, admin_up, carrier) = (self.flag(), self.flag(), self.flag());
        let oper = self.one(&[OperState::Up, OperState::Down, OperState::NotPresent]);
        let mtu = self.number();
        Observed::Link(LinkChange { name: "up".to_owned(), present, admin_up, carrier, oper, mtu })
    }

    fn counters(&mut self) -> Observed {
        let (rx, tx) = (u64::from(self.number()), u64::from(self.number()));
        let mut sample = CounterSample::default();
        (sample.rx_packets, sample.tx_packets) = (rx << (rx % 33), tx);
        Observed::Counters(sample)
    }

    fn queue(&mut self) -> Observed {
        let handle = self.one(&[0, 0x0001_0000, 0x8001_0000]);
        Observed::Queue(QueueSample {
            qdisc: self.one(&["fq_codel", "tbf", "noqueue"]).to_owned(),
            handle,
            parent: u32::MAX,
            present: self.byte() < 250,
            limit: self.number(),
            backlog_bytes: self.number(),
            backlog_packets: self.number(),
            bytes: u64::from(self.number()) << 20,
            packets: self.number().into(),
            drops: self.number().into(),
            overlimits: self.number().into(),
            requeues: 0,
            not_before: Timestamp(0),
        })
    }

    fn kernel(&mut self) -> Observed {
        let count = self.number().into();
        Observed::Kernel(match self.byte() % 5 {
            0 => KernelEvent::Dropped { reason: "QDISC_DROP".to_owned(), count },
            1 => {
                let session = self.flag().then(|| self.session().0);
                KernelEvent::Retransmitted { session, port: 179, count }
            }
            2 => KernelEvent::SocketState {
                local: SocketAddr::new(self.address(), 179),
                peer: SocketAddr::new(self.address(), 40_000),
                old: TcpState::SynSent,
                new: self.one(&[TcpState::Established, TcpState::Close]),
            },
            3 => KernelEvent::QueueActivity { enqueued: count, dequeued: self.number().into() },
            _ => KernelEvent::TransmitTimeout { queue: self.number() },
        })
    }

    fn hello(&mut self) -> Observed {
        let mut neighbours: Vec<NodeId> = (0..self.byte() % 4).map(|_| self.node()).collect();
        neighbours.sort_unstable();
        neighbours.dedup();
        Observed::Hello(HelloChange {
            area: self.area(),
            router: self.node(),
            hello_interval: Span(i64::from(self.number()) * MS),
            dead_interval: Span(i64::from(self.number()) * MS),
            neighbours,
            designated: self.flag().then(|| self.node()),
            first: self.flag(),
        })
    }

    fn link_state(&mut self) -> Observed {
        let action = self.one(&[
            LinkStateAction::New,
            LinkStateAction::Changed,
            LinkStateAction::Refreshed,
            LinkStateAction::Flushed,
        ]);
        let told = if action == LinkStateAction::Flushed { 0 } else { self.byte() % 5 };
        let mut neighbours: Vec<TopologyEdge> =
            (0..told).map(|_| TopologyEdge { to: self.node(), cost: self.number() }).collect();
        neighbours.sort_unstable();
        let mut prefixes: Vec<TopologyPrefix> = (0..told % 3)
            .map(|_| TopologyPrefix { prefix: self.prefix(), cost: self.number() })
            .collect();
        prefixes.sort_unstable();
        Observed::LinkState(LinkStateChange {
            area: self.area(),
            origin: self.node(),
            id: (self.one(&[0, 1, 2]), self.byte() as u32 % 3),
            sequence: self.number(),
            age: Span(i64::from(self.number()) * MS),
            action,
            overload: self.byte() > 230,
            neighbours,
            prefixes,
            grace: (self.byte() > 240).then_some(Span(120 * SECOND)),
        })
    }

    fn ldp(&mut self) -> Observed {
        let (session, speaker) = self.session();
        Observed::Ldp(match self.byte() % 5 {
            0 => LdpChange::Hello {
                speaker,
                hold_time_s: self.one(&[0, 15, 45, u16::MAX]),
                targeted: self.flag(),
                transport_address: self.flag().then(|| self.address()),
            },
            1 => LdpChange::SessionUp { session, keepalive_time_s: self.byte().into() },
            2 => LdpChange::SessionDown { session, cause: self.cause() },
            3 => LdpChange::Notification {
                session,
                speaker,
                status: self.number(),
                fatal: self.flag(),
            },
            _ => LdpChange::Labels {
                session,
                speaker,
                mapped: self.prefixes(),
                withdrawn: self.prefixes(),
                withdrawn_all: self.flag(),
            },
        })
    }

    fn monitored(&mut self) -> Observed {
        let router = self.address();
        if self.flag() {
            let connected = self.flag();
            return Observed::Router(RouterChange { router, connected, words: String::new() });
        }
        let values = (0..self.byte() % 4)
            .map(|_| (u16::from(self.byte() % 16), u64::from(self.number())))
            .collect();
        let (peer, instance) = (self.address(), 0);
        Observed::PeerStatistics(PeerStatistics { router, peer, instance, values })
    }

    fn neighbour(&mut self) -> Observed {
        let state = self.one(&[
            NeighbourState::Incomplete,
            NeighbourState::Reachable,
            NeighbourState::Failed,
            NeighbourState::Probe,
        ]);
        let (address, present) = (self.address(), self.byte() < 240);
        Observed::Neighbour(NeighbourChange { address, state, present })
    }

    fn missing(&mut self) -> Observed {
        if self.flag() {
            let (session, speaker) = self.session();
            return Observed::StreamGap { session, speaker };
        }
        let reason = self.one(&[
            LossReason::RingFull,
            LossReason::QueueFull,
            LossReason::NetlinkOverrun,
            LossReason::Malformed,
            LossReason::Shed,
        ]);
        Observed::Lost { reason, count: self.number().into() }
    }

    fn message(&mut self) -> Observed {
        let (session, speaker) = self.session();
        if self.flag() {
            return Observed::EndOfRib { session, speaker, rib: Rib::Wire, afi: 1, safi: 1 };
        }
        let handling = self.one(&[
            FaultHandling::AttributeDiscard,
            FaultHandling::TreatAsWithdraw,
            FaultHandling::SessionReset,
        ]);
        Observed::MessageFault { session, speaker, handling, fault: "in ORIGIN".to_owned() }
    }
}
