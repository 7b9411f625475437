//! The router's own configuration, read again and again: what the operator changed, and when.
//!
//! ```text
//! files ────────────────────────┐
//! vtysh: show running-config ───┴─► reading ─► compare by rules ─► Change ─► keeper
//! ```
//!
//! Polled, for a shell has no news to give and editors replace files. A reading that differs is
//! judged when the next one equals it, so a file that is being written is never taken for a change,
//! and a daemon that is restarted does not make its configuration vanish: readings of the shell
//! count only while the same daemons answer.
//!
//! **Invariant:** nothing is written anywhere, and of what is read only changes that a rule knows
//! go on, with their lines as evidence; those stay on the gateway. Every reading is bounded in time
//! and size.

use crate::config::RouterConfig;
use edgelore_capture::Clock;
use edgelore_model::{Interval, Timestamp};
use edgelore_pipeline::resolve::{
    Change, Configuration, Identifiers, RuleError, Rules, TABLE_BYTES_MAX, TEXT_BYTES_MAX,
    TextError, config_changes,
};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the thread sleeps at most before it looks at its stop flag.
const POLL: Duration = Duration::from_millis(100);

/// Why the router's configuration cannot be watched, or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// A file cannot be read.
    #[error("reading {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The shell could not be started or read.
    #[error("asking vtysh for the running configuration: {0}")]
    Shell(io::Error),
    /// The shell ended with an error, such as when no daemon answers.
    #[error("vtysh ended with {0}")]
    Refused(std::process::ExitStatus),
    /// The shell took too long and was ended.
    #[error("vtysh did not answer within {0} ms")]
    Timeout(u64),
    /// What was read is no configuration.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The operator's rules are not valid.
    #[error("in {path}: {source}")]
    Rules {
        /// The file.
        path: PathBuf,
        /// Which rule, and why.
        source: RuleError,
    },
}

/// Watches a router's configuration until it is told to stop.
#[derive(Debug)]
pub struct RouterWatcher {
    sources: Vec<Watched>,
    rules: Rules,
    interval: Duration,
    clock: Clock,
}

impl RouterWatcher {
    /// Reads the rules; nothing is watched yet. `None` when nothing is to be watched.
    ///
    /// # Errors
    /// When the operator's rules cannot be read or are not valid.
    pub fn open(config: &RouterConfig, clock: Clock) -> Result<Option<Self>, RouterError> {
        let rules = match &config.rules {
            None => Rules::shipped(),
            Some(path) => Rules::extended(&read_file(path, TABLE_BYTES_MAX)?)
                .map_err(|source| RouterError::Rules { path: path.clone(), source })?,
        };
        let timeout = Duration::from_millis(config.timeout_ms);
        let mut sources: Vec<Source> = config.files.iter().cloned().map(Source::File).collect();
        let shell = config.frr_vtysh.socket();
        sources.extend(shell.map(|socket| Source::Shell { socket, timeout }));
        if sources.is_empty() {
            return Ok(None);
        }
        let sources = sources.into_iter().map(Watched::new).collect();
        let interval = Duration::from_millis(config.interval_ms);
        Ok(Some(Self { sources, rules, interval, clock }))
    }

    /// Reads every source once; gives what was changed since the readings before.
    pub fn poll(&mut self) -> Vec<Change> {
        let (rules, clock) = (&self.rules, self.clock);
        self.sources.iter_mut().flat_map(|source| source.poll(rules, clock)).collect()
    }

    /// What the configurations call things, as far as it was not asked for before.
    pub fn identifiers(&mut self) -> Identifiers {
        let mut found = Identifiers::default();
        for source in self.sources.iter_mut().filter(|source| source.renamed) {
            source.renamed = false;
            if let Some((_, configuration)) = &source.judged {
                let Identifiers { names, numbers } = configuration.identifiers();
                found.names.extend(names);
                found.numbers.extend(numbers);
            }
        }
        found
    }

    /// Polls on a thread of its own until `stop` is set; hands what things are called to `named`
    /// and then changes to `told`.
    #[must_use]
    pub fn start(
        mut self,
        stop: Arc<AtomicBool>,
        mut named: impl FnMut(Identifiers) + Send + 'static,
        mut told: impl FnMut(Change) + Send + 'static,
    ) -> JoinHandle<()> {
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let next = Instant::now() + self.interval;
                let changes = self.poll();
                named(self.identifiers());
                changes.into_iter().for_each(&mut told);
                while Instant::now() < next && !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(POLL.min(next.saturating_duration_since(Instant::now())));
                }
            }
        })
    }
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Shell { socket: Option<PathBuf>, timeout: Duration },
}

/// What a source says.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    /// The daemons that answered; empty for a file.
    daemons: String,
    text: String,
}

/// A source, and how it was found before.
#[derive(Debug)]
struct Watched {
    source: Source,
    /// What held when it was last judged.
    judged: Option<(Reading, Configuration)>,
    /// The last reading that was as judged began then.
    unchanged: Timestamp,
    /// What differs and has not stood yet, and when it had been read first.
    differs: Option<(Reading, Timestamp)>,
    /// The last fault, told once.
    fault: Option<String>,
    /// What is judged was not asked for its names yet.
    renamed: bool,
}

impl Watched {
    const fn new(source: Source) -> Self {
        Self {
            source,
            judged: None,
            unchanged: Timestamp(0),
            differs: None,
            fault: None,
            renamed: false,
        }
    }

    fn poll(&mut self, rules: &Rules, clock: Clock) -> Vec<Change> {
        let began = clock.now();
        let read = self.source.read();
        match read.and_then(|reading| self.take(reading, began, clock.now(), rules)) {
            Ok(changes) => {
                self.fault = None;
                changes
            }
            Err(error) => {
                let fault = error.to_string();
                if self.fault.as_ref() != Some(&fault) {
                    tracing::warn!(error = fault, "the router's configuration was not read");
                    self.fault = Some(fault);
                }
                Vec::new()
            }
        }
    }

    fn take(
        &mut self,
        reading: Reading,
        began: Timestamp,
        ended: Timestamp,
        rules: &Rules,
    ) -> Result<Vec<Change>, RouterError> {
        let Some((judged, before)) = &self.judged else {
            let configuration = Configuration::read(&reading.text)?;
            self.judged = Some((reading, configuration));
            self.renamed = true;
            self.unchanged = began;
            return Ok(Vec::new());
        };
        if *judged == reading {
            self.unchanged = began;
            self.differs = None;
            return Ok(Vec::new());
        }
        let first = match self.differs.take() {
            Some((stood, first)) if stood == reading => first,
            _ => {
                self.differs = Some((reading, ended));
                return Ok(Vec::new());
            }
        };
        let after = Configuration::read(&reading.text)?;
        let at = Interval::between(self.unchanged, first);
        let changes = if judged.daemons == reading.daemons {
            let compared = config_changes(rules, before, &after, at);
            if compared.unknown > 0 {
                tracing::info!(lines = compared.unknown, "lines changed that no rule knows");
            }
            compared.changes
        } else if has_all(&reading.daemons, &judged.daemons) {
            // What further daemons say was there before they answered.
            Vec::new()
        } else {
            tracing::warn!("a routing daemon no longer answers");
            return Ok(Vec::new());
        };
        self.judged = Some((reading, after));
        self.renamed = true;
        self.unchanged = began;
        Ok(changes)
    }
}

/// All words of `fewer` are among those of `more`.
fn has_all(more: &str, fewer: &str) -> bool {
    fewer.split_whitespace().all(|word| more.split_whitespace().any(|other| other == word))
}

impl Source {
    fn read(&self) -> Result<Reading, RouterError> {
        match self {
            Self::File(path) => {
                let text = read_file(path, TEXT_BYTES_MAX)?;
                Ok(Reading { daemons: String::new(), text })
            }
            Self::Shell { socket, timeout } => ask_shell(socket.as_deref(), *timeout),
        }
    }
}

/// Reads a file of at most `bytes_max`; what is no UTF-8 is replaced.
fn read_file(path: &Path, bytes_max: usize) -> Result<String, RouterError> {
    let failed = |source| RouterError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let bytes = read_bounded(file, bytes_max).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read_bounded(from: impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::other(format!("more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Asks which daemons answer and what runs; the first line is the daemons.
fn ask_shell(socket: Option<&Path>, timeout: Duration) -> Result<Reading, RouterError> {
    let mut command = Command::new("vtysh");
    if let Some(socket) = socket {
        command.arg("--vty_socket").arg(socket);
    }
    command.args(["-c", "show daemons", "-c", "show running-config"]);
    // A pager would wait for somebody to read.
    command.env("VTYSH_PAGER", "cat");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(RouterError::Shell)?;
    let output = child.stdout.take().expect("its output was asked to be a pipe");
    // Read beside the waiting: a full pipe would keep the shell from ending.
    let reader = std::thread::spawn(move || read_bounded(output, TEXT_BYTES_MAX));
    let deadline = Instant::now() + timeout;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(RouterError::Shell)? {
            break status;
        }
        if Instant::now() >= deadline {
            // It is this process's own child, and waited for at once.
            child.kill().and_then(|()| child.wait()).map_err(RouterError::Shell)?;
            return Err(RouterError::Timeout(timeout.as_millis() as u64));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let bytes = reader.join().expect("the reader never panics").map_err(RouterError::Shell)?;
    if !status.success() {
        return Err(RouterError::Refused(status));
    }
    let text = String::from_utf8_lossy(&bytes);
    let (daemons, text) = text.split_once('\n').unwrap_or_default();
    Ok(Reading { daemons: daemons.trim().to_owned(), text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Vtysh;

    const HOLD_9: &str = "router bgp 1\n timers bgp 3 9\n";
    const HOLD_3: &str = "router bgp 1\n timers bgp 1 3\n";

    fn reading(daemons: &str, text: &str) -> Reading {
        Reading { daemons: daemons.to_owned(), text: text.to_owned() }
    }

    /// Hands readings over, one a second; the patterns and bounds that come of each.
    fn judge(readings: &[(&str, &str)]) -> Vec<(i64, Change)> {
        let mut watched = Watched::new(Source::File(PathBuf::new()));
        let rules = Rules::shipped();
        let mut found = Vec::new();
        for (second, (daemons, text)) in readings.iter().enumerate() {
            let began = Timestamp::from_secs_nanos(second as i64, 0);
            let ended = Timestamp::from_secs_nanos(second as i64, 500_000_000);
            let changes = watched.take(reading(daemons, text), began, ended, &rules);
            let changes = changes.expect("the text is valid").into_iter();
            found.extend(changes.map(|change| (second as i64, change)));
        }
        found
    }

    #[test]
    fn a_change_is_told_once_when_it_has_stood_with_its_bounds() {
        let found = judge(&[("", HOLD_9), ("", HOLD_9), ("", HOLD_3), ("", HOLD_3), ("", HOLD_3)]);
        assert_eq!(found.len(), 1);
        let (second, change) = &found[0];
        assert_eq!((*second, change.resolution.pattern.as_str()), (3, "hold_timer_tuning"));
        assert_eq!(change.at.earliest, Timestamp::from_secs_nanos(1, 0));
        assert_eq!(change.at.latest, Timestamp::from_secs_nanos(2, 500_000_000));
        assert!(change.evidence.contains("timers bgp 1 3"), "{}", change.evidence);
    }

    #[test]
    fn a_file_that_is_being_written_changes_nothing() {
        assert!(
            judge(&[("", HOLD_9), ("", ""), ("", HOLD_9), ("", "rou"), ("", HOLD_9)]).is_empty()
        );
    }

    #[test]
    fn a_daemon_that_is_away_takes_no_configuration_along() {
        let readings = [
            ("zebra bgpd", HOLD_9),
            ("zebra", ""),
            ("zebra", ""),
            ("zebra", ""),
            ("zebra bgpd", HOLD_3),
            ("zebra bgpd", HOLD_3),
            ("zebra bgpd ospfd", "router bgp 1\n timers bgp 2 6\n"),
            ("zebra bgpd ospfd", "router bgp 1\n timers bgp 2 6\n"),
        ];
        let found = judge(&readings);
        assert_eq!(found.len(), 1, "what it said after it had come back: {found:?}");
        assert_eq!(found[0].0, 5);
        assert_eq!(found[0].1.at.earliest, Timestamp::from_secs_nanos(0, 0));
    }

    #[test]
    fn faulty_rules_are_refused_with_their_file() {
        let directory = tempfile::tempdir().unwrap();
        let rules = directory.path().join("rules.toml");
        std::fs::write(
            &rules,
            "[[rule]]\nname = 'mine'\nsyntax = 'frr'\npattern = 'a'\nlines = []\n",
        )
        .unwrap();
        let config = RouterConfig { rules: Some(rules), ..RouterConfig::default() };
        let error = RouterWatcher::open(&config, Clock::new()).unwrap_err().to_string();
        assert!(error.contains("rules.toml") && error.contains("mine"), "{error}");
    }

    #[test]
    fn a_file_is_watched() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bgpd.conf");
        std::fs::write(&file, HOLD_9).unwrap();
        let config = RouterConfig { files: vec![file.clone()], ..RouterConfig::default() };
        let mut watcher = RouterWatcher::open(&config, Clock::new()).unwrap().unwrap();
        assert!(watcher.poll().is_empty());
        assert!(watcher.identifiers().numbers.contains(&1));
        assert_eq!(watcher.identifiers(), Identifiers::default(), "told once");
        std::fs::write(&file, HOLD_3).unwrap();
        assert!(watcher.poll().is_empty(), "it must stand");
        assert_eq!(watcher.poll().len(), 1);
        std::fs::remove_file(&file).unwrap();
        assert!(watcher.poll().is_empty(), "a file that is gone says nothing");
        let nothing = RouterConfig { frr_vtysh: Vtysh::Asked(false), ..RouterConfig::default() };
        assert!(RouterWatcher::open(&nothing, Clock::new()).unwrap().is_none());
    }
}
