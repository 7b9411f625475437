//! `edgelore similarity`: a definition checked, and what a change of it does.

use super::similar::units;
use super::{AccessArguments, block_on};
use crate::output;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use edgelore_model::{Query, Situation};
use edgelore_node::similarity;
use edgelore_pipeline::fingerprint::{Aim, Cell, Point, RADIUS_DEFAULT, Space};
use edgelore_routing::LIMIT_MAX;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check a definition and print its space id and what it says.
    Check {
        /// The definition; `default` is the shipped one.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what a change of the definition does: to the definition, and to stored outcomes.
    Diff(DiffArguments),
}

#[derive(Debug, Args)]
struct DiffArguments {
    /// The definition that the store uses; `default` is the shipped one.
    old: PathBuf,
    /// The definition to change to.
    new: PathBuf,
    /// Compare what is stored here: `http://HOST:PORT`, `embedded:DIRECTORY`, a database server.
    #[arg(long)]
    store: Vec<String>,
    #[command(flatten)]
    access: AccessArguments,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.action {
        Action::Check { file, json } => check(file, *json),
        Action::Diff(arguments) => diff(arguments),
    }
}

fn load(file: &Path) -> Result<Space> {
    let file = Some(file).filter(|file| file.as_os_str() != "default");
    Ok(similarity::load(file)?)
}

#[derive(Debug, Serialize)]
struct Checked {
    space: String,
    /// Milli-units between the two situations that lie farthest apart.
    diameter: u32,
    /// Of the vectors for vector stores.
    dimensions: usize,
    definition: Vec<String>,
}

fn check(file: &Path, json: bool) -> Result<()> {
    let space = load(file)?;
    let checked = Checked {
        space: hex::encode(space.id()),
        diameter: space.diameter(),
        dimensions: space.dimensions(),
        definition: space.canonical().lines().map(str::to_owned).collect(),
    };
    if json {
        return output::json(&checked);
    }
    output::line(&format!("the definition is valid; its space id is {}", checked.space))?;
    let (farthest, dimensions) = (units(checked.diameter), checked.dimensions);
    output::line(&format!(
        "farthest apart: {farthest} units; as vectors: {dimensions} dimensions"
    ))?;
    checked.definition.iter().try_for_each(|line| output::line(line))
}

#[derive(Debug, Serialize)]
struct Difference {
    old: String,
    new: String,
    /// Facts of the definition that go.
    removed: Vec<String>,
    /// Facts that come.
    added: Vec<String>,
    /// `None` when no store was named.
    stored: Option<Stored>,
}

#[derive(Debug, Serialize)]
struct Stored {
    /// Outcomes compared.
    outcomes: usize,
    /// The store may hold more: these are all that one query returns.
    limited: bool,
    /// Outcomes that move or whose neighbours at the default radius change.
    changed: Vec<Changed>,
}

#[derive(Debug, Serialize)]
struct Changed {
    packet_id: String,
    /// The path below the space, then and now, if it changes.
    moved: Option<[String; 2]>,
    gained: Vec<String>,
    lost: Vec<String>,
}

fn diff(arguments: &DiffArguments) -> Result<()> {
    let (old, new) = (load(&arguments.old)?, load(&arguments.new)?);
    let facts = |space: &Space| space.canonical().lines().map(str::to_owned).collect();
    let (before, after): (BTreeSet<String>, BTreeSet<String>) = (facts(&old), facts(&new));
    let named = !arguments.store.is_empty();
    let stored = named.then(|| stored(arguments, &old, &new)).transpose()?;
    let difference = Difference {
        old: hex::encode(old.id()),
        new: hex::encode(new.id()),
        removed: before.difference(&after).cloned().collect(),
        added: after.difference(&before).cloned().collect(),
        stored,
    };
    if arguments.json {
        return output::json(&difference);
    }
    print(&difference)
}

fn stored(arguments: &DiffArguments, old: &Space, new: &Space) -> Result<Stored> {
    let found = block_on(async {
        let store = arguments.access.open(&arguments.store, old)?;
        let found = store.query(&Query::default(), u32::MAX, LIMIT_MAX).await;
        found.context("reading what is stored under the old definition")
    })?;
    let outcomes: Vec<(String, Situation)> = found
        .into_iter()
        .map(|found| (hex::encode(found.opened.id), found.opened.outcome.situation.clone()))
        .collect();
    let changed = compare(&outcomes, old, new);
    Ok(Stored { outcomes: outcomes.len(), limited: outcomes.len() == LIMIT_MAX, changed })
}

/// Where an outcome lies under one definition.
struct Place {
    path: String,
    aim: Aim,
    point: Point,
}

fn places(outcomes: &[(String, Situation)], space: &Space) -> Vec<Place> {
    let place = |(_, situation): &(String, Situation)| Place {
        path: below_space(&Cell::exact(space, situation)),
        aim: space.aim(&Query::from(situation)),
        point: space.locate(situation),
    };
    outcomes.iter().map(place).collect()
}

/// A path without the name of the scheme, its version and the space.
fn below_space(cell: &Cell) -> String {
    cell.to_string().splitn(4, '/').nth(3).unwrap_or_default().to_owned()
}

/// What the change does to each outcome on which it does anything.
fn compare(outcomes: &[(String, Situation)], old: &Space, new: &Space) -> Vec<Changed> {
    let (before, after) = (places(outcomes, old), places(outcomes, new));
    let near = |space: &Space, places: &[Place], a: usize, b: usize| {
        space.reach(&places[a].aim, &places[b].point) <= RADIUS_DEFAULT
    };
    let changed = (0..outcomes.len()).map(|at| {
        let (mut gained, mut lost) = (Vec::new(), Vec::new());
        for other in (0..outcomes.len()).filter(|other| *other != at) {
            match (near(old, &before, at, other), near(new, &after, at, other)) {
                (false, true) => gained.push(outcomes[other].0.clone()),
                (true, false) => lost.push(outcomes[other].0.clone()),
                _ => {}
            }
        }
        let paths = [&before[at].path, &after[at].path];
        let moved = (paths[0] != paths[1]).then(|| paths.map(String::clone));
        Changed { packet_id: outcomes[at].0.clone(), moved, gained, lost }
    });
    let any = |c: &Changed| c.moved.is_some() || !c.gained.is_empty() || !c.lost.is_empty();
    changed.filter(any).collect()
}

fn print(difference: &Difference) -> Result<()> {
    if difference.old == difference.new {
        return output::line(&format!("both say the same; the space id is {}", difference.old));
    }
    output::line(&format!("the space id changes from {} to {}", difference.old, difference.new))?;
    for (sign, facts) in [('-', &difference.removed), ('+', &difference.added)] {
        facts.iter().try_for_each(|fact| output::line(&format!("{sign} {fact}")))?;
    }
    let Some(stored) = &difference.stored else { return Ok(()) };
    let (all, changed) = (stored.outcomes, stored.changed.len());
    let limited = if stored.limited { ", of more that may be there" } else { "" };
    output::line(&format!("{changed} of {all} stored outcomes{limited} are affected"))?;
    let short = |id: &String| id.get(..16).unwrap_or(id).to_owned();
    for Changed { packet_id, moved, gained, lost } in &stored.changed {
        output::line(&format!("{}…", short(packet_id)))?;
        if let Some([from, to]) = moved {
            output::line(&format!("    moves from {from} to {to}"))?;
        }
        for (verb, ids) in [("gains", gained), ("loses", lost)] {
            if !ids.is_empty() {
                let ids: Vec<String> = ids.iter().map(short).collect();
                output::line(&format!("    {verb} {}", ids.join(" ")))?;
            }
        }
    }
    Ok(())
}
