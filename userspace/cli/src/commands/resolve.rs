//! `edgelore resolve`: the operator's word.

use super::{DataArguments, block_on};
use crate::output;
use anyhow::Result;
use clap::Args;
use edgelore_model::{Link, Scope, SessionKey};
use edgelore_node::control::Declare;
use std::net::IpAddr;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: DataArguments,
    /// What was changed: a word such as `dampening` or `graceful_restart`.
    #[arg(long)]
    pattern: String,
    /// A step, as a sentence that names no address; may be repeated.
    #[arg(long = "step")]
    steps: Vec<String>,
    /// How long ago it was changed, such as `90s`, `10m`, `2h` or `1d`; now without it.
    #[arg(long, value_parser = seconds, default_value = "0s")]
    ago: u32,
    /// It concerns only this session: both its addresses, as `ADDRESS,ADDRESS`.
    #[arg(long, value_parser = session, conflicts_with = "link")]
    session: Option<SessionKey>,
    /// It concerns only this link: its interface index, as `ip link` shows it.
    #[arg(long)]
    link: Option<u32>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let session = arguments.session.map(Scope::Session);
    let told = Declare {
        pattern: arguments.pattern.clone(),
        steps: arguments.steps.clone(),
        ago_s: arguments.ago,
        on: session.or(arguments.link.map(|link| Scope::Link(Link(link)))),
    };
    block_on(async { Ok(arguments.data.control()?.declare(&told).await?) })?;
    output::line("noted; the next incident of a known class will show what it brought")
}

/// Seconds from a whole number with its unit.
fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || "not a whole number with its unit, such as 90s, 10m, 2h or 1d".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let number: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).ok_or_else(|| "too long ago".to_owned())
}

fn session(text: &str) -> Result<SessionKey, String> {
    let wrong = || "not two addresses with a comma between them".to_owned();
    let (a, b) = text.split_once(',').ok_or_else(wrong)?;
    let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| wrong());
    Ok(SessionKey::between(address(a)?, address(b)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sessions_are_told_plainly() {
        for (text, s) in [("0s", Ok(0)), ("90s", Ok(90)), ("10m", Ok(600)), ("1d", Ok(86_400))] {
            assert_eq!(seconds(text), s);
        }
        for wrong in ["", "s", "10", "-1s", "1.5h", "99999999d", "3µ"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert!(session("192.0.2.1,192.0.2.2").is_ok());
        assert!(session("192.0.2.1").is_err());
    }
}
