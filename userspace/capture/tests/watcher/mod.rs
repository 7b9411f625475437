//! A thread that reads a ring, decodes what comes, and keeps it for a test to look at.
#![allow(dead_code, reason = "each test binary uses its own part")]

use edgelore_capture::Clock;
use edgelore_capture::ring::{Counters, Ring, RingConfig};
use edgelore_model::{
    Batch, Observation, Observed, Prefix, SessionKey, Signal, SignalKind, Summary,
};
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use edgelore_testkit::NetNs;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(5);

/// What has come so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// Observations other than routes, in order.
    pub(crate) events: Vec<Observation>,
    /// What each speaker of each session announces now.
    pub(crate) tables: BTreeMap<(SessionKey, IpAddr), BTreeSet<Prefix>>,
    /// What each has announced, and what it has withdrawn, since the last [`Seen::forget_moves`].
    pub(crate) moves: BTreeMap<(SessionKey, IpAddr), Moves>,
    pub(crate) summary: Summary,
    /// Signals that were lost on the way.
    pub(crate) lost: u64,
}

/// Prefixes in the order in which they moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    pub(crate) announced: Vec<Prefix>,
    pub(crate) withdrawn: Vec<Prefix>,
}

impl Seen {
    fn take(&mut self, observation: Observation) {
        match &observation.what {
            Observed::Routes(delta) => {
                let key = (delta.session, delta.speaker);
                let table = self.tables.entry(key).or_default();
                let moves = self.moves.entry(key).or_default();
                for prefix in &delta.withdrawn {
                    table.remove(prefix);
                }
                table.extend(&delta.announced);
                moves.withdrawn.extend(&delta.withdrawn);
                moves.announced.extend(&delta.announced);
            }
            Observed::SessionDown { session, .. } => {
                self.tables.retain(|(of, _), _| of != session);
                self.events.push(observation);
            }
            Observed::Tick => {}
            _ => self.events.push(observation),
        }
    }

    /// What `speaker` of `session` announces now.
    pub(crate) fn table(&self, session: SessionKey, speaker: IpAddr) -> BTreeSet<Prefix> {
        self.tables.get(&(session, speaker)).cloned().unwrap_or_default()
    }

    /// What `speaker` of `session` moved.
    pub(crate) fn moved(&self, session: SessionKey, speaker: IpAddr) -> Moves {
        let mut moves = self.moves.get(&(session, speaker)).cloned().unwrap_or_default();
        moves.announced.sort();
        moves.withdrawn.sort();
        moves
    }

    pub(crate) fn forget_moves(&mut self) {
        self.moves.clear();
    }
}

/// The thread; it ends with its guard.
pub(crate) struct Watcher {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Ring>>,
}

impl Watcher {
    /// Watches both directions of the interfaces, as a node does.
    pub(crate) fn start(gateway: &NetNs, interfaces: Vec<String>) -> Self {
        let config = RingConfig::watching(interfaces);
        let ring = gateway.run(|| Ok(Ring::open(&config, Clock::new())?)).expect("the ring opens");
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (theirs, until) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = Some(std::thread::spawn(move || read(ring, &theirs, &until)));
        Self { seen, stop, thread }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the thread and says what the kernel has counted.
    pub(crate) fn finish(mut self) -> (Seen, Counters) {
        self.stop.store(true, Ordering::Release);
        let ring = self.thread.take().expect("it runs").join().expect("it does not panic");
        let counters = ring.counters().expect("counters can be read");
        (std::mem::take(&mut *self.seen()), counters)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(mut ring: Ring, seen: &Mutex<Seen>, stop: &AtomicBool) -> Ring {
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut batch = Batch::default();
    loop {
        let last = stop.load(Ordering::Acquire);
        batch.clear();
        ring.poll(POLL, &mut batch).expect("the ring can be read");
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.lost += batch.signals.iter().map(lost).sum::<u64>();
        decoder.decode(&batch, &mut |_, observation| seen.take(observation));
        seen.summary = *decoder.summary();
        if last && batch.signals.is_empty() {
            return ring;
        }
    }
}

fn lost(signal: &Signal) -> u64 {
    match signal.kind {
        SignalKind::Lost { count, .. } => count,
        _ => 0,
    }
}
