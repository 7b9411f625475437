//! The ring's thread: reads records, and follows the interfaces as they come, go and are renamed.
//!
//! Owns the open ring and what is attached where. Never decides which interfaces are wanted (that
//! is [`crate::interfaces`]) and never learns of them by itself: the rtnetlink source's news reach
//! it through a bounded queue.
//!
//! **Invariant:** news are acted upon at most one [`POLL`] after they came; an interface that cannot
//! be watched is told to the operator and does not keep the others from being watched.

use crate::config::CaptureConfig;
use crate::egress::{Egress, OnlyThere};
use crate::interfaces::{Interfaces, Selection, Step};
use crate::live::{Due, LiveError, POLL};
use crate::status::StatusSource;
use crossbeam::channel::{Receiver, Sender, bounded};
use edgelore_capture::ring::{
    Attachment, Counters, DirectionCounters, Ring, RingConfig, Watch, XdpPolicy, interfaces,
};
use edgelore_capture::{Clock, reason};
use edgelore_model::Batch;
use std::collections::{BTreeMap, BTreeSet};

/// News that wait for the ring's thread.
pub const CHANGES_QUEUED_MAX: usize = 1024;
/// Lists of links that wait for a source that takes them.
const LINKS_QUEUED_MAX: usize = 16;

/// News for the ring's thread.
#[derive(Clone, Debug)]
pub enum Change {
    /// The kernel has news of an interface.
    Link {
        /// Its index.
        ifindex: u32,
        /// Its name.
        name: String,
        /// It exists.
        present: bool,
    },
    /// The operator wants other interfaces, or has them watched otherwise.
    Select(Selection, Hooks),
    /// The routing protocols that this machine itself speaks now.
    Speaks(BTreeSet<&'static str>),
}

/// How an interface is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// How XDP is attached.
    pub xdp: XdpPolicy,
    /// Whether tcx is attached on egress as well.
    pub egress: Egress,
}

/// The ring with what it watches.
#[derive(Debug)]
pub struct Watcher {
    ring: Ring,
    interfaces: Interfaces,
    hooks: Hooks,
    only_there: OnlyThere,
    /// What leaves is watched.
    egress: bool,
    changes: Receiver<Change>,
    links: [Sender<Vec<u32>>; 2],
    /// Interfaces that cannot be watched, with the reason.
    failures: BTreeMap<u32, (String, String)>,
    status: StatusSource,
    due: Due,
}

/// The other ends of a watcher's queues.
#[derive(Debug)]
pub struct Ends {
    /// Takes news.
    pub changes: Sender<Change>,
    /// Give the indexes of the watched interfaces whenever they change, to two sources.
    pub links: [Receiver<Vec<u32>>; 2],
}

impl Watcher {
    /// Opens the ring in the network namespace of this thread and watches what is selected and
    /// exists. An interface that is named but does not exist is waited for.
    ///
    /// # Errors
    /// When the programs cannot be loaded, or an interface that is named in full exists and cannot
    /// be watched.
    pub fn open(
        config: &CaptureConfig,
        spoken: &BTreeSet<&'static str>,
        clock: Clock,
        status: &StatusSource,
    ) -> Result<(Self, Ends), LiveError> {
        let ring_config = RingConfig { watch: Vec::new(), ring_bytes: config.ring_bytes };
        let (changes_in, changes) = bounded(CHANGES_QUEUED_MAX);
        let (counters_in, counters_out) = bounded(LINKS_QUEUED_MAX);
        let (trace_in, trace_out) = bounded(LINKS_QUEUED_MAX);
        let mut watcher = Self {
            ring: Ring::open(&ring_config, clock)?,
            interfaces: Interfaces::new(config.selection()?),
            hooks: config.hooks(),
            only_there: OnlyThere { spoken: spoken.clone(), way_in: None },
            egress: false,
            changes,
            links: [counters_in, trace_in],
            failures: BTreeMap::new(),
            status: status.clone(),
            due: Due::new(clock),
        };
        let present = interfaces()?.into_iter();
        let changed =
            |(ifindex, name): (u32, String)| watcher.interfaces.changed(ifindex, &name, true);
        let steps: Vec<Step> = present.filter_map(changed).collect();
        watcher.decide_egress();
        for step in steps {
            let Step::Attach { ifindex, name } = step else { continue };
            watcher.attach(ifindex, &name).or_else(|error| {
                let named = watcher.interfaces.selection().is_named(&name);
                if named { Err(error) } else { Ok(()) }
            })?;
        }
        for interface in watcher.interfaces.missing() {
            tracing::warn!(interface, "there is no such interface yet, it is waited for");
        }
        // What could not be watched is a way in.
        watcher.decide_egress();
        watcher.tell();
        Ok((watcher, Ends { changes: changes_in, links: [counters_out, trace_out] }))
    }

    /// Indexes of the watched interfaces.
    #[must_use]
    pub fn links(&self) -> Vec<u32> {
        self.interfaces.links()
    }

    /// Acts upon the news, then reads records for at most one [`POLL`].
    ///
    /// # Errors
    /// When the ring cannot be read, in words.
    pub fn read(&mut self, batch: &mut Batch) -> Result<(), String> {
        self.follow();
        let polled = self.ring.poll(POLL, batch);
        if self.due.now() {
            let counters = self.ring.counters().map_err(|error| error.to_string())?;
            self.status.update().kernel = named(&counters);
        }
        polled.map(drop).map_err(|error| error.to_string())
    }

    fn follow(&mut self) {
        let before = self.interfaces.links();
        let mut acted = false;
        // No more than the queue holds: who sends without pause does not keep records waiting.
        for _ in 0..CHANGES_QUEUED_MAX {
            let Ok(change) = self.changes.try_recv() else { break };
            let steps = match change {
                Change::Link { ifindex, name, present } => {
                    if !present {
                        self.failures.remove(&ifindex);
                    }
                    self.interfaces.changed(ifindex, &name, present).into_iter().collect()
                }
                Change::Select(selection, hooks) => self.select(selection, hooks),
                Change::Speaks(spoken) => {
                    self.only_there.spoken = spoken;
                    Vec::new()
                }
            };
            acted = true;
            steps.into_iter().for_each(|step| self.act(step));
        }
        if acted {
            self.decide_egress();
            self.tell();
        }
        let links = self.interfaces.links();
        if links != before {
            for taker in &self.links {
                // A taker that has gone needs no news: the node stops, or has no such source.
                let _ = taker.send(links.clone());
            }
        }
    }

    fn select(&mut self, selection: Selection, hooks: Hooks) -> Vec<Step> {
        let watched = self.interfaces.links();
        let mut steps = self.interfaces.select(selection);
        let before = std::mem::replace(&mut self.hooks, hooks);
        if hooks.xdp != before.xdp {
            let again = self.interfaces.again().into_iter();
            let was_watched = |step: &Step| matches!(step, Step::Attach { ifindex, .. } if watched.contains(ifindex));
            steps.extend(again.filter(was_watched));
        }
        steps
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Attach { ifindex, name } => {
                if self.attach(ifindex, &name).is_ok() {
                    tracing::info!(interface = name, "watching");
                }
            }
            Step::Rename { ifindex, name } => {
                self.ring.rename(ifindex, &name);
                tracing::info!(interface = name, "a watched interface was renamed");
            }
            Step::Forget { ifindex } => {
                if let Err(error) = self.ring.forget(ifindex) {
                    tracing::error!(ifindex, %error, "an interface could not be let go");
                }
                tracing::info!(ifindex, "watching no longer");
            }
        }
    }

    /// On failure the interface is not watched, which is noted.
    fn attach(&mut self, ifindex: u32, name: &str) -> Result<(), LiveError> {
        self.failures.remove(&ifindex);
        let watch = Watch { xdp: self.hooks.xdp, egress: self.egress, ..Watch::both(name) };
        self.ring.attach(&watch).map_err(|error| self.failed(ifindex, name, error.into()))
    }

    fn failed(&mut self, ifindex: u32, name: &str, error: LiveError) -> LiveError {
        let reason = reason(&error);
        tracing::warn!(interface = name, reason, "the interface cannot be watched");
        self.failures.insert(ifindex, (name.to_owned(), reason));
        self.interfaces.failed(ifindex);
        error
    }

    /// Watches what leaves, or no longer, as the operator wants it and the machine needs it.
    fn decide_egress(&mut self) {
        let reason = match self.hooks.egress {
            Egress::Always => Some("it is configured".to_owned()),
            Egress::Never => None,
            Egress::Auto => {
                self.only_there.look(self.interfaces.unwatched());
                self.only_there.reason()
            }
        };
        if reason.is_some() == self.egress {
            return;
        }
        self.egress = reason.is_some();
        match reason {
            Some(reason) => tracing::info!(reason, "what leaves is watched as well"),
            None => tracing::info!("what leaves is not watched: nothing is to be seen only there"),
        }
        for (ifindex, name) in self.interfaces.watched() {
            if let Err(error) = self.ring.watch_egress(ifindex, self.egress) {
                self.failed(ifindex, &name, error.into());
                self.act(Step::Forget { ifindex });
            }
        }
    }

    /// Tells the operator what is attached where, and what is not.
    fn tell(&self) {
        let mut all = describe(self.ring.attachments());
        for (name, reason) in self.failures.values() {
            all.entry(name.clone()).or_default().push(format!("not watched: {reason}"));
        }
        for name in self.interfaces.missing() {
            all.entry(name.to_owned()).or_default().push("not there".to_owned());
        }
        self.status.update().interfaces = all;
    }
}

/// How the programs are attached, per interface, for the operator.
fn describe(attachments: &[Attachment]) -> BTreeMap<String, Vec<String>> {
    let mut interfaces: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for attachment in attachments {
        let mut text = format!("{:?}", attachment.mode);
        if !attachment.fallback.is_empty() {
            text += &format!(" ({})", attachment.fallback);
        }
        interfaces.entry(attachment.interface.clone()).or_default().push(text);
    }
    interfaces
}

/// The kernel side's counters by direction and name.
fn named(counters: &Counters) -> BTreeMap<String, u64> {
    let direction = |name: &'static str, counters: &DirectionCounters| {
        counters.named().into_iter().map(move |(key, value)| (format!("{name}.{key}"), value))
    };
    direction("ingress", &counters.ingress)
        .chain(direction("egress", &counters.egress))
        .chain([("malformed".to_owned(), counters.malformed)])
        .collect()
}
