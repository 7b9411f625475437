//! Counts of whole captures against what independent tools counted.
//!
//! The fixtures are held against the table here. With `EDGELORE_DATA` naming a folder with a
//! MANIFEST.tsv, every counted capture of it is held against that, too, and what is in its
//! `hostile` folder must neither crash nor hang.

#![expect(clippy::unwrap_used, reason = "the helpers here are test code")]

use edgelore_capture::file::{FileError, FileSource};
use edgelore_model::{Batch, Observation, Summary, TableCounts};
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Counts a file, and how its reading ended.
fn summarise(path: &Path) -> Result<(Summary, Option<FileError>), FileError> {
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut ignore = |_: usize, _: Observation| {};
    let mut source = FileSource::open(path)?;
    let mut batch = Batch::default();
    let ended = loop {
        let more = source.next_batch(&mut batch);
        decoder.decode(&batch, &mut ignore);
        match more {
            Ok(true) => {}
            Ok(false) => break None,
            Err(error) => break Some(error),
        }
    };
    decoder.finish(&mut ignore);
    Ok((*decoder.summary(), ended))
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures")
}

/// `update 5 ipv4_announced 12` and so on: the counts that are not zero.
fn text(summary: &Summary) -> String {
    let mut text = Vec::new();
    let value = serde_json::to_value(summary).unwrap();
    for (name, value) in value.as_object().unwrap() {
        match value {
            Value::Object(group) => {
                text.extend(
                    group.iter().filter(|(_, v)| **v != 0).map(|(k, v)| format!("{k} {v}")),
                );
            }
            Value::Number(_) if *value != 0 => text.push(format!("{name} {value}")),
            _ => {}
        }
    }
    text.join(", ")
}

#[test]
fn fixtures_hold_what_their_sources_say() {
    let table = std::fs::read_to_string(fixtures().join("SOURCES.md")).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() >= 10, "the table of SOURCES.md was not found");
    let mut wrong = Vec::new();
    for row in &rows {
        let [file, _, _, expected] = row[..] else { panic!("four columns are expected: {row:?}") };
        let (summary, ended) = summarise(&fixtures().join(file.trim_matches('`'))).unwrap();
        assert!(ended.is_none(), "{file}: {ended:?}");
        if text(&summary) != expected {
            wrong.push(format!("{file}: {} instead of {expected}", text(&summary)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The first JSON value after `key`.
fn json_after(text: &str, key: &str) -> Option<Map<String, Value>> {
    let start = text.find(key)? + key.len();
    let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter();
    values.next()?.ok()
}

fn number(counts: &Map<String, Value>, key: &str) -> u64 {
    counts.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// What a row of the manifest expects, as alternatives: its tools do not always agree.
fn expectations(category: &str, truth: &str) -> Vec<Value> {
    match category {
        "mrt" => mrt_expectations(truth),
        _ => ["counts=", "with tcp.reassemble_out_of_order: "]
            .iter()
            .filter_map(|key| json_after(truth, key))
            .filter_map(|counts| capture_expectation(category, &counts))
            .collect(),
    }
}

fn mrt_expectations(truth: &str) -> Vec<Value> {
    let messages = json_after(truth, "bgp_msgs(raw header walk)=").unwrap_or_default();
    ["prefixes(bgpdump)=", "prefixes(mrtparse)="]
        .iter()
        .filter_map(|key| json_after(truth, key))
        .filter(|prefixes| !prefixes.is_empty())
        .map(|p| {
            json!({
                "bgp": {
                    "update": number(&messages, "UPDATE"),
                    "keepalive": number(&messages, "KEEPALIVE"),
                    "notification": number(&messages, "NOTIFICATION"),
                },
                "prefixes": {
                    "ipv4_announced": number(&p, "A4"), "ipv4_withdrawn": number(&p, "W4"),
                    "ipv6_announced": number(&p, "A6"), "ipv6_withdrawn": number(&p, "W6"),
                },
            })
        })
        .collect()
}

fn capture_expectation(category: &str, counts: &Map<String, Value>) -> Option<Value> {
    let group = |key: &str| counts.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    if category == "bfd-pcap" {
        let states = group("bfd.sta");
        return (!states.is_empty()).then(|| {
            json!({"bfd": {
                "up": number(&states, "Up"),
                "down": number(&states, "Down"),
                "init": number(&states, "Init"),
            }})
        });
    }
    let messages = group("bgp.type");
    (!messages.is_empty()).then(|| {
        json!({"bgp": {
            "open": number(&messages, "OPEN"),
            "update": number(&messages, "UPDATE"),
            "notification": number(&messages, "NOTIFICATION"),
            "keepalive": number(&messages, "KEEPALIVE"),
            "route_refresh": number(&messages, "ROUTE-REFRESH"),
        }})
    })
}

/// The prefixes of the captures made from MRT files, which the manifest counts exactly.
fn derived_prefixes(truth: &str) -> Value {
    let counts = json_after(truth, "counts=").unwrap_or_default();
    let nlri = counts.get("nlri").and_then(Value::as_object).cloned().unwrap_or_default();
    json!({
        "ipv4_announced": number(&nlri, "nlri_prefix"),
        "ipv4_withdrawn": number(&nlri, "withdrawn_prefix"),
        "ipv6_announced": number(&nlri, "mp_reach_nlri_ipv6_prefix"),
        "ipv6_withdrawn": number(&nlri, "mp_unreach_nlri_ipv6_prefix"),
    })
}

/// The expected counts that differ, as `group.name: expected, got`.
fn differences(expected: &Value, got: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (group, counts) in expected.as_object().unwrap() {
        for (name, count) in counts.as_object().unwrap() {
            let is = &got[group][name];
            if is != count {
                found.push(format!("{group}.{name}: {count} expected, {is} found"));
            }
        }
    }
    found
}

fn data() -> Option<PathBuf> {
    let data = std::env::var_os("EDGELORE_DATA").map(PathBuf::from);
    if data.is_none() {
        println!("SKIP: EDGELORE_DATA names no data folder");
    }
    data
}

#[test]
fn every_counted_capture_of_the_data_folder() {
    let Some(data) = data() else { return };
    let manifest = std::fs::read_to_string(data.join("MANIFEST.tsv")).unwrap();
    let (mut agree, mut wrong) = (0, Vec::new());
    for line in manifest.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (file, truth) = (columns[0], columns[5]);
        let category = file.split('/').next().unwrap();
        if !matches!(category, "mrt" | "bgp-pcap" | "bfd-pcap") || file.contains("bview") {
            continue;
        }
        let mut alternatives = expectations(category, truth);
        if file.contains("/derived.") {
            for expected in &mut alternatives {
                expected["prefixes"] = derived_prefixes(truth);
            }
        }
        if alternatives.is_empty() {
            continue;
        }
        let summary = match summarise(&data.join(file)) {
            Ok((summary, None)) => summary,
            Ok((_, Some(error))) | Err(error) => {
                wrong.push(format!("{file}: {error}"));
                continue;
            }
        };
        let got = serde_json::to_value(summary).unwrap();
        let nearest =
            alternatives.iter().map(|e| differences(e, &got)).min_by_key(Vec::len).unwrap();
        if nearest.is_empty() {
            agree += 1;
        } else {
            wrong.push(format!("{file}: {} | {}", nearest.join("; "), text(&summary)));
        }
    }
    println!("{agree} captures agree");
    assert!(agree > 0 && wrong.is_empty(), "{agree} agree\n{}", wrong.join("\n"));
}

#[test]
fn the_oldest_dumps_of_the_data_folder() {
    let Some(data) = data() else { return };
    for (file, updates, keepalives, announced, withdrawn) in [
        ("rrc00.updates.19990903.1041.gz", 24_216, 21, 65_286, 25),
        ("rrc00.updates.20000102.2014.gz", 3_818, 123, 5_668, 675),
    ] {
        let (summary, ended) = summarise(&data.join("mrt").join(file)).unwrap();
        assert!(ended.is_none(), "{file}: {ended:?}");
        assert_eq!((summary.bgp.update, summary.bgp.keepalive), (updates, keepalives), "{file}");
        let prefixes = summary.prefixes;
        assert_eq!((prefixes.ipv4_announced, prefixes.ipv4_withdrawn), (announced, withdrawn));
    }
}

/// Counted by bgpdump (entries; it gives up on the dump of 2000) and by a walk over the records.
#[test]
fn the_table_dumps_of_the_data_folder() {
    let Some(data) = data() else { return };
    for (file, peers, prefixes, entries) in [
        ("bgpdump.bview.20020722.2337.gz", 36, 112_988, 115_521),
        ("rrc00.bview.20000111.0032.gz", 7, 82_377, 452_018),
    ] {
        let (summary, ended) = summarise(&data.join("mrt").join(file)).unwrap();
        assert!(ended.is_none(), "{file}: {ended:?}");
        assert_eq!(summary.table, TableCounts { peers, prefixes, entries }, "{file}");
        assert_eq!(summary.undecodable, 0, "{file}");
    }
}

#[test]
fn hostile_files_neither_crash_nor_hang() {
    let Some(data) = data() else { return };
    let mut read = 0;
    for entry in std::fs::read_dir(data.join("hostile")).unwrap() {
        let path = entry.unwrap().path();
        match summarise(&path) {
            Ok((summary, ended)) => println!("{}: {} {ended:?}", path.display(), text(&summary)),
            Err(error) => println!("{error}"),
        }
        read += 1;
    }
    assert!(read > 0);
}
