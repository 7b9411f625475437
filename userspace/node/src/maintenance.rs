//! Maintenance windows: from the configuration and the operator's word to the detector.
//!
//! Owns which windows there are. Whether an incident lies in one is the pipeline's affair, so a
//! replay with the same windows marks the same incidents.
//!
//! **Invariant:** what the operator said is in the journal before it holds; of windows begun by
//! command the latest [`DECLARED_MAX`] are remembered.

use crate::engine::Tuning;
use crate::journal::{Journal, JournalError};
use edgelore_model::{Span, Timestamp};
use edgelore_pipeline::detect::{WEEK_MINUTES, WINDOWS_MAX, When, Window};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// Windows begun by command that are remembered.
pub const DECLARED_MAX: usize = WINDOWS_MAX / 2;
/// Windows in the configuration.
pub const CONFIGURED_MAX: usize = WINDOWS_MAX - DECLARED_MAX;

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// `[maintenance]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaintenanceConfig {
    /// When incidents are of the operator's own making: they are told, and no outcome rests on
    /// them. At most 512.
    #[serde(deserialize_with = "few")]
    pub windows: Vec<WindowConfig>,
}

fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WindowConfig>, D::Error> {
    let windows = Vec::deserialize(deserializer)?;
    if windows.len() <= CONFIGURED_MAX {
        return Ok(windows);
    }
    Err(D::Error::custom(format!("{} windows where {CONFIGURED_MAX} are allowed", windows.len())))
}

impl MaintenanceConfig {
    /// The windows as the detector takes them.
    #[must_use]
    pub fn windows(&self) -> Vec<Window> {
        self.windows.iter().map(|window| window.0.clone()).collect()
    }
}

/// One window: `{ from = "2026-11-23T22:00:00Z", until = "…" }` once, or
/// `{ every = "Sun 02:00", lasts_minutes = 120 }` every week in UTC; with `only = ["192.0.2.1"]` for
/// incidents of sessions with these addresses alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenWindow", into = "WrittenWindow")]
pub struct WindowConfig(pub Window);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenWindow {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lasts_minutes: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    only: Vec<IpAddr>,
}

impl TryFrom<WrittenWindow> for WindowConfig {
    type Error = String;

    fn try_from(written: WrittenWindow) -> Result<Self, String> {
        let WrittenWindow { from, until, every, lasts_minutes, only } = written;
        let when = match (from, until, every, lasts_minutes) {
            (Some(from), Some(until), None, None) => {
                let (from, until) = (moment(&from)?, moment(&until)?);
                if until < from {
                    return Err("a window ends after it begins".to_owned());
                }
                When::Once { from, until: Some(until) }
            }
            (None, None, Some(every), Some(lasts_minutes)) => {
                if !(1..=WEEK_MINUTES).contains(&lasts_minutes) {
                    return Err(format!("lasts_minutes = {lasts_minutes} is outside 1 to 10080"));
                }
                When::Weekly { minute: minute(&every)?, lasts_minutes }
            }
            _ => return Err("a window has from and until, or every and lasts_minutes".to_owned()),
        };
        Ok(Self(Window { when, only }))
    }
}

impl From<WindowConfig> for WrittenWindow {
    fn from(WindowConfig(Window { when, only }): WindowConfig) -> Self {
        match when {
            When::Once { from, until } => Self {
                from: Some(from.to_string()),
                until: until.map(|until| until.to_string()),
                only,
                ..Self::default()
            },
            When::Weekly { minute, lasts_minutes } => Self {
                every: Some(every(minute)),
                lasts_minutes: Some(lasts_minutes),
                only,
                ..Self::default()
            },
        }
    }
}

/// A moment in RFC 3339.
fn moment(text: &str) -> Result<Timestamp, String> {
    let moment: jiff::Timestamp =
        text.parse().map_err(|_| format!("'{text}' is no time such as 2026-11-23T22:00:00Z"))?;
    let ns = i64::try_from(moment.as_nanosecond());
    ns.map(Timestamp).map_err(|_| format!("'{text}' is beyond the years 1678 to 2262"))
}

/// Minutes since Monday 00:00 of a text such as `Sun 02:00`.
fn minute(text: &str) -> Result<u32, String> {
    let wrong = || format!("'{text}' is no weekday and time such as 'Sun 02:00'");
    let (day, time) = text.split_once(' ').ok_or_else(wrong)?;
    let day = WEEKDAYS.iter().position(|name| name.eq_ignore_ascii_case(day)).ok_or_else(wrong)?;
    let (hour, minute) = time.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str, below: u32| {
        let two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number: &u32| two_digits && *number < below).ok_or_else(wrong)
    };
    Ok((day as u32 * 24 + number(hour, 24)?) * 60 + number(minute, 60)?)
}

fn every(minute: u32) -> String {
    let day = WEEKDAYS[(minute / (24 * 60)) as usize % WEEKDAYS.len()];
    format!("{day} {:02}:{:02}", minute / 60 % 24, minute % 60)
}

/// The operator's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Maintenance begins now.
    Start {
        /// It ends by itself after so many minutes.
        minutes: Option<u32>,
        /// It concerns only sessions with these addresses; all when it is empty.
        #[serde(default)]
        only: Vec<IpAddr>,
    },
    /// All maintenance that was begun by command ends now.
    End,
}

/// A window as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowView {
    /// When it is open.
    pub when: String,
    /// It concerns only sessions with these addresses; all when it is empty.
    pub only: Vec<IpAddr>,
    /// It was begun by command, not configured.
    pub declared: bool,
    /// It is open now.
    pub open: bool,
}

/// The windows that there are.
#[derive(Debug)]
pub struct Board {
    configured: Vec<Window>,
    declared: VecDeque<Window>,
    journal: Arc<Journal>,
    /// `None` until the detector runs.
    tuning: Option<Tuning>,
}

impl Board {
    /// Takes the journal's history in.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn open(journal: Arc<Journal>, configured: Vec<Window>) -> Result<Self, JournalError> {
        let history = journal.maintenance()?;
        let mut board = Self { configured, declared: VecDeque::new(), journal, tuning: None };
        for (_, said) in history {
            board.apply(said.at, &said.request);
        }
        Ok(board)
    }

    /// From now on the detector learns of every change; of what holds now at once.
    pub fn attach(&mut self, tuning: Tuning) {
        self.tuning = Some(tuning);
        self.tell();
    }

    /// The configuration was read anew.
    pub fn configure(&mut self, windows: Vec<Window>) {
        self.configured = windows;
        self.tell();
    }

    /// Takes the operator's word at a time.
    ///
    /// # Errors
    /// When the journal refuses; nothing changed then.
    pub fn take(&mut self, at: Timestamp, request: &Request) -> Result<(), JournalError> {
        self.journal.maintained(at, request)?;
        self.apply(at, request);
        self.tell();
        Ok(())
    }

    /// All windows, those of the configuration first.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<WindowView> {
        let view = |window: &Window, declared| WindowView {
            when: words(window.when),
            only: window.only.clone(),
            declared,
            open: window.meets(now, now),
        };
        let configured = self.configured.iter().map(|window| view(window, false));
        configured.chain(self.declared.iter().map(|window| view(window, true))).collect()
    }

    fn apply(&mut self, at: Timestamp, request: &Request) {
        match request {
            Request::Start { minutes, only } => {
                if self.declared.len() >= DECLARED_MAX {
                    self.declared.pop_front();
                }
                let until =
                    minutes.map(|minutes| at + Span::from_millis(i64::from(minutes) * 60_000));
                let when = When::Once { from: at, until };
                self.declared.push_back(Window { when, only: only.clone() });
            }
            Request::End => {
                for window in &mut self.declared {
                    if let When::Once { until, .. } = &mut window.when {
                        *until = Some(until.map_or(at, |until| until.min(at)));
                    }
                }
            }
        }
    }

    fn tell(&self) {
        let Some(tuning) = &self.tuning else { return };
        // What was begun by command comes first: it must never fall to the bound.
        tuning.maintain(self.declared.iter().chain(&self.configured).cloned().collect());
    }
}

fn words(when: When) -> String {
    match when {
        When::Once { from, until: None } => format!("since {from}"),
        When::Once { from, until: Some(until) } => format!("{from} to {until}"),
        When::Weekly { minute, lasts_minutes } => {
            format!("every {} UTC for {lasts_minutes} minutes", every(minute))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs_nanos(1_795_312_800, 0);

    fn parsed(text: &str) -> Result<MaintenanceConfig, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn windows_are_written_once_or_weekly() {
        let config = parsed(
            "windows = [{ from = '2026-11-22T02:00:00Z', until = '2026-11-22T04:00:00+01:00' },\n\
             { every = 'Sun 02:00', lasts_minutes = 120, only = ['192.0.2.1'] }]",
        )
        .expect("both are well formed");
        let windows = config.windows();
        let until = Some(START + Span::from_millis(3_600_000));
        assert_eq!(windows[0].when, When::Once { from: START, until });
        let minute = (6 * 24 + 2) * 60;
        assert_eq!(windows[1].when, When::Weekly { minute, lasts_minutes: 120 });
        assert!(windows[1].meets(START, START));
        let written = toml::to_string(&config).expect("it can be written");
        assert_eq!(parsed(&written).expect("and read again"), config);
    }

    #[test]
    fn what_is_no_window_is_refused_by_name() {
        for (wrong, named) in [
            ("windows = [{ from = '2026-11-22T02:00:00Z' }]", "from and until"),
            ("windows = [{ from = 'noon', until = 'later' }]", "noon"),
            ("windows = [{ every = 'Sunday', lasts_minutes = 1 }]", "Sunday"),
            ("windows = [{ every = 'Sun 24:00', lasts_minutes = 1 }]", "Sun 24:00"),
            ("windows = [{ every = 'Sun +2:00', lasts_minutes = 1 }]", "Sun +2:00"),
            ("windows = [{ every = 'Sun 02:00', lasts_minutes = 0 }]", "lasts_minutes"),
            ("windows = [{ every = 'Sun 02:00', last = 9 }]", "last"),
            (
                "windows = [{ from = '2026-11-22T02:00:00Z', until = '2026-11-21T02:00:00Z' }]",
                "after it begins",
            ),
        ] {
            let error = parsed(wrong).expect_err(wrong);
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn what_was_begun_survives_a_restart_until_it_is_ended() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let open = || {
            let journal = Journal::open(directory.path()).expect("the journal can be opened");
            Board::open(Arc::new(journal), Vec::new()).expect("it can be read")
        };
        let later = START + Span::from_millis(60_000);
        let mut board = open();
        let start = Request::Start { minutes: None, only: Vec::new() };
        board.take(START, &start).expect("the journal takes it");
        drop(board);
        let mut board = open();
        assert!(board.list(later)[0].open);
        board.take(later, &Request::End).expect("the journal takes it");
        let timed = Request::Start { minutes: Some(1), only: Vec::new() };
        board.take(later, &timed).expect("the journal takes it");
        drop(board);
        let list = open().list(later + Span::from_millis(61_000));
        assert_eq!(list.iter().map(|window| window.open).collect::<Vec<_>>(), [false, false]);
    }
}
