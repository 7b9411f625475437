//! Any bytes as steps of two speakers: the state must say what a plain map says as long as it has
//! room, and keep its bound always.
#![no_main]

use edgelore_model::{PathSummary, Prefix, Rib as Place, RouteDelta, SessionKey, Timestamp};
use edgelore_pipeline::rib::{Rib, RibConfig};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::net::IpAddr;

fuzz_target!(|bytes: &[u8]| {
    let config = RibConfig::default();
    let mut rib = Rib::new(config);
    let mut map = BTreeMap::new();
    let mut now = Timestamp::default();
    for step in bytes.chunks_exact(6) {
        let [what, a, b, length, hash, wait] = [0, 1, 2, 3, 4, 5].map(|at| step[at]);
        now = Timestamp(now.0.saturating_add(i64::from(wait) << (wait % 48)));
        let speaker = IpAddr::from([192, 0, 2, 1 + (what & 1)]);
        let session = SessionKey::between(speaker, IpAddr::from([192, 0, 2, 9]));
        let address = if what & 2 == 0 {
            IpAddr::from([10, a, b, 0])
        } else {
            IpAddr::from([a, b, 0, 0, 0, 0, 0, 0].map(u16::from))
        };
        let bits = if address.is_ipv4() { 33 } else { 129 };
        let Ok(prefix) = Prefix::new(address, length % bits) else { continue };
        if what & 0x30 == 0x30 {
            rib.session_ended(session);
            map.retain(|(of, _), _| *of != speaker);
            continue;
        }
        let announce = what & 4 == 0;
        let path = PathSummary { attributes_hash: hash.into(), ..PathSummary::default() };
        let (withdrawn, announced) =
            if announce { (vec![], vec![prefix]) } else { (vec![prefix], vec![]) };
        let delta = RouteDelta {
            session,
            speaker,
            rib: Place::Wire,
            withdrawn,
            announced,
            withdrawn_path_ids: vec![],
            announced_path_ids: vec![],
            path: Some(path),
        };
        let changes = rib.apply(&delta, now, &mut Vec::new());
        let before = if announce {
            map.insert((speaker, prefix), hash)
        } else {
            map.remove(&(speaker, prefix))
        };
        match (announce, before) {
            (true, None) => assert_eq!(changes.new, 1),
            (true, Some(same)) => assert_eq!(
                (changes.repeated, changes.changed),
                (u32::from(same == hash), u32::from(same != hash))
            ),
            (false, before) => assert_eq!(changes.withdrawn, u32::from(before.is_some())),
        }
        assert!(rib.bytes() <= config.bytes_max);
    }
});
