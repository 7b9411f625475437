//! Lists of words, asked for every number and name of a text.
//!
//! **Invariant:** a list holds what it was made of, and nothing else.

/// A list of words that mostly does not hold what it is asked for.
pub(super) struct Words {
    list: &'static [&'static str],
    /// For each first byte, modulo 32, the lengths there are, those of 31 bytes and more as 31.
    lengths: [u32; 32],
}

impl Words {
    /// The list, made at compile time.
    pub(super) const fn new(list: &'static [&'static str]) -> Self {
        let mut lengths = [0; 32];
        let mut at = 0;
        while at < list.len() {
            let (row, length) = place(list[at].as_bytes());
            lengths[row] |= length;
            at += 1;
        }
        Self { list, lengths }
    }

    /// Whether the word is on the list.
    pub(super) fn contains(&self, word: &str) -> bool {
        let (row, length) = place(word.as_bytes());
        self.lengths[row] & length != 0 && self.list.contains(&word)
    }
}

const fn place(word: &[u8]) -> (usize, u32) {
    let row = if let [first, ..] = word { *first % 32 } else { 0 };
    let length = if word.len() < 31 { word.len() } else { 31 };
    (row as usize, 1 << length)
}

#[cfg(test)]
mod tests {
    use super::Words;

    #[test]
    fn a_list_holds_its_words_alone() {
        const LIST: &[&str] =
            &["ms", "µs", "prefixes", "a word of many letters, more than thirty-one of them"];
        let words = Words::new(LIST);
        assert!(LIST.iter().all(|word| words.contains(word)));
        for other in
            ["", "m", "mt", "µ", "prefixex", "a word of many letters, more than thirty-one of it"]
        {
            assert!(!words.contains(other), "{other}");
        }
    }
}
