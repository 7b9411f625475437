//! Owns the reading end of the kernel's ring buffer: its mapped pages and the consumer position.
//! Never interprets a record, never waits.
//!
//! ```text
//! page 0        consumer position           written here
//! page 1        producer position           written by the kernel
//! then          the data, and its beginning once more, so that a record never wraps in memory
//!
//! record:       length and flags (4) | page offset (4) | bytes | padding to a multiple of 8
//! ```
//!
//! The consumer position is given back once per [`PUBLISH_BYTES`] and at the end of a drain, not
//! once per record: every store to it takes its cache line away from the producers, which read it
//! for each record.
//!
//! **Invariant:** a record is handed out only after the producer has finished it, and only while
//! the kernel cannot reuse its memory; no length that stands in the ring is used unchecked.

use super::RingError;
use aya::maps::MapData;
use edgelore_events::names;
use nix::libc;
use nix::unistd::{SysconfVar, sysconf};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

/// The consumer position is given back after at most so many bytes.
const PUBLISH_BYTES: usize = 64 << 10;
/// How much of the data is mapped once more behind it: more than any record takes. The kernel would
/// give all of it, but what is mapped counts as this process's memory.
const MIRROR_BYTES: usize = 256 << 10;
/// How far ahead of the record that is read memory is asked for: the processor itself follows no
/// further than to the end of a page, and a ring is read once, from memory that another core wrote.
const AHEAD_BYTES: usize = 1 << 10;
/// Octets before a record's bytes.
const HEADER_LEN: usize = 8;
/// The producer is still writing the record.
const BUSY: u32 = 1 << 31;
/// The producer gave the record up.
const DISCARDED: u32 = 1 << 30;

/// What one drain found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Drained {
    /// Records handed out.
    pub(super) records: usize,
    /// A producer was in the middle of a record: what it and later ones wrote is still to come.
    pub(super) busy: bool,
    /// The ring contradicted itself; what it held was passed over.
    pub(super) corrupt: bool,
}

/// The memory that producers and consumer share, wherever it lies.
#[derive(Clone, Copy)]
struct Shared<'a> {
    consumer: &'a AtomicUsize,
    producer: &'a AtomicUsize,
    /// The first of `capacity + mirror` readable bytes.
    data: NonNull<u8>,
    /// A power of two.
    capacity: usize,
    /// No record is longer, its header included.
    mirror: usize,
}

/// How far the ring has been read.
#[derive(Debug)]
struct Cursor {
    position: usize,
}

impl Cursor {
    /// Hands out the records that were finished when the drain began, until `take` breaks.
    ///
    /// # Safety
    /// For the time of the call `shared.data` is readable for `shared.capacity` bytes and another
    /// `shared.mirror`, which mirror the first ones; only this cursor writes `shared.consumer`; and
    /// producers write nothing between the consumer's and the producer's position but the headers of
    /// records that are busy, and these atomically.
    unsafe fn drain(
        &mut self,
        shared: Shared<'_>,
        mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Drained {
        let mut drained = Drained::default();
        let end = shared.producer.load(Ordering::Acquire);
        let mut published = self.position;
        while self.position != end {
            let left = end.wrapping_sub(self.position);
            let offset = self.position & (shared.capacity - 1);
            // SAFETY: `offset` lies within the data, is a multiple of 8 as every record's length,
            // and at least `HEADER_LEN` bytes follow because of the mirror.
            let header = unsafe { shared.data.add(offset).cast::<AtomicU32>().as_ref() };
            let header = header.load(Ordering::Acquire);
            if header & BUSY != 0 {
                drained.busy = true;
                break;
            }
            ask_for(shared.data.as_ptr().wrapping_add(offset + AHEAD_BYTES));
            let len = (header & !DISCARDED) as usize;
            let total = (HEADER_LEN + len).next_multiple_of(8);
            if total > left.min(shared.mirror) || left > shared.capacity {
                drained.corrupt = true;
                self.position = end & !7;
                break;
            }
            let mut flow = ControlFlow::Continue(());
            if header & DISCARDED == 0 {
                // SAFETY: the record is finished, lies wholly before the producer's position, and
                // its `total` bytes are at most the mirror's, hence within data and mirror. Its
                // memory is not reused before the consumer position has passed it, which is
                // published below, after `take`.
                let record = unsafe {
                    std::slice::from_raw_parts(shared.data.add(offset + HEADER_LEN).as_ptr(), len)
                };
                flow = take(record);
                drained.records += 1;
            }
            self.position = self.position.wrapping_add(total);
            if self.position.wrapping_sub(published) >= PUBLISH_BYTES {
                shared.consumer.store(self.position, Ordering::Release);
                published = self.position;
            }
            if flow.is_break() {
                break;
            }
        }
        if self.position != published {
            shared.consumer.store(self.position, Ordering::Release);
        }
        // A producer that commits from now on either sees this position, and wakes the reader if
        // it has caught up, or its record is seen by the reader's next look. Both sides need the
        // full barrier; the kernel's is in its commit.
        fence(Ordering::SeqCst);
        drained
    }
}

/// Asks the processor to fetch the cache line of an address, which may be any; where it cannot be
/// asked, nothing happens.
#[inline(always)]
fn ask_for(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every processor of this architecture has the instruction, and it faults at no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// Memory mapped from the ring's file descriptor.
struct Pages {
    start: NonNull<u8>,
    len: usize,
}

impl Pages {
    fn map(
        fd: BorrowedFd<'_>,
        len: usize,
        protection: libc::c_int,
        offset: usize,
    ) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: the kernel chooses an address that nothing else uses; the descriptor is open.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, len })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly this range was mapped by `map`, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The ring buffer, ready to be read. There may be one reader of a ring at a time.
pub(super) struct RingBuffer {
    map: MapData,
    consumer: Pages,
    /// The producer's page and the data behind it.
    producer: Pages,
    page: usize,
    capacity: usize,
    cursor: Cursor,
}

// SAFETY: the pages belong to this value alone; the kernel's side of them is written atomically or
// not at all while it is read, whichever thread reads.
unsafe impl Send for RingBuffer {}

impl RingBuffer {
    /// Maps the pages of the ring `map`.
    pub(super) fn open(map: MapData) -> Result<Self, RingError> {
        let failed = |source| RingError::MapPages { map: names::EVENTS, source };
        let capacity = map.info().map_err(|e| failed(io::Error::other(e)))?.max_entries();
        let capacity = usize::try_from(capacity).map_err(|e| failed(io::Error::other(e)))?;
        let page = sysconf(SysconfVar::PAGE_SIZE).map_err(|errno| failed(errno.into()))?;
        let page = page.and_then(|page| usize::try_from(page).ok()).unwrap_or(4096);
        let fd = map.fd().as_fd();
        let consumer = Pages::map(fd, page, libc::PROT_READ | libc::PROT_WRITE, 0);
        let consumer = consumer.map_err(failed)?;
        let mapped = page + capacity + mirror(capacity);
        let producer = Pages::map(fd, mapped, libc::PROT_READ, page);
        let producer = producer.map_err(failed)?;
        let mut ring =
            Self { map, consumer, producer, page, capacity, cursor: Cursor { position: 0 } };
        // The ring may have been read before.
        ring.cursor.position = ring.shared().consumer.load(Ordering::Relaxed);
        Ok(ring)
    }

    /// Hands the finished records to `take`, oldest first, until it breaks; one that `take` broke
    /// at is read. Never waits, and looks at no more than the ring held when the drain began.
    pub(super) fn drain(&mut self, take: impl FnMut(&[u8]) -> ControlFlow<()>) -> Drained {
        let (consumer, producer) = (self.consumer.start, self.producer.start);
        let (page, capacity) = (self.page, self.capacity);
        // SAFETY: as in `shared`; spelled out because the cursor is borrowed for writing.
        let shared = unsafe { Self::view(consumer, producer, page, capacity) };
        // SAFETY: the kernel keeps to the protocol of `BPF_MAP_TYPE_RINGBUF`, of which the
        // contract of `Cursor::drain` is a part, and mirrors the data pages.
        unsafe { self.cursor.drain(shared, take) }
    }

    /// Bytes that wait, those of unfinished records included.
    pub(super) fn waiting(&self) -> usize {
        self.shared().producer.load(Ordering::Relaxed).wrapping_sub(self.cursor.position)
    }

    fn shared(&self) -> Shared<'_> {
        // SAFETY: both mappings live as long as `self`, with the sizes that `open` gave them.
        unsafe { Self::view(self.consumer.start, self.producer.start, self.page, self.capacity) }
    }

    /// # Safety
    /// `consumer` and `producer` are mapped as `open` maps them, for as long as the result lives.
    unsafe fn view<'a>(
        consumer: NonNull<u8>,
        producer: NonNull<u8>,
        page: usize,
        capacity: usize,
    ) -> Shared<'a> {
        // SAFETY: each position is an `unsigned long` at the start of its page, which both sides
        // access atomically; the data begin a page after the producer's position.
        unsafe {
            Shared {
                consumer: consumer.cast().as_ref(),
                producer: producer.cast().as_ref(),
                data: producer.add(page),
                capacity,
                mirror: mirror(capacity),
            }
        }
    }
}

/// Bytes that are mapped once more, whole pages as the capacity is.
const fn mirror(capacity: usize) -> usize {
    if capacity < MIRROR_BYTES { capacity } else { MIRROR_BYTES }
}

impl AsFd for RingBuffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicBool;

    const CAPACITY: usize = 1 << 12;

    /// A ring in plain memory with a producer that behaves as the kernel's.
    struct Plain {
        consumer: AtomicUsize,
        producer: AtomicUsize,
        /// Data and mirror; `u64` for its alignment, cells because both sides use them.
        data: Box<[std::cell::UnsafeCell<u64>]>,
    }

    // SAFETY: all access follows the ring's protocol, as in the kernel.
    unsafe impl Sync for Plain {}

    impl Plain {
        fn starting_at(position: usize) -> Self {
            let cells = (0..CAPACITY / 4).map(|_| std::cell::UnsafeCell::new(0)).collect();
            let position = || AtomicUsize::new(position);
            Self { consumer: position(), producer: position(), data: cells }
        }

        fn shared(&self) -> Shared<'_> {
            let data = NonNull::new(self.data.as_ptr().cast_mut().cast()).unwrap();
            let (consumer, producer) = (&self.consumer, &self.producer);
            Shared { consumer, producer, data, capacity: CAPACITY, mirror: CAPACITY }
        }

        fn cursor(&self) -> Cursor {
            Cursor { position: self.consumer.load(Ordering::Relaxed) }
        }

        fn drain(&self, cursor: &mut Cursor, mut take: impl FnMut(&[u8])) -> Drained {
            let take = |record: &[u8]| {
                take(record);
                ControlFlow::Continue(())
            };
            // SAFETY: data and mirror are `2 * CAPACITY` bytes, and `push` keeps to the protocol.
            unsafe { cursor.drain(self.shared(), take) }
        }

        fn header(&self, position: usize) -> [&AtomicU32; 2] {
            let at = position & (CAPACITY - 1);
            // SAFETY: both lie within the data and are aligned; headers are only used atomically.
            [at, at + CAPACITY]
                .map(|at| unsafe { self.shared().data.add(at).cast::<AtomicU32>().as_ref() })
        }

        fn set_header(&self, position: usize, value: u32) {
            // The mirror is what `drain` may see of a record in the second half: the same page.
            for header in self.header(position).into_iter().rev() {
                header.store(value, Ordering::Release);
            }
        }

        /// Space for a record; `None` when the ring is full. Returns where it begins.
        fn reserve(&self, len: usize) -> Option<usize> {
            let total = (HEADER_LEN + len).next_multiple_of(8);
            let position = self.producer.load(Ordering::Relaxed);
            let used = position.wrapping_sub(self.consumer.load(Ordering::Acquire));
            if used + total > CAPACITY {
                return None;
            }
            self.set_header(position, len as u32 | BUSY);
            self.producer.store(position.wrapping_add(total), Ordering::Release);
            Some(position)
        }

        fn push(&self, record: &[u8], flags: u32) -> bool {
            let Some(position) = self.reserve(record.len()) else { return false };
            let start = (position & (CAPACITY - 1)) + HEADER_LEN;
            for (at, &byte) in record.iter().enumerate() {
                let at = (start + at) % CAPACITY;
                for at in [at, at + CAPACITY] {
                    // SAFETY: within the data; the consumer does not read a busy record.
                    unsafe { self.shared().data.add(at).write(byte) };
                }
            }
            self.set_header(position, record.len() as u32 | flags);
            true
        }
    }

    #[test]
    fn records_come_out_as_they_went_in_and_across_the_end() {
        // Positions wrap as well: they start just below the largest.
        let ring = Plain::starting_at(usize::MAX - 2 * CAPACITY + 1);
        let mut cursor = ring.cursor();
        for round in 0..200usize {
            let records: Vec<Vec<u8>> =
                (0..4).map(|n| vec![(round + n) as u8; (round * 37 + n * 101) % 900]).collect();
            for record in &records {
                assert!(ring.push(record, 0));
            }
            let mut seen = Vec::new();
            let drained = ring.drain(&mut cursor, |record| seen.push(record.to_vec()));
            assert_eq!(seen, records, "round {round}");
            assert_eq!(drained, Drained { records: 4, ..Drained::default() });
            assert_eq!(ring.consumer.load(Ordering::Relaxed), cursor.position);
        }
    }

    #[test]
    fn a_busy_record_holds_back_what_follows_it() {
        let ring = Plain::starting_at(0);
        let mut cursor = ring.cursor();
        assert!(ring.push(b"first", 0));
        let unfinished = ring.reserve(3).unwrap();
        assert!(ring.push(b"third", 0));
        let mut seen = Vec::new();
        let drained = ring.drain(&mut cursor, |record| seen.push(record.len()));
        assert_eq!((drained.records, drained.busy), (1, true));
        ring.set_header(unfinished, 3);
        let drained = ring.drain(&mut cursor, |record| seen.push(record.len()));
        assert_eq!((drained.records, drained.busy), (2, false));
        assert_eq!(seen, [5, 3, 5]);
    }

    #[test]
    fn a_discarded_record_is_passed_over() {
        let ring = Plain::starting_at(0);
        let mut cursor = ring.cursor();
        assert!(ring.push(b"given up", DISCARDED));
        assert!(ring.push(b"kept", 0));
        let mut seen = Vec::new();
        let drained = ring.drain(&mut cursor, |record| seen.push(record.to_vec()));
        assert_eq!((drained.records, seen), (1, vec![b"kept".to_vec()]));
    }

    #[test]
    fn a_break_leaves_the_rest_for_the_next_drain() {
        let ring = Plain::starting_at(0);
        let mut cursor = ring.cursor();
        for n in 0..10u8 {
            assert!(ring.push(&[n], 0));
        }
        let mut seen = Vec::new();
        let three = |record: &[u8]| {
            seen.push(record[0]);
            if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        // SAFETY: as in `Plain::drain`.
        let drained = unsafe { cursor.drain(ring.shared(), three) };
        assert_eq!(drained.records, 3);
        assert_eq!(ring.consumer.load(Ordering::Relaxed), 3 * 16, "given back at the break");
        ring.drain(&mut cursor, |record| seen.push(record[0]));
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn space_is_given_back_while_a_long_drain_goes_on() {
        // A ring smaller than PUBLISH_BYTES gives back at the end only; positions tell.
        let ring = Plain::starting_at(0);
        let mut cursor = ring.cursor();
        assert!(ring.push(&[1; 3000], 0));
        ring.drain(&mut cursor, |_| assert_eq!(ring.consumer.load(Ordering::Relaxed), 0));
        assert_eq!(ring.consumer.load(Ordering::Relaxed), 3008);
    }

    #[test]
    fn a_length_beyond_the_ring_is_refused_and_the_ring_goes_on() {
        for absurd in [6000, 0x3fff_ffff, 17] {
            let ring = Plain::starting_at(0);
            let mut cursor = ring.cursor();
            assert!(ring.push(&[7; 16], 0));
            ring.set_header(0, absurd);
            let drained = ring.drain(&mut cursor, |_| panic!("handed out"));
            assert_eq!((drained.records, drained.corrupt), (0, true), "{absurd}");
            assert!(ring.push(b"next", 0));
            let mut seen = 0;
            ring.drain(&mut cursor, |_| seen += 1);
            assert_eq!(seen, 1);
        }
    }

    #[test]
    fn a_producer_beyond_the_ring_is_refused() {
        let ring = Plain::starting_at(0);
        let mut cursor = ring.cursor();
        ring.producer.store(CAPACITY + 8, Ordering::Relaxed);
        assert!(ring.drain(&mut cursor, |_| panic!("handed out")).corrupt);
    }

    #[test]
    fn a_reader_beside_a_writer_sees_every_record_once_and_whole() {
        const RECORDS: u32 = if cfg!(miri) { 300 } else { 20_000 };
        let (ring, done) = (Plain::starting_at(0), AtomicBool::new(false));
        let mut next = 0u32;
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for n in 0..RECORDS {
                    let record = n.to_ne_bytes().repeat(1 + n as usize % 40);
                    while !ring.push(&record, 0) {
                        std::thread::yield_now();
                    }
                }
                done.store(true, Ordering::Release);
            });
            let mut cursor = ring.cursor();
            loop {
                let last = done.load(Ordering::Acquire);
                ring.drain(&mut cursor, |record| {
                    assert_eq!(record, next.to_ne_bytes().repeat(1 + next as usize % 40));
                    next += 1;
                });
                if last {
                    break;
                }
            }
        });
        assert_eq!(next, RECORDS);
    }

    proptest! {
        #[test]
        fn any_memory_is_survived(
            words in proptest::collection::vec(any::<u64>(), CAPACITY / 8),
            consumer in any::<usize>(),
            ahead in any::<usize>(),
        ) {
            let ring = Plain::starting_at(consumer & !7);
            ring.producer.store((consumer & !7).wrapping_add(ahead), Ordering::Relaxed);
            for (at, word) in words.iter().chain(&words).enumerate() {
                // SAFETY: nothing else uses the ring yet.
                unsafe { *ring.data[at].get() = *word };
            }
            let mut cursor = ring.cursor();
            let mut bytes = 0;
            let drained = ring.drain(&mut cursor, |record| bytes += record.len());
            prop_assert!(bytes <= CAPACITY);
            prop_assert!(drained.records <= CAPACITY / HEADER_LEN);
        }
    }
}
