//! Samples the packet counters of links: their sign of life.
//!
//! Owns the sampling clock and what was last seen of each link; decides nothing about silence.
//!
//! # Contract for consumers
//! All statements are about one link and one of its counters, over the `Counters` signals of that
//! link in the order in which they were emitted, and hold while no [`SamplerCounters`] loss is
//! counted in between (a loss only widens the intervals, it never makes them false).
//! 1. A signal's `at` is the moment at which the kernel's answer was complete; the kernel read the
//!    counter at most [`SAMPLE_UNCERTAINTY`] (1 ms) earlier. A sample that took longer is discarded.
//! 2. If the counter differs between two consecutive signals, stamped `t1` and `t2`, then at least
//!    one packet passed in `(t1 - 1 ms, t2]`, and so did *every* packet counted by the second and
//!    not by the first. The two are consecutive samples of the source, one `interval` apart unless
//!    sampling itself was late: a sample that was withheld because nothing had changed is always
//!    emitted directly before the first one that differs.
//! 3. If it is equal in both, no packet passed in `(t1, t2 - 1 ms]`: counters only grow.
//! 4. So the last packet before a silence passed in `(t1 - 1 ms, t2]`, where `t2` stamps the first
//!    signal with the standing value and `t1` the signal before it; the first packet after it in
//!    `(t3 - 1 ms, t4]`, where `t4` stamps the first signal with a new value and `t3` the one before.
//! 5. While nothing changes a signal comes each `keep_alive` (100 ms). No signal at all means that
//!    nothing is known, not that nothing passed. How long a counter has stood still is known up to
//!    the last signal only.
//! 6. A withheld sample carries its own, earlier time: by up to one `interval` (plus lateness) it is
//!    older than signals of other sources that were handed over before it. Within this source,
//!    signals are ordered by `at`.
//! 7. A counter that goes down means that the link index was taken by another link.
//!
//! **Invariant:** the sampler sleeps to absolute deadlines on a fixed grid and never spins; a late
//! sample is stamped with its true time, and deadlines that passed meanwhile are skipped and counted.

use super::NetlinkError;
use super::message::{self, Header, Message, NLMSG_ERROR, RTM_GETLINK, RTM_GETSTATS, RTM_NEWLINK};
use super::socket::{Received, RouteSocket};
use crate::Clock;
use crate::clock::monotonic_ns;
use edgelore_model::{Batch, CounterSample, Signal, SignalKind, Span, Timestamp};
use nix::errno::Errno;
use nix::libc;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use std::time::Duration;

/// How much older than its timestamp a sample may be.
pub const SAMPLE_UNCERTAINTY: Span = Span(1_000_000);

/// Links that one source samples at most.
const LINKS_MAX: usize = 256;
/// Attempts at a sample that is fresh enough, per deadline.
const ATTEMPTS_MAX: usize = 3;
/// Receive buffer in octets: an answer takes about 1 KiB of it, in the fallback up to 8 KiB.
const RECEIVE_BUFFER_OCTETS: usize = 4 << 20;
/// How long a link that does not exist is left alone before it is asked for again.
const ABSENT_PAUSE: Span = Span(1_000_000_000);

/// What to sample, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterConfig {
    /// Stamps the signals. Sources whose timestamps are compared share one clock.
    pub clock: Clock,
    /// Interface indexes, at most 256.
    pub links: Vec<u32>,
    /// Time between samples, 1 ms to 10 s.
    pub interval: Duration,
    /// Longest time without a signal while nothing changes.
    pub keep_alive: Duration,
}

impl CounterConfig {
    /// Samples `links` each 10 ms with a keep-alive of 100 ms.
    #[must_use]
    pub fn new(clock: Clock, links: Vec<u32>) -> Self {
        Self {
            clock,
            links,
            interval: Duration::from_millis(10),
            keep_alive: Duration::from_millis(100),
        }
    }
}

/// What happened in a [`CounterSource`] since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamplerCounters {
    /// Rounds over all links that were fresh enough.
    pub rounds: u64,
    /// Signals emitted.
    pub samples: u64,
    /// Attempts discarded because the kernel's answer took longer than [`SAMPLE_UNCERTAINTY`].
    pub slow_attempts: u64,
    /// Rounds given up after three slow attempts.
    pub rounds_lost: u64,
    /// Deadlines that passed while the thread was kept from running.
    pub deadlines_missed: u64,
    /// Answers that a link does not exist.
    pub absent: u64,
    /// Answers that do not decode, did not come, or were lost for want of buffer.
    pub undecodable: u64,
}

/// How the kernel is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// RTM_GETSTATS, since kernel 4.7.
    Statistics,
    /// RTM_GETLINK: a larger answer.
    Link,
}

/// A link with what was last seen of it.
#[derive(Debug)]
struct Watched {
    link: u32,
    /// The last sample, and whether it is withheld.
    last: Option<(Timestamp, CounterSample)>,
    withheld: bool,
    emitted_at: Timestamp,
    absent_until: Option<Timestamp>,
    /// This round's answer.
    answer: Option<CounterSample>,
}

impl Watched {
    fn new(link: u32) -> Self {
        Self {
            link,
            last: None,
            withheld: false,
            emitted_at: Timestamp(i64::MIN),
            absent_until: None,
            answer: None,
        }
    }
}

/// The source of [`SignalKind::Counters`].
#[derive(Debug)]
pub struct CounterSource {
    clock: Clock,
    interval_ns: i64,
    keep_alive: Span,
    socket: RouteSocket,
    method: Method,
    watched: Vec<Watched>,
    requests: Vec<u8>,
    /// Sequence numbers of the present round's requests, with the index in `watched`.
    asked: Vec<(u32, usize)>,
    /// The next deadline, on the monotonic clock.
    deadline_ns: i64,
    counters: SamplerCounters,
}

impl CounterSource {
    /// Opens the source; the first sample is due at once.
    ///
    /// # Errors
    /// When the configuration is out of bounds or a socket call fails.
    pub fn open(config: CounterConfig) -> Result<Self, NetlinkError> {
        let allowed = Duration::from_millis(1)..=Duration::from_secs(10);
        if !allowed.contains(&config.interval) {
            return Err(NetlinkError::Interval(config.interval));
        }
        let socket = RouteSocket::open()?;
        socket.set_receive_buffer(RECEIVE_BUFFER_OCTETS)?;
        let mut source = Self {
            clock: config.clock,
            interval_ns: nanoseconds(config.interval),
            keep_alive: Span(nanoseconds(config.keep_alive)),
            socket,
            method: Method::Statistics,
            watched: Vec::new(),
            requests: Vec::new(),
            asked: Vec::new(),
            deadline_ns: monotonic_ns(),
            counters: SamplerCounters::default(),
        };
        source.watch(&config.links)?;
        Ok(source)
    }

    /// Samples these links from now on. What is known of those that stay is kept.
    ///
    /// # Errors
    /// [`NetlinkError::TooManyInterfaces`] past 256 links; nothing is changed then.
    pub fn watch(&mut self, links: &[u32]) -> Result<(), NetlinkError> {
        if links.len() > LINKS_MAX {
            return Err(NetlinkError::TooManyInterfaces { named: links.len(), max: LINKS_MAX });
        }
        let mut known = std::mem::take(&mut self.watched);
        for &link in links {
            if self.watched.iter().all(|watched| watched.link != link) {
                let at = known.iter().position(|watched| watched.link == link);
                self.watched
                    .push(at.map_or_else(|| Watched::new(link), |at| known.swap_remove(at)));
            }
        }
        Ok(())
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> SamplerCounters {
        self.counters
    }

    /// Sleeps until the next deadline, but at most `timeout`, then samples if the deadline has
    /// come. Appends the signals to `batch` and returns how many; 0 also after an interrupting
    /// signal.
    ///
    /// # Errors
    /// When a socket call fails. The next call tries again at the next deadline.
    pub fn read(&mut self, timeout: Duration, batch: &mut Batch) -> Result<usize, NetlinkError> {
        let until = monotonic_ns().saturating_add(nanoseconds(timeout)).min(self.deadline_ns);
        if !sleep_until(until)? || monotonic_ns() < self.deadline_ns {
            return Ok(0);
        }
        self.advance(monotonic_ns());
        let before = batch.signals.len();
        match self.sample_fresh()? {
            Some(at) => {
                self.counters.rounds += 1;
                self.emit(at, batch);
            }
            None => self.counters.rounds_lost += 1,
        }
        let count = batch.signals.len() - before;
        self.counters.samples += count as u64;
        Ok(count)
    }

    /// Sets the next deadline of the grid that lies after `now_ns`.
    fn advance(&mut self, now_ns: i64) {
        let passed = (now_ns.saturating_sub(self.deadline_ns)).max(0) / self.interval_ns;
        self.counters.deadlines_missed += passed.unsigned_abs();
        let step = self.interval_ns.saturating_mul(passed.saturating_add(1));
        self.deadline_ns = self.deadline_ns.saturating_add(step);
    }

    /// Samples all links; `None` if no attempt was fresh enough to be stamped truly.
    fn sample_fresh(&mut self) -> Result<Option<Timestamp>, NetlinkError> {
        for _ in 0..ATTEMPTS_MAX {
            let method = self.method;
            let asked = self.clock.now();
            self.ask(asked)?;
            // The kernel answers within the call: whatever it counted, it had read by now.
            let answered = self.clock.now();
            self.collect(answered)?;
            if self.method != method {
                continue;
            }
            if (answered - asked).0 <= SAMPLE_UNCERTAINTY.0 {
                return Ok(Some(answered));
            }
            self.counters.slow_attempts += 1;
        }
        Ok(None)
    }

    fn ask(&mut self, now: Timestamp) -> Result<(), NetlinkError> {
        self.requests.clear();
        self.asked.clear();
        for (at, watched) in self.watched.iter_mut().enumerate() {
            watched.answer = None;
            if watched.absent_until.is_some_and(|until| now < until) {
                continue;
            }
            let sequence = self.socket.next_sequence();
            self.asked.push((sequence, at));
            let link = watched.link;
            self.requests.extend(match self.method {
                Method::Statistics => {
                    message::request(RTM_GETSTATS, 0, sequence, &message::stats_header(link), None)
                }
                Method::Link => {
                    message::request(RTM_GETLINK, 0, sequence, &message::link_header(link), None)
                }
            });
        }
        if self.requests.is_empty() { Ok(()) } else { self.socket.send(&self.requests) }
    }

    fn collect(&mut self, now: Timestamp) -> Result<(), NetlinkError> {
        let mut missing = self.asked.len();
        while missing > 0 {
            match self.socket.receive()? {
                Received::Empty => break,
                Received::Rejected | Received::Overrun => self.counters.undecodable += 1,
                Received::Datagram(length) => {
                    let datagram = self.socket.datagram(length);
                    for message in message::messages(datagram) {
                        let Ok((header, payload)) = message else { break };
                        let answer = self.asked.iter().find(|(asked, _)| *asked == header.sequence);
                        if let Some(&(_, at)) = answer {
                            missing = missing.saturating_sub(1);
                            let outcome = read_answer(header, payload);
                            note(
                                &mut self.watched[at],
                                outcome,
                                now,
                                &mut self.counters,
                                &mut self.method,
                            );
                        }
                    }
                }
            }
        }
        self.counters.undecodable += missing as u64;
        Ok(())
    }

    /// Emits what the contract asks for: first the withheld samples, which are older.
    fn emit(&mut self, at: Timestamp, batch: &mut Batch) {
        for watched in &mut self.watched {
            let (Some(answer), Some((seen, last))) = (watched.answer, watched.last) else {
                continue;
            };
            if answer != last && watched.withheld {
                batch.signals.push(signal(seen, watched.link, last));
                watched.withheld = false;
            }
        }
        for watched in &mut self.watched {
            let Some(answer) = watched.answer.take() else { continue };
            let changed = watched.last.is_none_or(|(_, last)| last != answer);
            let due = at - watched.emitted_at >= self.keep_alive;
            watched.withheld = !(changed || due);
            watched.last = Some((at, answer));
            if !watched.withheld {
                watched.emitted_at = at;
                batch.signals.push(signal(at, watched.link, answer));
            }
        }
    }
}

/// What the kernel answered about one link.
enum Answer {
    Sample(CounterSample),
    Absent,
    Unsupported,
    Undecodable,
}

fn read_answer(header: Header, payload: &[u8]) -> Answer {
    let message = match header.kind {
        NLMSG_ERROR => {
            return match message::error_number(payload) {
                libc::ENODEV | libc::ENXIO => Answer::Absent,
                libc::EOPNOTSUPP | libc::EINVAL => Answer::Unsupported,
                _ => Answer::Undecodable,
            };
        }
        RTM_NEWLINK => message::read_link_counters(payload),
        _ => message::read(header, payload),
    };
    match message {
        Ok(Message::Counters { sample, .. }) => Answer::Sample(sample),
        _ => Answer::Undecodable,
    }
}

fn note(
    watched: &mut Watched,
    answer: Answer,
    now: Timestamp,
    counters: &mut SamplerCounters,
    method: &mut Method,
) {
    watched.absent_until = None;
    match answer {
        Answer::Sample(sample) => watched.answer = Some(sample),
        Answer::Absent => {
            counters.absent += 1;
            watched.absent_until = Some(now + ABSENT_PAUSE);
            // Whatever has the index next is another link.
            watched.last = None;
            watched.withheld = false;
        }
        Answer::Unsupported if *method == Method::Statistics => *method = Method::Link,
        Answer::Unsupported | Answer::Undecodable => counters.undecodable += 1,
    }
}

fn signal(at: Timestamp, link: u32, sample: CounterSample) -> Signal {
    Signal { at, link, kind: SignalKind::Counters(sample) }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Sleeps until a moment of the monotonic clock. Returns whether it was reached: a signal to the
/// process ends the sleep early.
fn sleep_until(ns: i64) -> Result<bool, NetlinkError> {
    let until = TimeSpec::new(ns / 1_000_000_000, ns % 1_000_000_000);
    match clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &until) {
        Ok(_) => Ok(true),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(NetlinkError::Socket { operation: "sleep", source: errno.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds one link's packet counts, one a round of 10 ms; returns (ms, count) as emitted.
    fn emitted(counts: &[Option<u64>]) -> Vec<(i64, u64)> {
        let config = CounterConfig::new(Clock::new(), vec![1]);
        let mut source = CounterSource::open(config).unwrap();
        let mut batch = Batch::default();
        for (round, count) in (1i64..).zip(counts) {
            source.watched[0].answer =
                count.map(|rx_packets| CounterSample { rx_packets, ..CounterSample::default() });
            source.emit(Timestamp(round * 10_000_000), &mut batch);
        }
        let sample = |signal: &Signal| match signal.kind {
            SignalKind::Counters(sample) => (signal.at.0 / 1_000_000, sample.rx_packets),
            _ => unreachable!("only counters are emitted"),
        };
        batch.signals.iter().map(sample).collect()
    }

    #[test]
    fn the_last_unchanged_sample_comes_before_a_change() {
        let counts = [Some(5), Some(5), Some(5), Some(6), Some(7), Some(7), Some(8)];
        assert_eq!(emitted(&counts), [(10, 5), (30, 5), (40, 6), (50, 7), (60, 7), (70, 8)]);
    }

    #[test]
    fn silence_has_keep_alives() {
        let counts = [Some(5); 25];
        assert_eq!(emitted(&counts), [(10, 5), (110, 5), (210, 5)]);
    }

    #[test]
    fn a_keep_alive_directly_before_a_change_is_not_repeated() {
        let mut counts = [Some(5); 12];
        counts[11] = Some(6);
        assert_eq!(emitted(&counts), [(10, 5), (110, 5), (120, 6)]);
    }

    #[test]
    fn a_missing_answer_only_widens_the_interval() {
        let counts = [Some(5), Some(5), None, Some(6)];
        assert_eq!(emitted(&counts), [(10, 5), (20, 5), (40, 6)]);
    }

    #[test]
    fn missed_deadlines_are_skipped_on_the_grid() {
        let mut source = CounterSource::open(CounterConfig::new(Clock::new(), vec![])).unwrap();
        source.deadline_ns = 1_000;
        source.advance(1_000 + 35_000_000);
        assert_eq!(source.deadline_ns, 1_000 + 40_000_000);
        assert_eq!(source.counters.deadlines_missed, 3);
    }

    #[test]
    fn the_configuration_is_checked() {
        let mut config = CounterConfig::new(Clock::new(), (1..=257).collect());
        let error = CounterSource::open(config.clone()).unwrap_err();
        assert!(matches!(error, NetlinkError::TooManyInterfaces { named: 257, max: 256 }));
        (config.links, config.interval) = (vec![1], Duration::ZERO);
        let error = CounterSource::open(config).unwrap_err();
        assert!(matches!(error, NetlinkError::Interval(_)));
    }
}
