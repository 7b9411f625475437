//! `edgelore trust`: whose outcomes count, and what became of everybody's.

use crate::output;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use edgelore_capture::Clock;
use edgelore_node::trust::audit::{self, Event, Record};
use edgelore_node::trust::book::{Book, Entry, PublisherId, Standing, publisher_id};
use edgelore_node::trust::note_command;
use edgelore_node::trust::roll::{PublisherView, Roll, is_quarantined};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List every publisher that is in the book or was seen, and what was counted.
    List {
        #[command(flatten)]
        place: Place,
        /// Print a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show one publisher with what was last noted of it.
    Show {
        #[command(flatten)]
        publisher: Publisher,
        /// Print a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Let a publisher vote without corroboration.
    Pin {
        #[command(flatten)]
        publisher: Publisher,
        /// Its trust group: publishers of one group have one vote together.
        #[arg(long)]
        group: Option<String>,
        #[command(flatten)]
        note: Note,
    },
    /// Let a publisher in where only known ones are taken; it votes when it is corroborated.
    Allow {
        #[command(flatten)]
        publisher: Publisher,
        #[command(flatten)]
        note: Note,
    },
    /// Take, show and deliver nothing of a publisher, under none of its keys.
    Block {
        #[command(flatten)]
        publisher: Publisher,
        #[command(flatten)]
        note: Note,
    },
    /// Let a publisher be unknown again.
    #[command(visible_aliases = ["unpin", "unblock"])]
    Forget {
        #[command(flatten)]
        publisher: Publisher,
    },
    /// Print the audit log: what was published, withheld, accepted and refused, and why.
    Log {
        #[command(flatten)]
        place: Place,
        /// Lines at most, the latest.
        #[arg(long, default_value_t = 100)]
        last: usize,
        /// Only lines of this kind; may be repeated.
        #[arg(long, value_enum)]
        event: Vec<Kind>,
        /// Print JSON, a line each.
        #[arg(long)]
        json: bool,
    },
}

/// Whose book it is.
#[derive(Debug, Args)]
struct Place {
    /// The node's data directory, or the directory of the store that `edgelore serve` serves.
    #[arg(long, default_value = "/var/lib/edgelore")]
    data: PathBuf,
}

#[derive(Debug, Args)]
struct Publisher {
    /// The publisher's id, 64 hexadecimal digits; to show, block or forget one that is known, eight
    /// or more of the first.
    publisher: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Note {
    /// Whatever is worth remembering.
    #[arg(long)]
    note: Option<String>,
}

/// A kind of line in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Published,
    Withheld,
    Accepted,
    Refused,
    Trust,
}

impl Kind {
    const fn event(self) -> Event {
        match self {
            Self::Published => Event::Published,
            Self::Withheld => Event::Withheld,
            Self::Accepted => Event::Accepted,
            Self::Refused => Event::Refused,
            Self::Trust => Event::Trust,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.action {
        Action::List { place, json } => list(&place.data, *json),
        Action::Show { publisher, json } => show(publisher, *json),
        Action::Pin { publisher, group, note } => {
            let group = group.clone();
            say(publisher, Entry { group, note: note.note.clone(), ..entry(Standing::Pinned) })
        }
        Action::Allow { publisher, note } => {
            say(publisher, Entry { note: note.note.clone(), ..entry(Standing::Allowed) })
        }
        Action::Block { publisher, note } => {
            say(publisher, Entry { note: note.note.clone(), ..entry(Standing::Blocked) })
        }
        Action::Forget { publisher } => forget(publisher),
        Action::Log { place, last, event, json } => {
            let events: Vec<Event> = event.iter().map(|kind| kind.event()).collect();
            log(&place.data, *last, &events, *json)
        }
    }
}

fn entry(standing: Standing) -> Entry {
    Entry::new(standing, Clock::new().now())
}

impl Publisher {
    /// Who is named; the directory must be there, so that no book is begun where nobody reads it.
    fn find(&self) -> Result<PublisherId> {
        Ok(roll(&self.place.data)?.find(&self.publisher)?)
    }
}

fn roll(data: &Path) -> Result<Roll> {
    std::fs::read_dir(data).with_context(|| format!("reading {}", data.display()))?;
    Ok(Roll::read(data)?)
}

fn say(publisher: &Publisher, entry: Entry) -> Result<()> {
    let id = publisher.find()?;
    // Who is let in is named in full: a beginning can be imitated.
    if entry.standing != Standing::Blocked && publisher_id(&publisher.publisher).is_none() {
        bail!("to be {}, a publisher is named by its whole id", entry.standing.term());
    }
    let (data, standing) = (&publisher.place.data, entry.standing.term());
    Book::change(data, |book| book.set(id, entry))?;
    note_command(data, Clock::new().now(), &id, standing)?;
    output::line(&format!("{} is {standing}", hex::encode(id)))
}

fn forget(publisher: &Publisher) -> Result<()> {
    let (id, data) = (publisher.find()?, &publisher.place.data);
    if Book::change(data, |book| Ok(book.forget(&id)))?.is_none() {
        bail!("nothing stands in the book of {}", hex::encode(id));
    }
    note_command(data, Clock::new().now(), &id, "unknown")?;
    output::line(&format!("{} is unknown", hex::encode(id)))
}

fn list(data: &Path, json: bool) -> Result<()> {
    let roll = roll(data)?;
    if json {
        return output::json(&roll);
    }
    roll.publishers.iter().try_for_each(summary)?;
    roll.counts.iter().try_for_each(|(name, count)| output::line(&format!("{name:<22} {count}")))
}

fn summary(view: &PublisherView) -> Result<()> {
    let seen = match (&view.first_seen, &view.last_seen) {
        (Some(first), Some(last)) => format!("seen {first} to {last}"),
        _ => "never seen".to_owned(),
    };
    output::line(&format!(
        "{}  {:<8}{}  {} packets, {} refused, {seen}{}",
        view.publisher,
        view.standing,
        view.group.as_ref().map(|group| format!(" of {group}")).unwrap_or_default(),
        view.packets,
        view.refused,
        view.note.as_ref().map(|note| format!("  \"{note}\"")).unwrap_or_default(),
    ))
}

fn show(publisher: &Publisher, json: bool) -> Result<()> {
    const LINES: usize = 10;
    let roll = roll(&publisher.place.data)?;
    let view = roll.of(&roll.find(&publisher.publisher)?);
    if json {
        return output::json(&view);
    }
    summary(&view)?;
    if is_quarantined(&view) {
        output::line("what it publishes is shown, and votes when others corroborate it")?;
    }
    let mine = |record: &Record| record.publisher.as_ref() == Some(&view.publisher);
    let (records, _) = audit::read(&publisher.place.data, LINES, mine)?;
    records.iter().try_for_each(line)
}

fn log(data: &Path, last: usize, events: &[Event], json: bool) -> Result<()> {
    let wanted = |record: &Record| events.is_empty() || events.contains(&record.event);
    let (records, damaged) = audit::read(data, last, wanted)?;
    if damaged > 0 {
        eprintln!("edgelore: {damaged} lines of the audit log cannot be read");
    }
    records.iter().try_for_each(|record| if json { output::json(record) } else { line(record) })
}

/// Text of a packet is shown so that it cannot pass for a line of ours.
fn line(record: &Record) -> Result<()> {
    let short = |id: &Option<String>, what| {
        let id = id.as_ref().map(|id| id.get(..16).unwrap_or(id).escape_debug().to_string());
        id.map(|id| format!("  {what} {id}…")).unwrap_or_default()
    };
    let scope = record.scope.map(|scope| format!("  {scope}")).unwrap_or_default();
    let reason = record.reason.as_ref().map(|text| format!("  {}", text.escape_debug()));
    let detail = record.detail.as_ref().map(|text| format!(": {}", text.escape_debug()));
    let unwritten = match record.unwritten {
        0 => String::new(),
        more => format!("  (and {more} more before)"),
    };
    output::line(&format!(
        "{}  {:<9}  {:<12}{}{}{scope}{}{}{unwritten}",
        record.at.escape_debug(),
        record.event.term(),
        record.via.escape_debug(),
        short(&record.packet, "packet"),
        short(&record.publisher, "of"),
        reason.unwrap_or_default(),
        detail.unwrap_or_default(),
    ))
}
