//! A router's running configuration, watched while an engineer changes it in its own shell.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgelore_capture::Clock;
use edgelore_model::Timestamp;
use edgelore_node::config::{RouterConfig, Vtysh};
use edgelore_node::router::RouterWatcher;
use edgelore_pipeline::resolve::Change;
use edgelore_testkit::{Frr, FrrDaemon, NetNs, live, veth, wait_for_some};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

const CONFIG: &str = "interface re0\n ip ospf area 0\n ip ospf cost 10\nexit\nrouter ospf\n ospf \
    router-id 192.0.2.1\nexit\nbfd\n profile watch\n  detect-multiplier 5\n exit\nexit\nrouter bgp \
    65001\n timers bgp 3 9\n neighbor 192.0.2.2 remote-as 65002\n neighbor 192.0.2.2 bfd profile \
    watch\nexit\n";

/// Polls until something was told; nothing may be told beside it.
fn next_change(watcher: &mut RouterWatcher) -> Change {
    let mut changes = wait_for_some(PATIENCE, "a change of the configuration", || {
        let changes = watcher.poll();
        (!changes.is_empty()).then_some(changes)
    })
    .unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    changes.remove(0)
}

#[test]
fn live_what_an_engineer_types_is_noticed_with_its_evidence() {
    if !live("live_what_an_engineer_types_is_noticed_with_its_evidence") {
        return;
    }
    let (router, other) = (NetNs::new("rcfg").unwrap(), NetNs::new("rcfg2").unwrap());
    veth((&router, "re0"), (&other, "re1")).unwrap();
    router.ip("link set re0 up\naddress add 192.0.2.1/24 dev re0").unwrap();
    let daemons = [FrrDaemon::Zebra, FrrDaemon::Bfdd, FrrDaemon::Bgpd, FrrDaemon::Ospfd];
    let frr = Frr::start_daemons(&router, &daemons, CONFIG).unwrap();
    let clock = Clock::new();
    let sockets = Vtysh::Sockets(frr.sockets().to_owned());
    let config = RouterConfig { frr_vtysh: sockets, timeout_ms: 60_000, ..RouterConfig::default() };
    let mut watcher = RouterWatcher::open(&config, clock).unwrap().expect("the shell is watched");
    assert!(watcher.poll().is_empty());

    for (typed, pattern, steps, evidence) in [
        (
            "bfd\n profile watch\n  detect-multiplier 4\n exit\nexit\n",
            "bfd_tuning",
            vec!["Changed the BFD detection multiplier from 5 to 4"],
            "+ bfd > profile watch > detect-multiplier 4",
        ),
        (
            "router bgp 65001\n timers bgp 1 3\nexit\n",
            "hold_timer_tuning",
            vec![
                "Changed the BGP hold time from 9 s to 3 s and the keepalive time from 3 s to 1 s",
            ],
            "+ router bgp 65001 > timers bgp 1 3",
        ),
        (
            "interface re0\n ip ospf cost 50\nexit\n",
            "cost_change",
            vec!["Changed an interface's OSPF cost from 10 to 50"],
            "+ interface re0 > ip ospf cost 50",
        ),
        (
            "router bgp 65001\n address-family ipv4 unicast\n  bgp dampening 5 500 1000 20\n \
             exit-address-family\nexit\n",
            "dampening",
            vec![
                "Enabled route flap dampening: half-life 5 min, reuse below 500, suppress above \
                 1000, at most 20 min",
            ],
            "bgp dampening 5 500 1000 20",
        ),
    ] {
        assert!(watcher.poll().is_empty(), "nothing was changed before {pattern}");
        let before: Timestamp = clock.now();
        frr.configure(typed).unwrap();
        let after: Timestamp = clock.now();
        let change = next_change(&mut watcher);
        assert_eq!(change.resolution.pattern, pattern);
        assert_eq!(change.resolution.steps, steps);
        assert!(change.evidence.contains(evidence), "{}", change.evidence);
        let within = change.at.earliest <= before && after <= change.at.latest;
        assert!(within, "{:?} is not around {before:?} to {after:?}", change.at);
    }
}
