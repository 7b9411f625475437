//! Shows how far the story is: a spinner on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(100);

/// The progress of one run.
#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
    spinner: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}")
                .expect("the template is well formed");
            let spinner = ProgressBar::new_spinner().with_style(style);
            spinner.enable_steady_tick(TICK);
            spinner
        });
        Self { start: Instant::now(), spinner }
    }

    /// What is being waited for now.
    pub(crate) fn doing(&self, what: &str) {
        match &self.spinner {
            Some(spinner) => spinner.set_message(what.to_owned()),
            None => println!("{} … {what}", self.elapsed()),
        }
    }

    /// What has happened.
    pub(crate) fn done(&self, what: &str) {
        let line = format!("{} {what}", self.elapsed());
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }

    fn elapsed(&self) -> String {
        format!("[{:6.1} s]", self.start.elapsed().as_secs_f64())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
