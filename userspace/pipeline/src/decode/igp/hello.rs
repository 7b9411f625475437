//! What every router last said in its hellos, so that only changes are told.
//!
//! IS-IS names neighbours on a LAN by hardware address, which stays on the gateway. Whose address
//! it is shows in that neighbour's own hello; as soon as it does, what others said of it is told
//! again in terms of routers.
//!
//! **Invariant:** holds at most as many speakers as it was told, each with at most
//! [`NEIGHBOURS_MAX`] neighbours; what does not fit is counted.

use crate::decode::pulse::{Beat, Late, Pulse};
use crate::decode::table::Table;
use edgelore_headers::Pace;
use edgelore_model::{Heartbeat, HelloChange, IgpArea, LateHeartbeat, NodeId, Span};

/// Neighbours of one router on one link that are kept; further ones are counted.
pub const NEIGHBOURS_MAX: usize = 256;
/// Routers on one LAN whose hardware addresses are kept; further ones are counted.
pub const LAN_ROUTERS_MAX: usize = 256;

type HardwareAddress = [u8; 6];

/// One interface of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Speaker {
    pub(super) link: u32,
    pub(super) area: IgpArea,
    pub(super) router: NodeId,
    /// What tells its interfaces apart: OSPFv2's address, OSPFv3's interface id, IS-IS's hardware
    /// address and circuit number.
    pub(super) circuit: u64,
}

struct Said {
    change: HelloChange,
    /// Hardware addresses heard, sorted.
    heard: Vec<HardwareAddress>,
    pulse: Option<Pulse>,
}

/// The routers of a LAN by hardware address, sorted.
type Roster = Vec<(HardwareAddress, NodeId)>;

pub(super) struct Hellos {
    said: Table<Speaker, Said>,
    rosters: Table<(u32, IgpArea), Roster>,
    refused: u64,
}

impl Hellos {
    pub(super) fn new(max: usize) -> Self {
        Self { said: Table::new(max), rosters: Table::new(max), refused: 0 }
    }

    /// Speakers, LANs, neighbours and routers of LANs that did not fit.
    pub(super) const fn overflow(&self) -> u64 {
        self.said.evicted() + self.rosters.evicted() + self.refused
    }

    /// Takes a hello; tells it if it differs from the last one. `change.first` is set here.
    pub(super) fn hello(
        &mut self,
        speaker: Speaker,
        mut change: HelloChange,
        tell: &mut impl FnMut(HelloChange),
    ) {
        self.bound(&mut change.neighbours);
        self.say(speaker, change, Vec::new(), tell);
    }

    /// Takes a hello on a LAN, where neighbours are hardware addresses; `sender` is its sender's.
    pub(super) fn lan_hello(
        &mut self,
        speaker: Speaker,
        sender: HardwareAddress,
        mut change: HelloChange,
        mut heard: Vec<HardwareAddress>,
        tell: &mut impl FnMut(HelloChange),
    ) {
        self.bound(&mut heard);
        let lan = (speaker.link, speaker.area);
        let news = self.enlist(lan, sender, speaker.router);
        change.neighbours = resolve(self.rosters.get_or_insert(lan, Roster::new), &heard);
        self.say(speaker, change, heard, tell);
        if news {
            self.tell_again(lan, sender, tell);
        }
    }

    /// Takes note of when a hello came whose content was taken just now; tells it if it was late.
    pub(super) fn beat(&mut self, speaker: &Speaker, beat: Beat) -> Option<LateHeartbeat> {
        let place = self.said.find(speaker)?;
        let said = self.said.at(place);
        let Some(pulse) = &mut said.pulse else {
            said.pulse = Some(Pulse::new(beat));
            return None;
        };
        let late = pulse.beat(beat, Some(pace(&said.change)))?;
        let neighbour = match said.change.neighbours[..] {
            [only] => Some(only),
            _ => None,
        };
        let heartbeat = Heartbeat::Hello { area: speaker.area, router: speaker.router, neighbour };
        let Late { interval, gap, count } = late;
        Some(LateHeartbeat { heartbeat, interval, gap, count })
    }

    /// Sorts, and keeps as many as may be.
    fn bound<T: Ord>(&mut self, neighbours: &mut Vec<T>) {
        neighbours.sort_unstable();
        neighbours.dedup();
        self.refused += neighbours.len().saturating_sub(NEIGHBOURS_MAX) as u64;
        neighbours.truncate(NEIGHBOURS_MAX);
    }

    fn say(
        &mut self,
        speaker: Speaker,
        mut change: HelloChange,
        heard: Vec<HardwareAddress>,
        tell: &mut impl FnMut(HelloChange),
    ) {
        change.first = false;
        if let Some(place) = self.said.find(&speaker) {
            let said = self.said.at(place);
            if said.change != change {
                tell(change.clone());
            }
            (said.change, said.heard) = (change, heard);
        } else {
            tell(HelloChange { first: true, ..change.clone() });
            self.said.insert(speaker, Said { change, heard, pulse: None });
        }
    }

    /// Notes whose hardware address it is; true if that was not known.
    fn enlist(&mut self, lan: (u32, IgpArea), address: HardwareAddress, router: NodeId) -> bool {
        let roster = self.rosters.get_or_insert(lan, Roster::new);
        match roster.binary_search_by_key(&address, |(address, _)| *address) {
            Ok(at) if roster[at].1 == router => false,
            Ok(at) => {
                roster[at].1 = router;
                true
            }
            Err(_) if roster.len() >= LAN_ROUTERS_MAX => {
                self.refused += 1;
                false
            }
            Err(at) => {
                roster.insert(at, (address, router));
                true
            }
        }
    }

    /// Tells what the routers of a LAN said of a hardware address whose owner is known now.
    fn tell_again(
        &mut self,
        lan: (u32, IgpArea),
        address: HardwareAddress,
        tell: &mut impl FnMut(HelloChange),
    ) {
        let roster = self.rosters.get_or_insert(lan, Roster::new);
        for &(own, router) in roster.iter() {
            let speaker = Speaker { link: lan.0, area: lan.1, router, circuit: circuit(own, 0) };
            let Some(place) = self.said.find(&speaker) else { continue };
            let said = self.said.at(place);
            if said.heard.binary_search(&address).is_err() {
                continue;
            }
            let neighbours = resolve(roster, &said.heard);
            if said.change.neighbours != neighbours {
                said.change.neighbours = neighbours;
                tell(said.change.clone());
            }
        }
    }
}

/// How often the hellos come. IS-IS tells the holding time alone.
fn pace(said: &HelloChange) -> Pace {
    let seconds = |span: Span| (span.millis() / 1_000).max(0).unsigned_abs();
    let short = |span: Span| u16::try_from(seconds(span)).unwrap_or(u16::MAX);
    if said.hello_interval.0 == 0 {
        return Pace::holding(short(said.dead_interval));
    }
    let dead_s = u32::try_from(seconds(said.dead_interval)).unwrap_or(u32::MAX);
    Pace::ospf(short(said.hello_interval), dead_s)
}

/// What tells the interfaces of an IS-IS system apart.
pub(super) fn circuit(address: HardwareAddress, number: u8) -> u64 {
    let [a, b, c, d, e, f] = address;
    u64::from_be_bytes([number, 0, a, b, c, d, e, f])
}

/// The routers of those addresses whose owner is known, sorted.
fn resolve(roster: &Roster, heard: &[HardwareAddress]) -> Vec<NodeId> {
    let owner = |address| {
        let at = roster.binary_search_by_key(address, |(address, _)| *address).ok()?;
        Some(roster[at].1)
    };
    let mut routers: Vec<NodeId> = heard.iter().filter_map(owner).collect();
    routers.sort_unstable();
    routers.dedup();
    routers
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::{IgpProtocol, Span};

    const AREA: IgpArea = IgpArea { protocol: IgpProtocol::IsisLevel1, instance: 0, area: 0 };

    fn change(router: NodeId, holding_time_s: i64) -> HelloChange {
        HelloChange {
            area: AREA,
            router,
            hello_interval: Span(0),
            dead_interval: Span::from_millis(holding_time_s * 1_000),
            neighbours: Vec::new(),
            designated: None,
            first: false,
        }
    }

    /// A hello of router `n`, whose address ends in `n`, that hears others; what it makes known.
    fn lan(hellos: &mut Hellos, n: u8, hears: &[u8]) -> Vec<(u8, Vec<u8>, bool)> {
        let router = NodeId::isis([n; 6]);
        let speaker =
            Speaker { link: 1, area: AREA, router, circuit: circuit([0, 0, 0, 0, 0, n], 0) };
        let heard = hears.iter().map(|&h| [0, 0, 0, 0, 0, h]).collect();
        let mut told = Vec::new();
        hellos.lan_hello(speaker, [0, 0, 0, 0, 0, n], change(router, 30), heard, &mut |change| {
            let neighbours = change.neighbours.iter().map(|node| node.system[0]).collect();
            told.push((change.router.system[0], neighbours, change.first));
        });
        told
    }

    #[test]
    fn only_changes_are_told() {
        let mut hellos = Hellos::new(4);
        let router = NodeId::ospf(1);
        let speaker = Speaker { link: 1, area: AREA, router, circuit: 0 };
        let mut told = Vec::new();
        for (holding, neighbours) in [(40, 0), (40, 0), (12, 0), (12, 2), (12, 2), (12, 300)] {
            let neighbours = (0..neighbours).rev().map(NodeId::ospf).collect();
            let change = HelloChange { neighbours, ..change(router, holding) };
            hellos.hello(speaker, change, &mut |c| told.push((c.neighbours.len(), c.first)));
        }
        assert_eq!(told, [(0, true), (0, false), (2, false), (NEIGHBOURS_MAX, false)]);
        assert_eq!(hellos.overflow(), 44);
    }

    #[test]
    fn hardware_addresses_become_routers_once_they_are_known() {
        let mut hellos = Hellos::new(8);
        assert_eq!(lan(&mut hellos, 1, &[2, 3]), [(1, vec![], true)]);
        assert_eq!(lan(&mut hellos, 2, &[1]), [(2, vec![1], true), (1, vec![2], false)]);
        assert_eq!(lan(&mut hellos, 2, &[1]), []);
        assert_eq!(lan(&mut hellos, 1, &[3, 2]), []);
        assert_eq!(lan(&mut hellos, 3, &[]), [(3, vec![], true), (1, vec![2, 3], false)]);
        assert_eq!(lan(&mut hellos, 1, &[3]), [(1, vec![3], false)]);
    }

    #[test]
    fn a_crowded_lan_is_bounded() {
        let mut hellos = Hellos::new(1_000);
        for n in 0..=255 {
            lan(&mut hellos, n, &[]);
        }
        assert_eq!(hellos.overflow(), 0);
        let router = NodeId::isis([9; 6]);
        assert!(!hellos.enlist((1, AREA), [7; 6], router));
        assert_eq!(hellos.overflow(), 1);
    }
}
