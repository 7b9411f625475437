//! Arrays that grow to millions and are read throughout or at random: in huge pages, where the
//! kernel has them. With small ones the processor spends much of a read on finding out where its
//! page lies.
//!
//! Owns mappings. Never knows what lies in them.
//!
//! **Invariant:** an array moves when it grows and only then, and what lay in it stays.

use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::{Advice, MmapMut, MmapOptions};

/// Octets from which on huge pages are asked for: one of them on most machines.
const HUGE_OCTETS: usize = 2 << 20;
/// Octets that a first element makes room for.
const FIRST_OCTETS: usize = 4_096;

/// Address space for so many octets, all zero, of which only what is written to takes memory;
/// `None` where the system has none.
pub(crate) fn mapping(octets: usize) -> Option<MmapMut> {
    let map = MmapOptions::new().len(octets).map_anon().ok()?;
    // A kernel without huge pages says no, and small ones serve as well, only slower.
    #[cfg(target_os = "linux")]
    if octets >= HUGE_OCTETS {
        let _ = map.advise(Advice::HugePage);
    }
    Some(map)
}

/// A vector in a mapping of its own.
#[derive(Debug)]
pub(crate) struct Paged<T> {
    map: Option<MmapMut>,
    len: usize,
    kind: PhantomData<T>,
}

impl<T: Pod> Paged<T> {
    /// Takes nothing before the first element.
    pub(crate) const fn new() -> Self {
        Self { map: None, len: 0, kind: PhantomData }
    }

    /// Octets that are mapped: what the elements take, and at most a quarter of it for more.
    pub(crate) fn octets(&self) -> usize {
        self.map.as_ref().map_or(0, |map| map.len())
    }

    /// # Panics
    /// Ends the process, as a vector does, where the system has no memory.
    pub(crate) fn push(&mut self, element: T) {
        let (from, to) = (self.len * size_of::<T>(), (self.len + 1) * size_of::<T>());
        if to > self.octets() {
            self.grow(to);
        }
        if let Some(map) = &mut self.map {
            map[from..to].copy_from_slice(bytemuck::bytes_of(&element));
        }
        self.len += 1;
    }

    /// Leaves the first `len` elements, if there are more.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Takes an element out; the last one moves to its place.
    ///
    /// # Panics
    /// When there is no such element.
    pub(crate) fn swap_remove(&mut self, at: usize) {
        let last = self.len - 1;
        self.swap(at, last);
        self.len = last;
    }

    /// Moves everything to a mapping of `octets` and a quarter. A mapping that the kernel moved
    /// would lose its huge pages.
    fn grow(&mut self, octets: usize) {
        let octets = (octets + octets / 4).max(FIRST_OCTETS);
        let Some(mut map) = mapping(octets) else {
            handle_alloc_error(Layout::array::<u8>(octets).unwrap_or(Layout::new::<T>()));
        };
        let kept = bytemuck::cast_slice(self);
        map[..kept.len()].copy_from_slice(kept);
        self.map = Some(map);
    }
}

impl<T: Pod> Deref for Paged<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let octets = self.len * size_of::<T>();
        self.map.as_ref().map_or(&[], |map| bytemuck::cast_slice(&map[..octets]))
    }
}

impl<T: Pod> DerefMut for Paged<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let octets = self.len * size_of::<T>();
        self.map.as_mut().map_or(&mut [], |map| bytemuck::cast_slice_mut(&mut map[..octets]))
    }
}

impl<T: Pod> Clone for Paged<T> {
    fn clone(&self) -> Self {
        let mut copy = Self::new();
        if !self.is_empty() {
            copy.grow(size_of_val::<[T]>(self));
            copy.len = self.len;
            copy.copy_from_slice(self);
        }
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_stays_while_an_array_grows_and_shrinks() {
        let mut paged = Paged::new();
        let mut plain: Vec<[u16; 3]> = Vec::new();
        assert!(paged.is_empty() && paged.octets() == 0);
        // Beyond the size from which on huge pages are asked for.
        for number in 0..600_000u32 {
            let element = [number as u16, (number >> 16) as u16, 7];
            paged.push(element);
            plain.push(element);
            if number % 5 == 0 {
                let at = number as usize * 31 % plain.len();
                paged.swap_remove(at);
                plain.swap_remove(at);
            }
        }
        assert!(size_of_val::<[[u16; 3]]>(&paged) > HUGE_OCTETS);
        assert_eq!(*paged, *plain);
        assert_eq!(*paged.clone(), *plain);
        paged.truncate(1_000);
        paged.truncate(2_000);
        assert_eq!(*paged, plain[..1_000]);
        assert_eq!(paged.clone().len(), 1_000);
        paged.truncate(0);
        assert!(paged.is_empty() && paged.clone().octets() == 0);
    }

    #[test]
    fn a_quarter_is_held_for_more() {
        let mut paged = Paged::new();
        while paged.len() < 1_000_000 {
            paged.push(0u64);
            let taken = size_of_val::<[u64]>(&paged);
            assert!(paged.octets() <= (taken + taken / 4).max(FIRST_OCTETS));
        }
    }
}
