//! Which interfaces are watched: the operator's selection against what there is.
//!
//! Owns the patterns and the knowledge of which interfaces exist and are watched; says what to do,
//! and never does it.
//!
//! **Invariant:** an interface is known by its index, since names are given anew; `lo` is watched
//! only where it is named; at most [`WATCHED_MAX`] interfaces are watched.

use glob::{Pattern, PatternError};
use std::collections::{BTreeMap, BTreeSet};

/// Interfaces that are watched at a time.
pub const WATCHED_MAX: usize = 256;
/// Interfaces that are remembered; the kernel gives no more indexes than its memory holds.
pub const KNOWN_MAX: usize = 4096;
/// The word for every interface but `lo`.
pub const ALL: &str = "all";

const LOOPBACK: &str = "lo";

/// What the operator wants to be watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    all: bool,
    names: BTreeSet<String>,
    patterns: Vec<Pattern>,
}

impl Selection {
    /// Reads names, globs (`*`, `?`, `[a-z]`) and `all`.
    ///
    /// # Errors
    /// When a glob is malformed.
    pub fn new(words: &[String]) -> Result<Self, PatternError> {
        let mut selection = Self::default();
        for word in words {
            if word == ALL {
                selection.all = true;
            } else if word.contains(['*', '?', '[']) {
                selection.patterns.push(Pattern::new(word)?);
            } else {
                selection.names.insert(word.clone());
            }
        }
        Ok(selection)
    }

    /// Whether an interface of this name is to be watched.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        let matched = || self.all || self.patterns.iter().any(|pattern| pattern.matches(name));
        self.names.contains(name) || (name != LOOPBACK && matched())
    }

    /// The interfaces that are named in full.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether this very name is in the selection, not a glob that matches it.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Watch this interface.
    Attach {
        /// Its index.
        ifindex: u32,
        /// Its name.
        name: String,
    },
    /// A watched interface goes by another name now.
    Rename {
        /// Its index.
        ifindex: u32,
        /// Its new name.
        name: String,
    },
    /// Watch it no longer; it may be gone.
    Forget {
        /// Its index.
        ifindex: u32,
    },
}

/// The interfaces that exist, and which of them are watched.
#[derive(Debug, Default)]
pub struct Interfaces {
    selection: Selection,
    present: BTreeMap<u32, String>,
    watched: BTreeSet<u32>,
    /// Interfaces that were left out because of a bound.
    left_out: u64,
}

impl Interfaces {
    /// Nothing exists yet.
    #[must_use]
    pub fn new(selection: Selection) -> Self {
        Self { selection, ..Self::default() }
    }

    /// What is selected.
    #[must_use]
    pub const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Indexes of the watched interfaces, ascending.
    #[must_use]
    pub fn links(&self) -> Vec<u32> {
        self.watched.iter().copied().collect()
    }

    /// Index and name of the watched interfaces, ascending.
    #[must_use]
    pub fn watched(&self) -> Vec<(u32, String)> {
        let named = |&ifindex: &u32| Some((ifindex, self.present.get(&ifindex)?.clone()));
        self.watched.iter().filter_map(named).collect()
    }

    /// Names of those that exist and are not watched, but for `lo`.
    pub fn unwatched(&self) -> impl Iterator<Item = &str> {
        let others = self.present.iter().filter(|(ifindex, _)| !self.watched.contains(ifindex));
        others.map(|(_, name)| name.as_str()).filter(|name| *name != LOOPBACK)
    }

    /// Interfaces named in full that do not exist.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let present = |wanted: &str| self.present.values().any(|name| name == wanted);
        self.selection.names().filter(move |name| !present(name))
    }

    /// How often an interface was left out because of [`WATCHED_MAX`] or [`KNOWN_MAX`].
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The kernel says that an interface exists, or does so no longer. What is wanted and could not
    /// be attached is tried again whenever the kernel has news of it.
    pub fn changed(&mut self, ifindex: u32, name: &str, present: bool) -> Option<Step> {
        if !present {
            self.present.remove(&ifindex);
            return self.watched.remove(&ifindex).then_some(Step::Forget { ifindex });
        }
        if self.present.len() >= KNOWN_MAX && !self.present.contains_key(&ifindex) {
            self.left_out += 1;
            return None;
        }
        let before = self.present.insert(ifindex, name.to_owned());
        let renamed = before.is_some_and(|before| before != name);
        match (self.watched.contains(&ifindex), self.selection.wants(name)) {
            (false, true) => self.watch(ifindex, name),
            (true, true) if renamed => Some(Step::Rename { ifindex, name: name.to_owned() }),
            (true, false) => {
                self.watched.remove(&ifindex);
                Some(Step::Forget { ifindex })
            }
            (true, true) | (false, false) => None,
        }
    }

    /// The operator selects anew: what stays selected stays watched.
    pub fn select(&mut self, selection: Selection) -> Vec<Step> {
        self.selection = selection;
        let known: Vec<(u32, String)> =
            self.present.iter().map(|(&ifindex, name)| (ifindex, name.clone())).collect();
        // What leaves goes first: it makes room.
        let (stay, leave): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|(_, name)| self.selection.wants(name));
        leave
            .into_iter()
            .chain(stay)
            .filter_map(|(ifindex, name)| self.changed(ifindex, &name, true))
            .collect()
    }

    /// Everything that is watched is to be attached anew.
    #[must_use]
    pub fn again(&self) -> Vec<Step> {
        let attach = |(ifindex, name)| Step::Attach { ifindex, name };
        self.watched().into_iter().map(attach).collect()
    }

    /// A step could not be done: the interface is not watched.
    pub fn failed(&mut self, ifindex: u32) {
        self.watched.remove(&ifindex);
    }

    fn watch(&mut self, ifindex: u32, name: &str) -> Option<Step> {
        if self.watched.len() >= WATCHED_MAX {
            self.left_out += 1;
            return None;
        }
        self.watched.insert(ifindex);
        Some(Step::Attach { ifindex, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(words: &[&str]) -> Selection {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Selection::new(&words).unwrap()
    }

    fn attach(ifindex: u32, name: &str) -> Step {
        Step::Attach { ifindex, name: name.to_owned() }
    }

    #[test]
    fn names_globs_and_all() {
        for (words, name, wanted) in [
            (&["eth0"][..], "eth0", true),
            (&["eth0"], "eth01", false),
            (&["eth*"], "eth01", true),
            (&["eth?"], "eth01", false),
            (&["eth[0-3]"], "eth2", true),
            (&["all"], "wan", true),
            (&["all"], "lo", false),
            (&["*"], "lo", false),
            (&["l?"], "lo", false),
            (&["all", "lo"], "lo", true),
            (&[], "eth0", false),
        ] {
            assert_eq!(selection(words).wants(name), wanted, "{words:?} {name}");
        }
        assert!(Selection::new(&["eth[".to_owned()]).is_err());
    }

    #[test]
    fn an_interface_that_comes_goes_and_comes_back() {
        let mut interfaces = Interfaces::new(selection(&["gw0"]));
        assert_eq!(interfaces.missing().collect::<Vec<_>>(), ["gw0"]);
        assert_eq!(interfaces.changed(5, "gw0", true), Some(attach(5, "gw0")));
        assert_eq!(interfaces.changed(5, "gw0", true), None, "news of it");
        assert_eq!(interfaces.changed(5, "gw0", false), Some(Step::Forget { ifindex: 5 }));
        assert_eq!(interfaces.changed(5, "gw0", false), None);
        // The new one may be announced before the old one's end is noticed.
        assert_eq!(interfaces.changed(7, "gw0", true), Some(attach(7, "gw0")));
        assert_eq!(interfaces.links(), [7]);
    }

    #[test]
    fn a_rename_keeps_or_ends_the_watch() {
        let mut interfaces = Interfaces::new(selection(&["eth*"]));
        interfaces.changed(5, "eth0", true);
        let renamed = interfaces.changed(5, "eth9", true);
        assert_eq!(renamed, Some(Step::Rename { ifindex: 5, name: "eth9".to_owned() }));
        assert_eq!(interfaces.changed(5, "wan", true), Some(Step::Forget { ifindex: 5 }));
        assert_eq!(interfaces.changed(5, "eth0", true), Some(attach(5, "eth0")));
    }

    #[test]
    fn a_failed_attachment_is_tried_again_with_the_next_news() {
        let mut interfaces = Interfaces::new(selection(&["all"]));
        interfaces.changed(5, "eth0", true);
        interfaces.failed(5);
        assert!(interfaces.links().is_empty());
        assert_eq!(interfaces.changed(5, "eth0", true), Some(attach(5, "eth0")));
    }

    #[test]
    fn a_new_selection_leaves_alone_what_stays() {
        let mut interfaces = Interfaces::new(selection(&["eth*"]));
        for (ifindex, name) in [(1, "lo"), (2, "eth0"), (3, "eth1"), (4, "wan")] {
            interfaces.changed(ifindex, name, true);
        }
        let steps = interfaces.select(selection(&["eth1", "wan"]));
        assert_eq!(steps, [Step::Forget { ifindex: 2 }, attach(4, "wan")]);
        assert_eq!(interfaces.links(), [3, 4]);
        assert_eq!(interfaces.again(), [attach(3, "eth1"), attach(4, "wan")]);
    }

    #[test]
    fn past_the_bound_interfaces_are_left_out_and_counted() {
        let mut interfaces = Interfaces::new(selection(&["all"]));
        let attached = (1..=300)
            .filter(|&ifindex| {
                interfaces.changed(ifindex, &format!("eth{ifindex}"), true).is_some()
            })
            .count();
        assert_eq!((attached, interfaces.left_out()), (WATCHED_MAX, 300 - WATCHED_MAX as u64));
        interfaces.changed(1, "eth1", false);
        assert_eq!(interfaces.changed(300, "eth300", true), Some(attach(300, "eth300")));
    }
}
