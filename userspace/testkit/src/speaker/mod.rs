//! BGP daemons of every make, told the same things in their own languages.
//!
//! Owns the vocabulary ([`Identity`], [`Neighbour`]) and the one interface ([`Speaker`]) through
//! which the laboratory starts a daemon, lets it announce and withdraw, and stops it cleanly.
//!
//! Never does: start anything outside the namespace it was given, or leave a file outside a
//! temporary directory. One exception that OpenBGPD hard-codes is named there.
//!
//! Invariant: every daemon is a child of this process and ends with its guard.

mod bird;
mod exabgp;
mod feed;
mod frr;
mod gobgp;
mod openbgpd;

pub use bird::{Bird, TABLE_PREFIXES_MAX, table};
pub use exabgp::ExaBgp;
pub use feed::Feed;
pub use frr::{FrrBgp, Messages};
pub use gobgp::GoBgp;
pub use openbgpd::OpenBgpd;

use crate::NetNs;
use anyhow::{Context, Result, ensure};
use edgelore_model::Prefix;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a daemon may take until it answers its control program.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(30);

/// Seconds between two attempts to connect.
const RETRY_S: u16 = 1;

/// How many routers a session may cross: external sessions of the laboratory run through gateways.
const HOPS: u8 = 4;

/// One BGP router of the laboratory.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its AS number.
    pub asn: u32,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// With whom it talks.
    pub neighbours: Vec<Neighbour>,
}

/// One external session, as one end sees it. It carries the unicast routes of its own address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The router's own address.
    pub local: IpAddr,
    /// The neighbour's address.
    pub remote: IpAddr,
    /// The neighbour's AS number.
    pub asn: u32,
    /// Hold time that the router proposes, in seconds, at least 3.
    pub hold_time_s: u16,
    /// Wait for the neighbour to connect, so that no two connections collide (RFC 4271 §6.8).
    pub passive: bool,
}

/// A running daemon that announces what it is told.
pub trait Speaker: std::fmt::Debug + Send {
    /// Announces prefixes of both families to every neighbour of the family.
    ///
    /// # Errors
    /// When the daemon refuses.
    fn announce(&mut self, prefixes: &[Prefix]) -> Result<()>;

    /// Withdraws prefixes that were announced.
    ///
    /// # Errors
    /// When the daemon refuses.
    fn withdraw(&mut self, prefixes: &[Prefix]) -> Result<()>;

    /// Ends the daemon in good order (SIGTERM), and waits until it has ended.
    ///
    /// # Errors
    /// When it does not end by itself.
    fn stop(&mut self) -> Result<()>;
}

/// A make of BGP daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Make {
    /// FRR's bgpd.
    Frr,
    /// BIRD 2.
    Bird,
    /// GoBGP.
    GoBgp,
    /// ExaBGP.
    ExaBgp,
    /// OpenBGPD.
    OpenBgpd,
}

impl Make {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Frr, Self::Bird, Self::GoBgp, Self::ExaBgp, Self::OpenBgpd];

    /// Starts one inside `namespace`; it connects at once.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(self, namespace: &NetNs, identity: &Identity) -> Result<Box<dyn Speaker>> {
        Ok(match self {
            Self::Frr => Box::new(FrrBgp::start(namespace, identity)?),
            Self::Bird => Box::new(Bird::start(namespace, identity, &[])?),
            Self::GoBgp => Box::new(GoBgp::start(namespace, identity)?),
            Self::ExaBgp => Box::new(ExaBgp::start(namespace, identity)?),
            Self::OpenBgpd => Box::new(OpenBgpd::start(namespace, identity)?),
        })
    }

    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Frr => &frr::PROGRAMS,
            Self::Bird => &bird::PROGRAMS,
            Self::GoBgp => &gobgp::PROGRAMS,
            Self::ExaBgp => &exabgp::PROGRAMS,
            Self::OpenBgpd => &openbgpd::PROGRAMS,
        }
    }
}

/// Which programs of the BGP daemons are not installed.
#[must_use]
pub fn speakers_missing() -> Vec<PathBuf> {
    let programs = Make::ALL.into_iter().flat_map(Make::programs);
    programs.map(PathBuf::from).filter(|path| !path.exists()).collect()
}

/// `ipv4` or `ipv6`, as most daemons call the families.
const fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ipv4",
        IpAddr::V6(_) => "ipv6",
    }
}

/// What a control program printed.
///
/// # Errors
/// When it failed, with what it said.
fn ask(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}

/// Ends a daemon, which must not need to be killed.
fn end(process: &mut crate::Process, name: &str) -> Result<()> {
    use std::os::unix::process::ExitStatusExt;
    let status = process.stop()?;
    let killed = status.signal() == Some(nix::libc::SIGKILL);
    ensure!(!killed, "{name} had to be killed: {}", process.log_tail());
    Ok(())
}

/// Writes a daemon's file; some insist that others cannot read it.
fn write(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)))
        .with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn two_sessions() -> Identity {
        let neighbour = |local: &str, remote: &str, hold_time_s, passive| Neighbour {
            local: local.parse().expect("an address"),
            remote: remote.parse().expect("an address"),
            asn: 64_500,
            hold_time_s,
            passive,
        };
        Identity {
            asn: 64_501,
            router_id: Ipv4Addr::new(192, 0, 2, 1),
            neighbours: vec![
                neighbour("192.0.2.1", "192.0.2.2", 30, false),
                neighbour("2001:db8::1", "2001:db8::2", 33, true),
            ],
        }
    }

    #[test]
    fn every_make_is_told_both_sessions_and_their_hold_times() {
        let identity = two_sessions();
        let configurations = [
            frr::configuration(&identity),
            bird::configuration(&identity),
            gobgp::configuration(&identity),
            exabgp::configuration(&identity, Path::new("/fifo")),
            openbgpd::configuration(&identity, Path::new("/socket")),
        ];
        for text in configurations {
            for part in ["64501", "64500", "192.0.2.1", "192.0.2.2", "2001:db8::2", "30", "33"] {
                assert!(text.contains(part), "{part} in {text}");
            }
        }
    }
}
