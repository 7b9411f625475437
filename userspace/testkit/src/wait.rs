//! Waiting on conditions, never on time alone, and stopping when the user asks to.
//!
//! Invariant: every wait ends by its condition, its deadline or a signal.

use anyhow::{Result, bail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
pub const POLL_INTERVAL: Duration = Duration::from_millis(10);

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGINT, SIGTERM and SIGHUP end the current wait with an error, so that guards are
/// dropped in order. Idempotent.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn watch_signals() -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    if STOP.get().is_some() {
        return Ok(());
    }
    let flag = STOP.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(())
}

/// A signal asked this process to end.
#[must_use]
pub fn interrupted() -> bool {
    STOP.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Waits until `condition` holds, looking every [`POLL_INTERVAL`].
///
/// # Errors
/// When `deadline` passes first (the message names `what`), or when the process is interrupted.
pub fn wait_for(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    wait_for_some(deadline, what, || condition().then_some(()))
}

/// Waits until `probe` gives a value.
///
/// # Errors
/// As [`wait_for`].
pub fn wait_for_some<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if interrupted() {
            bail!("interrupted while waiting for {what}");
        }
        if let Some(value) = probe() {
            return Ok(value);
        }
        if start.elapsed() >= deadline {
            bail!("{what}: not within {:.1} s", deadline.as_secs_f64());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Lets `time` pass, unless the process is interrupted.
///
/// # Errors
/// When the process is interrupted.
pub fn pause(time: Duration, why: &str) -> Result<()> {
    let start = Instant::now();
    wait_for(time + Duration::from_secs(1), why, || start.elapsed() >= time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_by_its_condition_or_names_what_it_waited_for() {
        let mut looks = 0;
        wait_for(Duration::from_secs(10), "three looks", || {
            looks += 1;
            looks == 3
        })
        .unwrap();
        assert_eq!(looks, 3);
        let error = wait_for(Duration::ZERO, "the impossible", || false).unwrap_err();
        assert!(error.to_string().contains("the impossible"), "{error}");
    }
}
