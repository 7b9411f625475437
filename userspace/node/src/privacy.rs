//! What may leave this gateway: the configuration's word, and what is known to identify it.
//!
//! Owns `[privacy]` and the gathering of names and AS numbers: the machine's own name, its
//! interfaces', what was captured, what the router's configuration calls things. Never scrubs.
//!
//! **Invariant:** what once was known to identify this network stays known while the node runs.

use crate::config::CaptureConfig;
use edgelore_model::{Observation, Observed};
use edgelore_pipeline::packet::anonymity::PUBLISHERS_MAX;
use edgelore_pipeline::packet::scrub::{ALLOWED_MAX, AllowError, Allowed, Scrubber};
use edgelore_pipeline::packet::{Counts, Privacy};
use edgelore_pipeline::resolve::Identifiers;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Names and numbers that wait for the keeper, at most; what is beyond is heard again with the next
/// session.
const WAITING_MAX: usize = 4_096;

/// `[privacy]`: what leaves, and in which form.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrivacyConfig {
    /// How exactly the counts of prefixes and routers leave: `exact`, `rounded` (two significant
    /// digits) or `bucketed` (decades and doublings).
    pub counts: Counts,
    /// Words that no pattern takes out of a step, at most 256; `*`, `?` and `[…]` as in a shell. What
    /// is known to name this network goes all the same.
    pub allow: Vec<String>,
    /// Words that identify this network, beside those that are found out.
    pub names: Vec<String>,
    /// How many publishers must share the cell of what is published, up to 100; 0 and 1 ask for
    /// none. What too few share is kept back, and tried again.
    pub k_anonymity: u32,
}

impl PrivacyConfig {
    /// As it holds for this machine: its name and its interfaces' are hidden.
    ///
    /// # Errors
    /// When the allow-list is not taken.
    pub fn privacy(&self, capture: &CaptureConfig) -> Result<Privacy, AllowError> {
        let mut scrubber = Scrubber::allowing(Allowed::new(&self.allow)?);
        scrubber.hide(self.names.iter().cloned().chain(own_names(capture)));
        Ok(Privacy { counts: self.counts, scrubber, k_anonymity: self.k_anonymity })
    }

    /// The key, value and bounds of what cannot be used.
    pub(crate) fn fault(&self) -> Option<(&'static str, String, &'static str)> {
        if self.k_anonymity > PUBLISHERS_MAX {
            return Some(("privacy.k_anonymity", self.k_anonymity.to_string(), "0 to 100"));
        }
        match Allowed::new(&self.allow) {
            Ok(_) => None,
            Err(AllowError::Many(count)) => {
                debug_assert_eq!(ALLOWED_MAX, 256, "the message names it");
                Some(("privacy.allow", format!("{count} entries"), "256 entries"))
            }
            Err(AllowError::Entry(entry)) => Some((
                "privacy.allow",
                format!("{entry:?}"),
                "words of at most 64 bytes, and patterns with two letters or digits",
            )),
        }
    }
}

/// The words that would give this gateway away: its name and its interfaces'.
fn own_names(capture: &CaptureConfig) -> Vec<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let first_label = host.split('.').next().unwrap_or_default();
    let selection = capture.selection().unwrap_or_default();
    let mut names: Vec<String> = selection.names().map(str::to_owned).collect();
    // What a glob matches is not in the configuration.
    let present = edgelore_capture::ring::interfaces().unwrap_or_default();
    names.extend(present.into_iter().map(|(_, name)| name).filter(|name| name != "lo"));
    names.extend([host, first_label].into_iter().filter(|n| !n.is_empty()).map(str::to_owned));
    names
}

/// Whether an observation may say what identifies this network: sessions and links are rare among
/// observations.
#[must_use]
pub const fn identifies(observation: &Observation) -> bool {
    matches!(observation.what, Observed::Open { .. } | Observed::Link(_))
}

/// Notes what an observation says that identifies this network or its neighbours.
pub fn hear(known: &mut Identifiers, observation: &Observation) {
    if known.names.len() + known.numbers.len() >= WAITING_MAX {
        return;
    }
    match &observation.what {
        Observed::Open { session, capabilities, .. } => {
            let (low, high) = session.addresses();
            known.numbers.insert(capabilities.asn);
            known.numbers.extend([low, high].into_iter().filter_map(as_number));
        }
        Observed::Link(link) if link.name != "lo" && !link.name.is_empty() => {
            known.names.insert(link.name.clone());
        }
        _ => {}
    }
}

fn as_number(address: IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(address) => Some(u32::from(address)),
        IpAddr::V6(_) => None,
    }
}
