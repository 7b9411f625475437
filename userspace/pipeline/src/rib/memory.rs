//! The memory that tables lie in: one mapping, handed out in blocks.
//!
//! A table of many prefixes is read at random, and with small pages nearly every read would first
//! have to find out where its page lies. So the kernel is asked for huge ones.
//!
//! Owns the mapping and the account of what tables take, blocks or not. Never looks into a block.
//!
//! **Invariant:** blocks and what tables hold outside of them together stay within the octets that
//! [`Memory::new`] was given; a block that is handed out is zero throughout.

use memmap2::MmapMut;

use crate::pages::mapping;

/// Words of a block: 64 KiB.
pub(super) const BLOCK_WORDS: usize = 16_384;
const BLOCK_OCTETS: usize = BLOCK_WORDS * size_of::<u32>();

/// What a table knows of one of its areas, a block or what it has instead of one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meta {
    /// Bits of the hash that all its entries share.
    pub(super) depth: u32,
    pub(super) entries: usize,
    /// Withdrawn entries when it was walked last.
    pub(super) withdrawn: usize,
    /// The table's withdrawals when it was walked last.
    pub(super) walked_at: u64,
}

#[derive(Debug)]
pub(super) struct Memory {
    map: Option<MmapMut>,
    metas: Vec<Meta>,
    free: Vec<u32>,
    /// Octets that tables hold outside of blocks.
    small: usize,
    octets_max: usize,
    /// Entries that found no place within the probes' bound when their area was cleared or grown:
    /// only keys made to crowd together can do that.
    pub(super) displaced: u64,
}

impl Memory {
    /// Takes nothing before the first block is asked for.
    pub(super) const fn new(octets_max: usize) -> Self {
        Self { map: None, metas: Vec::new(), free: Vec::new(), small: 0, octets_max, displaced: 0 }
    }

    /// Octets that tables take now.
    pub(super) const fn octets(&self) -> usize {
        (self.metas.len() - self.free.len()) * BLOCK_OCTETS + self.small
    }

    /// Less than an eighth of the octets is left.
    pub(super) const fn tight(&self) -> bool {
        self.octets() > self.octets_max / 8 * 7
    }

    /// A block of zeroes; `None` when the octets are used up, or the system has none.
    pub(super) fn take(&mut self, meta: Meta) -> Option<u32> {
        if self.octets() + BLOCK_OCTETS > self.octets_max {
            return None;
        }
        if let Some(block) = self.free.pop() {
            self.words_mut(block).fill(0);
            *self.meta_mut(block) = meta;
            return Some(block);
        }
        if self.map.is_none() {
            self.map = Some(mapping(self.octets_max.next_multiple_of(BLOCK_OCTETS))?);
        }
        let block = u32::try_from(self.metas.len()).ok()?;
        self.metas.push(meta);
        Some(block)
    }

    pub(super) fn give_back(&mut self, block: u32) {
        self.free.push(block);
    }

    /// Accounts for octets outside of blocks; false when there are no so many left.
    pub(super) const fn reserve(&mut self, octets: usize) -> bool {
        let fits = self.octets() + octets <= self.octets_max;
        if fits {
            self.small += octets;
        }
        fits
    }

    pub(super) const fn unreserve(&mut self, octets: usize) {
        self.small -= octets;
    }

    /// All blocks, one after the other.
    #[inline]
    pub(super) fn all(&self) -> &[u32] {
        self.map.as_ref().map_or(&[], |map| bytemuck::cast_slice(map))
    }

    /// See [`Self::all`].
    #[inline]
    pub(super) fn all_mut(&mut self) -> &mut [u32] {
        self.map.as_mut().map_or(&mut [], |map| bytemuck::cast_slice_mut(map))
    }

    #[inline]
    pub(super) fn words(&self, block: u32) -> &[u32] {
        &self.all()[block as usize * BLOCK_WORDS..][..BLOCK_WORDS]
    }

    #[inline]
    pub(super) fn words_mut(&mut self, block: u32) -> &mut [u32] {
        &mut self.all_mut()[block as usize * BLOCK_WORDS..][..BLOCK_WORDS]
    }

    pub(super) fn meta_mut(&mut self, block: u32) -> &mut Meta {
        &mut self.metas[block as usize]
    }

    pub(super) fn meta(&self, block: u32) -> Meta {
        self.metas[block as usize]
    }
}
