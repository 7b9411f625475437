//! FRR configurations and addresses of a laboratory network.
//!
//! Invariant: addresses are private (RFC 1918) or set aside for benchmarks (RFC 2544), AS numbers
//! private (RFC 6996).

use super::network::Site;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Prefixes that fit into 198.18.0.0/15.
pub(super) const PREFIXES_MAX: u16 = 512;

pub(super) struct Plan {
    index: u8,
    prefixes: u16,
    hold_time_s: u16,
}

impl Plan {
    pub(super) fn new(site: &Site) -> Self {
        Self {
            index: site.index,
            prefixes: site.prefixes.clamp(1, PREFIXES_MAX),
            hold_time_s: site.hold_time_s,
        }
    }

    fn host(&self, link: u8, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.index, link, host)
    }

    /// The gateway's address on the link to `link` (1 primary, 2 secondary, 3 lan).
    pub(super) fn gateway(&self, link: u8) -> Ipv4Addr {
        self.host(link, 1)
    }

    pub(super) fn primary(&self) -> Ipv4Addr {
        self.host(1, 2)
    }

    pub(super) fn secondary(&self) -> Ipv4Addr {
        self.host(2, 2)
    }

    pub(super) fn lan(&self) -> Ipv4Addr {
        self.host(3, 2)
    }

    /// The address, inside the first prefix, that both neighbours hold.
    pub(super) fn target() -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, 1)
    }

    pub(super) fn prefixes(&self) -> Vec<(Ipv4Addr, u8)> {
        (0..self.prefixes)
            .map(|number| {
                let [high, low] = number.to_be_bytes();
                (Ipv4Addr::new(198, 18 + high, low, 0), 24)
            })
            .collect()
    }

    fn autonomous_system(&self, router: u32) -> u32 {
        4_200_000_000 + u32::from(self.index) * 10 + router
    }

    pub(super) fn gateway_config(&self) -> String {
        let neighbors = [(self.primary(), 2), (self.secondary(), 3)];
        let lan = format!("10.{}.3.0/24", self.index);
        let mut text = format!("ip prefix-list LAN seq 5 permit {lan}\n");
        text += &self.router(1, &neighbors);
        let _ = writeln!(text, "  network {lan}");
        for (neighbor, _) in neighbors {
            let _ = writeln!(text, "  neighbor {neighbor} prefix-list LAN out");
        }
        text + " exit-address-family\nexit\n"
    }

    pub(super) fn primary_config(&self) -> String {
        self.announcer(2, self.gateway(1), "")
    }

    pub(super) fn secondary_config(&self) -> String {
        let own = self.autonomous_system(3);
        let map =
            format!("route-map LONGER permit 10\n set as-path prepend {own} {own} {own}\nexit\n");
        map + &self.announcer(3, self.gateway(2), "route-map LONGER out")
    }

    fn announcer(&self, router: u32, gateway: Ipv4Addr, policy: &str) -> String {
        let mut text = self.router(router, &[(gateway, 1)]);
        for (prefix, length) in self.prefixes() {
            let _ = writeln!(text, "  network {prefix}/{length}");
        }
        if !policy.is_empty() {
            let _ = writeln!(text, "  neighbor {gateway} {policy}");
        }
        text + " exit-address-family\nexit\n"
    }

    fn router(&self, router: u32, neighbors: &[(Ipv4Addr, u32)]) -> String {
        let keepalive = self.hold_time_s / 3;
        let mut text = format!(
            "router bgp {}\n bgp router-id 10.{}.255.{router}\n no bgp ebgp-requires-policy\n \
             no bgp network import-check\n timers bgp {keepalive} {}\n",
            self.autonomous_system(router),
            self.index,
            self.hold_time_s
        );
        for (address, remote) in neighbors {
            let _ = write!(
                text,
                " neighbor {address} remote-as {}\n neighbor {address} timers connect 1\n \
                 neighbor {address} advertisement-interval 0\n",
                self.autonomous_system(*remote)
            );
        }
        text + " address-family ipv4 unicast\n"
    }

    /// What an engineer types to let BFD watch the session with `neighbor` of `router`.
    pub(super) fn bfd_config(
        &self,
        router: u32,
        neighbor: Ipv4Addr,
        ms: u64,
        multiplier: u64,
    ) -> String {
        format!(
            "bfd\n profile fast\n  receive-interval {ms}\n  transmit-interval {ms}\n  \
             detect-multiplier {multiplier}\n exit\nexit\nrouter bgp {}\n \
             neighbor {neighbor} bfd profile fast\nexit\n",
            self.autonomous_system(router)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_distinct_and_hold_the_target() {
        let site = Site { prefixes: PREFIXES_MAX, ..Site::new("x", 1) };
        let prefixes = Plan::new(&site).prefixes();
        assert_eq!(prefixes.len(), 512);
        assert!(prefixes.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(prefixes[0], (Ipv4Addr::new(198, 18, 0, 0), 24));
        assert_eq!(prefixes[511], (Ipv4Addr::new(198, 19, 255, 0), 24));
        assert_eq!(Plan::target().octets()[..3], prefixes[0].0.octets()[..3]);
    }
}
