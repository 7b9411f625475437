//! The checksum of link-state advertisements (ISO 8473, RFC 905 annex B; RFC 1008 §7).
//!
//! **Invariant:** verification alone; nothing here is ever written to a wire.

/// Octets after which the sums are reduced: the most that cannot overflow 32 bits.
const REDUCE_EVERY: usize = 4_096;

/// Whether octets that contain their own Fletcher checksum are undamaged: both sums are zero
/// modulo 255.
#[must_use]
pub(super) fn holds(bytes: &[u8]) -> bool {
    let (mut low, mut high) = (0u32, 0u32);
    for chunk in bytes.chunks(REDUCE_EVERY) {
        for &octet in chunk {
            low += u32::from(octet);
            high += low;
        }
        low %= 255;
        high %= 255;
    }
    low == 0 && high == 0
}

/// Whether octets that contain their own Internet checksum are undamaged (RFC 1071).
#[must_use]
pub(super) fn internet_holds(parts: [&[u8]; 2]) -> bool {
    let sum: u64 = parts
        .iter()
        .flat_map(|part| part.chunks(2))
        .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    let mut folded = sum;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    folded == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network LSA as FRR floods it, without its age.
    const LSA: [u8; 26] = [
        0x02, 0x02, 10, 0, 1, 2, 10, 255, 0, 2, 0x80, 0, 0, 1, 0, 0, 0, 28, 255, 255, 255, 0, 10,
        255, 0, 1,
    ];

    /// The two octets that make the sums zero, by trying all: slower and simpler than the code.
    fn checksum(bytes: &[u8], at: usize) -> [u8; 2] {
        let mut bytes = bytes.to_vec();
        for high in 0..255 {
            for low in 0..255 {
                bytes[at..at + 2].copy_from_slice(&[high, low]);
                let (mut c0, mut c1) = (0u64, 0u64);
                for &octet in &bytes {
                    c0 = (c0 + u64::from(octet)) % 255;
                    c1 = (c1 + c0) % 255;
                }
                if (c0, c1) == (0, 0) {
                    return [high, low];
                }
            }
        }
        unreachable!("some pair makes both sums zero")
    }

    #[test]
    fn any_damaged_octet_shows() {
        let mut bytes = LSA;
        bytes[14..16].copy_from_slice(&checksum(&LSA, 14));
        assert!(holds(&bytes));
        for at in 0..bytes.len() {
            let mut damaged = bytes;
            damaged[at] ^= 0x10;
            assert!(!holds(&damaged), "{at}");
        }
    }

    #[test]
    fn long_octets_do_not_overflow() {
        let long: Vec<u8> = (0..65_535u32).map(|n| 0xff - (n % 7 == 0) as u8).collect();
        for length in [0, 1, 4_095, 4_096, 4_097, 65_534, 65_535] {
            let (mut low, mut high) = (0u64, 0u64);
            for &octet in &long[..length] {
                low += u64::from(octet);
                high += low;
            }
            assert_eq!(holds(&long[..length]), low % 255 == 0 && high % 255 == 0, "{length}");
        }
        assert!(holds(&[0xff; 65_535]), "255 is zero in this arithmetic");
    }

    #[test]
    fn the_internet_checksum_spans_parts() {
        assert!(internet_holds([&[0x12, 0x34], &[0xed, 0xcb]]));
        assert!(internet_holds([&[0x12, 0x34], &[0xe0, 0xcb, 0x0d]]));
        assert!(!internet_holds([&[0x12, 0x34], &[0xed, 0xcc]]));
    }
}
