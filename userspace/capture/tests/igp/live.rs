//! later
use super::*;
use edgelore_testkit::{Frr, FrrDaemon, NetNs, live, veth, wait_for, Process, scratch};
use std::time::Duration;

#[test]
fn live_dump() {
    if !live("live_dump") { return; }
    let a = NetNs::new("iga").unwrap(); let b = NetNs::new("igb").unwrap(); let c = NetNs::new("igc").unwrap();
    veth((&a, "ab"), (&b, "ba")).unwrap(); veth((&b, "bc"), (&c, "cb")).unwrap(); veth((&a, "ac"), (&c, "ca")).unwrap();
    let dir = scratch("igp").unwrap();
    let file = dir.path().join("a.pcap");
    let mut cmd = a.command("tcpdump");
    cmd.args(["-i", "any", "-y", "LINUX_SLL2", "-U", "-s", "0", "-Z", "root", "-w"]).arg(&file);
    let _p = Process::spawn("tcpdump", &mut cmd, &dir.path().join("log")).unwrap();
    wait_for(Duration::from_secs(20), "tcpdump", || file.exists()).unwrap();
    let d = [FrrDaemon::Zebra, FrrDaemon::Ospfd, FrrDaemon::Ospf6d, FrrDaemon::Isisd];
    let mut frrs = vec![];
    for (ns, n, links) in [(&a, 1, [("ab", 12, 10, true), ("ac", 13, 20, false)]), (&b, 2, [("ba", 12, 15, true), ("bc", 23, 30, true)]), (&c, 3, [("ca", 13, 25, false), ("cb", 23, 35, true)])] {
        let mut conf = format!("interface lo\n ip address 10.255.0.{n}/32\n ipv6 address 2001:db8:ffff::{n}/128\n ip router isis L\n ipv6 router isis L\n isis passive\n ipv6 ospf6 area 0\n");
        let mut nets = format!(" network 10.255.0.{n}/32 area 0\n");
        for (l, net, cost, p2p) in links {
            let p = if p2p { " ip ospf network point-to-point\n ipv6 ospf6 network point-to-point\n isis network point-to-point\n" } else { "" };
            conf += &format!("interface {l}\n ip address 10.1.{net}.{n}/24\n ipv6 address 2001:db8:{net}::{n}/64\n{p} ip ospf hello-interval 1\n ip ospf dead-interval 4\n ip ospf cost {cost}\n ipv6 ospf6 hello-interval 1\n ipv6 ospf6 dead-interval 4\n ipv6 ospf6 cost {cost}\n ipv6 ospf6 area 0\n ip router isis L\n ipv6 router isis L\n isis hello-interval 1\n isis metric {cost}\n");
            nets += &format!(" network 10.1.{net}.0/24 area 0\n");
        }
        conf += &format!("router ospf\n ospf router-id 10.255.0.{n}\n timers throttle spf 50 100 1000\n{nets}router ospf6\n ospf6 router-id 10.255.0.{n}\nrouter isis L\n net 49.0001.0000.0000.000{n}.00\n is-type level-2-only\n metric-style wide\n lsp-gen-interval 1\n spf-interval 1\n");
        frrs.push(Frr::start_daemons(ns, &d, &conf).unwrap());
    }
    std::thread::sleep(Duration::from_secs(25));
    for cmd in ["show ip ospf database router json", "show ip ospf database network json", "show ipv6 ospf6 database detail json", "show isis database detail json"] {
        println!("#### {cmd}\n{}", frrs[0].show(cmd).map_or_else(|e| format!("{e:#}"), |v| serde_json::to_string_pretty(&v).unwrap()));
    }
    let d = decode(&frames::read(&file));
    println!("{:?}", d.summary);
    for l in areas(&d.graph) { println!("  {l}"); }
}
