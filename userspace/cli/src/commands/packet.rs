//! `edgelore packet`: a packet field by field, with its budget of bytes.

use crate::output;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use edgelore_pipeline::packet::{self, Inspection, PACKET_BYTES_MAX, Part};
use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what each field says, how many bytes it takes, what is left, and whether the packet is
    /// valid.
    Inspect {
        /// The packet, its bytes or hexadecimal; `-` is standard input.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Serialize)]
struct Report {
    packet_id: Option<String>,
    publisher: Option<String>,
    /// Why the packet is refused; absent when it is valid.
    refused: Option<String>,
    #[serde(flatten)]
    inspection: Inspection,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Action::Inspect { file, json } = &arguments.action;
    let bytes = read(file)?;
    let named = || format!("inspecting {}", file.display());
    let inspection = packet::inspect(&bytes).with_context(named)?;
    let opened = packet::open(&bytes);
    let report = Report {
        packet_id: opened.as_ref().ok().map(|opened| hex::encode(opened.id)),
        publisher: opened.as_ref().ok().map(|opened| hex::encode(opened.publisher)),
        refused: opened.err().map(|error| error.to_string()),
        inspection,
    };
    if *json {
        return output::json(&report);
    }
    print(&report)
}

fn print(report: &Report) -> Result<()> {
    for part in &report.inspection.parts {
        print_part(part)?;
    }
    let Inspection { bytes, left, .. } = report.inspection;
    output::line(&format!("           {bytes:>5}  of {PACKET_BYTES_MAX}, {left} left"))?;
    for (name, value) in [("packet id", &report.packet_id), ("publisher", &report.publisher)] {
        if let Some(value) = value {
            output::line(&format!("{name}  {value}"))?;
        }
    }
    output::line(&match &report.refused {
        None => "valid: the signature verifies and every value is possible".to_owned(),
        Some(reason) => format!("refused: {reason}"),
    })
}

fn print_part(part: &Part) -> Result<()> {
    let key = part.key.map_or_else(String::new, |key| key.to_string());
    let lines: Vec<String> = match &part.value {
        serde_json::Value::Array(items) => items.iter().map(plain).collect(),
        value => vec![plain(value)],
    };
    let first = lines.first().map_or("", String::as_str);
    output::line(&format!("{key:>9}  {:>5}  {:<20}  {first}", part.bytes, part.name))?;
    for line in lines.iter().skip(1) {
        output::line(&format!("{:>40}{line}", ""))?;
    }
    Ok(())
}

/// Text without quotes, everything else as JSON.
fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| text.escape_debug().to_string())
}

/// A packet in a file: its bytes, or hexadecimal with white space around.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes).context("reading standard input")?;
    } else {
        bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    }
    Ok(from_hex(&bytes).unwrap_or(bytes))
}

/// The bytes that a hexadecimal text stands for.
fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    hex::decode(text).ok().filter(|bytes| !bytes.is_empty())
}
