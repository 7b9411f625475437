//! Addresses in every notation: IPv4, IPv6, prefixes, masks, NSAP, MAC.
//!
//! Owns what can be told from a single word. In doubt it is an address: a version number of three
//! parts, a mask and an area in dotted form are. `/24` alone is a length and stays, and so do two
//! numbers with a slash (`90/30`), though some write `10/8` for a prefix.

/// Six or eight octets with `:` or `-`, or groups of four digits with dots, or twelve digits bare.
pub(super) fn is_mac(word: &str) -> bool {
    if word.len() < 12 {
        return false;
    }
    let groups = |separator: char, width: usize| {
        let mut count = 0;
        for group in word.split(separator) {
            if group.len() != width || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
                return 0;
            }
            count += 1;
        }
        count
    };
    [6, 8].contains(&groups(':', 2))
        || [6, 8].contains(&groups('-', 2))
        || [6, 8].contains(&groups('_', 2))
        || [3, 4].contains(&groups('.', 4))
        || [3, 4].contains(&groups('-', 4))
        || groups('-', 6) == 2
        || (groups('x', 12) == 1 && word.bytes().any(|b| b.is_ascii_digit()))
}

/// `word` with its punctuation, in small letters.
pub(super) fn is_address(word: &str) -> bool {
    if word.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return false;
    }
    let colons = word.matches(':').count();
    let hexadecimal = word.bytes().all(|b| b.is_ascii_hexdigit() || b"./:%".contains(&b));
    let dotted = dotted_groups(word);
    word.contains("::")
        || colons >= 3
        || (colons == 2 && hexadecimal && !is_time_of_day(word))
        || dotted >= 3
        || (dotted == 2 && word.contains('/'))
        || is_nsap(word)
        || is_hexadecimal_quad(word)
        || is_dashed_quad(word)
}

/// The most decimal groups that stand in a row with dots between, wherever in the word.
fn dotted_groups(word: &str) -> usize {
    let runs = word.split(|c: char| !c.is_numeric() && c != '.');
    runs.map(|run| run.split('.').filter(|group| !group.is_empty()).count()).max().unwrap_or(0)
}

fn is_time_of_day(word: &str) -> bool {
    let groups: Vec<&str> = word.trim_end_matches([':', '.']).split(':').collect();
    groups.len() <= 3 && groups.iter().all(|group| group.len() == 2 && group.as_bytes()[0] < b'6')
}

/// The network entity title of IS-IS (ISO 10589 §7.1): an area, groups of four digits, a selector.
fn is_nsap(word: &str) -> bool {
    let groups: Vec<&str> = word.trim_matches(['.', ':', '-', '/']).split('.').collect();
    let hexadecimal = |group: &&str| {
        (1..=4).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let fours = groups.iter().filter(|group| group.len() == 4).count();
    groups.len() >= 3 && fours >= 2 && groups.iter().all(hexadecimal)
}

/// 0xc0.0x0.0x2.0x1
fn is_hexadecimal_quad(word: &str) -> bool {
    word.matches("0x").count() >= 3 && word.contains('.')
}

/// 192-0-2-1, as in the names that providers give to addresses.
fn is_dashed_quad(word: &str) -> bool {
    let quad = |separator: char| {
        let mut row = 0;
        word.split(separator).any(|group| {
            let octet = group.len() <= 3 && group.parse::<u8>().is_ok();
            row = if octet { row + 1 } else { 0 };
            row == 4
        })
    };
    quad('-') || quad('_')
}
