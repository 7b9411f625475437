//! Which subjects there are, and what they mean.
//!
//! Segments of a path hold letters, digits, `_`, `-` and `%` and are never empty, so a path with dots
//! for slashes is a subject, a different one for each path, without wildcards. Packets are
//! filed by [`Cell::filed`], so that the cells of a query can be enumerated.
//!
//! **Invariant:** no word of a packet or a query reaches a subject but as an encoded segment.

use std::fmt::Write as _;

use edgelore_model::Situation;
use edgelore_pipeline::fingerprint::{Grain, Space};
use edgelore_pipeline::packet::Opened;

use crate::shelf::Kind;
use crate::{Cell, PacketId};

/// Segments of an exact cell after the space.
const SEGMENTS: usize = 6;
/// Segments of a coarse cell after the space.
const SEGMENTS_COARSE: usize = 4;
/// Segments before those: scheme, version, space.
const SEGMENTS_ROOT: usize = 3;

/// The names of a space's stream and subjects.
#[derive(Clone)]
pub(super) struct Subjects {
    pub(super) stream: String,
    root: String,
}

impl Subjects {
    pub(super) fn of(space: &Space) -> Self {
        let root = dotted(&Cell::whole(space));
        Self { stream: format!("EDGELORE-1-{}", hex::encode(space.short_id())), root }
    }

    /// Everything in the stream.
    pub(super) fn all(&self) -> String {
        format!("{}.>", self.root)
    }

    /// Where a packet lies.
    pub(super) fn packet(&self, space: &Space, packet: &Opened) -> String {
        let cell = Cell::filed(space, &packet.outcome.situation, Grain::Exact);
        format!("{}.{}", dotted(&cell), hex::encode(packet.id))
    }

    /// The packet with this id, wherever it lies.
    pub(super) fn anywhere(&self, id: &PacketId) -> String {
        format!("{}{}.{}", self.root, ".*".repeat(SEGMENTS), hex::encode(id))
    }

    /// What withdraws a packet.
    pub(super) fn withdrawal(&self, publisher: &[u8; 32], target: &PacketId) -> String {
        format!("{}.withdrawn.{}.{}", self.root, hex::encode(publisher), hex::encode(target))
    }

    /// Where what stands beside the packets lies.
    pub(super) fn beside(&self, kind: Kind, id: &PacketId) -> String {
        format!("{}.beside.{}.{}", self.root, kind.name(), hex::encode(id))
    }

    /// All of it.
    pub(super) fn all_beside(&self) -> String {
        format!("{}.beside.*.*", self.root)
    }

    /// Whether a subject is that of a withdrawal.
    pub(super) fn is_withdrawal(&self, subject: &str) -> bool {
        self.is_under("withdrawn", subject)
    }

    /// Whether a subject that is no packet's is that of a withdrawal or of what stands beside.
    pub(super) fn is_beside(&self, subject: &str) -> bool {
        self.is_withdrawal(subject) || self.is_under("beside", subject)
    }

    fn is_under(&self, kind: &str, subject: &str) -> bool {
        let rest = subject.strip_prefix(&self.root).and_then(|rest| rest.strip_prefix('.'));
        rest.and_then(|rest| rest.split('.').next()) == Some(kind)
    }

    /// What a subject beside the packets says of its payload.
    pub(super) fn kind(&self, subject: &str) -> Option<Kind> {
        let rest = subject.strip_prefix(&self.root)?.strip_prefix(".beside.")?;
        Kind::of(rest.split('.').next()?)
    }

    /// The id in a packet's subject.
    pub(super) fn id(&self, subject: &str) -> Option<PacketId> {
        let rest = subject.strip_prefix(&self.root)?.strip_prefix('.')?;
        let mut segments = rest.split('.');
        let id = segments.nth(SEGMENTS).filter(|_| segments.next().is_none())?;
        hex::decode(id).ok()?.try_into().ok()
    }

    /// Filters that together match the packets in the cells and none twice; all packets without any
    /// cell.
    pub(super) fn filters<'c>(&self, cells: impl IntoIterator<Item = &'c Cell>) -> Vec<String> {
        let mut prefixes: Vec<Vec<String>> = cells.into_iter().map(segments).collect();
        if prefixes.is_empty() {
            prefixes.push(Vec::new());
        }
        // Whatever begins with a prefix follows it directly.
        prefixes.sort_unstable();
        prefixes.dedup_by(|next, kept| next.starts_with(kept));
        prefixes.iter().map(|prefix| self.filter(prefix)).collect()
    }

    /// One filter that matches all that these match, and perhaps more.
    pub(super) fn widest(&self, filters: &[String]) -> String {
        let mut common: Option<Vec<String>> = None;
        for filter in filters {
            let segments = filter.split('.').skip(SEGMENTS_ROOT).take_while(|one| *one != "*");
            let segments: Vec<String> = segments.map(str::to_owned).collect();
            common = Some(match common {
                None => segments,
                Some(mut common) => {
                    let same = common.iter().zip(&segments).take_while(|(a, b)| a == b).count();
                    common.truncate(same);
                    common
                }
            });
        }
        self.filter(&common.unwrap_or_default())
    }

    fn filter(&self, prefix: &[String]) -> String {
        let mut filter = self.root.clone();
        for segment in prefix {
            let _ = write!(filter, ".{segment}");
        }
        // Rather than `>`, so that nothing but packets matches.
        filter + &".*".repeat(SEGMENTS + 1 - prefix.len())
    }
}

fn dotted(cell: &Cell) -> String {
    cell.to_string().replace('/', ".")
}

/// A cell's segments after the space.
fn segments(cell: &Cell) -> Vec<String> {
    cell.to_string().split('/').skip(SEGMENTS_ROOT).map(str::to_owned).collect()
}

/// The cell under which everything is filed that lies in `cell`.
pub(super) fn filed(space: &Space, cell: &Cell) -> Cell {
    let given = segments(cell);
    let missing = SEGMENTS_COARSE.saturating_sub(given.len());
    // The empty word is no term of a taxonomy, so what it stands for is filed as itself.
    let whole = format!("{cell}{}", "/%".repeat(missing)).parse::<Cell>();
    let Ok(Some([topology_class, protocol, event_type])) =
        whole.as_ref().map(|cell| cell.terms().map(|terms| terms.map(str::to_owned)))
    else {
        return Cell::whole(space);
    };
    let place = Situation {
        topology_class,
        protocol,
        event_type,
        severity: 0,
        affected_prefixes: 0,
        node_count: 0,
    };
    let mut filed = segments(&Cell::filed(space, &place, Grain::Coarse));
    if let (1, Some(family)) = (given.len(), given.first()) {
        filed[0].clone_from(family);
    }
    filed.truncate(given.len());
    filed.extend(given.into_iter().skip(SEGMENTS_COARSE));
    let path = format!("{}/{}", Cell::whole(space), filed.join("/"));
    path.trim_end_matches('/').parse().unwrap_or_else(|_| Cell::whole(space))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(topology_class: &str, protocol: &str) -> Situation {
        Situation {
            topology_class: topology_class.into(),
            protocol: protocol.into(),
            event_type: "convergence".into(),
            severity: 340_000,
            affected_prefixes: 8_200,
            node_count: 96,
        }
    }

    #[test]
    fn no_word_becomes_a_wildcard_or_another_segment() {
        let space = Space::default_definition();
        for word in ["*", ">", "a.b", "a b", "", ".", "\r\n", "%", "é"] {
            let exact = Cell::exact(&space, &situation(word, word));
            let subject = dotted(&exact);
            assert_eq!(subject.split('.').count(), SEGMENTS_ROOT + SEGMENTS, "{word:?}");
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-%".contains(&byte);
            assert!(subject.bytes().all(plain), "{subject}");
        }
    }

    #[test]
    fn cells_are_followed_where_they_are_filed() {
        let space = Space::default_definition();
        let subjects = Subjects::of(&space);
        for (class, protocol) in [("spine_leaf", "bgp"), ("own", "bgp"), ("spine_leaf", "x.*")] {
            let at = situation(class, protocol);
            let filed_at = segments(&Cell::filed(&space, &at, Grain::Exact));
            let exact = Cell::exact(&space, &at).to_string();
            let parts: Vec<&str> = exact.split('/').collect();
            for length in SEGMENTS_ROOT..=parts.len() {
                let cell: Cell = parts[..length].join("/").parse().unwrap();
                let prefix = segments(&filed(&space, &cell));
                assert_eq!(prefix.len(), length - SEGMENTS_ROOT);
                assert!(filed_at.starts_with(&prefix), "{cell}: {prefix:?}");
            }
        }
        let all = subjects.filters([]);
        assert_eq!(all, [format!("{}{}", subjects.root, ".*".repeat(7))]);
    }

    #[test]
    fn filters_do_not_overlap_and_the_widest_covers_them() {
        let space = Space::default_definition();
        let subjects = Subjects::of(&space);
        let bgp = Cell::coarse(&space, &situation("spine_leaf", "bgp"));
        let exact = Cell::exact(&space, &situation("spine_leaf", "bgp"));
        let ospf = Cell::coarse(&space, &situation("spine_leaf", "ospf"));
        let filters = subjects.filters([&exact, &ospf, &bgp, &bgp]);
        let named =
            |path: &str, open: usize| format!("{}.{path}{}", subjects.root, ".*".repeat(open));
        let expected = [
            named("fabric.spine_leaf.bgp.convergence", 3),
            named("fabric.spine_leaf.ospf.convergence", 3),
        ];
        assert_eq!(filters, expected);
        assert_eq!(subjects.widest(&filters), named("fabric.spine_leaf", 5));
        assert_eq!(subjects.widest(&filters[..1]), filters[0]);
        let whole = subjects.filters([&Cell::whole(&space), &bgp]);
        assert_eq!(whole, subjects.filters([]));
    }

    #[test]
    fn only_a_packets_subject_has_an_id() {
        let subjects = Subjects::of(&Space::default_definition());
        let id = [7; 32];
        let subject = subjects.anywhere(&id).replace('*', "a");
        assert_eq!(subjects.id(&subject), Some(id));
        for wrong in [
            subject.replace("07", "0x"),
            format!("{subject}.a"),
            subject.replacen(".a", "", 1),
            subjects.withdrawal(&id, &id),
            subject.replace("edgelore", "other"),
            String::new(),
        ] {
            assert_eq!(subjects.id(&wrong), None, "{wrong}");
        }
    }
}
