//! What a client takes of the processor: the product's, the bare library, and the library with the
//! verification of signatures that it lacks.
//!
//! Owns the turns and the clock. Each side has a runtime of its own on the one thread, so what a client
//! does after it has answered counts as its own when it runs next.
//!
//! **Invariant:** before the clock starts, both sides are connected and have caught up with the server.

use anyhow::{Context as _, Result, ensure};
use ed25519_dalek_3::{Signature, Signer as _, SigningKey, VerifyingKey, verify_batch};
use edgelore_model::{Query, Situation};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::{Sealed, seal};
use edgelore_routing::{Backend, PacketId};
use nix::time::{ClockId, clock_gettime};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

use super::LIMIT;
use super::bare::{Asked, Bare, Offered};
use super::subjects::Subject;
use crate::inputs::Random;
use crate::measure::{Effort, median};
use crate::packet::{SEED, key, varied};
use crate::report::Section;
use crate::store::an_hour_ago;

/// An empty table.
pub(super) fn table() -> Section {
    let columns = [
        "backend",
        "operation",
        "µs of ours",
        "µs of the bare client",
        "ratio",
        "µs of bare and signatures",
        "ratio",
    ];
    let mut table = Section::new("Backends: processor time of the client", &columns);
    table.note(
        "Of the one thread that runs the client, medians of one operation after the other, now the one side first \
         and now the other; each query is asked twice. The bare client is the backend's client \
         library, its statements prepared, which makes the same round trips with the same arguments, reads the answers into its own types and does nothing \
         with them. Beside it stands the same with the signatures of the packets that are new to it \
         verified by `ed25519-dalek` (`verify_batch`; `verify_strict` of a single one): an Edgelore client \
         trusts no server and verifies each packet once, which is work that a bare client does not do.",
    );
    table
}

/// The processor's time of each operation, µs.
#[derive(Default)]
struct Costs {
    ours: Vec<f64>,
    bare: Vec<f64>,
    signed: Vec<f64>,
}

impl Costs {
    /// Of one operation, ns.
    fn add(&mut self, [ours, bare, signatures]: [u64; 3]) {
        let us = |ns: u64| ns as f64 / 1e3;
        self.ours.push(us(ours));
        self.bare.push(us(bare));
        self.signed.push(us(bare + signatures));
    }

    fn row(&self, subject: &Subject, operation: &str) -> [String; 7] {
        let [ours, bare, signed] = [&self.ours, &self.bare, &self.signed].map(|all| median(all));
        let (each, ratio) = (|us: f64| format!("{us:.1}"), |us: f64| format!("{:.2}", ours / us));
        [
            subject.name.to_owned(),
            operation.to_owned(),
            each(ours),
            each(bare),
            ratio(bare),
            each(signed),
            ratio(signed),
        ]
    }
}

/// Both clients, and a third that finds what the bare one asks for.
struct Sides {
    ours: Runtime,
    client: Arc<dyn Backend>,
    bare: Runtime,
    library: Box<dyn Bare>,
    beside: Runtime,
    finder: Arc<dyn Backend>,
    signatures: Signatures,
}

/// The same operations by both, in turn.
pub(super) fn measure(
    subject: &Subject,
    situations: &[Situation],
    radius: u32,
    effort: Effort,
    table: &mut Section,
) -> Result<()> {
    let runtime = || Builder::new_current_thread().enable_all().build();
    let bare = runtime()?;
    let Some(library) = bare.block_on(subject.bare())? else { return Ok(()) };
    let (client, finder) = (subject.client()?, subject.client()?);
    let signatures = Signatures::new();
    let (ours, beside) = (runtime()?, runtime()?);
    let mut sides = Sides { ours, client, bare, library, beside, finder, signatures };
    let stores = sides.stores(effort.pick(500, 50))?;
    table.row(stores.row(subject, "store"));
    let [first, again] = sides.queries(situations, radius)?;
    let milli = u64::from(radius) / 1_000;
    table.row(first.row(subject, &format!("query, radius {milli}")));
    table.row(again.row(subject, "the same query again"));
    Ok(())
}

impl Sides {
    /// Stores fresh packets, one after the other; the first one connects and does not count.
    fn stores(&mut self, count: usize) -> Result<Costs> {
        let mut random = Random::new(5_000);
        let (key, space, created) = (key(), Space::default_definition(), an_hour_ago());
        let mut sealed = || seal(&varied(created, &mut random), &key, &space);
        let mut costs = Costs::default();
        for round in 0..=count {
            let (one, other): (Sealed, Sealed) = (sealed()?, sealed()?);
            let offered = Offered::new(&other, &space)?;
            let ((stored, ours), (by_bare, bare)) = in_turn(
                round % 2 == 0,
                || spent(|| self.ours.block_on(self.client.store(one.bytes))),
                || spent(|| self.bare.block_on(self.library.store(&offered))),
            )?;
            ensure!(stored?.new, "a fresh packet was there");
            by_bare.context("store by the bare client")?;
            let batch = self.signatures.of([(offered.packet.id, &offered.packet.bytes[..])]);
            let (verified, signatures) = spent(|| batch.verify())?;
            verified?;
            if round > 0 {
                costs.add([ours, bare, signatures]);
            }
        }
        Ok(costs)
    }

    /// Asks for each situation twice: the first times, and the second ones.
    fn queries(&mut self, situations: &[Situation], radius: u32) -> Result<[Costs; 2]> {
        // Whoever asks for anything learns all of the directory, of the log beside the packets and of
        // the stream; the one who is measured last, so that its connection does not rest long.
        for (runtime, client) in [(&self.beside, &self.finder), (&self.ours, &self.client)] {
            runtime.block_on(client.query(&Query::default(), 0, 1))?;
        }
        let mut costs = [Costs::default(), Costs::default()];
        for (number, situation) in situations.iter().enumerate() {
            let asked = self.beside.block_on(Asked::learn(&*self.finder, situation, radius))?;
            let prepared = self.bare.block_on(self.library.prepare(&asked));
            prepared.context("prepare the bare client")?;
            for costs in &mut costs {
                let query = || self.client.query(&asked.query, asked.radius, LIMIT);
                let ((found, ours), (fetched, bare)) = in_turn(
                    number % 2 == 0,
                    || spent(|| self.ours.block_on(query())),
                    || spent(|| self.bare.block_on(self.library.fetch(&asked))),
                )?;
                let (found, fetched) = (found?, fetched.context("query by the bare client")?);
                ensure!(!found.is_empty(), "a stored situation was not found");
                ensure!(fetched >= found.len(), "the bare client fetches less than is found");
                let packets = found.iter().map(|one| (one.opened.id, &one.opened.bytes[..]));
                let batch = self.signatures.of(packets);
                let (verified, signatures) = spent(|| batch.verify())?;
                verified?;
                costs.add([ours, bare, signatures]);
            }
        }
        Ok(costs)
    }
}

/// Both, in one order or the other: whoever comes second finds the library's code in the caches.
fn in_turn<A, B>(
    ours_first: bool,
    ours: impl FnOnce() -> Result<A>,
    bare: impl FnOnce() -> Result<B>,
) -> Result<(A, B)> {
    if ours_first {
        return Ok((ours()?, bare()?));
    }
    let bare = bare()?;
    Ok((ours()?, bare))
}

/// What comes out, and what it takes of the processor, ns.
fn spent<T>(work: impl FnOnce() -> T) -> Result<(T, u64)> {
    let start = processor_ns()?;
    let done = work();
    Ok((done, processor_ns()? - start))
}

/// What this thread has taken of the processor, ns.
fn processor_ns() -> Result<u64> {
    let time =
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("read the thread's clock")?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Signatures as packets have them: of one publisher's key, on as many bytes.
struct Signatures {
    key: SigningKey,
    verified: HashSet<PacketId>,
}

/// Some that are verified together.
#[derive(Default)]
struct Batch<'p> {
    messages: Vec<&'p [u8]>,
    signatures: Vec<Signature>,
    keys: Vec<VerifyingKey>,
}

impl Signatures {
    fn new() -> Self {
        Self { key: SigningKey::from_bytes(&SEED), verified: HashSet::new() }
    }

    /// Of those packets that were in no batch before.
    fn of<'p>(&mut self, packets: impl IntoIterator<Item = (PacketId, &'p [u8])>) -> Batch<'p> {
        let mut batch = Batch::default();
        for (id, bytes) in packets {
            if self.verified.insert(id) {
                batch.messages.push(bytes);
                batch.signatures.push(self.key.sign(bytes));
                batch.keys.push(self.key.verifying_key());
            }
        }
        batch
    }
}

impl Batch<'_> {
    fn verify(&self) -> Result<()> {
        match (&self.messages[..], &self.signatures[..], &self.keys[..]) {
            ([], ..) => Ok(()),
            ([message], [signature], [key]) => Ok(key.verify_strict(message, signature)?),
            (messages, signatures, keys) => Ok(verify_batch(messages, signatures, keys)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packet_is_verified_once() {
        let mut signatures = Signatures::new();
        let packets: Vec<(PacketId, Vec<u8>)> =
            (0..5).map(|n| ([n; 32], vec![n; 400 + usize::from(n)])).collect();
        let first = |count| packets.iter().take(count).map(|(id, bytes)| (*id, &bytes[..]));
        for (asked, expected) in [(1, 1), (4, 3), (4, 0), (5, 1)] {
            let batch = signatures.of(first(asked));
            assert_eq!(batch.messages.len(), expected);
            batch.verify().unwrap();
        }
    }

    #[test]
    fn a_signature_of_other_bytes_fails() {
        let mut signatures = Signatures::new();
        for ids in [&[1_u8][..], &[2, 3]] {
            let mut batch = signatures.of(ids.iter().map(|n| ([*n; 32], &b"a packet"[..])));
            batch.messages[0] = b"another";
            batch.verify().unwrap_err();
        }
    }

    #[test]
    fn ratios_are_of_ours_to_the_others() {
        let mut costs = Costs::default();
        costs.add([300_000, 100_000, 0]);
        costs.add([300_000, 100_000, 200_000]);
        let subject = Subject::served("redis", String::new(), Vec::new());
        let expected = ["redis", "store", "300.0", "100.0", "3.00", "200.0", "1.50"];
        assert_eq!(costs.row(&subject, "store"), expected.map(str::to_owned));
    }
}
