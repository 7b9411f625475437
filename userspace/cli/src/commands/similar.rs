//! `edgelore similar`: how alike two situations are, field by field.

use super::{SimilarityArguments, packet::read};
use crate::output;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use edgelore_model::{Outcome, Query, Situation};
use edgelore_pipeline::fingerprint::reference::Packet;
use edgelore_pipeline::fingerprint::{Address, FieldDistance, RADIUS_DEFAULT, Space};
use edgelore_pipeline::packet;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A packet's file, JSON (a situation, an outcome, a packet of the reference's form; in a file or
    /// as such), or fields such as `protocol=bgp,severity=340000`. What is left out costs nothing.
    a: String,
    /// The other situation, likewise.
    b: String,
    #[command(flatten)]
    similarity: SimilarityArguments,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    /// The id of the definition.
    space: String,
    /// Milli-units.
    distance: u32,
    within_default_radius: bool,
    fields: [FieldDistance; 6],
    /// Where neither side leaves a field open.
    addresses: Option<Addresses>,
}

#[derive(Debug, Serialize)]
struct Addresses {
    a: String,
    b: String,
    common_prefix_bits: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let space = arguments.similarity.space()?;
    let (a, b) = (situation(&arguments.a)?, situation(&arguments.b)?);
    let fields = space.explain(&a, &b);
    let distance: u32 = fields.iter().map(|field| field.distance).sum();
    let report = Report {
        space: hex::encode(space.id()),
        distance,
        within_default_radius: distance <= RADIUS_DEFAULT,
        fields,
        addresses: addresses(&space, &a, &b),
    };
    if arguments.json {
        return output::json(&report);
    }
    print(&report)
}

fn addresses(space: &Space, a: &Query, b: &Query) -> Option<Addresses> {
    let [a, b] = [a, b].map(|query| complete(query).map(|whole| Address::of(space, &whole)));
    let (a, b) = (a?, b?);
    let common_prefix_bits = a.common_prefix(b);
    Some(Addresses { a: a.to_string(), b: b.to_string(), common_prefix_bits })
}

fn complete(query: &Query) -> Option<Situation> {
    Some(Situation {
        topology_class: query.topology_class.clone()?,
        protocol: query.protocol.clone()?,
        event_type: query.event_type.clone()?,
        severity: query.severity?,
        affected_prefixes: query.affected_prefixes?,
        node_count: query.node_count?,
    })
}

fn print(report: &Report) -> Result<()> {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    for field in &report.fields {
        output::line(&format!(
            "{:<18} {:<16} {:<16} {:>7}  {}",
            field.field,
            shown(&field.a),
            shown(&field.b),
            units(field.distance),
            field.reason
        ))?;
    }
    let radius = units(RADIUS_DEFAULT);
    let verdict = if report.within_default_radius { "within" } else { "beyond" };
    let total = units(report.distance);
    output::line(&format!(
        "{:<52} {total:>7}  {verdict} the default radius of {radius}",
        "distance"
    ))?;
    if let Some(Addresses { a, b, common_prefix_bits }) = &report.addresses {
        output::line(&format!("addresses {a} and {b} share {common_prefix_bits} bits"))?;
    }
    output::line(&format!("definition {}", report.space))
}

/// Milli-units in units.
pub(super) fn units(milli: u32) -> String {
    format!("{}.{:03}", milli / 1000, milli % 1000)
}

/// What somebody wrote for a situation.
fn situation(text: &str) -> Result<Query> {
    let context = || format!("reading the situation '{text}'");
    if text.trim_start().starts_with('{') {
        return from_json(text).with_context(context);
    }
    if text == "-" || Path::new(text).exists() {
        let bytes = read(Path::new(text))?;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            return from_json(text).with_context(context);
        }
        let opened = packet::open(&bytes).with_context(context)?;
        return Ok(Query::from(&opened.outcome.situation));
    }
    ensure!(
        text.contains('='),
        "'{text}' is neither a file, nor JSON, nor fields such as protocol=bgp"
    );
    from_fields(text).with_context(context)
}

fn from_json(text: &str) -> Result<Query> {
    let value: Value = serde_json::from_str(text)?;
    if value.get("situation").is_some() {
        let outcome: Outcome = serde_json::from_value(value)?;
        return Ok(Query::from(&outcome.situation));
    }
    if value.get("convergence_delta_ms").is_some() {
        let packet = Packet::parse(text)?;
        let epoch = edgelore_model::Timestamp(0);
        return Ok(Query::from(&packet.to_outcome(epoch, epoch)?.situation));
    }
    Ok(serde_json::from_value(value)?)
}

fn from_fields(text: &str) -> Result<Query> {
    let mut fields = Map::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else { bail!("'{pair}' has no '='") };
        let (name, value) = (name.trim(), value.trim());
        let number = ["severity", "affected_prefixes", "node_count"].contains(&name);
        let value = if number {
            Value::from(value.parse::<u64>().with_context(|| format!("{name}: '{value}'"))?)
        } else {
            Value::from(value)
        };
        ensure!(fields.insert(name.to_owned(), value).is_none(), "'{name}' stands twice");
    }
    Ok(serde_json::from_value(Value::Object(fields))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_json_say_the_same() {
        let fields = situation("protocol=bgp, severity=300000,").unwrap();
        let json = situation("{\"protocol\": \"bgp\", \"severity\": 300000}").unwrap();
        assert_eq!(fields, json);
        assert_eq!((fields.protocol.as_deref(), fields.severity), (Some("bgp"), Some(300_000)));
        for (wrong, reason) in [
            ("bgp", "neither a file"),
            ("protocol=bgp,ospf", "has no '='"),
            ("severity=much", "severity: 'much'"),
            ("colour=red", "colour"),
            ("protocol=a,protocol=b", "twice"),
            ("{\"protocol\": 3}", "string"),
        ] {
            let error = format!("{:#}", situation(wrong).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }
}
