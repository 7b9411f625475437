//! `similarity.toml`: read, checked, and written in canonical form.
//!
//! Owns the file's syntax and its errors. Never computes a distance.
//!
//! **Invariant:** two files that say the same have the same canonical form, whatever their
//! comments, order and spacing.

use std::collections::HashSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::similarity::{FIELDS, ORDINALS, Ordinal, Scale, Space, TERM_FIELDS};
use super::taxonomy::{DEPTH_MAX, TERMS_MAX, Taxonomy};

/// The largest weight, milli-units: keeps every sum of distances below 2^32.
const WEIGHT_MAX: u32 = 100_000;
/// The longest term, bytes.
const TERM_BYTES_MAX: usize = 64;
/// The version of the syntax and of the arithmetic behind it.
const VERSION: u32 = 1;

/// Why a similarity definition was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("similarity definition, line {line}: {reason}")]
pub struct SpaceError {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

type Value<'i> = Spanned<DeValue<'i>>;

/// A file under inspection.
struct Reader<'i> {
    text: &'i str,
}

/// Reads a definition.
pub(super) fn parse(text: &str) -> Result<Space, SpaceError> {
    let reader = Reader { text };
    let root = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        reader.error(at, error.message())
    })?;
    reader.space(root.get_ref())
}

impl<'i> Reader<'i> {
    fn error(&self, at: usize, reason: impl Into<String>) -> SpaceError {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        SpaceError { line, reason: reason.into() }
    }

    fn space(&self, root: &DeTable<'i>) -> Result<Space, SpaceError> {
        for key in root.keys() {
            let name = key.get_ref().as_ref();
            if name != "version" && !FIELDS.contains(&name) {
                let known = FIELDS.join(", ");
                let reason = format!("'{name}' is not a field; the fields are {known}");
                return Err(self.error(key.span().start, reason));
            }
        }
        let version = self.integer(self.member(root, 0, "version")?, "version")?;
        if version != VERSION {
            let at = self.member(root, 0, "version")?.span().start;
            return Err(self.error(at, format!("version {version} is unknown, expected {VERSION}")));
        }
        let [topology, protocol, event] = TERM_FIELDS.map(|name| self.taxonomy(root, name));
        let [severity, prefixes, nodes] = ORDINALS.map(|name| self.ordinal(root, name));
        Ok(Space::new([topology?, protocol?, event?], [severity?, prefixes?, nodes?]))
    }

    fn member<'t>(
        &self,
        table: &'t DeTable<'i>,
        at: usize,
        name: &str,
    ) -> Result<&'t Value<'i>, SpaceError> {
        table.get(name).ok_or_else(|| self.error(at, format!("'{name}' is missing")))
    }

    fn field<'t>(
        &self,
        root: &'t DeTable<'i>,
        name: &str,
        kind: &str,
    ) -> Result<(&'t DeTable<'i>, usize), SpaceError> {
        let value = self.member(root, 0, name)?;
        let at = value.span().start;
        let table = value
            .get_ref()
            .as_table()
            .ok_or_else(|| self.error(at, format!("'{name}' is not a table")))?;
        for key in table.keys() {
            let member = key.get_ref().as_ref();
            if member != "weight" && member != kind {
                let reason = format!("'{name}' takes 'weight' and '{kind}', not '{member}'");
                return Err(self.error(key.span().start, reason));
            }
        }
        Ok((table, at))
    }

    fn integer(&self, value: &Value<'i>, name: &str) -> Result<u32, SpaceError> {
        value
            .get_ref()
            .as_integer()
            .and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok())
            .ok_or_else(|| {
                self.error(value.span().start, format!("'{name}' is not an integer from 0 up"))
            })
    }

    fn weight(&self, table: &DeTable<'i>, at: usize) -> Result<u32, SpaceError> {
        let value = self.member(table, at, "weight")?;
        let weight = self.integer(value, "weight")?;
        if weight > WEIGHT_MAX {
            let reason = format!("weight {weight} exceeds {WEIGHT_MAX} milli-units");
            return Err(self.error(value.span().start, reason));
        }
        Ok(weight)
    }

    fn ordinal(&self, root: &DeTable<'i>, name: &str) -> Result<Ordinal, SpaceError> {
        let (table, at) = self.field(root, name, "scale")?;
        let weight = self.weight(table, at)?;
        let value = self.member(table, at, "scale")?;
        let scale =
            value.get_ref().as_str().and_then(Scale::from_name).ok_or_else(|| {
                self.error(value.span().start, "a scale is \"log2\" or \"log10\"")
            })?;
        Ok(Ordinal { weight, scale })
    }

    fn taxonomy(&self, root: &DeTable<'i>, name: &str) -> Result<Taxonomy, SpaceError> {
        let (table, at) = self.field(root, name, "taxonomy")?;
        let weight = self.weight(table, at)?;
        let tree = self.member(table, at, "taxonomy")?;
        let mut terms = Terms { reader: self, seen: HashSet::new(), paths: Vec::new() };
        terms.collect(tree, &mut Vec::new())?;
        Ok(Taxonomy::new(weight, terms.paths))
    }
}

/// The terms of one tree while they are collected.
struct Terms<'r, 'i> {
    reader: &'r Reader<'i>,
    seen: HashSet<String>,
    paths: Vec<Vec<String>>,
}

impl<'i> Terms<'_, 'i> {
    /// A table holds named branches, an array holds leaves.
    fn collect(&mut self, value: &Value<'i>, path: &mut Vec<String>) -> Result<(), SpaceError> {
        let at = value.span().start;
        match value.get_ref() {
            DeValue::Table(branches) => {
                for (name, branch) in branches {
                    path.push(self.add(name.get_ref(), name.span().start, path)?);
                    self.collect(branch, path)?;
                    path.pop();
                }
                Ok(())
            }
            DeValue::Array(leaves) => {
                for leaf in leaves.iter() {
                    let at = leaf.span().start;
                    let name = leaf.get_ref().as_str();
                    let name = name.ok_or_else(|| self.reader.error(at, "a term is a string"))?;
                    self.add(name, at, path)?;
                }
                Ok(())
            }
            _ => Err(self.reader.error(at, "a taxonomy is made of tables and arrays of terms")),
        }
    }

    fn add(&mut self, name: &str, at: usize, path: &[String]) -> Result<String, SpaceError> {
        let refused = if name.is_empty() || name.len() > TERM_BYTES_MAX {
            Some(format!("term '{name}' is not 1 to {TERM_BYTES_MAX} bytes long"))
        } else if name.chars().any(|character| character == '/' || character.is_control()) {
            Some(format!("term {name:?} holds a slash or a control character"))
        } else if path.len() >= DEPTH_MAX {
            Some(format!("term '{name}' is deeper than {DEPTH_MAX} edges"))
        } else if self.paths.len() >= TERMS_MAX {
            Some(format!("more than {TERMS_MAX} terms in one taxonomy"))
        } else if !self.seen.insert(name.to_owned()) {
            Some(format!("term '{name}' stands twice in one taxonomy"))
        } else {
            None
        };
        if let Some(reason) = refused {
            return Err(self.reader.error(at, reason));
        }
        let mut full = path.to_vec();
        full.push(name.to_owned());
        self.paths.push(full);
        Ok(name.to_owned())
    }
}

/// What a definition says, one line a fact: the text whose SHA-256 is the space id.
pub(super) fn canonical(space: &Space) -> String {
    let mut out = format!("edgelore-similarity {VERSION}\n");
    for (name, taxonomy) in TERM_FIELDS.iter().zip(space.taxonomies()) {
        out.push_str(&format!("{name} taxonomy {}\n", taxonomy.weight()));
        for path in taxonomy.paths() {
            out.push_str(&format!("{name} term {}\n", path.join("/")));
        }
    }
    for (name, ordinal) in ORDINALS.iter().zip(space.ordinals()) {
        out.push_str(&format!("{name} {} {}\n", ordinal.scale.name(), ordinal.weight));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = include_str!("similarity.toml");

    #[test]
    fn errors_name_the_line_and_the_reason() {
        let cases = [
            ("weight = 1250 #", "weight = -1 #", 17, "'weight' is not an integer from 0 up"),
            ("weight = 250", "weight = 100001", 51, "exceeds 100000"),
            ("scale = \"log10\"", "scale = \"ln\"", 48, "a scale is"),
            ("version = 1", "version = 2", 14, "version 2 is unknown"),
            ("\"dual_hub\"", "\"spine_leaf\"", 20, "'spine_leaf' stands twice"),
            ("\"dual_hub\"", "\"a/b\"", 20, "slash"),
            ("\"dual_hub\"", "\"\"", 20, "bytes long"),
            ("\"dual_hub\"", "7", 20, "a term is a string"),
            ("[node_count]", "[router_count]", 50, "'router_count' is not a field"),
            ("[event_type.taxonomy]", "[event_type.tree]", 38, "not 'tree'"),
            ("version = 1", "version = ", 14, ""),
        ];
        for (from, to, line, reason) in cases {
            let text = DEFAULT.replacen(from, to, 1);
            assert_ne!(text, DEFAULT, "{from} stands in the default");
            let error = parse(&text).expect_err(to);
            assert_eq!(error.line, line, "{to}: {error}");
            assert!(error.reason.contains(reason), "{to}: {error}");
        }
        assert_eq!(parse("").unwrap_err().reason, "'version' is missing");
        let missing = DEFAULT.split("[node_count]").next().unwrap();
        assert_eq!(parse(missing).unwrap_err().reason, "'node_count' is missing");
    }

    #[test]
    fn depth_and_number_of_terms_are_bounded() {
        let deep = format!("{} = [\"i\"]", ["a", "b", "c", "d", "e", "f", "g", "h"].join("."));
        let text = DEFAULT.replacen("path_vector = [\"bgp\"]", &deep, 1);
        assert!(parse(&text).unwrap_err().reason.contains("deeper than 8"));
        let terms: Vec<String> = (0..300).map(|i| format!("\"t{i}\"")).collect();
        let text = DEFAULT.replacen("\"bgp\"", &terms.join(","), 1);
        assert!(parse(&text).unwrap_err().reason.contains("more than 256"));
    }

    #[test]
    fn the_identity_depends_on_what_is_said_alone() {
        let space = parse(DEFAULT).unwrap();
        let spaced = DEFAULT.replace(" = ", "=").replace("# ", "#  other words ");
        assert_eq!(parse(&spaced).unwrap().id(), space.id());
        let swapped = DEFAULT.replace("\"ospf\", \"ospfv3\"", "\"ospfv3\", \"ospf\"");
        assert_eq!(parse(&swapped).unwrap().id(), space.id());
        let other = DEFAULT.replace("weight = 250", "weight = 251");
        assert_ne!(parse(&other).unwrap().id(), space.id());
    }
}
