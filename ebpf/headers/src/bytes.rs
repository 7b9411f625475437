//! Owns the one way in which the walk reads a packet. Never reads past what is there.

/// Bytes that can be read at an offset: a slice in userspace, packet memory in the kernel.
///
/// Offsets count from the first byte; a read that does not lie wholly inside yields `None`.
pub trait Bytes {
    /// How many bytes the packet has; the readable ones may be fewer (a frame whose rest lies in
    /// fragments).
    fn length(&self) -> usize;

    /// `N` bytes at `offset`.
    fn octets<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// The same number. The kernel's verifier follows every way in which a number can come about,
    /// and an implementation for the kernel makes it forget them; elsewhere there is nothing to do.
    #[inline(always)]
    fn forget(&self, number: usize) -> usize {
        number
    }

    /// One byte at `offset`.
    #[inline(always)]
    fn u8(&self, offset: usize) -> Option<u8> {
        self.octets::<1>(offset).map(|[byte]| byte)
    }

    /// A big-endian 16-bit number at `offset`.
    #[inline(always)]
    fn be16(&self, offset: usize) -> Option<u16> {
        self.octets(offset).map(u16::from_be_bytes)
    }

    /// A big-endian 32-bit number at `offset`.
    #[inline(always)]
    fn be32(&self, offset: usize) -> Option<u32> {
        self.octets(offset).map(u32::from_be_bytes)
    }
}

impl Bytes for [u8] {
    #[inline(always)]
    fn length(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn octets<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk::<N>().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_end_where_the_bytes_end() {
        let bytes: &[u8] = &[1, 2, 3, 4];
        assert_eq!(bytes.be32(0), Some(0x0102_0304));
        assert_eq!(bytes.be32(1), None);
        assert_eq!(bytes.be16(2), Some(0x0304));
        assert_eq!(bytes.u8(3), Some(4));
        assert_eq!(bytes.u8(4), None);
        assert_eq!(bytes.octets::<4>(usize::MAX), None);
    }
}
