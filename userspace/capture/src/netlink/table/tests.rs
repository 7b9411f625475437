//! Routes, next-hop objects and dumps as they come, in any order.

use super::*;
use proptest::prelude::*;

const BOUNDS: Bounds = Bounds { prefixes_max: 100, objects_max: 100 };

fn hop(link: u32) -> NextHop {
    NextHop { via: None, link }
}

fn message(prefix: &str, priority: u32, links: &[u32], placement: Placement) -> RouteMessage {
    RouteMessage {
        prefix: prefix.parse().unwrap(),
        table: 254,
        priority,
        target: RouteTarget::Hops(links.iter().copied().map(hop).collect()),
        placement,
        dead: Vec::new(),
    }
}

/// The links that hold after the messages, each `(priority, links, placement)`, and whether
/// any of them was doubtful.
fn after(prefix: &str, messages: &[(u32, &[u32], Placement)]) -> (Option<Vec<u32>>, bool) {
    let mut table = FibTable::new(BOUNDS);
    let mut doubtful = false;
    for (priority, links, placement) in messages {
        doubtful |= table.apply_route(message(prefix, *priority, links, *placement)).doubtful;
    }
    let key = Key { table: 254, prefix: prefix.parse().unwrap() };
    let links = table.holds(&key).map(|hops| hops.iter().map(|hop| hop.link).collect());
    (links, doubtful)
}

#[test]
fn what_holds_follows_the_messages() {
    use Placement::{Add, Append, Delete, Replace};
    let (v4, v6) = ("10.0.0.0/8", "2001:db8::/32");
    type Case<'a> = (&'a str, &'a str, &'a [(u32, &'a [u32], Placement)], Option<&'a [u32]>, bool);
    let cases: [Case<'_>; 13] = [
        ("lowest priority", v4, &[(9, &[1], Add), (5, &[2], Add)], Some(&[2]), false),
        ("fallback", v4, &[(9, &[1], Add), (5, &[2], Add), (5, &[2], Delete)], Some(&[1]), false),
        ("replace", v4, &[(5, &[1], Add), (5, &[2], Replace)], Some(&[2]), false),
        ("replace nothing", v4, &[(5, &[2], Replace)], Some(&[2]), false),
        ("append", v4, &[(5, &[1], Add), (5, &[2], Append)], Some(&[1]), false),
        ("prepend", v4, &[(5, &[1], Add), (5, &[2], Add)], Some(&[2]), true),
        ("dead legs at removal", v4, &[(5, &[1, 2], Add), (5, &[2], Delete)], None, false),
        ("all legs dead", v4, &[(5, &[], Add), (9, &[3], Add)], Some(&[3]), false),
        ("v6 siblings told apart", v6, &[(5, &[1], Add), (5, &[2], Add)], Some(&[1, 2]), false),
        ("v6 grown", v6, &[(5, &[1], Add), (5, &[2, 1], Append)], Some(&[1, 2]), false),
        ("v6 one leg gone", v6, &[(5, &[1, 2], Add), (5, &[2], Delete)], Some(&[1]), false),
        ("v6 unknown leg gone", v6, &[(5, &[1], Add), (5, &[7], Delete)], Some(&[1]), true),
        ("unknown route gone", v4, &[(5, &[1], Delete)], None, false),
    ];
    for (name, prefix, messages, links, doubtful) in cases {
        let expected = (links.map(<[u32]>::to_vec), doubtful);
        assert_eq!(after(prefix, messages), expected, "{name}");
    }
}

#[test]
fn past_the_bound_routes_are_counted() {
    let mut table = FibTable::new(Bounds { prefixes_max: 1, objects_max: 1 });
    let add = |table: &mut FibTable, prefix, links: &[u32]| {
        table.apply_route(message(prefix, 0, links, Placement::Replace)).change.is_some()
    };
    assert!(add(&mut table, "10.0.0.0/8", &[1]));
    assert!(!add(&mut table, "11.0.0.0/8", &[1]));
    assert!(add(&mut table, "10.0.0.0/8", &[2]), "a stored prefix can still change");
    for id in [1, 2] {
        let object = Some(NextHopObject::Hop(Some(hop(id))));
        table.apply_next_hop(NextHopMessage { id, object });
    }
    assert_eq!(table.overflow(), Overflow { prefixes: 1, objects: 1 });
}

#[test]
fn a_dump_leaves_what_messages_touched() {
    let mut table = FibTable::new(BOUNDS);
    let (kept, gone) = ("10.0.0.0/8", "11.0.0.0/8");
    for prefix in [kept, gone] {
        table.apply_route(message(prefix, 0, &[1], Placement::Add));
    }
    let key = |prefix: &str| Key { table: 254, prefix: prefix.parse().unwrap() };
    let touched = BTreeSet::from([key(kept)]);
    let changes = table.apply_route_dump(RouteDump::default(), &touched);
    assert_eq!(changes, [Change { key: key(gone), holds: None }]);
    assert!(table.holds(&key(kept)).is_some());
}

fn any_message() -> impl Strategy<Value = RouteMessage> {
    let placements = vec![Placement::Add, Placement::Append, Placement::Replace, Placement::Delete];
    let target = prop_oneof![
        prop::collection::vec(1u32..4, 0..3)
            .prop_map(|links| RouteTarget::Hops(links.into_iter().map(hop).collect())),
        (1u32..5).prop_map(RouteTarget::Object),
        Just(RouteTarget::Discard),
    ];
    let prefix = prop::sample::select(vec!["10.0.0.0/8", "2001:db8::/32", "::/0"]);
    (prefix, 0u32..3, target, prop::sample::select(placements)).prop_map(
        |(prefix, priority, target, placement)| RouteMessage {
            prefix: prefix.parse().unwrap(),
            table: 254,
            priority,
            target,
            placement,
            dead: Vec::new(),
        },
    )
}

fn any_object() -> impl Strategy<Value = NextHopMessage> {
    let object = prop_oneof![
        prop::option::of(1u32..4).prop_map(|link| NextHopObject::Hop(link.map(hop))),
        prop::collection::vec(1u32..5, 0..3).prop_map(NextHopObject::Group),
        Just(NextHopObject::Discard),
    ];
    (1u32..5, prop::option::of(object)).prop_map(|(id, object)| NextHopMessage { id, object })
}

proptest! {
    /// The module's invariant, and that the count of uses never strays.
    #[test]
    fn changes_add_up_to_what_holds(
        steps in prop::collection::vec((any::<bool>(), any_message(), any_object()), 0..60),
    ) {
        let mut table = FibTable::new(BOUNDS);
        let mut copy: BTreeMap<Key, Hops> = BTreeMap::new();
        for (is_route, route, object) in steps {
            let changes: Vec<Change> = if is_route {
                table.apply_route(route).change.into_iter().collect()
            } else {
                table.apply_next_hop(object).0
            };
            for change in changes {
                let before = copy.remove(&change.key);
                prop_assert_ne!(&before, &change.holds);
                copy.extend(change.holds.map(|holds| (change.key, holds)));
            }
            let holds: BTreeMap<Key, Hops> =
                table.routes.keys().filter_map(|key| Some((*key, table.holds(key)?))).collect();
            prop_assert_eq!(&copy, &holds);
            let mut uses: HashMap<u32, u32> = HashMap::new();
            for id in table.routes.values().flatten().filter_map(Route::object) {
                *uses.entry(id).or_default() += 1;
            }
            prop_assert_eq!(&uses, &table.uses.0);
            let mut legs: HashMap<u32, u32> = HashMap::new();
            for hop in table.routes.values().flatten().flat_map(Route::hops) {
                *legs.entry(hop.link).or_default() += 1;
            }
            prop_assert_eq!(&legs, &table.legs.0);
            let mut over: HashMap<u32, u32> = HashMap::new();
            let mut dead = 0;
            for object in table.objects.values() {
                match object {
                    NextHopObject::Hop(Some(hop)) => *over.entry(hop.link).or_default() += 1,
                    NextHopObject::Hop(None) => dead += 1,
                    _ => {}
                }
            }
            prop_assert_eq!((&over, dead), (&table.object_links.0, table.objects_dead));
        }
    }
}

#[test]
fn a_link_matters_while_something_leads_over_it() {
    let mut table = FibTable::new(BOUNDS);
    table.apply_route(message("10.0.0.0/8", 0, &[1], Placement::Add));
    table.apply_route(message("fe80::/64", 0, &[3], Placement::Add));
    let object = |hop| NextHopMessage { id: 7, object: hop };
    table.apply_next_hop(object(Some(NextHopObject::Hop(Some(hop(2))))));
    assert_eq!([1, 2, 3].map(|link| table.leads_over(link)), [true, true, false]);
    table.apply_route(message("10.0.0.0/8", 0, &[1], Placement::Delete));
    table.apply_next_hop(object(None));
    assert_eq!([1, 2, 3].map(|link| table.leads_over(link)), [false; 3]);
}

#[test]
fn a_dead_leg_is_remembered_until_a_dump_shows_it_alive() {
    let mut table = FibTable::new(BOUNDS);
    let mut route = message("10.0.0.0/8", 0, &[1], Placement::Add);
    route.dead = vec![2];
    table.apply_route(route.clone());
    assert_eq!([1, 2].map(|link| table.dead_over(link)), [false, true]);
    let mut dump = RouteDump::default();
    route.dead.clear();
    table.collect(&mut dump, &route);
    table.apply_route_dump(dump, &BTreeSet::new());
    assert!(!table.dead_over(2));
}
