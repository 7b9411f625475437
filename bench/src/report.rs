//! Tables as Markdown that also reads well in a terminal.
//!
//! **Invariant:** every row of a section has as many cells as the section has columns.

use crate::measure::Series;
use std::fmt::Write as _;

/// One table with what has to be known to read it.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    title: String,
    notes: Vec<String>,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Section {
    /// A table without rows yet.
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { title: title.to_owned(), notes: Vec::new(), columns, rows: Vec::new() }
    }

    /// A section that says why there is nothing to show.
    pub(crate) fn without_rows(title: &str, why: String) -> Self {
        let mut section = Self::new(title, &[]);
        section.note(why);
        section
    }

    /// Adds a sentence or two above the table.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When it has not one cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.columns.len(), "one cell for each column of {}", self.title);
        self.rows.push(cells);
    }

    /// The section, ending in an empty line.
    pub(crate) fn to_markdown(&self) -> String {
        let mut text = format!("\n## {}\n\n", self.title);
        for note in &self.notes {
            text.push_str(&format!("{note}\n\n"));
        }
        if self.columns.is_empty() {
            return text;
        }
        let widths: Vec<usize> = (0..self.columns.len()).map(|at| self.width(at)).collect();
        line(&mut text, &self.columns, &widths);
        let rule = widths.iter().enumerate().map(|(at, width)| rule(at, *width));
        text.push_str(&format!("|{}|\n", rule.collect::<Vec<_>>().join("|")));
        self.rows.iter().for_each(|row| line(&mut text, row, &widths));
        text
    }

    fn width(&self, at: usize) -> usize {
        let cells = self.rows.iter().map(|row| &row[at]).chain([&self.columns[at]]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    }
}

/// The first column reads from the left, figures stand right.
fn rule(at: usize, width: usize) -> String {
    if at == 0 { "-".repeat(width + 2) } else { format!("{}:", "-".repeat(width + 1)) }
}

fn line(text: &mut String, cells: &[String], widths: &[usize]) {
    for (at, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        let written = if at == 0 {
            write!(text, "| {cell:<width$} ")
        } else {
            write!(text, "| {cell:>width$} ")
        };
        written.expect("a string takes everything");
    }
    text.push_str("|\n");
}

/// Median, slowest and fastest round in millions a second, ns each, and the ratio to `base`.
pub(crate) fn rate_cells(series: &Series, base: &Series) -> [String; 5] {
    let million = |per_second: f64| format!("{:.3}", per_second / 1e6);
    let (slow, fast) = series.per_second_range();
    [
        million(series.per_second()),
        million(slow),
        million(fast),
        format!("{:.1}", series.ns()),
        format!("{:.2}", series.speedup_over(base)),
    ]
}

/// A number with a separator every three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let mut section = Section::new("hash", &["who", "M/s"]);
        section.note("Of 170 bytes.");
        section.row(["sha2".to_owned(), "7.3".to_owned()]);
        section.row(["à deux".to_owned(), "12.1".to_owned()]);
        let expected = "\n## hash\n\nOf 170 bytes.\n\n\
            | who    |  M/s |\n|--------|-----:|\n| sha2   |  7.3 |\n| à deux | 12.1 |\n";
        assert_eq!(section.to_markdown(), expected);
    }

    #[test]
    #[should_panic(expected = "one cell for each column")]
    fn a_row_of_another_length_is_refused() {
        Section::new("x", &["a", "b"]).row(["1".to_owned()]);
    }

    #[test]
    fn long_numbers_are_grouped() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), expected);
        }
    }
}
